//! A process that dies at any point of an order loses no key and pays for nothing twice.
#![cfg(all(feature = "acme", feature = "ring"))]
#![allow(clippy::unwrap_used, reason = "clippy knows test functions, not their helpers")]
#![allow(clippy::disallowed_methods, reason = "the authority lives by the real clock")]

#[path = "support/pebble.rs"]
mod pebble;

use std::{
    collections::BTreeSet,
    env, fs,
    future::poll_fn,
    io::{Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    pin::pin,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use cert_manager::{
    Certificate, DirectoryStore,
    acme::{Acme, Challenge, ChallengeKind, Solver, Work},
    storage::{self, Entry, Key, Storage, StorageError, Version},
};
use pebble::{Pebble, Settings};

/// The process that is killed. It does nothing unless the test below starts it.
#[test]
#[ignore = "needs pebble"]
fn child() {
    let Ok(folder) = env::var("KILLED_IN") else { return };
    let folder = Path::new(&folder);
    let kill_at: u32 = env::var("KILLED_AT").unwrap().parse().unwrap();
    let store = Arc::new(DirectoryStore::open(folder.join("store")).unwrap());
    let acme = Acme::builder(env::var("KILLED_DIRECTORY").unwrap(), store)
        .agree_to_terms(true)
        .roots(fs::read(folder.join("roots.pem")).unwrap())
        .solver(Arc::new(Files(folder.join("answers"))))
        .build()
        .unwrap();
    let names = [env::var("KILLED_NAME").unwrap().parse().unwrap()];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut obtain = pin!(acme.obtain(&names));
        let mut waits = 0;
        poll_fn(|context| {
            let polled = obtain.as_mut().poll(context);
            waits += 1;
            if polled.is_pending() && waits == kill_at {
                // No destructor runs, no buffer is written.
                std::process::abort();
            }
            polled.map(Result::unwrap)
        })
        .await;
    });
}

#[test]
#[ignore = "needs pebble"]
fn killed_at_each_wait_and_started_again() {
    let pebble = Pebble::start(&Settings::default());
    let mut at = 0;
    loop {
        at += 1;
        let folder = pebble.folder.path().join(format!("killed-{at}"));
        fs::create_dir_all(folder.join("answers")).unwrap();
        fs::write(folder.join("roots.pem"), &pebble.roots).unwrap();
        let server = serve(&pebble, folder.join("answers"));
        let name = format!("killed-{at}.example");

        let is_killed = !run(&pebble, &folder, &name, at);
        let kept = attempt(&folder);
        // Killed while the last file was on its way out: all is done, and asking again would be another order.
        let is_done = kept.is_none() && folder.join("store/certificates").exists();
        assert!(
            !is_killed || is_done || run(&pebble, &folder, &name, u32::MAX),
            "it does not recover from death {at}"
        );

        let certificate = certificate(&folder);
        if let Some(kept) = kept {
            assert_eq!(certificate.key_pem().expose(), kept.key, "death {at}: another key");
        }
        assert!(attempt(&folder).is_none(), "death {at}: the journal is left behind");
        let left = fs::read_dir(folder.join("answers")).unwrap().count();
        assert_eq!(left, 0, "death {at}: an answer is left behind");
        assert_eq!(issued(&pebble), at, "death {at}: paid for twice");
        server.stop();
        if !is_killed {
            break;
        }
    }
    assert!(at > 10, "only {at} places to die");
}

/// The process with a manager that is killed. It does nothing unless the test below starts it.
#[test]
#[ignore = "needs pebble"]
fn managing_child() {
    let Ok(folder) = env::var("MANAGED_IN") else { return };
    let folder = Path::new(&folder);
    let store = DirectoryStore::open(folder.join("store")).unwrap();
    let at = env::var("KILLED_AT").map_or(u32::MAX, |text| text.parse().unwrap());
    let is_after = env::var("KILLED_AFTER").is_ok();
    let store = Arc::new(Deadly { inner: store, left: AtomicU32::new(at), is_after });
    let acme = Acme::builder(env::var("KILLED_DIRECTORY").unwrap(), store.clone())
        .agree_to_terms(true)
        .roots(fs::read(folder.join("roots.pem")).unwrap())
        .solver(Arc::new(Files(folder.join("answers"))))
        .build()
        .unwrap();
    let manager = cert_manager::Manager::builder()
        .issuer(acme)
        .storage(store)
        .name(env::var("KILLED_NAME").unwrap())
        .lease_life(std::time::Duration::from_secs(1));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { manager.start().await.unwrap().shutdown().await });
}

/// Before and after each write of the manager: account, lease, journal, certificate, and what is taken away at the end.
#[test]
#[ignore = "needs pebble"]
fn a_manager_killed_around_each_write_and_started_again() {
    let pebble = Pebble::start(&Settings::default());
    let (mut deaths, mut kept_keys, mut seen) = (0, 0, BTreeSet::new());
    for is_after in [false, true] {
        for at in 1.. {
            let case = format!("killed-{}-{at}", if is_after { "after" } else { "before" });
            let folder = pebble.folder.path().join(&case);
            fs::create_dir_all(folder.join("answers")).unwrap();
            fs::write(folder.join("roots.pem"), &pebble.roots).unwrap();
            let server = serve(&pebble, folder.join("answers"));
            let start = |at: u32| {
                let mut child = Command::new(env::current_exe().unwrap());
                child
                    .args(["--exact", "managing_child", "--ignored"])
                    .env("MANAGED_IN", &folder)
                    .env("KILLED_NAME", format!("{case}.example"))
                    .env("KILLED_DIRECTORY", pebble.directory())
                    .env("KILLED_AT", at.to_string())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                if is_after {
                    child.env("KILLED_AFTER", "1");
                }
                child.status().unwrap()
            };
            let is_killed = !start(at).success();
            let kept = attempt(&folder);
            if let Some(kept) = &kept {
                kept_keys += 1;
                seen.insert(kept.step.clone());
            }
            let again = start(u32::MAX);
            assert!(again.success(), "{case}: it does not recover: {again}");
            // Reading it checks that key and chain belong together.
            let certificate = certificate(&folder);
            if let Some(kept) = kept {
                assert_eq!(certificate.key_pem().expose(), kept.key, "{case}: another key");
            }
            // Killed between both writes, nothing is due at the next start: the next order finds what is left.
            if let Some(left) = attempt(&folder) {
                let own = certificate.key_pem();
                assert_eq!(own.expose(), left.key, "{case}: the journal is another's");
            }
            let left = fs::read_dir(folder.join("answers")).unwrap().count();
            assert_eq!(left, 0, "{case}: an answer is left behind");
            deaths += 1;
            assert_eq!(issued(&pebble), deaths, "{case}: paid for twice");
            server.stop();
            if !is_killed {
                break;
            }
        }
    }
    println!("{deaths} deaths, {kept_keys} with a key kept, at the steps {seen:?}");
    let steps = ["key", "order", "shown"].map(ToOwned::to_owned);
    assert_eq!(seen, BTreeSet::from(steps), "each step of the journal was hit");
}

/// A store whose process is killed, by `kill -9`, around one of its writes.
#[derive(Debug)]
struct Deadly {
    inner: DirectoryStore,
    left: AtomicU32,
    is_after: bool,
}

impl Deadly {
    async fn around<T>(
        &self,
        write: impl Future<Output = Result<T, StorageError>>,
    ) -> Result<T, StorageError> {
        let is_last = self.left.fetch_sub(1, Ordering::Relaxed) == 1;
        if is_last && !self.is_after {
            die();
        }
        let done = write.await;
        if is_last {
            die();
        }
        done
    }
}

fn die() -> ! {
    let own = std::process::id().to_string();
    Command::new("kill").args(["-9", &own]).status().unwrap();
    unreachable!("it is dead");
}

impl Storage for Deadly {
    fn get<'a>(&'a self, key: &'a Key) -> storage::Work<'a, Option<Entry>> {
        self.inner.get(key)
    }

    fn put<'a>(
        &'a self,
        key: &'a Key,
        value: &'a [u8],
        expected: Option<Version>,
    ) -> storage::Work<'a, Version> {
        Box::pin(self.around(self.inner.put(key, value, expected)))
    }

    fn delete<'a>(&'a self, key: &'a Key, version: Version) -> storage::Work<'a, ()> {
        Box::pin(self.around(self.inner.delete(key, version)))
    }

    fn list<'a>(&'a self, folder: &'a str) -> storage::Work<'a, Vec<Key>> {
        self.inner.list(folder)
    }
}

#[test]
#[ignore = "needs pebble"]
fn a_manager_killed_at_any_moment_and_started_again() {
    let pebble = Pebble::start(&Settings::default());
    let mut kept_keys = 0;
    for at in 1..=12 {
        let folder = pebble.folder.path().join(format!("managed-{at}"));
        fs::create_dir_all(folder.join("answers")).unwrap();
        fs::write(folder.join("roots.pem"), &pebble.roots).unwrap();
        let server = serve(&pebble, folder.join("answers"));
        let start = || {
            Command::new(env::current_exe().unwrap())
                .args(["--exact", "managing_child", "--ignored"])
                .env("MANAGED_IN", &folder)
                .env("KILLED_NAME", format!("managed-{at}.example"))
                .env("KILLED_DIRECTORY", pebble.directory())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        };
        let mut child = start();
        let pause = std::time::Duration::from_millis(20 * u64::from(at));
        if at % 3 == 0 {
            // In the middle of an order, which is short.
            while attempt(&folder).is_none() && child.try_wait().unwrap().is_none() {
                thread::sleep(pause / 100);
            }
        } else {
            thread::sleep(pause);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let kept = attempt(&folder);
        kept_keys += u32::from(kept.is_some());
        assert!(start().wait().unwrap().success(), "it does not recover from death {at}");

        // Reading it checks that key and chain belong together.
        let certificate = certificate(&folder);
        if let Some(kept) = kept {
            assert_eq!(certificate.key_pem().expose(), kept.key, "death {at}: another key");
        }
        // Killed between both writes, nothing is due at the next start: the next order finds what is left.
        if let Some(left) = attempt(&folder) {
            let own = certificate.key_pem();
            assert_eq!(own.expose(), left.key, "death {at}: the journal is another's");
        }
        assert_eq!(issued(&pebble), at, "death {at}: paid for twice");
        server.stop();
    }
    assert!(kept_keys > 0, "none died in the middle of an order");
}

/// Whether the child lived.
fn run(pebble: &Pebble, folder: &Path, name: &str, kill_at: u32) -> bool {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored"])
        .env("KILLED_IN", folder)
        .env("KILLED_AT", kill_at.to_string())
        .env("KILLED_NAME", name)
        .env("KILLED_DIRECTORY", pebble.directory())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

/// What the journal holds.
struct Left {
    key: String,
    /// The last that was written down.
    step: String,
}

/// The journal, if there is one.
fn attempt(folder: &Path) -> Option<Left> {
    let entry = fs::read_dir(folder.join("store/attempts")).ok()?.flatten().find(|entry| {
        // A write that was cut short is none.
        !entry.file_name().to_string_lossy().starts_with('.')
    })?;
    let json: serde_json::Value = serde_json::from_slice(&fs::read(entry.path()).unwrap()).unwrap();
    let step = if json["challenges"].is_array() {
        "shown"
    } else if json["order_url"].is_string() {
        "order"
    } else {
        "key"
    };
    Some(Left { key: json["key"].as_str().unwrap().to_owned(), step: step.to_owned() })
}

fn certificate(folder: &Path) -> Certificate {
    let mut entries = fs::read_dir(folder.join("store/certificates")).unwrap().flatten();
    let entry = entries.find(|entry| !entry.file_name().to_string_lossy().starts_with('.'));
    let text = fs::read(entry.unwrap().path()).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
    Certificate::from_pem(json["chain"].as_str().unwrap(), json["key"].as_str().unwrap()).unwrap()
}

/// How many certificates Pebble has issued.
fn issued(pebble: &Pebble) -> u32 {
    let log = fs::read_to_string(pebble.folder.path().join("pebble.log")).unwrap();
    let count = log.lines().filter(|line| line.contains("Issued certificate serial")).count();
    u32::try_from(count).unwrap()
}

/// Leaves answers in a folder, where the parent finds them.
#[derive(Debug)]
struct Files(PathBuf);

impl Solver for Files {
    fn kind(&self) -> ChallengeKind {
        ChallengeKind::Http01
    }

    fn present<'a>(&'a self, challenge: &'a Challenge) -> Work<'a> {
        fs::write(self.0.join(&challenge.token), &challenge.key_authorization).unwrap();
        Box::pin(async { Ok(()) })
    }

    fn withdraw<'a>(&'a self, challenge: &'a Challenge) -> Work<'a> {
        let _ = fs::remove_file(self.0.join(&challenge.token));
        Box::pin(async { Ok(()) })
    }
}

struct Server {
    port: u16,
    thread: thread::JoinHandle<()>,
}

impl Server {
    fn stop(self) {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(b"STOP / HTTP/1.1\r\n\r\n").unwrap();
        self.thread.join().unwrap();
    }
}

/// Answers HTTP-01 from a folder.
fn serve(pebble: &Pebble, answers: PathBuf) -> Server {
    let listener = TcpListener::bind(("127.0.0.1", pebble.http)).unwrap();
    let thread = thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let len = stream.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..len]).into_owned();
            if request.starts_with("STOP") {
                return;
            }
            let token = request
                .split(' ')
                .nth(1)
                .and_then(|path| path.rsplit('/').next())
                .unwrap_or_default();
            let answer = match fs::read_to_string(answers.join(token)) {
                Ok(text) => format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
                    text.len()
                ),
                Err(_) => {
                    "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                        .to_owned()
                }
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    Server { port: pebble.http, thread }
}
