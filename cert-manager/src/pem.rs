use std::ops::Deref;

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{Error as PemError, PemObject, SectionKind},
};
use zeroize::Zeroizing;

use crate::error::{Error, Kind};

/// Reads all certificates, in the order in which they stand.
pub(crate) fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let mut found = Vec::new();
    for section in sections(&prepare(text)?) {
        if let (SectionKind::Certificate, der) = section? {
            found.push(CertificateDer::from(der));
        }
    }
    if found.is_empty() {
        return Err(Kind::MissingCertificate.into());
    }
    Ok(found)
}

/// Reads the one private key: PKCS #8, SEC 1 or PKCS #1.
pub(crate) fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, Error> {
    let text = prepare(text)?;
    if is_encrypted(&text) {
        return Err(Kind::EncryptedKey.into());
    }
    let mut key = None;
    for section in sections(&text) {
        let (kind, der) = section?;
        let Some(found) = PrivateKeyDer::from_pem(kind, der) else {
            continue;
        };
        if key.replace(found).is_some() {
            return Err(Kind::SeveralKeys.into());
        }
    }
    key.ok_or_else(|| Kind::MissingKey.into())
}

/// Writes one block, lines of 64 characters (RFC 7468 section 2).
pub(crate) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    // Sized at once, so that no half-written copy of a key stays behind after growing.
    let lines = body.len() / LINE_CHARACTERS + 1;
    let mut text = Zeroizing::new(String::with_capacity(body.len() + lines + 2 * label.len() + 40));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    for (index, character) in body.chars().enumerate() {
        if index > 0 && index % LINE_CHARACTERS == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str("\n-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

pub(crate) fn encode_chain(chain: &[CertificateDer<'static>]) -> String {
    chain.iter().map(|der| encode("CERTIFICATE", der).to_string()).collect()
}

/// Takes away byte order marks: editors put them in front, and `cat` then puts them in between.
fn prepare(text: &[u8]) -> Result<Prepared<'_>, Error> {
    if text.len() > MAX_PEM_BYTES {
        return Err(Kind::PemTooLarge(MAX_PEM_BYTES).into());
    }
    if !text.contains(&BYTE_ORDER_MARK[0]) {
        return Ok(Prepared::AsItIs(text));
    }
    let mut clean = Zeroizing::new(Vec::with_capacity(text.len()));
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        clean.extend_from_slice(line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line));
    }
    Ok(Prepared::Cleaned(clean))
}

/// A text without byte order marks.
enum Prepared<'a> {
    AsItIs(&'a [u8]),
    Cleaned(Zeroizing<Vec<u8>>),
}

impl Deref for Prepared<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::AsItIs(text) => text,
            Self::Cleaned(text) => text,
        }
    }
}

fn sections(text: &[u8]) -> impl Iterator<Item = Result<(SectionKind, Vec<u8>), Error>> + '_ {
    <(SectionKind, Vec<u8>)>::pem_slice_iter(text).map(|section| {
        section.map_err(|error| {
            // The parser's own text may quote a line of the input, which may be of a key.
            Error::from(Kind::Pem(match error {
                PemError::MissingSectionEnd { .. } => "a block has no end line",
                PemError::IllegalSectionStart { .. } => "the first line of a block is broken",
                PemError::Base64Decode(_) => "a block is not valid base64",
                _ => "a block cannot be read",
            }))
        })
    })
}

/// Finds PKCS #8 encryption (RFC 7468 section 11) and that of older OpenSSL (RFC 1421).
fn is_encrypted(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n' || *byte == b'\r').any(|line| {
        line.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
            || line.starts_with(b"Proc-Type: 4,ENCRYPTED")
    })
}

const LINE_CHARACTERS: usize = 64;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// Chains are some kilobytes. The bound keeps a wrong path, such as a log file, from being read in.
const MAX_PEM_BYTES: usize = 1024 * 1024;
