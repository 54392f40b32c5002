//! Puts stages into the folder of vendored stages, and takes out what it put there before.
//!
//! Every file is written beside and renamed; the list comes last. A process may be killed at any moment: the next run
//! knows its own files by the old list or by what it is about to write.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use pib_plan::id::Digest;
use pib_plan::index::SourceId;
use pib_plan::mode::Mode;
use pib_plan::vendor::{FILE_NAME, ListedMode, VendorList, VendoredStage, folders};
use sha2::{Digest as _, Sha256};

use super::{digests, read_list, real_folder};
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
    remove: Vec<PathBuf>,
    kept: Vec<PathBuf>,
    wanted: bool,
}

/// Makes `folder` hold exactly the wanted stages, beside what others have put there; messages call its list `shown`.
///
/// # Errors
/// When something that pib did not make is in the way (nothing was changed then), or the disk fails.
pub fn fill(folder: &Path, shown: &str, wanted: &[Wanted<'_>]) -> Result<Filled, SourceError> {
    if !real_folder(folder)? && fs::symlink_metadata(folder).is_ok() {
        return Err(in_the_way(folder, "it is not a folder"));
    }
    let old = read_list(folder, shown)?.unwrap_or_default();
    let names = folders(wanted.iter().map(|wanted| (&wanted.package.name, &wanted.package.version)));
    let wanted: BTreeMap<&str, &Wanted<'_>> = names.iter().map(String::as_str).zip(wanted).collect();
    let all: BTreeSet<&str> =
        old.stages.iter().map(|stage| stage.folder.as_str()).chain(wanted.keys().copied()).collect();
    // All is looked at before anything is changed.
    let mut changes = Vec::new();
    for name in all {
        let package = wanted.get(name).map(|wanted| wanted.package);
        changes.push(survey(folder, name, old.in_folder(name), package)?);
    }
    fs::create_dir_all(folder).map_err(SourceError::io("creating", folder))?;
    let temp = temp_folder(folder)?;
    let mut filled = Filled::default();
    for change in changes {
        apply(&change, temp.path())?;
        filled.kept.extend(change.kept);
        if change.wanted {
            filled.written.extend((!change.write.is_empty()).then_some(change.name));
        } else {
            filled.removed.push(change.name);
        }
    }
    write_attributes(folder, temp.path())?;
    write_list(folder, temp.path(), &wanted)?;
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
                changes.remove.push(full)
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

fn apply(changes: &Changes<'_>, temp: &Path) -> Result<(), SourceError> {
    let fail = SourceError::io;
    for path in &changes.remove {
        fs::remove_file(path).map_err(fail("removing", path))?;
    }
    if !changes.remove.is_empty() {
        remove_empty_folders(&changes.root);
    }
    for (package, file) in &changes.write {
        let (from, to) = (package.root.join(&file.path), changes.root.join(&file.path));
        let beside = temp.join("file");
        let mut input = pib_file::open(&from).map_err(fail("opening", &from))?;
        let mut output = File::create(&beside).map_err(fail("creating", &beside))?;
        let digest = copy(&mut input, &mut output).map_err(fail("copying", &from))?;
        if digest != file.digest {
            return Err(SourceError::Unfit { path: from, reason: "it changed while it was read".to_owned() });
        }
        stage_files::set_mode(&beside, file.mode)?;
        let parent = to.parent().unwrap_or(&changes.root);
        fs::create_dir_all(parent).map_err(fail("creating", parent))?;
        fs::rename(&beside, &to).map_err(fail("writing", &to))?;
    }
    for folder in changes.folders {
        let path = changes.root.join(&folder.path);
        fs::create_dir_all(&path).map_err(fail("creating", &path))?;
        stage_files::set_mode(&path, folder.mode)?;
    }
    Ok(())
}

/// Writes the file that has git keep every byte, where there is none that somebody else has written.
fn write_attributes(folder: &Path, temp: &Path) -> Result<(), SourceError> {
    let path = folder.join(ATTRIBUTES_FILE);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => replace(&path, temp, ATTRIBUTES.as_bytes()),
        _ => Ok(()),
    }
}

/// Puts a whole new file in the place of `path`.
fn replace(path: &Path, temp: &Path, bytes: &[u8]) -> Result<(), SourceError> {
    let beside = temp.join("new");
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(SourceError::io("writing", path))
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
fn write_list(folder: &Path, temp: &Path, wanted: &BTreeMap<&str, &Wanted<'_>>) -> Result<(), SourceError> {
    let mut list = VendorList::default();
    for (name, Wanted { package, source }) in wanted {
        let root = folder.join(name);
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
    let (path, text) = (folder.join(FILE_NAME), list.to_text());
    if pib_file::read(&path, text.len() as u64).is_ok_and(|old| old == text.as_bytes()) {
        return Ok(());
    }
    replace(&path, temp, text.as_bytes())
}

/// Makes a folder for what is being written, and removes those that killed processes left: whoever gets here holds the
/// lock on the project.
fn temp_folder(folder: &Path) -> Result<tempfile::TempDir, SourceError> {
    for item in folder.read_dir().map_err(SourceError::io("reading", folder))?.flatten() {
        let left = item.file_name().to_string_lossy().starts_with(TEMP);
        if left && item.file_type().is_ok_and(|kind| kind.is_dir()) {
            let path = item.path();
            fs::remove_dir_all(&path).map_err(SourceError::io("removing", &path))?;
        }
    }
    let made = tempfile::Builder::new().prefix(TEMP).tempdir_in(folder);
    made.map_err(SourceError::io("creating a folder in", folder))
}

/// Removes the folders below `root`, and itself, that hold nothing.
fn remove_empty_folders(root: &Path) {
    for item in walkdir::WalkDir::new(root).contents_first(true).into_iter().flatten() {
        if item.file_type().is_dir() {
            // One that holds something stays: the system refuses to remove it.
            let _ = fs::remove_dir(item.path());
        }
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
