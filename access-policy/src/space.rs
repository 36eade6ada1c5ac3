//! Rules as functions of variables, and ways through those functions as requests.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::FixedState;

use crate::{
    candidates::{Atom, Settled},
    catalog::Model,
    diagram::{Assignment, Diagrams, Ref, Side, TooLarge},
    gather::{
        FIRST_FACT, Gathered, Grain, LOGIN, PROVIDER, Variable, address_of, gather, items, key_of,
        shared_variable,
    },
    policy::Policy,
    rule::Rule,
    scenario::Scenario,
    setting::{Setting, fact_behind, implies, respell_groups},
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

type Join = fn(&mut Space, Ref, Ref) -> Result<Ref, TooLarge>;

impl Space {
    /// Gathers the rules of applications, each given by its model and position.
    pub(crate) fn new(applications: &[(Model<'_>, usize)], grain: Grain) -> Self {
        let Gathered { variables, facts } = gather(applications, grain);
        Self { variables, facts, diagrams: Diagrams::default(), groups: HashMap::default() }
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
