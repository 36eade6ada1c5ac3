//! Certificates and keys are read in the shapes found in the wild, as `tests/data/pem.txt` says.
#![cfg(any(feature = "ring", feature = "aws-lc-rs"))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use cert_manager::{Certificate, Error};

#[test]
fn follows_the_table() {
    for line in include_str!("data/pem.txt").lines() {
        if line.starts_with('#') {
            continue;
        }
        let [chain, key, change, expected] = line.split('|').map(str::trim).collect::<Vec<_>>()[..]
        else {
            panic!("{line}");
        };
        let read = Certificate::from_pem(changed(chain, change), changed(key, change));
        if let Some(class) = expected.strip_prefix('!') {
            assert_eq!(self::class(&read.expect_err(line)), class, "{line}");
            continue;
        }
        let certificate = read.expect(line);
        let count = certificate.chain().len();
        assert_eq!(count.to_string(), expected, "{line}");
        let names = certificate.names().iter().map(ToString::to_string);
        let names = names.collect::<Vec<_>>();
        assert_eq!(names, ["a.example.jp", "*.b.example.jp", "192.0.2.7"], "{line}");
    }
}

#[test]
fn puts_the_leaf_first_and_drops_the_root() {
    let expected = Certificate::from_pem(fixture("chain.crt"), fixture("ec.sec1.key")).unwrap();
    let read = Certificate::from_pem(fixture("reversed.crt"), fixture("ec.sec1.key")).unwrap();
    assert_eq!(read.chain(), expected.chain());
    assert_eq!(
        read.chain_pem(),
        String::from_utf8([fixture("ec.crt"), fixture("intermediate.crt")].concat()).unwrap()
    );
}

#[test]
fn prefers_the_leaf_that_ends_last() {
    let both = [fixture("expired.crt"), fixture("ec.crt")].concat();
    let read = Certificate::from_pem(both, fixture("ec.sec1.key")).unwrap();
    assert_eq!(read.chain_pem().as_bytes(), fixture("ec.crt"));
}

#[test]
fn writes_keys_as_openssl_does() {
    for (chain, key) in [
        ("ec.crt", "ec.sec1.key"),
        ("ec.crt", "ec.pkcs8.key"),
        ("rsa.crt", "rsa.pkcs1.key"),
        ("rsa.crt", "rsa.pkcs8.key"),
    ] {
        let read = Certificate::from_pem(fixture(chain), fixture(key)).unwrap();
        assert_eq!(read.key_pem().expose().as_bytes(), fixture(key), "{key}");
    }
}

#[test]
fn an_expired_certificate_is_a_state() {
    let read = Certificate::from_pem(fixture("expired.crt"), fixture("ec.sec1.key")).unwrap();
    // 2026-11-26 13:14:08 UTC, as `openssl x509 -dates` prints it.
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_698_848);
    assert_eq!(read.not_after(), end);
    assert!(!read.is_expired(end));
    assert!(!read.is_expired(end + Duration::from_millis(999)));
    assert!(read.is_expired(end + Duration::from_secs(1)));
    assert_eq!(read.serial().to_string(), "3b9d7250d0b077ee84c76776ca91685f2554a638");
}

#[test]
fn every_cut_is_refused_or_read_without_a_panic() {
    let bundle = fixture("bundle.pem");
    for end in 0..bundle.len() {
        let _ = Certificate::from_pem(&bundle[..end], &bundle[..end]);
    }
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/pem");
    fs::read(folder.join(name)).unwrap()
}

fn changed(name: &str, change: &str) -> Vec<u8> {
    const MARK: &str = "\u{feff}";
    let text = String::from_utf8(fixture(name)).unwrap();
    let changed = match change {
        "-" => text,
        "crlf" => text.replace('\n', "\r\n"),
        "cr" => text.replace('\n', "\r"),
        "bom" => format!("{MARK}{text}"),
        "bom-crlf" => format!("{MARK}{}", text.replace('\n', "\r\n")),
        "bom-each-line" => MARK.to_owned() + &text.trim_end().replace('\n', &format!("\n{MARK}")),
        "text" => format!("subject=CN = leaf\n\n{text}\nBag Attributes: <none>\n"),
        "trailing-spaces" => text.replace("-----\n", "----- \n"),
        "no-last-newline" => text.trim_end().to_owned(),
        "huge" => text + &"x".repeat(2 << 20),
        "binary" => {
            let noise = text.bytes().map(|byte| byte.wrapping_mul(167) ^ 0xa5);
            return noise.collect();
        }
        other => panic!("unknown change {other}"),
    };
    changed.into_bytes()
}

fn class(error: &Error) -> &'static str {
    match () {
        () if error.is_encrypted_key() => "encrypted",
        () if error.is_key_mismatch() => "mismatch",
        () if error.is_missing_certificate() => "no-certificate",
        () if error.is_missing_key() => "no-key",
        () if error.is_malformed() => "malformed",
        () => "other",
    }
}
