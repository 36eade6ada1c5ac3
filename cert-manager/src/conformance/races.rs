//! Many at once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use crate::{
    conformance::{
        Report, Violation,
        contract::key,
        ensure, failed,
        schedule::{Task, pause, run},
    },
    storage::{Key, Lease, Storage, Taken, Version},
};

pub(super) async fn check(
    store: &Arc<dyn Storage>,
    parties: usize,
    seed: u64,
    report: &mut Report,
) -> Result<(), Violation> {
    let counts = Counts::default();
    count_up(&**store, parties, seed, &counts).await?;
    one_wins(&**store, parties, seed, &counts).await?;
    take_turns(&**store, parties, seed, &counts).await?;
    report.writes += counts.writes.load(Ordering::Relaxed);
    report.conflicts += counts.conflicts.load(Ordering::Relaxed);
    Ok(())
}

#[derive(Default)]
struct Counts {
    writes: AtomicU64,
    conflicts: AtomicU64,
}

impl Counts {
    fn note(&self, is_done: bool) {
        let count = if is_done { &self.writes } else { &self.conflicts };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Each adds one, often. No addition gets lost, and versions and numbers grow together.
async fn count_up(
    store: &dyn Storage,
    parties: usize,
    seed: u64,
    counts: &Counts,
) -> Result<(), Violation> {
    let key = &key(&format!("conformance/counters/{seed}"))?;
    store.put(key, b"0", None).await.map_err(failed("write a new object"))?;
    let seen = &Mutex::new(BTreeMap::new());
    let tasks = (0..parties).map(|_| -> Task<'_, Result<(), Violation>> {
        Box::pin(async move {
            let mut done = 0;
            while done < ADDITIONS {
                pause().await;
                let (version, number) = read_number(store, key).await?;
                pause().await;
                let value = (number + 1).to_string();
                let put = store.put(key, value.as_bytes(), Some(version)).await;
                counts.note(put.is_ok());
                match put {
                    Ok(version) => {
                        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                        seen.insert(version, number + 1);
                        done += 1;
                    }
                    Err(error) if error.is_conflict() => {}
                    Err(error) => return Err(failed("replace an object")(error)),
                }
            }
            Ok(())
        })
    });
    run(tasks.collect(), seed).await.into_iter().collect::<Result<(), _>>()?;
    let expected = parties as u64 * u64::from(ADDITIONS);
    let (_, number) = read_number(store, key).await?;
    ensure(number == expected, || format!("{expected} additions gave {number}: writes got lost"))?;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    let in_order = seen.values().copied().eq(1..=expected);
    ensure(in_order, || "versions do not grow as values were written".to_owned())
}

async fn read_number(store: &dyn Storage, key: &Key) -> Result<(Version, u64), Violation> {
    let entry = store.get(key).await.map_err(failed("read an object"))?;
    let number = entry.and_then(|entry| {
        let number = str::from_utf8(&entry.value).ok()?.parse().ok()?;
        Some((entry.version, number))
    });
    let what = "an object that is only ever replaced was away, or half written".to_owned();
    number.ok_or(Violation { seed: None, what, source: None })
}

/// All expect the same; some replace, some delete. One gets its way.
async fn one_wins(
    store: &dyn Storage,
    parties: usize,
    seed: u64,
    counts: &Counts,
) -> Result<(), Violation> {
    for is_new in [true, false] {
        let key = &key(&format!("conformance/races/{seed}-{is_new}"))?;
        let expected = if is_new {
            None
        } else {
            Some(store.put(key, b"first", None).await.map_err(failed("write a new object"))?)
        };
        let tasks = (0..parties).map(|party| -> Task<'_, Result<bool, Violation>> {
            Box::pin(async move {
                pause().await;
                let done = match expected {
                    Some(version) if party % 3 == 0 => store.delete(key, version).await,
                    _ => {
                        let value = party.to_string();
                        store.put(key, value.as_bytes(), expected).await.map(drop)
                    }
                };
                counts.note(done.is_ok());
                match done {
                    Ok(()) => Ok(true),
                    Err(error) if error.is_conflict() => Ok(false),
                    Err(error) => Err(failed("write")(error)),
                }
            })
        });
        let done: Vec<bool> =
            run(tasks.collect(), seed).await.into_iter().collect::<Result<_, _>>()?;
        let winners = done.iter().filter(|won| **won).count();
        ensure(winners == 1, || format!("{winners} of {parties} that expect the same got it"))?;
    }
    Ok(())
}

/// Each works when it has the lease; the one that sleeps over its end is refused.
async fn take_turns(
    store: &dyn Storage,
    parties: usize,
    seed: u64,
    counts: &Counts,
) -> Result<(), Violation> {
    let lease = &key(&format!("conformance/leases/{seed}"))?;
    let work = &key(&format!("conformance/work/{seed}"))?;
    store.put(work, b"0", None).await.map_err(failed("write a new object"))?;
    let minutes = &AtomicU32::new(0);
    let now = move || {
        SystemTime::UNIX_EPOCH
            + Duration::from_secs(1_800_000_000 + 60 * u64::from(minutes.load(Ordering::Relaxed)))
    };
    let last_token = &Mutex::new(Version::new(0));
    let tasks = (0..parties).map(|party| -> Task<'_, Result<(), Violation>> {
        Box::pin(async move {
            loop {
                pause().await;
                let last = || last_token.lock().unwrap_or_else(PoisonError::into_inner);
                // Two that take at once may be told in any order.
                let before = *last();
                let taken = Lease::take(store, lease, "party", LIFE, now()).await;
                let Taken::Held(held) = taken.map_err(failed("take a lease"))? else {
                    // Time passes while somebody waits.
                    minutes.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                let token = held.token();
                ensure(token > before, || format!("token {token} does not come after {before}"))?;
                let greatest = token.max(*last());
                *last() = greatest;
                // Whoever takes over writes first, so that what a late holder expects is gone.
                let (version, number) = read_number(store, work).await?;
                let value = number.to_string();
                let Ok(version) = store.put(work, value.as_bytes(), Some(version)).await else {
                    continue;
                };
                for _ in 0..party % 4 {
                    pause().await;
                }
                let value = (number + 1).to_string();
                let done = store.put(work, value.as_bytes(), Some(version)).await;
                counts.note(done.is_ok());
                held.release(store).await.map_err(failed("release a lease"))?;
                match done {
                    Ok(_) => return Ok(()),
                    Err(error) if error.is_conflict() => {}
                    Err(error) => return Err(failed("replace an object")(error)),
                }
            }
        })
    });
    run(tasks.collect(), seed).await.into_iter().collect::<Result<(), _>>()?;
    let (_, number) = read_number(store, work).await?;
    ensure(number == parties as u64, || {
        format!("{parties} pieces of work under a lease left {number}")
    })
}

const ADDITIONS: u32 = 10;
const LIFE: Duration = Duration::from_secs(600);
