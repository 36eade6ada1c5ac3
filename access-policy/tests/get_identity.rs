//! The document that Access serves about a visitor becomes what policies can ask for, and nothing is
//! made up that it does not say.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use access_policy::{
    Application, Claim, Engine, ErrorClass, Fact, Identity, Outcome, Policies, Policy, Request,
    Rule,
};

const PROVIDER: &str = "5a1e8b8c-0000-4000-8000-000000000001";

fn read(fields: &str) -> Identity<'static> {
    let document = format!(
        r#"{{"email": "Hanako@Example.jp", "idp": {{"id": "{PROVIDER}", "type": "oidc"}},
            "geo": {{"country": "JP"}}, "user_uuid": "u", "account_id": "a", "iat": 1, "ip": "192.0.2.1",
            "auth_status": "NONE", "common_name": "", "service_token_id": "", "devicePosture": {{}},
            "is_warp": false, "mtls_auth": {{"auth_status": "NONE"}}, "version": 2{fields}}}"#
    );
    Identity::from_get_identity_json(document.as_bytes()).unwrap()
}

fn hanako() -> Identity<'static> {
    Identity::new("hanako@example.jp".parse().unwrap()).provider(PROVIDER)
}

#[test]
fn each_field_becomes_its_fact() {
    for (fields, expected) in [
        ("", hanako()),
        (r#", "groups": []"#, hanako().groups(Fact::Absent)),
        (r#", "groups": ["Ops"]"#, hanako().groups(vec!["Ops".to_owned()])),
        (
            r#", "groups": [{"id": "g1", "name": "Ops", "email": "ops@example.jp", "extra": 1}]"#,
            hanako().groups(vec!["g1".to_owned(), "Ops".to_owned(), "ops@example.jp".to_owned()]),
        ),
        (r#", "organizations": [], "teams": []"#, hanako().no_github_organizations()),
        (
            r#", "organizations": [{"login": "acme", "id": 1}, "umbrella"],
                "teams": [{"slug": "ops", "organization": {"login": "acme"}}]"#,
            hanako()
                .github_organization("acme", ["ops"])
                .github_organization("umbrella", <[String; 0]>::default()),
        ),
        (
            r#", "saml_attributes": {"team": "ops", "roles": ["a", "b"]}"#,
            hanako().saml_attributes(vec![
                ("team".to_owned(), vec!["ops".to_owned()]),
                ("roles".to_owned(), vec!["a".to_owned(), "b".to_owned()]),
            ]),
        ),
        (
            r#", "oidc_fields": {"level": 3}, "custom": {"cleared": true, "none": null}"#,
            hanako().oidc_claims(vec![
                ("level".to_owned(), Claim::Integer(3)),
                ("cleared".to_owned(), Claim::Bool(true)),
            ]),
        ),
        (r#", "amr": ["pwd", "mfa"]"#, hanako().auth_methods(vec!["pwd".into(), "mfa".into()])),
        (r#", "acrs": ["c1"]"#, hanako().auth_contexts(vec!["c1".into()])),
    ] {
        assert_eq!(read(fields), expected, "{fields}");
    }
}

#[test]
fn faults_name_their_place() {
    for (document, class, place) in [
        ("", ErrorClass::Syntax, None),
        ("[]", ErrorClass::WrongType, Some("document root")),
        ("{}", ErrorClass::MissingField, Some("document root")),
        // A program has no address.
        (r#"{"email": "", "common_name": "c"}"#, ErrorClass::EmailAddress, Some("/email")),
        (r#"{"email": "a@b.jp", "email": "c@d.jp"}"#, ErrorClass::Syntax, None),
        (r#"{"email": "a@b.jp", "groups": "ops"}"#, ErrorClass::WrongType, Some("/groups")),
        (r#"{"email": "a@b.jp", "groups": ["x", 1]}"#, ErrorClass::WrongType, Some("/groups/1")),
        (
            r#"{"email": "a@b.jp", "teams": [{"slug": "ops"}]}"#,
            ErrorClass::MissingField,
            Some("/teams/0"),
        ),
    ] {
        let error = Identity::from_get_identity_json(document.as_bytes()).unwrap_err();
        assert_eq!((error.class(), error.location()), (class, place), "{document}");
        assert!(!error.to_string().contains("a@b.jp"), "{error}");
    }
}

#[test]
fn what_the_document_does_not_say_opens_no_door() {
    let rule = r#"{"github-organization": {"name": "acme", "identity_provider_id": "5a1e8b8c-0000-4000-8000-000000000001"}}"#;
    let rule: Rule = serde_json::from_str(rule).unwrap();
    let app = Application::new("app")
        .destination("app.example.jp".parse().unwrap())
        .policy(Policy::allow("acme").include(rule));
    let engine = Engine::compile(Policies::new([app])).unwrap();
    let request = Request::new("app.example.jp", "/").unwrap();
    for (fields, passes) in
        [(r#", "organizations": ["Acme"]"#, true), (r#", "organizations": []"#, false), ("", false)]
    {
        let identity = read(fields);
        let request = request.clone().identity(&identity);
        let outcome = engine.decide(&request).outcome();
        assert_eq!(outcome == Outcome::Allow, passes, "{fields}: {outcome}");
    }
}
