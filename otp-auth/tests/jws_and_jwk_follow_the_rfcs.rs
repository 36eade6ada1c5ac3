//! The examples of RFC 7515 (A.2, A.3), RFC 8037 (A.3, A.4) and RFC 7638 (3.1), and the Wycheproof sets
//! for ECDSA on P-256, Ed25519 and RSA.
#![expect(clippy::unwrap_used, reason = "a test that can't read its vectors has failed")]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use otp_auth::keys::{PublicKeySet, SigningKey, VerifyingKey};
use otp_auth::random::SystemRandom;
use otp_auth::secret::Secret;
use otp_auth::token::{Algorithm, TokenError};
use serde_json::{Value, json};
use wycheproof::TestResult;

fn vectors() -> Value {
    serde_json::from_str(include_str!("data/jws_vectors.json")).unwrap()
}

fn bytes(text: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text.as_str().unwrap()).unwrap()
}

/// A key set of the public members alone, which is how a key arrives.
fn public(vector: &Value) -> VerifyingKey {
    let mut jwk = vector["private"].clone();
    for name in ["d", "p", "q", "dp", "dq", "qi"] {
        jwk.as_object_mut().unwrap().remove(name);
    }
    key(&jwk).expect("a usable key")
}

fn key(jwk: &Value) -> Option<VerifyingKey> {
    let set = PublicKeySet::from_json(&json!({ "keys": [jwk] }).to_string()).unwrap();
    set.keys().first().cloned()
}

#[test]
fn the_signed_examples_verify_and_nothing_else_does() {
    for (name, algorithm) in [
        ("rfc7515_a2", Algorithm::Rs256),
        ("rfc7515_a3", Algorithm::Es256),
        ("rfc8037_a4", Algorithm::EdDsa),
    ] {
        let vector = &vectors()[name];
        let key = public(vector);
        assert_eq!(key.algorithm(), algorithm, "{name}");
        let (signed, signature) = vector["token"].as_str().unwrap().rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert_eq!(key.verify_signature(signed.as_bytes(), &signature), Ok(()), "{name}");
        let mut changed = signature.clone();
        changed[0] ^= 1;
        for bad in [&changed[..], &signature[1..], &vec![0; signature.len()], &[]] {
            let refused = key.verify_signature(signed.as_bytes(), bad);
            assert_eq!(refused, Err(TokenError::BadSignature), "{name}");
        }
        let other = key.verify_signature(&signed.as_bytes()[1..], &signature);
        assert_eq!(other, Err(TokenError::BadSignature), "{name}");
    }
}

#[test]
fn thumbprints_name_keys() {
    for name in ["rfc7638_3_1", "rfc8037_a4"] {
        let vector = &vectors()[name];
        let digest = bytes(&vector["thumbprint"]);
        let hex: String =
            digest.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(digit).collect();
        assert_eq!(public(vector).kid(), hex, "{name}");
    }
    // Recomputed with Python: `sha256(json.dumps(members, sort_keys=True, separators=(",", ":")))`.
    let p256 = public(&vectors()["rfc7515_a3"]);
    assert_eq!(p256.kid(), "a0a232c2f194a53553cb1310ddbc0821e414b9d7ebfc290b323084d7d1020fe5");
}

/// The public halves are worked out from the private ones, so a misread key would not match.
#[test]
fn private_keys_of_the_examples_are_imported() {
    let random = SystemRandom::new();
    let vectors = vectors();

    let ed25519 = &vectors["rfc8037_a4"];
    // RFC 8410 section 7: version 1, without the public key, as OpenSSL writes it.
    let head = [
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    let pkcs8 = Secret::new([&head[..], &bytes(&ed25519["private"]["d"])].concat());
    let key = SigningKey::from_pkcs8(&pkcs8, &random).unwrap();
    assert_eq!(*key.verifying_key(), public(ed25519));

    let rsa = &vectors["rfc7515_a2"];
    let pkcs1 = pkcs1(&rsa["private"]);
    let key = SigningKey::from_pkcs1(&Secret::new(pkcs1.clone()), &random).unwrap();
    assert_eq!(*key.verifying_key(), public(rsa));
    let again = SigningKey::from_pkcs8(&key.to_pkcs8(), &random).unwrap();
    assert_eq!(again.kid(), key.kid());

    let pem = |label: &str, der: &[u8]| {
        let text = STANDARD.encode(der);
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(as_str).collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    };
    for text in [
        pem("RSA PRIVATE KEY", &pkcs1),
        pem("PRIVATE KEY", key.to_pkcs8().expose()),
        format!("key of mail\n{}rest", pem("PRIVATE KEY", key.to_pkcs8().expose())),
    ] {
        assert_eq!(SigningKey::from_pem(&text, &random).unwrap().kid(), key.kid());
    }
    let swapped = pem("PRIVATE KEY", &pkcs1);
    for text in ["", "-----BEGIN PRIVATE KEY-----", &pem("PUBLIC KEY", &pkcs1), &swapped] {
        assert!(SigningKey::from_pem(text, &random).unwrap_err().is_caller_fault());
    }
}

#[test]
fn damaged_and_foreign_private_keys_are_refused() {
    let random = SystemRandom::new();
    let good = SigningKey::generate(&random).unwrap().to_pkcs8();
    for bad in [&[][..], &[0x30], &good.expose()[1..], &[0; 138]] {
        let refused = SigningKey::from_pkcs8(&Secret::new(bad.to_vec()), &random);
        assert!(refused.unwrap_err().is_caller_fault());
    }
}

#[test]
fn wycheproof_ecdsa_p256_in_the_form_of_jws() {
    let name = wycheproof::ecdsa::TestName::EcdsaSecp256r1Sha256P1363;
    let set = wycheproof::ecdsa::TestSet::load(name).unwrap();
    let mut seen = 0;
    for group in set.test_groups {
        let point = group.key.key.to_vec();
        let (x, y) = point[1..].split_at(32);
        let text = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": text(x), "y": text(y) });
        let key = key(&jwk).expect("a point");
        for test in group.tests {
            let found = key.verify_signature(&test.msg, &test.sig).is_ok();
            assert_eq!(found, test.result == TestResult::Valid, "case {}", test.tc_id);
            seen += 1;
        }
    }
    assert!(seen > 200, "{seen}");
}

#[test]
fn wycheproof_ed25519() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    let mut seen = 0;
    for group in set.test_groups {
        let x = URL_SAFE_NO_PAD.encode(&group.key.pk);
        let key = key(&json!({ "kty": "OKP", "crv": "Ed25519", "x": x })).expect("32 bytes");
        for test in group.tests {
            let found = key.verify_signature(&test.msg, &test.sig).is_ok();
            assert_eq!(found, test.result == TestResult::Valid, "case {}", test.tc_id);
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn wycheproof_rsa_2048_with_sha_256() {
    let name = wycheproof::rsa_pkcs1_verify::TestName::Rsa2048Sha256;
    let set = wycheproof::rsa_pkcs1_verify::TestSet::load(name).unwrap();
    let mut seen = 0;
    for group in set.test_groups {
        let text = |number: &[u8]| {
            let start = number.iter().position(|byte| *byte != 0).unwrap();
            URL_SAFE_NO_PAD.encode(&number[start..])
        };
        let jwk = json!({ "kty": "RSA", "n": text(&group.key.n), "e": text(&group.key.e) });
        let key = key(&jwk).expect("a key of 2048 bits");
        for test in group.tests {
            let found = key.verify_signature(&test.msg, &test.sig).is_ok();
            // "Acceptable" is the signature whose digest info lacks the NULL: refused here.
            assert_eq!(found, test.result == TestResult::Valid, "case {}", test.tc_id);
            seen += 1;
        }
    }
    assert!(seen > 200, "{seen}");
}

/// RFC 8017 appendix A.1.2.
fn pkcs1(jwk: &Value) -> Vec<u8> {
    let names = ["n", "e", "d", "p", "q", "dp", "dq", "qi"];
    let numbers = names.iter().map(|name| integer(&bytes(&jwk[name])));
    let body = std::iter::once(vec![0x02, 0x01, 0x00]).chain(numbers).collect::<Vec<_>>().concat();
    [vec![0x30], length(body.len()), body].concat()
}

fn integer(number: &[u8]) -> Vec<u8> {
    let sign = if number[0] >= 0x80 { vec![0] } else { vec![] };
    [vec![0x02], length(sign.len() + number.len()), sign, number.to_vec()].concat()
}

fn length(length: usize) -> Vec<u8> {
    match u8::try_from(length) {
        Ok(short @ 0..=127) => vec![short],
        Ok(long) => vec![0x81, long],
        Err(_) => [vec![0x82], u16::try_from(length).unwrap().to_be_bytes().to_vec()].concat(),
    }
}

fn digit(half: u8) -> char {
    char::from_digit(u32::from(half), 16).unwrap()
}

fn as_str(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
