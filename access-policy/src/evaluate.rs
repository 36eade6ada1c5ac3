//! The walk through the policies of one application.

use crate::{
    application::Application,
    outcome::{DenyClass, Outcome, Reason},
    policy::{Action, Policy},
    request::Request,
    rule::Rule,
    truth::{Fact, Gap, Truth},
};

/// What the walk came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdict<'a> {
    pub(crate) outcome: Outcome,
    pub(crate) policy: Option<&'a Policy>,
    pub(crate) reason: Reason<'a>,
}

/// Judges a request by the policies of one application.
///
/// `visit` learns of each policy that was asked, in order, with its answer.
pub(crate) fn evaluate<'a>(
    application: &'a Application,
    request: &Request<'_>,
    visit: &mut dyn FnMut(&'a Policy, Truth),
) -> Verdict<'a> {
    let mut verdict = walk(application, request, visit);
    if verdict.outcome == Outcome::Deny(DenyClass::Identity) {
        // Would nobody else have fared better either? Then it is not about who the visitor is.
        let anyone = walk(application, &request.clone().without_identity(), &mut |_, _| {});
        if anyone.outcome == Outcome::Deny(DenyClass::NonIdentity) {
            verdict.outcome = Outcome::Deny(DenyClass::NonIdentity);
        }
    }
    verdict
}

fn walk<'a>(
    application: &'a Application,
    request: &Request<'_>,
    visit: &mut dyn FnMut(&'a Policy, Truth),
) -> Verdict<'a> {
    let is_logged_in = request.known_identity().is_some();
    let refused =
        Outcome::Deny(if is_logged_in { DenyClass::Identity } else { DenyClass::NonIdentity });
    // The first allow policy that a login could satisfy: while there is one, nobody who has not
    // logged in is refused for good.
    let mut open: Option<Verdict<'a>> = None;
    // The first policy that might have let the visitor pass, had a fact been known.
    let mut gap: Option<Verdict<'a>> = None;

    for policy in application.policies_in_order() {
        let truth = policy.evaluate(request);
        visit(policy, truth);
        match (policy.decision, truth) {
            (_, Truth::False)
            // The login, if it comes, will tell.
            | (Action::Deny | Action::Bypass, Truth::Unknown(Gap::NeedsIdentity))
            // INVARIANT: `Engine::compile` refuses service policies; they grant nothing anyway.
            | (Action::NonIdentity, _) => {}
            (Action::Bypass, Truth::True) => return matched(policy, Outcome::Bypass, request),
            (Action::Allow, Truth::True) if is_logged_in => {
                return matched(policy, Outcome::Allow, request);
            }
            (Action::Allow, Truth::True | Truth::Unknown(Gap::NeedsIdentity)) => {
                open.get_or_insert_with(|| login_needed(policy));
            }
            // Missing facts never grant.
            (Action::Allow | Action::Bypass, Truth::Unknown(Gap::Missing(fact))) => {
                gap.get_or_insert_with(|| fact_missing(policy, fact));
            }
            (Action::Deny, Truth::True) => {
                return open.unwrap_or_else(|| matched(policy, refused, request));
            }
            (Action::Deny, Truth::Unknown(Gap::Missing(fact))) => {
                return open.unwrap_or_else(|| fact_missing(policy, fact));
            }
        }
    }
    open.or(gap).unwrap_or(Verdict {
        outcome: refused,
        policy: None,
        reason: Reason::NoPolicyMatched { application },
    })
}

fn matched<'a>(policy: &'a Policy, outcome: Outcome, request: &Request<'_>) -> Verdict<'a> {
    // INVARIANT: a policy matches only through an include rule.
    let rule = policy.matching_rule(request).unwrap_or(&Rule::Everyone);
    Verdict { outcome, policy: Some(policy), reason: Reason::PolicyMatched { policy, rule } }
}

fn login_needed(policy: &Policy) -> Verdict<'_> {
    let outcome = Outcome::NeedsIdentity;
    Verdict { outcome, policy: Some(policy), reason: Reason::LoginNeeded { policy } }
}

fn fact_missing(policy: &Policy, fact: Fact) -> Verdict<'_> {
    let outcome = Outcome::Deny(DenyClass::MissingFact);
    Verdict { outcome, policy: Some(policy), reason: Reason::FactMissing { policy, fact } }
}
