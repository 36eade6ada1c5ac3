//! Addresses that no other test uses at the same time.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Mutex,
};

/// The ports given out by this process. Tests may be threads of one process.
static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A free port on an address of this process's own.
///
/// Between asking for the port and using it another program could take it. On Linux all of
/// 127.0.0.0/8 is this machine, so each process has an address there that it shares with nobody.
pub fn free_address() -> SocketAddr {
    let address = if cfg!(target_os = "linux") {
        // Process ids have at most 22 bits.
        let [_, high, middle, low] = std::process::id().to_be_bytes();
        Ipv4Addr::new(127, 64 | (high & 63), middle, low)
    } else {
        Ipv4Addr::LOCALHOST
    };
    loop {
        let listener = TcpListener::bind((address, 0)).expect("loopback");
        let free = listener.local_addr().expect("an address");
        if TAKEN.lock().expect("no test panics here").insert(free.port()) {
            return free;
        }
    }
}
