//! Forms on a page, read as far as our own pages go.

/// A form: where it goes, and what it carries along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    pub action: String,
    /// All inputs by name, with the value that the page gives them.
    pub inputs: Vec<(String, String)>,
}

impl Form {
    /// The value of an input.
    pub fn value(&self, name: &str) -> &str {
        let input = self.inputs.iter().find(|(known, _)| known == name);
        input.map_or("", |(_, value)| value.as_str())
    }

    /// The same form with a field filled in; a field that is not there is an error.
    #[must_use]
    pub fn fill(mut self, name: &str, value: &str) -> Self {
        let Some((_, filled)) = self.inputs.iter_mut().find(|(known, _)| known == name) else {
            panic!("the form has no field `{name}`");
        };
        value.clone_into(filled);
        self
    }
}

/// The forms of a page, in order.
pub fn forms(html: &str) -> Vec<Form> {
    let mut forms = Vec::new();
    for tag in tags(html) {
        match tag.split([' ', '>']).next() {
            Some("form") => {
                let action = attribute(tag, "action").unwrap_or_default();
                forms.push(Form { action, inputs: Vec::new() });
            }
            Some("input") => {
                if let (Some(form), Some(name)) = (forms.last_mut(), attribute(tag, "name")) {
                    form.inputs.push((name, attribute(tag, "value").unwrap_or_default()));
                }
            }
            _ => {}
        }
    }
    forms
}

/// The insides of all opening tags.
fn tags(html: &str) -> impl Iterator<Item = &str> {
    html.split('<').skip(1).filter_map(|rest| rest.split_once('>').map(|(tag, _)| tag))
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    let (value, _) = rest.split_once('"')?;
    Some(unescape(value))
}

/// Undoes character references, those that our templates write.
pub fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let reference = after.split_once(';').and_then(|(name, after)| {
            let char = match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                _ => char::from_u32(name.strip_prefix('#')?.parse().ok()?)?,
            };
            Some((char, after))
        });
        let (char, after) = reference.unwrap_or(('&', after));
        plain.push(char);
        rest = after;
    }
    plain + rest
}
