//! A mailer for people without a mail server.

use std::fmt;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use super::{Mail, MailError, Mailer};

/// Writes one short line a mail instead of sending it: `code for alice@example.jp: 482 913 (valid 10 min)`.
///
/// # Security
///
/// Whoever reads the output can sign in as anyone. For trying things out on one's own machine.
///
/// # Examples
///
/// ```
/// use otp_auth::mail::TerminalMailer;
///
/// let mailer = TerminalMailer::stdout();
/// let to_memory = TerminalMailer::to_writer(Vec::new());
/// ```
pub struct TerminalMailer {
    output: Mutex<Box<dyn Write + Send>>,
}

impl TerminalMailer {
    /// Writes to the standard output.
    pub fn stdout() -> Self {
        Self::to_writer(std::io::stdout())
    }

    /// Writes to a file, pipe or buffer.
    pub fn to_writer(output: impl Write + Send + 'static) -> Self {
        Self { output: Mutex::new(Box::new(output)) }
    }
}

impl fmt::Debug for TerminalMailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TerminalMailer(..)")
    }
}

#[async_trait]
impl Mailer for TerminalMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let (left, right) = mail.code().expose().split_at(3);
        let minutes = (mail.valid_for().as_secs() / 60).max(1);
        let line = format!("code for {}: {left} {right} (valid {minutes} min)\n", mail.to());
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let written = output.write_all(line.as_bytes()).and_then(|()| output.flush());
        written.map_err(|error| MailError::Output(error.into()))
    }
}
