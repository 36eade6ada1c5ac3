//! Sign-in with one-time codes by e-mail, and signed session tokens with a rotating key set. A code is
//! accepted at most once, at most five guesses are ever compared, and a stranger learns from neither
//! bytes nor calls whether an address is admitted.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! # use std::sync::Arc;
//! use otp_auth::{keys::*, login::*, random::*, secret::*, session::*, store::*, timestamp::*};
//! let random = SystemRandom::new();
//! let (store, pepper) = (Arc::new(MemoryStore::new()), Pepper::generate(&random)?);
//! let host = "auth.example.jp".parse()?;
//! let login = Login::builder(store, pepper, Arc::new(random.clone()), host).build()?;
//! let now = Timestamp::from_unix_secs(1_790_000_000); // a server: `SystemTime::now().into()`
//! // 1. The visitor typed an address, your policy said yes. Answer first, then deliver the mail.
//! let (address, visitor) = ("alice@example.jp".parse()?, "203.0.113.7".parse()?);
//! let begin = Begin::new(address, Admission::Admitted, visitor, "app.example.jp".parse()?);
//! let (begun, dispatch) = login.begin(&begin, now).await?;
//! let code = dispatch.mail().expect("alice is admitted").code().expose();
//! // 2. The visitor typed the code, in the same browser.
//! let (nonce, cookie) = (begun.nonce.to_string(), begun.flow_cookie.expose());
//! let verdict = login.submit(&nonce, &cookie, code, now).await?;
//! let Verdict::Proven(proven) = verdict else { panic!("{verdict:?}") };
//! // 3. The proof opens a session, the session grants an application, which verifies the token.
//! let keys = KeyRing::new(KeySet::new(SigningKey::generate(&random)?, now));
//! let issuer = Issuer::new(keys.clone(), Arc::new(random), "https://auth.example.jp")?;
//! let revocations = Arc::new(Revocations::new());
//! let session = issuer.org_token(proven, revocations.epoch(now).await?, now)?;
//! let audience = "app-1".parse()?;
//! let token = issuer.app_token(&session.claims, &AppGrant::new("app-1".parse()?), now)?;
//! let verifier = AppVerifier::new(Arc::new(keys), issuer.issuer()).revocations(revocations);
//! assert_eq!(verifier.verify(token.expose(), &audience, now)?.email(), Some("alice@example.jp"));
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # Map
//!
//! | Module | Holds |
//! |---|---|
//! | [`error`], [`timestamp`], [`locale`], [`random`], [`secret`] | the ground: failures, passed-in time, languages, randomness, hidden bytes |
//! | [`seal`] | secrets in files and stores, encrypted and bound to their place |
//! | [`address`] | an e-mail address with a form to deliver to and a form to compare |
//! | [`code`] | drawing a code, reading what was typed, the keyed digest |
//! | [`challenge`] | an open flow: nonce, flow cookie, record |
//! | [`throttle`] | budgets as arithmetic on time |
//! | [`store`] | the atomic steps a store must offer, and the stores in memory, Redis and Postgres |
//! | [`mail`] | the message, the trait of mailers, SMTP and terminal, the outbox |
//! | [`login`] | begin, resend, submit |
//! | `conformance` | schedules that a store must survive, for its tests |
//! | [`token`] | the compact signed form, claims, reasons to refuse |
//! | [`keys`] | signing keys, their life, the public key set |
//! | `hotp`, `totp` | codes of authenticator apps (feature `totp`) |
//! | [`recovery`] | codes for the day the telephone is lost |
//! | [`step_up`] | how strongly somebody is signed in, and asking for more |
//! | [`session`] | issuer, verifiers, sessions, service tokens, revocation, signed state |
//!
//! No module reads a clock or opens a socket, but for the outbox, the SMTP mailer, and the stores in files and on
//! servers.
//!
//! # Features
//!
//! | Feature | Default | Brings |
//! |---|---|---|
//! | `totp` | no | `hotp` and `totp`: hmac, sha1, sha2 |
//! | `certificates` | no | `KeySet::access_certs`: a certificate around each key; rcgen |
//! | `aws-lc-rs` | no | `SigningKey::generate_rsa`: RSA keys are drawn, not only imported; C and assembly |
//! | `conformance` | no | `conformance::check`: whether a store of your own keeps its contract |
//! | `idna` | no | domains of addresses in any script (ICU's tables: 28 crates) |
//! | `postgres` | no | [`store`]`::PostgresStore`: tokio-postgres |
//! | `redis` | no | [`store`]`::RedisStore`: redis-rs, tokio |
//! | `tokio` | no | `Outbox` and `FileRevocations`: mails and log-outs that outlive a restart; tokio |
//! | `smtp` | no | `SmtpMailer`: lettre, tokio, rustls with ring |
//!
//! # In axum
//!
#![cfg_attr(feature = "tokio", doc = include_str!("../docs/axum.md"))]
#![cfg_attr(
    not(feature = "tokio"),
    doc = "With the feature `tokio`: from address to session in thirty lines."
)]
//!
//! # What it does not stop
//!
//! Whoever reads the mailbox is the person, as far as mailed codes can tell. A page that relays what the
//! visitor types in real time gets a session too. Mailed codes suit ASVS level 2, not level 3, and are
//! no authenticator in the sense of NIST SP 800-63B.
//!
//! # Stability
//!
//! Version 0.x: minor versions may break, the change log says where. Rust 1.88 or later.

#![forbid(unsafe_code)]
#![deny(missing_docs)]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod address;
pub mod challenge;
pub mod code;
#[cfg(feature = "conformance")]
#[cfg_attr(docsrs, doc(cfg(feature = "conformance")))]
pub mod conformance;
pub mod error;
#[cfg(feature = "tokio")]
mod file;
#[cfg(feature = "totp")]
#[cfg_attr(docsrs, doc(cfg(feature = "totp")))]
pub mod hotp;
pub mod keys;
pub mod locale;
pub mod login;
pub mod mail;
pub mod random;
pub mod recovery;
pub mod seal;
pub mod secret;
pub mod session;
pub mod step_up;
pub mod store;
pub mod throttle;
pub mod timestamp;
pub mod token;
#[cfg(feature = "totp")]
#[cfg_attr(docsrs, doc(cfg(feature = "totp")))]
pub mod totp;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
