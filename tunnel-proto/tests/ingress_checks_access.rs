//! Who passes a rule with `access`, and what the others get.

#![expect(clippy::unwrap_used, reason = "a test")]
#![expect(clippy::disallowed_methods, reason = "tokens have a time and a signature")]
#![cfg(feature = "ingress")]

mod harness;
mod ingress_harness;

use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::Full;
use ingress_harness::{ask, http_mirror, serve};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
        RsaPublicKeyComponents,
    },
};
use serde_json::{Value, json};
use tunnel_proto::{
    edge::{EdgeHeaders, ResponseSource, Tunnel},
    ingress::{Environment, Fetch, Ingress, KeySource},
    origin::OriginFailure,
};

const TEAM: &str = "https://team.cloudflareaccess.com";
const ORIGIN: Option<ResponseSource> = Some(ResponseSource::Origin);
const CONNECTOR: Option<ResponseSource> = Some(ResponseSource::Connector(OriginFailure::Unknown));

fn encode(part: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// An issuer with a key of either kind.
struct Issuer {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
}

impl Issuer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let ec = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self {
            rsa: RsaKeyPair::from_pkcs8(include_bytes!("data/rsa-2048.pk8")).unwrap(),
            ec: EcdsaKeyPair::from_pkcs8(algorithm, ec.as_ref(), &random).unwrap(),
        }
    }

    fn keys(&self) -> Value {
        let rsa = RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
        let point = self.ec.public_key().as_ref();
        json!({"keys": [
            {"kid": "rsa", "kty": "RSA", "alg": "RS256", "use": "sig", "n": encode(rsa.n), "e": encode(rsa.e)},
            {"kid": "ec", "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..])},
            {"kid": "odd", "kty": "OKP", "crv": "Ed25519", "x": "AA"},
            {"kid": "broken", "kty": "RSA", "n": "!", "e": "AQAB"},
        ], "public_cert": {"kid": "x", "cert": "y"}})
    }

    fn sign(&self, head: &Value, body: &Value) -> String {
        let signed = format!("{}.{}", encode(head.to_string()), encode(body.to_string()));
        let random = SystemRandom::new();
        let sealed = if head["alg"] == "ES256" {
            self.ec.sign(&random, signed.as_bytes()).unwrap().as_ref().to_vec()
        } else {
            let mut sealed = vec![0; self.rsa.public().modulus_len()];
            self.rsa.sign(&RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut sealed).unwrap();
            sealed
        };
        format!("{signed}.{}", encode(sealed))
    }

    /// A good token of `iss` for `aud`, with `changes` to the body.
    fn token(&self, changes: &Value) -> String {
        let mut body = json!({"iss": TEAM, "aud": ["app"], "exp": now() + 60, "sub": "x"});
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        self.sign(&json!({"alg": "RS256", "kid": "rsa", "typ": "JWT"}), &body)
    }
}

/// Gives the keys at the one URL, and counts.
struct Source {
    url: &'static str,
    document: Vec<u8>,
    fetched: Arc<AtomicUsize>,
}

impl KeySource for Source {
    fn fetch(&self, url: &str) -> Fetch {
        self.fetched.fetch_add(1, Ordering::Relaxed);
        let document = Bytes::from(self.document.clone());
        let answer = if url == self.url { Ok(document) } else { Err(format!("not {url}").into()) };
        Box::pin(ready(answer))
    }
}

async fn with(tunnel: &Tunnel, tokens: &[&str]) -> (u16, Option<ResponseSource>) {
    let mut headers = HeaderMap::new();
    for token in tokens {
        headers.append("cf-access-jwt-assertion", token.parse().unwrap());
    }
    let request = Request::get("https://app.example.com/").extension(EdgeHeaders(headers));
    let (status, source, _) = ask(tunnel, request.body(Full::default()).unwrap()).await;
    (status, source)
}

fn environment(issuer: &Issuer, url: &'static str) -> (Environment, Arc<AtomicUsize>) {
    let fetched = Arc::new(AtomicUsize::new(0));
    let document = issuer.keys().to_string().into_bytes();
    let source = Source { url, document, fetched: Arc::clone(&fetched) };
    (Environment::new().key_source(source), fetched)
}

const TEAM_KEYS: &str = "https://team.cloudflareaccess.com/cdn-cgi/access/certs";

#[tokio::test]
async fn the_results_are_those_of_cloudflared() {
    let issuer = Issuer::new();
    let (environment, fetched) = environment(&issuer, TEAM_KEYS);
    let yaml = "ingress: [{service: 'http_status:204', originRequest: \
                {access: {required: true, teamName: team, audTag: [other, app]}}}]";
    let (tunnel, _running) = serve(&Ingress::from_yaml(yaml, environment).unwrap()).await;
    let good = issuer.token(&json!({}));
    for (name, token, expected) in [
        ("an audience in a list", good.clone(), (204, ORIGIN)),
        ("an audience alone", issuer.token(&json!({"aud": "app"})), (204, ORIGIN)),
        ("another audience", issuer.token(&json!({"aud": ["else"]})), (403, ORIGIN)),
        ("no audience", issuer.token(&json!({"aud": []})), (403, ORIGIN)),
        ("expired", issuer.token(&json!({"exp": now() - 1})), (502, CONNECTOR)),
        ("without an end", issuer.token(&json!({"exp": null})), (502, CONNECTOR)),
        ("in an hour", issuer.token(&json!({"nbf": now() + 3_600})), (502, CONNECTOR)),
        ("another issuer", issuer.token(&json!({"iss": "https://evil.test"})), (502, CONNECTOR)),
        (
            "a look-alike issuer",
            issuer.token(&json!({"iss": format!("{TEAM}/")})),
            (502, CONNECTOR),
        ),
        ("cut", good[..good.len() - 4].to_owned(), (502, CONNECTOR)),
        ("no JWT", "x".into(), (502, CONNECTOR)),
        ("four parts", format!("{good}.x"), (502, CONNECTOR)),
    ] {
        assert_eq!(with(&tunnel, &[&token]).await, expected, "{name}");
    }
    let body = json!({"iss": TEAM, "aud": ["app"], "exp": now() + 60});
    for head in [
        json!({"alg": "ES256", "kid": "ec"}),
        json!({"alg": "none", "kid": "rsa"}),
        json!({"alg": "HS256", "kid": "rsa"}),
        json!({"alg": "RS256", "kid": "ec"}),
        json!({"alg": "RS256", "kid": "unknown"}),
        json!({"alg": "RS256"}),
        json!({"alg": "RS256", "kid": "rsa", "crit": ["b64"], "b64": false}),
    ] {
        let token = issuer.sign(&head, &body);
        assert_eq!(with(&tunnel, &[&token]).await, (502, CONNECTOR), "{head}");
    }
    let mut parts: Vec<&str> = good.split('.').collect();
    let forged = encode(json!({"iss": TEAM, "aud": ["app"], "exp": now() + 9}).to_string());
    parts[1] = &forged;
    assert_eq!(with(&tunnel, &[&parts.join(".")]).await, (502, CONNECTOR), "a changed body");
    assert_eq!(with(&tunnel, &[]).await, (403, ORIGIN), "no token");
    assert_eq!(with(&tunnel, &[""]).await, (403, ORIGIN), "an empty token");
    assert_eq!(with(&tunnel, &[&good, &good]).await, (502, CONNECTOR), "two tokens");
    assert_eq!(
        fetched.load(Ordering::Relaxed),
        1,
        "unknown keys are no reason to fetch in a hurry"
    );
}

#[tokio::test]
async fn an_issuer_of_ones_own_may_sign_with_either_key() {
    let issuer = Issuer::new();
    let (environment, _) = environment(&issuer, "https://auth.example.jp/cdn-cgi/access/certs");
    let yaml = "ingress: [{service: hello_world, originRequest: \
                {access: {required: true, issuer: 'https://auth.example.jp', audTag: [app]}}}]";
    let (tunnel, _running) = serve(&Ingress::from_yaml(yaml, environment).unwrap()).await;
    let body = json!({"iss": "https://auth.example.jp", "aud": "app", "exp": now() + 60});
    for head in [json!({"alg": "ES256", "kid": "ec"}), json!({"alg": "RS256", "kid": "rsa"})] {
        assert_eq!(with(&tunnel, &[&issuer.sign(&head, &body)]).await, (200, ORIGIN), "{head}");
    }
    let theirs = issuer.token(&json!({}));
    assert_eq!(with(&tunnel, &[&theirs]).await, (502, CONNECTOR));
}

#[tokio::test]
async fn what_stands_above_all_rules_holds_for_each() {
    let issuer = Issuer::new();
    let (environment, fetched) = environment(&issuer, TEAM_KEYS);
    let (port, connections) = http_mirror().await;
    let access = json!({"required": true, "teamName": "team", "audTag": ["app"]});
    let service = format!("http://127.0.0.1:{port}");
    let push = json!({"originRequest": {"access": access}, "ingress": [{"service": service}]});
    let ingress = Ingress::empty(environment);
    ingress.replace(push.to_string().as_bytes()).unwrap();
    let (tunnel, _running) = serve(&ingress).await;
    assert_eq!(with(&tunnel, &[]).await, (403, ORIGIN));
    assert_eq!(connections.load(Ordering::Relaxed), 0, "the origin heard nothing");
    assert_eq!(with(&tunnel, &[&issuer.token(&json!({}))]).await, (200, ORIGIN));
    // A rule that names no issuer yet lets nobody pass, and keys survive a push.
    let unfinished = json!({"ingress": [{"hostname": "x.test", "service": service},
        {"service": service, "originRequest": {"access": {"required": true}}}]});
    ingress.replace(unfinished.to_string().as_bytes()).unwrap();
    assert_eq!(with(&tunnel, &[&issuer.token(&json!({}))]).await, (502, CONNECTOR));
    assert_eq!(fetched.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn access_that_is_not_required_is_not_checked() {
    let yaml = "ingress: [{service: hello_world, originRequest: \
                {access: {required: false, teamName: team, audTag: [app]}}}]";
    let stated = Ingress::from_yaml(yaml, Environment::new()).unwrap();
    // In a file this would be an error.
    let pushed = Ingress::empty(Environment::new());
    let access = json!({"teamName": "team", "audTag": ["app"]});
    let rules = json!({"ingress": [
        {"service": "hello_world", "originRequest": {"access": access}}]});
    pushed.replace(rules.to_string().as_bytes()).unwrap();
    for ingress in [stated, pushed] {
        let (tunnel, _running) = serve(&ingress).await;
        assert_eq!(with(&tunnel, &[]).await, (200, ORIGIN));
    }
}

#[tokio::test]
async fn keys_come_from_the_certs_url_over_http() {
    let issuer = Issuer::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let keys = issuer.keys().to_string();
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            let keys = keys.clone();
            let service = hyper::service::service_fn(move |request: Request<_>| {
                let _: &Request<hyper::body::Incoming> = &request;
                assert_eq!(request.uri().path(), "/keys");
                let keys = keys.clone();
                async move {
                    Ok::<_, std::convert::Infallible>(http::Response::new(Full::<Bytes>::from(
                        keys,
                    )))
                }
            });
            let io = hyper_util::rt::TokioIo::new(io);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    let yaml = format!(
        "ingress: [{{service: hello_world, originRequest: {{access: {{required: true, \
         issuer: '{TEAM}', certsUrl: 'http://127.0.0.1:{port}/keys', audTag: [app]}}}}}}]"
    );
    let (tunnel, _running) = serve(&Ingress::from_yaml(&yaml, Environment::new()).unwrap()).await;
    assert_eq!(with(&tunnel, &[&issuer.token(&json!({}))]).await, (200, ORIGIN));
}
