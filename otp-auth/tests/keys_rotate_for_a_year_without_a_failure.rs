//! A simulated year of rotation: issuers and consumers whose copy of the key set is up to 24 hours old.

mod support;
#[path = "support/tokens.rs"]
mod team;

use std::sync::Arc;
use std::time::Duration;

use otp_auth::error::Error;
use otp_auth::keys::{
    FindKey, KeyEvent, KeyRing, KeySet, KeyState, PublicKeySet, RemoteKeys, RotationSchedule,
    SigningKey,
};
use otp_auth::random::SystemRandom;
use otp_auth::seal::SealingKey;
use otp_auth::secret::Secret;
use otp_auth::session::{AppGrant, AppVerifier};
use otp_auth::timestamp::Timestamp;
use otp_auth::token::TokenError;
use support::{START, after};
use team::{TEAM, Team};

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

fn make_key() -> Result<SigningKey, Error> {
    SigningKey::generate(&SystemRandom::new())
}

/// A small generator of the test's own, so that a failure repeats.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Someone who verifies with a copy of the document, fetched anew only when it is a day old.
struct Consumer {
    keys: PublicKeySet,
    fetched: Timestamp,
}

#[tokio::test]
async fn a_year_with_caches_a_day_old_fails_no_verification() {
    let team = Team::new().await;
    let schedule = RotationSchedule::default();
    let mut dice = Dice(7);
    let mut consumers: Vec<Consumer> = (0..24)
        .map(|_| Consumer {
            keys: PublicKeySet::from_json(&team.keys.jwks()).unwrap(),
            fetched: START,
        })
        .collect();
    let mut tokens = Vec::new();
    let (mut verified, mut promoted, mut removed) = (0, 0, 0);
    let mut session = (team.renew(START).await, START);
    for hour in 0..365 * 24 {
        // The process that rotates wakes once an hour, and sometimes is away for two days.
        let now = after(hour * HOUR + dice.below(60));
        let is_away = hour % 1_000 > 950;
        if !is_away {
            let events = team.keys.rotate(&schedule, now, make_key, |_| Ok(())).unwrap();
            promoted += events.iter().filter(|it| matches!(it, KeyEvent::Promoted(_))).count();
            removed += events.iter().filter(|it| matches!(it, KeyEvent::Removed(_))).count();
        }
        for consumer in &mut consumers {
            if now.since(consumer.fetched) >= Duration::from_secs(DAY - dice.below(2 * HOUR)) {
                consumer.keys = PublicKeySet::from_json(&team.keys.jwks()).unwrap();
                consumer.fetched = now;
            }
            assert!(now.since(consumer.fetched) <= Duration::from_secs(DAY + 60));
        }
        if now.since(session.1) >= Duration::from_secs(20 * HOUR) {
            session = (team.renew(now).await, now);
        }
        let life = Duration::from_secs(DAY);
        let grant = AppGrant::new(team.audience.clone()).lifetime(life).unwrap();
        tokens.push((team.issuer.app_token(&session.0.claims, &grant, now).unwrap(), now));
        tokens.retain(|(token, _)| token.expires() > now);
        for _ in 0..2 {
            let consumer = &consumers[usize::try_from(dice.below(24)).unwrap()];
            let index = usize::try_from(dice.below(tokens.len() as u64)).unwrap();
            // The newest token is the one that a stale copy may not know.
            let index = if dice.below(2) == 0 { tokens.len() - 1 } else { index };
            let (token, issued) = &tokens[index];
            let verifier = AppVerifier::new(Arc::new(consumer.keys.clone()), TEAM);
            let found = verifier.verify(token.expose(), &team.audience, now);
            assert!(found.is_ok(), "hour {hour}: {found:?}, issued at {issued}");
            verified += 1;
        }
    }
    assert_eq!(verified, 2 * 365 * 24);
    assert!(promoted >= 7 && removed >= 7, "{promoted} promoted, {removed} removed");
}

#[test]
fn a_key_is_known_for_a_day_before_it_signs_even_when_the_process_overslept() {
    let schedule = RotationSchedule::default();
    let mut keys = KeySet::new(make_key().unwrap(), START);
    let first = keys.signing().kid().to_owned();
    assert_eq!(keys.next_rotation(&schedule), after(42 * DAY - 25 * HOUR));
    assert_eq!(keys.rotate(&schedule, after(42 * DAY - 25 * HOUR - 1), make_key).unwrap(), []);
    // Asleep for three months.
    let woken = after(90 * DAY);
    let [KeyEvent::Published(next)] = &keys.rotate(&schedule, woken, make_key).unwrap()[..] else {
        panic!("the next key is published first")
    };
    assert_eq!(keys.signing().kid(), first);
    let almost = woken.plus(Duration::from_secs(25 * HOUR - 1));
    assert_eq!(keys.rotate(&schedule, almost, make_key).unwrap(), []);
    let then = woken.plus(Duration::from_secs(25 * HOUR));
    assert_eq!(keys.next_rotation(&schedule), then);
    let events = keys.rotate(&schedule, then, make_key).unwrap();
    assert_eq!(events, [KeyEvent::Promoted(next.clone())]);
    assert_eq!(keys.state(&first), Some(KeyState::Retired));
}

#[tokio::test]
async fn a_token_is_refused_seven_days_and_a_second_after_its_key_retired() {
    let team = Team::new().await;
    let schedule = RotationSchedule::default();
    let life = Duration::from_secs(30 * DAY);
    let grant = AppGrant::new(team.audience.clone()).lifetime(life).unwrap();
    let token = team.issuer.app_token(&team.session.claims, &grant, START).unwrap();
    let verifier = AppVerifier::new(Arc::new(team.keys.clone()), TEAM);
    let mut keys = team.keys.keys();
    let next = keys.publish(make_key().unwrap(), START).unwrap();
    keys.promote(&next, START).unwrap();
    team.keys.replace(keys);
    for (secs, expected) in [
        (7 * DAY - 1, Ok(())),
        (7 * DAY, Err(TokenError::UnknownKey)),
        (7 * DAY + 1, Err(TokenError::UnknownKey)),
    ] {
        team.keys.rotate(&schedule, after(secs), make_key, |_| Ok(())).unwrap();
        let found = verifier.verify(token.expose(), &team.audience, after(secs)).map(|_| ());
        assert_eq!(found, expected, "{secs}");
    }
}

#[test]
fn a_clock_that_jumps_locks_nobody_out_and_stops_no_rotation() {
    let schedule = RotationSchedule::default();
    let mut dice = Dice(11);
    for round in 0..20 {
        let mut keys = KeySet::new(make_key().unwrap(), START);
        let mut now = START;
        for _ in 0..200 {
            now = match dice.below(12) {
                0 => now.plus(Duration::from_secs(3_650 * DAY)),
                1 => now.minus(Duration::from_secs(3_650 * DAY)),
                2 => now.minus(Duration::from_secs(HOUR)),
                3 => now.plus(Duration::from_secs(HOUR)),
                _ => now.plus(Duration::from_secs(DAY)),
            };
            let signing = keys.signing().kid().to_owned();
            keys.rotate(&schedule, now, make_key).unwrap();
            assert!(keys.state(&signing).is_some(), "the key that signed still verifies");
            assert!(keys.entries().count() <= 4, "round {round}");
            // Whatever the clock did, no date is left that would hold up the rotation.
            let latest = keys.entries().map(|(.., since)| since).max().unwrap();
            assert!(latest <= now.plus(Duration::from_secs(300)));
        }
        // And with a clock that behaves, the key changes within its time.
        let signing = keys.signing().kid().to_owned();
        for day in 1..=44 {
            let later = now.plus(Duration::from_secs(day * DAY));
            keys.rotate(&schedule, later, make_key).unwrap();
        }
        assert_ne!(keys.signing().kid(), signing, "round {round}");
    }
}

#[test]
fn what_could_not_be_kept_is_not_shown() {
    let ring = KeyRing::new(KeySet::new(make_key().unwrap(), START));
    let schedule = RotationSchedule::default();
    let (before, due) = (ring.jwks(), after(41 * DAY));
    let full = |_: &Secret| Err(Error::store_full());
    assert!(ring.rotate(&schedule, due, make_key, full).unwrap_err().is_store_full());
    assert_eq!(ring.jwks(), before);
    let kid = ring.keys().signing().kid().to_owned();
    assert!(ring.revoke(&kid, due, make_key, full).is_err());
    assert_eq!(ring.jwks(), before);

    let mut kept = None;
    let keep = |saved: &Secret| {
        kept = Some(saved.clone());
        Ok(())
    };
    assert_eq!(ring.rotate(&schedule, due, make_key, keep).unwrap().len(), 1);
    let loaded = KeySet::load(&kept.unwrap(), &SystemRandom::new()).unwrap();
    assert_eq!(loaded.jwks(), ring.jwks());
    assert_ne!(ring.jwks(), before);
}

#[test]
fn a_saved_set_comes_back_whole_or_not_at_all() {
    let random = SystemRandom::new();
    let mut keys = KeySet::new(SigningKey::generate_ed25519(&random).unwrap(), START);
    keys.publish(team::rsa_key(), after(1)).unwrap();
    let next = keys.publish(make_key().unwrap(), after(2)).unwrap();
    keys.promote(&next, after(3)).unwrap();
    let leaked = keys.publish(make_key().unwrap(), after(4)).unwrap();
    let leaked_key = keys.entries().find(|(key, ..)| key.kid() == leaked).unwrap().0.to_pkcs8();
    keys.revoke(&leaked, after(5), make_key).unwrap();

    let described = |keys: &KeySet| -> Vec<(String, KeyState, Timestamp)> {
        keys.entries().map(|(key, state, since)| (key.kid().to_owned(), state, since)).collect()
    };
    let saved = keys.save().unwrap();
    let mut loaded = KeySet::load(&saved, &random).unwrap();
    assert_eq!(described(&loaded), described(&keys));
    let again = SigningKey::from_pkcs8(&leaked_key, &random).unwrap();
    assert!(loaded.publish(again, after(6)).is_err(), "what was revoked stays so");

    let text = String::from_utf8(saved.expose().to_vec()).unwrap();
    for bad in [
        String::new(),
        "{}".to_owned(),
        text[..text.len() - 1].to_owned(),
        text.replace("\"signing\"", "\"retired\""),
        text.replace("\"retired\"", "\"signing\""),
        text.replace("\"version\":1", "\"version\":2"),
        text.replacen("\"pkcs8\":\"", "\"pkcs8\":\"AA", 1),
    ] {
        let refused = KeySet::load(&Secret::new(bad.into_bytes()), &random).unwrap_err();
        assert!(refused.is_caller_fault());
        assert!(!format!("{refused} {refused:?}").contains("pkcs8"));
    }

    let sealing = |byte| SealingKey::new(Secret::new(vec![byte; 32])).unwrap();
    let sealed = keys.seal(&sealing(1), &random).unwrap();
    let opened = KeySet::open(&sealed, &sealing(1), &random).unwrap();
    assert_eq!(described(&opened), described(&keys));
    assert!(KeySet::open(&sealed, &sealing(2), &random).unwrap_err().is_caller_fault());
}

#[test]
fn a_storm_of_unknown_keys_fetches_once_a_minute() {
    let keys = RemoteKeys::new();
    let ring = KeyRing::new(KeySet::new(make_key().unwrap(), START));
    let at = |millis| START.plus(Duration::from_millis(millis));
    assert!(keys.poll_fetch(at(0)));
    keys.handle_document(&ring.jwks(), at(0)).unwrap();
    // Ten minutes of 1,000 unknown names a second.
    let mut fetched = 0;
    for millis in 1..600_000 {
        assert!(keys.find_key("../../etc/passwd").is_none());
        fetched += u32::from(keys.poll_fetch(at(millis)));
    }
    assert_eq!(fetched, 9);
    let kid = ring.keys().signing().kid().to_owned();
    assert!(keys.find_key(&kid).is_some(), "the storm hurts no known key");
}

#[test]
fn a_document_that_stays_away_is_used_for_a_day() {
    let keys = RemoteKeys::new();
    let ring = KeyRing::new(KeySet::new(make_key().unwrap(), START));
    let kid = ring.keys().signing().kid().to_owned();
    keys.handle_document(&ring.jwks(), START).unwrap();
    for document in ["", "<html>", r#"{"keys":1}"#] {
        assert!(keys.handle_document(document, after(1)).is_err());
        assert!(keys.find_key(&kid).is_some(), "a bad document takes no key away");
    }
    assert!(!keys.poll_fetch(after(HOUR - 1)));
    assert!(keys.poll_fetch(after(HOUR)), "fresh for an hour");
    assert!(!keys.poll_fetch(after(HOUR + 59)));
    assert!(keys.poll_fetch(after(HOUR + 60)), "and tried each minute from then on");
    keys.poll_fetch(after(DAY - 1));
    assert!(keys.find_key(&kid).is_some());
    keys.poll_fetch(after(DAY));
    assert!(keys.find_key(&kid).is_none(), "a key that leaked may be among them");
    // The clock goes back by a year: fetching goes on.
    assert!(keys.poll_fetch(START.minus(Duration::from_secs(365 * DAY))));
}

#[test]
fn schedules_that_would_fail_verifications_are_refused() {
    let hours = |count| Duration::from_secs(count * HOUR);
    let schedule = RotationSchedule::default();
    assert!(schedule.publish_ahead(hours(23)).is_err());
    assert!(schedule.publish_ahead(hours(24)).is_ok());
    assert!(schedule.signing(hours(49)).is_err(), "less than twice the time ahead");
    assert!(schedule.signing(hours(50)).is_ok());
    assert!(schedule.overlap(Duration::ZERO).is_err());
    let month = schedule.longest_token(hours(31 * 24)).unwrap();
    assert!(month != schedule && schedule.longest_token(hours(1)).unwrap() == schedule);
    assert!(schedule.longest_token(Duration::MAX).is_err());
}
