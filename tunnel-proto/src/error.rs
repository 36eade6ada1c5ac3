//! One error for the whole crate, sorted by whose fault it is.

use std::{error::Error as StdError, fmt, time::Duration};

/// What went wrong in a tunnel.
///
/// The predicates answer what a caller does next; the text is for people. Its `source` holds the
/// error underneath, if there is one.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    limit: Option<&'static str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Whose fault, then what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// Our caller handed us something that can't work.
    Caller(String),
    /// The peer broke the protocol.
    Peer(String),
    /// The edge said no to a registration.
    Refused { cause: String, retry_after: Option<Duration> },
    /// The peer comes too often.
    Denied(String),
    /// The connection is gone or can't be made.
    Network(String),
    /// No connection can take the request just now.
    Busy,
    /// No connector of the tunnel is connected.
    Offline,
    /// The connector is there, but what it was asked to reach is not.
    Unreachable(String),
    /// The other side gave up on this stream.
    Cancelled,
    /// The other side has not looked at the request.
    Untouched,
    /// The other side ended the connection because it was asked too much of.
    Overburdened,
    /// A bug, ours or in code that our caller gave us.
    Internal(String),
}

impl Error {
    /// Whether the same call may succeed later without a change by anybody.
    pub fn is_retryable(&self) -> bool {
        match &self.kind {
            ErrorKind::Network(_)
            | ErrorKind::Denied(_)
            | ErrorKind::Busy
            | ErrorKind::Offline
            | ErrorKind::Unreachable(_)
            | ErrorKind::Untouched
            | ErrorKind::Overburdened
            | ErrorKind::Internal(_) => true,
            ErrorKind::Refused { retry_after, .. } => retry_after.is_some(),
            ErrorKind::Caller(_) | ErrorKind::Peer(_) | ErrorKind::Cancelled => false,
        }
    }

    /// How long the edge asked a refused connector to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match &self.kind {
            ErrorKind::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The edge's own words when it refused a registration.
    pub fn refusal(&self) -> Option<&str> {
        match &self.kind {
            ErrorKind::Refused { cause, .. } => Some(cause),
            _ => None,
        }
    }

    /// Whether the peer broke the protocol, or comes too often.
    pub fn is_peer_fault(&self) -> bool {
        matches!(self.kind, ErrorKind::Peer(_) | ErrorKind::Denied(_))
    }

    /// Whether the caller passed something that can't work.
    pub fn is_caller_fault(&self) -> bool {
        matches!(self.kind, ErrorKind::Caller(_))
    }

    /// Whether no connector of the tunnel is connected.
    pub fn is_offline(&self) -> bool {
        self.kind == ErrorKind::Offline
    }

    /// Whether every connection of the tunnel is full.
    pub fn is_busy(&self) -> bool {
        self.kind == ErrorKind::Busy
    }

    /// Whether the connector can't reach the address of a TCP flow, or must not.
    pub fn is_unreachable(&self) -> bool {
        matches!(self.kind, ErrorKind::Unreachable(_))
    }

    /// Whether a connection under the call is gone.
    pub(crate) fn is_network(&self) -> bool {
        matches!(self.kind, ErrorKind::Network(_))
    }

    /// Whether nobody has seen anything of the request, so that it can be sent again whatever it is.
    pub(crate) fn is_untouched(&self) -> bool {
        self.kind == ErrorKind::Untouched
    }

    /// What became of a request that got no answer.
    pub(crate) fn unanswered(error: h2::Error) -> Self {
        if is_untouched(&error) {
            Self::untouched(error)
        } else if is_overburdened(&error) {
            Self::from(ErrorKind::Overburdened).with_source(error)
        } else {
            error.into()
        }
    }

    /// What became of a request that `h2` did not even take.
    pub(crate) fn unsent(error: h2::Error) -> Self {
        let is_lost = error.is_io() || error.is_go_away();
        if is_lost { Self::untouched(error) } else { error.into() }
    }

    fn untouched(error: h2::Error) -> Self {
        Self::from(ErrorKind::Untouched).with_source(error)
    }

    /// Whose fault it is in a word, for metrics.
    #[cfg(feature = "metrics")]
    pub(crate) fn reason(&self) -> &'static str {
        match &self.kind {
            ErrorKind::Caller(_) => "caller",
            ErrorKind::Peer(_) => "peer",
            ErrorKind::Denied(_) => "denied",
            ErrorKind::Refused { .. } => "refused",
            ErrorKind::Network(_) => "network",
            ErrorKind::Busy => "busy",
            ErrorKind::Offline => "offline",
            ErrorKind::Unreachable(_) => "unreachable",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::Untouched => "untouched",
            ErrorKind::Overburdened => "overburdened",
            ErrorKind::Internal(_) => "internal",
        }
    }

    /// The bound that was reached, by its name in [`limits`](crate::limits), if one was.
    pub fn limit(&self) -> Option<&'static str> {
        self.limit
    }

    /// The connection under a tunnel broke.
    pub(crate) fn broken(error: std::io::Error) -> Self {
        // What watches over the bytes of a connection says more than that it broke.
        error.downcast().unwrap_or_else(|error| {
            Self::from(ErrorKind::Network("the tunnel connection broke".into())).with_source(error)
        })
    }

    /// The same for one more listener, without its source.
    pub(crate) fn again(&self) -> Self {
        Self { kind: self.kind.clone(), limit: self.limit, source: None }
    }

    /// Names the bound that was reached.
    pub(crate) fn with_limit(mut self, name: &'static str) -> Self {
        self.limit = Some(name);
        self
    }

    pub(crate) fn with_source(
        mut self,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ErrorKind::Caller(what)
            | ErrorKind::Network(what)
            | ErrorKind::Unreachable(what)
            | ErrorKind::Internal(what) => f.write_str(what),
            ErrorKind::Peer(what) => write!(f, "the peer broke the tunnel protocol: {what}"),
            ErrorKind::Denied(what) => write!(f, "the source address is refused: {what}"),
            ErrorKind::Refused { cause, .. } => {
                write!(f, "the edge refused the registration: {}", cause.escape_debug())
            }
            ErrorKind::Busy => f.write_str("every connection of the tunnel is full"),
            ErrorKind::Offline => f.write_str("no connector of the tunnel is connected"),
            ErrorKind::Cancelled => f.write_str("the other side gave up on the stream"),
            ErrorKind::Untouched => f.write_str("the other side did not take the request"),
            ErrorKind::Overburdened => {
                f.write_str("the other side ended the connection because it was asked too much of")
            }
        }?;
        match self.limit {
            Some(limit) => write!(f, " ({limit})"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self { kind, limit: None, source: None }
    }
}

impl From<h2::Error> for Error {
    fn from(error: h2::Error) -> Self {
        let kind = if error.is_io() {
            ErrorKind::Network("the tunnel connection broke".into())
        } else if error.is_go_away() {
            ErrorKind::Network("the peer closed the tunnel connection".into())
        } else if error.is_reset() && error.is_remote() {
            ErrorKind::Cancelled
        } else {
            ErrorKind::Peer("an HTTP/2 error".into())
        };
        Self::from(kind).with_source(error)
    }
}

impl From<capnp::Error> for Error {
    fn from(error: capnp::Error) -> Self {
        let limit = match error.kind {
            capnp::ErrorKind::ReadLimitExceeded => Some("RPC_TRAVERSALS"),
            capnp::ErrorKind::NestingLimitExceeded => Some("RPC_NESTING"),
            _ => None,
        };
        let what = "an unreadable message on the control stream";
        Self { limit, ..Self::from(ErrorKind::Peer(what.into())) }.with_source(error)
    }
}

/// Whether HTTP/2 itself says of a request without an answer that it was not looked at (RFC 9113 section
/// 8.7). Of a stream, `h2` says GOAWAY only if its number is above the last that the peer took.
pub(crate) fn is_untouched(error: &h2::Error) -> bool {
    let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    error.is_remote() && ((error.is_go_away() && !is_overburdened(error)) || is_refused)
}

/// Whether a peer ended the connection because of too much load (RFC 9113 section 7). It may not have looked
/// at a request (section 6.8), but that may be what was too much: whoever sends it again somewhere else
/// takes the load there, and the next connection with it.
pub(crate) fn is_overburdened(error: &h2::Error) -> bool {
    let is_too_much = error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM);
    error.is_remote() && error.is_go_away() && is_too_much
}

/// An error and its sources in one line, for a log.
pub(crate) fn one_line(error: &(dyn StdError + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        line = format!("{line}: {error}");
        source = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_named() {
        let error = Error::from(ErrorKind::Busy).with_limit("STREAM_WAIT");
        assert_eq!(error.limit(), Some("STREAM_WAIT"));
        assert_eq!(error.to_string(), "every connection of the tunnel is full (STREAM_WAIT)");
    }

    #[test]
    fn a_refusal_says_whether_to_come_back() {
        let refused = |retry_after| {
            Error::from(ErrorKind::Refused { cause: "no\nsuch tunnel".into(), retry_after })
        };
        assert!(!refused(None).is_retryable());
        assert!(refused(Some(Duration::from_secs(3))).is_retryable());
        assert_eq!(
            refused(None).to_string(),
            "the edge refused the registration: no\\nsuch tunnel"
        );
    }
}
