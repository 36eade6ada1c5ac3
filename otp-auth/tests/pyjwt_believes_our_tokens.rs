//! Our token and key set, read by `PyJWT` (Debian packages python3-jwt, python3-cryptography). The
//! interpreter is `/usr/bin/python3` unless the environment variable `PYTHON3` names another.

mod support;
#[path = "support/tokens.rs"]
mod team;

use std::process::{Command, Output};

use serde_json::Value;
use team::{TEAM, Team};

/// As in the documentation of Cloudflare Access, with the options that a strict reader sets.
const READER: &str = r#"
import json, sys, jwt
token, jwks, audience, issuer = sys.argv[1:]
keys = {key.key_id: key for key in jwt.PyJWKSet.from_json(jwks).keys}
key = keys[jwt.get_unverified_header(token)["kid"]]
options = {"require": ["exp", "iat", "nbf", "iss", "aud", "sub"], "verify_exp": False, "verify_iat": False, "verify_nbf": False}
print(json.dumps(jwt.decode(token, key.key, algorithms=["ES256"], audience=audience, issuer=issuer, options=options)))
"#;

fn read(token: &str, jwks: &str, audience: &str) -> Output {
    let python = std::env::var("PYTHON3").unwrap_or_else(|_| "/usr/bin/python3".to_owned());
    let arguments = ["-c", READER, token, jwks, audience, TEAM];
    Command::new(python).args(arguments).output().expect("python3 runs")
}

#[tokio::test]
#[ignore = "needs python3 with PyJWT"]
async fn app_and_org_tokens_verify_by_the_key_set() {
    let team = Team::new().await;
    let jwks = team.keys.jwks();
    let (app, org) = (team.app_token(), &team.session.token);
    let audiences = [team.audience.as_str(), team.issuer.org_audience().as_str()];
    for (token, audience) in [app.expose(), org.expose()].into_iter().zip(audiences) {
        let output = read(token, &jwks, audience);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let claims: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(claims["email"], "alice@example.jp");
        assert_eq!(claims["sub"], "c680f83c-fe7e-5dd2-b4d1-9967b1f753f6");
        assert!(!read(token, &jwks, "another-app").status.success());
    }
}
