//! Keeps one line for each running step at the end of a terminal, below a settled one for each that ended.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::screen::{FRAME, Screen, Size};
use pib_event::{Event, Reporter};

/// How soon after the last time the lines may be drawn anew, when a step moved on.
const SOON: Duration = Duration::from_millis(60);

pub(super) struct Terminal {
    drawing: Arc<Mutex<Drawing>>,
}

struct Drawing {
    screen: Screen,
    /// The widths of the lines that stand below the settled ones.
    drawn: Vec<usize>,
    at: Option<Instant>,
    /// Whether a thread draws the passing of time.
    ticking: bool,
}

impl Terminal {
    pub(super) fn new() -> Self {
        let drawing = Drawing { screen: Screen::default(), drawn: Vec::new(), at: None, ticking: false };
        Self { drawing: Arc::new(Mutex::new(drawing)) }
    }
}

impl Reporter for Terminal {
    fn report(&self, event: Event) {
        let mut drawing = self.drawing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let starts = matches!(event, Event::StepStarted { .. });
        let settled = drawing.screen.take(event, now);
        let recent = drawing.at.is_some_and(|at| now - at < SOON);
        if starts || !settled.is_empty() || !recent {
            drawing.draw(&settled, now);
        }
        if starts && !drawing.ticking {
            // Without a thread for it the time would stand still, which is no reason to fail.
            let tick = Arc::downgrade(&self.drawing);
            let thread = std::thread::Builder::new().name("progress".to_owned());
            drawing.ticking = thread.spawn(move || keep_moving(&tick)).is_ok();
        }
    }
}

/// Draws the running steps again and again, until the reporter is gone.
fn keep_moving(drawing: &Weak<Mutex<Drawing>>) {
    while let Some(drawing) = drawing.upgrade() {
        {
            let mut drawing = drawing.lock().unwrap_or_else(PoisonError::into_inner);
            if !drawing.screen.is_empty() {
                drawing.draw(&[], Instant::now());
            }
        }
        drop(drawing);
        std::thread::sleep(FRAME);
    }
}

impl Drawing {
    /// Replaces the lines of the running steps by the settled lines and the present ones, in one write.
    fn draw(&mut self, settled: &[String], now: Instant) {
        let size = terminal_size();
        let lines = self.screen.frame(size, now);
        if lines.is_empty() && settled.is_empty() && self.drawn.is_empty() {
            return;
        }
        let text = redraw(&self.drawn, settled, &lines, size);
        self.drawn = lines.iter().map(|line| console::measure_text_width(line)).collect();
        self.at = Some(now);
        // A terminal that went away takes nothing; the signal that comes with it ends the program.
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

/// Returns what takes the cursor from below the lines that were drawn to below the new ones.
fn redraw(drawn: &[usize], settled: &[String], lines: &[String], size: Size) -> String {
    let mut text = String::from("\r");
    // A terminal that became narrower has wrapped what stood there.
    let rows: usize = drawn.iter().map(|width| width.div_ceil(size.columns).max(1)).sum();
    if rows > 0 {
        let _ = write!(text, "\x1b[{rows}A");
    }
    if settled.is_empty() && rows == lines.len() {
        // Nothing moves: each line is written over the one before it, which does not flicker.
        lines.iter().for_each(|line| text.extend([line.as_str(), "\x1b[K\n"]));
        return text;
    }
    text.push_str("\x1b[J");
    settled.iter().chain(lines).for_each(|line| text.extend([line.as_str(), "\n"]));
    text
}

/// Returns the terminal's size now; some say that they have none.
fn terminal_size() -> Size {
    let (rows, columns) = console::Term::stderr().size_checked().unwrap_or((24, 80));
    let or = |value: u16, usual: usize| if value == 0 { usual } else { usize::from(value) };
    Size { columns: or(columns, 80), rows: or(rows, 24) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_replaced_where_they_stand_also_after_they_wrapped() {
        let size = |columns| Size { columns, rows: 24 };
        let text = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>();
        assert_eq!(redraw(&[], &[], &text(&["a"]), size(80)), "\r\x1b[Ja\n");
        assert_eq!(redraw(&[1], &[], &text(&["b"]), size(80)), "\r\x1b[1Ab\x1b[K\n");
        assert_eq!(redraw(&[1], &text(&["ok"]), &[], size(80)), "\r\x1b[1A\x1b[Jok\n");
        // Two lines of 79 columns take four rows each on a terminal of 20.
        assert_eq!(redraw(&[79, 79], &[], &text(&["a", "b"]), size(20)), "\r\x1b[8A\x1b[Ja\nb\n");
    }
}
