//! Runs futures in an order drawn from a seed.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// A sequence of numbers that a seed determines (`SplitMix64`, Steele and others 2014). For schedules, not
/// for secrets.
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5eed)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % bound.max(1) as u64).unwrap_or(0)
    }
}

pub(super) type Task<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Runs all tasks to their end. One poll is one step; whose step is next is decided by the seed.
pub(super) fn run<T>(tasks: Vec<Task<'_, T>>, seed: u64) -> Schedule<'_, T> {
    let mut dice = Dice::new(seed);
    let order = match seed % 4 {
        0 => Order::Any,
        1 => Order::Together,
        2 => Order::Ranked((0..tasks.len()).map(|_| dice.below(1 << 20)).collect()),
        _ => Order::Sticky(0),
    };
    let parent = Arc::new(Parent::default());
    let tasks = tasks.into_iter().map(|future| Slot {
        state: State::Running(future),
        signal: Arc::new(Signal { is_ready: AtomicBool::new(true), parent: parent.clone() }),
    });
    Schedule { tasks: tasks.collect(), parent, order, dice, waits: 0 }
}

/// The future that [`run`] gives.
pub(super) struct Schedule<'a, T> {
    tasks: Vec<Slot<'a, T>>,
    parent: Arc<Parent>,
    order: Order,
    dice: Dice,
    waits: u32,
}

struct Slot<'a, T> {
    state: State<'a, T>,
    signal: Arc<Signal>,
}

enum State<'a, T> {
    Running(Task<'a, T>),
    Done(Option<T>),
}

/// Ways to choose among those that can go on.
enum Order {
    /// Any of them.
    Any,
    /// All take their first step, then all their second: what reads and then writes reads everywhere
    /// before it writes anywhere.
    Together,
    /// Each has a rank, and now and then the first loses it (Burckhardt and others 2010).
    Ranked(Vec<usize>),
    /// The same again, mostly.
    Sticky(usize),
}

impl<T> Unpin for Schedule<'_, T> {}

impl<T> Future for Schedule<'_, T> {
    type Output = Vec<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Vec<T>> {
        let this = &mut *self;
        this.parent.set(context.waker());
        let mut steps = 0;
        loop {
            let running = this.tasks.iter().filter(|slot| slot.is_running()).count();
            if running == 0 {
                let results = this.tasks.iter_mut().filter_map(|slot| match &mut slot.state {
                    State::Done(result) => result.take(),
                    State::Running(_) => None,
                });
                return Poll::Ready(results.collect());
            }
            let mut ready: Vec<usize> =
                (0..this.tasks.len()).filter(|index| this.tasks[*index].is_ready()).collect();
            if ready.is_empty() {
                return Poll::Pending;
            }
            let step_together = matches!(this.order, Order::Together);
            // Those that wait for a socket get the time to catch up, unless it is for one of those held
            // back here that they wait.
            if step_together && ready.len() < running && this.waits < PATIENCE {
                this.waits += 1;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            this.waits = 0;
            // An executor may hold back its own futures (a budget for each turn) until it has had one.
            if steps >= STEPS_A_TURN {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            if step_together {
                steps += ready.len();
                while !ready.is_empty() {
                    let next = ready.swap_remove(this.dice.below(ready.len()));
                    this.tasks[next].step();
                }
            } else {
                steps += 1;
                let next = this.choose(&ready);
                this.tasks[next].step();
            }
        }
    }
}

impl<T> Schedule<'_, T> {
    fn choose(&mut self, ready: &[usize]) -> usize {
        let any = ready[self.dice.below(ready.len())];
        match &mut self.order {
            Order::Any | Order::Together => any,
            Order::Ranked(ranks) => {
                let first = ready.iter().copied().max_by_key(|index| ranks[*index]).unwrap_or(any);
                if self.dice.below(8) == 0 {
                    ranks[first] = 0;
                }
                first
            }
            Order::Sticky(last) => {
                if !ready.contains(last) || self.dice.below(10) == 0 {
                    *last = any;
                }
                *last
            }
        }
    }
}

impl<T> Slot<'_, T> {
    fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    fn is_ready(&self) -> bool {
        self.is_running() && self.signal.is_ready.load(Ordering::Acquire)
    }

    fn step(&mut self) {
        let State::Running(future) = &mut self.state else { return };
        self.signal.is_ready.store(false, Ordering::Release);
        let waker = Waker::from(Arc::clone(&self.signal));
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.state = State::Done(Some(result));
        }
    }
}

struct Signal {
    is_ready: AtomicBool,
    parent: Arc<Parent>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.is_ready.store(true, Ordering::Release);
        self.parent.wake();
    }
}

/// The waker of whoever polls the schedule.
#[derive(Default)]
struct Parent(Mutex<Option<Waker>>);

impl Parent {
    fn set(&self, waker: &Waker) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    fn wake(&self) {
        if let Some(waker) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake_by_ref();
        }
    }
}

/// How often the executor may look at its sockets before those that can go on do.
const PATIENCE: u32 = 64;

/// Each step may use several of the 128 that tokio allows.
const STEPS_A_TURN: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::pause;
    use super::*;

    /// Each task writes its number down, once before and once after a pause.
    async fn trace(seed: u64) -> Vec<usize> {
        let seen = Mutex::new(Vec::new());
        let tasks = (0..4).map(|number| -> Task<'_, ()> {
            let seen = &seen;
            Box::pin(async move {
                for _ in 0..2 {
                    seen.lock().unwrap().push(number);
                    pause().await;
                }
            })
        });
        run(tasks.collect(), seed).await;
        seen.into_inner().unwrap()
    }

    #[tokio::test]
    async fn a_seed_gives_one_schedule_and_many_give_many() {
        let mut schedules = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let schedule = trace(seed).await;
            assert_eq!(schedule, trace(seed).await);
            assert_eq!(schedule.len(), 8);
            if seed % 4 == 1 {
                let mut firsts = schedule[..4].to_vec();
                firsts.sort_unstable();
                assert_eq!(firsts, [0, 1, 2, 3], "all first steps before any second");
            }
            schedules.insert(schedule);
        }
        assert!(schedules.len() > 100, "{}", schedules.len());
    }

    /// Tokio lets a task use its channels 128 times a turn, then says "later" and wakes at once.
    #[tokio::test]
    async fn an_executor_that_holds_its_futures_back_gets_its_turn() {
        for seed in 0..8 {
            let tasks = (0..8).map(|_| -> Task<'_, usize> {
                Box::pin(async move {
                    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
                    for number in 0..200 {
                        sender.send(number).await.unwrap();
                        assert_eq!(receiver.recv().await, Some(number));
                    }
                    200
                })
            });
            let all = tokio::time::timeout(std::time::Duration::from_secs(60), async move {
                run(tasks.collect(), seed).await
            });
            assert_eq!(all.await.unwrap(), [200; 8]);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn tasks_that_wait_for_the_executor_get_there_under_every_order() {
        for seed in 0..8 {
            let tasks = (0..8).map(|number| -> Task<'_, usize> {
                Box::pin(async move {
                    let helper = tokio::spawn(async move {
                        tokio::task::yield_now().await;
                        number
                    });
                    helper.await.unwrap()
                })
            });
            assert_eq!(run(tasks.collect(), seed).await, [0, 1, 2, 3, 4, 5, 6, 7]);
        }
    }
}
