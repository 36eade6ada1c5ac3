//! Carrying one TCP flow to the private network.

use tracing::debug;

use super::{answer::Stream, connection::OnEvent, event::Event};
use crate::{
    error::{Error, one_line},
    net::{body::Incoming, io::TunnelIo, relay::relay},
    origin::{Declined, OriginFailure, PrivateNetwork},
    stream::response,
};

/// Opens the flow and carries it to its end.
pub(super) async fn carry(stream: Stream, network: PrivateNetwork, on_event: OnEvent) {
    if let Err(error) = converse(stream, network, on_event).await {
        debug!(%error, "a TCP flow broke off");
    }
}

async fn converse(stream: Stream, network: PrivateNetwork, on_event: OnEvent) -> Result<(), Error> {
    let (request, mut respond) = stream;
    let authority = request.uri().authority().map_or("", http::uri::Authority::as_str);
    let (tcp, _permit) = match network.connect(authority).await {
        Ok(connected) => connected,
        Err(declined) => {
            let head = match &declined {
                Declined::TooMany => response::flow_limited(),
                Declined::Unreachable(..) => response::failure(OriginFailure::Unreachable),
                _ => response::failure(OriginFailure::Unknown),
            };
            on_event(Event::OriginFailed { error: one_line(&declined) });
            return Ok(respond.send_response(head, true).map(drop)?);
        }
    };
    let send = respond.send_response(response::flow_opened(), false)?;
    let incoming = Incoming::new(request.into_body(), None, None, None);
    relay(TunnelIo::new(incoming, send, true), tcp).await.map_err(Error::broken)?;
    Ok(())
}
