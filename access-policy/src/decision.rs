//! The answer to a request.

use std::time::Duration;

use crate::{
    application::Application,
    evaluate::Verdict,
    explanation::Explanation,
    outcome::{Outcome, Reason},
    policy::Policy,
    request::Request,
};

/// What is to happen to a request, and why. It borrows from the engine and the request.
#[derive(Debug, Clone)]
#[must_use]
pub struct Decision<'a> {
    request: &'a Request<'a>,
    application: Option<&'a Application>,
    /// Applications under which other readings of the path fall.
    rivals: Vec<&'a Application>,
    verdict: Verdict<'a>,
}

impl<'a> Decision<'a> {
    pub(crate) fn new(
        request: &'a Request<'a>,
        application: Option<&'a Application>,
        rivals: Vec<&'a Application>,
        verdict: Verdict<'a>,
    ) -> Self {
        Self { request, application, rivals, verdict }
    }

    /// Returns what is to happen.
    pub fn outcome(&self) -> Outcome {
        self.verdict.outcome
    }

    /// Reports whether the request goes to the origin: true for allow and bypass only.
    pub fn is_pass(&self) -> bool {
        self.verdict.outcome.is_pass()
    }

    /// Returns the application that decided, which is the strictest one if the path can be read in
    /// several ways. Sessions belong to it.
    pub fn application(&self) -> Option<&'a Application> {
        self.application
    }

    /// Returns the policy that decided, or kept the request from being decided.
    pub fn policy(&self) -> Option<&'a Policy> {
        self.verdict.policy
    }

    /// Returns why.
    pub fn reason(&self) -> &Reason<'a> {
        &self.verdict.reason
    }

    /// Returns how long a login lasts: by the policy, else the application, else 24 hours. `None`
    /// unless the outcome is [`Outcome::Allow`].
    pub fn session_duration(&self) -> Option<Duration> {
        if self.verdict.outcome != Outcome::Allow {
            return None;
        }
        let of_policy = self.verdict.policy.and_then(|policy| policy.session_duration);
        let of_application = || self.application.and_then(|app| app.session_duration);
        of_policy.or_else(of_application).or(Some(DEFAULT_SESSION_DURATION))
    }

    /// Works out the whole story, rule by rule. It costs far more than the decision.
    pub fn explain(&self) -> Explanation {
        Explanation::of(self.request, self.application, &self.rivals, &self.verdict)
    }
}

/// Cloudflare's default.
const DEFAULT_SESSION_DURATION: Duration = Duration::from_secs(24 * 60 * 60);
