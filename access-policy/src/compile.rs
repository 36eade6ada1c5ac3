//! Checks a configuration, and turns it into a [`Program`].

use std::{collections::HashMap, fmt};

use foldhash::fast::FixedState;

use crate::{
    application::{Application, PolicyEntry},
    batch::{Atom, BatchBuilder, Cost, Draft, count},
    catalog::Model,
    email::EmailAddress,
    error::{Error, Kind},
    index::Index,
    limits,
    list::ListItems,
    policy::{Action, Policy},
    program::{ApplicationCode, ApplicationSettings, Batch, MAX_REQUIRED, Program, Span},
    rule::Rule,
};

/// An index and a program, and how many steps a decision takes at worst.
pub(crate) struct Compiled {
    pub(crate) index: Index,
    pub(crate) program: Program,
    pub(crate) worst_case: u64,
}

pub(crate) fn compile(model: Model<'_>, faults: &mut Vec<Error>) -> Compiled {
    let mut compiler = Compiler::new(model, faults);
    for group in 0..model.policies.groups.len() {
        compiler.group(group, 0);
    }
    let policies = Place::Field(&Place::Root, "policies");
    for (at, policy) in model.policies.policies.iter().enumerate() {
        compiler.check_policy(policy, &Place::Element(&policies, at));
    }
    let applications = Place::Field(&Place::Root, "applications");
    let mut worst_case = 0;
    for (at, application) in model.policies.applications.iter().enumerate() {
        let cost = compiler.application(application, &Place::Element(&applications, at));
        worst_case = worst_case.max(cost.worst_case());
    }
    let Compiler { faults, mut batches, applications, more_batches, .. } = compiler;
    let index = Index::build(&model.policies.applications, &mut batches.texts, faults);
    Compiled { index, program: batches.finish(applications, more_batches), worst_case }
}

struct Compiler<'a> {
    model: Model<'a>,
    faults: &'a mut Vec<Error>,
    batches: BatchBuilder<'a>,
    groups: Vec<GroupState>,
    applications: Vec<ApplicationCode>,
    more_batches: Vec<Batch>,
    /// Lists that became tables already.
    lists: HashMap<(bool, &'a str), Atom, FixedState>,
}

#[derive(Debug, Clone, Copy, Default)]
enum GroupState {
    #[default]
    Untouched,
    InProgress,
    Done,
}

impl<'a> Compiler<'a> {
    fn new(model: Model<'a>, faults: &'a mut Vec<Error>) -> Self {
        let groups = model.policies.groups.len();
        Self {
            model,
            faults,
            batches: BatchBuilder::new(groups),
            groups: vec![GroupState::Untouched; groups],
            applications: Vec::with_capacity(model.policies.applications.len()),
            more_batches: Vec::new(),
            lists: HashMap::default(),
        }
    }

    fn application(&mut self, application: &'a Application, place: &Place<'_>) -> Cost {
        if application.destinations.is_empty() && application.kind.protects_hosts() {
            self.fault(Kind::MissingField("domain"), place);
        }
        // What a decision looks at lies side by side.
        for destination in &application.destinations {
            self.batches.texts.text(destination.host().as_str());
        }
        let policies = Place::Field(place, "policies");
        for (at, entry) in application.policies.iter().enumerate() {
            let place = Place::Element(&policies, at);
            match (self.model.policy(entry), entry) {
                (None, PolicyEntry::Link(id)) => {
                    let id = limits::excerpt(id);
                    self.fault(Kind::UnresolvedReference { what: "policy", id }, &place);
                }
                (Some(policy), PolicyEntry::Inline(_)) => self.check_policy(policy, &place),
                // Checked once, where it stands.
                _ => {}
            }
        }
        let (mut made, mut cost) = (Vec::new(), Cost::default());
        let mut draft = Draft::default();
        for (position, policy) in self.model.in_order(application) {
            if draft.is_full() {
                made.push(self.batches.batch(std::mem::take(&mut draft)));
            }
            draft.begin(Some(policy.decision), count(position));
            let rules = [&*policy.include, &*policy.require, &*policy.exclude];
            self.clauses(&mut draft, rules, &Place::Element(&policies, position), 0);
        }
        made.push(self.batches.batch(draft));
        for (_, steps) in &made {
            cost = cost.plus(*steps);
        }
        let mut batches = made.into_iter().map(|(batch, _)| batch);
        let first = batches.next().unwrap_or_default();
        let start = self.more_batches.len();
        self.more_batches.extend(batches);
        let more = Span { start: count(start), len: count(self.more_batches.len() - start) };
        let settings = self.settings(application);
        self.applications.push(ApplicationCode { first, more, settings });
        // A refusal is judged a second time, as if nobody had logged in.
        let cost = cost.plus(cost);
        if cost.usual() > limits::MAX_DECISION_STEPS {
            let problem = "a decision could take more than 1,000,000 steps; share fewer groups";
            self.fault(Kind::TooCostly(problem), place);
        }
        cost
    }

    fn settings(&self, application: &Application) -> ApplicationSettings {
        let Some(settings) = application.settings.as_deref() else {
            return ApplicationSettings::default();
        };
        let has_service_policy = || {
            let mut policies = self.model.in_order(application);
            policies.any(|(_, policy)| policy.decision == Action::NonIdentity)
        };
        ApplicationSettings {
            bypasses_preflight: settings.options_preflight_bypass,
            answers_preflight: settings.cors.is_some(),
            refuses_services_with_401: settings.service_auth_401_redirect && has_service_policy(),
        }
    }

    fn check_policy(&mut self, policy: &Policy, place: &Place<'_>) {
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
                    let clause = Place::Field(place, clause);
                    let kind = Kind::IdentitySelectorInBypass(rule.selector().to_owned());
                    self.fault(kind, &Place::Element(&clause, at));
                }
            }
        }
    }

    /// Whether references of a rule can be followed without end.
    fn is_sound(&self, rule: &Rule) -> bool {
        let Rule::Group(id) = rule else { return true };
        let Some(at) = self.model.catalog.group_position(id) else { return false };
        let is_done = matches!(self.groups.get(at), Some(GroupState::Done));
        is_done && self.batches.group_cost(count(at)).usual() < limits::MAX_DECISION_STEPS
    }

    /// Compiles a group, those inside it first.
    fn group(&mut self, at: usize, depth: usize) {
        match self.groups.get(at) {
            Some(GroupState::Done) => return,
            Some(GroupState::Untouched) => {}
            Some(GroupState::InProgress) | None => {
                let name = self.model.policies.groups.get(at).map(|group| group.name.as_str());
                let name = limits::excerpt(name.unwrap_or_default());
                self.fault(Kind::GroupCycle(name), &group_place(at));
                return;
            }
        }
        let Some(group) = self.model.policies.groups.get(at) else { return };
        if depth > limits::MAX_GROUP_DEPTH {
            let problem = "groups are nested more than 16 deep";
            self.fault(Kind::TooCostly(problem), &group_place(at));
            self.batches.set_group(at, Batch::default(), Cost::UNSOUND);
            return;
        }
        self.set_group(at, GroupState::InProgress);
        self.batches.set_group(at, Batch::default(), Cost::UNSOUND);
        let mut draft = Draft::default();
        draft.begin(None, 0);
        let rules = [&*group.include, &*group.require, &*group.exclude];
        self.clauses(&mut draft, rules, &group_place(at), depth + 1);
        let (batch, cost) = self.batches.batch(draft);
        self.batches.set_group(at, batch, cost);
        self.set_group(at, GroupState::Done);
    }

    fn set_group(&mut self, at: usize, state: GroupState) {
        if let Some(slot) = self.groups.get_mut(at) {
            *slot = state;
        }
    }

    fn clauses(
        &mut self,
        draft: &mut Draft,
        [include, require, exclude]: [&'a [Rule]; 3],
        place: &Place<'_>,
        depth: usize,
    ) {
        for atom in self.atoms(include, &Place::Field(place, "include"), depth) {
            draft.include(atom);
        }
        let mut required = self.atoms(require, &Place::Field(place, "require"), depth);
        while required.len() > MAX_REQUIRED {
            let gathered = required.chunks(MAX_REQUIRED).map(|atoms| self.batches.all_of(atoms));
            required = gathered.collect();
        }
        draft.require(&required);
        for atom in self.atoms(exclude, &Place::Field(place, "exclude"), depth) {
            draft.exclude(atom);
        }
    }

    fn atoms(&mut self, rules: &'a [Rule], place: &Place<'_>, depth: usize) -> Vec<Atom> {
        let rules = rules.iter().enumerate();
        rules.filter_map(|(at, rule)| self.atom(rule, &Place::Element(place, at), depth)).collect()
    }

    /// What a rule asks; nothing if it refers to what is not there.
    fn atom(&mut self, rule: &'a Rule, place: &Place<'_>, depth: usize) -> Option<Atom> {
        if rule.has_empty_text() {
            self.fault(Kind::UnknownValue { found: String::new(), expected: "any text" }, place);
            return None;
        }
        let texts = &mut self.batches.texts;
        Some(match rule {
            Rule::Everyone => Atom::Everyone,
            Rule::Email(email) => Atom::Email(texts.text(email.as_str())),
            Rule::EmailDomain(domain) => Atom::EmailDomain(texts.text(domain.as_str())),
            Rule::Ip(network) => Atom::Network(*network),
            Rule::Geo(country) => Atom::Country(*country),
            Rule::ServiceToken(id) => Atom::ServiceToken(texts.text(id)),
            Rule::AzureAd { id, provider } => {
                let (provider, group) = (texts.text(provider), texts.text(id));
                Atom::Member { provider, group, is_exact: false }
            }
            Rule::Gsuite { email, provider } => {
                let (provider, group) = (texts.text(provider), texts.text(email.as_str()));
                Atom::Member { provider, group, is_exact: false }
            }
            Rule::Okta { name, provider } => {
                let (provider, group) = (texts.text(provider), texts.text(name));
                Atom::Member { provider, group, is_exact: true }
            }
            Rule::Unsupported(_) => Atom::Unsupported,
            Rule::EmailList(id) | Rule::IpList(id) => self.list(rule, id, place)?,
            Rule::Group(id) => self.reference(id, place, depth)?,
            rule => self.batches.rule(rule),
        })
    }

    /// A list becomes a table once, however many rules name it.
    fn list(&mut self, rule: &Rule, id: &'a str, place: &Place<'_>) -> Option<Atom> {
        let is_of_networks = matches!(rule, Rule::IpList(_));
        if let Some(atom) = self.lists.get(&(is_of_networks, id)) {
            return Some(*atom);
        }
        let atom = match self.model.list(id).map(|list| &list.items) {
            Some(ListItems::Emails(items)) if !is_of_networks => {
                self.batches.email_list(items.iter().map(EmailAddress::as_str))
            }
            Some(ListItems::Networks(items)) if is_of_networks => self.batches.network_list(items),
            _ => {
                let what = if is_of_networks { "IP list" } else { "e-mail list" };
                let id = limits::excerpt(id);
                self.fault(Kind::UnresolvedReference { what, id }, place);
                return None;
            }
        };
        self.lists.insert((is_of_networks, id), atom);
        Some(atom)
    }

    fn reference(&mut self, id: &str, place: &Place<'_>, depth: usize) -> Option<Atom> {
        let Some(at) = self.model.catalog.group_position(id) else {
            let id = limits::excerpt(id);
            self.fault(Kind::UnresolvedReference { what: "group", id }, place);
            return None;
        };
        self.group(at, depth);
        Some(Atom::Group(count(at)))
    }

    fn fault(&mut self, kind: Kind, place: &Place<'_>) {
        if self.faults.len() < limits::MAX_PROBLEMS {
            self.faults.push(Error::from(kind).at(place.to_string()));
        }
    }
}

/// A place in a configuration, written down only where something is wrong.
#[derive(Debug, Clone, Copy)]
enum Place<'p> {
    Root,
    Field(&'p Place<'p>, &'static str),
    Element(&'p Place<'p>, usize),
}

/// As a JSON pointer.
impl fmt::Display for Place<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(parent, name) => write!(formatter, "{parent}/{name}"),
            Self::Element(parent, at) => write!(formatter, "{parent}/{at}"),
        }
    }
}

fn group_place(at: usize) -> Place<'static> {
    Place::Element(&Place::Field(&Place::Root, "groups"), at)
}
