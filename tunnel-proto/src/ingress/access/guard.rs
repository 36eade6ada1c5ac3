//! What stands before a rule's service.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName, StatusCode};
use tracing::debug;

use super::{keys::Keyring, settings::AccessRule};
use crate::origin::{OriginError, OriginFailure};

/// The token that the edge adds to the requests it let pass.
const ASSERTION: HeaderName = HeaderName::from_static("cf-access-jwt-assertion");

/// Lets a request pass to a service, or not.
#[derive(Debug, Clone)]
pub(in crate::ingress) struct Guard {
    /// Nobody's keys let nobody pass.
    keys: Option<Arc<Keyring>>,
    audiences: Vec<String>,
}

impl Guard {
    pub(in crate::ingress) fn new(rule: &AccessRule, keys: Option<Arc<Keyring>>) -> Self {
        Self { keys, audiences: rule.audiences.clone() }
    }

    /// Checks the request's token, with the results of cloudflared: without one, or with one for
    /// somebody else, 403; a token that counts for nothing is an error of the connector's, 502.
    pub(in crate::ingress) async fn check(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let mut tokens = headers.get_all(ASSERTION).iter();
        let (token, rest) = (tokens.next(), tokens.next());
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return Err(Denied::Answer(StatusCode::FORBIDDEN));
        };
        // Two tokens are nobody's habit: which one was meant can't be told.
        let token = token.to_str().ok().filter(|_| rest.is_none());
        let (Some(token), Some(keys)) = (token, &self.keys) else {
            return Err(Denied::Error(OriginError::new(
                OriginFailure::Unknown,
                "the rule's `access` names no issuer, or the token is unclear",
            )));
        };
        let claims = keys
            .verify(token, unix_now())
            .await
            .map_err(|error| Denied::Error(OriginError::new(OriginFailure::Unknown, error)))?;
        if !claims.audiences.iter().any(|audience| self.audiences.contains(audience)) {
            debug!("a token for another application");
            return Err(Denied::Answer(StatusCode::FORBIDDEN));
        }
        Ok(())
    }
}

/// How a request is turned away.
#[derive(Debug)]
pub(in crate::ingress) enum Denied {
    /// As if the origin had said so.
    Answer(StatusCode),
    Error(OriginError),
}

#[expect(clippy::disallowed_methods, reason = "the shell that reads the clock for the check")]
fn unix_now() -> u64 {
    // Before 1970 every token is from the future.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
