//! Programs under test, and what they tell on standard output.

use std::{process::Stdio, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};

/// Far more than anything takes: reached only when something hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A program that is killed when this goes.
pub(crate) struct Program {
    child: Child,
    events: UnboundedReceiver<Value>,
    told: Vec<Value>,
}

impl Program {
    /// Starts a program that writes JSON events.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("can't start {command:?}: {error}"));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, events) = unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let event = serde_json::from_str(&line)
                    .unwrap_or_else(|error| panic!("`{line}` is not JSON: {error}"));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Self { child, events, told: Vec::new() }
    }

    /// Waits for the next event of this name.
    pub(crate) async fn event(&mut self, name: &str) -> Value {
        let next = async {
            while let Some(event) = self.events.recv().await {
                self.told.push(event.clone());
                if event["event"] == name {
                    return Some(event);
                }
            }
            None
        };
        let event = timeout(PATIENCE, next).await.ok().flatten();
        event.unwrap_or_else(|| panic!("no event `{name}` but {:#?}", self.told))
    }

    /// How many events of this name came, up to the one that was waited for last.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.told.iter().filter(|event| event["event"] == name).count()
    }

    /// Kills the program and waits for its end.
    pub(crate) async fn stop(&mut self) {
        self.child.kill().await.unwrap();
    }
}

/// Runs a command to its end and returns what it wrote.
pub(crate) async fn run(command: &mut Command) -> String {
    let output = timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
