//! From what is to be said to a mail.

mod texts;

use std::net::IpAddr;
use std::time::Duration;

use self::texts::Placeholder;
pub use self::texts::{MailPart, MailTexts, TemplateError};
use super::{Host, Mail, MailError};
use crate::address::EmailAddress;
use crate::code::Code;
use crate::locale::Locale;
use crate::timestamp::Timestamp;

/// What all mails of one login host have in common.
#[derive(Debug, Clone)]
pub struct MailTemplate {
    host: Host,
    english: MailTexts,
    japanese: MailTexts,
}

/// What one mail says.
#[derive(Debug, Clone)]
pub struct MailFacts<'a> {
    /// Unique for each code; ASCII letters, digits, `-` and `_`, at most 64.
    pub id: &'a str,
    /// The recipient.
    pub to: &'a EmailAddress,
    /// The code.
    pub code: &'a Code,
    /// What the visitor wants to enter.
    pub application: &'a Host,
    /// When the code was asked for.
    pub asked_at: Timestamp,
    /// From where it was asked for.
    pub asked_from: IpAddr,
    /// When the code ends.
    pub expires: Timestamp,
    /// The language.
    pub locale: Locale,
}

impl MailTemplate {
    /// Makes mails for codes that are typed at `host`, in our words.
    ///
    /// The last line of each mail binds the code to that host (`@HOST #CODE`), so that browsers offer
    /// it nowhere else.
    pub fn new(host: Host) -> Self {
        let (english, japanese) = (MailTexts::ours(Locale::En), MailTexts::ours(Locale::Ja));
        Self { host, english, japanese }
    }

    /// Other words for one language.
    #[must_use]
    pub fn texts(mut self, locale: Locale, texts: MailTexts) -> Self {
        match locale {
            Locale::En => self.english = texts,
            Locale::Ja => self.japanese = texts,
        }
        self
    }

    /// Writes the mail.
    ///
    /// # Errors
    ///
    /// Refuses an id with characters that do not belong in a header.
    pub fn render(&self, facts: &MailFacts<'_>) -> Result<Mail, MailError> {
        check_id(facts.id)?;
        let texts = match facts.locale {
            Locale::En => &self.english,
            Locale::Ja => &self.japanese,
        };
        // Each of these is of a type that has refused controls, so none breaks a header.
        let value = |placeholder| match placeholder {
            Placeholder::Code => facts.code.expose().to_owned(),
            Placeholder::Application => facts.application.to_string(),
            Placeholder::Host => self.host.to_string(),
            Placeholder::Duration => duration_of(facts),
            Placeholder::Time => time_of(facts),
            Placeholder::Client => facts.asked_from.to_string(),
            Placeholder::Recipient => facts.to.as_str().to_owned(),
        };
        let text = texts.write(MailPart::Text, value);
        let last_line = format!("@{} #{}", self.host, facts.code.expose());
        Ok(Mail {
            id: format!("{}@{}", facts.id, self.host.as_str().replace([':', '[', ']'], "-")),
            to: facts.to.clone(),
            subject: texts.write(MailPart::Subject, value),
            text: format!("{}\n\n{last_line}\n", text.trim_end()),
            html: texts.write(MailPart::Html, value),
            code: facts.code.clone(),
            valid_for: facts.expires.since(facts.asked_at),
            locale: facts.locale,
        })
    }
}

fn duration_of(facts: &MailFacts<'_>) -> String {
    match (facts.locale, whole_minutes(facts)) {
        (Locale::En, 1) => "1 minute".to_owned(),
        (Locale::En, minutes) => format!("{minutes} minutes"),
        (Locale::Ja, minutes) => format!("{minutes} 分"),
    }
}

fn time_of(facts: &MailFacts<'_>) -> String {
    match facts.locale {
        Locale::En => {
            let (year, month, day, hour, minute, _) = facts.asked_at.civil(Duration::ZERO);
            format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
        }
        Locale::Ja => {
            let (year, month, day, hour, minute, _) = facts.asked_at.civil(JAPAN);
            format!("{year}年{month}月{day}日 {hour:02}:{minute:02}（日本時間）")
        }
    }
}

fn whole_minutes(facts: &MailFacts<'_>) -> u64 {
    (facts.expires.since(facts.asked_at).as_secs() / 60).max(1)
}

fn check_id(id: &str) -> Result<(), MailError> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if (1..=64).contains(&id.len()) && id.bytes().all(is_allowed) {
        Ok(())
    } else {
        Err(MailError::UnsafeText { field: "id" })
    }
}

/// Japan Standard Time, nine hours east, without summer time since 1951.
const JAPAN: Duration = Duration::from_secs(9 * 3_600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::CodeLength;
    use crate::random::{Random, SystemRandom};

    fn render(locale: Locale, id: &str) -> Result<Mail, MailError> {
        let random = SystemRandom::new();
        let _drawn = random.fill(&mut [0; 4]);
        let asked_at = Timestamp::from_unix_secs(1_790_000_000);
        MailTemplate::new("auth.example.jp".parse()?).render(&MailFacts {
            id,
            to: &"Hanako@example.jp".parse().unwrap(),
            code: &Code::draw(&random, CodeLength::Six).unwrap(),
            application: &"saito.example.jp".parse()?,
            asked_at,
            asked_from: "203.0.113.7".parse().unwrap(),
            expires: asked_at.plus(Duration::from_secs(600)),
            locale,
        })
    }

    #[test]
    fn says_what_a_person_needs_in_both_languages() {
        for (locale, subject, expected) in [
            (
                Locale::En,
                "Your code for saito.example.jp",
                ["for 10 minutes", "2026-09-21 14:13 UTC", "From: 203.0.113.7", "Nobody will ever"],
            ),
            (
                Locale::Ja,
                "saito.example.jp の確認コード",
                [
                    "10 分",
                    "2026年9月21日 23:13（日本時間）",
                    "請求元：203.0.113.7",
                    "決してありません",
                ],
            ),
        ] {
            let mail = render(locale, "job-1").unwrap();
            let code = mail.code().expose();
            assert_eq!(mail.subject(), subject, "a locked screen shows it");
            for phrase in expected {
                assert!(mail.text().contains(phrase), "{phrase} in {}", mail.text());
                assert!(mail.html().contains(phrase), "{phrase} in {}", mail.html());
            }
            assert_eq!(mail.text().lines().last(), Some(&*format!("@auth.example.jp #{code}")));
            assert!(mail.text().lines().any(|line| line.trim() == code));
            assert_eq!(mail.id(), "job-1@auth.example.jp");
            assert!(!mail.html().contains("http"), "no links");
            assert!(!format!("{mail:?}").contains(code));
        }
    }

    #[test]
    fn header_breaking_ids_are_refused() {
        for id in ["", "a\r\nBcc: x", "a b", "a@b", "é"] {
            assert!(render(Locale::En, id).is_err());
        }
    }

    #[test]
    fn other_words_keep_what_protects_the_reader() {
        let texts = MailTexts::ours(Locale::En)
            .subject("{application}")
            .and_then(|texts| texts.text("{recipient}: {code} ({host}, {client}, {duration})"))
            .and_then(|texts| texts.html("<p>{recipient} {code}</p>"))
            .unwrap();
        let template = MailTemplate::new("auth.example.jp".parse().unwrap());
        let template = template.texts(Locale::En, texts);
        let asked_at = Timestamp::from_unix_secs(1_790_000_000);
        let facts = MailFacts {
            id: "job-1",
            // As hostile as an address can be.
            to: &"o'hara&{code}=?b?@example.jp".parse().unwrap(),
            code: &Code::from_text("012345").unwrap(),
            application: &"saito.example.jp".parse().unwrap(),
            asked_at,
            asked_from: "2001:db8::7".parse().unwrap(),
            expires: asked_at.plus(Duration::from_secs(60)),
            locale: Locale::En,
        };
        let mail = template.render(&facts).unwrap();
        assert_eq!(mail.subject(), "saito.example.jp");
        assert_eq!(
            mail.text(),
            "o'hara&{code}=?b?@example.jp: 012345 (auth.example.jp, 2001:db8::7, 1 minute)\n\n\
             @auth.example.jp #012345\n"
        );
        assert_eq!(mail.html(), "<p>o&#39;hara&amp;{code}=?b?@example.jp 012345</p>");
        let japanese = template.render(&MailFacts { locale: Locale::Ja, ..facts }).unwrap();
        assert_eq!(
            japanese.subject(),
            "saito.example.jp の確認コード",
            "ours, where none is given"
        );
    }
}
