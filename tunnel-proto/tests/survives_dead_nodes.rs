//! Nodes die, connectors move, the directory goes away: what can be answered still is, and nothing
//! is sent twice that must not be.

#![cfg(feature = "cluster")]
#![expect(clippy::unwrap_used, reason = "a test")]

mod harness;
mod nodes;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use harness::{collect, full};
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use nodes::{Authority, PATIENCE, TestNode, announced, name, tunnel};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tunnel_proto::{
    Error, TunnelId,
    cluster::{Directory, DirectoryError, Holder, MemoryDirectory, Node, NodeName},
    edge::Incoming,
};

const LEASE: Duration = Duration::from_secs(600);

fn get() -> Request<harness::AnyBody> {
    Request::get("https://app.example.com/").body(full("")).unwrap()
}

fn post() -> Request<harness::AnyBody> {
    Request::post("https://app.example.com/").body(full("something")).unwrap()
}

async fn answer<D: Directory + Clone>(
    node: &TestNode<D>,
    request: Request<harness::AnyBody>,
) -> Result<String, Error> {
    let response = timeout(PATIENCE, node.cluster.send(tunnel(), request)).await.unwrap()?;
    let body = collect(response.into_body()).await?;
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

/// Says which node's connector answered, after reading the request whole.
fn says(
    what: &'static str,
) -> impl Fn(
    Request<Incoming>,
) -> std::pin::Pin<Box<dyn Future<Output = Response<harness::AnyBody>> + Send>>
+ Clone
+ Send
+ Sync
+ 'static {
    move |request| {
        Box::pin(async move {
            request.into_body().collect().await.unwrap();
            Response::new(full(what))
        })
    }
}

#[tokio::test]
async fn a_connector_of_this_node_is_preferred_and_the_directory_not_asked() {
    let (authority, directory) = (Authority::new(), Faulty::new());
    let mut a = TestNode::start(&authority, "a", directory.clone()).await;
    let mut b = TestNode::start(&authority, "b", directory.clone()).await;
    b.connect(tunnel(), says("b")).await;
    announced(&directory, tunnel(), 1).await;
    assert_eq!(answer(&a, post()).await.unwrap(), "b");
    a.connect(tunnel(), says("a")).await;
    let asked = directory.asked();
    for _ in 0..20 {
        assert_eq!(answer(&a, post()).await.unwrap(), "a");
    }
    assert_eq!(directory.asked(), asked);
    a.disconnect().await;
    assert_eq!(answer(&a, post()).await.unwrap(), "b", "the last local connection is gone");
}

#[tokio::test]
async fn a_tunnel_that_nobody_holds_is_offline() {
    let (authority, directory) = (Authority::new(), Arc::new(MemoryDirectory::new()));
    let a = TestNode::start(&authority, "a", Arc::clone(&directory)).await;
    assert!(answer(&a, get()).await.unwrap_err().is_offline());
    // What the directory says of the node itself counts for nothing.
    directory.announce(&a.node, &[(tunnel(), 4)], LEASE).await.unwrap();
    assert!(answer(&a, get()).await.unwrap_err().is_offline());
}

#[tokio::test]
async fn uploads_go_past_a_dead_node_to_the_next() {
    let (authority, directory) = (Authority::new(), Arc::new(MemoryDirectory::new()));
    let a = TestNode::start(&authority, "a", Arc::clone(&directory)).await;
    let mut b = TestNode::start(&authority, "b", Arc::clone(&directory)).await;
    b.connect(tunnel(), says("b")).await;
    let dead = TestNode::start(&authority, "dead", Arc::clone(&directory)).await;
    let node = dead.node.clone();
    dead.kill().await;
    // More connections, so it is asked first.
    directory.announce(&node, &[(tunnel(), 100)], LEASE).await.unwrap();
    announced(&directory, tunnel(), 2).await;
    for _ in 0..10 {
        assert_eq!(answer(&a, post()).await.unwrap(), "b");
    }
}

#[tokio::test]
async fn uploads_go_past_a_node_that_lost_the_tunnel() {
    let (authority, directory) = (Authority::new(), Arc::new(MemoryDirectory::new()));
    let a = TestNode::start(&authority, "a", Arc::clone(&directory)).await;
    let lost = TestNode::start(&authority, "lost", Arc::clone(&directory)).await;
    directory.announce(&lost.node, &[(tunnel(), 100)], LEASE).await.unwrap();
    let mut b = TestNode::start(&authority, "b", Arc::clone(&directory)).await;
    assert!(answer(&a, post()).await.unwrap_err().is_offline());
    b.connect(tunnel(), says("b")).await;
    announced(&directory, tunnel(), 2).await;
    // What A remembers is old by now in part; it asks anew before it gives up.
    assert_eq!(answer(&a, post()).await.unwrap(), "b");
}

#[tokio::test]
async fn a_node_that_comes_back_is_used_again() {
    let (authority, directory) = (Authority::new(), Arc::new(MemoryDirectory::new()));
    let a = TestNode::start(&authority, "a", Arc::clone(&directory)).await;
    let mut b = TestNode::start(&authority, "b", Arc::clone(&directory)).await;
    b.connect(tunnel(), says("b")).await;
    announced(&directory, tunnel(), 1).await;
    assert_eq!(answer(&a, get()).await.unwrap(), "b");
    let address = b.node.address().to_owned();
    b.kill().await;
    let error = answer(&a, get()).await.unwrap_err();
    assert!(error.is_retryable() && !error.is_offline(), "{error}");
    assert_eq!(error.to_string(), "the edge node `b.node.test` can't be reached");
    let mut b = TestNode::start_at(&authority, "b", Arc::clone(&directory), &address).await;
    b.connect(tunnel(), says("b again")).await;
    assert_eq!(answer(&a, get()).await.unwrap(), "b again");
}

#[tokio::test]
async fn a_node_that_stops_finishes_what_it_has_and_the_rest_goes_elsewhere() {
    let (authority, directory) = (Authority::new(), Arc::new(MemoryDirectory::new()));
    let a = TestNode::start(&authority, "a", Arc::clone(&directory)).await;
    let mut b = TestNode::start(&authority, "b", Arc::clone(&directory)).await;
    let (started, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let gates = (Arc::clone(&started), Arc::clone(&go_on));
    b.connect(tunnel(), move |request: Request<Incoming>| {
        let (started, go_on) = gates.clone();
        async move {
            if request.uri().path() == "/slow" {
                started.add_permits(1);
                go_on.acquire().await.unwrap().forget();
            }
            Response::new(full("b"))
        }
    })
    .await;
    announced(&directory, tunnel(), 1).await;
    let cluster = Arc::clone(&a.cluster);
    let slow = tokio::spawn(async move {
        let request = Request::post("https://app.example.com/slow").body(full("x")).unwrap();
        let response = cluster.send(tunnel(), request).await.unwrap();
        collect(response.into_body()).await.unwrap()
    });
    timeout(PATIENCE, started.acquire()).await.unwrap().unwrap().forget();

    let mut c = TestNode::start(&authority, "c", Arc::clone(&directory)).await;
    c.connect(tunnel(), says("c")).await;
    announced(&directory, tunnel(), 2).await;
    b.stop_announcing().await;
    assert_eq!(directory.find(tunnel()).await.unwrap().len(), 1, "withdrawn at once");
    let mut stopping = JoinSet::new();
    stopping.spawn(async move { b.stop_receiving().await });
    // Nobody is refused meanwhile, and soon everybody is answered by the other node.
    while answer(&a, post()).await.unwrap() != "c" {}
    for _ in 0..50 {
        assert_eq!(answer(&a, post()).await.unwrap(), "c");
    }
    go_on.add_permits(1);
    assert_eq!(timeout(PATIENCE, slow).await.unwrap().unwrap(), "b");
    timeout(PATIENCE, stopping.join_next()).await.unwrap().unwrap().unwrap();
}

/// How often an origin saw each request, by its number.
type Seen = Arc<Mutex<HashMap<String, usize>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_amid_a_thousand_requests_loses_none_that_may_be_repeated() {
    let (authority, directory) = (Authority::new(), Arc::new(MemoryDirectory::new()));
    let a = TestNode::start(&authority, "a", Arc::clone(&directory)).await;
    let mut b = TestNode::start(&authority, "b", Arc::clone(&directory)).await;
    let mut c = TestNode::start(&authority, "c", Arc::clone(&directory)).await;
    let seen = Seen::default();
    let origin = |seen: &Seen| {
        let seen = Arc::clone(seen);
        move |request: Request<Incoming>| {
            let path = request.uri().path().to_owned();
            *seen.lock().unwrap().entry(path).or_default() += 1;
            async move {
                request.into_body().collect().await.ok();
                tokio::time::sleep(Duration::from_millis(2)).await;
                Response::new(full("done"))
            }
        }
    };
    b.connect(tunnel(), origin(&seen)).await;
    c.connect(tunnel(), origin(&seen)).await;
    announced(&directory, tunnel(), 2).await;

    let done = Arc::new(AtomicUsize::new(0));
    let limit = Arc::new(Semaphore::new(32));
    let mut requests = JoinSet::new();
    for number in 0..1_000 {
        let (cluster, done) = (Arc::clone(&a.cluster), Arc::clone(&done));
        let limit = Arc::clone(&limit);
        requests.spawn(async move {
            let _permit = limit.acquire().await.unwrap();
            let method = if number % 2 == 0 { Method::GET } else { Method::POST };
            let body = if number % 2 == 0 { full("") } else { full("once") };
            let path = format!("/{number}");
            let uri = format!("https://app.example.com{path}");
            let request = Request::builder().method(method.clone()).uri(uri).body(body).unwrap();
            let answered = match timeout(PATIENCE, cluster.send(tunnel(), request)).await.unwrap() {
                Ok(response) => collect(response.into_body()).await.is_ok(),
                Err(error) => {
                    assert!(!error.is_caller_fault(), "{error}");
                    false
                }
            };
            done.fetch_add(1, Ordering::Relaxed);
            (path, method, answered)
        });
    }
    while done.load(Ordering::Relaxed) < 300 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    b.kill().await;
    let (mut lost, mut total) = (0, 0);
    while let Some(result) = timeout(PATIENCE, requests.join_next()).await.unwrap() {
        let (path, method, answered) = result.unwrap();
        let times = seen.lock().unwrap().get(&path).copied().unwrap_or(0);
        total += 1;
        if method == Method::GET {
            assert!(answered, "{path} may be repeated and was lost");
        } else {
            assert!(times <= 1, "{path} was sent {times} times");
            lost += usize::from(!answered);
        }
    }
    assert_eq!(total, 1_000);
    // Those in flight at the time, at most.
    assert!(lost <= 32, "{lost}");
}

#[tokio::test]
async fn without_the_directory_local_and_remembered_tunnels_go_on() {
    let (authority, directory) = (Authority::new(), Faulty::new());
    let mut a = TestNode::start(&authority, "a", directory.clone()).await;
    let mut b = TestNode::start(&authority, "b", directory.clone()).await;
    let local = TunnelId::from_bytes([0x33; 16]);
    a.connect(local, says("a")).await;
    b.connect(tunnel(), says("b")).await;
    announced(&directory, tunnel(), 1).await;
    assert_eq!(answer(&a, get()).await.unwrap(), "b");

    directory.fail(true);
    // What is remembered has to be older than what needs no question.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let asked = directory.asked();
    for _ in 0..20 {
        assert_eq!(answer(&a, post()).await.unwrap(), "b");
        let response = a.cluster.send(local, get()).await.unwrap();
        assert_eq!(collect(response.into_body()).await.unwrap(), "a");
    }
    assert!(directory.asked() - asked < 20, "it is not asked for every request");
    let unknown = a.cluster.send(TunnelId::from_bytes([0x44; 16]), get()).await.unwrap_err();
    assert_eq!(unknown.to_string(), "the directory of edge nodes can't be asked");
    assert!(unknown.is_retryable());

    // What came meanwhile is told once the directory is back.
    let late = TunnelId::from_bytes([0x55; 16]);
    b.connect(late, says("late")).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    directory.fail(false);
    announced(&directory, late, 1).await;
    let found = async {
        while a.cluster.send(late, get()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, found).await.expect("the new tunnel is found");
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_hangs_delays_a_request_by_half_a_second() {
    let authority = Authority::new();
    let a = TestNode::start(&authority, "a", Hanging).await;
    for expected in [500, 0, 0] {
        #[expect(clippy::disallowed_methods, reason = "a test measures")]
        let before = tokio::time::Instant::now();
        let error = a.cluster.send(tunnel(), get()).await.unwrap_err();
        assert_eq!(error.to_string(), "the directory of edge nodes can't be asked");
        assert_eq!(before.elapsed().as_millis(), expected);
    }
    assert_eq!(a.node.name(), &name("a"));
}

/// A directory in memory that can be taken away.
#[derive(Clone)]
struct Faulty(Arc<State>);

struct State {
    directory: MemoryDirectory,
    fails: AtomicBool,
    asked: AtomicUsize,
}

impl Faulty {
    fn new() -> Self {
        Self(Arc::new(State {
            directory: MemoryDirectory::new(),
            fails: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
        }))
    }

    fn fail(&self, fails: bool) {
        self.0.fails.store(fails, Ordering::Relaxed);
    }

    fn asked(&self) -> usize {
        self.0.asked.load(Ordering::Relaxed)
    }

    fn check(&self) -> Result<(), DirectoryError> {
        if self.0.fails.load(Ordering::Relaxed) {
            return Err(DirectoryError::new("it is away"));
        }
        Ok(())
    }
}

impl Directory for Faulty {
    async fn announce(
        &self,
        node: &Node,
        holdings: &[(TunnelId, u32)],
        lease: Duration,
    ) -> Result<(), DirectoryError> {
        self.check()?;
        self.0.directory.announce(node, holdings, lease).await
    }

    async fn withdraw(&self, node: &NodeName, tunnels: &[TunnelId]) -> Result<(), DirectoryError> {
        self.check()?;
        self.0.directory.withdraw(node, tunnels).await
    }

    async fn find(&self, tunnel: TunnelId) -> Result<Vec<Holder>, DirectoryError> {
        self.0.asked.fetch_add(1, Ordering::Relaxed);
        self.check()?;
        self.0.directory.find(tunnel).await
    }
}

/// A directory that never answers.
#[derive(Clone)]
struct Hanging;

impl Directory for Hanging {
    async fn announce(
        &self,
        _: &Node,
        _: &[(TunnelId, u32)],
        _: Duration,
    ) -> Result<(), DirectoryError> {
        std::future::pending().await
    }

    async fn withdraw(&self, _: &NodeName, _: &[TunnelId]) -> Result<(), DirectoryError> {
        std::future::pending().await
    }

    async fn find(&self, _: TunnelId) -> Result<Vec<Holder>, DirectoryError> {
        std::future::pending().await
    }
}
