//! One order, from names to a chain, as a state machine.

mod authorizations;
mod chain;

use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::{
    acme::{
        attempt::Attempt,
        challenge::ChallengeKind,
        http::{Request, Response},
        renewal::time,
        resource::{Authorization, Order as Resource},
        session::{Call, Goal, Handled, Session, To},
        wait::Pace,
    },
    failure::{Failure, FailureClass, Identifier, Problem},
};

/// Leads an [`Attempt`] to a chain. Ask [`Order::poll`] what to do, do it, say what came of it.
#[derive(Debug)]
pub(crate) struct Order {
    attempt: Attempt,
    wishes: Wishes,
    state: State,
    call: Call,
    resource: Resource,
    authorizations: Vec<Authorization>,
    /// Challenges that still have to be started.
    to_start: Vec<String>,
    is_started: bool,
    is_finalized: bool,
    pace: Pace,
    looks: u32,
    pauses: u32,
    /// PEM, leaf first.
    chain: Option<String>,
}

/// How an order is led, beyond what the attempt says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wishes {
    /// In the order in which they are preferred.
    pub(crate) kinds: Vec<ChallengeKind>,
    /// The common name of the root that the chain should lead to.
    pub(crate) preferred_root: Option<String>,
    /// Whether another profile will do where the authority does not know the one that is asked for.
    pub(crate) goes_without_profile: bool,
}

/// What to do next.
#[derive(Debug)]
pub(crate) enum Act {
    /// Store [`Order::attempt`] before going on, then call [`Order::stored`].
    Store,
    /// As [`Act::Store`] and [`Act::Send`], side by side: the request changes nothing at the authority.
    StoreAndSend(Request),
    /// Send this, then call [`Order::handle`].
    Send(Request),
    /// Show the attempt's challenges to whoever asks, then call [`Order::shown`].
    Show,
    /// Ask again at that time.
    Wait(SystemTime),
    /// Here is the chain, PEM, leaf first.
    Done(String),
}

#[derive(Debug, Clone)]
enum State {
    /// Not before the attempt is stored.
    Store(Box<State>),
    Send(Goal, Expect),
    Show,
    Wait(SystemTime),
    /// Nonces are refused one after the other: go on after a pause.
    Pause(SystemTime, Box<State>),
    Done,
}

/// To what an answer belongs.
#[derive(Debug, Clone, Copy)]
enum Expect {
    NewOrder,
    Order,
    Authorization,
    Challenge,
    /// The authorizations of an order that failed.
    Reason,
    Finalize,
    Chain,
    OtherChain(usize),
}

impl Order {
    /// Goes on with an attempt, wherever it was left.
    pub(crate) fn new(attempt: Attempt, wishes: Wishes) -> Self {
        let state = match &attempt.order_url {
            Some(url) => State::Send(Goal::read(url, LOOK), Expect::Order),
            // Where nothing can be stored, nothing is ordered.
            None => State::Store(Box::new(State::Send(new_order(&attempt), Expect::NewOrder))),
        };
        Self {
            attempt,
            wishes,
            state,
            call: Call::default(),
            resource: Resource::default(),
            authorizations: Vec::new(),
            to_start: Vec::new(),
            is_started: false,
            is_finalized: false,
            pace: Pace::default(),
            looks: 0,
            pauses: 0,
            chain: None,
        }
    }

    pub(crate) fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// What to do now.
    pub(crate) fn poll(&mut self, session: &mut Session, now: SystemTime) -> Result<Act, Failure> {
        if let State::Pause(until, next) = &self.state
            && *until <= now
        {
            self.state = State::clone(next);
        }
        if let State::Wait(until) = self.state
            && until <= now
        {
            let url = self.attempt.order_url.as_deref().unwrap_or_default();
            self.state = State::Send(Goal::read(url, LOOK), Expect::Order);
        }
        Ok(match &self.state {
            State::Store(next) => match &**next {
                State::Send(goal, Expect::Authorization) => {
                    Act::StoreAndSend(session.request(&mut self.call, goal, now)?)
                }
                _ => Act::Store,
            },
            State::Send(goal, _) => Act::Send(session.request(&mut self.call, goal, now)?),
            State::Show => Act::Show,
            State::Wait(until) | State::Pause(until, _) => Act::Wait(*until),
            State::Done => Act::Done(self.chain.clone().unwrap_or_default()),
        })
    }

    /// The attempt is stored.
    pub(crate) fn stored(&mut self) {
        if let State::Store(next) = &self.state {
            self.state = State::clone(next);
        }
    }

    /// The challenges can be seen.
    pub(crate) fn shown(&mut self) {
        self.start_next();
    }

    /// Takes what came back for [`Act::Send`].
    pub(crate) fn handle(
        &mut self,
        session: &mut Session,
        response: Response,
        now: SystemTime,
    ) -> Result<(), Failure> {
        let State::Send(goal, expect) = &self.state else {
            return Ok(());
        };
        let (doing, expect) = (goal.doing, *expect);
        let answer = match session.handle(&mut self.call, goal, response, now) {
            Ok(Handled::Continue) => return Ok(()),
            Ok(Handled::Answer(answer)) => answer,
            Err(failure) => return self.handle_failure(expect, failure, session, now),
        };
        match expect {
            Expect::NewOrder => {
                let url = answer.location.as_deref().ok_or_else(|| {
                    Failure::because(
                        FailureClass::Network,
                        doing,
                        "the answer does not say where the order is",
                    )
                })?;
                self.attempt.order_url = Some(url.to_owned());
                self.handle_order(&answer, session, now, (doing, expect))?;
                // A crash from here on finds the order again.
                let next = Box::new(std::mem::replace(&mut self.state, State::Done));
                self.state = match *next {
                    State::Store(_) => *next,
                    _ => State::Store(next),
                };
            }
            Expect::Order | Expect::Finalize => {
                self.handle_order(&answer, session, now, (doing, expect))?;
            }
            Expect::Authorization => {
                self.authorizations.push(read(&answer, doing)?);
                self.read_next_authorization(session, now)?;
            }
            Expect::Challenge => {
                self.start_next();
                if self.is_started {
                    self.pace = session.validation;
                    // It has only just begun, and may say how long it takes (RFC 8555 section 7.5.1).
                    self.wait(answer.retry_after(now), now);
                }
            }
            Expect::Reason => {
                self.authorizations.push(read(&answer, doing)?);
                self.explain()?;
            }
            Expect::Chain => self.handle_chain(&answer, doing, true)?,
            Expect::OtherChain(_) => self.handle_other_chain(&answer, expect),
        }
        Ok(())
    }

    fn handle_failure(
        &mut self,
        expect: Expect,
        failure: Failure,
        session: &mut Session,
        now: SystemTime,
    ) -> Result<(), Failure> {
        if failure.is("badNonce") && self.pauses < MAX_PAUSES {
            self.pauses += 1;
            let state = std::mem::replace(&mut self.state, State::Done);
            self.state = State::Pause(now + PAUSE, Box::new(state));
            return Ok(());
        }
        let is_new = matches!(expect, Expect::NewOrder) && failure.class == FailureClass::Hold;
        if is_new && !failure.is_about(&self.attempt.names) {
            session.hold(&failure);
        }
        match expect {
            // The certificate has a successor already, or is not known: order without that word.
            Expect::NewOrder
                if self.attempt.replaces.is_some()
                    && (failure.is("alreadyReplaced") || failure.is("malformed")) =>
            {
                self.attempt.replaces = None;
                self.order_anew();
                Ok(())
            }
            Expect::NewOrder if self.attempt.profile.is_some() && failure.is("invalidProfile") => {
                if !self.wishes.goes_without_profile {
                    return Err(self.name_profiles(failure, session));
                }
                let profile = self.attempt.profile.take();
                tracing::warn!(
                    profile,
                    "the authority does not know the profile; ordering without it"
                );
                self.order_anew();
                Ok(())
            }
            // It was asked for before, or not everything is valid yet: the order tells.
            Expect::Finalize if failure.is("orderNotReady") => {
                let asked = failure.not_before.and_then(|until| until.duration_since(now).ok());
                self.wait(asked, now);
                Ok(())
            }
            // Started before, and not pending any more.
            Expect::Challenge if failure.class == FailureClass::Request => {
                self.start_next();
                Ok(())
            }
            // The chain that is there will do.
            Expect::OtherChain(_) => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(failure),
        }
    }

    fn order_anew(&mut self) {
        let goal = new_order(&self.attempt);
        self.state = State::Store(Box::new(State::Send(goal, Expect::NewOrder)));
    }

    /// Adds which profiles there are.
    fn name_profiles(&self, mut failure: Failure, session: &Session) -> Failure {
        let profiles = session.directory().map(|directory| &directory.meta.profiles);
        let known: Vec<_> = profiles.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        if let Some(problem) = &mut failure.problem {
            let asked = self.attempt.profile.as_deref().unwrap_or_default();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            problem.detail = format!("{}; asked for `{asked}`, known are: {known}", problem.detail);
            problem.clean();
        }
        failure
    }

    fn handle_order(
        &mut self,
        answer: &Response,
        session: &mut Session,
        now: SystemTime,
        (doing, expect): (&'static str, Expect),
    ) -> Result<(), Failure> {
        self.resource = read(answer, doing)?;
        self.check_order(answer.time().unwrap_or(now), doing)?;
        match self.resource.status.as_str() {
            // It was just asked for.
            "ready" if matches!(expect, Expect::Finalize) => {
                self.wait(answer.retry_after(now), now);
            }
            "pending" if self.is_started => self.wait(answer.retry_after(now), now),
            "pending" => {
                self.authorizations.clear();
                self.read_next_authorization(session, now)?;
            }
            "ready" => {
                if !std::mem::replace(&mut self.is_finalized, true) {
                    session.validation.learn(self.looks);
                    (self.pace, self.looks) = (session.issuance, 0);
                }
                let goal = Goal::post(
                    To::Url(self.resource.finalize.clone()),
                    &json!({ "csr": self.attempt.csr }),
                    "ask for the certificate",
                );
                self.state = State::Send(goal, Expect::Finalize);
            }
            "valid" => {
                session.issuance.learn(self.looks);
                let url = self.resource.certificate.as_deref().ok_or_else(|| {
                    Failure::because(
                        FailureClass::Network,
                        doing,
                        "the order is valid, and there is no certificate",
                    )
                })?;
                self.state =
                    State::Send(Goal::read(url, "download the certificate"), Expect::Chain);
            }
            "invalid" => {
                self.authorizations.clear();
                self.explain()?;
            }
            // `processing`, and what may come one day.
            _ => self.wait(answer.retry_after(now), now),
        }
        Ok(())
    }

    /// Whether the order can be worked on at all. `now` is the authority's, if it says so.
    fn check_order(&self, now: SystemTime, doing: &'static str) -> Result<(), Failure> {
        let Resource { status, expires, authorizations, .. } = &self.resource;
        let ends = expires.as_deref().and_then(time);
        if status != "valid" && ends.is_some_and(|ends| ends <= now) {
            let words = "the order has expired";
            return Err(Failure::because(FailureClass::OrderGone, doing, words));
        }
        if authorizations.len() > self.attempt.names.len() {
            let words = "the order wants more authorizations than it has names";
            return Err(Failure::because(FailureClass::Rejected, doing, words));
        }
        Ok(())
    }

    fn start_next(&mut self) {
        if let Some(url) = self.to_start.pop() {
            let goal = Goal::post(To::Url(url), &json!({}), "start a challenge");
            self.state = State::Send(goal, Expect::Challenge);
        } else {
            self.is_started = true;
            self.look();
        }
    }

    fn look(&mut self) {
        let url = self.attempt.order_url.as_deref().unwrap_or_default();
        self.state = State::Send(Goal::read(url, LOOK), Expect::Order);
    }

    fn wait(&mut self, asked: Option<Duration>, now: SystemTime) {
        self.state = State::Wait(now + self.pace.between_looks(asked, self.looks));
        self.looks = self.looks.saturating_add(1);
    }

    /// Reads on until the reason why the order failed is found.
    fn explain(&mut self) -> Result<(), Failure> {
        let reason = self.authorizations.iter().find_map(reason_of).or_else(|| {
            let is_last = self.authorizations.len() == self.resource.authorizations.len();
            if is_last { Some(self.resource.error.clone().unwrap_or_default()) } else { None }
        });
        match (reason, self.resource.authorizations.get(self.authorizations.len())) {
            (Some(mut problem), _) => {
                problem.clean();
                Err(Failure {
                    problem: Some(problem),
                    ..Failure::new(FailureClass::Validation, "validate the names")
                })
            }
            (None, Some(url)) => {
                self.state = State::Send(Goal::read(url, "read an authorization"), Expect::Reason);
                Ok(())
            }
            (None, None) => Err(Failure::new(FailureClass::Validation, "validate the names")),
        }
    }
}

fn new_order(attempt: &Attempt) -> Goal {
    let identifiers: Vec<Identifier> = attempt.names.iter().map(|name| identifier(name)).collect();
    let mut payload = json!({ "identifiers": identifiers });
    if let Some(profile) = &attempt.profile {
        payload["profile"] = profile.as_str().into();
    }
    if let Some(replaces) = &attempt.replaces {
        payload["replaces"] = replaces.as_str().into();
    }
    Goal::post(To::NewOrder, &payload, "order a certificate")
}

fn identifier(name: &str) -> Identifier {
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    let kind = if is_address { "ip" } else { "dns" };
    Identifier { kind: kind.to_owned(), value: name.to_owned() }
}

fn read<T: serde::de::DeserializeOwned>(
    answer: &Response,
    doing: &'static str,
) -> Result<T, Failure> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| Failure::because(FailureClass::Network, doing, error.to_string()))
}

fn reason_of(authorization: &Authorization) -> Option<Problem> {
    let mut errors = authorization.challenges.iter().filter_map(|offer| offer.error.clone());
    let mut problem = errors.next()?;
    problem.detail = format!("{}: {}", authorization.identifier.value, problem.detail);
    Some(problem)
}

const LOOK: &str = "look at the order";
/// After ten refused nonces in a row, so often.
const MAX_PAUSES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(1);
