//! Shows and changes the kernel's handlers for foreign programs, from a container of the machine that the kernel is on.
//!
//! ```text
//! handlers FOLDER              prints every file of binfmt_misc, mounting it at FOLDER where it is not there
//! handlers FOLDER NAME TEXT    writes TEXT to one of them
//! ```
//!
//! What is to be written is decided by `pib`, on the other side of the engine's API.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_int, c_ulong, c_void};
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

unsafe extern "C" {
    fn mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [folder] => ready(Path::new(folder)).and_then(|()| show(Path::new(folder))),
        [folder, name, text] => {
            ready(Path::new(folder)).and_then(|()| fs::write(Path::new(folder).join(name), text))
        }
        _ => Err(io::Error::other("usage: handlers FOLDER [NAME TEXT]")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// Mounts binfmt_misc, unless it is there.
fn ready(folder: &Path) -> io::Result<()> {
    if folder.join("register").exists() {
        return Ok(());
    }
    let text = |text: &str| CString::new(text).map_err(io::Error::other);
    let (kind, folder) = (text("binfmt_misc")?, text(&folder.to_string_lossy())?);
    // SAFETY: the pointers are to strings that live until the call returns, and this kind takes no data.
    let done = unsafe { mount(kind.as_ptr(), folder.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Prints a line `== NAME` and the contents, for each file that can be read.
fn show(folder: &Path) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if let Ok(text) = fs::read_to_string(entry.path()) {
            writeln!(out, "== {}\n{text}", entry.file_name().to_string_lossy())?;
        }
    }
    // The file for registering cannot be read, but that it is there is what counts.
    if folder.join("register").exists() { writeln!(out, "== register") } else { Ok(()) }
}
