//! The countries of network addresses, from a database (`.mmdb`).

use std::{fmt, net::IpAddr, path::Path};

use access_policy::{CountryCode, Fact};
use maxminddb::{PathElement, Reader};
use tracing::warn;

/// A database of countries, or none.
#[derive(Default)]
pub struct Countries(Option<Reader<Vec<u8>>>);

impl Countries {
    /// Reads a database into memory. One that can't be read counts as none, with a line in the log:
    /// then no country is known, and rules about countries admit nobody.
    pub fn open(path: &Path) -> Self {
        match Reader::open_readfile(path) {
            Ok(reader) => Self(Some(reader)),
            Err(error) => {
                let database = path.display().to_string();
                warn!(
                    database,
                    %error,
                    "`country_database` can't be read: no country is known, and rules about \
                     countries admit nobody until the file is in order and the edge reads it again"
                );
                Self(None)
            }
        }
    }

    /// Whether there is a database.
    pub fn are_known(&self) -> bool {
        self.0.is_some()
    }

    /// The country of an address. What the database does not have is not known.
    pub fn find(&self, address: IpAddr) -> Fact<CountryCode> {
        let Some(reader) = &self.0 else { return Fact::Unavailable };
        let Ok(found) = reader.lookup(address.to_canonical()) else { return Fact::Unavailable };
        let code = PLACES.iter().find_map(|place| found.decode_path::<&str>(place).ok().flatten());
        code.and_then(|code| CountryCode::parse(code).ok()).map_or(Fact::Unavailable, Fact::Known)
    }
}

impl fmt::Debug for Countries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.0.as_ref().map(|reader| &*reader.metadata().database_type);
        f.debug_tuple("Countries").field(&kind).finish()
    }
}

/// Where databases keep the two letters: the usual place, then others.
const PLACES: [&[PathElement<'static>]; 3] = [
    &[PathElement::Key("country"), PathElement::Key("iso_code")],
    &[PathElement::Key("country_code")],
    &[PathElement::Key("country")],
];
