//! YAML into values: one document, no duplicate keys, aliases within bounds.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

use super::{
    problem::Problems,
    value::{self, Entry, Kind, Value, quote},
};
use crate::limits;

/// Reads a document. An empty one is nothing.
pub(super) fn parse(text: &str) -> Result<Value, Problems> {
    if text.len() > limits::CONFIGURATION_BYTES {
        return Err(Problems::whole(None, value::too_long()));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader =
        Reader { parser: Parser::new_from_str(text), anchors: HashMap::new(), values: 0 };
    reader.document()
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// What aliases stand for.
    anchors: HashMap<usize, (Value, usize)>,
    values: usize,
}

type Read<T> = Result<T, Problems>;

impl<'a> Reader<'a> {
    fn document(&mut self) -> Read<Value> {
        let mut document = None;
        loop {
            let (event, line) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(document.unwrap_or(Value::null())),
                Event::Nothing | Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(_) if document.is_some() => {
                    return Err(problem(line, "a second document; one file holds one"));
                }
                Event::DocumentStart(_) => {
                    let (event, line) = self.next()?;
                    document = Some(self.value(event, line, 0)?);
                }
                _ => return Err(problem(line, "something outside the document")),
            }
        }
    }

    fn next(&mut self) -> Read<(Event<'a>, usize)> {
        match self.parser.next_event() {
            Some(Ok((event, Span { start, .. }))) => Ok((event, start.line())),
            Some(Err(error)) => {
                let what = format!("not YAML: {}", error.info());
                Err(problem(error.marker().line(), &what))
            }
            None => Ok((Event::StreamEnd, 0)),
        }
    }

    fn value(&mut self, event: Event<'a>, line: usize, depth: usize) -> Read<Value> {
        self.count(1, line)?;
        if depth > limits::CONFIGURATION_DEPTH {
            let most = limits::CONFIGURATION_DEPTH;
            let what = format!("nested deeper than {most} levels (CONFIGURATION_DEPTH)");
            return Err(problem(line, &what));
        }
        let before = self.values - 1;
        let (kind, anchor) = match event {
            Event::Alias(anchor) => return self.alias(anchor, line),
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = tag.is_some_and(|tag| tag.suffix == "str");
                let text = text.into_owned();
                let kind = match style {
                    ScalarStyle::Plain if !is_text => Kind::Plain(text),
                    _ => Kind::Text(text),
                };
                (kind, anchor)
            }
            Event::SequenceStart(anchor, _) => (Kind::List(self.list(depth)?), anchor),
            Event::MappingStart(anchor, _) => (Kind::Map(self.map(depth)?), anchor),
            _ => (Kind::Null, 0),
        };
        let value = Value { kind, line: Some(line) };
        if anchor != 0 {
            self.anchors.insert(anchor, (value.clone(), self.values - before));
        }
        Ok(value)
    }

    fn list(&mut self, depth: usize) -> Read<Vec<Value>> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd | Event::StreamEnd, _) => return Ok(items),
                (event, line) => items.push(self.value(event, line, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Read<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, line) = match self.next()? {
                (Event::MappingEnd | Event::StreamEnd, _) => break,
                next => next,
            };
            let key = self.value(event, line, depth + 1)?;
            let (Kind::Plain(key) | Kind::Text(key)) = key.kind else {
                return Err(problem(line, "a key that is not a text"));
            };
            let (event, value_line) = self.next()?;
            let value = self.value(event, value_line, depth + 1)?;
            if key == "<<" {
                merged.extend(merge(value, line)?);
            } else if entries.iter().any(|entry| entry.key == key) {
                return Err(problem(line, &format!("the key {} stands here twice", quote(&key))));
            } else {
                entries.push(Entry { key, line: Some(line), value });
            }
        }
        // The map's own keys win over merged ones, earlier merged ones over later.
        for entry in merged {
            if entries.iter().all(|own| own.key != entry.key) {
                entries.push(entry);
            }
        }
        Ok(entries)
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Read<Value> {
        let Some((_, size)) = self.anchors.get(&anchor) else {
            return Err(problem(line, "an alias inside what it names"));
        };
        self.count(*size, line)?;
        let value = self.anchors.get(&anchor).map(|(value, _)| value.clone());
        Ok(Value { line: Some(line), ..value.unwrap_or(Value::null()) })
    }

    fn count(&mut self, values: usize, line: usize) -> Read<()> {
        self.values += values;
        if self.values > limits::CONFIGURATION_VALUES {
            return Err(problem(line, &value::too_many()));
        }
        Ok(())
    }
}

/// YAML 1.1's merge key: a map, or several.
fn merge(value: Value, line: usize) -> Read<Vec<Entry>> {
    match value.kind {
        Kind::Map(entries) => Ok(entries),
        Kind::List(items) => {
            let maps = items.into_iter().map(|item| merge(item, line));
            Ok(maps.collect::<Read<Vec<_>>>()?.into_iter().flatten().collect())
        }
        _ => Err(problem(line, "`<<` takes a map")),
    }
}

fn problem(line: usize, what: &str) -> Problems {
    Problems::whole(Some(line.max(1)), what)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn plain(value: &Value) -> &str {
        match &value.kind {
            Kind::Plain(text) | Kind::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }

    fn entry<'a>(value: &'a Value, key: &str) -> &'a Value {
        match &value.kind {
            Kind::Map(entries) => {
                &entries.iter().find(|entry| entry.key == key).expect("the key is there").value
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn aliases_and_merged_maps_stand_in_full() {
        let text = "base: &base {a: '1', b: 2}\nown:\n  <<: *base\n  b: 3\nsame: *base\n";
        let value = parse(text).unwrap();
        assert_eq!(plain(entry(entry(&value, "own"), "a")), "1");
        assert_eq!(plain(entry(entry(&value, "own"), "b")), "3");
        assert_eq!(plain(entry(entry(&value, "same"), "b")), "2");
        assert_eq!(entry(&value, "same").line, Some(5));
        assert!(parse("").unwrap().is_null() && parse("# nothing\n").unwrap().is_null());
    }

    #[test]
    fn texts_that_are_no_configuration_say_where() {
        for (text, words) in [
            ("a: [1", "not YAML"),
            ("a: 1\na: 2\n", "line 2: the key `a` stands here twice"),
            ("a: 1\n---\nb: 2\n", "second document"),
            ("[a]: 1\n", "not a text"),
            ("a: *missing\n", "not YAML"),
            ("a: &a [*a]\n", "inside what it names"),
            ("<<: 1\n", "takes a map"),
        ] {
            let problems = parse(text).unwrap_err().to_string();
            assert!(problems.contains(words), "{text:?}: {problems}");
        }
    }

    #[test]
    fn a_bomb_of_aliases_is_refused_at_the_bound() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            writeln!(bomb, "a{level}: &a{level} [{items}]").unwrap();
        }
        let problems = parse(&bomb).unwrap_err().to_string();
        assert!(problems.contains("more than 65536 values"), "{problems}");
        let deep = "[".repeat(limits::CONFIGURATION_DEPTH + 2);
        let problems = parse(&format!("{deep}{}", deep.replace('[', "]"))).unwrap_err();
        assert!(problems.to_string().contains("nested deeper than 16"), "{problems}");
        let long = format!("a: {}", "x".repeat(limits::CONFIGURATION_BYTES));
        assert!(parse(&long).unwrap_err().to_string().contains("longer than"));
    }
}
