//! Keys that sign updates (RFC 8945).

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use hickory_proto::rr::{Name, TSigner, rdata::tsig::TsigAlgorithm};
use zeroize::Zeroizing;

use super::{error::DnsError, record::RecordName};

/// A key that signs updates: its name, algorithm and secret, all three the same as the server has them.
///
/// HMAC with SHA-256, SHA-384 or SHA-512. Redacted in every output.
#[derive(Clone)]
pub struct TsigKey {
    pub(super) signer: TSigner,
}

impl TsigKey {
    /// Reads what `tsig-keygen` writes for BIND (`key "NAME" { algorithm hmac-sha256; secret "…"; };`), or the one
    /// line `hmac-sha256:NAME:SECRET` of Knot's and other tools.
    ///
    /// # Errors
    ///
    /// Another form, an algorithm that is too weak, or a secret that is no base64 or shorter than 16 bytes.
    ///
    /// ```
    /// use cert_manager::dns::TsigKey;
    ///
    /// let line = "hmac-sha256:acme-update:MDEyMzQ1Njc4OWFiY2RlZg==";
    /// assert!(TsigKey::parse(line).is_ok());
    /// assert!(TsigKey::parse("hmac-md5:acme-update:MDEyMzQ1Njc4OWFiY2RlZg==").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Self, DnsError> {
        let text = Zeroizing::new(without_comments(text));
        if let Some(block) = text.trim().strip_prefix("key") {
            return Self::parse_block(block);
        }
        let mut parts = text.trim().splitn(3, ':');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(algorithm), Some(name), Some(secret)) => Self::new(name, algorithm, secret),
            _ => {
                Err(DnsError::Key("write it as `hmac-sha256:NAME:SECRET`, or as tsig-keygen does"))
            }
        }
    }

    /// The name, an algorithm such as `hmac-sha256`, and the secret in base64.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn new(name: &str, algorithm: &str, secret: &str) -> Result<Self, DnsError> {
        let algorithm = match algorithm.trim_end_matches('.').to_ascii_lowercase().as_str() {
            "hmac-sha256" => TsigAlgorithm::HmacSha256,
            "hmac-sha384" => TsigAlgorithm::HmacSha384,
            "hmac-sha512" => TsigAlgorithm::HmacSha512,
            _ => {
                return Err(DnsError::Key("its algorithm must be hmac-sha256, -sha384 or -sha512"));
            }
        };
        let name: RecordName = name.parse()?;
        let name =
            Name::from_ascii(name.as_str()).map_err(|_| DnsError::Key("its name is none"))?;
        let secret =
            STANDARD.decode(secret.trim()).map_err(|_| DnsError::Key("its secret is no base64"))?;
        if secret.len() < MIN_SECRET_BYTES {
            return Err(DnsError::Key("its secret is shorter than 16 bytes"));
        }
        // RFC 8945 section 10 recommends 300 seconds.
        let signer = TSigner::new(secret, algorithm, name, 300);
        Ok(Self { signer: signer.map_err(|_| DnsError::Key("it cannot sign"))? })
    }

    /// What follows `key` in BIND's form. One key, and nothing else.
    fn parse_block(block: &str) -> Result<Self, DnsError> {
        let malformed =
            || DnsError::Key("the block must be `key NAME { algorithm …; secret …; };`");
        let (name, rest) = block.split_once('{').ok_or_else(malformed)?;
        let (body, end) = rest.split_once('}').ok_or_else(malformed)?;
        if end.trim() != ";" {
            return Err(malformed());
        }
        let (mut algorithm, mut secret) = (None, None);
        for statement in body.split(';').map(str::trim).filter(|it| !it.is_empty()) {
            let (word, value) = statement.split_once(char::is_whitespace).ok_or_else(malformed)?;
            let place = match word {
                "algorithm" => &mut algorithm,
                "secret" => &mut secret,
                _ => return Err(malformed()),
            };
            if place.replace(unquoted(value)).is_some() {
                return Err(malformed());
            }
        }
        match (algorithm, secret) {
            (Some(algorithm), Some(secret)) => Self::new(unquoted(name), algorithm, secret),
            _ => Err(malformed()),
        }
    }
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TsigKey({}, ..)", self.signer.signer_name())
    }
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    let lines = lines.filter(|line| !line.trim_start().starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}

const MIN_SECRET_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";

    #[test]
    fn both_forms_give_one_key() {
        let block = format!(
            "// made by tsig-keygen\nkey \"acme-update.\" {{\n\talgorithm hmac-sha256;\n\tsecret \"{SECRET}\";\n}};\n"
        );
        for text in [block, format!("# knot\nhmac-sha256:acme-update:{SECRET}\n")] {
            let key = TsigKey::parse(&text).unwrap();
            assert_eq!(key.signer.key(), b"0123456789abcdef");
            assert_eq!(format!("{key:?}"), "TsigKey(acme-update., ..)");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_never_repeated() {
        for text in [
            String::new(),
            "key".into(),
            "key a { algorithm hmac-sha256; };".into(),
            format!("key a {{ algorithm hmac-sha256; secret \"{SECRET}\"; }}"),
            format!(
                "key a {{ algorithm hmac-sha256; secret \"{SECRET}\"; secret \"{SECRET}\"; }};"
            ),
            format!("key a {{ algorithm hmac-sha256; secret \"{SECRET}\"; }}; key b {{}};"),
            format!("key a {{ algorithm hmac-sha1; secret \"{SECRET}\"; }};"),
            format!("hmac-sha256:a b:{SECRET}"),
            "hmac-sha256:a:c2hvcnQ=".into(),
            "hmac-sha256:a:not base64".into(),
        ] {
            let error = TsigKey::parse(&text).unwrap_err().to_string();
            assert!(!error.contains(SECRET), "{error}");
        }
    }
}
