//! All that can be true of a request as far as some applications care, as a finite set of variables.
//!
//! Rules that ask for the same thing share a variable: an e-mail address settles every rule about
//! addresses and domains, a network address every rule about networks. Values that no rule tells
//! apart are represented by one of them, so a search over the variables leaves nothing out.

use std::{cell::Cell, net::IpAddr};

use crate::{
    catalog::Model, list::ListItems, network::Network, risk::RiskLevel, rule::Rule,
    scenario::Scenario, truth::Truth,
};

/// The variables of a search, and how they settle rules.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) variables: Vec<Variable>,
    leaves: Vec<Leaf>,
}

/// One thing that can be chosen. Option 0 is the one that speaks for nothing in particular.
#[derive(Debug)]
pub(crate) struct Variable {
    pub(crate) options: Vec<Setting>,
}

/// A value of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Setting {
    NotLoggedIn,
    Email(String),
    Ip(IpAddr),
    Country(String),
    Provider(Option<String>),
    Certificate(Option<String>),
    Token(Option<String>),
    Risk(RiskLevel),
    /// Whether a rule about one of many memberships, claims or checks holds.
    Holds(Rule, bool),
}

/// A rule that does not name groups.
#[derive(Debug)]
struct Leaf {
    rule: Rule,
    /// Lists may differ between configurations, so they are compared by what is on them.
    items: Option<ListItems>,
    /// The variable, and the rule's truth for each of its options.
    variable: usize,
    truths: Vec<bool>,
    /// The option of the provider variable that the rule holds at.
    provider: Option<(usize, usize)>,
    needs_login: bool,
    is_supported: bool,
}

/// Which option each variable has, if it has one yet.
pub(crate) type Assignment = Vec<Option<usize>>;

const LOGIN: usize = 0;
const IP: usize = 1;
const COUNTRY: usize = 2;
const PROVIDER: usize = 3;
const CERTIFICATE: usize = 4;
const TOKEN: usize = 5;
const RISK: usize = 6;

impl Space {
    /// Gathers the rules of applications, each given by its model and position.
    pub(crate) fn new(applications: &[(Model<'_>, usize)]) -> Self {
        let mut leaves: Vec<Leaf> = Vec::new();
        for &(model, at) in applications {
            let Some(application) = model.policies.applications.get(at) else { continue };
            for (_, policy) in model.in_order(application) {
                for (_, rule) in policy.rules() {
                    gather(model, rule, &mut leaves, 0);
                }
            }
        }
        let mut space = Self { variables: Vec::new(), leaves };
        space.build();
        space
    }

    /// An assignment in which nothing is chosen.
    pub(crate) fn nothing(&self) -> Assignment {
        vec![None; self.variables.len()]
    }

    /// Whether a policy matches under an assignment. `pending` learns of a variable that would have
    /// to be chosen to know more.
    pub(crate) fn matches(
        &self,
        model: Model<'_>,
        (include, require, exclude): (&[Rule], &[Rule], &[Rule]),
        assignment: &Assignment,
        pending: &Cell<Option<usize>>,
    ) -> Truth {
        let truth = |rule: &Rule| self.truth(model, rule, assignment, pending);
        let included = Truth::any(include.iter().map(truth));
        if included.is_false() {
            return included;
        }
        let required = included.and(Truth::all(require.iter().map(truth)));
        if required.is_false() {
            return required;
        }
        required.and(Truth::any(exclude.iter().map(truth)).not())
    }

    /// Whether somebody has logged in; `None` if that is still open.
    pub(crate) fn is_logged_in(&self, assignment: &Assignment) -> Option<bool> {
        let option = (*assignment.get(LOGIN)?)?;
        Some(self.variables.get(LOGIN)?.options.get(option)? != &Setting::NotLoggedIn)
    }

    pub(crate) const LOGIN: usize = LOGIN;

    /// Writes an assignment down as a request. What was not chosen gets the option that speaks for
    /// nothing in particular.
    pub(crate) fn scenario(&self, host: &str, path: &str, assignment: &Assignment) -> Scenario {
        let mut scenario = Self::blank(host, path);
        let chosen = self.variables.iter().zip(assignment);
        let settings = chosen.filter_map(|(known, option)| known.options.get(option.unwrap_or(0)));
        // What is taken away goes first: a group may be one of those that another rule names.
        let (absent, present): (Vec<_>, Vec<_>) =
            settings.partition(|setting| matches!(setting, Setting::Holds(_, false)));
        for setting in absent.into_iter().chain(present) {
            setting.apply(&mut scenario);
        }
        scenario
    }

    /// A request of which everything is known, and nothing is there.
    fn blank(host: &str, path: &str) -> Scenario {
        let mut scenario = Scenario::new(host, path);
        scenario.groups = Some(Vec::new());
        scenario.github = Some(std::collections::BTreeMap::new());
        scenario.saml = Some(std::collections::BTreeMap::new());
        scenario.claims = Some(std::collections::BTreeMap::new());
        scenario.auth_methods = Some(Vec::new());
        scenario.auth_contexts = Some(Vec::new());
        scenario.accounts = Some(Vec::new());
        scenario.device_posture = Some(Vec::new());
        scenario.linked_app_tokens = Some(Vec::new());
        scenario
    }

    fn truth(
        &self,
        model: Model<'_>,
        rule: &Rule,
        assignment: &Assignment,
        pending: &Cell<Option<usize>>,
    ) -> Truth {
        match rule {
            Rule::Everyone => Truth::TRUE,
            Rule::Group(id) => match model.group(id) {
                Some(group) => {
                    let clauses = (&*group.include, &*group.require, &*group.exclude);
                    self.matches(model, clauses, assignment, pending)
                }
                None => Truth::MISSING,
            },
            rule => {
                let items = items(model, rule);
                let leaf = self
                    .leaves
                    .iter()
                    .find(|leaf| leaf.rule == *rule && leaf.items.as_ref() == items);
                leaf.map_or(Truth::MISSING, |leaf| self.leaf(leaf, assignment, pending))
            }
        }
    }

    fn leaf(&self, leaf: &Leaf, assignment: &Assignment, pending: &Cell<Option<usize>>) -> Truth {
        let chosen = |variable: usize| {
            let option = assignment.get(variable).copied().flatten();
            if option.is_none() && pending.get().is_none() {
                pending.set(Some(variable));
            }
            option
        };
        if !leaf.is_supported {
            return Truth::MISSING;
        }
        if leaf.needs_login {
            let Some(option) = chosen(LOGIN) else { return Truth::MISSING };
            let setting = self.variables.get(LOGIN).and_then(|login| login.options.get(option));
            if setting == Some(&Setting::NotLoggedIn) {
                return Truth::ASKABLE;
            }
        }
        if let Some((variable, wanted)) = leaf.provider {
            match chosen(variable) {
                None => return Truth::MISSING,
                Some(option) if option != wanted => return Truth::FALSE,
                Some(_) => {}
            }
        }
        match chosen(leaf.variable) {
            None => Truth::MISSING,
            Some(option) => leaf.truths.get(option).copied().unwrap_or(false).into(),
        }
    }

    fn build(&mut self) {
        let emails = self.emails();
        let ips = self.addresses();
        let countries = self.countries();
        let providers = self.providers();
        let names = self.texts(|rule| match rule {
            Rule::CommonName(name) => Some(name),
            _ => None,
        });
        let tokens = self.texts(|rule| match rule {
            Rule::ServiceToken(id) => Some(id),
            _ => None,
        });
        let optional = |list: Vec<String>, other: &str, wrap: fn(Option<String>) -> Setting| {
            let named = list.into_iter().chain([other.to_owned()]).map(Some);
            std::iter::once(None).chain(named).map(wrap).collect()
        };
        let providers = std::iter::once(Some("another-provider".to_owned()))
            .chain(providers.into_iter().map(Some));
        self.variables = vec![
            emails,
            ips,
            countries,
            providers.map(Setting::Provider).collect(),
            optional(names, "another.example", Setting::Certificate),
            optional(tokens, "another-token", Setting::Token),
            RiskLevel::ALL.into_iter().rev().map(Setting::Risk).collect(),
        ]
        .into_iter()
        .map(|options| Variable { options })
        .collect();
        for at in 0..self.leaves.len() {
            self.settle(at);
        }
    }

    /// Finds the variable of a leaf, and its truth for each option.
    fn settle(&mut self, at: usize) {
        let Some(leaf) = self.leaves.get(at) else { return };
        let variable = match leaf.rule {
            Rule::Email(_) | Rule::EmailDomain(_) | Rule::EmailList(_) => LOGIN,
            Rule::Ip(_) | Rule::IpList(_) => IP,
            Rule::Geo(_) => COUNTRY,
            Rule::LoginMethod(_) => PROVIDER,
            Rule::Certificate | Rule::CommonName(_) => CERTIFICATE,
            Rule::ServiceToken(_) | Rule::AnyValidServiceToken => TOKEN,
            Rule::UserRiskScore(_) => RISK,
            _ => {
                let rule = leaf.rule.clone();
                let options = vec![Setting::Holds(rule.clone(), false), Setting::Holds(rule, true)];
                self.variables.push(Variable { options });
                self.variables.len() - 1
            }
        };
        let Some(options) = self.variables.get(variable).map(|variable| &variable.options) else {
            return;
        };
        let truths = options.iter().map(|setting| setting.settles(leaf)).collect();
        let is_membership = variable > RISK;
        let provider = leaf.rule.provider().filter(|_| is_membership).and_then(|id| {
            let wanted = Setting::Provider(Some(id.to_owned()));
            let options = &self.variables.get(PROVIDER)?.options;
            Some((PROVIDER, options.iter().position(|setting| *setting == wanted)?))
        });
        if let Some(leaf) = self.leaves.get_mut(at) {
            (leaf.variable, leaf.truths, leaf.provider) = (variable, truths, provider);
        }
    }

    /// Nobody, a stranger, and of those whom rules name one for each set of rules that they satisfy.
    fn emails(&self) -> Vec<Setting> {
        let mut candidates = vec!["stranger@elsewhere.invalid".to_owned()];
        for leaf in &self.leaves {
            match (&leaf.rule, &leaf.items) {
                (Rule::Email(email), _) => candidates.push(email.to_string()),
                (Rule::EmailDomain(domain), _) => candidates.push(format!("somebody-new@{domain}")),
                (_, Some(ListItems::Emails(items))) => {
                    candidates.extend(items.iter().map(ToString::to_string));
                }
                _ => {}
            }
        }
        let settings = candidates.into_iter().map(Setting::Email).collect();
        let mut distinct = self.distinct(settings);
        distinct.push(Setting::NotLoggedIn);
        distinct
    }

    /// Addresses on both sides of every border of a block.
    fn addresses(&self) -> Vec<Setting> {
        let elsewhere = ["203.0.113.254", "2001:db8:ffff::fffe"];
        let mut candidates: Vec<IpAddr> =
            elsewhere.iter().filter_map(|text| text.parse().ok()).collect();
        let mut add = |network: &Network| {
            candidates.push(network.first());
            candidates.push(network.last());
            candidates.extend(next(network.last()));
            candidates.extend(previous(network.first()));
        };
        for leaf in &self.leaves {
            match (&leaf.rule, &leaf.items) {
                (Rule::Ip(network), _) => add(network),
                (_, Some(ListItems::Networks(items))) => items.iter().for_each(&mut add),
                _ => {}
            }
        }
        let mut distinct = self.distinct(candidates.into_iter().map(Setting::Ip).collect());
        // An address outside all blocks speaks for nothing in particular, if there is one.
        let outside = distinct
            .iter()
            .position(|setting| !self.leaves.iter().any(|leaf| setting.settles(leaf)));
        distinct.swap(0, outside.unwrap_or(0));
        distinct
    }

    fn countries(&self) -> Vec<Setting> {
        let named = self.texts_owned(|rule| match rule {
            Rule::Geo(country) => Some(country.to_string()),
            _ => None,
        });
        let other = ["AQ", "BV", "HM", "TF"].map(str::to_owned);
        let other = other.into_iter().find(|code| !named.contains(code));
        other.into_iter().chain(named).map(Setting::Country).collect()
    }

    fn providers(&self) -> Vec<String> {
        self.texts_owned(|rule| rule.provider().map(str::to_owned))
    }

    fn texts(&self, pick: fn(&Rule) -> Option<&Box<str>>) -> Vec<String> {
        self.texts_owned(|rule| pick(rule).map(ToString::to_string))
    }

    fn texts_owned(&self, pick: impl Fn(&Rule) -> Option<String>) -> Vec<String> {
        let mut texts: Vec<_> = self.leaves.iter().filter_map(|leaf| pick(&leaf.rule)).collect();
        texts.sort_unstable();
        texts.dedup();
        texts
    }

    /// Keeps one of the values that no rule tells apart.
    fn distinct(&self, settings: Vec<Setting>) -> Vec<Setting> {
        let mut seen = std::collections::HashSet::new();
        let mut kept = Vec::new();
        for setting in settings {
            let signature: Vec<bool> =
                self.leaves.iter().map(|leaf| setting.settles(leaf)).collect();
            if seen.insert(signature) {
                kept.push(setting);
            }
        }
        kept
    }
}

impl Setting {
    /// Puts the value into a request.
    pub(crate) fn apply(&self, scenario: &mut Scenario) {
        match self {
            Self::NotLoggedIn => scenario.email = None,
            Self::Email(email) => scenario.email = Some(email.clone()),
            Self::Ip(address) => scenario.ip = Some(*address),
            Self::Country(country) => scenario.country = Some(country.clone()),
            Self::Provider(provider) => scenario.provider.clone_from(provider),
            Self::Certificate(name) => {
                scenario.certificate.clone_from(name);
                if name.is_none() {
                    scenario.absent.insert(crate::fact::FactName::Certificate);
                }
            }
            Self::Token(id) => scenario.service_token.clone_from(id),
            Self::Risk(level) => scenario.risk = Some(*level),
            Self::Holds(rule, holds) => apply_rule(rule, *holds, scenario),
        }
    }

    /// What the value says, in words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::NotLoggedIn => "nobody has logged in".to_owned(),
            Self::Email(email) => format!("e-mail is {email}"),
            Self::Ip(address) => format!("client address is {address}"),
            Self::Country(country) => format!("country is {country}"),
            Self::Provider(None) => "identity provider is none".to_owned(),
            Self::Provider(Some(id)) => format!("login came through provider `{id}`"),
            Self::Certificate(None) => "there is no client certificate".to_owned(),
            Self::Certificate(Some(name)) => format!("client certificate has common name `{name}`"),
            Self::Token(None) => "there is no service token".to_owned(),
            Self::Token(Some(id)) => format!("service token is `{id}`"),
            Self::Risk(level) => format!("risk is {}", level.as_str()),
            Self::Holds(rule, true) => rule.condition().to_string(),
            Self::Holds(rule, false) => format!("not: {}", rule.condition()),
        }
    }

    /// Whether a rule about this variable holds for the value.
    fn settles(&self, leaf: &Leaf) -> bool {
        match (self, &leaf.rule) {
            (Self::Email(email), Rule::Email(listed)) => listed.as_str() == email,
            (Self::Email(email), Rule::EmailDomain(domain)) => {
                email.rsplit_once('@').is_some_and(|(_, after)| after == domain.as_str())
            }
            (Self::Email(email), Rule::EmailList(_)) => match &leaf.items {
                Some(ListItems::Emails(items)) => items.iter().any(|item| item.as_str() == email),
                _ => false,
            },
            (Self::Ip(address), Rule::Ip(network)) => network.contains(*address),
            (Self::Ip(address), Rule::IpList(_)) => match &leaf.items {
                Some(ListItems::Networks(items)) => {
                    items.iter().any(|item| item.contains(*address))
                }
                _ => false,
            },
            (Self::Country(country), Rule::Geo(listed)) => listed.as_str() == country,
            (Self::Certificate(name), Rule::Certificate) => name.is_some(),
            (Self::Certificate(Some(name)), Rule::CommonName(listed)) => **listed == **name,
            (Self::Token(id), Rule::AnyValidServiceToken) => id.is_some(),
            (Self::Provider(Some(id)), Rule::LoginMethod(listed))
            | (Self::Token(Some(id)), Rule::ServiceToken(listed)) => **listed == **id,
            (Self::Risk(level), Rule::UserRiskScore(levels)) => levels.contains(*level),
            (Self::Holds(rule, holds), listed) => *holds && rule == listed,
            _ => false,
        }
    }
}

/// Makes a rule about one of many things hold, or takes that thing away.
fn apply_rule(rule: &Rule, holds: bool, scenario: &mut Scenario) {
    let list = |list: &mut Option<Vec<String>>, text: &str| {
        let known = list.get_or_insert_with(Vec::new);
        known.retain(|one| !one.eq_ignore_ascii_case(text) || (holds && one != text));
        if holds {
            known.push(text.to_owned());
        }
    };
    match rule {
        Rule::AzureAd { id, .. } => list(&mut scenario.groups, id),
        Rule::Gsuite { email, .. } => list(&mut scenario.groups, email.as_str()),
        Rule::Okta { name, .. } => list(&mut scenario.groups, name),
        Rule::AuthContext { class, .. } => list(&mut scenario.auth_contexts, class),
        Rule::AuthMethod(method) => list(&mut scenario.auth_methods, method),
        Rule::DevicePosture(id) => list(&mut scenario.device_posture, id),
        Rule::LinkedAppToken(id) => list(&mut scenario.linked_app_tokens, id),
        Rule::CloudflareAccountMember(id) => {
            list(&mut scenario.accounts, id.as_deref().unwrap_or("some-account"));
        }
        Rule::GithubOrganization { name, team, .. } => {
            let known = scenario.github.get_or_insert_with(Default::default);
            match (holds, team) {
                (true, None) => drop(known.entry(name.to_string()).or_default()),
                (true, Some(team)) => {
                    known.entry(name.to_string()).or_default().push(team.to_string());
                }
                (false, None) => drop(known.remove(&**name)),
                (false, Some(team)) => {
                    if let Some(teams) = known.get_mut(&**name) {
                        teams.retain(|one| one != &**team);
                    }
                }
            }
        }
        Rule::Saml { attribute, value, .. } => {
            let known = scenario.saml.get_or_insert_with(Default::default);
            let values = known.entry(attribute.to_string()).or_default();
            values.retain(|one| one != &**value);
            if holds {
                values.push(value.to_string());
            }
        }
        Rule::Oidc { claim, value, .. } => {
            use crate::claim::Claim;
            let known = scenario.claims.get_or_insert_with(Default::default);
            let old = known.remove(&**claim);
            let mut values = match old {
                Some(Claim::List(values)) => values,
                Some(value) => vec![value],
                None => Vec::new(),
            };
            values.retain(|one| *one != Claim::from(&**value));
            if holds {
                values.push(Claim::from(&**value));
            }
            known.insert(claim.to_string(), Claim::List(values));
        }
        Rule::ExternalEvaluation { evaluate_url, .. } => {
            scenario.external.insert(evaluate_url.to_string(), Some(holds));
        }
        _ => {}
    }
}

fn gather(model: Model<'_>, rule: &Rule, leaves: &mut Vec<Leaf>, depth: usize) {
    if let Rule::Group(id) = rule {
        if let (Some(group), true) = (model.group(id), depth <= crate::limits::MAX_GROUP_DEPTH) {
            group.rules().for_each(|rule| gather(model, rule, leaves, depth + 1));
        }
        return;
    }
    let items = items(model, rule);
    let is_known = |leaf: &Leaf| leaf.rule == *rule && leaf.items.as_ref() == items;
    if *rule == Rule::Everyone || leaves.iter().any(is_known) {
        return;
    }
    leaves.push(Leaf {
        rule: rule.clone(),
        items: items.cloned(),
        variable: 0,
        truths: Vec::new(),
        provider: None,
        needs_login: rule.needs_identity(),
        is_supported: !matches!(rule, Rule::Unsupported(_)),
    });
}

fn items<'a>(model: Model<'a>, rule: &Rule) -> Option<&'a ListItems> {
    match rule {
        Rule::EmailList(id) | Rule::IpList(id) => model.list(id).map(|list| &list.items),
        _ => None,
    }
}

fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4.to_bits().checked_add(1).map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(v6) => v6.to_bits().checked_add(1).map(|bits| IpAddr::V6(bits.into())),
    }
}

fn previous(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4.to_bits().checked_sub(1).map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(v6) => v6.to_bits().checked_sub(1).map(|bits| IpAddr::V6(bits.into())),
    }
}
