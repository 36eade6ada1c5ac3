//! Sending a body on a stream.

use std::{
    error::Error as StdError,
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderName;
use http_body::{Body, Frame};
use tokio::task::JoinHandle;

use crate::{
    error::{Error, ErrorKind},
    stream::{hop, weight},
    telemetry::ByteCount,
};

/// Sends a body to its end, with its trailers, as fast as the peer takes it, and counts its bytes.
/// Trailers lose what they must not hold, and the names that the edge `stated`. If a `length` was said,
/// the body must have it.
///
/// The body's own chunks travel as they are; nothing is copied.
///
/// # Errors
///
/// A body that fails or is unlike its length resets the stream, so that the peer can't take a part for the
/// whole. A peer that resets the stream ends this too.
///
/// # Cancel safety
///
/// Dropping the future drops the stream's sending half, which resets it.
pub(crate) async fn send<B>(
    body: B,
    stream: &mut SendStream<Bytes>,
    count: &ByteCount,
    stated: &[HeaderName],
    mut length: Option<u64>,
) -> Result<(), Error>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let mut body = pin!(body);
    while let Some(frame) = next_frame(body.as_mut(), stream).await? {
        match frame.into_data().map_err(Frame::into_trailers) {
            Ok(data) => {
                let is_last = body.is_end_stream();
                count.add(data.len());
                if let Some(left) = &mut length {
                    match left.checked_sub(data.len() as u64) {
                        Some(rest) if rest == 0 || !is_last => *left = rest,
                        Some(_) => return Err(unlike_its_length("shorter", stream)),
                        None => return Err(unlike_its_length("longer", stream)),
                    }
                }
                send_data(data, is_last, stream).await?;
                if is_last {
                    return Ok(());
                }
            }
            Err(Ok(_)) if length.is_some_and(|left| left > 0) => {
                return Err(unlike_its_length("shorter", stream));
            }
            Err(Ok(mut trailers)) => {
                hop::strip_trailers(&mut trailers, stated);
                if let Err(error) = weight::check_request(&trailers, 0) {
                    stream.send_reset(Reason::INTERNAL_ERROR);
                    return Err(error);
                }
                return Ok(stream.send_trailers(trailers)?);
            }
            Err(Err(_)) => {}
        }
    }
    if length.is_some_and(|left| left > 0) {
        return Err(unlike_its_length("shorter", stream));
    }
    Ok(stream.send_data(Bytes::new(), true)?)
}

/// Why there is no answer: the request's own body, if that is why.
pub(crate) async fn failure(sending: Option<JoinHandle<Result<(), Error>>>, error: Error) -> Error {
    // Its stream is over, so the task is about to end, if it has not.
    match sending {
        Some(sending) => match sending.await {
            Ok(Err(failed)) if failed.is_caller_fault() => failed,
            _ => error,
        },
        None => error,
    }
}

fn unlike_its_length(how: &str, stream: &mut SendStream<Bytes>) -> Error {
    stream.send_reset(Reason::CANCEL);
    ErrorKind::Caller(format!("a body {how} than its Content-Length says")).into()
}

/// Waits for the body, but no longer than the peer wants it.
async fn next_frame<B>(
    mut body: Pin<&mut B>,
    stream: &mut SendStream<Bytes>,
) -> Result<Option<Frame<Bytes>>, Error>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    poll_fn(|cx| {
        if let Poll::Ready(reason) = stream.poll_reset(cx) {
            return Poll::Ready(Err(match reason {
                Ok(_) => ErrorKind::Cancelled.into(),
                Err(error) => error.into(),
            }));
        }
        body.as_mut().poll_frame(cx).map(|frame| match frame {
            Some(Ok(frame)) => Ok(Some(frame)),
            None => Ok(None),
            Some(Err(error)) => {
                stream.send_reset(Reason::CANCEL);
                let kind = ErrorKind::Network("a body broke off before its end".into());
                Err(Error::from(kind).with_source(error))
            }
        })
    })
    .await
}

/// Sends a short body and ends the stream.
pub(crate) async fn send_whole(body: Bytes, stream: &mut SendStream<Bytes>) -> Result<(), Error> {
    send_data(body, true, stream).await
}

async fn send_data(
    mut data: Bytes,
    is_last: bool,
    stream: &mut SendStream<Bytes>,
) -> Result<(), Error> {
    loop {
        if data.is_empty() {
            return if is_last { Ok(stream.send_data(data, true)?) } else { Ok(()) };
        }
        stream.reserve_capacity(data.len());
        let capacity = match poll_fn(|cx| stream.poll_capacity(cx)).await {
            Some(capacity) => capacity?,
            None => return Err(ErrorKind::Cancelled.into()),
        };
        let part = data.split_to(capacity.min(data.len()));
        let ends = is_last && data.is_empty();
        stream.send_data(part, ends)?;
        if ends {
            return Ok(());
        }
    }
}
