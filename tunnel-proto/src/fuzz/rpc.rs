//! Both ends of a control stream, fed with anything.

use crate::{
    credentials::Credentials,
    id::{ConnectionId, ConnectorId, TunnelId},
    limits,
    rpc::{
        client::RegistrationClient,
        registration::{Refusal, Registered, Registration},
        server::{RegistrationServer, ServerEvent},
    },
    secret::TunnelSecret,
};

/// The edge's machine. The first byte picks the size of the pieces and the verdict.
pub fn edge_machine(data: &[u8]) {
    let Some((mode, stream)) = data.split_first() else { return };
    let mut server = RegistrationServer::new();
    let mut registrations = 0;
    for piece in stream.chunks(piece_size(*mode)) {
        let broken = server.handle_input(piece).is_err();
        while let Some(event) = server.poll_event() {
            if let ServerEvent::Register(registration) = event {
                registrations += 1;
                assert!(registration.version.len() <= limits::RPC_MESSAGE_BYTES_ANONYMOUS);
                let verdict = if mode & 0x80 == 0 {
                    Ok(Registered::new(ConnectionId::from_bytes([9; 16]), "fuzz"))
                } else {
                    Err(Refusal::unauthorized())
                };
                server.respond(verdict);
            }
        }
        drain(|| server.poll_output());
        if broken {
            break;
        }
    }
    assert!(registrations <= 1, "one connection registers once");
}

/// The connector's machine. The first byte picks the size of the pieces.
pub fn connector_machine(data: &[u8]) {
    let Some((mode, stream)) = data.split_first() else { return };
    let credentials = Credentials::new("account", TunnelId::from_bytes([1; 16]), secret());
    let registration = Registration::new(credentials, ConnectorId::from_bytes([2; 16]), 0);
    let mut client = RegistrationClient::new(registration);
    for piece in stream.chunks(piece_size(*mode)) {
        let broken = client.handle_input(piece).is_err();
        while client.poll_event().is_some() {}
        if mode & 0x80 != 0 {
            client.update_local_configuration(b"{}".to_vec());
            client.unregister();
        }
        drain(|| client.poll_output());
        if broken {
            break;
        }
    }
    client.close();
    drain(|| client.poll_output());
}

fn piece_size(mode: u8) -> usize {
    match mode & 0x7f {
        0 => usize::MAX,
        size => usize::from(size),
    }
}

/// Whole messages come out, each of them whole words and within what a peer would take.
fn drain(mut poll: impl FnMut() -> Option<Vec<u8>>) {
    while let Some(message) = poll() {
        assert_eq!(message.len() % 8, 0);
        assert!(message.len() <= 2 * limits::RPC_MESSAGE_BYTES);
    }
}

fn secret() -> TunnelSecret {
    TunnelSecret::new([7; 32])
}
