//! Public certificates and records of hosts: the edge writes into a real name server, a real authority asks there,
//! and visitors see what it issued.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test")]

mod story;

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use rustls::{
    pki_types::{CertificateDer, ServerName},
    time_provider::DefaultTimeProvider,
};
use serde_json::Value;
use story::{
    authority::{self, Authority},
    loopback,
    mail_server::MailServer,
    name_server::{KEY, NameServer},
    nginx::{self, Nginx},
    origin::Origin,
    process::{EDGE, Ended, Program, command},
    site::{APP_HOST, OTHER_HOST, Site, TEAM_HOST, WITH_LOGIN, WITHOUT_LOGIN},
    visitor::{Habits, Visitor, tls},
};
use tokio::net::TcpStream;

/// Where authority, name server and edge stand.
struct Stage {
    authority: authority::Running,
    dns: NameServer,
    site: Site,
    root: PathBuf,
}

impl Stage {
    /// An edge with these lines in `[acme]`, in front of these applications. It is not started.
    async fn set(acme: &str, applications: &str, smtp: std::net::SocketAddr) -> Self {
        let (authority, dns) = (Authority::choose(), NameServer::start().await);
        let (server, target) = (dns.address, loopback::free_address().ip());
        let sections = format!(
            "[acme]\ndirectory = \"{}\"\nagree_to_terms = true\ncontact = \"ops@example.jp\"\n\
             ca_file = \"{}\"\n{acme}\n[dns]\nserver = \"{server}\"\nkey_file = \"tsig.key\"\n\
             target = \"{target}\"\nttl = 1\nresolvers = [\"{server}\"]\n\
             propagation_servers = [\"{server}\"]\n{applications}",
            authority.directory(),
            authority.ca_file().display(),
        );
        let site = Site::new(&sections, smtp);
        site.write("tsig.key", KEY);
        let authority = authority.start(site.http.port(), site.https.port(), server).await;
        site.write("root.pem", authority.root().await);
        let root = site.path("root.pem");
        Self { authority, dns, site, root }
    }

    /// A browser that knows the public authority, and not the edge's own.
    fn visitor(&self) -> Visitor {
        Visitor::new(
            &self.root,
            &[APP_HOST, OTHER_HOST, TEAM_HOST],
            self.site.https,
            &Habits::default(),
        )
    }

    async fn edge(&self, arguments: &[&str]) -> Ended {
        Program::run(self.site.edge_command(arguments)).await
    }

    /// What `edge cert ... --output json` says.
    async fn cert(&self, arguments: &[&str]) -> Value {
        let arguments = [&["cert"], arguments, &["--output", "json"]].concat();
        let ended = self.edge(&arguments).await;
        assert_eq!(ended.code(), Some(0), "{ended:?}");
        serde_json::from_str(&ended.stdout).unwrap()
    }

    /// The certificate that a browser gets for the application.
    async fn leaf(&self) -> CertificateDer<'static> {
        let mut config = tls(&self.root, Arc::new(DefaultTimeProvider));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tcp = TcpStream::connect(self.site.https).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from(APP_HOST).unwrap();
        let stream = connector.connect(name, tcp).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

/// The whole story: from a name that nobody knows to a page, and then all that can happen to a certificate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs pebble, bind9, nginx and aiosmtpd"]
async fn the_reference_story_with_a_public_certificate_and_a_record_in_dns() {
    let (nginx, mail) = (Nginx::start().await, MailServer::start().await);
    let stage = Stage::set("wildcard = true", WITH_LOGIN, mail.address).await;
    assert!(stage.dns.dig(APP_HOST, "A").await.is_empty());
    let told = stage.site.create_tunnel().await;
    let check = stage.edge(&["check"]).await.stdout;
    for words in
        ["certificates for *.t.example.jp from https://127.", "by dns-01", "will lead to 127."]
    {
        assert!(check.contains(words), "{words}\n{check}");
    }

    // A record appears, with the mark of who wrote it.
    let mut edge = stage.site.start_edge().await;
    for host in [APP_HOST, OTHER_HOST, TEAM_HOST] {
        assert_eq!(stage.dns.dig(host, "A").await, [stage.site.https.ip().to_string()]);
        let mark = stage.dns.dig(&format!("_sekimori.{host}"), "TXT").await;
        assert_eq!(mark, ["\"heritage=sekimori,owner=auth.t.example.jp\""]);
    }
    assert_eq!(edge.events("host_registered").len(), 3);
    // One certificate for all, from the public authority.
    let issued = edge.events("certificate_issued");
    assert_eq!(issued.len(), 1, "{issued:?}");
    assert_eq!(issued[0]["names"], serde_json::json!(["*.t.example.jp"]));
    let challenge = stage.dns.dig("_acme-challenge.t.example.jp", "TXT").await;
    assert!(challenge.is_empty(), "the answer is taken away: {challenge:?}");

    // A colleague signs in by the mailed code, and sees the page.
    let _connector = stage.site.start_connector(&told, &nginx.url()).await;
    edge.next_event("connector_connected").await;
    let alice = stage.visitor();
    let page = alice.ask_for_code(&stage.site.url(APP_HOST, "/"), "alice@example.jp").await;
    edge.next_event("code_sent").await;
    assert_eq!(alice.enter_code(&page, &mail.newest().code()).await.text(), nginx::PAGE);

    let listed = stage.cert(&["list"]).await;
    assert_eq!(listed["edge_at_work"], true);
    let line = &listed["certificates"][0];
    assert_eq!((&line["names"][0], &line["state"]), (&"*.t.example.jp".into(), &"good".into()));
    assert_eq!(line["serial"], issued[0]["serial"]);
    assert_eq!((&line["last_error"], line["next_attempt"].is_string()), (&Value::Null, true));
    let table = stage.edge(&["cert", "list"]).await.stdout;
    assert!(table.lines().any(|it| it.starts_with("*.t.example.jp") && it.contains("  good  ")));
    assert!(table.contains("h2.cftunnel.com"), "connectors' too:\n{table}");

    // Renewed under load, by the name of a host that it serves.
    let before = stage.leaf().await;
    let load = Load::start(&stage);
    let renewed = stage.cert(&["renew", APP_HOST]).await;
    assert_eq!(renewed["outcome"], "renewed", "{renewed}");
    assert_eq!(renewed["old_serial"], line["serial"]);
    let after = stage.leaf().await;
    assert_ne!(before, after);

    // Revoked at the authority, and replaced.
    let revoked = stage.cert(&["revoke", APP_HOST, "--reason", "superseded"]).await;
    assert_eq!((&revoked["revoked"], &revoked["outcome"]), (&true.into(), &"replaced".into()));
    assert_eq!(revoked["old_serial"], renewed["serial"]);
    let serial = renewed["serial"].as_str().unwrap();
    assert_eq!(stage.authority.status(serial).await["Status"], "Revoked");
    let newest = revoked["serial"].as_str().unwrap();
    assert_eq!(stage.authority.status(newest).await["Status"], "Valid");
    assert_ne!(stage.leaf().await, after);
    let (requests, failed) = load.stop().await;
    assert!(requests > 5 && failed == 0, "{failed} of {requests} failed");
    assert_eq!(alice.get(&stage.site.url(APP_HOST, "/")).await.text(), nginx::PAGE);

    // Without an edge it is revoked now, and replaced by the next one to start.
    assert_eq!(edge.terminate().await.code(), Some(0));
    let noted = stage.cert(&["revoke", "*.t.example.jp"]).await;
    assert_eq!((&noted["revoked"], &noted["outcome"]), (&true.into(), &"noted".into()));
    assert_eq!(stage.authority.status(newest).await["Status"], "Revoked");
    assert_eq!(stage.cert(&["list"]).await["edge_at_work"], false);
    let mut edge = Program::start("edge", stage.site.edge_command(&["run", "--output", "json"]));
    let issued = edge.next_event("certificate_issued").await;
    assert_ne!(issued["serial"], newest);

    // A host that is not configured any more leaves DNS.
    assert_eq!(edge.terminate().await.code(), Some(0));
    let config = fs::read_to_string(stage.site.configuration()).unwrap();
    let without = config.split("[[app]]\nhost = \"tanaka\"").next().unwrap();
    fs::write(stage.site.configuration(), without).unwrap();
    let check = stage.edge(&["check"]).await.stdout;
    assert!(check.contains("tanaka.t.example.jp is not configured any more"), "{check}");
    let edge = stage.site.start_edge().await;
    assert_eq!(edge.events("host_removed")[0]["host"], OTHER_HOST);
    assert!(stage.dns.dig(OTHER_HOST, "A").await.is_empty());
    assert!(stage.dns.dig(&format!("_sekimori.{OTHER_HOST}"), "TXT").await.is_empty());
    assert_eq!(stage.dns.dig(APP_HOST, "A").await.len(), 1);
    assert_eq!(edge.terminate().await.code(), Some(0));
}

/// A host comes and goes while the edge serves another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs pebble and bind9"]
async fn hosts_come_and_go_with_certificate_and_record_while_the_edge_runs() {
    let acme = "challenge = \"tls-alpn-01\"";
    let stage = Stage::set(acme, WITHOUT_LOGIN, loopback::free_address()).await;
    let origin = Origin::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let (mut edge, _connector) = stage.site.start(&origin.url()).await;
    let visitor = stage.visitor();
    let other = stage.site.url(OTHER_HOST, "/");
    assert!(visitor.request(reqwest::Method::GET, &other).send().await.is_err(), "not yet");

    let config = fs::read_to_string(stage.site.configuration()).unwrap();
    let app = WITHOUT_LOGIN.replace("\"saito\"", "\"tanaka\"");
    let no_tunnel = app.replace("\"home\"", "\"away\"");
    for (more, told) in [
        (no_tunnel.as_str(), "tunnel `away` was not configured at the start"),
        ("[[app]]\nhost = \"a_b.c\"\ntunnel = \"home\"\nallow = [\"*\"]\n", "a_b.c"),
    ] {
        fs::write(stage.site.configuration(), config.clone() + more).unwrap();
        edge.signal("HUP").await;
        let refused = edge.next_event("rules_refused").await;
        assert!(refused["error"].as_str().unwrap().contains(told), "{refused}");
    }
    fs::write(stage.site.configuration(), config.clone() + &app).unwrap();
    edge.signal("HUP").await;
    edge.next_event("certificate_issued").await;
    assert_eq!(edge.events("rules_replaced").len(), 1);
    assert_eq!(edge.events("host_registered").last().unwrap()["host"], OTHER_HOST);
    assert_eq!(stage.dns.dig(OTHER_HOST, "A").await.len(), 1);
    assert_eq!(visitor.get(&other).await.text(), "ok");

    fs::write(stage.site.configuration(), &config).unwrap();
    edge.signal("HUP").await;
    assert_eq!(edge.next_event("host_removed").await["host"], OTHER_HOST);
    assert!(stage.dns.dig(OTHER_HOST, "A").await.is_empty());
    // On the connection of before it is a host like any unknown one.
    assert_eq!(visitor.get(&stage.site.url(APP_HOST, "/")).await.text(), "ok");
    let stranger = stage.visitor();
    assert!(stranger.request(reqwest::Method::GET, &other).send().await.is_err());
    assert_eq!(edge.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs pebble and bind9"]
async fn challenges_are_answered_on_the_edges_own_sockets() {
    for challenge in ["http-01", "tls-alpn-01"] {
        let acme = format!("challenge = \"{challenge}\"");
        let stage = Stage::set(&acme, WITHOUT_LOGIN, loopback::free_address()).await;
        let origin = Origin::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
        let (edge, _connector) = stage.site.start(&origin.url()).await;
        let issued = edge.events("certificate_issued");
        assert_eq!(issued.len(), 2, "{challenge}: {}", edge.everything());
        assert_eq!(stage.visitor().get(&stage.site.url(APP_HOST, "/")).await.text(), "ok");

        // Plain HTTP is sent to HTTPS, and what belongs to authorities never is.
        let plain = format!("http://{APP_HOST}:{}", stage.site.http.port());
        let visitor = stage.visitor();
        assert_eq!(visitor.get(&format!("{plain}/x?y")).await.status, 308);
        let path = "/.well-known/acme-challenge/evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";
        let page = visitor.get(&format!("{plain}{path}")).await;
        assert_eq!((page.status.as_u16(), page.location()), (404, None), "{challenge}");
        // Under another spelling it is a path like any other.
        let other = visitor.get(&format!("{plain}/.well-known/ACME-challenge/x")).await;
        assert_eq!(other.status, 308);
        assert_eq!(edge.terminate().await.code(), Some(0));
    }
}

/// Public certificates are for visitors: cloudflared goes on to trust the edge's own authority.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CLOUDFLARED"]
async fn cloudflared_connects_behind_a_public_certificate() {
    let binary = std::env::var("CLOUDFLARED").expect("CLOUDFLARED names the binary");
    let stage =
        Stage::set("challenge = \"tls-alpn-01\"", WITHOUT_LOGIN, loopback::free_address()).await;
    let origin = Origin::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let token = stage.site.create_tunnel().await;
    let mut edge = stage.site.start_edge().await;
    let mut command = command(&binary, &["tunnel"]);
    for _ in 0..4 {
        command.args(["--edge", &stage.site.https.to_string()]);
    }
    command.args(["--protocol", "http2", "--no-autoupdate", "--no-prechecks", "--cacert"]);
    command.arg(stage.site.ca()).args(["--metrics", "127.0.0.1:0", "run", "--url", &origin.url()]);
    command.env("TUNNEL_TOKEN", token);
    let _cloudflared = Program::start("cloudflared", command);
    edge.next_event("connector_connected").await;
    assert_eq!(stage.visitor().get(&stage.site.url(APP_HOST, "/")).await.text(), "ok");
    let renewed = stage.cert(&["renew", APP_HOST]).await;
    assert_eq!(renewed["outcome"], "renewed", "{renewed}");
    assert_eq!(stage.visitor().get(&stage.site.url(APP_HOST, "/")).await.text(), "ok");
    assert!(edge.events("connector_lost").is_empty());
    assert_eq!(edge.terminate().await.code(), Some(0));
}

/// The authority comes to an edge that did not order; both share the state directory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs pebble and bind9"]
async fn an_edge_answers_challenges_of_another_edge() {
    for challenge in ["http-01", "tls-alpn-01"] {
        let acme = format!("challenge = \"{challenge}\"");
        let stage = Stage::set(&acme, WITHOUT_LOGIN, loopback::free_address()).await;
        stage.site.create_tunnel().await;
        // The authority knows the ports of this one.
        let first = stage.site.start_edge().await;
        let config = fs::read_to_string(stage.site.configuration()).unwrap();
        let other = stage.site.path("other.toml");
        let moved =
            [stage.site.https, stage.site.http].into_iter().fold(config, |text, address| {
                text.replace(&address.to_string(), &loopback::free_address().to_string())
            });
        fs::write(&other, moved.replace("host = \"saito\"", "host = \"tanaka\"")).unwrap();
        let arguments = ["run", "--output", "json", "--config", other.to_str().unwrap()];
        let mut second = Program::start("the other edge", command(EDGE, &arguments));
        let issued = second.next_event("certificate_issued").await;
        assert_eq!(issued["names"], serde_json::json!([OTHER_HOST]), "{challenge}");
        assert!(second.events("certificate_failed").is_empty(), "{}", second.everything());
        second.next_event("ready").await;
        assert_eq!(second.terminate().await.code(), Some(0));
        assert_eq!(first.terminate().await.code(), Some(0));
    }
}

#[tokio::test]
#[ignore = "needs pebble and bind9"]
async fn records_of_others_are_left_alone_unless_told() {
    let applications = WITHOUT_LOGIN.replace("\"saito\"", "\"www\"");
    let acme = "challenge = \"tls-alpn-01\"\nfallback = \"private\"";
    let stage = Stage::set(acme, &applications, loopback::free_address()).await;
    stage.site.create_tunnel().await;
    let www = "www.t.example.jp";
    let edge = stage.site.start_edge().await;
    let refused = edge.events("host_refused");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0]["host"], www);
    let error = refused[0]["error"].as_str().unwrap();
    for words in ["A 192.0.2.7", "`edge dns register www.t.example.jp --overwrite`"] {
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(stage.dns.dig(www, "A").await, ["192.0.2.7"]);

    let refused = stage.edge(&["dns", "register", www]).await;
    assert_eq!(refused.code(), Some(1), "{refused:?}");
    let overwritten = stage.edge(&["dns", "register", www, "--overwrite"]).await;
    assert!(overwritten.stdout.contains("was overwritten"), "{overwritten:?}");
    assert_eq!(stage.dns.dig(www, "A").await, [stage.site.https.ip().to_string()]);
    let removed = stage.edge(&["dns", "remove", www]).await;
    assert!(removed.stdout.contains("was taken out of DNS"), "{removed:?}");
    assert!(stage.dns.dig(www, "A").await.is_empty());
    assert_eq!(edge.terminate().await.code(), Some(0));
}

/// Strangers' browsers warn then, but those who trust the edge's own authority get in.
#[tokio::test]
async fn where_no_authority_answers_the_edges_own_issues_if_told() {
    let nobody = loopback::free_address();
    let acme = format!(
        "[acme]\ndirectory = \"https://{nobody}/dir\"\nagree_to_terms = true\n\
         fallback = \"private\"\nca_file = \"lab.pem\"\n{WITHOUT_LOGIN}"
    );
    let site = Site::new(&acme, loopback::free_address());
    let own = cert_manager::PrivateCa::generate("Lab", std::time::SystemTime::now()).unwrap();
    site.write("lab.pem", own.root_pem());
    let early = Program::run(site.edge_command(&["cert", "renew", APP_HOST])).await;
    assert!(early.stderr.contains("yet: an edge orders it when it starts"), "{early:?}");
    let origin = Origin::answers("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let (mut edge, _connector) = site.start(&origin.url()).await;
    while edge.events("certificate_issued").len() < 2 {
        edge.next_event("certificate_issued").await;
    }
    let failed = edge.events("certificate_failed");
    assert!(failed[0]["error"].as_str().unwrap().contains("refused"), "{failed:?}");
    assert_eq!(site.visitor().get(&site.url(APP_HOST, "/")).await.text(), "ok");
    let renewed = Program::run(site.edge_command(&["cert", "revoke", APP_HOST])).await;
    assert!(renewed.stdout.contains("takes nothing back"), "{renewed:?}");
    let unknown = Program::run(site.edge_command(&["cert", "renew", "x.example.jp"])).await;
    assert_eq!(unknown.code(), Some(1));
    assert!(unknown.stderr.contains("`edge cert list` shows what there is"), "{unknown:?}");
    assert_eq!(edge.terminate().await.code(), Some(0));
}

/// New browsers that come all the time.
struct Load {
    is_over: Arc<AtomicBool>,
    requests: Arc<AtomicU32>,
    failed: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<()>,
}

impl Load {
    fn start(stage: &Stage) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (requests, failed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (over, asked, lost) = (is_over.clone(), requests.clone(), failed.clone());
        let (root, address) = (stage.root.clone(), stage.site.https);
        let url = stage.site.url(APP_HOST, "/");
        let task = tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let browser = Visitor::new(&root, &[APP_HOST], address, &Habits::default());
                let answer = browser.request(reqwest::Method::GET, &url).send().await;
                asked.fetch_add(1, Ordering::Relaxed);
                // Nobody has signed in here: it is sent to the login.
                if !answer.is_ok_and(|answer| answer.status() == 302) {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
        Self { is_over, requests, failed, task }
    }

    async fn stop(self) -> (u32, u32) {
        self.is_over.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        (self.requests.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}
