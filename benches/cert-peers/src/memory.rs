//! What a name costs in memory: a certificate of its own, with an intermediate, as they come out of a store.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use cert_manager::{
    Certificate, PrivateCa, PrivateKey, Resolver,
    ca::{Grant, Intermediate, SigningRequest},
    presets,
};

use crate::{Bar, Figures, name};

pub fn run(figures: &mut Figures) {
    let now = SystemTime::now();
    let root = PrivateCa::generate("Bench CA", now).expect("randomness");
    let authority = Intermediate::issue(&root, "Bench CA 1", now).expect("a good root");
    let (provider, resolver) = (presets::provider(), Resolver::new());
    let (mut before, mut bytes) = (0, 0);
    for at in 0..WARM + COUNT {
        if at == WARM {
            before = resident();
        }
        let key = PrivateKey::generate().expect("randomness");
        let request = SigningRequest::write(&key).expect("a good key");
        let request = SigningRequest::parse(&request).expect("a good request");
        let names = [name(&format!("host-{at}.bench.example"))];
        let grant = Grant::server(&names).and_then(|it| it.life(Duration::from_secs(86_400)));
        let signed = authority.sign(&request, &grant.expect("a good grant"), now);
        let chain = signed.expect("a good authority").chain_pem();
        let key = key.to_pem();
        let certificate = Certificate::from_pem_with_provider(chain, key.expose(), &provider);
        let certificate = certificate.expect("a good pair");
        bytes = certificate.chain().iter().map(|der| der.len()).sum();
        resolver.insert(certificate).expect("it has a name");
    }
    let each = (resident() - before) as f64 / COUNT as f64 / 1000.0;
    let what = format!("memory a name, among {COUNT}, chains of {bytes} bytes");
    figures.note(&what, "ours", each, "kB", Some(Bar::AtMost(1.7)));
}

fn resident() -> usize {
    let text = fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = text.split(' ').nth(1).and_then(|it| it.parse().ok()).expect("a number");
    pages * 4096
}

/// What the first ones set up is not theirs.
const WARM: usize = 1_000;
const COUNT: usize = 100_000;
