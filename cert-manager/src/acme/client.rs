//! An account at an authority, and the shell around its state machines.

use std::{
    collections::{HashMap, hash_map},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, DistinguishedName};
use rustls::{RootCertStore, crypto::CryptoProvider};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    acme::{
        account::{AccountKey, ExternalAccount},
        attempt::Attempt,
        challenge::{Challenge, ChallengeKind},
        connection::Connection,
        http::Method,
        order::{Act, Order},
        renewal::{RenewalInfo, renewal_id},
        session::{Call, Goal, Handled, Session, Settings, To, bare},
        solver::Solver,
        stored::{
            StoredAccount, account_name, attempt_name, certificate_id, certificate_name, object,
            sorted,
        },
    },
    certificate::Certificate,
    error::{Error, Kind},
    failure::{Failure, FailureClass},
    key::{PrivateKey, default_provider},
    key_pair::{KeyPair, san},
    name::Name,
    pem,
    storage::{DirectoryStore, Expect, Put},
};

/// An account at one ACME authority. It is opened when it is first needed, and kept in the store.
///
/// ```no_run
/// use std::sync::Arc;
/// use cert_manager::{DirectoryStore, acme::{Acme, Http01}};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Arc::new(DirectoryStore::open("certificates")?);
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
    settings: Settings,
    profile: Option<String>,
    preferred_root: Option<String>,
    solvers: HashMap<ChallengeKind, Arc<dyn Solver>>,
    /// In the order in which they were given.
    kinds: Vec<ChallengeKind>,
    store: Arc<DirectoryStore>,
    connection: Connection,
    provider: Arc<CryptoProvider>,
    session: Mutex<Option<Session>>,
}

impl Acme {
    /// Starts to describe an account at the authority with this directory.
    pub fn builder(directory_url: impl Into<String>, store: Arc<DirectoryStore>) -> Builder {
        Builder {
            settings: Settings {
                directory_url: directory_url.into(),
                contacts: Vec::new(),
                agrees_to_terms: false,
                external_account: None,
            },
            profile: None,
            preferred_root: None,
            solvers: Vec::new(),
            roots: None,
            store,
        }
    }

    /// Gets a certificate that carries these names. An attempt that was cut short is taken up where it was left.
    ///
    /// # Errors
    ///
    /// [`Error::acme_failure`] if the authority refused or was not reached; it says when to try again. [`Error::is_store`]
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
        // Others would not know what it means.
        let replaces = self.renewal_url().await?.and_then(|_| renewal_id(old));
        self.obtain_in_place_of(old.names(), replaces).await
    }

    /// Asks when the authority wishes a certificate to be renewed (RFC 9773); `None` if it has no such wishes, or the
    /// certificate does not name its issuer's key.
    ///
    /// # Errors
    ///
    /// [`Error::acme_failure`] if the authority was not reached.
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
    /// [`Error::acme_failure`], unless it is revoked already.
    pub async fn revoke(&self, certificate: &Certificate, reason: u8) -> Result<(), Error> {
        let leaf = certificate.chain().first().map(|leaf| URL_SAFE_NO_PAD.encode(leaf));
        let payload = json!({ "certificate": leaf, "reason": reason });
        match self.reach(&Goal::post(To::RevokeCertificate, &payload, "revoke a certificate")).await
        {
            Err(error)
                if error.acme_failure().is_some_and(|failure| failure.is("alreadyRevoked")) =>
            {
                Ok(())
            }
            done => done.map(drop),
        }
    }

    /// Gives the account a new key (RFC 8555 section 7.3.5). The new key is stored before the authority hears of it.
    ///
    /// # Errors
    ///
    /// [`Error::acme_failure`] or [`Error::is_store`]; the old key stays in force then.
    pub async fn change_key(&self) -> Result<(), Error> {
        let new = AccountKey::generate()?;
        // The account and the directory have to be known.
        self.reach(&Goal { to: To::Account, payload: String::new(), doing: "read the account" })
            .await?;
        let (payload, mut stored) = self
            .with_session(|session| Ok((session.key_change(&new)?, StoredAccount::of(session))))?;
        stored.next_key = Some(new.to_pem().expose().to_owned());
        self.store_account(&stored)?;
        self.reach(&Goal { to: To::KeyChange, payload, doing: "change the account's key" }).await?;
        let stored = self.with_session(|session| {
            session.set_key(new);
            Ok(StoredAccount::of(session))
        })?;
        self.store_account(&stored)
    }

    /// Where the authority says when to renew, if it does.
    async fn renewal_url(&self) -> Result<Option<String>, Error> {
        self.restore_account()?;
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

    async fn obtain_in_place_of(
        &self,
        names: &[Name],
        replaces: Option<String>,
    ) -> Result<Certificate, Error> {
        let names = sorted(names)?;
        let id = certificate_id(&names);
        let attempt = match self.stored_attempt(&id, &names)? {
            Some(attempt) => attempt,
            None => self.new_attempt(&names, replaces)?,
        };
        let mut order = Order::new(attempt, self.kinds.clone(), self.preferred_root.clone());
        let outcome = self.drive(&mut order, &id).await;
        // What the authority has turned down will not come back to life. All else is taken up again, and until then the
        // authority may still look at the answers.
        let is_over = outcome.as_ref().err().is_none_or(|error| {
            error.acme_failure().is_some_and(|failure| failure.class.ends_attempts())
        });
        if is_over {
            self.withdraw(&order.attempt().challenges).await;
        }
        if let Ok(certificate) = &outcome {
            self.keep(&certificate_name(&id), object(certificate).as_bytes())?;
        }
        if is_over {
            self.store.remove(&attempt_name(&id))?;
        }
        outcome
    }

    /// The certificate for these names that the store has, if it has one.
    ///
    /// # Errors
    ///
    /// [`Error::is_store`] if the store cannot be read, and as [`Certificate::from_pem`] if it is damaged.
    pub fn stored(&self, names: &[Name]) -> Result<Option<Certificate>, Error> {
        let id = certificate_id(&sorted(names)?);
        let Some(text) = self.store.load(&certificate_name(&id))? else { return Ok(None) };
        Certificate::from_pem_with_provider(&*text, &*text, &self.provider).map(Some)
    }

    async fn drive(&self, order: &mut Order, id: &str) -> Result<Certificate, Error> {
        self.restore_account()?;
        let started = now();
        loop {
            let act = self.with_session(|session| Ok(order.poll(session, now())?))?;
            match act {
                Act::Store => {
                    let text =
                        Zeroizing::new(serde_json::to_string(order.attempt()).unwrap_or_default());
                    self.keep(&attempt_name(id), text.as_bytes())?;
                    order.stored();
                }
                Act::Send(request) => {
                    let response = self.connection.send(request).await?;
                    let had = self.identity();
                    self.with_session(|session| Ok(order.handle(session, response, now())?))?;
                    self.keep_account_if_new(&had)?;
                }
                Act::Show => {
                    for challenge in &order.attempt().challenges {
                        self.present(challenge).await?;
                    }
                    order.shown();
                }
                Act::Wait(until) => {
                    if started + LONGEST_WAIT < now() {
                        let text = "the authority is still at work; the order is kept, and will be looked at again";
                        return Err(Failure::because(
                            FailureClass::Hold,
                            "wait for the order",
                            text,
                        )
                        .into());
                    }
                    tokio::time::sleep(until.duration_since(now()).unwrap_or_default()).await;
                }
                Act::Done => return self.check(order.attempt()),
            }
        }
    }

    /// What was issued must be what was ordered.
    fn check(&self, attempt: &Attempt) -> Result<Certificate, Error> {
        let wrong = |detail: String| {
            Failure::because(FailureClass::Certificate, "use the certificate", detail)
        };
        let chain = attempt.chain.as_deref().unwrap_or_default();
        let certificate = Certificate::from_pem_with_provider(chain, &attempt.key, &self.provider)
            .map_err(|error| wrong(error.to_string()))?;
        let mut names: Vec<_> = certificate.names().iter().map(ToString::to_string).collect();
        names.sort_unstable();
        names.dedup();
        if names != attempt.names {
            return Err(wrong(format!("it is for {}", names.join(", "))).into());
        }
        let now = now();
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
            Failure::because(FailureClass::Network, "show a challenge's answer", text).into()
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
        self.restore_account()?;
        let mut call = Call::default();
        loop {
            let request =
                self.with_session(|session| Ok(session.request(&mut call, goal, now())?))?;
            let response = self.connection.send(request).await?;
            let had = self.identity();
            let handled = self
                .with_session(|session| Ok(session.handle(&mut call, goal, response, now())?))?;
            self.keep_account_if_new(&had)?;
            if let Handled::Answer(answer) = handled {
                return Ok(answer.body);
            }
        }
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
            is_finalizing: false,
            chain: None,
        })
    }

    /// An attempt that was cut short, if it was at this authority. One that cannot be read is moved aside.
    fn stored_attempt(&self, id: &str, names: &[String]) -> Result<Option<Attempt>, Error> {
        let name = attempt_name(id);
        let Some(text) = self.store.load(&name)? else { return Ok(None) };
        match serde_json::from_slice::<Attempt>(&text) {
            Ok(attempt) if attempt.version == Attempt::VERSION => {
                let is_ours =
                    attempt.directory_url == self.settings.directory_url && attempt.names == names;
                Ok(is_ours.then_some(attempt))
            }
            _ => {
                let kept_at = self.store.quarantine(&name)?;
                tracing::warn!(kept_at = %kept_at.display(), "the journal of an attempt cannot be read; starting over");
                Ok(None)
            }
        }
    }

    /// Takes the account out of the store, or makes a key for a new one and stores it.
    fn restore_account(&self) -> Result<(), Error> {
        let mut session = self.session();
        if session.is_some() {
            return Ok(());
        }
        let name = account_name(&self.settings.directory_url);
        let stored = self.store.load(&name)?;
        let new = match stored.as_deref().map(|text| serde_json::from_slice::<StoredAccount>(text))
        {
            Some(Ok(stored)) => {
                let key =
                    |pem: &String| AccountKey::new(PrivateKey::from_pem(pem)?, &self.provider);
                let spare = stored.next_key.as_ref().map(key).transpose()?;
                Session::new(self.settings.clone(), key(&stored.key)?, spare, stored.url.clone())
            }
            Some(Err(_)) => return Err(Kind::StoredAccount(name).into()),
            None => {
                let new = Session::new(self.settings.clone(), AccountKey::generate()?, None, None);
                // Stored before the authority hears of it.
                self.store_account(&StoredAccount::of(&new))?;
                new
            }
        };
        *session = Some(new);
        Ok(())
    }

    fn keep_account_if_new(&self, before: &Identity) -> Result<(), Error> {
        if self.identity() == *before {
            return Ok(());
        }
        let stored = self.with_session(|session| Ok(StoredAccount::of(session)))?;
        self.store_account(&stored)
    }

    fn store_account(&self, account: &StoredAccount) -> Result<(), Error> {
        let text = Zeroizing::new(serde_json::to_string(account).unwrap_or_default());
        self.keep(&account_name(&self.settings.directory_url), text.as_bytes())
    }

    fn keep(&self, name: &str, value: &[u8]) -> Result<(), Error> {
        // Whatever is there is to be replaced, so there can be no conflict.
        self.store.keep(name, value, Expect::Any).map(|_: Put| ())
    }

    /// The account's URL and its key's thumbprint.
    fn identity(&self) -> Identity {
        let session = self.session();
        session
            .as_ref()
            .map(|session| (session.account().map(ToOwned::to_owned), session.key().thumbprint()))
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

/// Describes an [`Acme`] account.
#[derive(Debug)]
#[must_use]
pub struct Builder {
    settings: Settings,
    profile: Option<String>,
    preferred_root: Option<String>,
    solvers: Vec<Arc<dyn Solver>>,
    roots: Option<Vec<u8>>,
    store: Arc<DirectoryStore>,
}

impl Builder {
    /// States that the operator agrees to the authority's terms. Without it no account is opened where there are any.
    pub fn agree_to_terms(mut self, agrees: bool) -> Self {
        self.settings.agrees_to_terms = agrees;
        self
    }

    /// Adds an address for the authority's messages.
    pub fn contact(mut self, email: &str) -> Self {
        self.settings.contacts.push(format!("mailto:{email}"));
        self
    }

    /// Binds the account to a customer of the authority.
    pub fn external_account(mut self, account: ExternalAccount) -> Self {
        self.settings.external_account = Some(account);
        self
    }

    /// Asks for a profile, such as `shortlived`. By default the authority chooses.
    pub fn profile(mut self, profile: impl Into<String>) -> Self {
        self.profile = Some(profile.into());
        self
    }

    /// Takes the chain that leads to a root of this common name, if the authority offers several.
    pub fn preferred_root(mut self, common_name: impl Into<String>) -> Self {
        self.preferred_root = Some(common_name.into());
        self
    }

    /// Adds a solver. Those added first are preferred.
    pub fn solver(mut self, solver: Arc<dyn Solver>) -> Self {
        self.solvers.push(solver);
        self
    }

    /// Trusts these roots, PEM, for the connection to the authority, in place of the system's.
    pub fn roots(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = Some(pem.into());
        self
    }

    /// Checks everything. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// If there is no solver, two for one kind, or no root to trust.
    pub fn build(self) -> Result<Acme, Error> {
        let provider = Arc::new(default_provider());
        let mut roots = RootCertStore::empty();
        match &self.roots {
            Some(text) => roots.add_parsable_certificates(pem::certificates(text)?),
            None => roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
        };
        if roots.is_empty() {
            return Err(Kind::Acme(
                "there is no root to trust: install `ca-certificates`, or give roots",
            )
            .into());
        }
        if self.solvers.is_empty() {
            return Err(Kind::Acme("a solver is needed to show control over names").into());
        }
        let kinds: Vec<_> = self.solvers.iter().map(|solver| solver.kind()).collect();
        let mut solvers = HashMap::new();
        for solver in self.solvers {
            match solvers.entry(solver.kind()) {
                hash_map::Entry::Vacant(free) => free.insert(solver),
                hash_map::Entry::Occupied(_) => {
                    return Err(Kind::Acme("two solvers are for the same kind of challenge").into());
                }
            };
        }
        Ok(Acme {
            connection: Connection::new(roots, Arc::clone(&provider))?,
            settings: self.settings,
            profile: self.profile,
            preferred_root: self.preferred_root,
            solvers,
            kinds,
            store: self.store,
            provider,
            session: Mutex::new(None),
        })
    }
}

type Identity = Option<(Option<String>, String)>;

#[expect(clippy::disallowed_methods, reason = "this is the shell around the state machines")]
fn now() -> SystemTime {
    SystemTime::now()
}

/// Then the order is left to the next try.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Authorities' clocks and ours.
const CLOCK_SLACK: Duration = Duration::from_secs(300);
