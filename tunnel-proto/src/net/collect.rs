//! A short body, whole.

use bytes::{Bytes, BytesMut};
use h2::RecvStream;

use crate::error::{Error, ErrorKind};

/// Reads a body of at most `limit` bytes to its end. Trailers are ignored.
///
/// # Errors
///
/// A longer body is the peer's fault: the message is called `what` in the error.
pub(crate) async fn collect(
    mut body: RecvStream,
    limit: usize,
    what: &str,
) -> Result<Bytes, Error> {
    let mut whole = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        if whole.len() + data.len() > limit {
            return Err(ErrorKind::Peer(format!("{what} of more than {limit} bytes")).into());
        }
        body.flow_control().release_capacity(data.len())?;
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}
