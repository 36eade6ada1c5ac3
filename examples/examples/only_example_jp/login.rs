//! The pages that lead to a session, and out of it.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Form, Router,
    extract::{ConnectInfo, State},
    http::{HeaderMap, StatusCode},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use otp_auth::{
    address::EmailAddress,
    challenge::DeviceCookie,
    locale::Locale,
    login::{Admission, Begin, Login, Resend, Verdict},
    mail::{Host, Outbox},
    session::{AppGrant, Issuer, Revocations},
};
use serde::Deserialize;

use super::layer::{Admitted, SESSION, cookie, now};

const FLOW: &str = "__Host-flow";
const DEVICE: &str = "__Host-device";

/// What the pages need.
pub(crate) struct Gate {
    /// Codes by mail.
    pub(crate) login: Login,
    /// Mails on their way.
    pub(crate) outbox: Outbox,
    /// What signs sessions.
    pub(crate) issuer: Issuer,
    /// Who has logged out.
    pub(crate) revocations: Arc<Revocations>,
    /// Who may pass: the layer asks the same.
    pub(crate) admitted: Admitted,
    /// What the mail calls the application.
    pub(crate) application: Host,
}

/// `GET /login`, `POST /login`, `POST /code`, `POST /logout`.
pub(crate) fn routes(gate: Arc<Gate>) -> Router {
    Router::new()
        .route("/login", get(ask_for_address).post(send_code))
        .route("/code", post(take_code))
        .route("/logout", post(sign_out))
        .with_state(gate)
}

#[derive(Deserialize)]
struct Address {
    email: String,
    /// Of the flow whose page has the button "send again".
    nonce: Option<String>,
}

#[derive(Deserialize)]
struct Typed {
    nonce: String,
    code: String,
}

async fn ask_for_address() -> Html<&'static str> {
    Html(
        "<!doctype html><title>Sign in</title><form method=post action=/login>\
          <label>Your address <input name=email type=email autofocus></label> <button>Send a code</button></form>",
    )
}

async fn send_code(
    State(gate): State<Arc<Gate>>,
    ConnectInfo(visitor): ConnectInfo<SocketAddr>,
    jar: CookieJar,
    Form(form): Form<Address>,
) -> Result<Response, StatusCode> {
    let address = EmailAddress::parse_form_field(&form.email);
    let address = address.map_err(|_| StatusCode::BAD_REQUEST)?;
    if let (Some(nonce), Some(flow)) = (&form.nonce, jar.get(FLOW)) {
        let resend = Resend::new(visitor.ip(), gate.application.clone());
        let admit = |of_flow: &EmailAddress| gate.admission(of_flow);
        let sent = gate.login.resend(nonce, flow.value(), &resend, admit, now().into()).await;
        // Without a dispatch no code of that flow is of use any more, so a new one begins.
        if let Some(dispatch) = sent.map_err(unavailable)? {
            let accepted = gate.outbox.accept(dispatch.into_job(), now().into()).await;
            accepted.map_err(unavailable)?;
            return Ok(code_page(nonce, &address).into_response());
        }
    }
    // The answer never depends on the admission.
    let begin = Begin::new(
        address.clone(),
        gate.admission(&address),
        visitor.ip(),
        gate.application.clone(),
    );
    let begin = begin.device(jar.get(DEVICE).map(Cookie::value));
    let begun = gate.login.begin(&begin, now().into()).await;
    let (begun, dispatch) = begun.map_err(unavailable)?;
    let accepted = gate.outbox.accept(dispatch.into_job(), now().into()).await;
    accepted.map_err(unavailable)?;
    let page = code_page(&begun.nonce.to_string(), &address);
    Ok((jar.add(kept(FLOW, begun.flow_cookie.expose())), page).into_response())
}

/// The nonce came from us or opened a flow, and an address is what `EmailAddress` lets pass: escaped, because that
/// includes `&` and `'`.
fn code_page(nonce: &str, address: &EmailAddress) -> Html<String> {
    let address = address.as_str().replace('&', "&amp;").replace('"', "&quot;");
    Html(format!(
        "<!doctype html><title>Your code</title><p>If that address may enter, a code is on its way.</p>\
         <form method=post action=/code><input type=hidden name=nonce value={nonce}>\
         <input name=code inputmode=numeric autocomplete=one-time-code autofocus> <button>Sign in</button></form>\
         <form method=post action=/login><input type=hidden name=nonce value={nonce}>\
         <input type=hidden name=email value=\"{address}\"> <button>Send another code</button></form>"
    ))
}

async fn take_code(
    State(gate): State<Arc<Gate>>,
    jar: CookieJar,
    Form(form): Form<Typed>,
) -> Result<Response, StatusCode> {
    let flow = jar.get(FLOW).map(Cookie::value).unwrap_or_default();
    let verdict = gate.login.submit(&form.nonce, flow, &form.code, now().into()).await;
    let verdict = verdict.map_err(unavailable)?;
    let words = verdict.message(Locale::En);
    let Verdict::Proven(proven) = verdict else {
        return Ok((StatusCode::FORBIDDEN, words).into_response());
    };
    let device = gate.login.device_cookie(&proven, now().into()).map_err(unavailable)?;
    let epoch = gate.revocations.epoch(now().into()).await.map_err(unavailable)?;
    let session = gate.issuer.org_token(proven, epoch, now().into()).map_err(unavailable)?;
    // One host only, so the application's token is all that the browser needs.
    let grant = AppGrant::new(gate.admitted.audience.clone());
    let token =
        gate.issuer.app_token(&session.claims, &grant, now().into()).map_err(unavailable)?;
    let jar = jar.add(kept(SESSION, token.expose().to_owned())).add(known(&device)).add(gone(FLOW));
    Ok((jar, Redirect::to("/")).into_response())
}

/// Ends the session wherever a copy of it is.
async fn sign_out(
    State(gate): State<Arc<Gate>>,
    headers: HeaderMap,
    jar: CookieJar,
) -> Result<Response, StatusCode> {
    let token = cookie(&headers, SESSION).unwrap_or_default();
    let claims = gate.admitted.verifier.verify(token, &gate.admitted.audience, now().into());
    if let Ok(claims) = claims {
        let revoked = gate.revocations.revoke(&claims.revocation_key(), now().into()).await;
        revoked.map_err(unavailable)?;
    }
    Ok((jar.add(gone(SESSION)), "You are signed out.\n").into_response())
}

impl Gate {
    fn admission(&self, address: &EmailAddress) -> Admission {
        if self.may_pass(address) { Admission::Admitted } else { Admission::Denied }
    }

    fn may_pass(&self, address: &EmailAddress) -> bool {
        let identity = access_policy::Identity::parse(address.key());
        let request = access_policy::Request::new(self.admitted.host, "/");
        match (identity, request) {
            (Ok(identity), Ok(request)) => self.admitted.engine.admits(&request, &identity),
            _ => false,
        }
    }
}

/// Until the browser is closed; the token inside has its own end.
fn kept(name: &'static str, value: String) -> Cookie<'static> {
    let cookie = Cookie::build((name, value)).path("/").secure(true).http_only(true);
    cookie.same_site(SameSite::Lax).build()
}

/// The mark of a browser that has signed in, which lasts for longer than it is good for.
fn known(device: &DeviceCookie) -> Cookie<'static> {
    let mut cookie = kept(DEVICE, device.expose());
    cookie.set_same_site(SameSite::Strict);
    cookie.make_permanent();
    cookie
}

fn gone(name: &'static str) -> Cookie<'static> {
    let mut cookie = kept(name, String::new());
    cookie.make_removal();
    cookie
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unavailable(error: otp_auth::error::Error) -> StatusCode {
    tracing::warn!(%error, "the login is not available");
    StatusCode::SERVICE_UNAVAILABLE
}
