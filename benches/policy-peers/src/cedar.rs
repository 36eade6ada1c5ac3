//! Cedar: one `permit` per policy, whose order stands in an annotation; of the policies that hold, the
//! first decides. Policies are sliced by host. Long lists of addresses are parents of users.

use std::collections::{HashMap, HashSet};

use cedar_policy::{
    Authorizer, Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Policy, PolicyId,
    PolicySet, Request, RestrictedExpression,
};

use crate::{
    contender::Contender,
    workload::{self, Action, Facts, Selector, Workload},
};

pub struct Cedar {
    authorizer: Authorizer,
    hosts: HashMap<String, Slice>,
    user: EntityTypeName,
    action: EntityUid,
    resource: EntityUid,
}

struct Slice {
    policies: PolicySet,
    entities: Entities,
    /// What each policy does.
    actions: Vec<Action>,
}

impl Cedar {
    pub fn new(workload: &Workload) -> Self {
        let uid = |text: &str| text.parse().expect("an entity");
        let hosts = workload.applications.iter().map(|app| (app.host.clone(), slice(app)));
        Self {
            authorizer: Authorizer::new(),
            hosts: hosts.collect(),
            user: "User".parse().expect("a type"),
            action: uid(r#"Action::"open""#),
            resource: uid(r#"App::"this""#),
        }
    }
}

impl Contender for Cedar {
    fn name(&self) -> &'static str {
        "cedar-policy, sliced by host"
    }

    fn decide(&mut self, facts: &Facts) -> (bool, Option<usize>) {
        let Some(slice) = self.hosts.get(&facts.host) else { return (false, None) };
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let domain = facts.email.rsplit('@').next().unwrap_or_default();
        let groups = facts.groups.iter().map(|group| text(group));
        let context = Context::from_pairs([
            ("email".to_owned(), text(&facts.email)),
            ("domain".to_owned(), text(domain)),
            ("token".to_owned(), text(&facts.token)),
            ("groups".to_owned(), RestrictedExpression::new_set(groups)),
            ("ip".to_owned(), RestrictedExpression::new_ip(facts.ip.to_string())),
        ])
        .expect("a context");
        let user = EntityUid::from_type_name_and_id(self.user.clone(), EntityId::new(&facts.email));
        let request = Request::new(user, self.action.clone(), self.resource.clone(), context, None)
            .expect("a request");
        let answer = self.authorizer.is_authorized(&request, &slice.policies, &slice.entities);
        let orders = answer.diagnostics().reason().filter_map(|id| {
            slice.policies.annotation(id, "order").and_then(|order| order.parse::<usize>().ok())
        });
        // Bypass and service policies come first.
        let first = orders.min_by_key(|at| {
            let is_first = matches!(slice.actions[*at], Action::Bypass | Action::Service);
            (!is_first, *at)
        });
        (first.is_some_and(|at| slice.actions[at] != Action::Deny), first)
    }
}

/// The policies of one host, as text.
pub fn policy_texts(app: &workload::Application) -> (Vec<String>, Vec<Entity>) {
    let mut entities = Vec::new();
    let texts = app.policies.iter().enumerate().map(|(at, policy)| {
        let mut conditions = vec![any_of(&policy.include, &format!("{at}-include"), &mut entities)];
        for (list, selectors) in policy.require.iter().enumerate() {
            conditions.push(any_of(selectors, &format!("{at}-require-{list}"), &mut entities));
        }
        if !policy.exclude.is_empty() {
            let excluded = any_of(&policy.exclude, &format!("{at}-exclude"), &mut entities);
            conditions.push(format!("!{excluded}"));
        }
        let condition = conditions.join(" && ");
        format!("@order(\"{at}\") permit(principal, action, resource) when {{ {condition} }};")
    });
    (texts.collect(), entities)
}

fn slice(app: &workload::Application) -> Slice {
    let (texts, entities) = policy_texts(app);
    let mut policies = PolicySet::new();
    for (at, text) in texts.iter().enumerate() {
        let policy = Policy::parse(Some(PolicyId::new(format!("p{at}"))), text);
        policies.add(policy.expect("a good policy")).expect("a new id");
    }
    Slice {
        policies,
        entities: Entities::from_entities(entities, None).expect("good entities"),
        actions: app.policies.iter().map(|policy| policy.action).collect(),
    }
}

fn any_of(selectors: &[Selector], list: &str, entities: &mut Vec<Entity>) -> String {
    let quoted = |pick: fn(&Selector) -> Option<&String>| {
        let texts = selectors.iter().filter_map(pick).map(|text| format!("\"{text}\""));
        texts.collect::<Vec<_>>()
    };
    let mut terms = Vec::new();
    let emails = quoted(|s| if let Selector::Email(text) = s { Some(text) } else { None });
    if emails.len() > 100 {
        let parent: EntityUid = format!("List::\"{list}\"").parse().expect("an entity");
        entities.push(Entity::new_no_attrs(parent.clone(), HashSet::new()));
        for email in &emails {
            let user = format!("User::{email}").parse().expect("an entity");
            entities.push(Entity::new_no_attrs(user, HashSet::from([parent.clone()])));
        }
        terms.push(format!("principal in List::\"{list}\""));
    } else if !emails.is_empty() {
        terms.push(format!("[{}].contains(context.email)", emails.join(",")));
    }
    let domains = quoted(|s| if let Selector::Domain(text) = s { Some(text) } else { None });
    if !domains.is_empty() {
        terms.push(format!("[{}].contains(context.domain)", domains.join(",")));
    }
    let tokens = quoted(|s| if let Selector::Token(text) = s { Some(text) } else { None });
    if !tokens.is_empty() {
        terms.push(format!("[{}].contains(context.token)", tokens.join(",")));
    }
    let groups = quoted(|s| if let Selector::Group(text) = s { Some(text) } else { None });
    if !groups.is_empty() {
        terms.push(format!("context.groups.containsAny([{}])", groups.join(",")));
    }
    for network in quoted(|s| if let Selector::Cidr(text) = s { Some(text) } else { None }) {
        terms.push(format!("context.ip.isInRange(ip({network}))"));
    }
    if selectors.iter().any(|selector| matches!(selector, Selector::Everyone)) {
        terms.push("true".to_owned());
    }
    format!("({})", terms.join(" || "))
}
