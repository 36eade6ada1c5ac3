//! Every target over its seeds, on the stable toolchain.

use std::{fs, path::Path};

/// Runs one target over the files of its folder; returns how many there were.
fn run(target: fn(&[u8]), name: &str) -> usize {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(name);
    let mut count = 0;
    for entry in fs::read_dir(&seeds).unwrap() {
        let data = fs::read(entry.unwrap().path()).unwrap();
        target(&data);
        // Cut and damaged seeds reach what a whole one passes by.
        for at in (0..data.len()).step_by(data.len() / 64 + 1) {
            target(&data[..at]);
            let mut damaged = data.clone();
            damaged[at] ^= 0x55;
            target(&damaged);
        }
        count += 1;
    }
    count
}

#[test]
fn every_fuzz_target_takes_its_seeds() {
    for (target, name) in [
        (super::answers as fn(&[u8]), "answers"),
        (super::name, "name"),
        (super::pem, "pem"),
        (super::stored, "stored"),
        (super::zone, "zone"),
    ] {
        assert!(run(target, name) >= 3, "{name} has seeds");
    }
}
