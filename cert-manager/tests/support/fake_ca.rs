//! An ACME authority of our own, over real HTTPS, that misbehaves as it is told. It validates nothing.

#![allow(dead_code, reason = "each test uses another part")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::SystemTime,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cert_manager::{
    DirectoryStore, Name, PrivateCa, Profile, Resolver,
    acme::{self, Http01},
    ca::{Grant, Intermediate, SigningRequest},
    presets,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

#[derive(Clone, Debug)]
pub(crate) struct FakeCa {
    pub(crate) roots: String,
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    base: String,
    intermediate: Intermediate,
    faults: Vec<(&'static str, usize, Fault)>,
    asked: BTreeMap<&'static str, usize>,
    nonces: usize,
    orders: Vec<Order>,
    challenges: Value,
    renewal: String,
}

#[derive(Debug)]
struct Order {
    names: Vec<String>,
    replaces: Option<String>,
    is_answered: bool,
    /// Public keys, one for each certificate that was paid for.
    certificates: Vec<(Vec<u8>, String)>,
}

/// What happens in place of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Another answer: status, header lines, body.
    Answer(u16, String, &'static str),
    /// Nothing, for as long as the client waits. The request is done first, or not.
    Hang { is_done: bool },
    /// The end of the connection, likewise.
    Close { is_done: bool },
}

/// All that a client asks for on its way to a certificate.
pub(crate) const THINGS: [&str; 9] = [
    "directory",
    "nonce",
    "account",
    "new order",
    "authorization",
    "challenge",
    "order",
    "finalize",
    "certificate",
];

impl FakeCa {
    pub(crate) async fn start() -> Self {
        let now = SystemTime::now();
        let root = PrivateCa::generate("Fake root", now).unwrap();
        let intermediate = Intermediate::issue(&root, "Fake 1", now).unwrap();
        let resolver = Resolver::new();
        let names = ["localhost".parse().unwrap()];
        resolver.insert(root.issue(&names, Profile::server(), now).unwrap()).unwrap();
        let config = presets::server_config(presets::provider(), resolver, [b"http/1.1"]).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State {
            base: format!("https://localhost:{port}"),
            intermediate,
            faults: Vec::new(),
            asked: BTreeMap::new(),
            nonces: 0,
            orders: Vec::new(),
            challenges: json!(["http-01"]),
            renewal: String::new(),
        };
        let this = Self { roots: root.root_pem(), port, state: Arc::new(Mutex::new(state)) };
        let server = this.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (server, acceptor) = (server.clone(), acceptor.clone());
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = server.serve(BufReader::new(stream)).await;
                    }
                });
            }
        });
        this
    }

    /// The n-th request for a thing goes wrong.
    pub(crate) fn fault(&self, thing: &'static str, at: usize, fault: Fault) {
        self.state.lock().unwrap().faults.push((thing, at, fault));
    }

    /// Which kinds of challenges it offers.
    pub(crate) fn offer(&self, kinds: &[&str]) {
        self.state.lock().unwrap().challenges = json!(kinds);
    }

    /// What it says about renewals.
    pub(crate) fn wish(&self, body: &str) {
        body.clone_into(&mut self.state.lock().unwrap().renewal);
    }

    pub(crate) fn asked(&self, thing: &str) -> usize {
        self.state.lock().unwrap().asked.get(thing).copied().unwrap_or(0)
    }

    /// How many certificates were paid for.
    pub(crate) fn paid(&self) -> usize {
        self.state.lock().unwrap().orders.iter().map(|order| order.certificates.len()).sum()
    }

    /// What the last order said that it replaces.
    pub(crate) fn replaced(&self) -> Option<String> {
        self.state.lock().unwrap().orders.last().unwrap().replaces.clone()
    }

    pub(crate) fn account(&self, store: &DirectoryStore) -> acme::Builder {
        acme::Acme::builder(format!("https://localhost:{}/dir", self.port), store.clone())
            .agree_to_terms(true)
            .roots(self.roots.as_str())
            .solver(Http01::new())
    }

    async fn serve(&self, mut stream: BufReader<TlsStream<TcpStream>>) -> std::io::Result<()> {
        loop {
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).await? == 0 {
                    return Ok(());
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line == "\r\n" {
                    break;
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await?;
            let mut words = head.split(' ');
            let (method, path) = (words.next().unwrap(), words.next().unwrap());
            let Some(answer) = self.answer(method, path, &body) else {
                // The client gives up first.
                return stream.read_line(&mut head).await.map(drop);
            };
            if answer.is_empty() {
                return Ok(());
            }
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await?;
        }
    }

    /// Nothing to hang, an empty text to close.
    fn answer(&self, method: &str, path: &str, body: &[u8]) -> Option<String> {
        let mut state = self.state.lock().unwrap();
        let thing = thing(path);
        let count = state.asked.entry(thing).or_default();
        *count += 1;
        let at = *count;
        let fault = state.faults.iter().find(|(what, when, _)| *what == thing && *when == at);
        let fault = fault.map(|(_, _, fault)| fault.clone());
        let is_done = !matches!(
            fault,
            Some(
                Fault::Hang { is_done: false }
                    | Fault::Close { is_done: false }
                    | Fault::Answer(..)
            )
        );
        let right = if is_done { state.right_answer(thing, path, body) } else { <_>::default() };
        let (status, headers, body) = match fault {
            None => right,
            Some(Fault::Answer(status, headers, body)) => (status, headers, body.to_owned()),
            Some(Fault::Hang { .. }) => return None,
            Some(Fault::Close { .. }) => return Some(String::new()),
        };
        state.nonces += 1;
        let nonce = match thing {
            // So that one has to be fetched.
            "directory" => String::new(),
            _ => format!("replay-nonce: nonce{}\r\n", state.nonces),
        };
        let length = body.len();
        let body = if method == "HEAD" { "" } else { &body };
        Some(format!(
            "HTTP/1.1 {status} Answer\r\n{nonce}content-length: {length}\r\n{headers}\r\n{body}"
        ))
    }
}

impl State {
    fn right_answer(&mut self, thing: &str, path: &str, body: &[u8]) -> (u16, String, String) {
        let base = self.base.clone();
        let at: usize = path.rsplit('/').next().and_then(|it| it.parse().ok()).unwrap_or(0);
        let ok = |body: Value| (200, String::new(), body.to_string());
        match thing {
            "directory" => ok(json!({
                "newNonce": format!("{base}/nonce"), "newAccount": format!("{base}/account"),
                "newOrder": format!("{base}/new-order"), "renewalInfo": format!("{base}/renewal"),
            })),
            "account" => (201, format!("location: {base}/account/1\r\n"), "{}".to_owned()),
            "new order" => {
                let payload = payload(body);
                let names = payload["identifiers"].as_array().unwrap().iter();
                let names = names.map(|it| it["value"].as_str().unwrap().to_owned()).collect();
                let replaces = payload["replaces"].as_str().map(ToOwned::to_owned);
                let certificates = Vec::new();
                self.orders.push(Order { names, replaces, is_answered: false, certificates });
                let at = self.orders.len() - 1;
                (201, format!("location: {base}/order/{at}\r\n"), self.order(at).to_string())
            }
            "order" => ok(self.order(at)),
            "authorization" => {
                let status = if self.orders[at].is_answered { "valid" } else { "pending" };
                let kinds = self.challenges.as_array().unwrap().iter();
                let challenges: Vec<_> = kinds
                    .map(|kind| {
                        json!({"type": kind, "url": format!("{base}/challenge/{at}"), "status": "pending",
                            "token": format!("a-token-that-is-long-enough-{at}"), "unknown": [1, {}]})
                    })
                    .collect();
                ok(json!({"identifier": {"type": "dns", "value": self.orders[at].names[0]},
                    "status": status, "challenges": challenges}))
            }
            "challenge" => {
                self.orders[at].is_answered = true;
                ok(json!({"type": "http-01", "url": path, "status": "processing", "token": ""}))
            }
            "finalize" => {
                let csr = payload(body)["csr"].as_str().unwrap().to_owned();
                let request = URL_SAFE_NO_PAD.decode(csr).unwrap();
                let request = SigningRequest::from_der(&request).unwrap();
                let order = &mut self.orders[at];
                let names: Vec<Name> = order.names.iter().map(|it| it.parse().unwrap()).collect();
                let grant = Grant::server(&names).unwrap();
                let signed = self.intermediate.sign(&request, &grant, SystemTime::now()).unwrap();
                let key = request.public_key_info().to_vec();
                order.certificates.push((key, signed.chain_pem()));
                ok(self.order(at))
            }
            "certificate" => {
                let (_, chain) = self.orders[at].certificates.last().unwrap();
                (200, String::new(), chain.clone())
            }
            "renewal" => (200, String::new(), self.renewal.clone()),
            _ => (200, String::new(), String::new()),
        }
    }

    fn order(&self, at: usize) -> Value {
        let (base, order) = (&self.base, &self.orders[at]);
        let status = match (order.is_answered, order.certificates.is_empty()) {
            (_, false) => "valid",
            (true, true) => "ready",
            (false, true) => "pending",
        };
        json!({"status": status, "authorizations": [format!("{base}/authorization/{at}")],
            "finalize": format!("{base}/finalize/{at}"), "certificate": format!("{base}/certificate/{at}")})
    }
}

fn thing(path: &str) -> &'static str {
    match path.split('/').nth(1).unwrap() {
        "dir" => "directory",
        "nonce" => "nonce",
        "account" => "account",
        "new-order" => "new order",
        "order" => "order",
        "authorization" => "authorization",
        "challenge" => "challenge",
        "finalize" => "finalize",
        "certificate" => "certificate",
        "renewal" => "renewal",
        other => panic!("nobody should ask for {other}"),
    }
}

fn payload(body: &[u8]) -> Value {
    let message: Value = serde_json::from_slice(body).unwrap();
    let payload = URL_SAFE_NO_PAD.decode(message["payload"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}
