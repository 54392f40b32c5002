//! How much is said.

/// How much to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Warnings and errors.
    Quiet,
    /// Steps and notes too.
    Normal,
    /// What the programs inside the build print too.
    Verbose,
}
