//! What every operation gets: the frozen facts about this run of the program.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::Error;
use super::consent::Consent;
use crate::engine::ConnectOptions;
use crate::source::git::GitOptions;
use pib_event::{Mask, Masked, Reporter, ReporterExt as _};
use pib_objects::Access;
use pib_plan::credential::RegistryVariables;
use pib_plan::moment::Moment;
use pib_recorder::Recorder;

/// The environment of one run. Read once, at the start; nothing below reads environment variables.
#[derive(Clone)]
pub struct Session {
    /// The folder that relative paths on the command line start from.
    pub cwd: PathBuf,
    /// The project's folder, where the command line names one; else it is searched from `cwd` upwards.
    pub project: Option<PathBuf>,
    /// The target that is meant, where it is not the project itself.
    pub target: Option<String>,
    /// The folder for what builds leave, where the environment names one (`PIB_TARGET_DIR`); else `target` in the project.
    pub target_dir: Option<PathBuf>,
    /// The cache's folder: `PIB_CACHE_DIR`, or `pib` in the user's cache folder.
    pub cache: PathBuf,
    /// Whether the environment names the cache's folder.
    pub cache_is_chosen: bool,
    /// The folder of pib's own config: `pib` in the user's config folder.
    pub config: Option<PathBuf>,
    /// The user's home folder, for `~` on the command line.
    pub home: Option<PathBuf>,
    /// What tells where the engine is.
    pub engine: ConnectOptions,
    /// What git repositories are reached with.
    pub git: GitOptions,
    /// What lets the user in at registries: `PIB_REGISTRIES_NAME_TOKEN` and `PIB_REGISTRIES_NAME_INDEX`, by the name in
    /// capitals, `_` for `-`.
    pub registries: RegistryVariables,
    /// The root of the file system whose apt sources name a Debian mirror; `/` but in tests.
    pub host_root: PathBuf,
    /// The variables of the environment, which secrets may come from.
    pub variables: Arc<BTreeMap<OsString, OsString>>,
    /// Takes what operations report. What `mask` hides does not get through it.
    pub reporter: Arc<dyn Reporter>,
    /// The texts that must not be shown; whoever comes to know a secret adds it here first.
    pub mask: Mask,
    /// The logs that were written.
    pub logs: Logs,
    /// What the user allows projects to reach outside of their folders.
    pub consent: Consent,
    /// The warnings that were given already.
    pub warned: Warned,
    /// When this run of the program began.
    pub began: Moment,
    /// What records what parts fetch.
    pub recorders: Recorders,
}

/// The warnings that this run of the program has given: each is given once.
#[derive(Clone, Default)]
pub struct Warned(Arc<Mutex<BTreeSet<String>>>);

/// The recorders of this run of the program: builds of several targets of one project share one, so that the same request
/// gets the same answer in all of them.
#[derive(Clone, Default)]
pub struct Recorders(Arc<Mutex<BTreeMap<String, Recorder>>>);

impl Recorders {
    /// Returns the recorder of this name; the first one who asks makes it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn get_or_make(
        &self,
        name: String,
        make: impl FnOnce() -> Result<Recorder, Error>,
    ) -> Result<Recorder, Error> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = all.get(&name) {
            return Ok(found.clone());
        }
        let made = make()?;
        all.insert(name, made.clone());
        Ok(made)
    }
}

/// The logs that this run of the program has written, for the message that names them.
#[derive(Clone, Default)]
pub struct Logs(Arc<Mutex<Vec<PathBuf>>>);

impl Logs {
    /// Adds a log that was begun.
    pub(super) fn add(&self, path: PathBuf) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(path);
    }

    /// Returns the paths, in the order in which the logs were begun.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
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
    pub fn from_environment(project: Option<PathBuf>, display: Arc<dyn Reporter>) -> Result<Self, Error> {
        let mask = Mask::default();
        let reporter: Arc<dyn Reporter> = Arc::new(Masked::new(mask.clone(), display));
        let cwd = std::env::current_dir().map_err(|error| Error::io("find the current folder", "", error))?;
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let home = set("HOME").map(PathBuf::from);
        let cache = match set("PIB_CACHE_DIR") {
            Some(folder) => cwd.join(folder),
            None => user_cache().ok_or(Error::NoCache)?,
        };
        let target_dir = set("PIB_TARGET_DIR").map(|folder| cwd.join(folder));
        let cache_is_chosen = set("PIB_CACHE_DIR").is_some();
        let engine = engine(home.clone(), &set);
        let ssh = set("GIT_SSH_COMMAND").map(|command| command.to_string_lossy().into_owned());
        let git = GitOptions::new(ssh, Arc::clone(&reporter));
        let registries = registry_variables(&mask);
        let host_root = set("PIB_HOST_ROOT").map_or_else(|| PathBuf::from("/"), PathBuf::from);
        let project = project.map(|folder| cwd.join(folder));
        let variables = Arc::new(std::env::vars_os().collect());
        let config = user_config();
        let consent = Consent::new(config.clone(), set("PIB_TRUST").is_some_and(|value| value == "1"));
        let logs = Logs::default();
        Ok(Self {
            cwd,
            project,
            target: None,
            target_dir,
            cache,
            cache_is_chosen,
            config,
            home,
            engine,
            git,
            registries,
            host_root,
            variables,
            reporter,
            mask,
            logs,
            consent,
            warned: Warned::default(),
            began: now(),
            recorders: Recorders::default(),
        })
    }

    /// Returns a session that works in `folder` and tells nobody.
    #[cfg(test)]
    pub(crate) fn for_tests(folder: &Path) -> Self {
        let reporter: Arc<dyn Reporter> = Arc::new(pib_event::Silent);
        Self {
            cwd: folder.to_owned(),
            project: None,
            target: None,
            target_dir: None,
            cache: folder.join("cache"),
            cache_is_chosen: true,
            config: Default::default(),
            home: None,
            engine: ConnectOptions::default(),
            git: GitOptions::new(None, Arc::clone(&reporter)),
            registries: RegistryVariables::default(),
            host_root: folder.to_owned(),
            variables: Arc::default(),
            reporter,
            mask: Mask::default(),
            logs: Logs::default(),
            consent: Consent::default(),
            warned: Warned::default(),
            began: now(),
            recorders: Recorders::default(),
        }
    }

    /// Returns the session of the same run for a target of the project, or for the project itself.
    #[must_use]
    pub fn for_target(&self, target: Option<&str>) -> Self {
        Self { target: target.map(str::to_owned), ..self.clone() }
    }

    /// Reports a warning, unless this run of the program has given it already.
    pub(crate) fn warn_once(&self, message: String) {
        let is_new = self.warned.0.lock().unwrap_or_else(PoisonError::into_inner).insert(message.clone());
        if is_new {
            self.reporter.warn(message);
        }
    }

    /// Returns where keys and logins for buckets and OCI registries are found.
    pub(crate) fn object_access(&self) -> Access {
        Access::new(Arc::clone(&self.variables), self.home.clone(), self.mask.clone())
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

/// Returns what the environment says of registries; the tokens are hidden from now on.
fn registry_variables(mask: &Mask) -> RegistryVariables {
    let named = |end: &str| -> BTreeMap<String, String> {
        let value = |(name, value): (OsString, OsString)| {
            let name = name.to_str()?.strip_prefix("PIB_REGISTRIES_")?.strip_suffix(end)?.to_owned();
            Some((name, value.into_string().ok().filter(|value| !value.is_empty())?))
        };
        std::env::vars_os().filter_map(value).collect()
    };
    let variables = RegistryVariables { tokens: named("_TOKEN"), indexes: named("_INDEX") };
    variables.tokens.values().for_each(|token| mask.hide(token.as_bytes()));
    variables
}

/// Returns what the environment says of the engine, by the docker client's variables, and Podman's for its address.
fn engine(home: Option<PathBuf>, set: &dyn Fn(&str) -> Option<OsString>) -> ConnectOptions {
    let text = |name: &str| set(name).map(|value| value.to_string_lossy().into_owned());
    let own = || PathBuf::from(format!("/run/user/{}", rustix::process::getuid().as_raw()));
    ConnectOptions {
        named: None,
        host: text("DOCKER_HOST")
            .or_else(|| text("CONTAINER_HOST").filter(|_| set("DOCKER_CONTEXT").is_none())),
        context: text("DOCKER_CONTEXT"),
        client_folder: set("DOCKER_CONFIG")
            .map(PathBuf::from)
            .or_else(|| home.as_ref().map(|home| home.join(".docker"))),
        tls: set("DOCKER_TLS_VERIFY").is_some(),
        certificates: set("DOCKER_CERT_PATH").map(PathBuf::from),
        // After `su` or in a timer's job the variable is not set, and the folder is there all the same.
        runtime_dir: set("XDG_RUNTIME_DIR")
            .map(PathBuf::from)
            .or_else(|| Some(own()).filter(|dir| dir.is_dir())),
        home,
        classic: text("DOCKER_BUILDKIT").is_some_and(|value| value == "0" || value == "false"),
    }
}

fn now() -> Moment {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Moment::from_micros(since.as_micros().try_into().unwrap_or(u64::MAX))
}

fn user_cache() -> Option<PathBuf> {
    use etcetera::BaseStrategy as _;
    let folder = etcetera::choose_base_strategy().ok()?.cache_dir().join("pib");
    // With a relative HOME it would be a project's.
    folder.is_absolute().then_some(folder)
}

fn user_config() -> Option<PathBuf> {
    use etcetera::BaseStrategy as _;
    let folder = etcetera::choose_base_strategy().ok()?.config_dir().join("pib");
    folder.is_absolute().then_some(folder)
}
