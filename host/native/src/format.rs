//! What a file is that is to be run, by its first bytes: a script, or a program for some processor.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStringExt as _;

/// How much of a file the kernel looks at.
const HEAD: usize = 256;

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Format {
    /// A program that this machine runs itself.
    Native,
    /// A program for the target, or for a relative of it.
    Foreign(Processor),
    /// A program for another processor, and its name.
    Strange(String),
    /// A text that names its interpreter, with the one argument that this may have.
    Script { interpreter: OsString, option: Option<OsString> },
    /// Nothing that the kernel runs.
    Unknown,
}

/// A processor that is emulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Processor {
    Arm64,
    Arm,
}

impl Format {
    /// Reads what a file is.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn read(file: &File) -> io::Result<Self> {
        let mut head = Vec::with_capacity(HEAD);
        file.take(HEAD as u64).read_to_end(&mut head)?;
        Ok(Self::of(&head))
    }

    /// Returns what a file is that begins so.
    fn of(head: &[u8]) -> Self {
        if let Some(line) = head.strip_prefix(b"#!") {
            return script(line, head.len() < HEAD).unwrap_or(Self::Unknown);
        }
        let program = head.len() >= 20 && head.starts_with(b"\x7fELF");
        if !program {
            return Self::Unknown;
        }
        let (class, order) = (head[4], head[5]);
        let machine = if order == 2 { [head[19], head[18]] } else { [head[18], head[19]] };
        match (class, order, u16::from_le_bytes(machine)) {
            (2, 1, 62) | (1, 1, 3 | 62) => Self::Native,
            (2, 1, 183) => Self::Foreign(Processor::Arm64),
            (1, 1, 40) => Self::Foreign(Processor::Arm),
            (_, order, machine) => Self::Strange(name(order, machine)),
        }
    }
}

/// Reads the first line of a script after its mark; `whole` says whether nothing of the file comes after it. Like the kernel,
/// this counts no other blanks than spaces and tabs.
fn script(line: &[u8], whole: bool) -> Option<Format> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let end = line.iter().position(|byte| matches!(byte, b'\n' | 0));
    let line = &line[..end.unwrap_or(line.len())];
    let start = line.iter().position(|byte| !blank(byte))?;
    let line = &line[start..];
    let split = line.iter().position(blank);
    // A name that does not end here may be cut off in the middle.
    if end.is_none() && !whole && split.is_none() {
        return None;
    }
    let (interpreter, option) = line.split_at(split.unwrap_or(line.len()));
    let option = option.iter().position(|byte| !blank(byte)).map(|start| &option[start..]);
    let option = option.map(|option| {
        let end = option.iter().rposition(|byte| !blank(byte)).map_or(0, |last| last + 1);
        OsString::from_vec(option[..end].to_vec())
    });
    (!interpreter.is_empty())
        .then(|| Format::Script { interpreter: OsString::from_vec(interpreter.to_vec()), option })
}

/// Returns the name of a processor by its number in ELF files.
fn name(order: u8, machine: u16) -> String {
    let name = match machine {
        8 => "MIPS",
        20 => "32-bit PowerPC",
        21 => "64-bit PowerPC",
        22 => "IBM Z",
        40 => "ARM",
        183 => "64-bit ARM",
        243 => "RISC-V",
        258 => "LoongArch",
        _ => return format!("a processor of another kind (ELF machine {machine})"),
    };
    let order = if order == 2 && matches!(machine, 40 | 183) { "big-endian " } else { "" };
    format!("{order}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_line(text: &[u8]) -> Option<(String, Option<String>)> {
        let Format::Script { interpreter, option } = Format::of(&text[..text.len().min(HEAD)]) else {
            return None;
        };
        Some((interpreter.into_string().unwrap(), option.map(|option| option.into_string().unwrap())))
    }

    #[test]
    fn the_first_line_is_read_as_the_kernel_reads_it() {
        let plain = |name: &str| Some((name.to_owned(), None));
        for text in [&b"#!/bin/sh\nx"[..], b"#! /bin/sh  \nx", b"#!/bin/sh", b"#!\t/bin/sh\0x"] {
            assert_eq!(first_line(text), plain("/bin/sh"));
        }
        let both = Some(("/usr/bin/perl".to_owned(), Some("-w -T".to_owned())));
        assert_eq!(first_line(b"#!/usr/bin/perl -w -T\n"), both);
        assert_eq!(first_line(b"#!/bin/sh\r\n"), plain("/bin/sh\r"));
        let long = [b"#!/bin/sh ".to_vec(), vec![b'x'; 400]].concat();
        assert_eq!(first_line(&long), Some(("/bin/sh".to_owned(), Some("x".repeat(246)))));
        let cut = [b"#!/".to_vec(), vec![b'x'; 400]].concat();
        for other in [&b"\x7fELF"[..], b"", b"#!", b"#!\n", b"#!  \n", b"echo\n", &cut] {
            assert_eq!(first_line(other), None);
        }
    }

    #[test]
    fn a_program_is_known_by_its_processor() {
        let program = |class: u8, order: u8, machine: [u8; 2]| {
            let mut head = vec![0; 64];
            head[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order]);
            head[18..20].copy_from_slice(&machine);
            Format::of(&head)
        };
        assert_eq!(program(2, 1, [62, 0]), Format::Native);
        assert_eq!(program(1, 1, [3, 0]), Format::Native);
        assert_eq!(program(2, 1, [183, 0]), Format::Foreign(Processor::Arm64));
        assert_eq!(program(1, 1, [40, 0]), Format::Foreign(Processor::Arm));
        let strange =
            |format: Format| matches!(format, Format::Strange(name) if !name.is_empty()).then_some(());
        assert_eq!(program(2, 1, [243, 0]), Format::Strange("RISC-V".to_owned()));
        assert_eq!(program(1, 2, [0, 40]), Format::Strange("big-endian ARM".to_owned()));
        assert!(strange(program(2, 1, [1, 9])).is_some());
        assert_eq!(Format::of(b"\x7fELF"), Format::Unknown);
    }
}
