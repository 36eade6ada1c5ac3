//! A program of yours that changes a zone.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{io::AsyncReadExt as _, process::Command, time::timeout};

use super::{
    error::DnsError,
    record::{Record, RecordData, RecordName, RecordType},
    update::{Applied, Change, Condition, DnsProvider, DnsWork, Update},
};

/// Runs a program for each change: for providers that only have an interface of their own.
///
/// ```text
/// HOOK add NAME TYPE TTL VALUE     adds one value beside those there; it may be there already
/// HOOK remove NAME TYPE VALUE      removes this value; it may be gone already
/// HOOK list NAME                   prints `TYPE TTL VALUE` for each A, AAAA, CNAME and TXT record of the name
/// ```
///
/// Names have no final dot, values of TXT no quotes. Exit status 0 is success; for everything else, what it wrote to
/// standard error is told. It is run without a shell, with nothing on standard input, and killed after a minute.
/// `list` is needed for host names only, not for DNS-01.
///
/// Conditions are looked at before the changes are made, and not in one step with them: two nodes that register
/// one name in the same second may both win.
#[derive(Clone, Debug)]
pub struct ExecHook {
    program: PathBuf,
    patience: Duration,
}

impl ExecHook {
    /// Runs this program.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), patience: DEFAULT_PATIENCE }
    }

    /// How long it may take before it is killed. Default 1 minute.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    async fn run(&self, arguments: &[&str]) -> Result<String, DnsError> {
        let failed =
            |reason: String| DnsError::Hook { program: self.program.display().to_string(), reason };
        let mut child = Command::new(&self.program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(format!("it cannot be run: {error}")))?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let all = async {
            let (out, err) = tokio::join!(read(stdout), read(stderr));
            (child.wait().await, out, err)
        };
        match timeout(self.patience, all).await {
            Err(_) => Err(failed(format!("it did not end within {:?}", self.patience))),
            Ok((Ok(status), out, _)) if status.success() => Ok(out),
            Ok((Ok(status), _, err)) => Err(failed(format!("{status}: {}", err.trim()))),
            Ok((Err(error), ..)) => Err(failed(error.to_string())),
        }
    }

    async fn list(&self, name: &RecordName) -> Result<Vec<Record>, DnsError> {
        let text = self.run(&["list", name.as_str()]).await?;
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        lines.map(|line| parse_line(name, line)).collect()
    }

    async fn holds(&self, condition: &Condition) -> Result<bool, DnsError> {
        Ok(match condition {
            Condition::NameIsFree(name) => self.list(name).await?.is_empty(),
            Condition::HasNo(name, it) => {
                self.list(name).await?.iter().all(|record| record.data.record_type() != *it)
            }
            Condition::Is(name, data) => {
                let found = self.list(name).await?;
                let mut same =
                    found.iter().filter(|it| it.data.record_type() == data.record_type());
                same.next().is_some_and(|it| it.data == *data) && same.next().is_none()
            }
        })
    }

    async fn remove(&self, name: &RecordName, data: &RecordData) -> Result<(), DnsError> {
        let (it, value) = (data.record_type().as_str(), data.to_string());
        self.run(&["remove", name.as_str(), it, &value]).await.map(|_| ())
    }

    async fn change(&self, change: &Change) -> Result<(), DnsError> {
        match change {
            Change::Add(Record { name, ttl, data }) => {
                let (it, ttl, value) =
                    (data.record_type().as_str(), ttl.to_string(), data.to_string());
                self.run(&["add", name.as_str(), it, &ttl, &value]).await.map(|_| ())
            }
            Change::Remove(name, data) => self.remove(name, data).await,
            Change::RemoveAll(name, it) => {
                let found = self.list(name).await?;
                for record in found.iter().filter(|record| record.data.record_type() == *it) {
                    self.remove(name, &record.data).await?;
                }
                Ok(())
            }
        }
    }
}

impl DnsProvider for ExecHook {
    fn find<'a>(&'a self, name: &'a RecordName) -> DnsWork<'a, Vec<Record>> {
        Box::pin(self.list(name))
    }

    fn apply<'a>(&'a self, update: &'a Update) -> DnsWork<'a, Applied> {
        Box::pin(async move {
            for condition in &update.conditions {
                if !self.holds(condition).await? {
                    return Ok(Applied::ConditionFailed);
                }
            }
            for change in &update.changes {
                self.change(change).await?;
            }
            Ok(Applied::Done)
        })
    }
}

/// The first 64 KiB of what it writes; the rest is read and forgotten, so that it does not wait for us.
async fn read(stream: Option<impl tokio::io::AsyncRead + Unpin>) -> String {
    let Some(mut stream) = stream else { return String::new() };
    let mut kept = Vec::new();
    let _broken_off = (&mut stream).take(MAX_OUTPUT_BYTES).read_to_end(&mut kept).await;
    let _broken_off = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&kept).into_owned()
}

fn parse_line(name: &RecordName, line: &str) -> Result<Record, DnsError> {
    let malformed = || DnsError::Value("`list` prints lines of `TYPE TTL VALUE`");
    let mut parts = line.trim().splitn(3, ' ');
    let (Some(it), Some(ttl), Some(value)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(malformed());
    };
    let it: RecordType = it.parse()?;
    let ttl = ttl.parse().map_err(|_| malformed())?;
    Ok(Record { name: name.clone(), ttl, data: RecordData::parse(it, value)? })
}

const DEFAULT_PATIENCE: Duration = Duration::from_secs(60);

const MAX_OUTPUT_BYTES: u64 = 64 * 1024;
