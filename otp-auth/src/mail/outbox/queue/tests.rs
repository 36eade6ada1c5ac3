use super::*;
use crate::challenge::DecoyReason;
use crate::code::Code;
use crate::locale::Locale;
use crate::mail::{MailCause, Silence};
use crate::timestamp::Timestamp;

const LIFE: Duration = Duration::from_secs(600);

fn job(flow: &str, generation: u32) -> Job {
    let asked_at = Timestamp::from_unix_secs(1_790_000_000);
    Job {
        id: format!("{flow}-{generation}"),
        generation,
        to: "alice@example.jp".parse().unwrap(),
        code: Code::from_text("123456").unwrap(),
        application: "saito.example.jp".parse().unwrap(),
        asked_at,
        asked_from: "203.0.113.7".parse().unwrap(),
        expires: asked_at.plus(LIFE),
        locale: Locale::En,
        is_known_device: false,
        silence: None,
    }
}

fn decoy(flow: &str) -> Job {
    Job { silence: Some(Silence::Decoy(DecoyReason::Denied)), ..job(flow, 0) }
}

/// A queue, a clock that goes when told to, and what was done.
struct Desk {
    queue: Queue,
    now: Instant,
    sending: Vec<(u64, String)>,
    removed: Vec<String>,
    told: Vec<String>,
}

impl Desk {
    fn new(pending: usize, parallel: usize) -> Self {
        #[expect(clippy::disallowed_methods, reason = "any beginning will do")]
        let now = Instant::now();
        let queue = Queue::new(Limits { pending, parallel, strangers: Budget::mails_of_all() });
        Self { queue, now, sending: vec![], removed: vec![], told: vec![] }
    }

    fn accept(&mut self, job: Job) {
        self.queue.handle_accepted(job, LIFE, self.now);
        self.work();
    }

    fn work(&mut self) {
        while let Some(action) = self.queue.poll(self.now) {
            match action {
                Action::Send(number, job) => self.sending.push((number, job.id().to_owned())),
                Action::Remove(number, id) => {
                    self.queue.handle_removed(number, true, self.now);
                    self.removed.push(id);
                }
            }
        }
        while let Some(event) = self.queue.poll_event() {
            self.told.push(match event {
                OutboxEvent::Handed { job, attempts } => format!("{} handed {attempts}", job.id()),
                OutboxEvent::Silent { job, .. } => format!("{} silent", job.id()),
                OutboxEvent::Delayed { job, next_in, .. } => {
                    format!("{} delayed {}", job.id(), next_in.as_secs())
                }
                OutboxEvent::Failed { job, reason } => format!("{} failed: {reason}", job.id()),
                other => format!("{other:?}"),
            });
        }
    }

    fn sent(&mut self, result: Result<(), MailError>) {
        let (number, _) = self.sending.remove(0);
        self.queue.handle_sent(number, result, self.now);
        self.work();
    }

    fn wait(&mut self, secs: u64) {
        self.now += Duration::from_secs(secs);
        self.work();
    }

    fn ids(&self) -> Vec<&str> {
        self.sending.iter().map(|(_, id)| &**id).collect()
    }

    fn take_told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }
}

fn busy() -> Result<(), MailError> {
    Err(MailError::Busy { status: 451 })
}

fn away() -> Result<(), MailError> {
    Err(MailError::Connection(MailCause::new("refused")))
}

#[test]
fn a_job_is_handed_once_and_then_leaves_the_store() {
    let mut desk = Desk::new(10, 2);
    desk.accept(job("a", 0));
    assert_eq!(desk.ids(), ["a-0"]);
    assert!(desk.removed.is_empty(), "it stays in the store until it is sent");
    desk.sent(Ok(()));
    assert_eq!(desk.removed, ["a-0"]);
    assert_eq!(desk.take_told(), ["a-0 handed 1"]);
    assert_eq!((desk.queue.pending(), desk.queue.poll_timeout()), (0, None));
}

#[test]
fn a_decoy_leaves_the_store_and_meets_no_mailer() {
    let mut desk = Desk::new(10, 2);
    desk.accept(decoy("a"));
    assert!(desk.sending.is_empty());
    assert_eq!(desk.removed, ["a-0"]);
    assert_eq!(desk.take_told(), ["a-0 silent"]);
}

#[test]
fn later_means_after_longer_and_longer_pauses_until_the_code_ends() {
    let mut desk = Desk::new(10, 2);
    desk.accept(job("a", 0));
    let begun = desk.now;
    let mut pauses = Vec::new();
    while !desk.sending.is_empty() {
        desk.sent(busy());
        let Some(next) = desk.queue.poll_timeout() else { break };
        pauses.push((next - desk.now).as_secs());
        desk.now = next;
        desk.work();
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60, 60, 60, 57]);
    assert_eq!(desk.now - begun, LIFE);
    assert_eq!(
        desk.take_told().last().unwrap(),
        "a-0 failed: the code ended before the mail server took it"
    );
    assert_eq!(desk.removed, ["a-0"]);
}

#[test]
fn never_means_never() {
    let mut desk = Desk::new(10, 2);
    desk.accept(job("a", 0));
    desk.sent(Err(MailError::Refused { status: 550 }));
    assert_eq!(desk.take_told(), ["a-0 failed: mail server refused the mail, status 550"]);
    assert_eq!(desk.removed, ["a-0"]);
    desk.wait(1_000);
    assert!(desk.sending.is_empty());
}

#[test]
fn while_the_server_is_away_one_mail_is_tried_and_the_others_wait() {
    let mut desk = Desk::new(100, 4);
    for number in 0..10 {
        desk.accept(job(&format!("m{number}"), 0));
    }
    assert_eq!(desk.ids(), ["m0-0", "m1-0", "m2-0", "m3-0"]);
    for _ in 0..4 {
        desk.sent(away());
    }
    assert!(desk.sending.is_empty(), "all of them failed of one cause");
    desk.wait(1);
    assert_eq!(desk.sending.len(), 1, "one, to see");
    desk.sent(away());
    desk.wait(1);
    assert!(desk.sending.is_empty(), "two seconds this time");
    desk.wait(1);
    assert_eq!(desk.sending.len(), 1);
    assert_ne!(desk.ids(), ["m0-0"], "one bad mail does not stand before all others");
    desk.sent(Ok(()));
    assert_eq!(desk.sending.len(), 4, "it is back");
    let mut rounds = 0;
    while desk.queue.pending() > 0 {
        while !desk.sending.is_empty() {
            desk.sent(Ok(()));
        }
        desk.wait(1);
        rounds += 1;
        assert!(rounds < 10);
    }
    assert_eq!(desk.removed.len(), 10);
}

#[test]
fn a_mail_that_is_asked_to_wait_holds_up_no_other() {
    let mut desk = Desk::new(100, 1);
    desk.accept(job("grey", 0));
    desk.accept(job("b", 0));
    desk.sent(busy());
    assert_eq!(desk.ids(), ["b-0"]);
}

#[test]
fn when_too_many_wait_the_one_with_the_least_time_left_fails() {
    let mut desk = Desk::new(3, 1);
    desk.accept(job("sending", 0));
    for flow in ["a", "b", "c"] {
        desk.now += Duration::from_secs(1);
        desk.accept(job(flow, 0));
    }
    assert!(desk.take_told().is_empty());
    desk.accept(job("d", 0));
    assert_eq!(desk.take_told(), ["a-0 failed: too many mails wait for the mail server"]);
    assert_eq!(desk.removed, ["a-0"]);
    assert_eq!(desk.queue.pending(), 4);
}

#[test]
fn a_newer_code_of_the_flow_takes_the_place_of_one_that_waits() {
    let mut desk = Desk::new(10, 1);
    desk.accept(job("x", 0));
    desk.accept(job("a", 0));
    desk.accept(job("b", 0));
    desk.accept(job("a", 1));
    assert_eq!(desk.take_told(), ["a-0 failed: a newer code is on its way"]);
    desk.accept(job("a", 0));
    assert_eq!(desk.take_told(), ["a-0 failed: a newer code is on its way"], "too late");
    desk.sent(Ok(()));
    assert_eq!(desk.ids(), ["b-0"]);
    desk.sent(Ok(()));
    assert_eq!(desk.ids(), ["a-1"]);
    // The newest of a flow may fail for a while; an older one that is being sent is not tried again.
    desk.accept(job("a", 2));
    desk.sent(busy());
    assert_eq!(desk.ids(), ["a-2"]);
    desk.sent(Ok(()));
    desk.wait(100);
    assert!(desk.sending.is_empty());
    // A decoy voids nothing: its flow's code may still be the one that counts.
    desk.accept(job("c", 0));
    desk.accept(Job { silence: Some(Silence::Superseded), ..job("c", 1) });
    assert_eq!(desk.ids(), ["c-0"]);
}

#[test]
fn a_store_that_takes_nothing_out_is_asked_again_and_sends_nothing_twice() {
    let mut desk = Desk::new(2, 1);
    desk.accept(job("a", 0));
    let (number, _) = desk.sending.remove(0);
    desk.queue.handle_sent(number, Ok(()), desk.now);
    for pause in [1, 2, 4] {
        let Some(Action::Remove(number, _)) = desk.queue.poll(desk.now) else { panic!("{pause}") };
        desk.queue.handle_removed(number, false, desk.now);
        assert!(desk.queue.poll(desk.now).is_none());
        desk.now += Duration::from_secs(pause);
        assert_eq!(desk.queue.poll_timeout(), Some(desk.now));
    }
    for flow in ["b", "c", "d", "e"] {
        assert!(desk.queue.has_room(), "{flow}");
        desk.queue.handle_accepted(decoy(flow), LIFE, desk.now);
    }
    assert!(!desk.queue.has_room(), "what can't be taken out is bounded as well");
    desk.work();
    assert_eq!(desk.removed.len(), 5);
    assert!(desk.queue.has_room());
}

#[test]
fn a_worker_that_was_dropped_leaves_its_mails_to_the_next() {
    let mut desk = Desk::new(10, 2);
    for flow in ["a", "b", "c"] {
        desk.accept(job(flow, 0));
    }
    let lost = std::mem::take(&mut desk.sending);
    desk.queue.handle_stopped(desk.now);
    desk.work();
    assert_eq!(desk.ids(), ["a-0", "b-0"]);
    // What the old worker still says does not count twice.
    desk.sent(Ok(()));
    desk.queue.handle_sent(lost[0].0, Ok(()), desk.now);
    desk.work();
    assert_eq!(desk.removed, ["a-0"]);
    assert_eq!(desk.ids(), ["b-0", "c-0"]);
}

/// Whatever happens, each job ends once, nothing waits for ever, and no more is sent at a time than may be.
#[test]
fn random_days_end_with_an_empty_desk() {
    for seed in 0..300_u64 {
        let mut dice = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(7);
        let mut below = |bound: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 33) % bound
        };
        let mut desk = Desk::new(8, 3);
        let mut accepted = 0;
        for step in 0..200 {
            match below(6) {
                0 | 1 => {
                    let flow = format!("f{step}");
                    desk.accept(if below(3) == 0 { decoy(&flow) } else { job(&flow, 0) });
                    accepted += 1;
                }
                2 => desk.wait(below(90)),
                _ if !desk.sending.is_empty() => {
                    let result = [Ok(()), busy(), away(), Err(MailError::Refused { status: 550 })];
                    let which = usize::try_from(below(4)).unwrap();
                    desk.sent(result.into_iter().nth(which).unwrap());
                }
                _ => {}
            }
            assert!(desk.sending.len() <= 3, "seed {seed}");
            assert!(desk.queue.pending() <= 8 + 3, "seed {seed}");
        }
        while desk.queue.pending() > 0 {
            if !desk.sending.is_empty() {
                desk.sent(Ok(()));
                continue;
            }
            let next = desk.queue.poll_timeout().expect("what waits has a time");
            assert!(next > desk.now, "seed {seed}");
            desk.now = next;
            desk.work();
        }
        assert_eq!(desk.removed.len(), accepted, "seed {seed}");
        let ended = desk.told.iter().filter(|it| !it.contains("delayed")).count();
        assert_eq!(ended, accepted, "seed {seed}");
        assert!(desk.queue.jobs.is_empty() && desk.queue.flows.is_empty(), "seed {seed}");
        assert!(desk.queue.due.is_empty() && desk.queue.ends.is_empty(), "seed {seed}");
    }
}

/// The budget of all strangers: 1,000 at once, one each 3.6 seconds then.
#[test]
fn a_flood_of_mails_waits_and_known_devices_do_not() {
    let mut desk = Desk::new(10_000, 10_000);
    for number in 0..1_500 {
        desk.accept(job(&format!("flow{number}"), 0));
    }
    assert_eq!(desk.sending.len(), 1_000);
    assert_eq!(desk.take_told(), ["OverBudget { next_in: 3.6s }"], "told once");
    desk.accept(Job { is_known_device: true, ..job("known", 0) });
    assert_eq!(desk.sending.pop().unwrap().1, "known-0");
    // Another attempt is no other mail.
    desk.sent(Err(MailError::Busy { status: 450 }));
    desk.wait(1);
    assert_eq!(desk.sending.len(), 1_000);
    for _ in 0..36 {
        desk.wait(1);
    }
    assert_eq!(desk.sending.len(), 1_010);
    assert!(desk.queue.poll_timeout().is_some_and(|at| at > desk.now));
}
