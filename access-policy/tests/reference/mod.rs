//! A second evaluator, written from the specification without a thought to speed. It shares only
//! the model's data with the crate: hosts, paths and addresses are compared in its own way.

use std::net::IpAddr;

use access_policy::{Action, Application, Policies, Policy, Rule};

/// What the reference knows about a request; hosts and paths come normalised and plain.
pub(crate) struct Facts<'a> {
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) address: Option<IpAddr>,
    pub(crate) email: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    No,
    AfterLogin,
    Missing,
}

/// The outcome, and the names of the application and policy that decided.
pub(crate) type Verdict = (&'static str, Option<String>, Option<String>);

pub(crate) fn decide(policies: &Policies, facts: &Facts<'_>) -> Verdict {
    let Some(application) = application(policies, facts) else {
        return ("no application", None, None);
    };
    let (outcome, policy) = judge(application, facts);
    (outcome, Some(application.name.clone()), policy.map(|policy| policy.name.clone()))
}

/// Section 3.3 of the specification, sentence by sentence.
fn judge<'a>(
    application: &'a Application,
    facts: &Facts<'_>,
) -> (&'static str, Option<&'a Policy>) {
    for policy in &application.policies {
        if policy.decision == Action::Bypass && matches(policy, facts) == Answer::Yes {
            return ("bypass", Some(policy));
        }
    }
    let mut open: Option<&Policy> = None;
    let is_logged_in = facts.email.is_some();
    for policy in &application.policies {
        let answer = matches(policy, facts);
        if policy.decision == Action::Allow {
            if answer == Answer::Yes && is_logged_in {
                return ("allow", Some(policy));
            }
            if (answer == Answer::Yes || answer == Answer::AfterLogin) && open.is_none() {
                open = Some(policy);
            }
        }
        if policy.decision == Action::Deny {
            let refuses = answer == Answer::Yes || answer == Answer::Missing;
            if refuses && open.is_some() {
                return ("login", open);
            }
            if answer == Answer::Yes {
                return ("deny", Some(policy));
            }
            if answer == Answer::Missing {
                return ("missing", Some(policy));
            }
        }
    }
    if open.is_some() {
        return ("login", open);
    }
    // For the report only: would a fact have opened something?
    let first_gap = |action| {
        application
            .policies
            .iter()
            .find(|policy| policy.decision == action && matches(policy, facts) == Answer::Missing)
    };
    match first_gap(Action::Bypass).or_else(|| first_gap(Action::Allow)) {
        Some(policy) => ("missing", Some(policy)),
        None => ("deny", None),
    }
}

/// Tries what a login and the missing fact could turn out to be, in place of a logic of unknowns.
fn matches(policy: &Policy, facts: &Facts<'_>) -> Answer {
    let possible = |email_known: bool, address_known: bool| {
        let rules: Vec<&Rule> =
            policy.include.iter().chain(&policy.require).chain(&policy.exclude).collect();
        // Each rule that can't be answered may go either way, on its own.
        let free: Vec<usize> = (0..rules.len())
            .filter(|&at| answer(rules[at], facts, email_known, address_known).is_none())
            .collect();
        let mut results = Vec::new();
        for choice in 0..1_u32 << free.len() {
            let values: Vec<bool> = (0..rules.len())
                .map(|at| match free.iter().position(|&f| f == at) {
                    Some(bit) => choice >> bit & 1 == 1,
                    None => answer(rules[at], facts, email_known, address_known).unwrap(),
                })
                .collect();
            let (included, rest) = values.split_at(policy.include.len());
            let (required, excluded) = rest.split_at(policy.require.len());
            results.push(
                included.iter().any(|v| *v)
                    && required.iter().all(|v| *v)
                    && !excluded.iter().any(|v| *v),
            );
        }
        results
    };
    let results = possible(facts.email.is_some(), facts.address.is_some());
    if results.iter().all(|v| *v) {
        return Answer::Yes;
    }
    if results.iter().all(|v| !*v) {
        return Answer::No;
    }
    if facts.email.is_some() {
        return Answer::Missing;
    }
    // Could a login alone bring the good turn, with the missing fact at its worst?
    let good = policy.decision != Action::Deny;
    let supposed = |rule: &Rule, helps_a_match: bool| match rule {
        Rule::Email(_) | Rule::EmailDomain(_) => helps_a_match == good,
        Rule::Ip(_) if facts.address.is_none() => helps_a_match != good,
        rule => answer(rule, facts, true, true).unwrap(),
    };
    let turn = policy.include.iter().any(|rule| supposed(rule, true))
        && policy.require.iter().all(|rule| supposed(rule, true))
        && !policy.exclude.iter().any(|rule| supposed(rule, false));
    if turn == good { Answer::AfterLogin } else { Answer::Missing }
}

fn answer(rule: &Rule, facts: &Facts<'_>, email_known: bool, address_known: bool) -> Option<bool> {
    let email = facts.email.filter(|_| email_known).map(str::to_ascii_lowercase);
    match rule {
        Rule::Everyone => Some(true),
        Rule::Email(listed) => email.map(|email| email == listed.to_string()),
        Rule::EmailDomain(listed) => {
            email.map(|email| email.split('@').nth(1) == Some(&listed.to_string()))
        }
        Rule::Ip(network) => facts
            .address
            .filter(|_| address_known)
            .map(|address| inside(&network.to_string(), address)),
        _ => panic!("the reference lacks a selector"),
    }
}

/// Compares addresses bit by bit.
fn inside(network: &str, address: IpAddr) -> bool {
    let (base, length) = network.split_once('/').unwrap_or((network, "128"));
    let (base, address) = (bits(base.parse().unwrap()), bits(address));
    let length = length.parse::<usize>().unwrap().min(base.len());
    base.len() == address.len() && base[..length] == address[..length]
}

fn bits(address: IpAddr) -> Vec<bool> {
    let octets = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) if v6.segments()[..6] == [0, 0, 0, 0, 0, 0xffff] => {
            v6.octets()[12..].to_vec()
        }
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    octets
        .into_iter()
        .flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1 == 1))
        .collect()
}

/// Section 2: all that cover, then the first in the order of 2.4.
fn application<'a>(policies: &'a Policies, facts: &Facts<'_>) -> Option<&'a Application> {
    let mut covering: Vec<(String, &Application)> = Vec::new();
    for application in &policies.applications {
        for destination in &application.destinations {
            let pattern = destination.to_string();
            let (host, path) = split(&pattern);
            if host_covers(host, facts.host) && path_covers(path, facts.path) {
                covering.push((pattern, application));
            }
        }
    }
    covering.sort_by_key(|(pattern, _)| rank(pattern));
    covering.last().map(|(_, application)| *application)
}

fn split(pattern: &str) -> (&str, &str) {
    pattern.find('/').map_or((pattern, ""), |slash| pattern.split_at(slash))
}

fn host_covers(pattern: &str, host: &str) -> bool {
    let (patterns, labels): (Vec<_>, Vec<_>) =
        (pattern.split('.').collect(), host.split('.').collect());
    patterns.len() == labels.len()
        && patterns
            .iter()
            .zip(labels)
            .all(|(pattern, label)| glob(pattern.as_bytes(), label.as_bytes()))
}

fn path_covers(pattern: &str, path: &str) -> bool {
    pattern.is_empty()
        || glob(pattern.as_bytes(), path.as_bytes())
        || (!pattern.ends_with('*') && glob(format!("{pattern}/*").as_bytes(), path.as_bytes()))
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skipped| glob(rest, &text[skipped..])),
        Some((byte, rest)) => text.first() == Some(byte) && glob(rest, &text[1..]),
    }
}

type Rank = (Vec<(bool, usize)>, usize, usize, isize, bool);

fn rank(pattern: &str) -> Rank {
    let (host, path) = split(pattern);
    let labels = host
        .rsplit('.')
        .map(|label| if label.contains('*') { (false, label.len() - 1) } else { (true, 0) })
        .collect();
    let stars = path.matches('*').count();
    let before = path.split('*').next().unwrap().len();
    let closed = !path.is_empty() && !path.ends_with('*');
    (labels, before, path.len() - stars, -isize::try_from(stars).unwrap(), closed)
}
