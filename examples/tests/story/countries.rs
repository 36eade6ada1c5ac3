//! A database of countries with one network in it, as the format has it
//! (<https://maxmind.github.io/MaxMind-DB/>, version 2.0).

/// A database in which 127.0.0.0/8 lies in this country.
pub fn loopback_in(country: &str) -> Vec<u8> {
    const BITS: [bool; 8] = [false, true, true, true, true, true, true, true];
    let nodes = u32::try_from(BITS.len()).expect("eight");
    let mut database = Vec::new();
    for (at, bit) in (1..).zip(BITS) {
        // The last node leads to the first byte of the data, which lies 16 bytes behind the tree.
        let onwards = if at == nodes { nodes + 16 } else { at };
        let (left, right) = if bit { (nodes, onwards) } else { (onwards, nodes) };
        for record in [left, right] {
            database.extend_from_slice(&record.to_be_bytes()[1..]);
        }
    }
    database.extend_from_slice(&[0; 16]);
    database.extend(map(&[("country", map(&[("iso_code", text(country))]))]));
    database.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    database.extend(map(&[
        ("binary_format_major_version", number(5, 2)),
        ("binary_format_minor_version", number(5, 0)),
        ("build_epoch", number(9, 1_700_000_000)),
        ("database_type", text("Test-Country")),
        ("description", map(&[("en", text("for a test"))])),
        ("ip_version", number(5, 4)),
        ("languages", vec![0x01, 11 - 7, 0x42, b'e', b'n']),
        ("node_count", number(6, nodes)),
        ("record_size", number(5, 24)),
    ]));
    database
}

fn text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("short");
    let head = if length < 29 { vec![(2 << 5) + length] } else { vec![(2 << 5) + 29, length - 29] };
    [&head, text.as_bytes()].concat()
}

/// Kinds above 7 stand in a byte of their own.
fn number(kind: u8, value: u32) -> Vec<u8> {
    let bytes: Vec<u8> = value.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    let length = u8::try_from(bytes.len()).expect("at most four");
    let head = if kind > 7 { vec![length, kind - 7] } else { vec![(kind << 5) + length] };
    [head, bytes].concat()
}

fn map(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![7 << 5 | u8::try_from(members.len()).expect("few")];
    for (name, value) in members {
        bytes.extend(text(name));
        bytes.extend_from_slice(value);
    }
    bytes
}
