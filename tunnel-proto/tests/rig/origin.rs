//! An origin that the test plays by hand: it reads a request's head, and the rest is up to the test.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::{Problem, soon};

/// Listens on loopback, and hands over each request as soon as its head is there.
pub struct Origin {
    pub address: SocketAddr,
    exchanges: mpsc::UnboundedReceiver<Exchange>,
}

/// One request on a connection of its own.
pub struct Exchange {
    io: BufReader<TcpStream>,
    /// The request line and the headers, as they came.
    pub head: Vec<u8>,
    /// What stood behind the last chunk.
    pub trailers: String,
}

impl Origin {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, exchanges) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    // A connection without a request is of no interest.
                    if let Ok(exchange) = Exchange::accept(tcp).await {
                        let _ = sender.send(exchange);
                    }
                });
            }
        });
        Self { address, exchanges }
    }

    /// The next request.
    pub async fn next(&mut self) -> Result<Exchange, Problem> {
        soon(self.exchanges.recv()).await?.ok_or_else(|| "the origin is gone".into())
    }
}

impl Exchange {
    async fn accept(tcp: TcpStream) -> io::Result<Self> {
        tcp.set_nodelay(true)?;
        let mut io = BufReader::new(tcp);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if io.read_until(b'\n', &mut head).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Self { io, head, trailers: String::new() })
    }

    /// The values of a header, in the order they came.
    pub fn values(&self, name: &str) -> Vec<Vec<u8>> {
        let lines = self.head.split(|byte| *byte == b'\n').skip(1);
        lines
            .filter_map(|line| {
                let colon = line.iter().position(|byte| *byte == b':')?;
                line[..colon]
                    .eq_ignore_ascii_case(name.as_bytes())
                    .then(|| line[colon + 1..].trim_ascii().to_vec())
            })
            .collect()
    }

    /// The names of all headers, in lower case and sorted.
    pub fn names(&self) -> Vec<String> {
        let head = String::from_utf8_lossy(&self.head);
        let names = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let mut names: Vec<String> = names.map(|(name, _)| name.to_lowercase()).collect();
        names.sort();
        names
    }

    pub fn request_line(&self) -> String {
        String::from_utf8_lossy(&self.head).lines().next().unwrap_or_default().into()
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.io.write_all(bytes.as_ref()).await
    }

    /// A status line's end and headers, such as `200 OK\r\nETag: "x"`. The connection is for this one
    /// request.
    pub async fn head(&mut self, head: &str) -> io::Result<()> {
        self.write(format!("HTTP/1.1 {head}\r\nConnection: close\r\n\r\n")).await
    }

    pub async fn chunk(&mut self, data: impl AsRef<[u8]>) -> io::Result<()> {
        let data = data.as_ref();
        let mut chunk = format!("{:x}\r\n", data.len()).into_bytes();
        chunk.extend_from_slice(data);
        chunk.extend_from_slice(b"\r\n");
        self.write(chunk).await
    }

    /// Reads one chunk of the request; an empty one is the last, and its trailers are kept.
    pub async fn read_chunk(&mut self) -> io::Result<Vec<u8>> {
        let size = self.line().await?;
        let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
        let mut data = vec![0; size];
        self.io.read_exact(&mut data).await?;
        if size == 0 {
            loop {
                let line = self.line().await?;
                if line == "\r\n" {
                    return Ok(data);
                }
                self.trailers += &line;
            }
        }
        self.line().await?;
        Ok(data)
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.io.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line)
    }

    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.io.read(buffer).await
    }

    pub async fn read_exactly(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        let mut data = vec![0; bytes];
        self.io.read_exact(&mut data).await?;
        Ok(data)
    }

    /// Reads until nothing more comes, whether by an end or by an error.
    pub async fn closed(&mut self) {
        let mut buffer = [0; 4096];
        while matches!(self.io.read(&mut buffer).await, Ok(1..)) {}
    }

    /// Ends the origin's direction, and keeps reading.
    pub async fn end(&mut self) -> io::Result<()> {
        self.io.shutdown().await
    }
}
