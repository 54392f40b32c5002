//! One log file, bounded.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::time::{Duration, Instant};

/// How many bytes of the beginning are kept.
const HEAD: u64 = 16 << 20;
/// How many bytes of the end are kept of a log that is longer. They wait in memory.
const TAIL: usize = 1 << 20;
/// How much may be lost when the machine stops, in time.
const FLUSH: Duration = Duration::from_millis(500);

/// A log that is written.
pub(super) struct LogFile {
    file: BufWriter<File>,
    since: Instant,
    flushed: Instant,
    written: u64,
    tail: VecDeque<String>,
    tail_bytes: usize,
    /// The lines and bytes between the beginning and the tail, which are gone.
    left_out: (u64, u64),
    ended: bool,
}

impl LogFile {
    pub(super) fn new(file: File) -> Self {
        let now = Instant::now();
        Self {
            file: BufWriter::new(file),
            since: now,
            flushed: now,
            written: 0,
            tail: VecDeque::new(),
            tail_bytes: 0,
            left_out: (0, 0),
            ended: false,
        }
    }

    /// Writes a line about a step.
    pub(super) fn step(&mut self, id: &str, text: &str) -> io::Result<()> {
        let line = self.timed(&format!("{id}: {text}"));
        self.put(line)?;
        self.flush()
    }

    /// Writes a line that a program in a step printed.
    pub(super) fn output(&mut self, id: &str, line: &str) -> io::Result<()> {
        let line = self.timed(&format!("{id}| {line}"));
        self.put(line)?;
        if self.flushed.elapsed() < FLUSH { Ok(()) } else { self.flush() }
    }

    /// Writes a line of its own.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        let line = self.timed(text);
        self.put(line)?;
        self.flush()
    }

    /// Writes what was held back, and ends the log.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.ended = true;
        let (lines, bytes) = self.left_out;
        if lines > 0 {
            let left = format!("... {lines} lines ({} MiB) are left out here ...\n", bytes.div_ceil(1 << 20));
            self.file.write_all(left.as_bytes())?;
        }
        for line in self.tail.drain(..) {
            self.file.write_all(line.as_bytes())?;
        }
        self.file.flush()
    }

    /// Returns whether the log has its end.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    fn timed(&self, text: &str) -> String {
        format!("{:8.1}s {text}\n", self.since.elapsed().as_secs_f64())
    }

    fn put(&mut self, line: String) -> io::Result<()> {
        if self.tail.is_empty() && self.written + line.len() as u64 <= HEAD {
            self.written += line.len() as u64;
            return self.file.write_all(line.as_bytes());
        }
        self.tail_bytes += line.len();
        self.tail.push_back(line);
        while self.tail_bytes > TAIL
            && let Some(first) = self.tail.pop_front()
        {
            self.tail_bytes -= first.len();
            self.left_out = (self.left_out.0 + 1, self.left_out.1 + first.len() as u64);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flushed = Instant::now();
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_too_long_keeps_its_beginning_and_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = LogFile::new(File::create(&path).unwrap());
        let filling = "x".repeat(4000);
        for number in 0..10_000 {
            log.output("stage:os", &format!("line {number} {filling}")).unwrap();
            assert!(log.tail_bytes <= TAIL);
        }
        log.line("failed: at last").unwrap();
        log.end().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!((text.len() as u64) < HEAD + TAIL as u64 + 200, "{}", text.len());
        assert!(text.lines().next().unwrap().contains("stage:os| line 0 x"));
        assert!(text.ends_with("failed: at last\n") && text.contains("| line 9999 "));
        let left: Vec<&str> = text.lines().filter(|line| line.contains("are left out here")).collect();
        let missing: u64 = left[0].split(' ').nth(1).unwrap().parse().unwrap();
        assert_eq!((left.len(), missing + text.lines().count() as u64), (1, 10_002));
    }
}
