//! When an authority wishes a certificate to be renewed (RFC 9773).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use x509_parser::extensions::ParsedExtension;

use crate::certificate::{self, Certificate};

/// The name by which the authority knows a certificate: the key identifier of its issuer and its serial number (section
/// 4.1). `None` if the certificate does not name its issuer's key.
pub(crate) fn renewal_id(certificate: &Certificate) -> Option<String> {
    let leaf = certificate::parse(0, certificate.chain().first()?).ok()?;
    let key =
        leaf.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(identifier) => {
                identifier.key_identifier.as_ref()
            }
            _ => None,
        })?;
    Some(id(key.0, leaf.raw_serial()))
}

fn id(key: &[u8], serial: &[u8]) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(key), URL_SAFE_NO_PAD.encode(serial))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standards_own_example() {
        let key = [
            0x69, 0x88, 0x5b, 0x6b, 0x87, 0x46, 0x40, 0x41, 0xe1, 0xb3, 0x7b, 0x84, 0x7b, 0xa0,
            0xae, 0x2c, 0xde, 0x01, 0xc8, 0xd4,
        ];
        let serial = [0x00, 0x87, 0x65, 0x43, 0x21];
        assert_eq!(id(&key, &serial), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
    }
}
