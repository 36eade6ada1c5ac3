//! The directory in a real store: the contract, and what happens when the store goes away.

#![cfg(feature = "redis")]
#![expect(clippy::unwrap_used, reason = "a test")]

mod harness;
mod nodes;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use harness::{collect, full};
use http::{Request, Response};
use nodes::{Authority, PATIENCE, TestNode, announced, name, tunnel};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};
use tunnel_proto::cluster::{Directory as _, Node, RedisDirectory, conformance};

/// A store of our own, on a socket in a directory of its own.
struct Store {
    directory: TempDir,
    server: Child,
}

impl Store {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = launch(directory.path()).await;
        Self { directory, server }
    }

    fn url(&self) -> String {
        format!("redis+unix://{}", socket(self.directory.path()).display())
    }

    fn open(&self) -> RedisDirectory {
        RedisDirectory::new(&self.url()).unwrap()
    }

    async fn kill(&mut self) {
        self.server.kill().await.unwrap();
    }

    async fn start_again(&mut self) {
        self.server = launch(self.directory.path()).await;
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("redis.sock")
}

async fn launch(directory: &Path) -> Child {
    let _ = std::fs::remove_file(socket(directory));
    let server = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
        .arg(socket(directory))
        .arg("--dir")
        .arg(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server, from Debian's package of that name");
    let up = async {
        while tokio::net::UnixStream::connect(socket(directory)).await.is_err() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, up).await.expect("redis-server listens");
    server
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn redis_keeps_the_contract() {
    let store = Store::start().await;
    conformance::check(store.open(), Duration::from_secs(4)).await;
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn namespaces_and_strangers_keys_do_not_mix() {
    let store = Store::start().await;
    let (one, two) =
        (store.open().namespace("one").unwrap(), store.open().namespace("two").unwrap());
    let node = Node::new(name("a"), "192.0.2.1:7443").unwrap();
    one.announce(&node, &[(tunnel(), 1)], PATIENCE).await.unwrap();
    assert_eq!(one.find(tunnel()).await.unwrap().len(), 1);
    assert_eq!(two.find(tunnel()).await.unwrap().len(), 0);
    two.withdraw(node.name(), &[tunnel()]).await.unwrap();
    assert_eq!(one.find(tunnel()).await.unwrap().len(), 1);
    // A store that forgot its scripts learns them again.
    let keys = redis(&store, &["SCRIPT", "FLUSH"]).await;
    assert_eq!(keys.trim(), "OK");
    one.announce(&node, &[(tunnel(), 2)], PATIENCE).await.unwrap();
    assert_eq!(one.find(tunnel()).await.unwrap()[0].connections, 2);
    let keys = redis(&store, &["KEYS", "*"]).await;
    assert_eq!(keys.trim(), format!("one:sekimori:1:tunnel:{}", tunnel()));
    // A key that nobody renews goes away by itself.
    let lives: i64 = redis(&store, &["PTTL", keys.trim()]).await.trim().parse().unwrap();
    assert!((1..=30_000).contains(&lives), "{lives}");
}

async fn redis(store: &Store, command: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .arg("-s")
        .arg(socket(store.directory.path()))
        .args(command)
        .output()
        .await
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn routes_outlive_the_store_and_are_told_to_the_next_one() {
    let mut store = Store::start().await;
    let authority = Authority::new();
    let a = TestNode::start(&authority, "a", store.open()).await;
    let mut b = TestNode::start(&authority, "b", store.open()).await;
    b.connect(tunnel(), |_| async { Response::new(full("hello")) }).await;
    announced(&store.open(), tunnel(), 1).await;
    let ask = async || {
        let request = Request::get("https://a.test/").body(full("")).unwrap();
        let response = timeout(PATIENCE, a.cluster.send(tunnel(), request)).await.unwrap().unwrap();
        assert_eq!(collect(response.into_body()).await.unwrap(), "hello");
    };
    ask().await;
    store.kill().await;
    // Longer than an answer counts as fresh.
    for _ in 0..15 {
        ask().await;
        sleep(Duration::from_millis(100)).await;
    }
    // Restarted empty: what serves is told again.
    store.start_again().await;
    announced(&store.open(), tunnel(), 1).await;
    ask().await;
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_store_that_is_not_there_is_an_error_in_time() {
    let mut store = Store::start().await;
    let directory = store.open();
    store.kill().await;
    let error = timeout(PATIENCE, directory.find(tunnel())).await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the store failed while looking for a tunnel");
    store.start_again().await;
    let back = async { while directory.find(tunnel()).await.is_err() {} };
    timeout(PATIENCE, back).await.expect("it is connected to again");
}
