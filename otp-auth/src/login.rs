//! The login flow: begin, send again, submit.

mod dispatch;
mod verdict;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use self::dispatch::{Delivery, Dispatch};
pub use self::verdict::{Proven, Reason, Refusal, Verdict};
use crate::address::EmailAddress;
use crate::challenge::{Challenge, ChallengeId, DecoyReason, FlowCookie, address_tag};
use crate::code::{Code, CodeInput, CodeLength};
use crate::error::Error;
use crate::locale::Locale;
use crate::mail::{Host, MailFacts, MailTemplate};
use crate::random::Random;
use crate::secret::Pepper;
use crate::store::{Inserted, Reserved, Store};
use crate::throttle::{Budget, BudgetKey, Network};
use crate::timestamp::Timestamp;

/// What the policy says of an address: passed in, never branched on in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Some rule could admit the address.
    Admitted,
    /// No rule can. The visitor gets the same page, and no mail goes out.
    Denied,
}

/// One visitor's wish to sign in.
#[must_use]
#[derive(Debug, Clone)]
pub struct SignIn {
    address: EmailAddress,
    admission: Admission,
    asked: Resend,
}

impl SignIn {
    /// An address, what the policy says of it, where the request came from, and what it wants to enter.
    ///
    /// Behind a proxy, take `client` only from a field that the proxy sets.
    pub fn new(
        address: EmailAddress,
        admission: Admission,
        client: IpAddr,
        application: Host,
    ) -> Self {
        Self { address, admission, asked: Resend::new(client, application) }
    }

    /// The language of the mail. Default English.
    pub fn locale(mut self, locale: Locale) -> Self {
        self.asked.locale = locale;
        self
    }
}

/// A visitor's wish for another code. The address is that of the flow.
#[must_use]
#[derive(Debug, Clone)]
pub struct Resend {
    client: IpAddr,
    application: Host,
    locale: Locale,
}

impl Resend {
    /// Where the request came from, and what the flow wants to enter.
    pub fn new(client: IpAddr, application: Host) -> Self {
        Self { client, application, locale: Locale::default() }
    }

    /// The language of the mail. Default English.
    pub fn locale(mut self, locale: Locale) -> Self {
        self.locale = locale;
        self
    }
}

/// What the browser gets when a flow has begun. The same for every address.
#[derive(Debug, Clone)]
pub struct Begun {
    /// The public name of the flow, for forms and redirects.
    pub nonce: ChallengeId,
    /// The secret that ties the flow to this browser, for a cookie.
    pub flow_cookie: FlowCookie,
    /// When the code ends: the cookie's life.
    pub expires: Timestamp,
}

/// One-time codes by mail.
///
/// Cheap to share: put it in an [`Arc`]. It holds no state; all of that is in the [`Store`].
///
/// ```text
/// SignIn ── begin ──▶ Begun (to the browser) + Dispatch (to the mailer, later)
/// cookie + nonce ── resend ──▶ Dispatch
/// cookie + nonce + input ── submit ──▶ Verdict: Proven | Again | StartOver | Malformed
/// ```
pub struct Login {
    store: Arc<dyn Store>,
    pepper: Pepper,
    random: Arc<dyn Random>,
    template: MailTemplate,
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
        LoginBuilder { store, pepper, random, host, settings: Settings::default() }
    }

    /// Opens a challenge for the address.
    ///
    /// An admitted and a denied address make the same calls of the store, draw and write the same mail,
    /// and give the same [`Begun`]. Answer the visitor first; deliver the [`Dispatch`] elsewhere.
    ///
    /// An address that has had its share of mails gets a challenge that nothing opens, and no mail. A
    /// network that has begun its share of flows gets the same without a record. Neither shows.
    ///
    /// # Errors
    ///
    /// The store or the generator failed, for admitted and denied addresses alike: show a page that says
    /// "try again later".
    pub async fn begin(
        &self,
        sign_in: &SignIn,
        now: Timestamp,
    ) -> Result<(Begun, Dispatch), Error> {
        let flow = FlowCookie::draw(&*self.random, &self.pepper, &sign_in.address)?;
        let starts = BudgetKey::starts(Network::of(sign_in.asked.client));
        let may_start = self.store.take(&starts, &self.settings.starts, now).await?.is_taken();
        let decoy = if may_start {
            self.decoy(&sign_in.address, sign_in.admission, now).await?
        } else {
            Some(DecoyReason::StartBudget)
        };

        let code = Code::draw(&*self.random, self.settings.length)?;
        let challenge = Challenge {
            id: flow.challenge(),
            purpose: PURPOSE.to_owned(),
            address: sign_in.address.clone(),
            client: sign_in.asked.client,
            generation: 0,
            digest: [0; 32],
            decoy,
            issued: now,
            lifetime: self.settings.lifetime,
            tries: self.settings.tries,
        }
        .sealed(&self.pepper, &flow, &code);
        let dispatch = self.dispatch(&challenge, &code, &sign_in.asked, now)?;
        if may_start && self.store.insert(&challenge, now).await? == Inserted::Exists {
            // 2^-128 with a working generator: it repeats itself.
            return Err(Error::randomness());
        }
        let begun = Begun { nonce: challenge.id, flow_cookie: flow, expires: challenge.expires() };
        Ok((begun, dispatch))
    }

    /// Sends a new code for an open flow: the old one is void, tries and end stay as they are.
    ///
    /// The policy is asked anew, about the address of the flow: `admit` is called with that address and no
    /// other, so that no form field can lend one address the admission of another. It must not take
    /// longer for some addresses than for others. `None` means that the flow is not open, or the cookie
    /// not its own; show the same page.
    ///
    /// Within the cool-down (1 minute) nothing is changed and the dispatch goes nowhere, so the code in
    /// the last mail stays good.
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin).
    pub async fn resend(
        &self,
        nonce: &str,
        flow_cookie: &str,
        resend: &Resend,
        admit: impl FnOnce(&EmailAddress) -> Admission + Send,
        now: Timestamp,
    ) -> Result<Option<Dispatch>, Error> {
        let Ok(flow) = self.open_flow(nonce, flow_cookie) else { return Ok(None) };
        let Some(open) = self.store.look_up(flow.challenge(), now).await? else { return Ok(None) };
        let admission = admit(&open.address);
        let decoy = self.decoy(&open.address, admission, now).await?;
        let code = Code::draw(&*self.random, self.settings.length)?;
        let next = open.renewed(&self.pepper, &flow, &code, decoy);
        let mut dispatch = self.dispatch(&next, &code, resend, now)?;
        // Over budget: the code that was mailed before stays the one that counts.
        if decoy != Some(DecoyReason::MailBudget)
            && !self.store.replace(open.generation, &next, now).await?
        {
            // Another resend of the same flow was faster: its code counts, ours must not go out.
            dispatch.suppress();
        }
        Ok(Some(dispatch))
    }

    /// Judges what the visitor typed.
    ///
    /// Order: form of the input, cookie against nonce, budget of the address, then one try is spent in
    /// the store, then the code is compared, then the challenge is consumed. The budget gets back what
    /// was no failed guess. Whatever runs in parallel,
    /// at most [`tries`](LoginBuilder::tries) comparisons are made and at most one of them is accepted.
    ///
    /// # Errors
    ///
    /// The store failed or its answer is unknown: nobody is signed in, the try may be spent.
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
    ) -> Result<Verdict, Error> {
        let input = match CodeInput::parse(input, self.settings.length) {
            Ok(input) => input,
            Err(malformed) => return Ok(Verdict::Malformed(malformed)),
        };
        let flow = match self.open_flow(nonce, flow_cookie) {
            Ok(flow) => flow,
            Err(reason) => return Ok(Verdict::StartOver(Refusal::new(reason))),
        };
        let failures = BudgetKey::failures(flow.address_tag());
        if !self.store.take(&failures, &self.settings.failures, now).await?.is_taken() {
            return Ok(Verdict::Again(Refusal::new(Reason::FailureBudget)));
        }
        let verdict = self.judge(&flow, &input, now).await?;
        if !verdict.is_failed_guess() {
            // Only failed guesses count. If this is lost, the address has one more than it made.
            let _lost = self.store.give_back(&failures, &self.settings.failures, now).await;
        }
        Ok(verdict)
    }

    /// Reserve, compare, consume.
    async fn judge(
        &self,
        flow: &FlowCookie,
        input: &CodeInput,
        now: Timestamp,
    ) -> Result<Verdict, Error> {
        let (challenge, number) = match self.store.reserve(flow.challenge(), now).await? {
            Reserved::Granted { challenge, number } => (challenge, number),
            Reserved::Exhausted => return Ok(start_over(Reason::Exhausted)),
            Reserved::Used => return Ok(start_over(Reason::Used)),
            Reserved::Expired => return Ok(start_over(Reason::Expired)),
            Reserved::Unknown => return Ok(start_over(Reason::Unknown)),
        };
        // The store judged by its clock; a node whose own clock disagrees widely does not accept.
        if challenge.is_dead_at(now) {
            return Ok(start_over(Reason::Expired));
        }
        if !challenge.is_answered_by(&self.pepper, flow, input) {
            return Ok(Verdict::wrong(challenge, number));
        }
        if !self.store.consume(challenge.id, challenge.generation, now).await? {
            return Ok(start_over(Reason::Used));
        }
        Ok(Verdict::Proven(Proven::of(challenge, now)))
    }

    /// Checks that the cookie is ours and opens the flow of this name. Asks no store.
    fn open_flow(&self, nonce: &str, flow_cookie: &str) -> Result<FlowCookie, Reason> {
        let nonce: ChallengeId = nonce.parse().map_err(|_| Reason::Unknown)?;
        let flow: FlowCookie = flow_cookie.parse().map_err(|_| Reason::OtherBrowser)?;
        if flow.is_sealed_by(&self.pepper) && flow.challenge() == nonce {
            Ok(flow)
        } else {
            Err(Reason::OtherBrowser)
        }
    }

    /// Why no mail will go to the address, if none will. Takes the mail budget whatever the admission.
    async fn decoy(
        &self,
        address: &EmailAddress,
        admission: Admission,
        now: Timestamp,
    ) -> Result<Option<DecoyReason>, Error> {
        let mails = BudgetKey::mails(address_tag(&self.pepper, address));
        let may_mail = self.store.take(&mails, &self.settings.mails, now).await?.is_taken();
        Ok(match (may_mail, admission) {
            (false, _) => Some(DecoyReason::MailBudget),
            (true, Admission::Denied) => Some(DecoyReason::Denied),
            (true, Admission::Admitted) => None,
        })
    }

    fn dispatch(
        &self,
        challenge: &Challenge,
        code: &Code,
        asked: &Resend,
        now: Timestamp,
    ) -> Result<Dispatch, Error> {
        let id = format!("{}-{}", challenge.id, challenge.generation);
        let mail = self
            .template
            .render(&MailFacts {
                id: &id,
                to: &challenge.address,
                code,
                application: &asked.application,
                asked_at: now,
                asked_from: asked.client,
                expires: challenge.expires(),
                locale: asked.locale,
            })
            .map_err(|e| Error::setting("mail", "a text is refused").with_source(e))?;
        Ok(Dispatch::new(mail, challenge.decoy))
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Settings of a [`Login`].
#[must_use]
#[derive(Debug)]
pub struct LoginBuilder {
    store: Arc<dyn Store>,
    pepper: Pepper,
    random: Arc<dyn Random>,
    host: Host,
    settings: Settings,
}

impl LoginBuilder {
    /// For how long a code is good, counted from the first request. Default and maximum 10 minutes
    /// (NIST SP 800-63B-4, ASVS 6.5.5); minimum 1 minute.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.lifetime = lifetime;
        self
    }

    /// How many tries a flow has, resends included. Default 5, maximum 10.
    pub fn tries(mut self, tries: u32) -> Self {
        self.settings.tries = tries;
        self
    }

    /// How many digits a code has. Default six.
    pub fn code_length(mut self, length: CodeLength) -> Self {
        self.settings.length = length;
        self
    }

    /// How many tries of one address may fail. Default [`Budget::failures`]: 10 an hour, 30 a day.
    pub fn failure_budget(mut self, budget: Budget) -> Self {
        self.settings.failures = budget;
        self
    }

    /// How many mails one address gets; the shortest rule is the cool-down of a resend.
    /// Default [`Budget::mails`]: 1 a minute, 5 an hour, 10 a day.
    pub fn mail_budget(mut self, budget: Budget) -> Self {
        self.settings.mails = budget;
        self
    }

    /// How many flows one network begins. Default [`Budget::starts`]: 30 in 10 minutes.
    pub fn start_budget(mut self, budget: Budget) -> Self {
        self.settings.starts = budget;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// Names the setting that is out of range, as the caller's fault.
    pub fn build(self) -> Result<Login, Error> {
        let Self { store, pepper, random, host, settings } = self;
        if !(MIN_LIFETIME..=MAX_LIFETIME).contains(&settings.lifetime) {
            return Err(Error::setting("lifetime", "it must be 1 to 10 minutes"));
        }
        if !(1..=10).contains(&settings.tries) {
            return Err(Error::setting("tries", "it must be 1 to 10"));
        }
        Ok(Login { store, pepper, random, template: MailTemplate::new(host), settings })
    }
}

#[derive(Debug)]
struct Settings {
    lifetime: Duration,
    tries: u32,
    length: CodeLength,
    failures: Budget,
    mails: Budget,
    starts: Budget,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lifetime: MAX_LIFETIME,
            tries: 5,
            length: CodeLength::Six,
            failures: Budget::failures(),
            mails: Budget::mails(),
            starts: Budget::starts(),
        }
    }
}

fn start_over(reason: Reason) -> Verdict {
    Verdict::StartOver(Refusal::new(reason))
}

/// Bound into each code, so that a code of another purpose can never sign in.
const PURPOSE: &str = "sign-in";

const MIN_LIFETIME: Duration = Duration::from_secs(60);

/// NIST SP 800-63B-4 and ASVS 6.5.5: a mailed code lives 10 minutes at most.
const MAX_LIFETIME: Duration = Duration::from_secs(600);
