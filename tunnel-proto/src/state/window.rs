//! How much each stream of a connection may send before it is read.

use crate::limits;

/// Shares a connection's budget among the streams whose bytes lie here unread.
///
/// Few such streams get the full window each, so that one download is as fast as the path allows. With
/// many, the window of each shrinks: readers who stop reading can't make the connection hold more than
/// its budget and what was on its way. Streams that are quiet, or whose readers keep up, do not count,
/// however many are open. HTTP/2 lets a window shrink under streams that are open (RFC 9113
/// section 6.9.2). Windows grow again only once most of those streams are gone and some time has passed,
/// so that a number that goes up and down does not make a SETTINGS frame each time.
#[derive(Debug)]
pub(crate) struct StreamWindow {
    now: u32,
}

impl StreamWindow {
    pub(crate) fn new() -> Self {
        Self { now: limits::STREAM_WINDOW }
    }

    /// The window that streams shall have now, if it is another one. `laden` are those that hold
    /// something. `rested` says whether [`limits::WINDOW_REST`] has passed since the last change; it is
    /// asked only if that matters.
    pub(crate) fn poll_change(
        &mut self,
        laden: usize,
        rested: impl FnOnce() -> bool,
    ) -> Option<u32> {
        let wanted = share(laden);
        // Four times the streams must fit before windows grow.
        let grows = share(laden.saturating_mul(4)) > self.now;
        if wanted < self.now || (grows && rested()) { Some(wanted) } else { None }
    }

    /// The peer has been told.
    pub(crate) fn changed(&mut self, window: u32) {
        self.now = window;
    }
}

/// The largest power of two that fits so many times into the budget.
fn share(streams: usize) -> u32 {
    let share = limits::STREAM_WINDOWS_BYTES as usize / streams.max(1);
    let power = share.checked_ilog2().map_or(0, |bits| 1_u32 << bits.min(31));
    power.clamp(limits::STREAM_WINDOW_LEAST, limits::STREAM_WINDOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_streams_get_all_and_many_share_the_budget() {
        for (streams, expected) in [
            (0, limits::STREAM_WINDOW),
            (1, limits::STREAM_WINDOW),
            (4, limits::STREAM_WINDOW),
            (5, 512 * 1024),
            (25, 128 * 1024),
            (64, 64 * 1024),
            (1_000, limits::STREAM_WINDOW_LEAST),
            (usize::MAX, limits::STREAM_WINDOW_LEAST),
        ] {
            assert_eq!(share(streams), expected, "{streams}");
        }
    }

    #[test]
    fn windows_shrink_at_once_and_grow_late() {
        let mut window = StreamWindow::new();
        assert_eq!(window.poll_change(4, || true), None);
        assert_eq!(window.poll_change(25, || panic!("not asked")), Some(128 * 1024));
        window.changed(128 * 1024);
        for streams in [25, 24, 16, 9, 17, 32] {
            assert_eq!(window.poll_change(streams, || true), None, "{streams}");
        }
        assert_eq!(window.poll_change(3, || false), None);
        assert_eq!(window.poll_change(3, || true), Some(1024 * 1024));
    }
}
