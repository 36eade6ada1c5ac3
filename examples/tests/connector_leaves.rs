//! What an edge tells of a connector that goes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test")]

mod story;

use story::{
    origin::Origin,
    site::{Site, WITHOUT_LOGIN},
};

#[tokio::test]
async fn an_edge_tells_a_connector_that_left_from_one_that_was_lost() {
    let origin = Origin::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let site = Site::new(WITHOUT_LOGIN, ([127, 0, 0, 1], 1).into());
    let token = site.create_tunnel().await;
    let mut edge = site.start_edge().await;

    let connector = site.start_connector(&token, &origin.url()).await;
    // One that stops while it still registers is told as lost.
    for _ in 0..4 {
        edge.next_event("connector_connected").await;
    }
    assert_eq!(connector.terminate().await.code(), Some(0));
    let left = edge.next_event("connector_left").await;
    assert!(left["tunnel"].is_string() && left["reason"].is_null(), "{left}");
    assert!(edge.events("connector_lost").is_empty(), "{:?}", edge.events("connector_lost"));

    let connector = site.start_connector(&token, &origin.url()).await;
    edge.next_event("connector_connected").await;
    connector.kill().await;
    let lost = edge.next_event("connector_lost").await;
    assert!(lost["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{lost}");
    assert_eq!(edge.terminate().await.code(), Some(0));
}
