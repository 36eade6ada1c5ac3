//! Reads what an authority says when it refuses.

use std::time::{Duration, SystemTime};

use crate::{
    acme::{
        http::Response,
        wait::{HOLD_AFTER_RATE_LIMIT, HOLD_AFTER_TROUBLE, after_refusal},
    },
    failure::{Failure, FailureClass, Problem, excerpt},
};

impl Problem {
    /// Reads the body of an error. What is no problem document gives one that says so.
    pub(crate) fn of(response: &Response) -> Self {
        let mut problem: Self = serde_json::from_slice(&response.body).unwrap_or_else(|_| {
            // Proxies answer in HTML, or not at all.
            let text = String::from_utf8_lossy(&response.body);
            let line =
                text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no reason given");
            Self { detail: excerpt(line.trim()), ..Self::default() }
        });
        problem.shorten();
        problem
    }

    pub(crate) fn shorten(&mut self) {
        for kind in std::iter::once(&mut self.kind)
            .chain(self.subproblems.iter_mut().map(|it| &mut it.kind))
        {
            if let Some(short) = kind.strip_prefix(NAMESPACE) {
                *kind = short.to_owned();
            }
        }
    }
}

impl Failure {
    /// Reads an error response.
    pub(crate) fn of(response: &Response, doing: &'static str, now: SystemTime) -> Self {
        let problem = Problem::of(response);
        let class = classify(response.status, &problem.kind);
        let asked = response.retry_after(now);
        let hold = |otherwise: Duration| now + after_refusal(asked, otherwise);
        let not_before = match class {
            FailureClass::Hold => Some(hold(HOLD_AFTER_RATE_LIMIT)),
            FailureClass::Trouble => Some(hold(HOLD_AFTER_TROUBLE)),
            _ => asked.map(|_| hold(Duration::ZERO)),
        };
        Self { class, problem: Some(problem), doing, not_before }
    }

    /// Whether the account may have another key than that which signed: authorities say "malformed" of a signature
    /// that does not verify.
    pub(crate) fn may_be_the_key(&self) -> bool {
        self.class == FailureClass::Account || self.is("malformed")
    }

    pub(crate) fn is(&self, kind: &str) -> bool {
        self.problem.as_ref().is_some_and(|problem| problem.kind == kind)
    }
}

fn kind(text: &str) -> String {
    excerpt(text.strip_prefix(NAMESPACE).unwrap_or(text))
}

fn classify(status: u16, kind: &str) -> FailureClass {
    match kind {
        "rateLimited" => FailureClass::Hold,
        "serverInternal" | "overload" => FailureClass::Trouble,
        "dns" | "connection" | "tls" | "incorrectResponse" | "caa" => FailureClass::Validation,
        "rejectedIdentifier" | "unsupportedIdentifier" => FailureClass::Rejected,
        "userActionRequired"
        | "externalAccountRequired"
        | "accountDoesNotExist"
        | "unauthorized" => FailureClass::Account,
        _ => match status {
            404 | 410 => FailureClass::OrderGone,
            429 => FailureClass::Hold,
            500.. => FailureClass::Trouble,
            0..400 => FailureClass::Network,
            _ => FailureClass::Request,
        },
    }
}

const NAMESPACE: &str = "urn:ietf:params:acme:error:";

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: u16, body: &str, retry_after: Option<&str>) -> Failure {
        let retry_after = retry_after.map(ToOwned::to_owned);
        let response = Response { status, body: body.into(), retry_after, ..Response::default() };
        Failure::of(&response, "ask", SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn each_answer_leads_to_its_class() {
        let typed =
            |kind: &str| format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"d"}}"#);
        for (status, body, class) in [
            (429, typed("rateLimited"), FailureClass::Hold),
            (403, typed("rateLimited"), FailureClass::Hold),
            (503, "<html>busy</html>".to_owned(), FailureClass::Trouble),
            (500, String::new(), FailureClass::Trouble),
            (429, String::new(), FailureClass::Hold),
            (400, typed("dns"), FailureClass::Validation),
            (403, typed("caa"), FailureClass::Validation),
            (400, typed("rejectedIdentifier"), FailureClass::Rejected),
            (403, typed("userActionRequired"), FailureClass::Account),
            (400, typed("badCSR"), FailureClass::Request),
            (404, String::new(), FailureClass::OrderGone),
            (418, "[1]".to_owned(), FailureClass::Request),
            (302, String::new(), FailureClass::Network),
        ] {
            assert_eq!(failure(status, &body, None).class, class, "{status} {body}");
        }
    }

    #[test]
    fn patience_is_what_was_asked_for() {
        let seconds = |failure: Failure| {
            failure
                .not_before
                .map(|at| at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
        };
        assert_eq!(seconds(failure(429, "", Some("120"))), Some(120));
        assert_eq!(seconds(failure(429, "", None)), Some(3600));
        assert_eq!(seconds(failure(503, "", None)), Some(60));
        assert_eq!(seconds(failure(503, "", Some("9999999999"))), Some(259_200));
        assert_eq!(seconds(failure(400, "", None)), None);
    }

    #[test]
    fn words_of_strangers_are_cut_and_cleaned() {
        let long = format!("{{\"detail\":\"a\\u001b[31m{}\"}}", "x".repeat(2_000));
        let text = failure(400, &long, None).to_string();
        assert!(text.len() < 600 && !text.contains('\u{1b}'), "{text}");
        assert_eq!(
            failure(502, "\n <h1>Bad</h1>\n", None).to_string(),
            "failed to ask: error: <h1>Bad</h1>"
        );
    }
}
