//! Which budgets a step asks, and what their answers mean.

use super::Reason;
use super::settings::Settings;
use crate::challenge::{Challenge, DecoyReason, Lane, OpenFlow};
use crate::code::CodeLength;
use crate::store::{Charge, ChargeKind, Tally};
use crate::throttle::{BudgetKey, Kind, Network};

/// Whose budgets: those of strangers at the address or those of its known devices, and the client's network.
#[derive(Clone, Copy)]
pub(super) struct Who {
    pub(super) address_tag: [u8; 16],
    pub(super) is_known_device: bool,
    pub(super) network: Network,
}

/// Asked at the beginning of a flow: how long codes are, whether the network may begin, whether a mail may go.
pub(super) fn of_begin(settings: &Settings, who: Who) -> Vec<Charge<'_>> {
    let mut charges = Vec::with_capacity(8);
    charges.extend(of_lengths(settings, who));
    if who.is_known_device {
        let tag = who.address_tag;
        charges.push(of_lane(settings, tag));
        charges.push(Charge::take(BudgetKey::device_starts(tag), &settings.device_starts));
    } else {
        charges.push(Charge::take(BudgetKey::starts(who.network), &settings.starts));
        let site = who.network.site().map(BudgetKey::site_starts);
        charges.extend(site.map(|site| Charge::take(site, &settings.site_starts)));
    }
    charges.extend(of_mail(settings, who));
    charges
}

/// Looks at what says how long a code is.
pub(super) fn of_lengths(settings: &Settings, who: Who) -> impl Iterator<Item = Charge<'_>> {
    let Who { address_tag, is_known_device, .. } = who;
    let of_all = |length| BudgetKey::failures_of_all(length);
    let short = is_short(settings.length).then(|| {
        let key = BudgetKey::short_codes(address_tag, is_known_device);
        Charge::look(key, &settings.short_codes)
    });
    let short_of_all = (is_short(settings.length) && !is_known_device)
        .then(|| Charge::look(of_all(settings.length), &settings.short_codes_of_all));
    let nine_of_all = (settings.length != CodeLength::Twelve && !is_known_device)
        .then(|| Charge::look(of_all(CodeLength::Nine), &settings.nine_digits_of_all));
    short.into_iter().chain(short_of_all).chain(nine_of_all)
}

/// Taken for a mail: of the network, of its share in the address's mails, and of the address; or of the device.
pub(super) fn of_mail(settings: &Settings, who: Who) -> impl Iterator<Item = Charge<'_>> {
    let Who { address_tag, is_known_device, network } = who;
    let share = BudgetKey::mail_share(address_tag, network);
    let of_network = (!is_known_device).then(|| {
        [
            Charge::take_together(BudgetKey::network_mails(network), &settings.network_mails),
            Charge::take_together(share, &settings.mail_share),
        ]
    });
    let of_address = BudgetKey::mails(address_tag, is_known_device);
    let of_address = Charge::take_together(of_address, &settings.mails);
    of_network.into_iter().flatten().chain([of_address])
}

/// Taken for a try, before anything is compared.
pub(super) fn of_guess<'a>(settings: &'a Settings, flow: &OpenFlow<'_>) -> Vec<Charge<'a>> {
    let Lane { tag, is_known_device } = flow.lane;
    let mut charges = Vec::with_capacity(6);
    let failures = BudgetKey::failures(tag, is_known_device);
    charges.push(Charge::take(failures, settings.failures(is_known_device)));
    if is_short(flow.length) {
        let short_codes = BudgetKey::short_codes(tag, is_known_device);
        charges.push(Charge::take(short_codes, &settings.short_codes));
    }
    if !is_known_device {
        let of_all = BudgetKey::failures_of_all(flow.length);
        charges.push(Charge::take(of_all, settings.failures_of_all(flow.length)));
    }
    charges
}

/// What a success gives back: the try, and the mail that led to it.
pub(super) fn of_success<'a>(
    settings: &'a Settings,
    mut of_guess: Vec<Charge<'a>>,
    challenge: &Challenge,
    address_tag: [u8; 16],
) -> Vec<Charge<'a>> {
    let network = Network::of(challenge.client);
    let is_known_device = challenge.is_known_device;
    of_guess.extend(of_mail(settings, Who { address_tag, is_known_device, network }));
    of_guess
}

/// How long a code is, by what [`of_lengths`] found.
pub(super) fn length(settings: &Settings, charges: &[Charge<'_>], tally: &Tally) -> CodeLength {
    let mut length = settings.length;
    let looks = charges.iter().enumerate().filter(|(_, it)| it.kind == ChargeKind::Look);
    for (at, charge) in looks.filter(|(_, it)| it.key.kind != Kind::DeviceFailures) {
        let is_about = charge.key == BudgetKey::failures_of_all(CodeLength::Nine);
        let is_about = if is_about { length == CodeLength::Nine } else { is_short(length) };
        if is_about && !tally.is_taken(at) {
            length = longer(length);
        }
    }
    length
}

/// Looks whether the known devices of an address may still fail.
pub(super) fn of_lane(settings: &Settings, address_tag: [u8; 16]) -> Charge<'_> {
    Charge::look(BudgetKey::failures(address_tag, true), settings.failures(true))
}

/// Whether the known devices of an address have nothing left of what is theirs.
pub(super) fn is_lane_closed(charges: &[Charge<'_>], tally: &Tally) -> bool {
    let is_needed =
        |it: &Charge<'_>| it.key.is_of_known_device() && it.key.kind != Kind::DeviceShortCodes;
    charges.iter().enumerate().any(|(at, it)| is_needed(it) && !tally.is_taken(at))
}

/// Why no mail goes out, as far as budgets say.
pub(super) fn decoy(charges: &[Charge<'_>], tally: &Tally) -> Option<DecoyReason> {
    let mut takes = charges.iter().enumerate().filter(|(_, it)| it.kind != ChargeKind::Look);
    let (_, refused) = takes.find(|(at, _)| !tally.is_taken(*at))?;
    Some(match refused.key.kind {
        Kind::NetworkMails => DecoyReason::NetworkMails,
        Kind::MailShares => DecoyReason::MailShare,
        Kind::Mails | Kind::DeviceMails => DecoyReason::MailBudget,
        _ => DecoyReason::StartBudget,
    })
}

/// Why a try was not made, if this budget had nothing; and whether another flow would help.
pub(super) fn refusal(refused: &Charge<'_>) -> (Reason, bool) {
    let is_last = refused.key == BudgetKey::failures_of_all(CodeLength::Twelve);
    match refused.key.kind {
        Kind::AllFailures if is_last => (Reason::DeploymentBudget, false),
        Kind::AllFailures | Kind::ShortCodes | Kind::DeviceShortCodes => (Reason::ShortCode, true),
        // The next flow of the device is a stranger's.
        Kind::DeviceFailures => (Reason::FailureBudget, true),
        _ => (Reason::FailureBudget, false),
    }
}

/// Whether strangers in general are guessing, not at one address.
pub(super) fn is_alarm(charges: &[Charge<'_>], is_refused: impl Fn(usize) -> bool) -> bool {
    let mut all = charges.iter().enumerate().filter(|(_, it)| it.key.kind == Kind::AllFailures);
    all.any(|(at, _)| is_refused(at))
}

fn is_short(length: CodeLength) -> bool {
    !matches!(length, CodeLength::Nine | CodeLength::Twelve)
}

fn longer(length: CodeLength) -> CodeLength {
    if is_short(length) { CodeLength::Nine } else { CodeLength::Twelve }
}
