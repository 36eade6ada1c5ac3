//! What goes to an authority and what comes back, as plain data.

use std::time::SystemTime;

use crate::acme::wait;

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// How.
    pub(crate) method: Method,
    /// Where to.
    pub(crate) url: String,
    /// A signed message; empty for what is not a POST. Goes as `application/jose+json`.
    pub(crate) body: String,
}

/// The methods that ACME uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Method {
    /// `GET`: the directory and renewal information.
    Get,
    /// `HEAD`: a nonce.
    Head,
    /// `POST`: everything else, reading too.
    Post,
}

/// What came back. Header fields that ACME does not use are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// `Replay-Nonce`.
    pub(crate) replay_nonce: Option<String>,
    /// `Location`.
    pub(crate) location: Option<String>,
    /// `Retry-After`, as it was sent.
    pub(crate) retry_after: Option<String>,
    /// `Date`, as it was sent.
    pub(crate) date: Option<String>,
    /// Each value of `Link`, as it was sent.
    pub(crate) links: Vec<String>,
    /// The body, at most 1 MiB.
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The authority's own time.
    pub(crate) fn time(&self) -> Option<SystemTime> {
        httpdate::parse_http_date(self.date.as_deref()?).ok()
    }

    /// When the authority wishes to be asked again.
    pub(crate) fn retry_after(&self, now: SystemTime) -> Option<std::time::Duration> {
        wait::retry_after(self.retry_after.as_deref()?, self.date.as_deref(), now)
    }

    /// The targets of links of this relation (RFC 8288).
    pub(crate) fn links(&self, relation: &str) -> impl Iterator<Item = &str> {
        let values = self.links.iter().flat_map(|value| value.split(','));
        values.filter_map(move |link| {
            let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
            let is_wanted = parameters.split(';').any(|parameter| {
                parameter
                    .trim()
                    .strip_prefix("rel=")
                    .is_some_and(|it| it.trim_matches('"') == relation)
            });
            is_wanted.then_some(target)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_by_their_relation() {
        let links = vec![
            r#"<https://ca.example/dir>;rel="index""#.to_owned(),
            r#"<https://ca.example/1>; rel="alternate", <https://ca.example/2>;rel=alternate"#
                .to_owned(),
            "nonsense".to_owned(),
        ];
        let response = Response { links, ..Response::default() };
        let found: Vec<_> = response.links("alternate").collect();
        assert_eq!(found, ["https://ca.example/1", "https://ca.example/2"]);
    }
}
