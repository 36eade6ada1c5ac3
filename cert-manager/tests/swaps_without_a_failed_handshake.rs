//! New handshakes see a swap at once, running connections do not notice, and none fails.
#![cfg(any(feature = "ring", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

mod support;

use std::{
    collections::HashSet,
    io::{Read, Write},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use cert_manager::{Certificate, PrivateCa, Profile, Resolver};
use support::{Pair, client, server, start};

#[test]
fn running_connections_outlive_a_swap() {
    let ca = PrivateCa::generate("Test CA", start()).unwrap();
    let resolver = Resolver::new();
    let (client, server) = (client(&ca, start()), server(&resolver));
    let (old, new) = (issue(&ca), issue(&ca));

    resolver.insert(old.clone()).unwrap();
    let mut running = Pair::handshake(&client, &server, "a.jp").unwrap();
    resolver.insert(new.clone()).unwrap();
    let fresh = Pair::handshake(&client, &server, "a.jp").unwrap();

    assert_eq!(running.leaf(), old.chain()[0]);
    assert_eq!(fresh.leaf(), new.chain()[0]);
    running.client.writer().write_all(b"still here").unwrap();
    running.exchange().unwrap();
    let mut text = [0; 10];
    running.server.reader().read_exact(&mut text).unwrap();
    assert_eq!(&text, b"still here");
}

#[test]
fn a_thousand_swaps_under_handshakes() {
    let ca = PrivateCa::generate("Test CA", start()).unwrap();
    let resolver = Resolver::new();
    resolver.insert(issue(&ca)).unwrap();
    let (client, server) = (client(&ca, start()), server(&resolver));
    let done = AtomicBool::new(false);

    thread::scope(|scope| {
        let visitors = (0..2).map(|_| {
            scope.spawn(|| {
                let mut seen = HashSet::new();
                while !done.load(Ordering::Relaxed) || seen.is_empty() {
                    let pair = Pair::handshake(&client, &server, "a.jp");
                    seen.insert(pair.expect("no handshake may fail").leaf());
                }
                seen.len()
            })
        });
        let visitors = visitors.collect::<Vec<_>>();
        for _ in 0..1000 {
            resolver.insert(issue(&ca)).unwrap();
            thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
        for visitor in visitors {
            assert!(visitor.join().unwrap() > 1, "a visitor never saw a swap");
        }
    });
}

#[test]
fn concurrent_writers_lose_nothing() {
    let ca = PrivateCa::generate("Test CA", start()).unwrap();
    let resolver = Resolver::new();
    thread::scope(|scope| {
        for writer in 0..4 {
            let (ca, resolver) = (&ca, &resolver);
            scope.spawn(move || {
                for number in 0..100 {
                    let name = format!("n{number}.w{writer}.example").parse().unwrap();
                    let certificate = ca.issue(&[name], Profile::server(), start()).unwrap();
                    resolver.insert(certificate).unwrap();
                }
            });
        }
    });
    assert_eq!(resolver.names().len(), 400);
}

fn issue(ca: &PrivateCa) -> Certificate {
    let names = ["a.jp".parse().unwrap()];
    ca.issue(&names, Profile::server(), start()).unwrap()
}
