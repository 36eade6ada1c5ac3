//! The login flow: begin, send again, submit.

mod budgets;
mod dispatch;
mod event;
mod purpose;
mod request;
mod risk;
mod settings;
mod verdict;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use self::budgets::Who;
pub use self::dispatch::{Delivery, Dispatch};
pub use self::event::{Event, Observer};
pub use self::purpose::{ChangeAddress, Purpose, SignIn, StepUp};
pub use self::request::{Admission, Begin, Begun, Resend};
pub use self::risk::Risk;
pub use self::settings::LoginBuilder;
use self::settings::Settings;
pub use self::verdict::{Proven, Reason, Refusal, Verdict};
use crate::address::EmailAddress;
use crate::challenge::{
    Challenge, ChallengeId, DecoyReason, DeviceCookie, FLOW_RANDOM_BYTES, FlowCookie, Lane,
    OpenFlow, address_tag,
};
use crate::code::{Code, CodeInput, CodeLength, DRAW_BYTES};
use crate::error::Error;
use crate::mail::{Host, MailTemplate};
use crate::random::Random;
use crate::secret::{Pepper, PepperKeys};
use crate::store::{Charge, Guess, Inserted, Reserved, Store};
use crate::throttle::Network;
use crate::timestamp::Timestamp;

/// One-time codes by mail, for one [`Purpose`].
///
/// Cheap to clone. It holds no state; all of that is in the [`Store`].
///
/// ```text
/// Begin ── begin ──▶ Begun (to the browser) + Dispatch (to the mailer, later)
/// cookie + nonce ── resend ──▶ Dispatch
/// cookie + nonce + input ── submit ──▶ Verdict: Proven<P> | Again | StartOver | Malformed
/// ```
pub struct Login<P = SignIn> {
    core: Arc<Core>,
    purpose: PhantomData<fn() -> P>,
}

/// What logins for several purposes share.
struct Core {
    store: Arc<dyn Store>,
    keys: PepperKeys,
    random: Arc<dyn Random>,
    template: Arc<MailTemplate>,
    observer: Option<Arc<dyn Observer>>,
    settings: Settings,
}

impl Login {
    /// Starts with the store, the key for stored codes, the source of randomness, and the host at
    /// which codes are typed (the team host, from configuration).
    pub fn builder(
        store: Arc<dyn Store>,
        pepper: Pepper,
        random: Arc<dyn Random>,
        host: Host,
    ) -> LoginBuilder {
        let (template, settings) = (MailTemplate::new(host), Settings::default());
        LoginBuilder { store, pepper, random, template, observer: None, settings }
    }
}

impl<P: Purpose> Login<P> {
    fn new(core: Core) -> Self {
        Self { core: Arc::new(core), purpose: PhantomData }
    }

    /// The same login for another purpose: the same budgets, codes that are good there and nowhere else.
    pub fn for_purpose<Q: Purpose>(&self) -> Login<Q> {
        const {
            assert!(!Q::NAME.is_empty() && Q::NAME.len() <= 32, "a purpose has 1 to 32 characters");
        }
        Login { core: Arc::clone(&self.core), purpose: PhantomData }
    }

    /// The words of its mails, for an outbox.
    pub fn mail_template(&self) -> Arc<MailTemplate> {
        Arc::clone(&self.core.template)
    }

    /// How likely a guesser is to win against these settings.
    pub fn risk(&self) -> Risk {
        self.core.settings.risk()
    }

    /// Opens a challenge for the address.
    ///
    /// An admitted and a denied address make the same calls of the store, draw the same bytes,
    /// and give the same [`Begun`]. Answer the visitor first; deliver the [`Dispatch`] elsewhere.
    ///
    /// An address or network that has had its share of mails gets a challenge that nothing opens, and no mail. A
    /// network that has begun its share of flows gets the same without a record. The first does not show; the second
    /// shows at the first wrong code, and tells of the network, not of the address.
    ///
    /// A browser that sends the address again has a flow already, and the second within a minute would be such a
    /// flow without a mail, in the place of the one with the mail. [Resend](Self::resend) for the flow that its
    /// cookie opens, and begin only where that answers `None` or the address is another.
    ///
    /// # Errors
    ///
    /// The store or the generator failed, for admitted and denied addresses alike: show a page that says
    /// "try again later".
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have used one start and one mail of the budgets.
    pub async fn begin(&self, begin: &Begin, now: Timestamp) -> Result<(Begun, Dispatch), Error> {
        let (core, settings) = (&*self.core, &self.core.settings);
        let keys = core.keys.current();
        let tag = address_tag(keys, &begin.address);
        let device = begin.device.as_deref();
        let is_known_device = device
            .is_some_and(|text| DeviceCookie::is_known(text, &core.keys, &begin.address, now));
        let network = Network::of(begin.asked.client);
        let mut who = Who { address_tag: tag, is_known_device, network };
        let (decoy, length) = core.may_begin(&mut who, begin.admission, now).await?;
        let lane = Lane { tag, is_known_device: who.is_known_device };
        let (random, code) = core.draw(length)?;
        let (cookie, flow) = FlowCookie::seal(keys, P::NAME, &random, lane, length);
        let challenge = Challenge {
            id: flow.challenge(),
            address: begin.address.clone(),
            client: begin.asked.client,
            generation: 0,
            digest: [0; 32],
            decoy,
            issued: now,
            lifetime_millis: u32::try_from(settings.lifetime.as_millis()).unwrap_or(u32::MAX),
            tries: u8::try_from(settings.tries).unwrap_or(u8::MAX),
            is_known_device: lane.is_known_device,
        }
        .sealed(&flow, code.digits());
        let is_stored = decoy != Some(DecoyReason::StartBudget);
        if is_stored && core.store.insert(&challenge, now).await? == Inserted::Exists {
            // 2^-128 with a working generator: it repeats itself.
            return Err(Error::randomness());
        }
        core.tell_asked(&challenge, &flow);
        let expires = challenge.expires();
        let begun =
            Begun { nonce: challenge.id, flow_cookie: cookie, code_length: length, expires };
        Ok((begun, Dispatch::new(&core.template, challenge, code, &begin.asked, now)))
    }

    /// Sends a new code for an open flow: the old one is void, tries and end stay as they are.
    ///
    /// The policy is asked anew, about the address of the flow: `admit` is called with that address and no
    /// other, so that no form field can lend one address the admission of another. It must not take
    /// longer for some addresses than for others.
    ///
    /// `None` means that no code of this flow would be of use: it is not open, or the cookie not its own; its tries
    /// are spent, or it ends within a minute; or its codes have become too short, because the address or the
    /// deployment is being guessed at; or the known devices of the address have failed too often. Begin anew, for the visitor or when they ask for it.
    ///
    /// Within the cool-down (1 minute) nothing is changed and the dispatch goes nowhere, so the code in
    /// the last mail stays good.
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin).
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have used one mail of the budget, and made the code in the last mail void.
    pub async fn resend(
        &self,
        nonce: &str,
        flow_cookie: &str,
        resend: &Resend,
        admit: impl FnOnce(&EmailAddress) -> Admission + Send,
        now: Timestamp,
    ) -> Result<Option<Dispatch>, Error> {
        let core = &*self.core;
        let Ok(flow) = self.open(nonce, flow_cookie) else { return Ok(None) };
        let Some(open) = core.store.look_up(flow.challenge(), now).await? else { return Ok(None) };
        // A node whose own clock disagrees widely with the store's sends nothing.
        if open.is_dead_at(now) || open.is_dead_at(now.plus(SHORTEST_USE)) {
            return Ok(None);
        }
        let admission = admit(&open.address);
        let Lane { is_known_device, .. } = flow.lane;
        let network = Network::of(resend.client);
        let who =
            Who { address_tag: address_tag(flow.keys, &open.address), is_known_device, network };
        if core.length(who, now).await? != Some(flow.length) {
            return Ok(None);
        }
        let charges: Vec<_> = budgets::of_mail(&core.settings, who).collect();
        let tally = core.store.tally(&charges, now).await?;
        let over = budgets::decoy(&charges, &tally);
        let decoy = over.or_else(|| decoy_of(admission));
        let (_, code) = core.draw(flow.length)?;
        let next = open.renewed(&flow, code.digits(), decoy);
        // Over budget: the code that was mailed before stays the one that counts.
        let is_replaced = over.is_none() && core.store.replace(open.generation, &next, now).await?;
        core.tell_asked(&next, &flow);
        let mut dispatch = Dispatch::new(&core.template, next, code, resend, now);
        if !is_replaced {
            // Another resend of the same flow was faster: its code counts, ours must not go out.
            dispatch.suppress();
        }
        Ok(Some(dispatch))
    }

    /// Judges what the visitor typed.
    ///
    /// Budgets are taken and a try is reserved before anything is compared, and a code is used up before
    /// it is believed; whatever runs in parallel, at most [`Challenge::tries`] comparisons are made and at
    /// most one caller gets [`Verdict::Proven`].
    ///
    /// # Errors
    ///
    /// The store failed. A try may have been spent; nobody has been signed in. If the code was right, it
    /// may be used up.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have spent a try, or used the code up.
    pub async fn submit(
        &self,
        nonce: &str,
        flow_cookie: &str,
        input: &str,
        now: Timestamp,
    ) -> Result<Verdict<P>, Error> {
        let flow = match self.open(nonce, flow_cookie) {
            Ok(flow) => flow,
            Err(reason) => return Ok(self.refuse(None, Refusal::new(reason), true)),
        };
        let input = match CodeInput::parse(input, flow.length) {
            Ok(input) => input,
            Err(malformed) => return Ok(Verdict::Malformed(malformed)),
        };
        self.judge(&flow, &input, now).await
    }

    /// A mark for the browser that proved the address: its next flows are counted on an account of their
    /// own, which strangers cannot exhaust. Give it at each success.
    ///
    /// # Errors
    ///
    /// The generator failed.
    pub fn device_cookie(&self, proven: &Proven<P>, now: Timestamp) -> Result<DeviceCookie, Error> {
        let core = &*self.core;
        DeviceCookie::draw(&*core.random, core.keys.current(), proven.address(), now)
    }

    /// Budgets, reserve, compare, consume.
    async fn judge(
        &self,
        flow: &OpenFlow<'_>,
        input: &CodeInput,
        now: Timestamp,
    ) -> Result<Verdict<P>, Error> {
        let (core, settings) = (&*self.core, &self.core.settings);
        let charges = budgets::of_guess(settings, flow);
        let id = flow.challenge();
        let over = |reason| self.refuse(Some(id), Refusal::new(reason), true);
        let (challenge, number) = match core.store.guess(&charges, id, now).await? {
            Guess::Reserved(Reserved::Granted { challenge, number }) => (challenge, number),
            Guess::Reserved(Reserved::Exhausted) => return Ok(over(Reason::Exhausted)),
            Guess::Reserved(Reserved::Used) => return Ok(over(Reason::Used)),
            Guess::Reserved(Reserved::Expired) => return Ok(over(Reason::Expired)),
            Guess::Reserved(Reserved::Unknown) => return Ok(over(Reason::Unknown)),
            Guess::OverBudget { index } => return Ok(self.refuse_over(&charges, index, id)),
        };
        // The store judged by its clock; a node whose own clock disagrees widely does not accept.
        if challenge.is_dead_at(now) {
            return Ok(over(Reason::Expired));
        }
        if !challenge.is_answered_by(flow, input.digits()) {
            let is_last = number >= challenge.tries();
            return Ok(self.refuse(Some(id), Refusal::wrong(challenge), is_last));
        }
        let tag = address_tag(flow.keys, &challenge.address);
        let charges = budgets::of_success(settings, charges, &challenge, tag);
        if !core.store.accept(&charges, id, challenge.generation, now).await? {
            return Ok(over(Reason::Used));
        }
        core.tell(&Event::Proven { challenge: id, address: &challenge.address });
        Ok(Verdict::Proven(Proven::of(challenge, now)))
    }

    fn refuse_over(&self, charges: &[Charge<'_>], index: usize, id: ChallengeId) -> Verdict<P> {
        if budgets::is_alarm(charges, |at| at == index) {
            self.core.tell(&Event::UnderAttack);
        }
        let (reason, is_over) =
            charges.get(index).map_or((Reason::FailureBudget, false), budgets::refusal);
        self.refuse(Some(id), Refusal::new(reason), is_over)
    }

    /// Checks that the cookie is ours, for this purpose, and opens the flow of this name. Asks no store.
    fn open(&self, nonce: &str, flow_cookie: &str) -> Result<OpenFlow<'_>, Reason> {
        let nonce: ChallengeId = nonce.parse().map_err(|_| Reason::Unknown)?;
        FlowCookie::open(flow_cookie, nonce, &self.core.keys, P::NAME).ok_or(Reason::OtherBrowser)
    }

    fn refuse(
        &self,
        challenge: Option<ChallengeId>,
        refusal: Refusal,
        is_over: bool,
    ) -> Verdict<P> {
        let (reason, address) = (refusal.reason(), refusal.address());
        self.core.tell(&Event::Refused { reason, challenge, address });
        if is_over { Verdict::StartOver(refusal) } else { Verdict::Again(refusal) }
    }
}

impl Core {
    /// Why no mail will go out, if none will, and how long the code is. Takes what it takes whatever the
    /// admission. A known device whose lane is closed becomes a stranger.
    async fn may_begin(
        &self,
        who: &mut Who,
        admission: Admission,
        now: Timestamp,
    ) -> Result<(Option<DecoyReason>, CodeLength), Error> {
        let mut charges = budgets::of_begin(&self.settings, *who);
        let mut tally = self.store.tally(&charges, now).await?;
        if budgets::is_lane_closed(&charges, &tally) {
            who.is_known_device = false;
            charges = budgets::of_begin(&self.settings, *who);
            tally = self.store.tally(&charges, now).await?;
        }
        if budgets::is_alarm(&charges, |at| !tally.is_taken(at)) {
            self.tell(&Event::UnderAttack);
        }
        let decoy = budgets::decoy(&charges, &tally).or_else(|| decoy_of(admission));
        Ok((decoy, budgets::length(&self.settings, &charges, &tally)))
    }

    /// How long a code is at this moment; `None` where the lane of known devices is closed.
    async fn length(&self, who: Who, now: Timestamp) -> Result<Option<CodeLength>, Error> {
        let mut looks: Vec<_> = budgets::of_lengths(&self.settings, who).collect();
        looks
            .extend(who.is_known_device.then(|| budgets::of_lane(&self.settings, who.address_tag)));
        let tally = self.store.tally(&looks, now).await?;
        let is_closed = budgets::is_lane_closed(&looks, &tally);
        Ok((!is_closed).then(|| budgets::length(&self.settings, &looks, &tally)))
    }

    /// The secret of a flow and a code, in one draw.
    fn draw(&self, length: CodeLength) -> Result<([u8; FLOW_RANDOM_BYTES], Code), Error> {
        let mut bytes = zeroize::Zeroizing::new([0; FLOW_RANDOM_BYTES + DRAW_BYTES]);
        self.random.fill(&mut *bytes)?;
        let (mut secret, mut draws) = ([0; FLOW_RANDOM_BYTES], [0; DRAW_BYTES]);
        secret.copy_from_slice(&bytes[..FLOW_RANDOM_BYTES]);
        draws.copy_from_slice(&bytes[FLOW_RANDOM_BYTES..]);
        let code = match Code::from_draws(&draws, length) {
            Some(code) => code,
            None => Code::draw(&*self.random, length)?,
        };
        Ok((secret, code))
    }

    fn tell(&self, event: &Event<'_>) {
        if let Some(observer) = &self.observer {
            observer.observe(event);
        }
    }

    fn tell_asked(&self, challenge: &Challenge, flow: &OpenFlow<'_>) {
        self.tell(&Event::Asked {
            challenge: challenge.id,
            address: &challenge.address,
            client: challenge.client,
            generation: challenge.generation,
            decoy: challenge.decoy,
            code_length: flow.length,
            is_known_device: flow.lane.is_known_device,
        });
    }
}

impl<P> Clone for Login<P> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core), purpose: PhantomData }
    }
}

impl<P: Purpose> fmt::Debug for Login<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("purpose", &P::NAME)
            .field("settings", &self.core.settings)
            .finish_non_exhaustive()
    }
}

fn decoy_of(admission: Admission) -> Option<DecoyReason> {
    match admission {
        Admission::Denied => Some(DecoyReason::Denied),
        Admission::Admitted => None,
    }
}

/// A code that ends sooner is not worth a mail.
const SHORTEST_USE: Duration = Duration::from_secs(60);
