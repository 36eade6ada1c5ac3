//! RPC messages as plain values, read and written with the generated code.
//!
//! A `Return` does not say what it answers, so reading one needs to know the question.

use std::{net::IpAddr, time::Duration};

use capnp::{any_pointer, message::Builder, serialize};

use super::{
    generated::{
        registration_capnp as schema,
        rpc_capnp::{
            self, call, cap_descriptor, disembargo, exception, message, message_target, return_,
        },
    },
    registration::{Refusal, Registered, Registration},
};
use crate::{
    credentials::Credentials,
    error::{Error, ErrorKind},
    id::{ConnectionId, ConnectorId, TunnelId},
    limits,
    secret::TunnelSecret,
};

/// The interface that an edge serves on a control stream.
pub(crate) const REGISTRATION_SERVER: u64 = 0xf716_95ec_7fe8_5497;

/// One message of the control stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Message {
    Bootstrap {
        question: u32,
    },
    Call {
        question: u32,
        target: Target,
        method: Method,
    },
    Return {
        answer: u32,
        outcome: Outcome,
    },
    Finish {
        question: u32,
        release_result_caps: bool,
    },
    Release {
        id: u32,
        count: u32,
    },
    Abort {
        reason: String,
    },
    SenderLoopback {
        target: Target,
        embargo: u32,
    },
    ReceiverLoopback {
        target: Target,
        embargo: u32,
    },
    /// The peer did not understand a message of ours.
    Unimplemented,
    /// A message that this protocol has no use for.
    Unknown,
}

/// Whom a call is for: a capability the peer holds, or the answer to a question still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Capability(u32),
    Answer(u32),
    Unknown,
}

/// A method of the registration interface with its arguments.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Method {
    Register(Box<Registration>),
    Unregister,
    UpdateLocalConfiguration(Vec<u8>),
    /// Interface and method number that we don't serve.
    Unknown(u64, u16),
}

/// What a question brought.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Capability(u32),
    Registration(Result<Registered, Refusal>),
    Empty,
    Exception { kind: ExceptionKind, reason: String },
    Canceled,
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExceptionKind {
    Failed,
    Unimplemented,
}

/// What kind of answer a question of ours expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    Capability,
    Registration,
    Empty,
}

/// Reads a message. `expected` tells what a question of ours, by its id, asked for.
pub(crate) fn decode(
    reader: message::Reader<'_>,
    expected: impl Fn(u32) -> Option<Expected>,
) -> Result<Message, Error> {
    // A tag beyond the schema is a newer message kind, not garbage.
    let Ok(which) = reader.which() else {
        return Ok(Message::Unknown);
    };
    Ok(match which {
        message::Bootstrap(bootstrap) => {
            Message::Bootstrap { question: bootstrap?.get_question_id() }
        }
        message::Call(call) => decode_call(call?)?,
        message::Return(answer) => {
            let answer = answer?;
            let id = answer.get_answer_id();
            Message::Return { answer: id, outcome: decode_outcome(answer, expected(id))? }
        }
        message::Finish(finish) => {
            let finish = finish?;
            Message::Finish {
                question: finish.get_question_id(),
                release_result_caps: finish.get_release_result_caps(),
            }
        }
        message::Release(release) => {
            let release = release?;
            Message::Release { id: release.get_id(), count: release.get_reference_count() }
        }
        message::Abort(exception) => Message::Abort { reason: text(exception?.get_reason()?)? },
        message::Disembargo(disembargo) => decode_disembargo(disembargo?)?,
        message::Unimplemented(_) => Message::Unimplemented,
        _ => Message::Unknown,
    })
}

/// Writes a message with its framing.
pub(crate) fn encode(message: &Message) -> Vec<u8> {
    // A capability can't be written without a table of live objects, which a connection that
    // exports exactly one does not have. So this answer is the standard's encoding, by hand.
    if let Message::Return { answer, outcome: Outcome::Capability(id) } = message {
        return capability_return(*answer, *id);
    }
    let mut builder = Builder::new_default();
    write(builder.init_root(), message);
    serialize::write_message_to_words(&builder)
}

/// Echoes a message that we don't understand, as the standard asks.
pub(crate) fn encode_unimplemented(echo: message::Reader<'_>) -> Result<Vec<u8>, Error> {
    let mut builder = Builder::new_default();
    builder.init_root::<message::Builder<'_>>().set_unimplemented(echo)?;
    Ok(serialize::write_message_to_words(&builder))
}

fn decode_call(call: call::Reader<'_>) -> Result<Message, Error> {
    let target = decode_target(call.get_target()?)?;
    let params = call.get_params()?.get_content();
    let method = match (call.get_interface_id(), call.get_method_id()) {
        (REGISTRATION_SERVER, 0) => Method::Register(Box::new(decode_registration(params)?)),
        (REGISTRATION_SERVER, 1) => Method::Unregister,
        (REGISTRATION_SERVER, 2) => {
            let params: schema::update_local_configuration_params::Reader<'_> = params.get_as()?;
            Method::UpdateLocalConfiguration(params.get_config()?.to_vec())
        }
        (interface, method) => Method::Unknown(interface, method),
    };
    Ok(Message::Call { question: call.get_question_id(), target, method })
}

fn decode_target(target: message_target::Reader<'_>) -> Result<Target, Error> {
    Ok(match target.which() {
        Ok(message_target::ImportedCap(id)) => Target::Capability(id),
        Ok(message_target::PromisedAnswer(answer)) => {
            let answer = answer?;
            // The bootstrap answer is the capability itself: nothing to pick out of it.
            if answer
                .get_transform()?
                .iter()
                .all(|op| matches!(op.which(), Ok(rpc_capnp::promised_answer::op::Noop(()))))
            {
                Target::Answer(answer.get_question_id())
            } else {
                Target::Unknown
            }
        }
        Err(_) => Target::Unknown,
    })
}

fn decode_registration(params: any_pointer::Reader<'_>) -> Result<Registration, Error> {
    let params: schema::register_connection_params::Reader<'_> = params.get_as()?;
    let auth = params.get_auth()?;
    let options = params.get_options()?;
    let client = options.get_client()?;
    let credentials = Credentials::new(
        text(auth.get_account_tag()?)?,
        TunnelId::from_wire(params.get_tunnel_id()?)?,
        TunnelSecret::new(auth.get_tunnel_secret()?),
    );
    let connector_id = ConnectorId::from_wire(client.get_client_id()?)?;
    let features: Vec<_> =
        client.get_features()?.iter().map(|feature| text(feature?)).collect::<Result<_, _>>()?;
    Ok(Registration {
        version: text(client.get_version()?)?,
        arch: text(client.get_arch()?)?,
        features,
        origin_local_ip: decode_ip(options.get_origin_local_ip()?),
        replace_existing: options.get_replace_existing(),
        previous_attempts: options.get_num_previous_attempts(),
        ..Registration::new(credentials, connector_id, params.get_conn_index())
    })
}

fn decode_outcome(
    answer: return_::Reader<'_>,
    expected: Option<Expected>,
) -> Result<Outcome, Error> {
    let results = match answer.which() {
        Ok(return_::Results(results)) => results?,
        Ok(return_::Exception(exception)) => return decode_exception(exception?),
        Ok(return_::Canceled(())) => return Ok(Outcome::Canceled),
        _ => return Ok(Outcome::Unknown),
    };
    Ok(match expected {
        Some(Expected::Capability) => {
            let table = results.get_cap_table()?;
            match (!table.is_empty()).then(|| table.get(0).which()) {
                Some(Ok(cap_descriptor::SenderHosted(id) | cap_descriptor::SenderPromise(id))) => {
                    Outcome::Capability(id)
                }
                _ => Outcome::Unknown,
            }
        }
        Some(Expected::Registration) => {
            let results: schema::register_connection_results::Reader<'_> =
                results.get_content().get_as()?;
            Outcome::Registration(decode_response(results.get_result()?)?)
        }
        Some(Expected::Empty) => Outcome::Empty,
        None => Outcome::Unknown,
    })
}

fn decode_exception(exception: exception::Reader<'_>) -> Result<Outcome, Error> {
    let kind = match exception.get_type() {
        Ok(exception::Type::Unimplemented) => ExceptionKind::Unimplemented,
        _ => ExceptionKind::Failed,
    };
    Ok(Outcome::Exception { kind, reason: text(exception.get_reason()?)? })
}

fn decode_response(
    response: schema::connection_response::Reader<'_>,
) -> Result<Result<Registered, Refusal>, Error> {
    use schema::connection_response::{ConnectionDetails, Error as ConnectionError};
    match response.which() {
        Ok(ConnectionDetails(details)) => {
            let details = details?;
            Ok(Ok(Registered {
                connection_id: ConnectionId::from_wire(details.get_uuid()?)?,
                location: text(details.get_location_name()?)?,
                is_remotely_managed: details.get_tunnel_is_remotely_managed(),
            }))
        }
        Ok(ConnectionError(error)) => {
            let error = error?;
            let after = Duration::from_nanos(error.get_retry_after().max(0).unsigned_abs());
            Ok(Err(Refusal {
                cause: text(error.get_cause()?)?,
                retry_after: error.get_should_retry().then_some(after),
            }))
        }
        Err(_) => {
            Err(ErrorKind::Peer("a registration answered with neither yes nor no".into()).into())
        }
    }
}

fn decode_disembargo(disembargo: disembargo::Reader<'_>) -> Result<Message, Error> {
    let target = decode_target(disembargo.get_target()?)?;
    Ok(match disembargo.get_context().which() {
        Ok(disembargo::context::SenderLoopback(embargo)) => {
            Message::SenderLoopback { target, embargo }
        }
        Ok(disembargo::context::ReceiverLoopback(embargo)) => {
            Message::ReceiverLoopback { target, embargo }
        }
        _ => Message::Unknown,
    })
}

fn write(mut root: message::Builder<'_>, message: &Message) {
    match message {
        Message::Bootstrap { question } => root.init_bootstrap().set_question_id(*question),
        Message::Call { question, target, method } => {
            let mut call = root.init_call();
            call.set_question_id(*question);
            write_target(call.reborrow().init_target(), *target);
            call.reborrow().init_send_results_to().set_caller(());
            write_method(call, method);
        }
        Message::Return { answer, outcome } => {
            let mut builder = root.init_return();
            builder.set_answer_id(*answer);
            builder.set_release_param_caps(false);
            write_outcome(builder, outcome);
        }
        Message::Finish { question, release_result_caps } => {
            let mut finish = root.init_finish();
            finish.set_question_id(*question);
            finish.set_release_result_caps(*release_result_caps);
        }
        Message::Release { id, count } => {
            let mut release = root.init_release();
            release.set_id(*id);
            release.set_reference_count(*count);
        }
        Message::Abort { reason } => root.init_abort().set_reason(reason),
        Message::SenderLoopback { target, embargo } => {
            let mut builder = root.init_disembargo();
            write_target(builder.reborrow().init_target(), *target);
            builder.init_context().set_sender_loopback(*embargo);
        }
        Message::ReceiverLoopback { target, embargo } => {
            let mut builder = root.init_disembargo();
            write_target(builder.reborrow().init_target(), *target);
            builder.init_context().set_receiver_loopback(*embargo);
        }
        Message::Unimplemented | Message::Unknown => {
            root.reborrow().init_unimplemented();
        }
    }
}

fn write_target(mut builder: message_target::Builder<'_>, target: Target) {
    match target {
        Target::Capability(id) => builder.set_imported_cap(id),
        Target::Answer(question) => builder.init_promised_answer().set_question_id(question),
        Target::Unknown => {}
    }
}

fn write_method(mut call: call::Builder<'_>, method: &Method) {
    let (interface, number) = match method {
        Method::Register(_) => (REGISTRATION_SERVER, 0),
        Method::Unregister => (REGISTRATION_SERVER, 1),
        Method::UpdateLocalConfiguration(_) => (REGISTRATION_SERVER, 2),
        Method::Unknown(interface, number) => (*interface, *number),
    };
    call.set_interface_id(interface);
    call.set_method_id(number);
    let content = call.init_params().init_content();
    match method {
        Method::Register(registration) => write_registration(content.init_as(), registration),
        Method::UpdateLocalConfiguration(json) => {
            let mut params: schema::update_local_configuration_params::Builder<'_> =
                content.init_as();
            params.set_config(json);
        }
        Method::Unregister | Method::Unknown(..) => {
            content.init_as::<schema::empty::Builder<'_>>();
        }
    }
}

fn write_registration(
    mut params: schema::register_connection_params::Builder<'_>,
    registration: &Registration,
) {
    let credentials = &registration.credentials;
    params.set_tunnel_id(credentials.tunnel_id().as_bytes());
    params.set_conn_index(registration.connection_index);
    let mut auth = params.reborrow().init_auth();
    auth.set_account_tag(credentials.account_tag());
    auth.set_tunnel_secret(credentials.secret().expose());
    let mut options = params.init_options();
    if let Some(ip) = registration.origin_local_ip {
        let ip = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        options.set_origin_local_ip(&ip.octets());
    }
    options.set_replace_existing(registration.replace_existing);
    options.set_num_previous_attempts(registration.previous_attempts);
    let mut client = options.init_client();
    client.set_client_id(registration.connector_id.as_bytes());
    client.set_version(&registration.version);
    client.set_arch(&registration.arch);
    let count = u32::try_from(registration.features.len()).unwrap_or(0);
    let mut features = client.init_features(count);
    for (index, feature) in (0..count).zip(&registration.features) {
        features.set(index, feature);
    }
}

fn write_outcome(mut builder: return_::Builder<'_>, outcome: &Outcome) {
    match outcome {
        Outcome::Registration(response) => {
            let results: schema::register_connection_results::Builder<'_> =
                builder.init_results().init_content().init_as();
            write_response(results.init_result(), response);
        }
        Outcome::Empty | Outcome::Capability(_) => {
            builder.init_results().init_content().init_as::<schema::empty::Builder<'_>>();
        }
        Outcome::Exception { kind, reason } => {
            let mut exception = builder.init_exception();
            exception.set_reason(reason);
            exception.set_type(match kind {
                ExceptionKind::Failed => exception::Type::Failed,
                ExceptionKind::Unimplemented => exception::Type::Unimplemented,
            });
        }
        Outcome::Canceled | Outcome::Unknown => builder.set_canceled(()),
    }
}

fn write_response(
    builder: schema::connection_response::Builder<'_>,
    response: &Result<Registered, Refusal>,
) {
    match response {
        Ok(registered) => {
            let mut details = builder.init_connection_details();
            details.set_uuid(registered.connection_id.as_bytes());
            details.set_location_name(&registered.location);
            details.set_tunnel_is_remotely_managed(registered.is_remotely_managed);
        }
        Err(refusal) => {
            let mut error = builder.init_error();
            error.set_cause(&refusal.cause);
            error.set_should_retry(refusal.retry_after.is_some());
            let after = refusal.retry_after.unwrap_or_default().as_nanos();
            error.set_retry_after(i64::try_from(after).unwrap_or(i64::MAX));
        }
    }
}

/// `Return` of one sender-hosted capability: eleven words and the frame's table.
fn capability_return(answer: u32, id: u32) -> Vec<u8> {
    let mut words = [
        0x0000_000b_0000_0000, // one segment of eleven words
        0x0001_0001_0000_0000, // root: struct of one data word and one pointer
        0x0000_0000_0000_0003, // Message: tag 3, return
        0x0001_0002_0000_0000, // pointer to Return: two data words, one pointer
        0x0000_0001_0000_0000, // Return: answer id (patched), caps of parameters not released
        0,                     // tag 0, results
        0x0002_0000_0000_0000, // pointer to Payload: two pointers
        0x0000_0000_0000_0003, // content: capability 0 of the table
        0x0000_0017_0000_0001, // capability table: list of structs, two words
        0x0001_0001_0000_0004, // its tag word: one element of one data word and one pointer
        0x0000_0000_0000_0001, // CapDescriptor: tag 1, sender hosted; id (patched)
        0,
    ];
    words[4] |= u64::from(answer);
    words[10] |= u64::from(id) << 32;
    words.iter().flat_map(|word: &u64| word.to_le_bytes()).collect()
}

fn decode_ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|ip| IpAddr::from(ip).to_canonical()),
        _ => None,
    }
}

/// Text of a peer: bounded by the message, and UTF-8 or the peer's fault.
fn text(text: capnp::text::Reader<'_>) -> Result<String, Error> {
    if text.len() > limits::RPC_MESSAGE_BYTES {
        return Err(ErrorKind::Peer("a text longer than a message".into()).into());
    }
    text.to_string().map_err(|_| ErrorKind::Peer("a text that is not UTF-8".into()).into())
}
