//! Messages on their way into a stream, no faster than the peer takes them.

use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::SendStream;

use crate::error::{Error, ErrorKind};

/// The sending half of a control stream.
///
/// `h2` would queue without a bound whatever it is given. Here at most what one input was answered
/// with waits, and whoever reads the next input waits with it: a peer that does not read is not
/// answered any further.
#[derive(Debug)]
pub(crate) struct Outbox {
    stream: SendStream<Bytes>,
    unsent: Bytes,
}

impl Outbox {
    pub(crate) fn new(stream: SendStream<Bytes>) -> Self {
        Self { stream, unsent: Bytes::new() }
    }

    /// Sends what `next` brings until it brings nothing; all that is there leaves in one piece, if
    /// the peer has room for it.
    ///
    /// # Errors
    ///
    /// The stream is over.
    pub(crate) fn poll_send(
        &mut self,
        next: &mut impl FnMut() -> Option<Vec<u8>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        loop {
            if self.unsent.is_empty() {
                self.unsent = std::iter::from_fn(&mut *next).flatten().collect();
                if self.unsent.is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
            self.stream.reserve_capacity(self.unsent.len());
            if self.stream.capacity() == 0 {
                match ready!(self.stream.poll_capacity(cx)) {
                    Some(capacity) => drop(capacity?),
                    None => return Poll::Ready(Err(ErrorKind::Cancelled.into())),
                }
            }
            let room = self.stream.capacity().min(self.unsent.len());
            if room > 0 {
                self.stream.send_data(self.unsent.split_to(room), false)?;
            }
        }
    }

    /// Sends what the peer has room for just now.
    ///
    /// # Errors
    ///
    /// The stream is over.
    pub(crate) fn send_now(
        &mut self,
        next: &mut impl FnMut() -> Option<Vec<u8>>,
    ) -> Result<(), Error> {
        match self.poll_send(next, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(sent) => sent,
            Poll::Pending => Ok(()),
        }
    }

    /// Ends this half of the stream.
    ///
    /// # Errors
    ///
    /// The stream is over already.
    pub(crate) fn end(mut self) -> Result<(), Error> {
        Ok(self.stream.send_data(Bytes::new(), true)?)
    }
}
