//! Asking the directory on behalf of requests, and remembering what it said.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, timeout};
use tracing::debug;

use super::{
    directory::{Directory, DirectoryError},
    node::{Holder, NodeName},
};
use crate::{
    error::{Error, ErrorKind},
    id::TunnelId,
    limits,
};

/// A directory with a memory. While the directory is away, what it said last goes on to count, for
/// a bounded time, and no request waits for it longer than a bound.
#[derive(Debug)]
pub(super) struct Lookup<D> {
    directory: D,
    own: NodeName,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    answers: HashMap<TunnelId, Answer>,
    /// When the directory failed last.
    failed: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Answer {
    holders: Arc<[Holder]>,
    given: Instant,
}

impl<D: Directory> Lookup<D> {
    pub(super) fn new(directory: D, own: NodeName) -> Self {
        Self { directory, own, memory: Mutex::default() }
    }

    /// The other nodes that hold a tunnel; what is remembered will do.
    pub(super) async fn find(&self, tunnel: TunnelId) -> Result<Arc<[Holder]>, Error> {
        let known = self.lock().answers.get(&tunnel).cloned();
        if let Some(known) = known {
            let fresh = if known.holders.is_empty() {
                limits::LOOKUP_ABSENT_FRESH
            } else {
                limits::LOOKUP_FRESH
            };
            if known.age() < fresh {
                return Ok(known.holders);
            }
        }
        self.ask(tunnel).await
    }

    /// The same, but asks anew.
    pub(super) async fn ask(&self, tunnel: TunnelId) -> Result<Arc<[Holder]>, Error> {
        let is_resting = self.lock().failed.is_some_and(|at| since(at) < limits::DIRECTORY_REST);
        let asked = if is_resting {
            Err(DirectoryError::new("the directory failed a moment ago"))
        } else {
            timeout(limits::DIRECTORY_WAIT, self.directory.find(tunnel)).await.unwrap_or_else(
                |_| {
                    Err(DirectoryError::new(
                        "the directory did not answer in time (DIRECTORY_WAIT)",
                    ))
                },
            )
        };
        let mut memory = self.lock();
        match asked {
            Ok(mut holders) => {
                holders.retain(|holder| *holder.node.name() != self.own);
                holders.truncate(limits::NODES_PER_TUNNEL);
                memory.failed = None;
                let answer = Answer { holders: holders.into(), given: now() };
                memory.remember(tunnel, answer.clone());
                Ok(answer.holders)
            }
            Err(error) => {
                if !is_resting {
                    debug!(%tunnel, %error, "the directory of edge nodes does not answer");
                    memory.failed = Some(now());
                }
                match memory.answers.get(&tunnel) {
                    // That nobody held it once is no answer: somebody may by now.
                    Some(known)
                        if !known.holders.is_empty() && known.age() < limits::LOOKUP_REMEMBERED =>
                    {
                        Ok(Arc::clone(&known.holders))
                    }
                    _ => {
                        let what = "the directory of edge nodes can't be asked";
                        Err(Error::from(ErrorKind::Network(what.into())).with_source(error))
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn remember(&mut self, tunnel: TunnelId, answer: Answer) {
        if self.answers.len() >= limits::LOOKUP_ENTRIES && !self.answers.contains_key(&tunnel) {
            self.answers.retain(|_, answer| answer.age() < limits::LOOKUP_FRESH);
            if self.answers.len() >= limits::LOOKUP_ENTRIES {
                self.answers.clear();
            }
        }
        self.answers.insert(tunnel, answer);
    }
}

impl Answer {
    fn age(&self) -> Duration {
        since(self.given)
    }
}

fn since(then: Instant) -> Duration {
    now().saturating_duration_since(then)
}

#[expect(clippy::disallowed_methods, reason = "a shell: how old an answer is")]
fn now() -> Instant {
    Instant::now()
}
