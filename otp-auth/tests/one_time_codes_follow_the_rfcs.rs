//! RFC 4226 appendix D, RFC 6238 appendix B (all 18 values) and RFC 6287 appendix C.1.
#![cfg(feature = "totp")]

use otp_auth::code::{CodeInput, CodeLength};
use otp_auth::hotp::{HotpKey, Ocra, OtpHash};
use otp_auth::secret::Secret;
use otp_auth::timestamp::Timestamp;
use otp_auth::totp::{Drift, Step, Totp};

/// The ASCII digits `1234567890`, again and again.
fn secret(length: usize) -> Secret {
    Secret::new(b"1234567890".iter().copied().cycle().take(length).collect())
}

fn rows(table: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    table.lines().skip(1).map(|row| row.split(',').collect())
}

#[test]
fn hotp_as_in_rfc_4226() {
    let key = HotpKey::new(&secret(20), OtpHash::Sha1).unwrap();
    let mut seen = 0;
    for row in rows(include_str!("data/rfc4226.csv")) {
        let counter = row[0].parse().unwrap();
        let (truncated, code): (u32, u32) = (row[3].parse().unwrap(), row[4].parse().unwrap());
        assert_eq!(key.value(counter, CodeLength::Six), code, "counter {counter}");
        // More digits are more of the same number.
        assert_eq!(key.value(counter, CodeLength::Nine), truncated % 1_000_000_000);
        seen += 1;
    }
    assert_eq!(seen, 10);
}

#[test]
fn totp_as_in_rfc_6238() {
    let mut seen = 0;
    for row in rows(include_str!("data/rfc6238.csv")) {
        let now = Timestamp::from_unix_secs(row[0].parse().unwrap());
        assert_eq!(Step::at(now).number(), u64::from_str_radix(row[1], 16).unwrap());
        let hashes = [(OtpHash::Sha1, 20), (OtpHash::Sha256, 32), (OtpHash::Sha512, 64)];
        for ((hash, length), code) in hashes.into_iter().zip(&row[2..]) {
            let totp = Totp::with_parameters(secret(length), hash, CodeLength::Eight).unwrap();
            assert_eq!(format!("{:08}", totp.value(Step::at(now))), *code, "{row:?}");
            let input = CodeInput::parse(code, CodeLength::Eight).unwrap();
            assert_eq!(totp.find_step(&input, now, Drift::default()), Some(Step::at(now)));
            seen += 1;
        }
    }
    assert_eq!(seen, 18);
}

#[test]
fn ocra_as_in_rfc_6287() {
    let ocra = Ocra::new(&secret(20), OtpHash::Sha1, CodeLength::Six, 8).unwrap();
    assert_eq!(ocra.suite(), "OCRA-1:HOTP-SHA1-6:QN08");
    let mut seen = 0;
    for row in rows(include_str!("data/rfc6287.csv")) {
        assert_eq!(ocra.value(row[0]), Some(row[1].parse().unwrap()), "{row:?}");
        seen += 1;
    }
    assert_eq!(seen, 10);
    for bad in ["", "123456789", "1234567a", "１２３４５６７８", " 1234567"] {
        assert_eq!(ocra.value(bad), None, "{bad}");
    }
    assert!(Ocra::new(&secret(20), OtpHash::Sha1, CodeLength::Six, 3).is_err());
    assert!(Ocra::new(&secret(20), OtpHash::Sha1, CodeLength::Six, 65).is_err());
}

#[test]
fn short_and_endless_secrets_are_refused() {
    for length in [0, 10, 15, 129] {
        assert!(HotpKey::new(&secret(length), OtpHash::Sha1).unwrap_err().is_caller_fault());
    }
    for length in [16, 20, 64, 65, 128] {
        assert!(HotpKey::new(&secret(length), OtpHash::Sha256).is_ok());
    }
}
