//! Server processes: started, measured, and stopped by their own ids.

use std::{
    collections::HashMap,
    fs::{self, File},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

/// A server and its children. Ends with this value.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts a program whose output goes to a file in `directory`.
    pub(crate) fn start(
        name: &'static str,
        command: &mut Command,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("can't write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("can't start {name}"))?;
        Ok(Self { name, child, log })
    }

    /// Asks `is_ready` until it says so; tells what the server logged if it never does.
    pub(crate) fn wait(&mut self, is_ready: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
        let give_up = Instant::now() + READY_TIMEOUT;
        loop {
            let Err(error) = is_ready() else { return Ok(()) };
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > give_up {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let state = ended.map_or("is not ready".to_owned(), |status| status.to_string());
                let tail: Vec<_> = log.lines().rev().take(10).collect();
                let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n  ");
                bail!("{} {state}: {error:#}\n  {tail}", self.name);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn family(&self) -> anyhow::Result<Vec<u32>> {
        let me = self.child.id();
        let mut family = vec![me];
        for entry in fs::read_dir("/proc").context("can't read /proc")? {
            let Ok(id) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
            // One that ends meanwhile is not of this family.
            let parent = stat(id).ok().and_then(|fields| fields.get(PARENT)?.parse().ok());
            if parent == Some(me) {
                family.push(id);
            }
        }
        Ok(family)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // SIGTERM, because an nginx master that is killed outright leaves its workers behind.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let give_up = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < give_up {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// CPU time so far of each server with its children, user and system together.
pub(crate) fn cpu_times(servers: &[&Server]) -> anyhow::Result<HashMap<&'static str, Duration>> {
    servers
        .iter()
        .map(|server| {
            let mut ticks = 0;
            for id in server.family()? {
                let fields = stat(id)?;
                for at in [USER_TICKS, SYSTEM_TICKS] {
                    ticks += fields.get(at).context("a short stat")?.parse::<u64>()?;
                }
            }
            Ok((server.name, Duration::from_millis(ticks * MILLIS_PER_TICK)))
        })
        .collect()
}

/// Memory in use by all of them.
pub(crate) fn resident_bytes(servers: &[&Server]) -> anyhow::Result<u64> {
    let mut kib = 0;
    for server in servers {
        for id in server.family()? {
            let status = fs::read_to_string(format!("/proc/{id}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let number = line.and_then(|line| line.split_whitespace().next());
            kib += number.context("no VmRSS")?.parse::<u64>()?;
        }
    }
    Ok(kib * 1024)
}

/// Whether something listens at a port of loopback.
pub(crate) fn wait_for_port(port: u16) -> anyhow::Result<()> {
    let address = ([127, 0, 0, 1], port).into();
    let connected = TcpStream::connect_timeout(&address, Duration::from_secs(1));
    connected.map(drop).context("does not listen")
}

/// Ports that nobody listens at. Somebody else may take one before it is used; then a server says
/// so and the run ends.
pub(crate) fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").context("can't listen on loopback")?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

/// The fields of `/proc/PID/stat` after the name, which may hold anything.
fn stat(id: u32) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, fields) = text.rsplit_once(')').context("an odd stat")?;
    Ok(fields.split_whitespace().map(str::to_owned).collect())
}

/// proc(5): fields 4, 14 and 15, counted from the one after the name, which is field 3.
const PARENT: usize = 1;
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;

/// `USER_HZ` is 100 on every architecture that Debian runs on.
const MILLIS_PER_TICK: u64 = 10;

const READY_TIMEOUT: Duration = Duration::from_secs(20);

const STOP_TIMEOUT: Duration = Duration::from_secs(5);
