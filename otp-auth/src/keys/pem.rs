//! Private keys as text (RFC 7468), and the wrapping of PKCS#1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::secret::Secret;

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    Pkcs8,
    Pkcs1,
}

/// The first private key in a text.
pub(super) fn decode(text: &str) -> Result<(Label, Secret), Error> {
    let find = |label, name: &str| {
        let (_, rest) = text.split_once(&format!("-----BEGIN {name}-----"))?;
        let (body, _) = rest.split_once(&format!("-----END {name}-----"))?;
        Some((label, text.len() - rest.len(), body))
    };
    let blocks = [find(Label::Pkcs8, "PRIVATE KEY"), find(Label::Pkcs1, "RSA PRIVATE KEY")];
    let first = blocks.into_iter().flatten().min_by_key(|(_, at, _)| *at);
    let (label, _, body) = first.ok_or_else(|| Error::key("the text has no private key"))?;
    let body: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    let der = STANDARD.decode(&*body).map_err(|_| Error::key("its text is not base64"))?;
    Ok((label, Secret::new(der)))
}

/// RFC 5208 section 5 around RFC 8017 appendix A.1.2.
pub(super) fn pkcs8_of_pkcs1(pkcs1: &Secret) -> Secret {
    let key = tagged(OCTET_STRING, pkcs1.expose());
    let inner = Zeroizing::new([&VERSION_0[..], &RSA_ENCRYPTION, &key].concat());
    Secret::new(tagged(SEQUENCE, &inner).to_vec())
}

fn tagged(tag: u8, content: &[u8]) -> Zeroizing<Vec<u8>> {
    let length = content.len().to_be_bytes();
    let significant = length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1);
    let significant = &length[significant..];
    let mut der = Zeroizing::new(vec![tag]);
    if content.len() >= 128 {
        // A usize has at most eight bytes, so the count fits.
        der.push(0x80 | u8::try_from(significant.len()).unwrap_or(u8::MAX));
    }
    der.extend_from_slice(significant);
    der.extend_from_slice(content);
    der
}

const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;
const VERSION_0: [u8; 3] = [0x02, 0x01, 0x00];

/// `SEQUENCE { 1.2.840.113549.1.1.1, NULL }`.
const RSA_ENCRYPTION: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
