//! What `access` states.

use http::Uri;
use serde_json::{Map as JsonMap, Value as Json, json};
use tracing::warn;

use crate::ingress::{
    problem::Report,
    reader::{Map, Place, Source},
};

/// A rule's `access`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ingress) struct AccessRule {
    /// Whether it is, if it says so.
    required: Option<bool>,
    /// Cloudflare's own issuers are told by the team's name.
    team: Option<Team>,
    /// Ours: any issuer, told by its URL.
    custom: Option<Custom>,
    pub(super) audiences: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Team {
    name: String,
    environment: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Custom {
    issuer: String,
    certs_url: Option<String>,
}

/// Whose tokens count, and where their keys are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::ingress) struct Issuer {
    /// The `iss` of its tokens.
    pub(in crate::ingress) name: String,
    /// Its keys, as JSON.
    pub(in crate::ingress) certs_url: String,
    /// Whether ES256 counts beside RS256.
    pub(in crate::ingress) is_custom: bool,
}

impl AccessRule {
    /// Lets nobody pass.
    pub(in crate::ingress) fn closed() -> Self {
        Self { required: Some(true), team: None, custom: None, audiences: Vec::new() }
    }

    pub(in crate::ingress) fn read(at: &Place<'_>, report: &mut Report) -> Option<Self> {
        let mut map = Map::open(at, report)?;
        let mut text = |key, report: &mut Report| {
            let at = map.take(key)?;
            let text = at.text(report)?.to_owned();
            (!text.is_empty()).then_some((text, at))
        };
        let team = text("teamName", report);
        let environment = text("environment", report);
        let issuer = text("issuer", report);
        let certs_url = text("certsUrl", report);
        let required = map.take("required").and_then(|at| at.boolean(report));
        let audiences = match map.take("audTag") {
            Some(at) => at.texts(report),
            None => Some(Vec::new()),
        };
        map.finish(report);

        if let Some((name, at)) = &team
            && !is_label(name)
        {
            at.tell(report, &format!("is {}, not a team's name", at.value.describe()));
        }
        if let Some((name, at)) = &environment
            && name != "fed"
        {
            at.tell(report, &format!("is {}; known is `fed`", at.value.describe()));
        }
        if let (Some(_), Some((_, at))) = (&team, &issuer) {
            at.tell(report, "stands beside `teamName`; tokens have one issuer");
        }
        if let (Some(_), Some((_, at))) = (&environment, &issuer) {
            at.tell(report, "stands beside `environment`, which is for `teamName`");
        }
        if let (None, Some((_, at))) = (&issuer, &certs_url) {
            at.tell(report, "stands without `issuer`");
        }
        for (url, at) in issuer.iter().chain(&certs_url) {
            if let Err(what) = check_url(url) {
                at.tell(report, &format!("is {}, {what}", at.value.describe()));
            }
        }
        let states_who = team.is_some()
            || issuer.is_some()
            || audiences.as_ref().is_none_or(|audiences| !audiences.is_empty());
        if required.is_none() && states_who {
            unchecked(at, report);
        }
        // cloudflared checks nothing unless it is told to, whatever else stands there.
        let is_required = required.unwrap_or(false);
        // In a push such a rule lets nobody pass, as cloudflared's; a file's author is there to be told.
        if is_required && at.source == Source::File && audiences.as_ref().is_some_and(Vec::is_empty)
        {
            at.tell(report, "is required, but `audTag` names no application, so nobody would pass");
        }
        let audiences = audiences.unwrap_or_default();
        if is_required && team.is_none() && issuer.is_none() {
            // cloudflared takes such a rule for a first step and then lets nobody pass. A push is
            // treated so, too: refusing it would leave older and more open rules in force.
            if !audiences.is_empty() || at.source == Source::File {
                at.tell(report, "is required, but names neither `teamName` nor `issuer`");
            }
        }
        let team = team.map(|(name, _)| Team {
            name,
            environment: environment.map(|(name, _)| name).unwrap_or_default(),
        });
        let custom =
            issuer.map(|(issuer, _)| Custom { issuer, certs_url: certs_url.map(|(url, _)| url) });
        Some(Self { required, team, custom, audiences })
    }

    pub(in crate::ingress) fn is_required(&self) -> bool {
        self.required.unwrap_or(false)
    }

    /// What holds where this stands below `above`: only who says so opens what is closed above.
    pub(in crate::ingress) fn below(self, above: &Self) -> Self {
        if self.required.is_none() && above.is_required() { above.clone() } else { self }
    }

    /// Whose tokens open the rule; nobody's if there is none.
    pub(in crate::ingress) fn issuer(&self) -> Option<Issuer> {
        if let Some(Custom { issuer, certs_url }) = &self.custom {
            let base = issuer.trim_end_matches('/');
            let certs_url =
                certs_url.clone().unwrap_or_else(|| format!("{base}/cdn-cgi/access/certs"));
            return Some(Issuer { name: issuer.clone(), certs_url, is_custom: true });
        }
        let Team { name, environment } = self.team.as_ref()?;
        let domain = match environment.as_str() {
            "" => "cloudflareaccess.com".to_owned(),
            environment => format!("{environment}.cloudflareaccess.com"),
        };
        let name = format!("https://{name}.{domain}");
        let certs_url = format!("{name}/cdn-cgi/access/certs");
        Some(Issuer { name, certs_url, is_custom: false })
    }

    pub(in crate::ingress) fn to_json(&self) -> Json {
        let mut map = JsonMap::new();
        map.insert("required".into(), self.is_required().into());
        if let Some(team) = &self.team {
            map.insert("teamName".into(), json!(team.name));
            if !team.environment.is_empty() {
                map.insert("environment".into(), json!(team.environment));
            }
        }
        if let Some(custom) = &self.custom {
            map.insert("issuer".into(), json!(custom.issuer));
            if let Some(url) = &custom.certs_url {
                map.insert("certsUrl".into(), json!(url));
            }
        }
        map.insert("audTag".into(), json!(self.audiences));
        Json::Object(map)
    }
}

/// A rule that says who may pass, and not that anybody is checked. A push is taken as cloudflared takes
/// it; whoever wrote a file is there to say what was meant.
fn unchecked(at: &Place<'_>, report: &mut Report) {
    match at.source {
        Source::File => at.tell(
            report,
            "names who may pass, but everybody does; write `required: true` beside it, or \
             `required: false` if that is meant",
        ),
        Source::Push => warn!(
            rule = at.path,
            "a pushed rule names who may pass, but without `required: true` everybody does"
        ),
    }
}

fn is_label(name: &str) -> bool {
    name.len() <= 63 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Keys that came in plain text could be anybody's; on the loopback they are this machine's.
fn check_url(url: &str) -> Result<(), &'static str> {
    let uri: Uri = url.parse().map_err(|_| "not a URL")?;
    let host = uri.host().unwrap_or_default();
    let is_loopback = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    match uri.scheme_str() {
        Some("https") if !host.is_empty() => Ok(()),
        Some("http") if is_loopback => Ok(()),
        Some("http") => Err("without TLS; write `https://`"),
        _ => Err("not a URL such as `https://auth.example.com`"),
    }
}
