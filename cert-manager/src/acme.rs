//! Certificates from public authorities, by ACME (RFC 8555).
//!
//! [`Acme`] is the client: an account at one authority, with [`Solver`]s that show control over names. Below it everything is
//! plain data and state machines without sockets: requests and responses, what an authority's refusal means
//! ([`Failure`]), and the journal of an attempt ([`Attempt`]), which is stored before each act so that a process that is
//! killed at any point goes on with the same key and the same order.
//!
//! | To | Use |
//! |---|---|
//! | get a certificate | [`Acme::obtain`], [`Acme::renew`] |
//! | know when to renew it | [`Acme::renewal_info`] and [`lifecycle::decide`](crate::lifecycle::decide) |
//! | answer at `/.well-known/acme-challenge/` | [`Http01`] |
//! | answer in TLS handshakes | [`TlsAlpn01`] |
//! | answer on a node that did not order | [`Http01::shared`], [`TlsAlpn01::shared`] |
//! | answer by DNS, or in a way of your own | [`Solver`] |

mod account;
mod attempt;
mod builder;
mod challenge;
mod client;
mod connection;
pub(crate) mod http;
pub(crate) mod journal;
pub(crate) mod order;
mod problem;
mod renewal;
mod resource;
pub(crate) mod session;
mod shared;
mod solver;
#[cfg(test)]
mod tests;
mod wait;

pub use crate::{
    failure::{Failure, FailureClass, Identifier, Problem, Subproblem},
    lifecycle::RenewalInfo,
};

pub use self::{
    account::{AccountKey, ExternalAccount},
    attempt::Attempt,
    builder::Builder,
    challenge::{Challenge, ChallengeKind, HTTP_PREFIX},
    client::Acme,
    resource::{Directory, Meta},
    solver::{Http01, SolveError, Solver, TlsAlpn01, Work},
};
