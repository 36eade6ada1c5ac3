//! A body that arrives on a stream.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http_body::{Body, Frame, SizeHint};
use tokio::task::AbortHandle;

use crate::error::Error;

/// A request or response body as it comes out of a tunnel, with its trailers.
///
/// Flow control follows the reader: room for more is given to the peer only when the next frame
/// is asked for, so a slow reader holds back the far end. Dropping it before its end resets the
/// stream, and the far end stops its work.
pub struct Incoming {
    stream: Option<RecvStream>,
    /// Bytes handed out and not yet given back to the flow control.
    unreleased: usize,
    length: Option<u64>,
    /// The task that sends the other direction, ended with this body.
    upload: Option<AbortOnDrop>,
    /// Whatever else lives exactly as long as the exchange.
    _guard: Option<Box<dyn Send + Sync>>,
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
    /// A body of `length` bytes if that is known; `h2` checks it.
    pub(crate) fn new(
        stream: RecvStream,
        length: Option<u64>,
        upload: Option<AbortOnDrop>,
        guard: Option<Box<dyn Send + Sync>>,
    ) -> Self {
        Self { stream: Some(stream), unreleased: 0, length, upload, _guard: guard }
    }

    fn finish(&mut self) {
        self.stream = None;
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
        let Some(stream) = &mut this.stream else {
            return Poll::Ready(None);
        };
        if this.unreleased > 0 {
            // An error means that the stream is over; the next poll tells how.
            let _ = stream.flow_control().release_capacity(std::mem::take(&mut this.unreleased));
        }
        match ready!(stream.poll_data(cx)) {
            Some(Ok(data)) => {
                this.unreleased = data.len();
                this.length = this.length.map(|length| length.saturating_sub(data.len() as u64));
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            // A connector that answered without reading the whole request says so.
            Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) && error.is_reset() => {}
            Some(Err(error)) => {
                this.finish();
                return Poll::Ready(Some(Err(error.into())));
            }
            None => match ready!(stream.poll_trailers(cx)) {
                Ok(Some(trailers)) => {
                    this.finish();
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(None) => {}
                Err(error) => {
                    this.finish();
                    return Poll::Ready(Some(Err(error.into())));
                }
            },
        }
        this.finish();
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.stream.as_ref().is_none_or(RecvStream::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            return SizeHint::with_exact(0);
        }
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
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
