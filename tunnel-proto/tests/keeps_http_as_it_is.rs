//! What becomes of each feature of HTTP on the whole way: the table in the README, observed.

#![expect(clippy::unwrap_used, reason = "a test")]

mod harness;
mod rig;

use std::{fmt::Write as _, fs, path::PathBuf};

use harness::credentials;
use rig::{
    Stage,
    connector::{Cloudflared, Ours},
    edge::TlsEdge,
    origin::Origin,
    rows::observe,
    streams,
};
use tokio::net::TcpListener;
use tunnel_proto::origin::TcpOrigin;

const BEGIN: &str = "<!-- fidelity: begin -->\n";
const END: &str = "<!-- fidelity: end -->";

/// A row of the table: what is looked at, then what was seen with our connector and with cloudflared.
type Row = (String, String, String);

fn readme() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

/// The text between the marks.
fn part(readme: &str) -> &str {
    let (_, rest) =
        readme.split_once(BEGIN).expect("the README has the mark where the table begins");
    rest.split_once(END).expect("the README has the mark where the table ends").0
}

fn read(table: &str) -> Vec<Row> {
    let lines = table.lines().filter(|line| line.starts_with('|')).skip(2);
    let row = |line: &str| {
        let mut cells = line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned());
        let mut next = || cells.next().unwrap_or_default();
        (next(), next(), next())
    };
    lines.map(row).collect()
}

fn write(rows: &[Row]) -> String {
    let mut table = String::from("| What | Our connector | cloudflared |\n|---|---|---|\n");
    for (what, ours, theirs) in rows {
        writeln!(table, "| {what} | {ours} | {theirs} |").unwrap();
    }
    table
}

type Table = Vec<(&'static str, String)>;

async fn with_ours() -> Table {
    let edge = TlsEdge::start().await;
    let origin = Origin::start().await;
    let _connector = Ours::start(&edge, origin.address, 1);
    let mut table = observe(&mut Stage { tunnel: edge.wait_for(1).await, origin }, "").await;

    let edge = TlsEdge::start().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = service.local_addr().unwrap().port();
    let _connector = Ours::serve(&edge, 1, TcpOrigin::new("127.0.0.1", port).unwrap());
    table.push(tcp_service(&edge, service).await);
    table
}

async fn with_cloudflared() -> Table {
    let edge = TlsEdge::start().await;
    let origin = Origin::start().await;
    let _connector = Cloudflared::start(&edge, origin.address, 1);
    let mut table = observe(&mut Stage { tunnel: edge.wait_for(1).await, origin }, "").await;

    let edge = TlsEdge::start().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcp://{}", service.local_addr().unwrap());
    let _connector = Cloudflared::start_with(&edge, &credentials(), 1, &["--url", &url]);
    table.push(tcp_service(&edge, service).await);
    table
}

async fn tcp_service(edge: &TlsEdge, service: TcpListener) -> (&'static str, String) {
    let seen = streams::tcp_service(&*edge.wait_for(1).await, service).await;
    (streams::TCP_SERVICE, seen.unwrap_or_else(|problem| format!("fails: {problem}")))
}

/// Compares what was seen with what the README says, or writes it there.
fn check(now: &[Row]) {
    let text = fs::read_to_string(readme()).unwrap();
    let (was, now) = (part(&text), write(now));
    if was == now {
        return;
    }
    if std::env::var_os("UPDATE_README").is_some() {
        let table = [BEGIN, was, END].concat();
        let text = text.replace(&table, &[BEGIN, &now, END].concat());
        fs::write(readme(), text).unwrap();
        return;
    }
    let lines = |text: &str| text.lines().map(String::from).collect::<Vec<_>>();
    let (was, now) = (lines(was), lines(&now));
    let mut difference = String::new();
    for line in was.iter().filter(|line| !now.contains(line)) {
        writeln!(difference, "- {line}").unwrap();
    }
    for line in now.iter().filter(|line| !was.contains(line)) {
        writeln!(difference, "+ {line}").unwrap();
    }
    panic!(
        "the README says otherwise:\n{difference}\nIf this is how it shall be: UPDATE_README=1 cargo test \
         -p sekimori-tunnel-proto --test keeps_http_as_it_is -- --include-ignored --test-threads=1"
    );
}

/// What the README says of one connector, beside what has been seen with the other.
fn other(rows: &[Row], what: &str, cell: impl Fn(&Row) -> &String) -> String {
    let unknown = || "not looked at".to_owned();
    rows.iter().find(|row| row.0 == what).map_or_else(unknown, |row| cell(row).clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_connector_does_as_the_readme_says() {
    let before = read(part(&fs::read_to_string(readme()).unwrap()));
    let rows = with_ours().await.into_iter();
    let rows = rows.map(|(what, seen)| (what.into(), seen, other(&before, what, |row| &row.2)));
    check(&rows.collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs CLOUDFLARED"]
async fn cloudflared_does_as_the_readme_says() {
    let before = read(part(&fs::read_to_string(readme()).unwrap()));
    let rows = with_cloudflared().await.into_iter();
    let rows = rows.map(|(what, seen)| (what.into(), other(&before, what, |row| &row.1), seen));
    check(&rows.collect::<Vec<_>>());
}
