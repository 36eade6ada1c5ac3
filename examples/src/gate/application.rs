//! Requests for an application's host.

use std::{sync::Arc, time::Instant};

use access_policy::{Decision, DenyClass, Outcome};
use http::{Method, StatusCode, header};
use hyper::body::Incoming;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ring::digest::{SHA256, digest};
use serde_json::json;
use tracing::{Level, debug, enabled, info};

use super::{
    Gate, cookies,
    head::Head,
    hex, masked,
    reply::{self, Reply},
    session::Session,
    sign_in::Wish,
};
use crate::{
    output::mask,
    pages::{Problem, RefusalPage, RefusalReason, SignedOutPage},
};

/// Paths below it are the edge's on every host. They never reach an origin, however they are
/// spelled: the canonical path counts.
const OWN_PATHS: &str = "/cdn-cgi/";

/// The paths of Access.
pub(super) const ACCESS_PATHS: &str = "/cdn-cgi/access/";

/// The browser keeps the mark of an opened application for a day.
const APP_SESSION_LIFE: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

impl Gate {
    /// Lets a request through, asks for a login, or refuses.
    pub(super) async fn application_host(self: Arc<Self>, head: Head, body: Incoming) -> Reply {
        if let Some(page) = head.path().strip_prefix(ACCESS_PATHS) {
            return self.application_page(&head, page).await;
        }
        let path = head.path().to_owned();
        let rules = self.rules();
        let Ok(anonymous) = rules.request(&head.host, &path, head.peer.ip) else {
            return reply::problem(&head, 400, Problem::BadRequest, None);
        };
        if anonymous.path().starts_with(OWN_PATHS) {
            return reply::problem(&head, 404, Problem::NotFoundHere, None);
        }
        let application = rules.engine().decide(&anonymous).application();
        let session = application.and_then(|application| self.session(&head, &rules, application));
        let request = match &session {
            Some(session) => anonymous.clone().identity(&session.identity),
            None => anonymous.clone(),
        };
        let decision = rules.engine().decide(&request);
        log_decision(&head, &decision, session.as_ref());
        // A session is for one application. Another one asks for its own.
        let is_same = decision.application().map(|it| &it.id) == application.map(|it| &it.id);
        match decision.outcome() {
            Outcome::Allow if is_same => self.forward(head, body, session.as_ref()).await,
            Outcome::Bypass | Outcome::ServiceAuth if is_same => {
                self.forward(head, body, None).await
            }
            Outcome::NeedsIdentity => self.ask_to_sign_in(&head, &decision),
            Outcome::Deny(class) => refuse(&head, class, session.as_ref()),
            Outcome::Allow | Outcome::Bypass | Outcome::ServiceAuth => {
                refuse(&head, DenyClass::AmbiguousPath, None)
            }
            // This edge asks no external services, and answers no preflight requests itself.
            Outcome::NeedsExternal => refuse(&head, DenyClass::MissingFact, session.as_ref()),
            Outcome::RespondPreflight => refuse(&head, DenyClass::Preflight, session.as_ref()),
        }
    }

    /// The edge's own pages on an application's host.
    async fn application_page(&self, head: &Head, page: &str) -> Reply {
        match (page, &head.parts.method) {
            // It works once, so it is for whoever will see the page.
            ("authorized", &Method::GET) if !head.is_prefetch() => self.authorized(head),
            ("authorized", &Method::GET) => reply::problem(head, 403, Problem::BadRequest, None),
            ("certs", &Method::GET | &Method::HEAD) => self.certs(),
            ("logout", &Method::GET | &Method::POST) => self.sign_out(head).await,
            ("get-identity", &Method::GET | &Method::HEAD) => self.application_identity(head),
            ("authorized" | "certs" | "logout" | "get-identity", _) => {
                reply::problem(head, 405, Problem::MethodNotAllowed, None)
            }
            _ => reply::problem(head, 404, Problem::NotFoundHere, None),
        }
    }

    /// Takes a finished login over from the team host.
    fn authorized(&self, head: &Head) -> Reply {
        let handover = head.query("nonce").and_then(|nonce| {
            let app_session = digest_of(head.cookie(cookies::APP_SESSION)?);
            self.handovers.redeem(&nonce, &head.host, &app_session, Instant::now())
        });
        let Some(handover) = handover else {
            return reply::problem(head, 400, Problem::LinkExpired, Some("/".into()));
        };
        let location = format!("{}{}", self.origin_of(&head.host), handover.path);
        let reply = reply::redirect(StatusCode::FOUND, &location);
        let cookie = cookies::set(cookies::AUTHORIZATION, &handover.token, handover.life);
        reply::with(reply, header::SET_COOKIE, &cookie)
    }

    /// The public keys, for origins that verify `Cf-Access-Jwt-Assertion`.
    pub(super) fn certs(&self) -> Reply {
        let keys = self.issuer.keys();
        // Without certificates rather than not at all.
        let document = keys.access_certs().unwrap_or_else(|_| keys.jwks());
        let value = serde_json::from_str(&document).unwrap_or_default();
        let mut reply = reply::json(200, &value);
        let fresh = header::HeaderValue::from_static("public, max-age=3600");
        reply.headers_mut().insert(header::CACHE_CONTROL, fresh);
        reply
    }

    /// Ends the visitor's session everywhere.
    async fn sign_out(&self, head: &Head) -> Reply {
        if head.is_from_elsewhere() || head.is_prefetch() {
            return reply::problem(head, 403, Problem::BadRequest, None);
        }
        if let Some(session) = self.any_session(head)
            && !self.revoke(head, &session.claims.revocation_key()).await
        {
            return sign_out_not_kept(head);
        }
        signed_out(head, Some(head.host.clone()), Some("/".into()))
    }

    /// Who the visitor is, for scripts of the application.
    fn application_identity(&self, head: &Head) -> Reply {
        match self.any_session(head) {
            Some(session) => reply::json(
                200,
                &json!({
                    "email": session.email(),
                    "user_uuid": session.claims.subject(),
                    "idp": {"id": "", "type": "onetimepin"},
                    "iat": session.claims.issued().as_unix_secs(),
                    "ip": head.peer.ip.to_string(),
                }),
            ),
            None => reply::json(401, &json!({"error": "not signed in", "id": head.id})),
        }
    }

    /// The session of any application on this host.
    fn any_session(&self, head: &Head) -> Option<Session> {
        let rules = self.rules();
        let mut applications = rules.engine().policies().applications.iter();
        applications.find_map(|it| self.session(head, &rules, it))
    }

    /// Sends a person to the login page, and tells a program that it has to sign in.
    fn ask_to_sign_in(&self, head: &Head, decision: &Decision<'_>) -> Reply {
        let Some(application) = decision.application() else {
            return reply::problem(head, 404, Problem::NotFoundHere, None);
        };
        if !head.is_navigation() {
            let reply = reply::json(
                401,
                &json!({
                    "error": "sign in first",
                    "sign_in": self.origin_of(&head.host),
                    "id": head.id,
                }),
            );
            return reply::with(reply, header::WWW_AUTHENTICATE, "Cloudflare-Access");
        }
        // A mark from an earlier tab is used again, so that both tabs can finish.
        let known = head.cookie(cookies::APP_SESSION).map(str::to_owned);
        let Some(mark) = known.or_else(|| self.draw_hex::<16>().ok()) else {
            return reply::problem(head, 503, Problem::LoginUnavailable, None);
        };
        let target = head.parts.uri.path_and_query().map_or("/", |path| path.as_str());
        // A target too long for a URL leads to the front page instead.
        let path = if target.len() <= 1_500 { target } else { "/" };
        let wish =
            Wish { host: head.host.clone(), path: path.to_owned(), app_session: digest_of(&mark) };
        let location = format!(
            "{}{ACCESS_PATHS}login/{}?kid={}&redirect_url={}&state={}",
            self.origin_of(&self.team_host),
            head.host,
            self.audience(application).as_str(),
            utf8_percent_encode(path, NON_ALPHANUMERIC),
            wish.sign(&self.states),
        );
        let reply = reply::redirect(StatusCode::FOUND, &location);
        let reply = reply::with(reply, header::WWW_AUTHENTICATE, "Cloudflare-Access");
        let cookie = cookies::set(cookies::APP_SESSION, &mark, APP_SESSION_LIFE);
        reply::with(reply, header::SET_COOKIE, &cookie)
    }
}

/// The page after signing out, at either host.
pub(super) fn signed_out(
    head: &Head,
    application: Option<String>,
    sign_in_href: Option<String>,
) -> Reply {
    let page =
        SignedOutPage { locale: head.locale(), application, sign_in_href, language_href: None };
    let reply = reply::page(200, page.to_html(), None);
    reply::with(reply, header::SET_COOKIE, &cookies::clear(cookies::AUTHORIZATION))
}

/// The session has ended here, and may not have ended for good.
pub(super) fn sign_out_not_kept(head: &Head) -> Reply {
    let reply = reply::problem(head, 503, Problem::SignOutNotKept, None);
    reply::with(reply, header::SET_COOKIE, &cookies::clear(cookies::AUTHORIZATION))
}

/// Refusals are worth a line of their own; the rest is for whoever looks closer.
fn log_decision(head: &Head, decision: &Decision<'_>, session: Option<&Session>) {
    let is_refusal = matches!(decision.outcome(), Outcome::Deny(_));
    if !is_refusal && !enabled!(Level::DEBUG) {
        return;
    }
    let email = session.map(Session::email);
    let reason = masked(&decision.reason().to_string(), email);
    let outcome = decision.outcome().to_string();
    let visitor = email.map_or_else(|| "nobody".into(), mask);
    if is_refusal {
        info!(id = head.id, host = head.host, outcome, visitor, reason, "decided");
    } else {
        debug!(id = head.id, host = head.host, outcome, visitor, reason, "decided");
    }
}

fn refuse(head: &Head, class: DenyClass, session: Option<&Session>) -> Reply {
    let reason = match class {
        DenyClass::AmbiguousPath => return reply::problem(head, 400, Problem::BadRequest, None),
        DenyClass::NoApplication => RefusalReason::NoApplication,
        DenyClass::Identity => RefusalReason::NotAdmitted,
        // What is not known is told like what does not fit.
        _ => RefusalReason::Network,
    };
    if !head.takes_html() {
        return reply::json(403, &json!({"error": "refused", "id": head.id}));
    }
    let page = RefusalPage {
        locale: head.locale(),
        application: head.host.clone(),
        address: session.map(|session| session.email().to_owned()),
        sign_out_action: format!("{ACCESS_PATHS}logout"),
        csrf: None,
        contact: None,
        request_id: head.id.clone(),
        reason,
        language_href: head.language_href(),
    };
    reply::page(403, page.to_html(), None)
}

/// SHA-256 in hexadecimal: names a cookie's value without telling it.
pub(super) fn digest_of(value: &str) -> String {
    hex(digest(&SHA256, value.as_bytes()).as_ref())
}
