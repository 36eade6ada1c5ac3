//! The mailer against a real SMTP server: aiosmtpd (Debian package python3-aiosmtpd). The interpreter is
//! `/usr/bin/python3` unless the environment variable `PYTHON3` names another.
#![cfg(feature = "smtp")]

mod support;

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use otp_auth::locale::Locale;
use otp_auth::login::{Admission, Delivery, Dispatch};
use otp_auth::mail::{MailError, Mailer, Security, SmtpMailer};
use serde_json::Value;
use support::{START, login, sign_in};

/// A running server, ended with the test.
struct Server {
    process: Child,
    output: BufReader<ChildStdout>,
    port: u16,
}

impl Server {
    fn start(extra: &[&str]) -> Self {
        Self::start_at(free_port(), extra)
    }

    fn start_at(port: u16, extra: &[&str]) -> Self {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let python = std::env::var("PYTHON3").unwrap_or_else(|_| "/usr/bin/python3".to_owned());
        let mut process = Command::new(python)
            .env("PYTHONPATH", data)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .args(["-m", "aiosmtpd", "-n", "-l", &format!("localhost:{port}")])
            .args(extra)
            .args(["-c", "smtp_sink.Sink"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null()) // it reports our refusals as its errors
            .spawn()
            .expect("python3 runs");
        let output = BufReader::new(process.stdout.take().expect("a pipe"));
        let server = Self { process, output, port };
        for _ in 0..200 {
            if TcpStream::connect(("localhost", port)).is_ok() {
                return server;
            }
            std::thread::sleep(Duration::from_millis(50)); // a foreign process gives no other sign
        }
        panic!("aiosmtpd did not open its port within ten seconds");
    }

    fn next_mail(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the server writes");
        serde_json::from_str(&line).expect("one line of JSON a mail")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("an address").port()
}

async fn dispatch(address: &str, locale: Locale) -> Dispatch {
    let request = sign_in(address, Admission::Admitted).locale(locale);
    login().begin(&request, START).await.expect("the store works").1
}

fn header<'a>(mail: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = mail["headers"].as_array().expect("an array");
    headers.iter().filter(|h| h[0] == name).filter_map(|h| h[1].as_str()).collect()
}

#[tokio::test]
#[ignore = "needs python3 with aiosmtpd"]
async fn a_mail_arrives_as_it_was_written() {
    let mut server = Server::start(&[]);
    let url = format!("smtp://localhost:{}?from=login@example.jp&name=Sekimori", server.port);
    let mailer = SmtpMailer::from_url(&url).unwrap();
    for (address, locale) in [("Alice@example.jp", Locale::En), ("hanako@日本語.jp", Locale::Ja)]
    {
        let dispatch = dispatch(address, locale).await;
        let mail = dispatch.mail().unwrap().clone();
        assert_eq!(dispatch.deliver(&mailer).await.unwrap(), Delivery::Sent);
        let seen = server.next_mail();

        assert_eq!(seen["envelope_to"], serde_json::json!([mail.to().as_str()]));
        assert_eq!(seen["envelope_from"], "login@example.jp");
        assert_eq!(header(&seen, "to"), [mail.to().as_str()]);
        assert_eq!(header(&seen, "from"), ["Sekimori <login@example.jp>"]);
        assert_eq!(header(&seen, "subject"), [mail.subject()]);
        assert_eq!(header(&seen, "auto-submitted"), ["auto-generated"]);
        assert_eq!(header(&seen, "message-id"), [format!("<{}>", mail.id())]);
        assert_eq!(header(&seen, "date").len(), 1);
        assert_eq!(seen["defects"], serde_json::json!([]));
        let parts = seen["parts"].as_array().unwrap();
        assert_eq!(parts[0]["type"], "text/plain", "text first");
        assert_eq!(parts[0]["text"].as_str().unwrap().replace("\r\n", "\n"), mail.text());
        assert_eq!(parts[1]["type"], "text/html");
        assert_eq!(parts[1]["text"].as_str().unwrap().replace("\r\n", "\n"), mail.html());
        assert_eq!(parts.len(), 2);
    }
}

#[tokio::test]
#[ignore = "needs python3 with aiosmtpd"]
async fn mails_go_over_one_connection_and_a_broken_off_one_is_left_behind() {
    let mut server = Server::start(&[]);
    let builder = SmtpMailer::builder("127.0.0.1", "login@example.jp".parse().unwrap())
        .security(Security::Plain)
        .port(server.port)
        .timeout(Duration::from_millis(1_500));
    let mailer = builder.connections(1).build().unwrap();
    let mut peers = Vec::new();
    for _ in 0..2 {
        send_one(&mailer).await.unwrap();
        peers.push(server.next_mail()["peer"].clone());
    }
    assert_eq!(peers[0], peers[1], "two mails, one connection");
    let refused = dispatch("refused@example.jp", Locale::En).await.deliver(&mailer).await;
    assert!(refused.is_err());
    let slow = dispatch("slow@example.jp", Locale::En).await.deliver(&mailer).await.unwrap_err();
    assert!(matches!(slow, MailError::Timeout(_)), "{slow:?}");
    // lettre puts its connection back about now.
    tokio::time::sleep(Duration::from_millis(50)).await;
    send_one(&mailer).await.unwrap();
    peers.push(server.next_mail()["peer"].clone());
    assert_ne!(peers[1], peers[2], "the late answer to another mail is nobody's");
}

#[tokio::test]
#[ignore = "needs python3 with aiosmtpd"]
async fn a_relay_that_ends_idle_connections_loses_no_mail() {
    let mut server = Server::start(&[]);
    let url = format!("smtp://localhost:{}?from=login@example.jp", server.port);
    let mailer = SmtpMailer::from_url(&url).unwrap();
    send_one(&mailer).await.unwrap();
    server.next_mail();
    // The relay goes away and comes back; the connection that was kept is dead.
    let port = server.port;
    drop(server);
    assert!(send_one(&mailer).await.is_err());
    let mut server = Server::start_at(port, &[]);
    send_one(&mailer).await.unwrap();
    assert_eq!(server.next_mail()["envelope_to"], serde_json::json!(["alice@example.jp"]));
}

async fn send_one(mailer: &SmtpMailer) -> Result<Delivery, MailError> {
    dispatch("alice@example.jp", Locale::En).await.deliver(mailer).await
}

#[tokio::test]
#[ignore = "needs python3 with aiosmtpd"]
async fn refusals_are_told_apart() {
    let server = Server::start(&[]);
    let mailer = SmtpMailer::builder("127.0.0.1", "login@example.jp".parse().unwrap())
        .security(Security::Plain)
        .port(server.port)
        .timeout(Duration::from_millis(500));
    let mailer = mailer.build().unwrap();
    let refused = dispatch("refused@example.jp", Locale::En).await.deliver(&mailer).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, MailError::Refused { status: 550, .. }), "{refused:?}");
    assert!(!refused.is_retryable());
    let busy = dispatch("busy@example.jp", Locale::En).await.deliver(&mailer).await.unwrap_err();
    assert!(matches!(busy, MailError::Busy { status: 451, .. }), "{busy:?}");
    assert!(busy.is_retryable());
    let slow = dispatch("slow@example.jp", Locale::En).await.deliver(&mailer).await.unwrap_err();
    assert!(matches!(slow, MailError::Timeout(_)), "{slow:?}");
}

#[tokio::test]
#[ignore = "needs python3 with aiosmtpd"]
async fn a_server_without_tls_gets_no_mail_that_needs_it() {
    let server = Server::start(&[]);
    for tls in ["starttls", "implicit"] {
        let url = format!("smtp://localhost:{}?from=login@example.jp&tls={tls}", server.port);
        let mailer = SmtpMailer::from_url(&url).unwrap();
        let sent = dispatch("alice@example.jp", Locale::En).await.deliver(&mailer).await;
        assert!(sent.is_err(), "{tls}");
    }
}

#[tokio::test]
#[ignore = "needs python3 with aiosmtpd, and openssl"]
async fn starttls_trusts_only_the_given_authority() {
    let folder = Certificates::make();
    let (cert, key) = (folder.path("server.pem"), folder.path("server.key"));
    let mut server = Server::start(&["--tlscert", &cert, "--tlskey", &key, "--no-requiretls"]);
    let builder = || {
        SmtpMailer::builder("localhost", "login@example.jp".parse().unwrap())
            .security(Security::StartTls)
            .port(server.port)
    };
    let stranger = builder().build().unwrap();
    let refused = dispatch("alice@example.jp", Locale::En).await.deliver(&stranger).await;
    assert!(matches!(refused, Err(MailError::Tls(_) | MailError::Connection(_))), "{refused:?}");
    let root = std::fs::read(folder.path("ca.pem")).unwrap();
    let trusting = builder().root_certificate_pem(root).build().unwrap();
    let sent = dispatch("alice@example.jp", Locale::En).await.deliver(&trusting).await;
    assert_eq!(sent.unwrap(), Delivery::Sent);
    assert_eq!(server.next_mail()["tls"], true);
}

#[tokio::test]
async fn an_absent_server_is_a_retryable_error() {
    let url = format!("smtp://127.0.0.1:{}?from=login@example.jp", free_port());
    let mailer = SmtpMailer::from_url(&url).unwrap();
    let dispatch = dispatch("alice@example.jp", Locale::En).await;
    let error = mailer.send(dispatch.mail().unwrap()).await.unwrap_err();
    assert!(matches!(error, MailError::Connection(_)), "{error:?}");
    assert!(error.is_retryable());
    let code = dispatch.mail().unwrap().code().expose().to_owned();
    assert!(!format!("{error} {error:?}").contains(&code));
}

/// A certificate authority and a certificate for `localhost`, made by openssl in a folder of their own.
struct Certificates(std::path::PathBuf);

impl Certificates {
    fn make() -> Self {
        let name = format!("otp-auth-smtp-{}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&folder.0).expect("a temporary folder");
        let p256 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "2"];
        let (ca, ca_key) = (folder.path("ca.pem"), folder.path("ca.key"));
        let (cert, key) = (folder.path("server.pem"), folder.path("server.key"));
        openssl(&p256, &["-subj", "/CN=test authority", "-keyout", &ca_key, "-out", &ca]);
        let names = "subjectAltName=DNS:localhost";
        openssl(
            &p256,
            &[
                "-subj",
                "/CN=localhost",
                "-addext",
                names,
                "-addext",
                "basicConstraints=CA:FALSE",
                "-CA",
                &ca,
                "-CAkey",
                &ca_key,
                "-keyout",
                &key,
                "-out",
                &cert,
            ],
        );
        folder
    }

    fn path(&self, file: &str) -> String {
        self.0.join(file).to_str().expect("a plain path").to_owned()
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

fn openssl(common: &[&str], own: &[&str]) {
    let made = Command::new("openssl").args(["req", "-x509"]).args(common).args(own).output();
    let made = made.expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
