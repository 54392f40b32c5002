//! The companion of a base: programs of the building machine's own processor, of the same distribution and release.
//!
//! It is no system: nothing in it is installed or configured, and it is never started by itself. Programs are taken
//! out of their packages and told to find their loader and their libraries below `/.pib`, where no part looks for the
//! target's. All other files that a program reads are the target's.

use std::io::{Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object::LittleEndian;
use object::elf::{EM_X86_64, FileHeader64, PT_INTERP};
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use pib_plan::emulation::FOLDER;
use pib_plan::id::{Arch, Digest, KeyHasher};
use pib_plan::native::{Machine, ROOT};

use super::deb;
use super::distribution::{Distribution, WAITS, patiently};
use super::error::DebianError;
use super::mirror::{HostApt, Mirrors};
use super::package_list::Package;
use super::rootfs::{Tree, inside, merged};
use super::twins::{Rule, Twins};
use super::{Bootstrap, Folders, relay, selection};
use pib_event::Reporter;
use tempfile::NamedTempFile;

/// A tar that was made, in the folder for work in progress.
pub type WorkFile = NamedTempFile;

/// Raise it when the same list would give another companion.
const VERSION: &str = "pib companion 5";
/// The largest program that is taken.
const MAX_PROGRAM: u64 = 64 << 20;
/// Where the programs find their loader. It fits in the place of the usual one, which is longer.
const LOADER: &[u8] = b"/.pib/loader";

/// The recipe of a companion.
#[derive(Debug, Clone)]
pub struct CompanionRecipe {
    /// The base that it accompanies.
    pub base: Bootstrap,
    /// The machine that builds.
    pub machine: Machine,
    /// The program that starts commands: `run`.
    pub runner: &'static [u8],
}

impl CompanionRecipe {
    /// Returns the recipe, where pib has native tools for the base's distribution on this machine.
    pub fn of(base: &Bootstrap, machine: Machine, runner: &'static [u8]) -> Option<Self> {
        let known = matches!(Twins::of(&base.os), Ok(Some(_))) && target(base).is_some();
        (known && !runner.is_empty() && machine.emulates(base.arch)).then(|| Self {
            base: base.clone(),
            machine,
            runner,
        })
    }

    /// Returns the digest of all that decides the companion but the archive's state.
    pub fn key(&self) -> Digest {
        let mut key = KeyHasher::new(VERSION);
        key.field(&self.base.os).field(&self.base.release).field(self.base.arch.as_str());
        key.field(self.machine.platform()).field(Twins::text()).field(self.runner);
        key.finish()
    }
}

/// Returns the architecture of a base as its packages name it: Debian's name for ARMv7 is that of its relatives for ARMv6.
fn target(base: &Bootstrap) -> Option<&'static str> {
    match (base.os.as_str(), base.arch) {
        ("debian", arch) => arch.debian(),
        (_, Arch::Armv6) => Arch::Armv7.debian(),
        (_, arch) => arch.debian(),
    }
}

/// Makes the companion: a tar, in the folder for work in progress.
///
/// # Errors
/// When the mirror cannot be reached or is not trustworthy, or the cache cannot be written.
pub async fn companion(
    folders: Folders<'_>,
    recipe: &CompanionRecipe,
    host: &HostApt,
    reporter: &Arc<dyn Reporter>,
) -> Result<NamedTempFile, DebianError> {
    patiently(reporter, &WAITS, async || companion_now(folders, recipe, host, reporter).await).await
}

async fn companion_now(
    folders: Folders<'_>,
    recipe: &CompanionRecipe,
    host: &HostApt,
    reporter: &Arc<dyn Reporter>,
) -> Result<NamedTempFile, DebianError> {
    let base = &recipe.base;
    let list = Twins::of(&base.os).map_err(|error| DebianError::Resolve(error.to_string()))?;
    let list = list.ok_or_else(|| DebianError::UnsupportedOs { os: base.os.clone() })?;
    // A relative of Debian has its own archive, without this machine's processor: the programs are Debian's then.
    let mirrors = match base.os.as_str() {
        "debian" => Mirrors::of(base, host)?,
        _ => Mirrors::of_debian(&base.release, host)?,
    };
    let architecture = recipe.machine.debian();
    let (distribution, packages) =
        Distribution::open(architecture, &mirrors, host.dates, None, reporter).await?;
    let names: Vec<&str> = list.package.iter().map(|rule| rule.name.as_str()).collect();
    let chosen = selection::closure(&packages, &names).map_err(DebianError::Resolve)?;
    let what = format!("Debian {} ({architecture}), for native tools", base.release);
    let packages: Vec<Package> = chosen.iter().map(|package| (*package).clone()).collect();
    let (temp, recipe, epoch) = (folders.temp.to_owned(), recipe.clone(), distribution.epoch);
    let write = move |files: &mut dyn Iterator<Item = PathBuf>| {
        let file = NamedTempFile::new_in(&temp).map_err(DebianError::io("creating a file in", &temp))?;
        Writer::new(file.path(), &recipe, &list, epoch)?.write(packages.iter().zip(files), &temp, &recipe)?;
        Ok(file)
    };
    distribution.fetch(folders.debs, &chosen, &what, reporter, write).await
}

/// Writes the companion's tar.
struct Writer<'a> {
    tree: Tree<std::io::BufWriter<std::fs::File>>,
    path: PathBuf,
    list: &'a Twins,
    /// The lists of the packages' tools, as `run` reads them, by package, with what the package depends on.
    tools: Vec<(String, String)>,
    /// The packages with a library that cannot be told the target's name.
    broken: Vec<String>,
    /// The folders of the libraries, and where they lie in the companion.
    libraries: [(&'static str, &'static str); 2],
    /// The architecture's name, and the target's.
    names: (&'static str, &'static str),
}

impl<'a> Writer<'a> {
    fn new(path: &Path, recipe: &CompanionRecipe, list: &'a Twins, epoch: u64) -> Result<Self, DebianError> {
        let arch: Arch = recipe.base.arch;
        let target = target(&recipe.base).ok_or(DebianError::UnsupportedArch { arch })?;
        Ok(Self {
            tree: Tree::replace(path, epoch)?,
            path: path.to_owned(),
            list,
            tools: Vec::new(),
            broken: Vec::new(),
            libraries: recipe.machine.libraries(),
            names: (recipe.machine.debian(), target),
        })
    }

    fn write(
        mut self,
        debs: impl Iterator<Item = (&'a Package, PathBuf)>,
        temp: &Path,
        recipe: &CompanionRecipe,
    ) -> Result<(), DebianError> {
        for (package, path) in debs {
            let mut deb = deb::Package::open(&path, temp)?;
            let files = deb.files().map_err(DebianError::io("reading", &path))?;
            self.add(package, files).map_err(|error| DebianError::archive(package.file_name(), error))?;
        }
        let path = self.path.clone();
        let finish = move || {
            let [(_, libraries), (_, short)] = self.libraries.map(|(from, to)| (from, below_root(to)));
            self.tree.add_link(short, libraries)?;
            self.tree.add_link("loader", &format!("{libraries}/ld-linux-x86-64.so.2"))?;
            let (run, tools) = (recipe.runner, usable(&self.tools, &self.broken));
            self.tree.add_file("run", 0o755, run.len() as u64, run)?;
            self.tree.add_file("tools", 0o644, tools.len() as u64, tools.as_bytes())?;
            relay::add_files(&mut self.tree)?;
            // Where the emulators are mounted, if there are any.
            self.tree.add_folder(FOLDER)?;
            self.tree.finish()?.flush()
        };
        finish().map_err(DebianError::io("writing", &path))
    }

    /// Takes what is needed out of a package: its libraries, and the programs that the list names.
    fn add(&mut self, package: &Package, files: impl Read) -> std::io::Result<()> {
        let rule = self.list.rule(&package.name);
        let mut tools = String::new();
        let mut archive = tar::Archive::new(files);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let Some(listed) = inside(&entry.path()?)? else { continue };
            let path = merged(&listed);
            let kind = entry.header().entry_type();
            if let Some(place) = self.library(&path) {
                self.add_library(rule, &place, entry)?;
                continue;
            }
            let Some(rule) = rule.filter(|rule| rule.takes(&path) && !self.tree.has(&path)) else { continue };
            if kind.is_file() && entry.size() <= MAX_PROGRAM {
                let bytes = contents(&mut entry)?;
                if self.add_program(rule, &path, bytes)? {
                    rule.write(&mut tools, &path, &package.version, &listed);
                }
            } else if kind.is_hard_link() {
                let target = entry.link_name()?.as_deref().map(inside).transpose()?.flatten();
                if target.is_some_and(|target| self.tree.has(&merged(&target))) {
                    self.tree.add_entry(entry)?;
                    rule.write(&mut tools, &path, &package.version, &listed);
                }
            }
        }
        self.tools.push((package.depends.clone(), tools));
        Ok(())
    }

    /// Returns where a library lies in the companion, for a path in its package.
    fn library(&self, path: &str) -> Option<String> {
        let (from, to) = self.libraries[0];
        let rest = path.strip_prefix(from.trim_start_matches('/'))?;
        rest.starts_with('/').then(|| format!("{}{rest}", below_root(to)))
    }

    fn add_library(
        &mut self,
        rule: Option<&Rule>,
        place: &str,
        mut entry: tar::Entry<'_, impl Read>,
    ) -> std::io::Result<()> {
        if self.tree.has(place) {
            return Ok(());
        }
        let kind = entry.header().entry_type();
        if kind.is_file() {
            let mode = entry.header().mode()? & 0o755;
            let mut bytes = contents(&mut entry)?;
            if let Some(rule) = rule.filter(|rule| rule.renames(place))
                && !rename(&mut bytes, self.names)
            {
                self.broken.push(rule.name.clone());
                return Ok(());
            }
            self.move_libraries(&mut bytes);
            return self.tree.add_file(place, mode, bytes.len() as u64, bytes.as_slice());
        }
        // Links of libraries stay in their folder; one that leads elsewhere leads to what is not taken.
        let link = entry.link_name()?;
        match link.as_deref().and_then(Path::to_str).filter(|link| !link.contains('/')) {
            Some(link) if kind.is_symlink() => self.tree.add_link(place, link),
            _ => Ok(()),
        }
    }

    /// Adds a program; returns false where it is none for this machine, or cannot be told the target's name.
    fn add_program(&mut self, rule: &Rule, path: &str, mut bytes: Vec<u8>) -> std::io::Result<bool> {
        if (rule.renames(path) && !rename(&mut bytes, self.names)) || !relocate(&mut bytes) {
            return Ok(false);
        }
        self.move_libraries(&mut bytes);
        self.tree.add_file(path, 0o755, bytes.len() as u64, bytes.as_slice())?;
        Ok(true)
    }

    /// Has a file look for libraries in the companion.
    fn move_libraries(&self, bytes: &mut [u8]) {
        for (from, to) in self.libraries {
            replace(bytes, from.as_bytes(), to.as_bytes(), |_, _| true);
        }
    }
}

/// Returns the list of the tools that need no broken package. A compiler may have made a name part of its code instead
/// of keeping it as text; then what uses that library stays emulated.
fn usable(tools: &[(String, String)], broken: &[String]) -> String {
    let needs = |depends: &str| broken.iter().any(|name| depends.contains(name.as_str()));
    tools.iter().filter(|(depends, _)| !needs(depends)).map(|(_, lines)| lines.as_str()).collect()
}

fn contents(entry: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.take(MAX_PROGRAM).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Returns a path of a build as one of the companion, which is mounted at [`ROOT`].
fn below_root(path: &str) -> &str {
    path.strip_prefix(ROOT).unwrap_or(path).trim_start_matches('/')
}

/// Replaces `from` by `to`, which is as long, wherever `fits` likes the bytes before and after; returns how often.
fn replace(bytes: &mut [u8], from: &[u8], to: &[u8], fits: impl Fn(Option<u8>, Option<u8>) -> bool) -> usize {
    let mut count = 0;
    let mut at = 0;
    while let Some(found) = memchr::memmem::find(&bytes[at..], from) {
        let start = at + found;
        let end = start + from.len();
        let before = start.checked_sub(1).map(|before| bytes[before]);
        if fits(before, bytes.get(end).copied()) {
            bytes[start..end].copy_from_slice(to);
            count += 1;
        }
        at = end;
    }
    count
}

/// Puts the target's name in the place of the architecture's, wherever it stands by itself. Returns false, with
/// nothing changed, where it cannot be done.
fn rename(bytes: &mut [u8], (from, to): (&str, &str)) -> bool {
    if from.len() != to.len() {
        return false;
    }
    let part =
        |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-_/.".contains(&byte));
    replace(bytes, from.as_bytes(), to.as_bytes(), |before, after| !part(before) && !part(after)) > 0
}

/// Has an x86-64 program use the companion's loader. Returns false where the file is no such program.
fn relocate(bytes: &mut [u8]) -> bool {
    match interpreter(bytes) {
        None => false,
        // Linked statically: there is no loader to be found.
        Some(None) => true,
        Some(Some(place)) => match bytes.get_mut(place) {
            Some(path) if path.len() > LOADER.len() => {
                path.fill(0);
                path[..LOADER.len()].copy_from_slice(LOADER);
                true
            }
            _ => false,
        },
    }
}

/// Returns whether the file is an x86-64 program that needs no loader.
pub(super) fn is_static(bytes: &[u8]) -> bool {
    interpreter(bytes) == Some(None)
}

/// Returns where an x86-64 program names its loader, if it names one; `None` where the file is no such program.
fn interpreter(bytes: &[u8]) -> Option<Option<Range<usize>>> {
    let header = FileHeader64::<LittleEndian>::parse(bytes).ok()?;
    let order = header.endian().ok()?;
    if header.e_machine(order) != EM_X86_64 {
        return None;
    }
    let headers = header.program_headers(order, bytes).ok()?;
    let Some(found) = headers.iter().find(|header| header.p_type(order) == PT_INTERP) else {
        return Some(None);
    };
    let start = usize::try_from(found.p_offset(order)).ok()?;
    let length = usize::try_from(found.p_filesz(order)).ok()?;
    Some(Some(start..start.checked_add(length)?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    fn the_architectures_name_is_replaced_where_it_stands_alone() {
        let mut bytes = b"x\0amd64\0 (amd64) linux-amd64 amd64s x86_64\0".to_vec();
        assert!(rename(&mut bytes, ("amd64", "armhf")));
        assert_eq!(bytes, b"x\0armhf\0 (armhf) linux-amd64 amd64s x86_64\0");
        assert!(!rename(&mut bytes, ("amd64", "riscv64")));
        assert!(!rename(&mut b"nothing here at all".to_vec(), ("amd64", "armhf")));
    }

    #[test]
    fn what_needs_a_library_that_cannot_be_told_the_name_is_left_out() {
        let tools = [("libc6, libapt-pkg6.0 (>= 2)", "apt\n"), ("libc6", "sed\n")];
        let tools = tools.map(|(depends, lines)| (depends.to_owned(), lines.to_owned()));
        assert_eq!(usable(&tools, &["libapt-pkg6.0".to_owned()]), "sed\n");
        assert_eq!(usable(&tools, &[]), "apt\nsed\n");
    }

    /// Returns an ELF file of one program header.
    pub(in super::super) fn program(kind: u32, machine: u8, path: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 120];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (bytes[6], bytes[18], bytes[32], bytes[54], bytes[56]) = (1, machine, 64, 56, 1);
        bytes[64..68].copy_from_slice(&kind.to_le_bytes());
        bytes[72] = 120;
        bytes[96..104].copy_from_slice(&(path.len() as u64).to_le_bytes());
        bytes.extend(path);
        bytes
    }

    #[test]
    fn a_program_is_given_the_companions_loader() {
        let usual = b"/lib64/ld-linux-x86-64.so.2\0";
        let mut bytes = program(3, 62, usual);
        assert!(relocate(&mut bytes));
        assert_eq!(bytes[120..], [LOADER, &vec![0; usual.len() - LOADER.len()]].concat());
        let mut alone = program(1, 62, usual);
        let before = alone.clone();
        assert!(relocate(&mut alone));
        assert_eq!(alone, before);
        for mut other in [program(3, 183, usual), program(3, 62, b"/x\0"), b"#!/bin/sh\n".to_vec(), vec![]] {
            assert!(!relocate(&mut other));
        }
        let mut cut = program(3, 62, usual);
        cut.truncate(130);
        assert!(!relocate(&mut cut));
    }
}
