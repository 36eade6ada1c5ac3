//! The walk through the policies of one application.

use crate::{
    answers::{Answered, Answers, Run},
    outcome::{DenyClass, Outcome},
    program::{Batch, Program, Shape},
    request::Subject,
};

/// What the walk came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) outcome: Outcome,
    pub(crate) why: Why,
    /// The policy behind it, by its position in the application's list.
    pub(crate) policy: Option<u32>,
    /// How many policies were asked.
    pub(crate) asked: u32,
    /// Of the first 32 policies that were asked, those that matched, one bit each.
    pub(crate) matched: u32,
    /// Of the first 32 policies that were asked, those that did not match.
    pub(crate) not_matched: u32,
}

/// What kind of reason there is; the words are found later, if somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Matched,
    LoginNeeded,
    ExternalNeeded,
    FactMissing,
    NothingMatched,
    NoApplication,
    AmbiguousPath,
    Preflight,
    ServiceToken,
}

/// Judges a subject by the policies of one application, known by its position.
pub(crate) fn evaluate(program: &Program, application: usize, subject: Subject<'_>) -> Verdict {
    let mut walk = Walk::new(program, subject);
    let mut verdict = walk.through(application);
    if verdict.outcome == Outcome::Deny(DenyClass::Identity) {
        // Would nobody else have fared better either? Then it is not about who the visitor is.
        let non_identity = Outcome::Deny(DenyClass::NonIdentity);
        let is_anyone_refused = walk.refuses_before_login().unwrap_or_else(|| {
            let nobody = Subject { identity: None, ..subject };
            Walk::new(program, nobody).through(application).outcome == non_identity
        });
        if is_anyone_refused {
            verdict.outcome = non_identity;
        }
    }
    verdict
}

/// Judges by bypass and service policies alone.
pub(crate) fn evaluate_first_phase(
    program: &Program,
    application: usize,
    subject: Subject<'_>,
) -> Option<Verdict> {
    let verdict = Walk::new(program, subject).through(application);
    let is_first = matches!(verdict.outcome, Outcome::Bypass | Outcome::ServiceAuth);
    is_first.then_some(verdict)
}

/// Where a walk stands.
struct Walk<'r> {
    run: Run<'r>,
    program: &'r Program,
    /// The only batch, and what came of it; nothing if there are several.
    only: Option<(Batch, &'r Shape, Answered)>,
    is_logged_in: bool,
    /// What becomes of those whom nothing admits.
    refused: Outcome,
    /// The first allow policy that a login could satisfy: while there is one, nobody who has not
    /// logged in is refused for good.
    open: Option<u32>,
    /// The first policy that might have let the visitor pass, had a fact been known.
    gap: Option<u32>,
    verdict: Verdict,
}

impl<'r> Walk<'r> {
    fn new(program: &'r Program, subject: Subject<'r>) -> Self {
        let is_logged_in = subject.identity.is_some();
        let class = if is_logged_in { DenyClass::Identity } else { DenyClass::NonIdentity };
        let refused = Outcome::Deny(class);
        Self {
            run: Run::new(program, subject),
            program,
            only: None,
            is_logged_in,
            refused,
            open: None,
            gap: None,
            verdict: Verdict::without_policy(refused, Why::NothingMatched),
        }
    }

    /// Goes through the policies of an application.
    fn through(&mut self, application: usize) -> Verdict {
        let Some(code) = self.program.applications.get(application) else {
            return self.verdict;
        };
        if code.more.len == 0 {
            return self.batch(code.first, true).unwrap_or_else(|| self.end());
        }
        let more = code.more.of(&self.program.more_batches);
        for batch in std::iter::once(&code.first).chain(more) {
            if let Some(verdict) = self.batch(*batch, false) {
                return verdict;
            }
        }
        self.end()
    }

    /// Whether the same walk would have ended in a refusal without a login, if its answers tell that.
    fn refuses_before_login(&self) -> Option<bool> {
        let (batch, shape, answered) = self.only.as_ref()?;
        let answers = self.run.without_login(*batch, shape, answered)?;
        let stops = shape.stops(&answers, false);
        let before = bits_below(stops.trailing_zeros());
        let could_be_open = shape.allow & answers.could_be_true & before != 0;
        let missing = (shape.bypass | shape.service | shape.allow)
            & !answers.is_false
            & !answers.could_be_true
            & bits_below(shape.policies);
        let at_stop = stops & stops.wrapping_neg();
        Some(match stops {
            _ if could_be_open => false,
            0 => missing == 0,
            _ => shape.deny & answers.is_true & at_stop != 0,
        })
    }

    /// Goes through a batch of policies, and gives the verdict if it is found among them.
    fn batch(&mut self, batch: Batch, is_only: bool) -> Option<Verdict> {
        let shape = self.program.shape(batch)?;
        let is_logged_in = self.is_logged_in;
        let answered = self.run.answers(batch, shape, |answers| shape.stops(answers, is_logged_in));
        let answers = answered.answers;
        if is_only {
            self.only = Some((batch, shape, answered));
        }
        let stops = shape.stops(&answers, is_logged_in);
        let stop = stops.trailing_zeros();
        let asked = if stops == 0 { shape.policies } else { stop + 1 };
        self.note(&answers, asked);

        let reached = bits_below(asked);
        let position = |bits: u64| match bits & reached {
            0 => None,
            bits => self.program.position(shape, bits.trailing_zeros()),
        };
        if !is_logged_in {
            self.open = self.open.or_else(|| position(shape.allow & answers.could_be_true));
        }
        // What a login or an answer can still make true is no gap; missing facts never grant.
        let granting = shape.bypass | shape.service | shape.allow;
        let missing = !answers.is_false & !answers.could_be_true;
        self.gap = self.gap.or_else(|| position(granting & missing));
        (stops != 0).then(|| self.stop(shape, &answers, stop))
    }

    /// The verdict of the policy at which the walk ends.
    fn stop(&self, shape: &Shape, answers: &Answers, at: u32) -> Verdict {
        let has = |bits: u64| bits >> at & 1 != 0;
        let (outcome, why) = if has(shape.bypass) {
            (Outcome::Bypass, Why::Matched)
        } else if has(shape.service) {
            (Outcome::ServiceAuth, Why::Matched)
        } else if has(shape.allow) && has(answers.is_true) {
            (Outcome::Allow, Why::Matched)
        } else if has(shape.allow) || has(answers.could_be_false) {
            (Outcome::NeedsExternal, Why::ExternalNeeded)
        } else if self.open.is_some() {
            // The login, if it comes, will tell.
            return self.end();
        } else if has(answers.is_true) {
            (self.refused, Why::Matched)
        } else {
            (Outcome::Deny(DenyClass::MissingFact), Why::FactMissing)
        };
        Verdict { outcome, why, policy: self.program.position(shape, at), ..self.verdict }
    }

    /// The verdict if no policy decides.
    fn end(&self) -> Verdict {
        let (outcome, why, policy) = match (self.open, self.gap) {
            (Some(at), _) => (Outcome::NeedsIdentity, Why::LoginNeeded, at),
            (None, Some(at)) => (Outcome::Deny(DenyClass::MissingFact), Why::FactMissing, at),
            (None, None) => return self.verdict,
        };
        Verdict { outcome, why, policy: Some(policy), ..self.verdict }
    }

    fn note(&mut self, answers: &Answers, asked: u32) {
        // The first batch fills all there is.
        if self.verdict.asked == 0 {
            let asked = bits_below(asked);
            self.verdict.matched = low_half(answers.is_true & asked);
            self.verdict.not_matched = low_half(answers.is_false & asked);
        }
        self.verdict.asked += asked;
    }
}

impl Shape {
    /// The policies at which a walk ends.
    fn stops(&self, answers: &Answers, is_logged_in: bool) -> u64 {
        let granted = (self.bypass | self.service) & answers.is_true;
        if is_logged_in {
            // Whether a policy holds may depend on an external evaluation: then it is asked for.
            granted | self.allow & answers.could_be_true | self.deny & !answers.is_false
        } else {
            granted | self.deny & !answers.is_false & !answers.could_be_false
        }
    }
}

impl Verdict {
    /// A verdict that no policy had a part in.
    pub(crate) fn without_policy(outcome: Outcome, why: Why) -> Self {
        Self { outcome, why, policy: None, asked: 0, matched: 0, not_matched: 0 }
    }
}

/// Policies of one batch below a number of at most 64.
fn bits_below(count: u32) -> u64 {
    u64::MAX.checked_shr(64 - count).unwrap_or(0)
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half")]
fn low_half(bits: u64) -> u32 {
    bits as u32
}
