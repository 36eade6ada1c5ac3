//! The compact record that every decision carries.

use crate::evaluate::Verdict;

/// Which application and policy decided, and how the policies before it came out. A few words of
/// memory, made with every decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Trace {
    application: Option<u32>,
    policy: Option<u32>,
    asked: u32,
    matched: u32,
    not_matched: u32,
}

/// How a policy, or one of its rules, came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// It matched.
    Matched,
    /// It did not match.
    NotMatched,
    /// It can't be told: somebody must log in first, or a fact is missing.
    Unknown,
    /// It was not evaluated, because the decision was made before.
    NotEvaluated,
}

impl Trace {
    pub(crate) fn new(application: Option<usize>, verdict: &Verdict) -> Self {
        Self {
            application: application.and_then(|at| u32::try_from(at).ok()),
            policy: verdict.policy,
            asked: verdict.asked,
            matched: verdict.matched,
            not_matched: verdict.not_matched,
        }
    }

    /// Returns the position of the application in [`Policies::applications`](crate::Policies).
    pub fn application(&self) -> Option<usize> {
        self.application.map(|at| at as usize)
    }

    /// Returns the position of the policy in the application's list.
    pub fn policy(&self) -> Option<usize> {
        self.policy.map(|at| at as usize)
    }

    /// Returns how many policies were asked.
    pub fn policies_asked(&self) -> usize {
        self.asked as usize
    }

    /// Returns how the first 32 policies came out, in the order in which they are asked: bypass and
    /// service policies first.
    pub fn marks(&self) -> impl Iterator<Item = Mark> {
        let (matched, not_matched) = (self.matched, self.not_matched);
        (0..self.asked.min(32)).map(move |at| {
            if matched >> at & 1 != 0 {
                Mark::Matched
            } else if not_matched >> at & 1 != 0 {
                Mark::NotMatched
            } else {
                Mark::Unknown
            }
        })
    }
}
