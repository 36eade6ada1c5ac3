//! Our engine: from texts to decision and trace.

#![allow(unreachable_pub, dead_code, reason = "a module of `policy-peers` too")]

use access_policy::{Engine, Identity, Mode, Outcome, Policies, Request, ServiceToken, Trace};

use crate::workload::{Facts, PROVIDER};

pub fn engine(json: &str) -> Engine {
    let import = Policies::import(json.as_bytes(), Mode::Strict).expect("a good configuration");
    Engine::compile(import.policies).expect("a good configuration")
}

/// Reads the texts of a request, and decides.
pub fn decide(engine: &Engine, facts: &Facts) -> (Outcome, Trace) {
    let identity = Identity::parse(&facts.email).expect("an address");
    let identity = identity.provider(PROVIDER).groups_from(&facts.groups);
    let request = Request::new(&facts.host, &facts.path).expect("a good request");
    let mut request = request.client_ip(facts.ip.parse().expect("an address"));
    if !facts.token.is_empty() {
        request = request.service_token(ServiceToken::Valid { id: &facts.token });
    }
    let request = request.identity(&identity);
    let decision = engine.decide(&request);
    (decision.outcome(), decision.trace())
}

/// The same, without a look at the trace.
pub fn outcome(engine: &Engine, facts: &Facts) -> Outcome {
    decide(engine, facts).0
}
