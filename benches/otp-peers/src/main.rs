//! Nanoseconds of processor time for codes, tokens and budgets: ours and the peers' in turns, round by
//! round. Prints least, median and most, and the bar that `notes` set where there is one.
//!
//! `cargo run --release --manifest-path benches/otp-peers/Cargo.toml`

mod budgets;
mod codes;
mod measure;
mod tokens;

use measure::Table;

fn main() {
    let mut table = Table::new();
    codes::run(&mut table);
    tokens::run(&mut table);
    budgets::run(&mut table);
    table.print();
}
