//! Says what a certificate needs now. Pure: same arguments, same answer.
//!
//! With L the life of the leaf (its last second included) and R what is left of it when renewal
//! begins:
//!
//! | Situation | Answer |
//! |---|---|
//! | no leaf, unusable leaf, other names or another issuer wanted | issue now |
//! | 2/3 of L passed, or 1/2 if L is under 10 days, less up to R/10 of jitter | issue |
//! | the authority names a window (RFC 9773) | issue at a time in it that the salt picks; no later than halfway through R |
//! | 95% of L passed, or revoked | issue, at least once a minute |
//! | the authority asked for patience | wait as long as it asked, whatever else holds |
//! | failed before | wait 1, 10, 100 minutes, then a day, each ±20%; never over a tenth of what is left. With no certificate, an expired, revoked or nearly ended one: 1 minute |
//! | failed before, and would fail again until somebody changes something | wait 1, 10, 100 minutes, then a day, however urgent it is |
//! | wall clock before the leaf's first second | do nothing: the clock is wrong |
//!
//! Jitter comes from a hash of the leaf's serial number: spread over many certificates, equal on
//! all nodes that hold the same one, and nothing needs to be stored.

use std::time::{Duration, SystemTime};

use crate::certificate::Certificate;

/// Decides what one certificate needs at `now`, which is wall-clock time.
///
/// The answer holds until [`Decision::wake_at`]; asking earlier is harmless.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use cert_manager::lifecycle::{Action, Cause, Leaf, View, decide};
///
/// let day = Duration::from_secs(86_400);
/// let start = SystemTime::UNIX_EPOCH + 20_000 * day;
/// let leaf = Leaf { not_before: start, not_after: start + 7 * day, salt: 1 };
///
/// assert_eq!(decide(start, &View::default()).action, Action::Issue(Cause::Missing));
/// assert_eq!(decide(start + day, &View::of(leaf)).action, Action::Sleep);
/// assert_eq!(decide(start + 4 * day, &View::of(leaf)).action, Action::Issue(Cause::Due));
/// ```
pub fn decide(now: SystemTime, view: &View) -> Decision {
    let plan = |leaf| Some((leaf, Plan::of(leaf, view.window)?));
    let Some((leaf, plan)) = view.leaf.and_then(plan) else {
        let attempt =
            Attempt { cause: Cause::Missing, health: Health::Missing, remaining: Duration::ZERO };
        return attempt.decide(now, view, 0);
    };
    let remaining = plan.end.duration_since(now).unwrap_or_default();
    let attempt = |cause, health| {
        let attempt = Attempt { cause, health, remaining };
        attempt.decide(now, view, leaf.salt)
    };
    if now >= plan.end {
        attempt(Cause::Expired, Health::Expired)
    } else if view.revoked {
        attempt(Cause::Revoked, Health::Critical)
    } else if view.names_changed {
        attempt(Cause::NamesChanged, Health::Due)
    } else if view.issuer_changed {
        attempt(Cause::IssuerChanged, Health::Due)
    } else if view.is_requested {
        attempt(Cause::Requested, Health::Good)
    } else if now < leaf.not_before {
        // Renewing by a wrong clock would make certificates that nobody else finds valid.
        Decision {
            action: Action::Sleep,
            wake_at: now + CRITICAL_RETRY,
            health: Health::NotYetValid,
        }
    } else if now >= plan.critical {
        attempt(Cause::Critical, Health::Critical)
    } else if now >= plan.due {
        attempt(if plan.is_asked { Cause::Asked } else { Cause::Due }, Health::Due)
    } else {
        Decision {
            action: Action::Sleep,
            wake_at: plan.due.min(now + LONGEST_SLEEP),
            health: Health::Good,
        }
    }
}

/// Returns when renewal of a leaf begins if its authority names no window, or `None` if it ends before it starts.
pub fn due_at(leaf: Leaf) -> Option<SystemTime> {
    Plan::of(leaf, None).map(|plan| plan.due)
}

/// As [`due_at`], with the window that its authority names.
#[cfg(all(feature = "tokio", any(feature = "ring", feature = "aws-lc-rs")))]
pub(crate) fn renew_at(leaf: Leaf, window: Option<RenewalWindow>) -> Option<SystemTime> {
    Plan::of(leaf, window).map(|plan| plan.due)
}

/// What is known about one certificate.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact by itself")]
pub struct View {
    /// The certificate that is being served, if there is one.
    pub leaf: Option<Leaf>,
    /// Whether the leaf carries other names than are wanted now.
    pub names_changed: bool,
    /// Whether the leaf came from an issuer that is not wanted any more.
    pub issuer_changed: bool,
    /// Whether a person wants a new one.
    pub is_requested: bool,
    /// Whether the authority took the leaf back.
    pub revoked: bool,
    /// When the authority wishes it to be renewed.
    pub window: Option<RenewalWindow>,
    /// Attempts that failed since the last success.
    pub failures: Failures,
}

/// When an authority wishes a certificate to be renewed (RFC 9773 section 4.2).
///
/// One that lies in the past says that the certificate was or will be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewalWindow {
    /// Its beginning.
    pub start: SystemTime,
    /// Its end; a window that ends before it begins counts as none.
    pub end: SystemTime,
}

/// When an authority wishes a certificate to be renewed, and when it wishes to be asked again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RenewalInfo {
    /// For [`View::window`]; nothing if the answer made no sense.
    pub window: Option<RenewalWindow>,
    /// A page that says why.
    pub explanation_url: Option<String>,
    /// Ask again after this long: between one minute and a day.
    pub ask_again_after: Duration,
}

impl RenewalInfo {
    /// A wish, and to be asked again in six hours.
    pub fn new(window: Option<RenewalWindow>) -> Self {
        Self { window, explanation_url: None, ask_again_after: Duration::from_secs(6 * 3600) }
    }
}

impl View {
    /// A view of a leaf that is fine so far.
    pub fn of(leaf: Leaf) -> Self {
        Self { leaf: Some(leaf), ..Self::default() }
    }
}

/// What a decision needs to know about a leaf certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// First second of its life.
    pub not_before: SystemTime,
    /// Last second of its life, itself included.
    pub not_after: SystemTime,
    /// Any number that differs between certificates and stays the same for one.
    pub salt: u64,
}

impl From<&Certificate> for Leaf {
    fn from(certificate: &Certificate) -> Self {
        let serial = certificate.serial().as_bytes();
        Self {
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            salt: salt_of_serial(serial.iter().copied()),
        }
    }
}

/// Failed attempts since the last success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// How many there were.
    pub count: u32,
    /// When the last one was.
    pub last: Option<SystemTime>,
    /// Before this the authority does not want to be asked.
    pub not_before: Option<SystemTime>,
    /// Whether the last one would repeat itself, until somebody changes something: then pauses grow, however urgent it is.
    pub is_certain: bool,
}

impl Failures {
    /// Counts one more.
    #[must_use]
    pub fn and_one(self, now: SystemTime) -> Self {
        Self { count: self.count.saturating_add(1), last: Some(now), ..Self::default() }
    }

    /// Heeds what the authority said about the last one.
    #[must_use]
    pub fn not_before(self, not_before: Option<SystemTime>) -> Self {
        Self { not_before, ..self }
    }
}

/// What to do, until when that holds, and how the certificate fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    /// What to do now.
    pub action: Action,
    /// When to ask again at the latest; after `now` unless the action is to issue.
    pub wake_at: SystemTime,
    /// How the certificate fares.
    pub health: Health,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Nothing, until the time to wake.
    Sleep,
    /// Ask the issuer for a new certificate.
    Issue(Cause),
}

/// Why a certificate is issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// There is none, or its end lies before its start.
    Missing,
    /// Other names are wanted.
    NamesChanged,
    /// Its issuer is not wanted any more.
    IssuerChanged,
    /// A person wants a new one.
    Requested,
    /// Its time has come.
    Due,
    /// The authority wishes it.
    Asked,
    /// 95% of its life is over.
    Critical,
    /// The authority took it back.
    Revoked,
    /// Its life is over.
    Expired,
}

/// How a certificate fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// Valid, and renewal is not due.
    Good,
    /// Valid, and renewal should happen.
    Due,
    /// Valid, with little time left, or revoked.
    Critical,
    /// Its life is over.
    Expired,
    /// There is no certificate.
    Missing,
    /// The wall clock stands before the start of its life.
    NotYetValid,
}

/// The points in time that a leaf's life defines.
struct Plan {
    due: SystemTime,
    is_asked: bool,
    critical: SystemTime,
    end: SystemTime,
}

impl Plan {
    fn of(leaf: Leaf, window: Option<RenewalWindow>) -> Option<Self> {
        let life = leaf.not_after.duration_since(leaf.not_before).ok()? + Duration::from_secs(1);
        let begin = if life < SHORT_LIFE { life / 2 } else { life / 3 * 2 };
        let rest = life.saturating_sub(begin);
        let jitter = fraction(rest / 10, leaf.salt);
        let own = leaf.not_before + begin.saturating_sub(jitter);
        let asked = window.and_then(|window| {
            let width = window.end.duration_since(window.start).ok()?;
            let salt = leaf.salt ^ salt_of(window.start) ^ salt_of(window.end).rotate_left(1);
            // However late it is, some of the life is left to try again in.
            Some((window.start + fraction(width, salt)).min(leaf.not_before + begin + rest / 2))
        });
        Some(Self {
            due: asked.unwrap_or(own),
            is_asked: asked.is_some(),
            critical: leaf.not_before + life / 20 * 19,
            end: leaf.not_before + life,
        })
    }
}

/// A reason to issue, which earlier failures may hold back.
struct Attempt {
    cause: Cause,
    health: Health,
    remaining: Duration,
}

impl Attempt {
    fn decide(&self, now: SystemTime, view: &View, salt: u64) -> Decision {
        if let Some(until) =
            view.failures.not_before.filter(|until| is_to_be_waited_for(*until, now))
        {
            return Decision { action: Action::Sleep, wake_at: until, health: self.health };
        }
        let held_until = view.failures.last.and_then(|last| {
            let until = last + self.pause(view.failures, salt);
            // A failure that lies in the future was noted by a wrong clock.
            (last <= now && now < until).then_some(until)
        });
        match held_until {
            Some(wake_at) => Decision { action: Action::Sleep, wake_at, health: self.health },
            None => {
                Decision { action: Action::Issue(self.cause), wake_at: now, health: self.health }
            }
        }
    }

    fn pause(&self, failures: Failures, salt: u64) -> Duration {
        let is_urgent = matches!(self.health, Health::Critical | Health::Expired | Health::Missing);
        if is_urgent && !failures.is_certain {
            return CRITICAL_RETRY;
        }
        let count = failures.count.max(1);
        let step = LADDER[LADDER.len().min(count as usize) - 1];
        let spread = fraction(step * 2 / 5, salt ^ u64::from(count));
        let step = step / 5 * 4 + spread;
        // Of what has ended nothing is left to lose.
        if is_urgent { step } else { step.min((self.remaining / 10).max(SHORTEST_CAP)) }
    }
}

/// Whether a time before which an authority does not want to be asked lies ahead, and can be true.
pub(crate) fn is_to_be_waited_for(until: SystemTime, now: SystemTime) -> bool {
    now < until && until <= now + LONGEST_HOLD
}

/// What to remember where a certificate was due for its renewal when it came, because the clock is wrong, or its issuer is
/// near its own end: the next order waits for half of what is left of it; if nothing is, longer after each one.
#[cfg(all(feature = "tokio", any(feature = "ring", feature = "aws-lc-rs")))]
pub(crate) fn after_one_due_at_once(leaf: Leaf, before: Failures, now: SystemTime) -> Failures {
    let left = leaf.not_after.duration_since(now).unwrap_or_default();
    if left.is_zero() {
        let pause = LADDER[LADDER.len().min(before.count as usize + 1) - 1];
        before.and_one(now).not_before(Some(now + pause))
    } else {
        let pause = (left / 2).clamp(SHORTEST_PAUSE, LONGEST_HOLD);
        Failures { not_before: Some(now + pause), ..before }
    }
}

/// Picks a part of `whole`, evenly spread over salts.
pub(crate) fn fraction(whole: Duration, salt: u64) -> Duration {
    // INVARIANT: 500 years of nanoseconds fit into 64 bits, so that neither the product nor the part can overflow.
    let nanos = (whole.min(LONGEST_WHOLE).as_nanos() * u128::from(mix(salt))) >> 64;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// A number for a serial number.
pub(crate) fn salt_of_serial(serial: impl Iterator<Item = u8>) -> u64 {
    serial.fold(0, |salt, byte| mix(salt ^ u64::from(byte)))
}

/// A number for a time.
fn salt_of(time: SystemTime) -> u64 {
    mix(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs())
}

/// The finalizer of `SplitMix64`: neighbouring inputs come out far apart.
fn mix(salt: u64) -> u64 {
    let salt = salt.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let salt = (salt ^ (salt >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let salt = (salt ^ (salt >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    salt ^ (salt >> 31)
}

/// Of a longer window, as an authority may name by mistake, the beginning counts.
const LONGEST_WHOLE: Duration = Duration::from_secs(500 * 365 * 86_400);
/// Under this a certificate counts as short-lived, and is renewed at half of its life.
const SHORT_LIFE: Duration = Duration::from_secs(10 * 86_400);
/// Everything is looked at twice a day, whatever was planned.
pub(crate) const LONGEST_SLEEP: Duration = Duration::from_secs(12 * 3600);
/// No authority is obeyed for longer; a wrong clock may have noted such a time.
const LONGEST_HOLD: Duration = Duration::from_secs(3 * 86_400);
/// Between two orders of a certificate that is due as soon as it comes, however short its life is.
#[cfg(all(feature = "tokio", any(feature = "ring", feature = "aws-lc-rs")))]
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// Between attempts that cannot wait.
const CRITICAL_RETRY: Duration = Duration::from_secs(60);
/// Pauses after one, two, three and more failures, as Let's Encrypt advises.
const LADDER: [Duration; 4] = [
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(6000),
    Duration::from_secs(86_400),
];
/// Let's Encrypt gives back one failed validation each 12 minutes; a shorter pause gains nothing.
const SHORTEST_CAP: Duration = Duration::from_secs(12 * 60);
