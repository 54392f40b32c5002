//! Writes `pib.lock`.

use std::fmt::{self, Display, Write};

use super::locked::{LockedStage, Lockfile, MadeBase, VERSION};
use crate::signed_tarball::LockedTarball;
use crate::snapshot::{ArchiveSnapshot, BaseSnapshot, SnapshotPackage};

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
    option(out, "snapshot", lock.snapshot.as_ref())?;
    option(out, "fetch", lock.fetch.as_ref())?;
    option(out, "as-of", lock.as_of.as_ref())?;
    option(out, "losses", lock.refuses_losses.then_some("refuse"))?;
    for base in &lock.bases {
        out.write_str("\n[[base]]\n")?;
        string(out, "arch", &base.arch)?;
        string(out, "os", &base.os)?;
        string(out, "release", &base.release)?;
        option(out, "recipe", base.recipe.as_ref())?;
        if let Some(MadeBase { digest, epoch }) = &base.made {
            string(out, "digest", digest)?;
            writeln!(out, "epoch = {epoch}")?;
        }
        option(out, "source", base.source.as_ref())?;
        if let Some(LockedTarball { digest, moment, key }) = &base.tarball {
            let (digest, key) = (quoted(digest), quoted(key));
            writeln!(out, "tarball = {{ digest = {digest}, moment = {moment}, key = {key} }}")?;
        }
        if let Some(snapshot) = &base.snapshot {
            write_snapshot(out, snapshot)?;
        }
    }
    for stage in &lock.stages {
        write_stage(out, "[[stage]]", stage)?;
    }
    for (name, stages) in &lock.targets {
        write_target(out, &lock.stages, name, stages)?;
    }
    Ok(())
}

/// Writes how a target differs from the project, so that what they share changes in one place.
fn write_target(out: &mut String, shared: &[LockedStage], name: &str, stages: &[LockedStage]) -> fmt::Result {
    if stages == shared {
        return Ok(());
    }
    out.write_str("\n[[target]]\n")?;
    string(out, "name", &name)?;
    let gone = |stage: &&LockedStage| !stages.iter().any(|own| own.name == stage.name);
    list(out, "without", shared.iter().filter(gone).map(|stage| &stage.name))?;
    for stage in stages.iter().filter(|stage| !shared.contains(stage)) {
        write_stage(out, "[[target.stage]]", stage)?;
    }
    Ok(())
}

/// Writes what a base is made of, a line for each package.
fn write_snapshot(out: &mut String, snapshot: &BaseSnapshot) -> fmt::Result {
    out.write_str("archives = [\n")?;
    for ArchiveSnapshot { name, moment, key, keyring } in &snapshot.archives {
        write!(out, "    {{ name = {}, moment = {moment}, key = {}", quoted(name), quoted(key))?;
        if let Some(keyring) = keyring {
            write!(out, ", keyring = {}", quoted(keyring))?;
        }
        out.write_str(" },\n")?;
    }
    out.write_str("]\npackages = [\n")?;
    for package in &snapshot.packages {
        let SnapshotPackage { name, version, arch, archive, path, size, digest, essential, automatic } =
            package;
        let (name, version, arch) = (quoted(name), quoted(version), quoted(arch));
        write!(
            out,
            "    {{ name = {name}, version = {version}, arch = {arch}, archive = {}",
            quoted(archive)
        )?;
        write!(out, ", path = {}, size = {size}, digest = {}", quoted(path), quoted(digest))?;
        for (mark, is_set) in [("essential", essential), ("automatic", automatic)] {
            if *is_set {
                write!(out, ", {mark} = true")?;
            }
        }
        out.write_str(" },\n")?;
    }
    out.write_str("]\n")
}

fn write_stage(out: &mut String, head: &str, stage: &LockedStage) -> fmt::Result {
    writeln!(out, "\n{head}")?;
    string(out, "name", &stage.name)?;
    string(out, "version", &stage.version)?;
    string(out, "source", &stage.source)?;
    option(out, "checksum", stage.checksum.as_ref())?;
    option(out, "content", stage.content.as_ref())?;
    option(out, "publisher", stage.publisher.as_ref())?;
    option(out, "hook", stage.hook.as_ref().map(|hook| &hook.digest))?;
    option(out, "hook-world", stage.hook.as_ref().map(|hook| &hook.world))?;
    list(out, "dependencies", &stage.dependencies)
}

/// Writes a list, where there is anything in it: one entry on each line, so that two people's additions merge.
fn list(out: &mut String, key: &str, entries: impl IntoIterator<Item = impl Display>) -> fmt::Result {
    let mut entries = entries.into_iter().peekable();
    if entries.peek().is_none() {
        return Ok(());
    }
    writeln!(out, "{key} = [")?;
    for entry in entries {
        writeln!(out, "    {},", quoted(&entry))?;
    }
    out.write_str("]\n")
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
