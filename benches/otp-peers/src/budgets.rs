//! Budgets beside governor: the state alone, which a store keeps for each key.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::{Quota, RateLimiter};
use otp_auth::throttle::{Budget, BudgetState, Rule};
use otp_auth::timestamp::Timestamp;

use crate::measure::{Contender, Table};

pub fn run(table: &mut Table) {
    let rule = Rule::try_new(1_000, Duration::from_secs(1)).expect("a good rule");
    let budget = Budget::try_new(vec![rule]).expect("a good budget");
    let three = Budget::failures();
    let (mut state, mut of_three) = (BudgetState::default(), BudgetState::default());
    let mut now = 1_790_000_000_000_u64;
    let quota = Quota::per_second(NonZeroU32::new(1_000).expect("not zero"));
    let theirs = RateLimiter::direct(quota);
    let mut later = now;
    table.measure(
        "budget, take one",
        vec![
            Contender::new("ours, one rule", || {
                now += 1;
                let _taken = state.take(&budget, Timestamp::from_unix_millis(now));
                true
            }),
            Contender::new("ours, the rules for failures", || {
                later += 1;
                let _taken = of_three.take(&three, Timestamp::from_unix_millis(later));
                true
            }),
            Contender::new("governor, direct", || {
                let _checked = theirs.check();
                true
            }),
        ],
    );
}
