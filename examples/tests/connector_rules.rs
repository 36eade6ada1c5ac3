//! The connector by cloudflared's configuration file: it says what is wrong, which rule a request
//! gets, and serves by the rules.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod story;

use std::{fs, path::Path};

use story::{
    origin::nobody,
    process::{CONNECTOR, Ended, Program, command},
    site::{APP_HOST, Site, WITHOUT_LOGIN},
};
use tokio::process::Command;

const GOOD: &str = r#"
ingress:
  - hostname: app.example.jp
    path: ^/api/
    service: http://127.0.0.1:8080
  - hostname: "*.example.jp"
    service: ssh://10.0.0.5
  - service: http_status:404
"#;

/// `connector tunnel --config FILE ARGUMENTS`.
fn with(file: &Path, arguments: &[&str]) -> Command {
    let mut command = command(CONNECTOR, &["tunnel", "--config"]);
    command.arg(file).args(arguments);
    command
}

async fn run(text: &str, arguments: &[&str]) -> Ended {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.yml");
    fs::write(&file, text).unwrap();
    Program::run(with(&file, arguments)).await
}

fn assert_error(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.starts_with("error: ") && ended.stdout.is_empty(), "{ended:?}");
    for word in words {
        assert!(ended.stderr.contains(word), "no `{word}` in {}", ended.stderr);
    }
}

#[tokio::test]
async fn validate_tells_everything_that_is_wrong() {
    let ended = run(GOOD, &["ingress", "validate"]).await;
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert!(ended.stdout.ends_with("OK: 3 rules"), "{ended:?}");
    let bad = "tunel: home\ningress:\n  - hostname: a.test:80\n    service: htp://a.test:80\n  \
               - service: https://a.test\n    originRequest:\n      noTLSverify: true\n";
    assert_error(
        &run(bad, &["ingress", "validate"]).await,
        &[
            "config.yml` can't be used:\n",
            "\n  line 1: `tunel` is unknown; did you mean `tunnel`?",
            "\n  line 3: `ingress[0].hostname` has a port",
            "\n  line 4: `ingress[0].service` has the scheme `htp`; did you mean `http`?",
            "\n  line 7: `ingress[1].originRequest.noTLSverify` is unknown; did you mean `noTLSVerify`?",
        ],
    );
    let pool = "ingress:\n  - service: https://a.test\n    originRequest: {caPool: /no/such.pem}\n";
    let words = ["line 3: `ingress[0].originRequest.caPool` names `/no/such.pem`"];
    assert_error(&run(pool, &["ingress", "validate"]).await, &words);
    assert_error(&run("edge: a:1\n", &["ingress", "validate"]).await, &["has no `ingress` rules"]);
    let nowhere = Program::run(with(Path::new("/no/such.yml"), &["ingress", "validate"])).await;
    assert_error(&nowhere, &["can't read the configuration `/no/such.yml`"]);
    let without = Program::run(command(CONNECTOR, &["tunnel", "ingress", "validate"])).await;
    assert_error(&without, &["name it with --config FILE"]);
}

#[tokio::test]
async fn rule_tells_which_one_a_request_gets() {
    for (url, words) in [
        (
            "https://APP.example.jp/api/x?y",
            "#0\n\thostname: app.example.jp\n\tpath: ^/api/\n\tservice: http://127.0.0.1:8080",
        ),
        ("https://app.example.jp/", "#1\n\thostname: *.example.jp\n\tservice: ssh://10.0.0.5:22"),
        ("http://example.jp", "#2\n\tservice: http_status:404"),
    ] {
        let ended = run(GOOD, &["ingress", "rule", url]).await;
        assert!(ended.stdout.ends_with(&format!("Matched rule {words}")), "{url}: {ended:?}");
    }
    assert_error(&run(GOOD, &["ingress", "rule", "/x"]).await, &["not a whole URL"]);
    assert_error(&run(GOOD, &["ingress", "rule", "a b"]).await, &["`a b` is not a URL"]);
}

#[tokio::test]
async fn what_would_be_ignored_is_refused() {
    let site = Site::new(WITHOUT_LOGIN, nobody());
    let token = site.create_tunnel().await;
    let file = site.configuration().with_file_name("config.yml");
    let try_with = async |text: &str, arguments: &[&str]| {
        fs::write(&file, text).unwrap();
        let mut command = with(&file, &["--edge", "127.0.0.1:9", "run"]);
        command.args(arguments).env("TUNNEL_TOKEN", &token);
        Program::run(command).await
    };
    for (text, arguments, words) in [
        (GOOD, &["--url", "http://a.test"][..], "--url beside the file's `ingress` rules"),
        (GOOD, &["--hello-world"], "--hello-world beside the file's `ingress` rules"),
        ("", &["--hello-world", "--bastion"], "--hello-world beside --bastion"),
        ("", &["--url", "htp://a.test:80"], "did you mean `http`? (--url)"),
        ("", &["--url", "http://a.test/x"], "has a path"),
        ("", &["--url", "socks-proxy"], "does not offer"),
        ("protocol: quic\n", &["--hello-world"], "this connector speaks `http2`"),
        ("loglevel: loud\n", &["--hello-world"], "`loglevel` is `loud`"),
        ("grace-period: 5\n", &["--hello-world"], "in `grace-period`"),
        ("ha-connections: 99\n", &["--hello-world"], "not from 1 to 64"),
        ("hello-world: maybe\n", &[], "`hello-world` is `maybe`"),
        ("originRequest: {noTLSVerify: true}\n", &["--hello-world"], "stands without `ingress`"),
        (
            "tunnel: 11111111-2222-3333-4444-555555555555\n",
            &["--hello-world"],
            "the file is for the tunnel 11111111-2222-3333-4444-555555555555",
        ),
    ] {
        assert_error(&try_with(text, arguments).await, &[words]);
    }
}

#[tokio::test]
async fn the_file_alone_is_enough_to_serve() {
    let site = Site::new(WITHOUT_LOGIN, nobody());
    let token = site.create_tunnel().await;
    let mut edge = site.start_edge().await;
    let file = site.configuration().with_file_name("config.yml");
    let own = file.with_file_name("token");
    fs::write(&own, token).unwrap();
    let text = format!(
        "edge: {}\ncacert: {}\ntoken-file: {}\nha-connections: 1\nprotocol: http2\n\
         ingress:\n  - {{hostname: {APP_HOST}, path: ^/hello$, service: hello_world}}\n  \
         - service: http_status:418\n",
        site.https,
        site.ca().display(),
        own.display()
    );
    fs::write(&file, text).unwrap();
    let mut connector = Program::start("connector", with(&file, &["run", "--output", "json"]));
    connector.next_event("connected").await;
    edge.next_event("connector_connected").await;
    let visitor = site.visitor();
    let page = visitor.get(&site.url(APP_HOST, "/hello")).await;
    assert!(page.status == 200 && page.text().contains("The tunnel works"), "{page:?}");
    assert_eq!(visitor.get(&site.url(APP_HOST, "/")).await.status, 418);
    assert_eq!(connector.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn without_a_service_visitors_get_503_until_the_edge_sends_rules() {
    let site = Site::new(WITHOUT_LOGIN, nobody());
    let token = site.create_tunnel().await;
    let mut edge = site.start_edge().await;
    let mut command = command(CONNECTOR, &["tunnel", "--edge"]);
    command.arg(site.https.to_string()).arg("--cacert").arg(site.ca());
    command.args(["run", "--output", "json"]).env("TUNNEL_TOKEN", token);
    let mut connector = Program::start("connector", command);
    connector.log_line(&["visitors get 503", "--url http://127.0.0.1:8080"]).await;
    connector.next_event("connected").await;
    edge.next_event("connector_connected").await;
    assert_eq!(site.visitor().get(&site.url(APP_HOST, "/")).await.status, 503);
}
