//! One moving line for each running step, and a settled one for each that ended.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use console::style;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{elapsed, harmless};
use crate::event::{Event, Reporter};

pub(super) struct Terminal {
    bars: MultiProgress,
    running: Mutex<HashMap<String, Running>>,
}

struct Running {
    title: String,
    bar: ProgressBar,
    since: Instant,
}

impl Terminal {
    pub(super) fn new() -> Self {
        Self { bars: MultiProgress::new(), running: Mutex::new(HashMap::new()) }
    }

    fn settle(&self, line: String) {
        let _ = self.bars.println(line);
    }

    fn start(&self, title: &str) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new_spinner());
        bar.set_style(spinner());
        bar.set_prefix(title.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }
}

fn spinner() -> ProgressStyle {
    let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg:.dim}");
    style.unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn counting() -> ProgressStyle {
    let style =
        ProgressStyle::with_template("{spinner} {prefix} [{bar:24}] {bytes}/{total_bytes} {wide_msg:.dim}");
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

impl Reporter for Terminal {
    fn report(&self, event: Event) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::StepStarted { id, title } => {
                let bar = self.start(&title);
                running.insert(id, Running { title, bar, since: Instant::now() });
            }
            Event::StepProgress { id, done, total } => {
                if let Some(step) = running.get(&id) {
                    if let Some(total) = total.filter(|total| step.bar.length() != Some(*total)) {
                        step.bar.set_style(counting());
                        step.bar.set_length(total);
                    }
                    step.bar.set_position(done);
                }
            }
            Event::StepDetail { id, detail } | Event::Log { id, line: detail } => {
                if let Some(step) = running.get(&id) {
                    step.bar.set_message(harmless(&detail));
                }
            }
            Event::StepFinished { id, cached } => {
                if let Some(step) = running.remove(&id) {
                    step.bar.finish_and_clear();
                    let how = if cached { "already done".to_owned() } else { elapsed(step.since.elapsed()) };
                    let mark = style("ok").for_stderr().green();
                    self.settle(format!("{mark} {} {}", step.title, style(how).for_stderr().dim()));
                }
            }
            Event::Warning { message } => {
                self.settle(format!("{}: {message}", style("warning").for_stderr().yellow().bold()));
            }
            Event::Note { message } => self.settle(message),
        }
    }
}
