//! Bad input and broken surroundings: each program says what is wrong and what to do, and no door opens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test")]

mod story;

use std::{fs, net::SocketAddr, path::Path};

use reqwest::Method;
use sekimori::locale::Locale;
use serde_json::Value;
use story::{
    clock, loopback,
    origin::{Origin, nobody},
    process::{CONNECTOR, EDGE, Ended, Program, QUICKSTART, command},
    site::{APP_HOST, Site, UNKNOWN_HOST, WITH_LOGIN, WITHOUT_LOGIN},
    visitor::{Habits, Page, Visitor},
};
use tokio::{net::TcpListener, process::Command};

/// One `error: ` line, exit code 1, nothing on standard output.
fn assert_error(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.starts_with("error: "), "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "no `{word}` in {}", ended.stderr);
    }
}

async fn edge(arguments: &[&str], configuration: &Path) -> Ended {
    let mut command = command(EDGE, arguments);
    command.arg("--config").arg(configuration);
    Program::run(command).await
}

// The configuration

#[tokio::test]
async fn an_unreadable_configuration_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("edge.toml");
    let name = file.display().to_string();
    for command in [&["check"][..], &["run"], &["tunnel", "create", "home"]] {
        let ended = edge(command, &file).await;
        assert_error(&ended, &["can't read the configuration", &name, "No such file"]);
    }
    assert_error(&edge(&["check"], directory.path()).await, &["can't read the configuration"]);
    fs::write(&file, b"zone = \"\xff\xfe\"\n").unwrap();
    assert_error(&edge(&["check"], &file).await, &["can't read the configuration", &name]);
    fs::write(&file, b"").unwrap();
    assert_error(&edge(&["check"], &file).await, &[&name, "missing field"]);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "and nothing else is made");
}

#[tokio::test]
async fn a_half_written_configuration_is_refused_with_its_line() {
    let site = Site::new(WITH_LOGIN, nobody());
    site.create_tunnel().await;
    let whole = fs::read_to_string(site.configuration()).unwrap();
    let checked = Program::run(site.edge_command(&["check"])).await;
    assert!(checked.status.success(), "{checked:?}");

    let applications = whole.find("[[app]]").unwrap();
    let mut cuts: Vec<usize> = whole.match_indices('\n').map(|(at, _)| at + 1).collect();
    // In the middle of each line too.
    cuts.extend(whole.match_indices('\n').map(|(at, _)| at.saturating_sub(6)));
    cuts.retain(|cut| *cut < whole.len());
    for cut in cuts {
        let half = &whole[..cut];
        fs::write(site.configuration(), half).unwrap();
        let ended = Program::run(site.edge_command(&["check"])).await;
        if ended.status.success() {
            // Whole applications at its beginning are a configuration too. It admits nobody else.
            assert!(cut >= applications - 1, "accepted:\n{half}");
            for rule in ended.stdout.lines().filter(|line| line.contains(": ")) {
                assert!(checked.stdout.contains(rule), "{rule}");
            }
        } else {
            let says_where = ["line ", "missing field", "who may pass"];
            let says_where = says_where.iter().any(|words| ended.stderr.contains(words));
            assert!(says_where, "{}\n{half}", ended.stderr);
            assert_error(&ended, &["edge.toml"]);
        }
    }
}

#[tokio::test]
async fn unknown_keys_are_refused_with_line_and_nearest_key() {
    let site = Site::new(WITH_LOGIN, nobody());
    site.create_tunnel().await;
    let good = fs::read_to_string(site.configuration()).unwrap();
    for (right, wrong, words) in [
        ("zone =", "zome =", &["line 1: ", "`zome`", "did you mean `zone`?"][..]),
        ("https =", "htps =", &["line 4: ", "`htps` in `listen`", "did you mean `https`?"]),
        ("smtp =", "smpt =", &["line 7: ", "`smpt` in `mail`", "did you mean `smtp`?"]),
        ("allow =", "alow =", &["line 13: ", "`alow` in `app`", "did you mean `allow`?"]),
        ("[listen]", "[lisen]", &["line 3: ", "`lisen`", "did you mean `listen`?"]),
        ("tunnel = \"home\"", "colour = \"red\"", &["`colour` in `app`", "known are", "`tunnel`"]),
    ] {
        fs::write(site.configuration(), good.replacen(right, wrong, 1)).unwrap();
        assert_error(&Program::run(site.edge_command(&["check"])).await, words);
        let ended = Program::run(site.edge_command(&["run", "--output", "json"])).await;
        assert_error(&ended, words);
        assert_eq!(ended.stdout, "", "it did not start");
    }
    for (arguments, words) in [
        (&["run", "--ouput", "json"][..], "--output"),
        (&["rum"], "run"),
        (&["run", "extra"], "extra"),
    ] {
        let ended = Program::run(command(EDGE, arguments)).await;
        assert_eq!(ended.code(), Some(2), "{ended:?}");
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
}

#[tokio::test]
async fn an_application_without_its_tunnel_is_refused_with_the_remedy() {
    let site = Site::new(WITH_LOGIN, nobody());
    for command in ["check", "run"] {
        let ended = Program::run(site.edge_command(&[command])).await;
        assert_error(&ended, &["there is no tunnel `home` yet", "edge tunnel create home"]);
    }
}

// Ports

#[tokio::test]
async fn a_busy_port_is_named_with_the_remedy() {
    let site = Site::new(WITH_LOGIN, nobody());
    site.create_tunnel().await;
    for (address, what) in [(site.https, "`listen.https`"), (site.http, "`listen.http`")] {
        let _holder = TcpListener::bind(address).await.unwrap();
        let ended = Program::run(site.edge_command(&["run", "--output", "json"])).await;
        let port = format!("sport = :{}", address.port());
        assert_error(&ended, &[what, &address.to_string(), "another program listens", &port]);
        assert_eq!(ended.stdout, "");
    }
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let ended = Program::run(command(QUICKSTART, &["--port", &port])).await;
    assert_error(&ended, &["--port", &port, "another program listens"]);
}

// Tokens

#[tokio::test]
async fn a_wrong_token_ends_the_connector_with_a_clear_error() {
    let site = Site::new(WITH_LOGIN, nobody());
    let token = site.create_tunnel().await;
    let mut edge = site.start_edge().await;
    let origin = "http://127.0.0.1:9";

    // What is no token never reaches the edge.
    for nonsense in ["nonsense", "", &token[..token.len() / 2], &format!("{token}{token}")] {
        let ended = Program::run(site.connector_command(nonsense, origin)).await;
        assert_error(&ended, &["token"]);
        assert!(nonsense.is_empty() || !ended.stderr.contains(nonsense), "{}", ended.stderr);
    }
    let mut none = site.connector_command("", origin);
    none.env_remove("TUNNEL_TOKEN");
    assert_error(&Program::run(none).await, &["no token", "edge tunnel create", "TUNNEL_TOKEN"]);
    assert!(edge.events("connector_refused").is_empty());

    // A token of another edge's tunnel is refused like one with a wrong secret.
    let elsewhere = Site::new(WITH_LOGIN, nobody()).create_tunnel().await;
    let ended = Program::run(site.connector_command(&elsewhere, origin)).await;
    assert_error(
        &ended,
        &["the edge refused the registration", "is the token the one it printed?"],
    );
    let unknown = edge.next_event("connector_refused").await;
    let other = tunnel_proto::Credentials::from_token(&token).unwrap();
    let wrong = tunnel_proto::Credentials::new(
        other.account_tag(),
        other.tunnel_id(),
        tunnel_proto::TunnelSecret::new([0; 32]),
    );
    let refused = Program::run(site.connector_command(&wrong.to_token(), origin)).await;
    assert_eq!(refused.stderr, ended.stderr, "it can't tell which tunnels there are");
    assert_eq!(edge.next_event("connector_refused").await["reason"], unknown["reason"]);
}

#[tokio::test]
async fn a_wrong_authority_is_named_and_tried_again() {
    let (site, other) = (Site::new(WITH_LOGIN, nobody()), Site::new(WITH_LOGIN, nobody()));
    let token = site.create_tunnel().await;
    other.create_tunnel().await;
    let _edge = site.start_edge().await;
    let mut command = command(CONNECTOR, &["tunnel", "--edge", &site.https.to_string()]);
    command.arg("--cacert").arg(other.ca()).env("TUNNEL_TOKEN", &token);
    command.args(["run", "--url", "http://127.0.0.1:9", "--output", "json"]);
    let mut connector = Program::start("connector", command);
    let event = connector.next_event("retrying").await;
    assert!(told(&event).contains("does --cacert name the edge's authority?"), "{event}");
}

fn told(event: &Value) -> &str {
    event["error"].as_str().unwrap_or_default()
}

// The network

#[tokio::test]
async fn a_connector_without_network_tries_on_and_leaves_at_once() {
    let site = Site::new(WITH_LOGIN, nobody());
    let token = site.create_tunnel().await;
    let mut patient = site.connector_command(&token, "http://127.0.0.1:9");
    patient.args(["--grace-period", "10m"]);
    let mut connector = Program::start("connector", patient);
    for _ in 0..6 {
        let event = connector.next_event("retrying").await;
        assert!(told(&event).contains("is the edge running"), "{event}");
        assert!(event["seconds"].as_f64().unwrap() > 0.0, "{event}");
    }
    // There is nothing to finish, so no part of the ten minutes passes.
    let ended = connector.terminate().await;
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(ended.stdout.contains("\"stopping\""), "{ended:?}");

    // A name that does not resolve is told as such.
    let mut command = command(CONNECTOR, &["tunnel", "--edge", "edge.invalid:7844"]);
    command.arg("--cacert").arg(site.ca()).env("TUNNEL_TOKEN", &token);
    command.args(["run", "--url", "http://127.0.0.1:9", "--output", "json"]);
    let mut connector = Program::start("connector", command);
    let event = connector.next_event("retrying").await;
    assert!(told(&event).starts_with("the edge can't be reached: "), "{event}");
}

#[tokio::test]
async fn with_the_mail_server_down_the_visitor_sees_the_ordinary_page() {
    let site = Site::new(WITH_LOGIN, nobody());
    site.create_tunnel().await;
    let mut edge = site.start_edge().await;
    let url = site.url(APP_HOST, "/");
    let admitted = site.visitor().ask_for_code(&url, "alice@example.jp").await;
    let event = edge.next_event("mail_delayed").await;
    assert_eq!(event["address"], "a***@example.jp");
    assert!(told(&event).contains("is the mail server up, and does `smtp` name it?"), "{event}");
    let denied = site.visitor().ask_for_code(&url, "alice@examp1e.jp").await;
    edge.next_event("code_not_sent").await;
    for page in [&admitted, &denied] {
        assert!(page.text().contains(Locale::En.text("code.headline")));
    }
    assert_eq!(admitted.body.len(), denied.body.len());
    assert!(!edge.everything().contains("alice"), "{}", edge.everything());
}

// What visitors send

#[tokio::test]
async fn a_header_block_over_the_limit_is_answered_431() {
    let origin = Origin::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let site = Site::new(WITHOUT_LOGIN, nobody());
    let _running = site.start(&origin.url()).await;
    let url = site.url(APP_HOST, "/");
    let visitor = site.visitor();
    let with_header = async |visitor: &Visitor, size: usize| {
        Page::of(visitor.request(Method::GET, &url).header("x-large", "x".repeat(size)))
            .await
            .status
    };
    let http1 = Habits { protocols: &["http/1.1"], ..Habits::default() };
    for visitor in [&visitor, &site.visitor_with(&http1)] {
        assert_eq!(with_header(visitor, 40 * 1024).await, 431);
    }
    let head = format!("GET / HTTP/1.1\r\nHost: {APP_HOST}\r\n{}\r\n", "X: y\r\n".repeat(5_000));
    let mut raw = site.raw_visitor().await;
    raw.send(&head).await;
    let answer = raw.answer().await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert_eq!(origin.count(), 0, "nothing reached the origin");

    // The other side of the limit, and the same visitors are as welcome as before.
    for visitor in [&visitor, &site.visitor_with(&http1)] {
        assert_eq!(with_header(visitor, 24 * 1024).await, 200);
    }
}

#[tokio::test]
async fn a_body_cut_short_by_the_visitor_is_not_a_whole_one() {
    let origin = Origin::takes_uploads().await;
    let site = Site::new(WITHOUT_LOGIN, nobody());
    let _running = site.start(&origin.url()).await;
    for (path, cut, made_up_end) in [
        ("/length", "Content-Length: 100\r\n\r\nhello", "helloh"),
        ("/chunked", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "0\r\n\r\n"),
        ("/in-chunk", "Transfer-Encoding: chunked\r\n\r\n64\r\nhello", "0\r\n\r\n"),
    ] {
        let mut raw = site.raw_visitor().await;
        raw.send(&format!("POST {path} HTTP/1.1\r\nHost: {APP_HOST}\r\n{cut}")).await;
        // The upload is under way when the visitor gives up.
        let is_this = |bytes: &str| bytes.starts_with(&format!("POST {path} "));
        origin.wait_for(path, |seen| is_this(&seen.bytes) && seen.bytes.contains("hello")).await;
        let answer = raw.give_up().await;
        assert!(!answer.contains(" 200 "), "{path}: {answer}");
        let seen = origin.wait_for(path, |seen| is_this(&seen.bytes) && seen.is_over).await;
        assert!(!seen.bytes.ends_with(made_up_end), "{path}: {seen:?}");
        let length = path == "/length";
        assert_eq!(seen.bytes.to_lowercase().contains("content-length: 100\r\n"), length);
    }

    // A whole one is one.
    let visitor = site.visitor();
    let request = visitor.request(Method::POST, &site.url(APP_HOST, "/upload"));
    assert_eq!(Page::of(request.body("x".repeat(100_000))).await.text(), "thanks");
    let mut raw = site.raw_visitor().await;
    let whole = "Content-Length: 5\r\nConnection: close\r\n\r\nhello";
    raw.send(&format!("POST / HTTP/1.1\r\nHost: {APP_HOST}\r\n{whole}")).await;
    let answer = raw.answer().await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("thanks"), "{answer}");
}

#[tokio::test]
async fn an_unknown_host_gets_no_certificate_and_no_redirect() {
    let site = Site::new(WITHOUT_LOGIN, nobody());
    site.create_tunnel().await;
    let _edge = site.start_edge().await;
    let visitor = site.visitor();
    let secure = visitor.request(Method::GET, &site.url(UNKNOWN_HOST, "/")).send().await;
    let error = format!("{:?}", secure.unwrap_err());
    assert!(error.contains("UnrecognisedName"), "{error}");
    let plain = |host: &str| format!("http://{host}:{}/", site.http.port());
    let page = visitor.get(&plain(UNKNOWN_HOST)).await;
    assert_eq!((page.status, page.location()), (404.try_into().unwrap(), None));
    // A known TLS name does not make up for it.
    let request = visitor.request(Method::GET, &site.url(APP_HOST, "/"));
    let habits = Habits { protocols: &["http/1.1"], ..Habits::default() };
    let http1 = site.visitor_with(&habits).request(Method::GET, &site.url(APP_HOST, "/"));
    for request in [request, http1] {
        let page = Page::of(request.header("host", UNKNOWN_HOST)).await;
        assert!([400, 421].contains(&page.status.as_u16()), "{page:?}");
    }
}

// What origins do

#[tokio::test]
async fn a_body_cut_short_by_the_origin_is_an_error_for_the_visitor() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of it",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhalf of it\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf of it",
    ] {
        let origin = Origin::answers(answer).await;
        let site = Site::new(WITHOUT_LOGIN, nobody());
        let _running = site.start(&origin.url()).await;
        for protocols in [&["h2"][..], &["http/1.1"]] {
            let visitor = site.visitor_with(&Habits { protocols, ..Habits::default() });
            let request = visitor.request(Method::GET, &site.url(APP_HOST, "/"));
            // The end may overtake the head, but it is never one that looks regular.
            let read = async { request.send().await?.bytes().await }.await;
            assert!(read.is_err(), "{protocols:?} {answer:?}: {read:?}");
        }
    }
}

#[tokio::test]
async fn with_the_origin_down_the_page_says_whose_fault_it_is() {
    let site = Site::new(WITHOUT_LOGIN, nobody());
    let (edge, mut connector) = site.start(&format!("http://{}", nobody())).await;
    let visitor = site.visitor();
    let page = visitor.get(&site.url(APP_HOST, "/report?week=7")).await;
    assert_eq!(page.status, 502);
    assert_says(&page, "origin_unreachable", &edge).await;
    assert!(page.text().contains("href=\"/report?week=7\""), "trying again is one click");
    let event = connector.next_event("origin_failed").await;
    assert!(told(&event).contains("refused"), "{event}");

    let request = visitor.request(Method::GET, &site.url(APP_HOST, "/"));
    let page = Page::of(request.header("accept", "application/json")).await;
    let answer: Value = serde_json::from_str(&page.text()).unwrap();
    assert_eq!(
        (&answer["error"], &answer["fault"]),
        (&"OriginUnreachable".into(), &"origin".into())
    );
    edge.log_line(&[answer["id"].as_str().unwrap(), "no answer from the origin"]).await;

    // Half-way: the connector is gone.
    assert_eq!(connector.terminate().await.code(), Some(0));
    let page = visitor.get(&site.url(APP_HOST, "/")).await;
    assert_eq!(page.status, 503);
    assert_says(&page, "connector_offline", &edge).await;
}

#[tokio::test]
async fn an_origin_that_breaks_off_or_talks_nonsense_is_told_apart() {
    for (answer, problem) in [
        ("", "origin_broke_off"),
        ("HTTP/1.1 200 OK\r\nContent-Le", "origin_broke_off"),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "origin_broke_off"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "origin_broke_off"),
    ] {
        let origin = Origin::answers(answer).await;
        let site = Site::new(WITHOUT_LOGIN, nobody());
        let (edge, mut connector) = site.start(&origin.url()).await;
        let page = site.visitor().get(&site.url(APP_HOST, "/")).await;
        assert_eq!(page.status, 502, "{answer:?}");
        assert_says(&page, problem, &edge).await;
        connector.next_event("origin_failed").await;
    }
}

/// The page is this problem's, with its next step and an id that is in the edge's log.
async fn assert_says(page: &Page, problem: &str, edge: &Program) {
    let text = page.text();
    for part in ["headline", "text", "next"] {
        let sentence = Locale::En.text(&format!("problem.{problem}.{part}"));
        assert!(text.contains(sentence), "no `{sentence}` in {text}");
    }
    assert!(text.contains(Locale::En.text("problem.next")));
    // The way of the request is drawn, with the stop where it ended.
    let stop = if problem.starts_with("origin") { "path.origin" } else { "path.connector" };
    let stopped = format!("{}</b> <span>{}", Locale::En.text(stop), Locale::En.text("path.broken"));
    assert!(text.replace('\n', " ").contains(&stopped), "no `{stopped}` in {text}");
    let (_, rest) = text.split_once("<code translate=\"no\">").expect("an id");
    let id = rest.split('<').next().unwrap();
    assert_eq!(id.len(), 16, "{id}");
    edge.log_line(&[id, "no answer from the origin", APP_HOST]).await;
}

// Clocks

#[tokio::test]
#[ignore = "needs faketime"]
async fn a_connector_with_its_clock_an_hour_off_says_so_or_works() {
    let site = Site::new(WITH_LOGIN, nobody());
    let token = site.create_tunnel().await;
    let _edge = site.start_edge().await;
    let connector = |offset: &str| {
        let mut command = site.connector_command(&token, "http://127.0.0.1:9");
        clock::shift(&mut command, offset);
        Program::start("connector", command)
    };
    let event = connector("-1h").next_event("retrying").await;
    assert!(told(&event).contains("from the future"), "{event}");
    assert!(told(&event).contains("clock"), "{event}");
    // Certificates live for much longer than an hour, so a clock that is ahead does no harm.
    connector("+1h").next_event("connected").await;
}

#[tokio::test]
#[ignore = "needs faketime"]
async fn an_edge_with_its_clock_an_hour_off_is_told_of_by_its_connector() {
    let site = Site::new(WITH_LOGIN, nobody());
    let token = site.create_tunnel().await;
    let mut command = site.edge_command(&["run", "--output", "json"]);
    clock::shift(&mut command, "+1h");
    let mut edge = Program::start("edge", command);
    edge.next_event("ready").await;
    let mut connector =
        Program::start("connector", site.connector_command(&token, "http://127.0.0.1:9"));
    let event = connector.next_event("retrying").await;
    assert!(told(&event).contains("from the future"), "{event}");
}

#[tokio::test]
#[ignore = "needs faketime"]
async fn a_session_from_a_clock_an_hour_ahead_leads_to_the_login() {
    let directory = tempfile::tempdir().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], loopback::free_address().port()));
    let quickstart = |offset: &str| -> Command {
        let port = address.port().to_string();
        let mut command = command(QUICKSTART, &["--output", "json", "--port", &port]);
        command.arg("--data-dir").arg(directory.path());
        clock::shift(&mut command, offset);
        command
    };
    let visitor = |habits: &Habits| {
        let hosts = ["app.localhost", "auth.localhost"];
        Visitor::new(&directory.path().join("ca.pem"), &hosts, address, habits)
    };
    let url = format!("https://app.localhost:{}/", address.port());

    // The keys and the authority are from the right time.
    let mut program = Program::start("quickstart", quickstart("+0"));
    program.next_event("ready").await;
    program.terminate().await;

    // A session from the future opens the page as long as the clock stays there.
    let mut program = Program::start("quickstart", quickstart("+1h"));
    program.next_event("ready").await;
    let ahead = Habits { clock: clock::an_hour_ahead(), ..Habits::default() };
    let alice = visitor(&ahead);
    let page = alice.ask_for_code(&url, "alice@example.jp").await;
    let event = program.next_event("code").await;
    let form = page.form_with("code").fill("code", event["code"].as_str().unwrap());
    let signed_in = alice.submit(&page, &form).await;
    let organisation = signed_in.set_cookie("__Host-CF_Authorization").unwrap();
    let back = alice.get(&signed_in.location().unwrap()).await;
    let application = back.set_cookie("__Host-CF_Authorization").unwrap();
    assert_eq!(alice.open(&url).await.status, 200);
    program.terminate().await;

    // The clock is put right: the same session opens nothing, at either host.
    let mut program = Program::start("quickstart", quickstart("+0"));
    program.next_event("ready").await;
    let bob = visitor(&Habits { cookies: false, ..Habits::default() });
    let request = bob.request(Method::GET, &url);
    let request = request.header("cookie", format!("__Host-CF_Authorization={application}"));
    let page = Page::of(request).await;
    assert_eq!(page.status, 302);
    let request = bob.request(Method::GET, &page.location().unwrap());
    let request = request.header("cookie", format!("__Host-CF_Authorization={organisation}"));
    Page::of(request).await.form_with("email");
    program.terminate().await;
}
