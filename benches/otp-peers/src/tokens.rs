//! Tokens beside jsonwebtoken, with the claims of Access.

use std::hint::black_box;
use std::sync::Arc;

use base64::Engine as _;
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};
use otp_auth::keys::{KeyRing, KeySet, SigningKey, VerifyingKey};
use otp_auth::login::{Admission, Begin, Login, Proven, Verdict};
use otp_auth::random::SystemRandom;
use otp_auth::secret::Pepper;
use otp_auth::session::{AppGrant, AppVerifier, Issuer, RevocationKey, Revocations};
use otp_auth::store::MemoryStore;
use otp_auth::timestamp::Timestamp;
use otp_auth::token::{Algorithm, Audience};
use serde::{Deserialize, Serialize};

use crate::measure::{Contender, Table};

const TEAM: &str = "https://auth.example.jp";

/// What an application token says, for the peer.
#[derive(Clone, Serialize, Deserialize)]
struct Claims {
    #[serde(rename = "type")]
    kind: String,
    aud: Vec<String>,
    iss: String,
    exp: u64,
    iat: u64,
    nbf: u64,
    sub: String,
    email: String,
    identity_nonce: String,
}

pub fn run(table: &mut Table) {
    let random = SystemRandom::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    // Not START: the peer reads the clock itself.
    let now: Timestamp = std::time::SystemTime::now().into();
    let rsa = include_str!("../../../otp-auth/tests/data/rsa_test_key.pem");
    let keys = [
        (SigningKey::generate(&random), 14_000.0, 39_000.0),
        (SigningKey::generate_ed25519(&random), 19_000.0, 33_000.0),
        (SigningKey::from_pem(rsa, &random), 440_000.0, 17_500.0),
    ];
    for (key, issue_bar, verify_bar) in keys {
        let key = key.expect("a good key");
        let name = key.algorithm().as_str();
        let theirs = Theirs::new(&key);
        let ring = KeyRing::new(KeySet::new(key, now));
        let issuer = Issuer::new(ring.clone(), Arc::new(random.clone()), TEAM).expect("an origin");
        let revocations = Arc::new(Revocations::new());
        let epoch = runtime.block_on(revocations.epoch(now)).expect("memory");
        let proven = runtime.block_on(prove(now));
        let session = issuer.org_token(proven, epoch, now).expect("randomness");
        let audience = Audience::for_application(TEAM, "app-1");
        let grant = AppGrant::new(audience.clone());
        let issue = || issuer.app_token(&session.claims, &grant, now).expect("a live session");
        let token = issue();
        let claims = theirs.claims(token.expose(), audience.as_str());

        table.measure(
            &format!("{name}, issue"),
            vec![
                Contender::new("ours", || issue().expose().len() > 500).bar(issue_bar),
                Contender::new("jsonwebtoken", || theirs.encode(&claims).len() > 400),
            ],
        );

        let fresh = AppVerifier::new(Arc::new(ring.clone()), TEAM)
            .revocations(revocations.clone())
            .remember(0);
        let cached = AppVerifier::new(Arc::new(ring), TEAM).revocations(revocations.clone());
        // As it is in a busy place: other tokens remembered, other people logged out.
        let others: Vec<_> = (0..5_000).map(|_| issue()).collect();
        for other in &others {
            cached.verify(other.expose(), &audience, now).expect("a good token");
        }
        for number in 0..10_000 {
            let key = RevocationKey::subject(&number.to_string());
            runtime.block_on(revocations.revoke(&key, now)).expect("memory");
        }
        let (signed, signature) = token.expose().rsplit_once('.').expect("three parts");
        let signature =
            base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(signature).expect("base64url");
        let public = ring_public(&issuer);
        table.measure(
            &format!("{name}, verify"),
            vec![
                Contender::new("ring, the signature alone", || {
                    let signed = black_box(signed.as_bytes());
                    public.verify_signature(signed, &signature).is_ok()
                }),
                Contender::new("ours, first time", || {
                    fresh.verify(black_box(token.expose()), &audience, now).is_ok()
                })
                .bar(verify_bar),
                Contender::new("ours, seen before", || {
                    cached.verify(black_box(token.expose()), &audience, now).is_ok()
                })
                .bar(500.0),
                Contender::new("jsonwebtoken", || {
                    theirs.decode(black_box(token.expose()), audience.as_str())
                }),
            ],
        );
    }
}

/// The bare call, for what the machine does at this moment.
fn ring_public(issuer: &Issuer) -> VerifyingKey {
    issuer.keys().keys().signing().verifying_key().clone()
}

struct Theirs {
    header: Header,
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl Theirs {
    fn new(key: &SigningKey) -> Self {
        let set = KeySet::new(
            SigningKey::from_pkcs8(&key.to_pkcs8(), &SystemRandom::new()).expect("a good key"),
            Timestamp::from_unix_secs(0),
        );
        let jwks: jsonwebtoken::jwk::JwkSet = serde_json::from_str(&set.jwks()).expect("a key set");
        let pkcs8 = key.to_pkcs8();
        let (algorithm, encoding) = match key.algorithm() {
            Algorithm::EdDsa => {
                (jsonwebtoken::Algorithm::EdDSA, EncodingKey::from_ed_der(pkcs8.expose()))
            }
            Algorithm::Rs256 => {
                let pem = include_bytes!("../../../otp-auth/tests/data/rsa_test_key.pem");
                let key = EncodingKey::from_rsa_pem(pem).expect("a good key");
                (jsonwebtoken::Algorithm::RS256, key)
            }
            _ => (jsonwebtoken::Algorithm::ES256, EncodingKey::from_ec_der(pkcs8.expose())),
        };
        let mut header = Header::new(algorithm);
        header.kid = Some(key.kid().to_owned());
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[TEAM]);
        let decoding = DecodingKey::from_jwk(&jwks.keys[0]).expect("a key");
        Self { header, encoding, decoding, validation }
    }

    fn claims(&self, token: &str, audience: &str) -> Claims {
        let mut validation = self.validation.clone();
        validation.set_audience(&[audience]);
        jsonwebtoken::decode(token, &self.decoding, &validation).expect("a good token").claims
    }

    fn encode(&self, claims: &Claims) -> String {
        jsonwebtoken::encode(&self.header, claims, &self.encoding).expect("a good key")
    }

    fn decode(&self, token: &str, audience: &str) -> bool {
        let mut validation = self.validation.clone();
        validation.set_audience(&[audience]);
        jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation).is_ok()
    }
}

async fn prove(now: Timestamp) -> Proven {
    let random = SystemRandom::new();
    let pepper = Pepper::generate(&random).expect("randomness");
    let host = "auth.example.jp".parse().expect("a host");
    let login = Login::builder(Arc::new(MemoryStore::new()), pepper, Arc::new(random), host)
        .build()
        .expect("good settings");
    let sign_in = Begin::new(
        "alice@example.jp".parse().expect("an address"),
        Admission::Admitted,
        [203, 0, 113, 7].into(),
        "app.example.jp".parse().expect("a host"),
    );
    let (begun, dispatch) = login.begin(&sign_in, now).await.expect("memory");
    let code = dispatch.mail().expect("within the budget").code().expose();
    let (nonce, cookie) = (begun.nonce.to_string(), begun.flow_cookie.expose());
    let verdict = login.submit(&nonce, &cookie, code, now).await.expect("memory");
    let Verdict::Proven(proven) = verdict else { panic!("the right code was refused") };
    proven
}
