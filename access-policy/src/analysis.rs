//! What a configuration can and can't do, without a request: which policies can never decide, and
//! what changes between two configurations. Every claim that something is possible comes with a
//! witness, a request that was put to the engine.

use std::cell::Cell;

use serde::Serialize;

use crate::{
    application::Application,
    catalog::Model,
    destination::Destination,
    engine::Engine,
    outcome::{Named, Outcome},
    policy::Action,
    rule::Rule,
    scenario::Scenario,
    space::{Assignment, Space},
    suite::outcome_name,
};

/// Whether a policy can ever be the one that decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reach {
    /// It decides about this request.
    Decides(Box<Scenario>),
    /// It never decides: it can't match, or policies before it decide about all that it matches.
    Never,
    /// The search was given up; nothing is known.
    Unknown,
}

/// A request about which two configurations decide differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Difference {
    /// The request.
    pub witness: Scenario,
    /// What the old configuration says, as in expectations.
    pub before: String,
    /// What the new configuration says.
    pub after: String,
    /// The reason of the old one.
    pub reason_before: String,
    /// The reason of the new one.
    pub reason_after: String,
}

/// What changes between two configurations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Changes {
    /// At most one difference for each destination and each pair of outcomes.
    pub differences: Vec<Difference>,
    /// Destinations for which the search was given up.
    pub unknown: Vec<String>,
}

impl Changes {
    /// Reports whether both configurations decide alike, wherever that was found out.
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty() && self.unknown.is_empty()
    }
}

impl Engine {
    /// Works out whether a policy of an application can ever decide. Both are given by position,
    /// as in [`Policies::applications`](crate::Policies) and its `policies`.
    ///
    /// The answer is exact: the search goes through every combination of facts that the policies can
    /// tell apart, and gives up only after some hundred thousand steps.
    pub fn reach(&self, application: usize, policy: usize) -> Reach {
        let model = self.model();
        let Some(app) = model.policies.applications.get(application) else {
            return Reach::Never;
        };
        let Some(address) = self.address_of(application, app) else {
            return Reach::Never;
        };
        let space = Space::new(&[(model, application)]);
        let goal =
            |assignment: &Assignment| decides(&space, model, (application, policy), assignment);
        let mut found = None;
        let end = search(&space, &goal, &mut |assignment| {
            let scenario = space.scenario(&address.0, &address.1, assignment);
            let is_witness = self.confirms(&scenario, application, policy);
            if is_witness {
                found = Some(scenario);
            }
            is_witness
        });
        match (found, end) {
            (Some(scenario), _) => Reach::Decides(Box::new(scenario)),
            (None, End::Exhausted) => Reach::Never,
            (None, End::GivenUp) => Reach::Unknown,
        }
    }

    /// Compares this configuration with a newer one, destination by destination.
    ///
    /// ```
    /// use access_policy::{Engine, Policies};
    ///
    /// let compile = |country: &str| {
    ///     let json = format!(r#"[{{"domain": "app.example.com", "policies": [{{"name": "p",
    ///         "decision": "bypass", "include": [{{"geo": {{"country_code": "{country}"}}}}]}}]}}]"#);
    ///     Engine::compile(Policies::from_json(&json)?)
    /// };
    /// let changes = compile("JP")?.changes(&compile("US")?);
    /// assert_eq!(changes.differences.len(), 2);
    /// assert_eq!(changes.differences[0].before, "bypass");
    /// assert_eq!(changes.differences[0].witness.country.as_deref(), Some("JP"));
    /// assert!(compile("JP")?.changes(&compile("JP")?).is_empty());
    /// # Ok::<(), access_policy::Error>(())
    /// ```
    pub fn changes(&self, newer: &Self) -> Changes {
        let mut changes = Changes { differences: Vec::new(), unknown: Vec::new() };
        let mut patterns: Vec<String> = [self, newer]
            .iter()
            .flat_map(|engine| &engine.policies().applications)
            .filter(|application| application.kind.protects_hosts())
            .flat_map(|application| &application.destinations)
            .map(ToString::to_string)
            .collect();
        patterns.sort_unstable();
        patterns.dedup();
        for pattern in patterns {
            for fill in FILLS {
                let (host, path) = sample(&pattern, fill);
                self.changes_at(newer, &host, &path, &pattern, &mut changes);
                if !pattern.contains('*') {
                    break;
                }
            }
        }
        changes
    }

    fn changes_at(&self, newer: &Self, host: &str, path: &str, pattern: &str, out: &mut Changes) {
        let position = |engine: &Self| {
            let scenario = Scenario::new(host, path);
            scenario.ask(|request| engine.decide(request).trace().application()).ok().flatten()
        };
        let sides = [(self, position(self)), (newer, position(newer))];
        let applications: Vec<_> =
            sides.iter().filter_map(|(engine, at)| Some((engine.model(), (*at)?))).collect();
        let space = Space::new(&applications);
        let mut seen: Vec<(String, String)> = Vec::new();
        let goal = |assignment: &Assignment| {
            let mut ends = Vec::new();
            for (engine, at) in &sides {
                match at.map(|at| outcome(&space, engine.model(), at, assignment)) {
                    Some(Step::Branch(variable)) => return Step::Branch(variable),
                    Some(Step::Found(outcome)) => ends.push(Some(outcome)),
                    Some(Step::Dead) | None => ends.push(None),
                }
            }
            if ends.first() == ends.last() && sides[0].1.is_some() == sides[1].1.is_some() {
                Step::Dead
            } else {
                Step::Found(())
            }
        };
        let end = search(&space, &goal, &mut |assignment| {
            let witness = space.scenario(host, path, assignment);
            let told = |engine: &Self| {
                let told = witness.ask(|request| {
                    let decision = engine.decide(request);
                    let name = outcome_name(decision.outcome()).to_owned();
                    (decision.outcome(), name, decision.reason().to_string())
                });
                told.ok()
            };
            if let (Some(before), Some(after)) = (told(self), told(newer)) {
                let pair = (before.1.clone(), after.1.clone());
                let is_new = !same(before.0, after.0) && !seen.contains(&pair);
                if is_new {
                    seen.push(pair);
                    out.differences.push(Difference {
                        witness,
                        before: before.1,
                        after: after.1,
                        reason_before: before.2,
                        reason_after: after.2,
                    });
                }
            }
            false
        });
        if end == End::GivenUp {
            out.unknown.push(pattern.to_owned());
        }
    }

    /// A host and path that fall to an application: where its destinations overlap with others,
    /// some that fall to it alone if they are easily found.
    fn address_of(&self, at: usize, application: &Application) -> Option<(String, String)> {
        let patterns = application.destinations.iter().map(Destination::as_str);
        let mut samples =
            patterns.flat_map(|pattern| FILLS.iter().map(move |fill| sample(pattern, fill)));
        let first = samples.next()?;
        let falls_to_it = |address: &(String, String)| {
            let scenario = Scenario::new(address.0.as_str(), address.1.as_str());
            let found = scenario.ask(|request| self.decide(request).trace().application());
            found.is_ok_and(|found| found == Some(at))
        };
        if falls_to_it(&first) {
            return Some(first);
        }
        Some(samples.find(falls_to_it).unwrap_or(first))
    }

    fn confirms(&self, scenario: &Scenario, application: usize, policy: usize) -> bool {
        let told = scenario.ask(|request| {
            let verdict = self.judge_by(application, request);
            verdict.policy.is_some_and(|by| by as usize == policy)
        });
        told.unwrap_or(false)
    }

    /// Names a policy for lints.
    pub(crate) fn name_of(&self, application: usize, policy: usize) -> String {
        let model = self.model();
        let app = model.policies.applications.get(application);
        let entry = app.and_then(|app| app.policies.get(policy));
        match entry.and_then(|entry| model.policy(entry)) {
            Some(policy) => Named(policy).to_string(),
            None => "a policy".to_owned(),
        }
    }
}

/// What is known at one point of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step<T> {
    /// The goal is reached, whatever else is chosen.
    Found(T),
    /// It can't be reached from here.
    Dead,
    /// It depends on this variable.
    Branch(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Exhausted,
    GivenUp,
}

/// Goes through all assignments that can matter. `found` says whether to stop.
pub(crate) fn search(
    space: &Space,
    goal: &dyn Fn(&Assignment) -> Step<()>,
    found: &mut dyn FnMut(&Assignment) -> bool,
) -> End {
    let mut budget = SEARCH_STEPS;
    let mut assignment = space.nothing();
    descend(space, goal, found, &mut assignment, &mut budget);
    if budget == 0 { End::GivenUp } else { End::Exhausted }
}

/// Gives true when the search is over.
fn descend(
    space: &Space,
    goal: &dyn Fn(&Assignment) -> Step<()>,
    found: &mut dyn FnMut(&Assignment) -> bool,
    assignment: &mut Assignment,
    budget: &mut u32,
) -> bool {
    *budget = budget.saturating_sub(1);
    if *budget == 0 {
        return true;
    }
    match goal(assignment) {
        Step::Found(()) => found(assignment),
        Step::Dead => false,
        Step::Branch(variable) => {
            let options = space.variables.get(variable).map_or(0, |known| known.options.len());
            for option in 0..options {
                choose(assignment, variable, Some(option));
                if descend(space, goal, found, assignment, budget) {
                    return true;
                }
            }
            choose(assignment, variable, None);
            false
        }
    }
}

fn choose(assignment: &mut Assignment, variable: usize, option: Option<usize>) {
    if let Some(slot) = assignment.get_mut(variable) {
        *slot = option;
    }
}

/// What becomes of a request, as far as an assignment tells. Missing facts do not occur, but for
/// selectors that nobody can answer.
fn outcome(
    space: &Space,
    model: Model<'_>,
    application: usize,
    assignment: &Assignment,
) -> Step<Outcome> {
    match walk(space, model, application, assignment) {
        Step::Found((outcome, _)) => Step::Found(outcome),
        Step::Dead => Step::Dead,
        Step::Branch(variable) => Step::Branch(variable),
    }
}

/// Whether a policy decides.
fn decides(
    space: &Space,
    model: Model<'_>,
    (application, policy): (usize, usize),
    assignment: &Assignment,
) -> Step<()> {
    match walk(space, model, application, assignment) {
        Step::Found((outcome, Some(by))) if by == policy && outcome != Outcome::NeedsIdentity => {
            Step::Found(())
        }
        Step::Found(_) | Step::Dead => Step::Dead,
        Step::Branch(variable) => Step::Branch(variable),
    }
}

/// The walk of `evaluate`, under an assignment that may be incomplete.
fn walk(
    space: &Space,
    model: Model<'_>,
    application: usize,
    assignment: &Assignment,
) -> Step<(Outcome, Option<usize>)> {
    use crate::outcome::DenyClass;

    let Some(app) = model.policies.applications.get(application) else { return Step::Dead };
    let mut open = false;
    let refused = Outcome::Deny(DenyClass::Identity);
    for (position, policy) in model.in_order(app) {
        let pending = Cell::new(None);
        let clauses: (&[Rule], &[Rule], &[Rule]) =
            (&policy.include, &policy.require, &policy.exclude);
        let truth = space.matches(model, clauses, assignment, &pending);
        if truth.is_false() {
            continue;
        }
        if let (false, Some(variable)) = (truth.is_true(), pending.get()) {
            return Step::Branch(variable);
        }
        let found = |outcome| Step::Found((outcome, Some(position)));
        match policy.decision {
            Action::Bypass if truth.is_true() => return found(Outcome::Bypass),
            Action::NonIdentity if truth.is_true() => return found(Outcome::ServiceAuth),
            Action::Bypass | Action::NonIdentity => continue,
            Action::Allow | Action::Deny => {}
        }
        let Some(is_logged_in) = space.is_logged_in(assignment) else {
            return Step::Branch(Space::LOGIN);
        };
        match policy.decision {
            Action::Allow if truth.is_true() && is_logged_in => return found(Outcome::Allow),
            Action::Allow if truth.could_be_true() && !is_logged_in => open = true,
            Action::Deny if truth.could_be_false() && !truth.is_true() && !is_logged_in => {}
            Action::Deny if open => break,
            Action::Deny => return found(refused),
            _ => {}
        }
    }
    Step::Found((if open { Outcome::NeedsIdentity } else { refused }, None))
}

/// Refusals are alike here, whatever their class.
fn same(a: Outcome, b: Outcome) -> bool {
    a == b || matches!((a, b), (Outcome::Deny(_), Outcome::Deny(_)))
}

/// A host and path that a pattern covers, with a word in place of each wildcard.
fn sample(pattern: &str, fill: &str) -> (String, String) {
    let (host, path) = pattern.split_at(pattern.find('/').unwrap_or(pattern.len()));
    let path = if path.is_empty() { "/".to_owned() } else { path.replace('*', fill) };
    (host.replace('*', fill), path)
}

/// Words for wildcards. More than one, so that not all fall to a more specific pattern.
const FILLS: [&str; 3] = ["any", "q7x", "5-z"];

/// Some seconds at worst.
const SEARCH_STEPS: u32 = 200_000;
