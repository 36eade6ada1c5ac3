//! The one-line form of a relay's settings.

use super::{Security, SmtpMailer, SmtpMailerBuilder, is_loopback, setting};
use crate::address::EmailAddress;
use crate::mail::MailError;
use crate::secret::Secret;

/// Reads `SCHEME://[USER:PASSWORD@]HOST[:PORT]?from=ADDRESS...`.
pub(super) fn parse(url: &str) -> Result<SmtpMailerBuilder, MailError> {
    let (scheme, rest) =
        url.split_once("://").ok_or_else(|| setting("url", "it must begin with `smtp://`"))?;
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = authority.trim_end_matches('/');
    let (user_info, host_port) =
        authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let (host, port) = split_port(host_port)?;
    let parameters = Parameters::parse(query)?;

    let from = parameters.from.ok_or_else(|| setting("from", "it is missing"))?;
    let security = match (scheme, parameters.security) {
        ("smtps", None | Some(Security::Implicit)) => Security::Implicit,
        ("smtp", Some(security)) => security,
        ("smtp", None) if is_loopback(host) => Security::Plain,
        ("smtp", None) => Security::StartTls,
        ("smtps", Some(_)) => return Err(setting("tls", "`smtps` means `implicit`")),
        _ => return Err(setting("url", "the scheme must be `smtp` or `smtps`")),
    };
    let mut builder = SmtpMailer::builder(host, from).security(security);
    if let Some(port) = port {
        builder = builder.port(port);
    }
    if let Some(name) = parameters.name {
        builder = builder.from_name(name);
    }
    if let Some(user_info) = user_info {
        let (user, password) = user_info
            .split_once(':')
            .ok_or_else(|| setting("credentials", "they must be `USER:PASSWORD`"))?;
        let password = Secret::new(percent_decode(password, "credentials")?.into_bytes());
        builder = builder.credentials(percent_decode(user, "credentials")?, password);
    }
    Ok(builder)
}

#[derive(Default)]
struct Parameters {
    from: Option<EmailAddress>,
    name: Option<String>,
    security: Option<Security>,
}

impl Parameters {
    fn parse(query: &str) -> Result<Self, MailError> {
        let mut parameters = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode(value, "url")?;
            let is_repeated = match name {
                "from" => {
                    let from = value.parse().map_err(|_| setting("from", "not an address"))?;
                    parameters.from.replace(from).is_some()
                }
                "name" => parameters.name.replace(value).is_some(),
                "tls" => parameters.security.replace(security(&value)?).is_some(),
                _ => return Err(setting("url", "parameters are `from`, `name` and `tls`")),
            };
            if is_repeated {
                return Err(setting("url", "a parameter is given twice"));
            }
        }
        Ok(parameters)
    }
}

fn security(value: &str) -> Result<Security, MailError> {
    match value {
        "implicit" => Ok(Security::Implicit),
        "starttls" => Ok(Security::StartTls),
        "none" => Ok(Security::Plain),
        _ => Err(setting("tls", "it must be `implicit`, `starttls` or `none`")),
    }
}

fn split_port(host_port: &str) -> Result<(&str, Option<u16>), MailError> {
    let bad_port = || setting("port", "it must be 1 to 65535");
    let (host, port) = if let Some(bracketed) = host_port.strip_prefix('[') {
        let (host, rest) = bracketed
            .split_once(']')
            .ok_or_else(|| setting("host", "the bracket of an IPv6 address is not closed"))?;
        (
            host,
            if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(bad_port)?) },
        )
    } else {
        host_port.rsplit_once(':').map_or((host_port, None), |(host, port)| (host, Some(port)))
    };
    let port = port.map(|p| p.parse().ok().filter(|p| *p != 0).ok_or_else(bad_port)).transpose()?;
    Ok((host, port))
}

fn percent_decode(text: &str, name: &'static str) -> Result<String, MailError> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        match (digit(), digit()) {
            (Some(high), Some(low)) => decoded.extend(u8::try_from(high * 16 + low)),
            _ => return Err(setting(name, "a percent sign needs two hexadecimal digits")),
        }
    }
    String::from_utf8(decoded).map_err(|_| setting(name, "it must be UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_decides_the_protection() {
        for (url, security, port) in [
            ("smtp://127.0.0.1:2525?from=a@b.example", Security::Plain, Some(2525)),
            ("smtp://[::1]:2525/?from=a@b.example", Security::Plain, Some(2525)),
            ("smtp://127.0.0.1?from=a@b.example&tls=starttls", Security::StartTls, None),
            ("smtp://mail.example.jp?from=a@b.example", Security::StartTls, None),
            ("smtps://u:p%40ss@mail.example.jp?from=a%40b.example", Security::Implicit, None),
        ] {
            let builder = parse(url).unwrap();
            assert_eq!((builder.security, builder.port), (security, port), "{url}");
            assert!(builder.build().is_ok(), "{url}");
        }
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        for url in [
            "",
            "127.0.0.1:25",
            "http://127.0.0.1?from=a@b.example",
            "smtp://127.0.0.1",
            "smtp://127.0.0.1?from=a",
            "smtp://127.0.0.1?from=a@b.example&from=a@b.example",
            "smtp://127.0.0.1?from=a@b.example&retry=3",
            "smtp://127.0.0.1:0?from=a@b.example",
            "smtp://127.0.0.1:x?from=a@b.example",
            "smtp://user@127.0.0.1?from=a@b.example",
            "smtp://u:%zz@127.0.0.1?from=a@b.example",
            "smtp://[::1?from=a@b.example",
            "smtps://h?from=a@b.example&tls=none",
        ] {
            assert!(parse(url).is_err(), "{url}");
        }
        let plain = parse("smtp://mail.example.jp?from=a@b.example&tls=none").unwrap();
        assert!(plain.build().is_err());
    }
}
