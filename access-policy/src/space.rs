//! All that can be true of a request as far as some applications care, as a finite set of variables.
//!
//! Rules that ask for the same thing share a variable: an e-mail address settles every rule about
//! addresses and domains, a network address every rule about networks. Values that no clause tells
//! apart are represented by one of them, so nothing is left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::FixedState;

use crate::{
    candidates::{Atom, Settled, addresses, emails},
    catalog::Model,
    diagram::{Assignment, Diagrams, Ref, Side, TooLarge},
    list::ListItems,
    policy::Policy,
    risk::RiskLevel,
    rule::Rule,
    scenario::Scenario,
    setting::{Setting, Token, fact_behind, implies, respell_groups},
    truth::Truth,
};

/// The variables of an analysis, and the diagrams of what they settle.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) variables: Vec<Variable>,
    pub(crate) diagrams: Diagrams,
    /// The variable of each fact that holds or does not.
    facts: HashMap<String, usize, FixedState>,
    /// Groups that were settled before, by model and id.
    groups: HashMap<(usize, Box<str>), Ref, FixedState>,
}

/// One thing that can be chosen. Option 0 is the one that speaks for nothing in particular.
#[derive(Debug)]
pub(crate) struct Variable {
    pub(crate) options: Vec<Setting>,
}

type Join = fn(&mut Space, Ref, Ref) -> Result<Ref, TooLarge>;

/// In their order on every way through a diagram.
pub(crate) const LOGIN: usize = 0;
const PROVIDER: usize = 1;
const IP: usize = 2;
const COUNTRY: usize = 3;
const CERTIFICATE: usize = 4;
pub(crate) const TOKEN: usize = 5;
const RISK: usize = 6;
pub(crate) const PREFLIGHT: usize = 7;
const FIRST_FACT: usize = 8;

/// How finely values are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grain {
    /// By what each clause as a whole makes of them.
    Clauses,
    /// By what each single rule makes of them.
    Rules,
}

impl Space {
    /// Gathers the rules of applications, each given by its model and position.
    pub(crate) fn new(applications: &[(Model<'_>, usize)], grain: Grain) -> Self {
        let mut gathered = Gathered::new(grain);
        for &(model, at) in applications {
            let Some(application) = model.policies.applications.get(at) else { continue };
            let settings = application.settings.as_deref();
            gathered.has_preflight |=
                settings.is_some_and(|it| it.options_preflight_bypass || it.cors.is_some());
            for (_, policy) in model.in_order(application) {
                gathered.clauses(model, [&policy.include, &policy.require, &policy.exclude]);
            }
        }
        gathered.finish()
    }

    /// Where nobody has logged in.
    pub(crate) fn not_logged_in(&self) -> usize {
        let options = self.variables.get(LOGIN).map_or(0, |login| login.options.len());
        options.saturating_sub(1)
    }

    /// The function that has one value for those who have logged in, and one for the others.
    pub(crate) fn by_login(&mut self, user: u32, nobody: u32) -> Ref {
        self.by(LOGIN, |setting| if *setting == Setting::NotLoggedIn { nobody } else { user })
    }

    /// The function of one variable.
    pub(crate) fn by(&mut self, variable: usize, value: impl Fn(&Setting) -> u32) -> Ref {
        let options = self.variables.get(variable).map(|it| &*it.options).unwrap_or_default();
        let values: Vec<u32> = options.iter().map(value).collect();
        let children = values.into_iter().map(|value| self.diagrams.leaf(value)).collect();
        self.diagrams.branch(variable, children)
    }

    /// Whether a policy matches, as bits of [`Truth`].
    pub(crate) fn policy(&mut self, model: Model<'_>, policy: &Policy) -> Result<Ref, TooLarge> {
        self.matches(model, [&policy.include, &policy.require, &policy.exclude])
    }

    /// Whether a policy would match without one of its rules, for each rule.
    pub(crate) fn without_each(
        &mut self,
        model: Model<'_>,
        policy: &Policy,
    ) -> Result<Vec<Ref>, TooLarge> {
        let include = self.rules(model, &policy.include)?;
        let require = self.rules(model, &policy.require)?;
        let exclude = self.rules(model, &policy.exclude)?;
        let any = (Self::or as Join, Truth::FALSE);
        let all = (Self::and as Join, Truth::TRUE);
        let (included, some_included) = self.all_but_each(&include, any)?;
        let (required, some_required) = self.all_but_each(&require, all)?;
        let (excluded, some_excluded) = self.all_but_each(&exclude, any)?;
        let mut found = Vec::new();
        for without in some_included {
            let rest = self.and(without, required)?;
            found.push(self.spared(rest, excluded)?);
        }
        for without in some_required {
            let rest = self.and(included, without)?;
            found.push(self.spared(rest, excluded)?);
        }
        let rest = self.and(included, required)?;
        for without in some_excluded {
            found.push(self.spared(rest, without)?);
        }
        Ok(found)
    }

    /// Writes an assignment down as a request. What was not chosen gets the option that speaks for
    /// nothing in particular.
    pub(crate) fn scenario(&self, host: &str, path: &str, assignment: &Assignment) -> Scenario {
        let mut scenario = blank(host, path);
        let chosen = self.variables.iter().zip(assignment);
        let mut settings: Vec<&Setting> =
            chosen.filter_map(|(known, option)| known.options.get(option.unwrap_or(0))).collect();
        // What is taken away goes first: a group may be one of those that another rule names.
        settings.sort_by_key(|setting| setting.turn());
        for setting in &settings {
            setting.apply(&mut scenario);
        }
        let forbidden: BTreeSet<&str> = settings
            .iter()
            .filter_map(|setting| match setting {
                Setting::Holds(Rule::Okta { name, .. }, false) => Some(&**name),
                _ => None,
            })
            .collect();
        respell_groups(&mut scenario, &forbidden);
        scenario
    }

    /// Where facts stand in no contradiction to one another: 1, elsewhere 0.
    pub(crate) fn consistent(&mut self) -> Result<Ref, TooLarge> {
        let mut all = self.diagrams.leaf(1);
        for a in FIRST_FACT..self.variables.len() {
            for b in FIRST_FACT..self.variables.len() {
                let fact = |at: usize| match self.variables.get(at)?.options.last()? {
                    Setting::Holds(rule, _) => Some(rule),
                    _ => None,
                };
                let is_implied = match (fact(a), fact(b)) {
                    (Some(a), Some(b)) => implies(a, b),
                    _ => false,
                };
                if is_implied {
                    let holds =
                        |setting: &Setting| u32::from(matches!(setting, Setting::Holds(_, true)));
                    let (a, b) = (self.by(a, holds), self.by(b, holds));
                    let implied =
                        self.diagrams.combine(a, b, &|a, b| u32::from(a == 0 || b == 1))?;
                    all = self.diagrams.combine(all, implied, &|a, b| a & b)?;
                }
            }
        }
        Ok(all)
    }

    fn matches(&mut self, model: Model<'_>, parts: [&[Rule]; 3]) -> Result<Ref, TooLarge> {
        let [include, require, exclude] = parts;
        let included = self.any(model, include)?;
        let mut all = included;
        for rule in require {
            let rule = self.rule(model, rule)?;
            all = self.and(all, rule)?;
        }
        let excluded = self.any(model, exclude)?;
        self.spared(all, excluded)
    }

    /// Who matches, but for those who are excluded.
    fn spared(&mut self, matching: Ref, excluded: Ref) -> Result<Ref, TooLarge> {
        let no = bits(Truth::FALSE);
        let spared = |a, b| bits(truth(a).and(truth(b).not()));
        self.diagrams.combine_with(matching, excluded, &spared, &|a, b| match (a, b) {
            (Some(a), _) if a == no => Some(Side::First),
            (_, Some(b)) if b == no => Some(Side::First),
            _ => None,
        })
    }

    fn rules(&mut self, model: Model<'_>, rules: &[Rule]) -> Result<Vec<Ref>, TooLarge> {
        rules.iter().map(|rule| self.rule(model, rule)).collect()
    }

    /// All joined, and for each the others joined.
    fn all_but_each(
        &mut self,
        each: &[Ref],
        (join, neutral): (Join, Truth),
    ) -> Result<(Ref, Vec<Ref>), TooLarge> {
        let mut before = vec![self.diagrams.leaf(bits(neutral))];
        for one in each {
            let last = before.last().copied().unwrap_or(*one);
            before.push(join(self, last, *one)?);
        }
        let all = before.pop().unwrap_or_else(|| self.diagrams.leaf(bits(neutral)));
        let mut after = self.diagrams.leaf(bits(neutral));
        let mut without = Vec::with_capacity(each.len());
        for (one, before) in each.iter().zip(&before).rev() {
            without.push(join(self, *before, after)?);
            after = join(self, *one, after)?;
        }
        without.reverse();
        Ok((all, without))
    }

    fn any(&mut self, model: Model<'_>, rules: &[Rule]) -> Result<Ref, TooLarge> {
        let mut sum = self.diagrams.leaf(bits(Truth::FALSE));
        let mut atoms: [Vec<&Rule>; FIRST_FACT] = Default::default();
        for rule in rules {
            // Rules about one variable are put together first: that costs one step for all.
            if let Some(slot) = shared_variable(rule).and_then(|at| atoms.get_mut(at)) {
                slot.push(rule);
                continue;
            }
            let rule = self.rule(model, rule)?;
            sum = self.or(sum, rule)?;
        }
        for (variable, rules) in atoms.iter().enumerate().filter(|(_, rules)| !rules.is_empty()) {
            let atom = self.atom(model, variable, rules)?;
            sum = self.or(sum, atom)?;
        }
        Ok(sum)
    }

    fn and(&mut self, a: Ref, b: Ref) -> Result<Ref, TooLarge> {
        self.join(a, b, &and, bits(Truth::FALSE), bits(Truth::TRUE))
    }

    fn or(&mut self, a: Ref, b: Ref) -> Result<Ref, TooLarge> {
        self.join(a, b, &or, bits(Truth::TRUE), bits(Truth::FALSE))
    }

    /// Joins with a value that settles all, and one that changes nothing.
    fn join(
        &mut self,
        a: Ref,
        b: Ref,
        join: &dyn Fn(u32, u32) -> u32,
        settles: u32,
        changes_nothing: u32,
    ) -> Result<Ref, TooLarge> {
        self.diagrams.combine_with(a, b, join, &|a, b| match (a, b) {
            (Some(a), _) if a == settles => Some(Side::First),
            (_, Some(b)) if b == settles => Some(Side::Second),
            (Some(a), _) if a == changes_nothing => Some(Side::Second),
            (_, Some(b)) if b == changes_nothing => Some(Side::First),
            _ => None,
        })
    }

    fn rule(&mut self, model: Model<'_>, rule: &Rule) -> Result<Ref, TooLarge> {
        if let Some(variable) = shared_variable(rule) {
            return self.atom(model, variable, &[rule]);
        }
        match rule {
            Rule::Everyone => Ok(self.diagrams.leaf(bits(Truth::TRUE))),
            Rule::Group(id) => {
                let key = (address_of(model), id.clone());
                if let Some(&known) = self.groups.get(&key) {
                    return Ok(known);
                }
                let Some(group) = model.group(id) else {
                    return Ok(self.diagrams.leaf(bits(Truth::MISSING)));
                };
                let parts: [&[Rule]; 3] = [&group.include, &group.require, &group.exclude];
                let found = self.matches(model, parts)?;
                self.groups.insert(key, found);
                Ok(found)
            }
            rule => self.fact(rule),
        }
    }

    /// A rule about one of many things, behind the login and the provider that it asks for.
    fn fact(&mut self, rule: &Rule) -> Result<Ref, TooLarge> {
        let variable = fact_behind(rule).and_then(|fact| self.facts.get(&key_of(&fact)).copied());
        let Some(variable) = variable else {
            return Ok(self.diagrams.leaf(bits(Truth::MISSING)));
        };
        let holds =
            |setting: &Setting| bits(Truth::from(matches!(setting, Setting::Holds(_, true))));
        let mut truth = self.by(variable, holds);
        if let Some(provider) = rule.provider() {
            let through = |setting: &Setting| {
                let is_it = matches!(setting, Setting::Provider(Some(id)) if id == provider);
                bits(Truth::from(is_it))
            };
            let through = self.by(PROVIDER, through);
            truth = self.and(through, truth)?;
        }
        self.behind_login(rule, truth)
    }

    /// Rules about one variable: true if any holds.
    fn atom(
        &mut self,
        model: Model<'_>,
        variable: usize,
        rules: &[&Rule],
    ) -> Result<Ref, TooLarge> {
        let atom: Atom<'_> = rules.iter().map(|rule| (*rule, items(model, rule))).collect();
        let settled = Settled::new(&atom);
        let truth = self.by(variable, |setting| bits(settled.truth(setting)));
        match rules.first() {
            Some(first) if variable != LOGIN => self.behind_login(first, truth),
            _ => Ok(truth),
        }
    }

    /// Asks for a login first, if the rule needs one.
    fn behind_login(&mut self, rule: &Rule, holds: Ref) -> Result<Ref, TooLarge> {
        if !rule.needs_identity() {
            return Ok(holds);
        }
        let login = self.by_login(bits(Truth::TRUE), bits(Truth::ASKABLE));
        let ask = bits(Truth::ASKABLE);
        self.diagrams.combine(login, holds, &|login, holds| if login == ask { ask } else { holds })
    }
}

/// What a search through the rules of some applications brings together.
struct Gathered<'a> {
    grain: Grain,
    atoms: [Vec<Atom<'a>>; FIRST_FACT],
    facts: BTreeMap<String, Rule>,
    providers: BTreeSet<&'a str>,
    groups: BTreeSet<(usize, &'a str)>,
    has_preflight: bool,
}

impl<'a> Gathered<'a> {
    fn new(grain: Grain) -> Self {
        Self {
            grain,
            atoms: Default::default(),
            facts: BTreeMap::new(),
            providers: BTreeSet::new(),
            groups: BTreeSet::new(),
            has_preflight: false,
        }
    }

    fn clauses(&mut self, model: Model<'a>, [include, require, exclude]: [&'a [Rule]; 3]) {
        for rules in [include, exclude] {
            let mut atoms: [Atom<'a>; FIRST_FACT] = Default::default();
            for rule in rules {
                self.rule(model, rule, &mut atoms);
            }
            self.keep(atoms);
        }
        for rule in require {
            let mut atoms: [Atom<'a>; FIRST_FACT] = Default::default();
            self.rule(model, rule, &mut atoms);
            self.keep(atoms);
        }
    }

    fn rule(&mut self, model: Model<'a>, rule: &'a Rule, atoms: &mut [Atom<'a>; FIRST_FACT]) {
        self.providers.extend(rule.provider());
        if let Some(slot) = shared_variable(rule).and_then(|at| atoms.get_mut(at)) {
            slot.push((rule, items(model, rule)));
        } else if let Rule::Group(id) = rule {
            // Groups nest at most as deep as the engine allows, and none contains itself.
            if self.groups.insert((address_of(model), id))
                && let Some(group) = model.group(id)
            {
                self.clauses(model, [&group.include, &group.require, &group.exclude]);
            }
        } else if let Some(fact) = fact_behind(rule) {
            self.facts.insert(key_of(&fact), fact);
        }
    }

    fn keep(&mut self, atoms: [Atom<'a>; FIRST_FACT]) {
        for (slot, atom) in self.atoms.iter_mut().zip(atoms) {
            match self.grain {
                _ if atom.is_empty() => {}
                Grain::Clauses => slot.push(atom),
                Grain::Rules => slot.extend(atom.into_iter().map(|rule| vec![rule])),
            }
        }
    }

    fn finish(self) -> Space {
        let atoms = |variable: usize| self.atoms.get(variable).map(|it| &**it).unwrap_or_default();
        let texts = |variable: usize, pick: fn(&Rule) -> Option<String>| -> BTreeSet<String> {
            atoms(variable).iter().flatten().filter_map(|(rule, _)| pick(rule)).collect()
        };
        let countries = texts(COUNTRY, |rule| match rule {
            Rule::Geo(country) => Some(country.to_string()),
            _ => None,
        });
        let names = texts(CERTIFICATE, |rule| match rule {
            Rule::CommonName(name) => Some(name.to_string()),
            _ => None,
        });
        let tokens = texts(TOKEN, |rule| match rule {
            Rule::ServiceToken(id) => Some(id.to_string()),
            _ => None,
        });
        let other = ["AQ", "BV", "HM", "TF"].map(str::to_owned);
        let other_country = other.into_iter().find(|code| !countries.contains(code));
        let another = std::iter::once(Some(fresh("another-provider", &self.providers)));
        let providers = self.providers.iter().map(|id| Some((*id).to_owned()));
        let other_name = fresh("another.example", &names.iter().map(String::as_str).collect());
        let other_token = fresh("another-token", &tokens.iter().map(String::as_str).collect());
        let preflight = if self.has_preflight { 2 } else { 1 };
        let mut variables: Vec<Vec<Setting>> = vec![
            emails(atoms(LOGIN)),
            another.chain(providers).map(Setting::Provider).collect(),
            addresses(atoms(IP)),
            other_country.into_iter().chain(countries).map(Setting::Country).collect(),
            std::iter::once(None)
                .chain(names.into_iter().chain([other_name]).map(Some))
                .map(Setting::Certificate)
                .collect(),
            [Token::None, Token::Invalid]
                .into_iter()
                .chain(tokens.into_iter().chain([other_token]).map(Token::Valid))
                .map(Setting::Token)
                .collect(),
            RiskLevel::ALL.into_iter().rev().map(Setting::Risk).collect(),
            [false, true].into_iter().take(preflight).map(Setting::Preflight).collect(),
        ];
        let mut facts = HashMap::default();
        for (key, fact) in self.facts {
            facts.insert(key, variables.len());
            variables.push(vec![Setting::Holds(fact.clone(), false), Setting::Holds(fact, true)]);
        }
        Space {
            variables: variables.into_iter().map(|options| Variable { options }).collect(),
            diagrams: Diagrams::default(),
            facts,
            groups: HashMap::default(),
        }
    }
}

/// A request of which everything is known, and nothing is there.
fn blank(host: &str, path: &str) -> Scenario {
    let mut scenario = Scenario::new(host, path);
    scenario.groups = Some(Vec::new());
    scenario.github = Some(BTreeMap::new());
    scenario.saml = Some(BTreeMap::new());
    scenario.claims = Some(BTreeMap::new());
    scenario.auth_methods = Some(Vec::new());
    scenario.auth_contexts = Some(Vec::new());
    scenario.accounts = Some(Vec::new());
    scenario.device_posture = Some(Vec::new());
    scenario.linked_app_tokens = Some(Vec::new());
    scenario
}

/// The variable of rules that share one.
fn shared_variable(rule: &Rule) -> Option<usize> {
    Some(match rule {
        Rule::Email(_) | Rule::EmailDomain(_) | Rule::EmailList(_) => LOGIN,
        Rule::LoginMethod(_) => PROVIDER,
        Rule::Ip(_) | Rule::IpList(_) => IP,
        Rule::Geo(_) => COUNTRY,
        Rule::Certificate | Rule::CommonName(_) => CERTIFICATE,
        Rule::ServiceToken(_) | Rule::AnyValidServiceToken => TOKEN,
        Rule::UserRiskScore(_) => RISK,
        _ => return None,
    })
}

fn items<'a>(model: Model<'a>, rule: &Rule) -> Option<&'a ListItems> {
    match rule {
        Rule::EmailList(id) | Rule::IpList(id) => model.list(id).map(|list| &list.items),
        _ => None,
    }
}

/// Facts of one kind stand together, an organisation before its teams.
fn key_of(fact: &Rule) -> String {
    format!("{fact:?}")
}

/// Models live as long as the analysis, so where they lie tells them apart.
fn address_of(model: Model<'_>) -> usize {
    std::ptr::from_ref(model.policies).addr()
}

/// A text that is not among these.
fn fresh(text: &str, known: &BTreeSet<&str>) -> String {
    let mut text = text.to_owned();
    while known.contains(text.as_str()) {
        text.push('x');
    }
    text
}

fn bits(truth: Truth) -> u32 {
    u32::from(truth.to_byte())
}

pub(crate) fn truth(bits: u32) -> Truth {
    Truth::from_byte(u8::try_from(bits).unwrap_or_default())
}

fn and(a: u32, b: u32) -> u32 {
    bits(truth(a).and(truth(b)))
}

fn or(a: u32, b: u32) -> u32 {
    bits(truth(a).or(truth(b)))
}
