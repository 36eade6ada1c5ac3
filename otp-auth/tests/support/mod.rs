//! A login in simulated time, shared by the tests of the flow.
#![allow(dead_code, reason = "each test uses its own part")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use otp_auth::address::EmailAddress;
use otp_auth::challenge::DecoyReason;
use otp_auth::challenge::{Challenge, ChallengeId};
use otp_auth::error::Error;
use otp_auth::login::{
    Admission, Begin, Begun, Dispatch, Login, LoginBuilder, Reason, Resend, Verdict,
};
use otp_auth::random::{Random, SystemRandom};
use otp_auth::secret::Pepper;
use otp_auth::store::{Inserted, MemoryStore, Reserved, Store};
use otp_auth::throttle::{Budget, BudgetKey, Taken};
use otp_auth::timestamp::Timestamp;

pub(crate) const START: Timestamp = Timestamp::from_unix_secs(1_790_000_000);

pub(crate) fn after(secs: u64) -> Timestamp {
    START.plus(Duration::from_secs(secs))
}

pub(crate) fn login_with(store: Arc<dyn Store>) -> Login {
    let random = SystemRandom::new();
    login_from(store, Arc::new(random))
}

pub(crate) fn login_from(store: Arc<dyn Store>, random: Arc<dyn Random>) -> Login {
    builder(store, random).build().expect("default settings are good")
}

pub(crate) fn builder(store: Arc<dyn Store>, random: Arc<dyn Random>) -> LoginBuilder {
    let pepper = Pepper::generate(&SystemRandom::new()).expect("the system has randomness");
    let host = "auth.example.jp".parse().expect("a host");
    Login::builder(store, pepper, random, host)
}

pub(crate) fn login() -> Login {
    login_with(Arc::new(MemoryStore::new()))
}

pub(crate) fn sign_in(address: &str, admission: Admission) -> Begin {
    sign_in_from(address, admission, "203.0.113.7")
}

pub(crate) fn sign_in_from(address: &str, admission: Admission, client: &str) -> Begin {
    let address: EmailAddress = address.parse().expect("a good address");
    let client = client.parse().expect("an IP address");
    Begin::new(address, admission, client, "saito.example.jp".parse().expect("a host"))
}

/// What a browser holds, and what its owner found in the mailbox.
pub(crate) struct Visitor {
    pub(crate) nonce: String,
    pub(crate) cookie: String,
    pub(crate) code: Option<String>,
}

impl Visitor {
    pub(crate) async fn begin(
        login: &Login,
        address: &str,
        admission: Admission,
        now: Timestamp,
    ) -> Self {
        let begun = login.begin(&sign_in(address, admission), now).await.expect("store works");
        Self::of(begun)
    }

    pub(crate) fn of((begun, dispatch): (Begun, Dispatch)) -> Self {
        let mut visitor =
            Self { nonce: begun.nonce.to_string(), cookie: begun.flow_cookie.expose(), code: None };
        visitor.read(&dispatch);
        visitor
    }

    pub(crate) fn read(&mut self, dispatch: &Dispatch) {
        if let Some(mail) = dispatch.mail() {
            self.code = Some(mail.code().expose().to_owned());
        }
    }

    pub(crate) fn code(&self) -> &str {
        self.code.as_deref().expect("a mail came")
    }

    /// A code that is not the one in the mail.
    pub(crate) fn wrong_code(&self) -> String {
        let code: u32 = self.code().parse().expect("digits");
        format!("{:06}", (code + 1) % 1_000_000)
    }

    pub(crate) async fn submit(&self, login: &Login, input: &str, now: Timestamp) -> Verdict {
        login.submit(&self.nonce, &self.cookie, input, now).await.expect("store works")
    }

    pub(crate) async fn resend(
        &self,
        login: &Login,
        admission: Admission,
        now: Timestamp,
    ) -> Option<Dispatch> {
        let client = "203.0.113.7".parse().expect("an IP address");
        let resend = Resend::new(client, "saito.example.jp".parse().expect("a host"));
        let dispatch = login.resend(&self.nonce, &self.cookie, &resend, |_| admission, now).await;
        dispatch.expect("store works")
    }
}

/// Whether the guess counted: it was compared, or made at a denied address, where nobody may see a difference. A
/// guess at a flow that got no mail cannot win.
pub(crate) fn is_counted(verdict: &Verdict) -> bool {
    let reason = verdict.refusal().map(otp_auth::login::Refusal::reason);
    matches!(reason, Some(Reason::Wrong | Reason::Decoy(DecoyReason::Denied)))
}

/// A generator that fills everything with one byte.
#[derive(Debug)]
pub(crate) struct Constant(pub(crate) u8);

impl Random for Constant {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Error> {
        bytes.fill(self.0);
        Ok(())
    }
}

/// A store that writes down which steps were taken, and fails on demand.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    pub(crate) inner: MemoryStore,
    pub(crate) steps: Mutex<Vec<String>>,
    pub(crate) fails: Mutex<Option<&'static str>>,
}

impl Recording {
    pub(crate) fn take_steps(&self) -> Vec<String> {
        std::mem::take(&mut self.steps.lock().expect("not poisoned"))
    }

    fn note(&self, step: &str, detail: &str) -> Result<(), Error> {
        self.steps.lock().expect("not poisoned").push(format!("{step} {detail}"));
        match *self.fails.lock().expect("not poisoned") {
            Some(failing) if failing == step => Err(Error::store_unavailable("connection lost")),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Store for Recording {
    async fn insert(&self, challenge: &Challenge, now: Timestamp) -> Result<Inserted, Error> {
        self.note("insert", "")?;
        self.inner.insert(challenge, now).await
    }

    async fn look_up(&self, id: ChallengeId, now: Timestamp) -> Result<Option<Challenge>, Error> {
        self.note("look_up", "")?;
        self.inner.look_up(id, now).await
    }

    async fn reserve(&self, id: ChallengeId, now: Timestamp) -> Result<Reserved, Error> {
        self.note("reserve", "")?;
        self.inner.reserve(id, now).await
    }

    async fn consume(
        &self,
        id: ChallengeId,
        generation: u32,
        now: Timestamp,
    ) -> Result<bool, Error> {
        // The worst case: the step happens and its answer is lost.
        let answer = self.inner.consume(id, generation, now).await;
        self.note("consume", "")?;
        answer
    }

    async fn replace(
        &self,
        generation: u32,
        challenge: &Challenge,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.note("replace", "")?;
        self.inner.replace(generation, challenge, now).await
    }

    async fn take(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Result<Taken, Error> {
        self.note("take", key.kind())?;
        self.inner.take(key, budget, now).await
    }

    async fn look(&self, key: &BudgetKey, budget: &Budget, now: Timestamp) -> Result<Taken, Error> {
        self.note("look", key.kind())?;
        self.inner.look(key, budget, now).await
    }

    async fn give_back(
        &self,
        key: &BudgetKey,
        budget: &Budget,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.note("give_back", key.kind())?;
        self.inner.give_back(key, budget, now).await
    }
}
