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
    locale::Locale,
    login::{Admission, Begin, Login, Verdict},
    mail::{Host, Outbox},
    session::{AppGrant, Issuer, Revocations},
};
use serde::Deserialize;

use super::layer::{Admitted, SESSION, cookie, now};

const FLOW: &str = "__Host-flow";

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
    // The answer never depends on it.
    let admission = if gate.may_pass(&address) { Admission::Admitted } else { Admission::Denied };
    let begin = Begin::new(address, admission, visitor.ip(), gate.application.clone());
    let begun = gate.login.begin(&begin, now().into()).await;
    let (begun, dispatch) = begun.map_err(unavailable)?;
    let accepted = gate.outbox.accept(dispatch.into_job(), now().into()).await;
    accepted.map_err(unavailable)?;
    let page = format!(
        "<!doctype html><title>Your code</title><p>If that address may enter, a code is on its way.</p>\
         <form method=post action=/code><input type=hidden name=nonce value={}>\
         <input name=code inputmode=numeric autocomplete=one-time-code autofocus> <button>Sign in</button></form>",
        begun.nonce
    );
    Ok((jar.add(kept(FLOW, begun.flow_cookie.expose())), Html(page)).into_response())
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
    let epoch = gate.revocations.epoch(now().into()).await.map_err(unavailable)?;
    let session = gate.issuer.org_token(proven, epoch, now().into()).map_err(unavailable)?;
    // One host only, so the application's token is all that the browser needs.
    let grant = AppGrant::new(gate.admitted.audience.clone());
    let token =
        gate.issuer.app_token(&session.claims, &grant, now().into()).map_err(unavailable)?;
    let jar = jar.add(kept(SESSION, token.expose().to_owned())).add(gone(FLOW));
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
