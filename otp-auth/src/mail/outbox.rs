//! Mails that survive a crash between "stored" and "sent".

mod directory;
mod event;
mod queue;
mod store;

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{self, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

pub use self::directory::DirectoryOutbox;
pub use self::event::{Failure, OutboxEvent, OutboxObserver};
use self::queue::{Action, Limits, Queue};
pub use self::store::{MemoryOutbox, OutboxStore};
use super::{Job, MailCause, MailError, MailTemplate, Mailer, Silence};
use crate::challenge::DecoyReason;
use crate::error::Error;
use crate::random::Random;
use crate::seal::SealingKey;
use crate::throttle::Budget;
use crate::timestamp::Timestamp;

/// Takes jobs, keeps them until they are sent, and sends them. Cheap to clone. Runs in a tokio runtime.
///
/// ```text
/// begin ─ the store of codes has the challenge ─ accept ─ the outbox has the job ─ answer the visitor
///                                                  run ─ the mailer has the mail ─ the outbox forgets it
/// ```
///
/// A job is on the disk before [`accept`](Self::accept) returns, so a crash after the answer loses no mail.
/// A crash between the mailer's "yes" and forgetting sends the mail once more: the same code under the same
/// message id, so a reader can know the two as one. The store of codes is not touched, so whatever happens
/// here no second code lives.
///
/// Decoys are kept and taken out like any job, in the same steps and the same number of bytes; so `accept`
/// may be awaited inside the answer. Those of a network that begins too many flows are dropped at once.
///
/// Temporary failures are tried again after 1, 2, 4 and at most 60 seconds, until the code ends. While the
/// mailer cannot be reached, one mail is tried and the others wait. When too many wait, the one with the
/// least time left fails, and an event says so. A newer code for the same flow takes the place of one that
/// waits.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// # use std::sync::Arc;
/// # use otp_auth::{login::*, random::*, seal::*, secret::*, store::*, timestamp::*};
/// use otp_auth::mail::{DirectoryOutbox, Outbox, TerminalMailer};
/// # let (random, folder) = (Arc::new(SystemRandom::new()), tempfile::tempdir()?);
/// # let (store, pepper) = (Arc::new(MemoryStore::new()), Pepper::generate(&*random)?);
/// # let login = Login::builder(store, pepper, random.clone(), "auth.example.jp".parse()?).build()?;
/// # let now = Timestamp::from_unix_secs(1_790_000_000);
/// # let (address, visitor) = ("alice@example.jp".parse()?, "203.0.113.7".parse()?);
/// # let begin = Begin::new(address, Admission::Admitted, visitor, "app.example.jp".parse()?);
/// let key = SealingKey::new(Secret::generate(&*random, 32)?)?; // kept beside the folder, not in it
/// let jobs = Arc::new(DirectoryOutbox::open(folder.path().join("outbox"))?);
/// let outbox = Outbox::builder(jobs, key, random, login.mail_template()).open(now).await?;
/// let worker = outbox.clone();
/// tokio::spawn(async move { worker.run(Arc::new(TerminalMailer::stdout())).await });
///
/// let (begun, dispatch) = login.begin(&begin, now).await?;
/// outbox.accept(dispatch.into_job(), now).await?; // then answer the visitor
/// # let _ = begun;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Outbox {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn OutboxStore>,
    key: SealingKey,
    random: Arc<dyn Random>,
    template: Arc<MailTemplate>,
    observer: Option<Arc<dyn OutboxObserver>>,
    send_timeout: Duration,
    queue: Mutex<Queue>,
    changed: Notify,
    /// Held by the worker.
    worker: tokio::sync::Mutex<()>,
}

impl Outbox {
    /// Starts with where jobs lie, the key that seals them there (it must lie elsewhere), and the words of
    /// the mails: [`Login::mail_template`](crate::login::Login::mail_template).
    pub fn builder(
        store: Arc<dyn OutboxStore>,
        key: SealingKey,
        random: Arc<dyn Random>,
        template: Arc<MailTemplate>,
    ) -> OutboxBuilder {
        OutboxBuilder {
            store,
            key,
            random,
            template,
            observer: None,
            limits: Limits { pending: 10_000, parallel: 4, strangers: Budget::mails_of_all() },
            send_timeout: Duration::from_secs(60),
        }
    }

    /// Keeps a job, and has the worker send it.
    ///
    /// Takes the same steps for a decoy. Await it before the visitor is answered.
    ///
    /// # Errors
    ///
    /// The store or the generator failed, or the store takes nothing out and is full: show a page that says
    /// "try again later", as for an error of `begin`.
    ///
    /// # Cancel safety
    ///
    /// A dropped future keeps the job all the same.
    pub async fn accept(&self, job: Job, now: Timestamp) -> Result<(), Error> {
        // A fact of the network and not of the address: its flood does not reach the store.
        if job.silence() == Some(Silence::Decoy(DecoyReason::StartBudget)) {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let kept = task::spawn(async move { shared.keep(job, now).await });
        kept.await.map_err(Error::store_unavailable)?
    }

    /// How many mails wait or are being sent. For a readiness probe: it is near zero while the mailer works.
    pub fn pending(&self) -> usize {
        self.shared.lock_queue().pending()
    }

    /// Sends what is there and what comes. Never ends; a second worker waits for the first.
    ///
    /// # Cancel safety
    ///
    /// A dropped future may have sent a mail that the next worker sends once more. Let it run for as long as
    /// the program does.
    pub async fn run(&self, mailer: Arc<dyn Mailer>) -> Infallible {
        let shared = &*self.shared;
        let _only_one = shared.worker.lock().await;
        shared.lock_queue().handle_stopped(now());
        let mut sending = JoinSet::new();
        let mut numbers = HashMap::new();
        loop {
            shared.work(&mailer, &mut sending, &mut numbers).await;
            let deadline = shared.lock_queue().poll_timeout();
            let waited = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(ended) = sending.join_next_with_id() => {
                    let (id, sent) = match ended {
                        Ok((id, sent)) => (id, sent),
                        Err(error) => (error.id(), Err(MailError::Compose(PANICKED))),
                    };
                    if let Some(number) = numbers.remove(&id) {
                        shared.lock_queue().handle_sent(number, sent, now());
                    }
                }
                () = shared.changed.notified() => {}
                () = waited => {}
            }
        }
    }
}

impl Shared {
    async fn keep(&self, job: Job, moment: Timestamp) -> Result<(), Error> {
        if !self.lock_queue().has_room() {
            return Err(Error::store_full());
        }
        let id = job.id().to_owned();
        let secret = job.to_secret().ok_or_else(|| Error::setting("job", "it has no text"))?;
        let sealed = self.key.seal(&place_of(&id), &secret, &*self.random)?;
        self.store.insert(&id, &sealed).await?;
        let valid_for = job.expires().since(moment);
        self.lock_queue().handle_accepted(job, valid_for, now());
        self.changed.notify_one();
        Ok(())
    }

    /// Does what can be done now, and tells of it.
    async fn work(
        &self,
        mailer: &Arc<dyn Mailer>,
        sending: &mut JoinSet<Result<(), MailError>>,
        numbers: &mut HashMap<task::Id, u64>,
    ) {
        loop {
            let (action, events) = {
                let mut queue = self.lock_queue();
                let action = queue.poll(now());
                (action, std::iter::from_fn(|| queue.poll_event()).collect::<Vec<_>>())
            };
            for event in &events {
                self.tell(event);
            }
            match action {
                Some(Action::Send(number, job)) => {
                    let send = send(job, Arc::clone(&self.template), Arc::clone(mailer));
                    let bounded = timeout(self.send_timeout, send);
                    let task = sending.spawn(async move {
                        bounded.await.unwrap_or(Err(MailError::Timeout(TOO_SLOW)))
                    });
                    numbers.insert(task.id(), number);
                }
                Some(Action::Remove(number, id)) => {
                    let removed = self.store.remove(&id).await;
                    self.lock_queue().handle_removed(number, removed.is_ok(), now());
                    if let Err(error) = removed {
                        self.tell(&OutboxEvent::StoreUnavailable { error });
                    }
                }
                None => return,
            }
        }
    }

    fn tell(&self, event: &OutboxEvent) {
        if let Some(observer) = &self.observer {
            observer.observe(event);
        }
    }

    fn lock_queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn send(
    job: Arc<Job>,
    template: Arc<MailTemplate>,
    mailer: Arc<dyn Mailer>,
) -> Result<(), MailError> {
    mailer.send(&job.render(&template)?).await
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("store", &self.shared.store)
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}

/// Settings of an [`Outbox`].
#[must_use]
#[derive(Debug)]
pub struct OutboxBuilder {
    store: Arc<dyn OutboxStore>,
    key: SealingKey,
    random: Arc<dyn Random>,
    template: Arc<MailTemplate>,
    observer: Option<Arc<dyn OutboxObserver>>,
    limits: Limits,
    send_timeout: Duration,
}

impl OutboxBuilder {
    /// Who hears what becomes of mails. Default: nobody.
    pub fn observer(mut self, observer: Arc<dyn OutboxObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// How many mails may wait. Default 10,000: some five megabytes, and more than a relay takes while their
    /// codes live. At least 1.
    pub fn at_most(mut self, jobs: usize) -> Self {
        self.limits.pending = jobs.max(1);
        self
    }

    /// How many mails are sent at a time. Default 4, as many as
    /// [`SmtpMailer`](super) has connections. At least 1.
    pub fn parallel(mut self, mails: usize) -> Self {
        self.limits.parallel = mails.max(1);
        self
    }

    /// How many mails go to strangers, all together; more wait, until their codes end. Those to browsers that have
    /// signed in before are not counted and do not wait. A restart forgets what was sent. Default
    /// [`Budget::mails_of_all`]: 1,000 an hour, 5,000 a day.
    ///
    /// It is here and not in the login because decoys need no mail: counted where the visitor is answered, they
    /// would use the budget up, or their absence would tell who is admitted.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.limits.strangers = budget;
        self
    }

    /// How long the mailer may take for one mail. Default 60 seconds, twice what `SmtpMailer` allows itself.
    pub fn send_timeout(mut self, time: Duration) -> Self {
        self.send_timeout = time;
        self
    }

    /// Reads what was not sent before the restart. Nothing is sent until [`Outbox::run`].
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn open(self, moment: Timestamp) -> Result<Outbox, Error> {
        let mut queue = Queue::new(self.limits);
        let mut jobs = Vec::new();
        for (id, sealed) in self.store.load().await? {
            let opened = self.key.open(&place_of(&id), &sealed).ok();
            let job = opened.and_then(|secret| Job::from_secret(&secret));
            if let Some(job) = job.filter(|job| job.id() == id) {
                jobs.push(job);
            } else {
                self.store.remove(&id).await?;
                queue.tell(OutboxEvent::Unreadable { id });
            }
        }
        jobs.sort_by_key(|job| (job.asked_at, job.generation()));
        for job in jobs {
            // A clock that was set back lengthens no code's life.
            let life = job.expires().since(job.asked_at);
            let valid_for = job.expires().since(moment).min(life);
            queue.handle_accepted(job, valid_for, now());
        }
        Ok(Outbox {
            shared: Arc::new(Shared {
                store: self.store,
                key: self.key,
                random: self.random,
                template: self.template,
                observer: self.observer,
                send_timeout: self.send_timeout,
                queue: Mutex::new(queue),
                changed: Notify::new(),
                worker: tokio::sync::Mutex::default(),
            }),
        })
    }
}

/// A copied file does not open under another name.
fn place_of(id: &str) -> String {
    format!("otp-auth outbox {id}")
}

#[expect(clippy::disallowed_methods, reason = "the shell around the queue")]
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

const PANICKED: MailCause = MailCause::new("the mailer panicked");
const TOO_SLOW: MailCause = MailCause::new("the mailer took too long");
