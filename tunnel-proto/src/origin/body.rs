//! Bodies to and from an origin.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Version;
use http_body::{Body, Frame, SizeHint};

use super::{OriginError, OriginFailure};
use crate::{error::Error, net::body::Incoming};

/// The body of an origin's response.
#[derive(Debug)]
pub struct OriginBody(Kind);

#[derive(Debug)]
enum Kind {
    Stream(hyper::body::Incoming),
    /// The same over HTTP/2.
    Http2(hyper::body::Incoming),
    /// Made here; none once it has been taken.
    Whole(Option<Bytes>),
}

impl OriginBody {
    pub(crate) fn empty() -> Self {
        Self(Kind::Whole(None))
    }

    pub(crate) fn stream(body: hyper::body::Incoming, version: Version) -> Self {
        Self(if version == Version::HTTP_2 { Kind::Http2(body) } else { Kind::Stream(body) })
    }

    pub(crate) fn whole(body: impl Into<Bytes>) -> Self {
        Self(Kind::Whole(Some(body.into()).filter(|body| !body.is_empty())))
    }
}

impl Body for OriginBody {
    type Data = Bytes;
    type Error = OriginError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OriginError>>> {
        match &mut self.0 {
            Kind::Stream(body) => Pin::new(body)
                .poll_frame(cx)
                .map_err(|error| OriginError::new(OriginFailure::BrokeOff, error)),
            Kind::Http2(body) => match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                // hyper takes a reset with NO_ERROR for an end. It is one only behind END_STREAM
                // (RFC 9113 section 8.1).
                None if !body.is_end_stream() => {
                    let what = "the stream was reset before its end";
                    Poll::Ready(Some(Err(OriginError::new(OriginFailure::BrokeOff, what))))
                }
                frame => {
                    let failed = |error| OriginError::new(OriginFailure::BrokeOff, error);
                    Poll::Ready(frame.map(|frame| frame.map_err(failed)))
                }
            },
            Kind::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Stream(body) | Kind::Http2(body) => body.is_end_stream(),
            Kind::Whole(body) => body.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Stream(body) | Kind::Http2(body) => body.size_hint(),
            Kind::Whole(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
        }
    }
}

/// What is sent to an origin: the visitor's body as it comes, or one that is here already.
#[derive(Debug)]
pub(crate) enum RequestBody {
    Stream(Incoming),
    Whole(Option<Bytes>),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.get_mut() {
            Self::Stream(body) => Pin::new(body).poll_frame(cx),
            Self::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Stream(body) => body.is_end_stream(),
            Self::Whole(body) => body.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Stream(body) => body.size_hint(),
            Self::Whole(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
        }
    }
}
