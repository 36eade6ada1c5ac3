use super::*;
use crate::code::CodeLength;
use crate::secret::{Pepper, PepperKeys, Secret};

const LANE: Lane = Lane { tag: [4; 16], is_known_device: false };

fn keys(byte: u8) -> PepperKeys {
    Pepper::new(Secret::new(vec![byte; 32])).unwrap().keys()
}

fn challenge(flow: &OpenFlow<'_>) -> Challenge {
    Challenge {
        id: flow.challenge(),
        address: "Alice@example.jp".parse().unwrap(),
        client: "203.0.113.7".parse().unwrap(),
        generation: 0,
        digest: [0; 32],
        decoy: None,
        issued: Timestamp::from_unix_secs(1_790_000_000),
        lifetime_millis: 600_000,
        tries: 5,
        is_known_device: false,
    }
}

#[test]
fn a_cookie_opens_its_own_challenge_only() {
    let keys = keys(1);
    let seal = |random| FlowCookie::seal(keys.current(), "sign-in", random, LANE, CodeLength::Nine);
    let ((one, open), (two, other)) = (seal(&[1; 24]), seal(&[2; 24]));
    assert_eq!(one.expose().len(), 76);
    assert_eq!(open.challenge().to_string().len(), 22);
    assert_ne!(open.challenge(), other.challenge());
    let read = FlowCookie::open(&one.expose(), open.challenge(), &keys, "sign-in").unwrap();
    assert_eq!((read.challenge(), read.lane), (open.challenge(), LANE));
    assert_eq!(read.length, CodeLength::Nine);
    let refused = |text: &str, nonce, purpose| {
        assert!(FlowCookie::open(text, nonce, &keys, purpose).is_none());
    };
    refused(&two.expose(), open.challenge(), "sign-in");
    refused(&one.expose(), other.challenge(), "sign-in");
    refused(&one.expose(), open.challenge(), "step-up");
    assert!(FlowCookie::open(&one.expose(), open.challenge(), &self::keys(2), "sign-in").is_none());
    assert_eq!(open.challenge().to_string().parse(), Ok(open.challenge()));
}

#[test]
fn no_bit_of_a_cookie_can_be_changed() {
    let keys = keys(1);
    let (cookie, open) =
        FlowCookie::seal(keys.current(), "sign-in", &[1; 24], LANE, CodeLength::Six);
    let sealed = URL_SAFE_NO_PAD.decode(cookie.expose()).unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut changed = sealed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let changed = URL_SAFE_NO_PAD.encode(changed);
        let opened = FlowCookie::open(&changed, open.challenge(), &keys, "sign-in");
        assert!(opened.is_none(), "bit {bit}");
    }
}

#[test]
fn malformed_values_are_refused() {
    let long = "A".repeat(1_000_000);
    for text in ["", "A", "=", "AAAAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAAAAAAAAAAAAAA==", &long] {
        assert_eq!(text.parse::<ChallengeId>(), Err(MalformedFlow));
        assert!(text.parse::<FlowCookie>().is_err());
        assert!(text.parse::<DeviceCookie>().is_err());
    }
}

#[test]
fn each_part_of_the_binding_counts() {
    let (keys, rotated) = (keys(1), keys(9));
    let seal = |random, purpose| {
        FlowCookie::seal(keys.current(), purpose, random, LANE, CodeLength::Six).1
    };
    let flow = seal(&[1; 24], "sign-in");
    let issued = challenge(&flow).sealed(&flow, b"482913");
    assert!(issued.is_answered_by(&flow, b"482913"));
    assert!(!issued.is_answered_by(&flow, b"482914"));
    assert!(!issued.is_answered_by(&seal(&[2; 24], "sign-in"), b"482913"));
    assert!(!issued.is_answered_by(&seal(&[1; 24], "step-up"), b"482913"));
    let other_purpose = OpenFlow { purpose: "step-up", ..seal(&[1; 24], "sign-in") };
    assert!(!issued.is_answered_by(&other_purpose, b"482913"));
    let other_keys = OpenFlow { keys: rotated.current(), ..seal(&[1; 24], "sign-in") };
    assert!(!issued.is_answered_by(&other_keys, b"482913"));
    let same = Challenge { address: "alice@example.jp".parse().unwrap(), ..issued.clone() };
    assert!(same.is_answered_by(&flow, b"482913"));
    for changed in [
        Challenge { address: "bob@example.jp".parse().unwrap(), ..issued.clone() },
        Challenge { generation: 1, ..issued.clone() },
        Challenge { decoy: Some(DecoyReason::Denied), ..issued.clone() },
    ] {
        assert!(!changed.is_answered_by(&flow, b"482913"));
    }
    let decoy = Challenge { decoy: Some(DecoyReason::Denied), ..issued }.sealed(&flow, b"482913");
    assert!(!Challenge { decoy: None, ..decoy }.is_answered_by(&flow, b"482913"));
}

#[test]
fn records_survive_their_bytes() {
    let keys = keys(1);
    let flow = FlowCookie::seal(keys.current(), "sign-in", &[1; 24], LANE, CodeLength::Six).1;
    let plain = challenge(&flow).sealed(&flow, b"482913");
    let clients = ["203.0.113.7", "2001:db8::1", "::ffff:203.0.113.7"];
    for decoy in [None, Some(DecoyReason::Denied), Some(DecoyReason::MailBudget)] {
        for client in clients {
            let client = client.parse().unwrap();
            let issued = Challenge { client, decoy, generation: 7, ..plain.clone() };
            let bytes = issued.to_bytes();
            assert_eq!(bytes.len(), 68 + issued.address.as_str().len());
            let read = Challenge::from_bytes(issued.id, &bytes).unwrap();
            assert_eq!(read, issued);
            assert_eq!(read.address.as_str(), "Alice@example.jp");
            for cut in 0..bytes.len() - 3 {
                let cut = Challenge::from_bytes(issued.id, &bytes[..cut]);
                assert!(cut.is_err() || cut.unwrap().address != issued.address);
            }
        }
    }
    assert!(Challenge::from_bytes(plain.id, &[0; 100]).is_err());
}

#[test]
fn a_device_is_known_for_its_address_and_thirty_days() {
    let (keys, random) = (keys(1), crate::random::SystemRandom::new());
    let (alice, bob) = ("alice@example.jp".parse().unwrap(), "bob@example.jp".parse().unwrap());
    let now = Timestamp::from_unix_secs(1_790_000_000);
    let cookie = DeviceCookie::draw(&random, keys.current(), &alice, now).unwrap();
    let is_known = |address, at| DeviceCookie::is_known(&cookie.expose(), &keys, address, at);
    assert!(is_known(&alice, now));
    assert!(is_known(&alice, cookie.expires().minus(Duration::from_millis(1))));
    assert_eq!(cookie.expires().since(now), DeviceCookie::LIFETIME);
    assert!(!is_known(&alice, cookie.expires()));
    assert!(!is_known(&alice, now.minus(Duration::from_secs(6))), "from the future");
    assert!(!is_known(&bob, now));
    assert_eq!(cookie.expose().parse::<DeviceCookie>().unwrap().expires(), cookie.expires());
    let other = DeviceCookie::draw(&random, keys.current(), &alice, now).unwrap();
    assert_ne!(other.expose(), cookie.expose());
}
