//! A browser's part in a login: follow redirects, keep cookies, fill in two forms, read the mail.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use cert_manager::presets;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// A visitor of one edge, with cookies.
#[derive(Debug)]
pub(crate) struct Visitor {
    tls: Arc<ClientConfig>,
    port: u16,
    /// By host and name.
    cookies: BTreeMap<(String, String), String>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    host: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Visitor {
    /// Trusts the edge's own authority.
    pub(crate) fn new(root: &Path, port: u16) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(root).context("can't read the edge's root")?)?;
        let tls = ClientConfig::builder_with_provider(presets::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(tls), port, cookies: BTreeMap::new() })
    }

    pub(crate) fn get(&mut self, host: &str, path: &str) -> anyhow::Result<Reply> {
        self.send(host, &format!("GET {path} HTTP/1.1\r\n"), "")
    }

    /// Walks through a login and returns the `Cookie` value that opens the application.
    pub(crate) fn sign_in(
        &mut self,
        host: &str,
        path: &str,
        address: &str,
        mails: &MailSink,
    ) -> anyhow::Result<String> {
        let reply = self.get(host, path)?;
        let (team, path) = self.target(&reply).context("asking for the application")?;
        let page = self.get(&team, &path)?;
        let csrf = page.field("csrf").context("on the login page")?;
        let form = [("email", address), ("csrf", &csrf)];
        let reply = self.post(&team, &page.action()?, &form)?;
        let (team, path) = self.target(&reply).context("asking for a code")?;
        let page = self.get(&team, &path)?;
        let (csrf, nonce) = (page.field("csrf")?, page.field("nonce")?);
        let code = mails.next_code()?;
        let form = [("code", code.as_str()), ("nonce", &nonce), ("csrf", &csrf)];
        let reply = self.post(&team, &page.action()?, &form)?;
        let (application, path) = self.target(&reply).context("typing the code")?;
        let reply = self.get(&application, &path)?;
        let (application, path) = self.target(&reply).context("coming back")?;
        let reply = self.get(&application, &path)?;
        ensure!(reply.status == 200, "status {} after the login", reply.status);
        Ok(self.cookies_for(host))
    }

    fn post(&mut self, host: &str, path: &str, form: &[(&str, &str)]) -> anyhow::Result<Reply> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let head = format!(
            "POST {path} HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n",
            body.len()
        );
        self.send(host, &head, &body)
    }

    fn send(&mut self, host: &str, head: &str, body: &str) -> anyhow::Result<Reply> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port))?;
        tcp.set_read_timeout(Some(Duration::from_secs(10)))?;
        let name = host.to_owned().try_into()?;
        let mut tls = StreamOwned::new(ClientConnection::new(Arc::clone(&self.tls), name)?, tcp);
        let mut request = format!(
            "{head}Host: {host}:{}\r\nAccept: text/html\r\nAccept-Language: en\r\n\
             Connection: close\r\n",
            self.port
        );
        let cookies = self.cookies_for(host);
        if !cookies.is_empty() {
            let _ = write!(request, "Cookie: {cookies}\r\n");
        }
        write!(tls, "{request}\r\n{body}")?;
        let mut answer = Vec::new();
        tls.read_to_end(&mut answer)?;
        let reply = Reply::parse(host, &String::from_utf8_lossy(&answer))?;
        for cookie in reply.all("set-cookie") {
            let pair = cookie.split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').context("a cookie without a value")?;
            self.cookies.insert((host.to_owned(), name.to_owned()), value.to_owned());
        }
        Ok(reply)
    }

    fn cookies_for(&self, host: &str) -> String {
        let mine =
            self.cookies.iter().filter(|((owner, _), value)| owner == host && !value.is_empty());
        mine.map(|((_, name), value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    /// Host and path that a redirect leads to.
    fn target(&self, reply: &Reply) -> anyhow::Result<(String, String)> {
        let Some(location) = reply.all("location").next() else {
            bail!("status {} leads nowhere", reply.status);
        };
        if location.starts_with('/') {
            return Ok((reply.host.clone(), location.to_owned()));
        }
        let Some(absolute) = location.strip_prefix("https://") else {
            bail!("`{location}` is not an https address");
        };
        let (authority, path) = absolute.split_once('/').context("an address without a path")?;
        let host = authority.strip_suffix(&format!(":{}", self.port)).unwrap_or(authority);
        Ok((host.to_owned(), format!("/{path}")))
    }
}

impl Reply {
    fn parse(host: &str, text: &str) -> anyhow::Result<Self> {
        let (head, body) = text.split_once("\r\n\r\n").context("a cut response")?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?;
        let headers = lines.filter_map(|line| line.split_once(": "));
        Ok(Self {
            status: status.parse()?,
            host: host.to_owned(),
            headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(),
            body: body.to_owned(),
        })
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.headers.iter().filter(move |(known, _)| known == name);
        named.map(|(_, value)| value.as_str())
    }

    /// The value of a form's hidden field.
    fn field(&self, name: &str) -> anyhow::Result<String> {
        self.after(&format!("name=\"{name}\" value=\""))
            .or_else(|_| self.after(&format!("name={name} value=\"")))
            .with_context(|| format!("status {} without the field `{name}`", self.status))
    }

    /// Where the page's first form goes.
    fn action(&self) -> anyhow::Result<String> {
        self.after("action=\"")
    }

    fn after(&self, mark: &str) -> anyhow::Result<String> {
        let (_, rest) = self.body.split_once(mark).with_context(|| format!("no `{mark}`"))?;
        let (value, _) = rest.split_once('"').context("an open quotation mark")?;
        Ok(value.replace("&#38;", "&").replace("&amp;", "&"))
    }
}

/// A mail server that keeps the codes of what it gets.
#[derive(Debug)]
pub(crate) struct MailSink {
    port: u16,
    codes: mpsc::Receiver<String>,
}

impl MailSink {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("can't listen for mail")?;
        let port = listener.local_addr()?.port();
        let (sender, codes) = mpsc::channel();
        // Ends with the program.
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let _ = take_mail(connection, &sender);
            }
        });
        Ok(Self { port, codes })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn next_code(&self) -> anyhow::Result<String> {
        self.codes.recv_timeout(Duration::from_secs(10)).context("no mail came")
    }
}

/// As much of SMTP (RFC 5321) as a client needs that sends one mail.
fn take_mail(mut connection: TcpStream, codes: &mpsc::Sender<String>) -> anyhow::Result<()> {
    let mut lines = BufReader::new(connection.try_clone()?).lines();
    let mut is_data = false;
    connection.write_all(b"220 sink\r\n")?;
    while let Some(line) = lines.next().transpose()? {
        let answer = match line.split(' ').next().unwrap_or_default() {
            "." if is_data => {
                is_data = false;
                "250 taken\r\n"
            }
            _ if is_data => {
                // The text ends with `@HOST #CODE`.
                let last = line.strip_prefix('@').and_then(|it| it.split_once(" #"));
                if let Some((_, code)) = last {
                    codes.send(code.trim_end().to_owned())?;
                }
                continue;
            }
            "DATA" => {
                is_data = true;
                "354 go on\r\n"
            }
            "QUIT" => {
                connection.write_all(b"221 bye\r\n")?;
                return Ok(());
            }
            _ => "250 fine\r\n",
        };
        connection.write_all(answer.as_bytes())?;
    }
    Ok(())
}
