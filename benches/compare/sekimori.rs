//! Edge and connector as an operator would start them, and a visitor who has signed in.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context as _, bail, ensure};

use crate::{
    process::{Server, free_ports},
    programs::{Programs, is_release},
    systems::{Processes, Role, System},
    visitor::{MailSink, Visitor},
};

/// An application that asks nobody for a login.
const OPEN_HOST: &str = "open.bench.example";

/// An application for people with an address `@bench.example`.
const STAFF_HOST: &str = "staff.bench.example";

/// An open application that takes uploads.
const UPLOAD_HOST: &str = "upload.bench.example";

/// An open application behind cloudflared.
const CLOUDFLARED_HOST: &str = "cloudflared.bench.example";

/// The connector in front of what takes uploads.
const UPLOADS: &str = "uploads";

/// A running edge, with one connector at first.
#[derive(Debug)]
pub(crate) struct Sekimori {
    port: u16,
    root: PathBuf,
    config: PathBuf,
    mails: MailSink,
}

impl Sekimori {
    /// Starts an edge and a connector. They serve when this returns.
    pub(crate) fn start(
        programs: &Programs,
        directory: &Path,
        origin: u16,
        processes: &mut Processes,
    ) -> anyhow::Result<(Self, Vec<&'static str>)> {
        for program in [&programs.edge, &programs.connector] {
            ensure!(
                is_release(program),
                "`{}` is a debug build; run: cargo build --release -p sekimori",
                program.display()
            );
        }
        let [port] = free_ports()?;
        let mails = MailSink::start()?;
        let config = directory.join("edge.toml");
        fs::write(&config, configuration(port, mails.port()))?;
        fs::write(directory.join("open.json"), OPEN_POLICIES)?;
        let mut tokens = Vec::new();
        for tunnel in ["home", "uploads", "cloudflared"] {
            let mut create = Command::new(&programs.edge);
            create.args(["tunnel", "create", tunnel, "--config"]).arg(&config);
            let token = success(create.output()?).context("`edge tunnel create`")?;
            tokens.push(String::from_utf8(token)?.trim().to_owned());
        }
        let mut run = Command::new(&programs.edge);
        run.args(["run", "--config"]).arg(&config);
        let mut edge = Server::start("edge", &mut run, directory)?;
        let root = directory.join("state/ca.pem");
        // Nobody has connected yet, but a page says so.
        edge.wait(|| Visitor::new(&root, port)?.get(OPEN_HOST, "/1k").map(drop))?;
        let this = Self { port, root, config, mails };
        let connector = this.connect(programs, directory, "connector", &tokens[0], origin)?;
        this.serves(connector, OPEN_HOST).map(|it| (this, processes.add([edge, it])))
    }

    /// The open application, and the one for people who have signed in, as somebody does here.
    pub(crate) fn systems(&self, servers: &[&'static str]) -> anyhow::Result<[System; 2]> {
        let mut visitor = Visitor::new(&self.root, self.port)?;
        let cookie = visitor.sign_in(STAFF_HOST, "/1k", "alice@bench.example", &self.mails)?;
        let system = |name, role, host, cookie| System {
            name,
            role,
            port: self.port,
            host,
            cookie,
            root: self.root.clone(),
            servers: servers.to_vec(),
            upload: Some((UPLOAD_HOST, UPLOADS)),
        };
        Ok([
            system("edge → connector, session", Role::Ours, STAFF_HOST, Some(cookie)),
            system("edge → connector, open", Role::Open, OPEN_HOST, None),
        ])
    }

    /// Starts one more connector, in front of what takes uploads.
    pub(crate) fn take_uploads(
        &self,
        programs: &Programs,
        directory: &Path,
        sink: u16,
        processes: &mut Processes,
    ) -> anyhow::Result<()> {
        let token = self.token(programs, "uploads")?;
        let connector = self.connect(programs, directory, UPLOADS, &token, sink)?;
        // The sink answers whatever it is asked.
        processes.add([self.serves(connector, UPLOAD_HOST)?]);
        Ok(())
    }

    /// Starts cloudflared in front of the origin, if `CLOUDFLARED` names it.
    pub(crate) fn cloudflared(
        &self,
        programs: &Programs,
        directory: &Path,
        origin: u16,
        processes: &mut Processes,
    ) -> anyhow::Result<Option<System>> {
        let Some(program) = programs.named("CLOUDFLARED", "build it with go, or download it")
        else {
            return Ok(None);
        };
        let mut run = Command::new(program);
        run.args(["tunnel", "--edge", &format!("127.0.0.1:{}", self.port), "--cacert"])
            .arg(&self.root)
            .args(["--protocol", "http2", "--no-autoupdate", "--no-prechecks"])
            .args(["--metrics", "127.0.0.1:0", "--loglevel", "warn", "run", "--url"])
            .arg(format!("http://127.0.0.1:{origin}"))
            .env("HOME", directory)
            .env("TUNNEL_TOKEN", self.token(programs, "cloudflared")?);
        let server = Server::start("cloudflared", &mut run, directory)?;
        let server = self.serves(server, CLOUDFLARED_HOST)?;
        Ok(Some(System {
            name: "edge → cloudflared, open",
            role: Role::Cloudflared,
            port: self.port,
            host: CLOUDFLARED_HOST,
            cookie: None,
            root: self.root.clone(),
            servers: ["edge"].into_iter().chain(processes.add([server])).collect(),
            upload: None,
        }))
    }

    fn token(&self, programs: &Programs, tunnel: &str) -> anyhow::Result<String> {
        let mut token = Command::new(&programs.edge);
        token.args(["tunnel", "token", tunnel, "--config"]).arg(&self.config);
        let token = success(token.output()?).context("`edge tunnel token`")?;
        Ok(String::from_utf8(token)?.trim().to_owned())
    }

    fn connect(
        &self,
        programs: &Programs,
        directory: &Path,
        name: &'static str,
        token: &str,
        origin: u16,
    ) -> anyhow::Result<Server> {
        let mut run = Command::new(&programs.connector);
        run.args(["tunnel", "--edge", &format!("127.0.0.1:{}", self.port), "--cacert"])
            .arg(&self.root)
            .args(["run", "--url", &format!("http://127.0.0.1:{origin}")])
            .env("TUNNEL_TOKEN", token);
        Server::start(name, &mut run, directory)
    }

    fn serves(&self, mut connector: Server, host: &str) -> anyhow::Result<Server> {
        connector.wait(|| {
            let reply = Visitor::new(&self.root, self.port)?.get(host, "/1k")?;
            ensure!(reply.status == 200, "status {} through the tunnel", reply.status);
            Ok(())
        })?;
        Ok(connector)
    }
}

/// The runtime's threads, for the report.
pub(crate) fn threads() -> String {
    env::var("TOKIO_WORKER_THREADS")
        .unwrap_or_else(|_| "default (half as many as there are processors)".to_owned())
}

fn configuration(port: u16, mail_port: u16) -> String {
    let open = [(OPEN_HOST, "home"), (UPLOAD_HOST, "uploads"), (CLOUDFLARED_HOST, "cloudflared")]
        .map(|(host, tunnel)| {
            format!("[[app]]\nhost = \"{host}\"\ntunnel = \"{tunnel}\"\npolicies = \"open.json\"\n")
        })
        .concat();
    format!(
        r#"zone = "bench.example"
[listen]
https = "127.0.0.1:{port}"
[mail]
smtp = "smtp://127.0.0.1:{mail_port}"
from = "access@bench.example"
{open}
[[app]]
host = "{STAFF_HOST}"
tunnel = "home"
allow = ["*@bench.example"]
"#
    )
}

fn success(output: Output) -> anyhow::Result<Vec<u8>> {
    if !output.status.success() {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

const OPEN_POLICIES: &str =
    r#"[{"name": "open", "decision": "bypass", "include": [{"everyone": {}}]}]"#;
