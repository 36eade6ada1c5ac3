//! A parsed document that knows the place of each of its values, so that errors can name it.
//!
//! `serde_json::Value` would do, but it keeps the last of two equal keys, and a rule that
//! silently replaces another is how doors open.

use std::{cell::RefCell, fmt::Write as _, str::FromStr};

use crate::{
    error::{Error, Kind},
    limits,
    node::Node,
    remark::{Lint, LintCode},
};

/// How strictly a document is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// What is not understood is an error.
    #[default]
    Strict,
    /// Fields that are not understood are carried along with a warning, and selectors that are not
    /// understood become [`Rule::Unsupported`](crate::Rule::Unsupported), which is never true and
    /// never false.
    Lenient,
}

/// Collects the faults of one reading, so that all can be told at once.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    mode: Mode,
    problems: RefCell<Vec<Error>>,
    warnings: RefCell<Vec<Error>>,
    lints: RefCell<Vec<Lint>>,
}

impl Faults {
    pub(crate) fn new(mode: Mode) -> Self {
        Self { mode, ..Self::default() }
    }

    pub(crate) fn is_lenient(&self) -> bool {
        self.mode == Mode::Lenient
    }

    /// What is worth a remark, though nothing is wrong.
    pub(crate) fn take_lints(&self) -> Vec<Lint> {
        self.lints.take()
    }

    /// Ends the reading: the value and its warnings, or all faults.
    pub(crate) fn finish<T>(self, result: Result<T, Error>) -> Result<(T, Vec<Error>), Error> {
        let mut problems = self.problems.into_inner();
        match result {
            Ok(value) => match Error::join(problems) {
                None => Ok((value, self.warnings.into_inner())),
                Some(error) => Err(error),
            },
            Err(error) => {
                problems.push(error);
                Err(Error::join(problems).unwrap_or_else(|| Kind::Syntax(String::new()).into()))
            }
        }
    }

    fn push(&self, error: Error) {
        let mut problems = self.problems.borrow_mut();
        if problems.len() < limits::MAX_PROBLEMS {
            problems.push(error);
        }
    }

    fn warn(&self, error: Error) {
        let mut warnings = self.warnings.borrow_mut();
        if warnings.len() < limits::MAX_PROBLEMS {
            warnings.push(error);
        }
    }
}

/// A value together with the way that leads to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    node: &'a Node<'a>,
    parent: Option<&'a Place<'a>>,
    step: Step<'a>,
    faults: &'a Faults,
}

#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Element(usize),
}

impl<'a> Place<'a> {
    /// The root of a document, from which places are counted.
    pub(crate) fn root(node: &'a Node<'a>, faults: &'a Faults) -> Self {
        Self { node, parent: None, step: Step::Root, faults }
    }

    /// The field name that led here; empty for the root and for elements.
    pub(crate) fn name(&self) -> &'a str {
        match self.step {
            Step::Field(name) => name,
            Step::Root | Step::Element(_) => "",
        }
    }

    pub(crate) fn node(&self) -> &'a Node<'a> {
        self.node
    }

    pub(crate) fn is_lenient(&self) -> bool {
        self.faults.is_lenient()
    }

    /// The place as a JSON pointer (RFC 6901).
    pub(crate) fn path(&self) -> String {
        let mut path = self.parent.map(Place::path).unwrap_or_default();
        match self.step {
            Step::Root => {}
            Step::Field(name) => {
                path.push('/');
                path.push_str(&limits::excerpt(name).replace('~', "~0").replace('/', "~1"));
            }
            Step::Element(index) => {
                // Writing to a string can't fail.
                let _ = write!(path, "/{index}");
            }
        }
        path
    }

    /// An error at this place.
    pub(crate) fn error(&self, kind: Kind) -> Error {
        let path = self.path();
        Error::from(kind).at(if path.is_empty() { "document root".to_owned() } else { path })
    }

    /// The error for a field that has no meaning here.
    pub(crate) fn unknown_field(&self) -> Error {
        self.error(Kind::UnknownField(limits::excerpt(self.name())))
    }

    /// Takes a value, or notes the fault and goes on without it.
    pub(crate) fn keep<T>(&self, result: Result<T, Error>) -> Option<T> {
        result.map_err(|error| self.faults.push(error)).ok()
    }

    /// Notes something that strict reading refuses and lenient reading carries.
    pub(crate) fn tolerate(&self, error: Error) {
        if self.is_lenient() { self.faults.warn(error) } else { self.faults.push(error) }
    }

    /// Remarks on this place.
    pub(crate) fn remark(&self, code: LintCode, message: String) {
        let mut lints = self.faults.lints.borrow_mut();
        if lints.len() < limits::MAX_PROBLEMS {
            lints.push(Lint { code, location: self.path(), message });
        }
    }

    pub(crate) fn is_array(&self) -> bool {
        matches!(self.node, Node::Array(_))
    }

    pub(crate) fn is_object(&self) -> bool {
        matches!(self.node, Node::Object(_))
    }

    /// The members of an object. Null counts as absent: state dumps of Terraform carry every
    /// possible key, most of them null.
    pub(crate) fn fields(&'a self) -> Result<impl Iterator<Item = Place<'a>> + Clone, Error> {
        let Node::Object(members) = self.node else {
            return Err(self.wrong_type("an object"));
        };
        Ok(members
            .iter()
            .filter(|(_, node)| !matches!(node, Node::Null))
            .map(|(name, node)| self.child(node, Step::Field(name))))
    }

    /// The member called `name`, if it is there and not null.
    pub(crate) fn field(&'a self, name: &str) -> Result<Option<Place<'a>>, Error> {
        Ok(self.fields()?.find(|field| field.name() == name))
    }

    /// The member called `name`, which must be there.
    pub(crate) fn required(&'a self, name: &'static str) -> Result<Place<'a>, Error> {
        self.field(name)?.ok_or_else(|| self.error(Kind::MissingField(name)))
    }

    /// The elements of an array.
    pub(crate) fn elements(&'a self) -> Result<impl Iterator<Item = Place<'a>>, Error> {
        let Node::Array(elements) = self.node else {
            return Err(self.wrong_type("an array"));
        };
        Ok(elements.iter().enumerate().map(|(index, node)| self.child(node, Step::Element(index))))
    }

    /// Reads each element of an array with `read`; elements with faults are noted and left out.
    pub(crate) fn collect<T>(
        &self,
        read: impl Fn(&Place<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        if let Node::Array(elements) = self.node {
            all.reserve_exact(elements.len());
        }
        all.extend(self.elements()?.filter_map(|element| element.keep(read(&element))));
        Ok(all)
    }

    pub(crate) fn string(&self) -> Result<&'a str, Error> {
        match self.node {
            Node::String(text) => Ok(text),
            _ => Err(self.wrong_type("a string")),
        }
    }

    /// A string that is not empty.
    pub(crate) fn text(&self) -> Result<Box<str>, Error> {
        match self.string()? {
            "" => {
                Err(self.error(Kind::UnknownValue { found: String::new(), expected: "any text" }))
            }
            text => Ok(text.into()),
        }
    }

    /// An id: letter case does not count in UUIDs, so it is folded in all ids.
    pub(crate) fn id(&self) -> Result<Box<str>, Error> {
        match self.string()? {
            "" => self.text(),
            text => Ok(text.to_ascii_lowercase().into()),
        }
    }

    pub(crate) fn boolean(&self) -> Result<bool, Error> {
        match self.node {
            Node::Bool(value) => Ok(*value),
            _ => Err(self.wrong_type("a boolean")),
        }
    }

    pub(crate) fn integer(&self) -> Result<i64, Error> {
        match self.node {
            Node::Integer(value) => Ok(*value),
            _ => Err(self.wrong_type("a whole number")),
        }
    }

    /// Reads a string as a type with rules.
    pub(crate) fn parse<T: FromStr<Err = Error>>(&self) -> Result<T, Error> {
        self.parse_with(str::parse)
    }

    /// Reads a string with `parse`.
    pub(crate) fn parse_with<T>(
        &self,
        parse: impl FnOnce(&str) -> Result<T, Error>,
    ) -> Result<T, Error> {
        parse(self.string()?).map_err(|error| error.at(self.path()))
    }

    pub(crate) fn wrong_type(&self, expected: &'static str) -> Error {
        self.error(Kind::WrongType { expected, found: self.node.type_name() })
    }

    /// A member that was read apart from the object.
    pub(crate) fn member(&'a self, name: &'a str, node: &'a Node<'a>) -> Place<'a> {
        self.child(node, Step::Field(name))
    }

    /// An element that was read apart from the array.
    pub(crate) fn element(&'a self, at: usize, node: &'a Node<'a>) -> Place<'a> {
        self.child(node, Step::Element(at))
    }

    fn child(&'a self, node: &'a Node<'a>, step: Step<'a>) -> Place<'a> {
        Place { node, parent: Some(self), step, faults: self.faults }
    }
}
