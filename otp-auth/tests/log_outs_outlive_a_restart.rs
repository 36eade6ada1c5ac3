//! Whoever has logged out stays logged out, whatever becomes of the process and of its file.
#![cfg(feature = "tokio")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use otp_auth::session::{
    Epoch, FileRevocations, Forgotten, RevocationKey, RevocationStore as _, Revocations,
};
use otp_auth::timestamp::Timestamp;

const START: Timestamp = Timestamp::from_unix_secs(1_790_000_000);

fn after(secs: u64) -> Timestamp {
    START.plus(Duration::from_secs(secs))
}

/// A process that begins at a moment, with what the file holds.
async fn start(file: &Path, now: Timestamp) -> (Revocations, Option<String>) {
    let store = FileRevocations::open(file, now).unwrap();
    let forgotten = store.forgotten().map(ToString::to_string);
    let revocations = Revocations::shared(Arc::new(store));
    revocations.sync(now).await.unwrap();
    (revocations, forgotten)
}

#[tokio::test]
async fn a_log_out_is_in_the_file_before_it_is_answered_and_other_sessions_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sessions/revocations.txt");
    let (first, _) = start(&file, START).await;
    let issued = first.epoch(after(1)).await.unwrap();
    first.revoke(&RevocationKey::login("alice 1"), after(2)).await.unwrap();
    // The process is killed: nothing of it runs any more.
    drop(first);
    let (second, forgotten) = start(&file, after(3)).await;
    assert_eq!(forgotten, None);
    assert!(second.is_revoked("alice", "alice 1", issued));
    assert!(!second.is_revoked("alice", "alice 2", issued), "her other session");
    assert!(!second.is_revoked("bob", "bob 1", issued));
}

#[tokio::test]
async fn many_log_outs_at_once_are_all_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("revocations.txt");
    let first = Arc::new(start(&file, START).await.0);
    let issued = first.epoch(after(1)).await.unwrap();
    let log_outs = (0..200).map(|number| {
        let (first, file) = (Arc::clone(&first), file.clone());
        tokio::spawn(async move {
            let key = RevocationKey::login(&format!("nonce {number}"));
            first.revoke(&key, after(2)).await.unwrap();
            let text = fs::read_to_string(file).unwrap();
            assert!(text.contains(&format!(" login:nonce {number}\n")), "{number}");
        })
    });
    for log_out in log_outs.collect::<Vec<_>>() {
        log_out.await.unwrap();
    }
    let (second, _) = start(&file, after(3)).await;
    for number in 0..200 {
        assert!(second.is_revoked("", &format!("nonce {number}"), issued), "{number}");
    }
}

#[tokio::test]
async fn a_file_that_is_lost_cut_or_damaged_refuses_everything_of_before() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("revocations.txt");
    let (first, forgotten) = start(&file, START).await;
    assert_eq!(forgotten.as_deref(), Some("there was no file of revocations"));
    let issued = first.epoch(after(1)).await.unwrap();
    for name in ["a", "b"] {
        first.revoke(&RevocationKey::login(name), after(2)).await.unwrap();
    }
    let good = fs::read(&file).unwrap();
    let mut damaged = (0..good.len()).map(|end| good[..end].to_vec()).collect::<Vec<_>>();
    damaged.extend([vec![0xFF; 40], b"0 0 0\n0 x\n".to_vec(), [&good[..], &good].concat()]);
    for (number, content) in damaged.into_iter().enumerate() {
        fs::write(&file, &content).unwrap();
        let store = FileRevocations::open(&file, after(10)).unwrap();
        let Some(Forgotten::Unreadable(_)) = store.forgotten() else {
            panic!("{number}: {:?}", store.forgotten());
        };
        assert_eq!(fs::read(folder.path().join("revocations.txt.damaged")).unwrap(), content);
        let node = Revocations::shared(Arc::new(store));
        node.sync(after(10)).await.unwrap();
        assert!(node.is_revoked("anybody", "else", issued), "{number}");
        let anew = node.epoch(after(10)).await.unwrap();
        assert!(!node.is_revoked("anybody", "else", anew), "{number}: who signs in anew is in");
        // And so it stays over the next restart.
        let (next, forgotten) = start(&file, after(20)).await;
        assert_eq!(forgotten, None);
        assert!(next.is_revoked("anybody", "else", issued), "{number}");
        assert!(!next.is_revoked("anybody", "else", anew), "{number}");
    }
    // A folder in its place can be neither read nor replaced: there is no start.
    fs::remove_file(&file).unwrap();
    fs::create_dir_all(file.join("x")).unwrap();
    fs::create_dir_all(folder.path().join("revocations.txt.damaged.d")).unwrap();
    fs::remove_file(folder.path().join("revocations.txt.damaged")).unwrap();
    fs::create_dir_all(folder.path().join("revocations.txt.damaged/x")).unwrap();
    assert!(FileRevocations::open(&file, after(30)).unwrap_err().is_store_unavailable());
}

#[tokio::test]
async fn a_log_out_that_can_not_be_written_is_told_and_written_as_soon_as_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sessions/revocations.txt");
    let (first, _) = start(&file, START).await;
    let issued = first.epoch(after(1)).await.unwrap();
    // The place where the new content is written is taken.
    let beside = folder.path().join("sessions/revocations.txt.new");
    fs::create_dir(&beside).unwrap();
    let error = first.revoke(&RevocationKey::login("a"), after(2)).await.unwrap_err();
    assert!(error.is_store_unavailable());
    assert!(first.is_revoked("", "a", issued), "here it has ended");
    assert!(first.sync(after(3)).await.is_err());
    fs::remove_dir(&beside).unwrap();
    first.sync(after(4)).await.unwrap();
    let (second, _) = start(&file, after(5)).await;
    assert!(second.is_revoked("", "a", issued));
}

#[tokio::test]
async fn the_file_does_not_grow_with_the_years() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("revocations.txt");
    let store = FileRevocations::open(&file, START).unwrap();
    for day in 0..400 {
        let key = RevocationKey::login(&format!("day {day}"));
        store.revoke(&key, after(day * 86_400)).await.unwrap();
    }
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 1 + 32);
    let store = FileRevocations::open(&file, after(400 * 86_400)).unwrap();
    let node = Revocations::shared(Arc::new(store));
    node.sync(after(400 * 86_400)).await.unwrap();
    assert!(node.is_revoked("", "day 0", Epoch::at(START)), "what is so old has ended anyway");
    assert!(node.is_revoked("", "day 399", Epoch::at(after(399 * 86_400 - 1))));
}
