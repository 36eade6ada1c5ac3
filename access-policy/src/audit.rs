//! Records of decisions, to be kept, read by programs, and asked again.

use serde::{Deserialize, Serialize};

use crate::{
    decision::Decision,
    engine::Engine,
    error::{Error, Kind},
    scenario::Scenario,
    suite::outcome_name,
    trace::Mark,
};

/// What was decided, by which configuration, on which facts.
///
/// # Security
///
/// It holds the visitor's addresses and the names of policies.
///
/// ```
/// use access_policy::{AuditRecord, Engine, Policies, Request};
///
/// let engine = Engine::compile(Policies::default())?;
/// let request = Request::new("wiki.example.jp", "/")?;
/// let record = AuditRecord::of(&engine, &engine.decide(&request));
/// let json = serde_json::to_string(&record).unwrap();
/// let again: AuditRecord = serde_json::from_str(&json).unwrap();
/// assert!(again.replay(&engine)?);
/// # Ok::<(), access_policy::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct AuditRecord {
    /// Which configuration decided: [`Engine::digest`].
    pub engine: String,
    /// What was known about the request.
    pub request: Scenario,
    /// The outcome, as in expectations.
    pub outcome: String,
    /// The id of the application.
    pub application: Option<String>,
    /// The id of the policy.
    pub policy: Option<String>,
    /// The reason in one line.
    pub reason: String,
    /// How the first 32 policies came out.
    pub marks: Vec<Mark>,
}

impl AuditRecord {
    /// Writes a decision down.
    pub fn of(engine: &Engine, decision: &Decision<'_>) -> Self {
        Self {
            engine: engine.digest().to_owned(),
            request: Scenario::of(decision.0.request),
            outcome: outcome_name(decision.outcome()).to_owned(),
            application: decision.application().map(|application| application.id.clone()),
            policy: decision.policy().map(|policy| policy.id.clone()),
            reason: decision.reason().to_string(),
            marks: decision.trace().marks().collect(),
        }
    }

    /// Reports whether an engine of the same configuration decides in the same way today.
    ///
    /// # Errors
    ///
    /// When the engine has another configuration, or the record was tampered with so that its
    /// request can't be read.
    pub fn replay(&self, engine: &Engine) -> Result<bool, Error> {
        if engine.digest() != self.engine {
            let problem = "the record was made by another configuration";
            return Err(Kind::Contradiction(problem).into());
        }
        self.request.ask(|request| Self::of(engine, &engine.decide(request)) == *self)
    }
}
