//! How many connections are registered, of each tunnel and altogether.

use std::collections::HashMap;

use crate::id::{ConnectorId, TunnelId};

/// The seats of registered connections.
///
/// A connection with the same connector and index as one that is there takes over its seat: it is the
/// same connector come back, and the older one is closed once that is certain. If it never is, the older one
/// has its seat again.
#[derive(Debug)]
pub(crate) struct Seats {
    tunnel_most: usize,
    most: usize,
    taken: usize,
    next: u64,
    tunnels: HashMap<TunnelId, Vec<Taken>>,
}

#[derive(Debug)]
struct Taken {
    connector: ConnectorId,
    index: u8,
    number: u64,
    /// Who sat here before, until it is certain that another does.
    before: Option<u64>,
}

/// One connection's seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seat {
    tunnel: TunnelId,
    connector: ConnectorId,
    index: u8,
    number: u64,
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// This many connections of the tunnel are registered.
    Tunnel(usize),
    /// This many of all tunnels are.
    All(usize),
}

impl Seats {
    /// Seats for so many connections of one tunnel, and of all.
    pub(crate) fn new(tunnel_most: usize, most: usize) -> Self {
        Self { tunnel_most, most, taken: 0, next: 0, tunnels: HashMap::new() }
    }

    /// A connection registers.
    pub(crate) fn handle_registration(
        &mut self,
        tunnel: TunnelId,
        connector: ConnectorId,
        index: u8,
    ) -> Result<Seat, Full> {
        let number = self.next;
        let seats = self.tunnels.get_mut(&tunnel);
        let count = seats.as_ref().map_or(0, |seats| seats.len());
        let left_over = seats.and_then(|seats| {
            seats.iter_mut().find(|seat| seat.connector == connector && seat.index == index)
        });
        if let Some(left_over) = left_over {
            left_over.before = left_over.before.or(Some(left_over.number));
            left_over.number = number;
        } else {
            if count >= self.tunnel_most {
                return Err(Full::Tunnel(count));
            }
            if self.taken >= self.most {
                return Err(Full::All(self.taken));
            }
            self.tunnels.entry(tunnel).or_default().push(Taken {
                connector,
                index,
                number,
                before: None,
            });
            self.taken += 1;
        }
        self.next += 1;
        Ok(Seat { tunnel, connector, index, number })
    }

    /// A connection's registration is complete: who had its seat before is about to be closed.
    pub(crate) fn handle_success(&mut self, seat: Seat) {
        let Some(seats) = self.tunnels.get_mut(&seat.tunnel) else { return };
        let number = Some(seat.number);
        let is_same =
            |taken: &&mut Taken| taken.connector == seat.connector && taken.index == seat.index;
        if let Some(taken) = seats.iter_mut().find(is_same) {
            // Yet another may have begun meanwhile.
            taken.before = number.filter(|number| *number != taken.number);
        }
    }

    /// A connection has ended, or its registration has failed.
    pub(crate) fn handle_end(&mut self, seat: Seat) {
        let Some(seats) = self.tunnels.get_mut(&seat.tunnel) else { return };
        // Not there: another took it over.
        let Some(at) = seats.iter().position(|taken| taken.holds(seat.number)) else { return };
        match seats[at].before.take() {
            Some(before) if before != seat.number => seats[at].number = before,
            Some(_) => {}
            None => {
                seats.swap_remove(at);
                self.taken -= 1;
            }
        }
        if seats.is_empty() {
            self.tunnels.remove(&seat.tunnel);
        }
    }
}

impl Taken {
    fn holds(&self, number: u64) -> bool {
        self.number == number || self.before == Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel(number: u8) -> TunnelId {
        TunnelId::from_bytes([number; 16])
    }

    fn connector(number: u8) -> ConnectorId {
        ConnectorId::from_random_bytes([number; 16])
    }

    #[test]
    fn one_tunnel_can_t_take_the_seats_of_the_others() {
        let mut seats = Seats::new(2, 3);
        let first = seats.handle_registration(tunnel(1), connector(1), 0).unwrap();
        seats.handle_registration(tunnel(1), connector(1), 1).unwrap();
        let third = seats.handle_registration(tunnel(1), connector(2), 0);
        assert_eq!(third, Err(Full::Tunnel(2)));
        seats.handle_registration(tunnel(2), connector(3), 0).unwrap();
        assert_eq!(seats.handle_registration(tunnel(2), connector(3), 1), Err(Full::All(3)));
        seats.handle_end(first);
        seats.handle_registration(tunnel(2), connector(3), 1).unwrap();
        assert_eq!(seats.handle_registration(tunnel(1), connector(2), 0), Err(Full::All(3)));
    }

    #[test]
    fn who_comes_back_takes_over_his_seat_though_all_are_taken() {
        let mut seats = Seats::new(1, 1);
        let old = seats.handle_registration(tunnel(1), connector(1), 0).unwrap();
        let new = seats.handle_registration(tunnel(1), connector(1), 0).unwrap();
        seats.handle_success(new);
        seats.handle_end(old);
        let other = seats.handle_registration(tunnel(1), connector(1), 1);
        assert_eq!(other, Err(Full::Tunnel(1)), "the end of the old one frees nothing");
        seats.handle_end(new);
        seats.handle_end(new);
        assert!(seats.tunnels.is_empty());
        seats.handle_registration(tunnel(1), connector(1), 1).unwrap();
    }

    #[test]
    fn whoever_only_begins_to_take_over_a_seat_frees_none() {
        let full = Err(Full::Tunnel(1));
        let mut seats = Seats::new(1, 1);
        let old = seats.handle_registration(tunnel(1), connector(1), 0).unwrap();
        seats.handle_success(old);
        for _ in 0..3 {
            let new = seats.handle_registration(tunnel(1), connector(1), 0).unwrap();
            let newer = seats.handle_registration(tunnel(1), connector(1), 0).unwrap();
            seats.handle_end(new);
            seats.handle_end(newer);
            assert_eq!(
                seats.handle_registration(tunnel(1), connector(2), 0),
                full,
                "the old one is there"
            );
        }
        // One of two comes through, then the old one is closed and the other gives up.
        let new = seats.handle_registration(tunnel(1), connector(1), 0).unwrap();
        let newer = seats.handle_registration(tunnel(1), connector(1), 0).unwrap();
        seats.handle_success(new);
        seats.handle_end(old);
        seats.handle_end(newer);
        assert_eq!(
            seats.handle_registration(tunnel(1), connector(2), 0),
            full,
            "the new one is there"
        );
        seats.handle_end(new);
        assert!(seats.tunnels.is_empty());
        // The old one ends while another begins and gives up.
        let old = seats.handle_registration(tunnel(1), connector(1), 0).unwrap();
        let new = seats.handle_registration(tunnel(1), connector(1), 0).unwrap();
        seats.handle_end(old);
        assert_eq!(
            seats.handle_registration(tunnel(1), connector(2), 0),
            full,
            "another has begun"
        );
        seats.handle_end(new);
        assert!(seats.tunnels.is_empty());
    }
}
