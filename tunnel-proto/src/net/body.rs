//! A body that arrives on a stream.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;

use super::{
    held::Held,
    spill::{Guard, Spill, Spilled},
};
use crate::{
    error::{Error, ErrorKind},
    stream::hop,
    telemetry::ByteCount,
};

/// A request or response body as it comes out of a tunnel, with its trailers.
///
/// Flow control follows the reader: room for more is given to the peer only when the next frame
/// is asked for, so a slow reader holds back the far end. Dropping it before its end resets the
/// stream, and the far end stops its work.
pub struct Incoming {
    /// Nothing once its end has been told.
    source: Option<Spill>,
    /// Bytes handed out and not yet given back to the flow control.
    unreleased: usize,
    /// How much is still to come, if that was said.
    length: Option<u64>,
    count: ByteCount,
    /// The task that sends the other direction, ended with this body.
    upload: Option<AbortOnDrop>,
    /// Whatever else lives exactly as long as the exchange.
    guard: Option<Guard>,
}

/// Ends a task when the exchange it belongs to is over.
#[derive(Debug)]
pub(crate) struct AbortOnDrop(pub(crate) AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Incoming {
    /// A body of `length` bytes if that was said; more or less is an error. `held` is its connection's
    /// account.
    pub(crate) fn new(
        held: &Held,
        stream: RecvStream,
        length: Option<u64>,
        upload: Option<AbortOnDrop>,
        guard: Option<Guard>,
    ) -> Self {
        let other_way = upload.as_ref().map(|upload| upload.0.clone());
        let mut source = Spill::new(stream, held, other_way);
        let guard = source.guard(guard);
        let count = ByteCount::default();
        Self { source: Some(source), unreleased: 0, length, count, upload, guard }
    }

    /// A body without a byte.
    pub(crate) fn empty() -> Self {
        Self {
            source: None,
            unreleased: 0,
            length: None,
            count: ByteCount::default(),
            upload: None,
            guard: None,
        }
    }

    /// Lets go of its guard if the exchange is over already: all of the body is here, and nothing goes the
    /// other way. A reader who does not come for it then takes nothing of the tunnel.
    pub(crate) fn over_if_whole(mut self) -> Self {
        let is_done = |upload: &AbortOnDrop| upload.0.is_finished();
        if self.source.as_ref().is_none_or(Spill::is_whole)
            && self.upload.as_ref().is_none_or(is_done)
        {
            self.guard = None;
        }
        self
    }

    /// Counts its bytes.
    pub(crate) fn counted(self, count: ByteCount) -> Self {
        Self { count, ..self }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Result<Spilled, h2::Error>> {
        let release = std::mem::take(&mut self.unreleased);
        let Some(source) = &mut self.source else {
            return Poll::Ready(Ok(Spilled::End));
        };
        if release > 0 {
            source.release(release);
        }
        source.poll_next(cx)
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let frame = match ready!(this.poll_source(cx)) {
            Ok(Spilled::Data(data)) => {
                let left = this.length.map(|length| length.checked_sub(data.len() as u64));
                if left != Some(None) {
                    this.unreleased = data.len();
                    this.count.add(data.len());
                    this.length = left.flatten();
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(unlike_its_length("longer")))
            }
            // `h2` knows of no length that stands only in a packed header list.
            Ok(Spilled::Trailers(_) | Spilled::End) if this.length.is_some_and(|left| left > 0) => {
                Some(Err(unlike_its_length("shorter")))
            }
            Ok(Spilled::Trailers(mut trailers)) => {
                hop::strip_trailers(&mut trailers, &[]);
                Some(Ok(Frame::trailers(*trailers)))
            }
            Ok(Spilled::End) => None,
            Ok(Spilled::Abandoned(limit)) => {
                let kind = ErrorKind::Network("nobody came for the body".into());
                Some(Err(Error::from(kind).with_limit(limit)))
            }
            // Also with NO_ERROR: an answer that does not need the whole request ends with END_STREAM
            // before that (RFC 9113 section 8.1), and `h2` remembers it.
            Err(error) => Some(Err(error.into())),
        };
        if let Some(mut source) = this.source.take() {
            // It lives as long as what is left of the exchange, the other direction.
            this.guard = this.guard.take().or_else(|| source.take_guard());
        }
        this.length = None;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let is_at_end = self.source.as_ref().is_none_or(Spill::is_at_end);
        is_at_end && self.length.is_none_or(|left| left == 0)
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            return SizeHint::with_exact(0);
        }
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

fn unlike_its_length(how: &str) -> Error {
    ErrorKind::Peer(format!("a body {how} than its Content-Length says")).into()
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("is_end_stream", &self.is_end_stream())
            .field("length", &self.length)
            .field("uploads", &self.upload.is_some())
            .finish_non_exhaustive()
    }
}
