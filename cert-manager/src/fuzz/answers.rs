//! An authority that answers whatever it likes.

use std::time::{Duration, SystemTime};

use crate::{
    acme::{
        AccountKey, Attempt, ChallengeKind,
        http::Response,
        order::{Act, Order, Wishes},
        session::{Session, Settings},
    },
    lifecycle::RenewalInfo,
};

/// Leads an order through answers, parted by a line of `%`. Each begins with its status, then has lines `name: value` for the
/// fields that matter, an empty line, and its body.
pub fn answers(data: &[u8]) {
    let mut answers = data.split(|byte| *byte == b'%').map(answer);
    let mut session = session();
    let wishes = Wishes {
        kinds: vec![ChallengeKind::Http01, ChallengeKind::Dns01],
        preferred_root: Some("Root".to_owned()),
        goes_without_profile: true,
    };
    let mut order = Order::new(attempt(), wishes);
    let mut now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    // Whatever it answers, each answer is asked for once, and nobody turns round without asking.
    for _ in 0..MOST_STEPS {
        let Ok(act) = order.poll(&mut session, now) else { return };
        let answer = match act {
            Act::Store => {
                order.stored();
                continue;
            }
            Act::Show => {
                assert!(order.attempt().challenges.iter().all(|it| it.name == "a.example"));
                order.shown();
                continue;
            }
            Act::Wait(until) => {
                assert!(now < until && until <= now + LONGEST_WAIT, "{until:?}");
                now = until;
                continue;
            }
            Act::Done(_) => return,
            Act::StoreAndSend(_) => {
                order.stored();
                answers.next()
            }
            Act::Send(_) => answers.next(),
        };
        let Some(answer) = answer else { return };
        let info = RenewalInfo::of(&answer, now);
        assert!(info.window.is_none_or(|window| window.start < window.end));
        if let Err(failure) = order.handle(&mut session, answer, now) {
            let until = failure.not_before.unwrap_or(now);
            assert!(until <= now + LONGEST_HOLD, "{until:?}");
            assert!(!failure.to_string().contains(['\n', '\u{1b}']), "{failure}");
            return;
        }
    }
    panic!("it goes on without asking");
}

fn answer(text: &[u8]) -> Response {
    let end = text.windows(2).position(|pair| pair == b"\n\n").unwrap_or(text.len());
    let head = String::from_utf8_lossy(&text[..end]);
    let mut lines = head.trim_start().lines();
    let status = lines.next().and_then(|line| line.trim().parse().ok()).unwrap_or(200);
    let body = text.get(end + 2..).unwrap_or_default().to_vec();
    let mut response = Response { status, body, ..Response::default() };
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        let value = value.to_owned();
        match name {
            "nonce" => response.replay_nonce = Some(value),
            "location" => response.location = Some(value),
            "retry-after" => response.retry_after = Some(value),
            "date" => response.date = Some(value),
            "link" => response.links.push(value),
            _ => {}
        }
    }
    response
}

fn session() -> Session {
    let settings = Settings {
        directory_url: "https://ca/dir".to_owned(),
        contacts: Vec::new(),
        agrees_to_terms: true,
        external_account: None,
    };
    let key = AccountKey::generate().expect("the system has randomness");
    Session::new(settings, key, None, None)
}

fn attempt() -> Attempt {
    Attempt {
        version: 1,
        names: vec!["*.a.example".to_owned(), "a.example".to_owned()],
        directory_url: "https://ca/dir".to_owned(),
        profile: Some("shortlived".to_owned()),
        replaces: Some("key.serial".to_owned()),
        key: String::new(),
        csr: "Y3Ny".to_owned(),
        order_url: None,
        challenges: Vec::new(),
    }
}

/// Between two questions lie a few steps; the answers of one input are far fewer than this.
const MOST_STEPS: usize = 1_000_000;
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_HOLD: Duration = Duration::from_secs(3 * 86_400);
