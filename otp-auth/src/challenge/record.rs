//! The bytes of a challenge, for stores outside this process.

use std::net::{IpAddr, Ipv6Addr};

use super::{Challenge, ChallengeId, DecoyReason};
use crate::timestamp::Timestamp;

impl Challenge {
    /// The record as bytes: 68 and the address. The id is not part of it; it is the key.
    ///
    /// Version 1: version, decoy, tries (1 byte each), generation, lifetime in milliseconds (4 each), issued in
    /// milliseconds (8), client as IPv6 (16), flags (1: 1 for IPv4, 2 for a known device), digest (32), address (the rest, ASCII); numbers
    /// big-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        // A script in Redis knows 0 and 1.
        let decoy = match self.decoy {
            None => 0,
            Some(DecoyReason::Denied) => 1,
            Some(DecoyReason::MailBudget) => 2,
            Some(DecoyReason::StartBudget) => 3,
            Some(DecoyReason::MailShare) => 4,
            Some(DecoyReason::NetworkMails) => 5,
        };
        let (client, is_v4) = match self.client {
            IpAddr::V4(v4) => (v4.to_ipv6_mapped(), true),
            IpAddr::V6(v6) => (v6, false),
        };
        let mut bytes = Vec::with_capacity(FIXED_BYTES + self.address.as_str().len());
        bytes.extend([VERSION, decoy, self.tries]);
        bytes.extend(self.generation.to_be_bytes());
        bytes.extend(self.lifetime_millis.to_be_bytes());
        bytes.extend(self.issued.as_unix_millis().to_be_bytes());
        bytes.extend(client.octets());
        bytes.push(u8::from(is_v4) | u8::from(self.is_known_device) << 1);
        bytes.extend(self.digest);
        bytes.extend(self.address.as_str().as_bytes());
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    ///
    /// Refuses anything else: bytes of another version, or spoiled ones. Treat it as an error of the
    /// store.
    pub fn from_bytes(id: ChallengeId, bytes: &[u8]) -> Result<Self, MalformedRecord> {
        let mut reader = Reader(bytes);
        let [version, decoy, tries] = reader.take()?;
        if version != VERSION {
            return Err(MalformedRecord);
        }
        let decoy = match decoy {
            0 => None,
            1 => Some(DecoyReason::Denied),
            2 => Some(DecoyReason::MailBudget),
            3 => Some(DecoyReason::StartBudget),
            4 => Some(DecoyReason::MailShare),
            5 => Some(DecoyReason::NetworkMails),
            _ => return Err(MalformedRecord),
        };
        let generation = u32::from_be_bytes(reader.take()?);
        let lifetime_millis = u32::from_be_bytes(reader.take()?);
        let issued = Timestamp::from_unix_millis(u64::from_be_bytes(reader.take()?));
        let client = Ipv6Addr::from(reader.take::<16>()?);
        let [flags] = reader.take()?;
        let client = match flags & 1 {
            0 => client.into(),
            _ => client.to_ipv4_mapped().ok_or(MalformedRecord)?.into(),
        };
        let is_known_device = match flags >> 1 {
            0 => false,
            1 => true,
            _ => return Err(MalformedRecord),
        };
        let digest = reader.take()?;
        let address = std::str::from_utf8(reader.0).map_err(|_| MalformedRecord)?;
        let address = address.parse().map_err(|_| MalformedRecord)?;
        Ok(Self {
            id,
            address,
            client,
            generation,
            digest,
            decoy,
            issued,
            lifetime_millis,
            tries,
            is_known_device,
        })
    }
}

/// Bytes that are no record of a challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stored challenge is malformed")]
pub struct MalformedRecord;

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], MalformedRecord> {
        let (first, rest) = self.0.split_first_chunk::<N>().ok_or(MalformedRecord)?;
        self.0 = rest;
        Ok(*first)
    }
}

const VERSION: u8 = 1;

const FIXED_BYTES: usize = 3 + 4 + 4 + 8 + 16 + 1 + 32;
