//! An account at an authority, and the shell around its state machines.

mod identity;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, DistinguishedName};
use rustls::crypto::CryptoProvider;
use serde_json::json;

use crate::{
    acme::{
        attempt::Attempt,
        builder::Builder,
        challenge::{Challenge, ChallengeKind},
        connection::Connection,
        http::{Method, Response},
        journal::{Journal, Kept},
        order::{Act, Order, Wishes},
        renewal::renewal_id,
        session::{Call, Goal, Handled, Session, Settings, To, bare},
        solver::Solver,
    },
    certificate::Certificate,
    error::{Error, Kind},
    failure::{Failure, FailureClass},
    key::PrivateKey,
    key_pair::{KeyPair, san},
    lifecycle::RenewalInfo,
    name::Name,
    record::sorted,
    storage::Storage,
};

/// An account at one ACME authority. It is opened when it is first needed, and kept in the store.
///
/// ```no_run
/// use cert_manager::{DirectoryStore, acme::{Acme, Http01}};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let store = DirectoryStore::open("certificates")?;
/// let answers = Http01::new(); // serve `answers.answer(path)` on port 80
/// let acme = Acme::builder("https://acme-v02.api.letsencrypt.org/directory", store)
///     .agree_to_terms(true)
///     .solver(answers.clone())
///     .build()?;
/// let certificate = acme.obtain(&["www.example.jp".parse()?]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Acme {
    pub(super) settings: Settings,
    pub(super) profile: Option<String>,
    pub(super) solvers: HashMap<ChallengeKind, Arc<dyn Solver>>,
    pub(super) wishes: Wishes,
    pub(super) journal: Journal,
    pub(super) id: String,
    pub(super) connection: Connection,
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) session: Mutex<Option<Session>>,
    /// Held by whoever opens the account.
    pub(super) opening: tokio::sync::Mutex<()>,
}

impl Acme {
    /// Starts to describe an account at the authority with this directory.
    pub fn builder(directory_url: impl Into<String>, store: impl Storage + 'static) -> Builder {
        Builder {
            settings: Settings {
                directory_url: directory_url.into(),
                contacts: Vec::new(),
                agrees_to_terms: false,
                external_account: None,
            },
            profile: None,
            wishes: Wishes::default(),
            solvers: Vec::new(),
            roots: None,
            timeout: REQUEST_TIMEOUT,
            store: Arc::new(store),
        }
    }

    /// Gets a certificate that carries these names. An attempt that was cut short is taken up where it was left.
    ///
    /// # Errors
    ///
    /// [`Error::failure`] if the authority refused or was not reached; it says when to try again. [`Error::is_store`]
    /// if the store fails; then nothing is ordered.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the next call goes on.
    pub async fn obtain(&self, names: &[Name]) -> Result<Certificate, Error> {
        self.obtain_in_place_of(names, None).await
    }

    /// Gets a certificate that takes the place of another, and says so to authorities that want to know (RFC 9773
    /// section 5): they then grant it beyond their limits.
    ///
    /// # Errors
    ///
    /// As [`Acme::obtain`].
    pub async fn renew(&self, old: &Certificate) -> Result<Certificate, Error> {
        self.obtain_in_place_of(old.names(), Some(old)).await
    }

    /// Asks when the authority wishes a certificate to be renewed (RFC 9773); `None` if it has no such wishes, or the
    /// certificate does not name its issuer's key.
    ///
    /// # Errors
    ///
    /// [`Error::failure`] if the authority was not reached.
    pub async fn renewal_info(
        &self,
        certificate: &Certificate,
    ) -> Result<Option<RenewalInfo>, Error> {
        let url = self.renewal_url().await?;
        let (Some(url), Some(id)) = (url, renewal_id(certificate)) else { return Ok(None) };
        let url = format!("{}/{id}", url.trim_end_matches('/'));
        let response = self.connection.send(bare(Method::Get, &url)).await?;
        Ok(Some(RenewalInfo::of(&response, now())))
    }

    /// Tells the authority that a certificate must not be trusted any more. `reason` is a code of RFC 5280 section 5.3.1:
    /// 1 if the key may be known to others, 4 if there is a new one, 5 if the site is closed.
    ///
    /// # Errors
    ///
    /// [`Error::failure`], unless it is revoked already.
    pub async fn revoke(&self, certificate: &Certificate, reason: u8) -> Result<(), Error> {
        let leaf = certificate.chain().first().map(|leaf| URL_SAFE_NO_PAD.encode(leaf));
        let payload = json!({ "certificate": leaf, "reason": reason });
        match self.reach(&Goal::post(To::RevokeCertificate, &payload, "revoke a certificate")).await
        {
            Err(error) if error.failure().is_some_and(|failure| failure.is("alreadyRevoked")) => {
                Ok(())
            }
            done => done.map(drop),
        }
    }

    /// Where the authority says when to renew, if it does.
    async fn renewal_url(&self) -> Result<Option<String>, Error> {
        self.restore_account().await?;
        let goal = Goal { to: To::Account, payload: String::new(), doing: "read the directory" };
        let mut call = Call::default();
        while let Some(request) =
            self.with_session(|session| Ok(session.directory_request(&mut call, now())))?
        {
            let response = self.connection.send(request).await?;
            self.with_session(|session| Ok(session.handle(&mut call, &goal, response, now())?))?;
        }
        self.with_session(|session| {
            Ok(session.directory().and_then(|directory| directory.renewal_info.clone()))
        })
    }

    /// Gets a certificate, and keeps what was needed for it until [`Acme::settle`], so that a crash before the caller has
    /// stored it pays for nothing twice.
    pub(crate) async fn issue(
        &self,
        names: &[Name],
        old: Option<&Certificate>,
    ) -> Result<Certificate, Error> {
        let names = sorted(names)?;
        let (attempt, version) = match self.journal.attempt(&names).await? {
            Some((attempt, version)) => (attempt, Some(version)),
            None => (self.new_attempt(&names, self.renewal_id(old).await?)?, None),
        };
        let mut kept = self.journal.keeping(&names, version)?;
        let mut order = Order::new(attempt, self.wishes.clone());
        if kept.is_taken_over() {
            // Whoever led it before, on another node, is refused from now on.
            kept.put(order.attempt()).await?;
        }
        let mut outcome = self.drive(&mut order, &mut kept).await;
        if let Err(error) = &outcome
            && self.takes_stored_key(error).await?
        {
            let attempt = order.attempt().clone();
            order = Order::new(attempt, self.wishes.clone());
            outcome = self.drive(&mut order, &mut kept).await;
        }
        // What the authority has turned down will not come back to life. All else is taken up again, and until then the
        // authority may still look at the answers.
        let failure = outcome.as_ref().err().map(|error| error.failure());
        let is_dead = failure.is_some_and(|it| it.is_some_and(|it| it.class.ends_attempts()));
        if outcome.is_ok() || is_dead {
            self.withdraw(&order.attempt().challenges).await;
        }
        if is_dead {
            kept.remove().await?;
        }
        outcome
    }

    /// The certificate for these names is stored: forgets what a restart would have needed.
    pub(crate) async fn settle(&self, names: &[Name]) -> Result<(), Error> {
        self.journal.forget_attempt(&sorted(names)?).await
    }

    /// The name that the manager knows it by: the authority's host, and a hash of its directory's address.
    pub fn id(&self) -> &str {
        &self.id
    }

    async fn obtain_in_place_of(
        &self,
        names: &[Name],
        old: Option<&Certificate>,
    ) -> Result<Certificate, Error> {
        let certificate = self.issue(names, old).await?;
        self.journal.keep_certificate(&certificate, &sorted(names)?, &self.id).await?;
        self.settle(names).await?;
        Ok(certificate)
    }

    /// The certificate for these names that the store has, if it has one.
    ///
    /// # Errors
    ///
    /// [`Error::is_store`] if the store cannot be read, and as [`Certificate::from_pem`] if it is damaged.
    pub async fn stored(&self, names: &[Name]) -> Result<Option<Certificate>, Error> {
        let record = self.journal.certificate(&sorted(names)?).await?;
        record.map(|record| record.certificate(&self.provider)).transpose()
    }

    /// What an authority calls the certificate that is replaced; others would not know what it means.
    async fn renewal_id(&self, old: Option<&Certificate>) -> Result<Option<String>, Error> {
        let Some(old) = old else { return Ok(None) };
        Ok(self.renewal_url().await?.and_then(|_| renewal_id(old)))
    }

    async fn drive(&self, order: &mut Order, kept: &mut Kept<'_>) -> Result<Certificate, Error> {
        self.open_account().await?;
        // Not the clock on the wall: it may be set back meanwhile.
        let (mut waited, mut over) = (Duration::ZERO, SystemTime::UNIX_EPOCH);
        loop {
            let act = self.with_session(|session| Ok(order.poll(session, now().max(over))?))?;
            match act {
                Act::Store => {
                    kept.put(order.attempt()).await?;
                    order.stored();
                }
                Act::StoreAndSend(request) => {
                    let (stored, response) =
                        tokio::join!(kept.put(order.attempt()), self.connection.send(request));
                    stored?;
                    order.stored();
                    self.handle(order, response?).await?;
                }
                Act::Send(request) => {
                    let response = self.connection.send(request).await?;
                    self.handle(order, response).await?;
                }
                Act::Show => {
                    for challenge in &order.attempt().challenges {
                        self.present(challenge).await?;
                    }
                    order.shown();
                }
                Act::Wait(until) => {
                    if waited > LONGEST_WAIT {
                        return Err(still_at_work(&order.attempt().names).into());
                    }
                    let pause = until.duration_since(now()).unwrap_or_default().min(LONGEST_PAUSE);
                    tokio::time::sleep(pause).await;
                    (waited, over) = (waited + pause, until);
                }
                Act::Done(chain) => return self.check(order.attempt(), &chain),
            }
        }
    }

    async fn handle(&self, order: &mut Order, response: Response) -> Result<(), Error> {
        let had = self.identity();
        self.with_session(|session| Ok(order.handle(session, response, now())?))?;
        self.keep_account_if_new(&had).await
    }

    /// What was issued must be what was ordered.
    fn check(&self, attempt: &Attempt, chain: &str) -> Result<Certificate, Error> {
        let wrong = |detail: String| {
            Failure::because(FailureClass::Certificate, "use the certificate", detail)
        };
        if chain.len() > MAX_CHAIN_BYTES {
            return Err(wrong(format!("its chain has {} bytes", chain.len())).into());
        }
        let certificate = Certificate::from_pem_with_provider(chain, &attempt.key, &self.provider)
            .map_err(|error| wrong(error.to_string()))?;
        let mut names: Vec<_> = certificate.names().iter().map(ToString::to_string).collect();
        names.sort_unstable();
        names.dedup();
        if names != attempt.names {
            return Err(wrong(format!("it is for {}", names.join(", "))).into());
        }
        // A clock that is a little late finds a new certificate not yet valid; those who will see it do not.
        let now = self.with_session(|session| Ok(session.their_time(now())))?;
        if certificate.is_expired(now) || certificate.not_before() > now + CLOCK_SLACK {
            return Err(
                wrong("it is not valid now; is this machine's clock right?".to_owned()).into()
            );
        }
        certificate
            .check_signatures(&self.provider, now)
            .map_err(|error| wrong(error.to_string()))?;
        Ok(certificate)
    }

    async fn present(&self, challenge: &Challenge) -> Result<(), Error> {
        let solver = self.solvers.get(&challenge.kind);
        let shown = match solver {
            Some(solver) => solver.present(challenge).await.map_err(|error| error.to_string()),
            None => Err("no solver for this kind is set up here".to_owned()),
        };
        shown.map_err(|error| {
            let kind = challenge.kind.as_str();
            let text = format!("{kind} for `{}`: {error}", challenge.name);
            Failure::because(FailureClass::Solver, "show a challenge's answer", text).into()
        })
    }

    async fn withdraw(&self, challenges: &[Challenge]) {
        for challenge in challenges {
            if let Some(solver) = self.solvers.get(&challenge.kind)
                && let Err(error) = solver.withdraw(challenge).await
            {
                tracing::warn!(name = challenge.name, kind = challenge.kind.as_str(), %error,
                    "the answer to a challenge was left behind");
            }
        }
    }

    /// Reaches one goal outside of an order.
    async fn reach(&self, goal: &Goal) -> Result<Vec<u8>, Error> {
        match self.reach_with_known_key(goal).await {
            Err(error) if self.takes_stored_key(&error).await? => {
                self.reach_with_known_key(goal).await
            }
            done => done,
        }
    }

    async fn reach_with_known_key(&self, goal: &Goal) -> Result<Vec<u8>, Error> {
        self.open_account().await?;
        let mut call = Call::default();
        loop {
            if let Handled::Answer(answer) = self.step(&mut call, goal).await? {
                return Ok(answer.body);
            }
        }
    }

    /// Sends what comes next on the way to a goal, and takes the answer.
    async fn step(&self, call: &mut Call, goal: &Goal) -> Result<Handled, Error> {
        let request = self.with_session(|session| Ok(session.request(call, goal, now())?))?;
        let response = self.connection.send(request).await?;
        let had = self.identity();
        let handled =
            self.with_session(|session| Ok(session.handle(call, goal, response, now())?))?;
        self.keep_account_if_new(&had).await?;
        Ok(handled)
    }

    fn new_attempt(&self, names: &[String], replaces: Option<String>) -> Result<Attempt, Error> {
        let key = PrivateKey::generate()?;
        let signer = KeyPair::new(&key, &self.provider)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let parsed = names.iter().map(|name| san(&name.parse()?));
        params.subject_alt_names = parsed.collect::<Result<_, Error>>()?;
        let csr = params
            .serialize_request(&signer)
            .map_err(|source| Kind::Issue { doing: "make a signing request", source })?;
        Ok(Attempt {
            version: Attempt::VERSION,
            names: names.to_vec(),
            directory_url: self.settings.directory_url.clone(),
            profile: self.profile.clone(),
            replaces,
            key: key.to_pem().expose().to_owned(),
            csr: URL_SAFE_NO_PAD.encode(csr.der()),
            order_url: None,
            challenges: Vec::new(),
        })
    }

    fn with_session<T>(
        &self,
        act: impl FnOnce(&mut Session) -> Result<T, Error>,
    ) -> Result<T, Error> {
        match self.session().as_mut() {
            Some(session) => act(session),
            None => Err(Failure::new(FailureClass::Account, "open an account").into()),
        }
    }

    fn session(&self) -> MutexGuard<'_, Option<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the shell around the state machines")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// It may take hours over an order; that is about these names, and no reason to leave it alone with others.
fn still_at_work(names: &[String]) -> Failure {
    let names = names.join(", ");
    let text = format!(
        "the authority is still at work on {names}; the order is kept, and will be looked at again"
    );
    Failure::because(FailureClass::Hold, "wait for the order", text).not_before(now() + NEXT_LOOK)
}

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Then the order is left to the next try.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
const NEXT_LOOK: Duration = Duration::from_secs(60);
/// PEM: chains are some kilobytes, and each lies in memory and goes out with each handshake.
const MAX_CHAIN_BYTES: usize = 64 * 1024;
/// Authorities' clocks and ours.
const CLOCK_SLACK: Duration = Duration::from_secs(300);
