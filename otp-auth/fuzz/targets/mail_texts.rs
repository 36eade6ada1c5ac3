//! Any text as subject, text and HTML of a mail: no panic; what is taken makes a mail whose subject is one
//! line, whose text has the code and ends with our line, and whose HTML has no value unescaped.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use otp_auth::code::{Code, CodeLength};
use otp_auth::locale::Locale;
use otp_auth::mail::{Mail, MailFacts, MailTemplate, MailTexts};
use otp_auth::random::SystemRandom;
use otp_auth::timestamp::Timestamp;

static CODE: LazyLock<Code> =
    LazyLock::new(|| Code::draw(&SystemRandom::new(), CodeLength::Six).unwrap());

fn render(texts: MailTexts) -> Mail {
    let asked_at = Timestamp::from_unix_secs(1_790_000_000);
    let template = MailTemplate::new("auth.example.jp".parse().unwrap());
    let facts = MailFacts {
        id: "job-1",
        to: &"o'hara&{code}@example.jp".parse().unwrap(),
        code: &CODE,
        application: &"saito.example.jp".parse().unwrap(),
        asked_at,
        asked_from: "2001:db8::7".parse().unwrap(),
        expires: asked_at.plus(Duration::from_secs(600)),
        locale: Locale::En,
    };
    template.texts(Locale::En, texts).render(&facts).unwrap()
}

fuzz_target!(|text: &str| {
    let ours = || MailTexts::ours(Locale::En);
    if let Ok(texts) = ours().subject(text) {
        assert!(!render(texts).subject().chars().any(char::is_control));
    }
    if let Ok(texts) = ours().text(text) {
        let mail = render(texts);
        assert!(mail.text().matches(CODE.expose()).count() > 1);
        assert!(mail.text().ends_with(&format!("\n\n@auth.example.jp #{}\n", CODE.expose())));
    }
    if let Ok(texts) = ours().html(text) {
        let mail = render(texts);
        assert!(mail.html().contains(CODE.expose()));
        assert!(text.contains("o'hara&{") || !mail.html().contains("o'hara&{"));
    }
});
