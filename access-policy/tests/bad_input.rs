//! Configurations that are too large, too deep, contradict themselves or are half right: each is
//! refused as a whole, with the place of every fault and what to do about it.

use access_policy::{Engine, Error, ErrorClass, Mode, Policies};

fn refused(text: &str) -> Error {
    match Policies::from_json(text).and_then(Engine::compile) {
        Ok(_) => panic!("accepted: {}", &text[..text.len().min(200)]),
        Err(error) => error,
    }
}

/// One application with these policies.
fn app(policies: &str) -> String {
    format!(
        r#"{{"applications": [{{"id": "a", "domain": "a.example", "policies": [{policies}]}}]}}"#
    )
}

const GOOD: &str = r#"{"name": "p", "decision": "bypass", "include": [{"everyone": {}}]}"#;

#[test]
fn what_is_too_large_names_the_limit_and_the_line() {
    let long = "x".repeat(5_000);
    let wide = (0..300).map(|at| format!(r#""k{at}": 1"#)).collect::<Vec<_>>().join(",");
    let cases = [
        (
            app(&GOOD.replace("\"p\"", &format!("\"{long}\""))),
            "a string exceeds the limit of 4096 at line 1",
        ),
        (
            format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)),
            "the depth exceeds the limit of 64 at line 1",
        ),
        (
            format!("{}1{}", "{\"a\":".repeat(65), "}".repeat(65)),
            "the depth exceeds the limit of 64",
        ),
        (format!("{{{wide}, \"applications\": []}}"), "an object exceeds the limit of 256"),
        (
            app(GOOD).replace("a.example", &format!("a.example/{}", "x".repeat(2_100))),
            "longer than 2,048 bytes",
        ),
        (app(GOOD).replace("a.example", &"*.".repeat(17)), "more than 16 wildcards"),
    ];
    for (text, told) in cases {
        let error = refused(&text).to_string();
        assert!(error.contains(told) && error.len() < 400, "{error}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "a million elements")]
fn an_array_without_end_is_refused() {
    let text = format!(r#"{{"applications": [{}1]}}"#, "1,".repeat(1_000_000));
    assert!(refused(&text).to_string().contains("an array exceeds the limit of 1000000"));
}

#[test]
fn what_contradicts_itself_names_both_sides() {
    for (text, class, place, told) in [
        (
            app(&format!("{GOOD}, {GOOD}")).replacen("\"name\"", "\"precedence\": 1, \"name\"", 2),
            ErrorClass::Precedence,
            "/applications/0/policies",
            "precedence",
        ),
        (
            r#"[{"id": "1", "domain": "a.example", "policies": []}, {"id": "2", "domain": "A.example/", "policies": []}]"#.to_owned(),
            ErrorClass::DuplicateDestination,
            "/applications/1",
            "claims the same requests as `a.example` of application `/applications/0`",
        ),
        (
            r#"[{"id": "1", "domain": "a.example", "policies": []}, {"id": "1", "domain": "b.example", "policies": []}]"#.to_owned(),
            ErrorClass::DuplicateId,
            "/applications/1",
            "give each its own",
        ),
        (
            app(GOOD).replace("\"id\"", "\"options_preflight_bypass\": true, \"cors_headers\": {\"allow_all_methods\": true, \"allow_all_origins\": true}, \"id\""),
            ErrorClass::Contradiction,
            "/applications/0",
            "",
        ),
        (
            app(&GOOD.replace("{\"everyone\": {}}", "{\"email\": {\"email\": \"a@b.jp\"}}")),
            ErrorClass::IdentitySelectorInBypass,
            "/applications/0/policies/0",
            "nobody has logged in yet",
        ),
        (
            format!(r#"{}, "groups": [{{"id": "g", "include": [{{"group": {{"id": "h"}}}}]}}, {{"id": "h", "include": [{{"group": {{"id": "g"}}}}]}}]}}"#, app(GOOD).trim_end_matches('}')).replace("]]", "]}]"),
            ErrorClass::GroupCycle,
            "/groups/",
            "take one of the references out",
        ),
        (
            app(r#"{"id": "elsewhere"}"#),
            ErrorClass::UnresolvedReference,
            "/applications/0/policies/0",
            "add it, or correct the id",
        ),
    ] {
        let error = refused(&text);
        assert_eq!(error.class(), class, "{error}\n{text}");
        assert!(error.location().unwrap().starts_with(place), "{error}");
        assert!(error.message().contains(told), "{error}");
    }
}

#[test]
fn what_is_half_right_is_refused_whole_with_every_fault() {
    let text = r#"{"applications": [
        {"id": "good", "domain": "good.example", "policies": []},
        {"id": "bad", "domain": "https://bad.example", "policies": [
            {"name": "p", "decision": "alow", "include": [{"everyone": {}}]},
            {"name": "q", "decision": "allow", "include": [{"emial": {"email": "a@b.jp"}}, {"ip": {"ip": "1.2.3"}},
                                                           {"geo": {"country_code": "JPN"}}]}]}],
      "lists": [{"id": "l", "name": "l", "type": "EMAIL", "items": [{"value": "nobody"}]}]}"#;
    let error = refused(text);
    let places: Vec<&str> = error.problems().filter_map(Error::location).collect();
    assert_eq!(
        places,
        [
            "/applications/1/domain",
            "/applications/1/policies/0/decision",
            "/applications/1/policies/1/include/0/emial",
            "/applications/1/policies/1/include/1/ip/ip",
            "/applications/1/policies/1/include/2/geo/country_code",
            "/lists/0/items/0/value",
        ]
    );
    assert!(error.to_string().contains("leave out the scheme (and 5 more problems)"), "{error}");
    for problem in error.problems() {
        assert!(!problem.message().contains("nobody"), "an address is told: {problem}");
    }
    // Leniently, what can be carried is, and the rest is still refused.
    let error = Policies::import(text.as_bytes(), Mode::Lenient).unwrap_err();
    assert!(error.problems().count() >= 3, "{error}");
}

#[test]
fn an_engine_that_was_compiled_goes_on_when_its_successor_does_not_compile() {
    let old = Engine::compile(Policies::from_json(&app(GOOD)).unwrap()).unwrap();
    let serving = old.clone();
    let next = Policies::from_json(&app(r#"{"id": "elsewhere"}"#)).unwrap();
    assert!(Engine::compile(next).is_err());
    let request = access_policy::Request::new("a.example", "/").unwrap();
    assert!(serving.decide(&request).is_pass());
}
