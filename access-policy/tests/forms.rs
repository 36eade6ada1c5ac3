//! One configuration in every form in which it comes: the API's, in envelopes, with Terraform's nulls,
//! by older names, as lists in one block, as a state. And back again without loss.

#![recursion_limit = "256"]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use access_policy::{
    Application, Engine, ListItems, Mode, Policies, Policy, PolicyEntry, Rule, Unmatched,
};
use serde_json::{Value, json};

const PROVIDER: &str = "5a1e8b8c-0000-4000-8000-000000000001";

/// Every selector as the API writes it.
fn selectors() -> Vec<Value> {
    let p = PROVIDER;
    vec![
        json!({"everyone": {}}),
        json!({"email": {"email": "a@example.com"}}),
        json!({"email_list": {"id": "list-1"}}),
        json!({"email_domain": {"domain": "example.com"}}),
        json!({"ip": {"ip": "192.0.2.0/24"}}),
        json!({"ip_list": {"id": "list-2"}}),
        json!({"geo": {"country_code": "JP"}}),
        json!({"group": {"id": "group-1"}}),
        json!({"azureAD": {"id": "entra-1", "identity_provider_id": p}}),
        json!({"github-organization": {"name": "acme", "team": "ops", "identity_provider_id": p}}),
        json!({"gsuite": {"email": "ops@example.com", "identity_provider_id": p}}),
        json!({"okta": {"name": "Ops", "identity_provider_id": p}}),
        json!({"saml": {"attribute_name": "a", "attribute_value": "b", "identity_provider_id": p}}),
        json!({"oidc": {"claim_name": "a", "claim_value": "b", "identity_provider_id": p}}),
        json!({"auth_context": {"id": "x", "ac_id": "c1", "identity_provider_id": p}}),
        json!({"auth_method": {"auth_method": "mfa"}}),
        json!({"login_method": {"id": p}}),
        json!({"service_token": {"token_id": "t1"}}),
        json!({"any_valid_service_token": {}}),
        json!({"certificate": {}}),
        json!({"common_name": {"common_name": "build.example"}}),
        json!({"device_posture": {"integration_uid": "d1"}}),
        json!({"external_evaluation": {"evaluate_url": "https://e", "keys_url": "https://k"}}),
        json!({"linked_app_token": {"app_uid": "app-1"}}),
        json!({"user_risk_score": {"user_risk_score": ["low", "unscored"]}}),
        json!({"cloudflare_account_member": {"account_id": "acc"}}),
    ]
}

fn document(rules: &Value) -> Value {
    json!({
        "applications": [{"id": "app", "domain": "app.example.com", "policies": [
            {"id": "p", "name": "p", "decision": "allow", "include": rules}]}],
        "groups": [{"id": "group-1", "name": "g", "include": [{"everyone": {}}]}],
        "lists": [
            {"id": "list-1", "name": "l", "type": "EMAIL", "items": [{"value": "a@example.com"}]},
            {"id": "list-2", "name": "l", "type": "IP", "items": [{"value": "192.0.2.1/32", "description": "d"}]}],
    })
}

fn read(document: &Value) -> Policies {
    let policies = Policies::from_json(&document.to_string()).unwrap();
    Engine::compile(policies.clone()).unwrap();
    policies
}

fn rules(policies: &Policies) -> &[Rule] {
    let PolicyEntry::Inline(policy) = &policies.applications[0].policies[0] else {
        panic!("an inline policy")
    };
    &policy.include
}

/// As the API tells the rules that it tried on a user: the selector's name beside its fields.
#[test]
fn flattened_rules_of_a_test_result_are_read_leniently() {
    let flattened: Vec<Value> = selectors()
        .iter()
        .map(|rule| {
            let (name, fields) = rule.as_object().unwrap().iter().next().unwrap();
            let mut flat = fields.as_object().unwrap().clone();
            flat.insert("_type".to_owned(), json!(name));
            Value::Object(flat)
        })
        .collect();
    let text = document(&json!(flattened)).to_string();
    let import = Policies::import(text.as_bytes(), Mode::Lenient).unwrap();
    assert!(import.warnings.is_empty(), "{:?}", import.warnings);
    assert_eq!(import.policies, read(&document(&json!(selectors()))));
    assert!(Policies::from_json(&text).is_err(), "a configuration is not written so");

    let bad = document(&json!([{"_type": "ip", "ip": "192.0.2.999"}])).to_string();
    let error = Policies::import(bad.as_bytes(), Mode::Lenient).unwrap_err();
    assert_eq!(error.location(), Some("/applications/0/policies/0/include/0"));
}

#[test]
fn all_26_selectors_are_read_and_written_as_the_api_does() {
    let selectors = selectors();
    assert_eq!(selectors.len(), 26);
    let policies = read(&document(&json!(selectors)));
    let written: Vec<Value> =
        rules(&policies).iter().map(|rule| serde_json::to_value(rule).unwrap()).collect();
    assert_eq!(written, selectors);
    let names: std::collections::BTreeSet<&str> =
        rules(&policies).iter().map(Rule::selector).collect();
    assert_eq!(names.len(), 26);
}

#[test]
fn a_state_dump_carries_every_key_with_null() {
    let expected = read(&document(&json!(selectors())));
    let all: Vec<String> = selectors()
        .iter()
        .map(|rule| rule.as_object().unwrap().keys().next().unwrap().clone())
        .collect();
    let terraform = |name: &str| match name {
        "azureAD" => "azure_ad".to_owned(),
        "github-organization" => "github_organization".to_owned(),
        name => name.to_owned(),
    };
    let dumped: Vec<Value> = selectors()
        .iter()
        .map(|rule| {
            let (name, value) = rule.as_object().unwrap().iter().next().unwrap();
            let mut object: serde_json::Map<String, Value> =
                all.iter().map(|other| (terraform(other), Value::Null)).collect();
            object.insert(terraform(name), value.clone());
            Value::Object(object)
        })
        .collect();
    assert_eq!(read(&document(&json!(dumped))), expected);
}

#[test]
fn envelopes_and_bare_values_are_equal() {
    let bare = document(&json!(selectors()));
    let wrap =
        |value: &Value| json!({"success": true, "errors": [], "messages": [], "result": value});
    let enveloped = json!({
        "applications": wrap(&bare["applications"]),
        "groups": wrap(&bare["groups"]),
        "lists": wrap(&bare["lists"]),
    });
    assert_eq!(read(&enveloped), read(&bare));
}

#[test]
fn older_names_are_equal_to_new_ones() {
    let new = json!([
        {"okta": {"name": "Ops", "identity_provider_id": PROVIDER}},
        {"azureAD": {"id": "x", "identity_provider_id": PROVIDER}},
    ]);
    let old = json!([
        {"okta": {"email": "Ops", "connection_id": PROVIDER.to_uppercase()}},
        {"azure_ad": {"id": "X", "connection_id": PROVIDER}},
    ]);
    assert_eq!(read(&document(&old)), read(&document(&new)));
}

#[test]
fn a_block_of_provider_4_is_several_rules() {
    let block = json!([{
        "email": ["a@example.com", "b@example.com"], "email_domain": [], "ip": ["192.0.2.1"],
        "common_names": ["x"], "everyone": false, "certificate": true,
        "github": [{"name": "acme", "teams": ["ops", "dev"], "identity_provider_id": PROVIDER}],
        "azure": [{"id": ["g1", "g2"], "identity_provider_id": PROVIDER}],
        "okta": [{"name": ["O"], "identity_provider_id": PROVIDER}],
        "geo": ["JP"], "group": ["group-1"],
    }]);
    let github = |team: &str| json!({"github-organization": {"name": "acme", "team": team, "identity_provider_id": PROVIDER}});
    let azure = |id: &str| json!({"azureAD": {"id": id, "identity_provider_id": PROVIDER}});
    let mut expected: Vec<Value> = vec![
        json!({"email": {"email": "a@example.com"}}),
        json!({"email": {"email": "b@example.com"}}),
        json!({"ip": {"ip": "192.0.2.1"}}),
        json!({"common_name": {"common_name": "x"}}),
        json!({"certificate": {}}),
        github("ops"),
        github("dev"),
        azure("g1"),
        azure("g2"),
        json!({"okta": {"name": "O", "identity_provider_id": PROVIDER}}),
        json!({"geo": {"country_code": "JP"}}),
        json!({"group": {"id": "group-1"}}),
    ];
    let mut found: Vec<Value> = rules(&read(&document(&block)))
        .iter()
        .map(|rule| serde_json::to_value(rule).unwrap())
        .collect();
    let key = |value: &Value| value.to_string();
    expected.sort_by_key(key);
    found.sort_by_key(key);
    assert_eq!(found, expected);
}

#[test]
fn terraform_states_of_both_kinds_are_read() {
    let application = json!({"id": "app", "account_id": "x", "zone_id": null, "name": "n",
        "domain": "app.example.com", "type": "self_hosted", "cors_headers": [], "session_duration": "24h",
        "policies": [{"id": "shared", "precedence": 2, "include": null, "decision": null}]});
    let policy = json!({"id": "shared", "account_id": "x", "name": "shared", "decision": "allow",
        "include": [{"email": {"email": "a@example.com"}, "geo": null}], "exclude": null, "require": []});
    let attached = json!({"id": "old", "application_id": "APP", "precedence": 1, "name": "old",
        "decision": "deny", "include": [{"ip": ["192.0.2.1"], "email": []}]});
    let list = json!({"id": "l", "account_id": "x", "name": "l", "type": "EMAIL", "items": ["a@example.com"]});
    let state = json!({"version": 4, "terraform_version": "1.9.0", "serial": 1, "resources": [
        {"mode": "managed", "type": "cloudflare_zero_trust_access_application", "name": "a", "instances": [{"attributes": application}]},
        {"mode": "managed", "type": "cloudflare_zero_trust_access_policy", "name": "b", "instances": [{"attributes": policy}]},
        {"mode": "managed", "type": "cloudflare_access_policy", "name": "c", "instances": [{"attributes": attached}]},
        {"mode": "managed", "type": "cloudflare_teams_list", "name": "d", "instances": [{"attributes": list}]},
        {"mode": "data", "type": "cloudflare_access_policy", "name": "e", "instances": [{"attributes": 7}]},
        {"mode": "managed", "type": "cloudflare_record", "name": "f", "instances": [{"attributes": {"x": 1}}]}]});
    let shown = json!({"format_version": "1.0", "terraform_version": "1.9.0", "values": {"root_module": {
        "resources": [{"type": "cloudflare_zero_trust_access_policy", "values": policy}],
        "child_modules": [{"resources": [
            {"type": "cloudflare_zero_trust_access_application", "values": application},
            {"type": "cloudflare_access_policy", "values": attached},
            {"type": "cloudflare_teams_list", "values": list}]}]}}});
    let (first, second) = (read(&state), read(&shown));
    assert_eq!(first, second);
    assert_eq!(first.policies.len(), 1);
    assert_eq!(first.applications[0].policies.len(), 2);
    assert_eq!(first.lists[0].items, ListItems::Emails(vec!["a@example.com".parse().unwrap()]));
}

#[test]
fn every_fault_is_told_at_once_with_its_pointer() {
    let text = json!({
        "applications": [
            {"id": "1", "domain": "https://x", "session_duration": "1d", "policies": [
                {"name": "p", "decision": "permit", "include": [{"emial": {}}, {"email": {"email": "secret@@x"}}]}]},
            {"id": "2", "domain": "y.example", "polices": []},
            {"id": "3", "domain": "z.example", "policies": [7]}],
        "groups": [{"name": "g", "include": []}],
    });
    let error = Policies::from_json(&text.to_string()).unwrap_err();
    let places: Vec<_> = error.problems().map(|problem| problem.location().unwrap()).collect();
    for place in [
        "/applications/0/domain",
        "/applications/0/session_duration",
        "/applications/0/policies/0/decision",
        "/applications/0/policies/0/include/0/emial",
        "/applications/0/policies/0/include/1/email/email",
        "/applications/1/polices",
        "/applications/2/policies/0",
        "/groups/0",
    ] {
        assert!(places.contains(&place), "{place} in {places:?}");
    }
    assert!(error.to_string().contains("more problems"), "{error}");
    assert!(!format!("{error:?}").contains("secret"));
}

#[test]
fn faults_of_compiling_are_told_at_once_too() {
    let text = json!({"applications": [
        {"id": "1", "domain": "x.example", "policies": ["nowhere"]},
        {"id": "2", "domain": "x.example", "policies": [{"name": "p", "decision": "bypass", "include": [{"group": {"id": "a"}}, {"group": {"id": "b"}}]}]}],
        "groups": [{"id": "a", "name": "a", "include": [{"group": {"id": "a"}}]}]});
    let error = Engine::compile(Policies::from_json(&text.to_string()).unwrap()).unwrap_err();
    let classes: Vec<_> =
        error.problems().map(|problem| format!("{:?}", problem.class())).collect();
    for class in ["GroupCycle", "UnresolvedReference", "DuplicateDestination"] {
        assert!(classes.iter().any(|found| found == class), "{class} in {classes:?}");
    }
}

#[test]
fn lenient_reading_carries_what_it_does_not_understand() {
    let text = json!({"applications": [{"id": "1", "domain": "x.example", "hologram": {"a": [1, 2.5]},
        "policies": [{"name": "p", "decision": "allow", "include": [{"moon_phase": {"phase": "full"}}], "aura": true}]}]});
    assert!(Policies::from_json(&text.to_string()).is_err());
    let import = Policies::import(text.to_string().as_bytes(), Mode::Lenient).unwrap();
    let places: Vec<_> =
        import.warnings.iter().map(|warning| warning.location().unwrap()).collect();
    assert!(places.contains(&"/applications/0/hologram"), "{places:?}");
    assert!(places.contains(&"/applications/0/policies/0/include/0/moon_phase"), "{places:?}");
    let written = serde_json::to_value(&import.policies).unwrap();
    assert_eq!(written["applications"][0]["hologram"], text["applications"][0]["hologram"]);
    let policy = &written["applications"][0]["policies"][0];
    assert_eq!(policy["include"], text["applications"][0]["policies"][0]["include"]);
    assert_eq!(policy["aura"], json!(true));
    let again = Policies::import(written.to_string().as_bytes(), Mode::Lenient).unwrap();
    assert_eq!(again.policies, import.policies);
}

#[test]
fn everything_survives_a_round_trip() {
    let text = json!({"applications": [{
        "id": "app", "name": "n", "type": "self_hosted", "domain": "*.example.com/a*b", "session_duration": "1h30m",
        "destinations": [{"type": "public", "uri": "*.example.com/a*b"}, {"type": "private", "cidr": "10.0.0.0/8", "port_range": "22"}],
        "allowed_idps": ["i1"], "auto_redirect_to_identity": true, "service_auth_401_redirect": true,
        "cors_headers": {"allowed_methods": ["GET"], "allowed_origins": ["https://o"], "allow_credentials": true, "max_age": -1},
        "custom_deny_url": "https://d", "custom_deny_message": "no", "custom_non_identity_deny_url": "https://n",
        "read_service_tokens_from_header": "X-Token", "same_site_cookie_attribute": "lax", "tags": ["t"], "skip_interstitial": true,
        "policies": [{"id": "shared"}, {"id": "p", "name": "p", "decision": "allow", "session_duration": "30m",
            "include": [{"everyone": {}}], "require": [], "exclude": [],
            "approval_required": true, "approval_groups": [{"approvals_needed": 2, "email_addresses": ["a@example.com"], "email_list_uuid": "l"}],
            "purpose_justification_required": true, "purpose_justification_prompt": "why", "isolation_required": true,
            "mfa_config": {"allowed_authenticators": ["totp"], "session_duration": "0s"},
            "connection_rules": {"ssh": {"usernames": ["root"]}}}]},
        {"id": "s", "name": "s", "type": "saas", "saas_app": {"x": {"y": null}}, "policies": []}],
        "policies": [{"id": "shared", "name": "shared", "decision": "bypass", "include": [{"geo": {"country_code": "JP"}}], "require": [], "exclude": []}],
        "groups": [{"id": "g", "name": "G", "include": [{"everyone": {}}], "require": [], "exclude": [], "is_default": true}],
        "lists": [{"id": "l", "name": "L", "type": "IP", "items": [{"value": "192.0.2.0/24", "description": "office"}, {"value": "2001:db8::1"}]},
                  {"id": "s", "name": "S", "type": "SERIAL", "items": [{"value": "x"}]}],
        "organization": {"strict_service_token_auth": true, "session_duration": "12h",
            "deny_unmatched_requests": true, "deny_unmatched_requests_exempted_zone_names": ["example.net"], "auth_domain": "x"}});
    let policies = read(&text);
    assert_eq!(
        policies.organization.unmatched,
        Unmatched::DenyExcept(vec!["example.net".to_owned()])
    );
    let written = serde_json::to_value(&policies).unwrap();
    for (pointer, expected) in [
        ("/policies", &text["policies"]),
        ("/groups", &text["groups"]),
        ("/lists", &text["lists"]),
        ("/organization", &text["organization"]),
    ] {
        assert_eq!(written.pointer(pointer), Some(expected), "{pointer}");
    }
    let (found, expected) = (&written["applications"][0], &text["applications"][0]);
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&found[name], value, "{name}");
    }
    assert_eq!(read(&written), policies);
}

#[test]
fn oversized_and_deeply_nested_documents_are_refused_with_the_limit() {
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let error = Policies::from_json(&deep).unwrap_err();
    assert!(error.to_string().contains("the depth exceeds the limit of 64"), "{error}");
    let long =
        format!(r#"[{{"name": "{}", "domain": "x.example", "policies": []}}]"#, "x".repeat(5_000));
    let error = Policies::from_json(&long).unwrap_err();
    assert!(error.to_string().contains("limit of 4096"), "{error}");
    let wide = (0..300).map(|n| format!(r#""k{n}": 1,"#)).collect::<Vec<_>>().concat();
    let error = Policies::from_json(&format!(r#"{{{wide} "applications": []}}"#)).unwrap_err();
    assert!(error.to_string().contains("limit of 256"), "{error}");
    for bytes in [&b"\xff\xfe"[..], b"", b"null", b"\"", b"{\"a\":\"\\ud800\"}"] {
        assert!(Policies::import(bytes, Mode::Lenient).is_err());
    }
}

#[test]
fn groups_that_would_take_too_long_are_refused_and_a_deep_chain_too() {
    let chain = |depth: usize, twice: bool| {
        let mut policies = Policies::new([Application::new("a")
            .destination("a.example".parse().unwrap())
            .policy(Policy::allow("p").include(Rule::group("g0")))]);
        for at in 0..depth {
            let next = Rule::group(format!("g{}", at + 1));
            let mut group = access_policy::Group::new(format!("g{at}")).include(next.clone());
            if twice {
                let more = [next.clone(), next.clone(), next];
                group = more.into_iter().fold(group, access_policy::Group::require);
            }
            policies = policies.group(group);
        }
        policies.group(access_policy::Group::new(format!("g{depth}")).include(Rule::Everyone))
    };
    assert!(Engine::compile(chain(16, false)).is_ok());
    let error = Engine::compile(chain(17, false)).unwrap_err();
    assert!(error.to_string().contains("more than 16 deep"), "{error}");
    let error = Engine::compile(chain(12, true)).unwrap_err();
    assert!(error.to_string().contains("more than 1,000,000 steps"), "{error}");
}
