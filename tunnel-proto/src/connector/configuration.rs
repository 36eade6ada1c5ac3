//! Taking configuration that the edge pushes.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use tokio::{sync::Mutex, task};
use tracing::debug;

use crate::{
    error::{Error, ErrorKind},
    limits,
    net::{collect::collect, inbound::Stream},
    origin::OriginFailure,
    state::configuration::RemoteConfiguration,
    stream::response,
};

type Apply = dyn Fn(&str) -> Result<(), String> + Send + Sync;

/// One for all connections of a process, as they share its rules.
pub(super) struct Configurable {
    apply: Arc<Apply>,
    /// Locked from the look at the version in force until the new one is: two pushes, on whatever
    /// connections, come one after the other.
    state: Arc<Mutex<RemoteConfiguration>>,
}

impl Configurable {
    pub(super) fn new(apply: impl Fn(&str) -> Result<(), String> + Send + Sync + 'static) -> Self {
        let state = Arc::new(Mutex::new(RemoteConfiguration::new()));
        Self { apply: Arc::new(apply), state }
    }

    /// Answers one push.
    pub(super) async fn answer(&self, stream: Stream) {
        if let Err(error) = self.converse(stream).await {
            debug!(%error, "a configuration push broke off");
        }
    }

    async fn converse(&self, stream: Stream) -> Result<(), Error> {
        let (request, mut respond) = stream;
        let limit = ("CONFIGURATION_BYTES", limits::CONFIGURATION_BYTES);
        let answer = match collect(request.into_body(), limit, "a configuration").await {
            Ok(push) => self.apply(push).await,
            Err(error) => Err(error),
        };
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

    /// Takes its turn, and returns the answer to one push. A thread of its own applies it: reading thousands of
    /// rules must not hold up a connection. Once begun, it is finished, even if the connection
    /// is lost.
    async fn apply(&self, push: Bytes) -> Result<String, Error> {
        let mut state = Arc::clone(&self.state).lock_owned().await;
        let apply = Arc::clone(&self.apply);
        let applied = task::spawn_blocking(move || state.handle_push(&push, &*apply)).await;
        let answer = applied.map_err(|error| {
            let what = "the caller's code that applies configurations broke off";
            Error::from(ErrorKind::Caller(what.into())).with_source(error)
        })?;
        answer.map_err(|error| {
            Error::from(ErrorKind::Peer("an unreadable configuration push".into()))
                .with_source(error)
        })
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

#[cfg(test)]
mod tests {
    use std::{
        sync::{Mutex as StdMutex, mpsc},
        time::Duration,
    };

    use super::*;

    #[tokio::test]
    async fn pushes_take_turns_hold_nobody_up_and_outlive_their_connection() {
        let (go_on, gate) = mpsc::channel::<()>();
        let (gate, log) = (StdMutex::new(gate), Arc::<StdMutex<Vec<String>>>::default());
        let seen = Arc::clone(&log);
        let configurable = Arc::new(Configurable::new(move |json| {
            seen.lock().unwrap().push(format!("{json} begins"));
            let told = gate.lock().unwrap().recv_timeout(Duration::from_secs(60));
            told.map_err(|_| "nobody let it go on")?;
            seen.lock().unwrap().push(format!("{json} ends"));
            Ok(())
        }));
        let push = |version: i32| {
            let body = format!(r#"{{"version":{version},"config":{version}}}"#);
            let configurable = Arc::clone(&configurable);
            tokio::spawn(async move { configurable.apply(body.into()).await })
        };
        let newer = push(2);
        while log.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (older, newest) = (push(1), push(3));
        for _ in 0..100 {
            task::yield_now().await;
        }
        assert_eq!(*log.lock().unwrap(), ["2 begins"]);
        newer.abort();
        assert!(newer.await.unwrap_err().is_cancelled());
        for _ in 0..2 {
            go_on.send(()).unwrap();
        }
        assert!(older.await.unwrap().unwrap().contains(r#""lastAppliedVersion":2"#));
        assert!(newest.await.unwrap().unwrap().contains(r#""lastAppliedVersion":3"#));
        assert_eq!(*log.lock().unwrap(), ["2 begins", "2 ends", "3 begins", "3 ends"]);
    }

    #[tokio::test]
    async fn what_breaks_off_while_it_is_applied_changes_nothing() {
        let configurable = Configurable::new(|json| {
            assert!(json == "2", "broken on purpose");
            Ok(())
        });
        let push = |version: i32| format!(r#"{{"version":{version},"config":{version}}}"#).into();
        assert!(configurable.apply(push(1)).await.unwrap_err().is_caller_fault());
        let answer = configurable.apply(push(2)).await.unwrap();
        assert!(answer.contains(r#""lastAppliedVersion":2"#), "{answer}");
        assert!(configurable.apply(Bytes::new()).await.unwrap_err().is_peer_fault());
    }
}
