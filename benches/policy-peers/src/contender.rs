//! What every engine is asked, in the same words.

use crate::workload::Facts;

/// An engine that holds a policy set. Each reads the texts of a request, and says who passes.
pub trait Contender {
    fn name(&self) -> &'static str;

    /// Whether the request passes, and which policy decided if the engine tells.
    fn decide(&mut self, facts: &Facts) -> (bool, Option<usize>);
}

pub struct Ours(pub access_policy::Engine);

impl Contender for Ours {
    fn name(&self) -> &'static str {
        "access-policy"
    }

    fn decide(&mut self, facts: &Facts) -> (bool, Option<usize>) {
        let (outcome, trace) = crate::sekimori::decide(&self.0, facts);
        (outcome.is_pass(), trace.policy())
    }
}
