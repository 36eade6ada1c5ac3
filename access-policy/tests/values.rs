//! Every case in `tests/data/values.json` is read as its kind of value, and written in its one form.
//!
//! A case is `[text, normal form]`, or `[text, null]` if it must be refused. Reading the normal form
//! gives the same value again.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use access_policy::{Destination, Domain, EmailAddress, Error, Network, Request, Rule};

#[test]
fn values_match_the_table() {
    let kinds: BTreeMap<String, Vec<(String, Option<String>)>> =
        serde_json::from_str(include_str!("data/values.json")).unwrap();
    let mut failures = Vec::new();
    for (kind, cases) in &kinds {
        for (text, expected) in cases {
            // Names beyond ASCII need the feature `idna`.
            if cfg!(not(feature = "idna")) && (!text.is_ascii() || text.contains("xn--")) {
                continue;
            }
            let found = normalise(kind, text);
            if found.as_ref().ok() != expected.as_ref() {
                failures.push(format!("{kind} `{text}`: expected {expected:?}, found {found:?}"));
            }
            // An allowed mail entry is written in words, which are not read again.
            if let (Ok(normal), false) = (found, kind == "allowed_mail") {
                let again = normalise(kind, &normal).unwrap();
                assert_eq!(again, normal, "{kind}: normalising twice differs from once");
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn errors_never_repeat_an_address() {
    for text in ["secret@x@example.jp", "secret@exa mple.jp", "\"secret\"@example.jp", "secret@"] {
        for error in
            [EmailAddress::parse(text).unwrap_err(), Rule::from_allowed_mail(text).unwrap_err()]
        {
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}

#[test]
fn request_faults_are_told_from_policy_faults() {
    assert!(Request::new("a b", "/").unwrap_err().is_request_fault());
    assert!(Request::new("a.example", "x").unwrap_err().is_request_fault());
    assert!(Request::new("a.example", &"/".repeat(20_000)).unwrap_err().is_request_fault());
    assert!(!Destination::parse("a b").unwrap_err().is_request_fault());
}

fn normalise(kind: &str, text: &str) -> Result<String, Error> {
    fn round<T: FromStr<Err = Error> + Display>(text: &str) -> Result<String, Error> {
        text.parse::<T>().map(|value| value.to_string())
    }
    match kind {
        "email" => round::<EmailAddress>(text),
        "domain" => round::<Domain>(text),
        "network" => round::<Network>(text),
        "destination" => round::<Destination>(text),
        "host" => Request::new(text, "/").map(|request| request.host().to_owned()),
        "path" => Request::new("a.example", text).map(|request| request.path().to_owned()),
        "allowed_mail" => Rule::from_allowed_mail(text).map(|rule| rule.to_string()),
        _ => panic!("unknown kind `{kind}`"),
    }
}
