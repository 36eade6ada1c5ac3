use super::*;
use crate::code::CodeLength;
use crate::timestamp::Timestamp;

const HOUR: Duration = Duration::from_secs(3_600);

fn at(secs: u64) -> Timestamp {
    Timestamp::from_unix_secs(1_790_000_000 + secs)
}

#[test]
fn allows_a_burst_then_refills_evenly() {
    let budget = Budget::try_new(vec![Rule::try_new(10, HOUR).unwrap()]).unwrap();
    let mut state = BudgetState::default();
    for _ in 0..10 {
        assert_eq!(state.look(&budget, at(0)), Taken::Taken);
        assert_eq!(state.take(&budget, at(0)), Taken::Taken);
    }
    assert_eq!(state.look(&budget, at(0)), Taken::RetryAfter(Duration::from_secs(360)));
    assert_eq!(state.take(&budget, at(0)), Taken::RetryAfter(Duration::from_secs(360)));
    assert_eq!(state.take(&budget, at(359)), Taken::RetryAfter(Duration::from_secs(1)));
    assert_eq!(state.take(&budget, at(360)), Taken::Taken);
    assert!(!state.take(&budget, at(360)).is_taken());
}

#[test]
fn a_refusal_by_one_rule_costs_nothing_of_the_others() {
    let mut state = BudgetState::default();
    let mails = Budget::mails();
    assert!(state.take(&mails, at(0)).is_taken());
    for _ in 0..1_000 {
        assert!(!state.take(&mails, at(1)).is_taken());
    }
    for minute in 1..3 {
        assert!(state.take(&mails, at(minute * 60)).is_taken(), "minute {minute}");
    }
    assert!(!state.take(&mails, at(15 * 60)).is_taken(), "fourth within a quarter of an hour");
    assert!(state.take(&mails, at(30 * 60)).is_taken());
}

#[test]
fn giving_back_restores_exactly_one() {
    let budget = Budget::failures();
    let mut state = BudgetState::default();
    for _ in 0..200 {
        assert!(state.take(&budget, at(0)).is_taken());
        state.give_back(&budget, at(0));
    }
    assert_eq!(state.ends(&budget), at(0));
    state.give_back(&budget, at(0));
    for _ in 0..6 {
        assert!(state.take(&budget, at(0)).is_taken());
    }
    assert!(!state.take(&budget, at(0)).is_taken(), "no credit above the count");
}

#[test]
fn after_a_hundred_in_a_row_there_is_a_day_of_rest() {
    let budget = Budget::failures_of_known_devices();
    let mut state = BudgetState::default();
    let (mut taken, mut now) = (0, 0);
    while taken < 100 {
        taken += u32::from(state.take(&budget, at(now)).is_taken());
        now += 600;
    }
    let day = 86_400;
    let last = now - 600;
    assert!(last < 6 * day, "the row was reached by {now}");
    for later in (last + 600..last + day).step_by(600) {
        assert!(!state.take(&budget, at(later)).is_taken(), "{later}");
    }
    assert!(state.take(&budget, at(last + day)).is_taken());
}

/// A success that ended it would show to whoever guesses: it would tell that the address signs in.
#[test]
fn what_is_given_back_was_not_in_the_row_and_ends_none() {
    let row = InARow::try_new(3, HOUR).unwrap();
    let wide = Rule::try_new(1_000, HOUR).unwrap();
    let budget = Budget::try_new(vec![wide]).unwrap().in_a_row(row);
    let mut state = BudgetState::default();
    for _ in 0..3 {
        assert!(state.take(&budget, at(0)).is_taken());
    }
    assert_eq!(state.look(&budget, at(1)), Taken::RetryAfter(Duration::from_secs(3_599)));
    state.give_back(&budget, at(1));
    assert!(state.take(&budget, at(1)).is_taken());
    assert!(!state.take(&budget, at(1)).is_taken());
}

#[test]
fn a_clock_that_comes_back_does_not_lock_out_for_years() {
    let budget = Budget::starts();
    let mut state = BudgetState::default();
    assert!(state.take(&budget, at(10 * 365 * 86_400)).is_taken());
    assert!(state.is_from_a_wrong_clock(at(0)));
    assert_eq!(state.take(&budget, at(0)), Taken::RetryAfter(Duration::from_secs(20)));
    assert!(state.take(&budget, at(700)).is_taken());
    // A row as well.
    let budget = Budget::failures_of_known_devices();
    let mut state = BudgetState::default();
    for hour in 0..400 {
        let _taken = state.take(&budget, at(3_600 * (87_600 + hour)));
    }
    assert!(!state.take(&budget, at(0)).is_taken());
    assert!(state.take(&budget, at(2 * 86_400)).is_taken());
}

#[test]
fn a_day_of_mail_bombing_brings_ten_mails() {
    let mut state = BudgetState::default();
    let sent = (0..86_400).filter(|s| state.take(&Budget::mails(), at(*s)).is_taken()).count();
    assert!((9..=10).contains(&sent), "{sent}");
}

#[test]
fn no_window_holds_more_than_is_said() {
    for (budget, window) in [
        (Budget::failures(), HOUR),
        (Budget::failures(), 24 * HOUR),
        (Budget::failures(), 365 * 24 * HOUR),
        (Budget::short_codes_of_all(), 24 * HOUR),
    ] {
        let mut state = BudgetState::default();
        // Whoever is refused comes back at the first moment that is told.
        let (mut now, mut taken) = (at(0), 0);
        while now <= at(0).plus(window) {
            match state.take(&budget, now) {
                Taken::Taken => taken += 1,
                Taken::RetryAfter(wait) => now = now.plus(wait),
            }
        }
        let most = budget.most_within(window);
        assert!(taken <= most, "{taken} of {most}");
        assert!(taken * 2 > most, "{taken} of {most}: the bound is far off");
    }
    assert_eq!(Budget::failures().most_within(365 * 24 * HOUR), 7_310);
    assert_eq!(Budget::short_codes().most_within(365 * 24 * HOUR), 40);
}

/// The sentences of the documentation, counted second by second in every window of the first days.
#[test]
fn the_defaults_keep_what_they_say_in_any_window() {
    for (budget, windows) in [
        (Budget::failures(), &[(10, 3_600), (30, 86_400)][..]),
        (Budget::mails(), &[(1, 60), (3, 900), (5, 3_600), (10, 86_400)]),
        (Budget::mails_of_one_network_to_one_address(), &[(6, 86_400)]),
        (Budget::mails_of_one_network(), &[(20, 3_600)]),
    ] {
        let mut state = BudgetState::default();
        let taken: Vec<u64> =
            (0..200_000).filter(|s| state.take(&budget, at(*s)).is_taken()).collect();
        for (most, window) in windows {
            let within =
                |from: &u64| taken.iter().filter(|at| (*from..from + window).contains(at)).count();
            let found = taken.iter().map(within).max().unwrap();
            // Another rule of the budget may stand in the way of the last one.
            assert!((most - 1..=*most).contains(&found), "{found} in {window} s of {budget:?}");
        }
    }
}

#[test]
fn senseless_rules_are_refused() {
    assert!(Rule::try_new(0, HOUR).is_err());
    assert!(Rule::try_new(u32::MAX, HOUR).is_err());
    assert!(Rule::try_new(1, HOUR * 24 * 367).is_err());
    assert!(InARow::try_new(0, HOUR).is_err());
    assert!(InARow::try_new(1, Duration::ZERO).is_err());
    assert!(Budget::try_new(vec![]).is_err());
    assert!(Budget::try_new(vec![Rule::of(1, 1); 4]).is_err());
}

#[test]
fn names_of_budgets_do_not_collide() {
    let network = Network::of("203.0.113.7".parse().unwrap());
    let v6 = "2001:db8:1::1".parse().unwrap();
    let keys = [
        BudgetKey::failures([0; 16], false),
        BudgetKey::failures([0; 16], true),
        BudgetKey::short_codes([1; 16], false),
        BudgetKey::short_codes([1; 16], true),
        BudgetKey::failures_of_all(CodeLength::Six),
        BudgetKey::failures_of_all(CodeLength::Nine),
        BudgetKey::mails([0; 16], false),
        BudgetKey::mails([0; 16], true),
        BudgetKey::starts(network),
        BudgetKey::device_starts([1; 16]),
        BudgetKey::network_mails(network),
        BudgetKey::mail_share([0; 16], network),
        BudgetKey::mail_share([1; 16], network),
        BudgetKey::mail_share([0; 16], Network::of("203.0.112.7".parse().unwrap())),
        BudgetKey::starts(Network::of(v6)),
        BudgetKey::site_starts(Network::of(v6).site().unwrap()),
    ];
    assert!(network.site().is_none());
    let names: std::collections::BTreeSet<String> = keys.iter().map(ToString::to_string).collect();
    assert_eq!(names.len(), keys.len());
    assert!(names.contains("failures:00000000000000000000000000000000"));
}
