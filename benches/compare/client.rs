//! A visitor for what h2load can't do: one large body, and connections that stay open.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use cert_manager::presets;
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::systems::System;

/// A connection that has finished TLS.
type Tls = StreamOwned<ClientConnection, TcpStream>;

/// A visitor of one system.
pub(crate) struct Client<'a> {
    system: &'a System,
    config: Arc<ClientConfig>,
}

impl<'a> Client<'a> {
    pub(crate) fn new(system: &'a System) -> anyhow::Result<Self> {
        Ok(Self { system, config: config(&system.root)? })
    }

    /// Gets a body of `bytes` and returns how long it took, from the request to the last byte.
    pub(crate) fn download(&self, path: &str, bytes: u64) -> anyhow::Result<Duration> {
        let mut tls = self.connect()?;
        let started = Instant::now();
        self.ask(&mut tls, "GET", path, "")?;
        let mut reader = BufReader::with_capacity(256 * 1024, tls);
        let length = read_head(&mut reader)?;
        ensure!(length == bytes, "{length} bytes were announced");
        discard(&mut reader, length)?;
        Ok(started.elapsed())
    }

    /// Sends a body of `bytes` and waits for the answer.
    pub(crate) fn upload(&self, bytes: u64) -> anyhow::Result<Duration> {
        let mut tls = self.connect()?;
        let started = Instant::now();
        self.ask(&mut tls, "POST", "/upload", &format!("Content-Length: {bytes}\r\n"))?;
        let chunk = vec![0_u8; 64 * 1024];
        let mut left = bytes;
        while left > 0 {
            let part = usize::try_from(left.min(chunk.len() as u64))?;
            tls.write_all(&chunk[..part]).context("while sending")?;
            left -= part as u64;
        }
        let mut reader = BufReader::new(tls);
        let length = read_head(&mut reader)?;
        let mut answer = vec![0; usize::try_from(length)?];
        reader.read_exact(&mut answer)?;
        ensure!(answer == bytes.to_string().as_bytes(), "not everything arrived");
        Ok(started.elapsed())
    }

    /// Opens connections and keeps them, each after one request.
    pub(crate) fn open(&self, count: usize) -> anyhow::Result<Vec<impl Sized + use<>>> {
        let mut open = Vec::with_capacity(count);
        for _ in 0..count {
            let mut tls = self.connect()?;
            self.ask(&mut tls, "GET", "/1k", "")?;
            let mut reader = BufReader::with_capacity(2 * 1024, tls);
            let length = read_head(&mut reader)?;
            discard(&mut reader, length)?;
            open.push(reader.into_inner());
        }
        Ok(open)
    }

    fn connect(&self) -> anyhow::Result<Tls> {
        let tcp = TcpStream::connect(("127.0.0.1", self.system.port))?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        tcp.set_write_timeout(Some(PATIENCE))?;
        let tls = ClientConnection::new(Arc::clone(&self.config), self.system.host.try_into()?)?;
        Ok(StreamOwned::new(tls, tcp))
    }

    fn ask(&self, tls: &mut Tls, method: &str, path: &str, more: &str) -> anyhow::Result<()> {
        let System { port, host, .. } = self.system;
        let cookie = self.system.cookie.as_ref().map(|cookie| format!("Cookie: {cookie}\r\n"));
        let cookie = cookie.unwrap_or_default();
        write!(tls, "{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\n{cookie}{more}\r\n")?;
        Ok(())
    }
}

/// Reads a head of status 200 and returns its `Content-Length`.
fn read_head(reader: &mut BufReader<Tls>) -> anyhow::Result<u64> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if line.split(' ').nth(1) != Some("200") {
        bail!("the answer is `{}`", line.trim());
    }
    let mut length = None;
    loop {
        line.clear();
        ensure!(reader.read_line(&mut line)? > 0, "a cut head");
        let field = line.trim().to_ascii_lowercase();
        if field.is_empty() {
            return length.context("an answer without a length");
        }
        if let Some(value) = field.strip_prefix("content-length:") {
            length = Some(value.trim().parse()?);
        }
    }
}

fn discard(reader: &mut BufReader<Tls>, mut left: u64) -> anyhow::Result<()> {
    while left > 0 {
        let chunk = reader.fill_buf()?.len();
        ensure!(chunk > 0, "a cut body");
        let taken = left.min(chunk as u64);
        reader.consume(usize::try_from(taken)?);
        left -= taken;
    }
    Ok(())
}

/// TLS 1.3 with AES-128-GCM, as h2load is told to speak it.
fn config(root: &Path) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(root)? {
        roots.add(certificate?)?;
    }
    let mut provider = CryptoProvider::clone(&presets::provider());
    provider.cipher_suites.retain(|it| it.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// A body that takes longer is a failure.
const PATIENCE: Duration = Duration::from_secs(60);
