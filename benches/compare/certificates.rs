//! Certificates for the peers, from one authority.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use cert_manager::{PrivateCa, Profile};

/// An authority and where its files lie.
#[derive(Debug)]
pub(crate) struct Certificates {
    ca: PrivateCa,
    directory: PathBuf,
    root: PathBuf,
}

impl Certificates {
    pub(crate) fn new(directory: &Path) -> anyhow::Result<Self> {
        let ca = PrivateCa::generate("Bench CA", SystemTime::now())?;
        let root = directory.join("peers-ca.pem");
        fs::write(&root, ca.root_pem())?;
        Ok(Self { ca, directory: directory.to_owned(), root })
    }

    /// The authority's own certificate.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Issues a certificate for `host`: paths of the chain, the key, and both in one file.
    pub(crate) fn issue(&self, file: &str, host: &str) -> anyhow::Result<(String, String, String)> {
        let certificate = self.ca.issue(&[host.parse()?], Profile::server(), SystemTime::now())?;
        let (chain, key) = (certificate.chain_pem(), certificate.key_pem());
        let both = format!("{chain}{}", key.expose());
        let path = |kind: &str| self.directory.join(format!("{file}.{kind}"));
        fs::write(path("crt"), &chain)?;
        fs::write(path("key"), key.expose())?;
        fs::write(path("pem"), both)?;
        let [chain, key, both] = ["crt", "key", "pem"].map(|kind| path(kind).display().to_string());
        Ok((chain, key, both))
    }
}
