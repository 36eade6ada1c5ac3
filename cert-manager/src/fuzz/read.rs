//! What is read from people, files and stores.

use crate::{
    acme::{Attempt, journal::StoredAccount},
    certificate::Certificate,
    dns::{RecordData, RecordName, RecordType, TsigKey},
    key::{PrivateKey, default_provider},
    manager::stored::{Changes, FailureLog, Hold},
    name::Name,
    record::Record,
    storage::Key,
};

/// A chain and its key in one text, as some files have them.
pub fn pem(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(key) = PrivateKey::from_pem(text) {
        let again = key.to_pem();
        assert!(PrivateKey::from_pem(again.expose()).is_ok(), "what is written can be read");
    }
    if let Ok(certificate) = Certificate::from_pem(text, text) {
        let (chain, key) = (certificate.chain_pem(), certificate.key_pem());
        let again = Certificate::from_pem(&chain, key.expose()).expect("it was good before");
        assert_eq!(again.chain(), certificate.chain());
        assert_eq!(again.serial(), certificate.serial());
    }
}

/// A name: what is taken has one form, and is taken again.
pub fn name(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(name) = text.parse::<Name>() {
        let written = name.to_string();
        assert!(written.len() <= 253, "{written}");
        assert_eq!(written.parse::<Name>().ok().as_ref(), Some(&name), "{written}");
    }
    if let Ok(key) = text.parse::<Key>() {
        assert!(!key.as_str().split('/').any(|part| part.is_empty() || part.starts_with('.')));
    }
}

/// Objects of a store: what can be read is written so that it is read again.
pub fn stored(data: &[u8]) {
    let Ok(key) = "certificates/fuzz.json".parse() else { return };
    if let Ok(Some(record)) = Record::read(&key, data) {
        let again = Record::read(&key, &record.write());
        assert_eq!(again.ok().flatten().as_ref(), Some(&record));
        let (leaf, window) = (record.leaf(), record.window());
        let _ = crate::lifecycle::renew_at(leaf, window);
        let certificate = record.certificate(&default_provider());
        let _ = certificate.and_then(|certificate| record.check(&certificate));
    }
    let _ = serde_json::from_slice::<Attempt>(data);
    let _ = serde_json::from_slice::<StoredAccount>(data);
    let log = serde_json::from_slice::<FailureLog>(data);
    let _ = log.map(|log| (log.count(), log.last().map(|last| (last.at(), last.retry_at()))));
    if let Ok(hold) = serde_json::from_slice::<Hold>(data) {
        let now = std::time::SystemTime::UNIX_EPOCH;
        assert!(Hold::after(Some(hold), now, None).until() > now);
    }
    let changes = Changes::of(data);
    // One that was cut says nothing, so all is read.
    assert!(changes.since(changes.count()).is_none_or(|last| last.is_empty()));
}

/// Keys, names and values of zones.
pub fn zone(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let _ = TsigKey::parse(text);
    if let Ok(name) = text.parse::<RecordName>() {
        assert_eq!(name.as_str().parse::<RecordName>().ok().as_ref(), Some(&name));
        assert!(name.parent().is_none_or(|parent| name.is_within(&parent)));
    }
    for kind in [RecordType::A, RecordType::Aaaa, RecordType::Cname, RecordType::Txt] {
        if let Ok(data) = RecordData::parse(kind, text) {
            assert_eq!(data.record_type(), kind);
        }
    }
}
