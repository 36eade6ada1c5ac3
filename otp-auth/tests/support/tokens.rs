//! An issuer with a session, and a forger who has its key.
#![allow(dead_code, reason = "each test uses its own part")]

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use otp_auth::keys::{KeyRing, KeySet, SigningKey};
use otp_auth::login::{Admission, Verdict};
use otp_auth::random::SystemRandom;
use otp_auth::session::{AppGrant, Issuer, OrgSession};
use otp_auth::token::{Audience, SignedToken};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
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
        let random = SystemRandom::new();
        let key = SigningKey::generate(&random).expect("randomness");
        let keys = KeyRing::new(KeySet::new(key));
        let issuer = Issuer::new(keys.clone(), Arc::new(random), TEAM).expect("an origin");
        let login = login();
        let alice = Visitor::begin(&login, "Alice@example.jp", Admission::Admitted, START).await;
        let Verdict::Proven(proven) = alice.submit(&login, alice.code(), START).await else {
            panic!("the right code was refused")
        };
        let session = issuer.org_token(proven, START).expect("randomness");
        let audience = Audience::for_application(TEAM, "app-1");
        Self { keys, issuer, session, audience }
    }

    pub(crate) fn app_token(&self) -> SignedToken {
        let grant = AppGrant::new(self.audience.clone());
        self.issuer.app_token(&self.session.claims, &grant, START).expect("a live session")
    }

    pub(crate) fn kid(&self) -> String {
        self.keys.keys().signing().kid().to_owned()
    }

    pub(crate) fn header(&self) -> Value {
        json!({ "alg": "ES256", "kid": self.kid(), "typ": "JWT" })
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
        let pkcs8 = self.keys.keys().signing().to_pkcs8();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.expose(), &random);
        let signature = pair.expect("a good key").sign(&random, signed);
        signature.expect("randomness").as_ref().to_vec()
    }
}

pub(crate) fn claims_of(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("three parts");
    let payload = URL_SAFE_NO_PAD.decode(payload).expect("base64url");
    serde_json::from_slice(&payload).expect("JSON")
}
