//! Any text as host, path and pattern: no panic; normal forms are stable, and a pattern covers what
//! it is written as.

#![no_main]

use access_policy::{Application, Destination, Engine, Outcome, Policies, Policy, Request, Rule};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: (&str, &str, &str)| {
    let (host, path, pattern) = text;
    if let Ok(request) = Request::new(host, path) {
        let again = Request::new(request.host(), request.path()).unwrap();
        assert_eq!((again.host(), again.path()), (request.host(), request.path()));
    }
    let Ok(destination) = Destination::parse(pattern) else { return };
    assert_eq!(Destination::parse(destination.as_str()).as_ref().ok(), Some(&destination));
    let literal = !destination.as_str().contains('*');
    let (own_host, own_path) = {
        let text = destination.as_str();
        let (host, path) = text.split_at(text.find('/').unwrap_or(text.len()));
        (host.to_owned(), if path.is_empty() { "/".to_owned() } else { path.to_owned() })
    };
    let open = Application::new("open")
        .destination(destination)
        .policy(Policy::bypass("all").include(Rule::Everyone));
    let engine = Engine::compile(Policies::new([open])).unwrap();
    if let Ok(request) = Request::new(host, path) {
        let _ = engine.decide(&request).explain().to_string();
    }
    if literal {
        let request = Request::new(&own_host, &own_path).unwrap();
        let outcome = engine.decide(&request).outcome();
        // Some origins drop `;parameters`, and what is left belongs to no application here.
        let may_be_refused = own_path.contains(';')
            && outcome == Outcome::Deny(access_policy::DenyClass::AmbiguousPath);
        assert!(outcome == Outcome::Bypass || may_be_refused, "{own_host}{own_path}: {outcome}");
    }
});
