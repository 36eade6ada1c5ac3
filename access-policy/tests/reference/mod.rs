//! A second evaluator, written from the specification without a thought to speed. It shares only
//! the model's data with the crate: hosts, paths and addresses are compared in its own way.

use std::net::IpAddr;

use access_policy::{Action, Application, Fact, ListItems, Policies, Policy, PolicyEntry, Rule};

/// What the reference knows about a request; hosts and paths come normalised and plain.
pub(crate) struct Facts<'a> {
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) address: Option<IpAddr>,
    pub(crate) country: Option<&'a str>,
    /// The common name.
    pub(crate) certificate: Fact<&'a str>,
    pub(crate) token: Option<&'a str>,
    pub(crate) person: Option<Person<'a>>,
}

pub(crate) struct Person<'a> {
    pub(crate) email: &'a str,
    pub(crate) provider: Option<&'a str>,
    pub(crate) groups: Option<Vec<&'a str>>,
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
    let (outcome, policy) = judge(policies, application, facts);
    (outcome, Some(application.name.clone()), policy.map(|policy| policy.name.clone()))
}

/// Section 3.3 of the specification, sentence by sentence.
fn judge<'a>(
    policies: &'a Policies,
    application: &'a Application,
    facts: &Facts<'_>,
) -> (&'static str, Option<&'a Policy>) {
    let all: Vec<&Policy> = application
        .policies
        .iter()
        .map(|entry| match entry {
            PolicyEntry::Inline(policy) => policy,
            PolicyEntry::Link(_) => panic!("the small world has no reusable policies"),
        })
        .collect();
    let answers: Vec<Answer> = all.iter().map(|policy| matches(policies, policy, facts)).collect();
    let asked = || all.iter().copied().zip(answers.iter().copied());
    for (policy, answer) in asked() {
        if answer == Answer::Yes {
            match policy.decision {
                Action::Bypass => return ("bypass", Some(policy)),
                Action::NonIdentity => return ("service", Some(policy)),
                Action::Allow | Action::Deny => {}
            }
        }
    }
    let mut open: Option<&Policy> = None;
    let is_logged_in = facts.person.is_some();
    for (policy, answer) in asked() {
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
    let first_gap = |is_first_phase: bool| {
        asked().find(|(policy, answer)| {
            let is_first = matches!(policy.decision, Action::Bypass | Action::NonIdentity);
            policy.decision != Action::Deny
                && is_first == is_first_phase
                && *answer == Answer::Missing
        })
    };
    match first_gap(true).or_else(|| first_gap(false)) {
        Some((policy, _)) => ("missing", Some(policy)),
        None => ("deny", None),
    }
}

/// What is known about one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaf {
    Known(bool),
    NeedsLogin,
    Missing,
}

/// Tries what a login and the missing facts could turn out to be, in place of a logic of unknowns.
fn matches(policies: &Policies, policy: &Policy, facts: &Facts<'_>) -> Answer {
    // Each rule that can't be answered may go either way, on its own.
    let mut unknown = 0_u32;
    let _ = formula(policies, policy, &mut |rule, _| {
        let is_unknown = !matches!(leaf(policies, rule, facts), Leaf::Known(_));
        unknown += u32::from(is_unknown);
        true
    });
    let (mut can_hold, mut can_fail) = (false, false);
    for choice in 0..1_u32 << unknown {
        let mut rest = choice;
        let holds = formula(policies, policy, &mut |rule, _| match leaf(policies, rule, facts) {
            Leaf::Known(value) => value,
            Leaf::NeedsLogin | Leaf::Missing => {
                let value = rest & 1 == 1;
                rest >>= 1;
                value
            }
        });
        can_hold |= holds;
        can_fail |= !holds;
    }
    match (can_hold, can_fail) {
        (true, false) => return Answer::Yes,
        (false, _) => return Answer::No,
        (true, true) if facts.person.is_some() => return Answer::Missing,
        (true, true) => {}
    }
    // Could a login alone bring the good turn, with the missing facts at their worst?
    let good = policy.decision != Action::Deny;
    let turn = formula(policies, policy, &mut |rule, helps| match leaf(policies, rule, facts) {
        Leaf::Known(value) => value,
        Leaf::NeedsLogin => helps == good,
        Leaf::Missing => helps != good,
    });
    if turn == good { Answer::AfterLogin } else { Answer::Missing }
}

/// Section 3.2, with groups written out. `value` learns whether the truth of a rule helps a match.
fn formula(
    policies: &Policies,
    policy: &Policy,
    value: &mut dyn FnMut(&Rule, bool) -> bool,
) -> bool {
    clauses(policies, &policy.include, &policy.require, &policy.exclude, true, value)
}

fn clauses(
    policies: &Policies,
    include: &[Rule],
    require: &[Rule],
    exclude: &[Rule],
    helps: bool,
    value: &mut dyn FnMut(&Rule, bool) -> bool,
) -> bool {
    let mut each = |rules: &[Rule], helps: bool| {
        let mut values = Vec::new();
        for rule in rules {
            values.push(match rule {
                Rule::Group(id) => {
                    let group = policies.groups.iter().find(|group| group.id == *id).unwrap();
                    let (a, b, c) = (&group.include, &group.require, &group.exclude);
                    clauses(policies, a, b, c, helps, &mut *value)
                }
                rule => value(rule, helps),
            });
        }
        values
    };
    let (included, required) = (each(include, helps), each(require, helps));
    let excluded = each(exclude, !helps);
    included.contains(&true) && !required.contains(&false) && !excluded.contains(&true)
}

fn leaf(policies: &Policies, rule: &Rule, facts: &Facts<'_>) -> Leaf {
    let by_person =
        |test: &dyn Fn(&Person<'_>) -> Leaf| facts.person.as_ref().map_or(Leaf::NeedsLogin, test);
    let member = |wanted: &str, provider: &str, folds: bool| {
        by_person(&|person| match (person.provider, &person.groups) {
            (Some(known), _) if known != provider => Leaf::Known(false),
            (None, _) | (Some(_), None) => Leaf::Missing,
            (Some(_), Some(groups)) => Leaf::Known(groups.iter().any(|group| {
                if folds { group.to_ascii_lowercase() == wanted } else { *group == wanted }
            })),
        })
    };
    match rule {
        Rule::Everyone => Leaf::Known(true),
        Rule::Email(listed) => {
            by_person(&|person| Leaf::Known(lower(person.email) == listed.to_string()))
        }
        Rule::EmailDomain(listed) => by_person(&|person| {
            Leaf::Known(lower(person.email).split('@').nth(1) == Some(&listed.to_string()))
        }),
        Rule::EmailList(id) => by_person(&|person| {
            let ListItems::Emails(items) = &list(policies, id) else {
                panic!("not a list of people")
            };
            Leaf::Known(items.iter().any(|item| item.to_string() == lower(person.email)))
        }),
        Rule::Ip(network) => facts
            .address
            .map_or(Leaf::Missing, |address| Leaf::Known(inside(&network.to_string(), address))),
        Rule::IpList(id) => facts.address.map_or(Leaf::Missing, |address| {
            let ListItems::Networks(items) = &list(policies, id) else { panic!("not of places") };
            Leaf::Known(items.iter().any(|item| inside(&item.to_string(), address)))
        }),
        Rule::Geo(country) => match facts.country {
            Some(known) if known == country.as_str() => Leaf::Known(true),
            None | Some("XX") => Leaf::Missing,
            Some(_) => Leaf::Known(false),
        },
        Rule::Certificate => match facts.certificate {
            Fact::Unavailable => Leaf::Missing,
            found => Leaf::Known(found.known().is_some()),
        },
        Rule::CommonName(name) => match facts.certificate {
            Fact::Unavailable => Leaf::Missing,
            found => Leaf::Known(found.known() == Some(name)),
        },
        Rule::ServiceToken(id) => Leaf::Known(facts.token == Some(id)),
        Rule::Okta { name, provider } => member(name, provider, false),
        Rule::AzureAd { id, provider } => member(id, provider, true),
        _ => panic!("the reference lacks a selector"),
    }
}

fn list<'a>(policies: &'a Policies, id: &str) -> &'a ListItems {
    &policies.lists.iter().find(|list| &*list.id == id).unwrap().items
}

fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
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
