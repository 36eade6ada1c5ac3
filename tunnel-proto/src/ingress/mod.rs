//! Which origin answers which visitor: cloudflared's ingress rules.
//!
//! [`Configuration`] reads and checks rules, [`Ingress`] is the service over them, for
//! [`Connector::builder(..).service(..)`](crate::connector::Builder::service).
//!
//! # What differs from cloudflared
//!
//! - Everything wrong is told at once. Keys that mean nothing to their rule's service are errors, in a
//!   push too; unknown keys are errors in a file and ignored in a push. A key that states
//!   cloudflared's default asks for nothing and may stand anywhere.
//! - Hosts are compared without case.
//! - `access` above all rules holds for each rule.
//! - `access` may name any issuer: `issuer` is the `iss` of its tokens, `certsUrl` its JWK set
//!   (`/cdn-cgi/access/certs` below the issuer unless given). Its tokens may be signed with RS256
//!   or ES256; those of `teamName` with RS256.
//! - `access` that is `required` but lists no `audTag`, so that nobody could pass, is an error in a file; a
//!   push with it is taken, as cloudflared takes it.
//! - `access` that names `teamName`, `issuer` or `audTag` and not whether it is `required` is an error in a
//!   file: cloudflared checks nobody then. A push with it is taken as cloudflared takes it, with a
//!   warning in the log. `required: false` says that everybody may pass. A
//!   rule's `access` without `required` leaves in force what is required above all rules; in cloudflared it opens
//!   the rule.
//! - An issuer's keys are fetched anew after half an hour, and count for an hour unless the issuer can't be
//!   reached: a key that was withdrawn opens nothing for long. cloudflared keeps keys until it meets an
//!   unknown one.
//! - `http2Origin` speaks HTTP/2 without TLS to `http:` and `unix:`.
//! - `disableChunkedEncoding` reads a body of unknown length to its end first, up to 1 MiB; a
//!   longer one is answered with 411.
//! - `keepAliveConnections` is 1,024 unless set, for each origin; 0 keeps none. Where each host name has
//!   connections of its own (`http2Origin`, `matchSNItoHost`), it is at most
//!   [`ORIGIN_HOST_IDLE_CONNECTIONS`](crate::limits::ORIGIN_HOST_IDLE_CONNECTIONS) for each of
//!   [`ORIGIN_HOSTS`](crate::limits::ORIGIN_HOSTS) names.
//! - `ipRules` say what `bastion` may reach; cloudflared has them for `socks-proxy` only.
//! - `http_status:1xx` is refused: no visitor can get one as the whole answer.
//! - A duration of 0 is no limit, as in Go.
//! - `socks-proxy` is not offered, and proxies in the environment are not used.

mod access;
mod configuration;
mod dispatch;
mod duration;
mod environment;
mod file;
mod hostname;
mod network;
mod options;
mod path;
mod problem;
mod reader;
mod service;
mod settings;
mod table;
mod value;
mod yaml;

pub use self::{
    access::{Fetch, KeySource},
    configuration::{Configuration, Rule},
    dispatch::Ingress,
    environment::Environment,
    file::ConfigurationFile,
    problem::{Problem, Problems},
    service::Service,
    settings::Settings,
};
