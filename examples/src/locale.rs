//! The languages of the visitor's pages, and their texts.
//!
//! The texts are plain files, `templates/text.en.txt` and `templates/text.ja.txt`: one `key = text` a line,
//! `#` for comments, `{name}` where a value goes in. Both files have the same keys and the same
//! placeholders; a test says so.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A language that the pages are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Locale {
    /// English, also for visitors whose languages we do not have.
    #[default]
    En,
    /// Japanese.
    Ja,
}

impl Locale {
    /// Every language, the fallback first.
    pub const ALL: [Self; 2] = [Self::En, Self::Ja];

    /// Chooses the language of a page.
    ///
    /// `override_` is what the visitor picked (`?lang=`) and wins if we have that language.
    /// Otherwise the value of `Accept-Language` decides by quality, ties by order (RFC 9110 section
    /// 12.5.4); ranges match by their first subtag, so `ja-JP` is Japanese. Ranges that make no
    /// sense are skipped. The answer without any match is [`Locale::En`].
    pub fn negotiate(accept_language: Option<&str>, override_: Option<&str>) -> Self {
        override_
            .and_then(Self::from_tag)
            .unwrap_or_else(|| Self::from_accept_language(accept_language.unwrap_or_default()))
    }

    /// Returns the language tag, for `lang` attributes and `Content-Language`: `en` or `ja`.
    pub fn tag(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Ja => "ja",
        }
    }

    /// Returns the language that the switch at the foot of a page leads to.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::En => Self::Ja,
            Self::Ja => Self::En,
        }
    }

    /// Returns the text with this key as the catalogue has it, placeholders included.
    ///
    /// A key that no catalogue has gives `(missing text)`, which a test looks for on every page.
    pub fn text(self, key: &str) -> &'static str {
        self.catalogue().get(key).copied().unwrap_or(MISSING)
    }

    /// Returns the text with this key, each `{name}` replaced by the value of that name.
    ///
    /// The answer is plain text: the template escapes it. Values are not searched for placeholders.
    pub fn fill(self, key: &str, values: &[(&str, &str)]) -> String {
        self.sentence(key, values).iter().map(Part::as_str).collect()
    }

    /// Returns the text with this key in pieces, so that a template can set the values apart.
    pub fn sentence(self, key: &str, values: &[(&str, &str)]) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut rest = self.text(key);
        while let Some((before, name, after)) = next_placeholder(rest) {
            parts.push(Part::Words(before));
            let value = values.iter().find(|(known, _)| *known == name);
            let value = value.map_or_else(String::new, |(_, value)| (*value).to_owned());
            parts.push(Part::Value(name, value));
            rest = after;
        }
        parts.push(Part::Words(rest));
        parts
    }

    /// Returns a length of time in words: whole minutes where it comes out even, else seconds.
    pub fn duration(self, seconds: u32) -> String {
        let (count, one, many) = if seconds >= 60 && seconds.is_multiple_of(60) {
            (seconds / 60, "unit.minute", "unit.minutes")
        } else {
            (seconds, "unit.second", "unit.seconds")
        };
        let key = if count == 1 { one } else { many };
        self.fill(key, &[("count", &count.to_string())])
    }

    fn from_tag(tag: &str) -> Option<Self> {
        let primary = tag.trim().split('-').next().unwrap_or_default();
        Self::ALL.into_iter().find(|locale| locale.tag().eq_ignore_ascii_case(primary))
    }

    fn from_accept_language(header: &str) -> Self {
        let mut ranges: Vec<(&str, u16)> =
            header.split(',').take(MAX_RANGES).filter_map(language_range).collect();
        // The sort is stable, so equal qualities keep the visitor's order.
        ranges.sort_by_key(|(_, quality)| std::cmp::Reverse(*quality));
        let refused: Vec<Self> = ranges
            .iter()
            .filter(|(_, quality)| *quality == 0)
            .filter_map(|(range, _)| Self::from_tag(range))
            .collect();
        ranges
            .iter()
            .filter(|(_, quality)| *quality > 0)
            .find_map(|(range, _)| match *range {
                "*" => Self::ALL.into_iter().find(|locale| !refused.contains(locale)),
                tag => Self::from_tag(tag),
            })
            .unwrap_or_default()
    }

    fn catalogue(self) -> &'static BTreeMap<&'static str, &'static str> {
        match self {
            Self::En => &ENGLISH,
            Self::Ja => &JAPANESE,
        }
    }
}

/// A piece of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Words from the catalogue.
    Words(&'static str),
    /// A value that was filled in, after its name in the catalogue. The value comes from outside.
    Value(&'static str, String),
}

impl Part {
    /// Returns the piece as plain text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Words(words) => words,
            Self::Value(_, value) => value,
        }
    }
}

/// Reads one range of `Accept-Language`, with its quality in thousandths.
fn language_range(range: &str) -> Option<(&str, u16)> {
    let (tag, parameter) = range.split_once(';').unwrap_or((range, "q=1"));
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    Some((tag.trim(), thousandths(value.trim())?))
}

/// Reads a quality value: `0`, `0.` or `1` with up to three decimals (RFC 9110 section 12.4.2).
fn thousandths(value: &str) -> Option<u16> {
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let fraction: u16 = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

fn next_placeholder(text: &'static str) -> Option<(&'static str, &'static str, &'static str)> {
    let (before, rest) = text.split_once('{')?;
    let (name, after) = rest.split_once('}')?;
    Some((before, name, after))
}

fn parse(catalogue: &'static str) -> BTreeMap<&'static str, &'static str> {
    catalogue
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('='))
        .map(|(key, text)| (key.trim(), text.trim()))
        .collect()
}

/// What stands in for a text that is not there.
pub(crate) const MISSING: &str = "(missing text)";

/// Ranges of `Accept-Language` that are looked at. Browsers send fewer than ten.
const MAX_RANGES: usize = 32;

const ENGLISH_FILE: &str = include_str!("../templates/text.en.txt");
const JAPANESE_FILE: &str = include_str!("../templates/text.ja.txt");

static ENGLISH: LazyLock<BTreeMap<&str, &str>> = LazyLock::new(|| parse(ENGLISH_FILE));
static JAPANESE: LazyLock<BTreeMap<&str, &str>> = LazyLock::new(|| parse(JAPANESE_FILE));

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn both_catalogues_have_the_same_keys() {
        let english: Vec<_> = ENGLISH.keys().collect();
        let japanese: Vec<_> = JAPANESE.keys().collect();
        assert_eq!(english, japanese);
    }

    #[test]
    fn both_catalogues_fill_in_the_same_values() {
        for key in ENGLISH.keys() {
            assert_eq!(placeholders(ENGLISH[key]), placeholders(JAPANESE[key]), "{key}");
        }
    }

    #[test]
    fn every_line_is_a_comment_or_a_text_that_is_there_once() {
        for file in [ENGLISH_FILE, JAPANESE_FILE] {
            let mut keys = BTreeSet::new();
            for line in file.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
                let (key, text) = line.split_once(" = ").expect(line);
                assert!(keys.insert(key), "twice: {key}");
                assert!(!text.trim().is_empty(), "empty: {key}");
            }
        }
    }

    #[test]
    fn negotiates_by_quality_then_by_order() {
        for (header, expected) in [
            ("", Locale::En),
            ("ja", Locale::Ja),
            ("ja-JP,ja;q=0.9,en-US;q=0.8,en;q=0.7", Locale::Ja),
            ("en-GB,en;q=0.9,ja;q=0.8", Locale::En),
            ("en;q=0.3, JA-jp ; q=0.31", Locale::Ja),
            ("fr, ja;q=0.1", Locale::Ja),
            ("fr, *;q=0.5", Locale::En),
            ("en;q=0, *", Locale::Ja),
            ("ja;q=0", Locale::En),
            ("ja, en", Locale::Ja),
            ("ja;q=0.5, en;q=0.5", Locale::Ja),
            ("ja;q=2, en;q=0.1", Locale::En),
            ("ja;q=0.1234", Locale::En),
            ("ja;level=1", Locale::En),
            ("jav", Locale::En),
            (";;;,,=,q=", Locale::En),
        ] {
            assert_eq!(Locale::negotiate(Some(header), None), expected, "`{header}`");
        }
    }

    #[test]
    fn the_visitors_choice_wins_if_we_have_it() {
        assert_eq!(Locale::negotiate(Some("en"), Some("ja")), Locale::Ja);
        assert_eq!(Locale::negotiate(Some("ja"), Some("EN")), Locale::En);
        assert_eq!(Locale::negotiate(Some("ja"), Some("fr")), Locale::Ja);
        assert_eq!(Locale::negotiate(None, Some("")), Locale::En);
    }

    #[test]
    fn durations_are_in_the_largest_even_unit() {
        assert_eq!(Locale::En.duration(1), "1 second");
        assert_eq!(Locale::En.duration(30), "30 seconds");
        assert_eq!(Locale::En.duration(60), "1 minute");
        assert_eq!(Locale::En.duration(90), "90 seconds");
        assert_eq!(Locale::En.duration(600), "10 minutes");
        assert_eq!(Locale::Ja.duration(600), "10分");
    }

    #[test]
    fn a_value_is_not_searched_for_placeholders() {
        let text = Locale::En.fill("login.title", &[("application", "{application}")]);
        assert!(text.contains("{application}"), "{text}");
    }

    fn placeholders(text: &'static str) -> BTreeSet<&'static str> {
        let mut names = BTreeSet::new();
        let mut rest = text;
        while let Some((_, name, after)) = next_placeholder(rest) {
            names.insert(name);
            rest = after;
        }
        names
    }
}
