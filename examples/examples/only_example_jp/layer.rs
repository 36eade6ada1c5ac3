//! A tower layer between visitors and a service: whom a policy admits may pass.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::SystemTime,
};

use access_policy::{Engine, Identity, Outcome};
use axum::{
    body::Body,
    http::{HeaderMap, Request, Response, StatusCode, header},
    response::IntoResponse as _,
};
use otp_auth::{
    session::{AppClaims, AppVerifier},
    token::Audience,
};
use tower::{Layer, Service};

/// The cookie with the app token. `__Host-` binds it to this host, HTTPS and the path `/`.
pub(crate) const SESSION: &str = "__Host-session";

/// Lets requests pass whose session is good and whose person the policies admit.
///
/// | The request has | Answer |
/// |---|---|
/// | no session, or one that is over, forged or revoked | 401, with where to sign in |
/// | a session of somebody whom no policy admits | 403 |
/// | a session of somebody who is admitted | the service's; it finds [`AppClaims`] in the extensions |
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    /// The rules.
    pub(crate) engine: Arc<Engine>,
    /// What tells good sessions.
    pub(crate) verifier: Arc<AppVerifier>,
    /// The application that sessions must be for.
    pub(crate) audience: Audience,
    /// The host of the application: from configuration, never from the request.
    pub(crate) host: &'static str,
}

impl Admitted {
    /// The person of a request, if it may pass.
    fn judge(&self, headers: &HeaderMap, path: &str) -> Result<AppClaims, StatusCode> {
        let token = cookie(headers, SESSION).ok_or(StatusCode::UNAUTHORIZED)?;
        let now = now().into();
        let claims = self.verifier.verify(token, &self.audience, now);
        let claims = claims.map_err(|_| StatusCode::UNAUTHORIZED)?;
        let email = claims.email().ok_or(StatusCode::UNAUTHORIZED)?;
        // Whatever cannot be judged is refused.
        let identity = Identity::parse(email).map_err(|_| StatusCode::FORBIDDEN)?;
        let request = access_policy::Request::new(self.host, path);
        let request = request.map_err(|_| StatusCode::BAD_REQUEST)?.identity(&identity);
        let outcome = self.engine.decide(&request).outcome();
        if outcome == Outcome::Allow { Ok(claims) } else { Err(StatusCode::FORBIDDEN) }
    }
}

impl<S> Layer<S> for Admitted {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { admitted: self.clone(), inner }
    }
}

/// A service behind [`Admitted`].
#[derive(Debug, Clone)]
pub(crate) struct Guarded<S> {
    admitted: Admitted,
    inner: S,
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
    S: Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self.admitted.judge(request.headers(), request.uri().path()) {
            Ok(claims) => {
                request.extensions_mut().insert(claims);
                // The one that is ready goes; a clone takes its place.
                let fresh = self.inner.clone();
                let mut ready = std::mem::replace(&mut self.inner, fresh);
                Box::pin(async move { ready.call(request).await })
            }
            Err(status) => Box::pin(async move { Ok(refusal(status)) }),
        }
    }
}

fn refusal(status: StatusCode) -> Response<Body> {
    let words = match status {
        StatusCode::UNAUTHORIZED => "Sign in first: /login\n",
        StatusCode::FORBIDDEN => "You are signed in, and nobody let you in here.\n",
        _ => "This request can't be judged.\n",
    };
    let mut response = (status, words).into_response();
    if status == StatusCode::UNAUTHORIZED {
        let scheme = header::HeaderValue::from_static("Cookie realm=\"only example.jp\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    }
    response
}

/// The value of a cookie that is there once. Twice means that somebody planted one.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let fields = headers.get_all(header::COOKIE).iter().filter_map(|it| it.to_str().ok());
    let pairs = fields.flat_map(|field| field.split(';'));
    let mut values = pairs.filter_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='));
    values.next().filter(|_| values.next().is_none())
}

/// The wall clock.
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}
