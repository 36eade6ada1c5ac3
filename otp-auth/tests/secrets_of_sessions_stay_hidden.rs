//! Codes, cookies, keys, tokens, references, service secrets, authenticator secrets and recovery codes: nothing of them in
//! `Debug`, in errors, or in what is traced while they are used.
#![cfg(feature = "totp")]
#![expect(clippy::unwrap_used, reason = "a test that can't set up its secrets has failed")]

mod support;
#[path = "support/tokens.rs"]
mod team;

use std::error::Error as StdError;
use std::io;
use std::sync::{Arc, Mutex};

use otp_auth::keys::{AnonymousKeys, KeySet, RemoteKeys, SigningKey};
use otp_auth::login::{Admission, Event, Login, Observer, Verdict};
use otp_auth::mail::TerminalMailer;
use otp_auth::random::SystemRandom;
use otp_auth::recovery::{MemoryRecovery, RecoveryCode, RecoveryDigest, RecoveryStore};
use otp_auth::seal::SealingKey;
use otp_auth::secret::{Pepper, Secret};
use otp_auth::session::{
    AnonymousIssuer, AppVerifier, MemorySessions, MetaClaims, RevocationKey, Revocations,
    ServiceCredentials, ServiceToken, ServiceTokens, SessionReference, Sessions,
};
use otp_auth::step_up::{Acr, Authentication, Elevation};
use otp_auth::totp::{FactorId, MemorySteps, SecondFactor, Step, Totp, TotpVerdict};
use support::{Recording, START, Visitor, after, sign_in};
use team::{TEAM, Team};

/// What was printed, and what must not have been.
#[derive(Default)]
struct Ledger {
    printed: Vec<String>,
    secrets: Vec<String>,
}

impl Ledger {
    fn print(&mut self, value: &dyn std::fmt::Debug) {
        self.printed.push(format!("{value:?} {value:#?}"));
    }

    fn print_error(&mut self, error: &dyn StdError) {
        self.print(&error.to_string());
        self.printed.push(format!("{error:?}"));
        if let Some(source) = error.source() {
            self.print_error(source);
        }
    }

    /// In the forms that a careless line would have.
    fn hide(&mut self, bytes: &[u8]) {
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        self.secrets.push(hex.concat());
        self.secrets.push(format!("{bytes:?}"));
        if let Ok(text) = std::str::from_utf8(bytes) {
            self.secrets.push(text.to_owned());
        }
    }
}

#[derive(Clone, Default)]
struct Traced(Arc<Mutex<Vec<u8>>>);

impl io::Write for Traced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_printed_or_traced_holds_a_secret() {
    let traced = Traced::default();
    let writer = traced.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::info!("the net is out");
    let mut ledger = Ledger::default();

    login(&mut ledger).await;
    #[cfg(all(feature = "tokio", feature = "smtp"))]
    mails(&mut ledger).await;
    keys(&mut ledger);
    tokens(&mut ledger).await;
    sessions(&mut ledger).await;
    services(&mut ledger);
    factors(&mut ledger).await;

    let traced = String::from_utf8(traced.0.lock().unwrap().clone()).unwrap();
    assert!(traced.contains("the net is out"), "the net catches what is traced");
    assert!(holds("code `123456`", "123456") && holds("subject=123456 is", "123456"));
    let printed = ledger.printed.join("\n") + &traced;
    assert!(printed.len() > 5_000 && ledger.secrets.len() > 40);
    for secret in &ledger.secrets {
        assert!(secret.len() > 5, "`{secret}` is too short to look for");
        assert!(!holds(&printed, secret), "{secret} in\n{printed}");
    }
}

/// Whether a text has a secret. A code counts as a word of its own: its digits may stand in a time or a digest.
fn holds(text: &str, secret: &str) -> bool {
    let is_code = secret.len() < 10 && secret.bytes().all(|byte| byte.is_ascii_digit());
    text.match_indices(secret).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + secret.len()..].chars().next();
        let is_apart = !before.is_some_and(|c| c.is_alphanumeric() || c == '.')
            && !after.is_some_and(char::is_alphanumeric);
        is_apart || !is_code
    })
}

/// A whole login, with everything that can go wrong, as an observer hears it.
async fn login(ledger: &mut Ledger) {
    let heard = Arc::new(Heard::default());
    let store = Arc::new(Recording::default());
    let random = Arc::new(SystemRandom::new());
    let pepper = Pepper::generate(&*random).unwrap();
    let host = "auth.example.jp".parse().unwrap();
    let login = Login::builder(store.clone(), pepper, random, host).observer(heard.clone());
    let login = login.build().unwrap();
    let request = sign_in("carol@example.jp", Admission::Admitted);
    ledger.hide(b"carol@example.jp");
    let (begun, dispatch) = login.begin(&request, START).await.unwrap();
    let mut carol = Visitor::of((begun, dispatch));
    let wrong = carol.wrong_code();
    let again = carol.resend(&login, Admission::Admitted, after(60)).await.unwrap();
    ledger.secrets.push(carol.code().to_owned());
    carol.read(&again);
    ledger.print(&(&again, &login, &store, &request));
    let mailer = TerminalMailer::to_writer(Refusing);
    ledger.print_error(&again.deliver(&mailer).await.unwrap_err());
    ledger.secrets.extend([carol.code().to_owned(), carol.cookie.clone()]);
    for input in [&*wrong, "12", carol.code(), carol.code()] {
        let verdict = carol.submit(&login, input, after(61)).await;
        ledger.print(&verdict);
        if let Verdict::Proven(proven) = verdict {
            let device = login.device_cookie(&proven, after(61)).unwrap();
            ledger.hide(device.expose().as_bytes());
            ledger.print(&device);
        }
    }
    for step in ["insert", "take", "reserve"] {
        *store.fails.lock().unwrap() = Some(step);
        if let Err(error) = login.begin(&request, after(120)).await {
            ledger.print_error(&error);
        }
        let late = login.submit(&carol.nonce, &carol.cookie, &wrong, after(120)).await;
        if let Err(error) = late {
            ledger.print_error(&error);
        }
    }
    assert!(heard.0.lock().unwrap().len() > 5);
    ledger.print(&heard);
}

/// Hears all that happens, without addresses.
#[derive(Debug, Default)]
struct Heard(Mutex<Vec<String>>);

impl Observer for Heard {
    fn observe(&self, event: &Event<'_>) {
        let line = format!("{event:?}");
        tracing::info!(line, "heard");
        self.0.lock().unwrap().push(line);
    }
}

/// A terminal that repeats what it was given when it refuses it.
struct Refusing;

impl io::Write for Refusing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Err(io::Error::other(format!("can't write `{}`", String::from_utf8_lossy(bytes))))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A mail server that quotes the subject when it refuses a mail.
#[cfg(all(feature = "tokio", feature = "smtp"))]
async fn mails(ledger: &mut Ledger) {
    use otp_auth::mail::{Mailer, MemoryOutbox, Outbox, OutboxEvent, OutboxObserver, SmtpMailer};

    #[derive(Debug, Default)]
    struct Told(Mutex<Vec<String>>);

    impl OutboxObserver for Told {
        fn observe(&self, event: &OutboxEvent) {
            let mut lines = vec![format!("{event:?} {event:#?}")];
            if let OutboxEvent::Delayed { error, .. } = event {
                lines.push(format!("{error} {:?}", error.source().map(ToString::to_string)));
            }
            if let OutboxEvent::Failed { reason, .. } = event {
                lines.push(format!("{reason}"));
            }
            tracing::warn!(?lines, "told");
            self.0.lock().unwrap().extend(lines);
        }
    }

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for status in ["451", "554", "554", "554", "554"] {
            let Ok((connection, _)) = listener.accept().await else { return };
            tokio::spawn(quoting(connection, status));
        }
    });
    let url = format!("smtp://127.0.0.1:{port}?from=login@example.jp");
    let mailer = Arc::new(SmtpMailer::from_url(&url).unwrap());
    let login = support::login();
    for number in 0..3 {
        let request = sign_in(&format!("dave{number}@example.jp"), Admission::Admitted);
        let (_, dispatch) = login.begin(&request, START).await.unwrap();
        let mail = dispatch.mail().unwrap().clone();
        ledger.secrets.push(mail.code().expose().to_owned());
        ledger.print(&(&mail, &mailer));
        let error = mailer.send(&mail).await.unwrap_err();
        assert!(error.to_string().contains(if number == 0 { "451" } else { "554" }), "{error}");
        tracing::error!(%error, ?error, "refused");
        ledger.print_error(&error);
    }
    let told = Arc::new(Told::default());
    let key = SealingKey::new(Secret::new(vec![7; 32])).unwrap();
    let store = Arc::new(MemoryOutbox::new());
    let random = Arc::new(SystemRandom::new());
    let outbox = Outbox::builder(store.clone(), key, random, login.mail_template());
    let outbox = outbox.observer(told.clone()).open(START).await.unwrap();
    let request = sign_in("erin@example.jp", Admission::Admitted);
    let (_, dispatch) = login.begin(&request, START).await.unwrap();
    ledger.secrets.push(dispatch.mail().unwrap().code().expose().to_owned());
    let job = dispatch.into_job();
    ledger.print(&(&job, &outbox, &store));
    outbox.accept(job, START).await.unwrap();
    let worker = outbox.clone();
    let work = tokio::spawn(async move { worker.run(mailer).await });
    while told.0.lock().unwrap().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    work.abort();
    ledger.print(&told);
}

#[cfg(all(feature = "tokio", feature = "smtp"))]
async fn quoting(connection: tokio::net::TcpStream, status: &str) {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

    let (read, mut write) = connection.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"220 mail.test\r\n").await.unwrap();
    let mut mail: Option<Vec<String>> = None;
    while let Ok(Some(line)) = lines.next_line().await {
        let answer = match &mut mail {
            Some(quoted) if line == "." => {
                let subject = quoted.iter().find(|line| line.starts_with("Subject:"));
                let quoted = subject.cloned().unwrap_or_default();
                mail = None;
                format!("{status} 5.7.1 I do not like {}\r\n", quoted.replace(['\r', '\n'], " "))
            }
            Some(quoted) => {
                quoted.push(line);
                continue;
            }
            None if line.starts_with("DATA") => {
                mail = Some(Vec::new());
                "354 go on\r\n".to_owned()
            }
            None => "250 fine\r\n".to_owned(),
        };
        if write.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn keys(ledger: &mut Ledger) {
    let random = SystemRandom::new();
    for key in [
        SigningKey::generate(&random).unwrap(),
        SigningKey::generate_ed25519(&random).unwrap(),
        team::rsa_key(),
    ] {
        ledger.hide(key.to_pkcs8().expose());
        ledger.print(&key);
        ledger.print(&key.to_pkcs8());
        let keys = KeySet::new(key, START);
        let saved = keys.save().unwrap();
        ledger.hide(saved.expose());
        ledger.print(&(&keys, &saved, keys.public_keys()));
        let mut damaged = saved.expose().to_vec();
        damaged.truncate(damaged.len() - 3);
        ledger.print_error(&KeySet::load(&Secret::new(damaged), &random).unwrap_err());
        let sealing = Secret::generate(&random, 32).unwrap();
        ledger.hide(sealing.expose());
        let sealing = SealingKey::new(sealing).unwrap();
        let sealed = keys.seal(&sealing, &random).unwrap();
        ledger.print(&sealing);
        let other = SealingKey::new(Secret::generate(&random, 32).unwrap()).unwrap();
        ledger.print_error(&KeySet::open(&sealed, &other, &random).unwrap_err());
    }
    let anonymous = AnonymousKeys::generate(&random, START).unwrap();
    ledger.hide(anonymous.save().unwrap().expose());
    ledger.print(&(&anonymous, AnonymousIssuer::new(anonymous.clone()), RemoteKeys::new()));
    let pem =
        "-----BEGIN PRIVATE KEY-----\nc2VjcmV0IGtleSBtYXRlcmlhbA==\n-----END PRIVATE KEY-----";
    ledger.hide(b"c2VjcmV0IGtleSBtYXRlcmlhbA==");
    ledger.hide(b"secret key material");
    ledger.print_error(&SigningKey::from_pem(pem, &random).unwrap_err());
}

async fn tokens(ledger: &mut Ledger) {
    let team = Team::new().await;
    let (app, org) = (team.app_token(), &team.session);
    let revocations = Arc::new(Revocations::new());
    let verifier =
        AppVerifier::new(Arc::new(team.keys.clone()), TEAM).revocations(revocations.clone());
    let claims = verifier.verify(app.expose(), &team.audience, START).unwrap();
    ledger.print(&(&app, org, &team.issuer, &verifier, &claims, &revocations));
    for token in [app.expose(), org.token.expose()] {
        ledger.hide(token.as_bytes());
        ledger.hide(token.rsplit_once('.').unwrap().1.as_bytes());
        let broken = format!("{token}x");
        ledger.print_error(&verifier.verify(&broken, &team.audience, START).unwrap_err());
        ledger.print_error(&verifier.verify(token, &team.audience, after(200_000)).unwrap_err());
    }
    // Nor who it is: an address is personal.
    ledger.hide(b"alice@example.jp");
    let key = claims.revocation_key();
    ledger.hide(claims.identity_nonce().unwrap().as_bytes());
    ledger.print(&key);
    revocations.revoke(&key, START).await.unwrap();
    ledger.print(&revocations);
    let anonymous = AnonymousKeys::generate(&SystemRandom::new(), START).unwrap();
    let meta = MetaClaims::new(team.audience.clone(), "app.example.jp", "/", "hash");
    let meta = AnonymousIssuer::new(anonymous).meta(&meta, START).unwrap();
    ledger.hide(meta.expose().as_bytes());
    ledger.print(&meta);
}

async fn sessions(ledger: &mut Ledger) {
    let team = Team::new().await;
    let store = Arc::new(MemorySessions::new());
    let revocations = Arc::new(Revocations::new());
    let sessions = Sessions::new(store.clone(), revocations, Arc::new(SystemRandom::new()));
    let (reference, session) = sessions.open(&team.session.claims, START).await.unwrap();
    let shown = Authentication::new(Acr::Authenticator, START);
    let proof = Elevation::danger_vouch(session.subject(), shown);
    ledger.print(&proof);
    let (stronger, session) = sessions.step_up(&session, proof, START).await.unwrap();
    for reference in [&reference, &stronger] {
        let text = reference.expose();
        ledger.hide(text.as_bytes());
        ledger.hide(&text.as_bytes()[22..]);
        ledger.print(&(reference, text.parse::<SessionReference>()));
    }
    ledger.print(&(&sessions, &session, &store, RevocationKey::subject(session.subject())));
    ledger.print_error(&sessions.check(&stronger.expose()[1..], START).await.unwrap().unwrap_err());
}

fn services(ledger: &mut Ledger) {
    let random = SystemRandom::new();
    let (mut token, secret) = ServiceToken::draw("deploy", &random).unwrap();
    let next = token.rotate(&random, std::time::Duration::from_secs(3_600), START).unwrap();
    for secret in [&secret, &next] {
        ledger.hide(secret.expose().as_bytes());
        ledger.print(secret);
        let id = token.client_id().as_bytes();
        let read = ServiceCredentials::from_fields([id], [secret.expose().as_bytes()]).unwrap();
        let tokens = ServiceTokens::new([token.clone()]);
        ledger.print(&(&read, &tokens, tokens.check(&read.clone().unwrap(), START)));
    }
    let half = ServiceCredentials::from_fields([], [secret.expose().as_bytes()]).unwrap_err();
    ledger.print_error(&half);
    ledger.print_error(&ServiceToken::import("a b", "n", secret.expose()).unwrap_err());
}

async fn factors(ledger: &mut Ledger) {
    let random = SystemRandom::new();
    let totp = Totp::generate(&random).unwrap();
    ledger.hide(totp.secret().expose());
    ledger.hide(totp.base32_secret().expose());
    let steps = Arc::new(MemorySteps::new());
    let checks = SecondFactor::new(steps.clone());
    let id: FactorId = "alice/1".parse().unwrap();
    let typed = format!("{:06}", totp.value(Step::at(START)));
    ledger.secrets.push(typed.clone());
    let verdict = checks.check(&id, &totp, &typed, START).await.unwrap();
    assert!(matches!(verdict, TotpVerdict::Verified(_)));
    ledger.print(&(&totp, &checks, &steps, &verdict));
    ledger.print(&totp.key_uri("Example", "alice").unwrap());
    ledger.print_error(&totp.key_uri("", "alice").unwrap_err());

    let recovery = MemoryRecovery::new();
    let codes = RecoveryCode::draw_set(&random).unwrap();
    let digests: Vec<RecoveryDigest> = codes.iter().map(RecoveryCode::digest).collect();
    recovery.replace("alice", &digests).await.unwrap();
    for code in &codes {
        ledger.hide(code.expose().as_bytes());
        ledger.secrets.push(code.expose().replace('-', ""));
        ledger.print(&(code, code.digest()));
        ledger.print_error(&RecoveryDigest::parse(&code.expose()[1..]).unwrap_err());
    }
    ledger.print(&recovery);
}
