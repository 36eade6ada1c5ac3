//! Any text as a token: as it stands, and as header and claims that are signed with a key of the set. No
//! panic; nothing is believed but what was signed and says what it must; what is believed once is believed
//! again from memory.

#![no_main]

use std::sync::{Arc, LazyLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use libfuzzer_sys::fuzz_target;
use otp_auth::keys::{AnonymousKeys, KeyRing, KeySet, SigningKey};
use otp_auth::random::SystemRandom;
use otp_auth::recovery::RecoveryDigest;
use otp_auth::session::{
    AnonymousIssuer, AppVerifier, OrgVerifier, Revocations, ServiceCredentials, SessionReference,
};
use otp_auth::timestamp::Timestamp;
use otp_auth::token::Audience;
use ring::signature::Ed25519KeyPair;
use serde_json::Value;

const TEAM: &str = "https://auth.example.jp";
const NOW: Timestamp = Timestamp::from_unix_secs(1_790_000_000);

static WORLD: LazyLock<World> = LazyLock::new(World::new);

struct World {
    pair: Ed25519KeyPair,
    kid: String,
    app: AppVerifier,
    org: OrgVerifier,
    anonymous: AnonymousIssuer,
    audience: Audience,
}

impl World {
    fn new() -> Self {
        let random = SystemRandom::new();
        let key = SigningKey::generate_ed25519(&random).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(key.to_pkcs8().expose()).unwrap();
        let kid = key.kid().to_owned();
        let keys = Arc::new(KeyRing::new(KeySet::new(key, NOW)));
        let revocations = Arc::new(Revocations::new());
        let audience: Audience = "app-1".parse().unwrap();
        Self {
            pair,
            kid,
            app: AppVerifier::new(keys.clone(), TEAM).revocations(revocations.clone()),
            org: OrgVerifier::new(keys, TEAM, audience.clone()).revocations(revocations),
            anonymous: AnonymousIssuer::new(AnonymousKeys::generate(&random, NOW).unwrap()),
            audience,
        }
    }

    fn sign(&self, header: &str, payload: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let signed = format!("{}.{}", encode(header), encode(payload));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

fuzz_target!(|text: &str| {
    let world = &*WORLD;
    // As it stands: a stranger has no key.
    assert!(world.app.verify(text, &world.audience, NOW).is_err());
    assert!(world.org.verify(text, NOW).is_err());
    assert!(world.anonymous.verify_meta(text, &world.audience, NOW).is_err());
    // What else comes in cookies and fields.
    let _ = (text.parse::<SessionReference>().is_ok(), RecoveryDigest::parse(text).is_ok());
    let _ = ServiceCredentials::from_single_field(text.as_bytes());
    let _ = ServiceCredentials::from_fields([text.as_bytes()], [text.as_bytes()]);

    // Signed: as the claims, and, after a line break, as the header too.
    let good = format!(r#"{{"alg":"EdDSA","kid":"{}","typ":"JWT"}}"#, world.kid);
    let (payload, header) = text.split_once('\n').map_or((text, None), |(p, h)| (p, Some(h)));
    let header = header.map_or(good, |header| header.replace("KID", &world.kid));
    let token = world.sign(&header, payload);
    let found = world.app.verify(&token, &world.audience, NOW);
    if let Ok(claims) = &found {
        let said: Value = serde_json::from_str(payload).unwrap();
        assert_eq!(said["type"], "app");
        assert_eq!(said["iss"], TEAM);
        assert!(said["exp"].as_u64().unwrap() > NOW.as_unix_secs() - 30);
        assert!(
            said["aud"] == "app-1" || said["aud"].as_array().unwrap().contains(&"app-1".into())
        );
        assert_eq!(said.get("email").and_then(Value::as_str), claims.email());
        assert!(claims.email().is_some() != claims.common_name().is_some());
    }
    let again = world.app.verify(&token, &world.audience, NOW);
    assert_eq!(again.map(|_| ()), found.map(|_| ()));
    let _ = world.org.verify(&token, NOW);
});
