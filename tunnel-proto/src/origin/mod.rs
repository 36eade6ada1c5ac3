//! What answers a visitor's request at the connector's end.

#[cfg(feature = "http-origin")]
mod bastion;
#[cfg(feature = "http-origin")]
mod body;
#[cfg(all(feature = "http-origin", feature = "tls"))]
mod danger;
#[cfg(feature = "http-origin")]
mod dial;
#[cfg(feature = "http-origin")]
mod fixed;
#[cfg(feature = "http-origin")]
mod frames;
#[cfg(feature = "http-origin")]
mod http;
#[cfg(feature = "http-origin")]
mod http_builder;
mod network;
#[cfg(feature = "http-origin")]
mod tcp;
#[cfg(feature = "http-origin")]
mod transport;

use std::{error::Error as StdError, fmt};

#[cfg(all(feature = "http-origin", feature = "tls"))]
pub use self::danger::danger_accept_any_certificate;
pub(crate) use self::network::Declined;
pub use self::network::PrivateNetwork;
#[cfg(feature = "http-origin")]
pub use self::{
    bastion::BastionOrigin,
    body::OriginBody,
    fixed::{HelloOrigin, StatusOrigin},
    http::HttpOrigin,
    http_builder::HttpOriginBuilder,
    tcp::TcpOrigin,
};
#[cfg(feature = "ingress")]
pub(crate) use self::{body::RequestBody, dial::TcpSettings, fixed::status};
pub use crate::stream::response::OriginFailure;

/// Why an origin gave no answer.
///
/// A service that fails with this (or has it among its error's sources) tells the edge what to
/// show the visitor. Any other error counts as [`OriginFailure::Unknown`].
#[derive(Debug)]
pub struct OriginError {
    failure: OriginFailure,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl OriginError {
    /// Wraps the error underneath.
    pub fn new(failure: OriginFailure, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { failure, source: Some(source.into()) }
    }

    /// What to tell the edge.
    pub fn failure(&self) -> OriginFailure {
        self.failure
    }

    /// Looks for the first of its kind in a chain of errors.
    pub(crate) fn failure_in(error: &(dyn StdError + 'static)) -> OriginFailure {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(origin) = error.downcast_ref::<Self>() {
                return origin.failure;
            }
            next = error.source();
        }
        OriginFailure::Unknown
    }
}

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.failure {
            OriginFailure::Unreachable => "the origin can't be reached",
            OriginFailure::TimedOut => "the origin took too long",
            OriginFailure::BrokeOff => "the origin broke off",
            OriginFailure::Unknown => "the origin gave no answer",
        })
    }
}

impl StdError for OriginError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
