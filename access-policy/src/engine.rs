//! Compiles a configuration once, and decides about requests from then on.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use crate::{
    application::Application,
    catalog::{Catalog, Model},
    compile::{Compiled, compile},
    decision::Decision,
    error::Error,
    evaluate::{Verdict, Why, evaluate, evaluate_first_phase},
    identity::Identity,
    index::Index,
    judgement::Judgement,
    needs::{FactNames, needs},
    outcome::{DenyClass, Outcome},
    policies::Policies,
    program::Program,
    request::{Request, ServiceToken},
    table::hash_of,
    terms::Terms,
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
        let Compiled { index, program, worst_case } = compile(model, &mut faults);
        if let Some(error) = Error::join(faults) {
            return Err(error);
        }
        let search = index.cost();
        let cost_bound =
            search.applications.saturating_mul(worst_case).saturating_add(search.steps);
        let (digest, needs) = (OnceLock::new(), OnceLock::new());
        let inner = Inner { policies, catalog, index, program, cost_bound, digest, needs };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Decides about a request. Never fails and never panics: what is not admitted is refused.
    ///
    /// If the path can be read in several ways that fall under different applications, all of them
    /// must admit the request, and the strictest one decides, with its session and obligations; if each demands
    /// something else, the request is refused. Where proxies and origins are known
    /// to disagree (escaped slashes, backslashes and the like) such a path is refused outright.
    pub fn decide<'a>(&'a self, request: &'a Request<'a>) -> Decision<'a> {
        let (application, rivals, verdict) = self.judge(request);
        let model = self.model();
        Decision(Judgement { model, request, application, rivals, verdict })
    }

    /// Reports whether a request would pass if the visitor had this identity. Before a code is
    /// mailed, this tells whether the address is worth one.
    pub fn admits(&self, request: &Request<'_>, identity: &Identity<'_>) -> bool {
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
        let Inner { index, program, .. } = &*self.inner;
        let selection = index.select(&program.texts, request.host(), request.request_path());
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
        self.inner.policies.applications.get(self.find(&request)?)
    }

    /// Returns the configuration that this engine was compiled from.
    pub fn policies(&self) -> &Policies {
        &self.inner.policies
    }

    /// Returns how many steps a decision takes at worst; no request takes more.
    ///
    /// A step is a look at one slot of a table, one block of addresses, one destination, one question
    /// of a policy, or one entry of a list that comes with the request; where a destination has a `*`
    /// in its path, also at one byte of it. Reading host, path and address, which takes time in
    /// proportion to their length, is not counted. The bound holds for the longest lists that count
    /// (10,000 groups, 64 KiB of claims) and for paths that can be read in every way.
    pub fn cost_bound(&self) -> u64 {
        self.inner.cost_bound
    }

    /// Returns a short name for the configuration: equal for equal ones, in every run. It is worked
    /// out at the first call. It tells configurations apart, and is no proof against forgery.
    pub fn digest(&self) -> &str {
        self.inner.digest.get_or_init(|| {
            let text = serde_json::to_string(&self.inner.policies).unwrap_or_default();
            format!("{:016x}", hash_of(text.as_bytes()))
        })
    }

    /// The application that protects a request by its canonical path.
    pub(crate) fn find(&self, request: &Request<'_>) -> Option<usize> {
        let Inner { index, program, .. } = &*self.inner;
        index.find(&program.texts, request.host(), request.request_path())
    }

    pub(crate) fn model(&self) -> Model<'_> {
        Model { policies: &self.inner.policies, catalog: &self.inner.catalog }
    }

    /// The application that decides, those under which other readings fall, and the verdict.
    fn judge(&self, request: &Request<'_>) -> (Option<usize>, Vec<usize>, Verdict) {
        let Inner { index, program, .. } = &*self.inner;
        let selection = index.select(&program.texts, request.host(), request.request_path());
        let Some(application) = selection.canonical else {
            let unmatched = &self.inner.policies.organization.unmatched;
            let outcome = if selection.rivals.is_empty() && unmatched.passes(request.host()) {
                Outcome::Bypass
            } else {
                Outcome::Deny(DenyClass::NoApplication)
            };
            return (None, Vec::new(), Verdict::without_policy(outcome, Why::NoApplication));
        };
        let is_ambiguous = selection.has_paths && request.request_path().is_ambiguous();
        if selection.rivals.is_empty() && !is_ambiguous {
            return (Some(application), Vec::new(), self.judge_by(application, request));
        }

        let rivals: Vec<usize> = selection.rivals.iter().copied().flatten().collect();
        let falls_outside = selection.rivals.contains(&None);
        if falls_outside || is_ambiguous {
            let outcome = Outcome::Deny(DenyClass::AmbiguousPath);
            let verdict = Verdict::without_policy(outcome, Why::AmbiguousPath);
            return (Some(application), rivals, verdict);
        }
        let all = std::iter::once(application).chain(rivals.iter().copied());
        let judged: Vec<_> = all.clone().map(|at| (at, self.judge_by(at, request))).collect();
        let Some((strictest, verdict)) = self.strictest(&judged) else {
            // Both let the visitor pass, each on terms of its own.
            let outcome = Outcome::Deny(DenyClass::AmbiguousPath);
            let verdict = Verdict::without_policy(outcome, Why::AmbiguousPath);
            return (Some(application), rivals, verdict);
        };
        let rivals = all.filter(|at| *at != strictest).collect();
        (Some(strictest), rivals, verdict)
    }

    /// The verdict that admits least and demands most; `None` if none does both.
    fn strictest(&self, judged: &[(usize, Verdict)]) -> Option<(usize, Verdict)> {
        let admits = |(_, verdict): &&(usize, Verdict)| verdict.outcome.permissiveness();
        let least = judged.iter().map(|one| admits(&one)).min()?;
        let candidates = || judged.iter().filter(|one| admits(one) == least);
        let terms = |(at, verdict): &(usize, Verdict)| Terms::at(self.model(), *at, verdict.policy);
        let is_strictest = |one: &&(usize, Verdict)| {
            !matches!(one.1.outcome, Outcome::Allow | Outcome::ServiceAuth)
                || candidates().all(|other| terms(one).cover(&terms(other)))
        };
        candidates().find(is_strictest).copied()
    }

    /// Judges by one application: preflight and service tokens, then its policies.
    pub(crate) fn judge_by(&self, at: usize, request: &Request<'_>) -> Verdict {
        let program = &self.inner.program;
        let code = program.applications.get(at).copied().unwrap_or_default();
        if request.facts.preflight.is_some() {
            if code.settings.bypasses_preflight {
                return Verdict::without_policy(Outcome::Bypass, Why::Preflight);
            }
            if code.settings.answers_preflight {
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
        if code.settings.refuses_services_with_401 {
            return refused(DenyClass::ServiceTokenInvalid);
        }
        verdict
    }
}

/// Who may use what, in words, one line an application.
impl fmt::Display for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.policies.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::{ADDRESSES, COUNTRIES, EMAILS, PROVIDERS, Random, TEAMS};
    use super::*;
    use crate::{
        country::CountryCode, fact::Fact, policy::Policy, rule::Rule, steps::taken_by,
        table::folded_hash_of,
    };

    /// Steps of a decision, which must keep to the bound; how near it came, in parts of a thousand.
    fn hold(engine: &Engine, request: &Request<'_>) -> u64 {
        let taken = taken_by(|| engine.decide(request));
        assert!(taken > 0, "nothing was counted");
        assert!(taken <= engine.cost_bound(), "{taken} > {}: {request}", engine.cost_bound());
        taken * 1_000 / engine.cost_bound()
    }

    #[test]
    fn no_random_request_exceeds_the_bound() {
        const HOSTS: [&str; 6] = ["a.x.jp", "b.x.jp", "ab.x.jp", "x.jp", "a.b.x.jp", "y.jp"];
        const PATHS: [&str; 7] =
            ["/", "/a", "/A/b", "/a/b/a/b/a/b", "/x/..%2fa", "/a;p/%2e%2e//b", "/a%252fb\\..\\a"];
        let mut random = Random::new(7);
        let mut nearest = 0;
        // An interpreter that looks for undefined behaviour is a thousand times slower.
        let (configurations, requests) = if cfg!(miri) { (4, 5) } else { (400, 50) };
        for _ in 0..configurations {
            let Ok(engine) = Engine::compile(random.policies()) else { continue };
            for _ in 0..requests {
                let groups = [random.pick(&TEAMS), random.pick(&TEAMS)];
                let identity = Identity::parse(random.pick(&EMAILS)).unwrap();
                let identity = identity.provider(random.pick(&PROVIDERS)).groups_from(&groups);
                let request = Request::new(random.pick(&HOSTS), random.pick(&PATHS)).unwrap();
                let request = request.client_ip(random.pick(&ADDRESSES).parse().unwrap());
                let request = request.country(CountryCode::parse(random.pick(&COUNTRIES)).unwrap());
                nearest = nearest.max(hold(&engine, &request));
                nearest = nearest.max(hold(&engine, &request.identity(&identity)));
            }
        }
        assert!(nearest > 0 || cfg!(miri), "the bound has nothing to do with what is taken");
    }

    #[test]
    fn no_request_made_for_it_exceeds_the_bound() {
        let many = if cfg!(miri) { 40 } else { 10_000 };
        let groups: Vec<String> = (0..many).map(|n| format!("group-{n}")).collect();
        let names: Vec<&str> = groups.iter().map(String::as_str).collect();
        let policies = |domain: &str| {
            let member = |n: usize| {
                format!(r#"{{"okta":{{"name":"group-{}","identity_provider_id":"p"}}}}"#, n * 31)
            };
            let members: Vec<_> = (0..many.min(200)).map(member).collect();
            let networks: Vec<_> = (0..many.min(250))
                .map(|n| format!(r#"{{"ip":{{"ip":"10.{n}.0.0/16"}}}}"#))
                .collect();
            format!(
                r#"{{"id":"{domain}","name":"n","domain":"{domain}","policies":[
                    {{"name":"a","decision":"allow","include":[{}],"require":[{{"group":{{"id":"g"}}}},
                      {{"device_posture":{{"integration_uid":"none"}}}},{{"auth_method":{{"auth_method":"x"}}}}]}},
                    {{"name":"b","decision":"deny","include":[{}],"exclude":[
                      {{"github-organization":{{"name":"o","team":"t","identity_provider_id":"p"}}}}]}}]}}"#,
                members.join(","),
                networks.join(","),
            )
        };
        let domains = ["*.example.com/a*/b*a", "*.example.com/aa*/b*a", "x.example.com/a*a/*b"];
        let applications: Vec<_> = domains.iter().map(|domain| policies(domain)).collect();
        let json = format!(
            r#"{{"applications":[{}],"groups":[{{"id":"g","name":"g","include":[{{"ip":{{"ip":"10.0.0.0/8"}}}}],
                "exclude":[{{"okta":{{"name":"none","identity_provider_id":"p"}}}}]}}]}}"#,
            applications.join(",")
        );
        let engine = Engine::compile(Policies::from_json(&json).unwrap()).unwrap();
        let identity = Identity::parse("a@example.com").unwrap().provider("p").groups_from(&names);
        let identity = identity
            .github_organization("O", vec!["x".to_owned(); many * 9 / 10])
            .auth_methods(vec!["pwd".to_owned(); many]);
        let posture = vec!["some"; many];
        let long = "a/".repeat(many * 4 / 5);
        let odd = "a%2f;b/".repeat(50);
        for path in [format!("/{long}"), format!("/{odd}"), "/a/b/a".to_owned()] {
            for ip in [[10, 1, 2, 3], [192, 0, 2, 1]] {
                let request = Request::new("x.example.com", &path).unwrap();
                let request = request.client_ip(ip.into()).device_posture(Fact::Known(&*posture));
                hold(&engine, &request);
                hold(&engine, &request.identity(&identity));
            }
        }
    }

    #[test]
    fn names_that_share_a_hash_are_within_the_bound_too() {
        // Letter case and the bit that stands for it: `@` is to `` ` `` what `A` is to `a`.
        let alike: Vec<String> = (0..64_u32)
            .map(|n| (0..6).map(|bit| if n >> bit & 1 == 0 { '@' } else { '`' }).collect())
            .collect();
        let hash = folded_hash_of(alike[0].as_bytes());
        assert!(alike.iter().all(|name| folded_hash_of(name.as_bytes()) == hash));
        let rule = |name: &String| Rule::Okta { name: name.as_str().into(), provider: "p".into() };
        let policy = alike.iter().map(rule).fold(Policy::allow("p"), Policy::include);
        let application =
            Application::new("a").destination("a.example".parse().unwrap()).policy(policy);
        let engine = Engine::compile(Policies::new([application])).unwrap();
        let (many, thousandths) = if cfg!(miri) { (100, 0) } else { (10_000, 51) };
        let names = vec!["@@@@@`"; many];
        let identity = Identity::parse("a@example.com").unwrap().provider("p").groups_from(&names);
        let request = Request::new("a.example", "/").unwrap().identity(&identity);
        assert!(hold(&engine, &request) >= thousandths);
    }
}
