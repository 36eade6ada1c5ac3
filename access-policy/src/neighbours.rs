//! Which destinations lie in one another's way, and addresses that fall to each.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::{
    destination::Destination,
    engine::Engine,
    region::{Address, TooMany, addresses},
};

/// All destinations of some engines, so that those that meet are found quickly.
#[derive(Debug)]
pub(crate) struct Neighbours<'a> {
    by_host: HashMap<&'a str, Vec<&'a Destination>, FixedState>,
    with_wildcard_hosts: Vec<&'a Destination>,
    all: Vec<&'a Destination>,
}

impl<'a> Neighbours<'a> {
    pub(crate) fn of<const N: usize>(engines: [&'a Engine; N]) -> Self {
        let mut neighbours =
            Self { by_host: HashMap::default(), with_wildcard_hosts: Vec::new(), all: Vec::new() };
        for engine in engines {
            let applications = engine.policies().applications.iter();
            for application in applications.filter(|app| app.kind.protects_hosts()) {
                for destination in &application.destinations {
                    let host = destination.host();
                    if host.has_wildcard() {
                        neighbours.with_wildcard_hosts.push(destination);
                    } else {
                        neighbours.by_host.entry(host.as_str()).or_default().push(destination);
                    }
                    neighbours.all.push(destination);
                }
            }
        }
        neighbours
    }

    /// A host and path that fall to an application, if there are any.
    pub(crate) fn address_of(
        &self,
        engine: &Engine,
        application: usize,
    ) -> Result<Option<Address>, TooMany> {
        let Some(app) = engine.policies().applications.get(application) else { return Ok(None) };
        if !app.kind.protects_hosts() {
            return Ok(None);
        }
        let is_its = |address: &Address| engine.application_at(address) == Some(application);
        let quick =
            app.destinations.iter().flat_map(|pattern| FILLS.map(|fill| sample(pattern, fill)));
        if let Some(found) = quick.into_iter().find(is_its) {
            return Ok(Some(found));
        }
        let mut is_unknown = None;
        for pattern in &app.destinations {
            match self.addresses(pattern) {
                Ok(addresses) => {
                    if let Some(found) = addresses.into_iter().find(is_its) {
                        return Ok(Some(found));
                    }
                }
                Err(too_many) => is_unknown = Some(too_many),
            }
        }
        is_unknown.map_or(Ok(None), Err)
    }

    /// Each pattern, with an address for each set of other patterns that meet in it.
    pub(crate) fn patterns(
        &self,
    ) -> impl Iterator<Item = (&'a Destination, Result<Vec<Address>, TooMany>)> + '_ {
        self.all.iter().map(|pattern| (*pattern, self.addresses(pattern)))
    }

    fn addresses(&self, pattern: &Destination) -> Result<Vec<Address>, TooMany> {
        let others = self.meeting(pattern);
        if others.is_empty() && !pattern.as_str().contains('*') {
            return Ok(vec![sample(pattern, "")]);
        }
        if others.len() > MAX_MEETING {
            return Err(TooMany);
        }
        addresses(pattern, &others)
    }

    /// Other patterns that some request to this one belongs to.
    fn meeting(&self, pattern: &Destination) -> Vec<&'a Destination> {
        let host = pattern.host();
        let mut others: Vec<&'a Destination> = if host.has_wildcard() {
            self.all.iter().copied().filter(|other| other.overlaps(pattern)).collect()
        } else {
            let same_host = self.by_host.get(host.as_str()).into_iter().flatten();
            let covering = self.with_wildcard_hosts.iter();
            same_host.chain(covering).copied().filter(|other| other.overlaps(pattern)).collect()
        };
        others.sort_unstable_by_key(|other| other.as_str());
        others.dedup();
        others.retain(|other| *other != pattern);
        others
    }
}

/// A host and path that a pattern covers, with a word in place of each wildcard.
pub(crate) fn sample(pattern: &Destination, fill: &str) -> Address {
    let text = pattern.as_str();
    let (host, path) = text.split_at(text.find('/').unwrap_or(text.len()));
    let path = if path.is_empty() { "/".to_owned() } else { path.replace('*', fill) };
    (host.replace('*', fill), path)
}

/// Words for wildcards. More than one, so that not all fall to a more specific pattern.
const FILLS: [&str; 3] = ["any", "q7x", "5-z"];

/// More patterns than these in one place are not told apart.
const MAX_MEETING: usize = 200;
