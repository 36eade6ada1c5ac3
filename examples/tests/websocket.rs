//! A WebSocket from a visitor to the origin behind the connector, through real processes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test")]

mod story;

use story::{
    mail_server::MailServer,
    site::{APP_HOST, Site, WITH_LOGIN, WITHOUT_LOGIN},
    socket::SocketOrigin,
};

const NOBODY: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

fn handshake(more: &str) -> String {
    format!(
        "GET /chat HTTP/1.1\r\nHost: {APP_HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
    )
}

#[tokio::test]
async fn bytes_of_every_length_come_back_unchanged() {
    let origin = SocketOrigin::start().await;
    let site = Site::new(WITHOUT_LOGIN, NOBODY);
    let (_edge, _connector) = site.start(&origin.url()).await;
    let mut visitor = site.raw_visitor().await;
    // The first bytes come right behind the handshake, before the origin has agreed.
    let more = "Cf-Access-Jwt-Assertion: forged\r\nCf-Access-Jump-Destination: 10.0.0.1:22\r\n";
    visitor.send(&(handshake(more) + "early")).await;
    let head = visitor.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let lower = head.to_lowercase();
    for line in ["\r\nconnection: upgrade\r\n", "\r\nupgrade: websocket\r\n"] {
        assert!(lower.contains(line), "{head}");
    }
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    assert_eq!(visitor.exactly(5).await, b"early");
    for size in [5, 70_000, 1 << 20] {
        let sent: Vec<u8> = (0..size).map(|at: u32| at.to_le_bytes()[at as usize % 4]).collect();
        assert!(visitor.echo(&sent).await == sent, "{size} bytes");
    }
    let seen = origin.heads().pop().unwrap();
    assert!(seen.starts_with("GET /chat HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("\r\nx-forwarded-proto: https\r\n"), "{seen}");
    assert!(seen.contains("\r\ncf-access-jump-destination: 10.0.0.1:22\r\n"), "{seen}");
    assert!(!seen.contains("forged") && !seen.contains("cf-cloudflared"), "{seen}");
}

#[tokio::test]
#[ignore = "needs aiosmtpd"]
async fn a_websocket_needs_a_session_and_ends_with_it() {
    let (origin, mail) = (SocketOrigin::start().await, MailServer::start().await);
    let site = Site::new(WITH_LOGIN, mail.address);
    let (mut edge, _connector) = site.start(&origin.url()).await;
    let mut stranger = site.raw_visitor().await;
    stranger.send(&handshake("")).await;
    let head = stranger.head().await;
    assert!(head.starts_with("HTTP/1.1 302 "), "{head}");
    assert!(origin.heads().is_empty(), "nothing reaches the origin");

    let alice = site.visitor();
    let page = alice.ask_for_code(&site.url(APP_HOST, "/"), "alice@example.jp").await;
    edge.next_event("code_sent").await;
    alice.enter_code(&page, &mail.newest().code()).await;
    let seen = origin.heads().pop().unwrap();
    let token =
        seen.lines().find_map(|line| line.strip_prefix("cf-access-jwt-assertion: ")).unwrap();
    // As a script on the page would open it: with the browser's cookie.
    let mut visitor = site.raw_visitor().await;
    visitor.send(&handshake(&format!("Cookie: __Host-CF_Authorization={token}\r\n"))).await;
    let head = visitor.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(visitor.echo(b"hello").await, b"hello");
    let seen = origin.heads().pop().unwrap();
    assert!(!seen.contains("CF_Authorization"), "the session's cookie is not the origin's: {seen}");

    let out = alice.get(&site.url(APP_HOST, "/cdn-cgi/access/logout")).await;
    assert_eq!(out.status, 200);
    assert_eq!(visitor.answer().await, "", "the WebSocket is closed, and nothing more came");
}
