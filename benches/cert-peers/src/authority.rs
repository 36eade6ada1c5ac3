//! How fast a private authority issues.

use std::time::SystemTime;

use cert_manager::{PrivateCa, Profile};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair},
};

use crate::{
    measure::{Contender, Table},
    name,
};

pub fn run(table: &mut Table) {
    let now = SystemTime::now();
    let ca = PrivateCa::generate("Bench CA", now).expect("randomness");
    let (algorithm, random) = (&ECDSA_P256_SHA256_ASN1_SIGNING, SystemRandom::new());
    let root = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("randomness");
    let root = EcdsaKeyPair::from_pkcs8(algorithm, root.as_ref(), &random).expect("a key");
    let names = [name("host.bench.example")];
    table.measure(
        "a leaf with a new key (30,000/s: 33,333 ns)",
        vec![
            Contender::new("ours", || ca.issue(&names, Profile::server(), now).is_ok())
                .bar(33_333.0),
            // The least that it can take: make the key, load it to serve with it, sign.
            Contender::new("ring alone: a key, loaded, and a signature", || {
                let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("randomness");
                let key = EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random);
                key.is_ok() && root.sign(&random, &[7; 400]).is_ok()
            }),
        ],
    );
}
