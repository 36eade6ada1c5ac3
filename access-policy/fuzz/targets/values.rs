//! Any text as each kind of value: no panic, and normal forms are stable.

#![no_main]

use std::{fmt::Display, str::FromStr};

use access_policy::{CountryCode, Domain, EmailAddress, Error, Network, Rule};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    is_stable::<EmailAddress>(text);
    is_stable::<Domain>(text);
    is_stable::<Network>(text);
    is_stable::<CountryCode>(text);
    let _ = Rule::from_allowed_mail(text);
    if let Ok(network) = Network::parse(text) {
        assert!(network.contains(network.first()) && network.contains(network.last()));
    }
});

fn is_stable<T: FromStr<Err = Error> + Display + PartialEq>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert!(value.to_string().parse::<T>().is_ok_and(|again| again == value), "{value}");
    }
}
