//! What operations report while they run.
//!
//! Operations and adapters know only [`Reporter`]; `ui` draws what arrives here as bars, plain lines or
//! JSON. Nothing below `cli` prints.

use serde::Serialize;

/// One thing that happened during an operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A named step of the operation began; `id` is unique among the steps that run at the same time.
    StepStarted {
        /// Identifies the step in later events, e.g. `base` or `stage:os`.
        id: String,
        /// What is being done, for people: "Building stage os".
        title: String,
    },
    /// A step moved on; `done` and `total` share a unit (bytes unless `title` says otherwise).
    StepProgress {
        /// The step.
        id: String,
        /// How much is done.
        done: u64,
        /// How much there is, where that is known.
        total: Option<u64>,
    },
    /// The step's current activity in one line: "RUN apt-get install ...".
    StepDetail {
        /// The step.
        id: String,
        /// The activity.
        detail: String,
    },
    /// A step ended well.
    StepFinished {
        /// The step.
        id: String,
        /// Whether an earlier result was used, so that nothing was done.
        cached: bool,
    },
    /// A line that a program inside the build printed.
    Log {
        /// The step it belongs to.
        id: String,
        /// The line, without its line break.
        line: String,
    },
    /// Something a person should know that does not stop the operation.
    Warning {
        /// The message, one sentence or more.
        message: String,
    },
    /// A short note on what was done: "Locked 6 stages".
    Note {
        /// The message.
        message: String,
    },
}

/// Receives events. Implementations must be cheap and must not block: they are called on hot paths.
pub trait Reporter: Send + Sync {
    /// Takes one event.
    fn report(&self, event: Event);
}

/// A reporter that drops everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn report(&self, _event: Event) {}
}

/// Short forms for the events that operations send most.
pub trait ReporterExt: Reporter {
    /// Reports that the step `id` began.
    fn started(&self, id: &str, title: impl Into<String>) {
        self.report(Event::StepStarted { id: id.to_owned(), title: title.into() });
    }
    /// Reports that the step `id` ended; `cached` when nothing had to be done.
    fn finished(&self, id: &str, cached: bool) {
        self.report(Event::StepFinished { id: id.to_owned(), cached });
    }
    /// Reports how far the step `id` is.
    fn progress(&self, id: &str, done: u64, total: Option<u64>) {
        self.report(Event::StepProgress { id: id.to_owned(), done, total });
    }
    /// Reports the current activity of the step `id`.
    fn detail(&self, id: &str, detail: impl Into<String>) {
        self.report(Event::StepDetail { id: id.to_owned(), detail: detail.into() });
    }
    /// Reports a warning.
    fn warn(&self, message: impl Into<String>) {
        self.report(Event::Warning { message: message.into() });
    }
    /// Reports a note.
    fn note(&self, message: impl Into<String>) {
        self.report(Event::Note { message: message.into() });
    }
}

impl<R: Reporter + ?Sized> ReporterExt for R {}
