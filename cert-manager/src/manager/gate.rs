//! Which handshakes for unknown names are worth to be asked about. Pure.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{manager::on_demand::Refusal, name::Name};

/// What keeps strangers from making a node work.
///
/// For each handshake call [`Gate::enter`], and [`Gate::leave`] when it is answered. Time never goes back.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: Limits,
    /// Names that were refused, until when.
    refused: HashMap<Name, Instant>,
    /// The same in the order in which they end.
    ends: VecDeque<(Instant, Name)>,
    networks: HashMap<Network, Budget>,
    waiting: usize,
}

/// The bounds of a [`Gate`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Handshakes that wait at once.
    pub(crate) waiting: usize,
    /// Handshakes from one network that may come at once; one comes back each [`Limits::refill`].
    pub(crate) burst: u32,
    pub(crate) refill: Duration,
    /// For how long a name that was refused is refused without a question.
    pub(crate) memory: Duration,
    /// The same for a name whose order failed: it may have been a hiccup. At most [`Limits::memory`].
    pub(crate) memory_of_failures: Duration,
}

#[derive(Debug)]
struct Budget {
    /// When it will be, or was, full again.
    full_at: Instant,
}

impl Gate {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            refused: HashMap::new(),
            ends: VecDeque::new(),
            networks: HashMap::new(),
            waiting: 0,
        }
    }

    /// Lets a handshake wait for an answer, or says why not.
    pub(crate) fn enter(&mut self, name: &Name, peer: IpAddr, now: Instant) -> Result<(), Refusal> {
        self.forget_what_ended(now);
        if self.refused.get(name).is_some_and(|until| now < *until) {
            return Err(Refusal::Remembered);
        }
        if self.waiting >= self.limits.waiting {
            return Err(Refusal::Busy);
        }
        self.take_from_budget(Network::of(peer), now)?;
        self.waiting += 1;
        Ok(())
    }

    pub(crate) fn leave(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// A name was refused whoever asks for it, or its order failed.
    pub(crate) fn remember(&mut self, name: &Name, has_failed: bool, now: Instant) {
        self.forget_what_ended(now);
        if self.ends.len() >= MOST_REFUSED
            && let Some((_, oldest)) = self.ends.pop_front()
        {
            self.refused.remove(&oldest);
        }
        let limits = self.limits;
        let until = now + if has_failed { limits.memory_of_failures } else { limits.memory };
        if self.refused.insert(name.clone(), until).is_none() {
            self.ends.push_back((until, name.clone()));
        }
    }

    fn forget_what_ended(&mut self, now: Instant) {
        while let Some((until, _)) = self.ends.front()
            && *until <= now
        {
            let Some((_, name)) = self.ends.pop_front() else { return };
            match self.refused.get(&name) {
                // Refused once more meanwhile.
                Some(until) if now < *until => self.ends.push_back((*until, name)),
                _ => drop(self.refused.remove(&name)),
            }
        }
    }

    fn take_from_budget(&mut self, network: Network, now: Instant) -> Result<(), Refusal> {
        if self.networks.len() >= MOST_NETWORKS && !self.networks.contains_key(&network) {
            self.networks.retain(|_, budget| budget.full_at > now);
            if self.networks.len() >= MOST_NETWORKS {
                return Err(Refusal::Busy);
            }
        }
        let budget = self.networks.entry(network).or_insert(Budget { full_at: now });
        let full_at = budget.full_at.max(now) + self.limits.refill;
        if full_at > now + self.limits.refill * self.limits.burst {
            return Err(Refusal::Network);
        }
        budget.full_at = full_at;
        Ok(())
    }
}

/// Where a client is: neighbours share what they are granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Network(u64);

impl Network {
    /// The first 24 bits of an IPv4 address, 48 of an IPv6 address.
    fn of(peer: IpAddr) -> Self {
        match peer.to_canonical() {
            IpAddr::V4(address) => Self(u64::from(address.to_bits() >> 8)),
            // Shifted so far that no IPv4 network can be the same.
            IpAddr::V6(address) => Self((1 << 63) | (address.to_bits() >> 80) as u64),
        }
    }
}

/// Names wanted by nobody in particular, each of a kilobyte at most.
const MOST_REFUSED: usize = 10_000;
/// Networks whose budget is not full. With more, unknown networks have to wait.
const MOST_NETWORKS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn gate() -> Gate {
        let (refill, memory, memory_of_failures) = (MINUTE, 10 * MINUTE, 2 * MINUTE);
        Gate::new(Limits { waiting: 3, burst: 2, refill, memory, memory_of_failures })
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn peer(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "any start will do")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_network_gets_back_what_it_spent_little_by_little() {
        let (mut gate, now) = (gate(), start());
        let mut enter = |address: &str, now| {
            let entered = gate.enter(&name("a.example"), peer(address), now);
            gate.leave();
            entered
        };
        assert_eq!(enter("192.0.2.1", now), Ok(()));
        assert_eq!(enter("192.0.2.200", now), Ok(()));
        assert_eq!(enter("::ffff:192.0.2.7", now), Err(Refusal::Network), "a neighbour");
        assert_eq!(enter("198.51.100.1", now), Ok(()), "another network");
        assert_eq!(enter("2001:db8:1::1", now), Ok(()));
        assert_eq!(enter("2001:db8:1:ffff::1", now), Ok(()));
        assert_eq!(enter("2001:db8:1:2::3", now), Err(Refusal::Network));
        assert_eq!(enter("192.0.2.1", now + MINUTE), Ok(()));
        assert_eq!(enter("192.0.2.1", now + MINUTE), Err(Refusal::Network));
        assert_eq!(enter("192.0.2.1", now + 60 * MINUTE), Ok(()));
        assert_eq!(enter("192.0.2.1", now + 60 * MINUTE), Ok(()), "no more than a burst");
        assert_eq!(enter("192.0.2.1", now + 60 * MINUTE), Err(Refusal::Network));
    }

    #[test]
    fn few_wait_at_once() {
        let (mut gate, now) = (gate(), start());
        for at in 0..3 {
            assert_eq!(gate.enter(&name("a.example"), peer(&format!("10.0.{at}.1")), now), Ok(()));
        }
        let one_more = |gate: &mut Gate| gate.enter(&name("a.example"), peer("10.1.0.1"), now);
        assert_eq!(one_more(&mut gate), Err(Refusal::Busy));
        gate.leave();
        assert_eq!(one_more(&mut gate), Ok(()));
    }

    #[test]
    fn a_refused_name_is_remembered_for_a_while() {
        let (mut gate, now) = (gate(), start());
        gate.remember(&name("a.example"), false, now);
        gate.remember(&name("b.example"), false, now + MINUTE);
        gate.remember(&name("d.example"), true, now);
        let mut enter = |text, now| {
            let entered = gate.enter(&name(text), peer("10.0.0.1"), now);
            gate.leave();
            entered
        };
        assert_eq!(enter("d.example", now + MINUTE), Err(Refusal::Remembered));
        assert_eq!(enter("d.example", now + 2 * MINUTE), Ok(()), "a hiccup");
        assert_eq!(enter("a.example", now + 9 * MINUTE), Err(Refusal::Remembered));
        assert_eq!(enter("c.example", now + 9 * MINUTE), Ok(()));
        assert_eq!(enter("a.example", now + 10 * MINUTE), Ok(()));
        assert_eq!(enter("b.example", now + 10 * MINUTE), Err(Refusal::Remembered));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut gate, now) = (gate(), start());
        for at in 0..MOST_REFUSED + 5 {
            gate.remember(&name(&format!("n{at}.example")), false, now);
        }
        assert_eq!((gate.refused.len(), gate.ends.len()), (MOST_REFUSED, MOST_REFUSED));
        for at in 0..u32::try_from(MOST_NETWORKS).unwrap() + 5 {
            let address = IpAddr::from((0x0a00_0000 + (at << 8)).to_be_bytes());
            let _ = gate.enter(&name("new.example"), address, now);
            gate.leave();
        }
        assert_eq!(gate.networks.len(), MOST_NETWORKS);
        let unknown = peer("203.0.113.1");
        assert_eq!(gate.enter(&name("new.example"), unknown, now), Err(Refusal::Busy));
        assert_eq!(gate.enter(&name("new.example"), unknown, now + 2 * MINUTE), Ok(()));
    }
}
