//! Against small servers of our own, each on another address of the loopback net.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::rdata,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::*;
use crate::dns::exchange::wire_name;

/// What a server answers to a question.
trait Answers: Fn(&str, WireType) -> Answer + Send + Sync + 'static {}

impl<F: Fn(&str, WireType) -> Answer + Send + Sync + 'static> Answers for F {}

type Answer = Result<Vec<RData>, ResponseCode>;

/// Servers on one port, which end with the test.
struct Lab {
    port: u16,
    tasks: JoinSet<()>,
}

impl Lab {
    /// With a resolver on 127.0.0.1.
    async fn new(resolver: impl Answers) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut lab = Self { port: listener.local_addr().unwrap().port(), tasks: JoinSet::new() };
        lab.tasks.spawn(serve(listener, resolver));
        lab
    }

    async fn server(&mut self, last: u8, answers: impl Answers) {
        let listener = TcpListener::bind((address(last), self.port)).await.unwrap();
        self.tasks.spawn(serve(listener, answers));
    }

    /// Takes connections and says nothing.
    async fn silent(&mut self, last: u8) {
        let listener = TcpListener::bind((address(last), self.port)).await.unwrap();
        self.tasks.spawn(async move {
            let _listener = listener;
            std::future::pending::<()>().await;
        });
    }

    fn authority(&self) -> Authority {
        Authority::with_resolvers(vec![(address(1), self.port).into()]).port(self.port)
    }

    fn at(&self, last: u8) -> SocketAddr {
        (address(last), self.port).into()
    }

    async fn wait(&self, patience: u64) -> Result<(), DnsError> {
        let authority = self.authority();
        let (name, value) = (name("_acme-challenge.a.test"), RecordData::Txt("x".into()));
        let wait = authority.wait_for(&name, &value, Duration::from_secs(patience));
        timeout(Duration::from_secs(60), wait).await.expect("it ends long before")
    }
}

fn address(last: u8) -> Ipv4Addr {
    [127, 0, 0, last].into()
}

fn name(text: &str) -> RecordName {
    text.parse().unwrap()
}

async fn serve(listener: TcpListener, answers: impl Answers) {
    while let Ok((stream, _)) = listener.accept().await {
        answer(stream, &answers).await;
    }
}

async fn answer(mut stream: TcpStream, answers: &impl Answers) {
    let mut bytes = vec![0; usize::from(stream.read_u16().await.unwrap())];
    stream.read_exact(&mut bytes).await.unwrap();
    let mut message = Message::from_vec(&bytes).unwrap();
    message.metadata.message_type = MessageType::Response;
    let query = message.queries[0].clone();
    let text = query.name().to_ascii();
    match answers(text.trim_end_matches('.'), query.query_type()) {
        Ok(found) => {
            let owner = query.name().clone();
            let records = found.into_iter().map(|data| record_of(&owner, data));
            message.answers.extend(records);
        }
        Err(code) => message.metadata.response_code = code,
    }
    let bytes = message.to_vec().unwrap();
    stream.write_u16(u16::try_from(bytes.len()).unwrap()).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
}

fn record_of(owner: &hickory_proto::rr::Name, data: RData) -> hickory_proto::rr::Record {
    hickory_proto::rr::Record::from_rdata(owner.clone(), 1, data)
}

fn ns(text: &str) -> RData {
    RData::NS(rdata::NS(wire_name(&name(text)).unwrap()))
}

fn a(last: u8) -> RData {
    RData::A(rdata::A(address(last)))
}

fn aaaa(text: &str) -> RData {
    RData::AAAA(rdata::AAAA(text.parse().unwrap()))
}

#[expect(clippy::unnecessary_wraps, reason = "it is one of the answers")]
fn shows_it(_: &str, _: WireType) -> Answer {
    Ok(vec![RData::TXT(rdata::TXT::new(vec!["x".into()]))])
}

fn is_broken(_: &str, _: WireType) -> Answer {
    Err(ResponseCode::ServFail)
}

/// The zone `a.test` has two servers; the second is reached by IPv4 alone, for whoever asks here.
#[expect(clippy::unnecessary_wraps, reason = "it is one of the answers")]
fn two_servers(name: &str, wire_type: WireType) -> Answer {
    Ok(match (name, wire_type) {
        ("a.test", WireType::NS) => vec![ns("one.test"), ns("two.test")],
        ("one.test", WireType::A) => vec![a(2)],
        ("two.test", WireType::A) => vec![a(3)],
        ("two.test", WireType::AAAA) => vec![aaaa("2001:db8::53")],
        _ => Vec::new(),
    })
}

#[tokio::test]
async fn a_server_of_two_families_counts_by_the_one_that_answers() {
    let mut lab = Lab::new(two_servers).await;
    lab.server(2, shows_it).await;
    lab.server(3, shows_it).await;
    let servers = lab.authority().servers_of(&name("_acme-challenge.a.test")).await.unwrap();
    let mut found: Vec<_> = servers.iter().flat_map(|it| it.addresses.clone()).collect();
    found.sort();
    let unreachable = format!("[2001:db8::53]:{}", lab.port).parse().unwrap();
    assert_eq!(found, [lab.at(2), lab.at(3), unreachable]);
    lab.wait(30).await.unwrap();
}

/// Longer than one that does not answer.
#[tokio::test]
async fn a_server_that_answers_without_the_value_is_waited_for() {
    let asked = Arc::new(AtomicU32::new(0));
    let counter = asked.clone();
    let mut lab = Lab::new(two_servers).await;
    lab.server(2, shows_it).await;
    let late = move |name: &str, it| match counter.fetch_add(1, Ordering::Relaxed) {
        ..6 => Ok(Vec::new()),
        _ => shows_it(name, it),
    };
    lab.server(3, late).await;
    lab.wait(120).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 7);
}

/// It takes the five seconds that such servers are given.
#[tokio::test]
async fn servers_without_an_answer_are_left_out_where_another_shows_the_value() {
    let mut one_silent = Lab::new(two_servers).await;
    one_silent.server(2, shows_it).await;
    one_silent.silent(3).await;
    let mut one_broken = Lab::new(two_servers).await;
    one_broken.server(2, shows_it).await;
    one_broken.server(3, is_broken).await;
    let mut nobody_shows_it = Lab::new(two_servers).await;
    nobody_shows_it.server(2, is_broken).await;
    nobody_shows_it.silent(3).await;
    let (silent, broken, nobody) =
        tokio::join!(one_silent.wait(120), one_broken.wait(120), nobody_shows_it.wait(8));
    silent.unwrap();
    broken.unwrap();
    match nobody.unwrap_err() {
        DnsError::NotSeen { missing, .. } => assert_eq!(missing.len(), 3, "{missing:?}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_failed_question_for_one_family_or_server_ends_no_search() {
    fn resolver(name: &str, wire_type: WireType) -> Answer {
        match (name, wire_type) {
            ("one.test", WireType::AAAA) | ("two.test", _) => Err(ResponseCode::ServFail),
            _ => two_servers(name, wire_type),
        }
    }
    let lab = Lab::new(resolver).await;
    let found = lab.authority().servers_of(&name("x.y.a.test")).await.unwrap();
    let one = NameServer { name: Some(name("one.test")), addresses: vec![lab.at(2)] };
    assert_eq!(found, [one]);
    let error = lab.authority().servers_of(&name("b.test")).await.unwrap_err();
    assert!(matches!(error, DnsError::NoServers { .. }), "{error:?}");
}

#[tokio::test]
async fn a_zone_of_countless_servers_costs_few_questions() {
    #[expect(clippy::unnecessary_wraps, reason = "it is one of the answers")]
    fn resolver(name: &str, wire_type: WireType) -> Answer {
        Ok(match (name, wire_type) {
            ("a.test", WireType::NS) => (0..500).map(|at| ns(&format!("n{at}.test"))).collect(),
            (_, WireType::A) => (0..200).map(a).collect(),
            (_, WireType::AAAA) => (0..200).map(|at| aaaa(&format!("2001:db8::{at:x}"))).collect(),
            _ => Vec::new(),
        })
    }
    let lab = Lab::new(resolver).await;
    let found = lab.authority().servers_of(&name("a.test")).await.unwrap();
    assert_eq!(found.len(), MAX_SERVERS);
    for server in found {
        let v6 = server.addresses.iter().filter(|address| address.is_ipv6()).count();
        assert_eq!((server.addresses.len(), v6), (MAX_ADDRESSES, MAX_ADDRESSES / 2));
    }
}

#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "paused time, which the test measures")]
async fn patience_is_time_however_long_servers_are_silent() {
    let mut lab = Lab::new(two_servers).await;
    lab.silent(8).await;
    lab.silent(9).await;
    let these = ServerList::These(vec![lab.at(8), lab.at(9)]);
    for authority in [
        lab.authority().servers(these),
        // Nor is a resolver given more.
        Authority::with_resolvers(vec![lab.at(8), lab.at(9)]),
    ] {
        let start = Instant::now();
        let (name, value) = (name("a.test"), RecordData::Txt("x".into()));
        let waited = authority.wait_for(&name, &value, Duration::from_secs(2)).await;
        assert!(waited.is_err());
        let took = start.elapsed();
        assert!(took < Duration::from_millis(2_100), "{took:?}");
    }
}

#[test]
fn resolvers_are_read_from_the_systems_file() {
    let text = "# comment\nsearch example.jp\nnameserver 192.0.2.1\n nameserver 2001:db8::1\nnameserver x\n";
    let found = resolvers_in(text);
    assert_eq!(found, ["192.0.2.1:53".parse().unwrap(), "[2001:db8::1]:53".parse().unwrap()]);
}
