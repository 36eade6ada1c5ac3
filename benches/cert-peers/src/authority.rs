//! How fast a private authority issues.

use std::time::SystemTime;

use cert_manager::{PrivateCa, Profile};

use crate::{
    measure::{Contender, Table},
    name,
};

pub fn run(table: &mut Table) {
    let now = SystemTime::now();
    let ca = PrivateCa::generate("Bench CA", now).expect("randomness");
    let names = [name("host.bench.example")];
    table.measure(
        "a leaf with a new key (30,000/s: 33,333 ns)",
        vec![
            Contender::new("ours", || ca.issue(&names, Profile::server(), now).is_ok())
                .bar(33_333.0),
        ],
    );
}
