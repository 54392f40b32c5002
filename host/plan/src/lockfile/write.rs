//! Writes `pib.lock`.

use std::fmt::{self, Display, Write};

use super::{Lockfile, VERSION};

const HEADER: &str = "\
# This file is written by pib; it says exactly what the build consists of. Keep it in version control.
# To change it, edit pib.toml and run `pib lock`, or run `pib update`.
";

pub(super) fn text(lock: &Lockfile) -> String {
    let mut sorted = lock.clone();
    sorted.sort();
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_all(&mut text, &sorted);
    text
}

fn write_all(out: &mut String, lock: &Lockfile) -> fmt::Result {
    writeln!(out, "{HEADER}version = {VERSION}")?;
    option(out, "fetch", lock.fetch.as_ref())?;
    for base in &lock.bases {
        out.write_str("\n[[base]]\n")?;
        string(out, "arch", &base.arch)?;
        string(out, "os", &base.os)?;
        string(out, "release", &base.release)?;
        string(out, "digest", &base.digest)?;
        writeln!(out, "epoch = {}", base.epoch)?;
        option(out, "source", base.source.as_ref())?;
    }
    for stage in &lock.stages {
        out.write_str("\n[[stage]]\n")?;
        string(out, "name", &stage.name)?;
        string(out, "version", &stage.version)?;
        string(out, "source", &stage.source)?;
        option(out, "checksum", stage.checksum.as_ref())?;
        option(out, "content", stage.content.as_ref())?;
        option(out, "hook", stage.hook.as_ref().map(|hook| &hook.digest))?;
        option(out, "hook-world", stage.hook.as_ref().map(|hook| &hook.world))?;
        if !stage.dependencies.is_empty() {
            // One on each line, so that two people's additions merge.
            out.write_str("dependencies = [\n")?;
            for needed in &stage.dependencies {
                writeln!(out, "    {},", quoted(needed))?;
            }
            out.write_str("]\n")?;
        }
    }
    Ok(())
}

fn option(out: &mut String, key: &str, value: Option<impl Display>) -> fmt::Result {
    value.map_or(Ok(()), |value| string(out, key, &value))
}

fn string(out: &mut String, key: &str, value: &impl Display) -> fmt::Result {
    writeln!(out, "{key} = {}", quoted(value))
}

/// Returns the text as a basic TOML string on one line.
///
/// Written out here rather than by a library, whose choice among TOML's four kinds of strings may change.
pub(crate) fn quoted(value: &impl Display) -> String {
    let mut quoted = String::from("\"");
    for c in value.to_string().chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
