//! Many guesses at once, on real threads.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use otp_auth::code::CodeLength;
use otp_auth::login::{Admission, Login, Reason, Refusal, Verdict};
use otp_auth::random::SystemRandom;
use otp_auth::secret::Pepper;
use otp_auth::store::Store;
use otp_auth::timestamp::Timestamp;

use crate::support::{Visitor, sign_in};

/// A count that `scripts/check long` raises through a variable; else as many as take about a minute.
pub(crate) fn count(variable: &str, otherwise: usize) -> usize {
    let asked = std::env::var(variable).ok();
    asked.map_or(otherwise, |asked| asked.parse().expect("a number"))
}

/// `storms` times `guesses` guesses at one code, the right one among them now and then, and as many times 128
/// right codes; half of all at each node. Never more than five are compared, and never more than one
/// accepted.
pub(crate) async fn weather(
    nodes: [Arc<dyn Store>; 2],
    now: Timestamp,
    storms: usize,
    guesses: usize,
) {
    let pepper = Pepper::generate(&SystemRandom::new()).unwrap();
    let nodes = nodes.map(|store| Arc::new(unthrottled(store, pepper.clone())));
    let (mut hits, mut compared_in_all) = (0, 0);
    for storm in 0..storms {
        let visitor = visit(&nodes[0], now).await;
        // Among ten thousand places the right code is not where tries are left, but in one storm of two.
        let right = if storm % 2 == 0 { storm % guesses } else { guesses };
        let inputs = (0..guesses).map(|index| index == right).collect();
        let Told { compared, accepted, lost } = storm_of(&nodes, visitor, inputs, now).await;
        assert!(compared <= 5, "storm {storm}: {compared} comparisons");
        assert!(accepted <= 1, "storm {storm}: {accepted} accepted");
        // A server under such a load may answer too late, and then a try is spent for nothing.
        assert!(
            accepted == 1 || compared + lost >= 5,
            "storm {storm}: {compared} compared of 5, {lost} lost"
        );
        hits += accepted;
        compared_in_all += compared;

        let visitor = visit(&nodes[0], now).await;
        let Told { compared, accepted, lost } =
            storm_of(&nodes, visitor, vec![true; 128], now).await;
        assert!(accepted == 1 || lost > 0 && accepted == 0, "storm {storm}: {accepted} accepted");
        assert!(compared <= 5);
    }
    println!("{storms} storms of {guesses} guesses: {compared_in_all} compared, {hits} hits");
}

async fn visit(login: &Login, now: Timestamp) -> Visitor {
    let begin = sign_in("a@b.example", Admission::Admitted);
    // The storm before may still lie over the server.
    for _ in 0..20 {
        if let Ok(begun) = login.begin(&begin, now).await {
            return Visitor::of(begun);
        }
    }
    panic!("the store does not come back")
}

async fn storm_of(
    nodes: &[Arc<Login>; 2],
    visitor: Visitor,
    rights: Vec<bool>,
    now: Timestamp,
) -> Told {
    let wrong = if visitor.code() == "000000000" { "000000001" } else { "000000000" };
    let (visitor, counts) = (Arc::new(visitor), Arc::new([const { AtomicUsize::new(0) }; 3]));
    let gate = Arc::new(tokio::sync::Barrier::new(rights.len()));
    let mut tasks = Vec::new();
    for (index, is_right) in rights.into_iter().enumerate() {
        let (login, visitor) = (nodes[index % 2].clone(), visitor.clone());
        let (counts, gate) = (counts.clone(), gate.clone());
        tasks.push(tokio::spawn(async move {
            gate.wait().await;
            let input = if is_right { visitor.code() } else { wrong };
            let answer = login.submit(&visitor.nonce, &visitor.cookie, input, now).await;
            let Ok(verdict) = answer else {
                counts[2].fetch_add(1, Ordering::Relaxed);
                return;
            };
            let is_accepted = matches!(verdict, Verdict::Proven(_));
            let is_wrong = verdict.refusal().map(Refusal::reason) == Some(Reason::Wrong);
            counts[0].fetch_add(usize::from(is_accepted || is_wrong), Ordering::Relaxed);
            counts[1].fetch_add(usize::from(is_accepted), Ordering::Relaxed);
        }));
    }
    let all = async {
        for task in tasks {
            task.await.expect("no panic");
        }
    };
    tokio::time::timeout(Duration::from_secs(300), all).await.expect("bounded time");
    let [compared, accepted, lost] =
        [0, 1, 2].map(|index: usize| counts[index].load(Ordering::Relaxed));
    Told { compared, accepted, lost }
}

/// How many guesses were compared, accepted, and answered too late.
struct Told {
    compared: usize,
    accepted: usize,
    lost: usize,
}

/// Budgets so wide that only the limit of the challenge is left. Nine digits spare the store a budget.
fn unthrottled(store: Arc<dyn Store>, pepper: Pepper) -> Login {
    let random = Arc::new(SystemRandom::new());
    Login::builder(store, pepper, random, "auth.example.jp".parse().unwrap())
        .code_length(CodeLength::Nine)
        .danger_without_budgets()
        .build()
        .unwrap()
}
