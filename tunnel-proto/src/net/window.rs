//! Telling the peer what window its streams have.

use tokio::time::Instant;

use super::held::Held;
use crate::{limits, state::window::StreamWindow};

/// The windows of one connection.
#[derive(Debug)]
pub(crate) struct Windows {
    window: StreamWindow,
    since: Instant,
}

impl Windows {
    pub(crate) fn new() -> Self {
        Self { window: StreamWindow::new(), since: now() }
    }

    /// Call it whenever the connection has been polled. `held` is what its bodies hold. `set` is
    /// `h2`'s, which fails while the peer has not yet answered to the last change; then the next call
    /// tries again. Returns whether there is something to be sent.
    pub(crate) fn adapt(
        &mut self,
        held: &Held,
        set: impl FnOnce(u32) -> Result<(), h2::Error>,
    ) -> bool {
        let since = self.since;
        if let Some(window) =
            self.window.poll_change(held.laden(), || since.elapsed() >= limits::WINDOW_REST)
            && set(window).is_ok()
        {
            self.window.changed(window);
            self.since = now();
            return true;
        }
        false
    }
}

#[expect(clippy::disallowed_methods, reason = "a shell; tokio's clock, so tests can pause it")]
fn now() -> Instant {
    Instant::now()
}
