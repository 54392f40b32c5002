//! Validate and render in one, and the cache of answers.
//!
//! A hook knows nothing but what it is given, and answers the same each time. So an answer is kept by the digest of all
//! that it was made from, and a hook whose input has not changed is not even loaded.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pib_plan::id::{Digest, KeyHasher};
use serde::{Deserialize, Serialize};

use super::error::{HookError, HookName};
use super::{Call, Context, Diagnostic, Files, Host, Level, Rendered, Severity, answer};

/// Everything that a hook's answer depends on.
pub struct Question {
    /// Whose hook.
    pub hook: HookName,
    /// The digest of its component.
    pub component: Digest,
    /// What it is told.
    pub context: Context,
    /// The package's own part.
    pub part: String,
    /// What it may read.
    pub files: Arc<dyn Files>,
}

/// What a hook answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// What it says of the config.
    pub diagnostics: Vec<Diagnostic>,
    /// What it makes of the part; nothing where it found an error in the config.
    pub rendered: Option<Rendered>,
}

impl Answer {
    /// Returns whether the build may go on.
    pub fn is_good(&self) -> bool {
        !self.diagnostics.iter().any(|found| found.severity == Severity::Error)
    }
}

impl Host {
    /// Returns the answer to a question, if it has been given before.
    pub fn recall(&self, question: &Question) -> Option<Answer> {
        serde_json::from_slice(&self.cache().get(&name(self, question)?)?).ok()
    }

    /// Asks a hook: has it validate, then render. A good answer is kept. `component` reads its bytes.
    ///
    /// # Errors
    /// When the hook cannot be loaded, a call fails, or an answer cannot be used.
    pub fn ask(
        &self,
        question: &Question,
        component: impl FnOnce() -> io::Result<Vec<u8>>,
        log: &(dyn Fn(Level, &str) + Sync),
        stop: &Arc<AtomicBool>,
    ) -> Result<Answer, HookError> {
        let name = &question.hook;
        if stop.load(Ordering::Relaxed) {
            return Err(HookError::Stopped { hook: name.clone() });
        }
        let unreadable = |source| HookError::Unreadable { hook: name.clone(), source };
        let bytes = component().map_err(unreadable)?;
        answer::size(name, bytes.len() as u64, self.limits())?;
        let digest = Digest::of(&bytes);
        if digest != question.component {
            return Err(unreadable(io::Error::other("it has changed since the stage was read")));
        }
        let hook = self.load_known(name, &bytes, digest, stop)?;
        let files = Arc::clone(&question.files);
        let call = Call::new(&question.context).files(files).log(log).stop(Arc::clone(stop));
        let mut answer = Answer { diagnostics: hook.validate(&call)?, rendered: None };
        if answer.is_good() {
            answer.rendered = Some(hook.render(&call, &question.part)?);
            self.keep(question, &answer);
        }
        Ok(answer)
    }

    fn keep(&self, question: &Question, answer: &Answer) {
        if let (Some(name), Ok(json)) = (self::name(self, question), serde_json::to_vec(answer)) {
            self.cache().put(&name, &json);
        }
    }
}

/// Returns the name that the answer to a question is kept under.
fn name(host: &Host, question: &Question) -> Option<String> {
    let limits = serde_json::to_vec(host.limits()).ok()?;
    let context = serde_json::to_vec(&question.context).ok()?;
    let mut hasher = KeyHasher::new("pib hook answer 1");
    hasher.field(env!("CARGO_PKG_VERSION")).field(question.component.as_bytes());
    hasher.field(limits).field(context);
    hasher.field(&question.part).field(question.files.digest().as_bytes());
    Some(format!("answer-{}", hasher.finish().hex()))
}
