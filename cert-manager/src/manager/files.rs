//! Certificates that somebody else puts into files.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustls::crypto::CryptoProvider;
use zeroize::Zeroizing;

use crate::{
    certificate::Certificate,
    digest::sha256,
    error::{Error, Kind},
    regular_file,
};

/// A chain and a key in two files, which may be one and the same, and what was read from them.
///
/// [`FilePair::poll`] looks at both, and at their contents if they seem to have changed or a minute has passed. A pair counts
/// only if both parts parse and belong together, and one that has ended never takes the place of one that has not. What cannot
/// be used is reported once it has stayed so for two looks, so that a writer who replaces one file after the other is given the time.
#[derive(Debug)]
pub(crate) struct FilePair {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
    /// What is served, by its contents.
    served: Option<[u8; 32]>,
    /// When that ends.
    ends: Option<SystemTime>,
    /// What was looked at last and cannot be used, or may be half written.
    doubtful: Option<[u8; 32]>,
    /// Whether somebody was told about what is doubtful.
    is_reported: bool,
    seen: Option<[Mark; 2]>,
    last_read: Option<SystemTime>,
}

/// What a look gave.
#[derive(Debug)]
pub(crate) enum Polled {
    Same,
    /// To be served from now on.
    Loaded(Box<Certificate>),
    /// Told once for each state of the files.
    Refused(Error),
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    len: u64,
    modified: Option<SystemTime>,
    /// A link that points elsewhere is another file.
    inode: u64,
}

impl FilePair {
    pub(crate) fn new(chain: PathBuf, key: PathBuf) -> Self {
        Self {
            chain,
            key,
            served: None,
            ends: None,
            doubtful: None,
            is_reported: false,
            seen: None,
            last_read: None,
        }
    }

    pub(crate) fn poll(&mut self, now: SystemTime, provider: &CryptoProvider) -> Polled {
        let marks = [&self.chain, &self.key].map(|path| mark(path).ok());
        let marks = match marks {
            [Some(chain), Some(key)] => Some([chain, key]),
            _ => None,
        };
        let is_recent = self
            .last_read
            .is_some_and(|at| now.duration_since(at).is_ok_and(|since| since < READ_ANYWAY));
        if marks.is_some() && marks == self.seen && is_recent && self.doubtful.is_none() {
            return Polled::Same;
        }
        self.last_read = Some(now);
        self.seen = marks;
        match self.read() {
            Ok((chain, key)) => self.judge(&chain, &key, provider, now),
            Err(error) => self.refuse([0; 32], error),
        }
    }

    fn judge(
        &mut self,
        chain: &[u8],
        key: &[u8],
        provider: &CryptoProvider,
        now: SystemTime,
    ) -> Polled {
        let hash = hash(chain, key);
        if self.served == Some(hash) {
            self.doubtful = None;
            return Polled::Same;
        }
        match Certificate::from_pem_with_provider(chain, key, provider) {
            Ok(certificate)
                if certificate.is_expired(now) && self.ends.is_some_and(|ends| now <= ends) =>
            {
                self.refuse(hash, Kind::EndedPair.into())
            }
            Ok(certificate) => {
                self.served = Some(hash);
                self.ends = Some(certificate.not_after());
                self.doubtful = None;
                Polled::Loaded(Box::new(certificate))
            }
            Err(error) => self.refuse(hash, error),
        }
    }

    fn refuse(&mut self, hash: [u8; 32], error: Error) -> Polled {
        let is_known = self.doubtful.replace(hash) == Some(hash);
        if !is_known {
            self.is_reported = false;
        }
        // At the start nobody is half way through a change.
        let is_certain = is_known || self.served.is_none();
        if is_certain && !self.is_reported {
            self.is_reported = true;
            return Polled::Refused(error);
        }
        Polled::Same
    }

    fn read(&self) -> Result<Texts, Error> {
        let read = |path: &Path| regular_file::read(path, MAX_FILE_BYTES).map(|(text, _)| text);
        let failed = |path: &Path, source| {
            Error::from(Kind::Store { doing: "read", path: path.to_owned(), source })
        };
        Ok((
            read(&self.chain).map_err(|error| failed(&self.chain, error))?,
            read(&self.key).map_err(|error| failed(&self.key, error))?,
        ))
    }
}

fn mark(path: &Path) -> io::Result<Mark> {
    let metadata = fs::metadata(path)?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Ok(Mark { len: metadata.len(), modified: metadata.modified().ok(), inode })
}

fn hash(chain: &[u8], key: &[u8]) -> [u8; 32] {
    sha256(&[&(chain.len() as u64).to_be_bytes(), chain, key])
}

/// Chain and key.
type Texts = (Zeroizing<Vec<u8>>, Zeroizing<Vec<u8>>);

/// A network's file system may keep old times for a while.
const READ_ANYWAY: Duration = Duration::from_secs(60);
const MAX_FILE_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        issuer::{PrivateCa, Profile},
        key::default_provider,
    };

    struct Case {
        folder: tempfile::TempDir,
        pair: FilePair,
        now: SystemTime,
    }

    impl Case {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = |name: &str| folder.path().join(name);
            let pair = FilePair::new(path("chain.pem"), path("key.pem"));
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
            Self { folder, pair, now }
        }

        fn write(&self, name: &str, text: &str) {
            // By rename: a new file each time, whatever the clock's steps are.
            let temporary = self.folder.path().join("new");
            fs::write(&temporary, text).unwrap();
            fs::rename(temporary, self.folder.path().join(name)).unwrap();
        }

        fn poll(&mut self) -> Polled {
            self.now += Duration::from_secs(1);
            self.pair.poll(self.now, &default_provider())
        }

        fn serial(&mut self) -> Option<String> {
            match self.poll() {
                Polled::Loaded(certificate) => Some(certificate.serial().to_string()),
                Polled::Same => None,
                Polled::Refused(error) => panic!("{error}"),
            }
        }
    }

    fn issue() -> Certificate {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let ca = PrivateCa::generate("Test CA", now).unwrap();
        ca.issue(&["a.jp".parse().unwrap()], Profile::server(), now).unwrap()
    }

    #[test]
    fn a_pair_that_is_replaced_file_by_file_is_never_half_served() {
        let (one, two) = (issue(), issue());
        let mut case = Case::new();
        case.write("chain.pem", &one.chain_pem());
        case.write("key.pem", one.key_pem().expose());
        assert_eq!(case.serial(), Some(one.serial().to_string()));
        assert_eq!(case.serial(), None);

        case.write("key.pem", two.key_pem().expose());
        assert_eq!(case.serial(), None, "it may be half written: nobody is alarmed");
        case.write("chain.pem", &two.chain_pem());
        assert_eq!(case.serial(), Some(two.serial().to_string()));
    }

    #[test]
    fn a_pair_that_stays_broken_is_reported_once_and_the_old_one_kept() {
        let (one, two) = (issue(), issue());
        let mut case = Case::new();
        case.write("chain.pem", &one.chain_pem());
        case.write("key.pem", one.key_pem().expose());
        case.serial();
        for (name, text, is_wrong) in [
            (
                "key.pem",
                two.key_pem().expose().to_owned(),
                Error::is_key_mismatch as fn(&Error) -> bool,
            ),
            ("key.pem", String::new(), Error::is_missing_key),
            ("key.pem", "-----BEGIN PRIVATE KEY-----\nAA".to_owned(), Error::is_malformed),
        ] {
            case.write(name, &text);
            assert_eq!(case.serial(), None);
            let Polled::Refused(error) = case.poll() else { panic!("not reported: {text}") };
            assert!(is_wrong(&error), "{error}");
            assert_eq!(case.serial(), None, "once is enough");
        }
        fs::remove_file(case.folder.path().join("key.pem")).unwrap();
        assert_eq!(case.serial(), None);
        assert!(matches!(case.poll(), Polled::Refused(error) if error.is_store()));
        case.write("key.pem", one.key_pem().expose());
        assert_eq!(case.serial(), None, "as it was");
        case.write("key.pem", two.key_pem().expose());
        assert_eq!(case.serial(), None);
        assert!(matches!(case.poll(), Polled::Refused(_)), "a new fault is news");
    }

    #[test]
    fn a_pair_that_has_ended_does_not_take_the_place_of_one_that_has_not() {
        let (one, two) = (issue(), issue());
        let mut case = Case::new();
        let week = Duration::from_secs(8 * 86_400);
        case.write("chain.pem", &one.chain_pem());
        case.write("key.pem", one.key_pem().expose());
        case.serial();
        let ca = PrivateCa::generate("Test CA", case.now + week).unwrap();
        let names = ["a.jp".parse().unwrap()];
        let newer = ca.issue(&names, Profile::server(), case.now + week).unwrap();
        case.write("chain.pem", &newer.chain_pem());
        case.write("key.pem", newer.key_pem().expose());
        case.now += week;
        assert!(case.serial().is_some(), "what has ended makes room");
        case.write("chain.pem", &two.chain_pem());
        case.write("key.pem", two.key_pem().expose());
        assert_eq!(case.serial(), None);
        let Polled::Refused(error) = case.poll() else { panic!("it says nothing") };
        assert!(error.to_string().contains("has ended"), "{error}");
    }

    #[test]
    fn a_content_that_changes_without_a_sign_is_found_within_a_minute() {
        let (one, two) = (issue(), issue());
        let mut case = Case::new();
        case.write("chain.pem", &one.chain_pem());
        case.write("key.pem", one.key_pem().expose());
        case.serial();
        // Same length, same time, same file.
        let path = case.folder.path().join("chain.pem");
        let same = |text: &str, path: &Path| {
            let modified = fs::metadata(path).unwrap().modified().unwrap();
            fs::write(path, text).unwrap();
            fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
        };
        let pad = |text: String, to: &str| format!("{text:\n<width$}", width = to.len());
        let longer = one.chain_pem() + "\n\n\n\n";
        case.write("chain.pem", &longer);
        case.serial();
        same(&pad(two.chain_pem(), &longer), &path);
        let key = case.folder.path().join("key.pem");
        same(two.key_pem().expose(), &key);
        let found = (0..61).find_map(|_| case.serial());
        assert_eq!(found, Some(two.serial().to_string()));
    }

    /// Pipes without a writer, devices without an end.
    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_refused_and_not_waited_for() {
        let mut case = Case::new();
        let one = issue();
        case.write("key.pem", one.key_pem().expose());
        let chain = case.folder.path().join("chain.pem");
        std::os::unix::fs::symlink("/dev/zero", &chain).unwrap();
        assert!(matches!(case.poll(), Polled::Refused(error) if error.is_store()));
        fs::remove_file(&chain).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&chain).status();
        assert!(made.expect("`mkfifo` is installed").success());
        case.pair = FilePair::new(chain.clone(), case.folder.path().join("key.pem"));
        assert!(matches!(case.poll(), Polled::Refused(error) if error.is_store()));
        fs::remove_file(&chain).unwrap();
        case.write("chain.pem", &"x".repeat(1024 * 1024 + 1));
        case.pair = FilePair::new(chain, case.folder.path().join("key.pem"));
        assert!(matches!(case.poll(), Polled::Refused(error) if error.is_store()));
        case.write("chain.pem", &one.chain_pem());
        assert_eq!(case.serial(), Some(one.serial().to_string()));
    }

    #[cfg(unix)]
    #[test]
    fn links_that_point_elsewhere_are_followed() {
        let mut case = Case::new();
        let root = case.folder.path().to_owned();
        let serials = ["v1", "v2"].map(|version| {
            let (folder, certificate) = (root.join(version), issue());
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("chain.pem"), certificate.chain_pem()).unwrap();
            fs::write(folder.join("key.pem"), certificate.key_pem().expose()).unwrap();
            certificate.serial().to_string()
        });
        // As Kubernetes does it: files are links through a folder that is one.
        std::os::unix::fs::symlink("v1", root.join("data")).unwrap();
        for name in ["chain.pem", "key.pem"] {
            std::os::unix::fs::symlink(Path::new("data").join(name), root.join(name)).unwrap();
        }
        assert_eq!(case.serial().as_ref(), Some(&serials[0]));
        std::os::unix::fs::symlink("v2", root.join("new")).unwrap();
        fs::rename(root.join("new"), root.join("data")).unwrap();
        assert_eq!(case.serial().as_ref(), Some(&serials[1]));
    }
}
