//! Authenticator apps: a code counts once, wrong ones are limited, drift is bounded, the key URI can't be
//! misread.
#![cfg(feature = "totp")]
#![expect(clippy::unwrap_used, reason = "a test that can't set up its app has failed")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use otp_auth::code::{CodeInput, CodeLength};
use otp_auth::error::Error;
use otp_auth::hotp::OtpHash;
use otp_auth::random::SystemRandom;
use otp_auth::secret::Secret;
use otp_auth::timestamp::Timestamp;
use otp_auth::totp::{
    Drift, FactorId, MemorySteps, Reservation, SecondFactor, Step, StepStore, Totp, TotpVerdict,
    Tries,
};
use support::{START, after};
use tokio::task::JoinSet;

fn totp() -> Totp {
    Totp::from_secret(Secret::new(b"12345678901234567890".to_vec())).unwrap()
}

fn alice() -> FactorId {
    "alice/1".parse().unwrap()
}

fn code(totp: &Totp, at: Timestamp) -> String {
    format!("{:06}", totp.value(Step::at(at)))
}

fn checks() -> SecondFactor {
    SecondFactor::new(Arc::new(MemorySteps::new()))
}

async fn check(checks: &SecondFactor, typed: &str, now: Timestamp) -> &'static str {
    match checks.check(&alice(), &totp(), typed, now).await.unwrap() {
        TotpVerdict::Verified(_) => "verified",
        TotpVerdict::Refused => "refused",
        TotpVerdict::TooMany => "too many",
        TotpVerdict::Malformed(_) => "malformed",
    }
}

#[tokio::test]
async fn a_code_is_refused_the_second_time_with_and_without_spaces() {
    let checks = checks();
    let typed = code(&totp(), START);
    assert_eq!(check(&checks, &typed, START).await, "verified");
    let spaced = format!(" {} {}", &typed[..3], &typed[3..]);
    for again in [typed.clone(), spaced, typed.replace('1', "１")] {
        assert_eq!(check(&checks, &again, START).await, "refused", "{again}");
    }
    // The code of the step before is older than the last one accepted.
    let before = code(&totp(), START.minus(Duration::from_secs(30)));
    assert_eq!(check(&checks, &before, START).await, "refused");
    assert_eq!(check(&checks, &code(&totp(), after(30)), after(30)).await, "verified");
}

#[tokio::test]
async fn one_of_128_that_send_the_right_code_at_once_is_let_in() {
    for round in 0..20 {
        let checks = checks().tries(Tries { at_once: 100, ..Tries::default() }).unwrap();
        let now = after(round * 60);
        let mut all = JoinSet::new();
        for _ in 0..128 {
            let (checks, typed) = (checks.clone(), code(&totp(), now));
            all.spawn(async move { check(&checks, &typed, now).await });
        }
        let found = all.join_all().await;
        assert_eq!(found.iter().filter(|it| **it == "verified").count(), 1, "round {round}");
    }
}

#[tokio::test]
async fn a_step_either_way_is_accepted_and_no_more() {
    for (secs, expected) in
        [(-60, "refused"), (-30, "verified"), (0, "verified"), (30, "verified"), (60, "refused")]
    {
        let shown = START.as_unix_secs().checked_add_signed(secs).unwrap();
        let typed = code(&totp(), Timestamp::from_unix_secs(shown));
        assert_eq!(check(&checks(), &typed, START).await, expected, "{secs} s");
    }
}

#[tokio::test]
async fn drift_is_remembered_and_goes_no_further_than_one_step() {
    let checks = checks();
    // The app is 25 seconds ahead, then a minute: two steps, found because one was known.
    assert_eq!(check(&checks, &code(&totp(), after(30)), START).await, "verified");
    assert_eq!(check(&checks, &code(&totp(), after(660)), after(600)).await, "verified");
    assert_eq!(check(&checks, &code(&totp(), after(1_290)), after(1_200)).await, "refused");
    // An app that is right again is right at once.
    assert_eq!(check(&checks, &code(&totp(), after(1_800)), after(1_800)).await, "verified");

    let now = Timestamp::from_unix_secs(3_000);
    for (step, drift) in [(0, -1), (99, -1), (100, 0), (101, 1), (u64::MAX, 1)] {
        assert_eq!(Drift::observed(Step::new(step), now).steps(), drift, "{step}");
    }
    assert_eq!((Drift::new(7).steps(), Drift::new(i8::MIN).steps()), (1, -1));
}

#[tokio::test]
async fn wrong_codes_run_out_and_come_back_slowly() {
    let checks = checks();
    let wrong = "000000";
    assert_ne!(code(&totp(), START), wrong);
    for _ in 0..5 {
        assert_eq!(check(&checks, wrong, START).await, "refused");
    }
    let right = code(&totp(), START);
    assert_eq!(check(&checks, &right, START).await, "too many");
    assert_eq!(check(&checks, &code(&totp(), after(899)), after(899)).await, "too many");
    assert_eq!(check(&checks, &code(&totp(), after(900)), after(900)).await, "verified");
    // Right once, and the count starts again.
    for _ in 0..5 {
        assert_eq!(check(&checks, wrong, after(960)).await, "refused");
    }
    assert_eq!(check(&checks, wrong, after(960)).await, "too many");
}

#[tokio::test]
async fn a_clock_that_was_set_back_closes_nobody_out() {
    let checks = checks();
    let years = Duration::from_secs(10 * 365 * 86_400);
    for _ in 0..5 {
        assert_eq!(check(&checks, "000000", START.plus(years)).await, "refused");
    }
    assert_eq!(
        check(&checks, &code(&totp(), START.plus(years)), START.plus(years)).await,
        "too many"
    );
    assert_eq!(check(&checks, "000000", START).await, "refused", "one, for the clock");
    assert_eq!(check(&checks, "000000", START).await, "too many");
    assert_eq!(check(&checks, &code(&totp(), after(900)), after(900)).await, "verified");
}

#[tokio::test]
async fn after_a_hundred_in_a_row_only_an_administrator_opens_it() {
    let steps = Arc::new(MemorySteps::new());
    let checks = SecondFactor::new(steps.clone());
    let mut compared = 0;
    for quarter in 0..200 {
        let now = after(quarter * 900);
        compared += u32::from(check(&checks, "000000", now).await == "refused");
    }
    for _ in 0..4 {
        compared += u32::from(check(&checks, "000000", START).await == "refused");
    }
    assert_eq!(compared, 100);
    let late = after(500 * 900);
    assert_eq!(check(&checks, &code(&totp(), late), late).await, "too many");
    steps.reopen(&alice()).await.unwrap();
    assert_eq!(check(&checks, &code(&totp(), late), late).await, "verified");
    assert!(checks.tries(Tries { at_most: 101, ..Tries::default() }).is_err());
}

#[tokio::test]
async fn malformed_input_spends_no_try() {
    let checks = checks();
    for typed in ["", "12345", "1234567", "12345a", "٣٤٥٦٧٨", "+12345", "1e5000", "0x1234", "\0"]
    {
        assert_eq!(check(&checks, typed, START).await, "malformed", "{typed:?}");
    }
    for _ in 0..100 {
        assert_eq!(check(&checks, "1", START).await, "malformed");
    }
    assert_eq!(check(&checks, &code(&totp(), START), START).await, "verified");
}

/// A store that fails at one of its two steps.
#[derive(Debug)]
struct Failing {
    inner: MemorySteps,
    at_advance: bool,
}

#[async_trait]
impl StepStore for Failing {
    async fn reserve(
        &self,
        id: &FactorId,
        t: &Tries,
        now: Timestamp,
    ) -> Result<Reservation, Error> {
        if self.at_advance {
            return self.inner.reserve(id, t, now).await;
        }
        Err(Error::store_unavailable("down"))
    }

    async fn advance(&self, id: &FactorId, step: Step, drift: Drift) -> Result<bool, Error> {
        // It happened, and the answer was lost.
        let _done = self.inner.advance(id, step, drift).await?;
        Err(Error::store_unavailable("down"))
    }

    async fn reopen(&self, id: &FactorId) -> Result<(), Error> {
        self.inner.reopen(id).await
    }
}

#[tokio::test]
async fn a_store_without_an_answer_lets_nobody_in() {
    for at_advance in [false, true] {
        let steps = Failing { inner: MemorySteps::new(), at_advance };
        let checks = SecondFactor::new(Arc::new(steps));
        let typed = code(&totp(), START);
        let refused = checks.check(&alice(), &totp(), &typed, START).await.unwrap_err();
        assert!(refused.is_store_unavailable());
    }
}

#[test]
fn two_steps_with_one_code_count_as_the_later_one() {
    let now = START;
    let centre = Step::at(now).number();
    // Found by trying one secret after the other: one in a million is like that.
    let secret = [&845_544_u32.to_be_bytes()[..], &[7; 16]].concat();
    let twin = Totp::from_secret(Secret::new(secret)).unwrap();
    assert_eq!(twin.value(Step::new(centre)), twin.value(Step::new(centre + 1)));
    let input = CodeInput::parse(&code(&twin, now), CodeLength::Six).unwrap();
    let found = twin.find_step(&input, now, Drift::default());
    assert_eq!(found, Some(Step::new(centre + 1)), "so that the code is spent for both");
}

#[test]
fn key_uris_survive_odd_issuers_and_accounts() {
    let totp = totp();
    let uri = |issuer: &str, account: &str| {
        let uri = totp.key_uri(issuer, account).unwrap();
        String::from_utf8(uri.expose().to_vec()).unwrap()
    };
    let rest = "secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=";
    let end = "&algorithm=SHA1&digits=6&period=30";
    for (issuer, account, label, query) in [
        ("Example", "alice@example.jp", "Example:alice%40example.jp", "Example"),
        ("Example Ltd", "a", "Example%20Ltd:a", "Example%20Ltd"),
        ("A:B", "c:d", "A%3AB:c%3Ad", "A%3AB"),
        ("100%", "a%3Ab", "100%25:a%253Ab", "100%25"),
        ("a&secret=AAAA", "x#y?z/", "a%26secret%3DAAAA:x%23y%3Fz%2F", "a%26secret%3DAAAA"),
        ("日本", "é+", "%E6%97%A5%E6%9C%AC:%C3%A9%2B", "%E6%97%A5%E6%9C%AC"),
    ] {
        let expected = format!("otpauth://totp/{label}?{rest}{query}{end}");
        assert_eq!(uri(issuer, account), expected);
    }
    for bad in ["", "a\r\nb", "\0", &"x".repeat(129)] {
        assert!(totp.key_uri(bad, "a").is_err() && totp.key_uri("a", bad).is_err(), "{bad:?}");
    }
    let other =
        Totp::with_parameters(Secret::new(vec![0xff; 33]), OtpHash::Sha256, CodeLength::Eight);
    let uri = other.unwrap().key_uri("i", "a").unwrap();
    let text = String::from_utf8(uri.expose().to_vec()).unwrap();
    assert!(text.ends_with("&algorithm=SHA256&digits=8&period=30"), "{text}");
    assert!(text.contains(&format!("secret={}6&", "7".repeat(52))), "{text}");
}

#[test]
fn base32_is_that_of_rfc_4648() {
    // Section 10's vectors are shorter than a secret may be; this is their text, repeated.
    let secret = Secret::new(b"foobarfoobarfoobarfoobar".to_vec());
    let text = Totp::from_secret(secret).unwrap().base32_secret();
    assert_eq!(text.expose(), b"MZXW6YTBOJTG633CMFZGM33PMJQXEZTPN5RGC4Q");
}

#[test]
fn drawn_secrets_have_160_bits_and_differ() {
    let random = SystemRandom::new();
    let (one, two) = (Totp::generate(&random).unwrap(), Totp::generate(&random).unwrap());
    assert_eq!(one.secret().expose().len(), 20);
    assert_ne!(one.secret(), two.secret());
}

#[test]
fn names_of_factors_are_plain() {
    for bad in
        ["", "a b/1", "a/\n", "é/1", "alice", "/1", "alice/", &format!("{}/1", "x".repeat(127))]
    {
        assert!(bad.parse::<FactorId>().is_err(), "{bad:?}");
    }
    assert_eq!(FactorId::new("alice", "1").unwrap(), alice());
    assert_eq!(FactorId::new("tenant/alice", "phone").unwrap().subject(), "tenant/alice");
    // Nobody's name for a telephone makes it another person's.
    assert!(FactorId::new("alice", "bob/1").is_err());
}
