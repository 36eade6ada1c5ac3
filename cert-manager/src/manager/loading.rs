//! The first look at what is stored: many certificates at a time, so that a restart with very many of them serves soon.
//!
//! It takes what is whole and good. What is missing, damaged or another's is left to a closer look, at one certificate alone.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::task::{Id, JoinError, JoinSet};

use crate::{
    error::StorageError,
    manager::{
        shell::Shell,
        status::Event,
        stored::FailureLog,
        tracked::Tracked,
        worker::{Worker, World, failures_key},
    },
    name::Name,
    record::Record,
    storage::{Entry, Key, Storage, Version},
};

/// How far the first look is.
#[derive(Debug)]
pub(crate) struct Loading {
    left: usize,
    next: usize,
    tasks: JoinSet<Vec<Option<Loaded>>>,
    /// What they are for.
    #[expect(clippy::vec_box, reason = "as the keeper hands them out")]
    batches: HashMap<Id, Vec<Box<Tracked>>>,
}

impl Loading {
    pub(crate) fn new(certificates: usize) -> Self {
        let (tasks, batches) = (JoinSet::new(), HashMap::new());
        Self { left: certificates, next: FIRST, tasks, batches }
    }

    /// Whether some have not been looked at.
    pub(crate) fn has_more(&self) -> bool {
        self.left > 0
    }

    /// The next ones that were looked at, with what is served for them now; `None` if no look is under way.
    pub(crate) async fn next(&mut self) -> Option<Vec<(Box<Tracked>, Option<Loaded>)>> {
        let ended = self.tasks.join_next_with_id().await?;
        let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        // After a panic, a closer look tells whose it was.
        let mut loaded = ended.map(|(_, loaded)| loaded).unwrap_or_default().into_iter();
        let batch = self.batches.remove(&id).unwrap_or_default().into_iter();
        Some(batch.map(|tracked| (tracked, loaded.next().flatten())).collect())
    }
}

impl<W: World> Shell<W> {
    /// Looks at the next ones. More and more at a time, so that the first serve soon.
    pub(crate) fn start_loading(self: &Arc<Self>, loading: &mut Loading, now: SystemTime) {
        while loading.has_more() && loading.tasks.len() < SIDE_BY_SIDE.min(self.in_flight) {
            let wanted = loading.next.min(loading.left);
            let batch = self.keeper().take_due(now, wanted, |_| None);
            // Some may have been removed.
            loading.left = if batch.len() < wanted { 0 } else { loading.left - wanted };
            loading.next = (2 * loading.next).min(LARGEST);
            let shell = Arc::clone(self);
            let wanted: Vec<_> = batch.iter().map(|tracked| Wanted::from(&**tracked)).collect();
            let task = loading.tasks.spawn(async move {
                // A store that hangs at one object must not hold up the others.
                let read = tokio::time::timeout(PATIENCE, shell.worker.read_many(&wanted)).await;
                let read = read.unwrap_or_default();
                let serve = move || shell.worker.serve_many(&wanted, read);
                tokio::task::spawn_blocking(serve).await.unwrap_or_default()
            });
            loading.batches.insert(task.id(), batch);
        }
    }
}

/// A certificate of which the store is asked.
#[derive(Debug)]
struct Wanted {
    names: Arc<[Name]>,
    key: Key,
}

impl From<&Tracked> for Wanted {
    fn from(tracked: &Tracked) -> Self {
        Self { names: Arc::clone(&tracked.names), key: tracked.key.clone() }
    }
}

/// What the store had, and is served now.
#[derive(Debug)]
pub(crate) struct Loaded {
    record: Arc<Record>,
    version: Version,
    failures: FailureLog,
    failures_version: Option<Version>,
}

impl Loaded {
    /// Notes it.
    pub(crate) fn settle(self, tracked: &mut Tracked) {
        tracked.record = Some(self.record);
        tracked.version = Some(self.version);
        tracked.failures = self.failures;
        tracked.failures_version = self.failures_version;
        tracked.is_stale = false;
    }
}

/// As it was read: a certificate, and how attempts for it failed.
type Read = (Found, Found);
type Found = Result<Option<Entry>, StorageError>;

impl<W: World> Worker<W> {
    /// Reads what the store has.
    async fn read_many(&self, wanted: &[Wanted]) -> Vec<Read> {
        let keys: Vec<_> = wanted.iter().map(|wanted| wanted.key.clone()).collect();
        let failures: Result<Vec<_>, _> = keys.iter().map(failures_key).collect();
        let Ok(failures) = failures else { return Vec::new() };
        let read = self.storage.get_many(&keys).await;
        let failures = self.storage.get_many(&failures).await;
        read.unwrap_or_default().into_iter().zip(failures.unwrap_or_default()).collect()
    }

    /// Serves what was read, as far as it is good. Takes a while: some ten microseconds for each.
    fn serve_many(&self, wanted: &[Wanted], read: Vec<Read>) -> Vec<Option<Loaded>> {
        let mut all: Vec<_> =
            wanted.iter().zip(read).map(|(wanted, read)| whole(&wanted.key, read)).collect();
        all.resize_with(wanted.len(), || None);
        let names = wanted.iter().map(|wanted| &*wanted.names);
        let good = names.zip(&all).filter_map(|(names, it)| Some((names, &*it.as_ref()?.record)));
        let mut served = self.world.serve_many(&good.collect::<Vec<_>>()).into_iter();
        for (wanted, loaded) in wanted.iter().zip(&mut all) {
            loaded.take_if(|_| served.next().is_none_or(|served| served.is_err()));
            let Some(record) = loaded.as_ref().map(|loaded| &loaded.record) else { continue };
            let (issuer, serial) = (record.issuer.clone(), record.serial.clone());
            self.teller.tell(Event::Loaded { names: wanted.names.to_vec(), issuer, serial });
        }
        all
    }
}

/// What is there and can be read.
fn whole(key: &Key, (found, failures): Read) -> Option<Loaded> {
    let entry = found.ok()??;
    let (failures, failures_version) = match failures.ok()? {
        Some(entry) => (serde_json::from_slice(&entry.value).ok()?, Some(entry.version)),
        None => (FailureLog::default(), None),
    };
    let record = Record::read(key, &entry.value).ok()??;
    if record.is_newer() {
        return None;
    }
    let record = Arc::new(record);
    Some(Loaded { record, version: entry.version, failures, failures_version })
}

const FIRST: usize = 32;
/// Larger ones save little, and what is read lies in memory.
const LARGEST: usize = 1024;
/// One reads while another is being served.
const SIDE_BY_SIDE: usize = 4;
/// Then all get a closer look, each by itself.
const PATIENCE: Duration = Duration::from_secs(5);
