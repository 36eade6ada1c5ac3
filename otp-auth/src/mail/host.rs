//! Host names as they appear in mails.

use std::fmt;
use std::str::FromStr;

use super::MailError;

/// The name of a host, with its port if it is not the usual one: `saito.example.jp`, `localhost:8443`.
///
/// 1 to 255 ASCII letters, digits, `.`, `-`, `_`, `:`, `[` and `]`; kept in lower case. Such a text
/// can break neither a header nor HTML. Take it from configuration, never from a request's `Host`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host(String);

impl Host {
    /// The name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Host {
    type Err = MailError;

    fn from_str(text: &str) -> Result<Self, MailError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        if (1..=255).contains(&text.len()) && text.bytes().all(is_allowed) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(MailError::UnsafeText { field: "host" })
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_could_break_a_header() {
        for text in
            ["", "a b", "a\r\nBcc: x", "a\0", "<b>", "a/b", "a@b", "例え.jp", &"a".repeat(256)]
        {
            assert!(text.parse::<Host>().is_err(), "{text:?}");
        }
        assert_eq!(
            "Saito.Example.JP:8443".parse::<Host>().unwrap().as_str(),
            "saito.example.jp:8443"
        );
    }
}
