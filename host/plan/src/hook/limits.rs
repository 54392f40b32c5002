//! How much a hook may use: all the limits, in this one place.
//!
//! The user can change them under `[hooks]` in pib's own config file; a stage package cannot. The defaults leave room
//! for hooks in languages that bring a whole interpreter along.

use serde::{Deserialize, Serialize};

use crate::size::ByteSize;

/// How much one call of a hook may use, and how much it may say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Limits {
    /// The size of the component's file.
    pub component: ByteSize,
    /// The seconds of the processor that compiling it may take; by the clock it is four times as long.
    pub compile_seconds: u64,
    /// The memory that compiling it may take.
    pub compile_memory: ByteSize,
    /// All of its linear memories together.
    pub memory: ByteSize,
    /// How many linear memories it has.
    pub memories: u32,
    /// How many tables it has.
    pub tables: u32,
    /// The elements of all its tables together.
    pub table_elements: u64,
    /// How many core instances it is made of.
    pub instances: u32,
    /// The stack of its calls.
    pub stack: ByteSize,
    /// The units of work: about one for each instruction, and one for each byte that it hands to the host. The same
    /// call uses the same fuel everywhere, so that this limit, not the next, is the one that decides.
    pub fuel: u64,
    /// The seconds that a call may take, for what fuel does not count.
    pub seconds: u64,
    /// All that a call answers: part, files, diagnostics.
    pub output: ByteSize,
    /// How many files it renders.
    pub files: u32,
    /// How many diagnostics it gives.
    pub diagnostics: u32,
    /// All that it reads with `read-file`.
    pub read: ByteSize,
    /// How many lines of its log are kept.
    pub log_lines: u32,
    /// How many bytes of its log are kept.
    pub log: ByteSize,
}

/// The least and the most that a limit can be set to.
const RANGES: [(&str, u64, u64); 17] = [
    ("component", 1, 1 << 30),
    ("compile-seconds", 1, 24 * 3600),
    ("compile-memory", 1 << 26, 1 << 36),
    ("memory", 1 << 16, 1 << 36),
    ("memories", 1, 1_000),
    ("tables", 1, 100_000),
    ("table-elements", 1, 1 << 30),
    ("instances", 1, 100_000),
    ("stack", 1 << 16, 1 << 28),
    ("fuel", 1, i64::MAX as u64),
    ("seconds", 1, 24 * 3600),
    ("output", 1, 1 << 30),
    ("files", 0, 10_000),
    ("diagnostics", 1, 100_000),
    ("read", 0, 1 << 36),
    ("log-lines", 0, 1_000_000),
    ("log", 0, 1 << 30),
];

/// Says that a limit is out of its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` is {found}; it can be {least} to {most}")]
pub struct LimitProblem {
    /// The limit.
    pub key: &'static str,
    /// What it is set to.
    pub found: u64,
    /// The least that it can be.
    pub least: u64,
    /// The most that it can be.
    pub most: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            component: ByteSize(64 << 20),
            compile_seconds: 60,
            compile_memory: ByteSize(768 << 20),
            memory: ByteSize(256 << 20),
            memories: 16,
            tables: 200,
            table_elements: 100_000,
            instances: 200,
            stack: ByteSize(512 << 10),
            fuel: 2_000_000_000,
            seconds: 30,
            output: ByteSize(16 << 20),
            files: 1_000,
            diagnostics: 100,
            read: ByteSize(64 << 20),
            log_lines: 1_000,
            log: ByteSize(256 << 10),
        }
    }
}

impl Limits {
    /// Checks that each limit is in its range.
    ///
    /// # Errors
    /// Names the first that is not.
    pub fn check(&self) -> Result<(), LimitProblem> {
        let values = self.values();
        let ranges = RANGES.into_iter().zip(values);
        for ((key, least, most), found) in ranges {
            if !(least..=most).contains(&found) {
                return Err(LimitProblem { key, found, least, most });
            }
        }
        Ok(())
    }

    /// Returns all limits, in the order of [`RANGES`].
    fn values(&self) -> [u64; 17] {
        [
            self.component.0,
            self.compile_seconds,
            self.compile_memory.0,
            self.memory.0,
            self.memories.into(),
            self.tables.into(),
            self.table_elements,
            self.instances.into(),
            self.stack.0,
            self.fuel,
            self.seconds,
            self.output.0,
            self.files.into(),
            self.diagnostics.into(),
            self.read.0,
            self.log_lines.into(),
            self.log.0,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_range_and_every_limit_has_one() {
        let limits = Limits::default();
        assert_eq!(limits.check(), Ok(()));
        let text = toml::to_string(&limits).unwrap();
        let keys: Vec<&str> =
            text.lines().filter_map(|line| line.split_once(" =")).map(|(key, _)| key).collect();
        assert_eq!(keys, RANGES.map(|(key, _, _)| key));
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let limits = Limits { stack: ByteSize(1), ..Limits::default() };
        assert_eq!(limits.check().unwrap_err().key, "stack");
        let limits = Limits { fuel: 0, ..Limits::default() };
        assert_eq!(limits.check().unwrap_err().key, "fuel");
    }
}
