//! What a configuration can and can't do, without a request: which policies can never decide, and
//! what changes between two configurations. Every claim that something is possible comes with a
//! witness, a request that was put to the engine.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use crate::{
    catalog::Model,
    diagram::{Assignment, TooLarge},
    engine::Engine,
    gather::Grain,
    neighbours::Neighbours,
    outcome::{Named, Outcome},
    region::Address,
    scenario::Scenario,
    space::Space,
    suite::outcome_name,
    verdicts::{End, makes_a_difference, outcome, walk},
};

/// Whether a policy can ever be the one that decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reach {
    /// It decides about this request.
    Decides(Box<Scenario>),
    /// It never decides: it can't match, policies before it decide about all that it matches, or no
    /// request falls to its application.
    Never,
    /// The analysis grew too large and was given up; nothing is known.
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
    /// At most one difference for each destination, each pair of applications that decide about parts
    /// of it, and each pair of outcomes.
    pub differences: Vec<Difference>,
    /// Destinations for which the analysis was given up.
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
    /// The answer is exact for requests of which every fact is known: all combinations of facts that
    /// the policies can tell apart are looked at together. Only where the policies of one
    /// application tie more facts together than some hundred megabytes can hold is it
    /// [`Reach::Unknown`].
    pub fn reach(&self, application: usize, policy: usize) -> Reach {
        let neighbours = Neighbours::of([self]);
        let mut all = self.reach_all(application, &neighbours);
        if policy < all.len() { all.swap_remove(policy) } else { Reach::Never }
    }

    /// The same for all policies of an application at once.
    pub(crate) fn reach_all(&self, application: usize, neighbours: &Neighbours<'_>) -> Vec<Reach> {
        let model = self.model();
        let policies =
            model.policies.applications.get(application).map_or(0, |app| app.policies.len());
        let address = match neighbours.address_of(self, application) {
            Ok(Some(address)) => address,
            Ok(None) => return vec![Reach::Never; policies],
            Err(_) => return vec![Reach::Unknown; policies],
        };
        let mut space = Space::new(&[(model, application)], Grain::Clauses);
        let Ok(ways) = ways_to_decide(&mut space, model, application) else {
            return vec![Reach::Unknown; policies];
        };
        let reach = |at: usize| match ways.get(&at) {
            None => Reach::Never,
            Some(way) => {
                let scenario = space.scenario(&address.0, &address.1, way);
                if self.confirms(&scenario, application, at) {
                    Reach::Decides(Box::new(scenario))
                } else {
                    Reach::Unknown
                }
            }
        };
        (0..policies).map(reach).collect()
    }

    /// Rules without which a policy would decide about the same requests, by policy and rule. `None`
    /// if that would take too long to find out.
    pub(crate) fn dead_rules(&self, application: usize) -> Option<Vec<(usize, usize)>> {
        let model = self.model();
        let app = model.policies.applications.get(application)?;
        let rules: usize = model.in_order(app).map(|(_, policy)| policy.rules().count()).sum();
        if rules > MAX_RULES_TRIED {
            return None;
        }
        let mut space = Space::new(&[(model, application)], Grain::Rules);
        dead_rules(&mut space, model, application).ok()
    }

    /// Compares this configuration with a newer one, destination by destination.
    ///
    /// It is exact for requests of which every fact is known and whose path is in canonical form:
    /// where patterns overlap, each combination of them that some request belongs to is looked at.
    /// Outcomes are compared; reasons, the class of a refusal and obligations are not.
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
        let neighbours = Neighbours::of([self, newer]);
        let mut comparison = Comparison::new(self, newer);
        let mut seen = HashSet::new();
        for (pattern, others) in neighbours.patterns() {
            if !seen.insert(pattern.as_str()) {
                continue;
            }
            match others {
                Ok(addresses) => comparison.at_all(pattern.as_str(), &addresses),
                Err(_) => comparison.changes.unknown.push(pattern.to_string()),
            }
        }
        comparison.outside();
        comparison.changes
    }

    fn confirms(&self, scenario: &Scenario, application: usize, policy: usize) -> bool {
        let told = scenario.ask(|request| {
            let trace = self.decide(request).trace();
            (trace.application(), trace.policy()) == (Some(application), Some(policy))
        });
        told.unwrap_or(false)
    }

    /// The application to which a host and path fall, by the canonical path.
    pub(crate) fn application_at(&self, address: &Address) -> Option<usize> {
        let request = crate::request::Request::new(&address.0, &address.1).ok()?;
        self.find(&request)
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

/// For each policy that can decide, one way to it.
fn ways_to_decide(
    space: &mut Space,
    model: Model<'_>,
    application: usize,
) -> Result<HashMap<usize, Assignment>, TooLarge> {
    let walked = walk(space, model, application)?.end;
    let end = outcome(space, model, application, walked)?;
    let consistent = space.consistent()?;
    let end = space.diagrams.combine_where(consistent, end, &|_, end| end)?;
    let ways = space.diagrams.values(end, space.variables.len());
    Ok(ways.into_iter().filter_map(|(number, way)| Some((End::of(number).policy?, way))).collect())
}

fn dead_rules(
    space: &mut Space,
    model: Model<'_>,
    application: usize,
) -> Result<Vec<(usize, usize)>, TooLarge> {
    let mut dead = Vec::new();
    let Some(app) = model.policies.applications.get(application) else { return Ok(dead) };
    let consistent = space.consistent()?;
    for taken in walk(space, model, application)?.steps {
        let Some(policy) = app.policies.get(taken.position).and_then(|it| model.policy(it)) else {
            continue;
        };
        for (rule, otherwise) in space.without_each(model, policy)?.into_iter().enumerate() {
            if !makes_a_difference(space, &taken, otherwise, consistent)? {
                dead.push((taken.position, rule));
            }
        }
    }
    Ok(dead)
}

/// What two applications, one of each configuration, decide differently: one way for each pair of
/// outcomes.
#[derive(Debug)]
struct Compared {
    space: Space,
    ways: Vec<Assignment>,
}

struct Comparison<'a> {
    older: &'a Engine,
    newer: &'a Engine,
    /// Whether what applications refer to is the same in both.
    shares_references: bool,
    compared: HashMap<(Option<usize>, Option<usize>), Option<Compared>>,
    changes: Changes,
}

impl<'a> Comparison<'a> {
    fn new(older: &'a Engine, newer: &'a Engine) -> Self {
        let (old, new) = (older.policies(), newer.policies());
        let shares_references = old.policies == new.policies
            && old.groups == new.groups
            && old.lists == new.lists
            && old.organization == new.organization;
        Self {
            older,
            newer,
            shares_references,
            compared: HashMap::new(),
            changes: Changes { differences: Vec::new(), unknown: Vec::new() },
        }
    }

    /// Compares at all addresses of one pattern.
    fn at_all(&mut self, pattern: &str, addresses: &[Address]) {
        let mut pairs = HashSet::new();
        for address in addresses {
            let pair = (self.older.application_at(address), self.newer.application_at(address));
            if !pairs.insert(pair) || self.is_same(pair) {
                continue;
            }
            let (older, newer) = (self.older, self.newer);
            let compared = self.compared.entry(pair).or_insert_with(|| compare(older, newer, pair));
            match compared {
                Some(compared) => {
                    let ways = compared.ways.iter();
                    let witnesses: Vec<Scenario> = ways
                        .map(|way| compared.space.scenario(&address.0, &address.1, way))
                        .collect();
                    for witness in witnesses {
                        self.tell(witness);
                    }
                }
                None => {
                    if self.changes.unknown.last().is_none_or(|last| last != pattern) {
                        self.changes.unknown.push(pattern.to_owned());
                    }
                }
            }
        }
    }

    /// Hosts that no application covers.
    fn outside(&mut self) {
        let (older, newer) = (self.older, self.newer);
        let exempted = [older, newer]
            .into_iter()
            .flat_map(|engine| engine.policies().organization.unmatched.exempted_zones())
            .cloned();
        let hosts: Vec<String> =
            std::iter::once("nowhere.invalid".to_owned()).chain(exempted).collect();
        for host in hosts {
            let address = (host, "/".to_owned());
            let is_outside = |engine: &Engine| engine.application_at(&address).is_none();
            if is_outside(older) && is_outside(newer) {
                self.tell(Scenario::new(address.0, address.1));
            }
        }
    }

    /// Whether both applications are the same, down to what they refer to.
    fn is_same(&self, pair: (Option<usize>, Option<usize>)) -> bool {
        let (Some(old), Some(new)) = pair else { return false };
        let old = self.older.policies().applications.get(old);
        let new = self.newer.policies().applications.get(new);
        self.shares_references && old == new
    }

    /// Puts a witness to both engines, and notes what they say if it differs.
    fn tell(&mut self, witness: Scenario) {
        let told = |engine: &Engine| {
            witness.ask(|request| {
                let decision = engine.decide(request);
                let name = outcome_name(decision.outcome()).to_owned();
                (decision.outcome(), name, decision.reason().to_string())
            })
        };
        let (Ok(before), Ok(after)) = (told(self.older), told(self.newer)) else { return };
        if same(before.0, after.0) {
            return;
        }
        self.changes.differences.push(Difference {
            before: before.1,
            after: after.1,
            reason_before: before.2,
            reason_after: after.2,
            witness,
        });
    }
}

/// `None` if the analysis grew too large.
fn compare(
    older: &Engine,
    newer: &Engine,
    (old, new): (Option<usize>, Option<usize>),
) -> Option<Compared> {
    let sides = [(older, old), (newer, new)];
    let applications: Vec<_> =
        sides.iter().filter_map(|(engine, at)| Some((engine.model(), (*at)?))).collect();
    let mut space = Space::new(&applications, Grain::Clauses);
    let mut ends = Vec::new();
    for (engine, at) in sides {
        ends.push(match at {
            Some(at) => {
                let walked = walk(&mut space, engine.model(), at).ok()?.end;
                outcome(&mut space, engine.model(), at, walked).ok()?
            }
            // Something else than any application says, so that the engines are asked.
            None => space.diagrams.leaf(0),
        });
    }
    let [old_end, new_end] = <[_; 2]>::try_from(ends).ok()?;
    let is_covered = old.is_some() && new.is_some();
    let differ = |a: u32, b: u32| {
        let (a, b) = (End::of(a).outcome, End::of(b).outcome);
        if is_covered && same(a, b) { 0 } else { 1 + 8 * rank(a) + rank(b) }
    };
    let differ = space.diagrams.combine(old_end, new_end, &differ).ok()?;
    let consistent = space.consistent().ok()?;
    let differ = space.diagrams.combine_where(consistent, differ, &|_, it| it);
    let ways = space.diagrams.values(differ.ok()?, space.variables.len());
    let ways = ways.into_iter().filter(|(value, _)| *value != 0).map(|(_, way)| way).collect();
    Some(Compared { space, ways })
}

/// Refusals are alike here, whatever their class.
fn same(a: Outcome, b: Outcome) -> bool {
    a == b || matches!((a, b), (Outcome::Deny(_), Outcome::Deny(_)))
}

fn rank(outcome: Outcome) -> u32 {
    u32::from(outcome.permissiveness())
}

/// Rules of one application; each is left out once, which takes longer the more there are.
const MAX_RULES_TRIED: usize = 400;
