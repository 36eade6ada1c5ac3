//! Carrying one TCP flow to the private network.

use tracing::debug;

use super::{connection::OnEvent, event::Event};
use crate::{
    error::{Error, one_line},
    net::{body::Incoming, held::Held, inbound::Stream, io::TunnelIo, relay::relay},
    origin::{Declined, OriginFailure, PrivateNetwork},
    stream::{kind::StreamKind, response},
    telemetry::{Direction, Meter},
};

/// Opens the flow and carries it to its end.
pub(super) async fn carry(
    stream: Stream,
    network: PrivateNetwork,
    on_event: OnEvent,
    meter: Meter,
    held: Held,
) {
    if let Err(error) = converse(stream, network, on_event, &meter, &held).await {
        debug!(%error, "a TCP flow broke off");
    }
}

async fn converse(
    stream: Stream,
    network: PrivateNetwork,
    on_event: OnEvent,
    meter: &Meter,
    held: &Held,
) -> Result<(), Error> {
    let measured = meter.begin(StreamKind::Tcp);
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
            meter.error("origin");
            on_event(Event::OriginFailed { error: one_line(&declined) });
            return Ok(respond.send_response(head, true).map(drop)?);
        }
    };
    let send = respond.send_response(response::flow_opened(), false)?;
    measured.answered();
    let incoming = Incoming::new(held, request.into_body(), None, None, None)
        .counted(meter.bytes(Direction::ToOrigin));
    let io = TunnelIo::new(incoming, send, true).counted(meter.bytes(Direction::ToVisitor));
    relay(io, tcp).await.map_err(Error::broken)?;
    Ok(())
}
