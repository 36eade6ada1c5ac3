//! An origin's response headers as one header value: `name:value` in unpadded base64, joined
//! by `;` (cloudflared, connection/header.go, `SerializeHeaders`).

use base64::{Engine as _, decoded_len_estimate, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

use crate::{
    error::{Error, ErrorKind},
    limits,
};

/// Packs headers into one value, one entry for each value of a name. No headers give an empty
/// value.
pub(crate) fn serialize(headers: &HeaderMap) -> Vec<u8> {
    let length: usize =
        headers.iter().map(|(n, v)| packed(n.as_str().len()) + packed(v.len()) + 2).sum();
    let mut list = Vec::with_capacity(length);
    for (name, value) in headers {
        if !list.is_empty() {
            list.push(b';');
        }
        pack(name.as_str().as_bytes(), &mut list);
        list.push(b':');
        pack(value.as_bytes(), &mut list);
    }
    list
}

/// Appends `data` in base64.
fn pack(data: &[u8], list: &mut Vec<u8>) {
    let start = list.len();
    list.resize(start + packed(data.len()), 0);
    // The room is exactly what it takes.
    let _ = STANDARD_NO_PAD.encode_slice(data, &mut list[start..]);
}

/// Length of so many bytes in base64 without padding.
fn packed(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
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
    // All names and values lie in one buffer, one after the other.
    let mut room = vec![0; decoded_len_estimate(list.len())];
    let mut filled = 0;
    let mut unpack = |part: &[u8]| {
        let start = filled;
        filled +=
            STANDARD_NO_PAD.decode_slice(part, &mut room[start..]).map_err(|_| not_base64())?;
        Ok::<_, Error>(start..filled)
    };
    let mut items = Vec::with_capacity(USUAL_COUNT);
    let mut rest = list;
    while !rest.is_empty() {
        let end = memchr(b';', rest).unwrap_or(rest.len());
        let item = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        if item.is_empty() {
            continue;
        }
        if items.len() == limits::HEADER_COUNT {
            return Err(peer("too many response headers").with_limit("HEADER_COUNT"));
        }
        // A second one is not base64.
        let Some(colon) = memchr(b':', item) else {
            return Err(peer("a packed header without a colon"));
        };
        items.push((unpack(&item[..colon])?, unpack(&item[colon + 1..])?));
    }
    let room = Bytes::from(room);
    let mut headers = HeaderMap::with_capacity(items.len());
    for (name, value) in items {
        let Ok(name) = HeaderName::from_bytes(&room[name]) else {
            continue;
        };
        let value = HeaderValue::from_maybe_shared(room.slice(value))
            .map_err(|_| peer("a response header with control characters"))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// Few responses have more headers than this.
const USUAL_COUNT: usize = 24;

fn not_base64() -> Error {
    peer("a packed header that is not base64")
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
            assert_eq!(sorted(&parse(&serialize(&headers)).unwrap()), expected);
        }
        assert_eq!(dropped, 1, "one recorded name has a space");
    }

    #[test]
    fn every_length_round_trips() {
        for length in 1..=9 {
            for count in 1..=4 {
                let mut headers = HeaderMap::new();
                for number in 0..count {
                    let name = format!("{number}{}", "x".repeat(length - 1));
                    let value = "v".repeat((length * 7 + number) % 11);
                    headers.insert(HeaderName::try_from(name).unwrap(), value.parse().unwrap());
                }
                assert_eq!(parse(&serialize(&headers)).unwrap(), headers);
            }
        }
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
