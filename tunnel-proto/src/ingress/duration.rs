//! Durations as Go writes them: `30s`, `1m30s`, `1.5h`.

use std::time::Duration;

/// Reads a duration that is not negative.
///
/// # Errors
///
/// What the text is instead, for the end of a message.
pub(super) fn parse(text: &str) -> Result<Duration, &'static str> {
    const WRONG: &str = "not a duration; write it as `30s` or `1m30s`";
    const LONG: &str = "longer than anybody waits";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.starts_with('-') {
        return Err("negative");
    }
    if rest.is_empty() {
        return Err(WRONG);
    }
    let mut total = 0_u128;
    while !rest.is_empty() {
        let number_end = rest.find(|char: char| !char.is_ascii_digit() && char != '.');
        let (number, tail) = rest.split_at(number_end.ok_or("without a unit; write it as `30s`")?);
        let unit_end = tail.find(|char: char| char.is_ascii_digit() || char == '.');
        let (unit, tail) = tail.split_at(unit_end.unwrap_or(tail.len()));
        let nanos_per_unit: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(WRONG),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
            return Err(WRONG);
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| LONG)? };
        total += u128::from(whole) * nanos_per_unit;
        let mut worth = nanos_per_unit;
        for digit in fraction.bytes() {
            worth /= 10;
            total += u128::from(digit - b'0') * worth;
        }
        rest = tail;
    }
    // Go counts nanoseconds in 63 bits: 292 years.
    if total > i64::MAX.unsigned_abs().into() {
        return Err(LONG);
    }
    u64::try_from(total).map(Duration::from_nanos).map_err(|_| LONG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_go() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("5.s", 5_000),
            ("+2s", 2_000),
            ("1h1m1s1ms", 3_661_001),
            ("1000us", 1),
            ("1000µs", 1),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "+",
            "-1s",
            "30",
            "s",
            ".s",
            "1x",
            "1 s",
            " 1s",
            "1s ",
            "1..5s",
            "1.2.3s",
            "9999999h",
            "99999999999999999999s",
            "1s30",
            "１s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
