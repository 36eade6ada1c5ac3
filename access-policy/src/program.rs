//! Policies in the form in which they are evaluated: flat arrays of small numbers.
//!
//! Texts became symbols, long lists became sets, networks became sorted blocks, groups are shared.
//! A decision follows indices and allocates nothing.

use std::{cell::OnceCell, net::IpAddr};

use crate::{
    answer::{answer, country_is},
    country::CountryCode,
    fact::Fact,
    network::Network,
    policy::Action,
    request::Subject,
    rule::Rule,
    table::{Set, Symbols},
    truth::Truth,
};

/// All policies of all applications.
#[derive(Debug, Clone, Default)]
pub(crate) struct Program {
    /// The policies of each application, in the order in which they are asked.
    pub(crate) applications: Box<[Span]>,
    pub(crate) policies: Box<[PolicyCode]>,
    pub(crate) groups: Box<[Clauses]>,
    pub(crate) tests: Box<[Test]>,
    pub(crate) symbols: Symbols,
    pub(crate) sets: Box<[Set]>,
    pub(crate) members: Box<[Members]>,
    pub(crate) networks: Box<[Network]>,
    pub(crate) blocks: Box<[Blocks]>,
    pub(crate) rules: Box<[Rule]>,
}

/// A run of neighbours in an array.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl Span {
    pub(crate) fn of<T>(self, array: &[T]) -> &[T] {
        let start = self.start as usize;
        array.get(start..start + self.len as usize).unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct PolicyCode {
    pub(crate) clauses: Clauses,
    pub(crate) action: Action,
    /// The position in the application's list.
    pub(crate) position: u32,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clauses {
    pub(crate) include: Span,
    pub(crate) require: Span,
    pub(crate) exclude: Span,
}

/// One question. Numbers are symbols or positions in the arrays of the [`Program`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Test {
    Everyone,
    Email(u32),
    Emails(u32),
    EmailDomain(u32),
    EmailDomains(u32),
    Network(u32),
    Blocks(u32),
    Country(CountryCode),
    Members(u32),
    Group(u32),
    /// Any other rule, as it was written.
    Rule(u32),
    /// A selector that nobody can answer.
    Unsupported,
}

/// Groups at identity providers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Members {
    /// The providers that occur.
    pub(crate) providers: Set,
    /// Provider, group and kind in one number.
    pub(crate) groups: Set,
}

impl Members {
    /// Okta's names are compared as they stand, other groups without regard to letter case.
    pub(crate) fn key(provider: u32, group: u32, is_exact: bool) -> u64 {
        u64::from(provider) << 33 | u64::from(group) << 1 | u64::from(is_exact)
    }
}

/// Addresses in sorted, disjoint blocks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Blocks {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Blocks {
    pub(crate) fn new(networks: &[Network]) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match (network.first(), network.last()) {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((first.to_bits(), last.to_bits())),
                (IpAddr::V6(first), IpAddr::V6(last)) => v6.push((first.to_bits(), last.to_bits())),
                _ => {}
            }
        }
        Self { v4: merge(v4), v6: merge(v6) }
    }

    fn contain(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => covers(&self.v4, address.to_bits()),
            IpAddr::V6(address) => covers(&self.v6, address.to_bits()),
        }
    }

    /// How many blocks a search looks at, at most.
    pub(crate) fn longest_search(&self) -> u32 {
        self.v4.len().max(self.v6.len()).checked_ilog2().unwrap_or(0) + 2
    }
}

/// Sorts blocks, and drops those inside others: CIDR blocks nest or are disjoint.
fn merge<T: Ord + Copy>(mut blocks: Vec<(T, T)>) -> Box<[(T, T)]> {
    blocks.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    let mut merged: Vec<(T, T)> = Vec::with_capacity(blocks.len());
    for block in blocks {
        if merged.last().is_none_or(|last| last.1 < block.0) {
            merged.push(block);
        }
    }
    merged.into()
}

fn covers<T: Ord + Copy>(blocks: &[(T, T)], address: T) -> bool {
    let after = blocks.partition_point(|block| block.0 <= address);
    after.checked_sub(1).and_then(|at| blocks.get(at)).is_some_and(|block| address <= block.1)
}

/// The evaluation of policies for one subject.
#[derive(Debug)]
pub(crate) struct Run<'r> {
    program: &'r Program,
    subject: Subject<'r>,
    email: OnceCell<Option<u32>>,
    email_domain: OnceCell<Option<u32>>,
}

impl<'r> Run<'r> {
    pub(crate) fn new(program: &'r Program, subject: Subject<'r>) -> Self {
        Self { program, subject, email: OnceCell::new(), email_domain: OnceCell::new() }
    }

    /// Whether a policy or group matches: any include, all requires, no exclude.
    pub(crate) fn matches(&self, clauses: &Clauses) -> Truth {
        let included = self.any(clauses.include);
        if included.is_false() {
            return included;
        }
        let required = included.and(self.all(clauses.require));
        if required.is_false() {
            return required;
        }
        required.and(self.any(clauses.exclude).not())
    }

    fn any(&self, span: Span) -> Truth {
        Truth::any(span.of(&self.program.tests).iter().map(|test| self.test(*test)))
    }

    fn all(&self, span: Span) -> Truth {
        Truth::all(span.of(&self.program.tests).iter().map(|test| self.test(*test)))
    }

    fn test(&self, test: Test) -> Truth {
        match test {
            Test::Everyone => Truth::TRUE,
            Test::Email(symbol) => self.by_email(|email| email == symbol),
            Test::Emails(set) => {
                self.by_email(|email| self.set(set).is_some_and(|set| set.contains(email.into())))
            }
            Test::EmailDomain(symbol) => self.by_email_domain(|domain| domain == symbol),
            Test::EmailDomains(set) => self.by_email_domain(|domain| {
                self.set(set).is_some_and(|set| set.contains(domain.into()))
            }),
            Test::Network(at) => self.by_address(|address| {
                let network = self.program.networks.get(at as usize);
                network.is_some_and(|network| network.contains(address))
            }),
            Test::Blocks(at) => self.by_address(|address| {
                let blocks = self.program.blocks.get(at as usize);
                blocks.is_some_and(|blocks| blocks.contain(address))
            }),
            Test::Country(country) => country_is(self.subject.facts.country, country).truth,
            Test::Members(at) => self.members(at),
            Test::Group(at) => match self.program.groups.get(at as usize) {
                Some(clauses) => self.matches(clauses),
                None => Truth::MISSING,
            },
            Test::Rule(at) => match self.program.rules.get(at as usize) {
                Some(rule) => answer(rule, self.subject).truth,
                None => Truth::MISSING,
            },
            Test::Unsupported => Truth::MISSING,
        }
    }

    fn by_email(&self, holds: impl Fn(u32) -> bool) -> Truth {
        let Some(identity) = self.subject.identity else {
            return Truth::ASKABLE;
        };
        let find = || self.program.symbols.find(identity.email().as_str());
        self.email.get_or_init(find).is_some_and(holds).into()
    }

    fn by_email_domain(&self, holds: impl Fn(u32) -> bool) -> Truth {
        let Some(identity) = self.subject.identity else {
            return Truth::ASKABLE;
        };
        let find = || self.program.symbols.find(identity.email().domain());
        self.email_domain.get_or_init(find).is_some_and(holds).into()
    }

    fn by_address(&self, holds: impl Fn(IpAddr) -> bool) -> Truth {
        match self.subject.facts.client_ip {
            Fact::Known(address) => holds(address).into(),
            Fact::Absent => Truth::FALSE,
            Fact::Unavailable => Truth::MISSING,
        }
    }

    fn members(&self, at: u32) -> Truth {
        let Some(identity) = self.subject.identity else {
            return Truth::ASKABLE;
        };
        let Some(members) = self.program.members.get(at as usize) else {
            return Truth::MISSING;
        };
        let provider = match identity.known_provider() {
            Fact::Known(provider) => self.program.symbols.find(provider),
            Fact::Absent => None,
            Fact::Unavailable => return Truth::MISSING,
        };
        let Some(provider) = provider.filter(|p| members.providers.contains((*p).into())) else {
            return Truth::FALSE;
        };
        let groups = match identity.known_groups() {
            Fact::Known(groups) => groups,
            Fact::Absent => return Truth::FALSE,
            Fact::Unavailable => return Truth::MISSING,
        };
        let has = |text: &str, is_exact| {
            let symbol = self.program.symbols.find(text);
            symbol.is_some_and(|group| {
                members.groups.contains(Members::key(provider, group, is_exact))
            })
        };
        groups.iter().any(|group| has(&group.folded, false) || has(&group.text, true)).into()
    }

    fn set(&self, at: u32) -> Option<&Set> {
        self.program.sets.get(at as usize)
    }
}
