//! What becomes of a connection after its registration.

use std::{pin::pin, sync::Weak};

use tokio::{sync::watch, task::AbortHandle, time::timeout};
use tracing::debug;

use super::{
    acceptor::Seated,
    connection::{Phase, Shared},
    control::ControlStream,
};
use crate::{limits, rpc::server::ServerEvent, telemetry::Connected};

/// Moves the phase along as control stream and connection end. It does not keep the connection
/// alive.
pub(super) struct Supervisor {
    pub(super) shared: Weak<Shared>,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) in_flight: watch::Receiver<usize>,
    pub(super) _connected: Connected,
    pub(super) _seated: Seated,
}

/// Why a connector says nothing more.
enum Silence {
    /// It took its leave.
    Unregistered,
    /// The control stream is gone without a word.
    Broken(String),
}

impl Supervisor {
    pub(super) async fn run(
        mut self,
        mut control: ControlStream,
        ended: impl Future<Output = Option<String>>,
        closer: AbortHandle,
    ) {
        let mut ended = pin!(ended);
        let reason = tokio::select! {
            silence = self.silence(&mut control) => {
                // A connector that can't say good-bye gets no new requests either.
                let why = match silence {
                    Silence::Unregistered => {
                        self.tell(Shared::takes_leave);
                        None
                    }
                    Silence::Broken(why) => Some(why),
                };
                self.phase.send_replace(Phase::Draining);
                self.tell(Shared::wake_waiters);
                // Keep answering on the control stream while the last requests finish, then hang up:
                // cloudflared waits for that.
                let drained = async {
                    let in_flight = &mut self.in_flight;
                    let idle = async { drop(in_flight.wait_for(|count| *count == 0).await) };
                    let (mut idle, mut closed) = (pin!(idle), pin!(control.closed()));
                    tokio::select! {
                        () = &mut idle => drop(timeout(limits::REFUSAL_LINGER, closed).await),
                        () = &mut closed => idle.await,
                    }
                };
                tokio::select! {
                    biased;
                    reason = &mut ended => reason.or(why),
                    () = drained => {
                        closer.abort();
                        why
                    }
                }
            }
            reason = &mut ended => reason,
        };
        debug!(reason, "the connection ended");
        self.tell(|shared| shared.ends(reason));
        self.phase.send_replace(Phase::Closed);
        self.tell(Shared::wake_waiters);
    }

    /// Returns once the connector takes its leave, or can no longer say anything.
    async fn silence(&self, control: &mut ControlStream) -> Silence {
        loop {
            match control.next().await {
                Ok(Some(ServerEvent::LocalConfiguration(json))) => {
                    debug!(bytes = json.len(), "the connector told its rules");
                    self.tell(|shared| shared.keep_local_configuration(json));
                }
                Ok(Some(ServerEvent::Register(_) | ServerEvent::Closed)) => {}
                Ok(Some(ServerEvent::Unregister)) => {
                    debug!("the connector takes its leave");
                    return Silence::Unregistered;
                }
                Ok(None) => return Silence::Broken("the control stream ended".into()),
                Err(error) => {
                    debug!(%error, "the control stream broke");
                    return Silence::Broken(format!("the control stream broke: {error}"));
                }
            }
        }
    }

    fn tell(&self, what: impl FnOnce(&Shared)) {
        if let Some(shared) = self.shared.upgrade() {
            what(&shared);
        }
    }
}
