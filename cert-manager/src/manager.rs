//! Keeps certificates issued, renewed and served.
//!
//! [`Manager`] is the shell: it reads the clock and starts tasks. Below it lies a core without either: which issuer is asked
//! when, what is due, and whether the clock can be believed.

mod accept;
mod builder;
mod files;
mod gate;
mod issuer;
mod keeper;
mod ledger;
mod loading;
mod on_demand;
mod plan;
mod served;
mod shell;
#[cfg(test)]
mod simulation;
mod status;
pub(crate) mod stored;
mod tracked;
mod worker;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{sync::watch, task::JoinHandle};

pub use self::{
    builder::Builder,
    issuer::{Issuer, Issuing, PrivateIssuer, Request, SelfSigned},
    ledger::{Failed, Ledger, Listed, Stored},
    on_demand::{Admission, Ask, OnDemand, Refusal},
    status::{Counters, Event, Events, LastError, NextStep, Snapshot, Source, Status},
};
use self::{
    served::{FileStatuses, Served},
    shell::Shell,
    tracked::Tracked,
    worker::World as _,
};
use crate::{
    error::{Error, Kind},
    name::Name,
    resolver::Resolver,
};

/// Keeps certificates for a set of names issued, renewed and served, until it is dropped.
///
/// Several nodes may share one store: one of them orders, under a lease, and all serve. They agree on when to renew without
/// a word, because the time follows from the certificate; what an authority says about waiting is stored, and holds for all.
/// A certificate that cannot be renewed keeps serving, and does not hold up others.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use cert_manager::{Manager, presets, manager::SelfSigned};
///
/// let manager = Manager::builder().issuer(SelfSigned::new()).name("app.localhost").start().await?;
///
/// let alpn = [b"h2".as_slice(), b"http/1.1"];
/// let config = presets::server_config(presets::provider(), manager.resolver().clone(), alpn)?;
/// assert!(manager.resolver().knows(Some("app.localhost")));
/// # drop(config);
/// manager.shutdown().await;
/// # Ok::<(), cert_manager::Error>(()) }).unwrap();
/// ```
pub struct Manager {
    shell: Arc<Shell<Served>>,
    files: Arc<FileStatuses>,
    stop: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Manager {
    /// Starts to describe a manager.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// What listeners ask for certificates.
    pub fn resolver(&self) -> &Arc<Resolver> {
        &self.shell.worker.world.resolver
    }

    /// Looks after one more certificate that carries all of `names`. It is ordered at once, in the background.
    ///
    /// # Errors
    ///
    /// If a name is refused, there is none, or one is being looked after already; then nothing is changed.
    pub fn add(&self, names: impl IntoIterator<Item = impl AsRef<str>>) -> Result<(), Error> {
        let tracked = Tracked::new(parse(names)?)?;
        self.shell.keeper().add(tracked, self.shell.worker.world.now())?;
        self.shell.woken.notify_one();
        Ok(())
    }

    /// Stops looking after, and serving, the certificate that carries `name`. Says whether there was one. All its names go;
    /// what is stored stays.
    ///
    /// # Errors
    ///
    /// If the name is refused.
    pub fn remove(&self, name: &str) -> Result<bool, Error> {
        let name = name.parse::<Name>()?;
        let Some(names) = self.shell.keeper().remove(&name) else { return Ok(false) };
        self.shell.worker.world.forget(&names);
        Ok(true)
    }

    /// Tells how each certificate fares, and how often what happened.
    pub fn snapshot(&self) -> Snapshot {
        let mut certificates = self.shell.keeper().statuses(self.shell.worker.world.now());
        certificates.extend(self.files.all());
        Snapshot { certificates, counters: self.shell.worker.teller.counters() }
    }

    /// Tells how often what happened. That costs little, however many certificates there are.
    pub fn counters(&self) -> Counters {
        self.shell.worker.teller.counters()
    }

    /// Tells what happens from now on.
    pub fn events(&self) -> Events {
        self.shell.worker.teller.events()
    }

    /// Stops renewing. What is under way is left where another process, or this one after a restart, takes it up; leases are
    /// given back. Certificates stay in the resolver.
    ///
    /// Dropping the manager does the same, but does not wait.
    ///
    /// # Cancel safety
    ///
    /// Once polled, it stops all the same.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            // A panic was reported where it happened.
            let _ = task.await;
        }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("certificates", &self.shell.keeper().len())
            .field("issuers", &self.shell.worker.issuers)
            .finish_non_exhaustive()
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
