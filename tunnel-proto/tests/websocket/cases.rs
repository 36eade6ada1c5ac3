//! The scripts: what a client may send, and what it must not.

use super::{
    BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, close, frame, masked,
    server::MESSAGE_BYTES, unmasked,
};

/// One connection's script.
#[derive(Debug)]
pub struct Case {
    pub number: usize,
    pub name: String,
    pub steps: Vec<Step>,
    pub end: End,
}

#[derive(Debug)]
pub enum Step {
    Send(Vec<u8>),
    /// One byte in each write.
    Dribble(Vec<u8>),
}

/// What the client does after its script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Reads until the server is done.
    Listen,
    /// Ends its direction, and reads.
    HalfClose,
    /// Resets the connection, once so many bytes have come.
    Abort { after: usize },
}

/// Collects cases.
#[derive(Default)]
struct Table(Vec<Case>);

impl Table {
    fn add(&mut self, name: impl Into<String>, steps: Vec<Step>, end: End) {
        self.0.push(Case { number: self.0.len(), name: name.into(), steps, end });
    }

    /// Sends it all at once, then says goodbye.
    fn polite(&mut self, name: impl Into<String>, frames: &[Vec<u8>]) {
        let bytes = [frames.concat(), close(1000, b"")].concat();
        self.add(name, vec![Step::Send(bytes)], End::Listen);
    }

    /// Sends it all at once and leaves the goodbye to the server.
    fn rude(&mut self, name: impl Into<String>, bytes: Vec<u8>) {
        self.add(name, vec![Step::Send(bytes)], End::Listen);
    }
}

pub fn all() -> Vec<Case> {
    let mut table = Table::default();
    sizes(&mut table);
    fragments(&mut table);
    controls(&mut table);
    closes(&mut table);
    texts(&mut table);
    violations(&mut table);
    dribbles(&mut table);
    ends(&mut table);
    table.0
}

fn payload(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| b'a' + u8::try_from(at % 23).unwrap()).collect()
}

/// A message in frames of so many bytes each.
fn fragmented(opcode: u8, payload: &[u8], bytes: usize) -> Vec<Vec<u8>> {
    let pieces: Vec<_> = payload.chunks(bytes).collect();
    let last = pieces.len() - 1;
    let bits = |at| {
        let opcode = if at == 0 { opcode } else { CONTINUATION };
        if at == last { FIN | opcode } else { opcode }
    };
    pieces.iter().enumerate().map(|(at, piece)| frame(bits(at), piece)).collect()
}

fn sizes(table: &mut Table) {
    let mebibyte = 1 << 20;
    for size in [
        0,
        1,
        2,
        124,
        125,
        126,
        127,
        128,
        4_095,
        4_096,
        4_097,
        16_383,
        16_384,
        16_385,
        32_768,
        65_534,
        65_535,
        65_536,
        65_537,
        100_000,
        mebibyte - 1,
        mebibyte,
        mebibyte + 1,
        3 * mebibyte,
    ] {
        for opcode in [TEXT, BINARY] {
            let message = frame(FIN | opcode, &payload(size));
            table.polite(format!("message {opcode} of {size} bytes"), &[message]);
        }
    }
    let many: Vec<_> = (0..200).map(|size| frame(FIN | BINARY, &payload(size))).collect();
    table.polite("200 messages at once", &many);
    let declared = (MESSAGE_BYTES as u64 + 1).to_be_bytes();
    let head = masked(FIN | BINARY, &[&[0xff], &declared[..]].concat(), b"");
    table.rude("a frame that says it is too long", head);
    let long = fragmented(BINARY, &payload(MESSAGE_BYTES + 1), 1 << 20);
    table.rude("fragments that grow too long", long.concat());
}

fn fragments(table: &mut Table) {
    for (size, bytes) in [
        (1_000, 500),
        (1_000, 334),
        (1_000, 100),
        (1_000, 10),
        (300, 1),
        (70_000, 125),
        (70_000, 126),
    ] {
        for opcode in [TEXT, BINARY] {
            let plain = fragmented(opcode, &payload(size), bytes);
            for (what, control) in [
                ("nothing", vec![]),
                ("pings", frame(FIN | PING, b"?")),
                ("pongs", frame(FIN | PONG, b"!")),
            ] {
                let mut frames = Vec::new();
                for fragment in &plain {
                    frames.push(fragment.clone());
                    if frames.len() < 40 {
                        frames.push(control.clone());
                    }
                }
                let name =
                    format!("{size} bytes of {opcode}, fragments of {bytes}, between them {what}");
                table.polite(name, &frames);
            }
        }
    }
    for bytes in [4_096, 16_384, 16_385, 65_536] {
        let frames = fragmented(BINARY, &payload((1 << 20) + 7), bytes);
        table.polite(format!("1 MiB in fragments of {bytes}"), &frames);
    }
    let empty = [frame(TEXT, b""), frame(CONTINUATION, b""), frame(FIN | CONTINUATION, b"")];
    table.polite("three empty fragments", &empty);
    let last_empty = [frame(TEXT, b"a"), frame(FIN | CONTINUATION, b"")];
    table.polite("an empty last fragment", &last_empty);
}

fn controls(table: &mut Table) {
    for size in [0, 1, 124, 125] {
        table.polite(format!("ping of {size} bytes"), &[frame(FIN | PING, &payload(size))]);
        table.polite(format!("pong of {size} bytes"), &[frame(FIN | PONG, &payload(size))]);
    }
    table.polite("bytes in a ping", &[frame(FIN | PING, b"\x00\xff\xfe\x80")]);
    for opcode in [PING, PONG, CLOSE] {
        let long = frame(FIN | opcode, &[&1000_u16.to_be_bytes(), &payload(124)[..]].concat());
        table.rude(format!("control {opcode} of 126 bytes"), long);
        table.rude(format!("control {opcode} in fragments"), frame(opcode, b""));
    }
    table.polite("a thousand pings", &vec![frame(FIN | PING, b"flood"); 1_000]);
}

fn closes(table: &mut Table) {
    let codes = [
        0, 1, 999, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009, 1010, 1011, 1012,
        1013, 1014, 1015, 1016, 1100, 2000, 2999, 3000, 3999, 4000, 4999, 5000, 65_535,
    ];
    for code in codes {
        table.rude(format!("close {code}"), close(code, b""));
    }
    table.rude("close with a reason", close(1000, "またね".as_bytes()));
    table.rude("close with the longest reason", close(4321, &payload(123)));
    table.rude("close with a reason that is not UTF-8", close(1000, b"\xff\xfe"));
    table.rude("close without a code", frame(FIN | CLOSE, b""));
    table.rude("close with half a code", frame(FIN | CLOSE, b"\x03"));
    table.rude("close twice", [close(1000, b""), close(1001, b"")].concat());
    table.rude("a message after close", [close(1000, b""), frame(FIN | TEXT, b"late")].concat());
    table.rude("a ping after close", [close(1000, b""), frame(FIN | PING, b"late")].concat());
    let inside = [frame(TEXT, b"half"), close(1001, b"")].concat();
    table.rude("close between fragments", inside);
}

fn texts(table: &mut Table) {
    for at in 0..20 {
        let mut text = payload(20);
        text[at] = 0xff;
        table.rude(format!("no UTF-8 at byte {at}"), frame(FIN | TEXT, &text));
    }
    let wrong: [(&str, &[u8]); 7] = [
        ("an overlong slash", b"a\xc0\xaf"),
        ("a surrogate", b"a\xed\xa0\x80"),
        ("a point past the last", b"a\xf4\x90\x80\x80"),
        ("a lone continuation", b"a\x80b"),
        ("a cut character", b"a\xe6\x97"),
        ("a character cut by another", b"a\xe6\x97b"),
        ("a byte order mark of UTF-16", b"\xff\xfea\0"),
    ];
    for (name, text) in wrong {
        table.rude(format!("{name}, at once"), frame(FIN | TEXT, text));
        let frames = fragmented(TEXT, text, 1);
        table.rude(format!("{name}, byte by byte"), frames.concat());
    }
    let text = "κόσμε早い𝄞".as_bytes();
    for at in 1..text.len() {
        let frames = [frame(TEXT, &text[..at]), frame(FIN | CONTINUATION, &text[at..])];
        table.polite(format!("text cut at byte {at}"), &frames);
    }
    table.polite("no UTF-8 in a binary message", &[frame(FIN | BINARY, b"\xff\xfe\x80")]);
}

fn violations(table: &mut Table) {
    for opcode in [TEXT, BINARY, PING, CLOSE] {
        table.rude(
            format!("{opcode} without a mask"),
            unmasked(FIN | opcode, &1000_u16.to_be_bytes()),
        );
    }
    for bits in 1..8 {
        for opcode in [TEXT, PING] {
            let name = format!("reserved bits {bits:03b} on {opcode}");
            table.rude(name, frame(FIN | bits << 4 | opcode, b"x"));
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        table.rude(format!("opcode {opcode}"), frame(FIN | opcode, b"x"));
        let after = [frame(FIN | TEXT, b"fine"), frame(FIN | opcode, b"x")].concat();
        table.rude(format!("opcode {opcode} after a message"), after);
    }
    table.rude("a continuation of nothing", frame(FIN | CONTINUATION, b"x"));
    table.rude("a first continuation of nothing", frame(CONTINUATION, b"x"));
    for opcode in [TEXT, BINARY] {
        let inside = [frame(TEXT, b"half"), frame(FIN | opcode, b"other")].concat();
        table.rude(format!("{opcode} between fragments"), inside);
    }
    let huge = masked(FIN | BINARY, &[&[0xff], &u64::MAX.to_be_bytes()[..]].concat(), b"");
    table.rude("a length of 64 bits", huge);
    // Lengths that are longer than they need to be: servers differ, tunnels must not.
    let short = masked(FIN | TEXT, &[0xfe, 0, 5], b"hello");
    table.polite("16 bits for a length of 5", &[short]);
    let short = masked(FIN | TEXT, &[0xff, 0, 0, 0, 0, 0, 0, 0, 5], b"hello");
    table.polite("64 bits for a length of 5", &[short]);
    table.rude("HTTP where frames should be", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec());
}

fn dribbles(table: &mut Table) {
    let goodbye = close(1000, b"");
    let scripts = [
        ("a text", frame(FIN | TEXT, &payload(300))),
        ("fragments", fragmented(TEXT, &payload(100), 10).concat()),
        ("pings between fragments", {
            let frames = fragmented(BINARY, &payload(60), 6);
            frames
                .iter()
                .flat_map(|fragment| [fragment.clone(), frame(FIN | PING, b"p")].concat())
                .collect()
        }),
        ("a wrong opcode", [frame(FIN | TEXT, b"fine"), frame(FIN | 5, b"x")].concat()),
    ];
    for (name, bytes) in scripts {
        let bytes = [bytes, goodbye.clone()].concat();
        table.add(format!("{name}, byte by byte"), vec![Step::Dribble(bytes)], End::Listen);
    }
    let bytes = [frame(FIN | TEXT, &payload(200)), frame(FIN | PING, b"p"), goodbye].concat();
    for at in (1..=30).chain(205..bytes.len()) {
        let steps = [&bytes[..at], &bytes[at..]].map(|part| Step::Send(part.to_vec()));
        table.add(format!("two writes, cut at byte {at}"), steps.into(), End::Listen);
    }
}

fn ends(table: &mut Table) {
    let message = frame(FIN | TEXT, b"hello");
    let cut = message[..8].to_vec();
    let scripts = [
        ("at once", vec![], 0),
        ("after a message", message.clone(), 7),
        ("inside a frame", [message.clone(), cut].concat(), 7),
        ("inside a head", [message.clone(), vec![FIN | TEXT]].concat(), 7),
        ("between fragments", [message, frame(TEXT, b"half")].concat(), 7),
    ];
    for (name, bytes, after) in scripts {
        table.add(format!("half-close {name}"), vec![Step::Send(bytes.clone())], End::HalfClose);
        table.add(format!("abort {name}"), vec![Step::Send(bytes)], End::Abort { after });
    }
    let whole = [frame(FIN | BINARY, &payload(1 << 20)), close(1000, b"")].concat();
    table.add("half-close behind a close", vec![Step::Send(whole)], End::HalfClose);
}
