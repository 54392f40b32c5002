//! Calls a hook in ordinary unit tests.
//!
//! [`Harness`] stands in for pib: it has the files that the hook may read and keeps what it logs. Each thread has
//! its own, as each test does. With the feature `sandbox` the same call can be made to the stage's component, in
//! pib's own sandbox.

#[cfg(feature = "sandbox")]
mod sandbox;

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::host::Level;
use crate::{Context, Diagnostic, Hook, ProjectFile, Rendered, StageRef, Value};

#[cfg(feature = "sandbox")]
pub use sandbox::{Sandbox, SandboxAnswer};

thread_local! {
    static CURRENT: RefCell<State> = RefCell::default();
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    log: Vec<(Level, String)>,
}

/// A stand-in for pib.
#[derive(Debug, Clone, Default)]
pub struct Harness {
    /// What the hook is told.
    pub context: Context,
    files: BTreeMap<String, Vec<u8>>,
}

impl Harness {
    /// Returns a harness for a stage, on a Pi 4 with Debian, with no settings and no board traits.
    pub fn new(stage: &str) -> Self {
        let this = StageRef { name: stage.to_owned(), version: "0.0.0".to_owned() };
        let mut context = Context { stages: vec![this.clone()], this, ..Context::default() };
        let project = &mut context.project;
        for (field, value) in [
            (&mut project.name, "test"),
            (&mut project.os, "debian"),
            (&mut project.release, "trixie"),
            (&mut project.board, "rpi4"),
            (&mut project.arch, "arm64"),
            (&mut project.hostname, "test"),
            (&mut project.locale, "en_US.UTF-8"),
            (&mut project.timezone, "UTC"),
        ] {
            value.clone_into(field);
        }
        Self { context, files: BTreeMap::new() }
    }

    /// Sets a config key.
    #[must_use]
    pub fn setting(mut self, key: &str, value: Value) -> Self {
        self.context.settings.retain(|(name, _)| name != key);
        self.context.settings.push((key.to_owned(), value));
        self.context.settings.sort_by(|a, b| a.0.cmp(&b.0));
        self
    }

    /// Sets a trait of the board.
    #[must_use]
    pub fn board_trait(mut self, name: &str, value: &str) -> Self {
        self.context.board_traits.retain(|(known, _)| known != name);
        self.context.board_traits.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a file that the hook may read.
    #[must_use]
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.to_owned(), content.into());
        self
    }

    /// Adds a file of the project to those that a config key names.
    #[must_use]
    pub fn project_file(self, key: &str, path: &str, content: impl Into<Vec<u8>>) -> Self {
        let mut files = self.context.files(key).to_vec();
        let (stage, number) = (&self.context.this.name, files.len());
        let name = path.rsplit('/').next().unwrap_or(path);
        let context_path = format!("stages/{stage}/config/{key}/{number:03}-{name}");
        files.push(ProjectFile { path: path.to_owned(), context_path });
        self.setting(key, Value::Files(files)).file(path, content)
    }

    /// Calls [`Hook::validate`].
    pub fn validate<H: Hook>(&self) -> Vec<Diagnostic> {
        self.call(|| H::validate(&self.context))
    }

    /// Calls [`Hook::render`].
    ///
    /// # Errors
    /// What the hook says.
    pub fn render<H: Hook>(&self, part: &str) -> Result<Rendered, String> {
        self.call(|| H::render(&self.context, part))
    }

    /// Calls something that uses [`crate::host`], e.g. a function of the hook.
    pub fn call<T>(&self, call: impl FnOnce() -> T) -> T {
        CURRENT.with_borrow_mut(|state| *state = State { files: self.files.clone(), log: Vec::new() });
        call()
    }
}

/// Returns what the last call on this thread logged.
pub fn logged() -> Vec<(Level, String)> {
    CURRENT.with_borrow(|state| state.log.clone())
}

pub(crate) fn log(level: Level, message: &str) {
    CURRENT.with_borrow_mut(|state| state.log.push((level, message.to_owned())));
}

pub(crate) fn read_file(path: &str) -> Result<Vec<u8>, String> {
    CURRENT.with_borrow(|state| state.files.get(path).cloned()).ok_or_else(|| {
        "it is no file of the stage's package, nor one that the stage's config names".to_owned()
    })
}
