//! The edge is killed under its connector and visitors, and started again: the page comes back by
//! itself, and nobody signs in anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test")]

mod story;

use std::time::{Duration, Instant};

use story::{
    PATIENCE,
    mail_server::MailServer,
    nginx::{Nginx, PAGE},
    origin::Origin,
    process::Program,
    site::{APP_HOST, Site, WITH_LOGIN, WITHOUT_LOGIN},
    visitor::Visitor,
};

/// What the project promises: from a ready edge to a page that opens.
const PROMISE: Duration = Duration::from_secs(5);

#[tokio::test]
#[ignore = "needs nginx and aiosmtpd"]
async fn the_page_comes_back_after_a_short_absence() {
    come_back(0).await;
}

#[tokio::test]
#[ignore = "needs nginx and aiosmtpd"]
async fn the_page_comes_back_after_a_longer_absence() {
    // Four connections, so the slowest of them has tried a few times by then.
    come_back(20).await;
}

#[tokio::test]
async fn a_stopped_edge_does_not_wait_for_its_connectors() {
    let origin = Origin::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let site = Site::new(WITHOUT_LOGIN, ([127, 0, 0, 1], 1).into());
    let (edge, mut connector) = site.start(&origin.url()).await;
    let ended = edge.terminate().await;
    assert_eq!(ended.code(), Some(0));
    assert!(!ended.stderr.contains("did not finish in time"), "{}", ended.stderr);
    connector.next_event("retrying").await;
}

/// Kills the edge, lets the connector try in vain so often, and starts the edge again.
async fn come_back(attempts: usize) {
    let (nginx, mail) = (Nginx::start().await, MailServer::start().await);
    let site = Site::new(WITH_LOGIN, mail.address);
    let (mut edge, mut connector) = site.start(&nginx.url()).await;
    let alice = site.visitor();
    let page = alice.ask_for_code(&site.url(APP_HOST, "/"), "alice@example.jp").await;
    edge.next_event("code_sent").await;
    assert_eq!(alice.enter_code(&page, &mail.newest().code()).await.text(), PAGE);
    // Somebody else is about to sign in.
    let bob = site.visitor();
    let login = bob.open(&site.url(APP_HOST, "/")).await;

    edge.kill().await;
    for _ in 0..attempts.max(1) {
        connector.next_event("retrying").await;
    }
    let down = alice.request(reqwest::Method::GET, &site.url(APP_HOST, "/")).send().await;
    assert!(down.is_err(), "nothing answers in the edge's place");

    let mut edge = Program::start("edge", site.edge_command(&["run", "--output", "json"]));
    edge.next_event("ready").await;
    let back = until_the_page_is_back(&alice, &site).await;
    eprintln!("back {back:?} after the edge was ready, {attempts} attempts in vain");
    assert!(back < PROMISE, "{back:?}");

    // The login under way goes on where it was.
    let form = login.form_with("email").fill("email", "bob@example.jp");
    let page = bob.submit_and_follow(&login, &form).await;
    edge.next_event("code_sent").await;
    assert_eq!(bob.enter_code(&page, &mail.newest().code()).await.text(), PAGE);

    // All connections come back, and all of them leave in peace.
    for _ in 0..4 {
        connector.next_event("connected").await;
    }
    assert_eq!(connector.terminate().await.code(), Some(0));
    let ended = edge.terminate().await;
    assert_eq!(ended.code(), Some(0), "{ended:?}");
}

/// Presses reload until the page is there, with the cookies of before.
async fn until_the_page_is_back(visitor: &Visitor, site: &Site) -> Duration {
    let ready = Instant::now();
    loop {
        let page = visitor.get(&site.url(APP_HOST, "/")).await;
        if page.status == 200 {
            assert_eq!(page.text(), PAGE);
            return ready.elapsed();
        }
        assert_eq!(page.status, 503, "never the login, never something else: {}", page.text());
        assert!(ready.elapsed() < PATIENCE, "{}", page.text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
