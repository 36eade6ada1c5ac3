//! Host names that point at an edge, with a mark of who registered them.

use std::{fmt, sync::Arc};

use super::{
    error::DnsError,
    record::{Record, RecordData, RecordName, RecordType},
    update::{Applied, Change, Condition, DnsProvider, Update},
};

/// Registers host names in a zone, and removes them.
///
/// Beside each name stands a TXT record with the owner's name: `_sekimori.saito.example.jp` for
/// `saito.example.jp`. What has no such mark, or another owner's, is foreign and left alone, unless
/// [`overwrite`](Self::overwrite) is called. With a provider that updates in one step ([`Rfc2136`](super::Rfc2136)),
/// two that register one name at once cannot both win.
#[derive(Clone)]
pub struct HostNames {
    provider: Arc<dyn DnsProvider>,
    mark: RecordData,
    ttl: u32,
}

impl HostNames {
    /// Registers for `owner`: 1 to 63 letters, digits, `-`, `_` and `.`, the same at each start, and another for
    /// each edge that writes into the zone.
    ///
    /// # Errors
    ///
    /// An owner of another form.
    pub fn new(provider: Arc<dyn DnsProvider>, owner: &str) -> Result<Self, DnsError> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if !(1..=63).contains(&owner.len()) || !owner.bytes().all(is_plain) {
            return Err(DnsError::Value("an owner has 1 to 63 letters, digits, `-`, `_` and `.`"));
        }
        let mark = RecordData::Txt(format!("{HERITAGE}{owner}"));
        Ok(Self { provider, mark, ttl: DEFAULT_TTL })
    }

    /// For how many seconds resolvers keep the records. Default 300.
    #[must_use]
    pub fn ttl(mut self, seconds: u32) -> Self {
        self.ttl = seconds;
        self
    }

    /// Points the host at the target: a name (CNAME) or an address. Registering again changes the target.
    ///
    /// # Errors
    ///
    /// [`DnsError::Foreign`] where somebody else's records stand; else what the provider says.
    ///
    /// # Cancel safety
    ///
    /// The name may be registered or not. Call it again.
    pub async fn register(
        &self,
        host: &RecordName,
        target: &RecordData,
    ) -> Result<Registered, DnsError> {
        let mark_name = mark_name(host)?;
        let target = Record { name: host.clone(), ttl: self.ttl, data: target.clone() };
        let mark = Record { name: mark_name.clone(), ttl: self.ttl, data: self.mark.clone() };
        for _ in 0..ROUNDS {
            let create = Update::new([Change::Add(mark.clone()), Change::Add(target.clone())])
                .only_if(is_free(host, &mark_name));
            if self.provider.apply(&create).await? == Applied::Done {
                return Ok(Registered::Created);
            }
            if !self.is_ours(&mark_name).await? {
                if let Some(found) = self.foreign(host, &mark_name).await? {
                    return Err(DnsError::Foreign { name: host.clone(), found });
                }
                // It has gone meanwhile.
                continue;
            }
            let found = self.provider.find(host).await?;
            if found.iter().any(|it| it.data == target.data) && addresses(&found).count() == 1 {
                return Ok(Registered::Unchanged);
            }
            let update = Update::new(replace(&target))
                .only_if([Condition::Is(mark_name.clone(), self.mark.clone())]);
            if self.provider.apply(&update).await? == Applied::Done {
                return Ok(Registered::Changed);
            }
        }
        Err(DnsError::Contended { name: host.clone() })
    }

    /// The same, whoever's records stand there: addresses, CNAMEs and marks of owners at the name are lost.
    ///
    /// # Errors
    ///
    /// What the provider says.
    ///
    /// # Cancel safety
    ///
    /// As [`register`](Self::register).
    pub async fn overwrite(
        &self,
        host: &RecordName,
        target: &RecordData,
    ) -> Result<Registered, DnsError> {
        match self.register(host, target).await {
            Err(DnsError::Foreign { .. }) => {}
            other => return other,
        }
        let mark_name = mark_name(host)?;
        let target = Record { name: host.clone(), ttl: self.ttl, data: target.clone() };
        let mark = Record { name: mark_name.clone(), ttl: self.ttl, data: self.mark.clone() };
        let mut changes = replace(&target);
        changes.extend([Change::RemoveAll(mark_name, RecordType::Txt), Change::Add(mark)]);
        match self.provider.apply(&Update::new(changes)).await? {
            Applied::Done => Ok(Registered::Overwritten),
            Applied::ConditionFailed => Err(DnsError::Contended { name: host.clone() }),
        }
    }

    /// Removes what [`register`](Self::register) wrote; whether there was something.
    ///
    /// # Errors
    ///
    /// [`DnsError::Foreign`] where somebody else's records stand; else what the provider says.
    ///
    /// # Cancel safety
    ///
    /// The name may be removed or not. Call it again.
    pub async fn remove(&self, host: &RecordName) -> Result<bool, DnsError> {
        let mark_name = mark_name(host)?;
        for _ in 0..ROUNDS {
            if !self.is_ours(&mark_name).await? {
                return match self.foreign(host, &mark_name).await? {
                    Some(found) => Err(DnsError::Foreign { name: host.clone(), found }),
                    None => Ok(false),
                };
            }
            let mut changes = clear(host);
            changes.push(Change::Remove(mark_name.clone(), self.mark.clone()));
            let update =
                Update::new(changes).only_if([Condition::Is(mark_name.clone(), self.mark.clone())]);
            if self.provider.apply(&update).await? == Applied::Done {
                return Ok(true);
            }
        }
        Err(DnsError::Contended { name: host.clone() })
    }

    async fn is_ours(&self, mark_name: &RecordName) -> Result<bool, DnsError> {
        let found = self.provider.find(mark_name).await?;
        Ok(found.iter().any(|record| record.data == self.mark))
    }

    /// What stands at the name that is not ours, for a person to read.
    async fn foreign(
        &self,
        host: &RecordName,
        mark_name: &RecordName,
    ) -> Result<Option<String>, DnsError> {
        // Asked of the zone: an answer to a question may come from a wildcard.
        let nothing = Update::new([]).only_if(is_free(host, mark_name));
        if self.provider.apply(&nothing).await? == Applied::Done {
            return Ok(None);
        }
        let mut found = self.provider.find(host).await?;
        let marks = self.provider.find(mark_name).await?;
        found.extend(marks.into_iter().filter(|it| it.data.record_type() == RecordType::Txt));
        let texts =
            found.iter().map(|it| format!("{} {} {}", it.name, it.data.record_type(), it.data));
        let texts: Vec<String> = texts.take(5).collect();
        Ok((!texts.is_empty()).then(|| texts.join(", ")))
    }
}

impl fmt::Debug for HostNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostNames")
            .field("provider", &self.provider)
            .field("mark", &self.mark)
            .field("ttl", &self.ttl)
            .finish()
    }
}

/// The answer of [`HostNames::register`].
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// Nothing stood there.
    Created,
    /// It was ours and pointed elsewhere.
    Changed,
    /// It was there already.
    Unchanged,
    /// Somebody else's records stood there and are gone.
    Overwritten,
}

/// `_sekimori.HOST`; for a wildcard, which has nothing below it, `_sekimori-any.REST`.
fn mark_name(host: &RecordName) -> Result<RecordName, DnsError> {
    match host.as_str().strip_prefix("*.") {
        Some(rest) => format!("_sekimori-any.{rest}").parse(),
        None => host.child("_sekimori"),
    }
}

fn is_free(host: &RecordName, mark_name: &RecordName) -> [Condition; 2] {
    let has_no_mark = Condition::HasNo(mark_name.clone(), RecordType::Txt);
    [Condition::NameIsFree(host.clone()), has_no_mark]
}

fn replace(target: &Record) -> Vec<Change> {
    let mut changes = clear(&target.name);
    changes.push(Change::Add(target.clone()));
    changes
}

fn clear(host: &RecordName) -> Vec<Change> {
    let types = [RecordType::A, RecordType::Aaaa, RecordType::Cname];
    types.map(|record_type| Change::RemoveAll(host.clone(), record_type)).into()
}

fn addresses(found: &[Record]) -> impl Iterator<Item = &Record> {
    found.iter().filter(|it| it.data.record_type() != RecordType::Txt)
}

const HERITAGE: &str = "heritage=sekimori,owner=";

const DEFAULT_TTL: u32 = 300;

/// How often a name may change under our hands.
const ROUNDS: usize = 4;
