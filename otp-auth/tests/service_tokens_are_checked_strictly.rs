//! `CF-Access-Client-Id` and `CF-Access-Client-Secret`.
#![expect(clippy::unwrap_used, reason = "a test that can't set up its team has failed")]

mod support;
#[path = "support/tokens.rs"]
mod team;

use std::sync::Arc;
use std::time::Duration;

use otp_auth::random::SystemRandom;
use otp_auth::session::{
    AppGrant, AppVerifier, Epoch, RevocationKey, Revocations, ServiceCredentials, ServiceRefusal,
    ServiceToken, ServiceTokens,
};
use otp_auth::timestamp::Timestamp;
use otp_auth::token::TokenError;
use serde_json::json;
use support::{START, after};
use team::{TEAM, Team, claims_of};

fn draw() -> (ServiceToken, String) {
    let (token, secret) = ServiceToken::draw("deploy", &SystemRandom::new()).unwrap();
    (token, secret.expose().to_owned())
}

fn check(
    token: &ServiceToken,
    id: &str,
    secret: &str,
    now: Timestamp,
) -> Result<String, ServiceRefusal> {
    let read = ServiceCredentials::from_fields([id.as_bytes()], [secret.as_bytes()])?;
    let tokens = ServiceTokens::new([token.clone()]);
    tokens.check(&read.unwrap(), now).map(|proven| proven.client_id().to_owned())
}

#[test]
fn a_drawn_token_has_the_form_of_access() {
    let (token, secret) = draw();
    let id = token.client_id().strip_suffix(".access").unwrap();
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    assert!(secret.len() == 64 && secret.bytes().all(|b| b.is_ascii_hexdigit()));
    assert_eq!(check(&token, token.client_id(), &secret, START).as_deref(), Ok(token.client_id()));
}

#[test]
fn wrong_secrets_and_unknown_ids_are_told_apart_only_for_the_operator() {
    let (token, secret) = draw();
    let id = token.client_id();
    let mut wrong = secret.clone();
    wrong.replace_range(63..64, if secret.ends_with('0') { "1" } else { "0" });
    for bad in [wrong.as_str(), &secret[..63], &format!("{secret}0"), &secret.to_uppercase()] {
        let refused = check(&token, id, bad, START).unwrap_err();
        assert_eq!(refused, ServiceRefusal::WrongSecret, "{bad}");
        assert!(refused.is_worth_logging());
    }
    let unknown = check(&token, "nobody.access", &secret, START).unwrap_err();
    assert!(unknown == ServiceRefusal::Unknown && !unknown.is_worth_logging());
}

#[test]
fn half_doubled_and_malformed_fields_are_refused() {
    let read = |ids: &[&'static [u8]], secrets: &[&'static [u8]]| {
        let found = ServiceCredentials::from_fields(ids.iter().copied(), secrets.iter().copied());
        found.map(|it| it.is_some())
    };
    assert_eq!(read(&[], &[]), Ok(false), "nothing: a person's request");
    assert_eq!(read(&[b"a.access"], &[b"secret"]), Ok(true));
    for (ids, secrets, expected) in [
        (&[&b"a"[..]][..], &[][..], ServiceRefusal::Half),
        (&[], &[&b"s"[..]], ServiceRefusal::Half),
        (&[b"a", b"a"], &[], ServiceRefusal::Half),
        (&[b"a", b"a"], &[b"s"], ServiceRefusal::Repeated),
        (&[b"a"], &[b"s", b"s"], ServiceRefusal::Repeated),
        (&[b""], &[b"s"], ServiceRefusal::Malformed),
        (&[b"a"], &[b""], ServiceRefusal::Malformed),
        (&[b"a b"], &[b"s"], ServiceRefusal::Malformed),
        (&[b"a, b"], &[b"s, s"], ServiceRefusal::Malformed),
        (&[b"a\xff"], &[b"s"], ServiceRefusal::Malformed),
        (&[b"a"], &[&[b's'; 257]], ServiceRefusal::Malformed),
    ] {
        assert_eq!(read(ids, secrets), Err(expected), "{ids:?} {secrets:?}");
    }
}

#[test]
fn one_field_may_hold_both() {
    let (token, secret) = draw();
    let both = json!({
        "cf-access-client-id": token.client_id(),
        "cf-access-client-secret": secret,
    });
    let read = ServiceCredentials::from_single_field(both.to_string().as_bytes()).unwrap();
    assert!(ServiceTokens::new([token]).check(&read, START).is_ok());
    for bad in [
        "",
        "{}",
        "[]",
        r#"{"cf-access-client-id":"a"}"#,
        r#"{"cf-access-client-id":"a","cf-access-client-id":"b","cf-access-client-secret":"s"}"#,
        r#"{"cf-access-client-id":1,"cf-access-client-secret":"s"}"#,
    ] {
        let refused = ServiceCredentials::from_single_field(bad.as_bytes()).unwrap_err();
        assert_eq!(refused, ServiceRefusal::Malformed, "{bad}");
    }
    let long = json!({ "cf-access-client-id": "a", "cf-access-client-secret": "s".repeat(2_000) });
    assert!(ServiceCredentials::from_single_field(long.to_string().as_bytes()).is_err());
}

#[test]
fn a_changed_secret_leaves_the_old_one_for_a_while() {
    let (mut token, old) = draw();
    let id = token.client_id().to_owned();
    let random = SystemRandom::new();
    let new = token.rotate(&random, Duration::from_secs(3_600), START).unwrap();
    let new = new.expose().to_owned();
    assert!(check(&token, &id, &old, after(3_599)).is_ok());
    assert!(check(&token, &id, &new, START).is_ok());
    assert_eq!(check(&token, &id, &old, after(3_600)), Err(ServiceRefusal::WrongSecret));
    assert!(check(&token, &id, &new, after(3_600)).is_ok());
    // Twice in a row: only the last but one is left.
    let newest = token.rotate(&random, Duration::from_secs(3_600), after(1)).unwrap();
    assert!(check(&token, &id, &old, after(2)).is_err());
    assert!(check(&token, &id, &new, after(2)).is_ok());
    assert!(check(&token, &id, newest.expose(), after(2)).is_ok());
    let month = Duration::from_secs(30 * 86_400);
    assert!(token.rotate(&random, month + Duration::from_secs(1), START).is_err());
}

#[test]
fn ended_tokens_are_refused_and_worth_a_line() {
    let (token, secret) = draw();
    let id = token.client_id().to_owned();
    let mut token = token.until(after(100));
    assert!(check(&token, &id, &secret, after(99)).is_ok());
    assert_eq!(check(&token, &id, &secret, after(100)), Err(ServiceRefusal::Ended));
    assert_eq!(check(&token, &id, "wrong", after(100)), Err(ServiceRefusal::WrongSecret));
    token.set_enabled(false);
    assert_eq!(check(&token, &id, &secret, START), Err(ServiceRefusal::Ended));
    token.set_enabled(true);
    assert!(check(&token, &id, &secret, START).is_ok());
}

#[test]
fn the_new_form_of_secrets_is_taken_over() {
    let secret = "cfast_0123456789abcdefghijABCDEFGHIJ012345678912345678";
    let token = ServiceToken::import("x.access", "moved", secret).unwrap();
    assert!(check(&token, "x.access", secret, START).is_ok());
    let kept = serde_json::to_string(&token).unwrap();
    assert!(!kept.contains("cfast"), "kept as a digest");
    let again: ServiceToken = serde_json::from_str(&kept).unwrap();
    assert!(check(&again, "x.access", secret, START).is_ok());
    for (id, secret) in [("", secret), ("a b", secret), ("x", "short"), ("x", &" ".repeat(40))] {
        assert!(ServiceToken::import(id, "n", secret).unwrap_err().is_caller_fault());
    }
}

#[tokio::test]
async fn a_service_gets_a_token_without_a_person() {
    let team = Team::new().await;
    let (token, secret) = draw();
    let id = token.client_id().to_owned();
    let read = ServiceCredentials::from_fields([id.as_bytes()], [secret.as_bytes()]).unwrap();
    let proven = ServiceTokens::new([token]).check(&read.unwrap(), START).unwrap();
    let grant = AppGrant::new(team.audience.clone());
    let signed = team.issuer.service_token(&proven, &grant, Epoch::at(START), START).unwrap();
    let wire = claims_of(signed.expose());
    let mut names: Vec<&str> = wire.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["aud", "common_name", "epoch", "exp", "iat", "iss", "sub", "type"]);
    assert_eq!((&wire["sub"], &wire["type"]), (&json!(""), &json!("app")));
    assert_eq!(wire["common_name"], json!(id));

    let revocations = Arc::new(Revocations::new());
    let verifier =
        AppVerifier::new(Arc::new(team.keys.clone()), TEAM).revocations(revocations.clone());
    let verify = |now| verifier.verify(signed.expose(), &team.audience, now);
    let claims = verify(START).unwrap();
    assert_eq!((claims.common_name(), claims.email()), (Some(id.as_str()), None));
    assert_eq!((claims.subject(), claims.identity_nonce()), ("", None));
    revocations.revoke(&RevocationKey::subject(&id), START).await.unwrap();
    assert_eq!(verify(START).unwrap_err(), TokenError::Revoked);
}

#[tokio::test]
async fn something_of_a_person_and_something_of_a_service_is_neither() {
    let team = Team::new().await;
    let verifier = AppVerifier::new(Arc::new(team.keys.clone()), TEAM);
    let person = team.claims();
    for (name, value) in [("common_name", json!("x.access")), ("sub", json!(""))] {
        let mut claims = person.clone();
        claims[name] = value;
        let token = team.sign(&team.header().to_string(), &claims.to_string());
        let refused = verifier.verify(&token, &team.audience, START).unwrap_err();
        assert_eq!(refused, TokenError::BadClaims, "{name}");
    }
    let mut service = json!({ "type": "app", "aud": [team.audience.as_str()], "iss": TEAM,
        "exp": 1_790_000_100, "iat": 1_790_000_000, "sub": "", "common_name": "x.access" });
    let verify = |claims: &serde_json::Value| {
        let token = team.sign(&team.header().to_string(), &claims.to_string());
        verifier.verify(&token, &team.audience, START).map(|_| ())
    };
    assert_eq!(verify(&service), Ok(()));
    for (name, value) in [
        ("email", json!("alice@example.jp")),
        ("identity_nonce", json!("0123456789abcdef")),
        ("sub", json!("c680f83c-fe7e-5dd2-b4d1-9967b1f753f6")),
        ("common_name", json!("")),
    ] {
        let before = service[name].clone();
        service[name] = value;
        assert_eq!(verify(&service), Err(TokenError::BadClaims), "{name}");
        service[name] = before;
        if service[name].is_null() {
            service.as_object_mut().unwrap().remove(name);
        }
    }
}
