//! A restart keeps the same authority; a damaged one is set aside and reported, never deleted.
#![cfg(any(feature = "ring", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, SystemTime},
};

use cert_manager::{Certificate, DirectoryStore, Expect, Origin, PrivateCa, Profile, Put};

#[test]
fn a_restart_keeps_the_same_authority() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    assert!(matches!(first.origin, Origin::Generated));
    let second = open(folder.path());
    assert!(matches!(second.origin, Origin::Loaded));
    assert_eq!(first.ca.root_der(), second.ca.root_der());
    assert_eq!(first.ca.key_pem().expose(), second.ca.key_pem().expose());
    let life = first.ca.not_after().duration_since(now()).unwrap();
    assert_eq!(life.as_secs() / 86_400, 3651, "ten years less a minute");
}

#[cfg(unix)]
#[test]
fn files_and_folders_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("state");
    open(&root);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&root), 0o700);
    assert_eq!(mode(&root.join("ca")), 0o700);
    assert_eq!(mode(&root.join("ca/root.pem")), 0o600);
    assert_eq!(fs::read_dir(root.join("ca")).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn a_damaged_authority_is_set_aside_and_replaced() {
    let good = PrivateCa::generate("Other CA", now()).unwrap();
    let good = good.root_pem() + good.key_pem().expose();
    let foreign = PrivateCa::generate("Other CA", now()).unwrap();
    let leaf = foreign.issue(&["a.jp".parse().unwrap()], Profile::server(), now());
    let leaf = leaf.unwrap();
    for damaged in [
        String::new(),
        "\0".repeat(700),
        "junk".to_owned(),
        good[..good.len() / 2].to_owned(),
        good[..good.len() - 40].to_owned(),
        good.replacen("MI", "AA", 1),
        foreign.root_pem() + &good[good.find("-----BEGIN PRIVATE").unwrap()..],
        leaf.chain_pem() + leaf.key_pem().expose(),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path());
        let path = folder.path().join("ca/root.pem");
        fs::write(&path, &damaged).unwrap();

        let second = open(folder.path());
        let Origin::Replaced { kept_at, .. } = second.origin else {
            panic!("{:?} for {damaged:?}", second.origin);
        };
        assert_eq!(fs::read_to_string(kept_at).unwrap(), damaged);
        assert_ne!(first.ca.root_der(), second.ca.root_der());
        let third = open(folder.path());
        assert!(matches!(third.origin, Origin::Loaded));
        assert_eq!(second.ca.root_der(), third.ca.root_der());
    }
}

#[test]
fn an_unreadable_store_is_an_error_and_replaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // A folder where the file should be cannot be read by anyone, root included.
    fs::create_dir_all(folder.path().join("ca/root.pem/inside")).unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    let error = PrivateCa::open(&store, "Test CA", now()).unwrap_err();
    assert!(error.is_store(), "{error:?}");
    assert!(folder.path().join("ca/root.pem/inside").exists());

    fs::write(folder.path().join("file"), "").unwrap();
    let error = DirectoryStore::open(folder.path().join("file/state")).unwrap_err();
    assert!(error.is_store(), "{error:?}");
}

#[test]
fn processes_that_start_together_agree() {
    let folder = tempfile::tempdir().unwrap();
    let roots = thread::scope(|scope| {
        let open = || open(folder.path()).ca.root_pem();
        let threads = (0..8).map(|_| scope.spawn(open)).collect::<Vec<_>>();
        let roots = threads.into_iter().map(|thread| thread.join().unwrap());
        roots.collect::<Vec<_>>()
    });
    assert!(roots.iter().all(|root| *root == roots[0]));
}

#[test]
fn quarantine_keeps_every_copy() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    let mut kept = Vec::new();
    for text in ["one", "two", "three"] {
        let put = store.keep("a/b", text.as_bytes(), Expect::Absent).unwrap();
        assert_eq!(put, Put::Stored);
        kept.push((store.quarantine("a/b").unwrap(), text));
        assert!(store.load("a/b").unwrap().is_none());
    }
    for (path, text) in kept {
        assert_eq!(fs::read_to_string(path).unwrap(), text);
    }
    assert!(store.quarantine("a/b").unwrap_err().is_store());
}

#[test]
fn object_names_stay_inside_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path().join("state")).unwrap();
    let long = "a".repeat(256);
    for name in [
        "",
        "/",
        "a/",
        "/a",
        "a//b",
        ".",
        "..",
        "../a",
        "a/../../b",
        ".a",
        "a/.b",
        "A",
        "a b",
        "a\\b",
        "a\0b",
        "quarantine",
        "quarantine/a",
        "é",
        &long,
    ] {
        assert!(store.keep(name, b"x", Expect::Any).is_err(), "{name:?}");
        assert!(store.load(name).is_err(), "{name:?}");
        assert!(store.quarantine(name).is_err(), "{name:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn values_are_bounded_and_replaced_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    assert!(store.keep("a", &vec![0; (1 << 20) + 1], Expect::Any).is_err());
    fs::write(folder.path().join("b"), vec![0; (1 << 20) + 1]).unwrap();
    assert!(store.load("b").unwrap_err().is_store());
    for value in [vec![1; 1 << 20], vec![2; 3]] {
        assert_eq!(store.keep("a", &value, Expect::Any).unwrap(), Put::Stored);
        assert_eq!(*store.load("a").unwrap().unwrap(), value);
    }
    assert_eq!(store.keep("a", b"no", Expect::Absent).unwrap(), Put::Conflict);
    assert_eq!(store.load("a").unwrap().unwrap().as_slice(), [2; 3]);
    let left = fs::read_dir(folder.path()).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.starts_with(".new")), "{left:?}");
}

#[test]
fn a_left_over_temporary_file_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    let left_over = format!(".new-{}-0", std::process::id());
    fs::write(folder.path().join(&left_over), "half").unwrap();
    let store = DirectoryStore::open(folder.path()).unwrap();
    assert_eq!(store.keep("a", b"x", Expect::Any).unwrap(), Put::Stored);
    assert_eq!(fs::read(folder.path().join(left_over)).unwrap(), b"half");
}

/// Keys may lie in them.
#[test]
fn what_killed_processes_left_behind_is_removed_some_minutes_later() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("certificates");
    fs::create_dir(&inside).unwrap();
    #[expect(clippy::disallowed_methods, reason = "files are dated by the real clock")]
    let now = SystemTime::now();
    for (name, minutes) in [(".new-7-0", 11), (".new-7-1", 9), ("new-7-2", 11), (".hidden", 11)] {
        for at in [folder.path(), &inside] {
            fs::write(at.join(name), "half").unwrap();
            let written = now - Duration::from_secs(minutes * 60);
            let file = fs::File::options().write(true).open(at.join(name)).unwrap();
            file.set_modified(written).unwrap();
        }
    }
    let _store = DirectoryStore::open(folder.path()).unwrap();
    for at in [folder.path(), &inside] {
        let there = |name: &str| at.join(name).exists();
        assert!(!there(".new-7-0"), "{}", at.display());
        assert!(there(".new-7-1") && there("new-7-2") && there(".hidden"), "{}", at.display());
    }
}

#[test]
fn only_a_self_signed_authority_is_taken() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pem");
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    for (chain, key) in
        [("not-ca.crt", "ec.sec1.key"), ("ec.crt", "ec.sec1.key"), ("chain.crt", "ec.sec1.key")]
    {
        let error = PrivateCa::from_pem(read(chain), read(key)).unwrap_err();
        assert!(error.is_not_an_authority(), "{chain}: {error:?}");
    }
    let error = PrivateCa::from_pem(read("root.crt"), read("other.key")).unwrap_err();
    assert!(error.is_key_mismatch(), "{error:?}");
}

#[test]
fn authorities_made_by_openssl_work_with_each_kind_of_key() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pem");
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    for (root, key) in
        [("ca.ec.crt", "ec.sec1.key"), ("rsa.crt", "rsa.pkcs1.key"), ("ed.crt", "ed.key")]
    {
        let ca = PrivateCa::from_pem(read(root), read(key)).unwrap();
        let name = ["a.jp".parse().unwrap()];
        let leaf = ca.issue(&name, Profile::server(), now()).unwrap();
        Certificate::from_pem(leaf.chain_pem(), leaf.key_pem().expose()).unwrap();
    }
}

fn open(folder: &Path) -> cert_manager::Opened {
    let store = DirectoryStore::open(folder).unwrap();
    PrivateCa::open(&store, "Test CA", now()).unwrap()
}

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}
