//! Servers of Debian, each on a socket in a directory of its own, and the time they live in.
#![allow(dead_code, reason = "each test uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use otp_auth::conformance::Time;
use otp_auth::timestamp::Timestamp;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// For what a server does in a moment.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The clock on the wall, which servers go by.
pub(crate) struct WallTime;

#[async_trait]
impl Time for WallTime {
    #[expect(clippy::disallowed_methods, reason = "servers have a clock of their own")]
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }

    async fn pass(&self, by: Duration) {
        sleep(by).await;
    }
}

/// A Redis server.
pub(crate) struct Redis {
    directory: TempDir,
    server: Child,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(settings: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Self::launch(directory.path(), settings).await;
        Self { directory, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    /// Ends the server, and begins another one that knows nothing.
    pub(crate) async fn restart_empty(&mut self) {
        self.server.kill().await.unwrap();
        self.server = Self::launch(self.directory.path(), &[]).await;
    }

    pub(crate) async fn kill(&mut self) {
        self.server.kill().await.unwrap();
    }

    pub(crate) async fn command(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli").arg("-s").arg(self.socket()).args(command).output();
        String::from_utf8_lossy(&output.await.unwrap().stdout).trim().to_owned()
    }

    /// How often scripts were called by their hash, and how many commands came that were no script.
    pub(crate) async fn calls(&self) -> u64 {
        let stats = self.command(&["INFO", "commandstats"]).await;
        let line = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:"));
        let calls = line.and_then(|line| line.split("calls=").nth(1));
        calls.and_then(|it| it.split(',').next()).map_or(0, |it| it.parse().unwrap())
    }

    async fn launch(directory: &Path, settings: &[&str]) -> Child {
        let socket = directory.join("redis.sock");
        let _ = std::fs::remove_file(&socket);
        let server = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .arg("--dir")
            .arg(directory)
            .args(settings)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server, from Debian's package of that name");
        let up = async {
            while tokio::net::UnixStream::connect(&socket).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, up).await.expect("redis-server listens");
        server
    }
}

/// A Postgres server. It refuses to run as root, so it runs as nobody then.
pub(crate) struct Postgres {
    directory: TempDir,
    server: Child,
}

impl Postgres {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        if is_root() {
            run(Command::new("chown").arg("nobody").arg(directory.path())).await;
        }
        let data = directory.path().join("data");
        run(as_nobody(&program("initdb"))
            .args(["--username=otp", "--auth=trust", "--no-sync", "--locale=C", "-E", "UTF8"])
            .arg("-D")
            .arg(&data))
        .await;
        let server = Self::launch(directory.path()).await;
        Self { directory, server }
    }

    pub(crate) fn settings(&self) -> String {
        format!("host={} user=otp dbname=postgres", self.directory.path().display())
    }

    /// Ends the server without a word, and lets it recover.
    pub(crate) async fn crash(&mut self) {
        self.server.kill().await.unwrap();
        // Its children hold on to its shared memory for a moment, and a new one would not start.
        let data = self.directory.path().join("data");
        let up = async {
            loop {
                let _ = std::fs::remove_file(data.join("postmaster.pid"));
                self.server = Self::launch_once(self.directory.path());
                sleep(Duration::from_millis(300)).await;
                if self.server.try_wait().unwrap().is_none() && self.answers().await {
                    break;
                }
            }
        };
        timeout(PATIENCE, up).await.expect("postgres recovers");
    }

    async fn answers(&self) -> bool {
        let socket = self.directory.path().join(".s.PGSQL.5432");
        for _ in 0..100 {
            if tokio_postgres_answers(&self.settings()).await && socket.exists() {
                return true;
            }
            sleep(Duration::from_millis(50)).await;
        }
        false
    }

    fn launch_once(directory: &Path) -> Child {
        as_nobody(&program("postgres"))
            .arg("-D")
            .arg(directory.join("data"))
            .arg("-k")
            .arg(directory)
            .args(["-c", "listen_addresses=", "-c", "max_connections=60"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("postgres, from Debian's package postgresql")
    }

    async fn launch(directory: &Path) -> Child {
        let server = Self::launch_once(directory);
        let settings = format!("host={} user=otp dbname=postgres", directory.display());
        let up = async {
            while !tokio_postgres_answers(&settings).await {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, up).await.expect("postgres answers");
        server
    }
}

#[cfg(feature = "postgres")]
async fn tokio_postgres_answers(settings: &str) -> bool {
    otp_auth::store::PostgresStore::connect(settings).await.is_ok()
}

#[cfg(not(feature = "postgres"))]
async fn tokio_postgres_answers(_: &str) -> bool {
    false
}

/// Debian keeps the programs of each version apart: the newest one.
fn program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("Debian's package postgresql");
    let programs = versions.map(|version| version.unwrap().path().join("bin").join(name));
    programs.filter(|program| program.exists()).max().expect("a version of postgres")
}

fn as_nobody(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]).arg(program);
    command.current_dir("/");
    command
}

fn is_root() -> bool {
    let output = std::process::Command::new("id").arg("-u").output().expect("id");
    output.stdout.trim_ascii() == b"0"
}

async fn run(command: &mut Command) {
    let output = command.kill_on_drop(true).output();
    let output = timeout(PATIENCE, output).await.expect("in time").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
