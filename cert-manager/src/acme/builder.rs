//! What describes an account.

use std::{
    collections::{HashMap, hash_map},
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::RootCertStore;

use crate::{
    acme::{
        account::ExternalAccount,
        client::Acme,
        connection::Connection,
        journal::{Journal, issuer_id},
        order::Wishes,
        session::Settings,
        solver::Solver,
    },
    error::{Error, Kind},
    key::default_provider,
    pem,
    storage::Storage,
};

/// Describes an [`Acme`] account.
#[derive(Debug)]
#[must_use]
pub struct Builder {
    pub(super) settings: Settings,
    pub(super) profile: Option<String>,
    pub(super) wishes: Wishes,
    pub(super) solvers: Vec<Arc<dyn Solver>>,
    pub(super) roots: Option<Vec<u8>>,
    pub(super) timeout: Duration,
    pub(super) store: Arc<dyn Storage>,
}

impl Builder {
    /// States that the operator agrees to the authority's terms. Without it no account is opened where there are any.
    pub fn agree_to_terms(mut self, agrees: bool) -> Self {
        self.settings.agrees_to_terms = agrees;
        self
    }

    /// Adds an address for the authority's messages.
    pub fn contact(mut self, email: &str) -> Self {
        self.settings.contacts.push(format!("mailto:{email}"));
        self
    }

    /// Binds the account to a customer of the authority.
    pub fn external_account(mut self, account: ExternalAccount) -> Self {
        self.settings.external_account = Some(account);
        self
    }

    /// Asks for a profile, such as `shortlived`. By default the authority chooses. Where it does not know the profile,
    /// nothing is ordered, and the failure says which ones it knows.
    pub fn profile(mut self, profile: impl Into<String>) -> Self {
        self.profile = Some(profile.into());
        self.wishes.goes_without_profile = false;
        self
    }

    /// As [`Builder::profile`], but any other will do where the authority does not know it.
    pub fn preferred_profile(mut self, profile: impl Into<String>) -> Self {
        self.profile = Some(profile.into());
        self.wishes.goes_without_profile = true;
        self
    }

    /// Takes the chain that leads to a root of this common name, if the authority offers several.
    pub fn preferred_root(mut self, common_name: impl Into<String>) -> Self {
        self.wishes.preferred_root = Some(common_name.into());
        self
    }

    /// Adds a solver. Those added first are preferred.
    pub fn solver(mut self, solver: Arc<dyn Solver>) -> Self {
        self.solvers.push(solver);
        self
    }

    /// Sets how long a request may take, with its answer, before it is given up: 30 seconds by default, at least 1 second. An
    /// order that was under way goes on with the next attempt.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.max(Duration::from_secs(1));
        self
    }

    /// Trusts these roots, PEM, for the connection to the authority, in place of the system's.
    pub fn roots(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = Some(pem.into());
        self
    }

    /// Checks everything. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// If there is no solver, two for one kind, or no root to trust.
    pub fn build(self) -> Result<Acme, Error> {
        let provider = Arc::new(default_provider());
        let mut roots = RootCertStore::empty();
        match &self.roots {
            Some(text) => roots.add_parsable_certificates(pem::certificates(text)?),
            None => roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
        };
        if roots.is_empty() {
            return Err(Kind::Acme(
                "there is no root to trust: install `ca-certificates`, or give roots",
            )
            .into());
        }
        if self.solvers.is_empty() {
            return Err(Kind::Acme("a solver is needed to show control over names").into());
        }
        let kinds = self.solvers.iter().map(|solver| solver.kind()).collect();
        let mut solvers = HashMap::new();
        for solver in self.solvers {
            match solvers.entry(solver.kind()) {
                hash_map::Entry::Vacant(free) => free.insert(solver),
                hash_map::Entry::Occupied(_) => {
                    return Err(Kind::Acme("two solvers are for the same kind of challenge").into());
                }
            };
        }
        Ok(Acme {
            connection: Connection::new(roots, Arc::clone(&provider), self.timeout)?,
            journal: Journal::new(self.store, self.settings.directory_url.clone()),
            id: issuer_id(&self.settings.directory_url),
            settings: self.settings,
            profile: self.profile,
            wishes: Wishes { kinds, ..self.wishes },
            solvers,
            provider,
            session: Mutex::new(None),
            opening: tokio::sync::Mutex::new(()),
        })
    }
}
