//! Everything in one process: a demo origin (or yours), an edge, a connector over the real
//! protocol, a local certificate authority, and codes shown here instead of mailed.
//!
//! ```console
//! $ cargo run --release -p sekimori --bin quickstart -- --allowed-mail '*@example.jp'
//! ```
//!
//! Open the printed address, type an address that the rule admits, then the code that appears in
//! this terminal. Nothing listens beyond this machine, and nothing is left behind.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program talks to its terminal")]

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    sync::Arc,
    time::Duration,
};

use access_policy::{Application, Policies, Policy, Rule};
use anyhow::{Context as _, bail};
use async_trait::async_trait;
use cert_manager::presets;
use clap::Parser;
use otp_auth::{
    mail::{Mail, MailError, Mailer, MemoryOutbox},
    random::SystemRandom,
    seal::SealingKey,
    secret::Secret,
    throttle::{Budget, Rule as BudgetRule},
};
use rustls::{ClientConfig, RootCertStore};
use sekimori::{
    connector, demo,
    edge::{self, certificates::Certificates, state::State},
    gate::{self, Gate},
    listener,
    output::{Event, LEVELS, Output, Reporter, chain, init_logs},
    rules::Rules,
    runtime,
    shutdown::{self, Shutdown},
};
use tokio::{net::TcpListener, process::Command, time::timeout};
use tunnel_proto::{
    Credentials,
    connector::{Connector, HttpService, TlsDialer},
    edge::{Incoming, Router},
    origin::HttpOrigin,
};

/// A protected page in one command, over the real protocol.
#[derive(Debug, Parser)]
#[command(
    name = "quickstart",
    version,
    after_help = "\
Exit codes: 0 stopped, 1 could not start, 2 unknown arguments."
)]
struct Arguments {
    /// Who may pass: `alice@example.jp`, `*@example.jp`, or `*` for everybody with an address.
    /// Give it several times for several rules.
    #[arg(long, value_name = "ADDRESS", default_value = "*@example.jp")]
    allowed_mail: Vec<String>,
    /// The web server to protect instead of the demo page, such as `http://127.0.0.1:8080`.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The port to listen at. 8443, or any free one if that is taken, unless given.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Runs this cloudflared in our connector's place.
    #[arg(long, value_name = "PATH")]
    cloudflared: Option<PathBuf>,
    /// Keeps authority and keys here, so that the authority need be trusted only once. A
    /// temporary directory unless given.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// How to write events on standard output.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    /// How much to log on standard error: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL", default_value = "error", value_parser = LEVELS)]
    loglevel: String,
}

const APP_HOST: &str = "app.localhost";
const TEAM_HOST: &str = "auth.localhost";

/// cloudflared takes a moment; our own connector does not.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let _logs = init_logs(&arguments.loglevel);
    let result = runtime::build(None).and_then(|runtime| runtime.block_on(run(&arguments)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let policies = policies(&arguments.allowed_mail)?;
    // Checked before anything starts.
    let origin = arguments.url.as_deref().map(HttpOrigin::new).transpose()?;
    let temporary = tempfile::tempdir().context("can't make a temporary directory")?;
    let directory = arguments.data_dir.as_deref().unwrap_or(temporary.path());
    let state = State::open(directory)?;
    let credentials = state.tunnel("quickstart").or_else(|_| state.create_tunnel("quickstart"))?;
    let ca = state.certificate_authority()?;
    let (ca_file, root) = (state.publish(&ca)?, ca.root_der().clone());

    let https = listen(arguments.port).await?;
    let address = listener::local_address(&https)?;
    let router = Arc::new(Router::new());
    router.set_route(APP_HOST, credentials.tunnel_id())?;
    let reporter = Reporter::new(arguments.output).local();
    let rules = policies.applications.iter().map(ToString::to_string).collect();
    let gate = Gate::new(gate::Settings {
        team_host: TEAM_HOST.into(),
        public_port: address.port(),
        rules: Rules::new(policies)?,
        router: Arc::clone(&router),
        mailer: Arc::new(Terminal(reporter.clone())),
        // A terminal takes everything at once: nothing is left for after a restart.
        outbox: Arc::new(MemoryOutbox::new()),
        outbox_key: SealingKey::new(Secret::generate(&SystemRandom::new(), 32)?)?,
        mail_limits: no_mailbox_to_flood()?,
        mail_texts: Vec::new(),
        revocations: state.revocations().await?,
        keys: state.session_keys()?,
        state_key: state.state_key()?,
        pepper: state.pepper()?,
        reporter: reporter.clone(),
    })
    .await?;
    let url = format!("{}/", gate.origin_of(APP_HOST));
    let (trigger, shutdown) = Shutdown::new();
    let settings = edge::Settings {
        https,
        http: None,
        tunnel: None,
        certificates: Certificates::private(ca, [APP_HOST, TEAM_HOST]),
        tunnels: vec![("quickstart".into(), credentials.clone())],
        location: "local".into(),
        router: Arc::clone(&router),
        gate,
        reporter: reporter.clone(),
    };
    let running = edge::start(settings, shutdown.clone()).await?;

    let connecting = if let Some(binary) = &arguments.cloudflared {
        let url = match &arguments.url {
            Some(url) => url.clone(),
            None => demo_origin().await?,
        };
        run_cloudflared(binary, address, &ca_file, &credentials, &url, shutdown)?
    } else {
        let dialer = dialer(address, root)?;
        if let Some(origin) = origin {
            connect(credentials.clone(), dialer, origin, &reporter, shutdown)?
        } else {
            let page = tower::service_fn(async |request: http::Request<Incoming>| {
                Ok::<_, Infallible>(demo::page(request.headers()))
            });
            connect(credentials.clone(), dialer, page, &reporter, shutdown)?
        }
    };
    wait_for_tunnel(&router, &credentials, connecting).await?;
    reporter.tell(&Event::Ready {
        urls: vec![url],
        rules,
        codes: "appear here".into(),
        tunnel: address.to_string(),
        certificates: "a local authority".into(),
        ca_file: ca_file.display().to_string(),
    });
    shutdown::signalled().await?;
    if arguments.output == Output::Text {
        println!("{NEXT_STEPS}");
    }
    trigger.tell();
    let _ = timeout(Duration::from_secs(3), running.finished()).await;
    Ok(())
}

const NEXT_STEPS: &str = "
To do this for real, with mail and a server behind NAT:
  edge tunnel create home --config edge.toml    # on the machine with a public address
  edge run --config edge.toml
  TUNNEL_TOKEN=... connector tunnel --edge EDGE:443 --cacert ca.pem run --url http://127.0.0.1:8080";

fn policies(allowed: &[String]) -> anyhow::Result<Policies> {
    let mut policy = Policy::allow("--allowed-mail");
    for mail in allowed {
        policy = policy.include(Rule::from_allowed_mail(mail).context("--allowed-mail")?);
    }
    let application = Application::new("quickstart").destination(APP_HOST.parse()?).policy(policy);
    Ok(Policies::new([application]))
}

async fn listen(port: Option<u16>) -> anyhow::Result<TcpListener> {
    let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
    match port {
        Some(port) => listener::bind(loopback(port), "visitors (--port)").await,
        None => match listener::bind(loopback(8443), "visitors").await {
            Ok(listener) => Ok(listener),
            Err(_) => listener::bind(loopback(0), "visitors").await,
        },
    }
}

/// Codes go nowhere but to this terminal, so nobody is bothered by many.
fn no_mailbox_to_flood() -> anyhow::Result<gate::MailLimits> {
    let budget = Budget::try_new(vec![BudgetRule::try_new(100, Duration::from_secs(600))?])?;
    Ok(gate::MailLimits::all(&budget))
}

/// Shows codes instead of mailing them.
#[derive(Debug)]
struct Terminal(Reporter);

#[async_trait]
impl Mailer for Terminal {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        self.0.tell(&Event::Code {
            address: mail.to().to_string(),
            code: mail.code().expose().to_owned(),
            minutes: mail.valid_for().as_secs() / 60,
        });
        Ok(())
    }
}

fn dialer(
    edge: SocketAddr,
    root: rustls::pki_types::CertificateDer<'static>,
) -> anyhow::Result<TlsDialer> {
    let mut roots = RootCertStore::empty();
    roots.add(root)?;
    let config = ClientConfig::builder_with_provider(presets::provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsDialer::new([edge.to_string()], Arc::new(config))?)
}

/// What keeps the tunnel up; it ends with an error if it can't.
type Connecting = tokio::task::JoinHandle<anyhow::Result<()>>;

fn connect<S: HttpService>(
    credentials: Credentials,
    dialer: TlsDialer,
    service: S,
    reporter: &Reporter,
    shutdown: Shutdown,
) -> anyhow::Result<Connecting> {
    let reporter = reporter.clone();
    let connector = Connector::builder(credentials, dialer)
        .grace_period(Duration::from_secs(2))
        .on_event(move |event| connector::tell(&reporter, &event))
        .service(service)?;
    Ok(tokio::spawn(async move { Ok(connector.run(shutdown.told()).await?) }))
}

async fn demo_origin() -> anyhow::Result<String> {
    let listener = listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)), "the demo page").await?;
    let address = listener::local_address(&listener)?;
    tokio::spawn(demo::serve(listener));
    Ok(format!("http://{address}"))
}

fn run_cloudflared(
    binary: &Path,
    edge: SocketAddr,
    ca_file: &Path,
    credentials: &Credentials,
    url: &str,
    shutdown: Shutdown,
) -> anyhow::Result<Connecting> {
    let edge = edge.to_string();
    let mut command = Command::new(binary);
    command.arg("tunnel");
    // cloudflared opens no more connections than it knows addresses, and needs two of them.
    for _ in 0..4 {
        command.args(["--edge", &edge]);
    }
    let mut child = command
        .args(["--protocol", "http2", "--no-autoupdate", "--no-prechecks", "--cacert"])
        .arg(ca_file)
        .args(["--metrics", "127.0.0.1:0", "--loglevel", "fatal", "run", "--url", url])
        .env("TUNNEL_TOKEN", credentials.to_token())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("can't run `{}` (--cloudflared)", binary.display()))?;
    Ok(tokio::spawn(async move {
        tokio::select! {
            status = child.wait() => bail!("cloudflared ended by itself ({})", status?),
            () = shutdown.told() => Ok(()),
        }
    }))
}

async fn wait_for_tunnel(
    router: &Router,
    credentials: &Credentials,
    mut connecting: Connecting,
) -> anyhow::Result<()> {
    let online = async {
        while !router.tunnel(credentials.tunnel_id()).is_some_and(|tunnel| tunnel.is_online()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = online => Ok(()),
        ended = &mut connecting => ended?.and_then(|()| bail!("the connector ended by itself")),
        () = tokio::time::sleep(CONNECT_TIMEOUT) => bail!("the connector did not connect in time"),
    }
}
