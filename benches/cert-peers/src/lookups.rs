//! Choosing a certificate: the whole call that rustls makes, ours and its own, and ours by name alone.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Instant, SystemTime},
};

use cert_manager::{Name, PrivateCa, Resolver, presets};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    server::{Accepted, Acceptor, ResolvesServerCert, ResolvesServerCertUsingSni},
};

use crate::{
    Bar, Figures, issue,
    measure::{Contender, Table},
    name,
};

pub fn run(table: &mut Table, figures: &mut Figures) {
    let ca = PrivateCa::generate("Bench CA", SystemTime::now()).expect("randomness");
    for (count, bar) in [(10, 30.0), (10_000, 30.0), (1_000_000, 200.0)] {
        at(table, figures, &ca, count, bar);
    }
}

fn at(table: &mut Table, figures: &mut Figures, ca: &PrivateCa, count: usize, bar: f64) {
    let texts: Vec<String> = (0..count).map(|at| format!("host-{at}.bench.example")).collect();
    let names: Vec<Name> = texts.iter().map(|text| name(text)).collect();
    let ours = Resolver::new();
    ours.set(names.chunks(100).map(|names| issue(ca, names))).expect("no name twice");
    // It checks that the certificate is for the name; one with a star is for all.
    let star = issue(ca, &[name("*.bench.example")]);
    let mut theirs = ResolvesServerCertUsingSni::new();
    for text in &texts {
        theirs.add(text, (*star.certified_key()).clone()).expect("it is for the name");
    }
    let theirs: Arc<dyn ResolvesServerCert> = Arc::new(theirs);

    let asked = Asked::new(shuffled(count).map(|at| texts[at].as_str()));
    let hellos: Vec<Accepted> = shuffled(count).take(HELLOS).map(|at| hello(&texts[at])).collect();
    let what = |case: &str| format!("{case}, {count} names");
    let (mut a, mut b, mut c, mut e) = (0, 0, 0, 0);
    let (mut one, mut other) = (asked.walk(), asked.walk());
    table.measure(
        &what("resolve"),
        vec![
            Contender::new("ours, by name", || ours.knows(Some(black_box(one.next())))).bar(bar),
            Contender::new("ours, a wildcard that is not there", || {
                e += 1;
                !ours.knows(Some(black_box(MISSES[e % MISSES.len()])))
            }),
            Contender::new("reading the hello alone", || {
                a += 1;
                hellos[a % hellos.len()].client_hello().server_name().is_some()
            }),
            Contender::new("ours, the whole call", || {
                b += 1;
                ours.resolve(hellos[b % hellos.len()].client_hello()).is_some()
            }),
            Contender::new("rustls's own, the whole call", || {
                c += 1;
                theirs.resolve(hellos[c % hellos.len()].client_hello()).is_some()
            }),
            Contender::new("walking through the names alone", || {
                !black_box(other.next()).is_empty()
            }),
        ],
    );
    let mut times: Vec<f64> = (0..41)
        .map(|_| {
            let certificate = issue(ca, &names[count / 2..=count / 2]);
            let serial = certificate.serial().clone();
            let start = Instant::now();
            ours.insert(certificate).expect("it has a name");
            let found = ours.get(Some(&texts[count / 2])).expect("it is there");
            let time = start.elapsed().as_secs_f64() * 1e3;
            assert_eq!(*found.serial(), serial);
            time
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let bar = if count > 10_000 { 5.0 } else { 1.0 };
    figures.note(&what("a swap is seen"), "ours, median", times[20], "ms", Some(Bar::AtMost(bar)));
}

/// All names, one behind the other in the order in which they are asked for, so that reading them waits for no memory.
struct Asked {
    text: String,
    ends: Vec<u32>,
}

impl Asked {
    fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let (mut text, mut ends) = (String::new(), Vec::new());
        for name in names {
            text.push_str(name);
            ends.push(u32::try_from(text.len()).expect("not that many"));
        }
        Self { text, ends }
    }

    fn walk(&self) -> Walk<'_> {
        Walk { asked: self, at: 0, start: 0 }
    }
}

/// Goes round and round.
struct Walk<'a> {
    asked: &'a Asked,
    at: usize,
    start: usize,
}

impl<'a> Walk<'a> {
    fn next(&mut self) -> &'a str {
        let end = self.asked.ends[self.at] as usize;
        let name = &self.asked.text[self.start..end];
        (self.at, self.start) = (self.at + 1, end);
        if self.at == self.asked.ends.len() {
            (self.at, self.start) = (0, 0);
        }
        name
    }
}

/// A hello as it comes off the wire.
fn hello(name: &str) -> Accepted {
    let config = ClientConfig::builder_with_provider(presets::provider())
        .with_safe_default_protocol_versions()
        .expect("ring knows TLS 1.3")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = name.to_owned().try_into().expect("a good name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a good name");
    let mut wire = Vec::new();
    client.write_tls(&mut wire).expect("memory");
    let mut acceptor = Acceptor::default();
    acceptor.read_tls(&mut wire.as_slice()).expect("memory");
    acceptor.accept().ok().flatten().expect("a whole hello")
}

/// All numbers below `count`, each once, in an order that no prefetcher guesses.
fn shuffled(count: usize) -> impl Iterator<Item = usize> {
    // Coprime to all powers of ten.
    (0..count).map(move |at| (at * 7_368_787 + 3) % count)
}

const HELLOS: usize = 4_096;
const MISSES: [&str; 3] = ["a.b.bench.example", "host-1.other.example", "bench.example"];
