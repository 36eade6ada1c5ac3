//! What would have to change for a request to pass.

use serde::Serialize;

use crate::{
    engine::Engine,
    gather::Grain,
    request::Request,
    scenario::Scenario,
    setting::{Setting, Token},
    space::Space,
};

/// A smallest change of facts with which a request would pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Remedy {
    /// The facts that change, in words.
    pub changes: Vec<String>,
    /// The request with those changes; the engine lets it pass.
    pub request: Scenario,
}

impl Engine {
    /// Finds the smallest changes of facts that would let a request pass: those of one fact, or if
    /// there are none, of two or three. Empty if the request passes, or if none was found.
    ///
    /// Each was put to the engine. The address, who has logged in, the country and so on count as
    /// one fact each.
    ///
    /// # Security
    ///
    /// The answer quotes policies. It is for operators.
    ///
    /// ```
    /// use access_policy::{EmailAddress, Engine, Identity, Policies, Request};
    ///
    /// let engine = Engine::compile(Policies::from_json(r#"[{"domain": "app.example.com",
    ///     "policies": [{"name": "staff", "decision": "allow",
    ///                   "include": [{"email_domain": {"domain": "example.com"}}],
    ///                   "require": [{"geo": {"country_code": "JP"}}]}]}]"#)?)?;
    /// let hanako = Identity::new(EmailAddress::parse("hanako@example.com")?);
    /// let request = Request::new("app.example.com", "/")?.identity(&hanako);
    /// let remedies = engine.why_not(&request);
    /// assert_eq!(remedies[0].changes, ["country is JP"]);
    /// # Ok::<(), access_policy::Error>(())
    /// ```
    pub fn why_not(&self, request: &Request<'_>) -> Vec<Remedy> {
        let decision = self.decide(request);
        let Some(at) = decision.trace().application() else {
            return Vec::new();
        };
        if decision.is_pass() {
            return Vec::new();
        }
        let scenario = Scenario::of(request);
        let space = Space::new(&[(self.model(), at)], Grain::Rules);
        let settings: Vec<Vec<&Setting>> = space
            .variables
            .iter()
            .map(|variable| variable.options.iter().filter(|s| helps(s)).collect())
            .collect();
        let mut budget = TRIES;
        for size in 1..=MAX_CHANGES {
            let mut found = Vec::new();
            self.try_changes(
                &settings,
                0,
                size,
                &scenario,
                &mut Vec::new(),
                &mut found,
                &mut budget,
            );
            if !found.is_empty() || budget == 0 {
                return found;
            }
        }
        Vec::new()
    }

    #[expect(clippy::too_many_arguments, reason = "the state of a recursion")]
    fn try_changes(
        &self,
        settings: &[Vec<&Setting>],
        from: usize,
        size: usize,
        scenario: &Scenario,
        changes: &mut Vec<String>,
        found: &mut Vec<Remedy>,
        budget: &mut u32,
    ) {
        if size == 0 {
            *budget = budget.saturating_sub(1);
            let passes = scenario.ask(|request| self.decide(request).is_pass()).unwrap_or(false);
            if passes && found.len() < MAX_REMEDIES {
                found.push(Remedy { changes: changes.clone(), request: scenario.clone() });
            }
            return;
        }
        for (variable, options) in settings.iter().enumerate().skip(from) {
            for setting in options {
                if *budget == 0 || found.len() == MAX_REMEDIES {
                    return;
                }
                let mut changed = scenario.clone();
                setting.apply(&mut changed);
                if changed == *scenario {
                    continue;
                }
                changes.push(setting.words());
                self.try_changes(
                    settings,
                    variable + 1,
                    size - 1,
                    &changed,
                    changes,
                    found,
                    budget,
                );
                changes.pop();
            }
        }
    }
}

/// Nobody passes by logging out or with a bad token, and a preflight is no remedy.
fn helps(setting: &Setting) -> bool {
    !matches!(
        setting,
        Setting::NotLoggedIn | Setting::Token(Token::Invalid) | Setting::Preflight(_)
    )
}

/// More changes than these are no remedy.
const MAX_CHANGES: usize = 3;
/// Enough to choose from.
const MAX_REMEDIES: usize = 8;
/// Some hundred milliseconds.
const TRIES: u32 = 50_000;
