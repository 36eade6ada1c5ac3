//! The four policy sets, as plain data that every engine's encoding is made from, with their requests
//! and a naive evaluation to check the engines against.

#![allow(unreachable_pub, dead_code, reason = "a module of `policy-peers` too")]

use std::fmt::Write as _;

/// A policy set, and what is asked of it.
pub struct Workload {
    pub name: &'static str,
    pub applications: Vec<Application>,
    pub requests: Vec<Facts>,
}

pub struct Application {
    pub host: String,
    pub policies: Vec<Policy>,
}

/// Any of `include`, one of each list in `require`, none of `exclude`.
pub struct Policy {
    pub action: Action,
    pub include: Vec<Selector>,
    pub require: Vec<Vec<Selector>>,
    pub exclude: Vec<Selector>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Bypass,
    Service,
    Allow,
    Deny,
}

#[derive(Debug, Clone)]
pub enum Selector {
    Everyone,
    Email(String),
    Domain(String),
    Cidr(String),
    Group(String),
    Token(String),
}

/// A request as it comes: texts. Empty for what is not there.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub host: String,
    pub path: String,
    pub ip: String,
    pub email: String,
    pub groups: Vec<&'static str>,
    pub token: String,
}

pub const PROVIDER: &str = "5a1e8b8c-0d6e-4f0a-9f55-0e5f3c1a7b11";

impl Workload {
    /// One application, one allow policy of three rules.
    pub fn small() -> Self {
        let policy = Policy {
            action: Action::Allow,
            include: vec![domain("example.com"), email("partner@contractor.example")],
            require: vec![vec![cidr("10.20.0.0/16")]],
            exclude: Vec::new(),
        };
        let requests = (0..REQUESTS).map(|at| Facts {
            host: "wiki.example.com".to_owned(),
            path: "/reports/2026".to_owned(),
            ip: if at % 3 == 2 {
                format!("192.0.2.{}", at % 250)
            } else {
                format!("10.20.3.{}", at % 250)
            },
            email: match at % 3 {
                1 => "partner@contractor.example".to_owned(),
                _ => format!("user{at}@example.com"),
            },
            ..Facts::default()
        });
        let requests = requests.collect();
        let applications =
            vec![Application { host: "wiki.example.com".to_owned(), policies: vec![policy] }];
        Self { name: "small", applications, requests }
    }

    /// 50 applications of 10 policies of 20 selectors.
    pub fn medium() -> Self {
        let applications = (0..50).map(|app| Application {
            host: format!("app{app}.example.com"),
            policies: (0..10).map(|at| medium_policy(app, at)).collect(),
        });
        let requests = (0..REQUESTS).map(|at| {
            let app = at * 7 % 50;
            let mut facts = Facts {
                host: format!("app{app}.example.com"),
                path: "/dashboard/main".to_owned(),
                ip: format!("198.51.100.{}", at % 250),
                email: format!("stranger{at}@elsewhere.example"),
                groups: vec!["everyone", "office", "cycling", "newsletter"],
                token: String::new(),
            };
            match at % 6 {
                0 => facts.ip = format!("10.{app}.{}.9", at % 20),
                1 => facts.token = format!("token-{app}-{}", at % 20),
                2 => facts.email = format!("blocked{}@app{app}.example.com", at % 10),
                3 => facts.email = format!("user{}-8@app{app}.example.com", at % 10),
                4 => facts.groups[3] = leak(format!("team-{app}-7-{}", at % 4)),
                _ => {}
            }
            facts
        });
        Self { name: "medium", requests: requests.collect(), applications: applications.collect() }
    }

    /// One application that admits 10,000 addresses or 200 groups, from 1,000 networks.
    pub fn large() -> Self {
        let emails =
            (0..10_000).map(|at| email(&format!("employee{at}@corp{}.example.com", at % 40)));
        let groups = (0..200).map(|at| Selector::Group(format!("department-{at}")));
        let networks = (0..1_000).map(|at| cidr(&format!("10.{}.{}.0/24", at / 250, at % 250)));
        let policy = Policy {
            action: Action::Allow,
            include: emails.chain(groups).collect(),
            require: vec![networks.collect()],
            exclude: Vec::new(),
        };
        let requests = (0..REQUESTS).map(|at| {
            let number = at * 37;
            let mut groups: Vec<&'static str> =
                (0..8).map(|group| leak(format!("club-{}", at * 8 + group))).collect();
            if at % 4 == 1 {
                groups[7] = leak(format!("department-{}", at % 200));
            }
            Facts {
                host: "erp.example.com".to_owned(),
                path: "/invoices/2026/11".to_owned(),
                ip: if at % 4 == 2 {
                    "192.0.2.7".to_owned()
                } else {
                    format!("10.{}.{}.77", at % 4, at % 250)
                },
                email: match at % 4 {
                    0 | 2 => format!("employee{number}@corp{}.example.com", number % 40),
                    _ => format!("visitor{at}@corp3.example.com"),
                },
                groups,
                token: String::new(),
            }
        });
        let requests = requests.collect();
        let applications =
            vec![Application { host: "erp.example.com".to_owned(), policies: vec![policy] }];
        Self { name: "large", applications, requests }
    }

    /// Many hosts, each with one policy of three rules.
    pub fn many(applications: usize) -> Self {
        let policy = |at: usize| Policy {
            action: Action::Allow,
            include: vec![domain(&format!("team{}.example.com", at % 1_000)), email(&owner(at))],
            require: vec![vec![cidr(&format!("10.{}.0.0/16", at % 256))]],
            exclude: Vec::new(),
        };
        let all = (0..applications)
            .map(|at| Application { host: many_host(at), policies: vec![policy(at)] })
            .collect();
        let requests = (0..REQUESTS).map(|at| many_request(at * 389 % applications, at)).collect();
        Self { name: "huge", applications: all, requests }
    }

    /// As many random requests for [`many`](Self::many), too many for the processor to remember.
    pub fn cold(applications: usize) -> Vec<Facts> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let requests = (0..COLD_REQUESTS).map(|at| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            many_request(usize::try_from(state >> 33).unwrap_or(0) % applications, at)
        });
        requests.collect()
    }

    /// The position of the deciding policy and what it does, rule by rule.
    pub fn naive(&self, facts: &Facts) -> (Option<usize>, bool) {
        let app = self.applications.iter().find(|app| app.host == facts.host);
        let Some(app) = app else { return (None, false) };
        for is_first in [true, false] {
            for (at, policy) in app.policies.iter().enumerate() {
                let in_phase =
                    matches!(policy.action, Action::Bypass | Action::Service) == is_first;
                if in_phase && policy.matches(facts) {
                    return (Some(at), policy.action != Action::Deny);
                }
            }
        }
        (None, false)
    }

    /// The configuration in Cloudflare's form.
    pub fn to_json(&self) -> String {
        let (mut applications, mut groups) = (String::new(), String::new());
        for (at, app) in self.applications.iter().enumerate() {
            let separator = if at == 0 { "" } else { "," };
            let host = &app.host;
            write!(
                applications,
                r#"{separator}{{"id":"{}","name":"Application {at}","type":"self_hosted","domain":"{host}","session_duration":"24h","policies":["#,
                uuid(1, at, 0)
            )
            .expect("strings take all");
            for (policy_at, policy) in app.policies.iter().enumerate() {
                let separator = if policy_at == 0 { "" } else { "," };
                let required =
                    policy.require.iter().enumerate().map(|(list_at, list)| match &**list {
                        [one] => one.to_json(),
                        many => {
                            let id = uuid(3, at * 100 + policy_at, list_at);
                            let comma = if groups.is_empty() { "" } else { "," };
                            write!(
                                groups,
                                r#"{comma}{{"id":"{id}","name":"networks","include":[{}]}}"#,
                                list_json(many)
                            )
                            .expect("strings take all");
                            format!(r#"{{"group":{{"id":"{id}"}}}}"#)
                        }
                    });
                let required = required.collect::<Vec<_>>().join(",");
                write!(
                    applications,
                    r#"{separator}{{"id":"{}","name":"Policy {policy_at}","decision":"{}","precedence":{},"include":[{}],"require":[{required}],"exclude":[{}]}}"#,
                    uuid(2, at, policy_at),
                    policy.action.name(),
                    policy_at + 1,
                    list_json(&policy.include),
                    list_json(&policy.exclude),
                )
                .expect("strings take all");
            }
            applications.push_str("]}");
        }
        format!(r#"{{"applications":[{applications}],"groups":[{groups}]}}"#)
    }
}

impl Policy {
    pub fn matches(&self, facts: &Facts) -> bool {
        self.include.iter().any(|selector| selector.matches(facts))
            && self.require.iter().all(|list| list.iter().any(|selector| selector.matches(facts)))
            && !self.exclude.iter().any(|selector| selector.matches(facts))
    }
}

impl Action {
    pub fn name(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Service => "non_identity",
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl Selector {
    fn matches(&self, facts: &Facts) -> bool {
        match self {
            Self::Everyone => true,
            Self::Email(email) => *email == facts.email,
            Self::Domain(domain) => facts.email.rsplit('@').next() == Some(domain),
            Self::Cidr(cidr) => {
                let number =
                    |ip: &str| ip.parse().map(std::net::Ipv4Addr::to_bits).unwrap_or_default();
                let (base, prefix) = cidr.split_once('/').expect("a prefix");
                let shift = 32 - prefix.parse::<u32>().expect("a number");
                number(base) >> shift == number(&facts.ip) >> shift
            }
            Self::Group(group) => facts.groups.contains(&&**group),
            Self::Token(token) => *token == facts.token,
        }
    }

    fn to_json(&self) -> String {
        match self {
            Self::Everyone => r#"{"everyone":{}}"#.to_owned(),
            Self::Email(email) => format!(r#"{{"email":{{"email":"{email}"}}}}"#),
            Self::Domain(domain) => format!(r#"{{"email_domain":{{"domain":"{domain}"}}}}"#),
            Self::Cidr(cidr) => format!(r#"{{"ip":{{"ip":"{cidr}"}}}}"#),
            Self::Group(name) => {
                format!(r#"{{"okta":{{"name":"{name}","identity_provider_id":"{PROVIDER}"}}}}"#)
            }
            Self::Token(id) => format!(r#"{{"service_token":{{"token_id":"{id}"}}}}"#),
        }
    }
}

fn medium_policy(app: usize, at: usize) -> Policy {
    let twenty = 0..20;
    let address = |number: usize| email(&format!("user{number}-{at}@app{app}.example.com"));
    let (action, include) = match at {
        0 => (Action::Bypass, twenty.map(|n| cidr(&format!("10.{app}.{n}.0/24"))).collect()),
        1 => {
            (Action::Service, twenty.map(|n| Selector::Token(format!("token-{app}-{n}"))).collect())
        }
        2 => {
            let emails = (0..10).map(|n| email(&format!("blocked{n}@app{app}.example.com")));
            let networks = (0..10).map(|n| cidr(&format!("203.0.{n}.0/24")));
            (Action::Deny, emails.chain(networks).collect())
        }
        9 => (Action::Deny, twenty.map(|n| domain(&format!("rival{n}.example"))).collect()),
        _ => {
            let emails = (0..10).map(address);
            let domains = (0..4).map(|n| domain(&format!("partner{n}-{at}.example")));
            let groups = (0..4).map(|n| Selector::Group(format!("team-{app}-{at}-{n}")));
            (Action::Allow, emails.chain(domains).chain(groups).collect())
        }
    };
    let exclude = match action {
        Action::Allow => vec![cidr("203.0.113.0/24"), cidr("192.0.2.0/24")],
        _ => Vec::new(),
    };
    Policy { action, include, require: Vec::new(), exclude }
}

fn many_request(application: usize, at: usize) -> Facts {
    let network = if at % 3 == 2 { application + 1 } else { application };
    Facts {
        host: many_host(application),
        path: "/start/page".to_owned(),
        ip: format!("10.{}.3.{}", network % 256, at % 250),
        email: match at % 3 {
            1 => owner(application),
            _ => format!("user{}@team{}.example.com", at % 5_000, application % 1_000),
        },
        ..Facts::default()
    }
}

fn many_host(at: usize) -> String {
    format!("service-{at}.apps.example.com")
}

fn owner(at: usize) -> String {
    format!("owner{at}@partner.example")
}

fn email(text: &str) -> Selector {
    Selector::Email(text.to_owned())
}

fn domain(text: &str) -> Selector {
    Selector::Domain(text.to_owned())
}

fn cidr(text: &str) -> Selector {
    Selector::Cidr(text.to_owned())
}

fn list_json(selectors: &[Selector]) -> String {
    selectors.iter().map(Selector::to_json).collect::<Vec<_>>().join(",")
}

fn uuid(kind: usize, a: usize, b: usize) -> String {
    format!("{kind:08x}-{b:04x}-4000-8000-{a:012x}")
}

/// A handful of texts that live as long as the bench.
fn leak(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

/// Requests of each set: early hits, late hits and misses in turn.
const REQUESTS: usize = 256;
const COLD_REQUESTS: usize = 65_536;
