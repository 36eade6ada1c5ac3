//! Certificates as a table or as JSON.

use std::{fmt, time::SystemTime};

use cert_manager::{
    Name,
    manager::{Failed, Listed, Stored},
};
use serde::Serialize;

use crate::output::time_text;

/// What `edge cert list` shows.
#[derive(Debug, Serialize)]
pub(super) struct Listing {
    /// Whether an edge is at work, which renews what is due.
    edge_at_work: bool,
    certificates: Vec<Line>,
    /// Objects in the store that can't be read.
    unreadable: Vec<Unreadable>,
}

#[derive(Debug, Serialize)]
struct Line {
    names: Vec<String>,
    /// `good`, `expired`, `missing`, or `unused`: there, and not configured any more.
    state: &'static str,
    issuer: Option<String>,
    serial: Option<String>,
    until: Option<String>,
    next_attempt: Option<String>,
    last_error: Option<LastError>,
}

#[derive(Debug, Serialize)]
struct LastError {
    error: String,
    issuer: String,
    at: String,
}

#[derive(Debug, Serialize)]
struct Unreadable {
    key: String,
    error: String,
}

impl Listing {
    pub(super) fn new(
        listed: &Listed,
        wanted: &[Vec<String>],
        edge_at_work: bool,
        now: SystemTime,
    ) -> Self {
        let mut certificates: Vec<Line> =
            listed.certificates.iter().map(|it| Line::stored(it, wanted, now)).collect();
        // What nobody wants any more is no fault.
        let missing = listed.missing.iter().filter(|failed| wanted.contains(&texts(&failed.names)));
        certificates.extend(missing.map(Line::missing));
        for names in wanted {
            if certificates.iter().all(|line| line.names != *names) {
                certificates.push(Line::untried(names.clone()));
            }
        }
        let unreadable = listed.unreadable.iter();
        let unreadable = unreadable
            .map(|(key, error)| Unreadable { key: key.clone(), error: error.to_string() })
            .collect();
        Self { edge_at_work, certificates, unreadable }
    }
}

impl Line {
    fn stored(stored: &Stored, wanted: &[Vec<String>], now: SystemTime) -> Self {
        let names = texts(&stored.names);
        let state = match wanted.contains(&names) {
            false => "unused",
            true if stored.not_after < now => "expired",
            true => "good",
        };
        let failed = stored.failed.as_ref();
        let next = match failed {
            Some(failed) => Some(failed.retry_at),
            None if stored.is_wished => Some(now),
            None => stored.renew_at,
        };
        Self {
            names,
            state,
            issuer: Some(stored.issuer.clone()),
            serial: Some(stored.serial.clone()),
            until: Some(time_text(stored.not_after)),
            next_attempt: next.filter(|_| state != "unused").map(time_text),
            last_error: failed.map(LastError::of),
        }
    }

    fn missing(failed: &Failed) -> Self {
        Self {
            next_attempt: Some(time_text(failed.retry_at)),
            last_error: Some(LastError::of(failed)),
            ..Self::untried(texts(&failed.names))
        }
    }

    fn untried(names: Vec<String>) -> Self {
        Self {
            names,
            state: "missing",
            issuer: None,
            serial: None,
            until: None,
            next_attempt: None,
            last_error: None,
        }
    }
}

impl LastError {
    fn of(failed: &Failed) -> Self {
        Self {
            error: failed.error.clone(),
            issuer: failed.issuer.clone(),
            at: time_text(failed.at),
        }
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["NAMES", "STATE", "ISSUER", "SERIAL", "UNTIL", "NEXT ATTEMPT"];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(self.certificates.iter().map(|line| {
            let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
            [
                line.names.join(","),
                line.state.to_owned(),
                line.issuer.as_deref().map_or("-".into(), |it| it.escape_debug().to_string()),
                or_none(&line.serial),
                or_none(&line.until),
                or_none(&line.next_attempt),
            ]
        }));
        let width = |at: usize| rows.iter().map(|row| row[at].len()).max().unwrap_or_default();
        let widths: [usize; 6] = std::array::from_fn(width);
        for row in &rows {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        for line in &self.certificates {
            if let Some(LastError { error, issuer, at }) = &line.last_error {
                // An authority's own words may hold anything.
                let (error, issuer) = (error.escape_debug(), issuer.escape_debug());
                writeln!(f, "{}: {issuer} at {at}: {error}", line.names.join(","))?;
            }
        }
        for Unreadable { key, error } in &self.unreadable {
            writeln!(f, "unreadable: {key}: {}", error.escape_debug())?;
        }
        if !self.edge_at_work {
            writeln!(f, "no edge is at work with this state directory: nothing is renewed")?;
        }
        Ok(())
    }
}

fn texts(names: &[Name]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_an_authority_move_no_cursor() {
        let evil = || "x\u{1b}[2J\nforged".to_owned();
        let last_error = LastError { error: evil(), issuer: evil(), at: "now".to_owned() };
        let line = Line {
            names: vec!["a.test".to_owned()],
            state: "missing",
            issuer: Some(evil()),
            serial: None,
            until: None,
            next_attempt: None,
            last_error: Some(last_error),
        };
        let unreadable = vec![Unreadable { key: "certificates/x".to_owned(), error: evil() }];
        let listing = Listing { edge_at_work: true, certificates: vec![line], unreadable };
        let text = listing.to_string();
        assert!(!text.contains('\u{1b}') && !text.contains("\nforged"), "{text}");
        assert_eq!(text.matches("forged").count(), 4, "{text}");
    }
}
