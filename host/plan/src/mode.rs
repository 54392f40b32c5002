//! The permissions of a stage's files and folders.

use std::fmt;
use std::str::FromStr;

/// The permissions of a file or folder: reading, writing and executing for its owner, its group and others.
///
/// Set-user-id, set-group-id and sticky bits are never part of it. A stage that wants one sets it in its part, where
/// it also decides on the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mode(u32);

/// Says why a text or a number is not the mode of a stage's file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// It is not octal.
    #[error("`{0}` is not a mode: write three or four octal digits, such as \"0600\"")]
    NotOctal(String),
    /// It has bits that no file of a stage may have.
    #[error(
        "the mode {0:04o} has a set-user-id, set-group-id or sticky bit; set that in the part, with RUN chmod"
    )]
    Special(u32),
}

impl Mode {
    /// The mode of a file of which nothing else is said.
    pub const FILE: Self = Self(0o644);
    /// The mode of a program of which nothing else is said.
    pub const PROGRAM: Self = Self(0o755);
    /// The mode of a folder of which nothing else is said.
    pub const FOLDER: Self = Self(0o755);

    /// Returns the mode of a file of which is known only whether it may be executed.
    pub const fn of_file(executable: bool) -> Self {
        if executable { Self::PROGRAM } else { Self::FILE }
    }

    /// Returns the mode with these bits.
    ///
    /// # Errors
    /// When there are others than permissions among them.
    pub const fn new(bits: u32) -> Result<Self, ModeError> {
        if bits & !0o777 == 0 { Ok(Self(bits)) } else { Err(ModeError::Special(bits)) }
    }

    /// Returns the bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Returns whether the owner may execute the file.
    pub const fn is_executable(self) -> bool {
        self.0 & 0o100 != 0
    }

    /// Returns whether the owner may read the file: without that no copy of it can be made.
    pub const fn is_readable(self) -> bool {
        self.0 & 0o400 != 0
    }

    /// Returns whether the owner may do everything in the folder: without that none can be filled.
    pub const fn is_open(self) -> bool {
        self.0 & 0o700 == 0o700
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl FromStr for Mode {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        let octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        let bits = u32::from_str_radix(text, 8).ok().filter(|_| octal);
        Self::new(bits.ok_or_else(|| ModeError::NotOctal(text.to_owned()))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_permissions() {
        for (text, bits) in [("0600", 0o600), ("644", 0o644), ("0777", 0o777), ("000", 0)] {
            let mode: Mode = text.parse().unwrap();
            assert_eq!(mode.bits(), bits);
            assert_eq!(mode.to_string().parse::<Mode>().unwrap(), mode);
        }
        for wrong in ["", "6", "0o600", "0680", "rw-r--r--", "+644", "00600", "06٠0"] {
            assert_eq!(wrong.parse::<Mode>(), Err(ModeError::NotOctal(wrong.to_owned())), "{wrong}");
        }
        for special in ["4755", "2755", "1777"] {
            assert!(matches!(special.parse::<Mode>(), Err(ModeError::Special(_))), "{special}");
        }
    }
}
