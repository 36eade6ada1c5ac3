//! Our connector, and an edge that means harm.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use tokio::{sync::mpsc, time::timeout};
use tunnel_proto::{
    Error,
    connector::{Connector, Event, Incoming},
    limits,
};

use crate::{
    frames::*,
    harness::{AnyBody, credentials, full},
    measure::{Bystander, alone, clock},
};

const LONG: Duration = Duration::from_secs(120);

/// A connector that has just dialed us, and what happens to it.
struct Target {
    peer: Peer,
    events: mpsc::UnboundedReceiver<Event>,
    task: tokio::task::JoinHandle<Result<(), Error>>,
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Target {
    async fn dialed<F, Fut>(settings: &[(u16, u32)], handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let io = Mutex::new(Some(theirs));
        let dial = move |_| {
            let io = io.lock().unwrap().take();
            std::future::ready(io.ok_or(io::Error::from(io::ErrorKind::ConnectionRefused)))
        };
        let service = tower::service_fn(move |request| {
            let response = handler(request);
            async move { Ok::<_, Infallible>(response.await) }
        });
        let (hear, events) = mpsc::unbounded_channel();
        let connector = Connector::builder(credentials(), dial)
            .connections(1)
            .on_event(move |event| drop(hear.send(event)))
            .service(service)
            .unwrap();
        let task = tokio::spawn(connector.run(std::future::pending()));
        Self { peer: Peer::client(ours, settings).await, events, task }
    }

    async fn registered<F, Fut>(settings: &[(u16, u32)], handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Response<AnyBody>> + Send + 'static,
    {
        let mut target = Self::dialed(settings, handler).await;
        target.open_control_stream().await;
        target.peer.send(&frame(DATA, 0, 1, &recorded_answer())).await;
        match target.events.recv().await {
            Some(Event::Connected { .. }) => target,
            other => panic!("{other:?}"),
        }
    }

    async fn open_control_stream(&mut self) {
        let upgrade = ("cf-cloudflared-proxy-connection-upgrade", "control-stream");
        self.peer.send(&frame(HEADERS, END_HEADERS, 1, &get(&[upgrade]))).await;
        self.peer.seen.until(|seen| seen.data() > 0 || seen.has_ended()).await;
    }

    /// Why the connector gave this connection up.
    async fn given_up(&mut self) -> Arc<Error> {
        loop {
            let event = timeout(LONG, self.events.recv()).await.expect("it ends");
            if let Some(Event::Retrying { error, .. }) = event {
                return error;
            }
        }
    }
}

async fn hello(_: Request<Incoming>) -> Response<AnyBody> {
    Response::new(full("hello"))
}

/// Never answers; counts who asked.
fn pending(
    asked: &Arc<AtomicUsize>,
) -> impl Fn(Request<Incoming>) -> std::future::Pending<Response<AnyBody>> + Clone + Send + Sync + use<>
{
    let asked = Arc::clone(asked);
    move |_| {
        asked.fetch_add(1, Ordering::Relaxed);
        std::future::pending()
    }
}

/// A body without end; counts what is taken of it.
pub struct Endless(pub Arc<AtomicUsize>);

impl Body for Endless {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.fetch_add(16 * 1024, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![0; 16 * 1024])))))
    }
}

fn endless(
    taken: &Arc<AtomicUsize>,
) -> impl Fn(Request<Incoming>) -> std::future::Ready<Response<AnyBody>> + Clone + Send + Sync + use<>
{
    let taken = Arc::clone(taken);
    move |_| std::future::ready(Response::new(Endless(Arc::clone(&taken)).boxed()))
}

fn stream_id(index: usize) -> u32 {
    u32::try_from(2 * index + 3).unwrap()
}

#[tokio::test(start_paused = true)]
async fn floods_of_frames_that_must_be_answered_end_the_connection() {
    let _alone = alone().await;
    let mut bystander = Bystander::start().await;
    for (name, limit, bytes) in [
        ("PING flood", "PINGS_PER_SECOND", frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS flood", "SETTINGS_PER_SECOND", frame(SETTINGS, 0, 0, &[])),
        (
            "WINDOW_UPDATE flood",
            "WINDOW_UPDATES_PER_SECOND",
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        ),
        ("PRIORITY flood", "OTHER_FRAMES_PER_SECOND", frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 1])),
        ("unknown frames", "OTHER_FRAMES_PER_SECOND", frame(0xbe, 0, 0, &[])),
    ] {
        let mut target = Target::registered(&[], hello).await;
        bystander.begin();
        let attack = target.peer.flood(1_000_000, |_| bytes.clone());
        let (sent, held) = bystander.beside(name, attack).await;
        let error = target.given_up().await;
        println!("  {sent} frames sent, then: {error}");
        assert_eq!(error.limit(), Some(limit), "{name}: {error}");
        assert!(error.is_peer_fault());
        assert!(sent < 100_000, "{name}: {sent} frames");
        assert!(held < 2_000_000, "{name}: {held} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn rapid_resets_end_the_connection_at_any_pace() {
    let _alone = alone().await;
    let mut bystander = Bystander::start().await;
    for (name, paced) in [("rapid reset in bursts", false), ("rapid reset, five at a time", true)] {
        let asked = Arc::new(AtomicUsize::new(0));
        let mut target = Target::registered(&[], pending(&asked)).await;
        bystander.begin();
        let peer = &mut target.peer;
        let attack = async {
            let mut sent = 0;
            let head = get(&[]);
            while sent < 100_000 {
                let mut batch = Vec::new();
                for index in sent..sent + 5 {
                    let stream = stream_id(index);
                    batch.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &head));
                    if !paced {
                        batch.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
                    }
                }
                if !peer.send(&batch).await {
                    break;
                }
                if paced {
                    // Each is accepted, and work on it begins, before it is taken back.
                    let begun = async {
                        while asked.load(Ordering::Relaxed) < sent + 5 && !peer.seen.has_ended() {
                            tokio::task::yield_now().await;
                        }
                    };
                    timeout(LONG, begun).await.unwrap();
                    let resets: Vec<u8> = (sent..sent + 5)
                        .flat_map(|index| frame(RST_STREAM, 0, stream_id(index), &[0, 0, 0, 8]))
                        .collect();
                    if !peer.send(&resets).await {
                        break;
                    }
                }
                sent += 5;
            }
            sent
        };
        let (sent, held) = bystander.beside(name, attack).await;
        let error = target.given_up().await;
        let asked = asked.load(Ordering::Relaxed);
        println!("  {sent} pairs sent, {asked} reached the origin, then: {error}");
        assert!(asked <= 2 * limits::RESETS_PER_SECOND as usize + 5, "{asked}");
        assert!(held < 16_000_000, "{name}: {held} bytes");
        if paced {
            assert_eq!(error.limit(), Some("RESETS_PER_SECOND"), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn resets_that_an_edge_provokes_are_counted() {
    let _alone = alone().await;
    let mut bystander = Bystander::start().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let mut target = Target::registered(&[], pending(&asked)).await;
    bystander.begin();
    let head = get(&[]);
    let attack = target.peer.flood(100_000, |index| {
        let stream = stream_id(index);
        let mut pair = frame(HEADERS, END_HEADERS, stream, &head);
        // RFC 9113 section 6.9.1: a window beyond 2^31 - 1 is a stream error.
        pair.extend(frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]));
        pair
    });
    let (sent, held) = bystander.beside("resets provoked", attack).await;
    let error = target.given_up().await;
    let asked = asked.load(Ordering::Relaxed);
    println!("  {sent} streams sent, {asked} reached the origin, then: {error}");
    assert!(sent <= 10_000, "{sent}");
    assert!(held < 16_000_000, "{held} bytes");
}

#[tokio::test(start_paused = true)]
async fn header_blocks_without_end_end_the_connection() {
    let _alone = alone().await;
    let mut bystander = Bystander::start().await;
    for (name, payload) in [
        ("CONTINUATION flood, empty", vec![]),
        ("CONTINUATION flood", literal("x", &"y".repeat(90))),
    ] {
        let mut target = Target::registered(&[], hello).await;
        bystander.begin();
        target.peer.send(&frame(HEADERS, END_STREAM, 3, &get(&[]))).await;
        let attack = target.peer.flood(100_000, |_| frame(CONTINUATION, 0, 3, &payload));
        let (sent, held) = bystander.beside(name, attack).await;
        let error = target.given_up().await;
        println!("  {sent} CONTINUATION frames sent, then: {error}");
        assert!(sent < 20_000, "{sent}");
        assert!(held < 4_000_000, "{held} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_bomb_costs_no_more_than_the_longest_header_list() {
    let _alone = alone().await;
    let mut bystander = Bystander::start().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let mut target = Target::registered(&[(INITIAL_WINDOW_SIZE, 1_000)], pending(&asked)).await;
    bystander.begin();
    let mut block = get(&[]);
    let mut field = literal("x", &"y".repeat(3_000));
    field[0] = 0x40; // to be remembered
    block.extend(field);
    block.extend(vec![0xbe; 12_000]); // 36 MB in 15 kB
    let attack = target
        .peer
        .flood(100, |index| frame(HEADERS, END_HEADERS | END_STREAM, stream_id(index), &block));
    let (sent, held) = bystander.beside("header bomb, 100 streams of 36 MB", attack).await;
    println!("  {sent} sent, {} reached the origin", asked.load(Ordering::Relaxed));
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    assert!(held < 16_000_000, "{held} bytes");
}

#[tokio::test(start_paused = true)]
async fn requests_before_the_registration_are_held_in_bounds_and_not_served() {
    let _alone = alone().await;
    let mut bystander = Bystander::start().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let mut target = Target::dialed(&[], pending(&asked)).await;
    target.open_control_stream().await;
    bystander.begin();
    let head = get(&[("x-filler", &"y".repeat(16_000))]);
    let peer = &mut target.peer;
    let attack = peer.flood(5_000, |index| {
        let mut bytes = frame(HEADERS, END_STREAM, stream_id(index), &head[..8_000]);
        bytes.extend(frame(CONTINUATION, END_HEADERS, stream_id(index), &head[8_000..]));
        bytes
    });
    let (sent, held) = bystander.beside("stream flood before the registration", attack).await;
    println!("  {sent} requests of 16 kB sent, {} refused", target.peer.seen.count(RST_STREAM));
    assert_eq!(
        asked.load(Ordering::Relaxed),
        0,
        "nothing is served to an edge that has not said yes"
    );
    assert!(held < 64_000_000, "{held} bytes");
}

#[tokio::test(start_paused = true)]
async fn an_edge_that_does_not_register_is_given_up() {
    let _alone = alone().await;
    let answer = recorded_answer();
    for (name, opens, bytes) in [
        ("no control stream", false, &[][..]),
        ("silent on the control stream", true, &[]),
        ("half an answer", true, &answer[..answer.len() / 2 + 20]),
    ] {
        let start = clock();
        let mut target = Target::dialed(&[], hello).await;
        if opens {
            target.open_control_stream().await;
            target.peer.send(&frame(DATA, 0, 1, bytes)).await;
        }
        let error = target.given_up().await;
        assert_eq!(error.limit(), Some("REGISTER_TIMEOUT"), "{name}: {error}");
        println!("{name}: given up after {:?}: {error}", start.elapsed());
        assert!(start.elapsed() < limits::REGISTER_TIMEOUT + Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_edge_without_a_window_holds_back_the_origin() {
    let _alone = alone().await;
    let mut bystander = Bystander::start().await;
    let taken = Arc::new(AtomicUsize::new(0));
    // Enough for the control stream.
    let mut target = Target::registered(&[(INITIAL_WINDOW_SIZE, 1_000)], endless(&taken)).await;
    bystander.begin();
    let head = get(&[]);
    let attack = async {
        target
            .peer
            .flood(900, |index| frame(HEADERS, END_HEADERS | END_STREAM, stream_id(index), &head))
            .await;
        target.peer.seen.until(|seen| seen.heads().len() == 901).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let ((), held) = bystander.beside("zero windows, 900 endless downloads", attack).await;
    println!("  {} kB taken from the origin", taken.load(Ordering::Relaxed) / 1000);
    assert!(taken.load(Ordering::Relaxed) <= 1_000 * 32 * 1024);
    assert!(held < 40_000_000, "{held} bytes");
}

#[tokio::test(start_paused = true)]
async fn an_edge_that_never_reads_is_given_up() {
    let _alone = alone().await;
    let taken = Arc::new(AtomicUsize::new(0));
    let mut target = Target::registered(&[(4, 0x7fff_ffff)], endless(&taken)).await;
    target.peer.send(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes())).await;
    let before = crate::measure::held();
    let start = clock();
    let head = get(&[]);
    // The pipe fills up; its other end is read no more.
    target.peer.stop_reading().await;
    for index in 0..200 {
        let bytes = frame(HEADERS, END_HEADERS | END_STREAM, stream_id(index), &head);
        let _ = timeout(Duration::from_millis(1), target.peer.send(&bytes)).await;
    }
    let error = target.given_up().await;
    let held = crate::measure::held().saturating_sub(before);
    println!(
        "an edge that never reads: given up after {:?}; {} kB taken from the origin, {} kB held: {error}",
        start.elapsed(),
        taken.load(Ordering::Relaxed) / 1000,
        held / 1000
    );
    assert!(start.elapsed() <= 2 * (limits::PING_INTERVAL + limits::PING_TIMEOUT));
    assert!(taken.load(Ordering::Relaxed) <= 200 * 2 * limits::SEND_BUFFER_BYTES);
}
