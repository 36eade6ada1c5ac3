//! The connector's side of a control stream.

use std::collections::{HashMap, VecDeque};

use super::{
    frame::FrameDecoder,
    message::{self, Expected, Message, Method, Outcome, Target},
    registration::{Refusal, Registered, Registration},
};
use crate::{
    error::{Error, ErrorKind},
    limits,
};

/// Registers one connection with an edge and later takes its leave. Knows no clock and no socket.
///
/// The first output (bootstrap and registration in one write) is there from the start. Feed what
/// arrives to [`handle_input`](Self::handle_input), then drain [`poll_event`](Self::poll_event)
/// and [`poll_output`](Self::poll_output).
#[derive(Debug)]
pub(crate) struct RegistrationClient {
    decoder: FrameDecoder,
    questions: HashMap<u32, Asked>,
    capability: Option<u32>,
    output: VecDeque<Vec<u8>>,
    output_bytes: usize,
    events: VecDeque<ClientEvent>,
}

/// What the edge answered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ClientEvent {
    Registered(Registered),
    Refused(Refusal),
    /// The edge sends no new streams.
    Unregistered,
    /// The edge took the local configuration, or says why not.
    LocalConfiguration(Result<(), String>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Bootstrap,
    Register,
    LocalConfiguration,
    Unregister,
}

impl Asked {
    fn expected(self) -> Expected {
        match self {
            Self::Bootstrap => Expected::Capability,
            Self::Register => Expected::Registration,
            Self::LocalConfiguration | Self::Unregister => Expected::Empty,
        }
    }
}

impl RegistrationClient {
    pub(crate) fn new(registration: Registration) -> Self {
        let mut client = Self {
            decoder: FrameDecoder::new(limits::RPC_MESSAGE_BYTES_ANONYMOUS),
            questions: HashMap::new(),
            capability: None,
            output: VecDeque::new(),
            output_bytes: 0,
            events: VecDeque::new(),
        };
        let bootstrap = client.ask(Asked::Bootstrap);
        client.send(&Message::Bootstrap { question: bootstrap });
        let question = client.ask(Asked::Register);
        client.send(&Message::Call {
            question,
            target: Target::Answer(bootstrap),
            method: Method::Register(Box::new(registration)),
        });
        client
    }

    /// Takes bytes of the stream, in any pieces.
    ///
    /// # Errors
    ///
    /// What the edge broke, or its reason for aborting. Nothing more is read after an error.
    pub(crate) fn handle_input(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.decoder.push(bytes);
        while let Some(frame) = self.decoder.next()? {
            let reader = frame.get_root()?;
            let questions = &self.questions;
            let message =
                message::decode(reader, |id| questions.get(&id).map(|asked| asked.expected()))?;
            match message {
                Message::Unknown | Message::Call { .. } | Message::Bootstrap { .. } => {
                    let echo = message::encode_unimplemented(reader)?;
                    if self.output_bytes + echo.len() > limits::RPC_OUTPUT_BYTES {
                        let error = peer("answers are not being read");
                        return Err(error.with_limit("RPC_OUTPUT_BYTES"));
                    }
                    self.push(echo);
                }
                message => self.handle_message(message)?,
            }
        }
        Ok(())
    }

    /// Tells the edge the rules that this connector goes by, as JSON.
    pub(crate) fn update_local_configuration(&mut self, json: Vec<u8>) {
        self.call(Asked::LocalConfiguration, Method::UpdateLocalConfiguration(json));
    }

    /// Asks the edge to send no new streams. [`ClientEvent::Unregistered`] follows.
    pub(crate) fn unregister(&mut self) {
        self.call(Asked::Unregister, Method::Unregister);
    }

    /// Says good-bye; the end of the stream follows.
    pub(crate) fn close(&mut self) {
        if let Some(id) = self.capability.take() {
            self.send(&Message::Release { id, count: 1 });
        }
    }

    pub(crate) fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    pub(crate) fn poll_output(&mut self) -> Option<Vec<u8>> {
        let message = self.output.pop_front()?;
        self.output_bytes -= message.len();
        Some(message)
    }

    fn handle_message(&mut self, message: Message) -> Result<(), Error> {
        match message {
            Message::Return { answer, outcome } => self.handle_return(answer, outcome),
            Message::Abort { reason } => {
                Err(peer(&format!("the edge aborted: {}", reason.escape_debug())))
            }
            Message::SenderLoopback { target, embargo } => {
                self.send(&Message::ReceiverLoopback { target, embargo });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn handle_return(&mut self, answer: u32, outcome: Outcome) -> Result<(), Error> {
        let Some(asked) = self.questions.remove(&answer) else {
            return Err(peer("an answer to a question that was not asked"));
        };
        self.send(&Message::Finish { question: answer, release_result_caps: false });
        match (asked, outcome) {
            (Asked::Bootstrap, Outcome::Capability(id)) => self.capability = Some(id),
            (Asked::Register, Outcome::Registration(Ok(registered))) => {
                self.events.push_back(ClientEvent::Registered(registered));
            }
            (Asked::Register, Outcome::Registration(Err(refusal))) => {
                self.events.push_back(ClientEvent::Refused(refusal));
            }
            (Asked::Register, Outcome::Exception { reason, .. }) => {
                self.events
                    .push_back(ClientEvent::Refused(Refusal { cause: reason, retry_after: None }));
            }
            // An edge that can't say good-bye properly still hears no more from us.
            (Asked::Unregister, _) => self.events.push_back(ClientEvent::Unregistered),
            (Asked::LocalConfiguration, outcome) => {
                let result = match outcome {
                    Outcome::Exception { reason, .. } => Err(reason),
                    _ => Ok(()),
                };
                self.events.push_back(ClientEvent::LocalConfiguration(result));
            }
            (Asked::Bootstrap | Asked::Register, _) => {
                return Err(peer("an answer of the wrong kind"));
            }
        }
        Ok(())
    }

    fn call(&mut self, asked: Asked, method: Method) {
        let Some(capability) = self.capability else {
            return;
        };
        let question = self.ask(asked);
        self.send(&Message::Call { question, target: Target::Capability(capability), method });
    }

    /// The smallest free question id, as the standard advises.
    fn ask(&mut self, asked: Asked) -> u32 {
        let mut id = 0;
        while self.questions.contains_key(&id) {
            id += 1;
        }
        self.questions.insert(id, asked);
        id
    }

    fn send(&mut self, message: &Message) {
        self.push(message::encode(message));
    }

    fn push(&mut self, bytes: Vec<u8>) {
        self.output_bytes += bytes.len();
        self.output.push_back(bytes);
    }
}

fn peer(what: &str) -> Error {
    ErrorKind::Peer(what.into()).into()
}
