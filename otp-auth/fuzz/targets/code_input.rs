//! Any text as a code: no panic; what is read has exactly the digits of the text, and another spelling of the
//! same digits is read alike.

#![no_main]

use libfuzzer_sys::fuzz_target;
use otp_auth::code::{CodeInput, CodeInputError, CodeLength};

fuzz_target!(|text: &str| {
    let digits: Vec<u32> = text
        .chars()
        .filter_map(|c| match c {
            '0'..='9' => Some(c as u32 - 0x30),
            '\u{ff10}'..='\u{ff19}' => Some(c as u32 - 0xff10),
            _ => None,
        })
        .collect();
    let is_separator = |c: char| c == ' ' || c == '\u{3000}' || c == '-';
    let is_digit = |c: char| c.is_ascii_digit() || ('\u{ff10}'..='\u{ff19}').contains(&c);
    let is_plain = text.chars().all(|c| is_digit(c) || is_separator(c));
    for length in [CodeLength::Six, CodeLength::Eight, CodeLength::Nine, CodeLength::Twelve] {
        let read = CodeInput::parse(text, length);
        let fits = is_plain && digits.len() == length.digits() && text.len() <= 96;
        assert_eq!(read.is_ok(), fits, "{text:?} at {length:?}");
        match read {
            Ok(input) => {
                let digits = digits.iter().filter_map(|digit| char::from_digit(*digit, 10));
                let plain: String = digits.collect();
                assert!(CodeInput::parse(&plain, length).is_ok());
                assert_eq!(format!("{input:?}"), "CodeInput(..)");
            }
            Err(CodeInputError::NotADigit { expected } | CodeInputError::WrongLength { expected }) => {
                assert_eq!(expected, length.digits());
            }
            Err(_) => {}
        }
    }
});
