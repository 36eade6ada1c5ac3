//! Each step of a store by itself.

use std::time::Duration;

use super::{Time, Violation, ensure};
use crate::challenge::{Challenge, ChallengeId, DecoyReason};
use crate::random::{Random, SystemRandom};
use crate::store::{Charge, Guess, Inserted, Reserved, Store};
use crate::throttle::{Budget, BudgetKey, Rule, Taken};
use crate::timestamp::Timestamp;

/// A challenge of nobody, with an id that was never used.
pub(super) struct Sample {
    pub(super) challenge: Challenge,
}

impl Sample {
    pub(super) fn fresh(now: Timestamp) -> Result<Self, Violation> {
        Self::living(now, Duration::from_secs(600))
    }

    fn living(issued: Timestamp, lifetime: Duration) -> Result<Self, Violation> {
        let mut bytes = [0; 16];
        SystemRandom::new().fill(&mut bytes)?;
        let address = "a@b.example".parse().map_err(|_| Violation::new("address"))?;
        let challenge = Challenge {
            id: ChallengeId::from_bytes(bytes),
            address,
            client: [192, 0, 2, 1].into(),
            generation: 0,
            digest: [1; 32],
            decoy: None,
            issued,
            lifetime_millis: u32::try_from(lifetime.as_millis()).unwrap_or(u32::MAX),
            tries: 3,
            is_known_device: false,
        };
        Ok(Self { challenge })
    }

    /// The same with another code. What a store must not believe of it differs as well.
    pub(super) fn renewed(&self) -> Challenge {
        let later = self.challenge.issued.plus(Duration::from_secs(300));
        Challenge {
            generation: self.challenge.generation + 1,
            digest: [2; 32],
            issued: later,
            ..self.challenge.clone()
        }
    }
}

/// The name of a budget that was never used.
pub(super) fn fresh_key() -> Result<BudgetKey, Violation> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes)?;
    Ok(BudgetKey::of_nobody(u128::from_be_bytes(bytes)))
}

pub(super) async fn check(store: &dyn Store, time: &dyn Time) -> Result<(), Violation> {
    records_are_kept(store, time.now()).await?;
    tries_are_counted(store, time.now()).await?;
    codes_are_used_once(store, time.now()).await?;
    codes_are_replaced(store, time.now()).await?;
    budgets_are_kept(store, time).await?;
    guesses_are_charged(store, time.now()).await?;
    records_end(store, time).await
}

async fn records_are_kept(store: &dyn Store, now: Timestamp) -> Result<(), Violation> {
    let Sample { challenge } = Sample::fresh(now)?;
    let id = challenge.id();
    ensure(store.look_up(id, now).await?.is_none(), || "an absent record was found".into())?;
    let is_unknown = matches!(store.reserve(id, now).await?, Reserved::Unknown);
    ensure(is_unknown, || "an absent record gave a try".into())?;
    ensure(!store.consume(id, 0, now).await?, || "an absent record was used up".into())?;
    let is_replaced = store.replace(0, &challenge, now).await?;
    ensure(!is_replaced, || "an absent record was replaced".into())?;

    let inserted = store.insert(&challenge, now).await?;
    ensure(inserted == Inserted::Inserted, || "a new record was refused".into())?;
    let other = Challenge { digest: [9; 32], ..challenge.clone() };
    let inserted = store.insert(&other, now).await?;
    ensure(inserted == Inserted::Exists, || "a record was created twice".into())?;
    let found = store.look_up(id, now).await?;
    ensure(found.as_ref() == Some(&challenge), || "a record was not kept as it was".into())?;

    // Whoever it is, from wherever.
    for decoy in [None, Some(DecoyReason::Denied), Some(DecoyReason::MailShare)] {
        for is_known_device in [false, true] {
            let sample = Sample::fresh(now)?.challenge;
            let client = std::net::Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6).into();
            let address =
                "Hanako.S+1@sub.example".parse().map_err(|_| Violation::new("address"))?;
            let odd = Challenge { address, client, decoy, is_known_device, ..sample };
            let _inserted = store.insert(&odd, now).await?;
            let found = store.look_up(odd.id(), now).await?;
            ensure(found.as_ref() == Some(&odd), || {
                format!("a record came back changed: {odd:?}")
            })?;
        }
    }
    Ok(())
}

async fn tries_are_counted(store: &dyn Store, now: Timestamp) -> Result<(), Violation> {
    let Sample { challenge } = Sample::fresh(now)?;
    let _inserted = store.insert(&challenge, now).await?;
    for expected in 1..=challenge.tries() {
        match store.reserve(challenge.id(), now).await? {
            Reserved::Granted { challenge: granted, number } => {
                ensure(granted == challenge, || "a try came with another record".into())?;
                ensure(number == expected, || format!("try {expected} was given as {number}"))?;
            }
            other => return Err(Violation::new(format!("try {expected} was refused: {other:?}"))),
        }
    }
    for _ in 0..3 {
        let is_exhausted = matches!(store.reserve(challenge.id(), now).await?, Reserved::Exhausted);
        ensure(is_exhausted, || "a spent record gave a try".into())?;
    }
    let is_found = store.look_up(challenge.id(), now).await?.is_some();
    ensure(!is_found, || "a spent record was found".into())?;
    let inserted = store.insert(&challenge, now).await?;
    ensure(inserted == Inserted::Exists, || "a spent record was created anew".into())
}

async fn codes_are_used_once(store: &dyn Store, now: Timestamp) -> Result<(), Violation> {
    let Sample { challenge } = Sample::fresh(now)?;
    let id = challenge.id();
    let _inserted = store.insert(&challenge, now).await?;
    ensure(!store.consume(id, 1, now).await?, || "another generation was used up".into())?;
    ensure(store.consume(id, 0, now).await?, || "the first use was refused".into())?;
    ensure(!store.consume(id, 0, now).await?, || "a code was used twice".into())?;
    let is_used = matches!(store.reserve(id, now).await?, Reserved::Used);
    ensure(is_used, || "a used record gave a try".into())?;
    ensure(store.look_up(id, now).await?.is_none(), || "a used record was found".into())?;
    let next = Challenge { generation: 1, ..challenge };
    ensure(!store.replace(0, &next, now).await?, || "a used record was replaced".into())
}

async fn codes_are_replaced(store: &dyn Store, now: Timestamp) -> Result<(), Violation> {
    let sample = Sample::fresh(now)?;
    let (id, next) = (sample.challenge.id(), sample.renewed());
    let _inserted = store.insert(&sample.challenge, now).await?;
    let _spent = store.reserve(id, now).await?;
    let is_replaced = store.replace(1, &next, now).await?;
    ensure(!is_replaced, || "another generation was replaced".into())?;
    ensure(store.replace(0, &next, now).await?, || "a replacement was refused".into())?;
    let is_replaced = store.replace(0, &next, now).await?;
    ensure(!is_replaced, || "one generation was replaced twice".into())?;
    ensure(!store.consume(id, 0, now).await?, || "a replaced code was used".into())?;
    match store.reserve(id, now).await? {
        Reserved::Granted { challenge, number } => {
            ensure(number == 2, || "a replacement changed the count of tries".into())?;
            let is_next = challenge.generation == 1 && challenge.digest == next.digest;
            ensure(is_next, || "a replaced record came back".into())?;
            let is_end_kept = challenge.expires() == sample.challenge.expires();
            ensure(is_end_kept, || "a replacement moved the end".into())?;
        }
        other => return Err(Violation::new(format!("a replaced record gave no try: {other:?}"))),
    }
    ensure(store.consume(id, 1, now).await?, || "a replaced code could not be used".into())
}

async fn budgets_are_kept(store: &dyn Store, time: &dyn Time) -> Result<(), Violation> {
    let (key, other) = (fresh_key()?, fresh_key()?);
    // One more each 300 ms; one each two seconds, and the second rule only once in five hours.
    let fast = Budget::try_new(vec![Rule::try_new(4, Duration::from_millis(1_200))?])?;
    let slow = vec![Rule::try_new(1, Duration::from_secs(2))?, Rule::try_new(2, TEN_HOURS)?];
    let slow = Budget::try_new(slow)?;
    let mut taken = 0;
    while taken < 20 && store.take(&key, &fast, time.now()).await?.is_taken() {
        taken += 1;
    }
    ensure((4..20).contains(&taken), || format!("{taken} were taken from a budget of 4"))?;
    for _ in 0..3 {
        let _looked = store.look(&other, &slow, time.now()).await?;
    }
    ensure(take(store, &other, &slow, time).await?, || "looking took something".into())?;
    let looked = store.look(&other, &slow, time.now()).await?;
    ensure(!looked.is_taken(), || "an empty budget looked full".into())?;
    for _ in 0..5 {
        let is_taken = take(store, &other, &slow, time).await?;
        ensure(!is_taken, || "an empty budget gave something".into())?;
    }
    time.pass(Duration::from_millis(2_050)).await;
    ensure(take(store, &key, &fast, time).await?, || "a budget did not refill".into())?;
    let what = || "a refusal by one rule cost something of another".into();
    ensure(take(store, &other, &slow, time).await?, what)?;
    time.pass(Duration::from_millis(2_050)).await;
    let is_taken = take(store, &other, &slow, time).await?;
    ensure(!is_taken, || "the second rule was not kept".into())?;
    store.give_back(&other, &slow, time.now()).await?;
    time.pass(Duration::from_millis(2_050)).await;
    ensure(take(store, &other, &slow, time).await?, || "what was given back was lost".into())?;

    let (row, wide) = (fresh_key()?, Rule::try_new(100, TEN_HOURS)?);
    let pause = crate::throttle::InARow::try_new(2, TEN_HOURS)?;
    let in_a_row = Budget::try_new(vec![wide])?.in_a_row(pause);
    for _ in 0..2 {
        let _taken = store.take(&row, &in_a_row, time.now()).await?;
    }
    store.give_back(&row, &in_a_row, time.now()).await?;
    ensure(take(store, &row, &in_a_row, time).await?, || "a row did not go on".into())?;
    let goes_on = take(store, &row, &in_a_row, time).await?;
    ensure(!goes_on, || "a row went on beyond its limit, or giving back ended it".into())?;
    Ok(())
}

async fn take(
    store: &dyn Store,
    key: &BudgetKey,
    budget: &Budget,
    time: &dyn Time,
) -> Result<bool, Violation> {
    match store.take(key, budget, time.now()).await? {
        Taken::Taken => Ok(true),
        Taken::RetryAfter(wait) => {
            ensure(!wait.is_zero(), || "a refusal named no time".into())?;
            Ok(false)
        }
    }
}

/// The joined steps: nothing is charged where no try is granted, nor for a success.
async fn guesses_are_charged(store: &dyn Store, now: Timestamp) -> Result<(), Violation> {
    let sample = Sample::fresh(now)?;
    let id = sample.challenge.id();
    let _inserted = store.insert(&sample.challenge, now).await?;
    let budget = Budget::try_new(vec![Rule::try_new(2, TEN_HOURS)?])?;
    let charges = [Charge::take(fresh_key()?, &budget), Charge::take(fresh_key()?, &budget)];
    let absent = Sample::fresh(now)?.challenge.id();
    for _ in 0..5 {
        let guess = store.guess(&charges, absent, now).await?;
        let is_unknown = matches!(guess, Guess::Reserved(Reserved::Unknown));
        ensure(is_unknown, || format!("a guess at nothing gave {guess:?}"))?;
    }
    let mut generation = 0;
    for expected in 1..=2 {
        match store.guess(&charges, id, now).await? {
            Guess::Reserved(Reserved::Granted { challenge, number }) => {
                ensure(number == expected, || format!("guess {expected} was given as {number}"))?;
                generation = challenge.generation();
            }
            other => return Err(Violation::new(format!("guess {expected} gave {other:?}"))),
        }
    }
    // The second budget is full, the first is empty: nothing may be taken of the other, or of the tries.
    let mixed = [Charge::take(fresh_key()?, &budget), charges[1]];
    for _ in 0..5 {
        let guess = store.guess(&mixed, id, now).await?;
        let is_over = matches!(guess, Guess::OverBudget { index: 1 });
        ensure(is_over, || format!("a guess over the second budget gave {guess:?}"))?;
    }
    let is_kept = store.look(&mixed[0].key, &budget, now).await?.is_taken();
    ensure(is_kept, || "a refused guess was charged".into())?;
    guesses_without_a_mail_are_free(store, &budget, now).await?;
    let accepted = store.accept(&charges, id, generation, now).await?;
    ensure(accepted, || "the right code was refused".into())?;
    let again = store.accept(&charges, id, generation, now).await?;
    ensure(!again, || "a code was accepted twice".into())?;
    for charge in &charges {
        let is_back = store.take(&charge.key, &budget, now).await?.is_taken();
        ensure(is_back, || "a success was charged".into())?;
        let is_more = store.take(&charge.key, &budget, now).await?.is_taken();
        ensure(!is_more, || "a success gave back more than it took".into())?;
    }
    tallies_stop(store, &budget, now).await
}

/// A guess that cannot be right takes a try and nothing else; one at a denied address is charged.
async fn guesses_without_a_mail_are_free(
    store: &dyn Store,
    budget: &Budget,
    now: Timestamp,
) -> Result<(), Violation> {
    let others = [DecoyReason::MailBudget, DecoyReason::MailShare, DecoyReason::NetworkMails];
    for (decoy, is_charged) in
        others.map(|decoy| (decoy, false)).into_iter().chain([(DecoyReason::Denied, true)])
    {
        let Sample { challenge } = Sample::fresh(now)?;
        let challenge = Challenge { decoy: Some(decoy), ..challenge };
        let _inserted = store.insert(&challenge, now).await?;
        let charges = [Charge::take(fresh_key()?, budget)];
        for expected in 1..=2 {
            match store.guess(&charges, challenge.id(), now).await? {
                Guess::Reserved(Reserved::Granted { number, .. }) if number == expected => {}
                other => return Err(Violation::new(format!("a guess at a decoy gave {other:?}"))),
            }
        }
        let is_left = store.look(&charges[0].key, budget, now).await?.is_taken();
        ensure(is_left != is_charged, || {
            format!("of guesses at a decoy ({decoy}) the budget has something left: {is_left}")
        })?;
    }
    Ok(())
}

async fn tallies_stop(store: &dyn Store, budget: &Budget, now: Timestamp) -> Result<(), Violation> {
    let (full, empty, last) = (fresh_key()?, fresh_key()?, fresh_key()?);
    for _ in 0..2 {
        let _taken = store.take(&empty, budget, now).await?;
    }
    let looks =
        [Charge::take(full, budget), Charge::look(empty, budget), Charge::take(last, budget)];
    let tally = store.tally(&looks, now).await?;
    let answers = [0, 1, 2, 3].map(|index| tally.is_taken(index));
    let expected = [true, false, true, false];
    ensure(answers == expected, || format!("a tally that looks gave {answers:?}"))?;
    let takes =
        [Charge::take(full, budget), Charge::take(empty, budget), Charge::take(last, budget)];
    let tally = store.tally(&takes, now).await?;
    let answers = [0, 1, 2].map(|index| tally.is_taken(index));
    ensure(answers == [true, false, false], || format!("a tally that takes gave {answers:?}"))?;
    let is_left = store.take(&last, budget, now).await?.is_taken();
    ensure(is_left, || "a tally took from a budget behind the refusal".into())?;
    tallies_take_together(store, budget, empty, now).await
}

async fn tallies_take_together(
    store: &dyn Store,
    budget: &Budget,
    empty: BudgetKey,
    now: Timestamp,
) -> Result<(), Violation> {
    let (alone, first, second) = (fresh_key()?, fresh_key()?, fresh_key()?);
    let charges = [
        Charge::take(alone, budget),
        Charge::take_together(first, budget),
        Charge::take_together(empty, budget),
        Charge::take_together(second, budget),
    ];
    let tally = store.tally(&charges, now).await?;
    let answers = [0, 2, 3].map(|index| tally.is_taken(index));
    ensure(answers == [true, false, false], || format!("a tally together gave {answers:?}"))?;
    let all = [charges[0], charges[1], charges[3]];
    let tally = store.tally(&all, now).await?;
    ensure((0..3).all(|at| tally.is_taken(at)), || "a full budget was refused".into())?;
    for (key, expected) in [(alone, 0), (first, 1), (second, 1)] {
        let mut left = 0;
        while left < 3 && store.take(&key, budget, now).await?.is_taken() {
            left += 1;
        }
        ensure(left == expected, || {
            format!("what is taken together with nothing was kept: {left} left, not {expected}")
        })?;
    }
    Ok(())
}

async fn records_end(store: &dyn Store, time: &dyn Time) -> Result<(), Violation> {
    let sample = Sample::living(time.now(), Duration::from_millis(400))?;
    let challenge = &sample.challenge;
    let id = challenge.id();
    let _inserted = store.insert(challenge, time.now()).await?;
    time.pass(Duration::from_millis(450)).await;
    let now = time.now();
    let reserved = store.reserve(id, now).await?;
    let is_over = matches!(reserved, Reserved::Expired | Reserved::Unknown);
    ensure(is_over, || "an expired record gave a try".into())?;
    ensure(!store.consume(id, 0, now).await?, || "an expired code was used".into())?;
    ensure(store.look_up(id, now).await?.is_none(), || "an expired record was found".into())?;
    let is_replaced = store.replace(0, &sample.renewed(), now).await?;
    ensure(!is_replaced, || "an expired record was replaced".into())
}

const TEN_HOURS: Duration = Duration::from_secs(36_000);
