//! Between "the code is stored" and "the mail is sent" anything may happen: the process dies, the mailer is
//! down, slow or says no. A mail that was promised goes out, under one name, with the one code that lives.
#![cfg(feature = "tokio")]
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use otp_auth::error::Error;
use otp_auth::login::{Admission, Login, Verdict};
use otp_auth::mail::{
    DirectoryOutbox, Mail, MailCause, MailError, Mailer, MemoryOutbox, Outbox, OutboxEvent,
    OutboxObserver, OutboxStore,
};
use otp_auth::random::SystemRandom;
use otp_auth::seal::SealingKey;
use otp_auth::secret::Secret;
use otp_auth::throttle::{Budget, Rule};
use support::{Recording, START, Visitor, after, login, login_with, sign_in};
use tokio::time::{sleep, timeout};

/// A mailer that does what it is told: per mail, the answers in order, then "yes".
#[derive(Debug, Default)]
struct Postman {
    answers: Mutex<Vec<Answer>>,
    /// Message id, code and address of every mail that it took or lost.
    taken: Mutex<Vec<(String, String, String)>>,
    tried: AtomicUsize,
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Away,
    Status(u16),
    Hangs,
    Panics,
}

impl Postman {
    fn answers(answers: &[Answer]) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.to_vec()), ..Self::default() })
    }

    fn ids(&self) -> Vec<String> {
        self.taken.lock().unwrap().iter().map(|(id, ..)| id.clone()).collect()
    }
}

#[async_trait]
impl Mailer for Postman {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        self.tried.fetch_add(1, Ordering::SeqCst);
        let answer = {
            let mut answers = self.answers.lock().unwrap();
            if answers.is_empty() { None } else { Some(answers.remove(0)) }
        };
        match answer {
            None => {
                let mail = (mail.id().into(), mail.code().expose().into(), mail.to().to_string());
                self.taken.lock().unwrap().push(mail);
                Ok(())
            }
            Some(Answer::Away) => Err(MailError::Connection(MailCause::new("refused"))),
            Some(Answer::Status(status @ 500..)) => Err(MailError::Refused { status }),
            Some(Answer::Status(status)) => Err(MailError::Busy { status }),
            Some(Answer::Hangs) => std::future::pending().await,
            Some(Answer::Panics) => panic!("the mailer has a fault"),
        }
    }
}

/// Writes down what an operator hears.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

impl Heard {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn has(&self, words: &str) -> bool {
        self.all().iter().any(|line| line.contains(words))
    }
}

impl OutboxObserver for Heard {
    fn observe(&self, event: &OutboxEvent) {
        let line = match event {
            OutboxEvent::Failed { reason, .. } => format!("failed: {reason}"),
            other => format!("{other:?}"),
        };
        self.0.lock().unwrap().push(line);
    }
}

fn key(byte: u8) -> SealingKey {
    SealingKey::new(Secret::new(vec![byte; 32])).unwrap()
}

async fn open(login: &Login, store: Arc<dyn OutboxStore>, heard: &Arc<Heard>, secs: u64) -> Outbox {
    let random = Arc::new(SystemRandom::new());
    let builder = Outbox::builder(store, key(1), random, login.mail_template());
    // One each millisecond: the budget of strangers has a test beside the queue.
    let wide = Rule::try_new(86_400_000, Duration::from_secs(86_400)).unwrap();
    let wide = Budget::try_new(vec![wide]).unwrap();
    builder.budget(wide).observer(heard.clone()).open(after(secs)).await.unwrap()
}

/// Has the worker work for so long, then drops it.
async fn work(outbox: &Outbox, mailer: &Arc<impl Mailer + 'static>, secs: u64) {
    let mailer: Arc<dyn Mailer> = mailer.clone();
    let _over = timeout(Duration::from_secs(secs), outbox.run(mailer)).await;
}

async fn ask(login: &Login, outbox: &Outbox, address: &str) -> Visitor {
    let request = sign_in(address, Admission::Admitted);
    let (begun, dispatch) = login.begin(&request, START).await.unwrap();
    let nonce = begun.nonce.to_string();
    let visitor = Visitor { nonce, cookie: begun.flow_cookie.expose(), code: None };
    outbox.accept(dispatch.into_job(), START).await.unwrap();
    visitor
}

/// A world that ends at one of its effects, before or after it, and stays like that.
#[derive(Debug)]
struct Ending<T> {
    inner: Arc<T>,
    steps: Arc<AtomicUsize>,
    ends_at: usize,
}

impl<T> Ending<T> {
    async fn step(&self) {
        if self.steps.fetch_add(1, Ordering::SeqCst) >= self.ends_at {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl<T: OutboxStore + 'static> OutboxStore for Ending<T> {
    async fn insert(&self, id: &str, sealed: &str) -> Result<(), Error> {
        self.step().await;
        let done = self.inner.insert(id, sealed).await;
        self.step().await;
        done
    }

    async fn remove(&self, id: &str) -> Result<(), Error> {
        self.step().await;
        let done = self.inner.remove(id).await;
        self.step().await;
        done
    }

    async fn load(&self) -> Result<Vec<(String, String)>, Error> {
        self.inner.load().await
    }
}

#[async_trait]
impl Mailer for Ending<Postman> {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        self.step().await;
        let done = self.inner.send(mail).await;
        self.step().await;
        done
    }
}

/// The crash, the restart, and what holds whatever the moment was.
async fn crash_at(ends_at: usize, store: Arc<impl OutboxStore + 'static>) -> (usize, usize) {
    let codes = Arc::new(Recording::default());
    let login = login_with(codes.clone());
    let (postman, heard) = (Postman::answers(&[]), Arc::new(Heard::default()));
    let steps = Arc::new(AtomicUsize::new(0));
    let dying = Arc::new(Ending { inner: store.clone(), steps: steps.clone(), ends_at });
    let mailer = Arc::new(Ending { inner: postman.clone(), steps: steps.clone(), ends_at });

    let request = sign_in("alice@example.jp", Admission::Admitted);
    let (begun, dispatch) = login.begin(&request, START).await.unwrap();
    let first = open(&login, dying, &heard, 0).await;
    codes.take_steps();
    let accepted = timeout(Duration::from_secs(1), first.accept(dispatch.into_job(), START)).await;
    work(&first, &mailer, 5).await;
    drop(first);

    let before = postman.ids().len();
    let second = open(&login, store.clone(), &heard, 5).await;
    work(&second, &postman, 5).await;

    let taken = postman.taken.lock().unwrap().clone();
    if accepted.is_ok() {
        assert!(!taken.is_empty(), "{ends_at}: the visitor was answered, and no mail came");
    }
    assert!(taken.len() <= 2, "{ends_at}");
    assert!(taken.iter().all(|mail| *mail == taken[0]), "{ends_at}: {taken:?}");
    assert!(codes.take_steps().is_empty(), "{ends_at}: the store of codes was touched");
    assert!(store.load().await.unwrap().is_empty(), "{ends_at}: something is left");
    if let Some((_, code, _)) = taken.first() {
        let (nonce, cookie) = (begun.nonce.to_string(), begun.flow_cookie.expose());
        let verdict = login.submit(&nonce, &cookie, code, after(20)).await.unwrap();
        assert!(matches!(verdict, Verdict::Proven(_)), "{ends_at}");
        let verdict = login.submit(&nonce, &cookie, code, after(20)).await.unwrap();
        assert!(matches!(verdict, Verdict::StartOver(_)), "{ends_at}: one code, one proof");
    }
    (before, taken.len())
}

/// insert, send, remove: each can be the last thing that begins, or the last that ends.
const EFFECTS: usize = 3;

#[tokio::test(start_paused = true)]
async fn a_crash_between_any_two_effects_loses_no_promised_mail_and_no_code_lives_twice() {
    let mut seen = Vec::new();
    for ends_at in 0..=2 * EFFECTS {
        let in_memory = crash_at(ends_at, Arc::new(MemoryOutbox::new())).await;
        let folder = tempfile::tempdir().unwrap();
        let on_disk = crash_at(ends_at, Arc::new(DirectoryOutbox::open(folder.path()).unwrap()));
        assert_eq!(on_disk.await, in_memory, "{ends_at}");
        seen.push(in_memory);
    }
    // Mails before the crash, and in all. Twice only where the mailer had it and we had not written that down.
    assert_eq!(seen, [(0, 0), (0, 1), (0, 1), (1, 2), (1, 2), (1, 1), (1, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_mailer_that_is_away_or_busy_gets_the_same_mail_later() {
    let login = login();
    let (store, heard) = (Arc::new(MemoryOutbox::new()), Arc::new(Heard::default()));
    let answers = [Answer::Away, Answer::Status(451), Answer::Status(421), Answer::Hangs];
    let postman = Postman::answers(&answers);
    let outbox = open(&login, store.clone(), &heard, 0).await;
    let mut visitor = ask(&login, &outbox, "alice@example.jp").await;
    work(&outbox, &postman, 200).await;
    let taken = postman.taken.lock().unwrap().clone();
    assert_eq!(taken.len(), 1);
    assert_eq!(postman.tried.load(Ordering::SeqCst), 5);
    assert_eq!(heard.all().iter().filter(|line| line.starts_with("Delayed")).count(), 4);
    assert!(heard.has("attempts: 5"), "{:?}", heard.all());
    visitor.code = Some(taken[0].1.clone());
    let verdict = visitor.submit(&login, visitor.code(), after(200)).await;
    assert!(matches!(verdict, Verdict::Proven(_)));
}

#[tokio::test(start_paused = true)]
async fn a_mailer_that_says_never_or_has_a_fault_loses_one_mail_and_says_so() {
    let login = login();
    for (answer, words) in [
        (Answer::Status(550), "failed: mail server refused the mail, status 550"),
        (Answer::Panics, "failed: mail could not be composed"),
    ] {
        let (store, heard) = (Arc::new(MemoryOutbox::new()), Arc::new(Heard::default()));
        let postman = Postman::answers(&[answer]);
        let outbox = open(&login, store.clone(), &heard, 0).await;
        ask(&login, &outbox, &format!("alice{}@example.jp", words.len())).await;
        work(&outbox, &postman, 5).await;
        ask(&login, &outbox, &format!("bob{}@example.jp", words.len())).await;
        work(&outbox, &postman, 5).await;
        assert_eq!(postman.ids().len(), 1, "the next one gets through");
        assert!(heard.has(words), "{:?}", heard.all());
        assert!(store.load().await.unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_wait_while_the_mailer_is_down_and_the_oldest_gives_way() {
    let login = login();
    let (store, heard) = (Arc::new(MemoryOutbox::new()), Arc::new(Heard::default()));
    let outbox = open(&login, store.clone(), &heard, 0).await;
    for number in 0..10_003_u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let address = format!("p{number}@example.jp");
        let client = format!("10.{high}.{low}.1");
        let request = support::sign_in_from(&address, Admission::Admitted, &client);
        let begun = login.begin(&request, START).await.unwrap();
        assert!(!begun.1.is_decoy(), "{number}");
        outbox.accept(begun.1.into_job(), START).await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(outbox.pending(), 10_000);
    let postman = Postman::answers(&[Answer::Away; 12]);
    work(&outbox, &postman, 60).await;
    let full = heard.all().iter().filter(|line| line.contains("too many mails wait")).count();
    assert_eq!(full, 3, "an alarm for each");
    let tried = postman.tried.load(Ordering::SeqCst);
    assert!(tried < 20, "a mailer that is down is not stormed: {tried} attempts in a minute");

    // A restart meanwhile; then the mailer comes back.
    drop(outbox);
    let outbox = open(&login, store.clone(), &heard, 60).await;
    let postman = Postman::answers(&[]);
    work(&outbox, &postman, 60).await;
    let mut ids = postman.ids();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), postman.tried.load(Ordering::SeqCst)), (10_000, 10_000));
    assert!(!postman.taken.lock().unwrap().iter().any(|(.., to)| to == "p0@example.jp"));
    assert!(store.load().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn after_the_code_has_ended_its_mail_is_not_sent() {
    let login = login();
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(DirectoryOutbox::open(folder.path()).unwrap());
    let heard = Arc::new(Heard::default());
    let outbox = open(&login, store.clone(), &heard, 0).await;
    ask(&login, &outbox, "alice@example.jp").await;
    ask(&login, &outbox, "bob@example.jp").await;
    drop(outbox);
    let postman = Postman::answers(&[Answer::Status(450); 100]);
    let outbox = open(&login, store.clone(), &heard, 300).await;
    work(&outbox, &postman, 299).await;
    assert!(!heard.has("the code ended"));
    work(&outbox, &postman, 2).await;
    assert_eq!(heard.all().iter().filter(|line| line.contains("the code ended")).count(), 2);
    assert!(postman.ids().is_empty());
    // And not after a restart either, however the clock is set.
    ask(&login, &outbox, "carol@example.jp").await;
    drop(outbox);
    let outbox = open(&login, store.clone(), &heard, 600).await;
    work(&outbox, &Postman::answers(&[]), 5).await;
    assert_eq!(heard.all().iter().filter(|line| line.contains("the code ended")).count(), 3);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_restart_finds_mails_with_codes_of_every_length() {
    use otp_auth::code::CodeLength::{Eight, Nine, Six, Twelve};
    for length in [Six, Eight, Nine, Twelve] {
        let random = Arc::new(SystemRandom::new());
        let login = support::builder(Arc::new(otp_auth::store::MemoryStore::new()), random);
        let login = login.code_length(length).build().unwrap();
        let (store, heard) = (Arc::new(MemoryOutbox::new()), Arc::new(Heard::default()));
        let outbox = open(&login, store.clone(), &heard, 0).await;
        ask(&login, &outbox, "alice@example.jp").await;
        drop(outbox);
        let (outbox, postman) = (open(&login, store, &heard, 1).await, Postman::answers(&[]));
        work(&outbox, &postman, 5).await;
        let taken = postman.taken.lock().unwrap().clone();
        assert_eq!(taken.iter().map(|mail| mail.1.len()).collect::<Vec<_>>(), [length.digits()]);
    }
}

/// What else lies in the folder is no job, and stays.
#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn odd_names_folders_and_pipes_in_the_folder_are_left_alone() {
    let login = login();
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(DirectoryOutbox::open(folder.path()).unwrap());
    let odd =
        ["é.job", "..job", "a b.job", ".job", "notes.txt"].map(|name| folder.path().join(name));
    for path in &odd {
        fs::write(path, "ours").unwrap();
    }
    fs::create_dir(folder.path().join("folder.job")).unwrap();
    let pipe = folder.path().join("pipe.job");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("link.job")).unwrap();
    let heard = Arc::new(Heard::default());
    let outbox = open(&login, store.clone(), &heard, 0).await;
    ask(&login, &outbox, "alice@example.jp").await;
    drop(outbox);
    let postman = Postman::answers(&[]);
    let outbox = open(&login, store, &heard, 1).await;
    work(&outbox, &postman, 5).await;
    assert_eq!(postman.ids().len(), 1);
    assert!(!heard.has("Unreadable"), "{:?}", heard.all());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), odd.len() + 3);
}

#[tokio::test(start_paused = true)]
async fn a_newer_code_takes_the_place_of_the_mail_that_waits() {
    let login = login();
    let (store, heard) = (Arc::new(MemoryOutbox::new()), Arc::new(Heard::default()));
    let outbox = open(&login, store.clone(), &heard, 0).await;
    let mut visitor = ask(&login, &outbox, "alice@example.jp").await;
    let again = visitor.resend(&login, Admission::Admitted, after(61)).await.unwrap();
    assert!(!again.is_decoy());
    outbox.accept(again.into_job(), after(61)).await.unwrap();
    // Also when they are found after a restart.
    drop(outbox);
    let outbox = open(&login, store, &heard, 61).await;
    let postman = Postman::answers(&[]);
    work(&outbox, &postman, 5).await;
    let taken = postman.taken.lock().unwrap().clone();
    assert_eq!(taken.len(), 1, "one mail, with the code that lives");
    visitor.code = Some(taken[0].1.clone());
    let verdict = visitor.submit(&login, visitor.code(), after(70)).await;
    assert!(matches!(verdict, Verdict::Proven(_)));
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_the_disk_learns_no_code_no_address_and_not_who_is_admitted() {
    let login = login();
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path().join("outbox");
    let store = Arc::new(DirectoryOutbox::open(&folder).unwrap());
    let heard = Arc::new(Heard::default());
    let outbox = open(&login, store.clone(), &heard, 0).await;
    let mut sizes = Vec::new();
    for (address, admission) in
        [("alice@example.jp", Admission::Admitted), ("mallo@example.jp", Admission::Denied)]
    {
        let (_, dispatch) = login.begin(&sign_in(address, admission), START).await.unwrap();
        let code = dispatch.mail().map(|mail| mail.code().expose().to_owned());
        let id = dispatch.id().to_owned();
        outbox.accept(dispatch.into_job(), START).await.unwrap();
        let file = folder.join(format!("{id}.job"));
        let content = fs::read_to_string(&file).unwrap();
        assert!(!content.contains("example") && !content.contains("alice"));
        assert!(!code.is_some_and(|code| content.contains(&code)));
        assert_eq!(mode_of(&file), 0o600);
        sizes.push(content.len());
    }
    assert_eq!(sizes[0], sizes[1], "a decoy is as long");
    assert_eq!(mode_of(&folder) & 0o77, 0);
    drop(outbox);

    // Moved to another name, damaged, or sealed with another key: it is not sent, and told.
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path()).collect();
    let content = fs::read(&files[0]).unwrap();
    fs::write(folder.join("other-0.job"), &content).unwrap();
    fs::write(folder.join("cut-0.job"), &content[..content.len() / 2]).unwrap();
    fs::write(folder.join("bytes-0.job"), [0xFF; 10]).unwrap();
    fs::write(folder.join("x.job.new"), "half").unwrap();
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    let outbox = open(&login, store.clone(), &heard, 0).await;
    let postman = Postman::answers(&[]);
    work(&outbox, &postman, 5).await;
    assert_eq!(postman.ids().len(), 1);
    let unreadable = heard.all().iter().filter(|line| line.starts_with("Unreadable")).count();
    assert_eq!(unreadable, 3);
    let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(left, [folder.join("notes.txt")]);

    let outbox = open(&login, store.clone(), &heard, 0).await;
    ask(&login, &outbox, "bob@example.jp").await;
    drop(outbox);
    let random = Arc::new(SystemRandom::new());
    let other = Outbox::builder(store, key(2), random, login.mail_template());
    let other = other.open(START).await.unwrap();
    assert_eq!(other.pending(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_decoy_takes_the_same_steps_and_meets_no_mailer() {
    let login = login();
    let heard = Arc::new(Heard::default());
    let postman = Postman::answers(&[]);
    let mut steps = Vec::new();
    for (address, admission) in
        [("alice@example.jp", Admission::Admitted), ("mallo@example.jp", Admission::Denied)]
    {
        let count = Arc::new(AtomicUsize::new(0));
        let inner = Arc::new(MemoryOutbox::new());
        let store = Arc::new(Ending { inner, steps: count.clone(), ends_at: usize::MAX });
        let outbox = open(&login, store, &heard, 0).await;
        let (_, dispatch) = login.begin(&sign_in(address, admission), START).await.unwrap();
        outbox.accept(dispatch.into_job(), START).await.unwrap();
        let before_the_answer = count.load(Ordering::SeqCst);
        work(&outbox, &postman, 5).await;
        steps.push((before_the_answer, count.load(Ordering::SeqCst)));
    }
    assert_eq!(steps[0], steps[1]);
    assert_eq!(postman.ids().len(), 1);
    assert!(heard.has("Silent"));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_told_before_the_visitor_is_answered() {
    let login = login();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("outbox");
    let store = Arc::new(DirectoryOutbox::open(&place).unwrap());
    let heard = Arc::new(Heard::default());
    let outbox = open(&login, store, &heard, 0).await;
    fs::remove_dir(&place).unwrap();
    fs::write(&place, "a file in its place").unwrap();
    for admission in [Admission::Admitted, Admission::Denied] {
        let request = sign_in("alice@example.jp", admission);
        let (_, dispatch) = login.begin(&request, START).await.unwrap();
        let error = outbox.accept(dispatch.into_job(), START).await.unwrap_err();
        assert!(error.is_store_unavailable());
    }
    assert_eq!(outbox.pending(), 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_an_operator_hears_holds_a_code() {
    let login = login();
    let (store, heard) = (Arc::new(MemoryOutbox::new()), Arc::new(Heard::default()));
    let outbox = open(&login, store.clone(), &heard, 0).await;
    let request = sign_in("alice@example.jp", Admission::Admitted);
    let (_, dispatch) = login.begin(&request, START).await.unwrap();
    let code = dispatch.mail().unwrap().code().expose().to_owned();
    let mut printed = vec![format!("{dispatch:?}")];
    let job = dispatch.into_job();
    printed.push(format!("{job:?} {outbox:?} {store:?}"));
    outbox.accept(job, START).await.unwrap();
    let answers = [Answer::Away, Answer::Status(451), Answer::Status(550)];
    work(&outbox, &Postman::answers(&answers), 20).await;
    printed.extend(heard.all());
    let printed = printed.concat();
    assert!(printed.len() > 300 && !printed.contains(&code), "{printed}");
    assert!(!printed.contains("alice"), "{printed}");
}

#[cfg(unix)]
fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[cfg(not(unix))]
fn mode_of(path: &Path) -> u32 {
    if path.is_dir() { 0o700 } else { 0o600 }
}
