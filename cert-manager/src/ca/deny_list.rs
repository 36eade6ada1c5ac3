//! Certificates that are refused before they end.

use std::{
    collections::HashMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;

use crate::{
    certificate::Serial,
    error::{Error, Kind},
};

/// Serial numbers of certificates that are refused. Cheap to clone; all clones are one list.
///
/// Looking takes no lock, and does not depend on how long the list is. Leaves live for a day, so the list stays short:
/// [`forget`](Self::forget) takes away what has ended by itself. Changes copy the list.
#[derive(Clone, Default)]
pub struct DenyList(Arc<ArcSwap<HashMap<Serial, SystemTime>>>);

impl DenyList {
    /// Refuses nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// Refuses a certificate from the next handshake on. `not_after` is when it ends by itself.
    pub fn deny(&self, serial: &Serial, not_after: SystemTime) {
        self.0.rcu(|list| {
            let mut list = HashMap::clone(list);
            list.insert(serial.clone(), not_after);
            list
        });
    }

    /// Whether it is refused.
    pub fn is_denied(&self, serial: &Serial) -> bool {
        self.0.load().contains_key(serial)
    }

    /// Takes away what has ended by itself; how many.
    pub fn forget(&self, now: SystemTime) -> usize {
        let mut gone = 0;
        self.0.rcu(|list| {
            let mut list = HashMap::clone(list);
            let before = list.len();
            list.retain(|_, not_after| now <= *not_after + Duration::from_secs(1));
            gone = before - list.len();
            list
        });
        gone
    }

    /// How many are refused.
    pub fn len(&self) -> usize {
        self.0.load().len()
    }

    /// Whether nobody is refused.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The list as text, to be kept: how many there are, then a line `SERIAL SECONDS` for each, in hexadecimal and since the
    /// Unix epoch, and `end`, without which a text that was cut would let in whom it no longer names.
    pub fn save(&self) -> String {
        let list = self.0.load();
        let mut lines: Vec<String> = list
            .iter()
            .map(|(serial, not_after)| {
                let seconds = not_after.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
                format!("{serial} {seconds}\n")
            })
            .collect();
        lines.sort();
        format!("{}\n{}{END}\n", lines.len(), lines.concat())
    }

    /// Puts a saved list in the place of this one: what other nodes denied is refused here too.
    ///
    /// # Errors
    ///
    /// The text was not written by [`save`](Self::save). The list stays as it is.
    pub fn load(&self, text: &str) -> Result<(), Error> {
        let malformed = || Error::from(Kind::Request("the deny list is damaged"));
        let line = |line: &str| {
            let (serial, seconds) = line.split_once(' ')?;
            let serial = Serial::from_hex(serial)?;
            Some((serial, UNIX_EPOCH.checked_add(Duration::from_secs(seconds.parse().ok()?))?))
        };
        let whole = text.strip_suffix('\n').and_then(|text| text.strip_suffix(END));
        let (count, lines) = whole.and_then(|text| text.split_once('\n')).ok_or_else(malformed)?;
        let list = lines.lines().map(line).collect::<Option<HashMap<_, _>>>();
        let is_whole = |list: &HashMap<_, _>| Ok(list.len()) == count.parse();
        self.0.store(Arc::new(list.filter(is_whole).ok_or_else(malformed)?));
        Ok(())
    }
}

/// After the last line.
const END: &str = "end";

impl fmt::Debug for DenyList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DenyList").field("len", &self.len()).finish()
    }
}
