//! gRPC through a tunnel, with tonic's client and server at its ends.

#![expect(clippy::unwrap_used, reason = "a test")]

mod harness;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf as _, BufMut as _, Bytes};
use futures_util::{Stream, StreamExt as _, stream};
use harness::{Edge, credentials};
use http_body_util::BodyExt as _;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::timeout,
};
use tonic::{
    Code, Request, Response, Status, Streaming,
    body::Body,
    client,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::{MetadataMap, MetadataValue},
    server,
};
use tower::{Service, service_fn};
use tunnel_proto::{
    Error,
    connector::Connector,
    edge::{Incoming, Tunnel},
    origin::HttpOrigin,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Messages of plain text: what carries them is tonic's, and nothing needs to be generated.
#[derive(Debug, Clone, Copy, Default)]
struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, text: String, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(text.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let text = buffer.copy_to_bytes(buffer.remaining()).to_vec();
        String::from_utf8(text).map(Some).map_err(|_| Status::data_loss("not UTF-8"))
    }
}

type Texts = Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>;

/// A server with a method for each way that a call can go.
#[derive(Debug, Clone)]
struct Server {
    /// Names of calls that were given up on.
    abandoned: mpsc::UnboundedSender<&'static str>,
    /// Messages that `Endless` has handed to tonic.
    produced: Arc<AtomicUsize>,
}

/// Tells when it is dropped.
struct Guard(mpsc::UnboundedSender<&'static str>, &'static str);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

impl<B> Service<http::Request<B>> for Server
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.answer(request).await) })
    }
}

impl Server {
    async fn answer<B>(self, request: http::Request<B>) -> http::Response<Body>
    where
        B: http_body::Body + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.headers()["content-type"], "application/grpc");
        let mut grpc = server::Grpc::new(Text);
        match request.uri().path().strip_prefix("/test.Server/").unwrap_or_default() {
            "Upper" => grpc.unary(service_fn(upper), request).await,
            "Join" => grpc.client_streaming(service_fn(join), request).await,
            "Split" => grpc.server_streaming(service_fn(split), request).await,
            "Chat" => grpc.streaming(service_fn(chat), request).await,
            "First" => grpc.client_streaming(service_fn(first), request).await,
            "Fail" => grpc.unary(service_fn(fail), request).await,
            "FailLate" => grpc.server_streaming(service_fn(fail_late), request).await,
            "Sleep" => {
                let sleep = service_fn(move |_: Request<String>| {
                    let guard = Guard(self.abandoned.clone(), "Sleep");
                    async move {
                        std::future::pending::<()>().await;
                        drop(guard);
                        Ok(Response::new(String::new()))
                    }
                });
                grpc.unary(sleep, request).await
            }
            "Endless" => {
                let endless = service_fn(move |_: Request<String>| {
                    let guard = Guard(self.abandoned.clone(), "Endless");
                    let produced = Arc::clone(&self.produced);
                    let texts = stream::repeat("x".repeat(10_000)).map(move |text| {
                        let _alive = &guard;
                        produced.fetch_add(1, Ordering::Relaxed);
                        Ok(text)
                    });
                    std::future::ready(Ok(Response::new(Box::pin(texts) as Texts)))
                });
                grpc.server_streaming(endless, request).await
            }
            "Listen" => {
                let listen = service_fn(move |request: Request<Streaming<String>>| {
                    let abandoned = self.abandoned.clone();
                    async move {
                        // Tells once it hears, and again when the call is given up on.
                        let _ = abandoned.send("Listen hears");
                        let _guard = Guard(abandoned, "Listen");
                        let mut texts = request.into_inner();
                        while texts.message().await?.is_some() {}
                        Ok(Response::new(String::new()))
                    }
                });
                grpc.client_streaming(listen, request).await
            }
            _ => Status::unimplemented("no such method").into_http(),
        }
    }
}

async fn upper(request: Request<String>) -> Result<Response<String>, Status> {
    let (metadata, _, text) = request.into_parts();
    let mut response = Response::new(text.to_uppercase());
    if let Some(timeout) = metadata.get("grpc-timeout") {
        response.metadata_mut().insert("x-timeout", timeout.clone());
    }
    for text in metadata.get_all("x-text") {
        response.metadata_mut().append("x-text", text.clone());
    }
    for bytes in metadata.get_all_bin("x-bytes-bin") {
        response.metadata_mut().append_bin("x-bytes-bin", bytes.clone());
    }
    Ok(response)
}

async fn join(request: Request<Streaming<String>>) -> Result<Response<String>, Status> {
    let mut texts = request.into_inner();
    let mut joined = Vec::new();
    while let Some(text) = texts.message().await? {
        joined.push(text);
    }
    Ok(Response::new(joined.join(",")))
}

async fn split(request: Request<String>) -> Result<Response<Texts>, Status> {
    let texts: Vec<_> = request.get_ref().split(',').map(String::from).map(Ok).collect();
    Ok(Response::new(Box::pin(stream::iter(texts))))
}

async fn chat(request: Request<Streaming<String>>) -> Result<Response<Texts>, Status> {
    let texts = request.into_inner().map(|text| text.map(|text| format!("re: {text}")));
    Ok(Response::new(Box::pin(texts)))
}

async fn first(request: Request<Streaming<String>>) -> Result<Response<String>, Status> {
    let text = request.into_inner().message().await?;
    Ok(Response::new(text.unwrap_or_default()))
}

fn failure() -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert_bin("x-why-bin", MetadataValue::from_bytes(b"\x00\xff"));
    Status::with_details_and_metadata(
        Code::FailedPrecondition,
        "too early: まだ 50%",
        Bytes::from_static(b"\x01\xfe"),
        metadata,
    )
}

async fn fail(_: Request<String>) -> Result<Response<String>, Status> {
    Err(failure())
}

async fn fail_late(_: Request<String>) -> Result<Response<Texts>, Status> {
    let texts = ["1", "2"].map(String::from).map(Ok);
    Ok(Response::new(Box::pin(stream::iter(texts).chain(stream::iter([Err(failure())])))))
}

/// The visitor's side: a tower service in front of the tunnel.
#[derive(Debug, Clone)]
struct Visitor(Arc<Tunnel>);

impl Service<http::Request<Body>> for Visitor {
    type Response = http::Response<Incoming>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let tunnel = Arc::clone(&self.0);
        Box::pin(async move { tunnel.send(request).await })
    }
}

/// Where the tonic server runs.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Origin {
    /// In the connector's process, as its service.
    InProcess,
    /// A server of its own on loopback, which speaks HTTP/2 without TLS.
    Loopback,
}

const ORIGINS: [Origin; 2] = [Origin::InProcess, Origin::Loopback];

/// Runs tonic's own server.
async fn listen(server: Server) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let incoming = stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(tcp, _)| tcp);
        Some((accepted, listener))
    });
    tokio::spawn(tonic::transport::Server::builder().serve_with_incoming(server, incoming));
    url
}

/// A visitor's client, and what the server tells of itself.
struct Rig {
    tunnel: Arc<Tunnel>,
    client: client::Grpc<Visitor>,
    abandoned: mpsc::UnboundedReceiver<&'static str>,
    produced: Arc<AtomicUsize>,
    _running: (tokio::task::JoinHandle<Result<(), Error>>, oneshot::Sender<()>),
}

impl Rig {
    async fn start(origin: Origin) -> Self {
        let (abandon, abandoned) = mpsc::unbounded_channel();
        let produced = Arc::new(AtomicUsize::new(0));
        let server = Server { abandoned: abandon, produced: Arc::clone(&produced) };
        let edge = Edge::start();
        let builder = Connector::builder(credentials(), edge.dial()).connections(1);
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { drop(stopped.await) };
        let running = match origin {
            Origin::InProcess => tokio::spawn(builder.service(server).unwrap().run(shutdown)),
            Origin::Loopback => {
                let origin = HttpOrigin::builder(listen(server).await).http2(true).build().unwrap();
                tokio::spawn(builder.service(origin).unwrap().run(shutdown))
            }
        };
        let tunnel = edge.wait_for(1).await;
        let url = "https://grpc.example.com".parse().unwrap();
        let client = client::Grpc::with_origin(Visitor(Arc::clone(&tunnel)), url);
        Self { tunnel, client, abandoned, produced, _running: (running, stop) }
    }

    async fn unary(
        &mut self,
        method: &'static str,
        request: Request<String>,
    ) -> Result<Response<String>, Status> {
        self.client.ready().await.unwrap();
        within(self.client.unary(request, path(method), Text)).await
    }

    async fn server_streaming(
        &mut self,
        method: &'static str,
        text: &str,
    ) -> Result<Streaming<String>, Status> {
        self.client.ready().await.unwrap();
        let request = Request::new(text.to_owned());
        let call = self.client.server_streaming(request, path(method), Text);
        within(call).await.map(Response::into_inner)
    }

    async fn client_streaming<S>(
        &mut self,
        method: &'static str,
        texts: S,
    ) -> Result<Response<String>, Status>
    where
        S: Stream<Item = String> + Send + 'static,
    {
        self.client.ready().await.unwrap();
        within(self.client.client_streaming(Request::new(texts), path(method), Text)).await
    }
}

fn path(method: &str) -> http::uri::PathAndQuery {
    format!("/test.Server/{method}").parse().unwrap()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("an answer in time")
}

/// Sends texts as the test hands them over.
fn by_hand() -> (mpsc::UnboundedSender<String>, impl Stream<Item = String> + Send + 'static) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let texts =
        stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
    (sender, texts)
}

#[tokio::test]
async fn a_unary_call_brings_its_metadata_there_and_back() {
    for origin in ORIGINS {
        let mut rig = Rig::start(origin).await;
        let mut request = Request::new("hello".to_owned());
        request.metadata_mut().append("x-text", "one".parse().unwrap());
        request.metadata_mut().append("x-text", "two".parse().unwrap());
        let all: Vec<u8> = (0..=255).collect();
        request.metadata_mut().append_bin("x-bytes-bin", MetadataValue::from_bytes(&all));
        request.metadata_mut().append_bin("x-bytes-bin", MetadataValue::from_bytes(b""));
        request.set_timeout(Duration::from_secs(7));
        let response = rig.unary("Upper", request).await.unwrap();
        assert_eq!(response.get_ref(), "HELLO");
        let metadata = response.metadata();
        assert_eq!(metadata.get_all("x-text").iter().collect::<Vec<_>>(), ["one", "two"]);
        let bytes = metadata.get_all_bin("x-bytes-bin").iter();
        let bytes: Vec<_> = bytes.map(|bytes| bytes.to_bytes().unwrap()).collect();
        assert_eq!(bytes, [Bytes::from(all), Bytes::new()]);
        assert_eq!(metadata.get("x-timeout").unwrap(), "7000000u");
        assert_eq!(metadata.get("grpc-status").unwrap(), "0");
    }
}

#[tokio::test]
async fn a_stream_of_a_thousand_goes_up_and_another_comes_down() {
    for origin in ORIGINS {
        let mut rig = Rig::start(origin).await;
        let texts: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
        let joined = rig.client_streaming("Join", stream::iter(texts.clone())).await.unwrap();
        assert_eq!(joined.get_ref(), &texts.join(","));
        let split = rig.server_streaming("Split", joined.get_ref()).await.unwrap();
        let split: Vec<String> = within(split.map(Result::unwrap).collect()).await;
        assert_eq!(split, texts);
    }
}

#[tokio::test]
async fn a_message_of_three_mebibytes_goes_both_ways() {
    for origin in ORIGINS {
        let mut rig = Rig::start(origin).await;
        let response = rig.unary("Upper", Request::new("a".repeat(3 << 20))).await.unwrap();
        assert!(*response.get_ref() == "A".repeat(3 << 20));
    }
}

#[tokio::test]
async fn each_message_of_a_chat_is_answered_before_the_next_is_sent() {
    for origin in ORIGINS {
        let mut rig = Rig::start(origin).await;
        let (sender, texts) = by_hand();
        rig.client.ready().await.unwrap();
        // The head of the answer comes before the first message has been sent.
        let call = rig.client.streaming(Request::new(texts), path("Chat"), Text);
        let mut answers = within(call).await.unwrap().into_inner();
        for number in 0..100 {
            sender.send(number.to_string()).unwrap();
            let answer = within(answers.message()).await.unwrap();
            assert_eq!(answer.unwrap(), format!("re: {number}"));
        }
        drop(sender);
        assert_eq!(within(answers.message()).await.unwrap(), None);
        assert!(within(answers.trailers()).await.unwrap().is_some());
        drop(answers);
        assert_eq!(rig.tunnel.connections()[0].in_flight(), 0);
    }
}

fn assert_failure(status: &Status) {
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.message(), "too early: まだ 50%");
    assert_eq!(status.details(), b"\x01\xfe");
    let why = status.metadata().get_bin("x-why-bin").unwrap().to_bytes().unwrap();
    assert_eq!(&*why, b"\x00\xff");
}

#[tokio::test]
async fn an_error_at_once_is_a_head_without_a_body() {
    for origin in ORIGINS {
        let mut rig = Rig::start(origin).await;
        let status = rig.unary("Fail", Request::new(String::new())).await.unwrap_err();
        assert_failure(&status);
        let status = rig.unary("Missing", Request::new(String::new())).await.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented);

        // The same without tonic: "Trailers-Only" has its status in the head and nothing after it.
        let empty_message = Bytes::from_static(&[0; 5]);
        let request = http::Request::post("https://grpc.example.com/test.Server/Fail")
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .body(harness::full(empty_message))
            .unwrap();
        let response = within(rig.tunnel.send(request)).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "9");
        let body = within(response.into_body().collect()).await.unwrap();
        assert_eq!(body.trailers(), None);
        assert!(body.to_bytes().is_empty());
    }
}

#[tokio::test]
async fn an_error_after_messages_comes_in_the_trailers() {
    for origin in ORIGINS {
        let mut rig = Rig::start(origin).await;
        let mut texts = rig.server_streaming("FailLate", "").await.unwrap();
        for expected in ["1", "2"] {
            assert_eq!(within(texts.message()).await.unwrap().unwrap(), expected);
        }
        assert_failure(&within(texts.message()).await.unwrap_err());
    }
}

#[tokio::test]
async fn a_client_that_runs_out_of_time_stops_the_server() {
    for origin in ORIGINS {
        let mut rig = Rig::start(origin).await;
        rig.client.ready().await.unwrap();
        let call = rig.client.unary(Request::new(String::new()), path("Sleep"), Text);
        assert!(timeout(Duration::from_millis(300), call).await.is_err());
        assert_eq!(within(rig.abandoned.recv()).await.unwrap(), "Sleep");
        assert_eq!(rig.tunnel.connections()[0].in_flight(), 0);
    }
}

#[tokio::test]
async fn a_server_that_knows_the_deadline_says_so() {
    let mut rig = Rig::start(Origin::Loopback).await;
    let mut request = Request::new(String::new());
    request.set_timeout(Duration::from_millis(300));
    let status = rig.unary("Sleep", request).await.unwrap_err();
    // tonic's server says `cancelled` when `grpc-timeout` is over.
    assert_eq!((status.code(), status.message()), (Code::Cancelled, "Timeout expired"));
    assert_eq!(within(rig.abandoned.recv()).await.unwrap(), "Sleep");
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_stops_the_server() {
    for origin in ORIGINS {
        let mut rig = Rig::start(origin).await;
        let mut texts = rig.server_streaming("Endless", "").await.unwrap();
        within(texts.message()).await.unwrap().unwrap();
        drop(texts);
        assert_eq!(within(rig.abandoned.recv()).await.unwrap(), "Endless");
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_it_sends_stops_the_server() {
    for origin in ORIGINS {
        let mut rig = Rig::start(origin).await;
        let (sender, texts) = by_hand();
        sender.send("one".into()).unwrap();
        rig.client.ready().await.unwrap();
        let call = rig.client.client_streaming(Request::new(texts), path("Listen"), Text);
        tokio::select! {
            answer = call => panic!("{answer:?}"),
            heard = rig.abandoned.recv() => assert_eq!(heard, Some("Listen hears")),
        }
        assert_eq!(within(rig.abandoned.recv()).await.unwrap(), "Listen");
    }
}

#[tokio::test]
async fn a_server_that_has_heard_enough_stops_the_client() {
    for origin in ORIGINS {
        let mut rig = Rig::start(origin).await;
        let (sender, texts) = by_hand();
        sender.send("one".into()).unwrap();
        let answer = rig.client_streaming("First", texts).await.unwrap();
        assert_eq!(answer.get_ref(), "one");
        // The stream of texts has been dropped with the call.
        within(sender.closed()).await;
        assert_eq!(rig.tunnel.connections()[0].in_flight(), 0);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_server_back() {
    for origin in ORIGINS {
        let mut rig = Rig::start(origin).await;
        let mut texts = rig.server_streaming("Endless", "").await.unwrap();
        within(texts.message()).await.unwrap().unwrap();
        let mut last = 0;
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let produced = rig.produced.load(Ordering::Relaxed);
            // 30 MB: many times what all windows and buffers on the way hold.
            assert!(produced < 3_000, "the server goes on");
            if produced == last {
                break;
            }
            last = produced;
        }
        for _ in 0..last {
            assert_eq!(within(texts.message()).await.unwrap().unwrap().len(), 10_000);
        }
        assert!(rig.produced.load(Ordering::Relaxed) > last, "reading lets it go on");
    }
}
