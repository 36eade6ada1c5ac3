//! What a manager says about itself: as data, not as lines of a log.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::sync::broadcast;

use crate::{
    error::Error,
    failure::FailureClass,
    lifecycle::{Cause, Health},
    name::Name,
};

/// Everything at one moment, from [`Manager::snapshot`](crate::Manager::snapshot).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot {
    /// One for each certificate, sorted by names; those from files stand behind.
    pub certificates: Vec<Status>,
    /// Since the start.
    pub counters: Counters,
}

/// How one certificate fares.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// The names that it carries or shall carry.
    pub names: Vec<Name>,
    /// Where it came from; nothing if there is none yet.
    pub source: Option<Source>,
    /// How it fares, at the time of the last look.
    pub health: Health,
    /// In hexadecimal digits.
    pub serial: Option<String>,
    /// Last second of its life, if there is one.
    pub not_after: Option<SystemTime>,
    /// When its renewal begins, if there is one.
    pub renew_at: Option<SystemTime>,
    /// What comes next.
    pub next_step: NextStep,
    /// When it comes.
    pub next_at: SystemTime,
    /// Attempts that failed since the last success, on all nodes.
    pub failures: u32,
    /// What went wrong last, until it goes right.
    pub last_error: Option<LastError>,
}

/// Where a certificate came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The issuer of this name.
    Issuer(String),
    /// The file of this chain.
    File(PathBuf),
}

/// What a manager does next for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NextStep {
    /// Read it from the store.
    Load,
    /// Look whether it is due; nothing is yet.
    Look,
    /// Order a new one: it is due, and was held back until then.
    Order,
    /// Look whether another node, which is ordering, is done.
    WaitForOtherNode,
    /// Store what was issued and is being served.
    Store,
    /// Look whether the file has changed.
    PollFile,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastError {
    /// In words, with its causes.
    pub text: String,
    /// What follows from it, if an issuer failed.
    pub class: Option<FailureClass>,
    /// The kind of problem that the authority named, such as `rateLimited`.
    pub problem: Option<String>,
    /// Which issuer.
    pub issuer: Option<String>,
    /// When.
    pub at: SystemTime,
    /// Until when the issuer does not want to be asked.
    pub retry_after: Option<SystemTime>,
}

impl LastError {
    pub(crate) fn new(error: &Error, issuer: Option<&str>, at: SystemTime) -> Self {
        let failure = error.failure();
        let problem = failure.and_then(|failure| failure.problem.as_ref());
        Self {
            text: chain(error),
            class: failure.map(|failure| failure.class),
            problem: problem.map(|problem| problem.kind.clone()).filter(|kind| !kind.is_empty()),
            issuer: issuer.map(ToOwned::to_owned),
            at,
            retry_after: failure.and_then(|failure| failure.not_before),
        }
    }

    pub(crate) fn panicked(text: &str, at: SystemTime) -> Self {
        let text = format!("the work panicked: {text}");
        Self { text, class: None, problem: None, issuer: None, at, retry_after: None }
    }
}

/// An error with what lies behind it; the outermost alone says little.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let next = cause.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        source = cause.source();
    }
    text
}

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A certificate came out of the store, at the start or because another node wrote it.
    Loaded {
        /// For these names.
        names: Vec<Name>,
        /// From this issuer.
        issuer: String,
        /// In hexadecimal digits.
        serial: String,
    },
    /// A certificate was issued, and is served.
    Issued {
        /// For these names.
        names: Vec<Name>,
        /// By this issuer.
        issuer: String,
        /// In hexadecimal digits.
        serial: String,
        /// Its last second.
        not_after: SystemTime,
        /// Why it was ordered.
        cause: Cause,
    },
    /// An attempt failed. What there is keeps serving.
    Failed {
        /// For these names.
        names: Vec<Name>,
        /// What went wrong.
        error: LastError,
        /// When it is tried again.
        retry_at: SystemTime,
    },
    /// The work for a certificate panicked: a bug, here or in an issuer or a store of yours. What there is keeps serving.
    Panicked {
        /// For these names.
        names: Vec<Name>,
        /// What was said.
        text: String,
        /// When it is looked at again.
        retry_at: SystemTime,
    },
    /// An issuer is not asked for anything for a while, by any node.
    Held {
        /// Which.
        issuer: String,
        /// Until when.
        until: SystemTime,
    },
    /// A stored object could not be used, and was moved out of the way.
    SetAside {
        /// Under which name it lay.
        key: String,
        /// Where it lies now.
        kept_at: String,
    },
    /// The clock on the wall moved other than time passed. Forwards: such as after a machine was suspended.
    ClockJumped {
        /// Backwards, nothing is renewed that was not due.
        is_forwards: bool,
        /// By so much.
        by: Duration,
    },
    /// A certificate came from a file.
    FileLoaded {
        /// The file of its chain.
        path: PathBuf,
        /// For these names.
        names: Vec<Name>,
        /// In hexadecimal digits.
        serial: String,
    },
    /// A pair of files cannot be used. What was loaded before keeps serving.
    FileRefused {
        /// The file of the chain.
        path: PathBuf,
        /// What is wrong.
        error: String,
    },
}

/// What happens from now on, from [`Manager::events`](crate::Manager::events).
///
/// The last 256 wait to be read. Who reads more slowly misses the oldest, and [`Events::missed`] counts them.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
    missed: u64,
}

impl Events {
    /// The next one; `None` when the manager is gone.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(count)) => self.missed += count,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// How many came and went before they were read.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

/// How often what happened, on this node since its start. Plain numbers, for whatever collects metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Certificates issued, by issuer.
    pub issued: BTreeMap<String, u64>,
    /// Failures, by issuer and kind of problem; without a kind, by what was being done.
    pub failed: BTreeMap<(String, String), u64>,
    /// Certificates taken from the store.
    pub loaded: u64,
    /// How often authorities were asked when to renew.
    pub window_checks: u64,
    /// How often another node was at work already.
    pub lease_conflicts: u64,
    /// Objects moved out of the way.
    pub set_aside: u64,
    /// How often the store failed.
    pub store_failures: u64,
    /// How often the work for a certificate panicked.
    pub panics: u64,
    /// How often the clock on the wall jumped.
    pub clock_jumps: u64,
    /// Certificates loaded from files.
    pub files_loaded: u64,
}

/// Tells everybody, and counts.
#[derive(Debug)]
pub(crate) struct Teller {
    events: broadcast::Sender<Event>,
    counters: Mutex<Counters>,
    /// Kept apart: it is what a certificate without changes costs.
    window_checks: AtomicU64,
}

impl Teller {
    pub(crate) fn new() -> Self {
        let (events, _) = broadcast::channel(EVENTS);
        Self { events, counters: Mutex::default(), window_checks: AtomicU64::new(0) }
    }

    pub(crate) fn events(&self) -> Events {
        Events { receiver: self.events.subscribe(), missed: 0 }
    }

    pub(crate) fn counters(&self) -> Counters {
        let mut counters = self.lock().clone();
        counters.window_checks = self.window_checks.load(Ordering::Relaxed);
        counters
    }

    pub(crate) fn note_window_check(&self) {
        self.window_checks.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note_lease_conflict(&self) {
        self.lock().lease_conflicts += 1;
    }

    pub(crate) fn note_store_failure(&self) {
        self.lock().store_failures += 1;
    }

    pub(crate) fn tell(&self, event: Event) {
        self.count(&event);
        // Nobody listens, or somebody does; both are fine.
        let _ = self.events.send(event);
    }

    fn count(&self, event: &Event) {
        let mut counters = self.lock();
        match event {
            Event::Loaded { names, issuer, serial } => {
                counters.loaded += 1;
                tracing::debug!(?names, issuer, serial, "loaded a certificate");
            }
            Event::Issued { names, issuer, serial, cause, .. } => {
                *counters.issued.entry(issuer.clone()).or_default() += 1;
                tracing::info!(?names, issuer, serial, ?cause, "issued a certificate");
            }
            Event::Failed { names, error, retry_at } => {
                let issuer = error.issuer.clone().unwrap_or_default();
                let class = error.class.map(|class| format!("{class:?}").to_lowercase());
                let kind = error.problem.clone().or(class).unwrap_or_else(|| "store".to_owned());
                *counters.failed.entry((issuer, kind)).or_default() += 1;
                let retry_in = retry_at.duration_since(error.at).unwrap_or_default();
                tracing::warn!(
                    ?names,
                    issuer = error.issuer,
                    error = error.text,
                    ?retry_in,
                    "failed to get a certificate; what there is keeps serving"
                );
            }
            Event::Panicked { names, text, .. } => {
                counters.panics += 1;
                tracing::error!(?names, text, "the work for a certificate panicked");
            }
            Event::Held { issuer, .. } => tracing::warn!(issuer, "an issuer is left in peace"),
            Event::SetAside { key, kept_at } => {
                counters.set_aside += 1;
                tracing::error!(key, kept_at, "a stored object cannot be used");
            }
            Event::ClockJumped { is_forwards, by } => {
                counters.clock_jumps += 1;
                tracing::warn!(is_forwards, ?by, "the clock jumped; deciding everything anew");
            }
            Event::FileLoaded { path, names, serial } => {
                counters.files_loaded += 1;
                tracing::info!(path = %path.display(), ?names, serial, "loaded a certificate");
            }
            Event::FileRefused { path, error } => {
                tracing::error!(path = %path.display(), error,
                    "a certificate's files cannot be used; what was loaded before keeps serving");
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many wait for a slow reader.
const EVENTS: usize = 256;
