//! Certificates: ours beside rustls's own resolver and stock instant-acme, in one run. Prints processor time
//! for what a thread does alone, and time on the wall for orders from a real Pebble and for loading a store,
//! each beside the bar that `notes` set.
//!
//! `cargo run --release --manifest-path benches/cert-peers/Cargo.toml` needs `pebble` and
//! `pebble-challtestsrv`; with arguments (`lookups`, `authority`, `memory`, `store`, `orders`) only those parts run.

mod authority;
mod lookups;
#[path = "../../otp-peers/src/measure.rs"]
mod measure;
mod memory;
mod orders;
#[path = "../../../cert-manager/tests/support/pebble.rs"]
#[allow(clippy::unwrap_used, reason = "it is made for tests")]
mod pebble;
mod store;

use std::time::SystemTime;

use cert_manager::{Certificate, Name, PrivateCa, Profile};
use measure::Table;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|it| it == part);
    let mut table = Table::new();
    let mut figures = Figures(Vec::new());
    // First, while the heap is small.
    if wants("memory") {
        memory::run(&mut figures);
    }
    if wants("lookups") {
        lookups::run(&mut table, &mut figures);
    }
    if wants("authority") {
        authority::run(&mut table);
    }
    if wants("store") {
        store::run(&mut figures);
    }
    if wants("orders") {
        orders::run(&mut figures);
    }
    println!("Nanoseconds of processor time:\n");
    table.print();
    println!("\n| figure | who | measured | bar | |\n|---|---|---:|---:|---|");
    figures.0.iter().for_each(|row| println!("{row}"));
}

/// What is measured once.
pub struct Figures(Vec<String>);

impl Figures {
    /// At most, or at least, `bar` is aimed at.
    pub fn note(&mut self, what: &str, who: &str, value: f64, unit: &str, bar: Option<Bar>) {
        let (bar, met) = match bar {
            None => (String::new(), ""),
            Some(Bar::AtMost(most)) => {
                (format!("≤ {most} {unit}"), if value <= most { "met" } else { "**not met**" })
            }
            Some(Bar::AtLeast(least)) => {
                (format!("≥ {least} {unit}"), if value >= least { "met" } else { "**not met**" })
            }
        };
        self.0.push(format!("| {what} | {who} | {value:.2} {unit} | {bar} | {met} |"));
    }
}

pub enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

fn name(text: &str) -> Name {
    text.parse().expect("a good name")
}

fn issue(ca: &PrivateCa, names: &[Name]) -> Certificate {
    ca.issue(names, Profile::server(), SystemTime::now()).expect("a good authority")
}
