//! Programs under test: their events, their log, and their end.

use std::process::{ExitStatus, Stdio};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
    time::timeout,
};

use super::PATIENCE;

/// The binaries of this package.
pub const EDGE: &str = env!("CARGO_BIN_EXE_edge");
pub const CONNECTOR: &str = env!("CARGO_BIN_EXE_connector");
pub const QUICKSTART: &str = env!("CARGO_BIN_EXE_quickstart");

/// A running program. It does not outlive the test.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    stdout: Transcript,
    stderr: Transcript,
    /// How many lines of standard output [`Program::next_event`] has passed.
    told: usize,
}

/// How a program ended, and what it had to say.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// The lines that a program has written so far.
#[derive(Debug, Clone)]
pub struct Transcript(watch::Receiver<Vec<String>>);

/// A command with nothing inherited that could change what it does.
pub fn command(binary: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command.args(arguments);
    for (name, _) in std::env::vars_os() {
        let is_ours = name.to_str().is_some_and(|name| {
            ["TUNNEL_", "SEKIMORI_", "RUST_LOG", "NO_COLOR", "FORCE_COLOR"]
                .iter()
                .any(|own| name.starts_with(own))
        });
        if is_ours {
            command.env_remove(name);
        }
    }
    command
}

impl Program {
    /// Starts a program.
    pub fn start(name: &str, mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {name}: {error}"));
        let stdout = Transcript::of(child.stdout.take().expect("a pipe"));
        let stderr = Transcript::of(child.stderr.take().expect("a pipe"));
        Self { name: name.to_owned(), child, stdout, stderr, told: 0 }
    }

    /// Runs a program to its end.
    pub async fn run(command: Command) -> Ended {
        Self::start("a program", command).ended().await
    }

    /// The next event of this name; those before it are passed over.
    pub async fn next_event(&mut self, name: &str) -> Value {
        let from = self.told;
        let found = self.stdout.find(|lines| {
            lines.iter().enumerate().skip(from).find_map(|(at, line)| {
                let event = serde_json::from_str::<Value>(line).ok()?;
                (event["event"] == name).then_some((at, event))
            })
        });
        let Some((at, event)) = found.await else {
            panic!("{} told no event `{name}`\n{}", self.name, self.everything());
        };
        self.told = at + 1;
        event
    }

    /// All events so far with this name.
    pub fn events(&self, name: &str) -> Vec<Value> {
        let events =
            self.stdout.lines().into_iter().filter_map(|it| serde_json::from_str(&it).ok());
        events.filter(|event: &Value| event["event"] == name).collect()
    }

    /// Waits for a line of the log that has all these words.
    pub async fn log_line(&self, words: &[&str]) -> String {
        let has_all = |line: &&String| words.iter().all(|word| line.contains(word));
        match self.stderr.find(|lines| lines.iter().find(has_all).cloned()).await {
            Some(line) => line,
            None => panic!("{} logged no {words:?}\n{}", self.name, self.everything()),
        }
    }

    /// Waits for a line of standard output that has this word.
    pub async fn line(&self, word: &str) -> String {
        match self.stdout.find(|it| it.iter().find(|line| line.contains(word)).cloned()).await {
            Some(line) => line,
            None => panic!("{} wrote no `{word}`\n{}", self.name, self.everything()),
        }
    }

    /// Standard output so far.
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.lines()
    }

    /// Both outputs so far, for messages and for looking for what must not be there.
    pub fn everything(&self) -> String {
        format!(
            "--- stdout of {0}\n{1}\n--- stderr of {0}\n{2}",
            self.name,
            self.stdout.lines().join("\n"),
            self.stderr.lines().join("\n")
        )
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Ends it as `kill -9` does.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it ran");
    }

    /// Sends it a signal, such as `HUP`.
    pub async fn signal(&self, name: &str) {
        // The shell's own `kill`, because the program of that name need not be there.
        let arguments = ["-c", "kill -\"$1\" \"$2\"", "sh", name, &self.id().to_string()];
        assert!(Command::new("sh").args(arguments).status().await.expect("sh").success());
    }

    /// Asks it to end, as a service manager does, and waits until it has.
    pub async fn terminate(self) -> Ended {
        self.signal("TERM").await;
        self.ended().await
    }

    /// Waits until it ends by itself.
    pub async fn ended(mut self) -> Ended {
        let Ok(status) = timeout(PATIENCE, self.child.wait()).await else {
            panic!("{} does not end\n{}", self.name, self.everything());
        };
        Ended {
            status: status.expect("it ran"),
            stdout: self.stdout.whole().await,
            stderr: self.stderr.whole().await,
        }
    }
}

impl Ended {
    /// The exit code; none after a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// It ended well, and with `--output json` each line on standard output was an event.
    pub fn assert_only_events(&self) {
        assert_eq!(self.code(), Some(0), "{self:?}");
        for line in self.stdout.lines() {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
            assert!(event["event"].is_string() && event["time"].is_number(), "{line}");
        }
    }
}

impl Transcript {
    fn of(output: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let (sender, receiver) = watch::channel(Vec::new());
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                sender.send_modify(|lines| lines.push(line));
            }
        });
        Self(receiver)
    }

    /// Waits until the lines have what is sought; nothing if the output ends or patience does.
    async fn find<T>(&self, mut seek: impl FnMut(&[String]) -> Option<T>) -> Option<T> {
        let mut found = None;
        let mut receiver = self.0.clone();
        let seen = receiver.wait_for(|lines| {
            found = seek(lines);
            found.is_some()
        });
        let _ = timeout(PATIENCE, seen).await;
        found
    }

    /// Everything, once the output has ended.
    async fn whole(&self) -> String {
        let _ = self.find(|_| None::<()>).await;
        self.lines().join("\n")
    }

    fn lines(&self) -> Vec<String> {
        self.0.borrow().clone()
    }
}
