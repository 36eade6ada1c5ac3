//! What an attack costs: bytes held, and the time of somebody who has nothing to do with it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use peak_alloc::PeakAlloc;
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tunnel_proto::edge::Tunnel;

use crate::harness::{self, Running, full};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// One test at a time, so that what is measured is its own.
pub async fn alone() -> MutexGuard<'static, ()> {
    static TURN: OnceCell<Mutex<()>> = OnceCell::const_new();
    TURN.get_or_init(async || Mutex::new(())).await.lock().await
}

/// Another tunnel in the same process, and what it costs to attack its neighbour.
pub struct Bystander {
    tunnel: Arc<Tunnel>,
    _connector: Running,
    quiet: Duration,
    held: usize,
}

impl Bystander {
    pub async fn start() -> Self {
        let (tunnel, connector) = harness::tunnel(async |_| Response::new(full("hello"))).await;
        let mut bystander = Self { tunnel, _connector: connector, quiet: Duration::ZERO, held: 0 };
        sample(&bystander.tunnel, 20).await;
        bystander.quiet = p99(sample(&bystander.tunnel, 200).await);
        bystander.begin();
        bystander
    }

    /// Counts memory from here.
    pub fn begin(&mut self) {
        MEMORY.reset_peak_usage();
        self.held = MEMORY.current_usage();
    }

    /// Runs an attack to its end while this tunnel's requests go on, and prints what it cost.
    #[expect(clippy::print_stdout, reason = "the figures are for people")]
    pub async fn beside<T>(&mut self, name: &str, attack: impl Future<Output = T>) -> (T, usize) {
        let tunnel = Arc::clone(&self.tunnel);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let sampling = tokio::spawn(async move {
            let mut stopped = std::pin::pin!(stopped);
            let mut times = Vec::new();
            loop {
                times.extend(sample(&tunnel, 1).await);
                tokio::select! {
                    _ = &mut stopped => break,
                    () = tokio::time::sleep(Duration::from_millis(2)) => {}
                }
            }
            times
        });
        let result = attack.await;
        let _ = stop.send(());
        let times = sampling.await.unwrap();
        let held = MEMORY.peak_usage().saturating_sub(self.held);
        let busy = p99(times);
        println!(
            "{name}: held {} kB at most; a bystander's p99 {:.1} ms, {:.1} ms when quiet ({:.1}x)",
            held / 1000,
            busy.as_secs_f64() * 1e3,
            self.quiet.as_secs_f64() * 1e3,
            busy.as_secs_f64() / self.quiet.as_secs_f64(),
        );
        // Somebody who is shut out waits for ever; everything else is up to the machine.
        assert!(busy < Duration::from_secs(5), "{name}: a bystander waited {busy:?}");
        (result, held)
    }
}

#[expect(clippy::disallowed_methods, reason = "measures")]
async fn sample(tunnel: &Tunnel, count: usize) -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        let request = Request::get("https://by.example.test/").body(Empty::new()).unwrap();
        let response = tunnel.send(request).await.expect("a bystander is served");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
        times.push(start.elapsed());
    }
    times
}

fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[(times.len() * 99 / 100).min(times.len() - 1)]
}

/// Bytes held just now.
pub fn held() -> usize {
    MEMORY.current_usage()
}

/// tokio's time, which tests may pause.
#[expect(clippy::disallowed_methods, reason = "measures")]
pub fn clock() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// Bytes held at most since [`reset_peak`].
pub fn peak() -> usize {
    MEMORY.peak_usage()
}

pub fn reset_peak() {
    MEMORY.reset_peak_usage();
}
