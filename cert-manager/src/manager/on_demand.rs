//! Certificates for names that nobody listed, when a client first asks for one.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    certificate::Certificate,
    manager::{
        Manager,
        gate::{Gate, Limits},
        served::Served,
        shell::Shell,
        tracked::Tracked,
        worker::World as _,
    },
    name::Name,
};

/// Issues certificates for names that are not known yet, when a client asks for one and you admit it. From
/// [`Manager::on_demand`].
///
/// The handshake waits meanwhile, as a future: no thread is held. Known names never come here. For the others, in this order:
///
/// 1. Names without a dot, addresses and what is no name are refused.
/// 2. A name that was refused is refused for 10 minutes without a question, to everybody; one that could not be issued, for 1 minute.
/// 3. 1,000 handshakes may wait at once, and 30 come at once from one network (24 bits of an IPv4 address, 48 of an IPv6
///    address), one more each 6 seconds.
/// 4. You are asked, with the name and the client's address.
/// 5. Of all that ask for one name, one has it ordered; at most 16 names are being ordered at once, and 10,000 are granted.
///
/// What was issued is renewed like all else. After a restart a name is admitted anew, and its certificate comes out of the store.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use cert_manager::{Manager, manager::{Admission, SelfSigned}};
///
/// let manager = Manager::builder().issuer(SelfSigned::new()).start().await?;
/// let on_demand = manager.on_demand(|ask| async move {
///     // Ask your database. Only this client's address speaks against it: `RefuseClient`.
///     if ask.name.as_str().ends_with(".tenants.example") { Admission::Admit } else { Admission::RefuseName }
/// });
///
/// // In the accept loop: `on_demand.accept(tcp, peer.ip(), config).await?`. Or by hand:
/// let peer = "192.0.2.1".parse().unwrap();
/// assert!(on_demand.get("shop.tenants.example", peer).await.is_ok());
/// assert!(on_demand.get("shop.example", peer).await.is_err());
/// # Ok::<(), cert_manager::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct OnDemand(Arc<Inner>);

/// Who asks for what.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ask {
    /// The name, in its canonical form.
    pub name: Name,
    /// The client's address.
    pub peer: IpAddr,
}

/// What you say to an [`Ask`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Get a certificate for the name.
    Admit,
    /// Not for this name, whoever asks. It is remembered for 10 minutes.
    RefuseName,
    /// Not for this client. Others are heard.
    RefuseClient,
}

/// Why there is no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It is no name that an authority would sign: an address, without a dot, too long.
    #[error("the name is not one to get a certificate for")]
    Name,
    /// It was refused a short while ago.
    #[error("the name was refused a short while ago")]
    Remembered,
    /// Too many unknown names come from the client's network.
    #[error("too many unknown names come from this network")]
    Network,
    /// Too many handshakes wait, or too many names are being ordered.
    #[error("too many wait for a certificate")]
    Busy,
    /// So many names were granted that no more fit.
    #[error("no more names are granted")]
    Full,
    /// It was not admitted.
    #[error("the name was not admitted")]
    NotAdmitted,
    /// It was not issued in time. The order goes on.
    #[error("the certificate was not there in time")]
    TimedOut,
    /// It could not be issued, for this reason.
    #[error("the certificate could not be issued: {0}")]
    Failed(Arc<str>),
}

struct Inner {
    shell: Arc<Shell<Served>>,
    admit: Box<dyn Fn(Ask) -> Answering + Send + Sync>,
    state: Mutex<State>,
    longest_wait: Duration,
}

struct State {
    gate: Gate,
    flights: HashMap<Name, Flight>,
    granted: HashSet<Name>,
}

/// How one order ended; nothing while it goes on.
type Flight = watch::Receiver<Option<Result<(), Refusal>>>;

type Answering = Pin<Box<dyn Future<Output = Admission> + Send>>;

impl Manager {
    /// Gets certificates for unknown names when clients ask for them, if `admit` says so.
    ///
    /// # Security
    ///
    /// Without a question to a list of your customers, anybody who points a name at you spends your limits at the authority.
    pub fn on_demand<F>(&self, admit: impl Fn(Ask) -> F + Send + Sync + 'static) -> OnDemand
    where
        F: Future<Output = Admission> + Send + 'static,
    {
        let gate = Gate::new(LIMITS);
        OnDemand(Arc::new(Inner {
            shell: Arc::clone(&self.shell),
            admit: Box::new(move |ask| Box::pin(admit(ask))),
            state: Mutex::new(State { gate, flights: HashMap::new(), granted: HashSet::new() }),
            longest_wait: LONGEST_WAIT,
        }))
    }
}

impl OnDemand {
    /// The certificate for a name, issued first if need be and admitted.
    ///
    /// # Errors
    ///
    /// Why there is none; after 30 seconds, [`Refusal::TimedOut`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future, as when a client hangs up, leaves the order to others that wait, and to the next.
    pub async fn get(&self, server_name: &str, peer: IpAddr) -> Result<Certificate, Refusal> {
        if let Some(found) = self.known(server_name) {
            return Ok(found);
        }
        let name = askable(server_name)?;
        self.0.state().gate.enter(&name, peer, now())?;
        let _place = Place(&self.0);
        let issued = tokio::time::timeout(self.0.longest_wait, self.issue(&name, peer));
        issued.await.unwrap_or(Err(Refusal::TimedOut))?;
        // It was removed meanwhile.
        self.known(server_name).ok_or(Refusal::NotAdmitted)
    }

    /// What is served for the name itself; the default is no answer.
    pub(super) fn known(&self, server_name: &str) -> Option<Certificate> {
        self.0.shell.worker.world.resolver.get_own(server_name)
    }

    /// Whether there is a certificate for those who are refused.
    pub(super) fn has_default(&self) -> bool {
        self.0.shell.worker.world.resolver.knows(None)
    }

    async fn issue(&self, name: &Name, peer: IpAddr) -> Result<(), Refusal> {
        match (self.0.admit)(Ask { name: name.clone(), peer }).await {
            Admission::Admit => {}
            Admission::RefuseClient => return Err(Refusal::NotAdmitted),
            Admission::RefuseName => {
                self.0.state().gate.remember(name, false, now());
                return Err(Refusal::NotAdmitted);
            }
        }
        let mut flight = self.flight(name)?;
        let ended = flight.wait_for(Option::is_some).await;
        // Without an end, the task panicked, or the runtime shuts down.
        ended.ok().and_then(|ended| ended.clone()).unwrap_or(Err(Refusal::TimedOut))
    }

    /// The order for a name that is under way, or a new one.
    fn flight(&self, name: &Name) -> Result<Flight, Refusal> {
        let mut state = self.0.state();
        if let Some(flight) = state.flights.get(name) {
            return Ok(flight.clone());
        }
        if state.flights.len() >= MOST_FLIGHTS {
            return Err(Refusal::Busy);
        }
        if state.granted.len() >= MOST_NAMES {
            let keeper = self.0.shell.keeper();
            state.granted.retain(|name| keeper.has(name));
            if state.granted.len() >= MOST_NAMES {
                return Err(Refusal::Full);
            }
        }
        let (told, flight) = watch::channel(None);
        state.flights.insert(name.clone(), flight.clone());
        let (inner, name) = (Arc::clone(&self.0), name.clone());
        // Not part of the handshake: the client may hang up.
        tokio::spawn(async move {
            let landing = Landing { inner: &inner, name: &name };
            let outcome = inner.fly(&name).await;
            if let Err(refusal) = &outcome {
                let has_failed = matches!(refusal, Refusal::Failed(_) | Refusal::TimedOut);
                inner.state().gate.remember(&name, has_failed, now());
            }
            drop(landing);
            told.send_replace(Some(outcome));
        });
        Ok(flight)
    }
}

impl Inner {
    /// Has the manager look after a name, and waits until it serves or has failed once.
    async fn fly(&self, name: &Name) -> Result<(), Refusal> {
        let world = &self.shell.worker.world;
        let mut progress = self.shell.progress.subscribe();
        let tracked = Tracked::new(vec![name.clone()]).map_err(|_| Refusal::Name)?;
        let key = tracked.key.clone();
        // Somebody else may look after it already.
        let is_new = self.shell.keeper().add(tracked, world.now()).is_ok();
        self.shell.woken.notify_one();
        let served = async {
            while world.resolver.get_own(name.as_str()).is_none() {
                let failed = self.shell.keeper().tried_in_vain(&key);
                if let Some(text) = failed.filter(|_| is_new) {
                    return Err(Refusal::Failed(text.into()));
                }
                if progress.changed().await.is_err() {
                    return Err(Refusal::TimedOut);
                }
            }
            Ok(())
        };
        let outcome = tokio::time::timeout(LONGEST_FLIGHT, served).await;
        let outcome = outcome.unwrap_or(Err(Refusal::TimedOut));
        if is_new {
            match &outcome {
                Ok(()) => {
                    self.state().granted.insert(name.clone());
                }
                // What is stored of the attempt is taken up by the next one.
                Err(_) => drop(self.shell.keeper().remove(name)),
            }
        }
        outcome
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handshake that waits.
struct Place<'a>(&'a Inner);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.state().gate.leave();
    }
}

/// Makes room for the next order when one has ended, in whatever way.
struct Landing<'a> {
    inner: &'a Inner,
    name: &'a Name,
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        self.inner.state().flights.remove(self.name);
    }
}

impl fmt::Debug for OnDemand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state();
        f.debug_struct("OnDemand")
            .field("flights", &state.flights.len())
            .field("granted", &state.granted.len())
            .finish_non_exhaustive()
    }
}

/// What an authority might sign, and a client might mean.
fn askable(server_name: &str) -> Result<Name, Refusal> {
    let name = server_name.parse::<Name>().map_err(|_| Refusal::Name)?;
    let is_host = name.ip().is_none() && !name.is_wildcard();
    if is_host && name.as_str().contains('.') { Ok(name) } else { Err(Refusal::Name) }
}

#[expect(clippy::disallowed_methods, reason = "this is the shell around the gate")]
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

const LIMITS: Limits = Limits {
    waiting: 1_000,
    burst: 30,
    refill: Duration::from_secs(6),
    memory: Duration::from_secs(600),
    memory_of_failures: Duration::from_secs(60),
};
/// Browsers give up at about that time.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// An authority may take longer, and the next client is glad of it.
const LONGEST_FLIGHT: Duration = Duration::from_secs(120);
const MOST_FLIGHTS: usize = 16;
const MOST_NAMES: usize = 10_000;
