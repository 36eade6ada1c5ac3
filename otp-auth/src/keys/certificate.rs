//! The key set document as Access writes it, with a certificate around each key.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SerialNumber, date_time_ymd};

use super::{KeyRing, KeySet, KeyState, SigningKey};
use crate::error::Error;

impl KeySet {
    /// The document `{"keys", "public_cert", "public_certs"}`: the keys as [`jwks`](Self::jwks) has them, and
    /// each as a self-signed certificate in PEM, because some readers know only those. `public_cert` is the
    /// one that signs; the order of `public_certs` has no meaning.
    ///
    /// The certificates are wrappings and say nothing: no end, no host, no constraint. They are signed anew at
    /// each call, so [`KeyRing::access_certs`] keeps the text.
    ///
    /// # Errors
    ///
    /// Fails when the generator does.
    pub fn access_certs(&self) -> Result<String, Error> {
        let mut certificates = Vec::new();
        let mut current = serde_json::Value::Null;
        for (key, state, _) in self.entries() {
            let entry = serde_json::json!({ "kid": key.kid(), "cert": certificate(key)? });
            if state == KeyState::Signing {
                current = entry.clone();
            }
            certificates.push(entry);
        }
        let mut document: serde_json::Value = serde_json::from_str(&self.jwks())
            .map_err(|e| Error::key("the key set is not JSON").with_source(e))?;
        document["public_cert"] = current;
        document["public_certs"] = certificates.into();
        Ok(document.to_string())
    }
}

impl KeyRing {
    /// The document of [`KeySet::access_certs`] at this moment, worked out once for each change of the keys.
    ///
    /// # Errors
    ///
    /// Fails when the generator does.
    pub fn access_certs(&self) -> Result<String, Error> {
        let current = self.current();
        if let Some(document) = current.access_certs.get() {
            return Ok(document.clone());
        }
        let document = current.keys.access_certs()?;
        Ok(current.access_certs.get_or_init(|| document).clone())
    }
}

fn certificate(key: &SigningKey) -> Result<String, Error> {
    let failed = |e| Error::key("its certificate could not be signed").with_source(e);
    let pkcs8 = key.to_pkcs8();
    let pair = KeyPair::try_from(pkcs8.expose()).map_err(failed)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, key.kid());
    // RFC 5280 section 4.1.2.2: 20 bytes at most, positive; the name of the key is as unique as any.
    let serial: Vec<u8> = key.kid().bytes().take(16).collect();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    // RFC 5280 section 4.1.2.5: a certificate without an end.
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    Ok(params.self_signed(&pair).map_err(failed)?.pem())
}
