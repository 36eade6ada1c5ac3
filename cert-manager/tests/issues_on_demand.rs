//! Names that nobody listed get a certificate in the handshake, if they are admitted; and strangers cannot make it work.
#![cfg(all(feature = "ring", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

#[path = "support/faults.rs"]
mod faults;
mod support;

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use cert_manager::{
    Failure, FailureClass, Manager, PrivateCa,
    manager::{Admission, OnDemand, Refusal},
    rustls::pki_types::ServerName,
};
use faults::{Clock, Faulty};
use support::{DAY, client, server, start};
use tokio::{io::AsyncReadExt as _, task::JoinSet, time::sleep};
use tokio_rustls::TlsConnector;

const MINUTE: Duration = Duration::from_secs(60);

struct Case {
    ca: Arc<PrivateCa>,
    clock: Clock,
    issuer: Faulty,
    manager: Manager,
    on_demand: OnDemand,
    asked: Arc<Mutex<Vec<(String, IpAddr)>>>,
}

impl Case {
    /// Admits names below `good.example`, slowly; from 192.0.2.0/24 nothing.
    async fn new() -> Self {
        let ca = Arc::new(PrivateCa::generate("Test CA", start()).unwrap());
        let (clock, issuer) = (Clock::new(), Faulty::new(ca.clone()));
        let manager = Manager::builder().issuer(issuer.clone()).clock(clock.read());
        let manager = manager.start().await.unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        let on_demand = manager.on_demand(move |ask| {
            seen.lock().unwrap().push((ask.name.to_string(), ask.peer));
            async move {
                sleep(Duration::from_millis(50)).await;
                if ask.peer == peer(0) {
                    Admission::RefuseClient
                } else if ask.name.as_str().ends_with(".good.example") {
                    Admission::Admit
                } else {
                    Admission::RefuseName
                }
            }
        });
        Self { ca, clock, issuer, manager, on_demand, asked }
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    /// Both ends of a handshake; what the client saw.
    async fn handshake(&self, name: &str, from: IpAddr) -> std::io::Result<()> {
        let (ours, theirs) = tokio::io::duplex(16_384);
        let connector = TlsConnector::from(client(&self.ca, self.clock.now()));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let accepted = self.on_demand.accept(theirs, from, server(self.manager.resolver()));
        let dial = async {
            let mut stream = connector.connect(name, ours).await?;
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.or_else(|error| {
                let is_cut = error.kind() == std::io::ErrorKind::UnexpectedEof;
                if is_cut { Ok(0) } else { Err(error) }
            })?;
            Ok(())
        };
        let accept = async { accepted.await.map(drop) };
        let (accepted, dialed) = tokio::join!(accept, dial);
        if let Err(error) = &accepted {
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "{error}");
        }
        dialed
    }
}

fn peer(network: u32) -> IpAddr {
    IpAddr::from((0xc000_0201 + (network << 8)).to_be_bytes())
}

#[tokio::test(start_paused = true)]
async fn a_name_is_issued_in_its_first_handshake_and_renewed_like_all_others() {
    let case = Case::new().await;
    case.handshake("a.good.example", peer(1)).await.unwrap();
    assert_eq!(*case.asked.lock().unwrap(), [("a.good.example".to_owned(), peer(1))]);
    case.handshake("A.Good.Example", peer(2)).await.unwrap();
    assert_eq!((case.asked(), case.issuer.requests()), (1, 1), "it is known now");
    let before = case.manager.resolver().get(Some("a.good.example")).unwrap();
    sleep(4 * DAY).await;
    let after = case.manager.resolver().get(Some("a.good.example")).unwrap();
    assert_ne!(before.serial(), after.serial());
}

#[tokio::test(start_paused = true)]
async fn who_is_refused_gets_the_alert_that_says_so() {
    let case = Case::new().await;
    let error = case.handshake("a.bad.example", peer(1)).await.unwrap_err();
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
    let error = case.handshake("a.bad.example", peer(2)).await.unwrap_err();
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
    assert_eq!((case.asked(), case.issuer.requests()), (1, 0), "the refusal is remembered");
    sleep(11 * MINUTE).await;
    case.handshake("a.bad.example", peer(2)).await.unwrap_err();
    assert_eq!(case.asked(), 2, "for ten minutes");
}

#[tokio::test(start_paused = true)]
async fn one_client_that_is_refused_does_not_speak_for_others() {
    let case = Case::new().await;
    case.handshake("a.good.example", peer(0)).await.unwrap_err();
    case.handshake("a.good.example", peer(1)).await.unwrap();
    // Known names are for everybody.
    case.handshake("a.good.example", peer(0)).await.unwrap();
    assert_eq!(case.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn of_many_that_ask_for_one_name_one_has_it_ordered() {
    let case = Case::new().await;
    case.issuer.take(Duration::from_secs(2));
    let mut tasks = JoinSet::new();
    for at in 1..=500 {
        let on_demand = case.on_demand.clone();
        tasks.spawn(async move { on_demand.get("a.good.example", peer(at)).await.map(drop) });
    }
    // One that hangs up takes nobody with it.
    let first = case.on_demand.get("a.good.example", peer(600));
    tokio::time::timeout(Duration::from_secs(1), first).await.unwrap_err();
    assert!(tasks.join_all().await.into_iter().all(|it| it.is_ok()));
    assert_eq!(case.issuer.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_order_is_told_remembered_and_not_kept_up() {
    let case = Case::new().await;
    case.issuer.fail_with(Some(Failure::because(FailureClass::Validation, "validate", "no")));
    let refused = case.on_demand.get("a.good.example", peer(1)).await.unwrap_err();
    assert!(matches!(&refused, Refusal::Failed(text) if text.contains("no")), "{refused:?}");
    let again = case.on_demand.get("a.good.example", peer(1)).await;
    assert_eq!(again.unwrap_err(), Refusal::Remembered);
    case.issuer.fail_with(None);
    sleep(DAY).await;
    assert_eq!(case.issuer.requests(), 1, "nobody asked for it since");
    assert!(case.manager.snapshot().certificates.is_empty());
    case.on_demand.get("a.good.example", peer(1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_no_authority_would_sign_is_refused_without_a_question() {
    let case = Case::new().await;
    let long = format!("{}.good.example", "a.".repeat(120));
    for name in ["localhost", "192.0.2.1", "::1", "*.good.example", "a_b.good.example", "", &long] {
        let refused = case.on_demand.get(name, peer(1)).await.unwrap_err();
        assert_eq!(refused, Refusal::Name, "{name}");
    }
    assert_eq!(case.asked(), 0);
}

/// 10,000 random names from 100 networks, and three that are admitted.
#[tokio::test(start_paused = true)]
async fn a_flood_of_names_costs_few_questions_and_no_order() {
    let case = Case::new().await;
    let outcomes = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for at in 0..10_000 {
        let (on_demand, outcomes) = (case.on_demand.clone(), outcomes.clone());
        tasks.spawn(async move {
            let refused = on_demand.get(&format!("n{at}.flood.example"), peer(at % 100)).await;
            outcomes.fetch_add(usize::from(refused.is_err()), Ordering::Relaxed);
        });
    }
    tasks.join_all().await;
    assert_eq!(outcomes.load(Ordering::Relaxed), 10_000);
    assert!(case.asked() <= 3_000, "30 from each network, not {}", case.asked());
    assert_eq!(case.issuer.requests(), 0);
    for name in ["a.good.example", "b.good.example", "c.good.example"] {
        case.handshake(name, peer(200)).await.unwrap();
    }
    assert_eq!(case.issuer.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_removed_name_is_not_served_by_an_order_that_ends_later() {
    let case = Case::new().await;
    case.issuer.take(MINUTE);
    case.manager.add(["late.example"]).unwrap();
    sleep(MINUTE / 2).await;
    assert!(case.manager.remove("late.example").unwrap());
    sleep(2 * MINUTE).await;
    assert_eq!(case.issuer.requests(), 1);
    assert!(!case.manager.resolver().knows(Some("late.example")));
}
