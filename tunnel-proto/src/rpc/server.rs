//! The edge's side of a control stream.

use std::collections::{HashMap, VecDeque};

use super::{
    frame::FrameDecoder,
    message::{self, ExceptionKind, Message, Method, Outcome, Target},
    registration::{Refusal, Registered, Registration},
};
use crate::{
    error::{Error, ErrorKind},
    limits,
};

/// Answers one connector's calls. Knows no clock and no socket.
///
/// Feed what arrives to [`handle_input`](Self::handle_input). Then drain
/// [`poll_event`](Self::poll_event) and [`poll_output`](Self::poll_output) until both return
/// `None`; drain them after [`respond`](Self::respond) too. After an error nothing more is read:
/// send what is left to send and close the stream.
#[derive(Debug)]
pub(crate) struct RegistrationServer {
    decoder: FrameDecoder,
    questions: HashMap<u32, Question>,
    state: State,
    output: VecDeque<Vec<u8>>,
    output_bytes: usize,
    events: VecDeque<ServerEvent>,
}

/// What the connector asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ServerEvent {
    /// Check it, then call [`RegistrationServer::respond`]. Comes once.
    Register(Box<Registration>),
    /// The connector's own rules, as JSON. Already answered.
    LocalConfiguration(Vec<u8>),
    /// No new streams please. Already answered.
    Unregister,
    /// The connector said good-bye; its end of the stream follows.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Bootstrap,
    Registration,
    Answered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing has been asked.
    Anonymous,
    /// The registration with this question id waits for the caller's verdict.
    Deciding(u32),
    /// The verdict was yes.
    Registered,
    /// The verdict was no, or the connector said good-bye.
    Over,
}

/// The one object that an edge exports.
const BOOTSTRAP_CAPABILITY: u32 = 0;

impl RegistrationServer {
    pub(crate) fn new() -> Self {
        Self {
            decoder: FrameDecoder::new(limits::RPC_MESSAGE_BYTES_ANONYMOUS),
            questions: HashMap::new(),
            state: State::Anonymous,
            output: VecDeque::new(),
            output_bytes: 0,
            events: VecDeque::new(),
        }
    }

    /// Takes bytes of the stream, in any pieces.
    ///
    /// # Errors
    ///
    /// What the peer broke. An abort for it has been queued as output.
    pub(crate) fn handle_input(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.decoder.push(bytes);
        self.handle_messages().inspect_err(|error| {
            let _ = self.send(&Message::Abort { reason: error.to_string() });
        })
    }

    /// Answers the registration that [`ServerEvent::Register`] announced.
    ///
    /// Returns whether anybody was still waiting: the connector may have given up.
    pub(crate) fn respond(&mut self, verdict: Result<Registered, Refusal>) -> bool {
        let State::Deciding(question) = self.state else {
            return false;
        };
        self.state = if verdict.is_ok() {
            self.decoder.set_max_message_bytes(limits::RPC_MESSAGE_BYTES);
            State::Registered
        } else {
            State::Over
        };
        let waiting = self.questions.get(&question) == Some(&Question::Registration);
        if waiting {
            let _ = self.answer(question, Outcome::Registration(verdict));
        }
        waiting
    }

    /// The next thing the connector asked for.
    pub(crate) fn poll_event(&mut self) -> Option<ServerEvent> {
        self.events.pop_front()
    }

    /// The next bytes to send, a whole message each.
    pub(crate) fn poll_output(&mut self) -> Option<Vec<u8>> {
        let message = self.output.pop_front()?;
        self.output_bytes -= message.len();
        Some(message)
    }

    fn handle_messages(&mut self) -> Result<(), Error> {
        while let Some(frame) = self.decoder.next()? {
            let reader = frame.get_root()?;
            match message::decode(reader, |_| None)? {
                Message::Unknown => self.push(message::encode_unimplemented(reader)?)?,
                message => self.handle_message(message)?,
            }
        }
        Ok(())
    }

    fn handle_message(&mut self, message: Message) -> Result<(), Error> {
        match message {
            Message::Bootstrap { question } => {
                self.ask(question, Question::Bootstrap)?;
                self.send(&Message::Return {
                    answer: question,
                    outcome: Outcome::Capability(BOOTSTRAP_CAPABILITY),
                })
            }
            Message::Call { question, target, method } => {
                self.handle_call(question, target, method)
            }
            Message::Finish { question, .. } => self.handle_finish(question),
            Message::Abort { .. } => {
                self.state = State::Over;
                self.events.push_back(ServerEvent::Closed);
                Ok(())
            }
            Message::SenderLoopback { target, embargo } => {
                self.send(&Message::ReceiverLoopback { target, embargo })
            }
            Message::Return { .. } => {
                Err(peer("an answer to a question that the edge never asked"))
            }
            // The export lives as long as the stream, so counting its references is of no use.
            Message::Release { .. }
            | Message::ReceiverLoopback { .. }
            | Message::Unimplemented
            | Message::Unknown => Ok(()),
        }
    }

    fn handle_call(&mut self, question: u32, target: Target, method: Method) -> Result<(), Error> {
        self.ask(question, Question::Answered)?;
        let is_bootstrap = match target {
            Target::Capability(id) => id == BOOTSTRAP_CAPABILITY,
            Target::Answer(id) => self.questions.get(&id) == Some(&Question::Bootstrap),
            Target::Unknown => false,
        };
        if !is_bootstrap {
            return self.fail(question, ExceptionKind::Failed, "no such capability");
        }
        match (method, self.state) {
            (Method::Register(registration), State::Anonymous) => {
                self.questions.insert(question, Question::Registration);
                self.state = State::Deciding(question);
                self.events.push_back(ServerEvent::Register(registration));
                Ok(())
            }
            (Method::Register(_), _) => {
                self.fail(question, ExceptionKind::Failed, "this connection has registered already")
            }
            (Method::Unregister, State::Registered) => {
                self.events.push_back(ServerEvent::Unregister);
                self.answer(question, Outcome::Empty)
            }
            (Method::UpdateLocalConfiguration(json), State::Registered) => {
                self.events.push_back(ServerEvent::LocalConfiguration(json));
                self.answer(question, Outcome::Empty)
            }
            (Method::Unregister | Method::UpdateLocalConfiguration(_), _) => {
                self.fail(question, ExceptionKind::Failed, "this connection has not registered")
            }
            (Method::Unknown(..), _) => {
                self.fail(question, ExceptionKind::Unimplemented, "no such method")
            }
        }
    }

    fn handle_finish(&mut self, question: u32) -> Result<(), Error> {
        match self.questions.remove(&question) {
            // The connector timed out. Every question gets exactly one answer.
            Some(Question::Registration) => {
                self.state = State::Over;
                self.send(&Message::Return { answer: question, outcome: Outcome::Canceled })
            }
            _ => Ok(()),
        }
    }

    /// Opens a question. Ids are used again, but only after their `Finish`.
    fn ask(&mut self, id: u32, question: Question) -> Result<(), Error> {
        if self.questions.len() >= limits::RPC_QUESTIONS {
            return Err(peer("too many unfinished questions").with_limit("RPC_QUESTIONS"));
        }
        match self.questions.insert(id, question) {
            None => Ok(()),
            Some(_) => Err(peer("a question id that is still in use")),
        }
    }

    fn answer(&mut self, question: u32, outcome: Outcome) -> Result<(), Error> {
        self.questions.insert(question, Question::Answered);
        self.send(&Message::Return { answer: question, outcome })
    }

    fn fail(&mut self, question: u32, kind: ExceptionKind, reason: &str) -> Result<(), Error> {
        self.answer(question, Outcome::Exception { kind, reason: reason.into() })
    }

    fn send(&mut self, message: &Message) -> Result<(), Error> {
        self.push(message::encode(message))
    }

    fn push(&mut self, bytes: Vec<u8>) -> Result<(), Error> {
        if self.output_bytes + bytes.len() > limits::RPC_OUTPUT_BYTES {
            return Err(peer("answers are not being read").with_limit("RPC_OUTPUT_BYTES"));
        }
        self.output_bytes += bytes.len();
        self.output.push_back(bytes);
        Ok(())
    }
}

fn peer(what: &str) -> Error {
    ErrorKind::Peer(what.into()).into()
}
