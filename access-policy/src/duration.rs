//! Durations in Go's notation, as Cloudflare's API writes them.

use std::{fmt::Write as _, time::Duration};

use crate::{
    error::{Error, Kind},
    limits,
};

/// Reads `0`, or numbers with units such as `24h`, `2h45m` or `1.5h`.
pub(crate) fn parse(text: &str) -> Result<Duration, Error> {
    parse_nanos(text)
        .and_then(to_duration)
        .ok_or_else(|| Kind::Duration(limits::excerpt(text)).into())
}

/// Writes a duration so that [`parse`] reads back the same: whole hours, minutes and seconds.
pub(crate) fn format(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let mut out = String::new();
    for (count, unit) in parts.into_iter().chain([(u64::from(nanos), "ns")]) {
        if count > 0 {
            // Writing to a string can't fail.
            let _ = write!(out, "{count}{unit}");
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

fn parse_nanos(text: &str) -> Option<u128> {
    if text == "0" {
        return Some(0);
    }
    if text.is_empty() {
        return None;
    }
    let mut rest = text;
    let mut total = 0_u128;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(number_len);
        let unit_len = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        total = total.checked_add(nanos_of(number, unit)?)?;
        rest = after;
    }
    Some(total)
}

fn nanos_of(number: &str, unit: &str) -> Option<u128> {
    let scale: u128 = match unit {
        "ns" => 1,
        // Micro sign and Greek mu, as in Go.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let mut nanos = match whole {
        "" => 0,
        digits => digits.parse::<u128>().ok()?.checked_mul(scale)?,
    };
    // Digits below a nanosecond are dropped, as in Go.
    let mut place = scale;
    for digit in fraction.bytes() {
        place /= 10;
        nanos = nanos.checked_add(u128::from(digit - b'0') * place)?;
    }
    Some(nanos)
}

fn to_duration(nanos: u128) -> Option<Duration> {
    // Go counts nanoseconds in 63 bits, about 292 years.
    i64::try_from(nanos).ok().map(|nanos| Duration::from_nanos(nanos.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        for (text, seconds) in
            [("0", 0), ("0s", 0), ("24h", 86_400), ("2h45m", 9_900), ("1.5h", 5_400), (".5m", 30)]
        {
            assert_eq!(parse(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        assert_eq!(parse("3µs").unwrap(), Duration::from_micros(3));
        assert_eq!(parse("1h1ns").unwrap(), Duration::new(3600, 1));
    }

    #[test]
    fn refuses_what_has_no_meaning() {
        for text in [
            "",
            "-1h",
            "+1h",
            "1d",
            "1e3h",
            "9999999999h",
            ".h",
            "1",
            "h",
            "1h ",
            "1..5h",
            "1.2.3h",
            "１h",
            "99999999999999999999999999999999999999999999999h",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["0s", "24h", "2h45m", "1s", "1h1ns"] {
            assert_eq!(format(parse(text).unwrap()), text);
        }
    }
}
