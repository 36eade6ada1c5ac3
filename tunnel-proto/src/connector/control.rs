//! The control stream as the connector holds it.

use std::future::poll_fn;

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderValue, Response, header};
use tokio::sync::{mpsc, watch};

use crate::{
    error::{Error, ErrorKind},
    net::outbox::Outbox,
    rpc::{
        client::{ClientEvent, RegistrationClient},
        registration::Registration,
    },
};

/// What the control stream tells the connection it belongs to.
pub(super) type ControlEvent = Result<ClientEvent, Error>;

/// What a connection has to say.
#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) registration: Registration,
    /// Told after the edge's yes, unless the edge brings the rules.
    pub(super) local_configuration: Option<Vec<u8>>,
}

/// Registers, then waits for shutdown and takes its leave. Ends with the stream.
pub(super) async fn run(
    greeting: Greeting,
    receive: RecvStream,
    respond: SendResponse<Bytes>,
    shutdown: watch::Receiver<bool>,
    events: mpsc::Sender<ControlEvent>,
) {
    if let Err(error) = converse(greeting, receive, respond, shutdown, &events).await {
        let _ = events.send(Err(error)).await;
    }
}

async fn converse(
    greeting: Greeting,
    mut receive: RecvStream,
    mut respond: SendResponse<Bytes>,
    mut shutdown: watch::Receiver<bool>,
    events: &mpsc::Sender<ControlEvent>,
) -> Result<(), Error> {
    let mut head = Response::new(());
    head.headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let mut outbox = Outbox::new(respond.send_response(head, false)?);
    let mut client = RegistrationClient::new(greeting.registration);
    let mut local_configuration = greeting.local_configuration;
    let mut registered = false;
    let mut leaving = false;
    loop {
        while let Some(event) = client.poll_event() {
            if let ClientEvent::Registered(details) = &event {
                registered = true;
                if let Some(json) = local_configuration.take()
                    && !details.is_remotely_managed
                {
                    client.update_local_configuration(json);
                }
            }
            let is_last = matches!(event, ClientEvent::Unregistered | ClientEvent::Refused(_));
            if events.send(Ok(event)).await.is_err() {
                return Ok(());
            }
            if is_last {
                client.close();
                outbox.send_now(&mut || client.poll_output())?;
                return outbox.end();
            }
        }
        // After the events, because what follows from them shall leave too; bootstrap and registration
        // leave in one piece, as cloudflared sends them.
        poll_fn(|cx| outbox.poll_send(&mut || client.poll_output(), cx)).await?;
        tokio::select! {
            data = receive.data() => {
                let Some(data) = data else {
                    let what = "the edge ended the control stream";
                    return Err(ErrorKind::Network(what.into()).into());
                };
                let data = data?;
                receive.flow_control().release_capacity(data.len())?;
                client.handle_input(&data)?;
            }
            _ = shutdown.wait_for(|shutdown| *shutdown), if registered && !leaving => {
                leaving = true;
                client.unregister();
            }
        }
    }
}
