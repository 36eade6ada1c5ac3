//! Runs futures in an order drawn from a seed.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// Lets everybody else go first, once. A store that works in memory can place it between its own steps, where one over a
/// network would wait for an answer.
///
/// # Cancel safety
///
/// Nothing happens.
pub fn pause() -> impl Future<Output = ()> + Send {
    let mut is_over = false;
    std::future::poll_fn(move |context| {
        if std::mem::replace(&mut is_over, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

pub(super) type Task<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Runs all tasks to their end; one poll is one step. Odd seeds let all take a step in turn, so that what reads and then
/// writes reads everywhere before it writes anywhere; the others choose at each step.
pub(super) async fn run<T>(tasks: Vec<Task<'_, T>>, seed: u64) -> Vec<T> {
    let mut dice = Dice(seed);
    let outer = Arc::new(Outer::default());
    let mut slots: Vec<Slot<'_, T>> = tasks
        .into_iter()
        .map(|task| Slot {
            task: Some(task),
            done: None,
            signal: Arc::new(Signal { is_ready: AtomicBool::new(true), outer: Arc::clone(&outer) }),
        })
        .collect();
    let mut patience = 0;
    std::future::poll_fn(|context| {
        outer.set(context.waker());
        let mut ready: Vec<usize> = (0..slots.len()).filter(|at| slots[*at].is_ready()).collect();
        let running = slots.iter().filter(|slot| slot.task.is_some()).count();
        if seed % 2 == 1 {
            // Those that wait for a socket get the time to catch up.
            if ready.len() < running && patience < PATIENCE {
                patience += 1;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            patience = 0;
            while !ready.is_empty() {
                let next = ready.swap_remove(dice.below(ready.len()));
                slots[next].step();
            }
        } else if !ready.is_empty() {
            slots[ready[dice.below(ready.len())]].step();
        }
        if slots.iter().all(|slot| slot.task.is_none()) {
            return Poll::Ready(());
        }
        // The executor gets its turn after each of ours.
        if slots.iter().any(Slot::is_ready) {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await;
    slots.into_iter().filter_map(|slot| slot.done).collect()
}

struct Slot<'a, T> {
    task: Option<Task<'a, T>>,
    done: Option<T>,
    signal: Arc<Signal>,
}

impl<T> Slot<'_, T> {
    fn is_ready(&self) -> bool {
        self.task.is_some() && self.signal.is_ready.load(Ordering::Acquire)
    }

    fn step(&mut self) {
        let Some(task) = &mut self.task else { return };
        self.signal.is_ready.store(false, Ordering::Release);
        let waker = Waker::from(Arc::clone(&self.signal));
        if let Poll::Ready(done) = task.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.done = Some(done);
            self.task = None;
        }
    }
}

struct Signal {
    is_ready: AtomicBool,
    outer: Arc<Outer>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.is_ready.store(true, Ordering::Release);
        self.outer.wake();
    }
}

/// The waker of whoever polls the schedule.
#[derive(Default)]
struct Outer(Mutex<Option<Waker>>);

impl Outer {
    fn set(&self, waker: &Waker) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    fn wake(&self) {
        if let Some(waker) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake_by_ref();
        }
    }
}

/// Numbers that a seed determines, by `SplitMix64`.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let mixed = mixed ^ (mixed >> 31);
        usize::try_from(mixed % bound.max(1) as u64).unwrap_or(0)
    }
}

/// How often the executor may look at its sockets before those that can go on do.
const PATIENCE: u32 = 64;
