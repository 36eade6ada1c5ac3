//! An encoding in Cedar decides like our engine, wherever Cedar can say the same: exact hosts, every
//! fact known. 10,000 random cases, or as many as `ACCESS_POLICY_CASES` says.

use sekimori_policy_peers::{
    cedar::Cedar,
    contender::{Contender, Ours},
    sekimori,
    workload::{Action, Application, Facts, Policy, Selector, Workload},
};

const CASES: usize = 10_000;
const REQUESTS_PER_ENGINE: usize = 50;

const EMAILS: [&str; 5] = ["a@one.jp", "b@one.jp", "a@two.jp", "c@three.jp", "d@one.jp"];
const DOMAINS: [&str; 3] = ["one.jp", "two.jp", "jp"];
const GROUPS: [&str; 3] = ["Ops", "Dev", "ops"];
const TOKENS: [&str; 2] = ["build", "deploy"];
const NETWORKS: [&str; 4] = ["192.0.2.0/24", "192.0.2.1/32", "0.0.0.0/0", "198.51.100.0/30"];
const ADDRESSES: [&str; 4] = ["192.0.2.1", "192.0.2.200", "198.51.100.1", "203.0.113.9"];
const HOSTS: [&str; 3] = ["a.x.jp", "b.x.jp", "x.jp"];

#[test]
fn cedar_and_engine_agree() {
    let cases = std::env::var("ACCESS_POLICY_CASES");
    let cases = cases.map_or(CASES, |text| text.parse().expect("a number of cases"));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut done, mut passed, mut decided) = (0, 0, 0);
    while done < cases {
        let workload = random.workload();
        let mut ours = Ours(sekimori::engine(&workload.to_json()));
        let mut cedar = Cedar::new(&workload);
        for _ in 0..REQUESTS_PER_ENGINE {
            done += 1;
            let facts = random.facts();
            let (passes, policy) = ours.decide(&facts);
            assert_eq!(
                (passes, policy),
                cedar.decide(&facts),
                "case {done}: {facts:?}\n{}",
                workload.to_json()
            );
            passed += usize::from(passes);
            decided += usize::from(policy.is_some());
        }
    }
    // A test that only ever sees one answer proves little.
    assert!(passed > cases / 10 && decided - passed > cases / 20, "{passed} {decided} of {done}");
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % limit
    }

    fn pick(&mut self, choices: &[&'static str]) -> &'static str {
        choices[self.below(choices.len())]
    }

    fn workload(&mut self) -> Workload {
        let applications = HOSTS.map(|host| Application {
            host: host.to_owned(),
            policies: (0..1 + self.below(5)).map(|_| self.policy()).collect(),
        });
        Workload { name: "random", applications: applications.into(), requests: Vec::new() }
    }

    fn policy(&mut self) -> Policy {
        let action = [Action::Bypass, Action::Service, Action::Allow, Action::Allow, Action::Deny]
            [self.below(5)];
        let some = |random: &mut Self, least, most| {
            let count = least + random.below(most);
            (0..count).map(|_| random.selector(action != Action::Bypass)).collect::<Vec<_>>()
        };
        let include = some(self, 1, 3);
        let exclude = some(self, 0, 2);
        let require = (0..self.below(5)).filter(|at| *at < 3).map(|_| some(self, 1, 2)).collect();
        Policy { action, include, require, exclude }
    }

    fn selector(&mut self, may_ask_who: bool) -> Selector {
        match self.below(if may_ask_who { 9 } else { 4 }) {
            0 => Selector::Everyone,
            1 | 2 => Selector::Cidr(self.pick(&NETWORKS).to_owned()),
            3 => Selector::Token(self.pick(&TOKENS).to_owned()),
            4 | 5 => Selector::Email(self.pick(&EMAILS).to_owned()),
            6 => Selector::Domain(self.pick(&DOMAINS).to_owned()),
            _ => Selector::Group(self.pick(&GROUPS).to_owned()),
        }
    }

    fn facts(&mut self) -> Facts {
        Facts {
            host: self.pick(&HOSTS).to_owned(),
            path: "/".to_owned(),
            ip: self.pick(&ADDRESSES).to_owned(),
            email: self.pick(&EMAILS).to_owned(),
            groups: (0..self.below(3)).map(|_| self.pick(&GROUPS)).collect(),
            token: if self.below(3) == 0 { self.pick(&TOKENS).to_owned() } else { String::new() },
        }
    }
}
