//! Races under one forced schedule.

use std::sync::Arc;
use std::time::Duration;

use super::contract::{self, Sample};
use super::double::{InSteps, Joined};
use super::schedule::{Dice, Task, run};
use super::{Plan, Report, Time, Violation, ensure};
use crate::error::Error;
use crate::login::{Admission, Begin, Login, Reason, Refusal, Resend, Verdict};
use crate::random::SystemRandom;
use crate::secret::Pepper;
use crate::store::{Charge, Inserted, Store};
use crate::throttle::{Budget, Rule};

/// All races, each in the order of this seed.
pub(super) async fn check(
    store: &Arc<dyn Store>,
    time: &dyn Time,
    plan: &Plan,
    seed: u64,
    report: &mut Report,
) -> Result<(), Violation> {
    let paused = InSteps::new(Arc::clone(store), seed);
    let is_joined = seed % 8 >= 4;
    let double: Arc<dyn Store> =
        if is_joined { Arc::new(Joined(paused)) } else { Arc::new(paused) };
    let all = async {
        guesses(&double, time, plan, seed, report).await?;
        takes(&*double, time, seed).await?;
        refunds(&*double, time, seed).await?;
        consumes(&*double, time, seed).await?;
        inserts(&*double, time, seed).await
    };
    all.await.map_err(|violation: Violation| violation.at(seed))
}

/// What one party of the race for a code is told.
enum Told {
    Verdict(Verdict),
    Resent,
}

/// Many submit, the right code among them or not, while another asks for a new one.
async fn guesses(
    double: &Arc<dyn Store>,
    time: &dyn Time,
    plan: &Plan,
    seed: u64,
    report: &mut Report,
) -> Result<(), Violation> {
    let (mut dice, now) = (Dice::new(seed), time.now());
    let login = login(double)?;
    let host: crate::mail::Host = "app.example".parse().map_err(|_| Violation::new("host"))?;
    let address = "a@b.example".parse().map_err(|_| Violation::new("address"))?;
    let client = [192, 0, 2, 1].into();
    let begin = Begin::new(address, Admission::Admitted, client, host.clone());
    let (begun, dispatch) = login.begin(&begin, now).await?;
    let code = dispatch.mail().map(|mail| mail.code().expose().to_owned()).unwrap_or_default();
    ensure(!code.is_empty(), || "a budget of a million was spent by one mail".into())?;
    let (nonce, cookie) = (begun.nonce.to_string(), begun.flow_cookie.expose());
    let (nonce, cookie, login) = (nonce.as_str(), cookie.as_str(), &login);
    let wrong = if code == "000000" { "000001" } else { "000000" };

    let right = match dice.below(4) {
        0 => 0,
        1 => 1,
        2 => 3,
        _ => plan.submitters,
    };
    let mut inputs = vec![wrong; plan.submitters];
    for _ in 0..right {
        inputs[dice.below(plan.submitters)] = &code;
    }
    if right == plan.submitters {
        inputs.fill(&code);
    }
    let right = inputs.iter().filter(|input| **input == code).count();
    let mut tasks: Vec<Task<'_, Result<Told, Error>>> = Vec::new();
    for input in inputs {
        tasks.push(Box::pin(async move {
            login.submit(nonce, cookie, input, now).await.map(Told::Verdict)
        }));
    }
    let is_resent = dice.below(3) == 0;
    if is_resent {
        let resend = Resend::new(client, host);
        tasks.push(Box::pin(async move {
            let admit = |_: &crate::address::EmailAddress| Admission::Admitted;
            login.resend(nonce, cookie, &resend, admit, now).await.map(|_| Told::Resent)
        }));
    }

    let (mut accepted, mut compared, mut used) = (0, 0, 0);
    for told in run(tasks, seed).await {
        match told? {
            Told::Verdict(Verdict::Proven(_)) => {
                accepted += 1;
                compared += 1;
            }
            Told::Verdict(verdict) => match verdict.refusal().map(Refusal::reason) {
                Some(Reason::Wrong) => compared += 1,
                Some(Reason::Used) => used += 1,
                _ => {}
            },
            Told::Resent => {}
        }
    }
    report.compared += compared;
    report.accepted += accepted;
    let limit = u64::from(LIMIT);
    ensure(compared <= limit, || format!("{compared} codes were compared, {limit} are allowed"))?;
    ensure(accepted <= 1, || format!("one code was accepted {accepted} times"))?;
    if right == 0 {
        ensure(compared == limit, || format!("{compared} wrong codes were compared of {limit}"))?;
    }
    if !is_resent {
        let is_lost = used > 0 && accepted == 0;
        ensure(!is_lost, || "a code was used up and nobody was told of success".into())?;
        let all_right = right == plan.submitters;
        ensure(!all_right || accepted == 1, || "the right code was accepted by nobody".into())?;
    }
    Ok(())
}

/// Many take from one budget.
async fn takes(store: &dyn Store, time: &dyn Time, seed: u64) -> Result<(), Violation> {
    let (key, now) = (contract::fresh_key()?, time.now());
    let rules = vec![Rule::try_new(10, Duration::from_secs(36_000))?];
    let budget = &Budget::try_new(rules)?;
    let tasks = (0..24)
        .map(|_| -> Task<'_, _> { Box::pin(async move { store.take(&key, budget, now).await }) });
    let mut taken = 0;
    for answer in run(tasks.collect(), seed).await {
        taken += u32::from(answer?.is_taken());
    }
    ensure(taken == 10, || format!("{taken} were taken from a budget of 10"))
}

/// What is given back, by each of the ways there are, while others take from the same budget.
async fn refunds(store: &dyn Store, time: &dyn Time, seed: u64) -> Result<(), Violation> {
    let (key, now) = (contract::fresh_key()?, time.now());
    let budget = &Budget::try_new(vec![Rule::try_new(20, Duration::from_secs(72_000))?])?;
    let charges = &[Charge::take(key, budget)];
    let absent = Sample::fresh(now)?.challenge.id();
    let samples = [Sample::fresh(now)?, Sample::fresh(now)?, Sample::fresh(now)?];
    let _taken = store.take(&key, budget, now).await?;
    for sample in &samples {
        let _inserted = store.insert(&sample.challenge, now).await?;
        let _granted = store.guess(charges, sample.challenge.id(), now).await?;
    }
    // Each gives back one: three that were right, one that was undone. The guesses at nothing take and undo.
    let mut tasks: Vec<Task<'_, Result<u32, Error>>> = Vec::new();
    for sample in &samples {
        let id = sample.challenge.id();
        tasks.push(Box::pin(async move { store.accept(charges, id, 0, now).await.map(|_| 0) }));
    }
    let undone = async move { store.give_back(&key, budget, now).await.map(|()| 0) };
    tasks.push(Box::pin(undone));
    for _ in 0..4 {
        tasks.push(Box::pin(async move { store.guess(charges, absent, now).await.map(|_| 0) }));
        let take = async move { store.take(&key, budget, now).await };
        tasks.push(Box::pin(async move { take.await.map(|taken| u32::from(taken.is_taken())) }));
    }
    let mut taken = 0;
    for answer in run(tasks, seed).await {
        taken += answer?;
    }
    let mut left = 0;
    while left <= 20 && store.take(&key, budget, now).await?.is_taken() {
        left += 1;
    }
    ensure(taken + left == 20, || {
        format!(
            "{taken} were taken from a budget of 20 to which all else came back, and {left} are left"
        )
    })
}

/// Many use a code up, and many replace it: one of them all wins.
async fn consumes(store: &dyn Store, time: &dyn Time, seed: u64) -> Result<(), Violation> {
    let now = time.now();
    let sample = &Sample::fresh(now)?;
    let _inserted = store.insert(&sample.challenge, now).await?;
    let id = sample.challenge.id();
    let tasks = (0..12).map(|number| -> Task<'_, _> {
        Box::pin(async move {
            if number % 2 == 0 {
                store.consume(id, 0, now).await
            } else {
                store.replace(0, &sample.renewed(), now).await
            }
        })
    });
    let mut winners = 0;
    for answer in run(tasks.collect(), seed).await {
        winners += u32::from(answer?);
    }
    ensure(winners == 1, || format!("{winners} used or replaced one generation of a code"))
}

/// Many create one record: one does.
async fn inserts(store: &dyn Store, time: &dyn Time, seed: u64) -> Result<(), Violation> {
    let now = time.now();
    let sample = &Sample::fresh(now)?;
    let tasks = (0..8).map(|_| -> Task<'_, _> {
        Box::pin(async move { store.insert(&sample.challenge, now).await })
    });
    let mut created = 0;
    for answer in run(tasks.collect(), seed).await {
        created += u32::from(answer? == Inserted::Inserted);
    }
    ensure(created == 1, || format!("{created} created one record"))
}

/// A login whose only limit is that of the challenge.
fn login(store: &Arc<dyn Store>) -> Result<Login, Violation> {
    let random = SystemRandom::new();
    let pepper = Pepper::generate(&random)?;
    let host = "auth.example".parse().map_err(|_| Violation::new("host"))?;
    let login = Login::builder(Arc::clone(store), pepper, Arc::new(random), host)
        .tries(LIMIT)
        .danger_without_budgets()
        .build()?;
    Ok(login)
}

const LIMIT: u32 = 5;
