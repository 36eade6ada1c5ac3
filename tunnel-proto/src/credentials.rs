//! What a connector needs to register: account tag, tunnel id and secret, as a token or a file.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    error::{Error, ErrorKind},
    id::TunnelId,
    secret::TunnelSecret,
};

/// A connector's credentials for one tunnel.
///
/// They come in two shapes, both cloudflared's: a *token* (one line, `--token`) and a
/// *credentials file* (`<tunnel id>.json`).
///
/// ```
/// use tunnel_proto::{Credentials, TunnelSecret};
///
/// let id = "11111111-2222-3333-4444-555555555555".parse()?;
/// let credentials = Credentials::new("acct0123", id, TunnelSecret::new([7; 32]));
/// let token = credentials.to_token();
/// assert_eq!(Credentials::from_token(&token)?, credentials);
/// # Ok::<(), tunnel_proto::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    account_tag: String,
    tunnel_id: TunnelId,
    secret: TunnelSecret,
}

impl Credentials {
    /// Puts credentials together. The account tag is any text; the edge decides what it means.
    pub fn new(account_tag: impl Into<String>, tunnel_id: TunnelId, secret: TunnelSecret) -> Self {
        Self { account_tag: account_tag.into(), tunnel_id, secret }
    }

    /// Reads a token: padded standard base64 of JSON with the keys `a`, `t` and `s`.
    ///
    /// White space around the token is ignored; an endpoint (`e`) is accepted and not used.
    ///
    /// # Errors
    ///
    /// Says which layer is broken. The token itself never appears in the error.
    pub fn from_token(token: &str) -> Result<Self, Error> {
        let json = STANDARD
            .decode(token.trim())
            .map(Zeroizing::new)
            .map_err(|_| caller("the token is not base64; was it cut when it was copied?"))?;
        let token: Token = serde_json::from_slice(&json)
            .map_err(|_| caller("the token holds no JSON with the keys `a`, `t` and `s`"))?;
        Ok(Self::new(token.a, token.t, decode_secret(&token.s)?))
    }

    /// Writes the token that [`Credentials::from_token`] reads. It holds the secret.
    pub fn to_token(&self) -> String {
        let token = Token {
            a: self.account_tag.clone(),
            s: STANDARD.encode(self.secret.expose()),
            t: self.tunnel_id,
            e: None,
        };
        STANDARD.encode(to_json(&token))
    }

    /// Reads a credentials file: JSON with `AccountTag`, `TunnelSecret` and `TunnelID`.
    ///
    /// # Errors
    ///
    /// Says which key is missing or unreadable, never the content of the file.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        let file: File = serde_json::from_str(json).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            let keys = "`AccountTag`, `TunnelSecret` and `TunnelID`";
            caller(&format!("the credentials file needs JSON with {keys} ({place})"))
        })?;
        Ok(Self::new(file.account_tag, file.tunnel_id, decode_secret(&file.tunnel_secret)?))
    }

    /// Writes the credentials file that [`Credentials::from_json`] reads. It holds the secret:
    /// give it mode 0400.
    pub fn to_json(&self) -> String {
        to_json(&File {
            account_tag: self.account_tag.clone(),
            tunnel_secret: STANDARD.encode(self.secret.expose()),
            tunnel_id: self.tunnel_id,
            endpoint: Some(String::new()),
        })
    }

    /// The account that owns the tunnel.
    pub fn account_tag(&self) -> &str {
        &self.account_tag
    }

    /// The tunnel.
    pub fn tunnel_id(&self) -> TunnelId {
        self.tunnel_id
    }

    /// The secret.
    pub fn secret(&self) -> &TunnelSecret {
        &self.secret
    }
}

#[derive(Serialize, Deserialize)]
struct Token {
    a: String,
    s: String,
    t: TunnelId,
    #[serde(skip_serializing_if = "Option::is_none")]
    e: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct File {
    account_tag: String,
    tunnel_secret: String,
    #[serde(rename = "TunnelID")]
    tunnel_id: TunnelId,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
}

#[expect(clippy::expect_used, reason = "a struct of strings always serializes")]
fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings serialize")
}

fn decode_secret(text: &str) -> Result<TunnelSecret, Error> {
    let bytes = STANDARD.decode(text).map_err(|_| caller("the tunnel secret is not base64"))?;
    if bytes.is_empty() {
        return Err(caller("the tunnel secret is empty"));
    }
    Ok(TunnelSecret::new(bytes))
}

fn caller(what: &str) -> Error {
    ErrorKind::Caller(what.into()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Credentials {
        let id = "11111111-2222-3333-4444-555555555555".parse().unwrap();
        Credentials::new("acct0123456789abcdef", id, TunnelSecret::new([9; 32]))
    }

    #[test]
    fn both_shapes_round_trip() {
        assert_eq!(
            Credentials::from_token(&format!(" {}\n", sample().to_token())).unwrap(),
            sample()
        );
        assert_eq!(Credentials::from_json(&sample().to_json()).unwrap(), sample());
    }

    #[test]
    fn cloudflareds_own_file_is_read() {
        let file = r#"{"AccountTag":"a","TunnelSecret":"AAEC","TunnelID":
            "11111111-2222-3333-4444-555555555555","Endpoint":""}"#;
        assert_eq!(Credentials::from_json(file).unwrap().secret().expose(), [0, 1, 2]);
    }

    #[test]
    fn broken_ones_say_where_and_tell_nothing() {
        let secret = "c2VjcmV0";
        let half = &sample().to_token()[..41];
        for broken in ["", "%%", half, &STANDARD.encode("{}"), &STANDARD.encode(secret)] {
            let error = Credentials::from_token(broken).unwrap_err();
            assert!(error.is_caller_fault());
            assert!(!error.to_string().contains(secret), "{error}");
        }
        let error = Credentials::from_json(r#"{"AccountTag":"a","TunnelSecret":"c2VjcmV0"}"#);
        assert!(error.unwrap_err().to_string().contains("line 1"));
    }
}
