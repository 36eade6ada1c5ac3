//! A short body, whole.

use bytes::{Bytes, BytesMut};
use h2::RecvStream;

use crate::error::{Error, ErrorKind};

/// Reads a body to its end, of at most so many bytes as the bound has that `limit` names. Trailers are ignored.
///
/// # Errors
///
/// A longer body is the peer's fault: the message is called `what` in the error.
pub(crate) async fn collect(
    mut body: RecvStream,
    (name, limit): (&'static str, usize),
    what: &str,
) -> Result<Bytes, Error> {
    let mut whole = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        if whole.len() + data.len() > limit {
            let what = format!("{what} of more than {limit} bytes");
            return Err(Error::from(ErrorKind::Peer(what)).with_limit(name));
        }
        body.flow_control().release_capacity(data.len())?;
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}
