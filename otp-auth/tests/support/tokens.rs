//! An issuer with a session, and a forger who has its key.
#![allow(dead_code, reason = "each test uses its own part")]

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use otp_auth::keys::{KeyRing, KeySet, SigningKey};
use otp_auth::login::{Admission, Proven, Verdict};
use otp_auth::random::SystemRandom;
use otp_auth::session::{AppGrant, AppVerifier, Epoch, Issuer, OrgSession};
use otp_auth::timestamp::Timestamp;
use otp_auth::token::{Algorithm, Audience, SignedToken, TokenError};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

use crate::support::{START, Visitor, login};

pub(crate) const TEAM: &str = "https://auth.example.jp";

pub(crate) struct Team {
    pub(crate) keys: KeyRing,
    pub(crate) issuer: Issuer,
    pub(crate) session: OrgSession,
    pub(crate) audience: Audience,
}

impl Team {
    pub(crate) async fn new() -> Self {
        Self::of(SigningKey::generate(&SystemRandom::new()).expect("randomness")).await
    }

    /// One team for each algorithm.
    pub(crate) async fn all() -> [Self; 3] {
        let random = SystemRandom::new();
        let ed25519 = SigningKey::generate_ed25519(&random).expect("randomness");
        [Self::new().await, Self::of(ed25519).await, Self::of(rsa_key()).await]
    }

    pub(crate) async fn of(key: SigningKey) -> Self {
        let random = SystemRandom::new();
        let keys = KeyRing::new(KeySet::new(key, START));
        let issuer = Issuer::new(keys.clone(), Arc::new(random), TEAM).expect("an origin");
        let session =
            issuer.org_token(prove(START).await, Epoch::at(START), START).expect("randomness");
        let audience = Audience::for_application(TEAM, "app-1");
        Self { keys, issuer, session, audience }
    }

    /// Signs the same person in anew.
    pub(crate) async fn renew(&self, now: Timestamp) -> OrgSession {
        self.issuer.org_token(prove(now).await, Epoch::at(now), now).expect("randomness")
    }

    pub(crate) fn app_token(&self) -> SignedToken {
        let grant = AppGrant::new(self.audience.clone());
        self.issuer.app_token(&self.session.claims, &grant, START).expect("a live session")
    }

    pub(crate) fn kid(&self) -> String {
        self.keys.keys().signing().kid().to_owned()
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.keys.keys().signing().algorithm()
    }

    pub(crate) fn header(&self) -> Value {
        json!({ "alg": self.algorithm().as_str(), "kid": self.kid(), "typ": "JWT" })
    }

    pub(crate) fn claims(&self) -> Value {
        claims_of(self.app_token().expose())
    }

    /// Signs anything with the real key: what an attacker can never do, and a bug of ours could.
    pub(crate) fn sign(&self, header: &str, payload: &str) -> String {
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.signature(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    #[expect(clippy::disallowed_methods, reason = "the forger draws its own nonces")]
    pub(crate) fn signature(&self, signed: &[u8]) -> Vec<u8> {
        let random = ring::rand::SystemRandom::new();
        let keys = self.keys.keys();
        let pkcs8 = keys.signing().to_pkcs8();
        match self.algorithm() {
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8(pkcs8.expose()).expect("a good key");
                pair.sign(signed).as_ref().to_vec()
            }
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::from_pkcs8(pkcs8.expose()).expect("a good key");
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, signed, &mut signature).expect("randomness");
                signature
            }
            _ => {
                let form = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = EcdsaKeyPair::from_pkcs8(form, pkcs8.expose(), &random);
                let signature = pair.expect("a good key").sign(&random, signed);
                signature.expect("randomness").as_ref().to_vec()
            }
        }
    }
}

/// Verifies with a fresh verifier, so that no cache helps.
pub(crate) fn verify(team: &Team, token: &str) -> Result<(), TokenError> {
    let verifier = AppVerifier::new(Arc::new(team.keys.clone()), TEAM);
    verifier.verify(token, &team.audience, START).map(|_| ())
}

pub(crate) fn refusal(team: &Team, token: &str) -> TokenError {
    verify(team, token).expect_err("the token was believed")
}

pub(crate) fn with_header(team: &Team, name: &str, value: Value) -> String {
    let mut header = team.header();
    header[name] = value;
    team.sign(&header.to_string(), &team.claims().to_string())
}

pub(crate) fn with_claim(team: &Team, name: &str, value: Value) -> String {
    let mut claims = team.claims();
    claims[name] = value;
    team.sign(&team.header().to_string(), &claims.to_string())
}

pub(crate) async fn prove(now: Timestamp) -> Proven {
    let login = login();
    let alice = Visitor::begin(&login, "Alice@example.jp", Admission::Admitted, now).await;
    let Verdict::Proven(proven) = alice.submit(&login, alice.code(), now).await else {
        panic!("the right code was refused")
    };
    proven
}

/// 2048 bits, made with `openssl genpkey` for these tests and used nowhere else.
pub(crate) fn rsa_key() -> SigningKey {
    let pem = include_str!("../data/rsa_test_key.pem");
    SigningKey::from_pem(pem, &SystemRandom::new()).expect("a good key")
}

pub(crate) fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("three parts");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    serde_json::from_slice(&payload).expect("JSON")
}
