//! Sessions that a store holds: limits, places, new references, log-out.
#![expect(clippy::unwrap_used, reason = "a test that can't set up its sessions has failed")]

mod support;
#[path = "support/tokens.rs"]
mod team;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use otp_auth::error::Error;
use otp_auth::random::SystemRandom;
use otp_auth::session::{
    MemoryRevocations, MemorySessions, Outage, Revocations, Session, SessionId, SessionLimits,
    SessionRecord, SessionReference, SessionRefusal, SessionStore, Sessions,
};
use otp_auth::step_up::{Acr, Authentication, Elevation, Requirement};
use otp_auth::timestamp::Timestamp;
use otp_auth::token::Audience;
use support::{START, after};
use team::Team;
use tokio::task::JoinSet;

fn limits(idle: u64, absolute: u64) -> SessionLimits {
    SessionLimits::new(Duration::from_secs(idle), Duration::from_secs(absolute)).unwrap()
}

fn sessions() -> Sessions {
    sessions_in(Arc::new(MemorySessions::new()), Arc::new(Revocations::new()))
}

fn sessions_in(store: Arc<dyn SessionStore>, revocations: Arc<Revocations>) -> Sessions {
    Sessions::new(store, revocations, Arc::new(SystemRandom::new()))
        .global_limits(limits(3_600, 36_000))
        .application_limits(limits(600, 7_200))
}

async fn check(
    sessions: &Sessions,
    reference: &SessionReference,
    now: Timestamp,
) -> Result<Session, SessionRefusal> {
    sessions.check(&reference.expose(), now).await.unwrap()
}

async fn check_app(
    sessions: &Sessions,
    reference: &SessionReference,
    audience: &Audience,
    now: Timestamp,
) -> Result<Session, SessionRefusal> {
    sessions.check_application(&reference.expose(), audience, now).await.unwrap()
}

#[tokio::test]
async fn a_session_is_found_by_its_reference_and_by_nothing_else() {
    let (team, sessions) = (Team::new().await, sessions());
    let (reference, opened) = sessions.open(&team.session.claims, START).await.unwrap();
    let (other, _) = sessions.open(&team.session.claims, START).await.unwrap();
    let text = reference.expose().to_string();
    assert_eq!(text.len(), 43);
    let found = check(&sessions, &reference, START).await.unwrap();
    assert_eq!((found.id(), found.email()), (opened.id(), "alice@example.jp"));
    assert_eq!(found.subject(), team.session.claims.subject());
    assert_eq!(found.authentication().unwrap().acr(), Acr::Mailbox);

    let mixed = format!("{}{}", &text[..21], &other.expose()[21..]);
    let mut flipped = text.clone().into_bytes();
    flipped[30] = if flipped[30] == b'A' { b'B' } else { b'A' };
    for bad in [mixed, String::from_utf8(flipped).unwrap()] {
        let refused = sessions.check(&bad, START).await.unwrap().unwrap_err();
        assert_eq!(refused, SessionRefusal::Unknown);
    }
    let padded = format!("{text}=");
    for bad in
        ["", "x", &text[..42], &padded, &format!("{text}A"), &" ".repeat(43), &"é".repeat(21)]
    {
        let refused = sessions.check(bad, START).await.unwrap().unwrap_err();
        assert_eq!(refused, SessionRefusal::Malformed, "{bad}");
    }
}

#[tokio::test]
async fn each_login_gets_a_new_reference() {
    let (team, sessions) = (Team::new().await, sessions());
    let mut seen = Vec::new();
    for _ in 0..50 {
        let (reference, session) = sessions.open(&team.session.claims, START).await.unwrap();
        assert!(!seen.contains(&session.id()));
        assert!(check(&sessions, &reference, START).await.is_ok());
        seen.push(session.id());
    }
}

#[tokio::test]
async fn idle_and_absolute_limits_end_it() {
    let (team, sessions) = (Team::new().await, sessions());
    let (reference, _) = sessions.open(&team.session.claims, START).await.unwrap();
    // Used each half hour, it lives to its absolute end.
    for half_hour in 1..20 {
        assert!(check(&sessions, &reference, after(half_hour * 1_800)).await.is_ok());
    }
    assert!(check(&sessions, &reference, after(35_999)).await.is_ok());
    let ended = check(&sessions, &reference, after(36_000)).await.unwrap_err();
    assert!(matches!(ended, SessionRefusal::Expired | SessionRefusal::Unknown));
    // Back again with the clock: gone is gone.
    assert!(check(&sessions, &reference, after(35_999)).await.is_err());

    let (idle, _) = sessions.open(&team.session.claims, START).await.unwrap();
    assert!(check(&sessions, &idle, after(3_599)).await.is_ok());
    assert!(check(&sessions, &idle, after(3_599 + 3_599)).await.is_ok());
    let ended = check(&sessions, &idle, after(3_599 + 3_599 + 3_600)).await.unwrap_err();
    assert_eq!(ended, SessionRefusal::Expired);
}

#[tokio::test]
async fn no_session_outlives_the_token_it_was_opened_with() {
    let (team, sessions) = (Team::new().await, sessions());
    let sessions = sessions.global_limits(limits(86_400, 31 * 86_400));
    let late = after(86_000);
    let (_, session) = sessions.open(&team.session.claims, late).await.unwrap();
    assert_eq!(session.ends(), team.session.claims.expires());
}

#[tokio::test]
async fn a_clock_before_the_beginning_opens_nothing() {
    let (team, sessions) = (Team::new().await, sessions());
    let (reference, _) = sessions.open(&team.session.claims, after(1_000)).await.unwrap();
    assert!(check(&sessions, &reference, after(970)).await.is_ok(), "nodes differ a little");
    let refused = check(&sessions, &reference, after(969)).await.unwrap_err();
    assert_eq!(refused, SessionRefusal::Expired);
}

#[tokio::test]
async fn sessions_count_where_they_were_opened() {
    let (team, sessions) = (Team::new().await, sessions());
    let other: Audience = "another-app".parse().unwrap();
    let (global, session) = sessions.open(&team.session.claims, START).await.unwrap();
    let (app, at_app) = sessions.open_application(&session, &team.audience, START).await.unwrap();
    assert!(check_app(&sessions, &app, &team.audience, START).await.is_ok());
    for refused in [
        check_app(&sessions, &app, &other, START).await,
        check(&sessions, &app, START).await,
        check_app(&sessions, &global, &team.audience, START).await,
    ] {
        assert_eq!(refused.unwrap_err(), SessionRefusal::WrongPlace);
    }
    let again = sessions.open_application(&at_app, &other, START).await;
    assert!(again.unwrap_err().is_caller_fault(), "only the team host's session is carried on");
    // It has limits of its own, within those of the other.
    assert_eq!(at_app.ends(), after(7_200));
    let idle = check_app(&sessions, &app, &team.audience, after(600)).await.unwrap_err();
    assert_eq!(idle, SessionRefusal::Expired);
    let late = sessions.open_application(&session, &team.audience, after(35_000)).await.unwrap().1;
    assert_eq!(late.ends(), after(36_000));
}

#[tokio::test]
async fn signing_out_of_the_team_host_ends_the_applications() {
    let (team, sessions) = (Team::new().await, sessions());
    let (global, session) = sessions.open(&team.session.claims, START).await.unwrap();
    let (app, at_app) = sessions.open_application(&session, &team.audience, START).await.unwrap();
    let (second, at_second) = sessions.open(&team.session.claims, START).await.unwrap();
    sessions.end(&at_app).await.unwrap();
    let refused = check_app(&sessions, &app, &team.audience, START).await.unwrap_err();
    assert_eq!(refused, SessionRefusal::Unknown);
    assert!(check(&sessions, &global, START).await.is_ok());

    let (app, _) = sessions.open_application(&session, &team.audience, START).await.unwrap();
    sessions.end(&session).await.unwrap();
    let refused = check_app(&sessions, &app, &team.audience, START).await.unwrap_err();
    assert_eq!(refused, SessionRefusal::Revoked);
    assert!(check(&sessions, &second, START).await.is_ok(), "another device stays signed in");

    sessions.end_everywhere(at_second.subject(), after(1)).await.unwrap();
    assert_eq!(check(&sessions, &second, after(1)).await.unwrap_err(), SessionRefusal::Revoked);
    let (third, _) = sessions.open(&team.session.claims, after(1)).await.unwrap();
    let refused = check(&sessions, &third, after(1)).await.unwrap_err();
    assert_eq!(
        refused,
        SessionRefusal::Revoked,
        "what was proved before the log-out opens nothing"
    );
}

/// The other node has not heard of the log-out yet, and makes a stronger session of the old one.
#[tokio::test]
async fn a_log_out_is_not_undone_by_a_step_up_elsewhere() {
    let team = Team::new().await;
    let revocations = Arc::new(MemoryRevocations::new());
    let store = Arc::new(MemorySessions::new());
    let [here, elsewhere] = [(), ()].map(|()| Arc::new(Revocations::shared(revocations.clone())));
    let node = |heard: &Arc<Revocations>| sessions_in(store.clone(), heard.clone());
    let (near, far) = (node(&here), node(&elsewhere));
    let (reference, session) = near.open(&team.session.claims, START).await.unwrap();

    near.end_everywhere(session.subject(), after(1)).await.unwrap();
    let late = check(&far, &reference, after(2)).await.unwrap();
    let shown = Authentication::new(Acr::Authenticator, after(2));
    let proof = Elevation::danger_vouch(late.subject(), shown);
    let (stronger, _) = far.step_up(&late, proof, after(2)).await.unwrap();
    let epoch = elsewhere.epoch(after(2)).await.unwrap();
    let proof = Elevation::danger_vouch(late.subject(), shown);
    let token = team.issuer.step_up(&team.session.claims, proof, epoch, after(2)).unwrap();
    let (reopened, _) = far.open(&token.claims, after(2)).await.unwrap();

    elsewhere.sync(after(3)).await.unwrap();
    for reference in [&stronger, &reopened] {
        for node in [&near, &far] {
            let refused = check(node, reference, after(3)).await.unwrap_err();
            assert_eq!(refused, SessionRefusal::Revoked);
        }
    }
}

#[tokio::test]
async fn a_stronger_session_has_a_new_reference_and_the_old_one_is_dead() {
    let (team, sessions) = (Team::new().await, sessions());
    let (weak, session) = sessions.open(&team.session.claims, START).await.unwrap();
    let (app, _) = sessions.open_application(&session, &team.audience, START).await.unwrap();
    let pay = Requirement::at_least(Acr::Authenticator).max_age(Duration::from_secs(300));
    assert!(pay.check(&session.authentication().unwrap(), START).is_err());

    let shown = Authentication::new(Acr::Authenticator, after(60));
    let foreign = Elevation::danger_vouch("bob", shown);
    let refused = sessions.step_up(&session, foreign, after(60)).await.unwrap_err();
    assert!(refused.is_caller_fault());
    let proof = Elevation::danger_vouch(session.subject(), shown);
    let (strong, stronger) = sessions.step_up(&session, proof, after(60)).await.unwrap();
    assert_eq!(stronger.ends(), session.ends(), "the absolute end stays");
    let found = check(&sessions, &strong, after(61)).await.unwrap();
    assert_eq!(pay.check(&found.authentication().unwrap(), after(61)), Ok(()));
    assert!(pay.check(&found.authentication().unwrap(), after(361)).is_err(), "no longer fresh");
    assert_eq!(check(&sessions, &weak, after(61)).await.unwrap_err(), SessionRefusal::Unknown);
    let refused = check_app(&sessions, &app, &team.audience, after(61)).await.unwrap_err();
    assert_eq!(refused, SessionRefusal::Revoked);
    // The same step again: there is nothing left to replace.
    let again = Elevation::danger_vouch(session.subject(), shown);
    assert!(sessions.step_up(&session, again, after(61)).await.is_err());
}

#[tokio::test]
async fn of_many_step_ups_at_once_one_counts() {
    let (team, sessions) = (Team::new().await, sessions());
    let (_, session) = sessions.open(&team.session.claims, START).await.unwrap();
    let mut all = JoinSet::new();
    for _ in 0..64 {
        let (sessions, session) = (sessions.clone(), session.clone());
        all.spawn(async move {
            let shown = Authentication::new(Acr::Authenticator, START);
            let proof = Elevation::danger_vouch(session.subject(), shown);
            sessions.step_up(&session, proof, START).await.is_ok()
        });
    }
    assert_eq!(all.join_all().await.into_iter().filter(|is_ok| *is_ok).count(), 1);
}

/// A store that is away.
#[derive(Debug)]
struct Away;

#[async_trait]
impl SessionStore for Away {
    async fn insert(&self, _: &SessionRecord, _: Timestamp) -> Result<bool, Error> {
        Err(Error::store_unavailable("away"))
    }

    async fn load(&self, _: SessionId, _: Timestamp) -> Result<Option<SessionRecord>, Error> {
        Err(Error::store_unavailable("away"))
    }

    async fn touch(&self, _: SessionId, _: Timestamp) -> Result<(), Error> {
        Err(Error::store_unavailable("away"))
    }

    async fn replace(&self, _: SessionId, _: &SessionRecord, _: Timestamp) -> Result<bool, Error> {
        Err(Error::store_unavailable("away"))
    }

    async fn remove(&self, _: SessionId) -> Result<(), Error> {
        Err(Error::store_unavailable("away"))
    }
}

#[tokio::test]
async fn without_a_store_nobody_is_let_in() {
    let (team, here) = (Team::new().await, sessions());
    let (reference, _) = here.open(&team.session.claims, START).await.unwrap();
    let away = sessions_in(Arc::new(Away), Arc::new(Revocations::new()));
    let refused = away.check(&reference.expose(), START).await.unwrap_err();
    assert!(refused.is_store_unavailable());
    assert!(away.open(&team.session.claims, START).await.is_err());
    // A store that lost everything: sign in again.
    let refused = check(&sessions(), &reference, START).await.unwrap_err();
    assert_eq!(refused, SessionRefusal::Unknown);
    // Revocations that are too old to go by, where that is asked for.
    let strict = Revocations::shared(Arc::new(MemoryRevocations::new()))
        .outage(Outage::RefuseAfter(Duration::from_secs(60)));
    let strict = sessions_in(Arc::new(MemorySessions::new()), Arc::new(strict));
    let (reference, _) = strict.open(&team.session.claims, START).await.unwrap();
    assert_eq!(check(&strict, &reference, START).await.unwrap_err(), SessionRefusal::Revoked);
}

#[tokio::test]
async fn a_record_survives_as_json_and_says_no_secret() {
    let team = Team::new().await;
    let store = Arc::new(MemorySessions::new());
    let sessions = sessions_in(store.clone(), Arc::new(Revocations::new()));
    let (reference, session) = sessions.open(&team.session.claims, START).await.unwrap();
    let record = store.load(session.id(), START).await.unwrap().unwrap();
    let json = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<SessionRecord>(&json).unwrap(), record);
    let printed = format!("{record:?} {session:?} {reference:?} {sessions:?} {store:?}");
    let text = reference.expose().to_string();
    for secret in
        [&text[..], &text[22..], "alice@example.jp", &format!("{:?}", record.secret_digest)]
    {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
    assert!(!json.contains(&text[22..]));
}

#[test]
fn limits_have_limits() {
    let secs = Duration::from_secs;
    assert!(SessionLimits::new(secs(59), secs(100)).is_err());
    assert!(SessionLimits::new(secs(101), secs(100)).is_err());
    assert!(SessionLimits::new(secs(60), secs(31 * 86_400 + 1)).is_err());
    assert!(SessionLimits::new(secs(60), secs(31 * 86_400)).is_ok());
}
