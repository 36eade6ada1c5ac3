//! `quickstart` in one command: what it prints, that the login works, and what may stand behind it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test")]

mod story;

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::Value;
use story::{
    nginx::{Nginx, PAGE},
    process::{Program, QUICKSTART, command},
    visitor::{Habits, Page, Visitor, host_of},
};
use tempfile::TempDir;

/// A running quickstart.
struct Quickstart {
    program: Program,
    /// Goes away with it.
    _directory: TempDir,
    url: String,
    ready: Value,
}

impl Quickstart {
    async fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = command(QUICKSTART, arguments);
        command.args(["--output", "json"]).arg("--data-dir").arg(directory.path());
        let mut program = Program::start("quickstart", command);
        let ready = program.next_event("ready").await;
        let url = ready["urls"][0].as_str().unwrap().to_owned();
        Self { program, _directory: directory, url, ready }
    }

    fn visitor(&self) -> Visitor {
        let port = reqwest::Url::parse(&self.url).unwrap().port().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let hosts = ["app.localhost", "auth.localhost"];
        let ca = PathBuf::from(self.ready["ca_file"].as_str().unwrap());
        Visitor::new(&ca, &hosts, address, &Habits::default())
    }

    /// Signs in with the code that it shows, and gives the page behind the gate.
    async fn sign_in(&mut self, address: &str) -> Page {
        let visitor = self.visitor();
        let page = visitor.ask_for_code(&self.url, address).await;
        let event = self.program.next_event("code").await;
        assert_eq!((&event["address"], &event["minutes"]), (&address.into(), &10.into()));
        visitor.enter_code(&page, event["code"].as_str().unwrap()).await
    }

    /// Ends it, and checks that each line was an event.
    async fn stop(self) {
        self.program.terminate().await.assert_only_events();
    }
}

#[tokio::test]
async fn one_command_gives_a_protected_page() {
    let mut quickstart = Quickstart::start(&["--allowed-mail", "*@example.jp"]).await;
    assert_eq!(host_of(&quickstart.url), "app.localhost");
    let rule = quickstart.ready["rules"][0].as_str().unwrap();
    assert!(rule.contains("anyone with an address @example.jp"), "{rule}");
    assert!(rule.contains("everyone else is refused"), "{rule}");
    assert_eq!(quickstart.ready["codes"], "appear here");

    // Who is not admitted gets no code.
    let stranger = quickstart.visitor();
    stranger.ask_for_code(&quickstart.url, "alice@example.com").await;
    quickstart.program.next_event("code_not_sent").await;
    assert!(quickstart.program.events("code").is_empty());

    let page = quickstart.sign_in("alice@example.jp").await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("<strong>alice@example.jp</strong>"), "{}", page.text());
    quickstart.stop().await;
}

#[tokio::test]
async fn the_terminal_says_what_to_do() {
    let started = Instant::now();
    let arguments = ["--allowed-mail", "*@example.jp", "--allowed-mail", "bob@example.com"];
    let program = Program::start("quickstart", command(QUICKSTART, &arguments));
    program.line("Ctrl-C").await;
    let elapsed = started.elapsed();
    eprintln!("ready after {elapsed:?}");
    // A machine under load is no failure; the promise of one second is for an idle one.
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");

    let text = program.stdout().join("\n");
    let url = text.lines().find_map(|line| line.trim().strip_prefix("Open     ")).expect(&text);
    assert_eq!(host_of(url), "app.localhost");
    for words in ["anyone with an address @example.jp", "bob@example.com", "Codes    appear here"] {
        assert!(text.contains(words), "{text}");
    }
    // The authority is in the directory that goes away with the program.
    let trust = text.lines().find_map(|line| line.trim().strip_prefix("Trust    ")).expect(&text);
    let ca = PathBuf::from(trust.split(' ').next().unwrap());
    let port = reqwest::Url::parse(url).unwrap().port().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let visitor =
        Visitor::new(&ca, &["app.localhost", "auth.localhost"], address, &Habits::default());
    let page = visitor.ask_for_code(url, "bob@example.com").await;
    let line = program.line("code for bob@example.com: ").await;
    let (code, valid) = line.split_once(": ").unwrap().1.split_once(" (").unwrap();
    assert_eq!(valid, "valid 10 min)");
    // With the blank in the middle, as people copy it.
    assert_eq!(visitor.enter_code(&page, code).await.status, 200);

    let ended = program.terminate().await;
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(ended.stdout.contains("edge tunnel create"), "the next steps: {}", ended.stdout);
    assert!(!ca.exists(), "nothing is left behind");
}

#[tokio::test]
async fn a_mistake_ends_it_before_anything_listens() {
    for (arguments, words, code) in [
        (&["--allowed-mail", "example.jp"][..], "--allowed-mail", 1),
        (&["--url", "ftp://127.0.0.1/"], "ftp", 1),
        (&["--url", "127.0.0.1:8080"], "http://", 1),
        (&["--cloudflared", "/nonexistent/cloudflared"], "--cloudflared", 1),
        (&["--alowed-mail", "x"], "--allowed-mail", 2),
    ] {
        let ended = Program::run(command(QUICKSTART, arguments)).await;
        assert_eq!(ended.code(), Some(code), "{arguments:?} {ended:?}");
        assert!(ended.stderr.contains(words), "{arguments:?} {}", ended.stderr);
        assert!(!ended.stdout.contains("Open"), "{ended:?}");
    }
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn url_puts_a_real_nginx_behind_it() {
    let nginx = Nginx::start().await;
    let mut quickstart = Quickstart::start(&["--url", &nginx.url()]).await;
    let page = quickstart.sign_in("alice@example.jp").await;
    assert_eq!(page.text(), PAGE);
    quickstart.stop().await;
}

#[tokio::test]
#[ignore = "needs CLOUDFLARED"]
async fn cloudflared_itself_takes_the_connectors_place() {
    let binary = std::env::var("CLOUDFLARED").expect("CLOUDFLARED names the binary");
    let mut quickstart = Quickstart::start(&["--cloudflared", &binary]).await;
    let event = quickstart.program.events("connector_connected").remove(0);
    eprintln!("cloudflared {}", event["version"]);
    let page = quickstart.sign_in("alice@example.jp").await;
    assert!(page.text().contains("<strong>alice@example.jp</strong>"), "{}", page.text());
    // Its version stands in the headers that the demo page shows.
    assert!(!page.text().contains("sekimori-tunnel"), "{}", page.text());
    quickstart.stop().await;
}
