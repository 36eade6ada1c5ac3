//! How long a restart takes until all that is stored serves.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use cert_manager::{
    DirectoryStore, Manager, PrivateCa,
    storage::{MemoryStore, Storage as _},
};
use cpu_time::ProcessTime;

use crate::{Bar, Figures};

pub fn run(figures: &mut Figures) {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        let ca = Arc::new(PrivateCa::generate("Bench CA", SystemTime::now()).expect("randomness"));
        let memory = Arc::new(MemoryStore::new());
        let builder = || {
            let builder = Manager::builder().private_ca(ca.clone());
            (0..COUNT).fold(builder, |it, at| it.name(format!("host-{at}.bench.example")))
        };
        let start = Instant::now();
        let manager = builder().storage(memory.clone()).start().await.expect("a good authority");
        until(&manager, |issued, _| issued).await;
        let rate = COUNT as f64 / start.elapsed().as_secs_f64();
        figures.note("first certificates by a manager", "ours, in memory", rate, "/s", None);
        manager.shutdown().await;

        // A file holds the value and nothing else.
        let folder = tempfile::tempdir().expect("a disk");
        fs::create_dir(folder.path().join("certificates")).expect("a disk");
        for key in memory.list("certificates").await.expect("memory") {
            let entry = memory.get(&key).await.expect("memory").expect("it is listed");
            fs::write(folder.path().join(key.as_str()), &*entry.value).expect("a disk");
        }
        drop(memory);
        let store = DirectoryStore::open(folder.path()).expect("a disk");
        let (start, processor) = (Instant::now(), ProcessTime::now());
        let manager = builder().storage(store).start().await.expect("a good store");
        let first = start.elapsed().as_secs_f64();
        until(&manager, |_, loaded| loaded).await;
        let (all, processor) = (start.elapsed().as_secs_f64(), processor.elapsed().as_secs_f64());
        assert_eq!(manager.snapshot().counters.issued.len(), 0, "nothing is ordered");
        figures.note("until the first of 100,000 stored serves", "ours", first, "s", None);
        figures.note("until all serve", "ours", all, "s", Some(Bar::AtMost(3.0)));
        figures.note("the same, processor time", "ours", processor, "s", None);
        manager.shutdown().await;
    });
}

async fn until(manager: &Manager, count: impl Fn(u64, u64) -> u64) {
    loop {
        let counters = manager.counters();
        if count(counters.issued.values().sum(), counters.loaded) >= COUNT as u64 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const COUNT: usize = 100_000;
