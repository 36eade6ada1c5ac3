//! Records in zones that can be changed while all runs: answers to DNS-01, and the host names of tunnels.
//!
//! [`Rfc2136`] changes zones of BIND, Knot and everything else that speaks dynamic updates; [`ExecHook`]
//! runs a program of yours; for all else implement [`DnsProvider`]. [`HostNames`] registers names and never
//! overwrites what somebody else wrote, unless told. [`Authority`] asks the servers of a zone what they show.
//!
//! ```no_run
//! # async fn f() -> Result<(), cert_manager::dns::DnsError> {
//! use std::sync::Arc;
//! use cert_manager::dns::{HostNames, Registered, RecordData, Rfc2136, TsigKey};
//!
//! let key = TsigKey::parse(&std::fs::read_to_string("tsig.key").unwrap_or_default())?;
//! let zone = Arc::new(Rfc2136::new(([192, 0, 2, 53], 53).into(), key));
//! let names = HostNames::new(zone, "edge-1")?;
//! let target = RecordData::Cname("edge.example.jp".parse()?);
//! let registered = names.register(&"saito.example.jp".parse()?, &target).await?;
//! assert_eq!(registered, Registered::Created);
//! # Ok(()) }
//! ```

mod authority;
mod error;
mod exchange;
mod exec;
mod host_names;
mod record;
mod rfc2136;
#[cfg(feature = "acme")]
mod solver;
mod tsig;
mod update;

#[cfg(feature = "acme")]
#[cfg_attr(docsrs, doc(cfg(all(feature = "acme", feature = "dns"))))]
pub use self::solver::{Dns01, Propagation};
pub use self::{
    authority::{Authority, NameServer, ServerList},
    error::DnsError,
    exec::ExecHook,
    host_names::{HostNames, Registered},
    record::{Record, RecordData, RecordName, RecordType},
    rfc2136::Rfc2136,
    tsig::TsigKey,
    update::{Applied, Change, Condition, DnsProvider, DnsWork, Update},
};
