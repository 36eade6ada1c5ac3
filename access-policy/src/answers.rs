//! Asks the questions of a batch, and puts the answers together.

use std::{cell::OnceCell, net::IpAddr};

use crate::{
    answer::{answer, country_is},
    fact::Fact,
    identity::Identity,
    program::{
        Batch, COLUMNS, EXCLUDE, INCLUDE, Mask, Members, Program, Question, REQUIRE, Shape, Test,
    },
    request::{ServiceToken, Subject},
    steps,
    table::{folded_hash_of, hash_of},
    truth::Truth,
};

/// How the policies of a batch came out, one bit each: the four bits of [`Truth`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answers {
    pub(crate) is_true: u64,
    pub(crate) is_false: u64,
    pub(crate) could_be_true: u64,
    pub(crate) could_be_false: u64,
}

/// The answers to a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    pub(crate) answers: Answers,
    /// What was known before anything was asked about the visitor.
    before_login: Tally,
}

/// The evaluation of policies for one subject.
#[derive(Debug)]
pub(crate) struct Run<'r> {
    program: &'r Program,
    subject: Subject<'r>,
    email_hash: OnceCell<u64>,
    domain_hash: OnceCell<u64>,
}

impl<'r> Run<'r> {
    pub(crate) fn new(program: &'r Program, subject: Subject<'r>) -> Self {
        Self { program, subject, email_hash: OnceCell::new(), domain_hash: OnceCell::new() }
    }

    /// Answers a batch. Costly questions are left out where they can't matter: `stops` gives the
    /// policies at which the walk would end by the answers so far.
    #[inline]
    pub(crate) fn answers(
        &self,
        batch: Batch,
        shape: &Shape,
        stops: impl Fn(&Answers) -> u64,
    ) -> Answered {
        steps::take(1);
        let (anonymous, others) = self.questions(batch);
        let mut tally = Tally::default();
        for question in anonymous {
            self.ask(question.test, self.program.mask(question.mask), &mut tally);
        }
        let before_login = tally;
        for question in others {
            let mask = self.program.mask(question.mask);
            if question.test.is_costly() && !tally.is_open(mask, shape, &stops) {
                continue;
            }
            self.ask(question.test, mask, &mut tally);
        }
        Answered { answers: tally.sum(shape), before_login }
    }

    /// The answers that there would be if nobody had logged in; `None` if that takes another run.
    pub(crate) fn without_login(
        &self,
        batch: Batch,
        shape: &Shape,
        answered: &Answered,
    ) -> Option<Answers> {
        let mut tally = answered.before_login;
        for question in self.questions(batch).1 {
            if question.test.is_costly() {
                return None;
            }
            steps::take(1);
            tally.put(self.program.mask(question.mask), Truth::ASKABLE);
        }
        Some(tally.sum(shape))
    }

    /// The questions that a login has no bearing on, and the others.
    #[inline]
    fn questions(&self, batch: Batch) -> (&'r [Question], &'r [Question]) {
        let questions = batch.questions.of(&self.program.questions);
        questions.split_at_checked(batch.anonymous as usize).unwrap_or((questions, &[]))
    }

    fn ask(&self, test: Test, mask: &Mask, tally: &mut Tally) {
        steps::take(1);
        match test {
            Test::Everyone => tally.add(mask),
            Test::Email(text) => self.by_identity(mask, tally, |identity| {
                let is_it = self.program.texts.get(text) == identity.email().as_bytes();
                is_it.then_some(mask)
            }),
            Test::Emails(at) => self.by_identity(mask, tally, |identity| {
                self.email_mask(at, identity).map(|own| self.program.mask(own))
            }),
            Test::EmailList(at) => self
                .by_identity(mask, tally, |identity| self.email_mask(at, identity).map(|_| mask)),
            Test::EmailDomain(text) => self.by_identity(mask, tally, |identity| {
                let is_it = self.program.texts.get(text) == identity.email_domain().as_bytes();
                is_it.then_some(mask)
            }),
            Test::EmailDomains(at) => self.by_identity(mask, tally, |identity| {
                let domain = identity.email_domain().as_bytes();
                let hash = *self.domain_hash.get_or_init(|| hash_of(domain));
                let found =
                    self.program.tables.get(at as usize)?.find(&self.program.texts, hash, domain);
                found.map(|own| self.program.mask(own))
            }),
            Test::V4 { prefix, first } => self.by_address(mask, tally, |address| {
                let IpAddr::V4(address) = address else { return None };
                let differing = address.to_bits() ^ first;
                let is_inside = differing.checked_shr(32 - u32::from(prefix)).unwrap_or(0) == 0;
                is_inside.then_some(mask)
            }),
            Test::Network(at) => self.by_address(mask, tally, |address| {
                self.program.networks.get(at as usize)?.contains(address).then_some(mask)
            }),
            Test::Blocks(at) => self.by_address(mask, tally, |address| {
                let own = self.program.blocks.get(at as usize)?.mask_of(address)?;
                Some(self.program.mask(own))
            }),
            Test::NetworkList(at) => self.by_address(mask, tally, |address| {
                self.program.blocks.get(at as usize)?.mask_of(address).map(|_| mask)
            }),
            Test::Country(wanted) => {
                tally.put(mask, country_is(self.subject.facts.country, wanted).truth);
            }
            Test::ServiceToken(text) => {
                if let ServiceToken::Valid { id } = self.subject.facts.service_token
                    && self.program.texts.get(text).eq_ignore_ascii_case(id.as_bytes())
                {
                    tally.add(mask);
                }
            }
            Test::ServiceTokens(at) => {
                if let ServiceToken::Valid { id } = self.subject.facts.service_token
                    && let Some(own) = self.token_mask(at, id.as_bytes())
                {
                    tally.add(self.program.mask(own));
                }
            }
            Test::Members(at) => {
                match (self.subject.identity, self.program.members.get(at as usize)) {
                    (None, _) => tally.put(mask, Truth::ASKABLE),
                    (Some(identity), Some(members)) => self.members(members, identity, mask, tally),
                    (Some(_), None) => {}
                }
            }
            Test::Group(at) => tally.put(mask, self.group(at)),
            Test::Rule(at) => {
                let rule = self.program.rules.get(at as usize);
                let truth = rule.map_or(Truth::MISSING, |rule| answer(rule, self.subject).truth);
                tally.put(mask, truth);
            }
            Test::Unsupported => tally.put(mask, Truth::MISSING),
        }
    }

    fn group(&self, at: u32) -> Truth {
        let batch = self.program.groups.get(at as usize);
        let shape = batch.and_then(|batch| self.program.shape(*batch));
        match (batch, shape) {
            (Some(batch), Some(shape)) => self.answers(*batch, shape, |_| 0).answers.of_first(),
            _ => Truth::MISSING,
        }
    }

    /// Adds the mask that an identity earns; without one, everybody can still log in.
    fn by_identity<'m>(
        &self,
        mask: &'m Mask,
        tally: &mut Tally,
        earns: impl FnOnce(&'r Identity<'r>) -> Option<&'m Mask>,
    ) {
        match self.subject.identity {
            None => tally.put(mask, Truth::ASKABLE),
            Some(identity) => {
                if let Some(earned) = earns(identity) {
                    tally.add(earned);
                }
            }
        }
    }

    fn by_address<'m>(
        &self,
        mask: &'m Mask,
        tally: &mut Tally,
        earns: impl FnOnce(IpAddr) -> Option<&'m Mask>,
    ) {
        match self.subject.facts.client_ip {
            Fact::Known(address) => {
                if let Some(earned) = earns(address) {
                    tally.add(earned);
                }
            }
            Fact::Absent => {}
            Fact::Unavailable => tally.put(mask, Truth::MISSING),
        }
    }

    fn email_mask(&self, table: u32, identity: &Identity<'_>) -> Option<u32> {
        let email = identity.email().as_bytes();
        let hash = *self.email_hash.get_or_init(|| hash_of(email));
        self.program.tables.get(table as usize)?.find(&self.program.texts, hash, email)
    }

    fn token_mask(&self, table: u32, id: &[u8]) -> Option<u32> {
        let table = self.program.tables.get(table as usize)?;
        let mut candidates = table.candidates(folded_hash_of(id));
        let is_it = |text| self.program.texts.get(text).eq_ignore_ascii_case(id);
        candidates.find(|(text, _)| is_it(*text)).map(|(_, mask)| mask)
    }

    fn members(&self, members: &Members, identity: &Identity<'_>, mask: &Mask, tally: &mut Tally) {
        let texts = &self.program.texts;
        let provider = match identity.known_provider() {
            Fact::Known(provider) => provider.as_bytes(),
            Fact::Absent => return,
            Fact::Unavailable => return tally.put(mask, Truth::MISSING),
        };
        let mut providers = members.providers.iter();
        let found = providers.find(|(text, _)| {
            steps::take(1);
            texts.get(*text) == provider
        });
        let Some((provider, of_provider)) = found else {
            return;
        };
        let groups = match identity.known_groups() {
            Fact::Known(groups) => groups,
            Fact::Absent => return,
            Fact::Unavailable => {
                return tally.put(self.program.mask(*of_provider), Truth::MISSING);
            }
        };
        groups.for_each(|group| {
            let name = group.as_bytes();
            for (text, at) in members.table.candidates(folded_hash_of(name)) {
                let Some(member) = members.groups.get(at as usize) else { continue };
                let known = texts.get(text);
                let is_it =
                    if member.is_exact { known == name } else { known.eq_ignore_ascii_case(name) };
                if is_it && member.provider == *provider {
                    tally.add(self.program.mask(member.mask));
                }
            }
        });
    }
}

impl Answers {
    fn of_first(self) -> Truth {
        Truth::from_bits(self.is_true, self.is_false, self.could_be_true, self.could_be_false)
    }
}

/// What the answers add up to in each column: where one rule was true, and what the unknown ones
/// among the others leave possible.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    is_true: Mask,
    is_not_false: Mask,
    could_be_true: Mask,
    could_not_be_false: Mask,
}

impl Tally {
    /// Notes that the rules of a mask are true.
    fn add(&mut self, mask: &Mask) {
        set(&mut self.is_true, mask);
    }

    /// Notes how the rules of a mask came out.
    fn put(&mut self, mask: &Mask, truth: Truth) {
        let mut set_if = |columns: fn(&mut Self) -> &mut Mask, is_set: bool| {
            if is_set {
                set(columns(self), mask);
            }
        };
        set_if(|tally| &mut tally.is_true, truth.is_true());
        set_if(|tally| &mut tally.is_not_false, !truth.is_false());
        set_if(|tally| &mut tally.could_be_true, truth.could_be_true());
        set_if(|tally| &mut tally.could_not_be_false, !truth.could_be_false());
    }

    /// Whether the rules of a mask can still change anything. The questions of a policy come before
    /// those of later ones, and its include rules first.
    fn is_open(&self, mask: &Mask, shape: &Shape, stops: impl Fn(&Answers) -> u64) -> bool {
        let policies = mask.iter().fold(0, |all, bits| all | bits);
        let first = policies.trailing_zeros();
        let before = 1_u64.checked_shl(first).unwrap_or(0).wrapping_sub(1);
        if before != 0 && stops(&self.sum(shape)) & before != 0 {
            return false;
        }
        // What is excluded stays so, and so does a policy whose include rules have all said no.
        let mut settled = self.is_true[EXCLUDE];
        let first = policies & policies.wrapping_neg();
        if mask[INCLUDE] & first == 0 && self.is_false(INCLUDE) & first != 0 {
            settled |= first;
        }
        mask.iter().zip(&self.is_true).any(|(bits, is_true)| bits & !is_true & !settled != 0)
    }

    fn is_false(&self, column: usize) -> u64 {
        !(self.is_true[column] | self.is_not_false[column])
    }

    fn could_be_true(&self, column: usize) -> u64 {
        self.is_true[column] | self.could_be_true[column]
    }

    fn could_be_false(&self, column: usize) -> u64 {
        !(self.is_true[column] | self.could_not_be_false[column])
    }

    /// Any include, no exclude, all requires.
    fn sum(&self, shape: &Shape) -> Answers {
        let mut sum = Answers {
            is_true: self.is_true[INCLUDE] & self.is_false(EXCLUDE),
            is_false: self.is_false(INCLUDE) | self.is_true[EXCLUDE],
            could_be_true: self.could_be_true(INCLUDE) & self.could_be_false(EXCLUDE),
            could_be_false: self.could_be_false(INCLUDE) | self.could_be_true(EXCLUDE),
        };
        for (column, required) in (REQUIRE..COLUMNS).zip(shape.required) {
            sum.is_true &= self.is_true[column] | !required;
            sum.is_false |= self.is_false(column) & required;
            sum.could_be_true &= self.could_be_true(column) | !required;
            sum.could_be_false |= self.could_be_false(column) & required;
        }
        sum
    }
}

#[inline]
fn set(columns: &mut Mask, mask: &Mask) {
    for (column, bits) in columns.iter_mut().zip(mask) {
        *column |= bits;
    }
}
