//! An origin's response headers as one header value: `name:value` in unpadded base64, joined
//! by `;` (cloudflared, connection/header.go, `SerializeHeaders`).

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    error::{Error, ErrorKind},
    limits,
};

/// Packs headers into one value, one entry for each value of a name. No headers give an empty
/// value.
pub(crate) fn serialize(headers: &HeaderMap) -> String {
    let length: usize = headers.iter().map(|(n, v)| (n.as_str().len() + v.len()) * 4 / 3 + 6).sum();
    let mut list = String::with_capacity(length);
    for (name, value) in headers {
        if !list.is_empty() {
            list.push(';');
        }
        STANDARD_NO_PAD.encode_string(name.as_str(), &mut list);
        list.push(':');
        STANDARD_NO_PAD.encode_string(value.as_bytes(), &mut list);
    }
    list
}

/// Unpacks what [`serialize`] or cloudflared wrote. Empty items are skipped.
///
/// A name that HTTP forbids is dropped: Go lets origins use some, and no visitor could read it.
///
/// # Errors
///
/// Anything that is not base64, an item without exactly one colon, a value with control
/// characters, or more headers than the limit is the peer's fault.
pub(crate) fn parse(list: &[u8]) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    let mut count = 0;
    for item in list.split(|byte| *byte == b';').filter(|item| !item.is_empty()) {
        count += 1;
        if count > limits::HEADER_COUNT {
            return Err(peer("too many response headers"));
        }
        let mut halves = item.split(|byte| *byte == b':');
        let (Some(name), Some(value), None) = (halves.next(), halves.next(), halves.next()) else {
            return Err(peer("a packed header without exactly one colon"));
        };
        let (Ok(name), Ok(value)) = (STANDARD_NO_PAD.decode(name), STANDARD_NO_PAD.decode(value))
        else {
            return Err(peer("a packed header that is not base64"));
        };
        let Ok(name) = HeaderName::from_bytes(&name) else {
            continue;
        };
        let value = HeaderValue::from_maybe_shared(bytes::Bytes::from(value))
            .map_err(|_| peer("a response header with control characters"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

fn peer(what: &str) -> Error {
    ErrorKind::Peer(what.into()).into()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn sorted(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
        let mut pairs: Vec<_> =
            headers.iter().map(|(n, v)| (n.to_string(), v.as_bytes().to_vec())).collect();
        pairs.sort();
        pairs
    }

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn recorded_lists_round_trip() {
        let vectors: Value =
            serde_json::from_str(include_str!("../../tests/vectors/header-serialization.json"))
                .unwrap();
        let mut dropped = 0;
        for vector in vectors.as_array().unwrap() {
            let headers = parse(vector["serialized"].as_str().unwrap().as_bytes()).unwrap();
            let mut expected = Vec::new();
            for pair in vector["decoded_hex"].as_array().unwrap() {
                let name = unhex(pair[0].as_str().unwrap());
                match HeaderName::from_bytes(&name) {
                    Ok(name) => expected.push((name.to_string(), unhex(pair[1].as_str().unwrap()))),
                    Err(_) => dropped += 1,
                }
            }
            expected.sort();
            assert_eq!(sorted(&headers), expected, "{}", vector["from"]);
            assert_eq!(sorted(&parse(serialize(&headers).as_bytes()).unwrap()), expected);
        }
        assert_eq!(dropped, 1, "one recorded name has a space");
    }

    #[test]
    fn odd_lists() {
        assert!(parse(b"").unwrap().is_empty());
        assert_eq!(parse(b";;WC1FbXB0eQ:;").unwrap()["x-empty"], "");
        let crlf = format!("WA:{}", STANDARD_NO_PAD.encode("a\r\nSet-Cookie: b"));
        for broken in ["WA", "WA:WA:WA", "W A:WA", "WA==:WA==", "%:%", &crlf] {
            assert!(parse(broken.as_bytes()).unwrap_err().is_peer_fault(), "{broken}");
        }
        assert!(parse("WA:WA;".repeat(limits::HEADER_COUNT + 1).as_bytes()).is_err());
    }
}
