//! Which job is due when: no clock, no task, no mailer.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Failure, OutboxEvent};
use crate::mail::{Job, MailError};
use crate::throttle::{Budget, BudgetState, Taken};
use crate::timestamp::Timestamp;

/// The jobs of an outbox, in the order in which they came.
///
/// ```text
///              taken by the mailer
///   pending ──────────────────────▶ handed ──┐
///    ▲   │                                   ├──▶ taken out of the store, and forgotten
///    │   ├──────────────────────▶ failed ────┘
///    └───┘  refused, out of date, out of room, or for a newer code
///    later
/// ```
///
/// Feed it with `handle_*`, then drain `poll` until `None`, then `poll_event`, and call again at
/// `poll_timeout` at the latest; earlier is harmless. Time never goes back.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    next: u64,
    jobs: BTreeMap<u64, Entry>,
    /// Pending jobs by when they are due.
    due: BTreeSet<(Instant, u64)>,
    /// The same by when their code ends.
    ends: BTreeSet<(Instant, u64)>,
    /// The newest job of each flow.
    flows: HashMap<String, (u32, u64)>,
    /// Handed and failed, and still in the store.
    settled: VecDeque<u64>,
    /// When the store may be asked again, after it failed.
    store_rests: Rest,
    /// When the mailer may be asked again, after it failed for reasons that are not the mail's.
    mailer_rests: Rest,
    in_flight: usize,
    /// What strangers have had of their budget, counted from the first of their mails.
    strangers: BudgetState,
    began: Option<Instant>,
    is_over_budget: bool,
    events: VecDeque<OutboxEvent>,
}

/// What bounds a queue.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// Jobs that wait for the mailer.
    pub pending: usize,
    /// Mails that are being sent.
    pub parallel: usize,
    /// Mails to strangers.
    pub strangers: Budget,
}

#[derive(Debug)]
struct Entry {
    job: Arc<Job>,
    state: State,
    ends: Instant,
    due: Instant,
    attempts: u32,
    /// Which rest of the mailer came before the attempt under way.
    rest: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Pending,
    InFlight,
    Settled,
}

/// Waiting longer after each failure in a row.
#[derive(Debug, Default)]
struct Rest {
    until: Option<Instant>,
    failures: u32,
    /// Counts the rests.
    number: u64,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Action {
    /// Send the mail, then call `handle_sent`.
    Send(u64, Arc<Job>),
    /// Take the job out of the store, then call `handle_removed`.
    Remove(u64, String),
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            next: 0,
            jobs: BTreeMap::new(),
            due: BTreeSet::new(),
            ends: BTreeSet::new(),
            flows: HashMap::new(),
            settled: VecDeque::new(),
            store_rests: Rest::default(),
            mailer_rests: Rest::default(),
            in_flight: 0,
            strangers: BudgetState::default(),
            began: None,
            is_over_budget: false,
            events: VecDeque::new(),
        }
    }

    /// Whether there is room for what the store holds. Only a store that takes nothing out fills this.
    pub(super) fn has_room(&self) -> bool {
        self.jobs.len() < self.limits.pending.saturating_mul(2).saturating_add(self.limits.parallel)
    }

    /// Takes a job that lies in the store.
    pub(super) fn handle_accepted(&mut self, job: Job, valid_for: Duration, now: Instant) {
        let known = self.flows.get(job.flow()).copied();
        if known.is_some_and(|(generation, _)| generation == job.generation()) {
            // The same job once more.
            return;
        }
        let number = self.next;
        self.next += 1;
        let job = Arc::new(job);
        let ends = now + valid_for.min(LONGEST);
        let settled = Entry {
            job: Arc::clone(&job),
            state: State::Settled,
            ends,
            due: now,
            attempts: 0,
            rest: 0,
        };
        self.jobs.insert(number, settled);
        if let Some(reason) = job.silence() {
            self.settled.push_back(number);
            self.tell(OutboxEvent::Silent { job, reason });
            return;
        }
        match known {
            // Its code is void.
            Some((newer, _)) if newer > job.generation() => {
                self.settled.push_back(number);
                self.tell(OutboxEvent::Failed { job, reason: Failure::Superseded });
                return;
            }
            Some((_, older)) => self.give_up(older, Failure::Superseded),
            None => {}
        }
        if self.due.len() >= self.limits.pending
            && let Some((_, oldest)) = self.ends.first().copied()
        {
            self.give_up(oldest, Failure::QueueFull);
        }
        self.flows.insert(job.flow().to_owned(), (job.generation(), number));
        self.wait(number, now);
    }

    /// Learns what became of an attempt.
    pub(super) fn handle_sent(&mut self, number: u64, sent: Result<(), MailError>, now: Instant) {
        let Some(entry) = self.jobs.get_mut(&number).filter(|it| it.state == State::InFlight)
        else {
            return;
        };
        self.in_flight -= 1;
        let (job, attempts, rest) = (Arc::clone(&entry.job), entry.attempts, entry.rest);
        let error = match sent {
            Ok(()) => {
                self.mailer_rests.end();
                self.settle(number);
                return self.tell(OutboxEvent::Handed { job, attempts });
            }
            Err(error) => error,
        };
        if !error.is_retryable() {
            self.settle(number);
            return self.tell(OutboxEvent::Failed { job, reason: Failure::Refused(error) });
        }
        // The server spoke about this mail: it is there for others.
        if error.is_about_one_mail() {
            self.mailer_rests.end();
        } else if rest == self.mailer_rests.number {
            self.mailer_rests.begin(now);
        }
        let pause = pause_after(attempts);
        let is_newest = self.flows.get(job.flow()).is_some_and(|(_, newest)| *newest == number);
        if !is_newest {
            self.settle(number);
            return self.tell(OutboxEvent::Failed { job, reason: Failure::Superseded });
        }
        self.wait(number, now + pause);
        let until = self.mailer_rests.until.unwrap_or(now).max(now + pause);
        self.tell(OutboxEvent::Delayed { job, error, next_in: until - now });
    }

    /// Learns whether a settled job is out of the store.
    pub(super) fn handle_removed(&mut self, number: u64, is_removed: bool, now: Instant) {
        if is_removed {
            self.store_rests.end();
            self.jobs.remove(&number);
        } else {
            self.store_rests.begin(now);
            self.settled.push_back(number);
        }
    }

    /// Forgets which attempts are under way: those that were will be made again.
    pub(super) fn handle_stopped(&mut self, now: Instant) {
        let in_flight = self.jobs.iter().filter(|(_, it)| it.state == State::InFlight);
        for number in in_flight.map(|(number, _)| *number).collect::<Vec<_>>() {
            self.wait(number, now);
        }
        self.in_flight = 0;
        let waiting: BTreeSet<u64> = self.settled.iter().copied().collect();
        let settled = self.jobs.iter().filter(|(_, it)| it.state == State::Settled);
        let lost: Vec<u64> =
            settled.map(|(number, _)| *number).filter(|it| !waiting.contains(it)).collect();
        self.settled.extend(lost);
    }

    /// What to do next, if anything.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Action> {
        while let Some((end, number)) = self.ends.first().copied()
            && end <= now
        {
            self.give_up(number, Failure::Expired);
        }
        // Mails first: what waits to be taken out is bounded, and may be many.
        self.next_mail(now).or_else(|| self.next_removal(now))
    }

    fn next_removal(&mut self, now: Instant) -> Option<Action> {
        if !self.store_rests.is_over(now) {
            return None;
        }
        let number = self.settled.pop_front()?;
        let entry = self.jobs.get(&number)?;
        Some(Action::Remove(number, entry.job.id().to_owned()))
    }

    fn next_mail(&mut self, now: Instant) -> Option<Action> {
        let number = loop {
            let (due, number) = self.due.first().copied()?;
            if due > now || self.in_flight >= self.parallel(now) {
                return None;
            }
            match self.over_budget(number, now) {
                None => break number,
                Some(wait) => self.put_off(number, now + wait),
            }
        };
        let rest = self.mailer_rests.number;
        let entry = self.jobs.get_mut(&number)?;
        entry.state = State::InFlight;
        entry.attempts = entry.attempts.saturating_add(1);
        entry.rest = rest;
        let job = Arc::clone(&entry.job);
        self.due.remove(&(entry.due, number));
        self.ends.remove(&(entry.ends, number));
        self.in_flight += 1;
        Some(Action::Send(number, job))
    }

    /// When there is something to do again, if nobody calls before.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let ends = self.ends.first().map(|(end, _)| *end);
        let store = self.settled.front().and(self.store_rests.until);
        let rests = self.mailer_rests.until;
        let is_room = self.in_flight < if rests.is_some() { 1 } else { self.limits.parallel };
        let due = self.due.first().filter(|_| is_room).map(|(due, _)| *due);
        let due = due.map(|due| rests.map_or(due, |until| until.max(due)));
        [ends, store, due].into_iter().flatten().min()
    }

    /// What happened, in order.
    pub(super) fn poll_event(&mut self) -> Option<OutboxEvent> {
        self.events.pop_front()
    }

    pub(super) fn pending(&self) -> usize {
        self.due.len() + self.in_flight
    }

    pub(super) fn tell(&mut self, event: OutboxEvent) {
        // Nobody listens: the newest are worth more than the oldest.
        if self.events.len() >= self.limits.pending.saturating_mul(2).max(16) {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// For how long the mail has to wait because too many go to strangers. Another attempt costs nothing.
    fn over_budget(&mut self, number: u64, now: Instant) -> Option<Duration> {
        let entry = self.jobs.get(&number)?;
        if entry.job.is_known_device() || entry.attempts > 0 {
            return None;
        }
        let since = now.duration_since(*self.began.get_or_insert(now));
        let moment = Timestamp::from_unix_secs(0).plus(since);
        match self.strangers.take(&self.limits.strangers, moment) {
            Taken::Taken => {
                self.is_over_budget = false;
                None
            }
            Taken::RetryAfter(wait) => {
                if !std::mem::replace(&mut self.is_over_budget, true) {
                    self.tell(OutboxEvent::OverBudget { next_in: wait });
                }
                Some(wait)
            }
        }
    }

    fn put_off(&mut self, number: u64, due: Instant) {
        let Some(entry) = self.jobs.get_mut(&number) else { return };
        self.due.remove(&(entry.due, number));
        entry.due = due;
        self.due.insert((due, number));
    }

    /// While the mailer rests, nothing; after that one, to see; then as many as may.
    fn parallel(&self, now: Instant) -> usize {
        match self.mailer_rests.until {
            None => self.limits.parallel,
            Some(until) if until > now => 0,
            Some(_) => 1,
        }
    }

    fn wait(&mut self, number: u64, due: Instant) {
        let Some(entry) = self.jobs.get_mut(&number) else { return };
        entry.state = State::Pending;
        entry.due = due;
        self.due.insert((due, number));
        self.ends.insert((entry.ends, number));
    }

    /// Ends a pending job. One that is being sent goes on; nothing else waits.
    fn give_up(&mut self, number: u64, reason: Failure) {
        let Some(entry) = self.jobs.get(&number).filter(|it| it.state == State::Pending) else {
            return;
        };
        let job = Arc::clone(&entry.job);
        self.settle(number);
        self.tell(OutboxEvent::Failed { job, reason });
    }

    fn settle(&mut self, number: u64) {
        let Some(entry) = self.jobs.get_mut(&number) else { return };
        entry.state = State::Settled;
        self.due.remove(&(entry.due, number));
        self.ends.remove(&(entry.ends, number));
        let flow = entry.job.flow();
        if self.flows.get(flow).is_some_and(|(_, newest)| *newest == number) {
            self.flows.remove(flow);
        }
        self.settled.push_back(number);
    }
}

impl Rest {
    fn begin(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + pause_after(self.failures));
        self.number += 1;
    }

    fn end(&mut self) {
        (self.until, self.failures) = (None, 0);
    }

    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }
}

/// One second after the first failure, then twice as long each time, up to a minute.
fn pause_after(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(6)).min(Duration::from_secs(60))
}

/// No code lives longer, whatever a job says.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);

#[cfg(test)]
mod tests;
