//! The story in a real browser: signing in, being refused, and what a visitor reads when something
//! is broken.
//!
//! Needs Debian's `chromium` and `chromium-driver`; `CHROMIUM` and `CHROMEDRIVER` name others.
//! Every page is photographed in each language, colour scheme and width, to `target/screenshots`.
//! Look at them: a test can tell that a page fits, not that it is handsome.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "browser/driver.rs"]
mod driver;
#[path = "browser/mail.rs"]
mod mail;
#[path = "browser/photographer.rs"]
mod photographer;
#[path = "browser/program.rs"]
mod program;

use std::{fs, path::Path};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    process::Command,
};

use crate::{
    driver::{Browser, END, ENTER, SHIFT_TAB, TAB},
    photographer::{LANGUAGES, Photographer},
    program::{Program, run},
};

#[tokio::test]
#[ignore = "needs chromium and chromium-driver"]
async fn a_browser_signs_in_with_nothing_but_a_keyboard() {
    let directory = tempfile::tempdir().unwrap();
    let mut quickstart = Program::start(
        Command::new(env!("CARGO_BIN_EXE_quickstart"))
            .args(["--port", "0", "--output", "json", "--allowed-mail", "*@example.jp"])
            .env("TMPDIR", directory.path()),
    );
    let ready = quickstart.event("ready").await;
    let app = ready["urls"][0].as_str().unwrap();
    let browser = Browser::start().await;
    browser.speak("en").await;

    browser.open(app).await;
    browser.sees("h1", "Sign in").await;
    assert!(browser.url().await.starts_with("https://auth.localhost:"));
    assert_eq!(browser.title().await, "Sign in to app.localhost");

    // What can't be an address is said so, and stays in the field.
    browser.types("alice").await;
    browser.types(ENTER).await;
    browser.sees("[role=alert]", "This is not an e-mail address.").await;
    assert_eq!(browser.title().await, "Error: Sign in to app.localhost");
    assert_eq!(browser.value_of("email").await, "alice");

    // A stranger walks the same path, and no code is made.
    browser.open(app).await;
    browser.sees("h1", "Sign in").await;
    browser.types("alice@example.com").await;
    browser.types(ENTER).await;
    browser.sees("h1", "Check your mail").await;
    let not_sent = quickstart.event("code_not_sent").await;
    assert_eq!(not_sent["address"], "alice@example.com");
    assert_eq!(quickstart.count("code"), 0);
    let for_a_stranger = browser.text_without("alice@example.com").await;

    // The way back is one stop before the field.
    browser.types(SHIFT_TAB).await;
    browser.types(ENTER).await;
    browser.sees("h1", "Sign in").await;
    browser.types("alice@example.jp").await;
    browser.types(ENTER).await;
    browser.sees("h1", "Check your mail").await;
    let event = quickstart.event("code").await;
    assert_eq!(event["address"], "alice@example.jp");
    let code = event["code"].as_str().unwrap();
    assert_eq!(browser.text_without("alice@example.jp").await, for_a_stranger);

    browser.types(&code[1..]).await;
    browser.types(ENTER).await;
    browser.sees("[role=alert]", "A code has six digits.").await;
    browser.types(&another(code)).await;
    browser.types(ENTER).await;
    browser.sees("[role=alert]", "That code was not accepted.").await;
    quickstart.event("code_refused").await;
    browser.types(&full_width(code)).await;
    browser.types(ENTER).await;
    browser.sees("strong", "alice@example.jp").await;
    assert_eq!(browser.url().await, app);
    let signed_in = quickstart.event("signed_in").await;
    assert_eq!(signed_in["address"], "alice@example.jp");
    assert_eq!(browser.script("return document.cookie").await, "", "cookies are not for scripts");

    // Who has signed in needs no code again: the team host remembers, the application forgot.
    browser.forget_host().await;
    browser.open(app).await;
    browser.sees("strong", "alice@example.jp").await;
    assert_eq!(browser.url().await, app);

    browser.open(&format!("{app}cdn-cgi/access/logout")).await;
    browser.sees("h1", "You are signed out").await;
    browser.open(app).await;
    browser.sees("h1", "Sign in").await;

    // The rest of the way keeps the language that the visitor picks.
    browser.types(TAB).await;
    browser.types(TAB).await;
    browser.types(ENTER).await;
    browser.sees("h1", "サインイン").await;
    browser.types("hanako@example.jp").await;
    browser.types(ENTER).await;
    browser.sees("h1", "メールをご確認ください").await;
    assert_eq!(browser.title().await, "app.localhost の確認コードを入力");
    let event = quickstart.event("code").await;
    assert_eq!(event["address"], "hanako@example.jp", "the second code of the story");
    browser.types(event["code"].as_str().unwrap()).await;
    browser.types(ENTER).await;
    browser.sees("strong", "hanako@example.jp").await;

    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
}

#[tokio::test]
#[ignore = "needs chromium and chromium-driver"]
async fn a_browser_shows_every_page_in_both_languages_and_schemes() {
    let directory = tempfile::tempdir().unwrap();
    let mail = mail::Sink::start().await;
    let config = directory.path().join("edge.toml");
    fs::write(&config, edge_config(mail.port)).unwrap();
    let home = create_tunnel(&config, "home").await;
    let broken = create_tunnel(&config, "broken").await;
    create_tunnel(&config, "idle").await;
    let mut edge = Program::start(
        Command::new(env!("CARGO_BIN_EXE_edge"))
            .args(["run", "--output", "json", "--loglevel", "error", "--config"])
            .arg(&config),
    );
    let ready = edge.event("ready").await;
    let address = ready["tunnel"].as_str().unwrap().to_owned();
    let origin = hello_origin().await;
    let connect = async |token, url: &str| {
        let ca = directory.path().join("state/ca.pem");
        let mut connector = connector(token, &address, &ca, url);
        connector.event("connected").await;
        connector
    };
    let mut at_home = connect(&home, &origin).await;
    // Nobody listens at port 1.
    let _broken = connect(&broken, "http://127.0.0.1:1").await;
    let app = |at: usize| ready["urls"][at].as_str().unwrap();
    let (open, closed, broken, idle) = (app(0), app(1), app(2), app(3));

    let browser = Browser::start().await;
    let mut photographer = Photographer::new();

    for language in LANGUAGES {
        browser.speak(language).await;
        browser.open(open).await;
        browser.sees("h1", pick(language, "Sign in", "サインイン")).await;
        photographer.shoot(&browser, "login", language).await;
        browser.types(LONG_ADDRESS).await;
        browser.types(ENTER).await;
        browser.sees("h1", pick(language, "Check your mail", "メールをご確認ください")).await;
        photographer.shoot(&browser, "code-long", language).await;

        browser.open(open).await;
        browser.sees("#email", "").await;
        browser.types("alice").await;
        browser.types(ENTER).await;
        browser.sees("[role=alert]", "name@example.com").await;
        photographer.shoot(&browser, "login-error", language).await;
        browser.types(END).await;
        browser.types("@example.jp").await;
        browser.types(ENTER).await;
        browser.sees("h1", pick(language, "Check your mail", "メールをご確認ください")).await;
        photographer.shoot(&browser, "code", language).await;
        browser.types("12345").await;
        browser.types(ENTER).await;
        browser.sees("[role=alert]", pick(language, "six digits", "6桁")).await;
        photographer.shoot(&browser, "code-error", language).await;
        browser.press(pick(language, "Send a new code", "コードを再送信")).await;
        browser.sees("[role=status]", pick(language, "new code", "再送信")).await;
        browser.types("123 456").await;
        photographer.shoot(&browser, "code-resent", language).await;
    }

    browser.speak("en").await;
    browser.forget_everything().await;
    browser.open(open).await;
    browser.sees("h1", "Sign in").await;
    browser.types("hanako@example.jp").await;
    browser.types(ENTER).await;
    browser.sees("h1", "Check your mail").await;
    browser.types(&mail.code_for("hanako@example.jp").await).await;
    browser.types(ENTER).await;
    browser.sees("h1", "Hello from the origin").await;

    for language in LANGUAGES {
        browser.speak(language).await;
        browser.open(closed).await;
        browser.sees("h1", pick(language, "You cannot open", "このサイトは利用できません")).await;
        browser.sees(".lead", "hanako@example.jp").await;
        photographer.shoot(&browser, "refusal", language).await;

        browser.open(broken).await;
        browser.sees("h1", pick(language, "not answering", "接続できません")).await;
        photographer.shoot(&browser, "error", language).await;
        browser.open(idle).await;
        browser.sees("h1", pick(language, "offline", "サイトに接続できません")).await;
        photographer.shoot(&browser, "error-offline", language).await;
        browser.open(&format!("{open}cdn-cgi/nothing")).await;
        browser.sees("h1", pick(language, "no site here", "サイトが見つかりません")).await;
        photographer.shoot(&browser, "error-not-found", language).await;
        let stale = open.replace("saito.", "auth.") + "cdn-cgi/access/login/saito.localhost";
        browser.open(&stale).await;
        browser.sees("h1", pick(language, "Please sign in again", "有効期限")).await;
        photographer.shoot(&browser, "error-expired", language).await;
    }

    // A connector that goes away takes its site along, and brings it back.
    browser.speak("en").await;
    browser.open(open).await;
    browser.sees("h1", "Hello from the origin").await;
    at_home.stop().await;
    for _ in 0..CONNECTIONS {
        edge.event("connector_lost").await;
    }
    browser.open(open).await;
    browser.sees("h1", "The site is offline").await;
    let _home = connect(&home, &origin).await;
    browser.follow("Try again").await;
    browser.sees("h1", "Hello from the origin").await;

    // The refused visitor's way out is on the page.
    browser.open(closed).await;
    browser.sees("h1", "You cannot open this site").await;
    browser.press("Sign out").await;
    browser.sees("h1", "You are signed out").await;
    for language in LANGUAGES {
        browser.speak(language).await;
        browser.open(&format!("{open}cdn-cgi/access/logout")).await;
        browser.sees("h1", pick(language, "You are signed out", "サインアウトしました")).await;
        photographer.shoot(&browser, "signed-out", language).await;
    }
    browser.open(closed).await;
    browser.sees("h1", "サインイン").await;

    assert_eq!(browser.complaints().await, Vec::<String>::new());
    browser.close().await;
    photographer.pictures_differ();
}

/// Connections of one connector: one tells as much as four.
const CONNECTIONS: u8 = 1;

/// As long as a local part may be, without a place to break.
const LONG_ADDRESS: &str =
    "hanakokatsuragiyamamotokitashirakawamarketingandcommunications01@example.jp";

fn edge_config(mail_port: u16) -> String {
    let app = |host, tunnel, allow| {
        format!("[[app]]\nhost = \"{host}\"\ntunnel = \"{tunnel}\"\nallow = [\"{allow}\"]\n")
    };
    let apps = [
        app("saito", "home", "*@example.jp"),
        app("board", "home", "boss@example.jp"),
        app("shop", "broken", "*@example.jp"),
        app("attic", "idle", "*@example.jp"),
    ];
    format!(
        r#"
        zone = "localhost"
        [listen]
        https = "127.0.0.1:0"
        [mail]
        smtp = "smtp://127.0.0.1:{mail_port}"
        from = "access@example.jp"
        {}
        "#,
        apps.concat()
    )
}

/// Returns the tunnel's token.
async fn create_tunnel(config: &Path, name: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge"));
    run(command.args(["tunnel", "create", name, "--config"]).arg(config)).await.trim().to_owned()
}

fn connector(token: &str, edge: &str, ca: &Path, url: &str) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_connector"));
    command
        .args(["tunnel", "--edge", edge, "--output", "json", "--loglevel", "error"])
        .args(["--ha-connections", &CONNECTIONS.to_string(), "--cacert"])
        .arg(ca)
        .args(["run", "--url", url])
        .env("TUNNEL_TOKEN", token);
    Program::start(&mut command)
}

/// A web server of one page. Returns its address.
async fn hello_origin() -> String {
    const PAGE: &str = "<!doctype html><html lang=en><title>Hello</title>\
                        <link rel=icon href=data:,><h1>Hello from the origin</h1>";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(tcp.read_u8().await?);
                }
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\
                     connection: close\r\n\r\n{PAGE}",
                    PAGE.len()
                );
                tcp.write_all(answer.as_bytes()).await
            });
        }
    });
    url
}

fn pick(language: &str, en: &'static str, ja: &'static str) -> &'static str {
    if language == "ja" { ja } else { en }
}

/// A code that is not this one.
fn another(code: &str) -> String {
    let last = if code.ends_with('0') { '1' } else { '0' };
    format!("{}{last}", &code[..code.len() - 1])
}

/// Digits as a Japanese keyboard types them.
fn full_width(code: &str) -> String {
    code.chars().filter_map(|digit| char::from_u32(u32::from(digit) + 0xFEE0)).collect()
}
