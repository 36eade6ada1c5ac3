//! A real SMTP server: aiosmtpd (Debian package python3-aiosmtpd). The interpreter is
//! `/usr/bin/python3` unless the environment variable `PYTHON3` names another.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::process::Command;

use super::process::Program;

const SCRIPT: &str = include_str!("mail_server.py");

/// A running mail server.
#[derive(Debug)]
pub struct MailServer {
    program: Program,
    /// Where it listens.
    pub address: SocketAddr,
}

/// A mail that it took.
#[derive(Debug)]
pub struct Mail(pub Value);

impl MailServer {
    pub async fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into()).await
    }

    /// Starts one where the edge looks for it.
    pub async fn start_at(address: SocketAddr) -> Self {
        let python = std::env::var("PYTHON3").unwrap_or_else(|_| "/usr/bin/python3".to_owned());
        let mut command = Command::new(python);
        command.args(["-c", SCRIPT, &address.ip().to_string(), &address.port().to_string()]);
        let program = Program::start("the mail server", command);
        let first = program.line("\"port\"").await;
        let first: Value = serde_json::from_str(&first).expect("JSON");
        let port = first["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let address = SocketAddr::new(address.ip(), port.expect("a port"));
        Self { program, address }
    }

    /// All mails so far. The edge says `code_sent` only once its mail is among them.
    pub fn mails(&self) -> Vec<Mail> {
        let lines = self.program.stdout().into_iter().skip(1);
        lines.map(|line| Mail(serde_json::from_str(&line).expect("JSON"))).collect()
    }

    /// The newest mail.
    pub fn newest(&self) -> Mail {
        self.mails().pop().expect("a mail")
    }
}

impl Mail {
    pub fn header(&self, name: &str) -> &str {
        self.0["headers"][name].as_str().unwrap_or_default()
    }

    /// The text part, with the line ends of this system.
    pub fn text(&self) -> String {
        self.0["parts"][0]["text"].as_str().unwrap_or_default().replace("\r\n", "\n")
    }

    /// The code, from the last line (`@HOST #CODE`) as browsers find it.
    pub fn code(&self) -> String {
        let text = self.text();
        let last = text.trim_end().lines().last().expect("a last line");
        last.split_once(" #").expect("a code").1.to_owned()
    }
}
