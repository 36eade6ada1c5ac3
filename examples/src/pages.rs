//! The pages that visitors see: sign in, enter the code, refused, something broke, signed out.
//!
//! Each page is a struct; `to_html` makes the complete document. Nothing here reads a clock, a
//! socket or a file: the templates in `templates/` are compiled in. Every value is escaped.
//!
//! The pages load nothing and run no script, so that one strict policy fits all of them. Serve them
//! with [`content_security_policy`], `Cache-Control: private, no-store` and `Referrer-Policy: same-origin`.
//!
//! Nothing a page says depends on whether an address is known or admitted, until its owner has
//! entered a code.

mod error;
mod refusal;
mod sign_in;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};

pub use self::error::{ErrorPage, Fault, Problem};
pub use self::refusal::{RefusalPage, RefusalReason, SignedOutPage};
pub use self::sign_in::{CodeError, CodePage, LoginError, LoginPage};

/// The stylesheet of all pages, exactly as it stands between `<style>` and `</style>`.
pub const STYLE: &str = include_str!("../templates/style.css");

/// Name of the form field with the token against forged posts, in every form that has one.
pub const CSRF_FIELD: &str = "csrf";

/// Name of the form field with the visitor's e-mail address.
pub const EMAIL_FIELD: &str = "email";

/// Name of the form field with the code as the visitor typed it.
pub const CODE_FIELD: &str = "code";

/// Name of the form field that says which sign-in a code belongs to.
pub const NONCE_FIELD: &str = "nonce";

/// Returns the value of `Content-Security-Policy` for every page of this module.
///
/// `form_targets` are the sources that a form may post to besides the page's own origin, such as
/// `https://saito.t.example.co.jp`. Chromium holds each redirect that answers a post to the same
/// list, so name the application's origin here if signing in ends on another host. An empty slice
/// leaves `form-action` out, which allows every target.
///
/// # Security
///
/// A target with anything but visible ASCII, or with `;` or `,`, could end the directive. It is
/// dropped, and the browser will refuse that redirect.
#[must_use]
pub fn content_security_policy(form_targets: &[&str]) -> String {
    let style_hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let mut policy = format!(
        "default-src 'none'; style-src 'sha256-{style_hash}'; img-src data:; \
         frame-ancestors 'none'; base-uri 'none'"
    );
    if !form_targets.is_empty() {
        policy.push_str("; form-action 'self'");
        for target in form_targets.iter().filter(|target| is_source(target)) {
            policy.push(' ');
            policy.push_str(target);
        }
    }
    policy
}

fn is_source(target: &str) -> bool {
    !target.is_empty()
        && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';' && byte != b',')
}

/// Renders a page that is in memory as a whole.
fn render(page: &impl askama::Template) -> String {
    // INVARIANT: the fields are strings and numbers, whose `Display` cannot fail, and so cannot
    // writing to a `String`.
    page.render().expect("a template of plain strings always renders")
}
