//! How many frames of each kind a peer may send.
//!
//! `h2` answers every PING and SETTINGS and forgets every reset; it counts none of them over time, and the
//! counters that it has run over the life of a connection, which for a tunnel is days. So the
//! frames' nine-byte headers are read here, on their way to `h2` and from it.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::limits;

/// Counts the frames of one connection in both directions.
///
/// Feed it every byte in order. After an error the connection should end.
#[derive(Debug)]
pub(crate) struct FloodGuard {
    role: Role,
    inbound: FrameWalker,
    outbound: FrameWalker,
    pings: Budget,
    settings: Budget,
    resets: Budget,
    provoked: Budget,
    updates: Budget,
    heads: Budget,
    others: Budget,
}

/// Which end of a tunnel counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The HTTP/2 client.
    Edge,
    /// The HTTP/2 server.
    Connector,
}

/// A peer sent more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flood {
    what: &'static str,
    /// The bound's name in `limits`.
    pub(crate) limit: &'static str,
    per_second: u32,
}

impl FloodGuard {
    pub(crate) fn new(role: Role, now: Instant) -> Self {
        let budget = |what, limit, per_second| Budget::new(Flood { what, limit, per_second }, now);
        let preface = |walks: bool| FrameWalker {
            skip: if walks { PREFACE_BYTES } else { 0 },
            ..FrameWalker::default()
        };
        Self {
            role,
            inbound: preface(role == Role::Connector),
            outbound: preface(role == Role::Edge),
            pings: budget("PING frames", "PINGS_PER_SECOND", limits::PINGS_PER_SECOND),
            settings: budget("SETTINGS frames", "SETTINGS_PER_SECOND", limits::SETTINGS_PER_SECOND),
            resets: budget("RST_STREAM frames", "RESETS_PER_SECOND", limits::RESETS_PER_SECOND),
            provoked: budget(
                "streams reset for their errors",
                "PROVOKED_RESETS_PER_SECOND",
                limits::PROVOKED_RESETS_PER_SECOND,
            ),
            updates: budget(
                "WINDOW_UPDATE frames that nothing was sent for",
                "WINDOW_UPDATES_PER_SECOND",
                limits::WINDOW_UPDATES_PER_SECOND,
            ),
            heads: budget(
                "HEADERS frames that nothing was asked for",
                "RESPONSE_HEADS_PER_SECOND",
                limits::RESPONSE_HEADS_PER_SECOND,
            ),
            others: budget(
                "frames of no use",
                "OTHER_FRAMES_PER_SECOND",
                limits::OTHER_FRAMES_PER_SECOND,
            ),
        }
    }

    /// Takes bytes that the peer sent.
    ///
    /// # Errors
    ///
    /// The first budget that is used up. `now` is asked only when one may be.
    pub(crate) fn handle_inbound(
        &mut self,
        mut bytes: &[u8],
        now: impl Fn() -> Instant,
    ) -> Result<(), Flood> {
        while let Some(frame) = self.inbound.next(&mut bytes) {
            match frame.kind {
                DATA | CONTINUATION => {}
                // On a connector each is a request, and those are limited by their number at once.
                HEADERS if self.role == Role::Connector => {}
                HEADERS => self.heads.spend(&now)?,
                RST_STREAM => self.resets.spend(&now)?,
                SETTINGS => self.settings.spend(&now)?,
                PING => self.pings.spend(&now)?,
                WINDOW_UPDATE => self.updates.spend(&now)?,
                _ => self.others.spend(&now)?,
            }
        }
        Ok(())
    }

    /// Takes bytes that were sent to the peer.
    ///
    /// # Errors
    ///
    /// As [`Self::handle_inbound`]: too many resets that the peer provoked.
    pub(crate) fn handle_outbound(
        &mut self,
        mut bytes: &[u8],
        now: impl Fn() -> Instant,
    ) -> Result<(), Flood> {
        while let Some(frame) = self.outbound.next(&mut bytes) {
            match frame.kind {
                // A peer may give room back in pieces of a KiB; what we asked for may be answered.
                DATA => self.updates.earn(frame.length / 1024),
                HEADERS if self.role == Role::Edge => {
                    self.heads.earn(limits::HEADS_PER_STREAM);
                    self.resets.earn(1);
                }
                RST_STREAM if !matches!(frame.code, NO_ERROR | CANCEL) => {
                    self.provoked.spend(&now)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// So many in a second, and as many more as were earned.
#[derive(Debug)]
struct Budget {
    flood: Flood,
    left: u32,
    since: Instant,
}

impl Budget {
    fn new(flood: Flood, now: Instant) -> Self {
        Self { left: flood.per_second, flood, since: now }
    }

    /// Takes one. A budget is filled again when it runs empty and a second has passed since it was
    /// filled, so the clock is read once in a budget; a peer gets at most twice the rate in any second.
    fn spend(&mut self, now: &impl Fn() -> Instant) -> Result<(), Flood> {
        if self.left == 0 {
            let now = now();
            if now.saturating_duration_since(self.since) < WINDOW {
                return Err(self.flood);
            }
            self.since = now;
            self.left = self.flood.per_second;
        }
        self.left -= 1;
        Ok(())
    }

    /// Adds to what may be spent, up to a bound: nobody saves up for a flood.
    fn earn(&mut self, count: u32) {
        let bound = limits::EARNED_FRAMES.max(self.flood.per_second);
        self.left = self.left.saturating_add(count).min(bound);
    }
}

/// Finds the frames in a byte stream that arrives in any pieces.
#[derive(Debug, Default)]
struct FrameWalker {
    /// Bytes of the current frame still to come.
    skip: usize,
    /// The start of a frame whose header is not complete.
    header: [u8; RESET_BYTES],
    have: usize,
}

/// A frame's header (RFC 9113 section 4.1), and a reset's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    kind: u8,
    length: u32,
    code: u32,
}

impl FrameWalker {
    /// The next frame whose header is complete; `bytes` becomes what follows.
    fn next(&mut self, bytes: &mut &[u8]) -> Option<Frame> {
        let skipped = self.skip.min(bytes.len());
        *bytes = &bytes[skipped..];
        self.skip -= skipped;
        match bytes.first_chunk() {
            // Nearly always the header is there in one piece.
            Some(start) if self.have == 0 => {
                self.header = *start;
                self.have = self.wanted();
                *bytes = &bytes[self.have..];
            }
            _ => self.gather(bytes)?,
        }
        let [a, b, c, kind, _, _, _, _, _, code @ ..] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]);
        let taken = self.have - HEADER_BYTES;
        self.skip = (length as usize).saturating_sub(taken);
        self.have = 0;
        let code = if kind == RST_STREAM { u32::from_be_bytes(code) } else { 0 };
        Some(Frame { kind, length, code })
    }

    /// How much of a frame's start has to be there.
    fn wanted(&self) -> usize {
        if self.header[3] == RST_STREAM { RESET_BYTES } else { HEADER_BYTES }
    }

    /// Puts a header together byte by byte; nothing if more must come.
    fn gather(&mut self, bytes: &mut &[u8]) -> Option<()> {
        while self.have < HEADER_BYTES || self.have < self.wanted() {
            let (first, rest) = bytes.split_first()?;
            self.header[self.have] = *first;
            self.have += 1;
            *bytes = rest;
        }
        Some(())
    }
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {} {} in a second", self.per_second, self.what)
    }
}

const WINDOW: Duration = Duration::from_secs(1);

/// What an HTTP/2 client says first (RFC 9113 section 3.4).
const PREFACE_BYTES: usize = 24;

const HEADER_BYTES: usize = 9;
const RESET_BYTES: usize = HEADER_BYTES + 4;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// Codes that this crate resets streams with of its own accord.
const NO_ERROR: u32 = 0;
const CANCEL: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, 0, 0, 0, 0, 1]);
        frame.extend(payload);
        frame
    }

    fn guard(role: Role) -> (FloodGuard, Instant) {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let start = Instant::now();
        let mut guard = FloodGuard::new(role, start);
        match role {
            Role::Edge => guard.handle_outbound(&[0; 24], || start).unwrap(),
            Role::Connector => guard.handle_inbound(&[0; 24], || start).unwrap(),
        }
        (guard, start)
    }

    #[test]
    fn frames_are_found_in_any_pieces() {
        let mut stream = Vec::new();
        for _ in 0..20 {
            stream.extend(frame(DATA, &[1; 300]));
            stream.extend(frame(RST_STREAM, &[0, 0, 0, 7]));
            stream.extend(frame(PING, &[0; 8]));
            stream.extend(frame(SETTINGS, &[]));
        }
        for step in [1, 2, 5, 9, 10, 13, 100, stream.len()] {
            let mut walker = FrameWalker::default();
            let mut seen = Vec::new();
            for mut piece in stream.chunks(step) {
                while let Some(frame) = walker.next(&mut piece) {
                    seen.push((frame.kind, frame.length, frame.code));
                }
            }
            let four = [(DATA, 300, 0), (RST_STREAM, 4, 7), (PING, 8, 0), (SETTINGS, 0, 0)];
            assert_eq!(seen, four.repeat(20), "in pieces of {step}");
        }
    }

    #[test]
    fn a_budget_is_for_one_second() {
        let (mut guard, start) = guard(Role::Connector);
        let ping = frame(PING, &[0; 8]);
        let mut at = start;
        for _ in 0..100 {
            at += Duration::from_secs(1);
            for _ in 0..limits::PINGS_PER_SECOND {
                guard.handle_inbound(&ping, || at).unwrap();
            }
        }
        let flood = guard.handle_inbound(&ping, || at).unwrap_err();
        assert_eq!(flood.to_string(), "more than 100 PING frames in a second");
    }

    #[test]
    fn answers_are_earned_by_questions_and_updates_by_data() {
        let (mut guard, now) = guard(Role::Edge);
        for _ in 0..100_000 {
            guard.handle_outbound(&frame(HEADERS, &[0; 30]), || now).unwrap();
            guard.handle_inbound(&frame(HEADERS, &[0; 30]), || now).unwrap();
            guard.handle_inbound(&frame(HEADERS, &[0; 10]), || now).unwrap();
            guard.handle_inbound(&frame(RST_STREAM, &[0; 4]), || now).unwrap();
            guard.handle_outbound(&frame(DATA, &[0; 4096]), || now).unwrap();
            guard.handle_inbound(&frame(WINDOW_UPDATE, &[0; 4]), || now).unwrap();
            guard.handle_inbound(&frame(WINDOW_UPDATE, &[0; 4]), || now).unwrap();
        }
        let flood = (0..200_000)
            .find_map(|_| guard.handle_inbound(&frame(HEADERS, &[0; 10]), || now).err())
            .unwrap();
        assert_eq!(flood.limit, "RESPONSE_HEADS_PER_SECOND");
    }

    #[test]
    fn only_resets_that_a_peer_provokes_count_against_it() {
        for (code, limit) in [(NO_ERROR, None), (CANCEL, None), (1, Some(1_000)), (7, Some(1_000))]
        {
            let (mut guard, now) = guard(Role::Connector);
            let reset = frame(RST_STREAM, &[0, 0, 0, u8::try_from(code).unwrap()]);
            let taken = (0..10_000).position(|_| guard.handle_outbound(&reset, || now).is_err());
            assert_eq!(taken, limit, "code {code}");
        }
    }
}
