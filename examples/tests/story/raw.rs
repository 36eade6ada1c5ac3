//! A visitor that writes bytes instead of speaking HTTP.

use std::{net::SocketAddr, sync::Arc};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::PATIENCE;

/// A connection over TLS.
#[derive(Debug)]
pub struct Raw(TlsStream<TcpStream>);

impl Raw {
    pub async fn connect(address: SocketAddr, host: &str, mut tls: ClientConfig) -> Self {
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tcp = TcpStream::connect(address).await.expect("it listens");
        let name = ServerName::try_from(host.to_owned()).expect("a name");
        let connector = TlsConnector::from(Arc::new(tls));
        let handshake = timeout(PATIENCE, connector.connect(name, tcp)).await;
        Self(handshake.expect("a handshake in time").expect("a handshake"))
    }

    pub async fn send(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.expect("it takes bytes");
        self.0.flush().await.expect("it takes bytes");
    }

    /// The head of an answer, with the empty line at its end. What follows stays unread.
    pub async fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let byte = timeout(PATIENCE, self.0.read_u8()).await.expect("an answer in time");
            head.push(char::from(byte.expect("a head")));
        }
        head
    }

    /// So many bytes.
    pub async fn exactly(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let read = timeout(PATIENCE, self.0.read_exact(&mut bytes)).await;
        read.expect("bytes in time").expect("bytes");
        bytes
    }

    /// Sends bytes, and gives as many that come back meanwhile.
    pub async fn echo(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut back = vec![0; bytes.len()];
        let (mut read, mut write) = tokio::io::split(&mut self.0);
        let both = async {
            let sent = async {
                write.write_all(bytes).await?;
                write.flush().await
            };
            tokio::try_join!(sent, async { read.read_exact(&mut back).await.map(drop) })
        };
        timeout(PATIENCE, both).await.expect("an echo in time").expect("an echo");
        back
    }

    /// Leaves in the middle of a request, and gives what comes back nevertheless.
    pub async fn give_up(mut self) -> String {
        let _ = self.0.shutdown().await;
        self.answer().await
    }

    /// What comes back until the other side closes, as it does after `Connection: close`.
    pub async fn answer(mut self) -> String {
        let mut answer = Vec::new();
        // An end without a farewell is an end too.
        let end = timeout(PATIENCE, self.0.read_to_end(&mut answer)).await;
        let _ = end.expect("an end in time");
        String::from_utf8_lossy(&answer).into_owned()
    }
}
