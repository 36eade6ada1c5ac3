//! Identifiers that travel on the wire as sixteen raw bytes and print as UUIDs.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::error::{Error, ErrorKind};

macro_rules! id {
    ($(#[$docs:meta])* $name:ident) => {
        $(#[$docs])*
        ///
        /// Sixteen bytes on the wire, a hyphenated lower-case UUID in text.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps sixteen bytes, whatever they are.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// Makes a version 4 UUID out of sixteen random bytes.
            ///
            /// Six of the 128 bits are fixed by RFC 9562 section 5.4; the rest are kept.
            pub fn from_random_bytes(bytes: [u8; 16]) -> Self {
                Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
            }

            /// The sixteen bytes as they travel.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// Reads the bytes of a peer's message.
            ///
            /// # Errors
            ///
            /// Any length but sixteen is the peer's fault.
            pub(crate) fn from_wire(bytes: &[u8]) -> Result<Self, Error> {
                <[u8; 16]>::try_from(bytes).map(Self::from_bytes).map_err(|_| {
                    ErrorKind::Peer(format!(
                        concat!("a ", stringify!($name), " of {} bytes instead of 16"),
                        bytes.len()
                    ))
                    .into()
                })
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Uuid::try_parse(text).map(Self).map_err(|_| {
                    ErrorKind::Caller(format!("`{}` is not a UUID", text.escape_debug())).into()
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id! {
    /// Names a tunnel: one credential, any number of connectors, each with several connections.
    TunnelId
}

id! {
    /// Names one running connector process (`clientId` on the wire, "connector id" in logs).
    ConnectorId
}

id! {
    /// Names one registered connection; the edge draws it.
    ConnectionId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_agree() {
        let id: TunnelId = "11111111-2222-3333-4444-555555555555".parse().unwrap();
        assert_eq!(id.as_bytes()[..4], [0x11; 4]);
        assert_eq!(TunnelId::from_wire(id.as_bytes()).unwrap(), id);
        assert_eq!(id.to_string(), "11111111-2222-3333-4444-555555555555");
    }

    #[test]
    fn wrong_lengths_are_the_peers_fault() {
        for length in [0, 15, 17] {
            assert!(ConnectionId::from_wire(&vec![0; length]).unwrap_err().is_peer_fault());
        }
    }

    #[test]
    fn random_ids_are_version_4() {
        let id = ConnectorId::from_random_bytes([0xff; 16]);
        assert_eq!(id.to_string(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
