//! Prints how decisions come about, rule by rule.
//!
//! Run it with `cargo run -p sekimori-access-policy --example explain`. You should see four trees:
//! a visitor from the office passes without a login, one from elsewhere is asked for a login, a
//! member of staff passes, and an intern is refused.

#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

use std::error::Error;

use access_policy::{EmailAddress, Engine, Identity, Policies, Request};

fn main() -> Result<(), Box<dyn Error>> {
    let engine = Engine::compile(Policies::from_json(POLICIES)?)?;
    println!("{engine}\n");

    let office = Request::new("wiki.example.jp", "/")?.client_ip("192.0.2.7".parse()?);
    show(&engine, &office);

    let elsewhere = Request::new("wiki.example.jp", "/")?.client_ip("203.0.113.5".parse()?);
    show(&engine, &elsewhere);

    for address in ["hanako@example.jp", "intern@example.jp"] {
        let identity = Identity::new(EmailAddress::parse(address)?);
        show(&engine, &elsewhere.clone().identity(&identity));
    }
    Ok(())
}

fn show(engine: &Engine, request: &Request<'_>) {
    println!("{}\n", engine.decide(request).explain());
}

const POLICIES: &str = r#"{"applications": [{
    "name": "wiki",
    "domain": "wiki.example.jp",
    "policies": [
        {"name": "staff", "decision": "allow",
         "include": [{"email_domain": {"domain": "example.jp"}}],
         "exclude": [{"email": {"email": "intern@example.jp"}}]},
        {"name": "office", "decision": "bypass",
         "include": [{"ip": {"ip": "192.0.2.0/24"}}]}
    ]
}]}"#;
