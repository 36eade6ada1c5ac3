//! The walk through the policies of one application.

use crate::{
    outcome::{DenyClass, Outcome},
    policy::Action,
    program::{Program, Run},
    request::Subject,
    truth::Truth,
};

/// What the walk came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    pub(crate) why: Why,
    /// The policy behind it, by its position in the application's list.
    pub(crate) policy: Option<u32>,
    /// Two bits for each of the first 32 policies that were asked: how it came out.
    pub(crate) marks: u64,
    /// How many policies were asked.
    pub(crate) asked: u32,
}

/// What kind of reason there is; the words are found later, if somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Matched,
    LoginNeeded,
    ExternalNeeded,
    FactMissing,
    NothingMatched,
    NoApplication,
    AmbiguousPath,
    Preflight,
    ServiceToken,
}

/// Judges a subject by the policies of one application, known by its position.
pub(crate) fn evaluate(program: &Program, application: usize, subject: Subject<'_>) -> Verdict {
    let mut verdict = walk(program, application, subject);
    if verdict.outcome == Outcome::Deny(DenyClass::Identity) {
        // Would nobody else have fared better either? Then it is not about who the visitor is.
        let anyone = walk(program, application, Subject { identity: None, ..subject });
        if anyone.outcome == Outcome::Deny(DenyClass::NonIdentity) {
            verdict.outcome = Outcome::Deny(DenyClass::NonIdentity);
        }
    }
    verdict
}

/// Judges by bypass and service policies alone.
pub(crate) fn evaluate_first_phase(
    program: &Program,
    application: usize,
    subject: Subject<'_>,
) -> Option<Verdict> {
    let verdict = walk(program, application, subject);
    let is_first = matches!(verdict.outcome, Outcome::Bypass | Outcome::ServiceAuth);
    is_first.then_some(verdict)
}

fn walk(program: &Program, application: usize, subject: Subject<'_>) -> Verdict {
    let is_logged_in = subject.identity.is_some();
    let refused =
        Outcome::Deny(if is_logged_in { DenyClass::Identity } else { DenyClass::NonIdentity });
    let run = Run::new(program, subject);
    // The first allow policy that a login could satisfy: while there is one, nobody who has not
    // logged in is refused for good.
    let mut open = None;
    // The first policy that might have let the visitor pass, had a fact been known.
    let mut gap = None;
    let mut verdict =
        Verdict { outcome: refused, why: Why::NothingMatched, policy: None, marks: 0, asked: 0 };

    let span = program.applications.get(application).copied().unwrap_or_default();
    for policy in span.of(&program.policies) {
        let truth = run.matches(&policy.clauses);
        verdict.note(truth);
        let at = Some(policy.position);
        let decides = |mut verdict: Verdict, outcome, why| {
            (verdict.outcome, verdict.why, verdict.policy) = (outcome, why, at);
            verdict
        };
        match policy.action {
            _ if truth.is_false() => {}
            Action::Bypass if truth.is_true() => {
                return decides(verdict, Outcome::Bypass, Why::Matched);
            }
            Action::NonIdentity if truth.is_true() => {
                return decides(verdict, Outcome::ServiceAuth, Why::Matched);
            }
            Action::Allow if truth.is_true() && is_logged_in => {
                return decides(verdict, Outcome::Allow, Why::Matched);
            }
            Action::Allow if truth.could_be_true() && is_logged_in => {
                return decides(verdict, Outcome::NeedsExternal, Why::ExternalNeeded);
            }
            Action::Allow if truth.could_be_true() => {
                open = open.or(at);
            }
            // The login, if it comes, will tell.
            Action::Bypass | Action::NonIdentity if truth.could_be_true() => {}
            // Missing facts never grant.
            Action::Allow | Action::Bypass | Action::NonIdentity => gap = gap.or(at),
            Action::Deny if truth.could_be_false() && !truth.is_true() => {
                if is_logged_in {
                    return decides(verdict, Outcome::NeedsExternal, Why::ExternalNeeded);
                }
            }
            Action::Deny if open.is_some() => break,
            Action::Deny if truth.is_true() => return decides(verdict, refused, Why::Matched),
            Action::Deny => {
                let outcome = Outcome::Deny(DenyClass::MissingFact);
                return decides(verdict, outcome, Why::FactMissing);
            }
        }
    }
    if open.is_some() {
        (verdict.outcome, verdict.why) = (Outcome::NeedsIdentity, Why::LoginNeeded);
        verdict.policy = open;
    } else if gap.is_some() {
        (verdict.outcome, verdict.why) = (Outcome::Deny(DenyClass::MissingFact), Why::FactMissing);
        verdict.policy = gap;
    }
    verdict
}

impl Verdict {
    /// A verdict that no policy had a part in.
    pub(crate) fn without_policy(outcome: Outcome, why: Why) -> Self {
        Self { outcome, why, policy: None, marks: 0, asked: 0 }
    }

    fn note(&mut self, truth: Truth) {
        let mark = if truth.is_true() {
            1
        } else if truth.is_false() {
            2
        } else {
            3
        };
        if self.asked < 32 {
            self.marks |= mark << (2 * self.asked);
        }
        self.asked += 1;
    }
}
