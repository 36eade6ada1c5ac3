//! The real world: issuers, the clock, the resolver, files.

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use rustls::crypto::CryptoProvider;
use tokio::sync::watch;

use crate::{
    certificate::Certificate,
    error::{Error, Kind},
    lifecycle::{self, Leaf, RenewalInfo, View},
    manager::{
        files::{FilePair, Polled},
        issuer::{Issuer, Request},
        shell::Shell,
        status::{Event, LastError, NextStep, Source, Status, chain},
        tracked::Tracked,
        worker::{World, until_stopped},
    },
    name::Name,
    record::Record,
    resolver::Resolver,
};

pub(crate) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

pub(crate) struct Served {
    pub(crate) clock: Clock,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) issuers: Vec<Arc<dyn Issuer>>,
    /// What clients get that ask for no name, or for one that is not known.
    pub(crate) default: Option<Name>,
}

impl Served {
    pub(crate) fn show(&self, certificate: &Certificate) -> Result<(), Error> {
        self.resolver.insert(certificate.clone())?;
        self.show_as_default(certificate);
        Ok(())
    }

    fn show_as_default(&self, certificate: &Certificate) {
        if self.default.as_ref().is_some_and(|name| certificate.names().contains(name)) {
            self.resolver.set_default(certificate.clone());
        }
    }

    fn read(&self, names: &[Name], record: &Record) -> Result<Certificate, Error> {
        let certificate = record.certificate(&self.provider)?;
        // A key and a chain that belong together, and to other names than the object's: somebody has moved it.
        if let Some(name) = names.iter().find(|name| !certificate.names().contains(name)) {
            return Err(Kind::NotManaged(name.to_string()).into());
        }
        // What the object says of its leaf is what decides about its renewal.
        record.check(&certificate)?;
        Ok(certificate)
    }
}

impl World for Served {
    fn now(&self) -> SystemTime {
        (self.clock)()
    }

    async fn issue(&self, issuer: usize, tracked: &Tracked) -> Result<Record, Error> {
        let issuer = &self.issuers[issuer];
        let old = tracked.record.as_ref().filter(|record| record.issuer == issuer.id());
        let request = Request {
            names: tracked.names.to_vec(),
            // One that cannot be read is replaced by one that is not said to replace it.
            replaces: old.and_then(|record| record.certificate(&self.provider).ok()),
            now: self.now(),
        };
        let certificate = issuer.issue(&request).await?;
        Ok(Record::new(&certificate, &tracked.texts, issuer.id()))
    }

    async fn settle(&self, names: &[Name]) -> Result<(), Error> {
        for issuer in &self.issuers {
            issuer.settle(names).await?;
        }
        Ok(())
    }

    async fn renewal_info(
        &self,
        issuer: usize,
        record: &Record,
    ) -> Result<Option<RenewalInfo>, Error> {
        let certificate = record.certificate(&self.provider)?;
        self.issuers[issuer].renewal_info(&certificate).await
    }

    fn serve(&self, names: &[Name], record: &Record) -> Result<(), Error> {
        self.show(&self.read(names, record)?)
    }

    fn serve_many(&self, many: &[(&[Name], &Record)]) -> Vec<Result<(), Error>> {
        let read: Vec<_> = many.iter().map(|(names, record)| self.read(names, record)).collect();
        // A change copies parts of the resolver, so there is one for all.
        if self.resolver.insert_all(read.iter().flatten().cloned()).is_err() {
            // Two carry a name that neither was asked for: the later one has it.
            return read.into_iter().map(|it| self.show(&it?)).collect();
        }
        read.iter().flatten().for_each(|certificate| self.show_as_default(certificate));
        read.into_iter().map(|it| it.map(drop)).collect()
    }

    fn forget(&self, names: &[Name]) {
        self.resolver.remove(names);
        if self.default.as_ref().is_some_and(|name| names.contains(name)) {
            self.resolver.set_default(None);
        }
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served")
            .field("resolver", &self.resolver)
            .field("issuers", &self.issuers)
            .finish_non_exhaustive()
    }
}

/// How pairs of files fare.
#[derive(Debug, Default)]
pub(crate) struct FileStatuses(Mutex<BTreeMap<PathBuf, FileStatus>>);

#[derive(Debug)]
struct FileStatus {
    certificate: Option<Certificate>,
    last_error: Option<LastError>,
    looked_at: SystemTime,
}

impl FileStatuses {
    pub(crate) fn all(&self) -> Vec<Status> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(path, file)| file.status(path)).collect()
    }

    /// Looks at a pair, serves what is new, and says whether something is served.
    pub(crate) fn poll(&self, pair: &mut FilePair, shell: &Shell<Served>) -> Result<(), Error> {
        let (world, teller) = (&shell.worker.world, &shell.worker.teller);
        let now = world.now();
        let polled = pair.poll(now, &world.provider);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let file = all.entry(pair.chain.clone()).or_insert_with(|| FileStatus {
            certificate: None,
            last_error: None,
            looked_at: now,
        });
        file.looked_at = now;
        let path = pair.chain.clone();
        let error = match polled {
            Polled::Same => return Ok(()),
            Polled::Loaded(certificate) => match world.show(&certificate) {
                Ok(()) => {
                    let gone = file.certificate.iter().flat_map(Certificate::names);
                    let gone: Vec<_> =
                        gone.filter(|name| !certificate.names().contains(name)).cloned().collect();
                    world.forget(&gone);
                    // The manager has a certificate of its own for some, perhaps.
                    for name in &gone {
                        shell.keeper().serve_again(name, now);
                    }
                    shell.woken.notify_one();
                    let names = certificate.names().to_vec();
                    let serial = certificate.serial().to_string();
                    teller.tell(Event::FileLoaded { path, names, serial });
                    file.last_error = None;
                    file.certificate = Some(*certificate);
                    return Ok(());
                }
                Err(error) => error,
            },
            Polled::Refused(error) => error,
        };
        file.last_error = Some(LastError::new(&error, None, now));
        teller.tell(Event::FileRefused { path, error: chain(&error) });
        Err(error)
    }
}

impl FileStatus {
    fn status(&self, path: &std::path::Path) -> Status {
        let certificate = self.certificate.as_ref();
        let leaf = certificate.map(Leaf::from);
        let view = View { leaf, ..View::default() };
        Status {
            names: certificate.map_or_else(Vec::new, |it| it.names().to_vec()),
            source: Some(Source::File(path.to_owned())),
            health: lifecycle::decide(self.looked_at, &view).health,
            serial: certificate.map(|certificate| certificate.serial().to_string()),
            not_after: certificate.map(Certificate::not_after),
            renew_at: leaf.and_then(lifecycle::due_at),
            next_step: NextStep::PollFile,
            next_at: self.looked_at + POLL,
            failures: 0,
            last_error: self.last_error.clone(),
        }
    }
}

/// Looks at files each second until told to stop.
pub(crate) async fn watch_files(
    statuses: Arc<FileStatuses>,
    mut pairs: Vec<FilePair>,
    shell: Arc<Shell<Served>>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            biased;
            () = until_stopped(&mut stopped) => return,
            () = tokio::time::sleep(POLL) => {}
        }
        let (statuses, shell) = (Arc::clone(&statuses), Arc::clone(&shell));
        // A disk may take its time.
        let looked = tokio::task::spawn_blocking(move || {
            for pair in &mut pairs {
                // What is wrong was told.
                let _ = statuses.poll(pair, &shell);
            }
            pairs
        });
        match looked.await {
            Ok(back) => pairs = back,
            Err(error) => return tracing::error!(%error, "files are not looked at any more"),
        }
    }
}

const POLL: Duration = Duration::from_secs(1);
