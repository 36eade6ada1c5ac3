use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use tokio::sync::{Notify, watch};

use crate::{
    error::{Error, Kind},
    issuer::PrivateCa,
    key::default_provider,
    manager::{
        Manager,
        files::FilePair,
        issuer::{Issuer, PrivateIssuer},
        keeper::Keeper,
        parse,
        served::{Clock, FileStatuses, Served, watch_files},
        shell::{Progress, Shell},
        status::Teller,
        tracked::Tracked,
        worker::{Known, Worker, World as _},
    },
    name::Name,
    record::short_hash,
    resolver::Resolver,
    storage::{MemoryStore, Storage},
};

/// Describes a [`Manager`]. [`Builder::start`] checks it.
#[must_use]
pub struct Builder {
    issuers: Vec<Arc<dyn Issuer>>,
    storage: Arc<dyn Storage>,
    resolver: Arc<Resolver>,
    wanted: Vec<Vec<String>>,
    files: Vec<FilePair>,
    default: Option<String>,
    node: Option<String>,
    lease_life: Duration,
    in_flight: usize,
    longest_pause: Duration,
    clock: Clock,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            issuers: Vec::new(),
            storage: Arc::new(MemoryStore::new()),
            resolver: Resolver::new(),
            wanted: Vec::new(),
            files: Vec::new(),
            default: None,
            node: None,
            lease_life: LEASE_LIFE,
            in_flight: IN_FLIGHT,
            longest_pause: LONGEST_PAUSE,
            clock: Arc::new(system_clock),
        }
    }

    /// Adds an issuer. Those added first are preferred; the next one is asked after two failures in a row, after an hour in
    /// which the one before failed for everybody, or, when there is little time left, after one failure.
    pub fn issuer(mut self, issuer: impl Issuer + 'static) -> Self {
        self.issuers.push(Arc::new(issuer));
        self
    }

    /// Adds an issuer that others use as well.
    pub fn shared_issuer(mut self, issuer: Arc<dyn Issuer>) -> Self {
        self.issuers.push(issuer);
        self
    }

    /// Adds a private authority, which issues for 7 days.
    pub fn private_ca(self, ca: impl Into<Arc<PrivateCa>>) -> Self {
        self.issuer(PrivateIssuer::new(ca))
    }

    /// Keeps certificates in a store. By default in memory: a restart orders all of them anew.
    pub fn storage(mut self, storage: impl Storage + 'static) -> Self {
        self.storage = Arc::new(storage);
        self
    }

    /// Serves through this resolver. By default through one of its own, [`Manager::resolver`].
    pub fn resolver(mut self, resolver: Arc<Resolver>) -> Self {
        self.resolver = resolver;
        self
    }

    /// Wants a certificate for one name.
    pub fn name(self, name: impl Into<String>) -> Self {
        self.names([name])
    }

    /// Wants one certificate that carries all of these names.
    pub fn names(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.wanted.push(names.into_iter().map(Into::into).collect());
        self
    }

    /// Serves a certificate that somebody else puts into files: chain and key, which may be one file. Both are looked at each
    /// second; a pair that cannot be used is reported, and the one before keeps serving.
    pub fn files(mut self, chain: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.files.push(FilePair::new(chain.into(), key.into()));
        self
    }

    /// Serves the certificate that carries `name` also to clients that ask for no name, or for an unknown one. By default such
    /// clients are refused. See [`Resolver::set_default`].
    pub fn default_name(mut self, name: impl Into<String>) -> Self {
        self.default = Some(name.into());
        self
    }

    /// Names this node in leases, for people who look at the store. By default the process and a random part.
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self
    }

    /// For how long a node that dies in the middle of an order keeps others from going on with it: 60 seconds by default,
    /// between 1 second and 1 hour. It is renewed at a third.
    pub fn lease_life(mut self, life: Duration) -> Self {
        self.lease_life = life.clamp(Duration::from_secs(1), crate::storage::Lease::LONGEST);
        self
    }

    /// How many orders are under way at once, at most: 100 by default, at least 1.
    pub fn orders_in_flight(mut self, count: usize) -> Self {
        self.in_flight = count.max(1);
        self
    }

    /// How often to look at what other nodes, and [`Ledger`](crate::manager::Ledger)s beside it, have written: one read of a
    /// small object. Each minute by default, which is the most; at least a tenth of a second.
    pub fn look_every(mut self, pause: Duration) -> Self {
        self.longest_pause = pause.clamp(Duration::from_millis(100), LONGEST_PAUSE);
        self
    }

    /// Sets the clock on the wall. The default is the system's.
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Loads what the store has, orders what is missing or due, and returns when the first certificate serves; the others
    /// follow in the background. With nothing wanted it returns at once.
    ///
    /// An object in the store that cannot be used is set aside, and what loads serves.
    ///
    /// # Errors
    ///
    /// If a name is refused, is wanted twice, or a certificate would carry none; if the default name is not among those wanted;
    /// if there are names and no issuer. If nothing serves after each certificate was tried once, by each issuer that may be asked
    /// at once: why the first failed. Then nothing goes on in the background, and what was noted stays in the store.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future stops everything; another start goes on where it was.
    pub async fn start(self) -> Result<Manager, Error> {
        let (manager, pairs, stopped) = self.build()?;
        let mut tasks = Vec::new();
        let mut problem = None;
        let mut serves_files = false;
        if !pairs.is_empty() {
            let (shell, files) = (Arc::clone(&manager.shell), Arc::clone(&manager.files));
            let (pairs, error) = load_files(files, shell, pairs).await;
            serves_files = error.is_none();
            problem = error;
            let (shell, files) = (Arc::clone(&manager.shell), Arc::clone(&manager.files));
            tasks.push(tokio::spawn(watch_files(files, pairs, shell, stopped)));
        }
        let wanted = manager.shell.keeper().len();
        let mut progress = manager.shell.progress.subscribe();
        tasks.push(tokio::spawn(Arc::clone(&manager.shell).run()));
        *manager.tasks.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = tasks;
        if wanted > 0 && !serves_files {
            let is_known = |it: &Progress| it.serving > 0 || it.tried >= wanted;
            let serving = progress.wait_for(is_known).await.map_or(0, |it| it.serving);
            if serving == 0 {
                return Err(manager.first_problem());
            }
        } else if let Some(error) = problem.filter(|_| wanted == 0) {
            return Err(error);
        }
        Ok(manager)
    }

    fn build(self) -> Result<(Manager, Vec<FilePair>, watch::Receiver<bool>), Error> {
        let has_names = !self.wanted.is_empty();
        if self.issuers.is_empty() && (has_names || self.files.is_empty()) {
            return Err(Kind::NoIssuer.into());
        }
        let default = self.default.as_deref().map(str::parse::<Name>).transpose()?;
        let now = (self.clock)();
        let mut keeper = Keeper::default();
        let mut is_default_wanted = default.is_none() || !self.files.is_empty();
        for names in &self.wanted {
            let names = parse(names)?;
            is_default_wanted |= default.as_ref().is_some_and(|name| names.contains(name));
            keeper.add(Tracked::new(names)?, now)?;
        }
        if let Some(name) = default.as_ref().filter(|_| !is_default_wanted) {
            return Err(Kind::NotManaged(name.to_string()).into());
        }
        let (stop, stopped) = watch::channel(false);
        let provider = Arc::new(default_provider());
        let node = match self.node {
            Some(node) => node,
            None => random_node(&provider)?,
        };
        let worker = Worker {
            issuers: self.issuers.iter().map(|issuer| issuer.id().to_owned()).collect(),
            asks: self.issuers.iter().map(|issuer| issuer.says_when_to_renew()).collect(),
            known: Mutex::new(vec![Known::default(); self.issuers.len()]),
            world: Served {
                clock: self.clock,
                resolver: self.resolver,
                provider,
                issuers: self.issuers,
                default,
            },
            storage: self.storage,
            teller: Teller::new(),
            node,
            lease_life: self.lease_life,
            stopped: stopped.clone(),
        };
        let shell = Arc::new(Shell {
            worker,
            keeper: Mutex::new(keeper),
            woken: Notify::new(),
            progress: watch::Sender::default(),
            in_flight: self.in_flight,
            longest_pause: self.longest_pause,
        });
        let manager = Manager { shell, files: Arc::default(), stop, tasks: Mutex::default() };
        Ok((manager, self.files, stopped))
    }
}

/// Looks at all files once, and tells the first problem.
async fn load_files(
    files: Arc<FileStatuses>,
    shell: Arc<Shell<Served>>,
    mut pairs: Vec<FilePair>,
) -> (Vec<FilePair>, Option<Error>) {
    let loaded = tokio::task::spawn_blocking(move || {
        let errors = pairs.iter_mut().filter_map(|pair| files.poll(pair, &shell).err());
        let first = errors.fold(None, |first, error| first.or(Some(error)));
        (pairs, first)
    });
    // Only a panic, our own bug, leaves nothing.
    loaded.await.unwrap_or_default()
}

impl Manager {
    /// Why nothing serves.
    fn first_problem(&self) -> Error {
        let statuses = self.shell.keeper().statuses(self.shell.worker.world.now());
        let text = statuses.into_iter().find_map(|status| status.last_error).map(|it| it.text);
        Kind::NothingServes(text.unwrap_or_else(|| "another node is at work".to_owned())).into()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("wanted", &self.wanted)
            .field("issuers", &self.issuers)
            .field("storage", &self.storage)
            .finish_non_exhaustive()
    }
}

/// Two nodes of one process have two names.
fn random_node(provider: &rustls::crypto::CryptoProvider) -> Result<String, Error> {
    let mut bytes = [0; 16];
    provider.secure_random.fill(&mut bytes).map_err(|_| Kind::Randomness)?;
    let random = short_hash(&format!("{bytes:?}"));
    Ok(format!("{}-{}", std::process::id(), &random[..8]))
}

#[expect(clippy::disallowed_methods, reason = "the manager is the shell that reads it")]
fn system_clock() -> SystemTime {
    SystemTime::now()
}

const LEASE_LIFE: Duration = Duration::from_secs(60);
const IN_FLIGHT: usize = 100;
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
