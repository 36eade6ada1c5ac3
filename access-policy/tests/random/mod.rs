//! Random configurations and requests from a small world, so that matches are frequent.

#![allow(dead_code, reason = "each test binary takes what it needs")]

use access_policy::{Application, Group, List, ListItems, Policies, Policy, Rule};

pub(crate) const EMAILS: [&str; 5] = ["a@one.jp", "b@one.jp", "a@two.jp", "A@ONE.JP", "c@three.jp"];
pub(crate) const ADDRESSES: [&str; 5] =
    ["192.0.2.1", "192.0.2.200", "198.51.100.1", "::ffff:192.0.2.1", "2001:db8::1"];
const PATTERN_HOSTS: [&str; 9] =
    ["a.x.jp", "b.x.jp", "*.x.jp", "a*.x.jp", "x.jp", "*.*.x.jp", "*.b.x.jp", "*b.x.jp", "*"];
const PATTERN_PATHS: [&str; 8] = ["", "/*", "/a", "/a/*", "/a*", "/a/b", "/*/b", "/a*/b"];
const DOMAINS: [&str; 2] = ["one.jp", "two.jp"];
pub(crate) const COUNTRIES: [&str; 3] = ["JP", "US", "XX"];
pub(crate) const PROVIDERS: [&str; 2] = ["idp-1", "idp-2"];
pub(crate) const TEAMS: [&str; 3] = ["Ops", "Dev", "ops"];
pub(crate) const NAMES: [&str; 2] = ["build", "deploy"];
const GROUPS: [&str; 3] = ["g0", "g1", "g2"];
const NETWORKS: [&str; 4] = ["192.0.2.0/24", "192.0.2.1", "0.0.0.0/0", "2001:db8::/32"];

/// xorshift64*: a fixed seed gives the same run everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15 | 1)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % limit
    }

    pub(crate) fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    /// Applications whose destinations may clash; such a configuration does not compile.
    pub(crate) fn policies(&mut self) -> Policies {
        let count = 1 + self.below(4);
        let mut policies =
            Policies::new((0..count).map(|number| self.application(number)).collect::<Vec<_>>());
        for number in 0..GROUPS.len() {
            policies.groups.push(self.group(number));
        }
        let people = EMAILS[..2].iter().map(|email| email.parse().unwrap()).collect();
        policies.lists.push(List::new("people", ListItems::Emails(people)));
        let places = NETWORKS[1..].iter().map(|network| network.parse().unwrap()).collect();
        policies.lists.push(List::new("places", ListItems::Networks(places)));
        policies
    }

    pub(crate) fn policy(&mut self, name: &str) -> Policy {
        let mut policy = match self.below(7) {
            0 => Policy::bypass(name),
            1 => Policy::non_identity(name),
            2 | 3 => Policy::deny(name),
            _ => Policy::allow(name),
        };
        let may_ask_who = policy.decision.as_str() != "bypass";
        for _ in 0..self.below(3) {
            policy = policy.include(self.rule(may_ask_who));
        }
        if self.below(2) == 0 {
            policy = policy.include(self.rule(may_ask_who));
        }
        // Enough of a kind to become a set.
        if may_ask_who && self.below(8) == 0 {
            for _ in 0..4 {
                policy = policy.include(self.membership());
            }
        }
        if self.below(4) == 0 {
            policy = policy.require(self.rule(may_ask_who));
        }
        if self.below(4) == 0 {
            policy = policy.exclude(self.rule(may_ask_who));
        }
        policy
    }

    pub(crate) fn rule(&mut self, may_ask_who: bool) -> Rule {
        match self.below(if may_ask_who { 14 } else { 8 }) {
            0 => Rule::Everyone,
            1 => Rule::Ip(self.pick(&NETWORKS).parse().unwrap()),
            2 => Rule::IpList("places".into()),
            3 | 4 => Rule::geo(self.pick(&COUNTRIES)).unwrap(),
            5 => Rule::Certificate,
            6 => Rule::CommonName(self.pick(&NAMES).into()),
            7 => Rule::ServiceToken(self.pick(&NAMES).into()),
            8 | 9 => Rule::Email(self.pick(&EMAILS).parse().unwrap()),
            10 => Rule::EmailList("people".into()),
            11 => Rule::EmailDomain(self.pick(&DOMAINS).parse().unwrap()),
            12 => self.membership(),
            _ => Rule::group(self.pick(&GROUPS)),
        }
    }

    fn membership(&mut self) -> Rule {
        let provider = self.pick(&PROVIDERS).into();
        if self.below(2) == 0 {
            Rule::Okta { name: self.pick(&TEAMS).into(), provider }
        } else {
            Rule::AzureAd { id: self.pick(&TEAMS).to_ascii_lowercase().into(), provider }
        }
    }

    /// A group that names only groups after it, so that there are no circles.
    fn group(&mut self, number: usize) -> Group {
        let mut group = Group::new(GROUPS[number]);
        let rule = |random: &mut Self| loop {
            match random.rule(true) {
                Rule::Group(id) if &*id <= GROUPS[number] => {}
                rule => return rule,
            }
        };
        for _ in 0..=self.below(2) {
            group = group.include(rule(self));
        }
        if self.below(4) == 0 {
            group = group.require(rule(self));
        }
        if self.below(4) == 0 {
            group = group.exclude(rule(self));
        }
        group
    }

    fn application(&mut self, number: usize) -> Application {
        let mut application = Application::new(format!("app {number}"));
        for _ in 0..=self.below(2) {
            let pattern = format!("{}{}", self.pick(&PATTERN_HOSTS), self.pick(&PATTERN_PATHS));
            application = application.destination(pattern.parse().unwrap());
        }
        for number in 0..self.below(4) {
            application = application.policy(self.policy(&format!("policy {number}")));
        }
        application
    }
}
