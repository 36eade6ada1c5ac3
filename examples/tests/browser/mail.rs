//! A mail server that keeps what it gets.

use std::io;

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::timeout,
};

use crate::program::PATIENCE;

/// Takes every mail, over SMTP without TLS.
pub(crate) struct Sink {
    pub(crate) port: u16,
    mails: watch::Receiver<Vec<String>>,
}

impl Sink {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, mails) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(take(tcp, sender.clone()));
            }
        });
        Self { port, mails }
    }

    /// Waits for a mail to this address. The last line of its text is `@HOST #CODE`.
    pub(crate) async fn code_for(&self, address: &str) -> String {
        let mut mails = self.mails.clone();
        let find = |mails: &Vec<String>| {
            let mail = mails.iter().find(|mail| mail.contains(&format!("To: {address}")))?;
            let line = mail.lines().find(|line| line.starts_with('@'))?;
            Some(line.split_once(" #")?.1.trim_end().to_owned())
        };
        let arrived = mails.wait_for(|mails| find(mails).is_some());
        let mails = timeout(PATIENCE, arrived).await.expect("a mail in time").unwrap();
        find(&mails).unwrap()
    }
}

async fn take(tcp: TcpStream, mails: watch::Sender<Vec<String>>) -> io::Result<()> {
    let (read, mut write) = tcp.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 sink\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let reply: &[u8] = match line.split(' ').next().unwrap_or_default() {
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                let mut mail = String::new();
                while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                    mail += &line;
                    mail.push('\n');
                }
                mails.send_modify(|mails| mails.push(mail));
                b"250 taken\r\n"
            }
            "QUIT" => b"221 bye\r\n",
            _ => b"250 fine\r\n",
        };
        write.write_all(reply).await?;
    }
    Ok(())
}
