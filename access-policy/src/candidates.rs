//! Which values of a fact an analysis has to look at: one for each set of clauses that hold for it.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use foldhash::fast::FixedState;

use crate::{
    email::EmailAddress,
    list::ListItems,
    network::Network,
    risk::RiskLevels,
    rule::Rule,
    setting::{Setting, Token},
    truth::Truth,
};

/// Rules about one variable of which any must hold, each with what is on the list that it names.
pub(crate) type Atom<'a> = Vec<(&'a Rule, Option<&'a ListItems>)>;

type Texts<'a> = HashSet<&'a str, FixedState>;

/// An atom, ready to be asked about many values.
#[derive(Debug, Default)]
pub(crate) struct Settled<'a> {
    emails: Texts<'a>,
    domains: Texts<'a>,
    ranges: Vec<(Key, Key)>,
    /// Countries, providers, names, tokens.
    texts: Texts<'a>,
    /// Any certificate or token will do.
    any: bool,
    risks: Vec<RiskLevels>,
    /// A list that is not of the kind that its selector asks for.
    is_unknown: bool,
}

impl<'a> Settled<'a> {
    pub(crate) fn new(atom: &Atom<'a>) -> Self {
        let mut settled = Self::default();
        for (rule, items) in atom {
            match (rule, items) {
                (Rule::Email(email), _) => drop(settled.emails.insert(email.as_str())),
                (Rule::EmailDomain(domain), _) => drop(settled.domains.insert(domain.as_str())),
                (Rule::EmailList(_), Some(ListItems::Emails(items))) => {
                    settled.emails.extend(items.iter().map(EmailAddress::as_str));
                }
                (Rule::Ip(network), _) => settled.ranges.push(range(network)),
                (Rule::IpList(_), Some(ListItems::Networks(items))) => {
                    settled.ranges.extend(items.iter().map(range));
                }
                (Rule::EmailList(_) | Rule::IpList(_), _) => settled.is_unknown = true,
                (Rule::Geo(country), _) => drop(settled.texts.insert(country.as_str())),
                (
                    Rule::LoginMethod(text) | Rule::CommonName(text) | Rule::ServiceToken(text),
                    _,
                ) => drop(settled.texts.insert(text)),
                (Rule::Certificate | Rule::AnyValidServiceToken, _) => settled.any = true,
                (Rule::UserRiskScore(levels), _) => settled.risks.push(*levels),
                _ => {}
            }
        }
        settled.ranges = merge(settled.ranges);
        settled
    }

    /// Whether the atom holds for a value.
    pub(crate) fn truth(&self, setting: &Setting) -> Truth {
        let holds = match setting {
            Setting::NotLoggedIn => return Truth::ASKABLE,
            Setting::Email(email) => {
                let domain = email.rsplit_once('@').map_or("", |(_, domain)| domain);
                self.emails.contains(&**email) || self.domains.contains(domain)
            }
            Setting::Ip(address) => {
                let key = key(*address);
                let after = self.ranges.partition_point(|(first, _)| *first <= key);
                let before = after.checked_sub(1).and_then(|at| self.ranges.get(at));
                before.is_some_and(|(_, last)| key <= *last)
            }
            // `XX` says that the country could not be found out.
            Setting::Country(country) if country == "XX" && !self.texts.contains("XX") => {
                return Truth::MISSING;
            }
            Setting::Certificate(Some(name)) => self.any || self.texts.contains(&**name),
            Setting::Token(Token::Valid(id)) => self.any || self.texts.contains(&**id),
            Setting::Country(text) | Setting::Provider(Some(text)) => self.texts.contains(&**text),
            Setting::Risk(level) => self.risks.iter().any(|levels| levels.contains(*level)),
            Setting::Certificate(None)
            | Setting::Token(Token::None | Token::Invalid)
            | Setting::Provider(None)
            | Setting::Preflight(_)
            | Setting::Holds(..) => false,
        };
        if self.is_unknown && !holds { Truth::MISSING } else { holds.into() }
    }
}

/// A stranger, of those whom rules name one for each set of atoms that hold for them, and nobody.
pub(crate) fn emails(atoms: &[Atom<'_>]) -> Vec<Setting> {
    let mut named = Vec::new();
    let mut domains = Vec::new();
    for (rule, items) in atoms.iter().flatten() {
        match (rule, items) {
            (Rule::Email(email), _) => named.push(email.as_str()),
            (Rule::EmailDomain(domain), _) => domains.push(domain.as_str()),
            (_, Some(ListItems::Emails(items))) => {
                named.extend(items.iter().map(EmailAddress::as_str));
            }
            _ => {}
        }
    }
    let known: Texts<'_> = named.iter().copied().collect();
    let unnamed = |domain: &str| {
        let mut local = "somebody-new".to_owned();
        while known.contains(&*format!("{local}@{domain}")) {
            local.push('x');
        }
        format!("{local}@{domain}")
    };
    let stranger = unnamed("elsewhere.invalid");
    let others = domains.into_iter().map(unnamed);
    let named = named.iter().map(|email| (*email).to_owned());
    let all = std::iter::once(stranger).chain(others).chain(named).map(Setting::Email);
    let mut kept = distinct(atoms, all);
    kept.push(Setting::NotLoggedIn);
    kept
}

/// The first address of each stretch between two borders of blocks; one outside all blocks first, if
/// there is one.
pub(crate) fn addresses(atoms: &[Atom<'_>]) -> Vec<Setting> {
    let mut candidates = vec![
        IpAddr::V4(Ipv4Addr::new(203, 0, 113, 254)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0xfffe)),
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        // Behind the addresses that count as IPv4.
        IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 1, 0, 0, 0)),
    ];
    let mut add = |network: &Network| {
        candidates.push(network.first());
        candidates.extend(next(network.last()));
    };
    for (rule, items) in atoms.iter().flatten() {
        match (rule, items) {
            (Rule::Ip(network), _) => add(network),
            (_, Some(ListItems::Networks(items))) => items.iter().for_each(&mut add),
            _ => {}
        }
    }
    // What counts as IPv4 is looked at as such.
    candidates.retain(|address| address.to_canonical() == *address);
    let mut kept = distinct(atoms, candidates.into_iter().map(Setting::Ip));
    let settled: Vec<Settled<'_>> = atoms.iter().map(Settled::new).collect();
    let is_outside = |setting: &Setting| settled.iter().all(|it| it.truth(setting).is_false());
    if let Some(outside) = kept.iter().position(is_outside) {
        kept.swap(0, outside);
    }
    kept
}

/// Keeps one of the values that no atom tells apart.
fn distinct(atoms: &[Atom<'_>], candidates: impl Iterator<Item = Setting>) -> Vec<Setting> {
    let settled: Vec<Settled<'_>> = atoms.iter().map(Settled::new).collect();
    let mut seen: HashSet<Vec<u8>, FixedState> = HashSet::default();
    candidates
        .filter(|setting| {
            seen.insert(settled.iter().map(|it| it.truth(setting).to_byte()).collect())
        })
        .collect()
}

/// Whether it is IPv6, and the bits: the order in which addresses are searched.
type Key = (bool, u128);

fn range(network: &Network) -> (Key, Key) {
    (key(network.first()), key(network.last()))
}

fn key(address: IpAddr) -> Key {
    match address {
        IpAddr::V4(v4) => (false, v4.to_bits().into()),
        IpAddr::V6(v6) => (true, v6.to_bits()),
    }
}

fn merge(mut ranges: Vec<(Key, Key)>) -> Vec<(Key, Key)> {
    ranges.sort_unstable();
    let mut merged: Vec<(Key, Key)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4.to_bits().checked_add(1).map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(v6) => v6.to_bits().checked_add(1).map(|bits| IpAddr::V6(bits.into())),
    }
}
