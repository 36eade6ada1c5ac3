//! Revocations, sessions, steps and recovery codes in a real Redis.
#![cfg(all(feature = "redis", feature = "totp"))]

mod servers;
mod support;
#[path = "support/tokens.rs"]
mod team;

use std::sync::Arc;
use std::time::Duration;

use otp_auth::random::SystemRandom;
use otp_auth::recovery::{RecoveryCode, RecoveryDigest, RecoveryStore};
use otp_auth::session::{
    Cursor, RevocationKey, RevocationStore, Revocations, SessionRefusal, Sessions,
};
use otp_auth::step_up::{Acr, Authentication, Elevation};
use otp_auth::store::RedisStore;
use otp_auth::timestamp::Timestamp;
use otp_auth::totp::{Drift, FactorId, Reservation, Step, StepStore, Tries};
use servers::Redis;
use support::{START, after};
use team::Team;
use tokio::task::JoinSet;

async fn connect(redis: &Redis) -> Arc<RedisStore> {
    Arc::new(RedisStore::connect(&redis.url()).await.expect("the server runs"))
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_log_out_reaches_the_other_node() {
    let redis = Redis::start().await;
    let here = Revocations::shared(connect(&redis).await);
    let there = Revocations::shared(connect(&redis).await);
    let issued = here.epoch(START).await.unwrap();
    here.sync(START).await.unwrap();
    there.sync(START).await.unwrap();
    here.revoke(&RevocationKey::subject("alice"), START).await.unwrap();
    assert!(here.is_revoked("alice", "", issued) && !there.is_revoked("alice", "", issued));
    there.sync(START).await.unwrap();
    assert!(there.is_revoked("alice", "", issued) && !there.is_revoked("bob", "", issued));
    let again = there.epoch(START).await.unwrap();
    assert!(!here.is_revoked("alice", "", again));
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn thousands_of_changes_come_in_pieces_and_in_order() {
    let redis = Redis::start().await;
    let store = connect(&redis).await;
    let mut all = JoinSet::new();
    for number in 0..2_500 {
        let store = store.clone();
        all.spawn(async move {
            let key = RevocationKey::login(&number.to_string());
            store.revoke(&key, START).await.unwrap()
        });
    }
    let mut epochs = all.join_all().await;
    epochs.sort_unstable();
    epochs.dedup();
    assert_eq!(epochs.len(), 2_500, "each revocation has a moment of its own");
    let (mut cursor, mut seen, mut pieces) = (Cursor::default(), Vec::new(), 0);
    loop {
        let changes = store.changes(&cursor, START).await.unwrap();
        seen.extend(changes.revoked.iter().map(|(_, epoch)| *epoch));
        (cursor, pieces) = (changes.cursor, pieces + 1);
        if changes.is_last {
            break;
        }
    }
    assert_eq!((seen, pieces), (epochs, 3));
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_server_that_lost_everything_ends_all_sessions() {
    let mut redis = Redis::start().await;
    let node = Revocations::shared(connect(&redis).await);
    let issued = node.epoch(START).await.unwrap();
    node.sync(START).await.unwrap();
    assert!(!node.is_revoked("alice", "", issued));
    redis.restart_empty().await;
    let newcomer = Revocations::shared(connect(&redis).await);
    newcomer.sync(START).await.unwrap();
    assert!(newcomer.is_revoked("alice", "", issued), "who was logged out then is not known");
    let again = newcomer.epoch(START).await.unwrap();
    assert!(!newcomer.is_revoked("alice", "", again));
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_server_that_lost_everything_and_is_slow_ends_all_sessions_nevertheless() {
    let mut redis = Redis::start().await;
    let node = Revocations::shared(connect(&redis).await);
    // As if the server were an hour ahead of the one that takes its place.
    let ahead = node.epoch(START).await.unwrap().number() + 3_600_000;
    redis.command(&["SET", "{sekimori-otp}:rev:clock", &ahead.to_string()]).await;
    let issued = node.epoch(START).await.unwrap();
    redis.restart_empty().await;
    while node.sync(START).await.is_err() {
        // It dials anew.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(node.is_revoked("bob", "", issued), "who was logged out then is not known");
    let again = node.epoch(START).await.unwrap();
    assert!(!node.is_revoked("alice", "", again));
    node.revoke(&RevocationKey::subject("alice"), START).await.unwrap();
    let newcomer = Revocations::shared(connect(&redis).await);
    newcomer.sync(START).await.unwrap();
    assert!(newcomer.is_revoked("alice", "", again), "what was issued before is ended");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn sessions_are_found_by_every_node_and_replaced_once() {
    let (team, redis) = (Team::new().await, Redis::start().await);
    let node = |store: Arc<RedisStore>| {
        let revocations = Arc::new(Revocations::shared(store.clone()));
        Sessions::new(store, revocations, Arc::new(SystemRandom::new()))
    };
    let (here, there) = (node(connect(&redis).await), node(connect(&redis).await));
    let (reference, session) = here.open(&team.session.claims, START).await.unwrap();
    let found = there.check(&reference.expose(), after(60)).await.unwrap().unwrap();
    assert_eq!((found.id(), found.email()), (session.id(), "alice@example.jp"));

    let mut all = JoinSet::new();
    for number in 0..32 {
        let node = if number % 2 == 0 { here.clone() } else { there.clone() };
        let session = session.clone();
        all.spawn(async move {
            let shown = Authentication::new(Acr::Authenticator, START);
            let proof = Elevation::danger_vouch(session.subject(), shown);
            node.step_up(&session, proof, START).await.ok()
        });
    }
    let stronger: Vec<_> = all.join_all().await.into_iter().flatten().collect();
    let [(stronger, session)] = &stronger[..] else { panic!("{} step-ups", stronger.len()) };
    let old = there.check(&reference.expose(), START).await.unwrap().unwrap_err();
    assert_eq!(old, SessionRefusal::Unknown);
    assert!(here.check(&stronger.expose(), START).await.unwrap().is_ok());
    there.end(session).await.unwrap();
    assert!(here.check(&stronger.expose(), START).await.unwrap().is_err());
    assert!(redis.command(&["DBSIZE"]).await.parse::<u32>().is_ok_and(|keys| keys <= 3));
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_step_is_accepted_once_and_wrong_codes_run_out() {
    let redis = Redis::start().await;
    let store = connect(&redis).await;
    let alice: FactorId = "alice/1".parse().unwrap();
    let mut all = JoinSet::new();
    for _ in 0..128 {
        let (store, alice) = (store.clone(), alice.clone());
        all.spawn(
            async move { store.advance(&alice, Step::new(100), Drift::new(1)).await.unwrap() },
        );
    }
    assert_eq!(all.join_all().await.into_iter().filter(|is_new| *is_new).count(), 1);
    assert!(!store.advance(&alice, Step::new(99), Drift::default()).await.unwrap());

    let tries = Tries { at_once: 3, then_one_in: Duration::from_millis(300), at_most: 4 };
    let granted = Reservation::Granted { drift: Drift::new(1) };
    let reserve = || store.reserve(&alice, &tries, START);
    for _ in 0..3 {
        assert_eq!(reserve().await.unwrap(), granted);
    }
    assert_eq!(reserve().await.unwrap(), Reservation::Refused);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(reserve().await.unwrap(), granted);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(reserve().await.unwrap(), Reservation::Refused, "four in a row close it");
    store.reopen(&alice).await.unwrap();
    assert_eq!(reserve().await.unwrap(), granted);
    assert!(!store.advance(&alice, Step::new(100), Drift::default()).await.unwrap());
    assert!(store.advance(&alice, Step::new(101), Drift::default()).await.unwrap());
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn recovery_codes_are_used_once() {
    let redis = Redis::start().await;
    let store = connect(&redis).await;
    let codes = RecoveryCode::draw_set(&SystemRandom::new()).unwrap();
    let digests: Vec<RecoveryDigest> = codes.iter().map(RecoveryCode::digest).collect();
    store.replace("alice", &digests).await.unwrap();
    assert_eq!(RecoveryStore::remaining(&*store, "alice").await.unwrap(), 10);
    let mut all = JoinSet::new();
    for _ in 0..64 {
        let (store, digest) = (store.clone(), digests[0]);
        all.spawn(async move { RecoveryStore::consume(&*store, "alice", &digest).await.unwrap() });
    }
    let found: Vec<usize> = all.join_all().await.into_iter().flatten().collect();
    assert_eq!(found, [9]);
    assert_eq!(RecoveryStore::consume(&*store, "bob", &digests[1]).await.unwrap(), None);
    RecoveryStore::replace(&*store, "alice", &[]).await.unwrap();
    assert_eq!(RecoveryStore::remaining(&*store, "alice").await.unwrap(), 0);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_server_that_is_away_lets_nobody_in() {
    let mut redis = Redis::start().await;
    let store = connect(&redis).await;
    let node = Revocations::shared(store.clone());
    redis.kill().await;
    assert!(node.epoch(Timestamp::from_unix_secs(1)).await.unwrap_err().is_store_unavailable());
    assert!(node.sync(START).await.unwrap_err().is_store_unavailable());
}
