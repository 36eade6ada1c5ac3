//! The gate: from a visitor's request to the origin's answer, or to a page that says why not.
//!
//! One request, one reading: the host and path that are judged are the ones that are forwarded.
//! `answer` is the table of contents: team host, application host, or nothing.

mod application;
mod cookies;
mod forward;
mod handover;
mod head;
mod mail;
pub mod reply;
mod session;
mod sign_in;
mod websocket;

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use http::{Method, Request};
use hyper::body::Incoming;
use otp_auth::{
    keys::KeyRing,
    locale::Locale,
    login::Login,
    mail::{Host, MailTexts, Mailer, Outbox, OutboxStore},
    random::{Random, SystemRandom},
    seal::SealingKey,
    secret::{Pepper, Secret},
    session::{AppVerifier, Issuer, OrgVerifier, Revocations, StateSigner},
    store::MemoryStore,
    throttle::{Budget, Rule},
    token::Audience,
};
use tracing::info;
use tunnel_proto::edge::Router;

use self::{
    handover::Handovers,
    head::{Head, LogLine},
    reply::Reply,
};
use crate::{
    listener::Peer,
    output::{Reporter, mask},
    pages::Problem,
    rules::Rules,
};

/// What an edge needs to know to keep a gate.
pub struct Settings {
    /// The host where people sign in, without a port.
    pub team_host: String,
    /// The port of all public URLs.
    pub public_port: u16,
    /// Who may pass, and where.
    pub rules: Rules,
    /// Tunnels and the names that they serve.
    pub router: Arc<Router>,
    /// What delivers codes.
    pub mailer: Arc<dyn Mailer>,
    /// Where codes lie until they are delivered.
    pub outbox: Arc<dyn OutboxStore>,
    /// What seals them there.
    pub outbox_key: SealingKey,
    /// How many codes may be sent.
    pub mail_limits: MailLimits,
    /// Other words for the mails.
    pub mail_texts: Vec<(Locale, MailTexts)>,
    /// What signs sessions.
    pub keys: KeyRing,
    /// Who has logged out.
    pub revocations: Arc<Revocations>,
    /// What signs the states of logins under way. Keep it and they survive a restart.
    pub state_key: Secret,
    /// The key of flows, codes and known devices.
    pub pepper: Pepper,
    /// Whom to tell.
    pub reporter: Reporter,
}

/// The gate of one edge.
pub struct Gate {
    team_host: String,
    public_port: u16,
    rules: ArcSwap<Rules>,
    router: Arc<Router>,
    login: Login,
    issuer: Issuer,
    org_verifier: OrgVerifier,
    app_verifier: AppVerifier,
    revocations: Arc<Revocations>,
    /// The AUD of each application, by its id.
    audiences: HashMap<String, Audience>,
    states: StateSigner,
    handovers: Handovers,
    /// How many requests there were, and the keyed hash that makes an id of it.
    requests: AtomicU64,
    ids: RandomState,
    random: Arc<dyn Random>,
    outbox: Outbox,
    reporter: Reporter,
}

impl Gate {
    /// Prepares the login, and goes on with mails that were not sent before a restart.
    ///
    /// # Errors
    ///
    /// A team host that is no host name, a system without randomness, an outbox that can't be read.
    pub async fn new(settings: Settings) -> anyhow::Result<Arc<Self>> {
        let random = SystemRandom::new();
        let shared: Arc<dyn Random> = Arc::new(random.clone());
        let team_host: Host = settings.team_host.parse()?;
        let store = Arc::new(MemoryStore::new());
        let mut login = Login::builder(store, settings.pepper, Arc::clone(&shared), team_host)
            .mail_budget(settings.mail_limits.to_one_address)
            .mail_share_budget(settings.mail_limits.from_one_network_to_one_address)
            .network_mail_budget(settings.mail_limits.from_one_network);
        for (locale, texts) in settings.mail_texts {
            login = login.mail_texts(locale, texts);
        }
        let login = login.build()?;
        let outbox = Outbox::builder(
            settings.outbox,
            settings.outbox_key,
            Arc::clone(&shared),
            login.mail_template(),
        )
        .observer(Arc::new(mail::Telling(settings.reporter.clone())))
        .open(session::timestamp())
        .await
        .context("can't open the outbox of mails")?;
        let (worker, mailer) = (outbox.clone(), settings.mailer);
        tokio::spawn(mail::deliver(worker, mailer));
        let origin = origin_of(&settings.team_host, settings.public_port);
        let issuer = Issuer::new(settings.keys.clone(), Arc::clone(&shared), origin.clone())?;
        let revocations = settings.revocations;
        let find_key = Arc::new(settings.keys);
        let org_audience = issuer.org_audience().clone();
        let audience = |id: &str| Audience::for_application(issuer.issuer(), id);
        let applications = settings.rules.engine().policies().applications.iter();
        let audiences = applications.map(|it| (it.id.clone(), audience(&it.id))).collect();
        Ok(Arc::new(Self {
            rules: ArcSwap::from_pointee(settings.rules),
            router: settings.router,
            login,
            org_verifier: OrgVerifier::new(find_key.clone(), origin.clone(), org_audience)
                .revocations(Arc::clone(&revocations)),
            app_verifier: AppVerifier::new(find_key, origin).revocations(Arc::clone(&revocations)),
            issuer,
            revocations,
            audiences,
            states: StateSigner::new(settings.state_key)?,
            handovers: Handovers::default(),
            requests: AtomicU64::new(0),
            ids: RandomState::new(),
            random: shared,
            outbox,
            reporter: settings.reporter,
            team_host: settings.team_host,
            public_port: settings.public_port,
        }))
    }

    /// Answers one request.
    pub async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: Arc<Peer>) -> Reply {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let id = self.draw_id();
        let is_head = parts.method == Method::HEAD;
        let finish = |reply| if is_head { reply::without_body(reply) } else { reply };
        let head = match Head::read(parts, peer, id) {
            Ok(head) => head,
            Err(refused) => return finish(refused.reply()),
        };
        let line = head.log_line();
        let reply = if head.host == self.team_host {
            Arc::clone(&self).team_host(head, body).await
        } else if self.router.route(&head.host).is_some() {
            Arc::clone(&self).application_host(head, body).await
        } else {
            reply::problem(&head, 404, Problem::NotFoundHere, None)
        };
        let status = reply.status().as_u16();
        let milliseconds = started.elapsed().as_millis();
        let LogLine { id, host, method } = line;
        info!(%id, %host, %method, status, milliseconds, "answered");
        finish(reply)
    }

    /// The rules that hold now. A request is judged by the same ones from start to end.
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.load_full()
    }

    /// Puts other rules in force, for every request that begins from now on.
    pub fn replace_rules(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
    }

    /// Whether a host name is served here.
    pub fn knows(&self, host: &str) -> bool {
        host == self.team_host || self.router.route(host).is_some()
    }

    /// `https://host`, with the port unless it is 443.
    pub fn origin_of(&self, host: &str) -> String {
        origin_of(host, self.public_port)
    }

    /// A name for finding a log line: a keyed hash of the request's number, so that nobody can tell how many there
    /// are. Random bytes would be one more system call for each.
    fn draw_id(&self) -> String {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        hex(&self.ids.hash_one(number).to_be_bytes())
    }

    fn draw_hex<const N: usize>(&self) -> Result<String, otp_auth::error::Error> {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes)?;
        Ok(hex(&bytes))
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("team_host", &self.team_host).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("team_host", &self.team_host).finish_non_exhaustive()
    }
}

/// How many codes may be sent, those to browsers that have signed in before counted apart, and those that led to a
/// sign-in not at all.
#[derive(Debug, Clone)]
pub struct MailLimits {
    /// To one address, whoever asks.
    pub to_one_address: Budget,
    /// Of those, what one network may ask for: less, so that it cannot keep the others out.
    pub from_one_network_to_one_address: Budget,
    /// From one network, to whomever.
    pub from_one_network: Budget,
}

impl MailLimits {
    /// To an address three at once, then one each half hour, ten a day; six a day from one network, and twenty an
    /// hour from one network in all.
    ///
    /// # Errors
    ///
    /// Never with these numbers.
    pub fn try_default() -> Result<Self, otp_auth::error::Error> {
        let minutes = |minutes: u64| std::time::Duration::from_secs(60 * minutes);
        // Whoever mistypes five times wants another code at once, so there is no rule of one a minute.
        let rules = vec![Rule::try_new(3, minutes(90))?, Rule::try_new(4, minutes(16 * 60))?];
        Ok(Self {
            to_one_address: Budget::try_new(rules)?,
            from_one_network_to_one_address: Budget::mails_of_one_network_to_one_address(),
            from_one_network: Budget::mails_of_one_network(),
        })
    }

    /// The same rule for all.
    #[must_use]
    pub fn all(budget: &Budget) -> Self {
        Self {
            to_one_address: budget.clone(),
            from_one_network_to_one_address: budget.clone(),
            from_one_network: budget.clone(),
        }
    }
}

fn origin_of(host: &str, port: u16) -> String {
    match port {
        443 => format!("https://{host}"),
        port => format!("https://{host}:{port}"),
    }
}

/// A policy's reason may name the visitor's address; logs name it less fully.
fn masked(reason: &str, email: Option<&str>) -> String {
    match email {
        Some(email) => reason.replace(email, &mask(email)),
        None => reason.to_owned(),
    }
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    halves.map(|half| DIGITS[usize::from(half)]).collect()
}
