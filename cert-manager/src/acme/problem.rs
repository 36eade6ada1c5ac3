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
        problem.clean();
        problem
    }

    /// Bounds what an authority sent, and takes out what does not belong into a line of text. Kinds lose what
    /// they all begin with.
    pub(crate) fn clean(&mut self) {
        self.detail = excerpt(&self.detail);
        self.kind = kind(&self.kind);
        self.subproblems.truncate(MAX_SUBPROBLEMS);
        for sub in &mut self.subproblems {
            sub.detail = excerpt(&sub.detail);
            sub.kind = kind(&sub.kind);
            if let Some(identifier) = &mut sub.identifier {
                identifier.kind = excerpt(&identifier.kind);
                identifier.value = excerpt(&identifier.value);
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

/// Of 100 names, the first ones tell enough.
const MAX_SUBPROBLEMS: usize = 10;
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
    fn nothing_that_a_stranger_sends_forges_a_line_or_fills_a_log() {
        let evil = r"\u001b[2J\n2026-01-01 INFO forged\u202e".to_owned() + &"x".repeat(2_000);
        let name = format!(r#"{{"type":"{evil}","value":"{evil}"}}"#);
        let sub = format!(r#"{{"type":"{evil}","detail":"{evil}","identifier":{name}}}"#);
        let subs = vec![sub; 50].join(",");
        let body = format!(r#"{{"type":"{evil}","detail":"{evil}","subproblems":[{subs}]}}"#);
        let failure = failure(400, &body, None);
        let problem = failure.problem.clone().unwrap();
        assert!(problem.kind.contains("forged"), "{problem:?}");
        for text in [failure.to_string(), problem.kind, format!("{:?}", problem.subproblems)] {
            assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text}");
            assert!(!text.contains(r"\u{1b}") && !text.contains(r"\n"), "{text}");
            assert!(text.len() < 25_000, "{}", text.len());
        }
        assert!(failure.to_string().len() < 25_000);
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
