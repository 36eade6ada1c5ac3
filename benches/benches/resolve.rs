//! Choosing a certificate by the name that a client asks for: the look-up, and a whole handshake
//! in memory around it.

use std::{hint::black_box, sync::Arc, time::SystemTime};

use cert_manager::{Certificate, Name, PrivateCa, Profile, Resolver, presets};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, RootCertStore, ServerConfig,
    ServerConnection, client::Resumption, pki_types::ServerName,
};

const NAMES: [usize; 2] = [1, 10_000];

/// Names on one certificate: an authority may put more there, but few do.
const NAMES_EACH: usize = 100;

/// What clients ask for, and whether there is a certificate.
const ASKED: [(&str, &str, bool); 3] = [
    ("exact", "host-0.example.jp", true),
    ("wildcard", "any.tenant.example.jp", true),
    ("unknown", "host-0.example.com", false),
];

fn look_ups(criterion: &mut Criterion) {
    let ca = authority();
    let mut group = criterion.benchmark_group("resolve");
    group.throughput(Throughput::Elements(1));
    for names in NAMES {
        let resolver = resolver(&ca, names);
        for (case, asked, is_known) in ASKED {
            assert_eq!(resolver.knows(Some(asked)), is_known);
            group.bench_function(BenchmarkId::new(case, names), |bencher| {
                bencher.iter(|| resolver.knows(Some(black_box(asked))));
            });
        }
        group.bench_function(BenchmarkId::new("exact, with its certificate", names), |bencher| {
            bencher.iter(|| resolver.get(Some(black_box(ASKED[0].1))));
        });
    }
    group.finish();
}

fn handshakes(criterion: &mut Criterion) {
    let ca = authority();
    let client = client(&ca);
    let mut group = criterion.benchmark_group("resolve/handshake");
    group.throughput(Throughput::Elements(1));
    for names in NAMES {
        let resolver = resolver(&ca, names);
        let server = presets::server_config(presets::provider(), resolver, [b"http/1.1"]);
        let server = Arc::new(server.expect("ring knows TLS 1.3"));
        // The certificate with the wildcard bears that name alone, whatever else there is.
        group.bench_function(BenchmarkId::new("both ends, TLS 1.3", names), |bencher| {
            bencher.iter(|| handshake(&client, &server, "any.tenant.example.jp"));
        });
    }
    group.finish();
}

fn authority() -> PrivateCa {
    PrivateCa::generate("Bench CA", SystemTime::now()).expect("randomness")
}

fn resolver(ca: &PrivateCa, names: usize) -> Arc<Resolver> {
    let issue = |names: &[Name]| -> Certificate {
        ca.issue(names, Profile::server(), SystemTime::now()).expect("a good authority")
    };
    let names: Vec<Name> = (0..names).map(|it| name(&format!("host-{it}.example.jp"))).collect();
    let resolver = Resolver::new();
    let certificates = names.chunks(NAMES_EACH).map(issue);
    let wildcard = issue(&[name("*.tenant.example.jp")]);
    resolver.set(certificates.chain([wildcard])).expect("no name twice");
    resolver
}

fn name(text: &str) -> Name {
    text.parse().expect("a good name")
}

fn client(ca: &PrivateCa) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.root_der().clone()).expect("a good root");
    let mut config = ClientConfig::builder_with_provider(presets::provider())
        .with_safe_default_protocol_versions()
        .expect("ring knows TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Each visitor is a new one.
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

fn handshake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, name: &'static str) {
    let name = ServerName::try_from(name).expect("a good name");
    let mut client = ClientConnection::new(Arc::clone(client), name).expect("a good client");
    let mut server = ServerConnection::new(Arc::clone(server)).expect("a good server");
    while client.is_handshaking() || server.is_handshaking() {
        carry(&mut client, &mut server);
        carry(&mut server, &mut client);
    }
}

/// Carries what one end has to say to the other.
fn carry<A, B>(from: &mut ConnectionCommon<A>, to: &mut ConnectionCommon<B>) {
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).expect("memory takes it");
    }
    let mut wire = wire.as_slice();
    while !wire.is_empty() {
        to.read_tls(&mut wire).expect("memory gives it");
        to.process_new_packets().expect("both ends are honest");
    }
}

criterion_group!(benches, look_ups, handshakes);
criterion_main!(benches);
