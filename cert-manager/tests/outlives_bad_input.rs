//! What is broken is named, moved aside and replaced, and keeps nothing else from serving.
#![cfg(all(feature = "ring", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

#[path = "support/faults.rs"]
mod faults;
mod support;

use std::{
    collections::BTreeSet,
    env, fs,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use cert_manager::{
    DirectoryStore, Manager, NameError, PrivateCa,
    lifecycle::Health,
    manager::{Builder, Event, NextStep},
    storage::{Entry, Found, Key, MemoryStore, Storage, Version, Work},
};
use faults::{Clock, Faulty};
use support::{DAY, start};
use tokio::time::sleep;

const MINUTE: Duration = Duration::from_secs(60);

fn ca() -> Arc<PrivateCa> {
    Arc::new(PrivateCa::generate("Test CA", start()).unwrap())
}

fn serial(manager: &Manager, name: &str) -> String {
    manager.resolver().get(Some(name)).unwrap().serial().to_string()
}

/// For `a.jp`.
fn one_name(issuer: &Faulty, store: &Arc<MemoryStore>, clock: &Clock) -> Builder {
    let builder = Manager::builder().issuer(issuer.clone()).storage(Arc::clone(store));
    builder.name("a.jp").clock(clock.read())
}

/// Until so many names serve.
async fn serving(manager: &Manager, count: usize) {
    let waiting = async {
        while manager.resolver().names().len() < count {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(MINUTE, waiting)
        .await
        .unwrap_or_else(|_| panic!("{:?}", manager.snapshot()));
}

/// Each kind of broken PEM of `tests/data/pem.txt`, in a record that is whole otherwise.
#[tokio::test]
async fn each_kind_of_broken_pem_in_a_store_is_set_aside_told_and_replaced() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), Faulty::new(ca()));
    let store = DirectoryStore::open(folder.path()).unwrap();
    let table = include_str!("data/pem.txt").lines().filter(|line| !line.starts_with('#'));
    let broken: Vec<Vec<&str>> = table
        .map(|line| line.split('|').map(str::trim).collect::<Vec<_>>())
        .filter(|row| row[2] == "-" && row[3].starts_with('!'))
        .collect();
    assert!(broken.len() >= 12, "the table has them");
    let names: Vec<_> = (0..=broken.len()).map(|at| format!("n{at}.example")).collect();
    let describe = || {
        let builder = Manager::builder().issuer(issuer.clone()).storage(store.clone()).clock(start);
        names.iter().fold(builder, Builder::name)
    };
    let manager = describe().start().await.unwrap();
    serving(&manager, names.len()).await;
    let good = manager.resolver().names().last().unwrap().to_string();
    let before = serial(&manager, &good);
    manager.shutdown().await;

    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pem");
    let mut rows = broken.iter();
    let mut damaged = BTreeSet::new();
    for key in store.list("certificates").await.unwrap() {
        let path = folder.path().join(key.as_str());
        let mut record: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        if record["names"][0] == *good {
            continue;
        }
        let row = rows.next().unwrap();
        let text =
            |name: &str| String::from_utf8_lossy(&fs::read(data.join(name)).unwrap()).into_owned();
        (record["chain"], record["key"]) = (text(row[0]).into(), text(row[1]).into());
        fs::write(path, record.to_string()).unwrap();
        damaged.insert(key.to_string());
    }

    let builder = describe();
    let manager = builder.start().await.unwrap();
    serving(&manager, names.len()).await;
    assert_eq!(serial(&manager, &good), before, "it loads");
    assert_eq!(issuer.requests(), names.len() + broken.len(), "each of the others is ordered once");
    assert_eq!(manager.counters().set_aside, broken.len() as u64);
    let kept = folder.path().join("quarantine").read_dir().unwrap().count();
    assert_eq!(kept, broken.len(), "nothing is thrown away");
    manager.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_set_aside_while_it_runs_is_told_by_an_event() {
    let (clock, store) = (Clock::new(), Arc::new(MemoryStore::new()));
    let manager = Manager::builder().private_ca(ca()).storage(store.clone()).clock(clock.read());
    let manager = manager.name("a.jp").start().await.unwrap();
    sleep(MINUTE).await;
    let mut events = manager.events();
    let key = store.list("certificates").await.unwrap().remove(0);
    let version = store.get(&key).await.unwrap().unwrap().version;
    store.put(&key, b"\xffnot a record", Some(version)).await.unwrap();
    let before = serial(&manager, "a.jp");
    sleep(4 * DAY).await;
    assert_ne!(serial(&manager, "a.jp"), before);
    let mut told = false;
    while let Ok(Some(event)) = tokio::time::timeout(MINUTE, events.next()).await {
        told |= matches!(&event, Event::SetAside { key: which, .. } if *which == key.to_string());
    }
    assert!(told);
}

#[tokio::test(start_paused = true)]
async fn an_expired_chain_in_the_store_is_replaced_at_once() {
    let (clock, store, issuer) = (Clock::new(), Arc::new(MemoryStore::new()), Faulty::new(ca()));
    let describe = || one_name(&issuer, &store, &clock);
    let manager = describe().start().await.unwrap();
    let before = serial(&manager, "a.jp");
    manager.shutdown().await;
    clock.jump(300 * DAY);
    let manager = describe().start().await.unwrap();
    sleep(MINUTE).await;
    assert_ne!(serial(&manager, "a.jp"), before);
    assert_eq!((issuer.requests(), manager.snapshot().certificates[0].health), (2, Health::Good));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_a_year_slow_at_the_start_orders_nothing() {
    let (clock, store, issuer) = (Clock::new(), Arc::new(MemoryStore::new()), Faulty::new(ca()));
    let describe = || one_name(&issuer, &store, &clock);
    let manager = describe().start().await.unwrap();
    let before = serial(&manager, "a.jp");
    manager.shutdown().await;
    clock.fall_back(365 * DAY);
    let manager = describe().start().await.unwrap();
    sleep(DAY).await;
    assert_eq!((serial(&manager, "a.jp"), issuer.requests()), (before, 1));
    assert_eq!(manager.snapshot().certificates[0].health, Health::NotYetValid, "it is said");
}

/// Changes the one stored certificate as JSON.
async fn edit(store: &MemoryStore, change: impl FnOnce(&mut serde_json::Value)) {
    let key = store.list("certificates").await.unwrap().remove(0);
    let entry = store.get(&key).await.unwrap().unwrap();
    let mut value = serde_json::from_slice(&entry.value).unwrap();
    change(&mut value);
    store.put(&key, value.to_string().as_bytes(), Some(entry.version)).await.unwrap();
}

async fn stored(store: &MemoryStore) -> serde_json::Value {
    let key = store.list("certificates").await.unwrap().remove(0);
    serde_json::from_slice(&store.get(&key).await.unwrap().unwrap().value).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_a_later_version_wrote_is_served_and_left_as_it_is() {
    let (clock, store, issuer) = (Clock::new(), Arc::new(MemoryStore::new()), Faulty::new(ca()));
    let describe = || one_name(&issuer, &store, &clock);
    let manager = describe().start().await.unwrap();
    let before = serial(&manager, "a.jp");
    manager.shutdown().await;
    edit(&store, |record| record["v"] = 2.into()).await;
    let later = stored(&store).await;

    let manager = describe().start().await.unwrap();
    // Long after it was due.
    sleep(6 * DAY).await;
    assert_eq!((serial(&manager, "a.jp"), issuer.requests()), (before, 1));
    assert_eq!(stored(&store).await, later);
    let error = manager.snapshot().certificates.remove(0).last_error.unwrap();
    assert!(error.text.contains("was written by a newer version"), "{}", error.text);
    let ledger = cert_manager::manager::Ledger::new(store.clone());
    assert!(ledger.renew("a.jp").await.is_err(), "nobody here can change it");
}

#[tokio::test(start_paused = true)]
async fn what_a_later_version_noted_besides_stays() {
    let (clock, store) = (Clock::new(), Arc::new(MemoryStore::new()));
    let manager = Manager::builder().private_ca(ca()).storage(store.clone()).clock(clock.read());
    manager.name("a.jp").start().await.unwrap().shutdown().await;
    let note = serde_json::json!({"of": ["another", "time"]});
    edit(&store, |record| record["note"] = note.clone()).await;
    let ledger = cert_manager::manager::Ledger::new(store.clone());
    assert!(ledger.renew("a.jp").await.unwrap());
    let record = stored(&store).await;
    assert_eq!((&record["wish"], &record["note"]), (&"renew".into(), &note));
}

#[tokio::test]
async fn a_restart_reads_many_at_a_time_and_orders_only_what_is_not_good() {
    let (store, issuer) = (Arc::new(MemoryStore::new()), Faulty::new(ca()));
    let builder = |store: Arc<dyn Storage>| {
        let builder = Manager::builder().issuer(issuer.clone()).storage(store).clock(start);
        (0..300).fold(builder, |it, at| it.name(format!("host-{at}.example.jp")))
    };
    let manager = builder(store.clone()).start().await.unwrap();
    serving(&manager, 300).await;
    manager.shutdown().await;
    let keys = store.list("certificates").await.unwrap();
    let version = async |at: usize| store.get(&keys[at]).await.unwrap().unwrap().version;
    store.put(&keys[7], b"not a record", Some(version(7).await)).await.unwrap();
    store.delete(&keys[140], version(140).await).await.unwrap();
    let moved = store.get(&keys[200]).await.unwrap().unwrap().value;
    store.put(&keys[201], &moved, Some(version(201).await)).await.unwrap();

    let counting = Arc::new(Counting { inner: store, gets: AtomicU32::new(0) });
    let manager = builder(counting.clone()).start().await.unwrap();
    serving(&manager, 300).await;
    let counters = manager.counters();
    let issued: u64 = counters.issued.values().sum();
    assert_eq!((counters.loaded, counters.set_aside, issued), (297, 2, 3));
    let gets = counting.gets.load(Ordering::Relaxed);
    assert!(gets < 100, "{gets} reads of one object each");
    manager.shutdown().await;
}

/// Counts reads of one object.
#[derive(Debug)]
struct Counting {
    inner: Arc<MemoryStore>,
    gets: AtomicU32,
}

impl Storage for Counting {
    fn get<'a>(&'a self, key: &'a Key) -> Work<'a, Option<Entry>> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.inner.get(key)
    }

    fn get_many<'a>(&'a self, keys: &'a [Key]) -> Work<'a, Vec<Found>> {
        self.inner.get_many(keys)
    }

    fn put<'a>(&'a self, key: &'a Key, value: &'a [u8], old: Option<Version>) -> Work<'a, Version> {
        self.inner.put(key, value, old)
    }

    fn delete<'a>(&'a self, key: &'a Key, version: Version) -> Work<'a, ()> {
        self.inner.delete(key, version)
    }

    fn list<'a>(&'a self, folder: &'a str) -> Work<'a, Vec<Key>> {
        self.inner.list(folder)
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_and_one_names_on_one_certificate() {
    let names: Vec<_> = (0..101).map(|at| format!("n{at}.example")).collect();
    let manager = Manager::builder().private_ca(ca()).names(&names).clock(start).start().await;
    let manager = manager.unwrap();
    let serials: BTreeSet<_> = names.iter().map(|name| serial(&manager, name)).collect();
    assert_eq!(serials.len(), 1, "whether so many go on one is for the issuer to say");
}

#[tokio::test(start_paused = true)]
async fn names_that_no_certificate_can_carry_are_refused_before_anything_is_ordered() {
    let issuer = Faulty::new(ca());
    let long = format!("{}example", "a.".repeat(124));
    let label = format!("{}.example", "a".repeat(64));
    for (name, reason) in [
        (&*long, NameError::TooLong),
        (&*label, NameError::LabelTooLong),
        ("xn--.example", NameError::Idna),
        ("ab--c.example", NameError::Idna),
        ("*.example", NameError::WildcardTooWide),
        ("a_b.example", NameError::Underscore),
        ("a b.example", NameError::Character(' ')),
        ("-a.example", NameError::Hyphen),
        ("a..example", NameError::EmptyLabel),
        ("", NameError::Empty),
    ] {
        let manager = Manager::builder().issuer(issuer.clone()).names(["good.example", name]);
        let error = manager.start().await.unwrap_err();
        assert_eq!(error.name_error(), Some(reason), "{name}");
    }
    assert_eq!(issuer.requests(), 0);
}

#[cfg(feature = "idna")]
#[tokio::test(start_paused = true)]
async fn names_in_other_scripts_are_served_by_their_a_labels() {
    let manager = Manager::builder().private_ca(ca()).name("関守.example.jp").clock(start);
    let manager = manager.start().await.unwrap();
    assert!(manager.resolver().knows(Some("xn--39sz56k.example.jp")));
    assert!(manager.resolver().knows(Some("XN--39SZ56K.example.jp.")));
}

/// The process whose disk is full. It does nothing unless the test below starts it.
#[tokio::test]
async fn child_with_a_full_disk() {
    let Ok(folder) = env::var("FULL_DISK") else { return };
    let store = DirectoryStore::open(&folder).unwrap();
    let ca = PrivateCa::from_pem(env::var("FULL_CA").unwrap(), env::var("FULL_KEY").unwrap());
    let builder = Manager::builder().private_ca(ca.unwrap()).storage(store).clock(start);
    let manager = builder.name("a.jp").name("b.jp").start().await.unwrap();
    let waiting = async {
        while manager.counters().store_failures == 0 {
            sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(MINUTE, waiting).await.unwrap();
    assert!(manager.resolver().knows(Some("a.jp")), "what is stored serves");
    assert!(!manager.resolver().knows(Some("b.jp")), "what could not be noted is not ordered");
    let snapshot = manager.snapshot();
    let status = snapshot.certificates.iter().find(|it| it.names[0].as_str() == "b.jp").unwrap();
    assert_eq!(status.next_step, NextStep::Load);
    let error = status.last_error.as_ref().unwrap();
    assert!(error.text.contains("failed to write"), "{}", error.text);
    println!("the disk was full");
}

#[tokio::test]
async fn a_full_disk_keeps_nothing_from_serving_and_breaks_nothing() {
    let (folder, ca) =
        (tempfile::tempdir().unwrap(), PrivateCa::generate("Test CA", start()).unwrap());
    let (root, key) = (ca.root_pem(), ca.key_pem());
    let ca = Arc::new(ca);
    let store = DirectoryStore::open(folder.path()).unwrap();
    let describe = || {
        let builder = Manager::builder().private_ca(ca.clone()).storage(store.clone()).clock(start);
        builder.name("a.jp")
    };
    let manager = describe().start().await.unwrap();
    let before = serial(&manager, "a.jp");
    manager.shutdown().await;

    // No file may grow: each write of a byte fails, as on a disk without room.
    let mut child = Command::new("sh");
    child
        .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\""])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "child_with_a_full_disk", "--nocapture"])
        .env("FULL_DISK", folder.path())
        .env("FULL_CA", root)
        .env("FULL_KEY", key.expose())
        .stdin(Stdio::null());
    let output = child.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("the disk was full"), "{output:?}");

    let manager = describe().name("b.jp").start().await.unwrap();
    serving(&manager, 2).await;
    assert_eq!(serial(&manager, "a.jp"), before);
    assert_eq!(manager.counters().set_aside, 0, "nothing was broken");
    // What is served may not be stored yet.
    manager.shutdown().await;
    let left = fs::read_dir(folder.path().join("certificates")).unwrap().flatten();
    let left: Vec<_> = left.map(|it| it.file_name().into_string().unwrap()).collect();
    assert!(left.iter().all(|name| !name.starts_with('.')), "a stray file: {left:?}");
}
