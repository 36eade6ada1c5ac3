//! Faults that no compiler refuses: rules that do nothing, doors that stand wide open.

use std::collections::{HashMap, HashSet};

use crate::{
    analysis::Reach,
    application::{Application, PolicyEntry},
    engine::Engine,
    neighbours::Neighbours,
    organization::Unmatched,
    policy::{Action, Part, Policy},
    remark::{Lint, LintCode},
    rule::Rule,
};

impl Engine {
    /// Looks for rules that do nothing, and for doors that stand wide open.
    ///
    /// ```
    /// use access_policy::{Engine, LintCode, Policies};
    ///
    /// let engine = Engine::compile(Policies::from_json(r#"[{"domain": "app.example.com",
    ///     "policies": [{"name": "all", "decision": "allow", "include": [{"everyone": {}}]}]}]"#)?)?;
    /// let lints = engine.lint();
    /// assert_eq!(lints[0].code, LintCode::OpenToAnyone);
    /// assert_eq!(lints[0].location, "/applications/0/policies/0");
    /// # Ok::<(), access_policy::Error>(())
    /// ```
    pub fn lint(&self) -> Vec<Lint> {
        let mut linter = Linter { engine: self, lints: Vec::new() };
        let policies = self.policies();
        if policies.organization.unmatched == Unmatched::DangerPass {
            let message = "requests that no application covers pass without any check";
            linter.add(LintCode::UnmatchedRequestsPass, "/organization", message);
        }
        for (at, group) in policies.groups.iter().enumerate() {
            let place = format!("/groups/{at}");
            linter.rules(&group.include, &group.require, &group.exclude, &place);
        }
        for (at, policy) in policies.policies.iter().enumerate() {
            linter.policy(policy, &format!("/policies/{at}"));
        }
        let neighbours = Neighbours::of([self]);
        for (at, application) in policies.applications.iter().enumerate() {
            linter.application(at, application, &neighbours);
        }
        linter.overlaps();
        linter.confusable_domains();
        linter.unused();
        linter.lints
    }
}

struct Linter<'a> {
    engine: &'a Engine,
    lints: Vec<Lint>,
}

impl Linter<'_> {
    fn application(&mut self, at: usize, application: &Application, neighbours: &Neighbours<'_>) {
        let model = self.engine.model();
        let reach = if application.kind.protects_hosts() {
            self.engine.reach_all(at, neighbours)
        } else {
            Vec::new()
        };
        for (position, entry) in application.policies.iter().enumerate() {
            let place = format!("/applications/{at}/policies/{position}");
            let Some(policy) = model.policy(entry) else { continue };
            if let PolicyEntry::Inline(policy) = entry {
                self.policy(policy, &place);
            }
            let has_wildcard =
                application.destinations.iter().any(|pattern| pattern.as_str().contains('*'));
            if policy.decision == Action::Bypass && has_wildcard {
                let message = "a bypass opens every host and path that the wildcard covers";
                self.add(LintCode::BypassOnWildcardPath, &place, message);
            }
            if !policy.include.is_empty() && reach.get(position) == Some(&Reach::Never) {
                let name = self.engine.name_of(at, position);
                let message = format!("{name} can never decide; the policies before it do");
                self.add(LintCode::ShadowedPolicy, &place, &message);
            }
        }
        self.dead_rules(at, application, &reach);
    }

    /// Rules that are not dead for a reason that was told already.
    fn dead_rules(&mut self, at: usize, application: &Application, reach: &[Reach]) {
        for (position, rule) in self.engine.dead_rules(at).unwrap_or_default() {
            let Some(PolicyEntry::Inline(policy)) = application.policies.get(position) else {
                continue;
            };
            let Some((part, _)) = policy.rules().nth(rule) else { continue };
            let before = match part {
                Part::Include => 0,
                Part::Require => policy.include.len(),
                Part::Exclude => policy.include.len() + policy.require.len(),
            };
            let policy_place = format!("/applications/{at}/policies/{position}");
            let place = format!("{policy_place}/{part}/{}", rule - before);
            let is_told = reach.get(position) == Some(&Reach::Never)
                || self.lints.iter().rev().take(MAX_LINTS_SEARCHED).any(|it| it.location == place);
            if !is_told {
                let message = "without it, the policy would decide about the same requests";
                self.add(LintCode::DeadRule, &place, message);
            }
        }
    }

    fn policy(&mut self, policy: &Policy, place: &str) {
        self.rules(&policy.include, &policy.require, &policy.exclude, place);
        if policy.decision == Action::Allow && is_open(policy) {
            let message = "anybody who can log in is let in; name a domain, a group or addresses";
            self.add(LintCode::OpenToAnyone, place, message);
        }
        if matches!(policy.decision, Action::Allow | Action::Deny)
            && let Some((part, rule)) = policy.rules().find(|(_, rule)| rule.is_token())
        {
            let message = format!(
                "{part} `{}` lets no program in here; use a policy with decision `non_identity`",
                rule.selector()
            );
            self.add(LintCode::TokenOutsideServiceAuth, place, &message);
        }
    }

    fn rules(&mut self, include: &[Rule], require: &[Rule], exclude: &[Rule], place: &str) {
        if include.is_empty() {
            let message = "without include rules it never matches; add one, or remove it";
            self.add(LintCode::EmptyInclude, place, message);
        }
        for (name, rules) in [("include", include), ("require", require), ("exclude", exclude)] {
            for (at, rule) in rules.iter().enumerate() {
                self.rule(rule, &format!("{place}/{name}/{at}"));
                let earlier = rules.iter().enumerate();
                let covering = earlier.filter(|(other, _)| *other != at).find(|(other, wider)| {
                    let is_twin = *wider == rule;
                    if name == "require" {
                        is_twin && *other < at
                    } else {
                        covers(wider, rule) && (!is_twin || *other < at)
                    }
                });
                if let Some((other, wider)) = covering {
                    let message = format!("rule {other} ({}) covers it already", wider.condition());
                    self.add(LintCode::RedundantRule, &format!("{place}/{name}/{at}"), &message);
                }
            }
        }
        for (at, rule) in require.iter().enumerate() {
            if let Some(other) = require.iter().take(at).position(|other| contradict(other, rule)) {
                let message = format!(
                    "it can't hold together with rule {other}; for \"one of\", use a group"
                );
                self.add(
                    LintCode::ContradictoryRequire,
                    &format!("{place}/require/{at}"),
                    &message,
                );
            }
        }
        for (at, rule) in exclude.iter().enumerate() {
            let is_apart = !include.is_empty() && include.iter().all(|one| contradict(one, rule));
            if is_apart || require.iter().any(|one| contradict(one, rule)) {
                let message = "nobody whom the other rules let through is excluded by it";
                self.add(LintCode::ExcludeNeverFires, &format!("{place}/exclude/{at}"), message);
            }
        }
    }

    fn rule(&mut self, rule: &Rule, place: &str) {
        match rule {
            Rule::AuthMethod(method) if !KNOWN_METHODS.contains(&&**method) => {
                let message =
                    format!("`{method}` is no method of RFC 8176; is it what the provider sends?");
                self.add(LintCode::UnknownAmr, place, &message);
            }
            Rule::Saml { provider: None, .. } => {
                let message = "it holds for an assertion of any provider; name one";
                self.add(LintCode::MissingProviderId, place, message);
            }
            Rule::Unsupported(_) => {
                let message = "nobody can answer this selector: it admits nobody, and denies where it stands in a deny policy";
                self.add(LintCode::UnsupportedSelector, place, message);
            }
            _ => {}
        }
    }

    fn overlaps(&mut self) {
        let applications = &self.engine.policies().applications;
        let mut wild = Vec::new();
        for (at, application) in applications.iter().enumerate() {
            let patterns =
                application.destinations.iter().filter(|_| application.kind.protects_hosts());
            wild.extend(patterns.filter(|p| p.as_str().contains('*')).map(|p| (at, p)));
        }
        // Beyond that, comparing each with each takes too long.
        wild.truncate(MAX_WILDCARDS_COMPARED);
        for (position, (at, first)) in wild.iter().enumerate() {
            for (other, second) in wild.iter().skip(position + 1) {
                if at != other && first.overlaps(second) {
                    let message = format!(
                        "`{second}` and `{first}` of /applications/{at} cover some of the same \
                         requests; the more specific one decides alone"
                    );
                    let place = format!("/applications/{other}");
                    self.add(LintCode::OverlappingWildcard, &place, &message);
                }
            }
        }
    }

    fn confusable_domains(&mut self) {
        let mut domains: HashMap<String, String> = HashMap::new();
        let mut seen: HashSet<String> = HashSet::new();
        let mut found = Vec::new();
        for (place, rule) in self.all_rules() {
            let domain = match rule {
                Rule::EmailDomain(domain) => domain.as_str(),
                Rule::Email(email) => email.domain(),
                _ => continue,
            };
            if !seen.insert(domain.to_owned()) {
                continue;
            }
            match domains.get(&skeleton(domain)) {
                Some(other) => found.push((place, format!("`{domain}` looks like `{other}`"))),
                None => drop(domains.insert(skeleton(domain), domain.to_owned())),
            }
        }
        for (place, message) in found {
            self.add(LintCode::ConfusableDomain, &place, &message);
        }
    }

    fn unused(&mut self) {
        let policies = self.engine.policies();
        let used: HashSet<String> = self
            .all_rules()
            .into_iter()
            .filter_map(|(_, rule)| match rule {
                Rule::Group(id) => Some(format!("group {id}")),
                Rule::EmailList(id) | Rule::IpList(id) => Some(format!("list {id}")),
                _ => None,
            })
            .collect();
        let entries = policies.applications.iter().flat_map(|application| &application.policies);
        let linked: HashSet<&str> = entries
            .filter_map(|entry| match entry {
                PolicyEntry::Link(id) => Some(&**id),
                PolicyEntry::Inline(_) => None,
            })
            .collect();
        let groups = policies.groups.iter().enumerate();
        let groups = groups.filter(|(_, group)| !used.contains(&format!("group {}", group.id)));
        let lists = policies.lists.iter().enumerate();
        let lists = lists.filter(|(_, list)| !used.contains(&format!("list {}", list.id)));
        let reusable = policies.policies.iter().enumerate();
        let reusable = reusable.filter(|(_, policy)| !linked.contains(&*policy.id));
        let places: Vec<String> = groups
            .map(|(at, _)| format!("/groups/{at}"))
            .chain(lists.map(|(at, _)| format!("/lists/{at}")))
            .chain(reusable.map(|(at, _)| format!("/policies/{at}")))
            .collect();
        for place in places {
            self.add(LintCode::Unused, &place, "nothing uses it");
        }
    }

    fn all_rules(&self) -> Vec<(String, &Rule)> {
        let policies = self.engine.policies();
        let mut rules = Vec::new();
        for (at, application) in policies.applications.iter().enumerate() {
            for (position, entry) in application.policies.iter().enumerate() {
                if let PolicyEntry::Inline(policy) = entry {
                    let place = format!("/applications/{at}/policies/{position}");
                    rules.extend(policy.rules().map(|(_, rule)| (place.clone(), rule)));
                }
            }
        }
        for (at, policy) in policies.policies.iter().enumerate() {
            rules.extend(policy.rules().map(|(_, rule)| (format!("/policies/{at}"), rule)));
        }
        for (at, group) in policies.groups.iter().enumerate() {
            rules.extend(group.rules().map(|rule| (format!("/groups/{at}"), rule)));
        }
        rules
    }

    fn add(&mut self, code: LintCode, location: &str, message: &str) {
        let (location, message) = (location.to_owned(), message.to_owned());
        self.lints.push(Lint { code, location, message });
    }
}

/// Whether everybody who can log in, or receive a code, is included.
fn is_open(policy: &Policy) -> bool {
    let is_wide = |rule: &Rule| matches!(rule, Rule::Everyone | Rule::LoginMethod(_));
    policy.include.iter().any(is_wide) && policy.require.iter().all(is_wide)
}

/// Whether one rule holds wherever another does.
fn covers(wider: &Rule, rule: &Rule) -> bool {
    match (wider, rule) {
        (Rule::EmailDomain(domain), Rule::Email(email)) => email.domain() == domain.as_str(),
        (Rule::Ip(wider), Rule::Ip(network)) => wider.covers(network),
        (Rule::Everyone, _)
        | (Rule::Certificate, Rule::CommonName(_))
        | (Rule::AnyValidServiceToken, Rule::ServiceToken(_)) => true,
        (
            Rule::GithubOrganization { name: a, team: None, provider: p },
            Rule::GithubOrganization { name: b, provider: q, .. },
        ) => a == b && p == q,
        (wider, rule) => wider == rule,
    }
}

/// Whether two rules can never hold together.
fn contradict(a: &Rule, b: &Rule) -> bool {
    match (a, b) {
        (Rule::Geo(a), Rule::Geo(b)) => a != b,
        (Rule::Email(a), Rule::Email(b)) => a != b,
        (Rule::EmailDomain(a), Rule::EmailDomain(b)) => a != b,
        (Rule::Email(email), Rule::EmailDomain(domain))
        | (Rule::EmailDomain(domain), Rule::Email(email)) => email.domain() != domain.as_str(),
        (Rule::Ip(a), Rule::Ip(b)) => !a.covers(b) && !b.covers(a),
        (Rule::CommonName(a), Rule::CommonName(b))
        | (Rule::ServiceToken(a), Rule::ServiceToken(b)) => a != b,
        (Rule::UserRiskScore(a), Rule::UserRiskScore(b)) => {
            a.iter().all(|level| !b.contains(level))
        }
        (a, b) => match (a.provider(), b.provider()) {
            (Some(a), Some(b)) => a != b,
            _ => false,
        },
    }
}

/// Domains with the same skeleton are easily taken for one another.
fn skeleton(domain: &str) -> String {
    let folded = domain.replace("rn", "m").replace("vv", "w").replace('-', "");
    folded
        .chars()
        .map(|letter| match letter {
            '0' => 'o',
            '1' | 'i' => 'l',
            '5' => 's',
            letter => letter,
        })
        .collect()
}

/// RFC 8176 section 2.
const KNOWN_METHODS: [&str; 20] = [
    "face", "fpt", "geo", "hwk", "iris", "kba", "mca", "mfa", "otp", "pin", "pwd", "rba", "retina",
    "sc", "sms", "swk", "tel", "user", "vbm", "wia",
];

/// Remarks about one policy, with room to spare.
const MAX_LINTS_SEARCHED: usize = 2_000;

/// Comparing each with each is quadratic.
const MAX_WILDCARDS_COMPARED: usize = 2_000;
