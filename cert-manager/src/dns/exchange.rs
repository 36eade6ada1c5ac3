//! One question to one server, over TCP (RFC 7766).

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hickory_proto::{
    op::{Message, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record as WireRecord, RecordType as WireType, rdata::tsig::TsigError,
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{
    error::DnsError,
    record::{Record, RecordData, RecordName, RecordType},
    tsig::TsigKey,
};

/// Sends and receives, signed if there is a key; the answer is verified then.
pub(super) async fn exchange(
    server: SocketAddr,
    mut message: Message,
    key: Option<&TsigKey>,
) -> Result<Message, DnsError> {
    let unreachable =
        |source: Box<dyn std::error::Error + Send + Sync>| DnsError::Unreachable { server, source };
    let id = message.metadata.id;
    let verifier = match key {
        Some(key) => {
            message.finalize(&key.signer, unix_now()).map_err(|e| unreachable(e.into()))?
        }
        None => None,
    };
    let bytes = message.to_vec().map_err(|e| unreachable(e.into()))?;
    let answer = match timeout(PATIENCE, over_tcp(server, &bytes)).await {
        Ok(answer) => answer.map_err(|e| unreachable(e.into()))?,
        Err(elapsed) => return Err(unreachable(elapsed.into())),
    };
    let response = Message::from_vec(&answer).map_err(|e| unreachable(e.into()))?;
    if response.metadata.id != id {
        return Err(unreachable("it answered another question".into()));
    }
    if let Some(mut verifier) = verifier {
        // Who does not know the key cannot sign; such an answer is believed as a refusal only.
        if response.metadata.response_code == ResponseCode::NotAuth {
            return Err(not_authorized(server, &response));
        }
        verifier.verify(&answer).map_err(|e| unreachable(e.into()))?;
    }
    Ok(response)
}

async fn over_tcp(server: SocketAddr, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let length = u16::try_from(bytes.len()).map_err(|_| std::io::ErrorKind::InvalidInput)?;
    // In one write, so in one packet: some servers want it so.
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// RFC 8945 section 5.2; without a word of the key it is the zone that the server is not authoritative for
/// (RFC 2136 section 3.1.1).
fn not_authorized(server: SocketAddr, response: &Message) -> DnsError {
    match response.signature.as_ref().and_then(|record| record.data.error.as_ref()) {
        Some(TsigError::BadTime) => DnsError::Clock { server },
        Some(_) => DnsError::KeyRefused { server },
        None => DnsError::NotAuthoritative { server },
    }
}

/// A question without recursion, or with.
pub(super) fn question(
    name: &RecordName,
    wire_type: WireType,
    recursive: bool,
) -> Result<Message, DnsError> {
    let mut message = Message::query();
    message.metadata.recursion_desired = recursive;
    message.add_query(Query::query(wire_name(name)?, wire_type));
    Ok(message)
}

/// The records of one type that a server has, and those that its answer leads through.
pub(super) async fn look_up(
    server: SocketAddr,
    name: &RecordName,
    wire_type: WireType,
    recursive: bool,
    key: Option<&TsigKey>,
) -> Result<Message, DnsError> {
    let response = exchange(server, question(name, wire_type, recursive)?, key).await?;
    match response.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => Ok(response),
        ResponseCode::Refused => Err(DnsError::NoZone { server, name: name.clone() }),
        code => Err(DnsError::Answer { server, code: code.to_string() }),
    }
}

pub(super) fn wire_name(name: &RecordName) -> Result<Name, DnsError> {
    let mut wire = Name::from_ascii(name.as_str())
        .map_err(|_| DnsError::Name { text: name.to_string(), reason: "it cannot be sent" })?;
    wire.set_fqdn(true);
    Ok(wire)
}

pub(super) fn wire_type(record_type: RecordType) -> WireType {
    match record_type {
        RecordType::A => WireType::A,
        RecordType::Aaaa => WireType::AAAA,
        RecordType::Cname => WireType::CNAME,
        RecordType::Txt => WireType::TXT,
    }
}

pub(super) fn wire_data(data: &RecordData) -> Result<RData, DnsError> {
    use hickory_proto::rr::rdata::{A, AAAA, CNAME, TXT};
    Ok(match data {
        RecordData::A(address) => RData::A(A(*address)),
        RecordData::Aaaa(address) => RData::AAAA(AAAA(*address)),
        RecordData::Cname(name) => RData::CNAME(CNAME(wire_name(name)?)),
        RecordData::Txt(text) => RData::TXT(TXT::new(vec![text.clone()])),
    })
}

pub(super) fn wire_record(
    name: &RecordName,
    ttl: u32,
    data: &RecordData,
) -> Result<WireRecord, DnsError> {
    let mut record = WireRecord::from_rdata(wire_name(name)?, ttl, wire_data(data)?);
    record.dns_class = DNSClass::IN;
    Ok(record)
}

/// What this crate can read of a record; `None` for other types, and for names and texts that are not ours to
/// write.
pub(super) fn record(wire: &WireRecord) -> Option<Record> {
    let data = match &wire.data {
        RData::A(address) => RecordData::A(address.0),
        RData::AAAA(address) => RecordData::Aaaa(address.0),
        RData::CNAME(name) => RecordData::Cname(name.0.to_ascii().parse().ok()?),
        RData::TXT(texts) => {
            let bytes: Vec<u8> =
                texts.txt_data.iter().flat_map(|part| part.iter().copied()).collect();
            RecordData::Txt(String::from_utf8_lossy(&bytes).into_owned())
        }
        _ => return None,
    };
    Some(Record { name: wire.name.to_ascii().parse().ok()?, ttl: wire.ttl, data })
}

#[expect(clippy::disallowed_methods, reason = "signatures hold the time at which they are made")]
fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A server that has not answered by then is away.
const PATIENCE: Duration = Duration::from_secs(5);
