//! The one error type of the crate, sorted by who has to act.

use crate::limits;

/// Says why a policy, an application or a request could not be used.
///
/// An error is never a decision: a caller that can't build its [`Engine`](crate::Engine) must not
/// serve, and a caller that can't build its [`Request`](crate::Request) answers 400.
#[derive(Debug, thiserror::Error)]
#[error("{}{kind}", prefix(self.location.as_deref()))]
pub struct Error {
    location: Option<String>,
    #[source]
    kind: Box<Kind>,
}

/// Names the class of an [`Error`], for callers and test tables that must tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The text is not JSON, a key appears twice in one object, or something is too long.
    Syntax,
    /// A value has another JSON type than its field.
    WrongType,
    /// A field that must be there is not.
    MissingField,
    /// A field that neither Cloudflare nor this crate knows.
    UnknownField,
    /// A selector that neither Cloudflare nor this crate knows.
    UnknownSelector,
    /// A rule that names no selector, or more than one.
    RuleShape,
    /// A field has a value outside its list.
    UnknownValue,
    /// Cloudflare has it, this version does not, and ignoring it could open a door.
    Unsupported,
    /// Two policies of one application carry the same precedence, or only some carry one.
    Precedence,
    /// Not an e-mail address.
    EmailAddress,
    /// Not an e-mail domain.
    Domain,
    /// Not an IP address or CIDR block.
    Network,
    /// Not a duration in Go's notation.
    Duration,
    /// Not a destination pattern.
    Destination,
    /// Not an entry for a list of allowed mail addresses.
    AllowedMail,
    /// A `bypass` policy asks who the visitor is, before anyone could log in.
    IdentitySelectorInBypass,
    /// Two applications claim the same requests with the same precision.
    DuplicateDestination,
    /// Two applications carry the same id.
    DuplicateApplication,
    /// The host of a request is unreadable.
    Host,
    /// The path of a request is unreadable.
    Path,
}

impl Error {
    /// Returns the class of this error.
    pub fn class(&self) -> ErrorClass {
        match *self.kind {
            Kind::Syntax(_) => ErrorClass::Syntax,
            Kind::WrongType { .. } => ErrorClass::WrongType,
            Kind::MissingField(_) => ErrorClass::MissingField,
            Kind::UnknownField(_) => ErrorClass::UnknownField,
            Kind::UnknownSelector { .. } => ErrorClass::UnknownSelector,
            Kind::RuleShape(_) => ErrorClass::RuleShape,
            Kind::UnknownValue { .. } => ErrorClass::UnknownValue,
            Kind::Unsupported(_) => ErrorClass::Unsupported,
            Kind::Precedence(_) => ErrorClass::Precedence,
            Kind::EmailAddress(_) => ErrorClass::EmailAddress,
            Kind::Domain(_) => ErrorClass::Domain,
            Kind::Network { .. } => ErrorClass::Network,
            Kind::Duration(_) => ErrorClass::Duration,
            Kind::Destination { .. } => ErrorClass::Destination,
            Kind::AllowedMail { .. } => ErrorClass::AllowedMail,
            Kind::IdentitySelectorInBypass(_) => ErrorClass::IdentitySelectorInBypass,
            Kind::DuplicateDestination { .. } => ErrorClass::DuplicateDestination,
            Kind::DuplicateApplication => ErrorClass::DuplicateApplication,
            Kind::Host(_) => ErrorClass::Host,
            Kind::Path(_) => ErrorClass::Path,
        }
    }

    /// Returns where the fault lies: a JSON path such as `applications[0].policies[1].include[0]`,
    /// or the application and policy by name when the fault shows only at compile time.
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// Reports whether the visitor's request is at fault, so that the answer is 400.
    pub fn is_request_fault(&self) -> bool {
        matches!(*self.kind, Kind::Host(_) | Kind::Path(_))
    }

    /// Reports whether the configuration is legal for Cloudflare but uses what this version lacks.
    pub fn is_unsupported(&self) -> bool {
        self.class() == ErrorClass::Unsupported
    }

    /// Names the place of a fault that does not have one yet.
    pub(crate) fn at(mut self, location: impl Into<String>) -> Self {
        self.location.get_or_insert_with(|| location.into());
        self
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self { location: None, kind: Box::new(kind) }
    }
}

/// What went wrong. The wording of every message of this crate stands here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Kind {
    #[error("could not read the JSON text: {0}")]
    Syntax(String),
    #[error("expected {expected}, found {found}")]
    WrongType { expected: &'static str, found: &'static str },
    #[error("field `{0}` is missing")]
    MissingField(&'static str),
    #[error("unknown field `{0}`")]
    UnknownField(String),
    #[error("unknown selector `{name}`; this version knows {known}")]
    UnknownSelector { name: String, known: String },
    #[error("a rule must name exactly one selector, found {0}")]
    RuleShape(usize),
    #[error("unknown value `{found}`; expected one of {expected}")]
    UnknownValue { found: String, expected: &'static str },
    #[error("{0} is not supported by this version, and leaving it out could open a door")]
    Unsupported(String),
    #[error("{0}")]
    Precedence(&'static str),
    // The address itself never appears: errors end up in logs.
    #[error("not an e-mail address: {0}")]
    EmailAddress(&'static str),
    #[error("not an e-mail domain: {0}")]
    Domain(&'static str),
    #[error("`{text}` is not an IP address or CIDR block: {problem}")]
    Network { text: String, problem: &'static str },
    #[error("`{0}` is not a duration such as `24h` or `1h30m`")]
    Duration(String),
    #[error("`{text}` is not a destination: {problem}")]
    Destination { text: String, problem: &'static str },
    #[error("`{text}` is not an allowed mail entry: {problem}")]
    AllowedMail { text: String, problem: &'static str },
    #[error("a bypass policy can't use selector `{0}`: nobody has logged in yet")]
    IdentitySelectorInBypass(&'static str),
    #[error(
        "destination `{first}` claims the same requests as `{second}` of application `{other}`"
    )]
    DuplicateDestination { first: String, second: String, other: String },
    #[error("another application has the same id")]
    DuplicateApplication,
    #[error("unreadable host: {0}")]
    Host(&'static str),
    #[error("unreadable path: {0}")]
    Path(&'static str),
}

impl Kind {
    /// A selector nobody knows, with what could have been meant.
    pub(crate) fn unknown_selector(name: &str, known: &[&str]) -> Self {
        let known = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        Self::UnknownSelector { name: limits::excerpt(name), known }
    }
}

/// The place of a fault, ready to stand before its description.
fn prefix(location: Option<&str>) -> String {
    location.map(|location| format!("{location}: ")).unwrap_or_default()
}
