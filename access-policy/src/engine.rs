//! Compiles a configuration once, and decides about requests from then on.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use crate::{
    application::Application,
    catalog::{Catalog, Model},
    compile::compile,
    decision::Decision,
    error::Error,
    evaluate::{Verdict, Why, evaluate, evaluate_first_phase},
    identity::Identity,
    index::Index,
    judgement::Judgement,
    needs::{FactNames, needs},
    outcome::{DenyClass, Outcome},
    policies::Policies,
    policy::Action,
    program::Program,
    request::{Request, ServiceToken},
    table::hash_of,
};

/// An immutable, checked configuration that answers requests.
///
/// Clones are cheap and share everything. To change the configuration, compile another engine and
/// swap it in; if it does not compile, the old one stays in force.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    policies: Policies,
    catalog: Catalog,
    index: Index,
    program: Program,
    cost_bound: u64,
    digest: OnceLock<String>,
    /// For each application, which facts its policies ask for.
    needs: OnceLock<Box<[FactNames]>>,
}

impl Engine {
    /// Checks and indexes a configuration. An empty one refuses everything.
    ///
    /// # Errors
    ///
    /// Every fault at once: ids given twice, applications that claim the same requests with the same
    /// precision or have no destination, references to policies, groups and lists that are not there,
    /// groups that contain themselves or are nested more than 16 deep, and bypass policies that ask
    /// for an identity.
    pub fn compile(policies: Policies) -> Result<Self, Error> {
        let mut faults = Vec::new();
        let catalog = Catalog::build(&policies, &mut faults);
        let model = Model { policies: &policies, catalog: &catalog };
        let compiled = compile(model, &mut faults);
        let index = Index::build(&policies.applications, &mut faults);
        if let Some(error) = Error::join(faults) {
            return Err(error);
        }
        let cost_bound = index.longest_search()
            + 3 * u64::from(compiled.program.symbols.longest_search())
            + compiled.worst_case;
        let program = compiled.program;
        let (digest, needs) = (OnceLock::new(), OnceLock::new());
        let inner = Inner { policies, catalog, index, program, cost_bound, digest, needs };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Decides about a request. Never fails and never panics: what is not admitted is refused.
    ///
    /// If the path can be read in several ways that fall under different applications, all of them
    /// must admit the request, and the strictest one decides. Where proxies and origins are known
    /// to disagree (escaped slashes, backslashes and the like) such a path is refused outright.
    pub fn decide<'a>(&'a self, request: &'a Request<'a>) -> Decision<'a> {
        let (application, rivals, verdict) = self.judge(request);
        let model = self.model();
        Decision(Judgement { model, request, application, rivals, verdict })
    }

    /// Reports whether a request would pass if the visitor had this identity. Before a code is
    /// mailed, this tells whether the address is worth one.
    pub fn admits(&self, request: &Request<'_>, identity: &Identity) -> bool {
        self.decide(&request.clone().identity(identity)).is_pass()
    }

    /// Returns the facts that can matter to a decision about this host and path, so that costly ones
    /// are looked up only where they can change it. Worked out for all applications at the first
    /// call; after that it costs as much as finding the application.
    ///
    /// ```
    /// use access_policy::{Engine, FactName, Policies, Request};
    ///
    /// let engine = Engine::compile(Policies::from_json(r#"[
    ///     {"domain": "app.example.com/jp", "policies": [{"name": "p", "decision": "bypass",
    ///      "include": [{"geo": {"country_code": "JP"}}]}]},
    ///     {"domain": "app.example.com", "policies": [{"name": "p", "decision": "bypass",
    ///      "include": [{"everyone": {}}]}]}]"#)?)?;
    /// let japan = Request::new("app.example.com", "/jp")?;
    /// assert!(engine.facts_needed(&japan).contains(FactName::Country));
    /// assert!(engine.facts_needed(&Request::new("app.example.com", "/")?).is_empty());
    /// # Ok::<(), access_policy::Error>(())
    /// ```
    pub fn facts_needed(&self, request: &Request<'_>) -> FactNames {
        let selection = self.inner.index.select(request.host(), request.request_path());
        let found = selection.canonical.into_iter().chain(selection.rivals.into_iter().flatten());
        found.map(|at| self.facts_of(at)).collect()
    }

    /// Returns the facts that the policies of an application ask for, given by its position in
    /// [`Policies::applications`].
    pub fn facts_of(&self, application: usize) -> FactNames {
        let all = self.inner.needs.get_or_init(|| needs(self.model()));
        all.get(application).copied().unwrap_or_default()
    }

    /// Returns the application that protects a host and path by its canonical reading, or `None`
    /// also when either is unreadable.
    ///
    /// # Security
    ///
    /// For display and look-ups. Enforcement takes [`Decision::application`], which heeds every
    /// reading of the path.
    pub fn application_for(&self, host: &str, path: &str) -> Option<&Application> {
        let request = Request::new(host, path).ok()?;
        let at = self.inner.index.find(request.host(), request.request_path())?;
        self.inner.policies.applications.get(at)
    }

    /// Returns the configuration that this engine was compiled from.
    pub fn policies(&self) -> &Policies {
        &self.inner.policies
    }

    /// Returns how many steps a decision takes at worst. A step is one comparison, or one slot of a
    /// table; a visitor counts with 16 groups, and paths with one reading.
    pub fn cost_bound(&self) -> u64 {
        self.inner.cost_bound
    }

    /// Returns a short name for the configuration: equal for equal ones, in every run. It is worked
    /// out at the first call. It tells configurations apart, and is no proof against forgery.
    pub fn digest(&self) -> &str {
        self.inner.digest.get_or_init(|| {
            let text = serde_json::to_string(&self.inner.policies).unwrap_or_default();
            format!("{:016x}", hash_of(text))
        })
    }

    pub(crate) fn model(&self) -> Model<'_> {
        Model { policies: &self.inner.policies, catalog: &self.inner.catalog }
    }

    /// The application that decides, those under which other readings fall, and the verdict.
    fn judge(&self, request: &Request<'_>) -> (Option<usize>, Vec<usize>, Verdict) {
        let selection = self.inner.index.select(request.host(), request.request_path());
        let Some(application) = selection.canonical else {
            let unmatched = &self.inner.policies.organization.unmatched;
            let outcome = if selection.rivals.is_empty() && unmatched.passes(request.host()) {
                Outcome::Bypass
            } else {
                Outcome::Deny(DenyClass::NoApplication)
            };
            return (None, Vec::new(), Verdict::without_policy(outcome, Why::NoApplication));
        };
        if selection.rivals.is_empty() {
            return (Some(application), Vec::new(), self.judge_by(application, request));
        }

        let rivals: Vec<usize> = selection.rivals.iter().copied().flatten().collect();
        let falls_outside = selection.rivals.contains(&None);
        if falls_outside || request.request_path().is_ambiguous() {
            let outcome = Outcome::Deny(DenyClass::AmbiguousPath);
            let verdict = Verdict::without_policy(outcome, Why::AmbiguousPath);
            return (Some(application), rivals, verdict);
        }
        let all = std::iter::once(application).chain(rivals.iter().copied());
        let mut judged = all.clone().map(|at| (at, self.judge_by(at, request)));
        let first = judged.next().unwrap_or((application, self.judge_by(application, request)));
        let (strictest, verdict) = judged.fold(first, |best, next| {
            let is_stricter = next.1.outcome.permissiveness() < best.1.outcome.permissiveness();
            if is_stricter { next } else { best }
        });
        let rivals = all.filter(|at| *at != strictest).collect();
        (Some(strictest), rivals, verdict)
    }

    /// Judges by one application: preflight and service tokens, then its policies.
    pub(crate) fn judge_by(&self, at: usize, request: &Request<'_>) -> Verdict {
        let program = &self.inner.program;
        let application = self.inner.policies.applications.get(at);
        let settings = application.and_then(|application| application.settings.as_deref());
        if let (Some(_), Some(settings)) = (request.facts.preflight, settings) {
            if settings.options_preflight_bypass {
                return Verdict::without_policy(Outcome::Bypass, Why::Preflight);
            }
            if settings.cors.is_some() {
                return Verdict::without_policy(Outcome::RespondPreflight, Why::Preflight);
            }
        }
        let refused = |class| Verdict::without_policy(Outcome::Deny(class), Why::ServiceToken);
        if self.inner.policies.organization.strict_service_token_auth {
            match request.facts.service_token {
                ServiceToken::None => {}
                ServiceToken::Invalid | ServiceToken::Malformed => {
                    return refused(DenyClass::ServiceTokenInvalid);
                }
                ServiceToken::Valid { .. } => {
                    let mut subject = request.subject();
                    // A session does not count beside a token.
                    subject.identity = None;
                    return evaluate_first_phase(program, at, subject)
                        .unwrap_or_else(|| refused(DenyClass::ServiceTokenForbidden));
                }
            }
        }
        let verdict = evaluate(program, at, request.subject());
        if verdict.outcome != Outcome::NeedsIdentity {
            return verdict;
        }
        if request.facts.preflight.is_some() {
            let outcome = Outcome::Deny(DenyClass::Preflight);
            return Verdict::without_policy(outcome, Why::Preflight);
        }
        let is_for_services = settings.is_some_and(|settings| settings.service_auth_401_redirect)
            && application.is_some_and(|application| self.has_service_policy(application));
        if is_for_services { refused(DenyClass::ServiceTokenInvalid) } else { verdict }
    }

    fn has_service_policy(&self, application: &Application) -> bool {
        let entries = application.policies.iter();
        entries
            .filter_map(|entry| self.model().policy(entry))
            .any(|policy| policy.decision == Action::NonIdentity)
    }
}

/// Who may use what, in words, one line an application.
impl fmt::Display for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.policies.fmt(formatter)
    }
}
