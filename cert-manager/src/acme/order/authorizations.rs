//! How each name is shown to be ours.

use std::time::SystemTime;

use super::{Expect, Order, State, reason_of};
use crate::{
    acme::{
        challenge::{Challenge, ChallengeKind},
        resource::{Authorization, Offer},
        session::{Goal, Session},
    },
    failure::{Failure, FailureClass, excerpt},
};

impl Order {
    pub(super) fn read_next_authorization(
        &mut self,
        session: &Session,
        now: SystemTime,
    ) -> Result<(), Failure> {
        if let Some(url) = self.resource.authorizations.get(self.authorizations.len()) {
            self.state =
                State::Send(Goal::read(url, "read an authorization"), Expect::Authorization);
            return Ok(());
        }
        if let Some(dead) = self.authorizations.iter().find(|it| DEAD.contains(&it.status.as_str()))
        {
            return Err(end_of(dead));
        }
        let pending: Vec<_> =
            self.authorizations.iter().filter(|it| it.status == "pending").collect();
        let thumbprint = session.key().thumbprint();
        let mut challenges = Vec::new();
        let mut to_start = Vec::new();
        for authorization in &pending {
            let name = &authorization.identifier.value;
            // Nothing is shown in the name of what was not ordered.
            if !self.attempt.names.iter().any(|it| it.trim_start_matches("*.") == name) {
                let words = "an authorization is for a name that was not ordered";
                return Err(Failure::because(FailureClass::Rejected, "choose a challenge", words));
            }
            let (kind, offer) = self.choose(authorization)?;
            if offer.status == "pending" {
                to_start.push(offer.url.clone());
            }
            challenges.push(Challenge {
                kind,
                name: authorization.identifier.value.clone(),
                token: offer.token.clone(),
                key_authorization: format!("{}.{thumbprint}", offer.token),
            });
        }
        to_start.reverse();
        self.to_start = to_start;
        if challenges.is_empty() {
            // All are valid already; the order follows.
            self.wait(None, now);
        } else {
            self.attempt.challenges = challenges;
            // Whoever comes after a crash must know what to take away.
            self.state = State::Store(Box::new(State::Show));
        }
        Ok(())
    }

    /// The challenge by which a name is shown to be ours.
    fn choose<'a>(
        &self,
        authorization: &'a Authorization,
    ) -> Result<(ChallengeKind, &'a Offer), Failure> {
        let of_kind = |kind: ChallengeKind| {
            let mut offers = authorization.challenges.iter();
            let offer =
                offers.find(|offer| offer.kind == kind.as_str() && is_token(&offer.token))?;
            Some((kind, offer))
        };
        let usable =
            |kind: &&ChallengeKind| !authorization.wildcard || **kind == ChallengeKind::Dns01;
        self.wishes.kinds.iter().filter(usable).find_map(|kind| of_kind(*kind)).ok_or_else(|| {
            let offered: Vec<_> =
                authorization.challenges.iter().map(|offer| offer.kind.as_str()).collect();
            let star = if authorization.wildcard { "*." } else { "" };
            Failure::because(
                FailureClass::Rejected,
                "choose a challenge",
                format!(
                    "`{star}{}` can be validated by {}, none of which is set up here",
                    authorization.identifier.value,
                    offered.join(", ")
                ),
            )
        })
    }
}

/// RFC 8555 section 8.3: base64url. Anything else must not become part of a path or a file name.
fn is_token(token: &str) -> bool {
    (16..=256).contains(&token.len())
        && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Why an authorization that never becomes valid ends the order.
fn end_of(dead: &Authorization) -> Failure {
    let doing = "look at the authorizations";
    if let Some(mut problem) = reason_of(dead) {
        problem.clean();
        let failure = Failure::new(FailureClass::Validation, doing);
        return Failure { problem: Some(problem), ..failure };
    }
    let words = format!("an authorization is {}", excerpt(&dead.status));
    Failure::because(FailureClass::OrderGone, doing, words)
}

/// They never become valid again (RFC 8555 section 7.1.6).
const DEAD: [&str; 4] = ["invalid", "deactivated", "expired", "revoked"];
