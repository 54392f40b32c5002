//! Changes a call: another program, and other words before its arguments.

use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use crate::registers::Registers;
use crate::sys::Memory;

/// How much is written below the stack of a process. More might reach what lies there.
const MOST: u64 = 16 << 10;

/// A call, as it will be made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) program: Program,
    /// What stands before the second of the old arguments; empty where they stay as they are.
    pub(crate) head: Vec<Argument>,
}

/// The program of a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// At a path.
    Path(PathBuf),
    /// What the process has open.
    Open(i32),
}

/// An argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Argument {
    /// A text, which the process gets.
    Text(Vec<u8>),
    /// The address of a text that it has.
    Pointer(u64),
}

/// Why a call cannot be changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unchanged {
    /// It takes so many bytes of memory that the process does not have.
    Space(u64),
    /// The process cannot be written to.
    Unwritten,
}

impl Argument {
    /// Returns a text as an argument.
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec())
    }
}

impl Change {
    /// Writes what the new call needs to memory of the process, and returns the registers with which it is made: to `space`,
    /// which has as much as was asked for, or else below its stack.
    ///
    /// # Errors
    /// When there is no space for it.
    pub(crate) fn apply(
        &self,
        memory: &Memory,
        before: &Registers,
        arguments: &[u64],
        space: Option<u64>,
    ) -> Result<Registers, Unchanged> {
        let path = match &self.program {
            Program::Path(path) => path.as_os_str().as_bytes(),
            Program::Open(_) => b"",
        };
        let mut bytes = path.to_vec();
        bytes.push(0);
        let mut words = Vec::with_capacity(self.head.len());
        for word in &self.head {
            words.push(match word {
                Argument::Text(text) => Ok(append(&mut bytes, text)),
                Argument::Pointer(pointer) => Err(*pointer),
            });
        }
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let array = bytes.len() as u64;
        let rest = arguments.get(1..).unwrap_or_default();
        let count = if words.is_empty() { 0 } else { words.len() + rest.len() + 1 };
        let length = array + 8 * count as u64;
        let start = match space {
            Some(space) => space,
            None if length > MOST => return Err(Unchanged::Space(length)),
            None => before.unused(length).ok_or(Unchanged::Unwritten)?,
        };
        if !words.is_empty() {
            let words =
                words.into_iter().map(|word| word.map_or_else(|pointer| pointer, |offset| start + offset));
            let pointers = words.chain(rest.iter().copied()).chain([0]);
            bytes.extend(pointers.flat_map(u64::to_le_bytes));
        }
        let old = before.exec().map(|exec| exec.arguments).ok_or(Unchanged::Unwritten)?;
        let list = if self.head.is_empty() { old } else { start + array };
        if !memory.write(start, &bytes) {
            return Err(Unchanged::Unwritten);
        }
        Ok(match self.program {
            Program::Path(_) => before.with_program(start, list),
            Program::Open(descriptor) => before.with_open_program(descriptor, start, list),
        })
    }
}

/// Appends a text with its end; returns where it stands.
fn append(bytes: &mut Vec<u8>, text: &[u8]) -> u64 {
    let offset = bytes.len() as u64;
    bytes.extend(text);
    bytes.push(0);
    offset
}
