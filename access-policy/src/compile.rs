//! Checks a configuration, and turns it into a [`Program`].

use std::{collections::HashMap, mem};

use crate::{
    application::Application,
    catalog::Model,
    error::{Error, Kind},
    limits,
    list::ListItems,
    network::Network,
    policy::{Action, Policy},
    program::{Blocks, Clauses, Members, PolicyCode, Program, Span, Test},
    rule::Rule,
    table::{Set, SymbolsBuilder},
};

/// A program, and how many steps a decision takes at worst in each application.
pub(crate) struct Compiled {
    pub(crate) program: Program,
    pub(crate) worst_case: u64,
}

pub(crate) fn compile(model: Model<'_>, faults: &mut Vec<Error>) -> Compiled {
    let mut compiler = Compiler::new(model, faults);
    let groups = model.policies.groups.len();
    for group in 0..groups {
        compiler.group(group, 0);
    }
    let mut worst_case = 0;
    for (at, policy) in model.policies.policies.iter().enumerate() {
        compiler.check_policy(policy, &format!("/policies/{at}"));
    }
    for (at, application) in model.policies.applications.iter().enumerate() {
        let cost = compiler.application(application, &format!("/applications/{at}"));
        worst_case = worst_case.max(cost);
    }
    Compiled { program: compiler.finish(), worst_case }
}

struct Compiler<'a> {
    model: Model<'a>,
    faults: &'a mut Vec<Error>,
    symbols: SymbolsBuilder,
    groups: Vec<GroupState>,
    applications: Vec<Span>,
    policies: Vec<PolicyCode>,
    tests: Vec<Test>,
    sets: Vec<Set>,
    members: Vec<Members>,
    networks: Vec<Network>,
    known_networks: HashMap<Network, u32, foldhash::fast::FixedState>,
    blocks: Vec<Blocks>,
    rules: Vec<Rule>,
    /// Lists that became sets or blocks already.
    lists: HashMap<(bool, Box<str>), (Test, u64)>,
}

#[derive(Debug, Clone, Copy, Default)]
enum GroupState {
    #[default]
    Untouched,
    InProgress,
    Done(Clauses, u64),
}

/// Whether one rule of a clause must match, or each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clause {
    Any,
    All,
}

impl<'a> Compiler<'a> {
    fn new(model: Model<'a>, faults: &'a mut Vec<Error>) -> Self {
        Self {
            model,
            faults,
            symbols: SymbolsBuilder::default(),
            groups: vec![GroupState::Untouched; model.policies.groups.len()],
            applications: Vec::with_capacity(model.policies.applications.len()),
            policies: Vec::new(),
            tests: Vec::new(),
            sets: Vec::new(),
            members: Vec::new(),
            networks: Vec::new(),
            known_networks: HashMap::default(),
            blocks: Vec::new(),
            rules: Vec::new(),
            lists: HashMap::new(),
        }
    }

    fn finish(self) -> Program {
        let groups = self.groups.into_iter().map(|state| match state {
            GroupState::Done(clauses, _) => clauses,
            GroupState::Untouched | GroupState::InProgress => Clauses::default(),
        });
        Program {
            applications: self.applications.into(),
            policies: self.policies.into(),
            groups: groups.collect(),
            tests: self.tests.into(),
            symbols: self.symbols.finish(),
            sets: self.sets.into(),
            members: self.members.into(),
            networks: self.networks.into(),
            blocks: self.blocks.into(),
            rules: self.rules.into(),
        }
    }

    fn application(&mut self, application: &Application, place: &str) -> u64 {
        if application.destinations.is_empty() && application.kind.protects_hosts() {
            self.fault(Kind::MissingField("domain"), place);
        }
        for (at, entry) in application.policies.iter().enumerate() {
            let place = format!("{place}/policies/{at}");
            match (self.model.policy(entry), entry) {
                (None, crate::application::PolicyEntry::Link(id)) => {
                    let id = limits::excerpt(id);
                    self.fault(Kind::UnresolvedReference { what: "policy", id }, &place);
                }
                (Some(policy), crate::application::PolicyEntry::Inline(_)) => {
                    self.check_policy(policy, &place);
                }
                // Checked once, where it stands.
                _ => {}
            }
        }
        let start = self.policies.len();
        let mut cost = 0_u64;
        let ordered: Vec<_> = self.model.in_order(application).collect();
        for (position, policy) in ordered {
            let place = format!("{place}/policies/{position}");
            let rules = (&*policy.include, &*policy.require, &*policy.exclude);
            let (clauses, steps) = self.clauses(rules, &place, 0);
            cost = cost.saturating_add(steps).saturating_add(1);
            let position = count(position);
            self.policies.push(PolicyCode { clauses, action: policy.decision, position });
        }
        let len = count(self.policies.len() - start);
        self.applications.push(Span { start: count(start), len });
        // A refusal is judged a second time, as if nobody had logged in.
        let cost = cost.saturating_mul(2);
        if cost > limits::MAX_DECISION_STEPS {
            let problem = "a decision could take more than 1,000,000 steps; share fewer groups";
            self.fault(Kind::TooCostly(problem), place);
        }
        cost
    }

    fn check_policy(&mut self, policy: &Policy, place: &str) {
        if policy.decision != Action::Bypass {
            return;
        }
        let clauses = [
            ("include", &policy.include),
            ("require", &policy.require),
            ("exclude", &policy.exclude),
        ];
        for (clause, rules) in clauses {
            for (at, rule) in rules.iter().enumerate() {
                if self.is_sound(rule) && self.model.needs_identity(rule) {
                    let place = format!("{place}/{clause}/{at}");
                    self.fault(Kind::IdentitySelectorInBypass(rule.selector().to_owned()), &place);
                }
            }
        }
    }

    /// Whether references of a rule can be followed without end.
    fn is_sound(&self, rule: &Rule) -> bool {
        let Rule::Group(id) = rule else { return true };
        let position = self.model.catalog.group_position(id);
        let state = position.and_then(|position| self.groups.get(position));
        matches!(state, Some(GroupState::Done(_, cost)) if *cost < limits::MAX_DECISION_STEPS)
    }

    /// Compiles a group, those inside it first; gives its cost.
    fn group(&mut self, at: usize, depth: usize) -> u64 {
        match self.groups.get(at) {
            Some(GroupState::Done(_, cost)) => return *cost,
            Some(GroupState::Untouched) => {}
            Some(GroupState::InProgress) | None => {
                let name = self.model.policies.groups.get(at).map(|group| group.name.as_str());
                let name = limits::excerpt(name.unwrap_or_default());
                self.fault(Kind::GroupCycle(name), &format!("/groups/{at}"));
                return UNSOUND;
            }
        }
        let Some(group) = self.model.policies.groups.get(at) else { return UNSOUND };
        let place = format!("/groups/{at}");
        if depth > limits::MAX_GROUP_DEPTH {
            self.fault(Kind::TooCostly("groups are nested more than 16 deep"), &place);
            return UNSOUND;
        }
        self.set_group(at, GroupState::InProgress);
        let rules = (&*group.include, &*group.require, &*group.exclude);
        let (clauses, cost) = self.clauses(rules, &place, depth + 1);
        self.set_group(at, GroupState::Done(clauses, cost));
        cost
    }

    fn set_group(&mut self, at: usize, state: GroupState) {
        if let Some(slot) = self.groups.get_mut(at) {
            *slot = state;
        }
    }

    fn clauses(
        &mut self,
        (include, require, exclude): (&[Rule], &[Rule], &[Rule]),
        place: &str,
        depth: usize,
    ) -> (Clauses, u64) {
        let (include, a) = self.clause(include, Clause::Any, &format!("{place}/include"), depth);
        let (require, b) = self.clause(require, Clause::All, &format!("{place}/require"), depth);
        let (exclude, c) = self.clause(exclude, Clause::Any, &format!("{place}/exclude"), depth);
        (Clauses { include, require, exclude }, a.saturating_add(b).saturating_add(c))
    }

    /// Compiles the rules of a clause. Where one of them is enough, rules of one kind are gathered.
    fn clause(&mut self, rules: &[Rule], clause: Clause, place: &str, depth: usize) -> (Span, u64) {
        let mut gathered = Gathered::default();
        let mut tests = Vec::new();
        let mut later = Vec::new();
        for (at, rule) in rules.iter().enumerate() {
            let gather = clause == Clause::Any;
            match rule {
                Rule::Everyone => tests.push((Test::Everyone, 1)),
                Rule::Email(email) if gather => {
                    gathered.emails.push(self.symbols.number(email.as_str()));
                }
                Rule::Email(email) => {
                    tests.push((Test::Email(self.symbols.number(email.as_str())), 1));
                }
                Rule::EmailDomain(domain) if gather => {
                    gathered.domains.push(self.symbols.number(domain.as_str()));
                }
                Rule::EmailDomain(domain) => {
                    tests.push((Test::EmailDomain(self.symbols.number(domain.as_str())), 1));
                }
                Rule::Ip(network) if gather => gathered.networks.push(*network),
                Rule::Ip(network) => tests.push((self.network(*network), 1)),
                Rule::Geo(country) => tests.push((Test::Country(*country), 1)),
                Rule::AzureAd { .. } | Rule::Gsuite { .. } | Rule::Okta { .. } if gather => {
                    gathered.members.push(rule);
                }
                Rule::Unsupported(_) => later.push((Test::Unsupported, 1)),
                Rule::EmailList(id) | Rule::IpList(id) => {
                    later.extend(self.list(rule, id, &format!("{place}/{at}")));
                }
                Rule::Group(id) => {
                    let test = self.reference(id, &format!("{place}/{at}"), depth);
                    later.extend(test);
                }
                rule => later.push(self.rule(rule)),
            }
        }
        self.emit(gathered, &mut tests);
        tests.append(&mut later);
        let start = count(self.tests.len());
        self.tests.extend(tests.iter().map(|(test, _)| *test));
        let cost = tests.iter().fold(0_u64, |sum, (_, cost)| sum.saturating_add(*cost));
        (Span { start, len: count(tests.len()) }, cost)
    }

    fn emit(&mut self, mut gathered: Gathered<'_>, tests: &mut Vec<(Test, u64)>) {
        for (symbols, one, many) in [
            (mem::take(&mut gathered.emails), Test::Email as fn(u32) -> Test, Test::Emails as _),
            (
                mem::take(&mut gathered.domains),
                Test::EmailDomain,
                Test::EmailDomains as fn(u32) -> Test,
            ),
        ] {
            if symbols.len() < ENOUGH_FOR_A_SET {
                tests.extend(symbols.into_iter().map(|symbol| (one(symbol), 1)));
            } else {
                let (at, cost) = self.set(symbols.into_iter().map(u64::from).collect());
                tests.push((many(at), cost));
            }
        }
        if gathered.networks.len() < ENOUGH_FOR_A_SET {
            for network in gathered.networks {
                let test = self.network(network);
                tests.push((test, 1));
            }
        } else {
            tests.push(self.blocks(&gathered.networks));
        }
        if gathered.members.len() < ENOUGH_FOR_A_SET {
            for rule in gathered.members {
                let test = self.rule(rule);
                tests.push(test);
            }
        } else {
            tests.push(self.members(&gathered.members));
        }
    }

    fn set(&mut self, values: Vec<u64>) -> (u32, u64) {
        let set = Set::new(values);
        let cost = set.longest_search().into();
        self.sets.push(set);
        (count(self.sets.len() - 1), cost)
    }

    fn network(&mut self, network: Network) -> Test {
        let next = count(self.networks.len());
        let at = *self.known_networks.entry(network).or_insert(next);
        if at == next {
            self.networks.push(network);
        }
        Test::Network(at)
    }

    fn blocks(&mut self, networks: &[Network]) -> (Test, u64) {
        let blocks = Blocks::new(networks);
        let cost = blocks.longest_search().into();
        self.blocks.push(blocks);
        (Test::Blocks(count(self.blocks.len() - 1)), cost)
    }

    fn members(&mut self, rules: &[&Rule]) -> (Test, u64) {
        let (mut providers, mut groups) = (Vec::new(), Vec::new());
        for rule in rules {
            let (provider, group, is_exact) = match rule {
                Rule::AzureAd { id, provider } => (provider, &**id, false),
                Rule::Gsuite { email, provider } => (provider, email.as_str(), false),
                Rule::Okta { name, provider } => (provider, &**name, true),
                // INVARIANT: only these are gathered.
                _ => continue,
            };
            let provider = self.symbols.number(provider);
            providers.push(provider.into());
            groups.push(Members::key(provider, self.symbols.number(group), is_exact));
        }
        self.members.push(Members { providers: Set::new(providers), groups: Set::new(groups) });
        let cost = limits::MAX_IDENTITY_GROUPS.min(GROUPS_COUNTED) as u64 * 4;
        (Test::Members(count(self.members.len() - 1)), cost)
    }

    fn rule(&mut self, rule: &Rule) -> (Test, u64) {
        self.rules.push(rule.clone());
        (Test::Rule(count(self.rules.len() - 1)), GROUPS_COUNTED as u64)
    }

    /// A list becomes a set once, however many rules name it.
    fn list(&mut self, rule: &Rule, id: &str, place: &str) -> Option<(Test, u64)> {
        let key = (matches!(rule, Rule::IpList(_)), id.into());
        if let Some(test) = self.lists.get(&key) {
            return Some(*test);
        }
        let items = self.model.list(id).map(|list| &list.items);
        let test = match (rule, items) {
            (Rule::EmailList(_), Some(ListItems::Emails(items))) => {
                let emails = items.iter().map(|email| self.symbols.number(email.as_str()).into());
                let emails = emails.collect();
                let (at, cost) = self.set(emails);
                (Test::Emails(at), cost)
            }
            (Rule::IpList(_), Some(ListItems::Networks(items))) => self.blocks(items),
            (Rule::EmailList(_), _) => {
                let kind =
                    Kind::UnresolvedReference { what: "e-mail list", id: limits::excerpt(id) };
                self.fault(kind, place);
                return None;
            }
            _ => {
                let kind = Kind::UnresolvedReference { what: "IP list", id: limits::excerpt(id) };
                self.fault(kind, place);
                return None;
            }
        };
        self.lists.insert(key, test);
        Some(test)
    }

    fn reference(&mut self, id: &str, place: &str, depth: usize) -> Option<(Test, u64)> {
        let Some(at) = self.model.catalog.group_position(id) else {
            let id = limits::excerpt(id);
            self.fault(Kind::UnresolvedReference { what: "group", id }, place);
            return None;
        };
        let cost = self.group(at, depth);
        Some((Test::Group(count(at)), cost.saturating_add(1)))
    }

    fn fault(&mut self, kind: Kind, place: &str) {
        if self.faults.len() < limits::MAX_PROBLEMS {
            self.faults.push(Error::from(kind).at(place));
        }
    }
}

/// Rules of a clause of which one is enough, by kind.
#[derive(Default)]
struct Gathered<'a> {
    emails: Vec<u32>,
    domains: Vec<u32>,
    networks: Vec<Network>,
    members: Vec<&'a Rule>,
}

/// Numbers in programs have 32 bits; documents are too small to pass that.
fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// Below it, looking at each is as fast.
const ENOUGH_FOR_A_SET: usize = 4;

/// Groups of a visitor that the cost bound counts with; few have more.
const GROUPS_COUNTED: usize = 16;

/// The cost of a group that is part of a fault.
const UNSOUND: u64 = u64::MAX / 4;
