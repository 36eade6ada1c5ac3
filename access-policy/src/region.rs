//! Which sets of destinations can cover one request together, each with such a request.
//!
//! A pattern is a small automaton. Walking through several at once, letter by letter, reaches every
//! set of them that some host or path belongs to; letters that no pattern names are alike, so one
//! stands for all.

use std::collections::{BTreeSet, HashSet, VecDeque};

use foldhash::fast::FixedState;

use crate::destination::Destination;

/// A host and a path.
pub(crate) type Address = (String, String);

/// More patterns meet in one place than a search can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany;

/// Hosts and paths that `own` covers: one for each set of `others` that cover it as well.
pub(crate) fn addresses(
    own: &Destination,
    others: &[&Destination],
) -> Result<Vec<Address>, TooMany> {
    let mut addresses = Vec::new();
    let hosts: Vec<Pattern> = std::iter::once(own)
        .chain(others.iter().copied())
        .map(|pattern| Pattern::of_host(pattern.host().as_str()))
        .collect();
    for (host, covers) in search::<HostRules>(&hosts)? {
        let meeting = std::iter::once(own).chain(others.iter().copied()).zip(&covers);
        let paths: Vec<Pattern> = meeting
            .filter(|(_, covers)| **covers)
            .map(|(pattern, _)| Pattern::of_path(&pattern.path().globs()))
            .collect();
        for (path, _) in search::<PathRules>(&paths)? {
            addresses.push((host.clone(), path));
        }
    }
    Ok(addresses)
}

/// A pattern as one or several rows of tokens, of which one must be matched.
struct Pattern(Vec<Vec<Token>>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Token {
    /// Exactly this: a letter, or an escape.
    Is(Box<str>),
    /// One of anything that the wildcard may stand for.
    One,
    /// Any number of those.
    Any,
}

/// For each row, the positions at which a match may stand.
type Positions = BTreeSet<(usize, usize)>;

/// What words may look like.
trait Rules {
    /// What is known of the word so far.
    type Shape: Copy + Eq + std::hash::Hash;

    const START: (&'static str, Self::Shape);
    /// What a wildcard never stands for.
    const BORDER: Option<&'static str>;

    /// The shape after another piece; `None` if no word goes on so.
    fn after(shape: Self::Shape, piece: &str) -> Option<Self::Shape>;

    /// Whether a word may end so.
    fn may_end(shape: Self::Shape) -> bool;
}

/// Labels are not empty, and have no hyphen at their ends.
struct HostRules;

impl Rules for HostRules {
    type Shape = LastLetter;

    const START: (&'static str, LastLetter) = ("", LastLetter::Dot);
    const BORDER: Option<&'static str> = Some(".");

    fn after(last: LastLetter, piece: &str) -> Option<LastLetter> {
        match piece {
            "." => (last == LastLetter::Other).then_some(LastLetter::Dot),
            "-" => (last != LastLetter::Dot).then_some(LastLetter::Hyphen),
            _ => Some(LastLetter::Other),
        }
    }

    fn may_end(last: LastLetter) -> bool {
        last == LastLetter::Other
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum LastLetter {
    Dot,
    Hyphen,
    Other,
}

/// Paths in canonical form: no empty segments and no dot segments.
struct PathRules;

/// How a segment looks so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Segment {
    Empty,
    Dot,
    Dots,
    Name,
}

impl Rules for PathRules {
    type Shape = Segment;

    const START: (&'static str, Segment) = ("/", Segment::Empty);
    const BORDER: Option<&'static str> = None;

    fn after(shape: Segment, piece: &str) -> Option<Segment> {
        Some(match (shape, piece) {
            (Segment::Name, "/") => Segment::Empty,
            (_, "/") => return None,
            (Segment::Empty, ".") => Segment::Dot,
            (Segment::Dot, ".") => Segment::Dots,
            _ => Segment::Name,
        })
    }

    fn may_end(shape: Segment) -> bool {
        matches!(shape, Segment::Empty | Segment::Name)
    }
}

impl Pattern {
    fn of_host(text: &str) -> Self {
        let mut tokens = Vec::new();
        for label in text.split('.') {
            if !tokens.is_empty() {
                tokens.push(Token::Is(".".into()));
            }
            if label == "*" {
                tokens.push(Token::One);
            }
            tokens.extend(tokens_of(label));
        }
        Self(vec![tokens])
    }

    fn of_path(globs: &[String]) -> Self {
        let anything = [Token::Is("/".into()), Token::Any];
        let rows = globs.iter().map(|glob| match &**glob {
            // The whole host.
            "" => anything.to_vec(),
            glob => tokens_of(glob).collect(),
        });
        Self(rows.collect())
    }

    /// The positions before anything was read.
    fn start(&self) -> Positions {
        self.closed((0..self.0.len()).map(|row| (row, 0)))
    }

    /// Where a match may stand after another piece.
    fn after<R: Rules>(&self, positions: &Positions, piece: &str) -> Positions {
        let is_inside = R::BORDER != Some(piece);
        let next = positions.iter().filter_map(|&(row, at)| match self.0.get(row)?.get(at)? {
            Token::Is(text) => (**text == *piece).then_some((row, at + 1)),
            Token::One => is_inside.then_some((row, at + 1)),
            Token::Any => is_inside.then_some((row, at)),
        });
        self.closed(next)
    }

    fn accepts(&self, positions: &Positions) -> bool {
        positions.iter().any(|&(row, at)| self.0.get(row).is_some_and(|it| it.len() == at))
    }

    /// A wildcard may stand for nothing.
    fn closed(&self, positions: impl Iterator<Item = (usize, usize)>) -> Positions {
        let mut closed = Positions::new();
        for (row, mut at) in positions {
            while closed.insert((row, at))
                && self.0.get(row).and_then(|row| row.get(at)) == Some(&Token::Any)
            {
                at += 1;
            }
        }
        closed
    }
}

fn tokens_of(text: &str) -> impl Iterator<Item = Token> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let len = if first == '%' && rest.is_char_boundary(3) { 3 } else { first.len_utf8() };
        let (piece, after) = rest.split_at(len.min(rest.len()));
        rest = after;
        Some(if piece == "*" { Token::Any } else { Token::Is(piece.into()) })
    })
}

/// Words that the first pattern accepts: the shortest for each set of patterns that accept it.
fn search<R: Rules>(patterns: &[Pattern]) -> Result<Vec<(String, Vec<bool>)>, TooMany> {
    let alphabet = alphabet::<R>(patterns);
    let mut found: Vec<(String, Vec<bool>)> = Vec::new();
    let mut sets: HashSet<Vec<bool>, FixedState> = HashSet::default();
    let mut seen: HashSet<(Vec<Positions>, R::Shape), FixedState> = HashSet::default();
    let (start, shape) = R::START;
    let mut positions: Vec<Positions> = patterns.iter().map(Pattern::start).collect();
    if !start.is_empty() {
        positions = step::<R>(patterns, &positions, start);
    }
    let mut waiting = VecDeque::from([(start.to_owned(), positions, shape)]);
    while let Some((word, positions, shape)) = waiting.pop_front() {
        if R::may_end(shape)
            && patterns.first().zip(positions.first()).is_some_and(|(p, at)| p.accepts(at))
        {
            let accepting: Vec<bool> =
                patterns.iter().zip(&positions).map(|(pattern, at)| pattern.accepts(at)).collect();
            if sets.insert(accepting.clone()) {
                found.push((word.clone(), accepting));
            }
        }
        if seen.len() > MAX_STATES {
            return Err(TooMany);
        }
        for piece in &alphabet {
            let Some(shape) = R::after(shape, piece) else { continue };
            let next = step::<R>(patterns, &positions, piece);
            let can_match = next.first().is_some_and(|own| !own.is_empty());
            if can_match && seen.insert((next.clone(), shape)) {
                waiting.push_back((format!("{word}{piece}"), next, shape));
            }
        }
    }
    Ok(found)
}

fn step<R: Rules>(patterns: &[Pattern], positions: &[Positions], piece: &str) -> Vec<Positions> {
    patterns.iter().zip(positions).map(|(pattern, at)| pattern.after::<R>(at, piece)).collect()
}

/// What patterns name, and a letter that none of them does.
fn alphabet<R: Rules>(patterns: &[Pattern]) -> BTreeSet<Box<str>> {
    let tokens = patterns.iter().flat_map(|pattern| pattern.0.iter().flatten());
    let mut alphabet: BTreeSet<Box<str>> = tokens
        .filter_map(|token| match token {
            Token::Is(piece) => Some(piece.clone()),
            Token::One | Token::Any => None,
        })
        .collect();
    let fresh = "qzxjkvwybpfgmucldrhsnioate0123456789".chars().map(|letter| letter.to_string());
    let fresh = fresh.into_iter().find(|letter| !alphabet.contains(&**letter));
    alphabet.extend(fresh.map(String::into_boxed_str));
    if R::BORDER.is_none() {
        alphabet.insert("/".into());
    }
    alphabet
}

/// A second or so at worst.
const MAX_STATES: usize = 50_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(own: &str, others: &[&str]) -> BTreeSet<Vec<bool>> {
        let parse = |text: &&str| Destination::parse(text).unwrap();
        let (own, others) = (parse(&own), others.iter().map(parse).collect::<Vec<_>>());
        let found = addresses(&own, &others.iter().collect::<Vec<_>>()).unwrap();
        let covers = |pattern: &Destination, (host, path): &Address| {
            let case = crate::destination::LetterCase::Matters;
            pattern.host().covers(host) && pattern.path().covers(path, case)
        };
        for address in &found {
            assert!(covers(&own, address), "{address:?}");
            assert!(crate::request::Request::new(&address.0, &address.1).is_ok());
        }
        let covering = |address| others.iter().map(|other| covers(other, address)).collect();
        found.iter().map(covering).collect()
    }

    #[test]
    fn every_set_that_some_request_belongs_to_is_found() {
        for (own, others, expected) in [
            ("a.example.com", &[][..], &[&[][..]][..]),
            ("*.example.com", &["a.example.com"], &[&[false], &[true]]),
            ("a*.example.com", &["*b.example.com"], &[&[false], &[true]]),
            (
                "ab*.x.com",
                &["*bc.x.com", "ab*bc.x.com"],
                &[&[false, false], &[true, false], &[true, true]],
            ),
            ("a.example.com/x", &["*.example.com/x/y"], &[&[false], &[true]]),
            ("a.com/x/*", &["a.com/*/y", "a.com/x"], &[&[false, true], &[true, true]]),
            ("a.com/x*y", &["a.com/x"], &[&[false], &[true]]),
            ("a.com/x", &["a.com/x/*"], &[&[false], &[true]]),
            ("a.com/x", &["b.com/x", "a.com"], &[&[false, true]]),
            ("a.com/caf%C3%A9*", &["a.com/caf%C3%A9/b"], &[&[false], &[true]]),
        ] {
            let expected = expected.iter().map(|set| set.to_vec()).collect();
            assert_eq!(sets(own, others), expected, "{own} {others:?}");
        }
    }
}
