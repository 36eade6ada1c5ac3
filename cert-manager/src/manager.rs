use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};
#[cfg(feature = "tokio")]
use std::{future::Future, pin::pin, time::Duration};

use crate::{
    certificate::Certificate,
    error::{Error, Kind},
    issuer::{PrivateCa, Profile},
    lifecycle::{self, Action, Decision, Failures, Health, View},
    name::Name,
    resolver::Resolver,
};

/// Keeps certificates for a set of names issued, renewed and served.
///
/// [`Manager::ensure`] issues what is missing or due and hands it to the resolver; `run` does
/// that whenever it is time. Names can be added and removed while it runs. A certificate that
/// cannot be renewed keeps serving, and does not hold up others.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use cert_manager::{Manager, PrivateCa, Resolver};
///
/// # fn main() -> Result<(), cert_manager::Error> {
/// let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
/// let resolver = Resolver::new();
/// let ca = PrivateCa::generate("Example CA", now)?;
/// let manager = Manager::builder(ca, resolver.clone())
///     .name("app.example.jp")
///     .names(["example.jp", "*.example.jp"])
///     .build()?;
///
/// assert_eq!(manager.ensure(now)?.issued, 2);
/// assert!(resolver.knows(Some("other.example.jp")));
/// // Half a life later, both are renewed.
/// assert_eq!(manager.ensure(now + Duration::from_secs(4 * 86_400))?.issued, 2);
/// # Ok(())
/// # }
/// ```
pub struct Manager {
    issuer: Arc<PrivateCa>,
    resolver: Arc<Resolver>,
    profile: Profile,
    default: Option<Name>,
    #[cfg(feature = "tokio")]
    clock: Clock,
    entries: Mutex<Vec<Entry>>,
}

impl Manager {
    /// Starts to describe a manager that takes certificates from `issuer` and puts them into
    /// `resolver`.
    pub fn builder(issuer: impl Into<Arc<PrivateCa>>, resolver: Arc<Resolver>) -> Builder {
        Builder {
            issuer: issuer.into(),
            resolver,
            profile: Profile::server(),
            default: None,
            #[cfg(feature = "tokio")]
            clock: Arc::new(system_clock),
            wanted: Vec::new(),
        }
    }

    /// Issues what is missing, due or critical at `now`, and serves it.
    ///
    /// Call it once before listening. Calling it often is harmless, and cheap while nothing is due.
    /// It blocks while it issues: 30 to 150 µs for each certificate.
    ///
    /// # Errors
    ///
    /// The first failure. All others were tried all the same, what was issued is served, and
    /// [`Manager::snapshot`] has the reason for each.
    pub fn ensure(&self, now: SystemTime) -> Result<Ensured, Error> {
        let (done, first_error) = self.pass(now, usize::MAX)?;
        first_error.map_or(Ok(done), Err)
    }

    /// Looks after one more certificate that carries all of `names`. The next
    /// [`Manager::ensure`] issues it; `run` does so within a minute.
    ///
    /// # Errors
    ///
    /// If a name is refused, there is none, or one is being looked after already; then nothing is
    /// changed.
    pub fn add(&self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Result<(), Error> {
        let names = parse(names)?;
        let mut entries = self.entries();
        let is_taken = |name: &&Name| entries.iter().any(|entry| entry.names.contains(name));
        if let Some(name) = names.iter().find(is_taken) {
            return Err(Kind::NameConflict(name.to_string()).into());
        }
        entries.push(Entry::new(names));
        Ok(())
    }

    /// Stops looking after, and serving, the certificate that carries `name`. Says whether there
    /// was one. All its names go.
    ///
    /// # Errors
    ///
    /// If the name is refused.
    pub fn remove(&self, name: &str) -> Result<bool, Error> {
        let name = name.parse::<Name>()?;
        let mut entries = self.entries();
        let Some(index) = entries.iter().position(|entry| entry.names.contains(&name)) else {
            return Ok(false);
        };
        let entry = entries.swap_remove(index);
        self.resolver.remove(&entry.names);
        if self.is_default(&entry) {
            self.resolver.set_default(None);
        }
        Ok(true)
    }

    /// Tells how each certificate fares at `now`.
    pub fn snapshot(&self, now: SystemTime) -> Vec<Status> {
        let entries = self.entries();
        entries.iter().map(|entry| entry.status(now)).collect()
    }

    /// Renews certificates before they end, until `shutdown` completes.
    ///
    /// Looks at the wall clock at least once a minute, because a longer sleep would not count the
    /// time during which the machine is suspended. Failures are logged and tried again.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future between two steps loses nothing; it can be run again.
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub async fn run(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        loop {
            let now = (self.clock)();
            let pause = match self.pass(now, BATCH) {
                Ok((done, _)) if done.is_complete => {
                    let until = done.wake_at.duration_since(now).unwrap_or_default();
                    until.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
                }
                // Let others run in between, then go on.
                Ok(_) => Duration::ZERO,
                Err(error) => {
                    tracing::error!(%error, "failed to serve what was issued");
                    LONGEST_PAUSE
                }
            };
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Tries to issue at most `limit` certificates and swaps them in with one change.
    ///
    /// Tells what was done, and the first failure to issue.
    fn pass(&self, now: SystemTime, limit: usize) -> Result<(Ensured, Option<Error>), Error> {
        let mut entries = self.entries();
        let mut attempts = 0;
        let mut issued = Vec::new();
        let mut first_error = None;
        let mut done =
            Ensured { issued: 0, wake_at: now + lifecycle::LONGEST_SLEEP, is_complete: true };
        for (index, entry) in entries.iter_mut().enumerate() {
            let decision = entry.decide(now);
            let Action::Issue(cause) = decision.action else {
                done.wake_at = done.wake_at.min(decision.wake_at);
                continue;
            };
            if attempts == limit {
                done.is_complete = false;
                break;
            }
            attempts += 1;
            match self.issuer.issue(&entry.names, self.profile, now) {
                Ok(certificate) => {
                    tracing::info!(names = ?entry.names, serial = %certificate.serial(), ?cause,
                        "issued a certificate");
                    issued.push((index, certificate));
                }
                Err(error) => {
                    tracing::warn!(names = ?entry.names, %error, ?cause,
                        "failed to issue a certificate; what there is keeps serving");
                    entry.failures = entry.failures.and_one(now);
                    entry.last_error = Some(error.to_string());
                    first_error.get_or_insert(error);
                    done.wake_at = done.wake_at.min(entry.decide(now).wake_at);
                }
            }
        }
        done.issued = issued.len();
        let new = issued.iter().map(|(_, certificate)| certificate.clone());
        self.resolver.insert_all(new)?;
        for (index, certificate) in issued {
            let entry = &mut entries[index];
            if self.is_default(entry) {
                self.resolver.set_default(certificate.clone());
            }
            entry.adopt(certificate);
            done.wake_at = done.wake_at.min(entry.decide(now).wake_at);
        }
        Ok((done, first_error))
    }

    fn is_default(&self, entry: &Entry) -> bool {
        let default = self.default.as_ref();
        default.is_some_and(|name| entry.names.contains(name))
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        // An entry is changed by whole values, so a panic elsewhere leaves none half-written.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("certificates", &self.entries().len())
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

/// Describes a [`Manager`]. Names are checked by [`Builder::build`].
#[must_use]
pub struct Builder {
    issuer: Arc<PrivateCa>,
    resolver: Arc<Resolver>,
    profile: Profile,
    default: Option<String>,
    #[cfg(feature = "tokio")]
    clock: Clock,
    wanted: Vec<Vec<String>>,
}

impl Builder {
    /// Wants a certificate for one name.
    pub fn name(self, name: impl Into<String>) -> Self {
        self.names([name])
    }

    /// Wants one certificate that carries all of these names.
    pub fn names(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.wanted.push(names.into_iter().map(Into::into).collect());
        self
    }

    /// Sets what is issued. The default is [`Profile::server`]: 7 days.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// Serves the certificate that carries `name` also to clients that ask for no name, or for an
    /// unknown one. By default such clients are refused. See [`Resolver::set_default`].
    pub fn default_name(mut self, name: impl Into<String>) -> Self {
        self.default = Some(name.into());
        self
    }

    /// Sets the wall clock that [`Manager::run`] reads. The default is the system's.
    #[cfg(feature = "tokio")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Checks all names and makes the manager. Nothing is issued yet.
    ///
    /// # Errors
    ///
    /// If a name is refused, is wanted twice, or a certificate would carry none; or if the default
    /// name is not among those wanted.
    pub fn build(self) -> Result<Manager, Error> {
        let mut entries = Vec::new();
        let mut taken = HashSet::new();
        for names in &self.wanted {
            let names = parse(names)?;
            if let Some(name) = names.iter().find(|name| !taken.insert((*name).clone())) {
                return Err(Kind::NameConflict(name.to_string()).into());
            }
            entries.push(Entry::new(names));
        }
        let default = self.default.as_deref().map(str::parse::<Name>).transpose()?;
        if let Some(name) = &default
            && !taken.contains(name)
        {
            return Err(Kind::NotManaged(name.to_string()).into());
        }
        Ok(Manager {
            issuer: self.issuer,
            resolver: self.resolver,
            profile: self.profile,
            default,
            #[cfg(feature = "tokio")]
            clock: self.clock,
            entries: Mutex::new(entries),
        })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("wanted", &self.wanted)
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

/// What [`Manager::ensure`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ensured {
    /// How many certificates were issued and are served now.
    pub issued: usize,
    /// When to call again at the latest.
    pub wake_at: SystemTime,
    is_complete: bool,
}

/// How one certificate fares.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// The names that it carries or shall carry.
    pub names: Vec<Name>,
    /// How it fares.
    pub health: Health,
    /// Last second of its life, if there is one.
    pub not_after: Option<SystemTime>,
    /// When its renewal begins, if there is one.
    pub renew_at: Option<SystemTime>,
    /// Attempts that failed since the last success.
    pub failures: u32,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<String>,
}

#[cfg(feature = "tokio")]
type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

struct Entry {
    names: Vec<Name>,
    certificate: Option<Certificate>,
    failures: Failures,
    last_error: Option<String>,
}

impl Entry {
    fn new(names: Vec<Name>) -> Self {
        Self { names, certificate: None, failures: Failures::default(), last_error: None }
    }

    fn adopt(&mut self, certificate: Certificate) {
        self.certificate = Some(certificate);
        self.failures = Failures::default();
        self.last_error = None;
    }

    fn decide(&self, now: SystemTime) -> Decision {
        let view = View {
            leaf: self.certificate.as_ref().map(Into::into),
            failures: self.failures,
            ..View::default()
        };
        lifecycle::decide(now, &view)
    }

    fn status(&self, now: SystemTime) -> Status {
        let certificate = self.certificate.as_ref();
        Status {
            names: self.names.clone(),
            health: self.decide(now).health,
            not_after: certificate.map(Certificate::not_after),
            renew_at: certificate.and_then(|leaf| lifecycle::due_at(leaf.into())),
            failures: self.failures.count,
            last_error: self.last_error.clone(),
        }
    }
}

fn parse(names: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Vec<Name>, Error> {
    let mut names =
        names.into_iter().map(|name| name.as_ref().parse()).collect::<Result<Vec<Name>, _>>()?;
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Err(Kind::NoNames.into());
    }
    Ok(names)
}

#[cfg(feature = "tokio")]
#[expect(clippy::disallowed_methods, reason = "the manager's `run` is the shell that reads it")]
fn system_clock() -> SystemTime {
    SystemTime::now()
}

/// Certificates issued without letting other tasks run: some two milliseconds.
#[cfg(feature = "tokio")]
const BATCH: usize = 64;
#[cfg(feature = "tokio")]
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
#[cfg(feature = "tokio")]
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
