//! Recovery codes: shown once, kept as digests, each used once.
#![expect(clippy::unwrap_used, reason = "a test that can't draw its codes has failed")]

use std::collections::HashSet;
use std::sync::Arc;

use otp_auth::random::SystemRandom;
use otp_auth::recovery::{
    MemoryRecovery, RecoveryCode, RecoveryDigest, RecoveryInputError, RecoveryStore, SET_SIZE,
};
use tokio::task::JoinSet;

fn draw() -> [RecoveryCode; SET_SIZE] {
    RecoveryCode::draw_set(&SystemRandom::new()).unwrap()
}

fn digests(codes: &[RecoveryCode]) -> Vec<RecoveryDigest> {
    codes.iter().map(RecoveryCode::digest).collect()
}

#[test]
fn a_code_has_24_characters_in_four_groups() {
    let mut seen = HashSet::new();
    let mut letters = HashSet::new();
    for code in (0..100).flat_map(|_| draw()) {
        let text = code.expose().to_owned();
        let groups: Vec<&str> = text.split('-').collect();
        assert!(groups.len() == 4 && groups.iter().all(|group| group.len() == 6), "{text}");
        letters.extend(text.chars().filter(|c| *c != '-'));
        assert!(seen.insert(text), "120 bits do not repeat");
    }
    let mut letters: Vec<char> = letters.into_iter().collect();
    letters.sort_unstable();
    assert_eq!(letters, "0123456789ABCDEFGHJKMNPQRSTVWXYZ".chars().collect::<Vec<_>>());
}

#[tokio::test]
async fn the_store_in_memory_is_bounded_and_drops_nobodys_codes() {
    let store = MemoryRecovery::for_people(2);
    let codes = draw();
    let set = digests(&codes);
    for person in ["alice", "bob", "alice"] {
        store.replace(person, &set).await.unwrap();
    }
    assert!(store.replace("carol", &set).await.unwrap_err().is_store_full());
    assert!(store.replace(&"x".repeat(257), &set).await.unwrap_err().is_caller_fault());
    assert_eq!(
        (store.remaining("alice").await.unwrap(), store.remaining("bob").await.unwrap()),
        (10, 10)
    );
    // Whoever has used all codes, or given them up, makes room.
    for code in &codes {
        assert!(store.consume("bob", &code.digest()).await.unwrap().is_some());
    }
    store.replace("carol", &set).await.unwrap();
    store.replace("alice", &[]).await.unwrap();
    store.replace("dave", &set).await.unwrap();
    assert_eq!(store.remaining("dave").await.unwrap(), 10);
}

#[test]
fn what_people_type_is_understood() {
    let [code, ..] = draw();
    let shown = code.expose();
    let wide: String = shown.chars().map(|c| char::from_u32(c as u32 + 0xfee0).unwrap()).collect();
    for typed in [
        shown.to_owned(),
        shown.to_lowercase(),
        shown.replace('-', ""),
        shown.replace('-', " "),
        format!("  {shown}\u{3000}"),
        shown.replace('1', "l").replace('0', "o"),
        shown.replace('1', "I").replace('0', "O"),
        wide,
    ] {
        assert_eq!(RecoveryDigest::parse(&typed), Ok(code.digest()), "{typed}");
    }
    for (typed, expected) in [
        (String::new(), RecoveryInputError::WrongLength),
        (shown[1..].to_owned(), RecoveryInputError::WrongLength),
        (format!("{shown}0"), RecoveryInputError::WrongLength),
        ("0".repeat(1_000_000), RecoveryInputError::WrongLength),
        (format!("{}U", &shown[1..]), RecoveryInputError::WrongCharacter),
        (format!("{}\0", &shown[1..]), RecoveryInputError::WrongCharacter),
        (format!("{}\u{ff01}", &shown[1..]), RecoveryInputError::WrongCharacter),
    ] {
        assert_eq!(RecoveryDigest::parse(&typed), Err(expected), "{typed:.40}");
    }
}

#[tokio::test]
async fn each_code_works_once_and_only_for_its_person() {
    let store = MemoryRecovery::new();
    let codes = draw();
    store.replace("alice", &digests(&codes)).await.unwrap();
    let other = draw();
    store.replace("bob", &digests(&other)).await.unwrap();
    for (index, code) in codes.iter().enumerate() {
        assert_eq!(store.consume("bob", &code.digest()).await.unwrap(), None);
        let left = SET_SIZE - index - 1;
        assert_eq!(store.consume("alice", &code.digest()).await.unwrap(), Some(left));
        assert_eq!(store.consume("alice", &code.digest()).await.unwrap(), None);
        assert_eq!(store.remaining("alice").await.unwrap(), left);
    }
    assert_eq!(store.consume("carol", &other[0].digest()).await.unwrap(), None);
    assert_eq!(store.remaining("carol").await.unwrap(), 0);
}

#[tokio::test]
async fn a_new_set_takes_the_place_of_the_old_one() {
    let store = MemoryRecovery::new();
    let (old, new) = (draw(), draw());
    store.replace("alice", &digests(&old)).await.unwrap();
    store.replace("alice", &digests(&new)).await.unwrap();
    assert_eq!(store.consume("alice", &old[0].digest()).await.unwrap(), None);
    assert_eq!(store.consume("alice", &new[0].digest()).await.unwrap(), Some(9));
    let many = [digests(&old), digests(&new)].concat();
    assert!(store.replace("alice", &many).await.unwrap_err().is_caller_fault());
}

#[tokio::test]
async fn one_of_128_that_use_a_code_at_once_is_let_in() {
    let store = Arc::new(MemoryRecovery::new());
    for _ in 0..20 {
        let codes = draw();
        store.replace("alice", &digests(&codes)).await.unwrap();
        let mut all = JoinSet::new();
        for _ in 0..128 {
            let (store, digest) = (store.clone(), codes[3].digest());
            all.spawn(async move { store.consume("alice", &digest).await.unwrap() });
        }
        let found = all.join_all().await;
        assert_eq!(found.iter().filter(|it| it.is_some()).count(), 1);
    }
}
