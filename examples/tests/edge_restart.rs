//! The edge is killed under its connector and visitors, and started again: the page comes back by
//! itself, and nobody signs in anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test")]

mod story;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use reqwest::Method;
use story::{
    PATIENCE,
    form::forms,
    loopback,
    mail_server::MailServer,
    nginx::{Nginx, PAGE},
    origin::Origin,
    process::Program,
    site::{APP_HOST, Site, WITH_LOGIN, WITHOUT_LOGIN},
    visitor::{Habits, Page, Visitor},
};

/// What the project promises: from a ready edge to a page that opens.
const PROMISE: Duration = Duration::from_secs(5);

#[tokio::test]
#[ignore = "needs nginx and aiosmtpd"]
async fn the_page_comes_back_after_a_short_absence() {
    come_back(0).await;
}

#[tokio::test]
#[ignore = "needs nginx and aiosmtpd"]
async fn the_page_comes_back_after_a_longer_absence() {
    // Four connections, so the slowest of them has tried a few times by then.
    come_back(20).await;
}

#[tokio::test]
async fn a_stopped_edge_does_not_wait_for_its_connectors() {
    let origin = Origin::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let site = Site::new(WITHOUT_LOGIN, ([127, 0, 0, 1], 1).into());
    let (edge, mut connector) = site.start(&origin.url()).await;
    let ended = edge.terminate().await;
    assert_eq!(ended.code(), Some(0));
    assert!(!ended.stderr.contains("did not finish in time"), "{}", ended.stderr);
    connector.next_event("retrying").await;
}

#[tokio::test]
#[ignore = "needs aiosmtpd"]
async fn a_log_out_outlives_the_edge_and_other_sessions_do_too() {
    let (site, mail, mut edge, _connector) = site_with_mail().await;
    let alice = sign_in(&site, &mail, &mut edge, "alice@example.jp").await;
    let bob = sign_in(&site, &mail, &mut edge, "bob@example.jp").await;

    let out = alice.browser.get(&site.url(APP_HOST, "/cdn-cgi/access/logout")).await;
    assert_eq!(out.status, 200, "{}", out.text());
    assert!(
        fs::read_to_string(revocations(&site)).unwrap().contains("login:"),
        "before the answer"
    );
    assert_eq!(alice.copy_opens(&site).await, 302);
    assert_eq!(bob.copy_opens(&site).await, 200);

    edge.kill().await;
    let mut edge = site.start_edge().await;
    edge.next_event("connector_connected").await;
    assert_eq!(bob.copy_opens(&site).await, 200, "who did not log out is still signed in");
    assert_eq!(alice.copy_opens(&site).await, 302, "who did is not, whatever copy of it there is");
    assert_eq!(alice.organisation_opens(&site).await, 200, "the login page, not the application");
    assert_eq!(edge.terminate().await.code(), Some(0));
}

#[tokio::test]
#[ignore = "needs aiosmtpd"]
async fn however_much_the_edge_logs_no_code_and_no_session_is_in_it() {
    let mail = MailServer::start().await;
    let origin = Origin::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let site = Site::new(WITH_LOGIN, mail.address);
    let token = site.create_tunnel().await;
    let command = site.edge_command(&["run", "--output", "json", "--loglevel", "trace"]);
    let mut edge = Program::start("edge", command);
    edge.next_event("ready").await;
    let _connector = site.start_connector(&token, &origin.url()).await;
    edge.next_event("connector_connected").await;
    let alice = sign_in(&site, &mail, &mut edge, "alice@example.jp").await;
    assert_eq!(alice.copy_opens(&site).await, 200);
    assert_eq!(alice.organisation_opens(&site).await, 303);
    let out = alice.browser.get(&site.url(APP_HOST, "/cdn-cgi/access/logout")).await;
    assert_eq!(out.status, 200);
    let ended = edge.terminate().await;
    assert_eq!(ended.code(), Some(0));
    let logged = format!("{}\n{}", ended.stdout, ended.stderr);
    assert!(logged.contains("TRACE") && logged.len() > 20_000, "it does log");
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    for secret in [
        mail.newest().code(),
        signature(&alice.application),
        signature(&alice.organisation),
        "alice@example.jp".to_owned(),
    ] {
        let lines = logged.lines().filter(|line| holds(line, &secret));
        let lines: Vec<&str> = lines.map(|line| &line[..line.len().min(300)]).collect();
        assert!(lines.is_empty(), "{secret} in {lines:#?}");
    }
}

#[tokio::test]
#[ignore = "needs aiosmtpd"]
async fn an_edge_that_forgot_who_has_logged_out_asks_everybody_to_sign_in_anew() {
    let (site, mail, mut edge, _connector) = site_with_mail().await;
    let alice = sign_in(&site, &mail, &mut edge, "alice@example.jp").await;
    edge.kill().await;
    fs::write(revocations(&site), "0 0 17\n").unwrap();

    let mut edge = site.start_edge().await;
    edge.next_event("connector_connected").await;
    let line = edge.log_line(&["it is not known who has logged out", "everybody signs in"]).await;
    assert!(line.contains("revocations.txt"), "{line}");
    assert_eq!(alice.copy_opens(&site).await, 302);
    let alice = sign_in(&site, &mail, &mut edge, "alice@example.jp").await;
    assert_eq!(alice.copy_opens(&site).await, 200, "the new session counts");
    assert_eq!(edge.terminate().await.code(), Some(0));
}

#[tokio::test]
#[ignore = "needs aiosmtpd"]
async fn a_log_out_that_can_not_be_kept_is_not_called_one() {
    let (site, mail, mut edge, _connector) = site_with_mail().await;
    let alice = sign_in(&site, &mail, &mut edge, "alice@example.jp").await;
    // Nothing can be written where the new content would lie.
    let beside = site.path("state/sessions/revocations.txt.new");
    fs::create_dir(&beside).unwrap();
    let out = alice.browser.get(&site.url(APP_HOST, "/cdn-cgi/access/logout")).await;
    assert_eq!(out.status, 503);
    assert!(out.text().contains("You are signed out for now"), "{}", out.text());
    assert_eq!(alice.copy_opens(&site).await, 302, "here it has ended");
    edge.log_line(&["log-outs can't be kept"]).await;
    // As soon as it can, it is written without anybody's doing.
    fs::remove_dir(&beside).unwrap();
    edge.log_line(&["log-outs are kept again"]).await;
    edge.kill().await;
    let edge = site.start_edge().await;
    assert_eq!(alice.copy_opens(&site).await, 302);
    assert_eq!(edge.terminate().await.code(), Some(0));
}

#[tokio::test]
#[ignore = "needs aiosmtpd"]
async fn a_mail_that_could_not_be_sent_before_a_restart_is_sent_after_it() {
    let origin = Origin::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let site = Site::new(WITH_LOGIN, loopback::free_address());
    let (mut edge, _connector) = site.start(&origin.url()).await;
    let alice = site.visitor();
    let page = alice.ask_for_code(&site.url(APP_HOST, "/"), "alice@example.jp").await;
    let event = edge.next_event("mail_delayed").await;
    assert!(event["error"].as_str().unwrap().contains("Connection refused"), "{event}");
    let jobs = || fs::read_dir(site.path("state/outbox")).unwrap().count();
    assert_eq!(jobs(), 1);
    edge.kill().await;

    let mail = MailServer::start_at(site.smtp).await;
    let edge = site.start_edge().await;
    edge.line("connector_connected").await;
    edge.line("code_sent").await;
    assert_eq!(mail.newest().header("to"), "alice@example.jp");

    // This edge keeps codes in its memory, so that one has ended; asking again from the same page helps.
    let refused = alice.enter_code(&page, &mail.newest().code()).await;
    assert_eq!(refused.status, 403);
    let again = forms(&refused.text()).into_iter().find(|it| it.action.contains("resend-code"));
    let page = alice.submit_and_follow(&refused, &again.unwrap()).await;
    let asked = Instant::now();
    while mail.mails().len() < 2 {
        assert!(asked.elapsed() < PATIENCE, "no second mail");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ids = mail.mails().iter().map(|it| it.header("message-id").to_owned()).collect::<Vec<_>>();
    assert_ne!(ids[0], ids[1], "another code is another mail");
    assert_eq!(alice.enter_code(&page, &mail.newest().code()).await.status, 200);
    assert_eq!(edge.terminate().await.code(), Some(0));
    assert_eq!(jobs(), 0);
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

/// Somebody who is signed in, and a copy of the cookies that the browser keeps.
struct SignedIn {
    browser: Visitor,
    /// At the team host.
    organisation: String,
    /// At the application's.
    application: String,
}

impl SignedIn {
    /// The status of the application for a thief with the application's cookie.
    async fn copy_opens(&self, site: &Site) -> u16 {
        open_with(site, &site.url(APP_HOST, "/"), &self.application).await.status.as_u16()
    }

    /// The status of the login that a thief with the team host's cookie is led to.
    async fn organisation_opens(&self, site: &Site) -> u16 {
        let login = open_with(site, &site.url(APP_HOST, "/"), "").await.location().unwrap();
        open_with(site, &login, &self.organisation).await.status.as_u16()
    }
}

async fn open_with(site: &Site, url: &str, cookie: &str) -> Page {
    let thief = site.visitor_with(&Habits { cookies: false, ..Habits::default() });
    let cookie = format!("__Host-CF_Authorization={cookie}");
    Page::of(thief.request(Method::GET, url).header("cookie", cookie)).await
}

async fn site_with_mail() -> (Site, MailServer, Program, Program) {
    let mail = MailServer::start().await;
    let origin = Origin::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let site = Site::new(WITH_LOGIN, mail.address);
    let (edge, connector) = site.start(&origin.url()).await;
    (site, mail, edge, connector)
}

async fn sign_in(site: &Site, mail: &MailServer, edge: &mut Program, address: &str) -> SignedIn {
    let browser = site.visitor();
    let page = browser.ask_for_code(&site.url(APP_HOST, "/"), address).await;
    edge.next_event("code_sent").await;
    let form = page.form_with("code").fill("code", &mail.newest().code());
    let signed_in = browser.submit(&page, &form).await;
    let back = browser.get(&signed_in.location().unwrap()).await;
    let cookie = |page: &Page| page.set_cookie("__Host-CF_Authorization").unwrap();
    SignedIn { organisation: cookie(&signed_in), application: cookie(&back), browser }
}

fn revocations(site: &Site) -> PathBuf {
    site.path("state/sessions/revocations.txt")
}

/// Kills the edge, lets the connector try in vain so often, and starts the edge again.
async fn come_back(attempts: usize) {
    let (nginx, mail) = (Nginx::start().await, MailServer::start().await);
    let site = Site::new(WITH_LOGIN, mail.address);
    let (mut edge, mut connector) = site.start(&nginx.url()).await;
    let alice = site.visitor();
    let page = alice.ask_for_code(&site.url(APP_HOST, "/"), "alice@example.jp").await;
    edge.next_event("code_sent").await;
    assert_eq!(alice.enter_code(&page, &mail.newest().code()).await.text(), PAGE);
    // Somebody else is about to sign in.
    let bob = site.visitor();
    let login = bob.open(&site.url(APP_HOST, "/")).await;

    edge.kill().await;
    for _ in 0..attempts.max(1) {
        connector.next_event("retrying").await;
    }
    let down = alice.request(Method::GET, &site.url(APP_HOST, "/")).send().await;
    assert!(down.is_err(), "nothing answers in the edge's place");

    let mut edge = Program::start("edge", site.edge_command(&["run", "--output", "json"]));
    edge.next_event("ready").await;
    let back = until_the_page_is_back(&alice, &site).await;
    eprintln!("back {back:?} after the edge was ready, {attempts} attempts in vain");
    assert!(back < PROMISE, "{back:?}");

    // The login under way goes on where it was.
    let form = login.form_with("email").fill("email", "bob@example.jp");
    let page = bob.submit_and_follow(&login, &form).await;
    edge.next_event("code_sent").await;
    assert_eq!(bob.enter_code(&page, &mail.newest().code()).await.text(), PAGE);

    // All connections come back, and all of them leave in peace.
    for _ in 0..4 {
        connector.next_event("connected").await;
    }
    assert_eq!(connector.terminate().await.code(), Some(0));
    let ended = edge.terminate().await;
    assert_eq!(ended.code(), Some(0), "{ended:?}");
}

/// Presses reload until the page is there, with the cookies of before.
async fn until_the_page_is_back(visitor: &Visitor, site: &Site) -> Duration {
    let ready = Instant::now();
    loop {
        let page = visitor.get(&site.url(APP_HOST, "/")).await;
        if page.status == 200 {
            assert_eq!(page.text(), PAGE);
            return ready.elapsed();
        }
        assert_eq!(page.status, 503, "never the login, never something else: {}", page.text());
        assert!(ready.elapsed() < PATIENCE, "{}", page.text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
