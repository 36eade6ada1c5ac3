//! Finds reusable policies, groups and lists by id, and answers rules that name them.

use std::{borrow::Cow, collections::HashMap};

use foldhash::fast::FixedState;

use crate::{
    answer::{Answer, answer},
    application::{Application, PolicyEntry},
    error::{Error, Kind},
    fact::{Fact, FactName},
    group::Group,
    list::{List, ListItems},
    policies::Policies,
    policy::Policy,
    request::Subject,
    rule::Rule,
};

type ById = HashMap<Box<str>, usize, FixedState>;

/// Where each id stands in the configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    policies: ById,
    groups: ById,
    lists: ById,
}

/// A configuration whose references can be followed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Model<'a> {
    pub(crate) policies: &'a Policies,
    pub(crate) catalog: &'a Catalog,
}

impl Catalog {
    pub(crate) fn build(policies: &Policies, faults: &mut Vec<Error>) -> Self {
        // Nothing refers to an application by its id.
        let _ = ids(
            policies.applications.iter().map(|app| &*app.id),
            ("application", "applications"),
            faults,
        );
        let reusable = policies.policies.iter().map(|policy| &*policy.id);
        let reusable = ids(reusable, ("policy", "policies"), faults);
        let groups =
            ids(policies.groups.iter().map(|group| &*group.id), ("group", "groups"), faults);
        let lists = ids(policies.lists.iter().map(|list| &*list.id), ("list", "lists"), faults);
        Self { policies: kept(reusable), groups: kept(groups), lists: kept(lists) }
    }

    pub(crate) fn group_position(&self, id: &str) -> Option<usize> {
        self.groups.get(id).copied()
    }
}

impl<'a> Model<'a> {
    /// The policy behind an entry of an application.
    pub(crate) fn policy(self, entry: &'a PolicyEntry) -> Option<&'a Policy> {
        match entry {
            PolicyEntry::Inline(policy) => Some(policy),
            PolicyEntry::Link(id) => self.policies.policies.get(*self.catalog.policies.get(id)?),
        }
    }

    /// The policies of an application as they are asked: bypass and service policies first, then
    /// allow and deny, each with its position in the application's list.
    pub(crate) fn in_order(
        self,
        application: &'a Application,
    ) -> impl Iterator<Item = (usize, &'a Policy)> {
        let all = move || {
            let entries = application.policies.iter().enumerate();
            entries.filter_map(move |(at, entry)| Some((at, self.policy(entry)?)))
        };
        let first = all().filter(|(_, policy)| policy.decision.is_first_phase());
        first.chain(all().filter(|(_, policy)| !policy.decision.is_first_phase()))
    }

    pub(crate) fn group(self, id: &str) -> Option<&'a Group> {
        self.policies.groups.get(*self.catalog.groups.get(id)?)
    }

    pub(crate) fn list(self, id: &str) -> Option<&'a List> {
        self.policies.lists.get(*self.catalog.lists.get(id)?)
    }

    /// Answers a rule, rule by rule and item by item. Decisions take the compiled way; this one is
    /// for explanations, and names the fact that is missing.
    pub(crate) fn answer(self, rule: &Rule, subject: Subject<'_>) -> Answer {
        match rule {
            Rule::Group(id) => match self.group(id) {
                Some(group) => {
                    self.matches(&group.include, &group.require, &group.exclude, subject)
                }
                None => answer(rule, subject),
            },
            Rule::EmailList(id) => {
                match (self.list(id).map(|list| &list.items), subject.identity) {
                    (Some(ListItems::Emails(_)), None) => Answer::ASKABLE,
                    (Some(ListItems::Emails(items)), Some(identity)) => {
                        items.iter().any(|item| item.as_str() == identity.email()).into()
                    }
                    _ => answer(rule, subject),
                }
            }
            Rule::IpList(id) => match self.list(id).map(|list| &list.items) {
                Some(ListItems::Networks(items)) => {
                    // The address counts even where the list is empty: then nothing is known of it.
                    match subject.facts.client_ip {
                        Fact::Known(address) => {
                            items.iter().any(|network| network.contains(address)).into()
                        }
                        Fact::Absent => Answer::FALSE,
                        Fact::Unavailable => Answer::missing(FactName::ClientAddress),
                    }
                }
                _ => answer(rule, subject),
            },
            rule => answer(rule, subject),
        }
    }

    /// Answers whether a policy matches.
    pub(crate) fn policy_answer(self, policy: &Policy, subject: Subject<'_>) -> Answer {
        self.matches(&policy.include, &policy.require, &policy.exclude, subject)
    }

    /// The include rule that speaks for a match.
    pub(crate) fn matching_rule<'p>(
        self,
        policy: &'p Policy,
        subject: Subject<'_>,
    ) -> Option<&'p Rule> {
        policy.include.iter().find(|rule| self.answer(rule, subject).truth.is_true())
    }

    /// Reports whether only a login can answer a rule, also by way of a group.
    pub(crate) fn needs_identity(self, rule: &Rule) -> bool {
        match rule {
            Rule::Group(id) => self
                .group(id)
                .is_some_and(|group| group.rules().any(|rule| self.needs_identity(rule))),
            rule => rule.needs_identity(),
        }
    }

    fn matches(
        self,
        include: &[Rule],
        require: &[Rule],
        exclude: &[Rule],
        subject: Subject<'_>,
    ) -> Answer {
        let included = any(include.iter().map(|rule| self.answer(rule, subject)));
        let required = all(require.iter().map(|rule| self.answer(rule, subject)));
        let excluded = any(exclude.iter().map(|rule| self.answer(rule, subject)));
        let spared = Answer { truth: excluded.truth.not(), missing: excluded.missing };
        all([included, required, spared].into_iter())
    }
}

/// Positions by ids, without regard to letter case.
type Ids<'a> = HashMap<Cow<'a, str>, usize, FixedState>;

fn ids<'a>(
    items: impl ExactSizeIterator<Item = &'a str>,
    (what, at): (&'static str, &str),
    faults: &mut Vec<Error>,
) -> Ids<'a> {
    let mut known = Ids::with_capacity_and_hasher(items.len(), FixedState::default());
    for (position, id) in items.enumerate() {
        let id = if id.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(id.to_ascii_lowercase())
        } else {
            Cow::Borrowed(id)
        };
        if known.insert(id, position).is_some() {
            faults.push(Error::from(Kind::DuplicateId { what }).at(format!("/{at}/{position}")));
        }
    }
    known
}

fn kept(ids: Ids<'_>) -> ById {
    ids.into_iter().map(|(id, position)| (id.into(), position)).collect()
}

fn any(answers: impl Iterator<Item = Answer>) -> Answer {
    answers.fold(Answer::FALSE, |sum, next| Answer {
        truth: sum.truth.or(next.truth),
        missing: sum.missing.or(next.missing),
    })
}

fn all(answers: impl Iterator<Item = Answer>) -> Answer {
    answers.fold(Answer::TRUE, |product, next| Answer {
        truth: product.truth.and(next.truth),
        missing: product.missing.or(next.missing),
    })
}
