//! Visitors who ask and take it back, over and over (CVE-2023-44487).
//!
//! Each request costs the origin its work and the tunnel a stream that is reset, which all visitors
//! share. So whoever takes back too many in a second is hung up on.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::{sync::Notify, time::Instant};

use crate::gate::reply::{Body, Reply};

/// Requests that a visitor's connection may take back in a second. A browser that leaves a page takes
/// back what it still waits for, seldom more than a few dozen.
pub const CANCELLATIONS_PER_SECOND: u32 = 100;

/// The requests of one connection that were taken back lately.
#[derive(Debug, Default)]
pub struct Cancellations {
    window: Mutex<Window>,
    exceeded: Notify,
}

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    count: u32,
}

impl Cancellations {
    /// Follows a request. HTTP/1.1 can only take back the connection.
    pub fn follow<B>(self: &Arc<Self>, request: &Request<B>) -> Asked {
        let is_followed = request.version() == Version::HTTP_2 && request.method() != Method::HEAD;
        Asked(is_followed.then(|| Arc::clone(self)))
    }

    /// Returns once there were too many.
    ///
    /// # Cancel safety
    ///
    /// Safe for one waiter, who need not wait yet when it happens.
    pub async fn exceeded(&self) {
        self.exceeded.notified().await;
    }

    fn count(&self, now: Instant) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.count(now) {
            self.exceeded.notify_one();
        }
    }
}

impl Window {
    /// Counts one more. Returns whether it is one too many.
    fn count(&mut self, now: Instant) -> bool {
        let is_over = |began: Instant| now.duration_since(began) >= Duration::from_secs(1);
        if self.began.is_none_or(is_over) {
            *self = Self { began: Some(now), count: 0 };
        }
        self.count += 1;
        self.count > CANCELLATIONS_PER_SECOND
    }
}

/// A request until all of its answer is on its way. Dropped earlier, it counts as taken back.
#[derive(Debug)]
pub struct Asked(Option<Arc<Cancellations>>);

impl Asked {
    /// Goes on with the answer's body.
    pub fn answered(self, reply: Reply) -> Reply {
        if self.0.is_none() {
            return reply;
        }
        reply.map(|body| Followed { body, asked: self }.boxed_unsync())
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(cancellations) = self.0.take() {
            cancellations.count(Instant::now());
        }
    }
}

struct Followed {
    body: Body,
    asked: Asked,
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        // An origin that breaks off is not the visitor's doing.
        if !matches!(frame, Some(Ok(_))) || self.body.is_end_stream() {
            self.asked.0 = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if self.body.is_end_stream() {
            self.asked.0 = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};

    use h2::client::{self, SendRequest};
    use hyper::body::Incoming;
    use hyper_util::server::graceful::GracefulShutdown;
    use tokio::{io::duplex, task::JoinHandle, time::timeout};

    use super::*;
    use crate::{gate::reply, listener::serve_http};

    /// A visitor's connection; the paths `/never` and `/endless` say how the answer is.
    async fn visitor() -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
        let (near, far) = duplex(64 * 1024);
        let graceful = GracefulShutdown::new();
        let answer = |request: Request<Incoming>| async move {
            match request.uri().path() {
                "/never" => pending().await,
                "/endless" => Reply::new(Endless.boxed_unsync()),
                _ => Reply::new(reply::full("done")),
            }
        };
        tokio::spawn(async move {
            serve_http(far, graceful.watcher(), answer).await;
            drop(graceful);
        });
        let (requests, connection) = client::handshake(near).await.unwrap();
        (requests, tokio::spawn(connection))
    }

    struct Endless;

    impl HttpBody for Endless {
        type Data = Bytes;
        type Error = <Body as HttpBody>::Error;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Pending
        }
    }

    /// Asks for a path so many times, and takes back what is not there as a whole. Returns whether all
    /// could be asked for.
    async fn take_back(requests: &mut SendRequest<Bytes>, path: &str, times: u32) -> bool {
        for _ in 0..times {
            let request = Request::get(format!("https://a.test{path}")).body(()).unwrap();
            let Ok(mut ready) = requests.clone().ready().await else { return false };
            let Ok((answer, _)) = ready.send_request(request, true) else { return false };
            if path == "/never" {
                // Until the server has seen the request.
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            let Ok(response) = answer.await else { return false };
            let mut body = response.into_body();
            if path == "/endless" {
                continue;
            }
            while let Some(Ok(data)) = poll_fn(|cx| body.poll_data(cx)).await {
                body.flow_control().release_capacity(data.len()).unwrap();
            }
        }
        true
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_back_too_many_requests_is_hung_up_on() {
        for path in ["/never", "/endless"] {
            let (mut requests, connection) = visitor().await;
            take_back(&mut requests, path, 3 * CANCELLATIONS_PER_SECOND).await;
            let ended = timeout(Duration::from_secs(1), connection).await;
            assert!(ended.is_ok(), "{path}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_visitor_may_leave_pages_and_load_many() {
        let (mut requests, _connection) = visitor().await;
        for _ in 0..5 {
            let few = CANCELLATIONS_PER_SECOND / 2;
            assert!(take_back(&mut requests, "/never", few).await);
            assert!(take_back(&mut requests, "/endless", few).await);
            assert!(take_back(&mut requests, "/", 5 * CANCELLATIONS_PER_SECOND).await);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
