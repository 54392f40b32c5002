//! Puts stages into the folder of vendored stages, and takes out what it put there before.
//!
//! Every file is written beside and renamed; the list comes last. A process may be killed at any moment: the next run
//! knows its own files by the old list or by what it is about to write.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pib_file::{Folder, Kind};
use pib_plan::id::Digest;
use pib_plan::index::SourceId;
use pib_plan::mode::Mode;
use pib_plan::vendor::{FILE_NAME, ListedMode, VendorList, VendoredStage, folders};
use sha2::{Digest as _, Sha256};

use super::{digests, find, read_list, real_folder};
use crate::source::stage_files::{self, Modes, PackageFile, PackageFolder};
use crate::source::{Package, SourceError};

/// How the names of folders begin in which files are written.
const TEMP: &str = ".pib-vendor-";

/// The file by which git knows how to treat the files beside and below it.
const ATTRIBUTES_FILE: &str = ".gitattributes";
const ATTRIBUTES: &str = "\
# This file is written by `pib vendor`: the stages beside it are compared byte for byte, so git must not change line
# ends in them, expand anything, or keep them elsewhere, whatever core.autocrlf and other .gitattributes say.
* -text !eol -ident -filter !working-tree-encoding
";

/// A stage that is to be vendored.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Its files.
    pub package: &'a Package,
    /// Where it comes from, for git with the commit.
    pub source: &'a SourceId,
}

/// What became of the folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filled {
    /// The folders of stages in which files were written.
    pub written: Vec<String>,
    /// The folders whose files were removed, since their stages are not wanted any more.
    pub removed: Vec<String>,
    /// Files that lie where such a stage was and stay, since they were changed or made by others.
    pub kept: Vec<PathBuf>,
}

/// What is at a place in the folder of a stage.
struct Present {
    digest: Digest,
    /// Its permissions.
    bits: u32,
}

impl Present {
    /// Returns whether it has this mode, as far as a checkout can have it: usual ones are less the user's umask.
    fn has_mode(&self, mode: Mode) -> bool {
        let same_use = (self.bits & 0o100 != 0) == mode.is_executable();
        if stage_files::is_usual(mode) { same_use } else { self.bits == mode.bits() }
    }
}

/// What is to be done in the folder of one stage.
struct Changes<'a> {
    /// The folder's name.
    name: String,
    root: PathBuf,
    /// What is written, and from which package.
    write: Vec<(&'a Package, &'a PackageFile)>,
    /// The folders that do not follow from the files.
    folders: &'a [PackageFolder],
    /// What is removed, by its path in the folder.
    remove: Vec<String>,
    kept: Vec<PathBuf>,
    wanted: bool,
}

/// Makes the folder at `path` in the project hold exactly the wanted stages, beside what others have put there; messages
/// call its list `shown`.
///
/// # Errors
/// When something that pib did not make is in the way (nothing was changed then), or the disk fails.
pub fn fill(project: &Folder, path: &str, shown: &str, wanted: &[Wanted<'_>]) -> Result<Filled, SourceError> {
    let full = project.path().join(path);
    let old = match find(project, path) {
        Ok(found) => found.map(|folder| read_list(&folder, shown)).transpose()?.flatten().unwrap_or_default(),
        Err(SourceError::Io { source, .. }) if source.kind() == io::ErrorKind::InvalidInput => {
            return Err(in_the_way(&full, "it is not a folder"));
        }
        Err(error) => return Err(error),
    };
    let names = folders(wanted.iter().map(|wanted| (&wanted.package.name, &wanted.package.version)));
    let wanted: BTreeMap<&str, &Wanted<'_>> = names.iter().map(String::as_str).zip(wanted).collect();
    let all: BTreeSet<&str> =
        old.stages.iter().map(|stage| stage.folder.as_str()).chain(wanted.keys().copied()).collect();
    // All is looked at before anything is changed.
    let mut changes = Vec::new();
    for name in all {
        let package = wanted.get(name).map(|wanted| wanted.package);
        changes.push(survey(&full, name, old.in_folder(name), package)?);
    }
    let folder = project.make_folder(path).map_err(SourceError::io("creating", &full))?;
    let temp = Temporary::make(&folder)?;
    let mut filled = Filled::default();
    for change in changes {
        apply(&change, &folder, &temp)?;
        filled.kept.extend(change.kept);
        if change.wanted {
            filled.written.extend((!change.write.is_empty()).then_some(change.name));
        } else {
            filled.removed.push(change.name);
        }
    }
    write_attributes(&folder, &temp)?;
    write_list(&folder, &temp, &wanted)?;
    Ok(filled)
}

/// Compares what is in a stage's folder with what was put there and with what is wanted.
fn survey<'a>(
    folder: &Path,
    name: &str,
    old: Option<&VendoredStage>,
    wanted: Option<&'a Package>,
) -> Result<Changes<'a>, SourceError> {
    let root = folder.join(name);
    let present = look(&root)?;
    let listed = old.map(|stage| stage.files.clone()).unwrap_or_default();
    let files = wanted.map(|package| package.files.as_slice()).unwrap_or_default();
    let is_wanted = |path: &str| files.iter().find(|file| file.path == path);
    let mut changes = Changes {
        name: name.to_owned(),
        write: Vec::new(),
        folders: wanted.map(|package| package.folders.as_slice()).unwrap_or_default(),
        remove: Vec::new(),
        kept: Vec::new(),
        wanted: wanted.is_some(),
        root,
    };
    for (path, there) in &present {
        let full = changes.root.join(path);
        let ours =
            listed.contains_key(path) || is_wanted(path).is_some_and(|file| file.digest == there.digest);
        let last = path.matches('/').count();
        let left_out = path
            .split('/')
            .enumerate()
            .any(|(depth, part)| stage_files::is_left_out(part, depth < last, depth == 0));
        match (ours, is_wanted(path)) {
            // What was changed is put right where the stage stays, and left alone where it goes.
            (true, Some(_)) => {}
            (true, None) if wanted.is_some() || listed.get(path) == Some(&there.digest) => {
                changes.remove.push(path.clone())
            }
            // It is no part of the stage, whatever its folder holds.
            (false, None) if wanted.is_some() && left_out => {}
            (_, None) if wanted.is_none() => changes.kept.push(full),
            _ => return Err(in_the_way(&full, "it was not made by `pib vendor`")),
        }
    }
    if let Some(package) = wanted {
        let right = |file: &&PackageFile| {
            let there = present.get(&file.path);
            there.is_some_and(|there| there.digest == file.digest && there.has_mode(file.mode))
        };
        let missing = package.files.iter().filter(|file| !right(file));
        changes.write.extend(missing.map(|file| (package, file)));
    }
    Ok(changes)
}

/// Returns every file below a stage's folder, also those that are no part of a stage.
fn look(root: &Path) -> Result<BTreeMap<String, Present>, SourceError> {
    let mut present = BTreeMap::new();
    if !real_folder(root)? {
        return match fs::symlink_metadata(root) {
            Ok(_) => Err(in_the_way(root, "it is not a folder")),
            Err(_) => Ok(present),
        };
    }
    for item in walkdir::WalkDir::new(root).min_depth(1) {
        let item = item.map_err(|error| {
            let path = error.path().unwrap_or(root).to_owned();
            SourceError::Io { action: "reading", path, source: error.into() }
        })?;
        if item.file_type().is_dir() {
            continue;
        }
        let path = item.path().strip_prefix(root).unwrap_or(item.path()).to_str();
        let (Some(path), true) = (path, item.file_type().is_file()) else {
            return Err(in_the_way(item.path(), "it is not a regular file"));
        };
        let fail = SourceError::io;
        let mut file = pib_file::open_no_link(item.path()).map_err(fail("opening", item.path()))?;
        let metadata = file.metadata().map_err(fail("reading", item.path()))?;
        let digest = copy(&mut file, &mut io::sink()).map_err(fail("reading", item.path()))?;
        let bits = metadata.permissions().mode() & 0o777;
        present.insert(path.to_owned(), Present { digest, bits });
    }
    Ok(present)
}

fn apply(changes: &Changes<'_>, folder: &Folder, temp: &Temporary<'_>) -> Result<(), SourceError> {
    let fail = SourceError::io;
    let path = |name: &str| changes.root.join(name);
    let inside = |name: &str| format!("{}/{name}", changes.name);
    for name in &changes.remove {
        folder.remove_file(inside(name)).map_err(fail("removing", &path(name)))?;
    }
    if !changes.remove.is_empty() {
        folder.folder(&changes.name).map_err(fail("opening", &changes.root))?.remove_empty_folders();
        // One that holds something stays: the system refuses to remove it.
        let _ = folder.remove_folder(&changes.name);
    }
    for (package, file) in &changes.write {
        let (from, to) = (package.root.join(&file.path), path(&file.path));
        let mut input = pib_file::open(&from).map_err(fail("opening", &from))?;
        let put = |output: &mut File| {
            let digest = copy(&mut input, output).map_err(fail("copying", &from))?;
            if digest != file.digest {
                return Err(SourceError::Unfit {
                    path: from.clone(),
                    reason: "it changed while it was read".to_owned(),
                });
            }
            let mode = Permissions::from_mode(file.mode.bits());
            output.set_permissions(mode).map_err(fail("writing", &to))
        };
        temp.put(&inside(&file.path), put)?;
    }
    for wanted in changes.folders {
        let made = folder.make_folder(inside(&wanted.path));
        let mode = Permissions::from_mode(wanted.mode.bits());
        made.and_then(|made| made.set_permissions(mode)).map_err(fail("creating", &path(&wanted.path)))?;
    }
    Ok(())
}

/// Writes the file that has git keep every byte, where there is none that somebody else has written.
fn write_attributes(folder: &Folder, temp: &Temporary<'_>) -> Result<(), SourceError> {
    match folder.kind(ATTRIBUTES_FILE) {
        Ok(None) => temp.replace(ATTRIBUTES_FILE, ATTRIBUTES.as_bytes()),
        _ => Ok(()),
    }
}

/// Returns the modes of a stage that version control does not keep.
fn modes(package: &Package) -> BTreeMap<String, ListedMode> {
    let files = package.files.iter().filter(|file| !stage_files::is_usual(file.mode));
    let files = files.map(|file| (file.path.clone(), ListedMode { is_folder: false, mode: file.mode }));
    let folders = package.folders.iter();
    let folders =
        folders.map(|folder| (folder.path.clone(), ListedMode { is_folder: true, mode: folder.mode }));
    files.chain(folders).collect()
}

/// Writes the list, after a last look at what is there.
fn write_list(
    folder: &Folder,
    temp: &Temporary<'_>,
    wanted: &BTreeMap<&str, &Wanted<'_>>,
) -> Result<(), SourceError> {
    let mut list = VendorList::default();
    for (name, Wanted { package, source }) in wanted {
        let root = folder.path().join(name);
        let modes = modes(package);
        let listing = stage_files::read(&root, Modes::Listed(&modes))?;
        if listing.content != package.content {
            return Err(SourceError::Unfit {
                path: root,
                reason: "it changed while it was written".to_owned(),
            });
        }
        list.insert(VendoredStage {
            name: package.name.clone(),
            folder: (*name).to_owned(),
            version: package.version.clone(),
            source: (*source).clone(),
            content: listing.content,
            files: digests(&listing.files),
            modes,
        });
    }
    let text = list.to_text();
    if folder.read(FILE_NAME, text.len() as u64).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    temp.replace(FILE_NAME, text.as_bytes())
}

/// The folder in which files are written before they get their places in the one around it. It goes when it is dropped.
struct Temporary<'a> {
    around: &'a Folder,
    own: Folder,
}

impl<'a> Temporary<'a> {
    /// Makes the folder, and removes those that killed processes left. The caller holds the lock on the project, so that no
    /// other process uses them.
    fn make(around: &'a Folder) -> Result<Self, SourceError> {
        let fail = |action| SourceError::io(action, around.path());
        for entry in around.entries().map_err(fail("reading"))? {
            if entry.kind == Kind::Directory && entry.name.to_string_lossy().starts_with(TEMP) {
                around.remove_all(&entry.name).map_err(fail("removing a folder in"))?;
            }
        }
        let own = around.make_temporary(TEMP).map_err(fail("creating a folder in"))?;
        Ok(Self { around, own })
    }

    /// Gives the file that `write` fills the place `to` in the folder around.
    fn put(
        &self,
        to: &str,
        write: impl FnOnce(&mut File) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        const NAME: &str = "file";
        let path = self.around.path().join(to);
        let fail = |error| SourceError::io("writing", &path)(error);
        _ = self.own.remove_file(NAME);
        let mut file = self.own.create_new(NAME).map_err(fail)?;
        write(&mut file)?;
        let folder = Path::new(to).parent().unwrap_or(Path::new(""));
        self.around.make_folder(folder).map_err(fail)?;
        let from = Path::new(self.own.path().file_name().unwrap_or_default()).join(NAME);
        self.around.rename(from, to).map_err(fail)
    }

    /// Puts a whole new file in the place `to` in the folder around.
    fn replace(&self, to: &str, bytes: &[u8]) -> Result<(), SourceError> {
        let path = self.around.path().join(to);
        self.put(to, |file| {
            file.write_all(bytes).and_then(|()| file.sync_all()).map_err(SourceError::io("writing", &path))
        })
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        // What stays is removed by the next run.
        let _ = self.around.remove_all(self.own.path().file_name().unwrap_or_default());
    }
}

/// Copies all of a file and returns the digest of its bytes.
fn copy(input: &mut File, output: &mut dyn Write) -> io::Result<Digest> {
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 64 << 10]);
    loop {
        match input.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(hasher.finalize().into())),
            count => {
                hasher.update(&buffer[..count]);
                output.write_all(&buffer[..count])?;
            }
        }
    }
}

fn in_the_way(path: &Path, reason: &str) -> SourceError {
    SourceError::VendorInTheWay { path: path.to_owned(), reason: reason.to_owned() }
}
