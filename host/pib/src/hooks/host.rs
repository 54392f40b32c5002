//! Loads components and runs their calls.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::{io, thread};

use pib_file::sealed::Sealed;
use pib_plan::hook::{self, Contract, Limits};
use pib_plan::id::Digest;
use wasmtime::Store;

use super::compile;
use super::error::{self, During, HookError, HookName};
use super::guest::Guest;
use super::sandbox::{HOST_STACK, Linked, Sandbox};
use super::{CACHE_FOLDER, Context, Diagnostic, Files, Level, NoFiles, Rendered, answer};
use crate::child;

/// Runs hooks with the user's limits, and keeps what it compiles. Copies share everything.
#[derive(Clone)]
pub struct Host {
    shared: Arc<Shared>,
}

struct Shared {
    limits: Arc<Limits>,
    /// This program, which compiles in a process of its own.
    program: PathBuf,
    cache: Sealed,
    /// Made when the first hook is loaded: answers from the cache need none.
    sandbox: OnceLock<Sandbox>,
    loaded: Mutex<BTreeMap<Digest, (Linked, Arc<Contract>)>>,
}

/// A hook that is ready to be called, any number of times and from any thread.
#[derive(Clone)]
pub struct Hook {
    host: Host,
    name: HookName,
    linked: Linked,
    contract: Arc<Contract>,
    cached: bool,
}

/// What a call of a hook is given.
#[derive(Clone)]
pub struct Call<'a> {
    context: &'a Context,
    files: Arc<dyn Files>,
    log: &'a (dyn Fn(Level, &str) + Sync),
    stop: Arc<AtomicBool>,
}

impl Host {
    /// Returns a host with its cache below `cache_root`. Costs nothing until a hook is loaded.
    pub fn new(cache_root: &Path, limits: Limits) -> Self {
        Self::of_program(&child::own_program(), cache_root, limits)
    }

    /// Returns a host as [`new`](Self::new) does, for a process that is not the program `pib`, which is at `program`.
    pub fn of_program(program: &Path, cache_root: &Path, limits: Limits) -> Self {
        Self {
            shared: Arc::new(Shared {
                limits: Arc::new(limits),
                program: program.to_owned(),
                cache: Sealed::new(cache_root.join(CACHE_FOLDER)),
                sandbox: OnceLock::new(),
                loaded: Mutex::default(),
            }),
        }
    }

    /// Returns the limits in force.
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// Returns why nothing can be kept in the cache, if that is so: hooks run all the same, only slower.
    pub fn cache_trouble(&self) -> Option<&str> {
        self.shared.cache.trouble()
    }

    pub(super) fn cache(&self) -> &Sealed {
        &self.shared.cache
    }

    /// Makes a component's bytes ready to be called: compiled now, or by an earlier pib of this user. That ends soon after
    /// `stop` is raised.
    ///
    /// # Errors
    /// When they are no hook, one for another version of the interface, or larger than hooks may be; when compiling
    /// them takes more time or memory than it may.
    pub fn load(&self, name: &HookName, component: &[u8], stop: &AtomicBool) -> Result<Hook, HookError> {
        answer::size(name, component.len() as u64, self.limits())?;
        self.load_known(name, component, Digest::of(component), stop)
    }

    /// Does what [`load`](Self::load) does, for bytes whose size was judged, and whose digest the caller has just taken.
    pub(super) fn load_known(
        &self,
        name: &HookName,
        component: &[u8],
        digest: Digest,
        stop: &AtomicBool,
    ) -> Result<Hook, HookError> {
        if let Some((linked, contract)) = self.loaded().get(&digest).cloned() {
            return Ok(Hook { host: self.clone(), name: name.clone(), linked, contract, cached: true });
        }
        let contract = hook::inspect(component).map_err(|problem| HookError::Unfit {
            hook: name.clone(),
            help: problem.advice(),
            problem,
        })?;
        let broken = |error: &wasmtime::Error| HookError::Broken {
            hook: name.clone(),
            reason: super::excerpt::line(&format!("{error:#}"), 500),
            help: error::BUILD_AGAIN.to_owned(),
        };
        let sandbox = self.sandbox()?;
        let compile = || {
            let made = compile::compile(&self.shared.program, self.limits(), component, stop);
            made.map_err(|problem| error::uncompiled(name, self.limits(), problem))
        };
        let (component, cached) = sandbox
            .component(digest, &self.shared.cache, compile)?
            .ok_or_else(|| sandbox_error("the compiled code is not for this program".to_owned()))?;
        let linked = sandbox.link(&contract, &component).map_err(|error| broken(&error))?;
        let contract = Arc::new(contract);
        self.loaded().insert(digest, (linked.clone(), Arc::clone(&contract)));
        Ok(Hook { host: self.clone(), name: name.clone(), linked, contract, cached })
    }

    fn loaded(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, (Linked, Arc<Contract>)>> {
        self.shared.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sandbox(&self) -> Result<&Sandbox, HookError> {
        if let Some(sandbox) = self.shared.sandbox.get() {
            return Ok(sandbox);
        }
        let made = Sandbox::new(self.limits()).map_err(|error| sandbox_error(format!("{error:#}")))?;
        Ok(self.shared.sandbox.get_or_init(|| made))
    }

    /// Checks the cache: returns how many files are whole, and those that were not and are gone now.
    ///
    /// # Errors
    /// When its folder cannot be read or changed.
    pub fn verify_cache(&self) -> io::Result<(usize, Vec<PathBuf>)> {
        self.shared.cache.verify()
    }
}

impl Hook {
    /// Returns the version of the interface that it is made for, e.g. `pib:stage@0.1.0`.
    pub fn world(&self) -> &str {
        &self.contract.world
    }

    /// Returns whether it had been compiled before.
    pub fn is_cached(&self) -> bool {
        self.cached
    }

    /// Has the hook judge the config.
    ///
    /// # Errors
    /// When the call ends without an answer, or with more diagnostics than there may be.
    pub fn validate(&self, call: &Call<'_>) -> Result<Vec<Diagnostic>, HookError> {
        let found = self.run(call, During::Validate, |linked, store, context| match linked {
            Linked::V0_1(stage) => stage.validate(store, context),
        })?;
        answer::diagnostics(&self.name, found, self.host.limits())
    }

    /// Has the hook render the part. Of the answer everything is checked but the part's own text.
    ///
    /// # Errors
    /// When the hook refuses, the call ends without an answer, or the answer is not fit to be used.
    pub fn render(&self, call: &Call<'_>, part: &str) -> Result<Rendered, HookError> {
        let answer = self.run(call, During::Render, |linked, store, context| match linked {
            Linked::V0_1(stage) => stage.render(store, context, part),
        })?;
        let refused = |reason: String| HookError::Refused {
            hook: self.name.clone(),
            reason: super::excerpt::paragraph(&reason, answer::MAX_TEXT),
        };
        answer::rendered(&self.name, answer.map_err(refused)?, self.host.limits())
    }

    /// Runs one call in a store and a thread of its own, the thread's stack larger than what the guest may use.
    fn run<T: Send>(
        &self,
        call: &Call<'_>,
        during: During,
        work: impl FnOnce(&Linked, &mut Store<Guest>, &Context) -> wasmtime::Result<T> + Send,
    ) -> Result<T, HookError> {
        let limits = &self.host.shared.limits;
        let sandbox = self.host.sandbox()?;
        let stack = usize::try_from(limits.stack.0).unwrap_or(HOST_STACK).saturating_add(HOST_STACK);
        let (outcome, log) = in_thread(stack, || {
            let mut store = Store::new(sandbox.engine(), Guest::new(limits, &call.files, &call.stop));
            let outcome = Guest::arm(&mut store).and_then(|()| work(&self.linked, &mut store, call.context));
            let outcome = outcome.map_err(|error| error::failure(&self.name, during, store.data(), &error));
            (outcome, store.data_mut().take_log())
        })?;
        for (level, line) in &log {
            (call.log)(*level, line);
        }
        outcome
    }
}

impl<'a> Call<'a> {
    /// Returns a call with this context, which can read no files and whose log nobody reads.
    pub fn new(context: &'a Context) -> Self {
        Self { context, files: Arc::new(NoFiles), log: &|_, _| {}, stop: Arc::default() }
    }

    /// Sets the files that can be read.
    #[must_use]
    pub fn files(mut self, files: Arc<dyn Files>) -> Self {
        self.files = files;
        self
    }

    /// Sets who reads the log; it arrives when the call has ended.
    #[must_use]
    pub fn log(mut self, log: &'a (dyn Fn(Level, &str) + Sync)) -> Self {
        self.log = log;
        self
    }

    /// Sets a flag that ends the call soon after it is raised.
    #[must_use]
    pub fn stop(mut self, stop: Arc<AtomicBool>) -> Self {
        self.stop = stop;
        self
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("limits", &self.shared.limits).finish_non_exhaustive()
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook").field("name", &self.name).field("world", &self.world()).finish_non_exhaustive()
    }
}

/// Runs work in a thread with a stack of that size.
fn in_thread<T: Send>(stack: usize, work: impl FnOnce() -> T + Send) -> Result<T, HookError> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("hook".to_owned()).stack_size(stack);
        let thread = builder.spawn_scoped(scope, work);
        let thread =
            thread.map_err(|error| sandbox_error(format!("a thread could not be started: {error}")))?;
        thread.join().map_err(|_| sandbox_error("a thread that ran a hook died".to_owned()))
    })
}

pub(super) fn sandbox_error(reason: String) -> HookError {
    HookError::Sandbox { reason }
}
