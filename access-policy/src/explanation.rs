//! The whole story of a decision, for people.

use std::fmt;

use crate::{
    application::Application,
    evaluate::{Verdict, evaluate},
    outcome::{Named, Reason},
    policy::Policy,
    request::Request,
    rule::Rule,
    truth::{Gap, Truth},
};

/// A decision as a small tree: the request, the application, each policy in the order of
/// evaluation, each rule, and how each came out. `Display` writes it, without a newline at the end.
///
/// # Security
///
/// It quotes rules, the visitor's address and e-mail address. Show it to operators, not to visitors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    request: String,
    notes: Vec<String>,
    application: String,
    policies: Vec<Branch>,
    decision: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Branch {
    line: String,
    rules: Vec<String>,
}

impl Explanation {
    pub(crate) fn of(
        request: &Request<'_>,
        application: Option<&Application>,
        rivals: &[&Application],
        verdict: &Verdict<'_>,
    ) -> Self {
        let notes = rivals.iter().map(|rival| {
            format!("the path can also be read as one of application `{}`", rival.name)
        });
        Self {
            request: request.to_string(),
            notes: notes.collect(),
            application: match application {
                Some(application) => application_line(application),
                None => "none".to_owned(),
            },
            policies: match application {
                // Refused before any policy was asked.
                None => Vec::new(),
                Some(_) if verdict.reason == Reason::AmbiguousPath => Vec::new(),
                Some(application) => branches(application, request),
            },
            decision: format!("{}; {}", verdict.outcome, verdict.reason),
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "request: {}", self.request)?;
        for note in &self.notes {
            writeln!(formatter, "note: {note}")?;
        }
        writeln!(formatter, "application: {}", self.application)?;
        for (index, policy) in self.policies.iter().enumerate() {
            let is_last = index + 1 == self.policies.len();
            let (fork, trunk) = if is_last { ("└─", "  ") } else { ("├─", "│ ") };
            writeln!(formatter, "{fork} {}", policy.line)?;
            for (index, rule) in policy.rules.iter().enumerate() {
                let fork = if index + 1 == policy.rules.len() { "└─" } else { "├─" };
                writeln!(formatter, "{trunk} {fork} {rule}")?;
            }
        }
        write!(formatter, "decision: {}", self.decision)
    }
}

fn application_line(application: &Application) -> String {
    let destinations: Vec<_> = application.destinations.iter().map(ToString::to_string).collect();
    format!("`{}` ({})", application.name, destinations.join(", "))
}

fn branches(application: &Application, request: &Request<'_>) -> Vec<Branch> {
    let mut branches = Vec::new();
    let _ = evaluate(application, request, &mut |policy, truth| {
        let answer = |rule: &Rule| outcome_of(rule.evaluate(request));
        branches.push(branch(policy, &outcome_of(truth), answer));
    });
    let asked = branches.len();
    let others = application.policies_in_order().skip(asked);
    branches.extend(others.map(|policy| branch(policy, NOT_EVALUATED, |_| NOT_EVALUATED.into())));
    branches
}

fn branch(policy: &Policy, outcome: &str, answer: impl Fn(&Rule) -> String) -> Branch {
    let mut rules: Vec<_> = policy
        .rules()
        .map(|(part, rule)| format!("{part} {}: {}", rule.condition(), answer(rule)))
        .collect();
    if policy.include.is_empty() {
        rules.insert(0, "include nobody: a policy without include rules never matches".to_owned());
    }
    Branch { line: format!("{}: {outcome}", Named(policy)), rules }
}

fn outcome_of(truth: Truth) -> String {
    match truth {
        Truth::True => "matched".to_owned(),
        Truth::False => "did not match".to_owned(),
        Truth::Unknown(Gap::NeedsIdentity) => "unknown, nobody has logged in".to_owned(),
        Truth::Unknown(Gap::Missing(fact)) => format!("unknown, {fact} is not known"),
    }
}

const NOT_EVALUATED: &str = "not evaluated";
