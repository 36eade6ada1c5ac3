//! A mailer that hands mails to an SMTP relay.

mod url;

use std::error::Error as StdError;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{AsyncSmtpTransportBuilder, Error as SmtpError, PoolConfig};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use tokio::sync::Semaphore;

use super::{Mail, MailCause, MailError, Mailer};
use crate::address::EmailAddress;
use crate::secret::Secret;

/// How the connection to the relay is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Security {
    /// TLS from the first byte, usual port 465 (RFC 8314).
    Implicit,
    /// Plain text, then TLS, required; usual port 587 (RFC 3207).
    StartTls,
    /// No protection; usual port 25. Only for a relay on this machine, unless
    /// [`danger_plain_text_over_network`](SmtpMailerBuilder::danger_plain_text_over_network) is called.
    Plain,
}

/// Hands mails to one SMTP relay. Runs in a tokio runtime.
///
/// Connections are used again: at most four at a time, each kept for a minute after its last mail
/// ([`connections`](SmtpMailerBuilder::connections), [`idle_timeout`](SmtpMailerBuilder::idle_timeout)). A
/// connection that an attempt was broken off on is not used again.
///
/// The relay queues; [`Outbox`](super) retries. Certificates are checked against the system's
/// roots, by rustls.
///
/// ```
/// use otp_auth::mail::SmtpMailer;
///
/// let mailer = SmtpMailer::from_url("smtp://127.0.0.1:2525?from=login@example.jp")?;
/// # Ok::<(), otp_auth::mail::MailError>(())
/// ```
#[derive(Debug)]
pub struct SmtpMailer {
    builder: AsyncSmtpTransportBuilder,
    /// Made at the first mail, since it needs the runtime, and anew after an attempt was broken off.
    transport: Mutex<Option<Transport>>,
    /// One permit a connection.
    connections: Semaphore,
    from: Mailbox,
    timeout: Duration,
}

type Transport = AsyncSmtpTransport<Tokio1Executor>;

impl SmtpMailer {
    /// Starts with a relay's host name or IP address and the sender. Default: STARTTLS on port 587.
    pub fn builder(host: impl Into<String>, from: EmailAddress) -> SmtpMailerBuilder {
        SmtpMailerBuilder {
            host: host.into(),
            from,
            from_name: None,
            security: Security::StartTls,
            port: None,
            credentials: None,
            timeout: Duration::from_secs(30),
            connections: 4,
            idle_timeout: Duration::from_secs(60),
            root: None,
            hello: None,
            is_plain_text_allowed: false,
        }
    }

    /// Builds from one line: `SCHEME://[USER:PASSWORD@]HOST[:PORT]?from=ADDRESS[&name=NAME][&tls=TLS]`.
    ///
    /// `smtps` means TLS from the first byte. `smtp` means STARTTLS, or no protection if the host is a
    /// loopback address; `tls=implicit`, `tls=starttls` and `tls=none` say it outright. User, password,
    /// address and name may be percent-encoded. Parameters that would be ignored are refused.
    ///
    /// # Errors
    ///
    /// [`MailError::Setting`] names the part that cannot work; the password is never repeated.
    pub fn from_url(url: &str) -> Result<Self, MailError> {
        url::parse(url)?.build()
    }

    fn compose(&self, mail: &Mail) -> Result<Message, MailError> {
        let to = mail.to().as_str().parse::<Address>();
        let to = to.map_err(|_| MailError::Compose(MailCause::new("not a mailbox")))?;
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(mail.subject())
            .message_id(Some(format!("<{}>", mail.id())))
            .header(AutoSubmitted)
            .multipart(MultiPart::alternative_plain_html(
                mail.text().to_owned(),
                mail.html().to_owned(),
            ))
            .map_err(|_| MailError::Compose(MailCause::new("a header or part is missing")))
    }
}

impl SmtpMailer {
    async fn send_pooled(&self, message: Message) -> Result<(), MailError> {
        let _permit = self.connections.acquire().await;
        let mut attempt = Attempt { mailer: self, is_over: false };
        let sent = self.transport().send(message).await;
        attempt.is_over = true;
        // lettre puts the connection back in a task of its own: let that run before the next mail asks.
        tokio::task::yield_now().await;
        sent.map(|_| ()).map_err(|error| classify(&error))
    }

    fn transport(&self) -> Transport {
        let mut transport = self.transport.lock().unwrap_or_else(PoisonError::into_inner);
        transport.get_or_insert_with(|| self.builder.clone().build()).clone()
    }
}

/// A mail under way.
struct Attempt<'a> {
    mailer: &'a SmtpMailer,
    is_over: bool,
}

impl Drop for Attempt<'_> {
    /// An attempt that was broken off leaves its connection in the middle of a conversation, and lettre
    /// 0.11.23 puts it back for the next mail, which would take the late answers for its own. So all
    /// connections of before are left behind.
    fn drop(&mut self) {
        if !self.is_over {
            *self.mailer.transport.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let message = self.compose(mail)?;
        // lettre 0.11.23 bounds the connect only: a relay that stops answering would hold us for ever.
        match tokio::time::timeout(self.timeout, self.send_pooled(message)).await {
            Ok(sent) => sent,
            Err(_) => Err(MailError::Timeout(MailCause::new("our patience is over"))),
        }
    }
}

/// Settings of an [`SmtpMailer`].
#[must_use]
#[derive(Debug)]
pub struct SmtpMailerBuilder {
    host: String,
    from: EmailAddress,
    from_name: Option<String>,
    security: Security,
    port: Option<u16>,
    credentials: Option<(String, Secret)>,
    timeout: Duration,
    connections: u32,
    idle_timeout: Duration,
    root: Option<Vec<u8>>,
    hello: Option<String>,
    is_plain_text_allowed: bool,
}

impl SmtpMailerBuilder {
    /// The sender's display name, up to 100 characters without controls. Default: none.
    pub fn from_name(mut self, name: impl Into<String>) -> Self {
        self.from_name = Some(name.into());
        self
    }

    /// How the connection is protected. Default [`Security::StartTls`].
    pub fn security(mut self, security: Security) -> Self {
        self.security = security;
        self
    }

    /// The port. Default 465, 587 or 25, by [`Security`].
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// User name and password. Default: none.
    pub fn credentials(mut self, user: impl Into<String>, password: Secret) -> Self {
        self.credentials = Some((user.into(), password));
        self
    }

    /// The bound on the whole conversation. Default 30 seconds; a relay on the same network takes one.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many connections there are at a time, 1 to 100; more mails wait their turn. Default 4.
    pub fn connections(mut self, connections: u32) -> Self {
        self.connections = connections;
        self
    }

    /// How long a connection is kept after its last mail, up to twice that. Default one minute; relays wait
    /// five (RFC 5321 section 4.5.3.2.7).
    pub fn idle_timeout(mut self, time: Duration) -> Self {
        self.idle_timeout = time;
        self
    }

    /// Also trusts this certificate authority, in PEM. For a relay with a private one.
    pub fn root_certificate_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root = Some(pem.into());
        self
    }

    /// The name we greet with. Default: the sender's domain.
    pub fn hello_name(mut self, name: impl Into<String>) -> Self {
        self.hello = Some(name.into());
        self
    }

    /// Allows [`Security::Plain`] to another machine.
    ///
    /// # Security
    ///
    /// Everyone on the way reads the codes, and the password if there is one.
    pub fn danger_plain_text_over_network(mut self) -> Self {
        self.is_plain_text_allowed = true;
        self
    }

    /// Checks the settings. Does not connect.
    ///
    /// # Errors
    ///
    /// [`MailError::Setting`] names the setting that cannot work.
    pub fn build(self) -> Result<SmtpMailer, MailError> {
        if self.host.is_empty() || self.host.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(setting("host", "it must be a host name or an IP address"));
        }
        let is_plain = self.security == Security::Plain;
        if is_plain && !self.is_plain_text_allowed && !is_loopback(&self.host) {
            return Err(setting("security", "plain text is for a relay on this machine only"));
        }
        if !(1..=100).contains(&self.connections) {
            return Err(setting("connections", "it must be 1 to 100"));
        }
        if self.idle_timeout < Duration::from_secs(1) {
            return Err(setting("idle_timeout", "it must be a second or more"));
        }
        let from = self.sender()?;
        let pool = PoolConfig::new().max_size(self.connections).idle_timeout(self.idle_timeout);
        let (tls, usual_port) = match self.security {
            Security::Implicit => (Tls::Wrapper(self.tls_parameters()?), 465),
            Security::StartTls => (Tls::Required(self.tls_parameters()?), 587),
            Security::Plain => (Tls::None, 25),
        };
        let hello = self.hello.unwrap_or_else(|| self.from.domain().to_owned());
        if hello.is_empty() || !hello.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(setting("hello_name", "it must be a host name"));
        }
        let mut transport =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(self.host.as_str())
                .tls(tls)
                .port(self.port.unwrap_or(usual_port))
                .timeout(Some(self.timeout))
                .pool_config(pool)
                .hello_name(ClientId::Domain(hello));
        if let Some((user, password)) = self.credentials {
            let password = String::from_utf8(password.expose().to_vec())
                .map_err(|_| setting("credentials", "the password must be UTF-8"))?;
            transport = transport.credentials(Credentials::new(user, password));
        }
        Ok(SmtpMailer {
            builder: transport,
            transport: Mutex::default(),
            connections: Semaphore::new(self.connections as usize),
            from,
            timeout: self.timeout,
        })
    }

    fn sender(&self) -> Result<Mailbox, MailError> {
        if let Some(name) = &self.from_name {
            // lettre 0.11 panics on CR, LF and NUL in a display name.
            if name.chars().count() > 100 || name.chars().any(char::is_control) {
                return Err(MailError::UnsafeText { field: "from_name" });
            }
        }
        let address = self
            .from
            .as_str()
            .parse()
            .map_err(|_| setting("from", "it is not an address that can send"))?;
        Ok(Mailbox::new(self.from_name.clone(), address))
    }

    fn tls_parameters(&self) -> Result<TlsParameters, MailError> {
        let mut parameters = TlsParameters::builder(self.host.clone());
        if let Some(pem) = &self.root {
            let root = Certificate::from_pem(pem)
                .map_err(|_| setting("root_certificate_pem", "it is not a PEM certificate"))?;
            parameters = parameters.add_root_certificate(root);
        }
        parameters.build().map_err(|error| MailError::Tls(MailCause::handshake(&error)))
    }
}

/// RFC 3834 section 5: tells vacation responders to keep quiet.
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn StdError + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// Sorts by who is to blame. The server's words stay behind: they may quote the mail.
fn classify(error: &SmtpError) -> MailError {
    match error.status().map(u16::from) {
        // RFC 4954 section 6: 530, 534, 535 and 538 are about authentication.
        Some(status @ (530 | 534 | 535 | 538)) => MailError::Authentication { status },
        Some(status @ 500..) => MailError::Refused { status },
        Some(status) => MailError::Busy { status },
        None if error.is_timeout() => MailError::Timeout(cause_of(error)),
        None if error.is_tls() => MailError::Tls(cause_of(error)),
        None => MailError::Connection(cause_of(error)),
    }
}

/// What the system or the TLS library said, if it was one of them.
fn cause_of(error: &SmtpError) -> MailCause {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            return inner.map_or_else(|| error.into(), |inner| MailCause::handshake(inner));
        }
        source = error.source();
    }
    MailCause::new(if error.is_response() {
        "it gave an answer that is none"
    } else if error.is_client() {
        "it does not offer what is needed, such as STARTTLS"
    } else {
        "no connection"
    })
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn setting(setting: &'static str, problem: &'static str) -> MailError {
    MailError::Setting { setting, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from() -> EmailAddress {
        "login@example.jp".parse().unwrap()
    }

    #[test]
    fn plain_text_over_the_network_must_be_asked_for() {
        let plain = |host: &str| SmtpMailer::builder(host, from()).security(Security::Plain);
        assert!(plain("127.0.0.1").build().is_ok());
        assert!(plain("localhost").build().is_ok());
        assert!(plain("::1").build().is_ok());
        for host in ["mail.example.jp", "10.0.0.1", "localhost.evil.test", "127.0.0.1.evil.test"] {
            assert!(plain(host).build().unwrap_err().is_caller_fault(), "{host}");
            assert!(plain(host).danger_plain_text_over_network().build().is_ok(), "{host}");
        }
    }

    #[test]
    fn names_that_would_make_lettre_panic_are_refused() {
        for name in ["a\r\nBcc: x", "a\0", "a\n", "\u{85}"] {
            let built = SmtpMailer::builder("127.0.0.1", from()).from_name(name).build();
            assert!(matches!(built, Err(MailError::UnsafeText { .. })), "{name:?}");
        }
    }

    #[test]
    fn the_password_is_not_shown() {
        let builder = SmtpMailer::builder("127.0.0.1", from())
            .credentials("login", Secret::new(b"hunter2".to_vec()));
        assert!(!format!("{builder:?}").contains("hunter2"));
        assert!(!format!("{:?}", builder.build().unwrap()).contains("hunter2"));
    }
}
