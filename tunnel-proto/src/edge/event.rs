//! What happens to connections, for an operator.

use std::net::SocketAddr;

use tokio::sync::broadcast::{self, error::RecvError};

use super::{info::ConnectionInfo, push::Applied};
use crate::limits;

/// Something that happened to a connection of a connector.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A connection registered and takes requests.
    Connected(ConnectionInfo),
    /// A connector takes its leave: requests in flight finish, no new ones start.
    Draining(ConnectionInfo),
    /// A connection took its leave and has closed.
    Drained(ConnectionInfo),
    /// A connection closed without taking leave.
    Lost {
        /// Which one.
        connection: ConnectionInfo,
        /// Why, for people.
        reason: String,
    },
    /// A peer did not get as far as a registration.
    Refused {
        /// Where it dialed from, if the acceptor was told.
        source: Option<SocketAddr>,
        /// Why, for people.
        reason: String,
    },
    /// A connector answered to the tunnel's configuration.
    Configured {
        /// Which connector's.
        connection: ConnectionInfo,
        /// What it said.
        applied: Applied,
    },
    /// The tunnel's configuration could not be brought to a connector.
    NotConfigured {
        /// Which connector's.
        connection: ConnectionInfo,
        /// Why, for people.
        reason: String,
    },
    /// The listener was too slow, and this many events are gone.
    Missed(u64),
}

/// A listener, from [`Router::events`](super::Router::events). It hears what happens after its making.
#[derive(Debug)]
pub struct Events(broadcast::Receiver<Event>);

impl Events {
    /// The next event; nothing once the router is gone.
    ///
    /// # Cancel safety
    ///
    /// Safe: no event is lost.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(missed)) => Some(Event::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Where events come together.
#[derive(Debug, Clone)]
pub(super) struct Hub(broadcast::Sender<Event>);

impl Hub {
    pub(super) fn listen(&self) -> Events {
        Events(self.0.subscribe())
    }

    /// Tells all listeners, if there are any. The event is not made otherwise.
    pub(super) fn tell(&self, event: impl FnOnce() -> Event) {
        if self.0.receiver_count() > 0 {
            let _ = self.0.send(event());
        }
    }
}

impl Default for Hub {
    fn default() -> Self {
        Self(broadcast::Sender::new(limits::EVENTS))
    }
}
