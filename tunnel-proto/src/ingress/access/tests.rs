//! When keys are fetched.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::json;
use tokio::{
    task::yield_now,
    time::{Instant, advance, sleep, timeout},
};

use super::{
    keys::{Fetch, KeySource, Keyring},
    settings::Issuer,
    token::{Keys, TokenError},
};
use crate::limits;

const NOW: u64 = 1_700_000_000;

struct Signer {
    id: &'static str,
    key: EcdsaKeyPair,
}

impl Signer {
    #[expect(clippy::disallowed_methods, reason = "a test needs a key, not a known one")]
    fn new(id: &'static str) -> Self {
        let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self { id, key: EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap() }
    }

    fn document(&self) -> String {
        let point = self.key.public_key().as_ref();
        let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
        json!({"keys": [{"kid": self.id, "kty": "EC", "crv": "P-256", "x": x, "y": y}]}).to_string()
    }

    #[expect(clippy::disallowed_methods, reason = "signing needs some")]
    fn token(&self) -> String {
        let head = json!({"alg": "ES256", "kid": self.id}).to_string();
        let body = json!({"iss": "https://i.test", "aud": "app", "exp": NOW + 9}).to_string();
        let signed = format!("{}.{}", encode(head), encode(body));
        let sealed = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", encode(sealed))
    }
}

fn encode(part: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

/// A source whose document can be changed, or taken away, and that can take its time.
#[derive(Clone, Default)]
struct Source {
    document: Arc<Mutex<Option<String>>>,
    delay: Arc<Mutex<Duration>>,
    calls: Arc<AtomicUsize>,
}

impl Source {
    fn put(&self, document: Option<String>) {
        *self.document.lock().unwrap() = document;
    }

    fn take(&self, delay: Duration) {
        *self.delay.lock().unwrap() = delay;
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

impl KeySource for Source {
    fn fetch(&self, _: &str) -> Fetch {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let document = self.document.lock().unwrap().clone();
        let delay = *self.delay.lock().unwrap();
        Box::pin(async move {
            sleep(delay).await;
            document.map(Bytes::from).ok_or_else(|| "away".into())
        })
    }
}

fn keyring(source: &Source) -> Keyring {
    let issuer = Issuer {
        name: "https://i.test".into(),
        certs_url: "https://i.test/keys".into(),
        is_custom: true,
    };
    Keyring::new(issuer, Arc::new(source.clone()))
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_fetched_but_never_in_a_hurry() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let source = Source::default();
    source.put(Some(old.document()));
    let keyring = keyring(&source);
    for _ in 0..5 {
        assert!(keyring.verify(&old.token(), NOW).await.is_ok());
    }
    assert_eq!(source.calls(), 1);
    source.put(Some(new.document()));
    for _ in 0..5 {
        assert_eq!(keyring.verify(&new.token(), NOW).await, Err(TokenError::UnknownKey));
    }
    assert_eq!(source.calls(), 1);
    advance(limits::ACCESS_KEYS_PAUSE).await;
    assert!(keyring.verify(&new.token(), NOW).await.is_ok());
    assert_eq!(keyring.verify(&old.token(), NOW).await, Err(TokenError::UnknownKey));
    assert_eq!(source.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn keys_outlive_their_issuers_absence_for_a_day_and_no_longer() {
    let signer = Signer::new("key");
    let source = Source::default();
    source.put(Some(signer.document()));
    let keyring = keyring(&source);
    assert!(keyring.verify(&signer.token(), NOW).await.is_ok());
    source.put(None);
    advance(limits::ACCESS_KEYS_FRESH).await;
    assert!(keyring.verify(&signer.token(), NOW).await.is_ok());
    assert_eq!(source.calls(), 2, "they were asked for again");
    advance(limits::ACCESS_KEYS_USABLE).await;
    assert_eq!(keyring.verify(&signer.token(), NOW).await, Err(TokenError::UnknownKey));
    source.put(Some(signer.document()));
    advance(limits::ACCESS_KEYS_PAUSE).await;
    assert!(keyring.verify(&signer.token(), NOW).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_opens_nothing_after_an_hour() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let source = Source::default();
    source.put(Some(old.document()));
    let keyring = keyring(&source);
    assert!(keyring.verify(&old.token(), NOW).await.is_ok());
    source.put(Some(new.document()));
    advance(limits::ACCESS_KEYS_FRESH.saturating_sub(Duration::from_secs(1))).await;
    assert!(keyring.verify(&old.token(), NOW).await.is_ok());
    advance(Duration::from_secs(1)).await;
    assert_eq!(keyring.verify(&old.token(), NOW).await, Err(TokenError::UnknownKey));
}

#[tokio::test(start_paused = true)]
async fn a_crowd_fetches_once() {
    let signer = Signer::new("key");
    let source = Source::default();
    source.put(Some(signer.document()));
    let (keyring, token) = (keyring(&source), signer.token());
    let all = futures_util::future::join_all((0..50).map(|_| keyring.verify(&token, NOW)));
    assert!(all.await.iter().all(Result::is_ok));
    assert_eq!(source.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_visitor_who_leaves_takes_no_fetch_along() {
    let signer = Signer::new("key");
    let source = Source::default();
    source.put(Some(signer.document()));
    source.take(Duration::from_secs(5));
    let (keyring, token) = (keyring(&source), signer.token());
    for _ in 0..3 {
        assert!(timeout(Duration::from_secs(1), keyring.verify(&token, NOW)).await.is_err());
    }
    assert!(keyring.verify(&token, NOW).await.is_ok());
    assert_eq!(source.calls(), 1);
}

#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "the paused clock")]
async fn nobody_waits_while_keys_that_count_are_renewed() {
    let (old, new) = (Signer::new("old"), Signer::new("new"));
    let source = Source::default();
    source.put(Some(old.document()));
    let keyring = keyring(&source);
    assert!(keyring.verify(&old.token(), NOW).await.is_ok());

    source.take(limits::ACCESS_KEYS_TIMEOUT * 2);
    advance(limits::ACCESS_KEYS_RENEW).await;
    let asked = Instant::now();
    assert!(keyring.verify(&old.token(), NOW).await.is_ok());
    yield_now().await;
    assert_eq!((asked.elapsed(), source.calls()), (Duration::ZERO, 2));

    // Nor while the issuer can't be reached.
    sleep(limits::ACCESS_KEYS_FRESH).await;
    let asked = Instant::now();
    assert!(keyring.verify(&old.token(), NOW).await.is_ok());
    yield_now().await;
    assert_eq!((asked.elapsed(), source.calls()), (Duration::ZERO, 3));

    source.put(Some(new.document()));
    source.take(Duration::from_secs(1));
    sleep(limits::ACCESS_KEYS_PAUSE).await;
    assert!(keyring.verify(&old.token(), NOW).await.is_ok());
    sleep(Duration::from_secs(2)).await;
    assert_eq!(keyring.verify(&old.token(), NOW).await, Err(TokenError::UnknownKey));
    assert!(keyring.verify(&new.token(), NOW).await.is_ok());
    assert_eq!(source.calls(), 4);
}

#[test]
fn documents_that_are_no_key_set() {
    let many = format!(r#"{{"keys": [{}1]}}"#, "1,".repeat(limits::ACCESS_KEYS));
    for document in ["", "[]", "{}", r#"{"keys": 1}"#, &many] {
        assert!(Keys::parse(document.as_bytes()).is_err(), "{document:.20}");
    }
    assert!(Keys::parse(many.as_bytes()).unwrap_err().contains("ACCESS_KEYS"));
    assert!(Keys::parse(br#"{"keys": [1, {"kty": "RSA"}, {}]}"#).is_ok());
}
