//! Plain lines: for pipes, logs and `--verbose`.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::amounts::elapsed;
use super::text::harmless;
use super::verbosity::Verbosity;
use pib_event::{Event, Reporter};

pub(super) struct Lines {
    verbosity: Verbosity,
    running: Mutex<HashMap<String, (String, Instant)>>,
}

impl Lines {
    pub(super) fn new(verbosity: Verbosity) -> Self {
        Self { verbosity, running: Mutex::new(HashMap::new()) }
    }

    fn line(&self, event: Event) -> Option<String> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let normal = self.verbosity >= Verbosity::Normal;
        let verbose = self.verbosity == Verbosity::Verbose;
        match event {
            Event::StepStarted { id, title } => {
                let line = normal.then(|| format!("{title} ..."));
                running.insert(id, (title, Instant::now()));
                line
            }
            Event::StepFinished { id, cached } => {
                let (title, since) = running.remove(&id)?;
                let how = if cached { "cached".to_owned() } else { elapsed(since.elapsed()) };
                normal.then(|| format!("{title}: {how}"))
            }
            Event::StepFailed { id } => {
                let (title, since) = running.remove(&id)?;
                normal.then(|| format!("{title}: failed after {}", elapsed(since.elapsed())))
            }
            Event::StepDetail { id, detail } => verbose.then(|| format!("[{id}] {detail}")),
            Event::Log { id, line } => verbose.then(|| format!("[{id}] {line}")),
            Event::LogFile { path } => verbose.then(|| format!("The full log: {path}")),
            Event::FileRead { path } => verbose.then(|| format!("Reading {path}")),
            Event::Warning { message } => Some(format!("warning: {message}")),
            Event::Note { message } => normal.then_some(message),
            // How far a step is would be a line for every moment; an error is shown by the command line.
            Event::StepProgress { .. } | Event::Error { .. } => None,
        }
    }
}

impl Reporter for Lines {
    fn report(&self, event: Event) {
        if let Some(line) = self.line(event) {
            let _ = writeln!(std::io::stderr().lock(), "{}", harmless(&line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pib_event::ReporterExt as _;

    fn lines(verbosity: Verbosity) -> Vec<String> {
        let ui = Lines::new(verbosity);
        let events = std::sync::Mutex::new(Vec::new());
        struct Collect<'a>(&'a Mutex<Vec<Event>>);
        impl Reporter for Collect<'_> {
            fn report(&self, event: Event) {
                self.0.lock().unwrap().push(event);
            }
        }
        let collect = Collect(&events);
        collect.started("base", "Making the base");
        collect.progress("base", 1, Some(2));
        collect.report(Event::Log { id: "base".into(), line: "noise".into() });
        collect.finished("base", true);
        collect.started("image", "Writing");
        collect.failed("image");
        collect.warn("odd");
        collect.note("done");
        events.into_inner().unwrap().into_iter().filter_map(|event| ui.line(event)).collect()
    }

    #[test]
    fn each_verbosity_says_its_part() {
        assert_eq!(lines(Verbosity::Quiet), ["warning: odd"]);
        let normal = [
            "Making the base ...",
            "Making the base: cached",
            "Writing ...",
            "Writing: failed after 0.0s",
            "warning: odd",
            "done",
        ];
        assert_eq!(lines(Verbosity::Normal), normal);
        assert!(lines(Verbosity::Verbose).contains(&"[base] noise".to_owned()));
    }
}
