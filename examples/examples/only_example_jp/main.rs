//! "Only `@example.jp`": a tower layer that joins otp-auth and access-policy, around any axum application.
//!
//! Run: `cargo run -p sekimori --example only_example_jp`, then open <http://localhost:8480/>.
//!
//! You should see "Sign in first". At `/login`, ask with `alice@example.jp`: the code appears in the terminal,
//! and leads to "Hello, alice@example.jp". Ask with `bob@evil.test`: the same page, and no code. The cookies
//! are `Secure`, which Chromium and Firefox accept from localhost over HTTP.

mod layer;
mod login;
#[cfg(test)]
mod tests;

use std::{net::SocketAddr, sync::Arc};

use access_policy::{Engine, Policies};
use anyhow::Context as _;
use axum::{Extension, Router, routing::get};
use otp_auth::{
    keys::{KeyRing, KeySet, SigningKey},
    login::Login,
    mail::{Mailer, MemoryOutbox, Outbox, TerminalMailer},
    random::SystemRandom,
    seal::SealingKey,
    secret::{Pepper, Secret},
    session::{AppClaims, AppVerifier, Issuer, Revocations},
    store::MemoryStore,
    token::Audience,
};

use self::{
    layer::{Admitted, now},
    login::Gate,
};

const POLICIES: &str = r#"{"applications": [{
    "name": "wiki", "domain": "localhost",
    "policies": [{"name": "staff", "decision": "allow",
                  "include": [{"email_domain": {"domain": "example.jp"}}]}]
}]}"#;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = SocketAddr::from(([127, 0, 0, 1], 8480));
    let listener =
        tokio::net::TcpListener::bind(address).await.context("is it running already?")?;
    let app = application(POLICIES, Arc::new(TerminalMailer::stdout())).await?;
    #[expect(clippy::print_stdout, reason = "the terminal is the user interface")]
    {
        println!("open http://localhost:8480/ and stop with Ctrl-C");
    }
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    let stopped = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    axum::serve(listener, service).with_graceful_shutdown(stopped).await?;
    Ok(())
}

/// Anything that axum serves; the layer is all that guards it.
async fn hello(Extension(person): Extension<AppClaims>) -> String {
    format!("Hello, {}\n", person.email().unwrap_or_default())
}

/// The application behind the layer, and the login before it.
async fn application(policies: &str, mailer: Arc<dyn Mailer>) -> anyhow::Result<Router> {
    let random = Arc::new(SystemRandom::new());
    let pepper = Pepper::generate(&*random)?;
    let host = "localhost:8480".parse()?;
    let store = Arc::new(MemoryStore::new());
    let login = Login::builder(store, pepper, random.clone(), host).build()?;

    let key = SealingKey::new(Secret::generate(&*random, 32)?)?;
    let jobs = Arc::new(MemoryOutbox::new());
    let outbox = Outbox::builder(jobs, key, random.clone(), login.mail_template());
    let outbox = outbox.open(now().into()).await?;
    let worker = outbox.clone();
    tokio::spawn(async move { worker.run(mailer).await });

    let keys = KeyRing::new(KeySet::new(SigningKey::generate(&random)?, now().into()));
    let issuer = Issuer::new(keys.clone(), random, "http://localhost:8480")?;
    let revocations = Arc::new(Revocations::new());
    let verifier = AppVerifier::new(Arc::new(keys), issuer.issuer());
    let admitted = Admitted {
        engine: Arc::new(Engine::compile(Policies::from_json(policies)?)?),
        verifier: Arc::new(verifier.revocations(Arc::clone(&revocations))),
        audience: Audience::for_application(issuer.issuer(), "wiki"),
        host: "localhost",
    };
    let guarded = Router::new().route("/", get(hello)).route("/admin", get(hello));
    let guarded = guarded.layer(admitted.clone());
    let application = "localhost:8480".parse()?;
    let gate = Gate { login, outbox, issuer, revocations, admitted, application };
    Ok(guarded.merge(login::routes(Arc::new(gate))))
}
