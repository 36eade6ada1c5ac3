//! The words of the mail.

use std::net::IpAddr;
use std::time::Duration;

use super::{Host, Mail, MailError};
use crate::address::EmailAddress;
use crate::code::Code;
use crate::locale::Locale;
use crate::timestamp::Timestamp;

/// What all mails of one login host have in common.
#[derive(Debug, Clone)]
pub struct MailTemplate {
    host: Host,
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
    /// Makes mails for codes that are typed at `host`.
    ///
    /// The last line of each mail binds the code to that host (`@HOST #CODE`), so that browsers offer
    /// it nowhere else.
    pub fn new(host: Host) -> Self {
        Self { host }
    }

    /// Writes the mail.
    ///
    /// # Errors
    ///
    /// Refuses an id with characters that do not belong in a header.
    pub fn render(&self, facts: &MailFacts<'_>) -> Result<Mail, MailError> {
        check_id(facts.id)?;
        let words = Words::of(facts);
        let last_line = format!("@{} #{}", self.host, facts.code.expose());
        Ok(Mail {
            id: format!("{}@{}", facts.id, self.host.as_str().replace([':', '[', ']'], "-")),
            to: facts.to.clone(),
            text: words.to_text(facts.code, &last_line),
            html: words.to_html(facts.code, &last_line, facts.locale),
            subject: words.subject,
            code: facts.code.clone(),
            valid_for: facts.expires.since(facts.asked_at),
            locale: facts.locale,
        })
    }
}

/// The sentences of one mail, without markup.
struct Words {
    subject: String,
    how: String,
    when: String,
    whence: String,
    warning: &'static str,
}

impl Words {
    fn of(facts: &MailFacts<'_>) -> Self {
        match facts.locale {
            Locale::En => Self::in_english(facts),
            Locale::Ja => Self::in_japanese(facts),
        }
    }

    fn in_english(facts: &MailFacts<'_>) -> Self {
        let (code, application) = (facts.code.expose(), facts.application);
        let minutes = whole_minutes(facts);
        let unit = if minutes == 1 { "minute" } else { "minutes" };
        let (year, month, day, hour, minute, _) = facts.asked_at.civil(Duration::ZERO);
        Self {
            subject: format!("{code} is your code for {application}"),
            how: format!(
                "Type it on the page where you asked for it. It works once, for {minutes} {unit}."
            ),
            when: format!("Asked for: {year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC"),
            whence: format!("From: {}", facts.asked_from),
            warning: "Nobody will ever ask you for this code. \
                      If you did not ask for it, ignore this mail.",
        }
    }

    fn in_japanese(facts: &MailFacts<'_>) -> Self {
        let (code, application) = (facts.code.expose(), facts.application);
        let minutes = whole_minutes(facts);
        let (year, month, day, hour, minute, _) = facts.asked_at.civil(JAPAN);
        Self {
            subject: format!("確認コード {code}（{application}）"),
            how: format!(
                "このコードを、請求した画面に入力してください。有効期間は {minutes} 分、使えるのは一度だけです。"
            ),
            when: format!("請求日時：{year}年{month}月{day}日 {hour:02}:{minute:02}（日本時間）"),
            whence: format!("請求元：{}", facts.asked_from),
            warning: "このコードをお尋ねすることは決してありません。\
                      お心当たりがなければ、このメールは破棄してください。",
        }
    }

    fn to_text(&self, code: &Code, last_line: &str) -> String {
        let Self { subject, how, when, whence, warning } = self;
        let code = code.expose();
        format!(
            "{subject}\n\n    {code}\n\n{how}\n\n{when}\n{whence}\n\n{warning}\n\n{last_line}\n"
        )
    }

    fn to_html(&self, code: &Code, last_line: &str, locale: Locale) -> String {
        let language = match locale {
            Locale::En => "en",
            Locale::Ja => "ja",
        };
        let [subject, how, when, whence, warning, last_line] =
            [&self.subject, &self.how, &self.when, &self.whence, self.warning, last_line]
                .map(escape);
        let code = escape(code.expose());
        format!(
            "<!doctype html>\n<html lang=\"{language}\"><head><meta charset=\"utf-8\">\
             <title>{subject}</title></head>\n<body style=\"font-family:sans-serif\">\n\
             <p>{subject}</p>\n\
             <p style=\"font-size:2em;letter-spacing:.2em\"><strong>{code}</strong></p>\n\
             <p>{how}</p>\n<p>{when}<br>\n{whence}</p>\n<p>{warning}</p>\n<p>{last_line}</p>\n\
             </body></html>\n"
        )
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

/// Nothing in these texts needs escaping today; whoever adds a text with wider characters need not know.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
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
                "CODE is your code for saito.example.jp",
                ["for 10 minutes", "2026-09-21 14:13 UTC", "From: 203.0.113.7", "Nobody will ever"],
            ),
            (
                Locale::Ja,
                "確認コード CODE（saito.example.jp）",
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
            assert_eq!(mail.subject(), subject.replace("CODE", code));
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
    fn markup_is_escaped() {
        assert_eq!(escape("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
    }
}
