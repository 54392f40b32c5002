//! What a terminal of some size shows of the running steps. Decides only, and writes nothing.

use std::time::{Duration, Instant};

use console::{measure_text_width, style};

use super::amounts::{elapsed, size};
use super::text::harmless;
use pib_event::Event;

/// The signs of a step that runs, one after the other.
const SPINNER: [&str; 8] = ["⠋", "⠙", "⠸", "⠴", "⠦", "⠇", "⠏", "⠛"];
/// How long each of them is shown.
pub(super) const FRAME: Duration = Duration::from_millis(120);
/// The least width at which a bar is drawn, and the bar's own.
const BAR_FROM: usize = 72;
const BAR: usize = 16;
/// The least width that is worth a piece of a text.
const PIECE: usize = 6;
/// The longest detail or line of output that is kept.
const LONGEST: usize = 512;

/// The steps that run, in the order in which they began.
#[derive(Default)]
pub(super) struct Screen {
    steps: Vec<Step>,
}

struct Step {
    id: String,
    title: String,
    since: Instant,
    /// What the step says that it does: "3/5 RUN apt-get install ...".
    detail: String,
    /// The last line that a program in it printed.
    said: String,
    done: u64,
    total: Option<u64>,
}

/// A terminal's columns and rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

impl Screen {
    /// Takes an event; returns the lines that are now settled, to be shown above the running steps.
    pub(super) fn take(&mut self, event: Event, now: Instant) -> Vec<String> {
        match event {
            Event::StepStarted { id, title } => {
                self.steps.retain(|step| step.id != id);
                let (detail, said) = (String::new(), String::new());
                let title = one_line(&title);
                self.steps.push(Step { id, title, since: now, detail, said, done: 0, total: None });
            }
            Event::StepProgress { id, done, total } => {
                if let Some(step) = self.step(&id) {
                    (step.done, step.total) = (done, total);
                }
            }
            Event::StepDetail { id, detail } => {
                if let Some(step) = self.step(&id) {
                    step.detail = one_line(&detail);
                    step.said.clear();
                    // The bytes were those of what it did before.
                    (step.done, step.total) = (0, None);
                }
            }
            Event::Log { id, line } => {
                if let Some(step) = self.step(&id).filter(|_| !line.trim().is_empty()) {
                    step.said = one_line(&line);
                }
            }
            Event::StepFinished { id, cached } => {
                return self.end(&id).map(|step| step.finished(cached, now)).into_iter().collect();
            }
            Event::StepFailed { id } => {
                return self.end(&id).map(|step| step.failed(now)).into_iter().collect();
            }
            Event::Warning { message } => {
                let mark = style("warning").for_stderr().yellow().bold();
                return vec![format!("{mark}: {}", harmless(&message))];
            }
            Event::Note { message } => return vec![harmless(&message)],
            // What has not ended by now never will. The error itself is shown by the command line.
            Event::Error { .. } => return self.steps.drain(..).map(|step| step.failed(now)).collect(),
            Event::LogFile { .. } | Event::FileRead { .. } => {}
        }
        Vec::new()
    }

    /// Returns whether nothing runs, so that there is nothing to draw.
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns the lines of the running steps: never more than the terminal has rows to spare for, none wider
    /// than it.
    pub(super) fn frame(&self, size: Size, now: Instant) -> Vec<String> {
        // The last row is the cursor's, and a character in the last column may wrap.
        let (width, height) = (size.columns.saturating_sub(1).max(1), size.rows.saturating_sub(1).max(1));
        let shown = if self.steps.len() <= height { self.steps.len() } else { height - 1 };
        let mut lines: Vec<String> =
            self.steps.iter().take(shown).map(|step| step.running(width, now)).collect();
        if shown < self.steps.len() {
            lines.push(fit(&format!("… and {} more", self.steps.len() - shown), width));
        }
        lines
    }

    fn step(&mut self, id: &str) -> Option<&mut Step> {
        self.steps.iter_mut().find(|step| step.id == id)
    }

    fn end(&mut self, id: &str) -> Option<Step> {
        let at = self.steps.iter().position(|step| step.id == id)?;
        Some(self.steps.remove(at))
    }
}

impl Step {
    fn finished(&self, cached: bool, now: Instant) -> String {
        let how = if cached { "cached".to_owned() } else { elapsed(now - self.since) };
        format!("{} {}  {}", style("ok").for_stderr().green(), self.title, style(how).for_stderr().dim())
    }

    fn failed(&self, now: Instant) -> String {
        let how = format!("after {}", elapsed(now - self.since));
        let mark = style("failed").for_stderr().red().bold();
        format!("{mark} {}  {}", self.title, style(how).for_stderr().dim())
    }

    /// Returns the step on one line: sign, title, time; then, as far as there is room, how much, what, and what
    /// was printed last.
    fn running(&self, width: usize, now: Instant) -> String {
        let time = elapsed(now - self.since);
        let frames = (now - self.since).as_millis() / FRAME.as_millis();
        let sign = SPINNER[(frames % SPINNER.len() as u128) as usize];
        // A sign, a space, the title, two spaces, the time.
        let title = fit_end(&self.title, width.saturating_sub(time.len() + 4));
        let mut room = width.saturating_sub(measure_text_width(&title) + time.len() + 4);
        let mut line = fit(&format!("{sign} {title}  {time}"), width);
        let mut add = |text: String, room: usize| -> usize {
            let width = measure_text_width(&text);
            if text.is_empty() || width + 2 > room {
                return room;
            }
            line.push_str("  ");
            line.push_str(&text);
            room - width - 2
        };
        room = add(self.amount(width), room);
        let half = if self.said.is_empty() { room } else { room / 2 };
        for (text, most) in [(&self.detail, half), (&self.said, room)] {
            let most = most.min(room).saturating_sub(2);
            if most >= PIECE {
                let text = fit(text, most);
                let dim = if text.is_empty() { text } else { style(text).for_stderr().dim().to_string() };
                room = add(dim, room);
            }
        }
        line
    }

    fn amount(&self, width: usize) -> String {
        match self.total {
            Some(total) if total > 0 => {
                let done = self.done.min(total);
                let percent = u128::from(done) * 100 / u128::from(total);
                let text = format!("{percent}% of {}", size(total));
                if width < BAR_FROM {
                    return text;
                }
                let full = usize::try_from(u128::from(done) * BAR as u128 / u128::from(total)).unwrap_or(BAR);
                format!("[{}{}] {text}", "=".repeat(full), " ".repeat(BAR - full))
            }
            _ if self.done > 0 => size(self.done),
            _ => String::new(),
        }
    }
}

/// Returns a text on one line, without what would move the cursor, and of bounded length.
fn one_line(text: &str) -> String {
    let bounded: String = text.chars().take(LONGEST).collect();
    harmless(&bounded).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the beginning of a text that fits into `width` columns.
fn fit(text: &str, width: usize) -> String {
    console::truncate_str(text, width, if width > 1 { "…" } else { "" }).into_owned()
}

/// Returns the end of a text that fits into `width` columns: what a title is about stands at its end.
fn fit_end(text: &str, width: usize) -> String {
    if measure_text_width(text) <= width {
        return text.to_owned();
    }
    let mut end = String::new();
    for c in text.chars().rev() {
        let longer = format!("{c}{end}");
        if measure_text_width(&longer) + 1 > width {
            break;
        }
        end = longer;
    }
    if width == 0 { end } else { format!("…{end}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(id: &str, title: &str) -> Event {
        Event::StepStarted { id: id.into(), title: title.into() }
    }

    /// A screen on which one step has been running for twelve seconds.
    fn screen(now: Instant) -> Screen {
        let mut screen = Screen::default();
        let since = now.checked_sub(Duration::from_secs(12)).unwrap();
        screen.take(started("stage:watchdog", "Building stage watchdog"), since);
        let detail = "3/5 RUN apt-get install --yes watchdog".to_owned();
        screen.take(Event::StepDetail { id: "stage:watchdog".into(), detail }, since);
        screen
    }

    fn plain(lines: &[String]) -> Vec<String> {
        lines.iter().map(|line| console::strip_ansi_codes(line).into_owned()).collect()
    }

    #[test]
    fn a_step_is_one_line_with_its_title_time_and_instruction() {
        let now = Instant::now();
        let mut screen = screen(now);
        let wide = Size { columns: 80, rows: 24 };
        let sign = SPINNER[100 % SPINNER.len()];
        assert_eq!(
            plain(&screen.frame(wide, now)),
            [format!("{sign} Building stage watchdog  12s  3/5 RUN apt-get install --yes watchdog")]
        );
        let line = "Setting up \u{1b}[2Jwatchdog\u{7} (5.16)".to_owned();
        screen.take(Event::Log { id: "stage:watchdog".into(), line }, now);
        let shown = plain(&screen.frame(Size { columns: 100, rows: 24 }, now)).concat();
        assert!(shown.contains("3/5 RUN apt-get install --yes w…  Setting up watchdog (5.16)"), "{shown}");
        let settled = screen.take(Event::StepFinished { id: "stage:watchdog".into(), cached: false }, now);
        assert_eq!(plain(&settled), ["ok Building stage watchdog  12s"]);
        assert!(screen.is_empty() && screen.frame(wide, now).is_empty());
        screen.take(started("stage:ro", "Building stage ro"), now);
        let settled = screen.take(Event::StepFinished { id: "stage:ro".into(), cached: true }, now);
        assert_eq!(plain(&settled), ["ok Building stage ro  cached"]);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_whatever_its_size() {
        let now = Instant::now();
        let mut screen = screen(now);
        screen.take(Event::Log { id: "stage:watchdog".into(), line: "漢字 ".repeat(200) }, now);
        screen.take(started("base", "Loading the base"), now);
        screen.take(Event::StepProgress { id: "base".into(), done: 1 << 20, total: Some(1 << 22) }, now);
        for columns in 0..150 {
            for line in plain(&screen.frame(Size { columns, rows: 24 }, now)) {
                assert!(measure_text_width(&line) <= columns.saturating_sub(1).max(1), "{columns}: `{line}`");
            }
        }
        let narrow = plain(&screen.frame(Size { columns: 20, rows: 24 }, now));
        assert!(narrow[0].ends_with("…ge watchdog  12s"), "{narrow:?}");
        let wide = plain(&screen.frame(Size { columns: 80, rows: 24 }, now));
        assert!(wide[1].ends_with("Loading the base  0.0s  [====            ] 25% of 4.0 MiB"), "{wide:?}");
    }

    #[test]
    fn more_steps_than_rows_are_counted() {
        let now = Instant::now();
        let mut screen = Screen::default();
        for number in 0..30 {
            screen.take(started(&number.to_string(), "Fetching"), now);
        }
        let frame = screen.frame(Size { columns: 80, rows: 10 }, now);
        assert_eq!((frame.len(), frame[8].as_str()), (9, "… and 22 more"));
        let (message, help) = (String::new(), None);
        let (causes, places, problems, differences, logs) = (vec![], vec![], vec![], vec![], vec![]);
        let code = None;
        let error =
            Event::Error { code, message, help, causes, places, problems, differences, exit_code: 1, logs };
        let settled = screen.take(error, now);
        assert!(settled.len() == 30 && screen.is_empty());
        assert_eq!(plain(&settled)[0], "failed Fetching  after 0.0s");
    }
}
