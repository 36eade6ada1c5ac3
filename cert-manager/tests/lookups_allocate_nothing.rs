//! Choosing a certificate in a handshake takes no memory, whatever a client asks for.
#![cfg(feature = "ring")]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

mod support;

use cert_manager::{
    PrivateCa, Profile, Resolver,
    rustls::{
        ClientConnection,
        server::{Accepted, Acceptor, ResolvesServerCert as _},
    },
};
use peak_alloc::PeakAlloc;
use support::{client, start};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

#[test]
fn known_names_wildcards_and_misses() {
    let ca = PrivateCa::generate("Test CA", start()).unwrap();
    let resolver = Resolver::new();
    for names in [["a.example.jp", "*.b.example.jp"], ["c.example.jp", "d.example.jp"]] {
        let names = names.map(|name| name.parse().unwrap());
        resolver.insert(ca.issue(&names, Profile::server(), start()).unwrap()).unwrap();
    }
    let long = format!("{}.example.jp", "a".repeat(63));
    for (name, is_known) in [
        ("a.example.jp", true),
        ("A.Example.JP", true),
        ("x.b.example.jp", true),
        ("x.y.b.example.jp", false),
        ("unknown.example", false),
        (long.as_str(), false),
    ] {
        let hello = hello(&ca, name);
        // What is set up at the first call in a thread, such as arc-swap's, is not the look-up's.
        let _ = resolver.resolve(hello.client_hello());
        let before = MEMORY.current_usage();
        MEMORY.reset_peak_usage();
        let found = resolver.resolve(hello.client_hello());
        let peak = MEMORY.peak_usage();
        assert_eq!(found.is_some(), is_known, "{name}");
        assert_eq!(peak, before, "{name}: bytes were taken");
    }
}

fn hello(ca: &PrivateCa, name: &str) -> Accepted {
    let name = name.to_owned().try_into().unwrap();
    let mut client = ClientConnection::new(client(ca, start()), name).unwrap();
    let mut wire = Vec::new();
    client.write_tls(&mut wire).unwrap();
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut wire.as_slice()).unwrap();
    acceptor.accept().ok().flatten().unwrap()
}
