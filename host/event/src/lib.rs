//! What operations report while they run.
//!
//! Operations and adapters know only [`Reporter`]; `ui` draws what arrives here as moving lines, plain lines or
//! JSON. Nothing below `cli` prints. The JSON form is documented in `host/docs/reference/events.md`, and its schema,
//! `host/docs/events.schema.json`, is made from the types here.

mod mask;

use serde::Serialize;

pub use mask::{Mask, Masked};

/// One thing that happened during an operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// A named step of the operation began; `id` is unique among the steps that run at the same time.
    StepStarted {
        /// Identifies the step in later events, e.g. `base` or `stage:os`.
        id: String,
        /// What is being done, for people: "Building stage os".
        title: String,
    },
    /// A step moved on; `done` and `total` count bytes of its current activity.
    StepProgress {
        /// The step.
        id: String,
        /// How much is done.
        done: u64,
        /// How much there is, where that is known.
        total: Option<u64>,
    },
    /// The step's current activity in one line: "3/5 RUN apt-get install ...".
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
    /// A step ended without having done its work: it failed, or what it was part of was given up.
    StepFailed {
        /// The step.
        id: String,
    },
    /// A line that a program inside the build printed.
    Log {
        /// The step it belongs to.
        id: String,
        /// The line, without its line break.
        line: String,
    },
    /// From here on, everything that happens is also written to a file.
    LogFile {
        /// The file's path.
        path: String,
    },
    /// A file of the project was opened for reading; only with `--verbose`.
    FileRead {
        /// The file's path in the project's folder.
        path: String,
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
    /// The operation failed. This is the last event; steps that have not ended by then never will.
    Error {
        /// The error's name, which `pib explain` explains, where it has one.
        code: Option<String>,
        /// What was being done, and what went wrong.
        message: String,
        /// What to do next, where that is known.
        help: Option<String>,
        /// What led to it, the nearest first.
        causes: Vec<String>,
        /// Where in which files the mistake is.
        places: Vec<Location>,
        /// The errors that it is made of, where they are several.
        problems: Vec<Problem>,
        /// What differs, where the error is that something does; of very many only the first.
        differences: Vec<Difference>,
        /// The exit code of the process.
        exit_code: u8,
        /// The files with all that was printed, where there are such.
        logs: Vec<String>,
    },
}

/// An error that is part of another.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Problem {
    /// The error's name, which `pib explain` explains, where it has one.
    pub code: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do next, where that is known.
    pub help: Option<String>,
    /// What led to it, the nearest first.
    pub causes: Vec<String>,
    /// Where in which files the mistake is.
    pub places: Vec<Location>,
    /// The errors that it is made of, where they are several.
    pub problems: Vec<Problem>,
}

/// Something that two builds, or an image and its project, do not have alike.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Difference {
    /// What differs: a path in the system, or a part of the build such as "stage `watchdog`".
    pub name: String,
    /// In what a file differs, e.g. `content`.
    pub aspects: Vec<String>,
    /// The first stage with the difference, where that is known.
    pub stage: Option<String>,
    /// What it was, of a part of the build.
    pub before: Option<String>,
    /// What it is now, of a part of the build.
    pub after: Option<String>,
    /// In what the content of a file differs, in a few lines, where this machine has diffoscope.
    pub summary: Option<String>,
}

impl Difference {
    /// Returns the difference with each of its texts changed.
    fn map_texts(self, change: &impl Fn(String) -> String) -> Self {
        let Self { name, aspects, stage, before, after, summary } = self;
        let [stage, before, after, summary] = [stage, before, after, summary].map(|text| text.map(change));
        Self { name: change(name), aspects, stage, before, after, summary }
    }
}

/// A place in a file that is to blame.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Location {
    /// The file, where it has a name.
    pub file: Option<String>,
    /// The line, counted from 1.
    pub line: usize,
    /// The column, counted from 1.
    pub column: usize,
    /// What is wrong there.
    pub label: Option<String>,
}

impl Event {
    /// Returns the event with every text in it that comes from outside replaced by what `change` makes of it.
    ///
    /// Identifiers and paths stay: events are told apart by them.
    #[must_use]
    pub fn map_texts(self, change: impl Fn(String) -> String) -> Self {
        match self {
            Self::StepStarted { id, title } => Self::StepStarted { id, title: change(title) },
            Self::StepDetail { id, detail } => Self::StepDetail { id, detail: change(detail) },
            Self::Log { id, line } => Self::Log { id, line: change(line) },
            Self::Warning { message } => Self::Warning { message: change(message) },
            Self::Note { message } => Self::Note { message: change(message) },
            Self::Error { code, message, help, causes, places, problems, differences, exit_code, logs } => {
                let whole = Problem { code, message, help, causes, places, problems }.map_texts(&change);
                let Problem { code, message, help, causes, places, problems } = whole;
                let differences = differences.into_iter().map(|one| one.map_texts(&change)).collect();
                Self::Error { code, message, help, causes, places, problems, differences, exit_code, logs }
            }
            Self::StepProgress { .. }
            | Self::StepFinished { .. }
            | Self::StepFailed { .. }
            | Self::LogFile { .. }
            | Self::FileRead { .. } => self,
        }
    }
}

impl Problem {
    fn map_texts(self, change: &impl Fn(String) -> String) -> Self {
        let label = |place: Location| Location { label: place.label.map(change), ..place };
        Self {
            code: self.code,
            message: change(self.message),
            help: self.help.map(change),
            causes: self.causes.into_iter().map(change).collect(),
            places: self.places.into_iter().map(label).collect(),
            problems: self.problems.into_iter().map(|problem| problem.map_texts(change)).collect(),
        }
    }
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
    /// Reports that the step `id` ended without having done its work.
    fn failed(&self, id: &str) {
        self.report(Event::StepFailed { id: id.to_owned() });
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

#[cfg(test)]
mod schema_tests;
