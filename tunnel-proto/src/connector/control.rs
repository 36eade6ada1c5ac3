//! The control stream as the connector holds it.

use bytes::Bytes;
use h2::{RecvStream, SendStream, server::SendResponse};
use http::{HeaderValue, Response, header};
use tokio::sync::{mpsc, watch};

use crate::{
    error::{Error, ErrorKind},
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
    let mut send = respond.send_response(head, false)?;
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
                flush(&mut client, &mut send)?;
                return Ok(send.send_data(Bytes::new(), true)?);
            }
        }
        // After the events, because what follows from them shall leave too.
        flush(&mut client, &mut send)?;
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

fn flush(client: &mut RegistrationClient, send: &mut SendStream<Bytes>) -> Result<(), Error> {
    // Bootstrap and registration leave in one write, as cloudflared sends them.
    let mut output = Vec::new();
    while let Some(message) = client.poll_output() {
        output.extend(message);
    }
    if !output.is_empty() {
        send.send_data(output.into(), false)?;
    }
    Ok(())
}
