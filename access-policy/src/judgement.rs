//! A verdict together with what it is about, from which words are made.

use crate::{
    application::Application,
    catalog::Model,
    evaluate::{Verdict, Why},
    fact::FactName,
    outcome::Reason,
    policy::Policy,
    request::Request,
    rule::Rule,
};

#[derive(Debug, Clone)]
pub(crate) struct Judgement<'a> {
    pub(crate) model: Model<'a>,
    pub(crate) request: &'a Request<'a>,
    /// By its position.
    pub(crate) application: Option<usize>,
    /// Applications under which other readings of the path fall.
    pub(crate) rivals: Vec<usize>,
    pub(crate) verdict: Verdict,
}

impl<'a> Judgement<'a> {
    pub(crate) fn application(&self) -> Option<&'a Application> {
        self.model.policies.applications.get(self.application?)
    }

    pub(crate) fn policy(&self) -> Option<&'a Policy> {
        let position = self.verdict.policy? as usize;
        self.model.policy(self.application()?.policies.get(position)?)
    }

    pub(crate) fn rivals(&self) -> impl Iterator<Item = &'a Application> {
        self.rivals.iter().filter_map(|&at| self.model.policies.applications.get(at))
    }

    pub(crate) fn reason(&self) -> Reason<'a> {
        self.try_reason().unwrap_or(Reason::NoApplication)
    }

    fn try_reason(&self) -> Option<Reason<'a>> {
        Some(match self.verdict.why {
            Why::NoApplication => Reason::NoApplication,
            Why::AmbiguousPath => Reason::AmbiguousPath,
            Why::NothingMatched => Reason::NoPolicyMatched { application: self.application()? },
            Why::Preflight => Reason::Preflight { application: self.application()? },
            Why::ServiceToken => Reason::ServiceToken { application: self.application()? },
            Why::LoginNeeded => Reason::LoginNeeded { policy: self.policy()? },
            Why::ExternalNeeded => Reason::ExternalNeeded { policy: self.policy()? },
            Why::FactMissing => {
                let policy = self.policy()?;
                let answer = self.model.policy_answer(policy, self.request.subject());
                let fact = answer.missing.unwrap_or(FactName::UnsupportedSelector);
                Reason::FactMissing { policy, fact }
            }
            Why::Matched => {
                let policy = self.policy()?;
                let rule = self.model.matching_rule(policy, self.request.subject());
                // INVARIANT: a policy matches only through an include rule.
                Reason::PolicyMatched { policy, rule: rule.unwrap_or(&Rule::Everyone) }
            }
        })
    }
}
