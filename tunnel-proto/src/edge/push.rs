//! Configuration on its way to a connector.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    error::{Error, ErrorKind},
    limits,
};

/// What a connector says after a configuration was pushed to it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// The version now in force; -1 before any.
    pub version: i32,
    /// Why the pushed one was not taken. cloudflared does not say why: then this is empty.
    pub rejection: Option<String>,
}

/// Writes the body of a push.
///
/// # Errors
///
/// A configuration that is no JSON, or too long, is the caller's fault.
pub(super) fn write(version: i32, configuration: &str) -> Result<Bytes, Error> {
    let configuration: &RawValue = serde_json::from_str(configuration).map_err(|error| {
        Error::from(ErrorKind::Caller("a configuration that is not JSON".into())).with_source(error)
    })?;
    let body = format!(r#"{{"version":{version},"config":{configuration}}}"#);
    if body.len() > limits::CONFIGURATION_BYTES {
        let what = format!(
            "a configuration of {} bytes; {} are possible",
            body.len(),
            limits::CONFIGURATION_BYTES
        );
        return Err(Error::from(ErrorKind::Caller(what)).with_limit("CONFIGURATION_BYTES"));
    }
    Ok(body.into())
}

/// Reads `{"lastAppliedVersion":N,"err":null}`. cloudflared writes `{}` for any error.
pub(super) fn read_answer(body: &[u8]) -> Result<Applied, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        last_applied_version: i32,
        #[serde(default)]
        err: serde_json::Value,
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|error| {
        Error::from(ErrorKind::Peer("an unreadable answer to a configuration".into()))
            .with_source(error)
    })?;
    let rejection = match answer.err {
        serde_json::Value::Null => None,
        serde_json::Value::String(why) => Some(why),
        _ => Some(String::new()),
    };
    Ok(Applied { version: answer.last_applied_version, rejection })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_both_connectors_are_read() {
        let read = |json: &str| read_answer(json.as_bytes()).unwrap();
        let taken = Applied { version: 3, rejection: None };
        assert_eq!(read(r#"{"lastAppliedVersion":3,"err":null}"#), taken);
        assert_eq!(read(r#"{"lastAppliedVersion":3}"#), taken);
        let silent = Applied { version: -1, rejection: Some(String::new()) };
        assert_eq!(read(r#"{"lastAppliedVersion":-1,"err":{}}"#), silent);
        let spoken = Applied { version: 2, rejection: Some("no rules".into()) };
        assert_eq!(read(r#"{"lastAppliedVersion":2,"err":"no rules"}"#), spoken);
        assert!(read_answer(b"{}").unwrap_err().is_peer_fault());
    }

    #[test]
    fn a_configuration_must_be_json_and_not_too_long() {
        assert_eq!(
            write(1, r#"{"ingress":[]}"#).unwrap(),
            r#"{"version":1,"config":{"ingress":[]}}"#
        );
        assert!(write(1, "ingress: []").unwrap_err().is_caller_fault());
        let long = format!("\"{}\"", "x".repeat(limits::CONFIGURATION_BYTES));
        let error = write(1, &long).unwrap_err();
        assert!(error.to_string().contains("1048576"), "{error}");
        assert_eq!(error.limit(), Some("CONFIGURATION_BYTES"));
    }
}
