//! Puts rules together into the questions of a [`Program`].

use std::{collections::HashMap, net::IpAddr};

use foldhash::fast::FixedState;

use crate::{
    country::CountryCode,
    limits,
    network::Network,
    policy::Action,
    program::{
        ApplicationCode, Batch, Blocks, COLUMNS, EXCLUDE, INCLUDE, MAX_REQUIRED, Mask, Member,
        Members, NO_MASK, Program, Question, REQUIRE, Shape, Span, Test,
    },
    rule::Rule,
    table::{Table, Text, TextsBuilder, folded_hash_of, hash_of},
};

/// What a rule asks, so that equal rules are equal. Kinds stand together when sorted: first those that
/// can be answered before a login, then those about the visitor, then those that cost most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Atom {
    Everyone,
    Network(Network),
    NetworkList(u32),
    Country(CountryCode),
    ServiceToken(Text),
    Unsupported,
    Email(Text),
    EmailList(u32),
    EmailDomain(Text),
    Member { provider: Text, group: Text, is_exact: bool },
    Group(u32),
    Rule(u32),
}

/// How many steps something takes at worst, and how many more for each entry of the longest list
/// that comes with a request: groups, claims, results of checks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    steps: u64,
    per_entry: u64,
    /// What an explanation takes besides: it asks a group again wherever it is named.
    repeated: u64,
}

impl Cost {
    /// The cost of something that is part of a fault.
    pub(crate) const UNSOUND: Self = Self { steps: u64::MAX / 4, per_entry: 0, repeated: 0 };

    fn steps(steps: impl Into<u64>) -> Self {
        Self { steps: steps.into(), per_entry: 0, repeated: 0 }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            steps: self.steps.saturating_add(other.steps),
            per_entry: self.per_entry.saturating_add(other.per_entry),
            repeated: self.repeated.saturating_add(other.repeated),
        }
    }

    /// Of a decision and its explanation, with lists as long as visitors usually have.
    pub(crate) fn usual(self) -> u64 {
        let for_entries = self.per_entry.saturating_mul(USUAL_ENTRIES);
        self.steps.saturating_add(for_entries).saturating_add(self.repeated)
    }

    /// Of a decision, with the longest lists that count at all.
    pub(crate) fn worst_case(self) -> u64 {
        let entries = limits::MAX_IDENTITY_CLAIMS + limits::MAX_IDENTITY_CLAIM_BYTES;
        self.steps.saturating_add(self.per_entry.saturating_mul(entries as u64))
    }
}

/// The rules of a batch of policies.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// What is asked, in which column, for which policy.
    rules: Vec<(Atom, u8, u8)>,
    shape: Shape,
    positions: Vec<u32>,
}

impl Draft {
    pub(crate) fn is_full(&self) -> bool {
        self.positions.len() == crate::program::MAX_BATCH
    }

    /// Begins a policy, or a group, which has no action.
    pub(crate) fn begin(&mut self, action: Option<Action>, position: u32) {
        let bit = 1 << self.positions.len();
        match action {
            Some(Action::Bypass) => self.shape.bypass |= bit,
            Some(Action::NonIdentity) => self.shape.service |= bit,
            Some(Action::Allow) => self.shape.allow |= bit,
            Some(Action::Deny) => self.shape.deny |= bit,
            None => {}
        }
        self.positions.push(position);
    }

    pub(crate) fn include(&mut self, atom: Atom) {
        self.push(atom, INCLUDE);
    }

    pub(crate) fn exclude(&mut self, atom: Atom) {
        self.push(atom, EXCLUDE);
    }

    /// At most [`MAX_REQUIRED`] for each policy.
    pub(crate) fn require(&mut self, atoms: &[Atom]) {
        let bit = 1 << (self.positions.len() - 1);
        for (at, atom) in atoms.iter().enumerate().take(MAX_REQUIRED) {
            self.shape.required[at] |= bit;
            self.push(*atom, REQUIRE + at);
        }
    }

    fn push(&mut self, atom: Atom, column: usize) {
        let small = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        self.rules.push((atom, small(column), small(self.positions.len() - 1)));
    }
}

/// Gathers what a [`Program`] consists of.
#[derive(Debug, Default)]
pub(crate) struct BatchBuilder<'a> {
    pub(crate) texts: TextsBuilder<'a>,
    groups: Vec<(Batch, Cost)>,
    questions: Vec<Question>,
    masks: Vec<Mask>,
    known_masks: HashMap<Mask, u32, FixedState>,
    shapes: Vec<Shape>,
    known_shapes: HashMap<(Shape, Vec<u32>), u32, FixedState>,
    positions: Vec<u32>,
    tables: Vec<Table>,
    members: Vec<Members>,
    networks: Vec<Network>,
    known_networks: HashMap<Network, u32, FixedState>,
    blocks: Vec<Blocks>,
    rules: Vec<Rule>,
}

impl<'a> BatchBuilder<'a> {
    pub(crate) fn new(groups: usize) -> Self {
        Self { groups: vec![Default::default(); groups], ..Self::default() }
    }

    pub(crate) fn finish(
        self,
        applications: Vec<ApplicationCode>,
        more_batches: Vec<Batch>,
    ) -> Program {
        Program {
            texts: self.texts.finish(),
            applications: applications.into(),
            more_batches: more_batches.into(),
            groups: self.groups.into_iter().map(|(batch, _)| batch).collect(),
            questions: self.questions.into(),
            masks: self.masks.into(),
            shapes: self.shapes.into(),
            positions: self.positions.into(),
            tables: self.tables.into(),
            members: self.members.into(),
            networks: self.networks.into(),
            blocks: self.blocks.into(),
            rules: self.rules.into(),
        }
    }

    pub(crate) fn set_group(&mut self, at: usize, batch: Batch, cost: Cost) {
        if let Some(slot) = self.groups.get_mut(at) {
            *slot = (batch, cost);
        }
    }

    pub(crate) fn group_cost(&self, at: u32) -> Cost {
        self.groups.get(at as usize).map_or(Cost::UNSOUND, |(_, cost)| *cost)
    }

    /// A group that holds if all of these do.
    pub(crate) fn all_of(&mut self, atoms: &[Atom]) -> Atom {
        let mut draft = Draft::default();
        draft.begin(None, 0);
        draft.include(Atom::Everyone);
        draft.require(atoms);
        let made = self.batch(draft);
        self.groups.push(made);
        Atom::Group(count(self.groups.len() - 1))
    }

    pub(crate) fn rule(&mut self, rule: &Rule) -> Atom {
        self.rules.push(rule.clone());
        Atom::Rule(count(self.rules.len() - 1))
    }

    pub(crate) fn email_list(&mut self, emails: impl Iterator<Item = &'a str>) -> Atom {
        let mut listed: Vec<_> =
            emails.map(|email| (hash_of(email.as_bytes()), self.texts.text(email), 0)).collect();
        listed.sort_unstable();
        listed.dedup();
        Atom::EmailList(self.table(listed))
    }

    pub(crate) fn network_list(&mut self, networks: &[Network]) -> Atom {
        let runs = |is_v4| sweep(networks.iter().map(|network| (*network, [1; COLUMNS])), is_v4);
        let blocks = Blocks {
            v4: runs(true).into_iter().map(|(at, mask)| (low_word(at), value(mask))).collect(),
            v6: runs(false).into_iter().map(|(at, mask)| (at, value(mask))).collect(),
        };
        self.blocks.push(blocks);
        Atom::NetworkList(count(self.blocks.len() - 1))
    }

    /// Turns a draft into questions.
    pub(crate) fn batch(&mut self, draft: Draft) -> (Batch, Cost) {
        let Draft { mut rules, mut shape, positions } = draft;
        rules.sort_unstable();
        let mut cost = Cost::steps(1_u32);
        let mut merged: Vec<(Atom, Mask)> = Vec::with_capacity(rules.len());
        for (atom, column, policy) in rules {
            if merged.last().is_none_or(|(last, _)| *last != atom) {
                merged.push((atom, [0; COLUMNS]));
            } else if let Atom::Group(at) = atom {
                cost.repeated = cost.repeated.saturating_add(self.group_cost(at).usual());
            }
            if let Some((_, mask)) = merged.last_mut() {
                mask[usize::from(column)] |= 1 << policy;
            }
        }
        shape.policies = count(positions.len());
        let shape = self.shape(shape, positions);

        let start = self.questions.len();
        for kind in merged.chunk_by(|(a, _), (b, _)| is_one_kind(*a, *b)) {
            cost = cost.plus(self.kind(kind));
        }
        // A policy's own questions before those of later ones, and its include rules first.
        if let Some(questions) = self.questions.get_mut(start..) {
            let masks = &self.masks;
            questions.sort_by_key(|question| {
                let mask = masks.get(question.mask as usize);
                question.test.is_costly().then(|| mask.map(order))
            });
        }
        let questions = self.questions.get(start..).unwrap_or_default();
        let anonymous =
            questions.iter().take_while(|question| question.test.is_anonymous()).count();
        let questions = Span { start: count(start), len: count(questions.len()) };
        (Batch { questions, anonymous: count(anonymous), shape }, cost)
    }

    /// Asks all there is to ask of one kind.
    fn kind(&mut self, atoms: &[(Atom, Mask)]) -> Cost {
        let is_many = atoms.len() >= ENOUGH_FOR_A_TABLE;
        let gathered = match atoms.first() {
            Some((Atom::Email(_), _)) if is_many => {
                Some(Test::Emails(self.table_of_masks(atoms, hash_of)))
            }
            Some((Atom::EmailDomain(_), _)) if is_many => {
                Some(Test::EmailDomains(self.table_of_masks(atoms, hash_of)))
            }
            Some((Atom::ServiceToken(_), _)) if is_many => {
                Some(Test::ServiceTokens(self.table_of_masks(atoms, folded_hash_of)))
            }
            Some((Atom::Network(_), _)) if is_many => Some(Test::Blocks(self.blocks(atoms))),
            Some((Atom::Member { .. }, _)) => Some(Test::Members(self.members(atoms))),
            _ => None,
        };
        if let Some(test) = gathered {
            return self.ask(test, union(atoms));
        }
        let mut cost = Cost::default();
        for (atom, mask) in atoms {
            if let Some(test) = self.single(*atom) {
                cost = cost.plus(self.ask(test, *mask));
            }
        }
        cost
    }

    fn ask(&mut self, test: Test, mask: Mask) -> Cost {
        let mask = self.mask(mask);
        self.questions.push(Question { test, mask });
        self.cost(test)
    }

    fn single(&mut self, atom: Atom) -> Option<Test> {
        Some(match atom {
            Atom::Everyone => Test::Everyone,
            Atom::Email(text) => Test::Email(text),
            Atom::EmailList(at) => Test::EmailList(at),
            Atom::EmailDomain(text) => Test::EmailDomain(text),
            Atom::Network(network) => match network.first() {
                IpAddr::V4(first) => Test::V4 { prefix: network.prefix(), first: first.to_bits() },
                IpAddr::V6(_) => Test::Network(self.network(network)),
            },
            Atom::NetworkList(at) => Test::NetworkList(at),
            Atom::Country(country) => Test::Country(country),
            Atom::ServiceToken(text) => Test::ServiceToken(text),
            // These are always gathered.
            Atom::Member { .. } => return None,
            Atom::Unsupported => Test::Unsupported,
            Atom::Group(at) => Test::Group(at),
            Atom::Rule(at) => Test::Rule(at),
        })
    }

    fn cost(&self, test: Test) -> Cost {
        let search = |at: u32| self.tables.get(at as usize).map_or(0, Table::longest_search);
        let blocks = |at: u32| self.blocks.get(at as usize).map_or(0, Blocks::longest_search);
        let more = match test {
            Test::Emails(at)
            | Test::EmailList(at)
            | Test::EmailDomains(at)
            | Test::ServiceTokens(at) => Cost::steps(search(at)),
            Test::Blocks(at) | Test::NetworkList(at) => Cost::steps(blocks(at)),
            Test::Members(at) => self.members.get(at as usize).map_or(Cost::default(), |members| {
                let per_entry = u64::from(members.table.longest_search());
                Cost { steps: members.providers.len() as u64, per_entry, repeated: 0 }
            }),
            Test::Group(at) => self.group_cost(at),
            Test::Rule(_) => Cost { steps: 0, per_entry: 1, repeated: 0 },
            _ => Cost::default(),
        };
        Cost::steps(1_u32).plus(more)
    }

    fn network(&mut self, network: Network) -> u32 {
        let next = count(self.networks.len());
        let at = *self.known_networks.entry(network).or_insert(next);
        if at == next {
            self.networks.push(network);
        }
        at
    }

    fn table(&mut self, entries: Vec<(u64, Text, u32)>) -> u32 {
        self.tables.push(Table::new(entries.into_iter()));
        count(self.tables.len() - 1)
    }

    fn table_of_masks(&mut self, atoms: &[(Atom, Mask)], hash: fn(&[u8]) -> u64) -> u32 {
        let mut entries = Vec::with_capacity(atoms.len());
        for (atom, mask) in atoms {
            if let Atom::Email(text) | Atom::EmailDomain(text) | Atom::ServiceToken(text) = *atom {
                let mask = self.mask(*mask);
                entries.push((hash(self.texts.get(text)), text, mask));
            }
        }
        self.table(entries)
    }

    fn blocks(&mut self, atoms: &[(Atom, Mask)]) -> u32 {
        let networks = || {
            atoms.iter().filter_map(|(atom, mask)| match atom {
                Atom::Network(network) => Some((*network, *mask)),
                _ => None,
            })
        };
        let mut mask = |mask: Option<Mask>| mask.map_or(NO_MASK, |mask| self.mask(mask));
        let v4 = sweep(networks(), true).into_iter().map(|(at, m)| (low_word(at), mask(m)));
        let v4 = v4.collect();
        let v6 = sweep(networks(), false).into_iter().map(|(at, m)| (at, mask(m))).collect();
        self.blocks.push(Blocks { v4, v6 });
        count(self.blocks.len() - 1)
    }

    fn members(&mut self, atoms: &[(Atom, Mask)]) -> u32 {
        let mut providers: Vec<(Text, Mask)> = Vec::new();
        let (mut groups, mut entries) = (Vec::new(), Vec::new());
        for (atom, own) in atoms {
            let Atom::Member { provider, group, is_exact } = *atom else { continue };
            // Providers stand together, because they are what is sorted by first.
            if providers.last().is_none_or(|(last, _)| *last != provider) {
                providers.push((provider, [0; COLUMNS]));
            }
            if let Some((_, mask)) = providers.last_mut() {
                mask.iter_mut().zip(own).for_each(|(all, bits)| *all |= bits);
            }
            let hash = folded_hash_of(self.texts.get(group));
            entries.push((hash, group, count(groups.len())));
            groups.push(Member { provider, is_exact, mask: self.mask(*own) });
        }
        let providers = providers.into_iter().map(|(text, mask)| (text, self.mask(mask))).collect();
        let table = Table::new(entries.into_iter());
        self.members.push(Members { providers, table, groups: groups.into() });
        count(self.members.len() - 1)
    }

    fn mask(&mut self, mask: Mask) -> u32 {
        let next = count(self.masks.len());
        let at = *self.known_masks.entry(mask).or_insert(next);
        if at == next {
            self.masks.push(mask);
        }
        at
    }

    fn shape(&mut self, shape: Shape, positions: Vec<u32>) -> u32 {
        let key = (shape, positions);
        if let Some(&known) = self.known_shapes.get(&key) {
            return known;
        }
        let at = count(self.shapes.len());
        self.shapes.push(Shape { positions: count(self.positions.len()), ..shape });
        self.positions.extend(&key.1);
        self.known_shapes.insert(key, at);
        at
    }
}

/// Numbers in programs have 32 bits; documents are too small to pass that.
pub(crate) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn is_one_kind(a: Atom, b: Atom) -> bool {
    std::mem::discriminant(&a) == std::mem::discriminant(&b)
}

fn union(atoms: &[(Atom, Mask)]) -> Mask {
    let mut all = [0; COLUMNS];
    for (_, mask) in atoms {
        all.iter_mut().zip(mask).for_each(|(all, bits)| *all |= bits);
    }
    all
}

/// The first policy of a mask, and whether its include rules have no part in it.
fn order(mask: &Mask) -> (u32, bool) {
    let first = mask.iter().fold(0, |all, bits| all | bits).trailing_zeros();
    (first, mask[INCLUDE].checked_shr(first).unwrap_or(0) & 1 == 0)
}

/// Cuts the addresses of one family into runs with the same mask: CIDR blocks nest or are disjoint.
fn sweep(
    networks: impl Iterator<Item = (Network, Mask)>,
    is_v4: bool,
) -> Vec<(u128, Option<Mask>)> {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    };
    let mut blocks: Vec<(u128, u128, Mask)> = networks
        .filter(|(network, _)| network.first().is_ipv4() == is_v4)
        .map(|(network, mask)| (number(network.first()), number(network.last()), mask))
        .collect();
    // Wider blocks before those inside them.
    blocks.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
    let last_address = if is_v4 { u128::from(u32::MAX) } else { u128::MAX };
    let mut runs: Vec<(u128, Option<Mask>)> = Vec::new();
    let mut begin = |at: u128, mask: Option<Mask>| {
        if runs.last().is_some_and(|(start, _)| *start == at) {
            runs.pop();
        }
        if runs.last().is_none_or(|(_, last)| *last != mask) {
            runs.push((at, mask));
        }
    };
    let mut around: Vec<(u128, Mask)> = Vec::new();
    let close = |around: &mut Vec<(u128, Mask)>, begin: &mut dyn FnMut(u128, Option<Mask>)| {
        if let Some((last, _)) = around.pop()
            && last < last_address
        {
            begin(last + 1, around.last().map(|(_, mask)| *mask));
        }
    };
    for (first, last, mut mask) in blocks {
        while around.last().is_some_and(|(end, _)| *end < first) {
            close(&mut around, &mut begin);
        }
        if let Some((_, outer)) = around.last() {
            mask.iter_mut().zip(outer).for_each(|(bits, outer)| *bits |= outer);
        }
        begin(first, Some(mask));
        around.push((last, mask));
    }
    while !around.is_empty() {
        close(&mut around, &mut begin);
    }
    runs
}

fn value(mask: Option<Mask>) -> u32 {
    if mask.is_some() { 0 } else { NO_MASK }
}

#[expect(clippy::cast_possible_truncation, reason = "an address of IPv4")]
fn low_word(address: u128) -> u32 {
    address as u32
}

/// Below it, looking at each is as fast.
const ENOUGH_FOR_A_TABLE: usize = 4;

/// Entries of the longest list of most visitors: their groups.
const USUAL_ENTRIES: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_carry_what_all_blocks_around_them_say() {
        let mask = |bit: u64| [bit, 0, 0, 0];
        let blocks =
            [("10.0.0.0/8", 1), ("10.1.0.0/16", 2), ("10.255.255.255", 4), ("11.0.0.0/8", 1)];
        let blocks = blocks.map(|(text, bit)| (Network::parse(text).unwrap(), mask(bit)));
        let runs = sweep(blocks.into_iter(), true);
        let starts: Vec<_> = runs
            .iter()
            .map(|(at, mask)| {
                (std::net::Ipv4Addr::from_bits(low_word(*at)).to_string(), mask.map(|m| m[0]))
            })
            .collect();
        let expected = [
            ("10.0.0.0", Some(1)),
            ("10.1.0.0", Some(3)),
            ("10.2.0.0", Some(1)),
            ("10.255.255.255", Some(5)),
            ("11.0.0.0", Some(1)),
            ("12.0.0.0", None),
        ];
        assert_eq!(starts, expected.map(|(at, bits)| (at.to_owned(), bits)));
        let all = [(Network::parse("0.0.0.0/0").unwrap(), mask(1))];
        assert_eq!(sweep(all.into_iter(), true), [(0, Some(mask(1)))]);
        assert_eq!(sweep(all.into_iter(), false), []);
    }
}
