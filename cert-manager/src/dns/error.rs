//! What can go wrong with a zone.

use std::{error, net::SocketAddr};

use super::record::RecordName;

/// Why a zone was not changed, or not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DnsError {
    /// The text is no name of a record.
    #[error("`{text}` is no name of a DNS record: {reason}")]
    Name {
        /// What was given, at most 300 characters.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The text is no TSIG key.
    #[error("the TSIG key cannot be used: {0}")]
    Key(&'static str),
    /// A value that records of this kind do not hold.
    #[error("the value cannot be a record: {0}")]
    Value(&'static str),
    /// The server does not know the key, or does not accept what it signed (BADKEY, BADSIG). Knot says so too where
    /// its rules do not let the key do this.
    #[error(
        "{server} does not accept the TSIG key: compare its name, algorithm and secret with the server's, and what \
         the server lets it change"
    )]
    KeyRefused {
        /// Which server.
        server: SocketAddr,
    },
    /// The server's clock and ours differ by more than five minutes (BADTIME).
    #[error("{server} has another time than this machine: set both clocks")]
    Clock {
        /// Which server.
        server: SocketAddr,
    },
    /// The server's policy does not let the key do this (REFUSED).
    #[error("{server} does not let the key change `{name}`: allow it in the zone's update policy")]
    PolicyRefused {
        /// Which server.
        server: SocketAddr,
        /// What was to be changed.
        name: RecordName,
    },
    /// The server holds no zone with this name in it.
    #[error("{server} has no zone that holds `{name}`")]
    NoZone {
        /// Which server.
        server: SocketAddr,
        /// What was to be changed.
        name: RecordName,
    },
    /// The server is not authoritative for the zone (NOTAUTH): it is no primary of it.
    #[error("{server} is not authoritative for the zone: send updates to its primary server")]
    NotAuthoritative {
        /// Which server.
        server: SocketAddr,
    },
    /// The server answered with another error.
    #[error("{server} answered {code}")]
    Answer {
        /// Which server.
        server: SocketAddr,
        /// The code's name, such as `Server Failure`.
        code: String,
    },
    /// No answer, or one that cannot be read.
    #[error("{server} could not be asked")]
    Unreachable {
        /// Which server.
        server: SocketAddr,
        /// Why.
        source: Box<dyn error::Error + Send + Sync>,
    },
    /// No name server is known for this name.
    #[error("no name server of `{name}` could be found")]
    NoServers {
        /// Whose.
        name: RecordName,
    },
    /// These servers do not show the value yet.
    #[error("`{name}` is not to be seen at {}", list(.missing))]
    NotSeen {
        /// The record.
        name: RecordName,
        /// Where it is missing.
        missing: Vec<SocketAddr>,
    },
    /// Somebody else's records stand there.
    #[error(
        "`{name}` holds records that are not ours ({found}): remove them, or say that they may be overwritten"
    )]
    Foreign {
        /// Which name.
        name: RecordName,
        /// What stands there.
        found: String,
    },
    /// An alias (CNAME) cannot stand beside other records (RFC 1034 section 3.6.2).
    #[error(
        "`{name}` cannot be an alias beside its other records ({found}): remove them, or point it at an address"
    )]
    NoRoom {
        /// Which name.
        name: RecordName,
        /// What stands there.
        found: String,
    },
    /// The records changed under our hands again and again.
    #[error("`{name}` is being changed by somebody else")]
    Contended {
        /// Which name.
        name: RecordName,
    },
    /// The hook failed.
    #[error("the hook `{program}` failed: {reason}")]
    Hook {
        /// Which program.
        program: String,
        /// Its exit status and the end of what it said, or why it could not be run.
        reason: String,
    },
    /// A provider of yours failed.
    #[error("the DNS provider failed")]
    Provider(#[source] Box<dyn error::Error + Send + Sync>),
}

impl DnsError {
    /// Wraps what a provider of yours says.
    pub fn provider(source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self::Provider(source.into())
    }
}

fn list(servers: &[SocketAddr]) -> String {
    let texts: Vec<String> = servers.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
