//! Which pushed configuration is in force.

use serde::Deserialize;
use serde_json::{json, value::RawValue};

/// The version in force in one connector's process. Pure: the caller applies what it is handed.
#[derive(Debug)]
pub(crate) struct RemoteConfiguration {
    /// -1 before any, so that 0 applies (cloudflared, orchestration/orchestrator.go).
    version: i32,
}

#[derive(Deserialize)]
struct Push<'a> {
    version: i32,
    #[serde(borrow)]
    config: &'a RawValue,
}

impl RemoteConfiguration {
    pub(crate) fn new() -> Self {
        Self { version: -1 }
    }

    /// Takes a push and returns the answer to it. `apply` gets a configuration that is newer than the one
    /// in force and says no with a reason.
    ///
    /// # Errors
    ///
    /// A body that is no push.
    pub(crate) fn handle_push(
        &mut self,
        body: &[u8],
        apply: impl FnOnce(&str) -> Result<(), String>,
    ) -> Result<String, serde_json::Error> {
        let push: Push<'_> = serde_json::from_slice(body)?;
        let rejection = if push.version <= self.version {
            None
        } else {
            apply(push.config.get()).inspect(|()| self.version = push.version).err()
        };
        // cloudflared loses the reason and writes `{}`; whoever looks for null only is served alike.
        Ok(json!({ "lastAppliedVersion": self.version, "err": rejection }).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_newer_version_is_applied_and_a_rejected_one_changes_nothing() {
        let mut state = RemoteConfiguration::new();
        let mut push = |version: i32, verdict: Result<(), String>| {
            let mut asked = false;
            let body = format!(r#"{{"version":{version},"config":{{"ingress":[]}},"new":1}}"#);
            let answer = state.handle_push(body.as_bytes(), |json| {
                assert_eq!(json, r#"{"ingress":[]}"#);
                asked = true;
                verdict
            });
            (answer.unwrap(), asked)
        };
        let answer = |version: i32, error: &str| {
            format!(r#"{{"err":{error},"lastAppliedVersion":{version}}}"#)
        };
        assert_eq!(push(0, Ok(())), (answer(0, "null"), true));
        assert_eq!(push(0, Ok(())), (answer(0, "null"), false));
        assert_eq!(push(2, Err("no rules".into())), (answer(0, "\"no rules\""), true));
        assert_eq!(push(2, Ok(())), (answer(2, "null"), true));
        assert_eq!(push(1, Ok(())), (answer(2, "null"), false));
        for garbage in ["", "{}", r#"{"version":"1","config":{}}"#, r#"{"version":1}"#] {
            assert!(state.handle_push(garbage.as_bytes(), |_| Ok(())).is_err(), "{garbage}");
        }
    }
}
