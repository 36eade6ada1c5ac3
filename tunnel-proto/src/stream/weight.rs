//! What a header list may cost before it is sent.
//!
//! A receiver of HTTP/2 answers a list that is too long with an error of that stream, but one that takes too
//! many frames with an end of the whole connection, which many visitors share. Encoding can make a list
//! longer: Huffman codes are made for plain text and have up to 30 bits for other bytes (RFC 7541
//! appendix B). So a list is weighed as it would arrive, and is not sent if it is too heavy.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    error::{Error, ErrorKind},
    limits,
};

/// Checks what travels to a connector: fields, or trailers in either direction. `target` is the weight
/// of the request's target.
///
/// # Errors
///
/// Too much is the caller's fault.
pub(crate) fn check_request(headers: &HeaderMap, target: usize) -> Result<(), Error> {
    let room = limits::REQUEST_HEADER_LIST_BYTES as usize - limits::HEADER_LIST_RESERVE_BYTES;
    if is_heavier(headers, room.saturating_sub(target)) || target > room {
        let what = "the header list is too long".into();
        return Err(Error::from(ErrorKind::Caller(what)).with_limit("REQUEST_HEADER_LIST_BYTES"));
    }
    Ok(())
}

/// Checks what travels to an edge.
///
/// # Errors
///
/// Too much is the fault of whoever answers.
pub(crate) fn check_response(headers: &HeaderMap) -> Result<(), Error> {
    let room = limits::RESPONSE_HEADER_LIST_BYTES as usize - limits::HEADER_LIST_RESERVE_BYTES;
    if is_heavier(headers, room) {
        let what = "the header list of a response is too long".into();
        return Err(Error::from(ErrorKind::Peer(what)).with_limit("RESPONSE_HEADER_LIST_BYTES"));
    }
    Ok(())
}

fn is_heavier(headers: &HeaderMap, room: usize) -> bool {
    // Most lists are far from it, whatever their bytes are.
    let most = |(name, value): (&HeaderName, &HeaderValue)| {
        32 + usize::from(HEAVIEST) * (name.as_str().len() + value.len())
    };
    headers.iter().map(most).sum::<usize>() > room && weight(headers) > room
}

/// At least the size of the list (RFC 9113 section 6.5.2), and at least its length when encoded.
fn weight(headers: &HeaderMap) -> usize {
    let field = |(name, value): (&HeaderName, &HeaderValue)| {
        32 + of(name.as_str().as_bytes()) + of(value.as_bytes())
    };
    headers.iter().map(field).sum()
}

/// What these bytes take at most.
pub(crate) fn of(bytes: &[u8]) -> usize {
    bytes.iter().map(|byte| usize::from(WEIGHTS[usize::from(*byte)])).sum()
}

/// What a byte weighs at most.
const HEAVIEST: u8 = 4;

/// Bytes that a byte's Huffman code takes at most.
const WEIGHTS: [u8; 256] = {
    let mut weights = [HEAVIEST; 256];
    let mut byte = 0_u8;
    while byte.is_ascii() {
        weights[byte as usize] = match byte {
            b'0'..=b'9'
            | b'A'..=b'Z'
            | b'a'..=b'z'
            | b' '
            | b'%'
            | b'-'
            | b'.'
            | b'/'
            | b':'
            | b'='
            | b'_'
            | b'&'
            | b'*'
            | b','
            | b';' => 1,
            b'\\' => 3,
            b'!'..=b'~' => 2,
            _ => HEAVIEST,
        };
        byte += 1;
    }
    weights
};

#[cfg(test)]
mod tests {
    use super::*;

    /// A list with one value of `length` times `byte`.
    fn list(byte: u8, length: usize) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-long", HeaderValue::from_bytes(&vec![byte; length]).unwrap());
        headers
    }

    #[test]
    fn what_encodes_badly_weighs_more() {
        let limit =
            limits::REQUEST_HEADER_LIST_BYTES as usize - 2 * limits::HEADER_LIST_RESERVE_BYTES;
        for (byte, weight) in [(b'a', 1), (b'~', 2), (b'\\', 3), (0xF9, 4)] {
            assert!(check_request(&list(byte, limit / weight), 0).is_ok(), "{byte}");
            let error = check_request(
                &list(byte, 3 * limits::HEADER_LIST_RESERVE_BYTES / 2 + limit / weight),
                0,
            )
            .unwrap_err();
            assert_eq!(error.limit(), Some("REQUEST_HEADER_LIST_BYTES"), "{byte}");
        }
        assert!(check_request(&list(b'a', limit), limits::HEADER_LIST_RESERVE_BYTES).is_err());
    }

    /// With `h2`'s own encoder: one list as heavy as allowed takes no more bytes than it weighs.
    #[tokio::test]
    async fn nothing_takes_more_than_it_weighs() {
        use tokio::io::AsyncReadExt as _;

        for byte in (0x20..=0xFF).filter(|byte| *byte != 0x7F) {
            let (near, mut far) = tokio::io::duplex(16 * 1024 * 1024);
            let headers = list(byte, 10_000);
            let weight = weight(&headers) + limits::HEADER_LIST_RESERVE_BYTES;
            let (mut requests, connection) = h2::client::handshake(near).await.unwrap();
            let mut request = http::Request::get("http://a.test/").body(()).unwrap();
            *request.headers_mut() = headers;
            let _answer = requests.send_request(request, true).unwrap();
            let connection = tokio::spawn(connection);
            let mut sent = vec![0; 16 * 1024 * 1024];
            let mut length = 0;
            while length < 10_000 * 5 / 8 {
                length += far.read(&mut sent[length..]).await.unwrap();
            }
            tokio::task::yield_now().await;
            connection.abort();
            assert!(length <= weight, "{byte:#x}: {length} bytes weigh {weight}");
        }
    }
}
