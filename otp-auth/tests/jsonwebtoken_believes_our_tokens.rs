//! Our tokens read by the crate `jsonwebtoken`, and its tokens by us.

mod support;
#[path = "support/tokens.rs"]
mod team;

use std::sync::Arc;

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use otp_auth::session::AppVerifier;
use otp_auth::token::Algorithm;
use serde_json::Value;
use support::START;
use team::{TEAM, Team};

fn theirs(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
        _ => jsonwebtoken::Algorithm::ES256,
    }
}

#[tokio::test]
async fn app_and_org_tokens_verify_by_the_key_set() {
    for team in Team::all().await {
        let keys: JwkSet = serde_json::from_str(&team.keys.jwks()).unwrap();
        let key = DecodingKey::from_jwk(keys.find(&team.kid()).unwrap()).unwrap();
        let (app, org) = (team.app_token(), &team.session.token);
        let audiences = [team.audience.as_str(), team.issuer.org_audience().as_str()];
        for (token, audience) in [app.expose(), org.expose()].into_iter().zip(audiences) {
            let mut validation = Validation::new(theirs(team.algorithm()));
            validation.set_issuer(&[TEAM]);
            // It reads the clock itself.
            (validation.validate_exp, validation.validate_nbf) = (false, false);
            validation.set_audience(&[audience]);
            let claims = jsonwebtoken::decode::<Value>(token, &key, &validation).unwrap().claims;
            assert_eq!(claims["email"], "alice@example.jp");
            validation.set_audience(&["another-app"]);
            assert!(jsonwebtoken::decode::<Value>(token, &key, &validation).is_err());
        }
    }
}

#[tokio::test]
async fn tokens_of_jsonwebtoken_verify_here() {
    for team in Team::all().await {
        let keys = team.keys.keys();
        let pkcs8 = keys.signing().to_pkcs8();
        let key = match team.algorithm() {
            Algorithm::EdDsa => EncodingKey::from_ed_der(pkcs8.expose()),
            Algorithm::Rs256 => {
                EncodingKey::from_rsa_pem(include_bytes!("data/rsa_test_key.pem")).unwrap()
            }
            _ => EncodingKey::from_ec_der(pkcs8.expose()),
        };
        let mut header = Header::new(theirs(team.algorithm()));
        header.kid = Some(team.kid());
        let token = jsonwebtoken::encode(&header, &team.claims(), &key).unwrap();
        let verifier = AppVerifier::new(Arc::new(team.keys.clone()), TEAM);
        let claims = verifier.verify(&token, &team.audience, START).unwrap();
        assert_eq!(claims.email(), Some("alice@example.jp"));
    }
}
