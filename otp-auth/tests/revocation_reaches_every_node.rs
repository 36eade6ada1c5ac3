//! Logging out: at once on the node that hears it, within two seconds on the others, and never undone by
//! clocks, bounds or a store that is away.
#![expect(clippy::unwrap_used, reason = "a test that can't set up its nodes has failed")]

mod support;
#[path = "support/tokens.rs"]
mod team;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use otp_auth::error::Error;
use otp_auth::session::{
    AppGrant, AppVerifier, Changes, Cursor, Epoch, MemoryRevocations, OrgVerifier, Outage,
    RevocationKey, RevocationStore, Revocations,
};
use otp_auth::timestamp::Timestamp;
use otp_auth::token::{SignedToken, TokenError};
use support::{START, after};
use team::{TEAM, Team};

/// A shared store that can be switched off.
#[derive(Debug, Default)]
struct Switch {
    inner: MemoryRevocations,
    is_down: AtomicBool,
}

impl Switch {
    fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), Error> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Error::store_unavailable("switched off"));
        }
        Ok(())
    }
}

#[async_trait]
impl RevocationStore for Switch {
    async fn epoch(&self, now: Timestamp) -> Result<Epoch, Error> {
        self.check()?;
        self.inner.epoch(now).await
    }

    async fn revoke(&self, key: &RevocationKey, now: Timestamp) -> Result<Epoch, Error> {
        self.check()?;
        self.inner.revoke(key, now).await
    }

    async fn changes(&self, after: &Cursor, now: Timestamp) -> Result<Changes, Error> {
        self.check()?;
        self.inner.changes(after, now).await
    }
}

struct Node {
    revocations: Arc<Revocations>,
    verifier: AppVerifier,
}

impl Node {
    fn new(team: &Team, store: &Arc<Switch>, outage: Outage) -> Self {
        let revocations = Arc::new(Revocations::shared(store.clone()).outage(outage));
        let verifier =
            AppVerifier::new(Arc::new(team.keys.clone()), TEAM).revocations(revocations.clone());
        Self { revocations, verifier }
    }

    fn verify(&self, team: &Team, token: &SignedToken, now: Timestamp) -> Result<(), TokenError> {
        self.verifier.verify(token.expose(), &team.audience, now).map(|_| ())
    }
}

async fn token(team: &Team, node: &Node, now: Timestamp) -> SignedToken {
    let epoch = node.revocations.epoch(now).await.unwrap();
    let session = team.issuer.org_token(team::prove(now).await, epoch, now).unwrap();
    let grant = AppGrant::new(team.audience.clone());
    team.issuer.app_token(&session.claims, &grant, now).unwrap()
}

async fn nodes(outage: Outage) -> (Team, Arc<Switch>, [Node; 2]) {
    let (team, store) = (Team::new().await, Arc::new(Switch::default()));
    let nodes = [Node::new(&team, &store, outage), Node::new(&team, &store, outage)];
    (team, store, nodes)
}

#[tokio::test]
async fn a_log_out_is_seen_at_once_here_and_within_two_seconds_elsewhere() {
    let (team, _, [here, there]) = nodes(Outage::KeepExisting).await;
    let token = token(&team, &here, START).await;
    let claims = here.verifier.verify(token.expose(), &team.audience, START).unwrap();
    // Both remember the token as good.
    assert_eq!(there.verify(&team, &token, START), Ok(()));
    there.revocations.sync(START).await.unwrap();

    let at = |millis| START.plus(Duration::from_millis(millis));
    here.revocations.revoke(&claims.revocation_key(), at(100)).await.unwrap();
    assert_eq!(here.verify(&team, &token, at(100)), Err(TokenError::Revoked));
    assert_eq!(there.verify(&team, &token, at(900)), Ok(()), "not asked yet");
    there.revocations.sync(at(1_000)).await.unwrap();
    assert_eq!(there.verify(&team, &token, at(1_001)), Err(TokenError::Revoked));
}

#[tokio::test]
async fn everywhere_means_every_login_of_the_person_and_no_later_one() {
    let (team, _, [here, there]) = nodes(Outage::KeepExisting).await;
    let (first, second) = (token(&team, &here, START).await, token(&team, &there, START).await);
    let subject = team.session.claims.subject();
    here.revocations.revoke(&RevocationKey::subject(subject), START).await.unwrap();
    there.revocations.sync(START).await.unwrap();
    for node in [&here, &there] {
        for token in [&first, &second] {
            assert_eq!(node.verify(&team, token, START), Err(TokenError::Revoked));
        }
    }
    // In the same millisecond.
    let again = token(&team, &there, START).await;
    for node in [&here, &there] {
        assert_eq!(node.verify(&team, &again, START), Ok(()));
    }
}

#[tokio::test]
async fn a_single_login_ends_alone() {
    let (team, _, [here, _]) = nodes(Outage::KeepExisting).await;
    let (first, second) = (token(&team, &here, START).await, token(&team, &here, START).await);
    let claims = here.verifier.verify(first.expose(), &team.audience, START).unwrap();
    here.revocations.revoke(&claims.revocation_key(), START).await.unwrap();
    assert_eq!(here.verify(&team, &first, START), Err(TokenError::Revoked));
    assert_eq!(here.verify(&team, &second, START), Ok(()));
}

#[tokio::test]
async fn org_tokens_end_as_well() {
    let (team, _, [here, _]) = nodes(Outage::KeepExisting).await;
    let audience = team.issuer.org_audience().clone();
    let verifier = OrgVerifier::new(Arc::new(team.keys.clone()), TEAM, audience)
        .revocations(here.revocations.clone());
    let token = team.session.token.expose();
    let key = verifier.verify(token, START).unwrap().revocation_key();
    here.revocations.revoke(&key, after(1)).await.unwrap();
    assert_eq!(verifier.verify(token, after(1)).unwrap_err(), TokenError::Revoked);
}

#[tokio::test]
async fn a_node_whose_clock_is_ahead_signs_nothing_that_outlives_a_log_out() {
    let (team, _, [ahead, here]) = nodes(Outage::KeepExisting).await;
    let token = token(&team, &ahead, after(45)).await;
    let subject = team.session.claims.subject();
    here.revocations.revoke(&RevocationKey::subject(subject), START).await.unwrap();
    assert_eq!(here.verify(&team, &token, after(46)), Err(TokenError::Revoked));
    // The clock of the store itself is set back by an hour before the log-out.
    let store = MemoryRevocations::new();
    let issued = store.epoch(after(3_600)).await.unwrap();
    let revoked = store.revoke(&RevocationKey::subject("alice"), START).await.unwrap();
    assert!(revoked > issued && store.epoch(START).await.unwrap() >= revoked);
}

#[tokio::test]
async fn without_the_store_sessions_go_on_and_none_begins() {
    let (team, store, [here, there]) = nodes(Outage::KeepExisting).await;
    let token = token(&team, &here, START).await;
    store.set_down(true);
    assert!(here.revocations.sync(after(1)).await.unwrap_err().is_store_unavailable());
    assert!(here.revocations.epoch(after(1)).await.unwrap_err().is_store_unavailable());
    assert_eq!(here.verify(&team, &token, after(86_000)), Ok(()));
    assert_eq!(here.verify(&team, &token, after(86_430)), Err(TokenError::Expired));
    // A log-out that the store did not hear of counts here, and the caller knows.
    let subject = team.session.claims.subject();
    let key = RevocationKey::subject(subject);
    assert!(here.revocations.revoke(&key, after(2)).await.is_err());
    assert_eq!(here.verify(&team, &token, after(2)), Err(TokenError::Revoked));
    store.set_down(false);
    here.revocations.revoke(&key, after(3)).await.unwrap();
    there.revocations.sync(after(3)).await.unwrap();
    assert_eq!(there.verify(&team, &token, after(3)), Err(TokenError::Revoked));
}

#[tokio::test]
async fn a_careful_node_refuses_all_when_it_has_not_heard_for_too_long() {
    let (team, store, [here, _]) = nodes(Outage::RefuseAfter(Duration::from_secs(60))).await;
    let token = token(&team, &here, START).await;
    let unknown = Err(TokenError::RevocationsUnknown);
    assert_eq!(here.verify(&team, &token, START), unknown, "before the first answer");
    here.revocations.sync(START).await.unwrap();
    assert_eq!(here.verify(&team, &token, after(60)), Ok(()));
    assert_eq!(here.verify(&team, &token, after(61)), unknown, "remembered or not");
    store.set_down(true);
    assert!(here.revocations.sync(after(61)).await.is_err());
    assert_eq!(here.verify(&team, &token, after(61)), unknown);
    store.set_down(false);
    here.revocations.sync(after(62)).await.unwrap();
    assert_eq!(here.verify(&team, &token, after(62)), Ok(()));
}

#[tokio::test]
async fn too_many_log_outs_lead_to_new_logins_and_revive_none() {
    let revocations = Revocations::new().at_most(2);
    let at = |secs| after(secs);
    let issued = |secs| Epoch::at(at(secs));
    for (secs, name) in [(1, "a"), (2, "b"), (3, "c")] {
        revocations.revoke(&RevocationKey::subject(name), at(secs)).await.unwrap();
    }
    for name in ["a", "b", "c"] {
        assert!(revocations.is_revoked(name, "", issued(0)), "{name}");
    }
    assert!(revocations.is_revoked("d", "", issued(0)), "as old as what was dropped");
    assert!(!revocations.is_revoked("d", "", issued(2)));
    assert!(!revocations.is_revoked("a", "", issued(4)));
}

#[tokio::test]
async fn an_empty_name_ends_nobody_else() {
    let revocations = Revocations::new();
    let issued = revocations.epoch(START).await.unwrap();
    revocations.revoke(&RevocationKey::login(""), START).await.unwrap();
    revocations.revoke(&RevocationKey::subject(""), START).await.unwrap();
    assert!(!revocations.is_revoked("alice", "", issued));
    assert!(!revocations.is_revoked("", "nonce", issued));
}

#[tokio::test]
async fn a_clock_that_jumps_ahead_and_back_revives_nobody() {
    let revocations = Revocations::new();
    let issued = revocations.epoch(START).await.unwrap();
    revocations.revoke(&RevocationKey::subject("alice"), START).await.unwrap();
    let years = Duration::from_secs(10 * 365 * 86_400);
    revocations.sync(START.plus(years)).await.unwrap();
    revocations.sync(START).await.unwrap();
    assert!(revocations.is_revoked("alice", "", issued), "forgotten by date, kept by the floor");
    let again = revocations.epoch(START).await.unwrap();
    assert!(!revocations.is_revoked("alice", "", again));
}

#[tokio::test]
async fn thousands_of_changes_come_in_pieces_and_none_is_missed() {
    let store = Arc::new(MemoryRevocations::new());
    let writer = Revocations::shared(store.clone());
    let reader = Revocations::shared(store.clone());
    let issued = writer.epoch(START).await.unwrap();
    for number in 0..4_500 {
        writer.revoke(&RevocationKey::login(&number.to_string()), START).await.unwrap();
        if number == 1_234 {
            reader.sync(START).await.unwrap();
        }
    }
    reader.sync(START).await.unwrap();
    for number in 0..4_500 {
        assert!(reader.is_revoked("", &number.to_string(), issued), "{number}");
    }
    let newcomer = Revocations::shared(store);
    newcomer.sync(START).await.unwrap();
    assert!(newcomer.is_revoked("", "0", issued) && newcomer.is_revoked("", "4499", issued));
}

#[tokio::test]
async fn a_store_in_memory_survives_a_restart_by_its_text() {
    let store = MemoryRevocations::new();
    let issued = store.epoch(START).await.unwrap();
    store.revoke(&RevocationKey::subject("alice"), START).await.unwrap();
    store.revoke(&RevocationKey::login("nonce 1"), START).await.unwrap();
    let saved = store.save();
    for odd in ["a\nb", "a\r", "%0A", "%", "", "a\n9 sub:bob"] {
        let store = MemoryRevocations::new();
        store.revoke(&RevocationKey::subject(odd), START).await.unwrap();
        let loaded = MemoryRevocations::load(&store.save()).unwrap();
        let [(key, _)] = &loaded.changes(&Cursor::default(), START).await.unwrap().revoked[..]
        else {
            panic!("{odd:?}")
        };
        assert_eq!(*key, RevocationKey::subject(odd));
    }
    // The clock is set back while the process is down.
    let loaded = Arc::new(MemoryRevocations::load(&saved).unwrap());
    assert_eq!(loaded.save(), saved);
    let early = START.minus(Duration::from_secs(3_600));
    let node = Revocations::shared(loaded);
    node.sync(early).await.unwrap();
    assert!(node.is_revoked("alice", "", issued) && node.is_revoked("", "nonce 1", issued));
    assert!(!node.is_revoked("alice", "", node.epoch(early).await.unwrap()));
    let cut = &saved[..saved.len() - 1];
    let without_the_last = &saved[..=cut.rfind('\n').unwrap()];
    let bad = ["", "1", "x 0 0\n", "1 0 1\n2\n", "1 0 1\n2 nobody:x\n", "1 0 1\n-2 sub:x\n"];
    for bad in bad.into_iter().chain([cut, without_the_last]) {
        assert!(MemoryRevocations::load(bad).unwrap_err().is_caller_fault(), "{bad:?}");
    }
    // Without the text: everything from before is refused.
    let fresh = Arc::new(MemoryRevocations::refusing_before(after(10)));
    let node = Revocations::shared(fresh);
    node.sync(after(10)).await.unwrap();
    assert!(node.is_revoked("bob", "", issued));
    assert!(!node.is_revoked("bob", "", node.epoch(after(10)).await.unwrap()));
}

/// Beside a model that remembers everything: bounds and forgetting may refuse more, never less.
#[tokio::test]
async fn random_histories_never_believe_what_the_model_refuses() {
    let mut dice = 5_u64;
    let mut below = |bound: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (dice >> 33) % bound
    };
    for round in 0..200 {
        let store = Arc::new(MemoryRevocations::new());
        let nodes = [
            Revocations::shared(store.clone()).at_most(3),
            Revocations::shared(store).remember_for(Duration::from_secs(100)),
        ];
        let (mut model, mut tokens, mut now) = (Vec::new(), Vec::new(), START);
        for _ in 0..60 {
            let (person, login) = (below(4).to_string(), below(6).to_string());
            let node = &nodes[usize::try_from(below(2)).unwrap()];
            match below(5) {
                0 => now = now.plus(Duration::from_millis(below(40_000))),
                1 => now = now.minus(Duration::from_millis(below(40_000))),
                2 => tokens.push((person, login, node.epoch(now).await.unwrap())),
                3 => {
                    node.revoke(&RevocationKey::subject(&person), now).await.unwrap();
                    model.push((true, person, tokens.len()));
                }
                _ => {
                    node.revoke(&RevocationKey::login(&login), now).await.unwrap();
                    model.push((false, login, tokens.len()));
                }
            }
        }
        for node in &nodes {
            node.sync(now).await.unwrap();
        }
        for (number, (person, login, epoch)) in tokens.iter().enumerate() {
            let is_revoked = model.iter().any(|(is_person, name, before)| {
                number < *before && name == if *is_person { person } else { login }
            });
            for node in &nodes {
                let found = node.is_revoked(person, login, *epoch);
                assert!(found || !is_revoked, "round {round}: token {number} was revived");
            }
        }
        let fresh = nodes[0].epoch(now).await.unwrap();
        assert!(!nodes[0].is_revoked("0", "0", fresh) && !nodes[1].is_revoked("0", "0", fresh));
    }
}
