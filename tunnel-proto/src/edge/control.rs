//! The control stream as the edge holds it.

use std::future::poll_fn;

use crate::{
    error::{Error, ErrorKind},
    net::outbox::Outbox,
    rpc::{
        registration::{Refusal, Registered, Registration},
        server::{RegistrationServer, ServerEvent},
    },
    stream::kind::{self, StreamKind},
};
use bytes::Bytes;
use h2::{RecvStream, client};
use http::{HeaderValue, Request, Uri};

/// An open control stream and the state machine behind it.
#[derive(Debug)]
pub(super) struct ControlStream {
    server: RegistrationServer,
    outbox: Outbox,
    receive: RecvStream,
}

impl ControlStream {
    /// Opens it. The connector stays silent until this has happened.
    pub(super) async fn open(requests: client::SendRequest<Bytes>) -> Result<Self, Error> {
        // cloudflared looks at the one header only.
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_static("http://localhost/");
        request.headers_mut().insert(kind::UPGRADE, HeaderValue::from_static(StreamKind::CONTROL));
        let (response, send) = requests.ready().await?.send_request(request, false)?;
        let response = response.await?;
        if !response.status().is_success() {
            let status = response.status();
            return Err(
                ErrorKind::Peer(format!("the control stream answered with {status}")).into()
            );
        }
        Ok(Self {
            server: RegistrationServer::new(),
            outbox: Outbox::new(send),
            receive: response.into_body(),
        })
    }

    /// Waits for the connector's registration.
    pub(super) async fn registration(&mut self) -> Result<Box<Registration>, Error> {
        loop {
            match self.next().await? {
                Some(ServerEvent::Register(registration)) => return Ok(registration),
                Some(_) => {}
                None => {
                    let what = "the connector left before it registered";
                    return Err(ErrorKind::Network(what.into()).into());
                }
            }
        }
    }

    pub(super) fn respond(&mut self, verdict: Result<Registered, Refusal>) -> Result<(), Error> {
        if !self.server.respond(verdict) {
            return Err(ErrorKind::Network("the connector gave up waiting".into()).into());
        }
        self.send_now()
    }

    /// The next event, or nothing when the connector ended the stream.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: what has been read is kept in the state machine.
    pub(super) async fn next(&mut self) -> Result<Option<ServerEvent>, Error> {
        loop {
            let Self { server, outbox, .. } = self;
            poll_fn(|cx| outbox.poll_send(&mut || server.poll_output(), cx)).await?;
            if let Some(event) = self.server.poll_event() {
                return Ok(Some(event));
            }
            let Some(data) = self.receive.data().await else {
                return Ok(None);
            };
            let data = data?;
            self.receive.flow_control().release_capacity(data.len())?;
            let result = self.server.handle_input(&data);
            if result.is_err() {
                // The reason, if there is room for it.
                self.send_now()?;
            }
            result?;
        }
    }

    /// Waits until the connector has ended the stream.
    pub(super) async fn closed(&mut self) {
        while let Ok(Some(_)) = self.next().await {}
    }

    fn send_now(&mut self) -> Result<(), Error> {
        let Self { server, outbox, .. } = self;
        outbox.send_now(&mut || server.poll_output())
    }
}
