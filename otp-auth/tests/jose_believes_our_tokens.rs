//! Our tokens read by `jose` (npm), and its tokens by us. `scripts/check` installs it into
//! `target/interop`; the variable `JOSE_FOLDER` names another folder that has `node_modules`.

mod support;
#[path = "support/tokens.rs"]
mod team;

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use otp_auth::keys::PublicKeySet;
use otp_auth::session::AppVerifier;
use otp_auth::token::TokenError;
use serde_json::{Value, json};
use support::START;
use team::{TEAM, Team};

/// As in the documentation of Cloudflare Access: a key set, an issuer, an audience, and nothing else.
const READER: &str = r#"
import { createLocalJWKSet, jwtVerify } from "jose";
const [token, jwks, audience, issuer] = process.argv.slice(1);
const options = { audience, issuer, currentDate: new Date(1790000000000), requiredClaims: ["exp", "iat", "sub"] };
const { payload } = await jwtVerify(token, createLocalJWKSet(JSON.parse(jwks)), options);
console.log(JSON.stringify(payload));
"#;

const WRITER: &str = r#"
import { SignJWT, exportJWK, generateKeyPair } from "jose";
const [alg, claims] = process.argv.slice(1);
const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
const token = await new SignJWT(JSON.parse(claims)).setProtectedHeader({ alg, kid: "theirs", typ: "JWT" }).sign(privateKey);
const key = { ...(await exportJWK(publicKey)), kid: "theirs", alg, use: "sig" };
console.log(JSON.stringify({ token, jwks: { keys: [key] } }));
"#;

fn run(script: &str, arguments: &[&str]) -> Output {
    let folder = std::env::var_os("JOSE_FOLDER").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/interop")),
        PathBuf::from,
    );
    let eval = ["--input-type=module", "--eval", script, "--"];
    let node = Command::new("node").current_dir(folder).args(eval).args(arguments).output();
    node.expect("node runs")
}

#[tokio::test]
#[ignore = "needs node with jose"]
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
            assert_eq!(claims["sub"], team.session.claims.subject());
            assert!(!run(READER, &[token, &jwks, "another-app", TEAM]).status.success());
            assert!(!run(READER, &[token, &jwks, audience, "https://evil.test"]).status.success());
        }
    }
}

#[tokio::test]
#[ignore = "needs node with jose"]
async fn tokens_of_jose_verify_here() {
    let team = Team::new().await;
    let claims = team.claims();
    for alg in ["ES256", "EdDSA", "RS256", "PS256", "ES384"] {
        let output = run(WRITER, &[alg, &claims.to_string()]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let made: Value = serde_json::from_slice(&output.stdout).unwrap();
        let keys = PublicKeySet::from_json(&made["jwks"].to_string()).unwrap();
        let verifier = AppVerifier::new(Arc::new(keys), TEAM);
        let token = made["token"].as_str().unwrap();
        let found = verifier.verify(token, &team.audience, START);
        if ["ES256", "EdDSA", "RS256"].contains(&alg) {
            assert_eq!(found.unwrap().email(), Some("alice@example.jp"), "{alg}");
        } else {
            assert_eq!(found.unwrap_err(), TokenError::UnknownKey, "{alg} is not on the list");
        }
    }
    assert_eq!(claims["aud"], json!([team.audience.as_str()]));
}
