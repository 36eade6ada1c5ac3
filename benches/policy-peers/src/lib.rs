//! The four policy sets, and the engines that answer them. `../README.md` says how to run it.

pub mod casbin;
pub mod cedar;
pub mod contender;
pub mod rego;
#[path = "../../policy/sekimori.rs"]
pub mod sekimori;
#[path = "../../policy/workload.rs"]
pub mod workload;

use contender::{Contender, Ours};
use workload::Workload;

/// All engines with a policy set; each agrees with the naive evaluation, or this panics. The slowest
/// are checked on fewer requests.
pub fn contenders(workload: &Workload) -> Vec<Box<dyn Contender>> {
    let mut all: Vec<Box<dyn Contender>> = vec![
        Box::new(Ours(sekimori::engine(&workload.to_json()))),
        Box::new(cedar::Cedar::new(workload)),
        Box::new(rego::Regorus::new(workload)),
        Box::new(casbin::Casbin::new(workload)),
    ];
    for engine in &mut all {
        let is_slow = engine.name() == "casbin" && workload.applications.len() > 1_000;
        for facts in workload.requests.iter().take(if is_slow { 16 } else { 256 }) {
            let (policy, passes) = workload.naive(facts);
            let (found, decided_by) = engine.decide(facts);
            assert_eq!(found, passes, "{} about {facts:?}", engine.name());
            if let Some(by) = decided_by {
                assert_eq!(Some(by), policy, "{} about {facts:?}", engine.name());
            }
        }
    }
    all
}
