//! Our tokens read by `PyJWT` (Debian packages python3-jwt, python3-cryptography), and its tokens by us. The
//! interpreter is `/usr/bin/python3` unless the environment variable `PYTHON3` names another.

mod support;
#[path = "support/tokens.rs"]
mod team;

use std::process::{Command, Output};
use std::sync::Arc;

use otp_auth::keys::PublicKeySet;
use otp_auth::session::AppVerifier;
use otp_auth::token::TokenError;
use serde_json::Value;
use support::START;
use team::{TEAM, Team};

/// As in the documentation of Cloudflare Access, with the options that a strict reader sets.
const READER: &str = r#"
import json, sys, jwt
token, jwks, audience, issuer = sys.argv[1:]
keys = {key.key_id: key for key in jwt.PyJWKSet.from_json(jwks).keys}
key = keys[jwt.get_unverified_header(token)["kid"]]
options = {"require": ["exp", "iat", "nbf", "iss", "aud", "sub"], "verify_exp": False, "verify_iat": False, "verify_nbf": False}
print(json.dumps(jwt.decode(token, key.key, algorithms=["ES256", "EdDSA", "RS256"], audience=audience, issuer=issuer, options=options)))
"#;

const WRITER: &str = r#"
import json, sys, jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
alg, claims = sys.argv[1:]
make = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "PS256": lambda: rsa.generate_private_key(65537, 2048),
}
private = make[alg]()
kinds = {"ES256": jwt.algorithms.ECAlgorithm, "EdDSA": jwt.algorithms.OKPAlgorithm}
kind = kinds.get(alg, jwt.algorithms.RSAAlgorithm)
key = json.loads(kind.to_jwk(private.public_key()))
key.update(kid="theirs", alg=alg, use="sig")
token = jwt.encode(json.loads(claims), private, algorithm=alg, headers={"kid": "theirs"})
print(json.dumps({"token": token, "jwks": {"keys": [key]}}))
"#;

fn run(script: &str, arguments: &[&str]) -> Output {
    let python = std::env::var("PYTHON3").unwrap_or_else(|_| "/usr/bin/python3".to_owned());
    Command::new(python).args(["-c", script]).args(arguments).output().expect("python3 runs")
}

#[tokio::test]
#[ignore = "needs python3 with PyJWT"]
async fn app_and_org_tokens_verify_by_the_key_set() {
    for team in Team::all().await {
        let jwks = team.keys.jwks();
        let (app, org) = (team.app_token(), &team.session.token);
        let audiences = [team.audience.as_str(), team.issuer.org_audience().as_str()];
        for (token, audience) in [app.expose(), org.expose()].into_iter().zip(audiences) {
            let output = run(READER, &[token, &jwks, audience, TEAM]);
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let claims: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(claims["email"], "alice@example.jp");
            assert_eq!(claims["sub"], "c680f83c-fe7e-5dd2-b4d1-9967b1f753f6");
            assert!(!run(READER, &[token, &jwks, "another-app", TEAM]).status.success());
        }
    }
}

#[tokio::test]
#[ignore = "needs python3 with PyJWT"]
async fn tokens_of_pyjwt_verify_here() {
    let team = Team::new().await;
    let claims = team.claims().to_string();
    for alg in ["ES256", "EdDSA", "RS256", "PS256"] {
        let output = run(WRITER, &[alg, &claims]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let made: Value = serde_json::from_slice(&output.stdout).unwrap();
        let keys = PublicKeySet::from_json(&made["jwks"].to_string()).unwrap();
        let verifier = AppVerifier::new(Arc::new(keys), TEAM);
        let found = verifier.verify(made["token"].as_str().unwrap(), &team.audience, START);
        if alg == "PS256" {
            assert_eq!(found.unwrap_err(), TokenError::UnknownKey, "{alg} is not on the list");
        } else {
            assert_eq!(found.unwrap().email(), Some("alice@example.jp"), "{alg}");
        }
    }
}
