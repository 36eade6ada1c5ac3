//! Who may open a web application, and why. The model is Cloudflare Access's, and so is its JSON:
//! applications with ordered allow, deny and bypass policies, each with include, require and exclude
//! rules. Evaluation is a pure function with a default of *deny*; a fact that is not known can never
//! open a door; and each decision names its reason.
//!
//! ```
//! use access_policy::{EmailAddress, Engine, Identity, Outcome, Policies, Request};
//!
//! let policies = Policies::from_json(r#"{"applications": [{
//!     "name": "wiki", "domain": "wiki.example.jp",
//!     "policies": [{"name": "staff", "decision": "allow",
//!                   "include": [{"email_domain": {"domain": "example.jp"}}]}]
//! }]}"#)?;
//! let engine = Engine::compile(policies)?;
//!
//! let request = Request::new("wiki.example.jp", "/start")?;
//! assert_eq!(engine.decide(&request).outcome(), Outcome::NeedsIdentity);
//!
//! let hanako = Identity::new(EmailAddress::parse("hanako@example.jp")?);
//! let request = request.identity(&hanako);
//! let decision = engine.decide(&request);
//! assert_eq!(decision.outcome(), Outcome::Allow);
//! assert_eq!(
//!     decision.reason().to_string(),
//!     "policy `staff` (allow) matched: e-mail ends in @example.jp",
//! );
//! # Ok::<(), access_policy::Error>(())
//! ```
//!
//! # Where to begin
//!
//! - [`Policies::import`] reads a configuration, and [`Policies`] can be built in code.
//! - [`Engine::compile`] checks it; [`Engine::decide`] answers a [`Request`] with a [`Decision`].
//! - [`Decision::reason`], [`Decision::explain`], [`Engine::why_not`] and [`AuditRecord`] say why.
//! - [`Engine::lint`], [`Engine::reach`] and [`Engine::changes`] say what a configuration can do.
//! - [`Suite`] holds what administrators expect of it.
//! - [`cloudflare`] says what is Cloudflare's documented behaviour and what is our choice.
//!
//! # Map
//!
//! Low to high; a module imports only from those above it in this table.
//!
//! | modules | what they hold |
//! |---|---|
//! | `limits` `steps` `error` `truth` `fact` `duration` `glob` `table` | bounds, a count for tests, [`Error`], what is unknown, notation, look-up tables |
//! | `remark` `node` `document` | parsed documents that know the place of each value |
//! | `word` | texts, eight bytes at a time |
//! | `domain` `email` `network` `country` `risk` `host` `path` | values with one normal form each, for rules and requests |
//! | `claim` `identity` `get_identity` `request` | [`Identity`] and [`Request`]: the facts |
//! | `rule` `selector` `obligation` `cors` `settings` `group` `list` `organization` `policy` `destination` `application` `policies` | the model, and each part's JSON |
//! | `terraform` `import` | whole configurations |
//! | `answer` `catalog` | the answer to one rule, and to rules that name others |
//! | `outcome` `needs` `index` `program` `batch` `compile` `answers` `evaluate` `trace` | the compiled form, and the walk through it |
//! | `scenario` `judgement` `explanation` `visitor` `decision` `engine` | questions and answers |
//! | `suite` `audit` | expectations and records |
//! | `diagram` `setting` `candidates` `gather` `space` `verdicts` `region` `neighbours` `analysis` `why_not` `lint` | what can be known without a request |
//!
//! # Features
//!
//! | feature | what it brings |
//! |---|---|
//! | `idna` | domains, hosts and addresses with letters beyond ASCII; without it they are refused |
//!
//! # Stability
//!
//! Before 1.0 a minor version may break. The minimum Rust version is 1.88.

#![deny(missing_docs)]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod analysis;
mod answer;
mod answers;
mod application;
mod audit;
mod batch;
mod candidates;
mod catalog;
mod claim;
mod compile;
mod cors;
mod country;
mod decision;
mod destination;
mod diagram;
mod document;
mod domain;
mod duration;
mod email;
mod engine;
mod error;
mod evaluate;
mod explanation;
mod fact;
mod gather;
mod get_identity;
mod glob;
mod group;
mod host;
mod identity;
mod import;
mod index;
mod judgement;
mod limits;
mod lint;
mod list;
mod needs;
mod neighbours;
mod network;
mod node;
mod obligation;
mod organization;
mod outcome;
mod path;
mod policies;
mod policy;
mod program;
mod region;
mod remark;
mod request;
mod risk;
mod rule;
mod scenario;
mod selector;
mod setting;
mod settings;
mod space;
mod steps;
mod suite;
mod table;
mod terms;
mod terraform;
mod trace;
mod truth;
mod verdicts;
mod visitor;
mod why_not;
mod word;

pub use crate::{
    analysis::{Changes, Difference, Reach},
    application::{Application, ApplicationKind, PolicyEntry},
    audit::AuditRecord,
    claim::Claim,
    cors::Cors,
    country::CountryCode,
    decision::Decision,
    destination::Destination,
    document::Mode,
    domain::Domain,
    email::EmailAddress,
    engine::Engine,
    error::{Error, ErrorClass},
    explanation::{ExplainedPolicy, ExplainedRule, Explanation},
    fact::{Fact, FactName},
    group::Group,
    identity::Identity,
    import::Import,
    list::{List, ListItems},
    needs::FactNames,
    network::Network,
    node::Carried,
    obligation::{ApprovalGroup, Mfa, Obligations},
    organization::{Organization, Unmatched},
    outcome::{DenyClass, Outcome, Reason},
    policies::Policies,
    policy::{Action, Policy},
    remark::{Lint, LintCode},
    request::{ExternalAnswer, Preflight, Request, ServiceToken},
    risk::{RiskLevel, RiskLevels},
    rule::{Rule, Unsupported},
    scenario::{Scenario, ScenarioPreflight},
    settings::Settings,
    suite::{Coverage, Expectation, Failure, Suite, SuiteReport},
    trace::{Mark, Trace},
    visitor::VisitorReason,
    why_not::Remedy,
};

#[cfg(test)]
extern crate self as access_policy;
#[cfg(test)]
#[path = "../tests/random/mod.rs"]
mod random;

#[doc = include_str!("../docs/cloudflare.md")]
pub mod cloudflare {}

#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct ReadmeDocTests;
