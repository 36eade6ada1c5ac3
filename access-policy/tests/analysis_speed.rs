//! How long the analysis takes. It prints; it decides nothing:
//! `cargo test --release -p sekimori-access-policy --test analysis_speed -- --ignored --nocapture`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement")]

use std::{fmt::Write as _, time::Duration};

use access_policy::{Engine, Policies, Reach};

/// Applications with policies of this many selectors each: addresses, domains, groups and networks in
/// `include`, and every other policy with a `require` and an `exclude`.
fn medium(applications: usize, policies: usize, selectors: usize) -> Policies {
    let mut text = String::from("[");
    for app in 0..applications {
        write!(
            text,
            r#"{}{{"id": "a{app}", "domain": "a{app}.example.com", "policies": ["#,
            if app > 0 { "," } else { "" }
        )
        .unwrap();
        for policy in 0..policies {
            let decision = if policy % 3 == 2 { "deny" } else { "allow" };
            write!(
                text,
                r#"{}{{"name": "p{policy}", "decision": "{decision}", "include": ["#,
                if policy > 0 { "," } else { "" }
            )
            .unwrap();
            for rule in 0..selectors {
                let number = (app * policies + policy) * selectors + rule;
                let (a, b) = (number % 250, number / 250 % 250);
                let text_of_rule = match rule % 4 {
                    0 => format!(r#"{{"email": {{"email": "user{number}@d{a}.example"}}}}"#),
                    1 => format!(r#"{{"email_domain": {{"domain": "d{number}.example"}}}}"#),
                    2 => format!(
                        r#"{{"okta": {{"name": "g{number}", "identity_provider_id": "idp{}"}}}}"#,
                        number % 2
                    ),
                    _ => format!(r#"{{"ip": {{"ip": "10.{a}.{b}.0/24"}}}}"#),
                };
                text += if rule > 0 { "," } else { "" };
                text += &text_of_rule;
            }
            text += "]";
            if policy % 2 == 1 {
                write!(text, r#", "require": [{{"geo": {{"country_code": "JP"}}}}, {{"auth_method": {{"auth_method": "m{policy}"}}}}],
                    "exclude": [{{"ip": {{"ip": "10.{policy}.0.0/16"}}}}, {{"email": {{"email": "x{policy}@d1.example"}}}}]"#).unwrap();
            }
            text += "}";
        }
        text += "]}";
    }
    text += "]";
    Policies::from_json(&text).unwrap()
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let start = on_processor();
    let result = run();
    println!("{what}: {:?} of processor time", on_processor().saturating_sub(start));
    result
}

/// How long this thread has run, without the time in which others had its processor (Linux).
fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

#[test]
#[ignore = "prints times"]
fn how_long_it_takes() {
    let engine = Engine::compile(medium(50, 10, 20)).unwrap();
    let unknown =
        timed("50 applications x 10 policies x 20 selectors, which policies can decide", || {
            let all = (0..50).flat_map(|at| [(at, 9)]);
            all.filter(|(at, policy)| engine.reach(*at, *policy) == Reach::Unknown).count()
        });
    assert_eq!(unknown, 0);
    let lints = timed("the same, all lints", || engine.lint());
    println!("{} lints", lints.len());
    let other = Engine::compile(medium(50, 10, 19)).unwrap();
    let changes = timed("the same, against 19 selectors each", || engine.changes(&other));
    println!("{} differences, {} unknown", changes.differences.len(), changes.unknown.len());
    let engine = Engine::compile(medium(100_000, 1, 3)).unwrap();
    let lints = timed("100,000 applications, all lints", || engine.lint());
    println!("{} lints", lints.len());
    let changes = timed("100,000 applications, no change", || engine.changes(&engine));
    println!("{} differences", changes.differences.len());
}
