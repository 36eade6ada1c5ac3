//! The compact serialisation of a signed token (RFC 7515 section 7.1).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::json::parse_object;
use super::{Algorithm, TokenError};

/// A token taken apart. Nothing in it is to be believed before the signature has been verified.
pub(crate) struct CompactJws<'a> {
    pub(crate) kid: String,
    pub(crate) alg: String,
    pub(crate) signed: &'a [u8],
    pub(crate) signature: Vec<u8>,
    payload: &'a str,
}

impl<'a> CompactJws<'a> {
    /// Splits and decodes header and signature. The payload waits until the signature is verified.
    pub(crate) fn parse(compact: &'a str, expected: TokenType) -> Result<Self, TokenError> {
        if compact.len() > TOKEN_BYTES {
            return Err(TokenError::TooLarge);
        }
        let (signed, signature) = compact.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        // Five parts are an encrypted token (RFC 7516), any other number is nonsense.
        if payload.contains('.') {
            return Err(TokenError::Malformed);
        }
        let header = decode(header)?;
        let mut header = parse_object(&header).map_err(|_| TokenError::Malformed)?;
        check_header(&header, expected)?;
        let mut text = |name| match header.remove(name) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(TokenError::Malformed),
        };
        let (alg, kid) = (text("alg")?, text("kid")?);
        Ok(Self { kid, alg, signed: signed.as_bytes(), signature: decode(signature)?, payload })
    }

    /// The claims. Call only after the signature has been verified.
    pub(crate) fn into_claims(self) -> Result<Map<String, Value>, TokenError> {
        parse_object(&decode(self.payload)?).map_err(|_| TokenError::Malformed)
    }
}

/// The `typ` of a header (RFC 8725 section 3.11): what anybody can get has another than what signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenType {
    /// App and org tokens, as Access writes them.
    Session,
    /// Handed to visitors nobody knows.
    Meta,
    /// Handed to visitors nobody knows.
    Match,
}

impl TokenType {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "JWT",
            Self::Meta => "meta+jwt",
            Self::Match => "match+jwt",
        }
    }
}

/// What is signed: header and payload, encoded and joined.
pub(crate) fn signing_input(
    typ: TokenType,
    algorithm: Algorithm,
    kid: &str,
    payload: &[u8],
) -> String {
    // Written by hand so that the bytes never depend on a map's order; `kid` is hexadecimal.
    let (alg, typ) = (algorithm.as_str(), typ.as_str());
    let header = format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"{typ}"}}"#);
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
}

/// Appends the signature.
pub(crate) fn encode(mut signed: String, signature: &[u8]) -> String {
    signed.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut signed);
    signed
}

fn check_header(header: &Map<String, Value>, expected: TokenType) -> Result<(), TokenError> {
    // RFC 7515 section 4.1.11: names in `crit` must be understood, and none is.
    // RFC 7797: `b64: false` changes what is signed; refused even where `crit` is forgotten.
    if header.contains_key("crit") || header.contains_key("b64") {
        return Err(TokenError::UnsupportedHeader);
    }
    // RFC 8725 section 3.11: explicit typing. `jku`, `jwk`, `x5u` and `x5c` are never looked at.
    match header.get("typ") {
        None if expected == TokenType::Session => Ok(()),
        Some(Value::String(typ)) if typ.eq_ignore_ascii_case(expected.as_str()) => Ok(()),
        None | Some(_) => Err(TokenError::UnsupportedHeader),
    }
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    // This engine refuses padding, foreign characters and stray trailing bits.
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)
}

/// Cookies over 4 KiB are dropped by browsers; twice that leaves room for header fields.
pub(super) const TOKEN_BYTES: usize = 8 * 1024;
