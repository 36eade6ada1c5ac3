//! What a store on disk and a sealed one promise beyond the contract of all stores.
#![cfg(all(feature = "tokio", feature = "ring"))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

use std::{
    env, fs,
    process::{Command, Stdio},
    sync::Arc,
};

use cert_manager::{
    DirectoryStore, Expect,
    storage::{Key, MemoryStore, Sealed, SealingKeys, Storage, StorageError},
};

#[tokio::test]
async fn a_file_edited_by_hand_is_a_new_version() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    let old = store.put(&key("a/b"), b"ours", None).await.unwrap();
    fs::write(folder.path().join("a/b"), "theirs").unwrap();
    assert!(store.put(&key("a/b"), b"late", Some(old)).await.unwrap_err().is_conflict());
    let entry = store.get(&key("a/b")).await.unwrap().unwrap();
    assert_eq!(*entry.value, *b"theirs");
    store.put(&key("a/b"), b"next", Some(entry.version)).await.unwrap();
    assert_eq!(fs::read(folder.path().join("a/b")).unwrap(), b"next", "the value and nothing else");
}

#[tokio::test]
async fn an_object_that_was_dated_in_the_future_and_is_gone_has_no_successor_from_the_past() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    let future = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(5_000_000_000);
    for name in ["a/deleted", "a/aside"] {
        let now = store.put(&key(name), b"one", None).await.unwrap();
        let file = fs::File::options().write(true).open(folder.path().join(name)).unwrap();
        file.set_modified(future).unwrap();
        let gone = store.get(&key(name)).await.unwrap().unwrap().version;
        assert!(gone > now);
        if name == "a/aside" {
            store.set_aside(&key(name), gone).await.unwrap();
        } else {
            store.delete(&key(name), gone).await.unwrap();
        }
        // Another process knows no more than the folder.
        let store = DirectoryStore::open(folder.path()).unwrap();
        let next = store.put(&key(name), b"two", None).await.unwrap();
        assert!(next > gone, "{name}: {next} after {gone}");
        fs::remove_file(folder.path().join(".lock")).unwrap();
    }
}

#[tokio::test]
async fn what_is_no_file_is_set_aside_and_the_rest_serves() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    store.put(&key("a/good"), b"good", None).await.unwrap();
    fs::create_dir_all(folder.path().join("a/folder/inside")).unwrap();
    fs::write(folder.path().join("a/large"), vec![0; (1 << 20) + 1]).unwrap();
    // A pipe would keep its reader waiting.
    let pipe = folder.path().join("a/pipe");
    assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
    for name in ["a/folder", "a/large", "a/pipe"] {
        let error = store.get(&key(name)).await.unwrap_err();
        let StorageError::Damaged { key: named, version, .. } = error else { panic!("{error:?}") };
        assert_eq!(named, name);
        let kept_at = store.set_aside(&key(name), version).await.unwrap();
        assert!(fs::metadata(kept_at).is_ok(), "nothing is deleted");
        assert!(store.get(&key(name)).await.unwrap().is_none());
        store.put(&key(name), b"new", None).await.unwrap();
    }
    let mut names = store.list("").await.unwrap();
    names.sort_unstable();
    assert_eq!(names, ["a/folder", "a/good", "a/large", "a/pipe"].map(key));
}

/// The process that counts. It does nothing unless the test below starts it.
#[test]
fn child_that_counts() {
    let Ok(folder) = env::var("COUNTS_IN") else { return };
    let store = DirectoryStore::open(folder).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut done = 0;
        while done < COUNTS {
            let entry = store.get(&key("number")).await.unwrap().unwrap();
            let number: u64 = str::from_utf8(&entry.value).unwrap().parse().unwrap();
            let next = (number + 1).to_string();
            match store.put(&key("number"), next.as_bytes(), Some(entry.version)).await {
                Ok(_) => done += 1,
                Err(error) => assert!(error.is_conflict(), "{error:?}"),
            }
        }
    });
}

#[test]
fn processes_that_share_a_folder_lose_no_write() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    let _ = store.keep("number", b"0", Expect::Absent).unwrap();
    let start = || {
        Command::new(env::current_exe().unwrap())
            .args(["--exact", "child_that_counts"])
            .env("COUNTS_IN", folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..3).map(|_| start()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let number = store.load("number").unwrap().unwrap();
    assert_eq!(str::from_utf8(&number).unwrap(), (3 * COUNTS).to_string());
}

#[tokio::test]
async fn a_sealed_object_opens_under_its_own_name_only() {
    let inner = Arc::new(MemoryStore::new());
    let store = Sealed::new(inner.clone(), SealingKeys::new("a", &[1; 32]).unwrap());
    store.put(&key("one"), b"-----BEGIN PRIVATE KEY-----", None).await.unwrap();
    let sealed = inner.get(&key("one")).await.unwrap().unwrap();
    assert!(!sealed.value.windows(7).any(|window| window == b"PRIVATE"));

    inner.put(&key("two"), &sealed.value, None).await.unwrap();
    assert!(is_damaged(&store, "two").await, "moved to another name");
    // Each changed byte: of the head, of the nonce, of the text, of the tag.
    for at in 0..sealed.value.len() {
        let mut changed = sealed.value.to_vec();
        changed[at] ^= 1;
        let version = inner.get(&key("one")).await.unwrap().unwrap().version;
        inner.put(&key("one"), &changed, Some(version)).await.unwrap();
        assert!(store.get(&key("one")).await.is_err(), "byte {at}");
    }
    inner.put(&key("plain"), b"plain", None).await.unwrap();
    assert!(is_damaged(&store, "plain").await, "never sealed");
    let lenient = Sealed::new(inner.clone(), SealingKeys::new("a", &[1; 32]).unwrap());
    let lenient = lenient.danger_accept_unsealed();
    assert_eq!(*lenient.get(&key("plain")).await.unwrap().unwrap().value, *b"plain");
}

#[tokio::test]
async fn sealing_keys_change_while_everything_stays_readable() {
    let inner = Arc::new(MemoryStore::new());
    let open = |keys| Sealed::new(inner.clone(), keys);
    let old = SealingKeys::new("2026", &[1; 32]).unwrap();
    let version = open(old).put(&key("x"), b"value", None).await.unwrap();

    let both = SealingKeys::new("2027", &[2; 32]).unwrap();
    let both = open(both.with_previous("2026", &[1; 32]).unwrap());
    assert_eq!(*both.get(&key("x")).await.unwrap().unwrap().value, *b"value");

    let new = || SealingKeys::new("2027", &[2; 32]).unwrap();
    let error = open(new()).get(&key("x")).await.unwrap_err();
    let StorageError::Locked { key_id, .. } = error else { panic!("{error:?}") };
    assert_eq!(key_id, "2026", "not damaged: it must not be set aside");

    both.put(&key("x"), b"value", Some(version)).await.unwrap();
    assert_eq!(*open(new()).get(&key("x")).await.unwrap().unwrap().value, *b"value");
    assert!(new().with_previous("2027", &[3; 32]).is_err(), "an id names one key");
    assert!(!format!("{:?}", new()).contains("[2"), "keys are not shown");
}

async fn is_damaged(store: &impl Storage, name: &str) -> bool {
    matches!(store.get(&key(name)).await, Err(StorageError::Damaged { .. }))
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

const COUNTS: u64 = 50;
