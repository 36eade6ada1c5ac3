//! The manager issues what is missing, renews in time and survives a suspended machine.
#![cfg(all(any(feature = "ring", feature = "aws-lc-rs"), feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

mod support;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use cert_manager::{
    Certificate, Manager, PrivateCa, Profile, Resolver, lifecycle::Health, rustls::ServerConfig,
};
use support::{DAY, Pair, client, server, start};
use tokio::{sync::oneshot, task::JoinHandle, time::sleep};

#[tokio::test(start_paused = true)]
async fn a_month_of_weekly_certificates() {
    let running = Running::start(&["a.jp"]);
    let mut serials = vec![running.serial().await];
    for hour in 0..30 * 24 {
        sleep(Duration::from_secs(3600)).await;
        let now = running.clock.now();
        let leaf = running.leaf();
        assert!(!leaf.is_expired(now), "hour {hour}");
        Pair::handshake(&client(&running.ca, now), &running.server(), "a.jp").unwrap();
        let serial = leaf.serial().to_string();
        if serials.last() != Some(&serial) {
            serials.push(serial);
        }
    }
    // One at the start, and one each three and a half days or slightly sooner.
    assert!((9..=11).contains(&serials.len()), "{}", serials.len());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_suspended_machine_renews_within_a_minute_of_waking() {
    let running = Running::start(&["a.jp"]);
    let before = running.serial().await;
    sleep(Duration::from_secs(600)).await;
    // The wall clock jumps, the timers do not notice.
    running.clock.jump(20 * DAY);
    assert!(running.leaf().is_expired(running.clock.now()));
    sleep(Duration::from_secs(61)).await;
    assert!(!running.leaf().is_expired(running.clock.now()));
    assert_ne!(running.serial().await, before);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_falls_back_causes_no_storm() {
    let running = Running::start(&["a.jp"]);
    let before = running.serial().await;
    running.clock.fall_back(2 * DAY);
    sleep(DAY).await;
    assert_eq!(running.serial().await, before, "before its first second: nothing is issued");
    sleep(7 * DAY).await;
    assert_ne!(running.serial().await, before, "later it is renewed as ever");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn many_names_are_issued_in_small_runs() {
    let names = (0..300).map(|number| format!("n{number}.example"));
    let names = names.collect::<Vec<_>>();
    let names = names.iter().map(String::as_str).collect::<Vec<_>>();
    let running = Running::start(&names);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(running.resolver.names().len(), 300);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn names_can_be_added_and_removed_while_it_runs() {
    let running = Running::start(&["a.jp"]);
    sleep(Duration::from_secs(1)).await;
    running.manager.add(["b.jp", "*.b.jp"]).unwrap();
    assert!(running.manager.add(["c.jp", "B.jp."]).unwrap_err().is_name_conflict());
    assert!(running.manager.add(["c jp"]).unwrap_err().is_name());
    sleep(Duration::from_secs(60)).await;
    assert!(running.resolver.knows(Some("x.b.jp")));
    assert!(!running.resolver.knows(Some("c.jp")));
    assert!(running.manager.remove("*.b.jp").unwrap());
    assert!(!running.manager.remove("*.b.jp").unwrap());
    assert!(!running.resolver.knows(Some("b.jp")));
    assert!(running.resolver.knows(Some("a.jp")));
    running.stop().await;
}

#[test]
fn a_failing_authority_keeps_the_old_certificate_serving() {
    let ca = Arc::new(PrivateCa::generate("Test CA", start()).unwrap());
    let resolver = Resolver::new();
    // So long that the root ends within the second certificate's life.
    let manager = Manager::builder(ca.clone(), resolver.clone())
        .profile(Profile::server().life(4000 * DAY))
        .name("a.jp")
        .build()
        .unwrap();
    assert_eq!(manager.snapshot(start())[0].health, Health::Missing);
    assert_eq!(manager.ensure(start()).unwrap().issued, 1);
    assert_eq!(manager.ensure(start()).unwrap().issued, 0, "a second look does nothing");
    let before = resolver.get(Some("a.jp")).unwrap();

    let after_the_root = ca.not_after() + Duration::from_secs(1);
    assert!(manager.ensure(after_the_root).unwrap_err().is_not_an_authority());
    let status = &manager.snapshot(after_the_root)[0];
    assert_eq!((status.failures, status.health), (1, Health::Expired));
    assert!(status.last_error.as_ref().unwrap().contains("root"));
    let after = resolver.get(Some("a.jp")).unwrap();
    assert_eq!(after.serial(), before.serial());
    // Held back: asking again at once tries nothing.
    assert_eq!(manager.ensure(after_the_root).unwrap().issued, 0);
    assert_eq!(manager.snapshot(after_the_root)[0].failures, 1);
}

#[test]
fn the_default_name_is_served_without_sni_and_follows_renewals() {
    let ca = PrivateCa::generate("Test CA", start()).unwrap();
    let resolver = Resolver::new();
    let builder = Manager::builder(ca, resolver.clone()).names(["a.jp", "127.0.0.1"]);
    let manager = builder.default_name("127.0.0.1").build().unwrap();
    manager.ensure(start()).unwrap();
    let first = resolver.get(None).unwrap();
    manager.ensure(start() + 4 * DAY).unwrap();
    assert_ne!(resolver.get(None).unwrap().serial(), first.serial());
    manager.remove("a.jp").unwrap();
    assert!(resolver.get(None).is_none());
}

#[test]
fn wrong_configurations_are_refused_when_built() {
    let ca = Arc::new(PrivateCa::generate("Test CA", start()).unwrap());
    let builder = || Manager::builder(ca.clone(), Resolver::new());
    assert!(builder().name("a b").build().unwrap_err().is_name());
    let twice = builder().name("a.jp").names(["b.jp", "A.jp"]).build();
    assert!(twice.unwrap_err().is_name_conflict());
    assert!(builder().names([] as [&str; 0]).build().is_err());
    assert!(builder().name("a.jp").default_name("b.jp").build().is_err());
    assert!(builder().names(["a.jp", "a.jp."]).build().is_ok());
}

struct Running {
    ca: Arc<PrivateCa>,
    resolver: Arc<Resolver>,
    manager: Arc<Manager>,
    clock: Clock,
    shutdown: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(names: &[&str]) -> Self {
        let ca = Arc::new(PrivateCa::generate("Test CA", start()).unwrap());
        let resolver = Resolver::new();
        let clock = Clock::new();
        let clock_of_manager = clock.clone();
        let mut builder =
            Manager::builder(ca.clone(), resolver.clone()).clock(move || clock_of_manager.now());
        for name in names {
            builder = builder.name(*name);
        }
        let manager = Arc::new(builder.build().unwrap());
        let (shutdown, stopped) = oneshot::channel();
        let running = manager.clone();
        let task = tokio::spawn(async move {
            running.run(async { stopped.await.unwrap_or(()) }).await;
        });
        Self { ca, resolver, manager, clock, shutdown, task }
    }

    fn leaf(&self) -> Certificate {
        self.resolver.get(Some("a.jp")).unwrap()
    }

    fn server(&self) -> Arc<ServerConfig> {
        server(&self.resolver)
    }

    async fn serial(&self) -> String {
        sleep(Duration::from_secs(1)).await;
        self.leaf().serial().to_string()
    }

    async fn stop(self) {
        self.shutdown.send(()).unwrap();
        self.task.await.unwrap();
    }
}

/// A wall clock that moves with tokio's paused time, and can be set.
#[derive(Clone)]
struct Clock {
    zero: tokio::time::Instant,
    wall: Arc<Mutex<SystemTime>>,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "paused time, which the test moves")]
    fn new() -> Self {
        Self { zero: tokio::time::Instant::now(), wall: Arc::new(Mutex::new(start())) }
    }

    fn now(&self) -> SystemTime {
        *self.wall.lock().unwrap() + self.zero.elapsed()
    }

    fn jump(&self, by: Duration) {
        *self.wall.lock().unwrap() += by;
    }

    fn fall_back(&self, by: Duration) {
        *self.wall.lock().unwrap() -= by;
    }
}
