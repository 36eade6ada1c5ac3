//! Step-up: what a token says about how somebody signed in, and the challenge of RFC 9470.

mod support;
#[path = "support/tokens.rs"]
mod team;

use std::sync::Arc;
use std::time::Duration;

use otp_auth::login::{Admission, StepUp, Verdict};
#[cfg(feature = "totp")]
use otp_auth::random::SystemRandom;
use otp_auth::session::{AppGrant, AppVerifier, Epoch, OrgVerifier, Revocations};
use otp_auth::step_up::{Acr, Authentication, Elevation, Requirement};
use otp_auth::token::TokenError;
use serde_json::json;
use support::{START, after, sign_in};
use team::{TEAM, Team, claims_of};

const ALL: [Acr; 4] = [Acr::Mailbox, Acr::Recovery, Acr::Authenticator, Acr::Hardware];

#[test]
fn the_challenge_is_that_of_rfc_9470() {
    let shown = Authentication::new(Acr::Mailbox, START);
    let challenge = Requirement::at_least(Acr::Authenticator).check(&shown, START).unwrap_err();
    assert_eq!(challenge.status(), 401);
    assert_eq!(
        challenge.www_authenticate(),
        "Bearer error=\"insufficient_user_authentication\", \
         error_description=\"A stronger or fresher sign-in is needed\", \
         acr_values=\"urn:sekimori:acr:authenticator\""
    );
    let fresh = Requirement::at_least(Acr::Mailbox).max_age(Duration::from_millis(5_900));
    let challenge = fresh.check(&shown, after(6)).unwrap_err();
    assert!(challenge.www_authenticate().ends_with(", max_age=\"5\""));
    assert_eq!(challenge.requirement(), fresh);
}

#[test]
fn stronger_is_enough_and_weaker_is_not() {
    for (asked, wanted) in ALL.iter().enumerate() {
        for (has, shown) in ALL.iter().enumerate() {
            let shown = Authentication::new(*shown, START);
            let found = Requirement::at_least(*wanted).check(&shown, START);
            assert_eq!(found.is_ok(), has >= asked, "{shown:?} for {wanted}");
        }
    }
}

#[test]
fn age_counts_from_what_was_shown() {
    let need = Requirement::at_least(Acr::Mailbox).max_age(Duration::from_secs(300));
    let shown = Authentication::new(Acr::Mailbox, START);
    for (secs, expected) in [(0, true), (300, true), (301, false)] {
        assert_eq!(need.check(&shown, after(secs)).is_ok(), expected, "{secs}");
    }
    // The clock of the issuer is ahead: a little is leeway, more is not believed.
    for (secs, expected) in [(30, true), (31, false)] {
        let before = START.minus(Duration::from_secs(secs));
        assert_eq!(need.check(&shown, before).is_ok(), expected, "{secs}");
    }
}

#[test]
fn names_read_back() {
    for acr in ALL {
        assert_eq!(acr.to_string().parse::<Acr>().ok(), Some(acr));
    }
    for bad in ["", "mfa", "urn:sekimori:acr:", "URN:SEKIMORI:ACR:MAILBOX", "phr"] {
        assert!(bad.parse::<Acr>().is_err(), "{bad}");
    }
}

#[tokio::test]
async fn tokens_say_how_somebody_signed_in() {
    let team = Team::new().await;
    let app = claims_of(team.app_token().expose());
    for wire in [claims_of(team.session.token.expose()), app] {
        assert_eq!(wire["acr"], "urn:sekimori:acr:mailbox");
        assert_eq!(wire["amr"], json!(["otp"]));
        assert_eq!(wire["auth_time"], json!(1_790_000_000));
    }
    for (acr, amr) in [
        (Acr::Recovery, json!(["otp"])),
        (Acr::Authenticator, json!(["otp", "mfa"])),
        (Acr::Hardware, json!(["otp", "hwk", "mfa"])),
    ] {
        let shown = Authentication::new(acr, after(60));
        let proof = Elevation::danger_vouch(team.session.claims.subject(), shown);
        let epoch = Epoch::at(after(60));
        let stronger = team.issuer.step_up(&team.session.claims, proof, epoch, after(61)).unwrap();
        let wire = claims_of(stronger.token.expose());
        assert_eq!((&wire["amr"], &wire["auth_time"]), (&amr, &json!(1_790_000_060)));
        assert_eq!(wire["exp"], claims_of(team.session.token.expose())["exp"], "the end stays");
        let grant = AppGrant::new(team.audience.clone());
        let token = team.issuer.app_token(&stronger.claims, &grant, after(61)).unwrap();
        let verifier = AppVerifier::new(Arc::new(team.keys.clone()), TEAM);
        let claims = verifier.verify(token.expose(), &team.audience, after(61)).unwrap();
        assert_eq!(claims.authentication(), Some(shown));
    }
}

#[tokio::test]
async fn a_stronger_session_is_another_login_of_the_same_person() {
    let team = Team::new().await;
    let revocations = Arc::new(Revocations::new());
    let audience = team.issuer.org_audience().clone();
    let verifier = OrgVerifier::new(Arc::new(team.keys.clone()), TEAM, audience)
        .revocations(revocations.clone());
    let shown = Authentication::new(Acr::Authenticator, START);
    let elevation = |subject: &str| Elevation::danger_vouch(subject, shown);
    let weak = &team.session;
    let subject = weak.claims.subject();
    let epoch = revocations.epoch(START).await.unwrap();
    let stronger = team.issuer.step_up(&weak.claims, elevation(subject), epoch, START).unwrap();
    assert_ne!(stronger.claims.identity_nonce(), weak.claims.identity_nonce());
    assert_eq!(stronger.claims.identity(), weak.claims.identity());
    revocations.revoke(&weak.claims.revocation_key(), START).await.unwrap();
    let refused = verifier.verify(weak.token.expose(), START).unwrap_err();
    assert_eq!(refused, TokenError::Revoked);
    assert!(verifier.verify(stronger.token.expose(), START).is_ok());

    let foreign = team.issuer.step_up(&weak.claims, elevation("bob"), epoch, START);
    assert!(foreign.unwrap_err().is_caller_fault());
    let late = team.issuer.step_up(&weak.claims, elevation(subject), epoch, after(86_400));
    assert!(late.unwrap_err().is_caller_fault());
}

/// A right code of an authenticator of this person's.
#[cfg(feature = "totp")]
async fn authenticator_of(subject: &str) -> otp_auth::totp::VerifiedTotp {
    use otp_auth::totp::{FactorId, MemorySteps, SecondFactor, Step, Totp, TotpVerdict};
    let totp = Totp::generate(&SystemRandom::new()).expect("randomness");
    let checks = SecondFactor::new(Arc::new(MemorySteps::new()));
    let id = FactorId::new(subject, "phone").expect("a good name");
    let typed = format!("{:06}", totp.value(Step::at(after(5))));
    match checks.check(&id, &totp, &typed, after(5)).await.expect("the store works") {
        TotpVerdict::Verified(verified) => verified,
        other => panic!("{other:?}"),
    }
}

#[cfg(feature = "totp")]
#[tokio::test]
async fn an_authenticator_lifts_the_session_of_its_owner_and_nobody_elses() {
    let team = Team::new().await;
    let weak = &team.session.claims;
    let verified = authenticator_of(weak.subject()).await;
    assert_eq!(verified.subject(), weak.subject());
    let proof = Elevation::by_authenticator(verified);
    let stronger = team.issuer.step_up(weak, proof, Epoch::at(after(6)), after(6)).unwrap();
    let expected = Authentication::new(Acr::Authenticator, after(5));
    assert_eq!(stronger.claims.authentication(), Some(expected));
    let bobs = Elevation::by_authenticator(authenticator_of("bob").await);
    let refused = team.issuer.step_up(weak, bobs, Epoch::at(after(6)), after(6));
    assert!(refused.unwrap_err().is_caller_fault());
}

#[tokio::test]
async fn a_code_mailed_for_it_makes_a_session_fresh_and_claims_no_more() {
    let team = Team::new().await;
    let login = support::login().for_purpose::<StepUp>();
    let prove = async |address: &str, secs: u64| {
        let request = sign_in(address, Admission::Admitted);
        let (begun, dispatch) = login.begin(&request, after(secs)).await.unwrap();
        let code = dispatch.mail().unwrap().code().expose();
        let (nonce, cookie) = (begun.nonce.to_string(), begun.flow_cookie.expose());
        match login.submit(&nonce, &cookie, code, after(secs)).await.unwrap() {
            Verdict::Proven(proven) => proven,
            other => panic!("{other:?}"),
        }
    };
    let fresh = Requirement::at_least(Acr::Mailbox).max_age(Duration::from_secs(300));
    let weak = &team.session.claims;
    assert!(fresh.check(&weak.authentication().unwrap(), after(3_600)).is_err());
    let proof = team.issuer.elevation(prove("Alice@example.jp", 3_600).await);
    let epoch = Epoch::at(after(3_600));
    let again = team.issuer.step_up(weak, proof, epoch, after(3_600)).unwrap().claims;
    assert!(fresh.check(&again.authentication().unwrap(), after(3_600)).is_ok());
    let bobs = team.issuer.elevation(prove("bob@example.jp", 3_600).await);
    assert!(team.issuer.step_up(weak, bobs, epoch, after(3_600)).is_err());
    // What was shown an hour ago does not count as shown now.
    let shown = Authentication::new(Acr::Authenticator, START);
    let strong = Elevation::danger_vouch(weak.subject(), shown);
    let strong = team.issuer.step_up(weak, strong, epoch, START).unwrap().claims;
    let proof = team.issuer.elevation(prove("alice@example.jp", 3_700).await);
    let after_mail = team.issuer.step_up(&strong, proof, epoch, after(3_700)).unwrap().claims;
    let pay = Requirement::at_least(Acr::Authenticator).max_age(Duration::from_secs(300));
    assert!(pay.check(&after_mail.authentication().unwrap(), after(3_700)).is_err());
}

#[tokio::test]
async fn what_another_issuer_calls_strong_says_nothing_here() {
    let team = Team::new().await;
    let mut claims = team.claims();
    claims["acr"] = json!("phr");
    let token = team.sign(&team.header().to_string(), &claims.to_string());
    let verifier = AppVerifier::new(Arc::new(team.keys.clone()), TEAM);
    let claims = verifier.verify(&token, &team.audience, START).unwrap();
    assert_eq!(claims.authentication(), None);
}
