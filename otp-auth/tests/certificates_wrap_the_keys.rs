//! The document of Access: each key as a JWK and as a certificate.
#![cfg(feature = "certificates")]

mod support;
#[path = "support/tokens.rs"]
mod team;

use otp_auth::keys::{KeyRing, KeySet, PublicKeySet, SigningKey};
use otp_auth::random::SystemRandom;
use serde_json::Value;
use support::{START, after};
use x509_parser::pem::parse_x509_pem;
use x509_parser::public_key::PublicKey;

fn keys() -> KeySet {
    let random = SystemRandom::new();
    let mut keys = KeySet::new(team::rsa_key(), START);
    keys.publish(SigningKey::generate_ed25519(&random).expect("randomness"), START).expect("new");
    let next = keys.publish(SigningKey::generate(&random).expect("randomness"), START);
    keys.promote(&next.expect("new"), after(1)).expect("published");
    keys
}

#[test]
fn each_key_has_a_certificate_of_its_own_key() {
    let keys = keys();
    let document: Value = serde_json::from_str(&keys.access_certs().unwrap()).unwrap();
    let certificates = document["public_certs"].as_array().unwrap();
    assert_eq!(certificates.len(), 3);
    let mut seen = 0;
    for entry in certificates {
        let kid = entry["kid"].as_str().unwrap();
        let (_, pem) = parse_x509_pem(entry["cert"].as_str().unwrap().as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        certificate.verify_signature(None).unwrap();
        let public = certificate.public_key().parsed().unwrap();
        let raw = &certificate.public_key().subject_public_key.data;
        let jwk = document["keys"].as_array().unwrap().iter().find(|jwk| jwk["kid"] == kid);
        let jwk = jwk.unwrap();
        let decode = |name: &str| {
            use base64::Engine as _;
            let text = jwk[name].as_str().unwrap();
            base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
        };
        match public {
            PublicKey::RSA(rsa) => {
                assert_eq!(
                    rsa.modulus.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<_>>(),
                    decode("n")
                );
                assert_eq!(rsa.exponent, decode("e"));
            }
            PublicKey::EC(point) => {
                assert_eq!(point.data(), [vec![4], decode("x"), decode("y")].concat());
            }
            _ => assert_eq!(raw.to_vec(), decode("x")),
        }
        seen += 1;
    }
    assert_eq!(seen, 3);
    assert_eq!(document["public_cert"]["kid"], keys.signing().kid());
    let plain = PublicKeySet::from_json(&document.to_string()).unwrap();
    assert_eq!(plain, keys.public_keys(), "readers of key sets read it as it is");
}

#[test]
fn a_ring_keeps_its_document_until_the_keys_change() {
    let ring = KeyRing::new(keys());
    let first = ring.access_certs().unwrap();
    assert_eq!(ring.access_certs().unwrap(), first, "signatures of ECDSA would differ");
    ring.replace(keys());
    assert_ne!(ring.access_certs().unwrap(), first);
}
