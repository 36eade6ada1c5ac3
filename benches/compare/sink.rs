//! An origin that takes uploads: nginx alone would write them to a file.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use anyhow::{Context as _, ensure};

/// Starts it and returns its port. It ends with the program.
pub(crate) fn start() -> anyhow::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("can't listen for uploads")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || serve(connection));
        }
    });
    Ok(port)
}

/// Reads requests with a `Content-Length`, one after another, and answers with the bytes' number.
fn serve(mut connection: TcpStream) -> anyhow::Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(256 * 1024, connection.try_clone()?);
    loop {
        let mut length = 0;
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            ensure!(!lower.starts_with("transfer-encoding:"), "a body of unknown length");
            line.clear();
        }
        if line.is_empty() {
            return Ok(());
        }
        let mut left = length;
        while left > 0 {
            let chunk = reader.fill_buf()?.len();
            ensure!(chunk > 0, "a cut upload");
            let taken = left.min(chunk as u64);
            reader.consume(usize::try_from(taken)?);
            left -= taken;
        }
        let body = length.to_string();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        connection.write_all(format!("{head}{body}").as_bytes())?;
    }
}
