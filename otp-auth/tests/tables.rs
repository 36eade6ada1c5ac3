//! Addresses and code inputs by table: `tests/data/`.

use otp_auth::address::EmailAddress;
use otp_auth::code::{CodeInput, CodeLength};

#[test]
fn addresses_are_read_as_the_table_says() {
    let cases = table(include_str!("data/addresses.txt"));
    assert!(cases.len() > 70);
    for (typed, expected) in cases {
        let found = match EmailAddress::parse(&typed) {
            Ok(address) => format!("ok {}", address.key()),
            Err(error) => format!("{error:?}"),
        };
        assert_eq!(found, expected, "{typed:?}");
    }
}

#[test]
fn domains_in_other_scripts_need_the_tables_of_idna() {
    let cases = table(include_str!("data/addresses_idna.txt"));
    assert!(cases.len() > 5);
    for (typed, expected) in cases {
        let found = match EmailAddress::parse(&typed) {
            Ok(address) => format!("ok {}", address.key()),
            Err(error) => format!("{error:?}"),
        };
        let expected = if cfg!(feature = "idna") { expected } else { "Domain".to_owned() };
        assert_eq!(found, expected, "{typed:?}");
    }
}

#[test]
fn delivery_keeps_the_mailbox_as_typed() {
    let address = EmailAddress::parse("Hanako.S@Example.JP").unwrap();
    assert_eq!(address.as_str(), "Hanako.S@example.jp");
    assert_eq!(address.key(), "hanako.s@example.jp");
    let again: EmailAddress = address.as_str().parse().unwrap();
    assert_eq!(again, address);
    assert_eq!(again.as_str(), address.as_str());
}

#[test]
fn spaces_around_a_form_field_are_dropped_and_nothing_else() {
    let field = EmailAddress::parse_form_field;
    assert_eq!(field(" alice@example.jp\u{3000} ").unwrap().key(), "alice@example.jp");
    for text in ["\talice@example.jp", "alice@example.jp\n", "alice@example.jp\u{a0}"] {
        assert!(field(text).is_err(), "{text:?}");
    }
}

#[test]
fn code_inputs_are_read_as_the_table_says() {
    let cases = table(include_str!("data/code_inputs.txt"));
    assert!(cases.len() > 40);
    for (typed, expected) in cases {
        let found = match CodeInput::parse(&typed, CodeLength::Six) {
            Ok(_) => "ok".to_owned(),
            Err(error) => {
                let name = format!("{error:?}");
                name.split(' ').next().unwrap_or_default().to_owned()
            }
        };
        assert_eq!(found, expected, "{typed:?}");
    }
}

/// Lines of `"typed" => expected`; the typed text is written with Rust's escapes.
fn table(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines
        .map(|line| {
            let (typed, expected) = line.rsplit_once(" => ").expect("an arrow");
            let typed = typed.strip_prefix('"').and_then(|t| t.strip_suffix('"')).expect("quotes");
            (unescape(typed), expected.to_owned())
        })
        .collect()
}

fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('r') => plain.push('\r'),
            Some('n') => plain.push('\n'),
            Some('t') => plain.push('\t'),
            Some('0') => plain.push('\0'),
            Some(c @ ('"' | '\\')) => plain.push(c),
            Some('u') => {
                let hex: String = chars.by_ref().skip(1).take_while(|c| *c != '}').collect();
                let scalar = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                plain.push(scalar.expect("a scalar value"));
            }
            other => panic!("unknown escape {other:?}"),
        }
    }
    plain
}
