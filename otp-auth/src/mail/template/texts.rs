//! The words of a mail in one language, with places for values.

use std::fmt;

use thiserror::Error as ThisError;

use crate::locale::Locale;

/// Subject, text and HTML of the mail in one language.
///
/// Each is text with placeholders in braces. A brace with anything but letters, digits, spaces, `.`, `-` and
/// `_` up to the next one is text, so style sheets need no escaping.
///
/// | Placeholder | Value |
/// |---|---|
/// | `{code}` | the code; text and HTML must have it. In the subject it shows on a locked screen |
/// | `{application}` | the host of what the visitor wants to enter |
/// | `{host}` | the host where the code is typed |
/// | `{duration}` | how long the code is good for: `10 minutes`, `10 分` |
/// | `{time}` | when it was asked for |
/// | `{client}` | the network address that asked for it |
/// | `{recipient}` | the address that the mail goes to |
///
/// Values are escaped in HTML, are not searched for placeholders, and stand between tags only. The text part
/// always ends with a line of ours, `@HOST #CODE`, by which browsers offer the code at that host and nowhere
/// else.
///
/// ```
/// use otp_auth::locale::Locale;
/// use otp_auth::mail::{MailTemplate, MailTexts, TemplateError};
///
/// let texts = MailTexts::ours(Locale::En)
///     .subject("Your code for {application}")?
///     .text("Hello {recipient},\n\nyour code is {code}. It is good for {duration}.\n")?;
/// let template = MailTemplate::new("auth.example.jp".parse()?).texts(Locale::En, texts);
/// let refused = MailTexts::ours(Locale::En).text("Your code is {kode}.");
/// assert_eq!(
///     refused.unwrap_err().to_string(),
///     "line 1 of the text has `{kode}`; there is {code}, {application}, {host}, {duration}, {time}, \
///      {client} and {recipient}"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailTexts {
    subject: Vec<Piece>,
    text: Vec<Piece>,
    html: Vec<Piece>,
}

/// A part of a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MailPart {
    /// The subject: one line of at most 200 characters.
    Subject,
    /// The plain text, at most 16 KiB.
    Text,
    /// The HTML, at most 64 KiB.
    Html,
}

/// Why a template is refused.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum TemplateError {
    /// A placeholder that there is not.
    #[error("line {line} of the {part} has `{{{name}}}`; there is {KNOWN}")]
    UnknownPlaceholder {
        /// Where.
        part: MailPart,
        /// The line, from 1.
        line: usize,
        /// What stands between the braces.
        name: String,
    },
    /// A placeholder inside a tag, a comment, a style sheet or a script, where no escaping is enough.
    #[error("line {line} of the HTML has `{{{name}}}` where it is not text: put it between tags")]
    InMarkup {
        /// The line, from 1.
        line: usize,
        /// Which.
        name: String,
    },
    /// The code does not occur.
    #[error("the {part} has no `{{code}}`")]
    NoCode {
        /// Where.
        part: MailPart,
    },
    /// A control character, or in the subject a second line.
    #[error("line {line} of the {part} has a control character")]
    Control {
        /// Where.
        part: MailPart,
        /// The line, from 1.
        line: usize,
    },
    /// Nothing but spaces.
    #[error("the {part} is empty")]
    Empty {
        /// Where.
        part: MailPart,
    },
    /// More than may be.
    #[error("the {part} is longer than {at_most} bytes")]
    TooLong {
        /// Where.
        part: MailPart,
        /// How much may be.
        at_most: usize,
    },
}

/// Words, or the place of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Words(String),
    Value(Placeholder),
}

/// What can stand in braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placeholder {
    Code,
    Application,
    Host,
    Duration,
    Time,
    Client,
    Recipient,
}

impl MailTexts {
    /// The texts that this crate comes with. Replace any part of them.
    pub fn ours(locale: Locale) -> Self {
        let (subject, text, html) = match locale {
            Locale::En => ENGLISH,
            Locale::Ja => JAPANESE,
        };
        let parse = |part, template| parse(part, template).unwrap_or_default();
        Self {
            subject: parse(MailPart::Subject, subject),
            text: parse(MailPart::Text, text),
            html: parse(MailPart::Html, html),
        }
    }

    /// Another subject. A line end after it is dropped.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] says what is wrong, and in which line.
    pub fn subject(mut self, template: &str) -> Result<Self, TemplateError> {
        self.subject = parse(MailPart::Subject, template)?;
        Ok(self)
    }

    /// Another plain text.
    ///
    /// # Errors
    ///
    /// As [`subject`](Self::subject), and a text without the code.
    pub fn text(mut self, template: &str) -> Result<Self, TemplateError> {
        self.text = parse(MailPart::Text, template)?;
        Ok(self)
    }

    /// Another HTML document.
    ///
    /// # Errors
    ///
    /// As [`text`](Self::text), and placeholders that do not stand between tags.
    pub fn html(mut self, template: &str) -> Result<Self, TemplateError> {
        self.html = parse(MailPart::Html, template)?;
        Ok(self)
    }

    /// Writes a part with these values.
    pub(super) fn write(&self, part: MailPart, value: impl Fn(Placeholder) -> String) -> String {
        let pieces = match part {
            MailPart::Subject => &self.subject,
            MailPart::Text => &self.text,
            MailPart::Html => &self.html,
        };
        let write = |piece: &Piece| match piece {
            Piece::Words(words) => words.clone(),
            Piece::Value(placeholder) if part == MailPart::Html => escape(&value(*placeholder)),
            Piece::Value(placeholder) => value(*placeholder),
        };
        pieces.iter().map(write).collect()
    }
}

impl Placeholder {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "code" => Self::Code,
            "application" => Self::Application,
            "host" => Self::Host,
            "duration" => Self::Duration,
            "time" => Self::Time,
            "client" => Self::Client,
            "recipient" => Self::Recipient,
            _ => return None,
        })
    }
}

impl MailPart {
    fn at_most(self) -> usize {
        match self {
            Self::Subject => 200,
            Self::Text => 16 * 1024,
            Self::Html => 64 * 1024,
        }
    }
}

impl fmt::Display for MailPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Subject => "subject",
            Self::Text => "text",
            Self::Html => "HTML",
        })
    }
}

fn parse(part: MailPart, template: &str) -> Result<Vec<Piece>, TemplateError> {
    let at_most = part.at_most();
    if template.len() > at_most {
        return Err(TemplateError::TooLong { part, at_most });
    }
    // Editors write a mark of byte order, and both kinds of line ends.
    let template = template.trim_start_matches('\u{FEFF}').replace("\r\n", "\n");
    let template = if part == MailPart::Subject { template.trim() } else { &template };
    check_characters(part, template)?;
    if template.trim().is_empty() {
        return Err(TemplateError::Empty { part });
    }
    let pieces = split(part, template)?;
    if part != MailPart::Subject && !pieces.contains(&Piece::Value(Placeholder::Code)) {
        return Err(TemplateError::NoCode { part });
    }
    Ok(pieces)
}

fn check_characters(part: MailPart, template: &str) -> Result<(), TemplateError> {
    let is_refused = |c: char| match c {
        '\n' | '\t' => part == MailPart::Subject,
        c => c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'),
    };
    match template.find(is_refused) {
        Some(at) => Err(TemplateError::Control { part, line: line_of(template, at) }),
        None => Ok(()),
    }
}

fn split(part: MailPart, template: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let (mut written, mut from) = (0, 0);
    while let Some(start) = template[from..].find('{').map(|at| from + at) {
        from = start + 1;
        let Some(name) = name_at(&template[from..]) else { continue };
        let line = line_of(template, start);
        let Some(placeholder) = Placeholder::of(name) else {
            return Err(TemplateError::UnknownPlaceholder { part, line, name: name.to_owned() });
        };
        if part == MailPart::Html && is_in_markup(&template[..start]) {
            return Err(TemplateError::InMarkup { line, name: name.to_owned() });
        }
        pieces.push(Piece::Words(template[written..start].to_owned()));
        pieces.push(Piece::Value(placeholder));
        from += name.len() + 1;
        written = from;
    }
    pieces.push(Piece::Words(template[written..].to_owned()));
    Ok(pieces)
}

/// What stands before the closing brace, if it looks like a name.
fn name_at(text: &str) -> Option<&str> {
    let name = &text[..text.find('}')?];
    let is_name = |c: char| c.is_alphanumeric() || " ._-".contains(c);
    (!name.is_empty() && name.len() <= 40 && name.chars().all(is_name)).then_some(name)
}

/// Whether a document has got so far that what follows is not text: a tag, a comment, a style sheet, or behind an
/// element with rules of its own, which no mail needs (WHATWG HTML, section 13.2.5).
fn is_in_markup(before: &str) -> bool {
    let before = before.to_ascii_lowercase();
    let mut rest = before.as_str();
    while let Some(at) = rest.find('<') {
        let tag = &rest[at + 1..];
        if tag.is_empty() || ODD.iter().any(|name| is_named(tag, name)) {
            return true;
        }
        let end = if tag.starts_with("!--") {
            end_of_comment(tag)
        } else if tag.starts_with(|c: char| c.is_ascii_alphabetic() || "/!?".contains(c)) {
            end_of_tag(tag)
        } else {
            Some(0)
        };
        let Some(end) = end else { return true };
        rest = &tag[end..];
        // A style sheet is no text; a title is, and has no markup.
        for (name, close, is_text) in [("style", "/style", false), ("title", "/title", true)] {
            if is_named(tag, name) {
                let mut ends =
                    rest.match_indices('<').filter(|(at, _)| is_named(&rest[at + 1..], close));
                let Some((at, _)) = ends.next() else { return !is_text || rest.ends_with('<') };
                rest = &rest[at..];
            }
        }
    }
    false
}

/// Elements whose content is read by rules of its own.
const ODD: [&str; 9] =
    ["iframe", "noembed", "noframes", "noscript", "plaintext", "script", "svg", "textarea", "xmp"];

fn is_named(tag: &str, name: &str) -> bool {
    let rest = tag.strip_prefix(name);
    rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_whitespace() || "/>".contains(c)))
}

fn end_of_comment(tag: &str) -> Option<usize> {
    // `<!-->` and `<!--->` are whole comments, and `--!>` ends one too.
    let from = "!--".len();
    let ends = ["-->", "--!>"].map(|end| tag[from..].find(end).map(|at| from + at + end.len()));
    let short = ["!-->", "!--->"].into_iter().find(|it| tag.starts_with(it)).map(str::len);
    ends.into_iter().chain([short]).flatten().min()
}

/// Behind the `>` that ends a tag: not one inside a quoted value, which stands behind `=`.
fn end_of_tag(tag: &str) -> Option<usize> {
    let (mut quote, mut last) = (None, ' ');
    for (at, c) in tag.char_indices() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) if last == '=' => quote = Some(c),
            ('>', None) => return Some(at + 1),
            // In a value, or in a name.
            _ => {}
        }
        if !c.is_ascii_whitespace() {
            last = c;
        }
    }
    None
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

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

const KNOWN: &str = "{code}, {application}, {host}, {duration}, {time}, {client} and {recipient}";

const ENGLISH: (&str, &str, &str) = (
    include_str!("../../../templates/en.subject.txt"),
    include_str!("../../../templates/en.text.txt"),
    include_str!("../../../templates/en.html"),
);

const JAPANESE: (&str, &str, &str) = (
    include_str!("../../../templates/ja.subject.txt"),
    include_str!("../../../templates/ja.text.txt"),
    include_str!("../../../templates/ja.html"),
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_texts_are_good() {
        for (subject, text, html) in [ENGLISH, JAPANESE] {
            for (part, template) in
                [(MailPart::Subject, subject), (MailPart::Text, text), (MailPart::Html, html)]
            {
                assert!(parse(part, template).unwrap().len() > 2);
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        use MailPart::{Html, Subject, Text};
        for (part, template, expected) in [
            (Text, "{code}\n{ code }", "line 2 of the text has `{ code }`; there is {code}, "),
            (Text, "{code}\n\n{Code}", "line 3 of the text has `{Code}`"),
            (Subject, "{user.name}", "line 1 of the subject has `{user.name}`"),
            (Subject, "{コード}", "line 1 of the subject has `{コード}`"),
            (Text, "hello", "the text has no `{code}`"),
            (Html, "<p>hello</p>", "the HTML has no `{code}`"),
            (Subject, " \n", "the subject is empty"),
            (Text, "\n \n", "the text is empty"),
            (Subject, "a\nBcc: x@evil.test", "line 1 of the subject has a control character"),
            (Subject, "a\u{2028}b", "line 1 of the subject has a control character"),
            (Text, "{code}\n\0", "line 2 of the text has a control character"),
            (Html, "{code}\u{85}", "line 1 of the HTML has a control character"),
            (Html, "<p>{code}</p>\n<a href='//{host}'>", "line 2 of the HTML has `{host}` where"),
            (Html, "{code}<style>p {{code}}</style>", "line 1 of the HTML has `{code}` where"),
            (Html, "{code}<SCRIPT>{code}", "line 1 of the HTML has `{code}` where"),
            (Html, "{code}<!-- > {code} -->", "line 1 of the HTML has `{code}` where"),
            (Html, "{code}<a title='>' href=//{host}>", "line 1 of the HTML has `{host}` where"),
            (
                Html,
                "{code}<a title=\"<b>\" href=//{host}>",
                "line 1 of the HTML has `{host}` where",
            ),
            (Html, "{code}<{application}", "line 1 of the HTML has `{application}` where"),
            (Html, "{code}<style></style><script>{host}", "line 1 of the HTML has `{host}` where"),
            (Html, "{code}<p a=it's><a b=\"'>{host}\">", "line 1 of the HTML has `{host}` where"),
            (
                Html,
                "{code}<!-- --!><a href=\"-->{host}\">",
                "line 1 of the HTML has `{host}` where",
            ),
            (Html, "{code}<!--><a href=\"-->{host}\">", "line 1 of the HTML has `{host}` where"),
            (Html, "{code}<style></stylex>{host}</style>", "line 1 of the HTML has `{host}` where"),
            (
                Html,
                "{code}<textarea><!--</textarea><a b=\"-->{host}\">",
                "line 1 of the HTML has `{host}`",
            ),
            (
                Html,
                "{code}<title><!--</title><a b=\"-->{host}\">",
                "line 1 of the HTML has `{host}` where",
            ),
            (Subject, &"x".repeat(201), "the subject is longer than 200 bytes"),
            (Text, &"x".repeat(17_000), "the text is longer than 16384 bytes"),
        ] {
            let error = parse(part, template).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}\nexpected {expected}");
        }
    }

    #[test]
    fn style_sheets_and_lone_braces_are_text() {
        assert!(
            parse(
                MailPart::Html,
                "<p title='a > b' id=\"it's\">1 < 2, {code}<!-- ' --> {host}</p><b a=b'>{host}</b>"
            )
            .is_ok()
        );
        let html = "<style>p{color:red}\n@media x{ p { margin: 0; } }</style><p>{ {code} } {}</p>";
        let texts = MailTexts::ours(Locale::En).html(html).unwrap();
        let written = texts.write(MailPart::Html, |_| "1<2".to_owned());
        assert_eq!(written, html.replace("{code}", "1&lt;2"));
        let texts = texts.text("\u{FEFF}a\r\n{code}\t{").unwrap();
        assert_eq!(texts.write(MailPart::Text, |_| "{code}".to_owned()), "a\n{code}\t{");
    }

    #[test]
    fn markup_is_escaped() {
        assert_eq!(escape("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
    }
}
