//! What every operation gets: the frozen facts about this run of the program.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Error;
use crate::event::Reporter;
use crate::source::git::GitOptions;

/// The environment of one run. Read once, at the start; nothing below reads environment variables.
#[derive(Clone)]
pub struct Session {
    /// The folder that relative paths on the command line start from.
    pub cwd: PathBuf,
    /// The project's folder, where the command line names one; else it is searched from `cwd` upwards.
    pub project: Option<PathBuf>,
    /// The cache's folder: `PIB_CACHE_DIR`, or `pib` in the user's cache folder.
    pub cache: PathBuf,
    /// The user's home folder, for `~` on the command line.
    pub home: Option<PathBuf>,
    /// The folder of the user's running session, where rootless engines have their sockets.
    pub runtime_dir: Option<PathBuf>,
    /// The engine's address, where `DOCKER_HOST` gives one.
    pub engine_host: Option<String>,
    /// What git repositories are reached with.
    pub git: GitOptions,
    /// What lets the user in at registries: `PIB_REGISTRIES_NAME_TOKEN`, by the name in capitals, `_` for `-`.
    pub tokens: BTreeMap<String, String>,
    /// The root of the file system whose apt sources name a Debian mirror; `/` but in tests.
    pub host_root: PathBuf,
    /// The variables of the environment, which secrets may come from.
    pub variables: Arc<BTreeMap<OsString, OsString>>,
    /// Takes what operations report.
    pub reporter: Arc<dyn Reporter>,
}

/// How the lock is treated, and whether the network may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LockMode {
    /// The lock must not change.
    pub locked: bool,
    /// The network is not used.
    pub offline: bool,
}

impl Session {
    /// Returns the session of this process.
    ///
    /// # Errors
    /// When the current folder or the user's cache folder cannot be told.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn from_environment(project: Option<PathBuf>, reporter: Arc<dyn Reporter>) -> Result<Self, Error> {
        let cwd = std::env::current_dir().map_err(|error| Error::io("find the current folder", "", error))?;
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let home = set("HOME").map(PathBuf::from);
        let cache = match set("PIB_CACHE_DIR") {
            Some(folder) => cwd.join(folder),
            None => user_cache().ok_or(Error::NoCache)?,
        };
        let runtime_dir = set("XDG_RUNTIME_DIR").map(PathBuf::from);
        let engine_host = set("DOCKER_HOST").map(|host| host.to_string_lossy().into_owned());
        let ssh = set("GIT_SSH_COMMAND").map(|command| command.to_string_lossy().into_owned());
        let git = GitOptions::new(ssh, Arc::clone(&reporter));
        let tokens = std::env::vars_os().filter_map(|(name, token)| {
            let name = name.to_str()?.strip_prefix("PIB_REGISTRIES_")?.strip_suffix("_TOKEN")?.to_owned();
            Some((name, token.into_string().ok().filter(|token| !token.is_empty())?))
        });
        let tokens = tokens.collect();
        let host_root = set("PIB_HOST_ROOT").map_or_else(|| PathBuf::from("/"), PathBuf::from);
        let project = project.map(|folder| cwd.join(folder));
        let variables = Arc::new(std::env::vars_os().collect());
        Ok(Self {
            cwd,
            project,
            cache,
            home,
            runtime_dir,
            engine_host,
            git,
            tokens,
            host_root,
            variables,
            reporter,
        })
    }

    /// Returns the tokens for registries that a project calls by these names.
    pub fn tokens_for<'a>(&self, names: impl Iterator<Item = &'a String>) -> BTreeMap<String, String> {
        let token = |name: &String| {
            let variable = name.to_uppercase().replace('-', "_");
            Some((name.clone(), self.tokens.get(&variable)?.clone()))
        };
        names.filter_map(token).collect()
    }

    /// Returns a path of the command line, with `~` for the home folder, in full.
    pub fn path(&self, text: &str) -> PathBuf {
        match (text.strip_prefix("~/"), &self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => self.cwd.join(text),
        }
    }

    /// Returns a path as messages show it: relative to the current folder where it is below it.
    pub fn show<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.cwd).ok().filter(|path| !path.as_os_str().is_empty()).unwrap_or(path)
    }
}

fn user_cache() -> Option<PathBuf> {
    use etcetera::BaseStrategy as _;
    etcetera::choose_base_strategy().ok().map(|strategy| strategy.cache_dir().join("pib"))
}
