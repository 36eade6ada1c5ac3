//! All that can be true of a request as far as some applications care, as a finite set of variables.
//!
//! Rules that ask for the same thing share a variable: an e-mail address settles every rule about
//! addresses and domains, a network address every rule about networks. Values that no clause tells
//! apart are represented by one of them, so nothing is left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::FixedState;

use crate::{
    candidates::{Atom, addresses, emails},
    catalog::Model,
    list::ListItems,
    risk::RiskLevel,
    rule::Rule,
    setting::{Setting, Token, fact_behind},
};

/// The variables of some applications.
#[derive(Debug)]
pub(crate) struct Gathered {
    pub(crate) variables: Vec<Variable>,
    /// The variable of each fact that holds or does not.
    pub(crate) facts: HashMap<String, usize, FixedState>,
}

/// One thing that can be chosen. Option 0 is the one that speaks for nothing in particular.
#[derive(Debug)]
pub(crate) struct Variable {
    pub(crate) options: Vec<Setting>,
}

/// In their order on every way through a diagram.
pub(crate) const LOGIN: usize = 0;
pub(crate) const PROVIDER: usize = 1;
pub(crate) const IP: usize = 2;
pub(crate) const COUNTRY: usize = 3;
pub(crate) const CERTIFICATE: usize = 4;
pub(crate) const TOKEN: usize = 5;
pub(crate) const RISK: usize = 6;
pub(crate) const PREFLIGHT: usize = 7;
pub(crate) const FIRST_FACT: usize = 8;

/// How finely values are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grain {
    /// By what each clause as a whole makes of them.
    Clauses,
    /// By what each single rule makes of them.
    Rules,
}

/// Gathers the rules of applications, each given by its model and position.
pub(crate) fn gather(applications: &[(Model<'_>, usize)], grain: Grain) -> Gathered {
    let mut gathered = Gathering::new(grain);
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

/// What a search through the rules of some applications brings together.
struct Gathering<'a> {
    grain: Grain,
    atoms: [Vec<Atom<'a>>; FIRST_FACT],
    facts: BTreeMap<String, Rule>,
    providers: BTreeSet<&'a str>,
    groups: BTreeSet<(usize, &'a str)>,
    has_preflight: bool,
}

impl<'a> Gathering<'a> {
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

    fn finish(self) -> Gathered {
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
        let variables = variables.into_iter().map(|options| Variable { options }).collect();
        Gathered { variables, facts }
    }
}

/// The variable of rules that share one.
pub(crate) fn shared_variable(rule: &Rule) -> Option<usize> {
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

pub(crate) fn items<'a>(model: Model<'a>, rule: &Rule) -> Option<&'a ListItems> {
    match rule {
        Rule::EmailList(id) | Rule::IpList(id) => model.list(id).map(|list| &list.items),
        _ => None,
    }
}

/// Facts of one kind stand together, an organisation before its teams.
pub(crate) fn key_of(fact: &Rule) -> String {
    format!("{fact:?}")
}

/// Models live as long as the analysis, so where they lie tells them apart.
pub(crate) fn address_of(model: Model<'_>) -> usize {
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
