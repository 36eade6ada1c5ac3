//! The task that wakes when something is due, and those that it starts.

use std::{
    any::Any,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Notify, watch},
    task::{Id, JoinError, JoinSet},
    time::Instant,
};

use crate::{
    error::Error,
    manager::{
        keeper::{Jump, Keeper},
        loading::{Loaded, Loading},
        status::{Event, chain},
        stored::{Changes, read_changes},
        tracked::Tracked,
        worker::{Worker, World, until_stopped},
    },
    storage::{Key, Version},
};

#[derive(Debug)]
pub(crate) struct Shell<W> {
    pub(crate) worker: Worker<W>,
    pub(crate) keeper: Mutex<Keeper>,
    /// Something was added.
    pub(crate) woken: Notify,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) in_flight: usize,
    /// A longer sleep would not count the time during which the machine is suspended.
    pub(crate) longest_pause: Duration,
}

/// How far the first round is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// How many certificates were looked at for the first time.
    pub(crate) tried: usize,
    /// How many certificates are served.
    pub(crate) serving: usize,
}

/// What a task is done with.
enum Done {
    Certificate {
        tracked: Box<Tracked>,
        was_tried: bool,
        had: bool,
        wake_at: SystemTime,
    },
    Changes(Result<(Changes, Option<Version>), Error>),
    /// Our own bug, or an issuer's or a store's. The number is the certificate's, if it was work for one.
    Panicked {
        number: Option<u64>,
        text: String,
    },
}

/// What is under way.
#[derive(Default)]
struct Tasks {
    set: JoinSet<Done>,
    /// Of the certificates that they are for.
    numbers: HashMap<Id, u64>,
}

impl Tasks {
    /// The next that ends, in whatever way; `None` if there is none.
    async fn next(&mut self) -> Option<Done> {
        let ended = self.set.join_next_with_id().await?;
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let number = self.numbers.remove(&id);
        Some(match ended {
            Ok((_, done)) => done,
            Err(error) => Done::Panicked { number, text: text_of(error) },
        })
    }
}

/// What was said when it panicked.
fn text_of(error: JoinError) -> String {
    let Ok(said) = error.try_into_panic() else { return "it was cancelled".to_owned() };
    let said: &dyn Any = &*said;
    let text = said.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| said.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "it said nothing".to_owned())
}

impl<W: World> Shell<W> {
    /// Works until the worker is stopped, then lets what is under way come to a place where it can be left.
    pub(crate) async fn run(self: Arc<Self>) {
        let start = start();
        let mut stopped = self.worker.stopped.clone();
        let mut tasks = Tasks::default();
        let mut loading = Loading::new(self.keeper().len());
        let mut changes = ChangesSeen::default();
        while !*stopped.borrow() {
            let now = self.worker.world.now();
            self.look_at_clocks(now, start.elapsed());
            if changes.are_due(start.elapsed(), self.longest_pause) {
                let shell = Arc::clone(&self);
                let read = async move { read_changes(&*shell.worker.storage).await };
                tasks.set.spawn(async { Done::Changes(read.await) });
            }
            // What is stored serves before anything is ordered.
            let pause = if loading.has_more() {
                self.start_loading(&mut loading, now);
                self.longest_pause
            } else {
                self.start_due(&mut tasks, now);
                self.pause(&tasks, now)
            };
            tokio::select! {
                biased;
                () = until_stopped(&mut stopped) => break,
                Some(done) = tasks.next() => self.handle_done(done, &mut changes),
                Some(batch) = loading.next() => self.handle_loaded(batch),
                () = self.woken.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        while let Some(done) = tasks.next().await {
            self.handle_done(done, &mut changes);
        }
        while let Some(batch) = loading.next().await {
            self.handle_loaded(batch);
        }
    }

    pub(crate) fn keeper(&self) -> MutexGuard<'_, Keeper> {
        // It is changed by whole values.
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_at_clocks(&self, wall: SystemTime, counted: Duration) {
        let jump = self.keeper().observe(wall, counted);
        let (is_forwards, by) = match jump {
            Some(Jump::Forwards(by)) => (true, by),
            Some(Jump::Backwards(by)) => (false, by),
            None => return,
        };
        self.worker.teller.tell(Event::ClockJumped { is_forwards, by });
    }

    fn start_due(self: &Arc<Self>, tasks: &mut Tasks, now: SystemTime) {
        let free = self.in_flight.saturating_sub(tasks.set.len());
        // Most want nothing: they need no task.
        let glance = |tracked: &mut Tracked| self.worker.glance(tracked, now);
        let due = self.keeper().take_due(now, free, glance);
        for mut tracked in due {
            let shell = Arc::clone(self);
            let number = tracked.number;
            let task = tasks.set.spawn(async move {
                let (was_tried, had) = (tracked.is_tried, tracked.record.is_some());
                let wake_at = shell.worker.work(&mut tracked).await;
                Done::Certificate { tracked, was_tried, had, wake_at }
            });
            tasks.numbers.insert(task.id(), number);
        }
    }

    fn pause(&self, tasks: &Tasks, now: SystemTime) -> Duration {
        if tasks.set.len() >= self.in_flight {
            // One of them ends first.
            return self.longest_pause;
        }
        let next = self.keeper().next_wake();
        let until = next.map(|next| next.duration_since(now).unwrap_or_default());
        until.unwrap_or(self.longest_pause).clamp(SHORTEST_PAUSE, self.longest_pause)
    }

    fn handle_loaded(&self, batch: Vec<(Box<Tracked>, Option<Loaded>)>) {
        let now = self.worker.world.now();
        for (mut tracked, loaded) in batch {
            let before = (tracked.is_tried, tracked.record.is_some());
            // What was not loaded, or is due, is looked at more closely.
            let is_loaded = loaded.map(|loaded| loaded.settle(&mut tracked)).is_some();
            let rest = if is_loaded { self.worker.glance(&mut tracked, now) } else { None };
            tracked.is_tried |= rest.is_some();
            self.finish(tracked, before, now, rest.unwrap_or(now));
        }
    }

    /// Takes back what was looked at. `before` says whether it had been tried, and had a certificate.
    fn finish(
        &self,
        tracked: Box<Tracked>,
        before: (bool, bool),
        now: SystemTime,
        wake_at: SystemTime,
    ) {
        let (was_tried, had) = before;
        let is_new = !had && tracked.record.is_some();
        let is_first = !was_tried && tracked.is_tried;
        let names = Arc::clone(&tracked.names);
        let is_kept = self.keeper().finish(tracked, now, wake_at);
        if !is_kept {
            // It was removed while it was worked on, and may have been served since. Who came for one of the names
            // meanwhile serves it, or will.
            let mut gone = names.to_vec();
            gone.retain(|name| !self.keeper().has(name));
            self.worker.world.forget(&gone);
        }
        self.progress.send_if_modified(|progress| {
            progress.tried += usize::from(is_first);
            progress.serving += usize::from(is_new && is_kept);
            is_first || is_new
        });
    }

    fn handle_done(&self, done: Done, changes: &mut ChangesSeen) {
        let now = self.worker.world.now();
        match done {
            Done::Certificate { tracked, was_tried, had, wake_at } => {
                self.finish(tracked, (was_tried, had), now, wake_at);
            }
            Done::Changes(Ok((found, version))) => {
                let mut keeper = self.keeper();
                for (key, version) in changes.handle(&found, version, &keeper) {
                    keeper.mark_changed(&key, version, now);
                }
            }
            Done::Changes(Err(error)) => {
                tracing::warn!(error = chain(&error), "cannot see what other nodes have changed");
            }
            Done::Panicked { number: Some(number), text } => {
                let Some(panicked) = self.keeper().restart(number, &text, now) else { return };
                let (names, retry_at) = (panicked.names, panicked.retry_at);
                self.worker.teller.tell(Event::Panicked { names, text, retry_at });
                self.progress.send_if_modified(|progress| {
                    progress.tried += usize::from(panicked.is_first);
                    panicked.is_first
                });
            }
            Done::Panicked { number: None, text } => {
                tracing::error!(text, "looking for what other nodes have changed panicked");
            }
        }
    }
}

/// What was seen of the changes of all nodes.
#[derive(Debug, Default)]
struct ChangesSeen {
    count: Option<u64>,
    version: Option<Version>,
    next_look: Duration,
}

impl ChangesSeen {
    fn are_due(&mut self, counted: Duration, pause: Duration) -> bool {
        let are_due = counted >= self.next_look;
        if are_due {
            self.next_look = counted + pause;
        }
        are_due
    }

    /// Which certificates have to be read again.
    fn handle(
        &mut self,
        found: &Changes,
        version: Option<Version>,
        keeper: &Keeper,
    ) -> Vec<(Key, Option<Version>)> {
        if self.count.is_some() && version == self.version {
            return Vec::new();
        }
        self.version = version;
        let Some(before) = self.count.replace(found.count()) else { return Vec::new() };
        match found.since(before) {
            Some(last) => last.into_iter().map(|(key, version)| (key, Some(version))).collect(),
            None => keeper.keys().into_iter().map(|key| (key, None)).collect(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the shell around the keeper")]
fn start() -> Instant {
    Instant::now()
}

/// So that a mistake elsewhere cannot make it spin.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
