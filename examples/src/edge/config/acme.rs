//! `[acme]`: public certificates for the hosts of applications.

use std::{fmt, fs, path::PathBuf, sync::Arc};

use anyhow::{Context as _, bail};
use cert_manager::acme::{self, ExternalAccount, Solver};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor, value},
};

use super::Config;

/// An account at an authority. Of several, written `[[acme]]`, the first is preferred.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acme {
    /// The address of the authority's directory. Let's Encrypt's unless set.
    #[serde(default = "default_directory")]
    pub directory: String,
    /// Whether the operator has read the authority's terms and agrees. Nothing is asked of it before.
    #[serde(default)]
    pub agree_to_terms: bool,
    /// An e-mail address for the authority's messages.
    pub contact: Option<String>,
    /// How control over names is shown. `dns-01` if there is a section `[dns]`, else `http-01` if there is
    /// `listen.http`, else `tls-alpn-01`.
    pub challenge: Option<Challenge>,
    /// One certificate for all hosts of one word under the zone, in place of one for each.
    #[serde(default)]
    pub wildcard: bool,
    /// What to ask for, such as `shortlived`. The authority chooses unless set.
    pub profile: Option<String>,
    /// The common name of the root that the chain should lead to, if the authority offers several chains.
    pub preferred_root: Option<String>,
    /// Roots to trust for the connection to the authority in place of the system's: PEM, relative to this file.
    pub ca_file: Option<PathBuf>,
    /// The customer's key identifier, if the authority wants an external account.
    pub eab_key_id: Option<String>,
    /// The file with the customer's MAC key in base64url, relative to this file.
    pub eab_key_file: Option<PathBuf>,
    /// Who issues when no authority does, in the last section only.
    pub fallback: Option<Fallback>,
}

/// A kind of challenge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Challenge {
    /// Answered on plain HTTP: the authority comes to port 80.
    #[serde(rename = "http-01")]
    Http01,
    /// Answered in TLS handshakes: the authority comes to port 443.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// Answered by a DNS record, which the edge writes into the zone of `[dns]`.
    #[serde(rename = "dns-01")]
    Dns01,
}

/// Who issues when no authority does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fallback {
    /// The edge's own authority, which connectors trust and strangers do not.
    Private,
}

impl Acme {
    /// Describes the account. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// A file that can't be read or used.
    pub fn account(
        &self,
        store: cert_manager::DirectoryStore,
        solver: Arc<dyn Solver>,
    ) -> anyhow::Result<acme::Acme> {
        let mut builder = acme::Acme::builder(self.directory.clone(), store)
            .agree_to_terms(self.agree_to_terms)
            .solver(solver);
        if let Some(contact) = &self.contact {
            builder = builder.contact(contact);
        }
        if let Some(profile) = &self.profile {
            builder = builder.profile(profile.clone());
        }
        if let Some(root) = &self.preferred_root {
            builder = builder.preferred_root(root.clone());
        }
        if let Some(file) = &self.ca_file {
            let roots =
                fs::read(file).with_context(|| format!("can't read `{}`", file.display()))?;
            builder = builder.roots(roots);
        }
        if let (Some(id), Some(file)) = (&self.eab_key_id, &self.eab_key_file) {
            let key = fs::read_to_string(file)
                .with_context(|| format!("can't read `{}`", file.display()))?;
            let account = ExternalAccount::new(id.clone(), &key)
                .with_context(|| format!("in `{}`", file.display()))?;
            builder = builder.external_account(account);
        }
        builder.build().with_context(|| format!("can't use the authority at {}", self.directory))
    }

    fn check(&self, config: &Config, is_last: bool) -> anyhow::Result<()> {
        let place = format!("`acme` at {}", self.directory.escape_debug());
        if !self.directory.starts_with("https://") {
            bail!("{place}: an address that begins with https:// is meant");
        }
        if !self.agree_to_terms {
            bail!("{place}: read the authority's terms, then say `agree_to_terms = true`");
        }
        if self.contact.as_ref().is_some_and(|it| !it.contains('@') || it.contains(':')) {
            bail!("{place}: `contact` is an e-mail address such as `ops@example.jp`");
        }
        if self.eab_key_id.is_some() != self.eab_key_file.is_some() {
            bail!("{place}: `eab_key_id` and `eab_key_file` go together");
        }
        if self.fallback.is_some() && !is_last {
            bail!("{place}: `fallback` belongs into the last `[[acme]]`, after all authorities");
        }
        match config.challenge_of(self) {
            Challenge::Http01 if config.listen.http.is_none() => bail!(
                "{place}: http-01 is answered on plain HTTP; say `http = \"0.0.0.0:80\"` in \
                 `[listen]`, or choose `challenge = \"tls-alpn-01\"`"
            ),
            Challenge::Dns01 if config.dns.is_none() => bail!(
                "{place}: dns-01 needs a zone that the edge may change; describe it in `[dns]`, or \
                 choose `challenge = \"http-01\"`"
            ),
            Challenge::Http01 | Challenge::TlsAlpn01 if self.wildcard => bail!(
                "{place}: authorities give a wildcard for dns-01 only; describe the zone in `[dns]`"
            ),
            _ => Ok(()),
        }
    }
}

impl Config {
    /// How control over names is shown to an authority.
    pub fn challenge_of(&self, acme: &Acme) -> Challenge {
        acme.challenge.unwrap_or(if self.dns.is_some() {
            Challenge::Dns01
        } else if self.listen.http.is_some() {
            Challenge::Http01
        } else {
            Challenge::TlsAlpn01
        })
    }

    /// Whether the edge's own authority issues for visitors: alone, or when no other does.
    pub fn has_private_issuer(&self) -> bool {
        self.acme.last().is_none_or(|last| last.fallback.is_some())
    }

    /// The names that each certificate for visitors carries.
    pub fn certificates(&self) -> Vec<Vec<String>> {
        let is_wildcard = self.acme.first().is_some_and(|acme| acme.wildcard);
        let is_word = |host: &str| {
            host.strip_suffix(&self.zone)
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|word| !word.contains('.'))
        };
        let mut names: Vec<String> = self.hosts().into_iter().collect();
        if is_wildcard && names.iter().any(|host| is_word(host)) {
            names.retain(|host| !is_word(host));
            names.push(format!("*.{}", self.zone));
        }
        names.into_iter().map(|name| vec![name]).collect()
    }

    /// Who issues the certificates for visitors, in one line.
    pub fn issuers_in_words(&self) -> String {
        let mut words: Vec<String> = self.acme.iter().map(|acme| self.in_words(acme)).collect();
        if self.has_private_issuer() {
            words.push("the edge's own authority, which browsers must be told to trust".into());
        }
        words.join("; if that fails, ")
    }

    fn in_words(&self, acme: &Acme) -> String {
        let how = match self.challenge_of(acme) {
            Challenge::Http01 => "http-01 on `listen.http`",
            Challenge::TlsAlpn01 => "tls-alpn-01 on `listen.https`",
            Challenge::Dns01 => "dns-01 in the zone of `[dns]`",
        };
        format!("{} by {how}", acme.directory)
    }

    pub(super) fn check_acme(&self) -> anyhow::Result<()> {
        for (at, acme) in self.acme.iter().enumerate() {
            acme.check(self, at + 1 == self.acme.len())?;
        }
        let wildcards = self.acme.iter().filter(|acme| acme.wildcard).count();
        if wildcards != 0 && wildcards != self.acme.len() {
            bail!("say `wildcard` in each `[[acme]]` or in none: all issue for the same names");
        }
        let mut directories: Vec<_> = self.acme.iter().map(|acme| &acme.directory).collect();
        directories.sort_unstable();
        if let Some(twice) = directories.windows(2).find(|pair| pair[0] == pair[1]) {
            bail!("the authority at {} is named twice", twice[0].escape_debug());
        }
        Ok(())
    }
}

fn default_directory() -> String {
    "https://acme-v02.api.letsencrypt.org/directory".into()
}

/// Reads `[acme]` and `[[acme]]`.
pub(super) fn one_or_several<'de, D: Deserializer<'de>>(reader: D) -> Result<Vec<Acme>, D::Error> {
    struct OneOrSeveral;

    impl<'de> Visitor<'de> for OneOrSeveral {
        type Value = Vec<Acme>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table `[acme]`, or several `[[acme]]`")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Ok(vec![Acme::deserialize(value::MapAccessDeserializer::new(map))?])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(value::SeqAccessDeserializer::new(sequence))
        }
    }

    reader.deserialize_any(OneOrSeveral)
}
