//! As whom a process asks for files, and what it may do with one.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;

use crate::sys::Pid;

/// The right to read, in the last digit of a mode.
const READ: u32 = 4;
/// The right to run.
const RUN: u32 = 1;
/// The bit of the capability to pass over a file's mode (`CAP_DAC_OVERRIDE`).
const OVERRIDE: u64 = 1 << 1;
/// The bit of the capability to read whatever a file's mode says (`CAP_DAC_READ_SEARCH`).
const READ_SEARCH: u64 = 1 << 2;

/// As whom a process asks for files.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Credentials {
    user: u32,
    groups: Vec<u32>,
    capabilities: u64,
}

impl Credentials {
    /// Reads those of a process.
    pub(crate) fn of(pid: Pid) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }

    fn parse(status: &str) -> Option<Self> {
        let field = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
        // The last of the four is the one that counts for files.
        let last = |key: &str| field(key)?.split_whitespace().nth(3)?.parse().ok();
        let others = field("Groups:")?.split_whitespace().filter_map(|group| group.parse().ok());
        Some(Self {
            user: last("Uid:")?,
            groups: std::iter::once(last("Gid:")?).chain(others).collect(),
            capabilities: u64::from_str_radix(field("CapEff:")?.trim(), 16).ok()?,
        })
    }

    /// Returns whether the process may run a file, by the file's mode.
    pub(crate) fn may_run(&self, file: &Metadata) -> bool {
        self.may(RUN, (file.mode(), file.uid(), file.gid()))
    }

    /// Returns whether the process may read a file, by the file's mode.
    pub(crate) fn may_read(&self, file: &Metadata) -> bool {
        self.may(READ, (file.mode(), file.uid(), file.gid()))
    }

    fn may(&self, right: u32, (mode, user, group): (u32, u32, u32)) -> bool {
        let by_mode = match () {
            () if user == self.user => mode >> 6 & right != 0,
            () if self.groups.contains(&group) => mode >> 3 & right != 0,
            () => mode & right != 0,
        };
        let passes = match right {
            // Nobody runs what nobody may run.
            RUN => self.capabilities & OVERRIDE != 0 && mode & 0o111 != 0,
            _ => self.capabilities & (OVERRIDE | READ_SEARCH) != 0,
        };
        by_mode || passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_of_a_file_decides_for_whom_it_is() {
        let status =
            "Name:\tx\nUid:\t0\t0\t0\t1000\nGid:\t0\t0\t0\t50\nGroups:\t4 24 \nCapEff:\t0000000000000000\n";
        let person = Credentials::parse(status).unwrap();
        assert_eq!(person, Credentials { user: 1000, groups: vec![50, 4, 24], capabilities: 0 });
        let root = Credentials { user: 0, groups: vec![0], capabilities: OVERRIDE };
        for (mode, user, group, runs, reads) in [
            (0o755, 0, 0, true, true),
            (0o711, 0, 0, true, false),
            (0o700, 0, 0, false, false),
            (0o700, 1000, 0, true, true),
            (0o077, 1000, 0, false, false),
            (0o750, 0, 24, true, true),
            (0o701, 0, 24, false, false),
            (0o644, 0, 0, false, true),
        ] {
            let file = (mode, user, group);
            assert_eq!((person.may(RUN, file), person.may(READ, file)), (runs, reads), "{mode:o}");
        }
        assert!(root.may(RUN, (0o001, 5, 5)) && root.may(READ, (0, 5, 5)) && !root.may(RUN, (0o644, 0, 0)));
        assert!(Credentials::of(std::process::id().try_into().unwrap()).is_some());
        assert_eq!(Credentials::parse("Name:\tx\n"), None);
    }
}
