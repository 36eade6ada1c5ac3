//! What becomes of every request at once: the walk of `evaluate` with diagrams in place of values.

use crate::{
    catalog::Model,
    diagram::{Ref, Side, TooLarge},
    gather::{LOGIN, PREFLIGHT, TOKEN},
    outcome::{DenyClass, Outcome},
    policy::Action,
    setting::{Setting, Token},
    space::{Space, truth},
    truth::Truth,
};

/// The walk through the policies of an application.
#[derive(Debug)]
pub(crate) struct Walk {
    /// For each policy in the order of evaluation: its position, what was open before it was asked,
    /// and whether it matches.
    pub(crate) steps: Vec<WalkStep>,
    /// The end, as an [`End`] in one number.
    pub(crate) end: Ref,
}

#[derive(Debug)]
pub(crate) struct WalkStep {
    pub(crate) position: usize,
    pub(crate) action: Action,
    pub(crate) before: Ref,
    pub(crate) matches: Ref,
}

/// Where a walk ended: what comes of it, and the policy that decided, by its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) outcome: Outcome,
    pub(crate) policy: Option<usize>,
}

/// Still open; somebody has logged in.
const USER: u32 = 0;
/// Still open; nobody has logged in.
const NOBODY: u32 = 1;
/// The same, and some login could be allowed.
const NOBODY_OPEN: u32 = 2;
/// Outcome and policy in one number begin here.
const ENDS: u32 = 16;

impl End {
    fn number(self) -> u32 {
        let code = match self.outcome {
            Outcome::Deny(_) => 0,
            Outcome::NeedsIdentity => 1,
            Outcome::Allow => 2,
            Outcome::ServiceAuth => 3,
            Outcome::Bypass => 4,
            Outcome::RespondPreflight => 5,
            Outcome::NeedsExternal => 6,
        };
        let policy = self.policy.map_or(0, |at| u32::try_from(at).unwrap_or(u32::MAX >> 8) + 1);
        ENDS + 8 * policy + code
    }

    /// Reads the number of a finished walk.
    pub(crate) fn of(number: u32) -> Self {
        let Some(number) = number.checked_sub(ENDS) else { return Self::refused() };
        let outcome = match number % 8 {
            1 => Outcome::NeedsIdentity,
            2 => Outcome::Allow,
            3 => Outcome::ServiceAuth,
            4 => Outcome::Bypass,
            5 => Outcome::RespondPreflight,
            6 => Outcome::NeedsExternal,
            _ => Outcome::Deny(DenyClass::Identity),
        };
        let policy = (number / 8).checked_sub(1).and_then(|at| usize::try_from(at).ok());
        Self { outcome, policy }
    }

    /// Refusals are alike here, whatever their class.
    fn refused() -> Self {
        Self { outcome: Outcome::Deny(DenyClass::Identity), policy: None }
    }

    fn by(outcome: Outcome, policy: usize) -> u32 {
        Self { outcome, policy: Some(policy) }.number()
    }
}

/// Walks through the policies of an application, given by its position.
pub(crate) fn walk(
    space: &mut Space,
    model: Model<'_>,
    application: usize,
) -> Result<Walk, TooLarge> {
    let start = space.by_login(USER, NOBODY);
    walk_from(space, model, application, start, false)
}

/// The step that asks one policy.
fn step(
    space: &mut Space,
    before: Ref,
    matches: Ref,
    action: Action,
    position: usize,
) -> Result<Ref, TooLarge> {
    let no = u32::from(Truth::FALSE.to_byte());
    let ask = |state, matches| asked(state, truth(matches), action, position);
    // What was decided before stays, and so does everything where the policy does not match.
    space.diagrams.combine_with(before, matches, &ask, &|state, matches| {
        (state.is_some_and(|state| state >= ENDS) || matches == Some(no)).then_some(Side::First)
    })
}

/// Whether it makes a difference to a step that its policy matches in another way.
pub(crate) fn makes_a_difference(
    space: &mut Space,
    taken: &WalkStep,
    otherwise: Ref,
    consistent: Ref,
) -> Result<bool, TooLarge> {
    if taken.matches == otherwise {
        return Ok(false);
    }
    let differ = |a: u32, b: u32| if a == b { 0 } else { 1 + 16 * a + b };
    let differ = space.diagrams.combine(taken.matches, otherwise, &differ)?;
    let differ = space.diagrams.combine_where(differ, taken.before, &|both, state| {
        let (a, b) = ((both - 1) / 16, (both - 1) % 16);
        let asked = |matches| asked(state, truth(matches), taken.action, taken.position);
        u32::from(asked(a) != asked(b))
    })?;
    let differ = space.diagrams.combine_where(differ, consistent, &|_, is_possible| is_possible)?;
    Ok(differ != space.diagrams.leaf(0))
}

/// What comes of a request to an application, by the end of the walk and all that stands before it.
pub(crate) fn outcome(
    space: &mut Space,
    model: Model<'_>,
    application: usize,
    walked: Ref,
) -> Result<Ref, TooLarge> {
    let mut found = walked;
    let app = model.policies.applications.get(application);
    let settings = app.and_then(|app| app.settings.as_deref());
    let refused = End::refused().number();
    let has_service = app.is_some_and(|app| {
        model.in_order(app).any(|(_, policy)| policy.decision == Action::NonIdentity)
    });
    let is_for_services = settings.is_some_and(|settings| settings.service_auth_401_redirect);
    if has_service && is_for_services {
        found = map(space, found, &|end| if is_login(end) { refused } else { end })?;
    }
    if model.policies.organization.strict_service_token_auth {
        found = strictly(space, model, application, found)?;
    }
    let preflight = match settings {
        Some(settings) if settings.options_preflight_bypass => Some(Outcome::Bypass),
        Some(settings) if settings.cors.is_some() => Some(Outcome::RespondPreflight),
        _ => None,
    };
    let answer = preflight.map(|outcome| End { outcome, policy: None }.number());
    let is_preflight = space.by(PREFLIGHT, |setting| (*setting == Setting::Preflight(true)).into());
    space.diagrams.combine(is_preflight, found, &|is_preflight, end| match answer {
        _ if is_preflight == 0 => end,
        Some(answer) => answer,
        None if is_login(end) => refused,
        None => end,
    })
}

/// With a service token, valid or not, nothing but bypass and service policies counts.
fn strictly(
    space: &mut Space,
    model: Model<'_>,
    application: usize,
    otherwise: Ref,
) -> Result<Ref, TooLarge> {
    let refused = End::refused().number();
    let nobody = space.diagrams.leaf(NOBODY);
    let first = walk_from(space, model, application, nobody, true)?.end;
    let first = map(space, first, &|end| match End::of(end).outcome {
        Outcome::Bypass | Outcome::ServiceAuth => end,
        _ => refused,
    })?;
    let (none, invalid, valid) = (0, 1, 2);
    let token = space.by(TOKEN, |setting| match setting {
        Setting::Token(Token::Invalid) => invalid,
        Setting::Token(Token::Valid(_)) => valid,
        _ => none,
    });
    let without = space.diagrams.combine(token, otherwise, &|token, end| match token {
        0 => end,
        1 => refused,
        token => token,
    })?;
    space.diagrams.combine(without, first, &|end, first| if end == valid { first } else { end })
}

fn walk_from(
    space: &mut Space,
    model: Model<'_>,
    application: usize,
    start: Ref,
    for_programs: bool,
) -> Result<Walk, TooLarge> {
    let mut walk = Walk { steps: Vec::new(), end: start };
    let Some(app) = model.policies.applications.get(application) else { return Ok(walk) };
    for (position, policy) in model.in_order(app) {
        let action = policy.decision;
        if for_programs && !action.is_first_phase() {
            continue;
        }
        let mut matches = space.policy(model, policy)?;
        if for_programs {
            // A session does not count beside a token.
            let nobody = space.not_logged_in();
            matches = space.diagrams.restrict_first(matches, LOGIN, nobody);
        }
        walk.steps.push(WalkStep { position, action, before: walk.end, matches });
        walk.end = step(space, walk.end, matches, action, position)?;
    }
    walk.end = map(space, walk.end, &|state| match state {
        NOBODY_OPEN => End { outcome: Outcome::NeedsIdentity, policy: None }.number(),
        USER | NOBODY => End::refused().number(),
        end => end,
    })?;
    Ok(walk)
}

/// One step of `evaluate`, in numbers.
fn asked(state: u32, matches: Truth, action: Action, position: usize) -> u32 {
    if state >= ENDS || matches.is_false() {
        return state;
    }
    match action {
        Action::Bypass if matches.is_true() => End::by(Outcome::Bypass, position),
        Action::NonIdentity if matches.is_true() => End::by(Outcome::ServiceAuth, position),
        Action::Allow if state == USER && matches.is_true() => End::by(Outcome::Allow, position),
        Action::Allow if state != USER && matches.could_be_true() => NOBODY_OPEN,
        Action::Bypass | Action::NonIdentity | Action::Allow => state,
        Action::Deny if matches.could_be_false() && !matches.is_true() => state,
        Action::Deny if state == NOBODY_OPEN => {
            End { outcome: Outcome::NeedsIdentity, policy: None }.number()
        }
        Action::Deny => End::by(Outcome::Deny(DenyClass::Identity), position),
    }
}

fn is_login(end: u32) -> bool {
    End::of(end).outcome == Outcome::NeedsIdentity
}

fn map(space: &mut Space, of: Ref, change: &dyn Fn(u32) -> u32) -> Result<Ref, TooLarge> {
    let nothing = space.diagrams.leaf(0);
    space.diagrams.combine(of, nothing, &|value, _| change(value))
}
