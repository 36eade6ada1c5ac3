//! Both state machines against recorded streams, against each other and against garbage.

use serde_json::Value;

use super::{
    client::{ClientEvent, RegistrationClient},
    frame::FrameDecoder,
    message::{self, Expected, Message, Method, Outcome, Target},
    registration::{Refusal, Registered, Registration},
    server::{RegistrationServer, ServerEvent},
};
use crate::{
    credentials::Credentials,
    id::{ConnectionId, ConnectorId},
    limits,
    secret::TunnelSecret,
};

macro_rules! vector {
    ($name:literal) => {
        (
            include_bytes!(concat!("../../tests/vectors/control-stream/", $name, ".c2e.bin"))
                .as_slice(),
            include_bytes!(concat!("../../tests/vectors/control-stream/", $name, ".e2c.bin"))
                .as_slice(),
            include_str!(concat!(
                "../../tests/vectors/control-stream/",
                $name,
                ".c2e.decoded.json"
            )),
        )
    };
}

/// All messages of a stream. Answers are read as what the recorded connectors asked for: question
/// 0 is the bootstrap, the first answer to 1 the registration, the rest are empty.
fn messages(stream: &[u8]) -> Vec<Message> {
    let mut decoder = FrameDecoder::new(1 << 20);
    decoder.push(stream);
    let mut registered = false;
    let mut messages = Vec::new();
    while let Some(frame) = decoder.next().unwrap() {
        let message = message::decode(frame.get_root().unwrap(), |id| {
            Some(match id {
                0 => Expected::Capability,
                _ if !registered => Expected::Registration,
                _ => Expected::Empty,
            })
        })
        .unwrap();
        registered |= matches!(message, Message::Return { answer: 1, .. });
        messages.push(message);
    }
    messages
}

pub(super) fn sample_registration() -> Registration {
    let id = "11111111-2222-3333-4444-555555555555".parse().unwrap();
    let secret: Vec<u8> = (0..32).collect();
    let credentials = Credentials::new("acct0123456789abcdef", id, TunnelSecret::new(secret));
    Registration {
        version: "0.1.0".into(),
        arch: "linux_amd64".into(),
        features: vec!["serialized_headers".into()],
        origin_local_ip: Some([127, 0, 0, 1].into()),
        ..Registration::new(credentials, ConnectorId::from_bytes([7; 16]), 3)
    }
}

pub(super) fn sample_registered() -> Registered {
    Registered::new(ConnectionId::from_bytes([9; 16]), "nrt01")
}

/// Carries bytes both ways until neither side has anything to say.
fn settle(client: &mut RegistrationClient, server: &mut RegistrationServer) {
    loop {
        let mut quiet = true;
        while let Some(bytes) = client.poll_output() {
            server.handle_input(&bytes).unwrap();
            quiet = false;
        }
        while let Some(bytes) = server.poll_output() {
            client.handle_input(&bytes).unwrap();
            quiet = false;
        }
        if quiet {
            return;
        }
    }
}

#[test]
fn recorded_messages_decode_and_re_encode_to_the_same() {
    for (c2e, e2c, _) in [
        vector!("ok"),
        vector!("golib-ok"),
        vector!("golib-error-retryable"),
        vector!("golib-error-permanent"),
        vector!("golib-error-edupconn"),
    ] {
        for stream in [c2e, e2c] {
            let decoded = messages(stream);
            assert!(!decoded.is_empty());
            assert!(!decoded.contains(&Message::Unknown), "{decoded:?}");
            let again: Vec<u8> = decoded.iter().flat_map(message::encode).collect();
            assert_eq!(messages(&again), decoded);
        }
    }
}

#[test]
fn the_recorded_registration_reads_as_its_description() {
    for (c2e, _, json) in [vector!("ok"), vector!("golib-ok")] {
        let json: Value = serde_json::from_str(json).unwrap();
        let call = &json["messages"][1];
        let decoded = messages(c2e);
        assert_eq!(decoded[0], Message::Bootstrap { question: 0 });
        let Message::Call {
            question: 1,
            target: Target::Answer(0),
            method: Method::Register(seen),
        } = &decoded[1]
        else {
            panic!("{:?}", decoded[1])
        };
        assert_eq!(seen.credentials.account_tag(), call["auth"]["accountTag"]);
        assert_eq!(seen.credentials.secret(), sample_registration().credentials.secret());
        let plain = |id: String| id.replace('-', "");
        assert_eq!(plain(seen.credentials.tunnel_id().to_string()), call["tunnelId"]);
        let client = &call["options"]["client"];
        assert_eq!(plain(seen.connector_id.to_string()), client["clientId"]);
        assert_eq!(seen.version, client["version"]);
        assert_eq!(seen.arch, client["arch"]);
        let features: Vec<_> = client["features"].as_array().unwrap().iter().collect();
        assert_eq!(seen.features, features.iter().map(|f| f.as_str().unwrap()).collect::<Vec<_>>());
        assert_eq!(seen.origin_local_ip, Some([127, 0, 0, 1].into()));
    }
}

#[test]
fn a_recorded_connector_drives_the_edge() {
    for (c2e, e2c, _) in [vector!("ok"), vector!("golib-ok")] {
        let mut server = RegistrationServer::new();
        let mut events = Vec::new();
        let mut output = Vec::new();
        // Byte by byte: the shell may see any pieces.
        for byte in c2e {
            server.handle_input(&[*byte]).unwrap();
            while let Some(event) = server.poll_event() {
                if matches!(event, ServerEvent::Register(_)) {
                    assert!(server.respond(Ok(sample_registered())));
                }
                events.push(event);
            }
            output.extend(std::iter::from_fn(|| server.poll_output()).flatten());
        }
        assert!(matches!(
            events.as_slice(),
            [
                ServerEvent::Register(_),
                ServerEvent::LocalConfiguration(_),
                ServerEvent::Unregister,
                ServerEvent::Closed,
            ]
        ));
        // The recorded edge said the same, apart from its own connection id and location.
        let recorded = messages(e2c);
        let ours = messages(&output);
        assert_eq!(ours[0], recorded[0]);
        assert_eq!(
            ours.len(),
            recorded.iter().filter(|m| matches!(m, Message::Return { .. })).count()
        );
    }
}

#[test]
fn a_recorded_edge_drives_the_connector() {
    let (_, e2c, _) = vector!("ok");
    let mut client = RegistrationClient::new(sample_registration());
    let replies = {
        let mut decoder = FrameDecoder::new(1 << 16);
        decoder.push(e2c);
        std::iter::from_fn(move || decoder.next().unwrap().map(|_| ())).count()
    };
    assert_eq!(replies, 4);
    // Bootstrap and registration, then local configuration, then unregister: lengths of the
    // recorded answers are 96, 144, 72 and 72 bytes.
    client.handle_input(&e2c[..240]).unwrap();
    assert!(matches!(client.poll_event(), Some(ClientEvent::Registered(_))));
    // The recorded connector used question 1 for each of its calls; ours takes the smallest.
    client.update_local_configuration(b"{}".to_vec());
    client.unregister();
    let calls: Vec<u8> = std::iter::from_fn(|| client.poll_output()).flatten().collect();
    let asked: Vec<_> = messages(&calls)
        .into_iter()
        .filter_map(|message| match message {
            Message::Call { question, target, .. } => Some((question, target)),
            _ => None,
        })
        .collect();
    assert_eq!(asked[1..], [(0, Target::Capability(0)), (1, Target::Capability(0))]);
}

#[test]
fn recorded_refusals_read_as_what_they_say() {
    for ((_, e2c, _), cause, retry) in [
        (vector!("golib-error-retryable"), "edge busy", Some(3)),
        (vector!("golib-error-permanent"), "Unauthorized: Invalid tunnel secret", None),
        (vector!("golib-error-edupconn"), Refusal::DUPLICATE, None),
    ] {
        let mut client = RegistrationClient::new(sample_registration());
        client.handle_input(e2c).unwrap();
        let Some(ClientEvent::Refused(refusal)) = client.poll_event() else { panic!("no refusal") };
        assert_eq!(refusal.cause, cause);
        if let Some(seconds) = retry {
            assert_eq!(refusal.retry_after.unwrap().as_secs(), seconds);
        }
    }
}

#[test]
fn our_halves_understand_each_other() {
    let mut client = RegistrationClient::new(sample_registration());
    let mut server = RegistrationServer::new();
    settle(&mut client, &mut server);
    assert_eq!(server.poll_event(), Some(ServerEvent::Register(Box::new(sample_registration()))));
    assert!(server.respond(Ok(sample_registered())));
    settle(&mut client, &mut server);
    assert_eq!(client.poll_event(), Some(ClientEvent::Registered(sample_registered())));
    client.update_local_configuration(b"{}".to_vec());
    client.unregister();
    client.close();
    settle(&mut client, &mut server);
    assert_eq!(server.poll_event(), Some(ServerEvent::LocalConfiguration(b"{}".to_vec())));
    assert_eq!(server.poll_event(), Some(ServerEvent::Unregister));
    assert_eq!(client.poll_event(), Some(ClientEvent::LocalConfiguration(Ok(()))));
    assert_eq!(client.poll_event(), Some(ClientEvent::Unregistered));
}

#[test]
fn nothing_but_registering_works_before_registering() {
    let mut server = RegistrationServer::new();
    let calls = [
        Message::Bootstrap { question: 0 },
        Message::Call { question: 1, target: Target::Answer(0), method: Method::Unregister },
        Message::Call {
            question: 2,
            target: Target::Answer(0),
            method: Method::UpdateLocalConfiguration(b"{}".to_vec()),
        },
        Message::Call { question: 3, target: Target::Answer(0), method: Method::Unknown(1, 2) },
        Message::Call { question: 4, target: Target::Capability(9), method: Method::Unregister },
    ];
    for call in &calls {
        server.handle_input(&message::encode(call)).unwrap();
    }
    assert_eq!(server.poll_event(), None);
    let output: Vec<u8> = std::iter::from_fn(|| server.poll_output()).flatten().collect();
    let exceptions = messages(&output)
        .into_iter()
        .filter(|m| matches!(m, Message::Return { outcome: Outcome::Exception { .. }, .. }));
    assert_eq!(exceptions.count(), 4);
}

#[test]
fn a_registration_given_up_is_answered_with_canceled() {
    let mut client = RegistrationClient::new(sample_registration());
    let mut server = RegistrationServer::new();
    settle(&mut client, &mut server);
    let finish = Message::Finish { question: 1, release_result_caps: true };
    server.handle_input(&message::encode(&finish)).unwrap();
    assert!(!server.respond(Ok(sample_registered())));
    let output: Vec<u8> = std::iter::from_fn(|| server.poll_output()).flatten().collect();
    assert!(messages(&output).contains(&Message::Return { answer: 1, outcome: Outcome::Canceled }));
}

#[test]
fn a_second_registration_can_not_take_over() {
    let mut client = RegistrationClient::new(sample_registration());
    let mut server = RegistrationServer::new();
    settle(&mut client, &mut server);
    assert!(server.respond(Ok(sample_registered())));
    settle(&mut client, &mut server);
    server.poll_event();
    let again = Message::Call {
        question: 7,
        target: Target::Capability(0),
        method: Method::Register(Box::new(sample_registration())),
    };
    server.handle_input(&message::encode(&again)).unwrap();
    assert_eq!(server.poll_event(), None);
}

#[test]
fn each_side_answers_an_embargo_and_ends_at_an_abort() {
    let embargo = Message::SenderLoopback { target: Target::Capability(0), embargo: 5 };
    let lifted = Message::ReceiverLoopback { target: Target::Capability(0), embargo: 5 };
    let abort = Message::Abort { reason: "rpc: shutdown".into() };

    let mut server = RegistrationServer::new();
    server.handle_input(&message::encode(&embargo)).unwrap();
    assert_eq!(messages(&server.poll_output().unwrap()), std::slice::from_ref(&lifted));
    // cloudflared says good-bye like this: no error.
    server.handle_input(&message::encode(&abort)).unwrap();
    assert_eq!(server.poll_event(), Some(ServerEvent::Closed));

    let mut client = RegistrationClient::new(sample_registration());
    while client.poll_output().is_some() {}
    client.handle_input(&message::encode(&embargo)).unwrap();
    assert_eq!(messages(&client.poll_output().unwrap()), [lifted]);
    let error = client.handle_input(&message::encode(&abort)).unwrap_err();
    assert!(error.to_string().contains("rpc: shutdown"), "{error}");
}

#[test]
fn calls_to_a_connector_and_unknown_messages_are_echoed_as_unimplemented() {
    let call =
        Message::Call { question: 3, target: Target::Capability(0), method: Method::Unknown(1, 2) };
    let mut client = RegistrationClient::new(sample_registration());
    while client.poll_output().is_some() {}
    client.handle_input(&message::encode(&call)).unwrap();
    client.handle_input(&message::encode(&Message::Bootstrap { question: 0 })).unwrap();
    for _ in 0..2 {
        assert_eq!(messages(&client.poll_output().unwrap()), [Message::Unimplemented]);
    }
    // An answer to a question that nobody asked is not to be explained.
    let answer = Message::Return { answer: 77, outcome: Outcome::Empty };
    assert!(client.handle_input(&message::encode(&answer)).unwrap_err().is_peer_fault());
    let mut server = RegistrationServer::new();
    assert!(server.handle_input(&message::encode(&answer)).unwrap_err().is_peer_fault());
}

/// A message whose words are written by hand, framed.
fn by_hand(words: &[u64]) -> Vec<u8> {
    let count = u32::try_from(words.len()).unwrap();
    let mut bytes = vec![0; 4];
    bytes.extend(count.to_le_bytes());
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    bytes
}

#[test]
fn pointers_in_circles_and_in_crowds_are_unreadable() {
    // `Message` with tag 5, resolve, whose content is the message itself: to be echoed for ever.
    let circle = by_hand(&[0x0001_0001_0000_0000, 5, 0x0001_0001_ffff_fff8]);
    // The same with a list of 7,000 pointers, each to the same 7,000 words.
    let mut crowd = vec![0x0001_0001_0000_0000, 5, (7_000 << 35) | (6 << 32) | 1];
    for index in 0..7_000_i64 {
        let offset = u64::try_from(7_000 - 1 - index).unwrap() << 2;
        crowd.push((1_000 << 35) | (5 << 32) | offset | 1);
    }
    crowd.extend([7; 1_000]);
    let crowd = by_hand(&crowd);
    for (name, message) in [("circle", circle), ("crowd", crowd)] {
        let mut server = RegistrationServer::new();
        let error = server.handle_input(&message).err();
        let mut client = RegistrationClient::new(sample_registration());
        while client.poll_output().is_some() {}
        let other = client.handle_input(&message).err();
        let sent = |mut next: Box<dyn FnMut() -> Option<Vec<u8>> + '_>| {
            std::iter::from_fn(&mut next).map(|bytes| bytes.len()).sum::<usize>()
        };
        let (edge, connector) =
            (sent(Box::new(|| server.poll_output())), sent(Box::new(|| client.poll_output())));
        println!(
            "{name}: {} bytes; the edge answers {edge} bytes, {:?}; the connector {connector}, {:?}",
            message.len(),
            error.as_ref().map(ToString::to_string),
            other.as_ref().map(ToString::to_string),
        );
        assert!(error.is_some_and(|e| e.is_peer_fault()) && other.is_some(), "{name}");
        let most = limits::RPC_TRAVERSALS * message.len() + 256;
        assert!(edge <= most && connector <= most, "{name}");
    }
}

#[test]
fn question_ids_in_use_and_floods_end_the_stream() {
    let mut server = RegistrationServer::new();
    let bootstrap = |question| message::encode(&Message::Bootstrap { question });
    server.handle_input(&bootstrap(0)).unwrap();
    assert!(server.handle_input(&bootstrap(0)).unwrap_err().is_peer_fault());
    let mut server = RegistrationServer::new();
    let flood = (0..1000).map(|id| server.handle_input(&bootstrap(id))).find(Result::is_err);
    assert!(flood.is_some());
}

#[test]
fn the_secret_stays_out_of_debug_output() {
    let (c2e, _, _) = vector!("ok");
    let shown = format!("{:?}", messages(c2e));
    assert!(shown.contains("TunnelSecret(..)"));
    assert!(!shown.contains("[0, 1, 2, 3"));
}

mod garbage {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_panics_either_side(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = RegistrationServer::new().handle_input(&bytes);
            let _ = RegistrationClient::new(sample_registration()).handle_input(&bytes);
        }

        #[test]
        fn never_panics_on_a_damaged_recording(
            flips in proptest::collection::vec((0_usize..1256, any::<u8>()), 1..8),
        ) {
            let (c2e, e2c, _) = vector!("ok");
            let damage = |stream: &[u8]| {
                let mut stream = stream.to_vec();
                for (at, value) in &flips {
                    let at = at % stream.len();
                    stream[at] = *value;
                }
                stream
            };
            let mut server = RegistrationServer::new();
            let _ = server.handle_input(&damage(c2e));
            let _ = RegistrationClient::new(sample_registration()).handle_input(&damage(e2c));
        }
    }
}
