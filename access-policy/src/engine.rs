//! Compiles a configuration once, and decides about requests from then on.

use std::{collections::HashSet, fmt, sync::Arc};

use crate::{
    application::Application,
    decision::Decision,
    error::{Error, Kind},
    evaluate::{Verdict, evaluate},
    identity::Identity,
    index::Index,
    outcome::{DenyClass, Named, Outcome, Reason},
    policies::Policies,
    policy::{Action, Policy},
    request::Request,
};

/// An immutable, checked configuration that answers requests.
///
/// Clones are cheap and share everything. To change the configuration, compile another engine and
/// swap it in.
#[derive(Debug, Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    policies: Policies,
    index: Index,
}

impl Engine {
    /// Checks and indexes a configuration. An empty one refuses everything.
    ///
    /// # Errors
    ///
    /// When two applications share an id or claim the same requests with the same precision, when an
    /// application has no destination, when a bypass policy asks for an identity, or when a policy
    /// has the action `non_identity`, which this version does not support.
    pub fn compile(policies: Policies) -> Result<Self, Error> {
        let mut ids = HashSet::new();
        for application in &policies.applications {
            check(application)?;
            if !ids.insert(application.id.as_str()) {
                let place = format!("application `{}`", application.id);
                return Err(Error::from(Kind::DuplicateApplication).at(place));
            }
        }
        let index = Index::build(&policies.applications)?;
        Ok(Self { inner: Arc::new(Inner { policies, index }) })
    }

    /// Decides about a request. Never fails and never panics: what is not admitted is refused.
    ///
    /// If the path can be read in several ways that fall under different applications, all of them
    /// must admit the request, and the strictest one decides. Where proxies and origins are known
    /// to disagree (escaped slashes, backslashes and the like) such a path is refused outright.
    pub fn decide<'a>(&'a self, request: &'a Request<'a>) -> Decision<'a> {
        let selection = self.inner.index.select(request.host(), request.request_path());
        let Some(application) = selection.canonical.and_then(|at| self.application(at)) else {
            let refusal = refusal(DenyClass::NoApplication, Reason::NoApplication);
            return Decision::new(request, None, Vec::new(), refusal);
        };
        let judge = |application| (application, evaluate(application, request, &mut |_, _| {}));
        if selection.rivals.is_empty() {
            let (application, verdict) = judge(application);
            return Decision::new(request, Some(application), Vec::new(), verdict);
        }

        let rivals: Vec<_> =
            selection.rivals.iter().flatten().filter_map(|&at| self.application(at)).collect();
        let falls_outside = selection.rivals.contains(&None);
        if falls_outside || request.request_path().is_ambiguous() {
            let refusal = refusal(DenyClass::AmbiguousPath, Reason::AmbiguousPath);
            return Decision::new(request, Some(application), rivals, refusal);
        }
        let strictest = rivals.iter().copied().map(judge).fold(judge(application), |best, next| {
            let is_stricter = next.1.outcome.permissiveness() < best.1.outcome.permissiveness();
            if is_stricter { next } else { best }
        });
        let (strictest, verdict) = strictest;
        let rivals = std::iter::once(application)
            .chain(rivals)
            .filter(|rival| !std::ptr::eq(*rival, strictest))
            .collect();
        Decision::new(request, Some(strictest), rivals, verdict)
    }

    /// Reports whether a request would pass if the visitor had this identity. Before a code is
    /// mailed, this tells whether the address is worth one.
    pub fn admits(&self, request: &Request<'_>, identity: &Identity) -> bool {
        self.decide(&request.clone().identity(identity)).is_pass()
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
        self.application(at)
    }

    /// Returns the configuration that this engine was compiled from.
    pub fn policies(&self) -> &Policies {
        &self.inner.policies
    }

    fn application(&self, at: usize) -> Option<&Application> {
        self.inner.policies.applications.get(at)
    }
}

/// Who may use what, in words, one line an application.
impl fmt::Display for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.policies.fmt(formatter)
    }
}

fn refusal(class: DenyClass, reason: Reason<'_>) -> Verdict<'_> {
    Verdict { outcome: Outcome::Deny(class), policy: None, reason }
}

fn check(application: &Application) -> Result<(), Error> {
    let place = || format!("application `{}`", application.name);
    if application.destinations.is_empty() {
        return Err(Error::from(Kind::MissingField("domain")).at(place()));
    }
    for policy in &application.policies {
        check_policy(policy)
            .map_err(|kind| Error::from(kind).at(format!("{}, {}", place(), Named(policy))))?;
    }
    Ok(())
}

fn check_policy(policy: &Policy) -> Result<(), Kind> {
    match policy.decision {
        Action::NonIdentity => {
            Err(Kind::Unsupported("decision `non_identity` (Service Auth)".to_owned()))
        }
        Action::Bypass => match policy.rules().find(|(_, rule)| rule.needs_identity()) {
            Some((_, rule)) => Err(Kind::IdentitySelectorInBypass(rule.selector())),
            None => Ok(()),
        },
        Action::Allow | Action::Deny => Ok(()),
    }
}
