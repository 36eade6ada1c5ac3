//! The whole story of a decision, for people.

use std::fmt;

use serde::Serialize;

use crate::{
    application::Application, catalog::Model, evaluate::Why, judgement::Judgement, outcome::Named,
    policy::Policy, request::Subject, rule::Rule, trace::Mark, truth::Truth,
};

/// A decision as a tree: the request, the application, each policy in the order of evaluation, each
/// rule, and how each came out. `Display` writes it, without a newline at the end.
///
/// # Security
///
/// It quotes rules, the visitor's address and e-mail address. Show it to operators, not to visitors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The request in one line.
    pub request: String,
    /// What else is worth knowing, such as other readings of the path.
    pub notes: Vec<String>,
    /// The application in one line.
    pub application: String,
    /// The policies that were asked, and those that were not.
    pub policies: Vec<ExplainedPolicy>,
    /// The decision and its reason in one line.
    pub decision: String,
}

/// How a policy came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExplainedPolicy {
    /// The policy by name and action.
    pub policy: String,
    /// How it came out.
    pub mark: Mark,
    /// The same in words.
    pub result: String,
    /// Its rules.
    pub rules: Vec<ExplainedRule>,
}

/// How a rule came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExplainedRule {
    /// The rule with its part in the policy, such as `require country is JP`.
    pub rule: String,
    /// How it came out.
    pub mark: Mark,
    /// The same in words.
    pub result: String,
    /// The rules of a group.
    pub rules: Vec<ExplainedRule>,
}

impl Explanation {
    pub(crate) fn of(judgement: &Judgement<'_>) -> Self {
        let model = judgement.model;
        let notes = judgement.rivals().map(|rival| {
            format!("the path can also be read as one of application `{}`", rival.name)
        });
        let application = judgement.application();
        let policies = match application {
            // Refused before any policy was asked.
            Some(application) if judgement.verdict.why != Why::AmbiguousPath => {
                policies(model, application, judgement)
            }
            _ => Vec::new(),
        };
        Self {
            request: judgement.request.to_string(),
            notes: notes.collect(),
            application: application.map_or_else(|| "none".to_owned(), application_line),
            policies,
            decision: format!("{}; {}", judgement.verdict.outcome, judgement.reason()),
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
            writeln!(formatter, "{fork} {}: {}", policy.policy, policy.result)?;
            write_rules(formatter, &policy.rules, trunk)?;
        }
        write!(formatter, "decision: {}", self.decision)
    }
}

fn write_rules(
    formatter: &mut fmt::Formatter<'_>,
    rules: &[ExplainedRule],
    trunk: &str,
) -> fmt::Result {
    for (index, rule) in rules.iter().enumerate() {
        let is_last = index + 1 == rules.len();
        let (fork, inner) = if is_last { ("└─", "  ") } else { ("├─", "│ ") };
        writeln!(formatter, "{trunk} {fork} {}: {}", rule.rule, rule.result)?;
        write_rules(formatter, &rule.rules, &format!("{trunk} {inner}"))?;
    }
    Ok(())
}

fn application_line(application: &Application) -> String {
    let destinations: Vec<_> = application.destinations.iter().map(ToString::to_string).collect();
    format!("`{}` ({})", application.name, destinations.join(", "))
}

fn policies(
    model: Model<'_>,
    application: &Application,
    judgement: &Judgement<'_>,
) -> Vec<ExplainedPolicy> {
    let asked = judgement.verdict.asked as usize;
    let subject = judgement.request.subject();
    let ordered = model.in_order(application).enumerate();
    ordered
        .map(|(at, (_, policy))| policy_story(model, policy, (at < asked).then_some(subject)))
        .collect()
}

/// Without a subject, the policy was not evaluated.
fn policy_story(
    model: Model<'_>,
    policy: &Policy,
    subject: Option<Subject<'_>>,
) -> ExplainedPolicy {
    let (mark, result) = match subject {
        Some(subject) => in_words(model.policy_answer(policy, subject)),
        None => not_evaluated(),
    };
    let mut rules: Vec<_> = policy
        .rules()
        .map(|(part, rule)| rule_story(model, &part.to_string(), rule, subject, 0))
        .collect();
    if policy.include.is_empty() {
        rules.insert(
            0,
            ExplainedRule {
                rule: "include nobody".to_owned(),
                mark: Mark::NotMatched,
                result: "a policy without include rules never matches".to_owned(),
                rules: Vec::new(),
            },
        );
    }
    ExplainedPolicy { policy: Named(policy).to_string(), mark, result, rules }
}

fn rule_story(
    model: Model<'_>,
    part: &str,
    rule: &Rule,
    subject: Option<Subject<'_>>,
    depth: usize,
) -> ExplainedRule {
    let (mark, result) = match subject {
        Some(subject) => in_words(model.answer(rule, subject)),
        None => not_evaluated(),
    };
    let group = match rule {
        Rule::Group(id) if depth < SHOWN_GROUP_DEPTH => model.group(id),
        _ => None,
    };
    let mut rules = Vec::new();
    if let Some(group) = group {
        let parts =
            [("include", &group.include), ("require", &group.require), ("exclude", &group.exclude)];
        for (part, list) in parts {
            rules.extend(list.iter().map(|rule| rule_story(model, part, rule, subject, depth + 1)));
        }
    }
    ExplainedRule { rule: format!("{part} {}", rule.condition()), mark, result, rules }
}

fn in_words(answer: crate::answer::Answer) -> (Mark, String) {
    match answer.truth {
        truth if truth.is_true() => (Mark::Matched, "matched".to_owned()),
        truth if truth.is_false() => (Mark::NotMatched, "did not match".to_owned()),
        Truth::ASKABLE => (Mark::Unknown, "unknown until somebody is asked".to_owned()),
        _ => {
            let fact = answer.missing.map(|fact| format!("unknown, {fact} is not known"));
            (Mark::Unknown, fact.unwrap_or_else(|| "unknown".to_owned()))
        }
    }
}

fn not_evaluated() -> (Mark, String) {
    (Mark::NotEvaluated, "not evaluated".to_owned())
}

/// Deeper groups are shown without their rules.
const SHOWN_GROUP_DEPTH: usize = 3;
