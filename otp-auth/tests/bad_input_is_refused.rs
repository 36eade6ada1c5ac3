//! What people and attackers type, each with its own name. The tables beside this file have more of each kind.
#![expect(clippy::unwrap_used, reason = "a test")]

mod support;

use std::sync::Arc;

use otp_auth::address::{AddressError, EmailAddress};
use otp_auth::login::{Admission, Login, Reason, Refusal, Verdict};
use otp_auth::random::SystemRandom;
use otp_auth::store::MemoryStore;
use support::{START, Visitor, builder};

const ALICE: &str = "alice@example.jp";

/// A login with one try for each code: whatever spends it is seen.
fn login_with_one_try() -> Login {
    let (store, random) = (Arc::new(MemoryStore::new()), Arc::new(SystemRandom::new()));
    builder(store, random).tries(1).build().unwrap()
}

/// What was typed is no code, and the one try is there afterwards.
async fn refused_without_a_try(typed: &str) {
    let login = login_with_one_try();
    let alice = Visitor::begin(&login, ALICE, Admission::Admitted, START).await;
    let verdict = alice.submit(&login, typed, START).await;
    assert!(matches!(verdict, Verdict::Malformed(_)), "{typed:?}: {verdict:?}");
    let verdict = alice.submit(&login, alice.code(), START).await;
    assert!(matches!(verdict, Verdict::Proven(_)), "{typed:?}: {verdict:?}");
}

/// The right code in another spelling opens.
async fn accepted(spelling: impl Fn(&str) -> String) {
    let login = login_with_one_try();
    let alice = Visitor::begin(&login, ALICE, Admission::Admitted, START).await;
    let typed = spelling(alice.code());
    let verdict = alice.submit(&login, &typed, START).await;
    assert!(matches!(verdict, Verdict::Proven(_)), "{typed:?}: {verdict:?}");
}

macro_rules! codes {
    ($($name:ident: $typed:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            refused_without_a_try(&$typed).await;
        }
    )*};
}

codes! {
    an_empty_code: "";
    a_code_of_blanks: "  \u{3000} ";
    five_digits: "48291";
    seven_digits: "4829137";
    twenty_digits: "48291348291348291348";
    a_million_digits: "4".repeat(1_000_000);
    a_million_blanks_around_six_digits: format!("{}482913", " ".repeat(1_000_000));
    a_sign: "+48291";
    a_number_with_an_exponent: "1e5000";
    a_hexadecimal_number: "0x1234";
    letters: "abcdef";
    a_nul: "482913\0";
    a_line_end: "482913\r\n";
    a_tab: "482\t913";
    a_right_to_left_mark: "\u{202e}482913";
    a_combining_mark: "4829\u{301}13";
    a_zero_width_space: "482\u{200b}913";
    a_no_break_space: "482\u{a0}913";
    an_en_dash: "482\u{2013}913";
    arabic_digits: "\u{663}\u{664}\u{665}\u{666}\u{667}\u{668}";
    devanagari_digits: "\u{967}\u{968}\u{969}\u{96a}\u{96b}\u{96c}";
    a_circled_digit: "\u{2464}82913";
    a_list_of_json: "[\"482913\"]";
    an_object_of_json: "{}";
    a_null_of_json: "null";
}

#[tokio::test]
async fn full_width_digits_are_accepted() {
    let wide = |digit: char| char::from_u32(digit as u32 - 0x30 + 0xff10).unwrap();
    accepted(|code| code.chars().map(wide).collect()).await;
}

#[tokio::test]
async fn spaces_of_an_input_method_are_accepted() {
    accepted(|code| format!("\u{3000}{}\u{3000}{} ", &code[..3], &code[3..])).await;
}

#[tokio::test]
async fn spaces_and_hyphens_between_digits_are_accepted() {
    accepted(|code| format!(" {} - {} ", &code[..3], &code[3..])).await;
}

/// Six zeros are a code like any other: wrong, and the try is spent.
#[tokio::test]
async fn six_zeros_are_a_guess() {
    let login = login_with_one_try();
    let alice = Visitor::begin(&login, ALICE, Admission::Admitted, START).await;
    if alice.code() == "000000" {
        return;
    }
    let verdict = alice.submit(&login, "000000", START).await;
    assert_eq!(verdict.refusal().map(Refusal::reason), Some(Reason::Wrong));
}

/// The flow is not opened, and not touched: its own browser goes on with all its tries.
async fn refused_as_another_browser(cookie: impl Fn(&Visitor, &Visitor) -> String) {
    let login = login_with_one_try();
    let alice = Visitor::begin(&login, ALICE, Admission::Admitted, START).await;
    let mallory = Visitor::begin(&login, "mallory@evil.test", Admission::Denied, START).await;
    let cookie = cookie(&alice, &mallory);
    let verdict = login.submit(&alice.nonce, &cookie, alice.code(), START).await.unwrap();
    assert_eq!(verdict.refusal().map(Refusal::reason), Some(Reason::OtherBrowser), "{cookie}");
    let verdict = alice.submit(&login, alice.code(), START).await;
    assert!(matches!(verdict, Verdict::Proven(_)), "{verdict:?}");
}

#[tokio::test]
async fn a_missing_cookie() {
    refused_as_another_browser(|_, _| String::new()).await;
}

#[tokio::test]
async fn a_doubled_cookie() {
    refused_as_another_browser(|alice, _| format!("{0}; {0}", alice.cookie)).await;
    refused_as_another_browser(|alice, _| format!("{0},{0}", alice.cookie)).await;
    refused_as_another_browser(|alice, _| alice.cookie.repeat(2)).await;
}

#[tokio::test]
async fn a_code_in_another_browser() {
    refused_as_another_browser(|_, mallory| mallory.cookie.clone()).await;
}

#[tokio::test]
async fn a_cookie_with_one_character_changed() {
    refused_as_another_browser(|alice, _| {
        let last = if alice.cookie.ends_with('A') { "B" } else { "A" };
        format!("{}{last}", &alice.cookie[..alice.cookie.len() - 1])
    })
    .await;
}

#[tokio::test]
async fn a_cookie_of_a_megabyte() {
    refused_as_another_browser(|_, _| "A".repeat(1 << 20)).await;
}

#[tokio::test]
async fn a_replayed_nonce() {
    let login = login_with_one_try();
    let alice = Visitor::begin(&login, ALICE, Admission::Admitted, START).await;
    let (nonce, cookie) = (alice.nonce.clone(), alice.cookie.clone());
    assert!(matches!(alice.submit(&login, alice.code(), START).await, Verdict::Proven(_)));
    let again = login.submit(&nonce, &cookie, alice.code(), START).await.unwrap();
    assert_eq!(again.refusal().map(Refusal::reason), Some(Reason::Used));
}

#[tokio::test]
async fn a_nonce_that_was_never_given() {
    let login = login_with_one_try();
    let alice = Visitor::begin(&login, ALICE, Admission::Admitted, START).await;
    for nonce in ["", "x", "../../etc/passwd", &"0".repeat(32), &"0".repeat(1 << 20)] {
        let verdict = login.submit(nonce, &alice.cookie, alice.code(), START).await.unwrap();
        let reason = verdict.refusal().map(Refusal::reason);
        assert!(matches!(reason, Some(Reason::Unknown | Reason::OtherBrowser)), "{reason:?}");
    }
    assert!(matches!(alice.submit(&login, alice.code(), START).await, Verdict::Proven(_)));
}

macro_rules! addresses {
    ($($name:ident: $typed:expr => $error:ident;)*) => {$(
        #[test]
        fn $name() {
            assert_eq!(EmailAddress::parse(&$typed), Err(AddressError::$error));
        }
    )*};
}

addresses! {
    an_address_with_a_header_behind_it: "a@example.jp\r\nBcc: x@y.jp" => ControlOrSpace;
    an_address_with_a_nul: "a@example.jp\0" => ControlOrSpace;
    a_list_of_addresses_with_a_comma: "a@example.jp,c@d.example" => SeveralAt;
    a_list_of_addresses_with_a_semicolon: "a@example.jp;c@d.example" => SeveralAt;
    an_address_in_angle_brackets: "<a@example.jp>" => LocalPart;
    a_display_name_in_quotes: "\"Alice\" <a@example.jp>" => ControlOrSpace;
    a_quoted_local_part: "\"a\"@example.jp" => LocalPart;
    a_comment: "a(c)@example.jp" => LocalPart;
    two_at_signs: "a@b@example.jp" => SeveralAt;
    a_domain_literal: "user@[127.0.0.1]" => Domain;
    a_host_name_of_one_label: "user@localhost" => Domain;
    a_trailing_dot: "a@example.jp." => Domain;
    a_trailing_ideographic_dot: "a@example.jp\u{3002}" => Domain;
    a_local_part_of_65_bytes: format!("{}@example.jp", "x".repeat(65)) => TooLong;
    a_label_of_64_bytes: format!("a@{}.jp", "b".repeat(64)) => Domain;
    an_address_of_255_bytes: address_of(255) => TooLong;
    an_address_of_a_megabyte: format!("a@{}.jp", "b".repeat(1 << 20)) => TooLong;
    a_leading_dot: ".a@example.jp" => LocalPart;
    a_double_dot: "a..b@example.jp" => LocalPart;
    a_route_with_a_percent_sign: "a%b@example.jp" => LocalPart;
    a_route_with_an_exclamation_mark: "a!b@example.jp" => LocalPart;
    a_leading_space: " a@example.jp" => ControlOrSpace;
    a_kelvin_sign: "\u{212a}ate@example.jp" => LocalPart;
    a_dotless_i: "al\u{131}ce@example.jp" => LocalPart;
    a_long_s: "\u{17f}aito@example.jp" => LocalPart;
    a_sharp_s: "\u{df}@example.jp" => LocalPart;
    a_ligature: "\u{fb01}@example.jp" => LocalPart;
    full_width_letters: "\u{ff41}lice@example.jp" => LocalPart;
    a_full_width_at_sign: "alice\u{ff20}example.jp" => NoAt;
    a_small_at_sign: "alice\u{fe6b}example.jp" => NoAt;
    a_soft_hyphen: "a\u{ad}@example.jp" => LocalPart;
    a_zero_width_space_in_the_mailbox: "a\u{200b}@example.jp" => LocalPart;
    a_right_to_left_mark_in_the_domain: "a@\u{202e}example.jp" => Domain;
    invalid_punycode: "a@xn--.jp" => Domain;
}

/// So many bytes, with labels of ordinary length.
fn address_of(bytes: usize) -> String {
    let domain =
        format!("{}.example.jp", ["b".repeat(60), "b".repeat(60), "b".repeat(60)].join("."));
    format!("{}@{domain}", "x".repeat(bytes - domain.len() - 1))
}

#[test]
fn an_address_of_254_bytes_is_the_longest() {
    assert!(EmailAddress::parse(&address_of(254)).is_ok());
}

/// Without the tables of IDNA nobody can tell whether it is a domain, and it is refused.
#[cfg(feature = "idna")]
#[test]
fn a_domain_that_looks_like_another_in_punycode_is_itself() {
    let key = |text: &str| EmailAddress::parse(text).unwrap().key().to_owned();
    assert_eq!(key("a@xn--gmal-nza.com"), "a@xn--gmal-nza.com");
    assert_ne!(key("a@xn--gmal-nza.com"), key("a@gmail.com"));
}

#[test]
fn a_sharp_s_in_the_domain_is_another_domain_than_two_s() {
    let strasse = EmailAddress::parse("a@strasse.example").unwrap();
    if let Ok(straße) = EmailAddress::parse("a@stra\u{df}e.example") {
        assert_ne!(straße.key(), strasse.key());
    }
}

#[test]
fn plus_and_dot_variants_are_different_people_and_two_cases_are_one() {
    let key = |text: &str| EmailAddress::parse(text).unwrap().key().to_owned();
    assert_ne!(key("alice+1@example.jp"), key("alice@example.jp"));
    assert_ne!(key("a.lice@example.jp"), key("alice@example.jp"));
    assert_eq!(key("Alice@EXAMPLE.jp"), key("alice@example.jp"));
}
