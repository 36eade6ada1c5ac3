//! The programs that take part, or the command that brings them here.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

/// Where everything is.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) edge: PathBuf,
    pub(crate) connector: PathBuf,
    pub(crate) nginx: PathBuf,
    pub(crate) h2load: PathBuf,
}

impl Programs {
    /// Looks beside this program and in the search path; `EDGE`, `CONNECTOR`, `NGINX` and `H2LOAD`
    /// in the environment win.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let here = env::current_exe().context("can't tell where this program is")?;
        let here = here.parent().context("this program has no directory")?;
        let ours = "cargo build --release -p sekimori";
        Ok(Self {
            edge: find("EDGE", "edge", &[here], ours)?,
            connector: find("CONNECTOR", "connector", &[here], ours)?,
            nginx: find("NGINX", "nginx", &search_path(), "apt-get install nginx-light")?,
            h2load: find("H2LOAD", "h2load", &search_path(), "apt-get install nghttp2-client")?,
        })
    }

    /// A peer that may be absent: named by a variable or in the search path. Says so if it is.
    #[expect(clippy::unused_self, reason = "where all programs are found")]
    pub(crate) fn optional(&self, variable: &str, name: &str, remedy: &str) -> Option<PathBuf> {
        let found = find(variable, name, &search_path(), remedy);
        found.inspect_err(|error| eprintln!("left out: {error:#}")).ok()
    }

    /// A peer that only a variable names. Says so if it does not.
    #[expect(clippy::unused_self, reason = "where all programs are found")]
    pub(crate) fn named(&self, variable: &str, remedy: &str) -> Option<PathBuf> {
        let path = env::var_os(variable).map(PathBuf::from).filter(|path| path.is_file());
        if path.is_none() {
            eprintln!("left out: {variable} names no program; {remedy}");
        }
        path
    }

    /// Names and versions of the peers, for the report.
    pub(crate) fn versions(&self) -> String {
        [(&self.nginx, "-v"), (&self.h2load, "--version")]
            .map(|(program, flag)| match Command::new(program).arg(flag).output() {
                // nginx writes its version as an error.
                Ok(output) => String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
                    .trim()
                    .to_owned(),
                Err(_) => "unknown version".to_owned(),
            })
            .join(", ")
    }
}

/// A release build can't be told from its file, but its directory has the profile's name.
pub(crate) fn is_release(program: &Path) -> bool {
    !program.components().any(|part| part.as_os_str() == "debug")
}

fn find(
    variable: &str,
    name: &str,
    directories: &[impl AsRef<Path>],
    remedy: &str,
) -> anyhow::Result<PathBuf> {
    if let Some(path) = env::var_os(variable) {
        let path = PathBuf::from(path);
        if !path.is_file() {
            bail!("{variable}=`{}` is no file", path.display());
        }
        return Ok(path);
    }
    let found = directories.iter().map(|it| it.as_ref().join(name)).find(|path| path.is_file());
    found.with_context(|| format!("can't find `{name}`; run: {remedy}"))
}

fn search_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]).collect()
}
