//! The tokens that any visitor gets are read by their issuer alone.
#![expect(clippy::unwrap_used, reason = "a test that can't set up its keys has failed")]

mod support;
#[path = "support/tokens.rs"]
mod team;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use otp_auth::keys::{AnonymousKeys, KeySet, PublicKeySet, RotationSchedule};
use otp_auth::random::SystemRandom;
use otp_auth::session::{AnonymousIssuer, AppVerifier, MetaClaims, OrgVerifier};
use otp_auth::token::{Audience, TokenError};
use serde_json::json;
use support::{START, after};
use team::{TEAM, Team, claims_of};

const HASH: &str = "a0a232c2f194a53553cb1310ddbc0821e414b9d7ebfc290b323084d7d1020fe5";

fn keys() -> AnonymousKeys {
    AnonymousKeys::generate(&SystemRandom::new(), START).unwrap()
}

fn meta(audience: &Audience) -> MetaClaims {
    MetaClaims::new(audience.clone(), "app.example.jp", "/reports?x=1", HASH).country("JP")
}

#[tokio::test]
async fn a_meta_token_has_the_claims_of_access_and_lives_five_minutes() {
    let team = Team::new().await;
    let issuer = AnonymousIssuer::new(keys());
    let token = issuer.meta(&meta(&team.audience), START).unwrap();
    let expected = json!({
        "type": "meta", "aud": team.audience.as_str(), "hostname": "app.example.jp",
        "redirect_url": "/reports?x=1", "service_token_status": false, "is_warp": false,
        "is_gateway": false, "exp": 1_790_000_300, "nbf": 1_790_000_000, "iat": 1_790_000_000,
        "auth_status": "NONE", "real_country": "JP", "app_session_hash": HASH,
    });
    assert_eq!(claims_of(token.expose()), expected);
    let read = |now| issuer.verify_meta(token.expose(), &team.audience, now);
    assert_eq!(read(START), Ok(meta(&team.audience)));
    assert!(read(after(329)).is_ok());
    assert_eq!(read(after(330)), Err(TokenError::Expired));
    let early = read(START.minus(Duration::from_secs(31)));
    assert_eq!(early, Err(TokenError::NotYetValid));
    let other = "another-app".parse().unwrap();
    let refused = issuer.verify_meta(token.expose(), &other, START);
    assert_eq!(refused, Err(TokenError::WrongAudience));
}

#[tokio::test]
async fn no_verifier_of_sessions_believes_them() {
    let team = Team::new().await;
    let anonymous = keys();
    let issuer = AnonymousIssuer::new(anonymous.clone());
    let meta = issuer.meta(&meta(&team.audience), START).unwrap();
    let audience = &team.audience;
    let matched =
        issuer.match_token(audience, "a.example.jp", "auth.example.jp", "*.example.jp", START);
    let matched = matched.unwrap();
    // Even an application that was given the wrong key set by mistake.
    let mistaken = PublicKeySet::from_json(&anonymous.jwks()).unwrap();
    for token in [meta.expose(), matched.expose()] {
        for verifier in [
            AppVerifier::new(Arc::new(team.keys.clone()), TEAM),
            AppVerifier::new(Arc::new(mistaken.clone()), TEAM),
        ] {
            let refused = verifier.verify(token, audience, START).unwrap_err();
            assert_eq!(refused, TokenError::UnsupportedHeader);
        }
        let org = team.issuer.org_audience().clone();
        let org = OrgVerifier::new(Arc::new(team.keys.clone()), TEAM, org);
        assert_eq!(org.verify(token, START).unwrap_err(), TokenError::UnsupportedHeader);
        // A reader that checks nothing but the signature, as some samples do.
        let header = token.split('.').next().unwrap();
        let header: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
        let kid = header["kid"].as_str().unwrap();
        assert!(!team.keys.jwks().contains(kid), "its key is not in the document");
        assert!(anonymous.jwks().contains(kid));
    }
    assert_eq!(claims_of(matched.expose())["type"], "match");
}

#[tokio::test]
async fn tokens_of_other_kinds_are_no_meta_tokens() {
    let team = Team::new().await;
    let issuer = AnonymousIssuer::new(keys());
    let foreign = AnonymousIssuer::new(keys()).meta(&meta(&team.audience), START).unwrap();
    let audience = &team.audience;
    let matched = issuer.match_token(audience, "a", "b", "c", START).unwrap();
    for (token, expected) in [
        (team.app_token().expose(), TokenError::UnsupportedHeader),
        (team.session.token.expose(), TokenError::UnsupportedHeader),
        (matched.expose(), TokenError::UnsupportedHeader),
        (foreign.expose(), TokenError::UnknownKey),
        ("", TokenError::Malformed),
        (&"a".repeat(8_193), TokenError::TooLarge),
    ] {
        assert_eq!(issuer.verify_meta(token, audience, START), Err(expected));
    }
}

#[test]
fn a_saved_set_of_one_kind_does_not_load_as_the_other() {
    let random = SystemRandom::new();
    let anonymous = keys();
    let saved = anonymous.save().unwrap();
    assert_eq!(AnonymousKeys::load(&saved, &random).unwrap().jwks(), anonymous.jwks());
    assert!(KeySet::load(&saved, &random).unwrap_err().is_caller_fault());
    let application = KeySet::new(team::rsa_key(), START).save().unwrap();
    assert!(AnonymousKeys::load(&application, &random).unwrap_err().is_caller_fault());
}

#[test]
fn they_rotate_like_others() {
    let (random, keys) = (SystemRandom::new(), keys());
    let mut kept = None;
    let events = keys.rotate(&RotationSchedule::default(), after(41 * 86_400), &random, |saved| {
        kept = Some(saved.clone());
        Ok(())
    });
    assert_eq!(events.unwrap().len(), 1);
    let loaded = AnonymousKeys::load(&kept.unwrap(), &random).unwrap();
    assert_eq!(loaded.jwks(), keys.jwks());
}
