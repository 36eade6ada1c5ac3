//! The answer to a request.

use std::time::Duration;

use crate::{
    application::Application,
    explanation::Explanation,
    judgement::Judgement,
    obligation::{Mfa, Obligations},
    outcome::{DenyClass, Outcome, Reason},
    policy::Policy,
    rule::Rule,
    terms::Terms,
    trace::Trace,
    visitor::VisitorReason,
};

/// What is to happen to a request, and why. It borrows from the engine and the request.
///
/// Making one allocates nothing, unless the path can be read in several ways. Reasons and
/// explanations are worked out when they are asked for.
#[derive(Debug, Clone)]
#[must_use]
pub struct Decision<'a>(pub(crate) Judgement<'a>);

impl<'a> Decision<'a> {
    /// Returns what is to happen.
    pub fn outcome(&self) -> Outcome {
        self.0.verdict.outcome
    }

    /// Reports whether the request goes to the origin: true for allow, service auth and bypass only.
    pub fn is_pass(&self) -> bool {
        self.0.verdict.outcome.is_pass()
    }

    /// Returns the application that decided, which is the strictest one if the path can be read in
    /// several ways. Sessions belong to it.
    pub fn application(&self) -> Option<&'a Application> {
        self.0.application()
    }

    /// Returns the policy that decided, or kept the request from being decided.
    pub fn policy(&self) -> Option<&'a Policy> {
        self.0.policy()
    }

    /// Returns why.
    pub fn reason(&self) -> Reason<'a> {
        self.0.reason()
    }

    /// Returns why, in a form that tells a visitor nothing about the policies.
    pub fn visitor_reason(&self) -> Option<VisitorReason> {
        VisitorReason::of(&self.0)
    }

    /// Returns the compact record of the decision.
    pub fn trace(&self) -> Trace {
        Trace::new(self.0.application, &self.0.verdict)
    }

    /// Returns how long a login lasts: by the policy, else the application, else the organisation,
    /// else 24 hours. `None` unless the outcome is [`Outcome::Allow`] or [`Outcome::ServiceAuth`].
    pub fn session_duration(&self) -> Option<Duration> {
        if !matches!(self.0.verdict.outcome, Outcome::Allow | Outcome::ServiceAuth) {
            return None;
        }
        Some(self.terms().session)
    }

    /// Returns what else is demanded of the visitor; `None` unless the outcome is
    /// [`Outcome::Allow`] and the policy demands something.
    pub fn obligations(&self) -> Option<&'a Obligations> {
        match self.0.verdict.outcome {
            Outcome::Allow => self.policy()?.obligations(),
            _ => None,
        }
    }

    /// Returns the second factor that is demanded: by the policy, else the application, else the
    /// organisation. `None` unless the outcome is [`Outcome::Allow`].
    pub fn mfa(&self) -> Option<&'a Mfa> {
        if self.0.verdict.outcome != Outcome::Allow {
            return None;
        }
        self.terms().mfa
    }

    /// Returns the external evaluations on which the decision depends, each as the URL to ask and
    /// that of its keys. Empty unless the outcome is [`Outcome::NeedsExternal`].
    pub fn external_calls(&self) -> Vec<(&'a str, &'a str)> {
        let mut calls = Vec::new();
        if let (Outcome::NeedsExternal, Some(policy)) = (self.0.verdict.outcome, self.policy()) {
            let rules = policy.rules().map(|(_, rule)| rule);
            self.collect_calls(rules, &mut calls);
        }
        calls
    }

    /// Works out the whole story, rule by rule. It costs far more than the decision.
    pub fn explain(&self) -> Explanation {
        Explanation::of(&self.0)
    }

    fn terms(&self) -> Terms<'a> {
        Terms::of(self.0.model, self.application(), self.policy())
    }

    fn collect_calls(
        &self,
        rules: impl Iterator<Item = &'a Rule>,
        calls: &mut Vec<(&'a str, &'a str)>,
    ) {
        for rule in rules {
            match rule {
                Rule::ExternalEvaluation { evaluate_url, keys_url } => {
                    let call = (&**evaluate_url, &**keys_url);
                    let answers = self.0.request.facts.external;
                    let is_open = answers.iter().all(|known| known.evaluate_url != call.0);
                    if is_open && !calls.contains(&call) {
                        calls.push(call);
                    }
                }
                Rule::Group(id) => {
                    if let Some(group) = self.0.model.group(id) {
                        self.collect_calls(group.rules(), calls);
                    }
                }
                _ => {}
            }
        }
    }
}

impl Decision<'_> {
    /// Returns the class of the refusal, if it is one.
    pub fn deny_class(&self) -> Option<DenyClass> {
        match self.0.verdict.outcome {
            Outcome::Deny(class) => Some(class),
            _ => None,
        }
    }
}
