//! Who may pass, and what is known about visitors: policies, people and countries, as one value
//! that is swapped as a whole.

mod countries;
mod people;

use std::net::IpAddr;

use access_policy::{EmailAddress, Engine, Error, FactName, Identity, Policies, Request};
use tracing::warn;

pub use self::{countries::Countries, people::People};

/// The rules of an edge.
#[derive(Debug)]
pub struct Rules {
    engine: Engine,
    people: People,
    countries: Countries,
}

impl Rules {
    /// Rules without people and countries: what policies ask of those is not known, and admits
    /// nobody.
    ///
    /// # Errors
    ///
    /// Policies that contradict themselves: every fault, each with its place.
    pub fn new(policies: Policies) -> Result<Self, Error> {
        let engine = Engine::compile(policies)?;
        Ok(Self { engine, people: People::default(), countries: Countries::default() })
    }

    /// Adds what is known about people besides their addresses.
    #[must_use]
    pub fn people(mut self, people: People) -> Self {
        self.people = people;
        self
    }

    /// Adds the countries of network addresses.
    #[must_use]
    pub fn countries(mut self, countries: Countries) -> Self {
        self.countries = countries;
        self
    }

    /// The compiled policies.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// A request with everything that this edge knows before a login. A country is looked up only
    /// where a policy asks for it.
    ///
    /// # Errors
    ///
    /// A host or path that can't be read.
    pub fn request<'a>(
        &self,
        host: &'a str,
        path: &'a str,
        client: IpAddr,
    ) -> Result<Request<'a>, Error> {
        let request = Request::new(host, path)?.client_ip(client);
        if self.engine.facts_needed(&request).contains(FactName::Country) {
            return Ok(request.country(self.countries.find(client)));
        }
        Ok(request)
    }

    /// The policies' view of a proven address. The login took it, so the policies can read it too,
    /// or refuse.
    pub fn identity(&self, email: &str) -> Option<Identity<'static>> {
        let email = EmailAddress::parse(email).ok()?;
        Some(self.people.find(&email).unwrap_or_else(|| Identity::new(email)))
    }

    /// Says in the log which rules can never hold because nobody told this edge the facts.
    pub fn warn_of_missing_facts(&self) {
        for (application, fact, remedy) in self.missing_facts() {
            warn!(
                application,
                "its policies ask for {fact}, which this edge does not know: rules about it admit \
                 nobody, and deny where they stand in a deny policy; {remedy}"
            );
        }
    }

    /// Facts that policies ask for and that are never known here, with what to do about it.
    pub fn missing_facts(&self) -> Vec<(String, FactName, &'static str)> {
        let mut missing = Vec::new();
        for (at, application) in self.engine.policies().applications.iter().enumerate() {
            let needed = self.engine.facts_of(at);
            for (facts, is_known, remedy) in [
                (&[FactName::Country][..], self.countries.are_known(), "set `country_database`"),
                (&OF_PEOPLE[..], !self.people.is_empty(), "set `identities`"),
                (&NEVER[..], false, "this edge has no source for it"),
            ] {
                let asked = facts.iter().filter(|fact| !is_known && needed.contains(**fact));
                missing.extend(asked.map(|fact| (application.name.clone(), *fact, remedy)));
            }
        }
        missing
    }
}

/// What a file of people can tell.
const OF_PEOPLE: [FactName; 8] = [
    FactName::IdentityProvider,
    FactName::Groups,
    FactName::GithubOrganizations,
    FactName::SamlAttributes,
    FactName::OidcClaims,
    FactName::AuthMethods,
    FactName::AuthContexts,
    FactName::AccountMemberships,
];

/// What this edge can't find out.
const NEVER: [FactName; 6] = [
    FactName::Certificate,
    FactName::DevicePosture,
    FactName::LinkedAppTokens,
    FactName::RiskLevel,
    FactName::ExternalEvaluation,
    FactName::UnsupportedSelector,
];
