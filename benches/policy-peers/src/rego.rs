//! Regorus: one generic program over data keyed by host, on the register VM, which is the fastest of
//! its ways to run a policy.

use regorus::{Engine, Rc, Value, languages::rego::compiler::Compiler, rvm::vm::RegoVM};
use serde_json::{Map, json};

use crate::{
    contender::Contender,
    workload::{Action, Facts, Policy, Selector, Workload},
};

pub struct Regorus(RegoVM);

impl Regorus {
    pub fn new(workload: &Workload) -> Self {
        let mut engine = Engine::new();
        engine.add_policy("access.rego".to_owned(), PROGRAM.to_owned()).expect("a good program");
        let entry: Rc<str> = ENTRY.into();
        let compiled = engine.compile_with_entrypoint(&entry).expect("a good program");
        let program = Compiler::compile_from_policy(&compiled, &[ENTRY]).expect("a good program");
        let mut vm = RegoVM::new();
        vm.load_program(program);
        let data = Value::from_json_str(&data(workload).to_string()).expect("good data");
        vm.set_data(data).expect("good data");
        Self(vm)
    }
}

impl Contender for Regorus {
    fn name(&self) -> &'static str {
        "regorus, register VM"
    }

    fn decide(&mut self, facts: &Facts) -> (bool, Option<usize>) {
        let text = |text: &str| Value::String(text.into());
        let mut input = Value::new_object();
        let object = input.as_object_mut().expect("an object");
        let domain = facts.email.rsplit('@').next().unwrap_or_default();
        object.insert(text("host"), text(&facts.host));
        object.insert(text("ip"), text(&facts.ip.to_string()));
        object.insert(text("email"), text(&facts.email));
        object.insert(text("domain"), text(domain));
        object.insert(text("token"), text(&facts.token));
        let groups: Vec<Value> = facts.groups.iter().map(|group| text(group)).collect();
        object.insert(text("groups"), groups.into());
        self.0.set_input(input);
        let answer = self.0.execute().expect("an answer");
        let order = answer[&text("order")].as_i64().ok().and_then(|at| usize::try_from(at).ok());
        (answer[&text("pass")] == Value::Bool(true), order)
    }
}

const ENTRY: &str = "data.access.decision";

const PROGRAM: &str = r#"
package access
import rego.v1

hit(rules) if rules.emails[input.email]
hit(rules) if rules.domains[input.domain]
hit(rules) if rules.tokens[input.token]
hit(rules) if {
    some group in input.groups
    rules.groups[group]
}
hit(rules) if {
    some network in rules.networks
    net.cidr_contains(network, input.ip)
}

required(policy) if {
    every rules in policy.require { hit(rules) }
}

matched contains at if {
    some at, policy in data.apps[input.host]
    hit(policy.include)
    required(policy)
    not hit(policy.exclude)
}

default decision := {"order": -1, "pass": false}
decision := {"order": policy.order, "pass": policy.pass} if {
    count(matched) > 0
    policy := data.apps[input.host][min(matched)]
}
"#;

fn data(workload: &Workload) -> serde_json::Value {
    let mut apps = Map::new();
    for app in &workload.applications {
        let mut ordered: Vec<(usize, &Policy)> = app.policies.iter().enumerate().collect();
        ordered
            .sort_by_key(|(_, policy)| !matches!(policy.action, Action::Bypass | Action::Service));
        let policies = ordered.into_iter().map(|(at, policy)| {
            json!({
                "order": at,
                "pass": policy.action != Action::Deny,
                "include": rules(&policy.include),
                "require": policy.require.iter().map(|list| rules(list)).collect::<Vec<_>>(),
                "exclude": rules(&policy.exclude),
            })
        });
        apps.insert(app.host.clone(), policies.collect());
    }
    json!({ "apps": apps })
}

fn rules(selectors: &[Selector]) -> serde_json::Value {
    let mut kinds = Map::new();
    let mut networks = Vec::new();
    for selector in selectors {
        let (kind, text) = match selector {
            Selector::Email(text) => ("emails", text),
            Selector::Domain(text) => ("domains", text),
            Selector::Token(text) => ("tokens", text),
            Selector::Group(text) => ("groups", text),
            Selector::Cidr(text) => {
                networks.push(text.clone());
                continue;
            }
            Selector::Everyone => panic!("no set of ours has it"),
        };
        let kind = kinds.entry(kind).or_insert_with(|| json!({}));
        kind[text.as_str()] = true.into();
    }
    kinds.insert("networks".to_owned(), networks.into());
    kinds.into()
}
