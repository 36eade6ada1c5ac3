//! The team host: where people sign in, once for all applications.
//!
//! Each step is a page on a URL of its own, works without a script, and can be loaded again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use access_policy::Outcome;
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use otp_auth::{
    address::EmailAddress,
    challenge::DeviceCookie,
    login::{Admission, Begin, Resend, Verdict},
    mail::Host,
    session::{AppGrant, OrgClaims, StateSigner},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::warn;

use super::{
    Gate,
    application::{ACCESS_PATHS, sign_out_not_kept, signed_out},
    cookies,
    handover::Handover,
    head::Head,
    reply::{self, Reply},
    session::timestamp,
};
use crate::{
    locale::Locale,
    output::{Event, chain},
    pages::{
        CODE_FIELD, CSRF_FIELD, CodeError, CodePage, EMAIL_FIELD, LoginError, LoginPage,
        NONCE_FIELD, Problem, RefusalPage, RefusalReason,
    },
};

/// What a visitor wanted when the login began. It travels signed, in the URL.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Wish {
    /// The application's host.
    #[serde(rename = "h")]
    pub host: String,
    /// Path and query there.
    #[serde(rename = "p")]
    pub path: String,
    /// Digest of the cookie that the application's host gave the browser.
    #[serde(rename = "s")]
    pub app_session: String,
}

impl Wish {
    const PURPOSE: &str = "login";

    /// Good for as long as a login may take, with pauses.
    const LIFE: Duration = Duration::from_secs(3600);

    pub(super) fn sign(&self, states: &StateSigner) -> String {
        let content = serde_json::to_string(self).unwrap_or_default();
        // What is too long for a state leads to the page for links that are too old; `ask_to_sign_in` bounds it.
        states.sign(Self::PURPOSE, &content, timestamp().plus(Self::LIFE)).unwrap_or_default()
    }

    fn open(states: &StateSigner, state: &str) -> Option<Self> {
        let content = states.open(Self::PURPOSE, state, timestamp()).ok()?;
        serde_json::from_str(&content).ok()
    }
}

/// A code under way. It travels signed, in a cookie: addresses don't belong in URLs.
#[derive(Debug, Serialize, Deserialize)]
struct Flow {
    cookie: String,
    nonce: String,
    address: String,
    #[serde(default = "ordinary_digits")]
    digits: usize,
}

fn ordinary_digits() -> usize {
    otp_auth::code::CodeLength::default().digits()
}

impl Flow {
    const PURPOSE: &str = "flow";

    /// Codes live for ten minutes; the page says so for a while longer.
    const LIFE: Duration = Duration::from_secs(1800);

    fn sign(&self, states: &StateSigner) -> String {
        let content = serde_json::to_string(self).unwrap_or_default();
        // INVARIANT: an address has at most 254 bytes, the rest is ours.
        states.sign(Self::PURPOSE, &content, timestamp().plus(Self::LIFE)).unwrap_or_default()
    }

    fn open(states: &StateSigner, head: &Head) -> Option<Self> {
        let content = states.open(Self::PURPOSE, head.cookie(cookies::FLOW)?, timestamp()).ok()?;
        serde_json::from_str(&content).ok()
    }
}

/// A posted form, its wish and the proof that it is ours.
struct Form {
    fields: Vec<(String, String)>,
}

impl Form {
    fn field(&self, name: &str) -> &str {
        let mut values = self.fields.iter().filter(|(known, _)| known == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => value,
            _ => "",
        }
    }
}

/// Our forms are small.
const FORM_BYTES: usize = 16 * 1024;

/// The visitor's browser keeps the mark for forms this long.
const SESSION_LIFE: Duration = Duration::from_secs(4 * 3600);

/// The budget of mails is what limits sending again, so the page asks for no wait.
const RESEND_AFTER_SECS: u32 = 0;

/// The life of a code.
const EXPIRES_MINUTES: u32 = 10;

impl Gate {
    /// Pages of the team host.
    pub(super) async fn team_host(self: Arc<Self>, head: Head, body: Incoming) -> Reply {
        let path = head.path().to_owned();
        let Some(page) = path.strip_prefix(ACCESS_PATHS) else {
            return reply::problem(&head, 404, Problem::NotFoundHere, None);
        };
        let step = page.split('/').next().unwrap_or_default();
        match (step, head.parts.method.clone()) {
            ("certs", Method::GET | Method::HEAD) => self.certs(),
            ("get-identity", Method::GET | Method::HEAD) => self.identity_document(&head),
            ("logout", Method::GET | Method::POST) => self.sign_out_of_team(&head).await,
            ("login", Method::GET | Method::HEAD) => self.login_step(&head),
            ("verify-code", Method::GET | Method::HEAD) => self.code_step(&head),
            ("verify-code" | "resend-code" | "callback", Method::POST) => {
                let Some(wish) = self.wish(&head) else { return expired(&head) };
                let form = match read_form(&head, body).await {
                    Ok(form) => form,
                    Err(problem) => return reply::problem(&head, 400, problem, None),
                };
                if head.is_cross_site() || !self.is_own_form(&head, &form) {
                    return self.login_page(&head, &wish, "", Some(LoginError::FormExpired), 403);
                }
                match step {
                    "verify-code" => self.ask_for_code(&head, &wish, &form).await,
                    "resend-code" => self.resend_code(&head, &wish).await,
                    _ => self.take_code(&head, &wish, &form).await,
                }
            }
            (
                "certs" | "get-identity" | "logout" | "login" | "verify-code" | "resend-code"
                | "callback",
                _,
            ) => reply::problem(&head, 405, Problem::MethodNotAllowed, None),
            _ => reply::problem(&head, 404, Problem::NotFoundHere, None),
        }
    }

    /// Step 1: the e-mail field, unless the visitor has signed in already.
    fn login_step(&self, head: &Head) -> Reply {
        let Some(wish) = self.wish(head) else { return expired(head) };
        match self.org_session(head) {
            Some(claims) => self.grant(head, &wish, &claims),
            None => self.login_page(head, &wish, "", None, 200),
        }
    }

    /// Step 2: send a code, or seem to.
    async fn ask_for_code(&self, head: &Head, wish: &Wish, form: &Form) -> Reply {
        let typed = to_ascii_width(form.field(EMAIL_FIELD).trim());
        let Ok(address) = EmailAddress::parse_form_field(&typed) else {
            let error = if typed.is_empty() { LoginError::Empty } else { LoginError::NotAnAddress };
            return self.login_page(head, wish, &typed, Some(error), 400);
        };
        self.send_code(head, wish, address, false).await
    }

    /// Sends a code to the address: of the flow that is open in this browser, if it is for this address and
    /// another code of it would be of use; else of a new flow. Whoever presses a button twice keeps their flow, and
    /// whoever has used up their tries, or whose flow a restart has forgotten, gets a new one.
    async fn send_code(
        &self,
        head: &Head,
        wish: &Wish,
        address: EmailAddress,
        is_again: bool,
    ) -> Reply {
        let Ok(host) = wish.host.parse::<Host>() else { return expired(head) };
        let page = |flow: &Flow| {
            let location = self.step_url("verify-code", wish, head.locale(), &flow.nonce, is_again);
            reply::redirect(StatusCode::SEE_OTHER, &location)
        };
        let open = Flow::open(&self.states, head);
        if let Some(flow) = open.filter(|flow| flow.address == address.as_str()) {
            let resend = Resend::new(head.peer.ip, host.clone()).locale(mail_locale(head));
            let admit = |address: &EmailAddress| self.admission(head, wish, address);
            let sent = self.login.resend(&flow.nonce, &flow.cookie, &resend, admit, timestamp());
            match sent.await {
                Ok(Some(dispatch)) => {
                    return match self.outbox.accept(dispatch.into_job(), timestamp()).await {
                        Ok(()) => page(&flow),
                        Err(error) => unavailable(head, &error),
                    };
                }
                Ok(None) => {}
                Err(error) => return unavailable(head, &error),
            }
        }
        let admission = self.admission(head, wish, &address);
        let begin = Begin::new(address.clone(), admission, head.peer.ip, host)
            .locale(mail_locale(head))
            .device(head.cookie(cookies::DEVICE));
        match self.login.begin(&begin, timestamp()).await {
            Ok((begun, dispatch)) => {
                if let Err(error) = self.outbox.accept(dispatch.into_job(), timestamp()).await {
                    return unavailable(head, &error);
                }
                let flow = Flow {
                    cookie: begun.flow_cookie.expose(),
                    nonce: begun.nonce.to_string(),
                    address: address.as_str().to_owned(),
                    digits: begun.code_length.digits(),
                };
                let cookie = cookies::set(cookies::FLOW, &flow.sign(&self.states), Flow::LIFE);
                reply::with(page(&flow), header::SET_COOKIE, &cookie)
            }
            Err(error) => unavailable(head, &error),
        }
    }

    /// Step 3: the code field.
    fn code_step(&self, head: &Head) -> Reply {
        let Some(wish) = self.wish(head) else { return expired(head) };
        let flow = Flow::open(&self.states, head);
        match flow.filter(|flow| Some(&flow.nonce) == head.query("nonce").as_ref()) {
            Some(flow) => self.code_page(head, &wish, &flow, None, 200),
            // Another browser, or too late: start over.
            None => self.login_page(head, &wish, "", None, 200),
        }
    }

    /// Step 3, once more: send another code to the same address.
    async fn resend_code(&self, head: &Head, wish: &Wish) -> Reply {
        let flow = Flow::open(&self.states, head);
        let address = flow.and_then(|flow| EmailAddress::parse_form_field(&flow.address).ok());
        match address {
            Some(address) => self.send_code(head, wish, address, true).await,
            None => expired(head),
        }
    }

    /// Step 4: the right code becomes a session.
    async fn take_code(&self, head: &Head, wish: &Wish, form: &Form) -> Reply {
        let Some(flow) = Flow::open(&self.states, head) else {
            // Sent twice, or "back" after signing in: the first one counted.
            return match self.org_session(head) {
                Some(claims) => self.grant(head, wish, &claims),
                None => expired(head),
            };
        };
        let (nonce, code) = (form.field(NONCE_FIELD), form.field(CODE_FIELD));
        let verdict = match self.login.submit(nonce, &flow.cookie, code, timestamp()).await {
            Ok(verdict) => verdict,
            Err(error) => return unavailable(head, &error),
        };
        let proven = match verdict {
            Verdict::Proven(proven) => proven,
            Verdict::Malformed(_) => {
                return self.code_page(head, wish, &flow, Some(CodeError::Malformed), 400);
            }
            Verdict::Again(refusal) | Verdict::StartOver(refusal) => {
                let reason = refusal.reason().to_string();
                self.reporter.tell(&Event::CodeRefused { reason });
                return self.code_page(head, wish, &flow, Some(CodeError::Wrong), 403);
            }
        };
        let address = self.reporter.name(proven.address().as_str());
        let device = self.login.device_cookie(&proven, timestamp());
        let epoch = match self.revocations.epoch(timestamp()).await {
            Ok(epoch) => epoch,
            Err(error) => return unavailable(head, &error),
        };
        match self.issuer.org_token(proven, epoch, timestamp()) {
            Ok(session) => {
                self.reporter.tell(&Event::SignedIn { address });
                let life = session.token.expires().since(timestamp());
                let reply = self.grant(head, wish, &session.claims);
                let cookie = cookies::set(cookies::AUTHORIZATION, session.token.expose(), life);
                let mut reply = reply::with(reply, header::SET_COOKIE, &cookie);
                if let Ok(device) = device {
                    let life = DeviceCookie::LIFETIME;
                    let cookie = cookies::set_strict(cookies::DEVICE, &device.expose(), life);
                    reply = reply::with(reply, header::SET_COOKIE, &cookie);
                }
                reply::with(reply, header::SET_COOKIE, &cookies::clear(cookies::FLOW))
            }
            Err(error) => unavailable(head, &error),
        }
    }

    /// Step 5: the policy has the last word, then the browser goes back to the application.
    fn grant(&self, head: &Head, wish: &Wish, claims: &OrgClaims) -> Reply {
        let rules = self.rules();
        let identity = rules.identity(claims.email());
        let request = rules.request(&wish.host, path_of(&wish.path), head.peer.ip);
        let (Some(identity), Ok(request)) = (identity, request) else { return expired(head) };
        let request = request.identity(&identity);
        let decision = rules.engine().decide(&request);
        if decision.outcome() == Outcome::Bypass {
            let location = format!("{}{}", self.origin_of(&wish.host), wish.path);
            return reply::redirect(StatusCode::SEE_OTHER, &location);
        }
        let (Outcome::Allow, Some(application)) = (decision.outcome(), decision.application())
        else {
            return self.refused(head, wish, claims);
        };
        // Never longer than the login itself.
        let life = decision
            .session_duration()
            .unwrap_or_default()
            .min(claims.expires().since(timestamp()));
        let grant = AppGrant::new(self.audience(application)).lifetime(life);
        let token = grant.and_then(|grant| {
            let grant = decision.policy().map_or(grant.clone(), |it| grant.policy_id(&it.id));
            self.issuer.app_token(claims, &grant, timestamp())
        });
        let nonce = self.draw_hex::<16>();
        let (token, nonce) = match (token, nonce) {
            (Ok(token), Ok(nonce)) => (token, nonce),
            (Err(error), _) | (_, Err(error)) => return unavailable(head, &error),
        };
        let handover = Handover {
            host: wish.host.clone(),
            app_session: wish.app_session.clone(),
            token: token.expose().to_owned(),
            life,
            path: wish.path.clone(),
        };
        if !self.handovers.offer(nonce.clone(), handover, Instant::now()) {
            return reply::problem(head, 503, Problem::LoginUnavailable, None);
        }
        let origin = self.origin_of(&wish.host);
        let location = format!("{origin}{ACCESS_PATHS}authorized?nonce={nonce}");
        reply::redirect(StatusCode::SEE_OTHER, &location)
    }

    /// Ends the session everywhere. Whoever came here from an application finds the way back.
    async fn sign_out_of_team(&self, head: &Head) -> Reply {
        if head.is_from_elsewhere() || head.is_prefetch() {
            return reply::problem(head, 403, Problem::BadRequest, None);
        }
        if let Some(claims) = self.org_session(head)
            && !self.revoke(head, &claims.revocation_key()).await
        {
            return sign_out_not_kept(head);
        }
        let wish = self.wish(head);
        let back = wish.as_ref().map(|wish| format!("{}/", self.origin_of(&wish.host)));
        signed_out(head, wish.map(|wish| wish.host), back)
    }

    fn identity_document(&self, head: &Head) -> Reply {
        let document = self.org_session(head).map(|claims| claims.identity_document(None));
        match document.map(|document| serde_json::from_str(&document)) {
            Some(Ok(document)) => reply::json(200, &document),
            _ => reply::json(401, &json!({"error": "not signed in", "id": head.id})),
        }
    }

    /// Whether the policy could let this address in, from here, to what was asked for.
    fn admission(&self, head: &Head, wish: &Wish, address: &EmailAddress) -> Admission {
        let rules = self.rules();
        let Ok(request) = rules.request(&wish.host, path_of(&wish.path), head.peer.ip) else {
            return Admission::Denied;
        };
        match rules.identity(address.key()) {
            Some(identity) if rules.engine().admits(&request, &identity) => Admission::Admitted,
            _ => Admission::Denied,
        }
    }

    /// The wish that the URL carries. Where the path names a host, it must be the wish's.
    fn wish(&self, head: &Head) -> Option<Wish> {
        let wish = Wish::open(&self.states, &head.query("state")?)?;
        let named = head.path().strip_prefix(ACCESS_PATHS)?.split_once('/');
        named.is_none_or(|(_, host)| host == wish.host).then_some(wish)
    }

    /// A form is ours if it carries the token made for this browser's cookie.
    fn is_own_form(&self, head: &Head, form: &Form) -> bool {
        let Some(session) = head.cookie(cookies::SESSION) else { return false };
        let opened = self.states.open("csrf", form.field(CSRF_FIELD), timestamp());
        opened.is_ok_and(|opened| opened == session)
    }

    fn login_page(
        &self,
        head: &Head,
        wish: &Wish,
        address: &str,
        error: Option<LoginError>,
        status: u16,
    ) -> Reply {
        self.with_session(head, |csrf| {
            let page = LoginPage {
                locale: head.locale(),
                application: wish.host.clone(),
                action: self.step_url("verify-code", wish, head.locale(), "", false),
                address: address.to_owned(),
                error,
                hidden: Vec::new(),
                csrf,
                language_href: head.language_href(),
            };
            reply::page(status, page.to_html(), Some(&self.origin_of(&wish.host)))
        })
    }

    fn code_page(
        &self,
        head: &Head,
        wish: &Wish,
        flow: &Flow,
        error: Option<CodeError>,
        status: u16,
    ) -> Reply {
        self.with_session(head, |csrf| {
            let page = CodePage {
                locale: head.locale(),
                application: wish.host.clone(),
                address: flow.address.clone(),
                action: self.step_url("callback", wish, head.locale(), "", false),
                resend_action: self.step_url("resend-code", wish, head.locale(), "", false),
                start_over_href: self.step_url("login", wish, head.locale(), "", false),
                csrf,
                nonce: flow.nonce.clone(),
                resend_after_secs: RESEND_AFTER_SECS,
                expires_minutes: EXPIRES_MINUTES,
                code_digits: flow.digits,
                resent: head.query("resent").is_some(),
                error,
                language_href: head.language_href(),
            };
            reply::page(status, page.to_html(), Some(&self.origin_of(&wish.host)))
        })
    }

    /// Makes a page with a form, and gives the browser the mark that the form's token is for.
    fn with_session(&self, head: &Head, make: impl FnOnce(String) -> Reply) -> Reply {
        let known = head.cookie(cookies::SESSION).map(str::to_owned);
        let is_new = known.is_none();
        let Some(session) = known.or_else(|| self.draw_hex::<16>().ok()) else {
            return reply::problem(head, 503, Problem::LoginUnavailable, None);
        };
        // A cookie that somebody has planted may be too long to sign.
        let Ok(csrf) = self.states.sign("csrf", &session, timestamp().plus(SESSION_LIFE)) else {
            return reply::problem(head, 400, Problem::BadRequest, None);
        };
        let reply = make(csrf);
        if !is_new {
            return reply;
        }
        let cookie = cookies::set(cookies::SESSION, &session, SESSION_LIFE);
        reply::with(reply, header::SET_COOKIE, &cookie)
    }

    /// Signed in, but not let in: with a way to sign out and try another address.
    fn refused(&self, head: &Head, wish: &Wish, claims: &OrgClaims) -> Reply {
        let page = RefusalPage {
            locale: head.locale(),
            application: wish.host.clone(),
            address: Some(claims.email().to_owned()),
            sign_out_action: self.step_url("logout", wish, head.locale(), "", false),
            csrf: None,
            contact: None,
            request_id: head.id.clone(),
            reason: RefusalReason::NotAdmitted,
            language_href: head.language_href(),
        };
        reply::page(403, page.to_html(), None)
    }

    /// A step's path on the team host, with everything that it needs.
    fn step_url(
        &self,
        step: &str,
        wish: &Wish,
        locale: Locale,
        nonce: &str,
        resent: bool,
    ) -> String {
        let host = match step {
            "login" | "verify-code" => format!("/{}", wish.host),
            _ => String::new(),
        };
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("state", &wish.sign(&self.states));
        query.append_pair("lang", locale.tag());
        if !nonce.is_empty() {
            query.append_pair("nonce", nonce);
        }
        if resent {
            query.append_pair("resent", "1");
        }
        format!("{ACCESS_PATHS}{step}{host}?{}", query.finish())
    }
}

fn expired(head: &Head) -> Reply {
    reply::problem(head, 400, Problem::LinkExpired, None)
}

/// The store or the system's randomness failed: for admitted and denied addresses alike.
fn unavailable(head: &Head, error: &otp_auth::error::Error) -> Reply {
    warn!(id = head.id, error = chain(error), "the login is not available");
    reply::problem(head, 503, Problem::LoginUnavailable, None)
}

async fn read_form(head: &Head, body: Incoming) -> Result<Form, Problem> {
    let content_type = head.header(header::CONTENT_TYPE).unwrap_or_default();
    if !content_type.starts_with("application/x-www-form-urlencoded") {
        return Err(Problem::BadRequest);
    }
    let content =
        Limited::new(body, FORM_BYTES).collect().await.map_err(|_| Problem::BadRequest)?;
    let fields = form_urlencoded::parse(&content.to_bytes()).into_owned().collect();
    Ok(Form { fields })
}

/// The language of a mail is that of the page that asked for it.
fn mail_locale(head: &Head) -> otp_auth::locale::Locale {
    match head.locale() {
        Locale::En => otp_auth::locale::Locale::En,
        Locale::Ja => otp_auth::locale::Locale::Ja,
    }
}

/// A wish's path without its query.
fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or(target)
}

/// What a Japanese keyboard types: full-width letters, digits and signs become ASCII, before
/// anything reads the address. One canonical form goes to policy, mail and session alike.
fn to_ascii_width(typed: &str) -> String {
    typed
        .chars()
        .map(|char| match char {
            '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(char) - 0xFEE0).unwrap_or(char),
            char => char,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_width_input_becomes_ascii() {
        assert_eq!(to_ascii_width("ａｌｉｃｅ＠example.jp"), "alice@example.jp");
        assert_eq!(to_ascii_width("日本@example.jp"), "日本@example.jp");
    }

    #[test]
    fn a_wish_is_for_one_purpose_and_can_not_be_forged() {
        let states = StateSigner::new(otp_auth::secret::Secret::new(vec![1; 32])).unwrap();
        let wish = Wish { host: "app".into(), path: "/a?b".into(), app_session: "x".into() };
        let signed = wish.sign(&states);
        assert_eq!(Wish::open(&states, &signed).unwrap().path, "/a?b");
        assert!(states.open("csrf", &signed, timestamp()).is_err());
        assert!(Wish::open(&states, &format!("{signed}x")).is_none());
    }
}
