//! Expectations of administrators: who must reach what, and who must not.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    catalog::Model,
    decision::Decision,
    engine::Engine,
    error::{Error, Kind},
    limits,
    node::Node,
    outcome::{DenyClass, Named, Outcome},
    policy::Policy,
    scenario::Scenario,
};

/// A file of expectations, as JSON or, through serde, TOML.
///
/// ```
/// use access_policy::{Engine, Policies, Suite};
///
/// let engine = Engine::compile(Policies::from_json(r#"{"applications": [{
///     "domain": "app.example.com/admin",
///     "policies": [{"name": "staff", "decision": "allow",
///                   "include": [{"email_domain": {"domain": "example.com"}}]}]
/// }]}"#)?)?;
/// let suite = Suite::from_json(r#"{"expectations": [
///     {"name": "contractors cannot reach /admin", "expect": "deny",
///      "host": "app.example.com", "path": "/admin", "email": "contractor@other.example"},
///     {"name": "staff can", "expect": "allow", "policy": "staff",
///      "host": "app.example.com", "path": "/admin", "email": "a@example.com"}
/// ]}"#)?;
/// let report = suite.run(&engine);
/// assert!(report.passed(), "{report}");
/// # Ok::<(), access_policy::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Suite {
    /// The expectations, in the order of the file.
    pub expectations: Vec<Expectation>,
}

/// One expectation: a [`Scenario`], and what must come of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Expectation {
    /// What is expected, in a sentence.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// `allow`, `service auth`, `bypass`, `login`, `external`, `preflight`, `deny`, `deny identity`,
    /// `deny non_identity`, `deny missing_fact`, `deny no_application`, `deny ambiguous_path`,
    /// `deny token_invalid`, `deny token_forbidden`, `deny preflight`; or `pass` for any that passes.
    pub expect: String,
    /// The name of the application that must have decided, or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    /// The name of the policy that must have decided, or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The exact reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The request.
    #[serde(flatten)]
    pub scenario: Scenario,
}

/// What became of a suite. `Display` tells failures, and rules that no expectation needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SuiteReport {
    /// How many expectations were met.
    pub met: usize,
    /// Those that were not.
    pub failures: Vec<Failure>,
    /// How much of the configuration the suite exercises.
    pub coverage: Coverage,
}

/// An expectation that was not met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Failure {
    /// The name of the expectation, or its position.
    pub name: String,
    /// What was expected and what came.
    pub problem: String,
    /// The explanation of the decision.
    pub explanation: String,
}

/// Which policies and rules a suite exercised.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Coverage {
    /// How many policies there are.
    pub policies: usize,
    /// Policies that never decided, with their applications.
    pub undecided_policies: Vec<String>,
    /// How many rules there are.
    pub rules: usize,
    /// Rules that were never both true and not true.
    pub untested_rules: Vec<String>,
}

impl Suite {
    /// Reads a suite.
    ///
    /// # Errors
    ///
    /// When the text is not JSON, has an unknown field or outcome, contradicts itself, or expects nothing.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        Node::from_json(text.as_bytes())?;
        let suite: Self =
            serde_json::from_str(text).map_err(|error| Kind::Syntax(error.to_string()))?;
        if suite.expectations.is_empty() {
            return Err(Kind::MissingField("expectations").into());
        }
        Ok(suite)
    }

    /// Asks the engine about every expectation.
    pub fn run(&self, engine: &Engine) -> SuiteReport {
        let mut report =
            SuiteReport { met: 0, failures: Vec::new(), coverage: Coverage::default() };
        let mut seen = Seen::default();
        for (position, expectation) in self.expectations.iter().enumerate() {
            let checked = expectation.scenario.ask(|request| {
                let decision = engine.decide(request);
                seen.note(engine.model(), &decision);
                expectation
                    .check(&decision)
                    .map_err(|problem| (problem, decision.explain().to_string()))
            });
            let failure = match checked {
                Ok(Ok(())) => {
                    report.met += 1;
                    continue;
                }
                Ok(Err(failure)) => failure,
                Err(_) if expectation.expect == "bad request" => {
                    report.met += 1;
                    continue;
                }
                Err(error) => (error.to_string(), String::new()),
            };
            let name = if expectation.name.is_empty() {
                format!("expectation {position}")
            } else {
                expectation.name.clone()
            };
            report.failures.push(Failure { name, problem: failure.0, explanation: failure.1 });
        }
        report.coverage = seen.coverage(engine.model());
        report
    }
}

impl Expectation {
    fn check(&self, decision: &Decision<'_>) -> Result<(), String> {
        let found = outcome_name(decision.outcome());
        let is_met = match self.expect.as_str() {
            "pass" => decision.is_pass(),
            "deny" => matches!(decision.outcome(), Outcome::Deny(_)),
            exact => exact == found,
        };
        let tell = |what: &str, expected: &str, found: &str| {
            Err(format!("{what}: expected `{expected}`, found `{found}`"))
        };
        if !is_met {
            return tell("outcome", &self.expect, found);
        }
        if let Some(expected) = &self.application {
            let found = decision.application().map_or("none", |application| &application.name);
            if found != expected {
                return tell("application", expected, found);
            }
        }
        if let Some(expected) = &self.policy {
            let found = decision.policy().map_or("none", |policy| &policy.name);
            if found != expected {
                return tell("policy", expected, found);
            }
        }
        match &self.reason {
            Some(expected) if *expected != decision.reason().to_string() => {
                tell("reason", expected, &decision.reason().to_string())
            }
            _ => Ok(()),
        }
    }
}

/// By hand, because serde can't refuse unknown fields of flattened structures.
impl<'de> Deserialize<'de> for Expectation {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;

        let Node::Object(members) = Node::deserialize(deserializer)? else {
            return Err(D::Error::custom("an expectation is an object"));
        };
        let mut expectation = Self {
            name: String::new(),
            expect: String::new(),
            application: None,
            policy: None,
            reason: None,
            scenario: Scenario::default(),
        };
        let mut rest = Vec::new();
        for (name, node) in members {
            match (&*name, node) {
                ("name", Node::String(text)) => expectation.name = text.into_owned(),
                ("expect", Node::String(text)) => expectation.expect = text.into_owned(),
                ("application", Node::String(text)) => {
                    expectation.application = Some(text.into_owned());
                }
                ("policy", Node::String(text)) => expectation.policy = Some(text.into_owned()),
                ("reason", Node::String(text)) => expectation.reason = Some(text.into_owned()),
                (_, node) => rest.push((name, node)),
            }
        }
        if expectation.expect.is_empty() {
            return Err(D::Error::missing_field("expect"));
        }
        if !EXPECTED.contains(&&*expectation.expect) {
            let found = limits::excerpt(&expectation.expect);
            let known = EXPECTED.join("`, `");
            return Err(D::Error::custom(format!("`{found}` is no outcome; known are `{known}`")));
        }
        let text = serde_json::to_string(&Node::Object(rest)).map_err(D::Error::custom)?;
        expectation.scenario = serde_json::from_str(&text).map_err(D::Error::custom)?;
        if let Some(problem) = expectation.scenario.contradiction() {
            return Err(D::Error::custom(problem));
        }
        Ok(expectation)
    }
}

impl SuiteReport {
    /// Reports whether every expectation was met.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

impl fmt::Display for SuiteReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(formatter, "FAILED {}: {}", failure.name, failure.problem)?;
            for line in failure.explanation.lines() {
                writeln!(formatter, "    {line}")?;
            }
        }
        let coverage = &self.coverage;
        for policy in &coverage.undecided_policies {
            writeln!(formatter, "never decided: {policy}")?;
        }
        for rule in &coverage.untested_rules {
            writeln!(formatter, "never tried both ways: {rule}")?;
        }
        write!(
            formatter,
            "{} met, {} failed; {} of {} policies decided, {} of {} rules tried both ways",
            self.met,
            self.failures.len(),
            coverage.policies - coverage.undecided_policies.len(),
            coverage.policies,
            coverage.rules - coverage.untested_rules.len(),
            coverage.rules,
        )
    }
}

/// Policies and rules by position: application, policy, rule.
#[derive(Default)]
struct Seen {
    decided: BTreeSet<(usize, usize)>,
    matched: BTreeSet<(usize, usize, usize)>,
    unmatched: BTreeSet<(usize, usize, usize)>,
}

impl Seen {
    fn note(&mut self, model: Model<'_>, decision: &Decision<'_>) {
        let trace = decision.trace();
        let (Some(at), Some(application)) = (trace.application(), decision.application()) else {
            return;
        };
        if let Some(policy) = trace.policy() {
            self.decided.insert((at, policy));
        }
        let asked = model.in_order(application).take(trace.policies_asked());
        for (position, policy) in asked {
            for (number, (_, rule)) in policy.rules().enumerate() {
                let truth = model.answer(rule, decision.0.request.subject()).truth;
                let seen = if truth.is_true() { &mut self.matched } else { &mut self.unmatched };
                seen.insert((at, position, number));
            }
        }
    }

    fn coverage(&self, model: Model<'_>) -> Coverage {
        let mut coverage = Coverage::default();
        for (at, application) in model.policies.applications.iter().enumerate() {
            for (position, policy) in model.in_order(application) {
                let name = format!("application `{}`, {}", application.name, Named(policy));
                coverage.policies += 1;
                if !self.decided.contains(&(at, position)) {
                    coverage.undecided_policies.push(name.clone());
                }
                self.rules(&mut coverage, (at, position), policy, &name);
            }
        }
        coverage
    }

    fn rules(
        &self,
        coverage: &mut Coverage,
        (at, position): (usize, usize),
        policy: &Policy,
        name: &str,
    ) {
        for (number, (part, rule)) in policy.rules().enumerate() {
            coverage.rules += 1;
            let key = (at, position, number);
            // `everyone` has only one way.
            let is_constant = matches!(rule, crate::rule::Rule::Everyone);
            let is_tried =
                self.matched.contains(&key) && (is_constant || self.unmatched.contains(&key));
            if !is_tried {
                coverage.untested_rules.push(format!("{name}, {part} {}", rule.condition()));
            }
        }
    }
}

/// What can be expected.
const EXPECTED: [&str; 17] = [
    "pass",
    "allow",
    "service auth",
    "bypass",
    "login",
    "external",
    "preflight",
    "deny",
    "deny identity",
    "deny non_identity",
    "deny missing_fact",
    "deny no_application",
    "deny ambiguous_path",
    "deny token_invalid",
    "deny token_forbidden",
    "deny preflight",
    "bad request",
];

/// The name of an outcome in expectations and audit records.
pub(crate) fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Allow => "allow",
        Outcome::ServiceAuth => "service auth",
        Outcome::Bypass => "bypass",
        Outcome::NeedsIdentity => "login",
        Outcome::NeedsExternal => "external",
        Outcome::RespondPreflight => "preflight",
        Outcome::Deny(DenyClass::Identity) => "deny identity",
        Outcome::Deny(DenyClass::NonIdentity) => "deny non_identity",
        Outcome::Deny(DenyClass::MissingFact) => "deny missing_fact",
        Outcome::Deny(DenyClass::NoApplication) => "deny no_application",
        Outcome::Deny(DenyClass::AmbiguousPath) => "deny ambiguous_path",
        Outcome::Deny(DenyClass::ServiceTokenInvalid) => "deny token_invalid",
        Outcome::Deny(DenyClass::ServiceTokenForbidden) => "deny token_forbidden",
        Outcome::Deny(DenyClass::Preflight) => "deny preflight",
    }
}
