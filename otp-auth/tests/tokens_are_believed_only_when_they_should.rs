//! What a verifier believes, for how long, and what it remembers. The attacks stand in
//! `attacks_on_tokens_are_refused`.

mod support;
#[path = "support/tokens.rs"]
mod team;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use otp_auth::keys::{FindKey, KeySet, PublicKeySet, SigningKey, VerifyingKey};
use otp_auth::random::SystemRandom;
use otp_auth::session::{AppGrant, AppVerifier, OrgVerifier, Revocations};
use otp_auth::token::TokenError;
use serde_json::{Value, json};
use support::{START, after};
use team::{TEAM, Team, claims_of, refusal, verify, with_claim, with_header};

#[tokio::test]
async fn a_good_token_is_believed_with_all_its_claims() {
    let team = Team::new().await;
    let grant = AppGrant::new(team.audience.clone())
        .lifetime(Duration::from_secs(3_600))
        .unwrap()
        .policy_id("4c5bd8ea-95a4-4a8c-b0b6-19c0c5e5e5a1")
        .country("JP");
    let token = team.issuer.app_token(&team.session.claims, &grant, START).unwrap();
    let verifier = AppVerifier::new(Arc::new(team.keys.clone()), TEAM);
    let claims = verifier.verify(token.expose(), &team.audience, START).unwrap();
    assert_eq!(claims.email(), Some("alice@example.jp"));
    assert_eq!(claims.subject(), "c680f83c-fe7e-5dd2-b4d1-9967b1f753f6");
    assert_eq!(claims.identity_nonce(), Some(team.session.claims.identity_nonce()));
    assert_eq!(claims.expires(), after(3_600));
    assert_eq!(claims.country(), Some("JP"));
    assert!(claims.policy_id().is_some());
    let wire = claims_of(token.expose());
    assert_eq!(wire["type"], "app");
    assert_eq!(wire["aud"], json!([team.audience.as_str()]));
    assert_eq!(wire["iss"], TEAM);
    assert_eq!(wire["exp"], json!(1_790_003_600));
    assert_eq!(wire["nbf"], json!(1_790_000_000));
    let nonce = wire["identity_nonce"].as_str().unwrap();
    assert!(nonce.len() == 16 && nonce.bytes().all(|b| b.is_ascii_alphanumeric()));
    let header = token.expose().split('.').next().unwrap();
    let header = String::from_utf8(URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    assert_eq!(header, format!(r#"{{"alg":"ES256","kid":"{}","typ":"JWT"}}"#, team.kid()));
}

#[tokio::test]
async fn the_public_document_is_enough_to_verify() {
    let team = Team::new().await;
    let document: Value = serde_json::from_str(&team.keys.jwks()).unwrap();
    let key = &document["keys"][0];
    assert_eq!((&key["kty"], &key["crv"]), (&json!("EC"), &json!("P-256")));
    assert_eq!((&key["alg"], &key["use"]), (&json!("ES256"), &json!("sig")));
    assert_eq!(key["kid"].as_str().unwrap().len(), 64);
    let keys = PublicKeySet::from_json(&document.to_string()).unwrap();
    let verifier = AppVerifier::new(Arc::new(keys), TEAM);
    assert!(verifier.verify(team.app_token().expose(), &team.audience, START).is_ok());
}

#[tokio::test]
async fn large_and_deep_tokens_are_refused_in_no_time() {
    let team = Team::new().await;
    let deep = |open: &str| URL_SAFE_NO_PAD.encode(open.repeat(3_000 / open.len()));
    let deep_claims = {
        let claims = format!(r#"{{"custom":{}{}}}"#, "[".repeat(2_000), "]".repeat(2_000));
        team.sign(&team.header().to_string(), &claims)
    };
    let (dots, large, huge) = (".".repeat(10_000), "a".repeat(8_193), "a".repeat(1 << 20));
    let cases = [
        (large.as_str(), TokenError::TooLarge),
        (&huge, TokenError::TooLarge),
        (&dots, TokenError::TooLarge),
        (&dots[..8_000], TokenError::Malformed),
        (&format!("{}.e30.AAAA", deep("[")), TokenError::Malformed),
        (&format!("{}.e30.AAAA", deep(r#"{"a":"#)), TokenError::Malformed),
        (&deep_claims, TokenError::Malformed),
    ];
    for (token, expected) in cases {
        let begun = now();
        assert_eq!(refusal(&team, token), expected);
        assert!(begun.elapsed() < Duration::from_millis(50), "slow even for a debug build");
    }
}

#[tokio::test]
async fn time_has_thirty_seconds_of_leeway_and_no_more() {
    let team = Team::new().await;
    let now = START.as_unix_secs();
    for (name, value, expected) in [
        ("exp", now - 29, Ok(())),
        ("exp", now - 30, Err(TokenError::Expired)),
        ("exp", 0, Err(TokenError::Expired)),
        ("nbf", now + 30, Ok(())),
        ("nbf", now + 31, Err(TokenError::NotYetValid)),
        ("iat", now + 30, Ok(())),
        ("iat", now + 31, Err(TokenError::NotYetValid)),
    ] {
        assert_eq!(
            verify(&team, &with_claim(&team, name, json!(value))),
            expected,
            "{name} {value}"
        );
    }
}

#[tokio::test]
async fn org_and_app_tokens_do_not_stand_in_for_each_other() {
    let team = Team::new().await;
    let org = team.session.token.expose();
    let org_audience = team.issuer.org_audience().clone();
    let verifier = OrgVerifier::new(Arc::new(team.keys.clone()), TEAM, org_audience.clone());
    let claims = verifier.verify(org, START).unwrap();
    assert_eq!(claims.identity().idp.kind, "onetimepin");
    assert_eq!(claims.identity().user_uuid, claims.subject());
    assert_eq!(claims.expires(), after(86_400));
    assert_eq!(claims_of(org)["type"], "org");
    assert_eq!(claims_of(org)["identity"]["email"], "alice@example.jp");

    assert_eq!(
        verifier.verify(team.app_token().expose(), START).unwrap_err(),
        TokenError::WrongType
    );
    let app = AppVerifier::new(Arc::new(team.keys.clone()), TEAM);
    assert_eq!(app.verify(org, &org_audience, START).unwrap_err(), TokenError::WrongType);
    for kind in ["org", "meta", "match", "App", ""] {
        let token = with_claim(&team, "type", json!(kind));
        assert_eq!(refusal(&team, &token), TokenError::WrongType, "{kind}");
    }
}

#[tokio::test]
async fn the_identity_document_has_all_members_of_access() {
    let team = Team::new().await;
    let document = team.session.claims.identity_document(Some("JP"));
    let expected = json!({
        "email": "alice@example.jp", "idp": { "id": "", "type": "onetimepin" },
        "geo": { "country": "JP" }, "user_uuid": "c680f83c-fe7e-5dd2-b4d1-9967b1f753f6",
        "account_id": "", "iat": 1_790_000_000, "ip": "203.0.113.7", "amr": ["otp"],
        "auth_status": "NONE", "common_name": "", "service_token_id": "",
        "service_token_status": false, "is_warp": false, "is_gateway": false, "device_id": "",
        "devicePosture": {}, "device_sessions": {}, "version": 2,
    });
    assert_eq!(serde_json::from_str::<Value>(&document).unwrap(), expected);
}

#[tokio::test]
async fn an_expired_session_grants_nothing() {
    let team = Team::new().await;
    let grant = AppGrant::new(team.audience.clone());
    let late = team.issuer.app_token(&team.session.claims, &grant, after(86_400));
    assert!(late.unwrap_err().is_caller_fault());
    let other = Team::new().await;
    let foreign = otp_auth::session::Issuer::new(
        other.keys.clone(),
        Arc::new(SystemRandom::new()),
        "https://other.example",
    );
    assert!(foreign.unwrap().app_token(&team.session.claims, &grant, START).is_err());
}

#[tokio::test]
async fn a_remembered_token_is_still_checked() {
    let team = Team::new().await;
    let revocations = Arc::new(Revocations::new());
    let verifier =
        AppVerifier::new(Arc::new(team.keys.clone()), TEAM).revocations(revocations.clone());
    let token = team.app_token();
    let verify = |now| verifier.verify(token.expose(), &team.audience, now).map(|_| ());
    for _ in 0..3 {
        assert_eq!(verify(START), Ok(()));
    }
    let other = "another-app".parse().unwrap();
    let refused = verifier.verify(token.expose(), &other, START).unwrap_err();
    assert_eq!(refused, TokenError::WrongAudience);
    assert_eq!(verify(after(86_400 + 30)), Err(TokenError::Expired));

    // Logout is seen at once, for every token of the login.
    let key = team.session.claims.revocation_key();
    revocations.revoke(&key, after(10)).await.unwrap();
    assert_eq!(verify(after(10)), Err(TokenError::Revoked));
    let grant = AppGrant::new(team.audience.clone());
    let later = team.issuer.app_token(&team.session.claims, &grant, after(20)).unwrap();
    let refused = verifier.verify(later.expose(), &team.audience, after(20)).unwrap_err();
    assert_eq!(refused, TokenError::Revoked);
    let org =
        OrgVerifier::new(Arc::new(team.keys.clone()), TEAM, team.issuer.org_audience().clone())
            .revocations(revocations);
    let refused = org.verify(team.session.token.expose(), after(10)).unwrap_err();
    assert_eq!(refused, TokenError::Revoked);
}

#[tokio::test]
async fn tokens_outlive_a_rotation_but_not_the_key() {
    let team = Team::new().await;
    let random = SystemRandom::new();
    let verifier = AppVerifier::new(Arc::new(team.keys.clone()), TEAM);
    let verify = |token: &str| verifier.verify(token, &team.audience, START).map(|_| ());
    let old = team.app_token();
    let old_kid = team.kid();
    assert_eq!(verify(old.expose()), Ok(()));

    let mut keys: KeySet = team.keys.keys();
    let next = keys.publish(SigningKey::generate(&random).unwrap(), START).unwrap();
    team.keys.replace(keys.clone());
    assert!(team.keys.jwks().contains(&next), "published before its first use");
    assert_eq!(team.kid(), old_kid);

    keys.promote(&next, START).unwrap();
    team.keys.replace(keys.clone());
    assert_eq!(team.kid(), next);
    let new = team.app_token();
    assert_eq!(verify(old.expose()), Ok(()));
    assert_eq!(verify(new.expose()), Ok(()));

    keys.remove(&old_kid).unwrap();
    team.keys.replace(keys);
    assert_eq!(verify(old.expose()), Err(TokenError::UnknownKey), "also when remembered");
    assert_eq!(verify(new.expose()), Ok(()));
}

/// A key set document that changes its mind about a name.
#[derive(Debug)]
struct Fickle(Mutex<PublicKeySet>);

impl FindKey for Fickle {
    fn find_key(&self, kid: &str) -> Option<VerifyingKey> {
        self.0.lock().expect("not poisoned").find_key(kid)
    }
}

#[tokio::test]
async fn a_remembered_token_ends_with_its_key_even_if_the_name_stays() {
    let (team, other) = (Team::new().await, Team::new().await);
    let named = |team: &Team| {
        let mut document: Value = serde_json::from_str(&team.keys.jwks()).unwrap();
        document["keys"][0]["kid"] = json!("current");
        PublicKeySet::from_json(&document.to_string()).unwrap()
    };
    let keys = Arc::new(Fickle(Mutex::new(named(&team))));
    let verifier = AppVerifier::new(keys.clone(), TEAM);
    let token = with_header(&team, "kid", json!("current"));
    let verify = || verifier.verify(&token, &team.audience, START).map(|_| ());
    assert_eq!((verify(), verify()), (Ok(()), Ok(())));
    *keys.0.lock().unwrap() = named(&other);
    assert_eq!(verify(), Err(TokenError::BadSignature));
}

#[expect(clippy::disallowed_methods, reason = "the bound on time is what is tested")]
fn now() -> Instant {
    Instant::now()
}
