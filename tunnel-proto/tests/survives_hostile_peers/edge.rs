//! Our edge, and a connector that means harm.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body::Body;
use http_body_util::{BodyExt as _, Collected, Empty, Full, StreamBody};
use tokio::time::timeout;
use tunnel_proto::{
    ConnectionId, Error,
    edge::{Acceptor, Connection, Phase, Registered, Registration, Router, Tunnel},
    limits,
};

use crate::{
    frames::*,
    harness::AnyBody,
    measure::{Bystander, alone, clock},
};

const LONG: Duration = Duration::from_secs(120);

fn acceptor() -> Acceptor<impl tunnel_proto::edge::Authenticate> {
    Acceptor::new(|_: &Registration| Ok(Registered::new(ConnectionId::from_bytes([1; 16]), "test")))
}

/// A connector whose every byte is ours, registered.
async fn registered(settings: &[(u16, u32)]) -> (Connection, Peer) {
    registered_with(settings, &recorded_registration()).await
}

async fn registered_with(settings: &[(u16, u32)], registration: &[u8]) -> (Connection, Peer) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let accepted = tokio::spawn(async move { acceptor().accept(ours).await });
    let mut peer = Peer::server(theirs);
    peer.settings(settings).await;
    peer.listen(true);
    peer.seen.until(|seen| seen.heads() == [1]).await;
    peer.send(&frame(HEADERS, END_HEADERS, 1, STATUS_200)).await;
    peer.send(&frame(DATA, 0, 1, registration)).await;
    (accepted.await.unwrap().unwrap(), peer)
}

/// The error with which the edge ends a connection that has not registered, and what got through.
async fn refused(attack: impl AsyncFnOnce(&mut Peer) -> usize) -> (Error, usize) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let accepted = tokio::spawn(async move { acceptor().accept(ours).await });
    let mut peer = Peer::server(theirs);
    peer.settings(&[]).await;
    peer.listen(true);
    peer.seen.until(|seen| seen.heads() == [1]).await;
    let sent = attack(&mut peer).await;
    let error = timeout(LONG, accepted).await.expect("it ends").unwrap().unwrap_err();
    (error, sent)
}

/// The head of an origin's answer.
fn answer() -> Vec<u8> {
    let meta = literal("cf-cloudflared-response-meta", r#"{"src":"origin"}"#);
    let headers = literal("cf-cloudflared-response-headers", "");
    [STATUS_200, &meta, &headers].concat()
}

fn get_request() -> Request<Empty<Bytes>> {
    Request::get("https://app.example.test/").body(Empty::new()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn floods_of_frames_that_must_be_answered_end_the_connection() {
    let _alone = alone().await;
    let mut bystander = Bystander::start().await;
    for (name, limit, bytes) in [
        ("PING flood", "PINGS_PER_SECOND", frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS flood", "SETTINGS_PER_SECOND", frame(SETTINGS, 0, 0, &[])),
        ("RST_STREAM flood", "RESETS_PER_SECOND", frame(RST_STREAM, 0, 1, &[0; 4])),
        (
            "WINDOW_UPDATE flood",
            "WINDOW_UPDATES_PER_SECOND",
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        ),
        ("PRIORITY flood", "OTHER_FRAMES_PER_SECOND", frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 1])),
        ("unknown frames", "OTHER_FRAMES_PER_SECOND", frame(0xbe, 0, 0, &[])),
    ] {
        bystander.begin();
        let attack = refused(async |peer| peer.flood(1_000_000, |_| bytes.clone()).await);
        let ((error, sent), held) = bystander.beside(name, attack).await;
        println!("  {sent} frames sent, then: {error}");
        // What was sent beyond the budget lay in the pipe.
        assert!(sent < 100_000, "{name}: {sent} frames");
        assert!(held < 2_000_000, "{name}: {held} bytes");
        if name != "RST_STREAM flood" {
            assert_eq!(error.limit(), Some(limit), "{name}: {error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn interim_responses_without_end_end_the_connection() {
    let _alone = alone().await;
    let mut bystander = Bystander::start().await;
    let (connection, mut peer) = registered(&[]).await;
    bystander.begin();
    let request = tokio::spawn({
        let connection = connection.clone();
        async move { connection.send(get_request()).await }
    });
    peer.seen.until(|seen| seen.heads() == [1, 3]).await;
    // `:status: 103` with a kilobyte of links.
    let mut block = vec![0x48, 3, b'1', b'0', b'3'];
    block.extend(literal("link", &"x".repeat(1_000)));
    let attack = peer.flood(1_000_000, |_| frame(HEADERS, END_HEADERS, 3, &block));
    let (sent, held) = bystander.beside("1xx flood", attack).await;
    timeout(LONG, connection.reached(Phase::Closed)).await.expect("it ends");
    println!("  {sent} interim responses sent");
    assert!(sent < 10_000, "{sent}");
    assert!(held < 16_000_000, "{held} bytes");
    assert!(request.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn header_blocks_without_end_end_the_connection() {
    let _alone = alone().await;
    let mut bystander = Bystander::start().await;
    for (name, payload) in [
        ("CONTINUATION flood, empty", vec![]),
        ("CONTINUATION flood", literal("x", &"y".repeat(900))),
    ] {
        let (connection, mut peer) = registered(&[]).await;
        bystander.begin();
        let request = tokio::spawn({
            let connection = connection.clone();
            async move { connection.send(get_request()).await }
        });
        peer.seen.until(|seen| seen.heads() == [1, 3]).await;
        peer.send(&frame(HEADERS, 0, 3, STATUS_200)).await;
        let attack = peer.flood(100_000, |_| frame(CONTINUATION, 0, 3, &payload));
        let (sent, held) = bystander.beside(name, attack).await;
        timeout(LONG, connection.reached(Phase::Closed)).await.expect("it ends");
        println!("  {sent} CONTINUATION frames sent");
        assert!(sent < 20_000, "{sent}");
        assert!(held < 4_000_000, "{held} bytes");
        assert!(request.await.unwrap().is_err());
    }
}

/// A field of 3,000 bytes that is named in one byte a time.
fn bomb(status: &[u8], copies: usize) -> Vec<u8> {
    let mut block = status.to_vec();
    let mut field = literal("x", &"y".repeat(3_000));
    field[0] = 0x40; // to be remembered
    block.extend(field);
    block.extend(vec![0xbe; copies]);
    block
}

#[tokio::test(start_paused = true)]
async fn a_header_bomb_costs_no_more_than_the_longest_header_list() {
    let _alone = alone().await;
    let mut bystander = Bystander::start().await;
    let (connection, mut peer) = registered(&[]).await;
    bystander.begin();
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let connection = connection.clone();
            tokio::spawn(async move { connection.send(get_request()).await.is_err() })
        })
        .collect();
    peer.seen.until(|seen| seen.heads().len() == 101).await;
    let block = bomb(STATUS_200, 12_000); // 36 MB in 15 kB
    let attack = async {
        for stream in peer.seen.heads().into_iter().skip(1) {
            peer.send(&frame(HEADERS, END_HEADERS, stream, &block)).await;
        }
        for request in requests {
            assert!(request.await.unwrap(), "no answer comes of it");
        }
    };
    let ((), held) = bystander.beside("header bomb, 100 streams of 36 MB", attack).await;
    assert!(held < 16_000_000, "{held} bytes");
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_opens_streams_is_cut_off() {
    let _alone = alone().await;
    let mut promise = 2_u32.to_be_bytes().to_vec();
    promise.extend(get(&[]));
    for (name, bytes) in [
        ("PUSH_PROMISE", frame(PUSH_PROMISE, END_HEADERS, 1, &promise)),
        ("HEADERS on an even stream", frame(HEADERS, END_HEADERS, 2, STATUS_200)),
        ("HEADERS on a stream nobody opened", frame(HEADERS, END_HEADERS, 99, STATUS_200)),
        ("DATA on a stream nobody opened", frame(DATA, 0, 99, b"x")),
    ] {
        let (connection, mut peer) = registered(&[]).await;
        peer.send(&bytes).await;
        timeout(LONG, connection.reached(Phase::Closed)).await.expect(name);
        println!("{name}: 1 frame, then the connection ended");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_takes_no_more_streams_gets_none() {
    let _alone = alone().await;
    let (connection, mut peer) = registered(&[(MAX_CONCURRENT_STREAMS, 3)]).await;
    let spawn = || {
        let connection = connection.clone();
        tokio::spawn(async move { connection.send(get_request()).await })
    };
    let requests: Vec<_> = (0..2).map(|_| spawn()).collect();
    peer.seen.until(|seen| seen.heads() == [1, 3, 5]).await;
    peer.settings(&[(MAX_CONCURRENT_STREAMS, 0)]).await;
    peer.seen.until(|seen| seen.count(SETTINGS) >= 3).await;
    let late = [spawn(), spawn()];
    for request in late {
        let error = request.await.unwrap().unwrap_err();
        assert!(error.is_busy(), "{error}");
        assert_eq!(error.limit(), Some("STREAM_WAIT"));
    }
    assert_eq!(peer.seen.heads(), [1, 3, 5]);
    // Those that were under way still get their answers.
    for stream in [3, 5] {
        peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &answer())).await;
    }
    for request in requests {
        assert_eq!(request.await.unwrap().unwrap().status(), 200);
    }
    println!("MAX_CONCURRENT_STREAMS shrunk to 0: 0 streams more, requests fail after 10 s");
}

#[tokio::test(start_paused = true)]
async fn a_connector_without_a_window_holds_back_uploads() {
    let _alone = alone().await;
    let mut bystander = Bystander::start().await;
    let (connection, mut peer) = registered(&[]).await;
    peer.settings(&[(INITIAL_WINDOW_SIZE, 0)]).await;
    // The edge's own, and its answers to two of ours.
    peer.seen.until(|seen| seen.count(SETTINGS) >= 3).await;
    let control = peer.seen.data();
    let body = Bytes::from(vec![0; 64 << 20]);
    bystander.begin();
    let attack = async {
        for _ in 0..200 {
            let (connection, body) = (connection.clone(), body.clone());
            tokio::spawn(async move {
                let request = Request::post("https://app.example.test/").body(Full::new(body));
                connection.send(request.unwrap()).await
            });
        }
        peer.seen.until(|seen| seen.heads().len() == 201).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    let ((), held) = bystander.beside("zero windows, 200 uploads of 64 MiB", attack).await;
    println!("  {} bytes of bodies sent", peer.seen.data() - control);
    assert_eq!(peer.seen.data(), control);
    assert!(held < 4_000_000, "{held} bytes");
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_never_reads_is_given_up() {
    let _alone = alone().await;
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let accepted = tokio::spawn(async move { acceptor().accept(ours).await });
    let mut peer = Peer::server(theirs);
    peer.settings(&[(4, 0x7fff_ffff)]).await;
    peer.send(&frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000_u32.to_be_bytes())).await;
    // Nothing is read, so what is answered here is a guess; it is right.
    tokio::task::yield_now().await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    peer.send(&frame(HEADERS, END_HEADERS, 1, STATUS_200)).await;
    peer.send(&frame(DATA, 0, 1, &recorded_registration())).await;
    let connection = accepted.await.unwrap().unwrap();
    let before = crate::measure::held();
    let body = Bytes::from(vec![0; 64 << 20]);
    let bodies = crate::measure::held() - before;
    let start = clock();
    for _ in 0..200 {
        let (connection, body) = (connection.clone(), body.clone());
        tokio::spawn(async move {
            let request = Request::post("https://app.example.test/").body(Full::new(body));
            connection.send(request.unwrap()).await
        });
    }
    connection.reached(Phase::Closed).await;
    let held = crate::measure::held() - before - bodies;
    println!(
        "a connector that never reads: given up after {:?}; held {} kB",
        start.elapsed(),
        held / 1000
    );
    assert!(start.elapsed() <= 2 * (limits::PING_INTERVAL + limits::PING_TIMEOUT));
    assert!(held < 8_000_000, "{held} bytes");
}

#[tokio::test(start_paused = true)]
async fn half_registrations_are_given_up() {
    let _alone = alone().await;
    let before = crate::measure::held();
    let registration = recorded_registration();
    let mut held = 0;
    for (name, answers, bytes) in [
        ("silent after TLS", false, &[][..]),
        ("silent on the control stream", true, &[]),
        ("half a registration", true, &registration[..registration.len() / 2]),
    ] {
        let start = clock();
        let mut peers = Vec::new();
        let mut accepted = Vec::new();
        for _ in 0..200 {
            let (ours, theirs) = tokio::io::duplex(4 * 1024);
            accepted.push(tokio::spawn(async move { acceptor().accept(ours).await }));
            let mut peer = Peer::server(theirs);
            peer.settings(&[]).await;
            peer.listen(true);
            if answers {
                peer.seen.until(|seen| seen.heads() == [1]).await;
                peer.send(&frame(HEADERS, END_HEADERS, 1, STATUS_200)).await;
                peer.send(&frame(DATA, 0, 1, bytes)).await;
            }
            peers.push(peer);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        held = held.max(crate::measure::held() - before);
        for task in accepted {
            let error = task.await.unwrap().unwrap_err();
            assert_eq!(error.limit(), Some("REGISTER_TIMEOUT"), "{name}: {error}");
        }
        assert!(start.elapsed() < limits::REGISTER_TIMEOUT + Duration::from_secs(1));
        println!("{name}: given up after {:?}", start.elapsed());
    }
    println!("half registrations: {} kB each, both ends", held / 200 / 1000);
    assert!(held / 200 < 200_000, "{held} bytes");
}

#[tokio::test(start_paused = true)]
async fn answers_that_a_connector_does_not_read_do_not_pile_up() {
    let _alone = alone().await;
    let mut bystander = Bystander::start().await;
    // Room for the registration's answer, and then no more.
    let (_connection, mut peer) = registered(&[(INITIAL_WINDOW_SIZE, 1_000)]).await;
    // A message of a kind that nobody knows, 60 kB long, to be echoed: `Message` with tag 99.
    let words = 7_500_u32;
    let mut message = vec![0; 4];
    message.extend(words.to_le_bytes());
    message.extend([0, 0, 0, 0, 1, 0, 1, 0]); // a struct of one data word and one pointer
    message.extend([5, 0, 0, 0, 0, 0, 0, 0]); // `resolve`: unknown here
    message.extend([1, 0, 0, 0]); // a list of bytes right behind
    message.extend((((words - 3) * 8) << 3 | 2).to_le_bytes());
    message.resize(8 + words as usize * 8, 1);
    bystander.begin();
    let attack = async {
        let send = peer.flood(10_000, |_| {
            message.chunks(16_000).flat_map(|part| frame(DATA, 0, 1, part)).collect()
        });
        // It is held back, so it does not come to its end.
        let _ = timeout(Duration::from_secs(2), send).await;
    };
    let ((), held) = bystander.beside("control messages to be echoed, 600 MB", attack).await;
    assert!(held < 8_000_000, "{held} bytes");
}

#[tokio::test(start_paused = true)]
async fn frames_on_a_stream_that_is_over_are_not_each_answered() {
    let _alone = alone().await;
    let mut bystander = Bystander::start().await;
    let (connection, mut peer) = registered(&[]).await;
    bystander.begin();
    let request = tokio::spawn({
        let connection = connection.clone();
        async move { connection.send(get_request()).await.map(drop) }
    });
    peer.seen.until(|seen| seen.heads() == [1, 3]).await;
    peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &answer())).await;
    request.await.unwrap().unwrap();
    // RFC 9113 section 5.1: more on a stream that is over is an error of that stream.
    let attack = peer.flood(20_000, |_| frame(DATA, 0, 3, b"more"));
    let (sent, held) = bystander.beside("DATA on a stream that is over", attack).await;
    println!("  {sent} frames sent, {} resets provoked", peer.seen.count(RST_STREAM));
    assert!(peer.seen.count(RST_STREAM) <= 2 * limits::PROVOKED_RESETS_PER_SECOND as usize);
    assert!(held < 8_000_000, "{held} bytes");
}

#[tokio::test(start_paused = true)]
async fn a_reset_without_an_error_is_an_end_only_behind_an_end() {
    let _alone = alone().await;
    for (name, flags, is_whole) in
        [("RST_STREAM NO_ERROR", 0, false), ("END_STREAM, then the same", END_STREAM, true)]
    {
        for is_first in [true, false] {
            let (connection, mut peer) = registered(&[]).await;
            // An upload that the connector does not read to its end (RFC 9113 section 8.1).
            let body = Full::new(Bytes::from(vec![0; 4 << 20]));
            let request = Request::post("https://app.example.test/").body(body).unwrap();
            let request = tokio::spawn(async move { connection.send(request).await });
            peer.seen.until(|seen| seen.heads() == [1, 3]).await;
            peer.send(&frame(HEADERS, END_HEADERS, 3, &answer())).await;
            let end = [frame(DATA, flags, 3, b"half"), frame(RST_STREAM, 0, 3, &[0; 4])].concat();
            let response = if is_first {
                peer.send(&end).await;
                request.await.unwrap().unwrap()
            } else {
                let response = request.await.unwrap().unwrap();
                peer.send(&end).await;
                response
            };
            let body = timeout(LONG, response.into_body().collect()).await.expect("it ends");
            let body = body.map(Collected::to_bytes);
            println!("{name}: {body:?}");
            assert_eq!(body.is_ok(), is_whole, "{name}, {is_first}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_is_held_to_a_length_that_stands_only_in_the_packed_list() {
    let _alone = alone().await;
    // `content-length: 5`, in the list alone.
    let packed = |status: &[u8]| {
        let meta = literal("cf-cloudflared-response-meta", r#"{"src":"origin"}"#);
        let list = "Y29udGVudC1sZW5ndGg:NQ";
        [status, &meta, &literal("cf-cloudflared-response-headers", list)].concat()
    };
    let get = |method: http::Method| {
        let request = Request::builder().method(method).uri("https://app.example.test/");
        request.body(Empty::<Bytes>::new()).unwrap()
    };
    for (status, method, parts, says) in [
        (STATUS_200, http::Method::GET, &["hello"][..], None),
        (STATUS_200, http::Method::GET, &["he", "l"][..], Some("shorter")),
        (STATUS_200, http::Method::GET, &["hello", "!"][..], Some("longer")),
        (STATUS_200, http::Method::GET, &[][..], Some("shorter")),
        (STATUS_200, http::Method::HEAD, &[][..], None),
        (STATUS_204, http::Method::GET, &[][..], None),
        (STATUS_304, http::Method::GET, &[][..], None),
    ] {
        let (connection, mut peer) = registered(&[]).await;
        let sent = tokio::spawn({
            let (connection, request) = (connection.clone(), get(method.clone()));
            async move { connection.send(request).await }
        });
        peer.seen.until(|seen| seen.heads() == [1, 3]).await;
        peer.send(&frame(HEADERS, END_HEADERS, 3, &packed(status))).await;
        for part in parts {
            peer.send(&frame(DATA, 0, 3, part.as_bytes())).await;
        }
        peer.send(&frame(DATA, END_STREAM, 3, b"")).await;
        let response = timeout(LONG, sent).await.unwrap().unwrap().unwrap();
        assert_eq!(response.headers()["content-length"], "5");
        let body = timeout(LONG, response.into_body().collect()).await.unwrap();
        let what = format!("{method} {parts:?}");
        match (body, says) {
            (Ok(body), None) => assert_eq!(body.to_bytes(), parts.concat(), "{what}"),
            (Err(error), Some(says)) => {
                assert!(error.is_peer_fault() && error.to_string().contains(says), "{error}");
            }
            (body, _) => panic!("{what}: {body:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_a_connector_says_is_a_sign_of_life() {
    let _alone = alone().await;
    // It answers no PING, as if its answers stood behind much else on a slow link.
    let (connection, mut peer) = registered(&[]).await;
    let start = clock();
    let word = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]);
    while start.elapsed() < limits::PONG_TIMEOUT / 2 {
        assert!(peer.send(&word).await, "cut off after {:?}", start.elapsed());
        tokio::time::sleep(Duration::from_secs(8)).await;
    }
    assert!(peer.seen.count(PING) > 0);
    let quiet = clock();
    timeout(LONG, connection.reached(Phase::Closed)).await.expect("it ends");
    println!("silent after {:?}, given up after {:?}", start.elapsed(), quiet.elapsed());
    assert!(quiet.elapsed() <= 2 * limits::PING_TIMEOUT);

    let (connection, mut peer) = registered(&[]).await;
    let start = clock();
    while peer.send(&word).await && start.elapsed() < 2 * limits::PONG_TIMEOUT {
        tokio::time::sleep(Duration::from_secs(8)).await;
    }
    timeout(LONG, connection.reached(Phase::Closed)).await.expect("it ends");
    println!("never an answer: given up after {:?}", start.elapsed());
    assert!(connection.loss().unwrap().contains("PONG_TIMEOUT"), "{:?}", connection.loss());
}

#[tokio::test(start_paused = true)]
async fn a_connector_that_takes_its_leave_is_answered_while_its_last_requests_run() {
    let _alone = alone().await;
    let (connection, mut peer) = registered(&[]).await;
    let request = tokio::spawn({
        let connection = connection.clone();
        async move { connection.send(get_request()).await }
    });
    peer.seen.until(|seen| seen.heads() == [1, 3]).await;
    peer.send(&frame(DATA, 0, 1, &recorded_farewell())).await;
    timeout(LONG, connection.reached(Phase::Draining)).await.expect("it takes its leave");
    // A while later the request still runs.
    tokio::time::sleep(limits::PING_INTERVAL / 2).await;
    let before = peer.seen.data();
    // `Message` of a kind that is unknown here, in one word: it is to be sent back.
    let unknown = [0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0];
    peer.send(&frame(DATA, 0, 1, &unknown)).await;
    timeout(LONG, peer.seen.until(|seen| seen.data() > before)).await.expect("it is answered");
    peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &answer())).await;
    assert_eq!(timeout(LONG, request).await.unwrap().unwrap().unwrap().status(), 200);
    timeout(LONG, connection.reached(Phase::Closed)).await.expect("it ends");
    assert_eq!(connection.loss(), None);
}

/// What another connector of the same tunnel says to register: the same connector and index would take
/// the place of the first.
fn another(first: &Connection) -> Vec<u8> {
    let id = first.registration().connector_id.to_string().replace('-', "");
    let id = u128::from_str_radix(&id, 16).unwrap().to_be_bytes();
    let mut registration = recorded_registration();
    let at = registration.windows(16).position(|bytes| bytes == id).unwrap();
    registration[at] ^= 1;
    registration
}

/// A tunnel of two connections, in the order in which they are asked.
async fn tunnel_of_two() -> (Arc<Tunnel>, Peer, Peer) {
    let (first, one) = registered(&[]).await;
    let (second, other) = registered_with(&[], &another(&first)).await;
    let router = Router::new();
    router.attach(first);
    (router.attach(second), one, other)
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_takes_a_connection_that_comes_meanwhile() {
    let _alone = alone().await;
    let (first, one) = registered(&[(MAX_CONCURRENT_STREAMS, 2)]).await;
    let registration = another(&first);
    let router = Router::new();
    let tunnel = router.attach(first);
    let send = || {
        let tunnel = Arc::clone(&tunnel);
        tokio::spawn(async move { tunnel.send(get_request()).await })
    };
    let _taken = send();
    one.seen.until(|seen| seen.heads() == [1, 3]).await;
    let start = clock();
    let waiting = send();
    tokio::time::sleep(limits::STREAM_WAIT / 2).await;
    let (second, mut other) = registered_with(&[], &registration).await;
    router.attach(second);
    timeout(LONG, other.seen.until(|seen| seen.heads() == [1, 3])).await.expect("it is used");
    other.send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &answer())).await;
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    assert!(start.elapsed() < limits::STREAM_WAIT, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_room_has_one_end_however_many_connections_come() {
    let _alone = alone().await;
    let (first, one) = registered(&[(MAX_CONCURRENT_STREAMS, 2)]).await;
    let registration = another(&first);
    let router = Router::new();
    let tunnel = router.attach(first);
    let send = || {
        let tunnel = Arc::clone(&tunnel);
        tokio::spawn(async move { tunnel.send(get_request()).await })
    };
    let _taken = send();
    one.seen.until(|seen| seen.heads() == [1, 3]).await;
    let start = clock();
    let waiting = send();
    tokio::time::sleep(limits::STREAM_WAIT / 2).await;
    // No room beside the control stream.
    let (second, _other) = registered_with(&[(MAX_CONCURRENT_STREAMS, 1)], &registration).await;
    router.attach(second);
    let error = timeout(LONG, waiting).await.unwrap().unwrap().unwrap_err();
    assert_eq!((error.is_busy(), error.limit()), (true, Some("STREAM_WAIT")));
    assert!(start.elapsed() < limits::STREAM_WAIT * 5 / 4, "{:?}", start.elapsed());
}

fn post(
    body: impl Body<Data = Bytes, Error = Infallible> + Send + Sync + 'static,
) -> Request<AnyBody> {
    let body = body.map_err(|never| match never {}).boxed();
    Request::post("https://app.example.test/").body(body).unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_a_connector_has_not_looked_at_is_asked_of_another() {
    let _alone = alone().await;
    let refused = frame(RST_STREAM, 0, 3, &[0, 0, 0, 7]);
    // The last stream that it takes is the control stream.
    let leaving = frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]);
    for no in [refused, leaving] {
        let unread = StreamBody::new(futures_util::stream::pending());
        for request in [post(Empty::new()), post(unread)] {
            let (tunnel, mut one, mut other) = tunnel_of_two().await;
            let sent = tokio::spawn(async move { tunnel.send(request).await });
            one.seen.until(|seen| seen.heads() == [1, 3]).await;
            one.send(&no).await;
            timeout(LONG, other.seen.until(|seen| seen.heads() == [1, 3])).await.unwrap();
            other.send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &answer())).await;
            assert_eq!(sent.await.unwrap().unwrap().status(), 200);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_too_much_for_a_connector_is_not_tried_on_the_next() {
    let _alone = alone().await;
    // GOAWAY with ENHANCE_YOUR_CALM; the last stream that it took is the control stream.
    let calm = frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 11]);
    for method in [http::Method::GET, http::Method::POST] {
        let (tunnel, mut one, other) = tunnel_of_two().await;
        let request = Request::builder().method(method).uri("https://app.example.test/");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let sent = tokio::spawn({
            let tunnel = Arc::clone(&tunnel);
            async move { tunnel.send(request).await }
        });
        one.seen.until(|seen| seen.heads() == [1, 3]).await;
        one.send(&calm).await;
        let error = timeout(LONG, sent).await.unwrap().unwrap().unwrap_err();
        assert!(error.is_retryable() && error.to_string().contains("too much"), "{error}");
        assert_eq!(other.seen.heads(), [1]);
        // Whoever comes afterwards is served by the other.
        let next = tokio::spawn(async move { tunnel.send(get_request()).await });
        timeout(LONG, other.seen.until(|seen| seen.heads() == [1, 3])).await.unwrap();
        next.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_connector_may_have_looked_at_is_asked_once() {
    let _alone = alone().await;
    let reset = |code| frame(RST_STREAM, 0, 3, &[0, 0, 0, code]);
    for (request, no) in [
        // Nobody has the first bytes of its body any more.
        (post(Full::new(Bytes::from("order"))), reset(7)),
        // CANCEL, INTERNAL_ERROR.
        (post(Empty::new()), reset(8)),
        (post(Empty::new()), reset(2)),
    ] {
        let (tunnel, mut one, other) = tunnel_of_two().await;
        let before = one.seen.data();
        let has_body = !request.body().is_end_stream();
        let sent = tokio::spawn(async move { tunnel.send(request).await });
        one.seen.until(|seen| seen.heads() == [1, 3] && (!has_body || seen.data() > before)).await;
        one.send(&no).await;
        timeout(LONG, sent).await.unwrap().unwrap().unwrap_err();
        assert_eq!(other.seen.heads(), [1]);
    }
}
