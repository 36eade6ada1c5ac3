//! Keeping the connections up.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{JoinError, JoinSet},
    time::{Instant, sleep, timeout},
};

use tracing::{Instrument as _, error, info_span};

use super::{
    builder::{Connector, Settings, random},
    connection::{self, Handlers, OnEvent},
    control::Greeting,
    dial::Dial,
    event::Event,
    service::HttpService,
};
use crate::{
    error::{Error, ErrorKind, one_line},
    id::ConnectorId,
    limits,
    rpc::registration::{Refusal, Registration},
    state::backoff::Backoff,
    telemetry::{CONNECTION_SPAN, Meter, Side},
};

/// Runs all connections; see [`Connector::run`].
pub(super) async fn run<D: Dial, S: HttpService>(
    connector: Connector<D, S>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let settings = connector.settings;
    let (stop, stopped) = watch::channel(false);
    let registered = watch::Sender::new(0_usize);
    let slot = |index| Slot {
        settings: Arc::clone(&settings),
        connector_id: connector.id,
        index,
        address: usize::from(index),
        registered: registered.clone(),
        stopped: stopped.clone(),
    };
    let mut slots = JoinSet::new();
    let mut indexes = HashMap::new();
    for index in 0..settings.connections {
        let task = slots.spawn(slot(index).keep(connector.service.clone(), Duration::ZERO));
        indexes.insert(task.id(), index);
    }
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            // A slot ends by itself only when going on is of no use.
            Some(ended) = slots.join_next() => match ended {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(error),
                Err(panic) => if let Some(index) = indexes.remove(&panic.id()) {
                    let after = limits::PANIC_PAUSE;
                    let error = Arc::new(panicked(panic));
                    (settings.on_event)(Event::Retrying { index, error, after });
                    let task = slots.spawn(slot(index).keep(connector.service.clone(), after));
                    indexes.insert(task.id(), index);
                },
            },
        }
    }
    stop.send_replace(true);
    let finished = async {
        while let Some(ended) = slots.join_next().await {
            if let Err(panic) = ended {
                error!(error = one_line(&panicked(panic)), "a connection did not take its leave");
            }
        }
    };
    let _ = timeout(settings.grace_period, finished).await;
    Ok(())
}

/// A slot's task ended without a result: our fault, or that of the caller's own code in it.
fn panicked(panic: JoinError) -> Error {
    Error::from(ErrorKind::Internal("the task of a connection panicked".into())).with_source(panic)
}

/// The place of one connection, filled again whenever it falls empty.
struct Slot<D> {
    settings: Arc<Settings<D>>,
    connector_id: ConnectorId,
    index: u8,
    address: usize,
    /// How many connections have registered since the start.
    registered: watch::Sender<usize>,
    stopped: watch::Receiver<bool>,
}

impl<D: Dial> Slot<D> {
    /// Begins after `pause`.
    async fn keep<S: HttpService>(mut self, service: S, pause: Duration) -> Result<(), Error> {
        tokio::select! {
            () = sleep(pause) => {}
            () = stopped(self.stopped.clone()) => return Ok(()),
        }
        if self.index > 0 {
            let mut registered = self.registered.subscribe();
            tokio::select! {
                _ = registered.wait_for(|count| *count > 0) => {}
                () = stopped(self.stopped.clone()) => return Ok(()),
            }
        }
        let backoff = Backoff::default();
        let mut down_since = now();
        let mut failures: u8 = 0;
        loop {
            let succeeded = AtomicBool::new(false);
            let began = now();
            let error = match self.attempt(service.clone(), failures, &succeeded).await {
                Ok(()) => {
                    (self.settings.on_event)(Event::Disconnected { index: self.index });
                    return Ok(());
                }
                Err(_) if *self.stopped.borrow() => return Ok(()),
                Err(error) => error,
            };
            if succeeded.into_inner() {
                // The same edge first: it may only have been restarted. One that hangs up on whom it has just let
                // in is not up again.
                if began.elapsed() >= limits::STEADY_CONNECTION {
                    down_since = now();
                }
                failures = 0;
            } else {
                self.address += 1;
            }
            let is_final = error.refusal().is_some_and(|cause| cause != Refusal::DUPLICATE)
                && !error.is_retryable();
            if is_final && *self.registered.borrow() == 0 {
                return Err(error);
            }
            failures = failures.saturating_add(1);
            let wait = backoff.wait(down_since.elapsed(), u32::from_le_bytes(random()?));
            let after =
                error.retry_after().map_or(wait, |asked| wait.max(asked.min(limits::RETRY_AFTER)));
            let error = Arc::new(error);
            (self.settings.on_event)(Event::Retrying { index: self.index, error, after });
            tokio::select! {
                () = sleep(after) => {}
                () = stopped(self.stopped.clone()) => return Ok(()),
            }
        }
    }

    /// Dials, registers and serves, once.
    async fn attempt<S: HttpService>(
        &self,
        service: S,
        failures: u8,
        succeeded: &AtomicBool,
    ) -> Result<(), Error> {
        let dial = timeout(2 * limits::DIAL_TIMEOUT, self.settings.dial.dial(self.address));
        let io = tokio::select! {
            io = dial => match io {
                Ok(Ok(io)) => io,
                Ok(Err(error)) => {
                    let kind = ErrorKind::Network("the edge can't be reached".into());
                    return Err(Error::from(kind).with_source(error));
                }
                Err(_) => {
                    let kind = ErrorKind::Network("the edge did not answer in time".into());
                    return Err(Error::from(kind).with_limit("DIAL_TIMEOUT"));
                }
            },
            () = stopped(self.stopped.clone()) => return Ok(()),
        };
        let on_registered = |registered| {
            succeeded.store(true, Ordering::Relaxed);
            self.registered.send_modify(|count| *count += 1);
            (self.settings.on_event)(Event::Connected { index: self.index, registered });
        };
        let settings = Arc::clone(&self.settings);
        let on_event: OnEvent = Arc::new(move |event| (settings.on_event)(event));
        // Told once for all connections: they share a process and its rules.
        let local_configuration =
            self.settings.local_configuration.clone().filter(|_| self.index == 0);
        let greeting = Greeting { registration: self.registration(failures), local_configuration };
        let stopped = self.stopped.clone();
        let handlers = Handlers {
            service,
            configurable: self.settings.configurable.clone(),
            network: self.settings.network.clone(),
            on_event,
            meter: Meter::new(Side::Connector, self.settings.credentials.tunnel_id()),
        };
        let span = info_span!(
            CONNECTION_SPAN,
            side = Side::Connector.as_str(),
            index = self.index,
            tunnel = %self.settings.credentials.tunnel_id(),
            connector = %self.connector_id,
        );
        connection::serve(io, greeting, handlers, stopped, &on_registered).instrument(span).await
    }

    fn registration(&self, failures: u8) -> Registration {
        let settings = &self.settings;
        let mut features = vec![Registration::SERIALIZED_HEADERS, Registration::HALF_CLOSE];
        if settings.configurable.is_some() {
            features.push(Registration::REMOTE_CONFIGURATION);
        }
        Registration {
            version: settings.version.clone(),
            arch: arch(),
            features: features.into_iter().map(String::from).collect(),
            previous_attempts: failures,
            ..Registration::new(settings.credentials.clone(), self.connector_id, self.index)
        }
    }
}

/// Platform as cloudflared spells it: Go's names.
fn arch() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}_{arch}", std::env::consts::OS)
}

async fn stopped(mut stopped: watch::Receiver<bool>) {
    // A dropped sender means that `run` itself was dropped.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

#[expect(clippy::disallowed_methods, reason = "a shell; tokio's clock, so tests can pause it")]
fn now() -> Instant {
    Instant::now()
}
