//! Taking configuration that the edge pushes.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use http::{HeaderValue, Response, StatusCode, header};
use tracing::debug;

use super::answer::Stream;
use crate::{
    error::{Error, ErrorKind},
    limits,
    net::collect::collect,
    origin::OriginFailure,
    state::configuration::RemoteConfiguration,
    stream::response,
};

type Apply = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// One for all connections of a process, as they share its rules.
pub(super) struct Configurable {
    apply: Box<Apply>,
    state: Mutex<RemoteConfiguration>,
}

impl Configurable {
    pub(super) fn new(apply: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { apply: Box::new(apply), state: Mutex::new(RemoteConfiguration::new()) }
    }

    /// Answers one push.
    pub(super) async fn answer(&self, stream: Stream) {
        if let Err(error) = self.converse(stream).await {
            debug!(%error, "a configuration push broke off");
        }
    }

    async fn converse(&self, stream: Stream) -> Result<(), Error> {
        let (request, mut respond) = stream;
        let limit = limits::CONFIGURATION_BYTES;
        let body = collect(request.into_body(), limit, "a configuration").await;
        let answer = body.and_then(|body| {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.handle_push(&body, &self.apply).map_err(|error| {
                Error::from(ErrorKind::Peer("an unreadable configuration push".into()))
                    .with_source(error)
            })
        });
        match answer {
            Ok(json) => {
                let mut send = respond.send_response(head(), false)?;
                Ok(send.send_data(json.into(), true)?)
            }
            Err(error) => {
                respond.send_response(response::failure(OriginFailure::Unknown), true)?;
                Err(error)
            }
        }
    }
}

impl fmt::Debug for Configurable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configurable").field("state", &self.state).finish_non_exhaustive()
    }
}

fn head() -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::OK;
    let json = HeaderValue::from_static("application/json");
    head.headers_mut().insert(header::CONTENT_TYPE, json);
    head
}
