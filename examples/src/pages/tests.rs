//! What holds for every page, in every language and state.

use super::*;
use crate::locale::{Locale, MISSING};

/// One rendered page, and what it was made from.
struct Rendered {
    what: String,
    locale: Locale,
    has_error: bool,
    html: String,
}

#[test]
fn every_page_is_complete_in_every_language() {
    for page in every_page(&Outside::plain()) {
        let what = &page.what;
        assert!(page.html.starts_with("<!DOCTYPE html>"), "{what}");
        assert!(page.html.ends_with("</html>"), "{what}");
        assert!(!page.html.contains(MISSING), "{what}");
        assert!(page.html.contains(&format!("<html lang=\"{}\">", page.locale.tag())), "{what}");
        assert_eq!(page.html.matches("<h1>").count(), 1, "{what}");
        assert_eq!(page.html.matches("<title>").count(), 1, "{what}");
        assert!(!page.html.contains("<title></title>"), "{what}");
    }
}

#[test]
fn every_page_is_small_and_needs_nothing_else() {
    for page in every_page(&Outside::plain()) {
        let what = &page.what;
        assert!(page.html.len() < 15_000, "{what}: {} bytes", page.html.len());
        for banned in
            ["<script", "javascript:", "://", "src=", "url(", "@import", " style=", " onclick="]
        {
            assert!(!page.html.contains(banned), "{what}: {banned}");
        }
    }
}

#[test]
fn an_alert_is_there_exactly_on_an_error_and_belongs_to_the_field() {
    for page in every_page(&Outside::plain()) {
        let what = &page.what;
        assert_eq!(page.html.contains("role=\"alert\" id=\"error\""), page.has_error, "{what}");
        assert_eq!(page.html.contains("aria-describedby=\"error lead\""), page.has_error, "{what}");
    }
}

#[test]
fn a_field_is_marked_invalid_only_for_its_content() {
    let outside = Outside::plain();
    let login = |error| outside.login(Locale::En, error).to_html();
    assert!(login(Some(LoginError::NotAnAddress)).contains("aria-invalid=\"true\""));
    assert!(!login(Some(LoginError::FormExpired)).contains("aria-invalid=\"true\""));
    let code = |error| outside.code(Locale::En, error, false).to_html();
    assert!(code(Some(CodeError::Wrong)).contains("aria-invalid=\"true\""));
    assert!(!code(Some(CodeError::TooSoon)).contains("aria-invalid=\"true\""));
}

#[test]
fn nothing_from_outside_becomes_markup() {
    let plain = every_page(&Outside::plain());
    let hostile = every_page(&Outside::hostile());
    for (plain, hostile) in plain.iter().zip(&hostile) {
        let what = &plain.what;
        assert!(hostile.html.contains("alert(1)"), "{what}");
        for mark in ["<", ">", "\"", "'"] {
            let count = |page: &Rendered| page.html.matches(mark).count();
            assert_eq!(count(plain), count(hostile), "{what}: {mark}");
        }
    }
}

#[test]
fn the_code_field_takes_what_a_japanese_keyboard_types() {
    let html = Outside::plain().code(Locale::Ja, None, false).to_html();
    assert!(html.contains("inputmode=\"numeric\" autocomplete=\"one-time-code\""));
    assert!(!html.contains("pattern="));
    assert!(html.contains("maxlength=\"40\""));
    assert_eq!(html.matches("novalidate").count(), 1);
}

#[test]
fn the_resend_button_is_a_form_of_its_own() {
    let html = Outside::plain().code(Locale::En, None, false).to_html();
    assert!(html.contains("<form method=\"post\" action=\"/resend\">"));
    assert_eq!(html.matches("name=\"nonce\" value=\"the-nonce\"").count(), 2);
    assert_eq!(html.matches("name=\"csrf\" value=\"the-token\"").count(), 2);
}

#[test]
fn waiting_is_mentioned_only_if_there_is_any() {
    let mut page = Outside::plain().code(Locale::En, None, false);
    assert!(page.to_html().contains("30 seconds"));
    page.resend_after_secs = 0;
    assert!(!page.to_html().contains("second"));
}

#[test]
fn hidden_fields_are_carried_along() {
    let html = Outside::plain().login(Locale::En, None).to_html();
    assert!(html.contains("name=\"redirect_url\" value=\"/dashboard?a=1&#38;b=2\""));
}

#[test]
fn signing_out_is_offered_only_to_someone_signed_in() {
    let mut page = Outside::plain().refusal(Locale::En, RefusalReason::NotAdmitted);
    assert!(page.to_html().contains("action=\"/sign-out\""));
    page.address = None;
    assert!(!page.to_html().contains("<form"));
}

#[test]
fn the_picture_breaks_where_the_fault_is() {
    let states = |problem| {
        let html = Outside::plain().error(Locale::En, problem).to_html();
        ["passed", "broken", "beyond"]
            .map(|state| html.matches(&format!("<li class=\"{state}\">")).count())
    };
    assert_eq!(states(Problem::BadRequest), [1, 1, 2]);
    assert_eq!(states(Problem::LoginUnavailable), [1, 1, 2]);
    assert_eq!(states(Problem::ConnectorOffline), [2, 1, 1]);
    assert_eq!(states(Problem::OriginTimeout), [3, 1, 0]);
}

#[test]
fn debug_output_tells_no_secrets() {
    let outside = Outside::plain();
    let texts = [
        format!("{:?}", outside.login(Locale::En, None)),
        format!("{:?}", outside.code(Locale::En, None, false)),
        format!("{:?}", outside.refusal(Locale::En, RefusalReason::NotAdmitted)),
    ];
    for text in texts {
        for secret in ["hanako", "the-token", "the-nonce", "dashboard"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[test]
fn the_policy_names_the_style_that_the_pages_carry() {
    let html = Outside::plain().login(Locale::En, None).to_html();
    let style = html
        .split_once("<style>")
        .and_then(|(_, rest)| rest.split_once("</style>"))
        .map(|(style, _)| style);
    assert_eq!(style, Some(STYLE));
    let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    assert!(content_security_policy(&[]).contains(&format!("style-src 'sha256-{hash}';")));
}

#[test]
fn the_policy_limits_forms_only_if_told_to() {
    assert!(!content_security_policy(&[]).contains("form-action"));
    assert!(
        content_security_policy(&["https://a.example", "https://b.example"])
            .ends_with("; form-action 'self' https://a.example https://b.example")
    );
}

#[test]
fn a_form_target_cannot_add_to_the_policy() {
    for target in ["", "https://a.example; script-src *", "a,b", "a b", "a\nb", "例え.jp"] {
        assert!(content_security_policy(&[target]).ends_with("; form-action 'self'"), "{target}");
    }
}

/// What a page is made from that comes from outside.
struct Outside {
    address: String,
    host: String,
    other: String,
}

impl Outside {
    fn plain() -> Self {
        Self {
            address: "hanako@example.co.jp".to_owned(),
            host: "saito.t.example.co.jp".to_owned(),
            other: String::new(),
        }
    }

    fn hostile() -> Self {
        Self { address: HOSTILE.to_owned(), host: HOSTILE.to_owned(), other: HOSTILE.to_owned() }
    }

    fn with(&self, text: &str) -> String {
        format!("{text}{}", self.other)
    }

    fn switch(&self) -> String {
        self.with("?lang=ja")
    }

    fn login(&self, locale: Locale, error: Option<LoginError>) -> LoginPage {
        LoginPage {
            locale,
            application: self.host.clone(),
            action: self.with("/verify-code"),
            address: self.address.clone(),
            error,
            hidden: vec![(self.with("redirect_url"), self.with("/dashboard?a=1&b=2"))],
            csrf: self.with("the-token"),
            language_href: Some(self.switch()),
        }
    }

    fn code(&self, locale: Locale, error: Option<CodeError>, resent: bool) -> CodePage {
        CodePage {
            locale,
            application: self.host.clone(),
            address: self.address.clone(),
            action: self.with("/callback"),
            resend_action: self.with("/resend"),
            start_over_href: self.with("/login"),
            csrf: self.with("the-token"),
            nonce: self.with("the-nonce"),
            resend_after_secs: 30,
            expires_minutes: 10,
            code_digits: 6,
            resent,
            error,
            language_href: Some(self.switch()),
        }
    }

    fn refusal(&self, locale: Locale, reason: RefusalReason) -> RefusalPage {
        RefusalPage {
            locale,
            application: self.host.clone(),
            address: Some(self.address.clone()),
            sign_out_action: self.with("/sign-out"),
            csrf: Some(self.with("the-token")),
            contact: Some(self.with("it@example.co.jp")),
            request_id: self.with("01JDK7"),
            reason,
            language_href: Some(self.switch()),
        }
    }

    fn error(&self, locale: Locale, problem: Problem) -> ErrorPage {
        ErrorPage {
            locale,
            status: 502,
            application: Some(self.host.clone()),
            request_id: self.with("01JDK7"),
            problem,
            next_href: Some(self.with("/")),
            language_href: Some(self.switch()),
        }
    }

    fn signed_out(&self, locale: Locale) -> SignedOutPage {
        SignedOutPage {
            locale,
            application: Some(self.host.clone()),
            sign_in_href: Some(self.with("/")),
            language_href: Some(self.switch()),
        }
    }
}

/// Renders every page in every language, with every variant and with and without what is optional.
fn every_page(outside: &Outside) -> Vec<Rendered> {
    let mut pages = Vec::new();
    for locale in Locale::ALL {
        let mut push = |what: String, has_error, html| {
            let what = format!("{what} in {}", locale.tag());
            pages.push(Rendered { what, locale, has_error, html });
        };
        for error in [None].into_iter().chain(LoginError::ALL.map(Some)) {
            let html = outside.login(locale, error).to_html();
            push(format!("login {error:?}"), error.is_some(), html);
        }
        for error in [None].into_iter().chain(CodeError::ALL.map(Some)) {
            for resent in [false, true] {
                let html = outside.code(locale, error, resent).to_html();
                push(format!("code {error:?} {resent}"), error.is_some(), html);
            }
        }
        for reason in RefusalReason::ALL {
            let mut page = outside.refusal(locale, reason);
            push(format!("refusal {reason:?}"), false, page.to_html());
            (page.address, page.csrf, page.contact) = (None, None, None);
            push(format!("bare refusal {reason:?}"), false, page.to_html());
        }
        for problem in Problem::ALL {
            let mut page = outside.error(locale, problem);
            push(format!("error {problem:?}"), false, page.to_html());
            (page.application, page.next_href, page.language_href) = (None, None, None);
            push(format!("bare error {problem:?}"), false, page.to_html());
        }
        let mut page = outside.signed_out(locale);
        push("signed out".to_owned(), false, page.to_html());
        (page.application, page.sign_in_href) = (None, None);
        push("bare signed out".to_owned(), false, page.to_html());
    }
    pages
}

/// Closes a tag, an attribute in either kind of quotes, and opens a script.
const HOSTILE: &str = "\"><script>alert(1)</script>' onfocus='alert(1)";
