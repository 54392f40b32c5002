//! The emulators that pib brings: a container image of its own with those of Debian, linked statically, and the program that
//! starts commands. They run the target's programs where the engine's kernel has no handler for these.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pib_event::Reporter;
use pib_plan::emulation::FOLDER;
use pib_plan::id::{Digest, KeyHasher};
use pib_plan::native::Machine;
use tempfile::NamedTempFile;

use super::companion::is_static;
use super::deb;
use super::distribution::{Distribution, WAITS, patiently};
use super::error::DebianError;
use super::mirror::{HostApt, Mirrors};
use super::package_list::Package;
use super::rootfs::{Tree, inside, merged};
use super::{Bootstrap, Folders, relay, selection};

/// Raise it when the same package would give another image.
const VERSION: &str = "pib emulators 1";
/// The release whose emulators are used, for targets of all releases. Older ones have them in another package.
const RELEASE: &str = "trixie";
/// The package that has them.
const PACKAGE: &str = "qemu-user";
/// The emulators, of 64 and of 32 bits: a processor may run programs of both.
const PROGRAMS: [&str; 2] = ["qemu-aarch64", "qemu-arm"];
/// The largest program that is taken.
const MAX_PROGRAM: u64 = 64 << 20;

/// The recipe of the emulators' image.
#[derive(Debug, Clone)]
pub struct EmulatorRecipe {
    /// What is built: where its packages come from, the emulators come from, too.
    pub base: Bootstrap,
    /// The machine that builds.
    pub machine: Machine,
    /// The program that starts commands: `run`.
    pub runner: &'static [u8],
}

impl EmulatorRecipe {
    /// Returns the digest of all that decides the image but the archive's state.
    pub fn key(&self) -> Digest {
        let mut key = KeyHasher::new(VERSION);
        key.field(RELEASE).field(PACKAGE).field(self.machine.platform());
        key.field(relay::relay_key(self.runner, relay::RelayForm::Mounted).as_bytes());
        key.finish()
    }
}

/// Makes the image: a tar, in the folder for work in progress.
///
/// # Errors
/// When the mirror cannot be reached or is not trustworthy, or the cache cannot be written.
pub async fn emulators(
    folders: Folders<'_>,
    recipe: &EmulatorRecipe,
    host: &HostApt,
    reporter: &Arc<dyn Reporter>,
) -> Result<NamedTempFile, DebianError> {
    patiently(reporter, &WAITS, async || emulators_now(folders, recipe, host, reporter).await).await
}

async fn emulators_now(
    folders: Folders<'_>,
    recipe: &EmulatorRecipe,
    host: &HostApt,
    reporter: &Arc<dyn Reporter>,
) -> Result<NamedTempFile, DebianError> {
    let mirrors = match recipe.base.os.as_str() {
        // The emulators are of one release, whichever the base is of.
        "debian" => Mirrors::of(&Bootstrap { release: RELEASE.to_owned(), ..recipe.base.clone() }, host)?,
        _ => Mirrors::of_debian(RELEASE, host)?,
    };
    let architecture = recipe.machine.debian();
    let (distribution, packages) =
        Distribution::open(architecture, &mirrors, host.dates, None, reporter).await?;
    let chosen = selection::closure(&packages, &[PACKAGE]).map_err(DebianError::Resolve)?;
    let chosen: Vec<&Package> = chosen.into_iter().filter(|package| package.name == PACKAGE).collect();
    let what = format!("Debian {RELEASE} ({architecture}), for emulators");
    let (temp, runner, epoch) = (folders.temp.to_owned(), recipe.runner, distribution.epoch);
    let write = move |files: &mut dyn Iterator<Item = PathBuf>| {
        let file = NamedTempFile::new_in(&temp).map_err(DebianError::io("creating a file in", &temp))?;
        write(file.path(), files, &temp, (runner, epoch))?;
        Ok(file)
    };
    distribution.fetch(folders.debs, &chosen, &what, reporter, write).await
}

/// Writes the image's tar.
fn write(
    path: &Path,
    debs: &mut dyn Iterator<Item = PathBuf>,
    temp: &Path,
    (runner, epoch): (&[u8], u64),
) -> Result<(), DebianError> {
    let mut tree = Tree::replace(path, epoch)?;
    let mut missing: Vec<&str> = PROGRAMS.to_vec();
    for deb in debs {
        let mut package = deb::Package::open(&deb, temp)?;
        let files = package.files().map_err(DebianError::io("reading", &deb))?;
        let added =
            add(&mut tree, files).map_err(|error| DebianError::archive(deb.to_string_lossy(), error))?;
        missing.retain(|program| !added.contains(program));
    }
    if !missing.is_empty() {
        let reason = format!("it has no static {}", missing.join(" and no static "));
        return Err(DebianError::archive(format!("the package {PACKAGE} of Debian {RELEASE}"), reason));
    }
    let finish = |mut tree: Tree<std::io::BufWriter<std::fs::File>>| {
        tree.add_file("run", 0o755, runner.len() as u64, runner)?;
        // No native tools, and what says so.
        tree.add_file("tools", 0o644, 0, std::io::empty())?;
        relay::add_files(&mut tree)?;
        tree.finish()?.flush()
    };
    finish(tree).map_err(DebianError::io("writing", path))
}

/// Takes the emulators out of a package; returns which it had.
fn add(tree: &mut Tree<impl Write>, files: impl Read) -> std::io::Result<Vec<&'static str>> {
    let mut added = Vec::new();
    for entry in tar::Archive::new(files).entries()? {
        let entry = entry?;
        let Some(path) = inside(&entry.path()?)?.map(|path| merged(&path)) else { continue };
        let is_file = entry.header().entry_type().is_file() && entry.size() <= MAX_PROGRAM;
        let program = PROGRAMS.iter().find(|program| path.strip_prefix("usr/bin/") == Some(program));
        let Some(program) = program.filter(|_| is_file) else { continue };
        let mut bytes = Vec::new();
        entry.take(MAX_PROGRAM).read_to_end(&mut bytes)?;
        if is_static(&bytes) {
            tree.add_file(&format!("{FOLDER}/{program}"), 0o755, bytes.len() as u64, bytes.as_slice())?;
            added.push(*program);
        }
    }
    Ok(added)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::companion::tests::program;

    fn package(programs: &[(&str, u32)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, kind) in programs {
            let bytes = program(*kind, 62, b"/lib64/ld-linux-x86-64.so.2\0");
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o755);
            tar.append_data(&mut header, format!("./usr/bin/{name}"), bytes.as_slice()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn static_emulators_are_taken_and_nothing_else() {
        let file = NamedTempFile::new().unwrap();
        let mut tree = Tree::replace(file.path(), 7).unwrap();
        let files = package(&[("qemu-aarch64", 1), ("qemu-arm", 3), ("qemu-riscv64", 1)]);
        assert_eq!(add(&mut tree, files.as_slice()).unwrap(), ["qemu-aarch64"]);
        tree.finish().unwrap().flush().unwrap();
        let mut archive = tar::Archive::new(file.reopen().unwrap());
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["emulators/", "emulators/qemu-aarch64"]);
    }

    #[test]
    fn the_program_that_starts_commands_is_in_the_key() {
        let base = Bootstrap {
            os: "debian".to_owned(),
            release: "bookworm".to_owned(),
            arch: pib_plan::id::Arch::Arm64,
            mirror: None,
            security_mirror: None,
            include: vec![],
            archives: vec![],
        };
        let recipe = |runner| EmulatorRecipe { base: base.clone(), machine: Machine::Amd64, runner };
        assert_ne!(recipe(b"a").key(), recipe(b"b").key());
        let other = Bootstrap { release: "trixie".to_owned(), ..base.clone() };
        assert_eq!(EmulatorRecipe { base: other, ..recipe(b"a") }.key(), recipe(b"a").key());
    }
}
