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
    /// [`DnsError::Foreign`] where somebody else's records stand; [`DnsError::NoRoom`] where the target is a name and
    /// others' records stand at the host beside ours; else what the provider says. Nothing has changed then.
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
            self.check_room(&target).await?;
            let update = Update::new(replace(&target))
                .only_if([Condition::Is(mark_name.clone(), self.mark.clone())])
                .only_if(has_room(&target));
            if self.provider.apply(&update).await? == Applied::Done {
                let undo = found.into_iter().map(Change::Add).collect();
                self.confirm(&target, undo).await?;
                return Ok(Registered::Changed);
            }
        }
        Err(DnsError::Contended { name: host.clone() })
    }

    /// The same, whoever's records stand there: addresses, CNAMEs and marks of owners at the name are lost.
    ///
    /// # Errors
    ///
    /// [`DnsError::NoRoom`] where the target is a name and records stand at the host that would not be removed; else what
    /// the provider says. Nothing has changed then.
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
        self.check_room(&target).await?;
        let mut before = self.provider.find(host).await?;
        let marks = self.provider.find(&mark_name).await?;
        before.extend(marks.into_iter().filter(|it| it.data.record_type() == RecordType::Txt));
        let mut undo = vec![Change::RemoveAll(mark_name.clone(), RecordType::Txt)];
        undo.extend(before.into_iter().map(Change::Add));
        let mut changes = replace(&target);
        changes.extend([Change::RemoveAll(mark_name, RecordType::Txt), Change::Add(mark)]);
        let update = Update::new(changes).only_if(has_room(&target));
        match self.provider.apply(&update).await? {
            Applied::Done => {
                self.confirm(&target, undo).await?;
                Ok(Registered::Overwritten)
            }
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

    /// Before anything is taken away.
    async fn check_room(&self, target: &Record) -> Result<(), DnsError> {
        // Asked of the zone, as below.
        let nothing = Update::new([]).only_if(has_room(target));
        if nothing.conditions.is_empty() || self.provider.apply(&nothing).await? == Applied::Done {
            return Ok(());
        }
        let mut found = self.provider.find(&target.name).await?;
        found.retain(|it| it.data.record_type() == RecordType::Txt);
        Err(no_room(target, &found))
    }

    /// Looks whether a CNAME came to stand: records of types that nobody sees here keep it out as well. If not,
    /// brings back what stood there.
    async fn confirm(&self, target: &Record, undo: Vec<Change>) -> Result<(), DnsError> {
        if target.data.record_type() != RecordType::Cname {
            return Ok(());
        }
        let after = self.provider.find(&target.name).await?;
        if after.iter().any(|it| it.data == target.data) {
            return Ok(());
        }
        if !undo.is_empty() {
            let _always = self.provider.apply(&Update::new(undo)).await?;
        }
        Err(no_room(target, &after))
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
        Ok((!found.is_empty()).then(|| list(&found)))
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

/// Servers leave a CNAME out, without a word, that would stand beside other records (RFC 2136 section 3.4.2.2).
fn has_room(target: &Record) -> Option<Condition> {
    let is_alias = target.data.record_type() == RecordType::Cname;
    is_alias.then(|| Condition::HasNo(target.name.clone(), RecordType::Txt))
}

fn no_room(target: &Record, found: &[Record]) -> DnsError {
    let found = match found {
        [] => "of other types than A, AAAA, CNAME and TXT".to_owned(),
        found => list(found),
    };
    DnsError::NoRoom { name: target.name.clone(), found }
}

/// For a person to read.
fn list(found: &[Record]) -> String {
    let texts = found.iter().map(|it| format!("{} {} {}", it.name, it.data.record_type(), it.data));
    let texts: Vec<String> = texts.take(5).collect();
    texts.join(", ")
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
