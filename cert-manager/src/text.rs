//! Names of hosts, most of which need no memory beside their own.

use std::{
    cmp::Ordering,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// A text that cannot be changed. Up to [`IN_PLACE`] bytes lie in the value itself, so that whoever looks at one of very many
/// need not look anywhere else; a longer one is shared by its clones.
#[derive(Clone)]
pub(crate) enum Text {
    InPlace { len: u8, bytes: [u8; IN_PLACE] },
    Shared(Arc<str>),
}

impl Text {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::InPlace { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Shared(text) => text.as_bytes(),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            // INVARIANT: a whole text was put in.
            Self::InPlace { .. } => str::from_utf8(self.as_bytes()).unwrap_or_default(),
            Self::Shared(text) => text,
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        let mut bytes = [0; IN_PLACE];
        match (u8::try_from(text.len()), bytes.get_mut(..text.len())) {
            (Ok(len), Some(place)) => {
                place.copy_from_slice(text.as_bytes());
                Self::InPlace { len, bytes }
            }
            _ => Self::Shared(text.into()),
        }
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

/// With the length and the kind, 32 bytes: four words, and longer than most names of hosts.
pub(crate) const IN_PLACE: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_out_as_it_went_in_at_each_length() {
        assert_eq!(size_of::<Text>(), 32);
        let long = "äbcdefghij".repeat(30);
        for len in (0..=253).filter(|len| long.is_char_boundary(*len)) {
            let text = Text::from(&long[..len]);
            assert_eq!(text.as_str(), &long[..len]);
            assert_eq!(matches!(text, Text::InPlace { .. }), len <= IN_PLACE, "{len}");
            assert!(text == text.clone());
            assert!(text < Text::from(&*(long[..len].to_owned() + "a")), "{len}");
        }
    }
}
