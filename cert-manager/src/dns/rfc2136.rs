//! Dynamic updates (RFC 2136), signed (RFC 8945).

use std::net::SocketAddr;

use hickory_proto::{
    op::{Message, OpCode, Query, ResponseCode},
    rr::{DNSClass, Record as WireRecord, RecordType as WireType},
};

use super::{
    error::DnsError,
    exchange::{exchange, look_up, record, wire_name, wire_record, wire_type},
    record::{Record, RecordName, RecordType},
    tsig::TsigKey,
    update::{Applied, Change, Condition, DnsProvider, DnsWork, Update},
};

/// Changes zones at their primary server by signed messages over TCP: BIND, Knot and others.
///
/// Each [`Update`] is one message, and the server does all of it or nothing. The zone is found by asking the server,
/// unless given. Behind BIND's `update-policy`, `grant KEY zonesub TXT;` is enough for DNS-01; host names of tunnels
/// need `zonesub ANY` or the types A, AAAA, CNAME and TXT.
#[derive(Clone, Debug)]
pub struct Rfc2136 {
    server: SocketAddr,
    key: TsigKey,
    zone: Option<RecordName>,
}

impl Rfc2136 {
    /// Sends updates to this server, the zone's primary.
    pub fn new(server: SocketAddr, key: TsigKey) -> Self {
        Self { server, key, zone: None }
    }

    /// Does not ask for the zone: all names lie in this one.
    #[must_use]
    pub fn zone(mut self, zone: RecordName) -> Self {
        self.zone = Some(zone);
        self
    }

    /// The zone that holds the name, by the authority record that the server shows for it.
    async fn zone_of(&self, name: &RecordName) -> Result<RecordName, DnsError> {
        let no_zone = || DnsError::NoZone { server: self.server, name: name.clone() };
        if let Some(zone) = &self.zone {
            return name.is_within(zone).then(|| zone.clone()).ok_or_else(no_zone);
        }
        let mut at = Some(name.clone());
        while let Some(candidate) = at {
            let answer = look_up(self.server, &candidate, WireType::SOA, false, None).await?;
            let mut records = answer.answers.iter().chain(&answer.authorities);
            let found = records.find(|record| record.record_type() == WireType::SOA);
            let zone = found.and_then(|record| record.name.to_ascii().parse().ok());
            if let Some(zone) = zone.filter(|zone| name.is_within(zone)) {
                return Ok(zone);
            }
            // An alias leads out of the zone; its parent lies within.
            at = candidate.parent();
        }
        Err(no_zone())
    }

    async fn send(&self, update: &Update) -> Result<Applied, DnsError> {
        let changed = update.changes.iter().map(Change::name);
        let mut names = changed.chain(update.conditions.iter().map(Condition::name));
        let name = names.next().ok_or(DnsError::Value("an update of nothing"))?;
        let zone = self.zone_of(name).await?;
        let mut message = Message::query();
        message.metadata.op_code = OpCode::Update;
        message.metadata.recursion_desired = false;
        let mut query = Query::query(wire_name(&zone)?, WireType::SOA);
        query.set_query_class(DNSClass::IN);
        message.add_query(query);
        for condition in &update.conditions {
            message.answers.push(wire_condition(condition)?);
        }
        for change in &update.changes {
            message.authorities.push(wire_change(change)?);
        }
        let server = self.server;
        let answer = exchange(server, message, Some(&self.key)).await?;
        match answer.metadata.response_code {
            ResponseCode::NoError => Ok(Applied::Done),
            ResponseCode::YXDomain
            | ResponseCode::YXRRSet
            | ResponseCode::NXRRSet
            | ResponseCode::NXDomain => Ok(Applied::ConditionFailed),
            ResponseCode::Refused => Err(DnsError::PolicyRefused { server, name: name.clone() }),
            ResponseCode::NotZone => Err(DnsError::NoZone { server, name: name.clone() }),
            code => Err(DnsError::Answer { server, code: code.to_string() }),
        }
    }
}

impl DnsProvider for Rfc2136 {
    fn find<'a>(&'a self, name: &'a RecordName) -> DnsWork<'a, Vec<Record>> {
        Box::pin(async move {
            let mut found: Vec<Record> = Vec::new();
            for wanted in RecordType::ALL {
                let answer = look_up(self.server, name, wire_type(wanted), false, None).await?;
                for record in answer.answers.iter().filter_map(record) {
                    if record.name == *name && !found.contains(&record) {
                        found.push(record);
                    }
                }
            }
            Ok(found)
        })
    }

    fn apply<'a>(&'a self, update: &'a Update) -> DnsWork<'a, Applied> {
        Box::pin(self.send(update))
    }
}

/// RFC 2136 section 2.4.
fn wire_condition(condition: &Condition) -> Result<WireRecord, DnsError> {
    Ok(match condition {
        Condition::NameIsFree(name) => empty(name, WireType::ANY, DNSClass::NONE)?,
        Condition::HasNo(name, it) => empty(name, wire_type(*it), DNSClass::NONE)?,
        Condition::Is(name, data) => wire_record(name, 0, data)?,
    })
}

/// RFC 2136 section 2.5.
fn wire_change(change: &Change) -> Result<WireRecord, DnsError> {
    Ok(match change {
        Change::Add(record) => wire_record(&record.name, record.ttl, &record.data)?,
        Change::Remove(name, data) => {
            let mut wire = wire_record(name, 0, data)?;
            wire.dns_class = DNSClass::NONE;
            wire
        }
        Change::RemoveAll(name, it) => empty(name, wire_type(*it), DNSClass::ANY)?,
    })
}

fn empty(name: &RecordName, it: WireType, class: DNSClass) -> Result<WireRecord, DnsError> {
    let mut wire = WireRecord::update0(wire_name(name)?, 0, it).into_record_of_rdata();
    wire.dns_class = class;
    Ok(wire)
}
