//! Interim responses on their way from a service.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, StatusCode};

use crate::{limits, stream::response};

/// Lets a service send interim responses, such as `103 Early Hints` (RFC 8297), before its final
/// one. Found in a request's extensions.
#[derive(Clone, Default)]
pub struct Interim(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(StatusCode, HeaderMap)>,
    accepted: usize,
    sender: Option<Waker>,
}

impl Interim {
    /// Sends one. Returns whether it is on its way: `100` and `101` are not for services to send,
    /// and of one request no more than 16 are passed on.
    pub fn send(&self, status: StatusCode, headers: HeaderMap) -> bool {
        let is_interim = status.is_informational()
            && !matches!(status, StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS);
        let mut queue = self.lock();
        if !is_interim || queue.accepted >= limits::INTERIM_RESPONSES {
            return false;
        }
        queue.accepted += 1;
        queue.waiting.push_back((status, headers));
        if let Some(sender) = queue.sender.take() {
            sender.wake();
        }
        true
    }

    /// Sends what waits, and wakes the task when there is more.
    pub(crate) fn drain(&self, respond: &mut SendResponse<Bytes>, cx: &Context<'_>) {
        let mut queue = self.lock();
        while let Some((status, headers)) = queue.waiting.pop_front() {
            // An error means that the stream is over, which is noticed elsewhere.
            if let Some(head) = response::interim_to_tunnel(status, headers) {
                let _ = respond.send_informational(head);
            }
        }
        queue.sender = Some(cx.waker().clone());
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Interim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interim").finish_non_exhaustive()
    }
}
