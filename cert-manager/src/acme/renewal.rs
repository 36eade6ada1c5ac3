//! When an authority wishes a certificate to be renewed (RFC 9773).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use x509_parser::extensions::ParsedExtension;

use std::time::{Duration, SystemTime};

use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    acme::http::Response,
    certificate::{self, Certificate},
    lifecycle::{RenewalInfo, RenewalWindow},
};

impl RenewalInfo {
    /// Reads an answer; what can't be read is as if the authority had no wish.
    pub(crate) fn of(response: &Response, now: SystemTime) -> Self {
        let asked = response.retry_after(now);
        let body = response
            .is_success()
            .then(|| serde_json::from_slice::<Body>(&response.body).ok())
            .flatten();
        let window = body.as_ref().and_then(|body| {
            let (start, end) =
                (time(&body.suggested_window.start)?, time(&body.suggested_window.end)?);
            (end > start).then_some(RenewalWindow { start, end })
        });
        Self {
            window,
            explanation_url: body.and_then(|body| body.explanation_url),
            ask_again_after: asked.unwrap_or(USUAL).clamp(SHORTEST, LONGEST),
        }
    }
}

/// Reads a time as authorities write it (RFC 3339).
pub(super) fn time(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    suggested_window: Window,
    #[serde(default, rename = "explanationURL")]
    explanation_url: Option<String>,
}

#[derive(Deserialize)]
struct Window {
    start: String,
    end: String,
}

/// The name by which the authority knows a certificate: the key identifier of its issuer and its serial number (section
/// 4.1). `None` if the certificate does not name its issuer's key.
pub(crate) fn renewal_id(certificate: &Certificate) -> Option<String> {
    let leaf = certificate::parse(0, certificate.chain().first()?).ok()?;
    let key =
        leaf.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(identifier) => {
                identifier.key_identifier.as_ref()
            }
            _ => None,
        })?;
    Some(id(key.0, leaf.raw_serial()))
}

fn id(key: &[u8], serial: &[u8]) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(key), URL_SAFE_NO_PAD.encode(serial))
}

/// What authorities say.
const USUAL: Duration = Duration::from_secs(6 * 3600);
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_answers_are_no_wish() {
        let info = |status, body: &str, retry_after: Option<&str>| {
            let retry_after = retry_after.map(ToOwned::to_owned);
            let response =
                Response { status, body: body.into(), retry_after, ..Response::default() };
            RenewalInfo::of(&response, SystemTime::UNIX_EPOCH)
        };
        let good = r#"{"suggestedWindow": {"start": "2027-01-02T04:00:00.5Z", "end": "2027-01-03T04:00:00+09:00"},
            "explanationURL": "https://ca.example/why", "more": 1}"#;
        let found = info(200, good, Some("21600"));
        let window = found.window.unwrap();
        assert_eq!(
            window.end.duration_since(window.start).unwrap(),
            Duration::from_millis(53_999_500)
        );
        assert_eq!(found.explanation_url.as_deref(), Some("https://ca.example/why"));
        assert_eq!(found.ask_again_after, Duration::from_secs(21_600));
        for (status, body) in [
            (
                200,
                r#"{"suggestedWindow": {"start": "2027-01-03T04:00:00Z", "end": "2027-01-02T04:00:00Z"}}"#,
            ),
            (
                200,
                r#"{"suggestedWindow": {"start": "2027-01-03T04:00:00Z", "end": "2027-01-03T04:00:00Z"}}"#,
            ),
            (200, r#"{"suggestedWindow": {"start": "soon", "end": "later"}}"#),
            (200, "{}"),
            (200, "<html>"),
            (404, good),
            (500, ""),
        ] {
            assert_eq!(info(status, body, None).window, None, "{body}");
        }
        assert_eq!(info(200, good, None).ask_again_after, USUAL);
        assert_eq!(info(200, good, Some("1")).ask_again_after, SHORTEST);
        assert_eq!(info(429, "", Some("9999999")).ask_again_after, LONGEST);
    }

    #[test]
    fn the_standards_own_example() {
        let key = [
            0x69, 0x88, 0x5b, 0x6b, 0x87, 0x46, 0x40, 0x41, 0xe1, 0xb3, 0x7b, 0x84, 0x7b, 0xa0,
            0xae, 0x2c, 0xde, 0x01, 0xc8, 0xd4,
        ];
        let serial = [0x00, 0x87, 0x65, 0x43, 0x21];
        assert_eq!(id(&key, &serial), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
    }
}
