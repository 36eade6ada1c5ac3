//! A program of the user's changes a zone.
#![cfg(all(feature = "dns", feature = "ring", unix))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use cert_manager::dns::{
    Applied, Change, DnsError, DnsProvider as _, ExecHook, HostNames, Record, RecordData,
    RecordName, Registered, Update,
};
use tempfile::TempDir;

/// Keeps records as lines of a file: `NAME TYPE TTL VALUE`.
const HOOK: &str = r#"#!/bin/sh
set -eu
cd "$(dirname "$0")"
touch zone
case "$1" in
add) grep -qxF "$2 $3 $4 $5" zone || printf '%s\n' "$2 $3 $4 $5" >> zone ;;
remove) awk -v n="$2" -v t="$3" -v v="$4" '{ value = $0; sub(/^[^ ]+ [^ ]+ [^ ]+ /, "", value); if (!($1 == n && $2 == t && value == v)) print }' zone > next; mv next zone ;;
list) awk -v n="$2" '$1 == n { sub(/^[^ ]+ /, ""); print }' zone ;;
esac
"#;

fn hook(folder: &Path, text: &str) -> ExecHook {
    let path = folder.join("hook");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    ExecHook::new(path)
}

fn name(text: &str) -> RecordName {
    text.parse().unwrap()
}

fn add(value: &str) -> Update {
    let data = RecordData::Txt(value.into());
    Update::new([Change::Add(Record { name: name("a.test"), ttl: 60, data })])
}

#[tokio::test]
async fn it_is_told_each_change_and_registers_host_names() {
    let folder = TempDir::new().unwrap();
    let hook = hook(folder.path(), HOOK);
    for value in ["one $HOME; \"x\"", "two"] {
        assert_eq!(hook.apply(&add(value)).await.unwrap(), Applied::Done);
    }
    let change = Change::Remove(name("a.test"), RecordData::Txt("two".into()));
    assert_eq!(hook.apply(&Update::new([change])).await.unwrap(), Applied::Done);
    let zone = || fs::read_to_string(folder.path().join("zone")).unwrap();
    assert_eq!(zone(), "a.test TXT 60 one $HOME; \"x\"\n", "no shell reads it");

    let hook = Arc::new(hook);
    let ours = HostNames::new(hook.clone(), "edge-1").unwrap();
    let theirs = HostNames::new(hook, "edge-2").unwrap();
    let (host, edge) = (name("saito.test"), RecordData::Cname(name("edge.test")));
    assert_eq!(ours.register(&host, &edge).await.unwrap(), Registered::Created);
    assert_eq!(ours.register(&host, &edge).await.unwrap(), Registered::Unchanged);
    let other = RecordData::A([192, 0, 2, 1].into());
    assert_eq!(ours.register(&host, &other).await.unwrap(), Registered::Changed);
    assert!(zone().contains("saito.test A 300 192.0.2.1\n") && !zone().contains("CNAME"));
    assert!(matches!(theirs.register(&host, &edge).await.unwrap_err(), DnsError::Foreign { .. }));
    assert!(ours.remove(&host).await.unwrap());
    assert_eq!(zone(), "a.test TXT 60 one $HOME; \"x\"\n");
}

#[tokio::test]
async fn its_failures_are_told() {
    let folder = TempDir::new().unwrap();
    let failing = hook(folder.path(), "#!/bin/sh\necho 'no such zone' >&2; exit 3\n");
    let error = failing.apply(&add("x")).await.unwrap_err().to_string();
    assert!(error.contains("exit status: 3: no such zone"), "{error}");

    let hanging = hook(folder.path(), "#!/bin/sh\nexec sleep 1000\n");
    let error = hanging.patience(Duration::from_millis(200)).apply(&add("x")).await;
    assert!(error.unwrap_err().to_string().contains("did not end"));

    let noisy =
        hook(folder.path(), "#!/bin/sh\nhead -c 10000000 /dev/zero | tr '\\0' x >&2; exit 1\n");
    let error = noisy.apply(&add("x")).await.unwrap_err().to_string();
    assert!(error.len() < 100_000, "{}", error.len());

    let missing = ExecHook::new(folder.path().join("nothing"));
    let error = missing.apply(&add("x")).await.unwrap_err().to_string();
    assert!(error.contains("cannot be run"), "{error}");

    let lying = hook(folder.path(), "#!/bin/sh\necho 'MX 1 x'\n");
    assert!(lying.find(&name("a.test")).await.is_err());
}
