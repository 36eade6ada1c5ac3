//! casbin: the priority effect over rows in their order. Rows are whole conditions (`eval`) where
//! policies have many kinds of selectors; roles and networks in the large set; plain columns in the
//! others. It tells who passes, not why.

use casbin::{CoreApi, DefaultModel, Enforcer, MemoryAdapter, MgmtApi};

use crate::{
    contender::Contender,
    workload::{Action, Application, Facts, Policy, Selector, Workload},
};

pub struct Casbin {
    enforcer: Enforcer,
    has_roles: bool,
}

impl Casbin {
    pub fn new(workload: &Workload) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let (policy, matcher, has_roles) = match workload.name {
                "large" => ("host, network, role, eft", ROLES, true),
                "medium" => ("host, rule, eft", "r.host == p.host && eval(p.rule)", false),
                _ => ("host, domain, email, network, eft", COLUMNS, false),
            };
            let groups = (0..8).map(|at| format!("g{at}")).collect::<Vec<_>>().join(", ");
            let model = format!(
                "[request_definition]\nr = host, ip, email, domain, token, groups, {groups}\n\
                 [policy_definition]\np = {policy}\n[role_definition]\ng = _, _\n\
                 [policy_effect]\ne = priority(p.eft) || deny\n[matchers]\nm = {matcher}\n"
            );
            let model = DefaultModel::from_str(&model).await.expect("a good model");
            let mut enforcer =
                Enforcer::new(model, MemoryAdapter::default()).await.expect("a good model");
            enforcer.enable_auto_build_role_links(false);
            let apps = workload.applications.iter();
            let rows = apps.flat_map(|app| rows(app, workload.name)).collect();
            enforcer.add_policies(rows).await.expect("good rows");
            if has_roles {
                let members = members(&workload.applications[0].policies[0]);
                enforcer.add_grouping_policies(members).await.expect("good rows");
                enforcer.build_role_links().expect("good rows");
            }
            Self { enforcer, has_roles }
        })
    }
}

impl Contender for Casbin {
    fn name(&self) -> &'static str {
        "casbin"
    }

    fn decide(&mut self, facts: &Facts) -> (bool, Option<usize>) {
        let domain = facts.email.rsplit('@').next().unwrap_or_default();
        let group = |at: usize| facts.groups.get(at).copied().unwrap_or_default();
        let all = if self.has_roles { Vec::new() } else { facts.groups.clone() };
        let ip = facts.ip.to_string();
        let passes = self.enforcer.enforce((
            facts.host.as_str(),
            ip.as_str(),
            facts.email.as_str(),
            domain,
            facts.token.as_str(),
            all,
            group(0),
            group(1),
            group(2),
            group(3),
            group(4),
            group(5),
            group(6),
            group(7),
        ));
        (passes.expect("an answer"), None)
    }
}

const COLUMNS: &str =
    "r.host == p.host && (r.domain == p.domain || r.email == p.email) && ipMatch(r.ip, p.network)";

const ROLES: &str = "r.host == p.host && ipMatch(r.ip, p.network) && (g(r.email, p.role) || \
    g(r.g0, p.role) || g(r.g1, p.role) || g(r.g2, p.role) || g(r.g3, p.role) || g(r.g4, p.role) || \
    g(r.g5, p.role) || g(r.g6, p.role) || g(r.g7, p.role))";

fn rows(app: &Application, set: &str) -> Vec<Vec<String>> {
    let text = str::to_owned;
    match set {
        "large" => {
            let networks = app.policies[0].require[0].iter();
            networks
                .map(|one| vec![app.host.clone(), value(one), text("staff"), text("allow")])
                .collect()
        }
        "medium" => {
            let mut ordered: Vec<&Policy> = app.policies.iter().collect();
            ordered
                .sort_by_key(|policy| !matches!(policy.action, Action::Bypass | Action::Service));
            let effect =
                |policy: &Policy| if policy.action == Action::Deny { "deny" } else { "allow" };
            ordered
                .into_iter()
                .map(|policy| vec![app.host.clone(), condition(policy), text(effect(policy))])
                .collect()
        }
        _ => {
            let policy = &app.policies[0];
            let [domain, email] = &*policy.include else { panic!("two rules") };
            let network = value(&policy.require[0][0]);
            vec![vec![app.host.clone(), value(domain), value(email), network, text("allow")]]
        }
    }
}

fn members(policy: &Policy) -> Vec<Vec<String>> {
    policy.include.iter().map(|member| vec![value(member), "staff".to_owned()]).collect()
}

fn value(selector: &Selector) -> String {
    match selector {
        Selector::Email(text)
        | Selector::Domain(text)
        | Selector::Cidr(text)
        | Selector::Group(text)
        | Selector::Token(text) => text.clone(),
        Selector::Everyone => "everyone".to_owned(),
    }
}

fn condition(policy: &Policy) -> String {
    let any = |selectors: &[Selector]| {
        let list = |pick: fn(&Selector) -> bool| {
            let texts = selectors.iter().filter(|s| pick(s)).map(|s| format!("\"{}\"", value(s)));
            texts.collect::<Vec<_>>()
        };
        let mut terms = Vec::new();
        for (kind, of_kind) in [
            ("r.email", list(|s| matches!(s, Selector::Email(_)))),
            ("r.domain", list(|s| matches!(s, Selector::Domain(_)))),
            ("r.token", list(|s| matches!(s, Selector::Token(_)))),
        ] {
            if !of_kind.is_empty() {
                terms.push(format!("({kind} in [{}])", of_kind.join(",")));
            }
        }
        for group in list(|s| matches!(s, Selector::Group(_))) {
            terms.push(format!("({group} in r.groups)"));
        }
        for network in list(|s| matches!(s, Selector::Cidr(_))) {
            terms.push(format!("ipMatch(r.ip, {network})"));
        }
        format!("({})", terms.join(" || "))
    };
    let mut all = vec![any(&policy.include)];
    all.extend(policy.require.iter().map(|list| any(list)));
    if !policy.exclude.is_empty() {
        all.push(format!("!{}", any(&policy.exclude)));
    }
    all.join(" && ")
}
