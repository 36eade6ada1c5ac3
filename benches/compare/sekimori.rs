//! Edge and connector as an operator would start them, and a visitor who has signed in.

use std::{
    env, fs,
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context as _, bail, ensure};

use crate::{
    process::{Server, free_ports},
    programs::{Programs, is_release},
    visitor::{MailSink, Visitor},
};

/// An application that asks nobody for a login.
pub(crate) const OPEN_HOST: &str = "open.bench.example";

/// An application for people with an address `@bench.example`.
pub(crate) const STAFF_HOST: &str = "staff.bench.example";

/// A running edge with its connector.
#[derive(Debug)]
pub(crate) struct Sekimori {
    pub(crate) port: u16,
    pub(crate) servers: Vec<Server>,
    /// A `Cookie` value with a session for [`STAFF_HOST`].
    pub(crate) cookie: String,
}

/// Starts both, and signs in once the way a browser does.
pub(crate) fn start(
    programs: &Programs,
    directory: &Path,
    origin: u16,
) -> anyhow::Result<Sekimori> {
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

    let mut create = Command::new(&programs.edge);
    let created = create.args(["tunnel", "create", "home", "--config"]).arg(&config).output()?;
    let token = String::from_utf8(success(created).context("`edge tunnel create`")?)?;

    let mut run = Command::new(&programs.edge);
    run.args(["run", "--config"]).arg(&config);
    let mut edge = Server::start("edge", &mut run, directory)?;
    let root = directory.join("state/ca.pem");
    // Nobody has connected yet, but a page says so.
    edge.wait(|| Visitor::new(&root, port)?.get(OPEN_HOST, "/1k").map(drop))?;

    let mut run = Command::new(&programs.connector);
    run.args(["tunnel", "--edge", &format!("127.0.0.1:{port}"), "--cacert"])
        .arg(&root)
        .args(["run", "--url", &format!("http://127.0.0.1:{origin}")])
        .env("TUNNEL_TOKEN", token.trim());
    let mut connector = Server::start("connector", &mut run, directory)?;
    connector.wait(|| {
        let reply = Visitor::new(&root, port)?.get(OPEN_HOST, "/1k")?;
        ensure!(reply.status == 200, "status {} through the tunnel", reply.status);
        Ok(())
    })?;
    let mut visitor = Visitor::new(&root, port)?;
    let cookie = visitor.sign_in(STAFF_HOST, "/1k", "alice@bench.example", &mails)?;
    Ok(Sekimori { port, servers: vec![edge, connector], cookie })
}

/// The runtime's threads, for the report.
pub(crate) fn threads() -> String {
    env::var("TOKIO_WORKER_THREADS")
        .unwrap_or_else(|_| "default (half as many as there are processors)".to_owned())
}

fn configuration(port: u16, mail_port: u16) -> String {
    format!(
        r#"zone = "bench.example"
[listen]
https = "127.0.0.1:{port}"
[mail]
smtp = "smtp://127.0.0.1:{mail_port}"
from = "access@bench.example"
[[app]]
host = "{OPEN_HOST}"
tunnel = "home"
policies = "open.json"
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
