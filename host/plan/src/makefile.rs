//! Reads makefiles as text: assignments, conditionals, includes and rules. Nothing is ever run.
//!
//! What make would ask a shell, the environment or the file system for has no value here and is noted, so that a person
//! can look. Whatever a text says, reading it ends: includes, recursion, the number of steps and the size of values have
//! bounds.

mod expansion;
mod logical_line;
mod recipe;
mod state;
mod statement;
#[cfg(test)]
mod tests;

pub use recipe::{MakeCall, words};
pub use state::{Makefile, Note};
pub use statement::read;
