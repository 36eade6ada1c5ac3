//! The one error type of the crate, sorted by who has to act.

use crate::limits;

/// Says why a policy, an application or a request could not be used.
///
/// An error is never a decision: a caller that can't build its [`Engine`](crate::Engine) must not
/// serve (or goes on with the old one), and a caller that can't build its
/// [`Request`](crate::Request) answers 400. Reading and compiling a configuration report every fault
/// at once; `Display` writes the first, [`problems`](Self::problems) lists all.
#[derive(Debug, thiserror::Error)]
#[error("{}{kind}{}", prefix(self.location.as_deref()), suffix(self.others.len()))]
pub struct Error {
    location: Option<String>,
    #[source]
    kind: Box<Kind>,
    others: Vec<Error>,
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
    /// Two applications, policies, groups or lists carry the same id.
    DuplicateId,
    /// A rule or an application names a policy, group or list that does not exist.
    UnresolvedReference,
    /// A group contains itself, directly or through others.
    GroupCycle,
    /// Groups are nested too deeply, or a decision could take too long.
    TooCostly,
    /// A policy or group without include rules, which can never match.
    EmptyInclude,
    /// Two settings exclude each other.
    Contradiction,
    /// An answer of the API that failed, or is one page of several.
    Incomplete,
    /// Not a country code.
    Country,
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
            Kind::Precedence(_) => ErrorClass::Precedence,
            Kind::EmailAddress(_) => ErrorClass::EmailAddress,
            Kind::Domain(_) => ErrorClass::Domain,
            Kind::Network { .. } => ErrorClass::Network,
            Kind::Duration(_) => ErrorClass::Duration,
            Kind::Destination { .. } => ErrorClass::Destination,
            Kind::AllowedMail { .. } => ErrorClass::AllowedMail,
            Kind::IdentitySelectorInBypass(_) => ErrorClass::IdentitySelectorInBypass,
            Kind::DuplicateDestination { .. } => ErrorClass::DuplicateDestination,
            Kind::DuplicateId { .. } => ErrorClass::DuplicateId,
            Kind::UnresolvedReference { .. } => ErrorClass::UnresolvedReference,
            Kind::GroupCycle(_) => ErrorClass::GroupCycle,
            Kind::TooCostly(_) => ErrorClass::TooCostly,
            Kind::EmptyInclude(_) => ErrorClass::EmptyInclude,
            Kind::Contradiction(_) => ErrorClass::Contradiction,
            Kind::Incomplete(_) => ErrorClass::Incomplete,
            Kind::Country(_) => ErrorClass::Country,
            Kind::Host(_) => ErrorClass::Host,
            Kind::Path(_) => ErrorClass::Path,
        }
    }

    /// Returns where the fault lies: a JSON pointer (RFC 6901) such as
    /// `/applications/0/policies/1/include/0`, also for faults that show only at compile time.
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// Returns what is wrong, in one line, without its place and without the other faults.
    pub fn message(&self) -> String {
        self.kind.to_string()
    }

    /// Reports whether the visitor's request is at fault, so that the answer is 400.
    pub fn is_request_fault(&self) -> bool {
        matches!(*self.kind, Kind::Host(_) | Kind::Path(_))
    }

    /// Returns every fault that was found, this one first.
    pub fn problems(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.others)
    }

    /// Moves a fault to another place.
    pub(crate) fn relocate(mut self, location: String) -> Self {
        self.location = Some(location);
        self
    }

    /// Joins faults to one error; `None` if there are none.
    pub(crate) fn join(faults: Vec<Self>) -> Option<Self> {
        let mut faults = faults.into_iter();
        let mut first = faults.next()?;
        first.others.extend(faults);
        Some(first)
    }

    /// Names the place of a fault that does not have one yet.
    pub(crate) fn at(mut self, location: impl Into<String>) -> Self {
        self.location.get_or_insert_with(|| location.into());
        self
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self { location: None, kind: Box::new(kind), others: Vec::new() }
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
    IdentitySelectorInBypass(String),
    #[error(
        "destination `{first}` claims the same requests as `{second}` of application `{other}`"
    )]
    DuplicateDestination { first: String, second: String, other: String },
    #[error("another {what} has the same id; give each its own")]
    DuplicateId { what: &'static str },
    #[error("there is no {what} `{id}` in this configuration; add it, or correct the id")]
    UnresolvedReference { what: &'static str, id: String },
    #[error("group `{0}` contains itself; take one of the references out")]
    GroupCycle(String),
    #[error("{0}")]
    TooCostly(&'static str),
    #[error("{0} without include rules never matches; add a rule, or remove it")]
    EmptyInclude(&'static str),
    #[error("{0}")]
    Contradiction(&'static str),
    #[error("{0}")]
    Incomplete(&'static str),
    #[error("`{0}` is not a country code of two letters")]
    Country(String),
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

/// How many faults there are besides.
fn suffix(others: usize) -> String {
    match others {
        0 => String::new(),
        1 => " (and 1 more problem)".to_owned(),
        more => format!(" (and {more} more problems)"),
    }
}
