//! What there is in a stage's folder.
//!
//! Everything in the folder is part of the stage but: names that start with a dot, and `target`, at the top (what
//! tools leave there); `hook` at the top, the source that the hook's component is built of; and `.git` anywhere.
//! Dot-files further down are meant: `files/etc/skel/.profile`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use pib_plan::path::{self, Collisions};

use super::SourceError;

/// The most bytes that a stage's files may have together.
pub(super) const MAX_BYTES: u64 = 256 << 20;
/// The most files and folders that a stage may have.
pub(super) const MAX_ENTRIES: usize = 10_000;

/// What a walk finds, before anything is read.
#[derive(Default)]
pub(super) struct Found {
    pub(super) files: BTreeMap<String, FoundFile>,
    /// The permissions of each folder.
    pub(super) folders: BTreeMap<String, u32>,
    pub(super) collisions: Collisions,
    /// The permissions of the stage's folder itself.
    pub(super) root: u32,
}

/// A file that a walk finds.
#[derive(Clone, Copy)]
pub(super) struct FoundFile {
    pub(super) size: u64,
    /// Its permissions.
    pub(super) bits: u32,
}

/// Looks at everything below `root` that is part of the stage.
pub(super) fn walk(root: &Path) -> Result<Found, SourceError> {
    let metadata = fs::metadata(root).map_err(SourceError::io("reading", root))?;
    let mut found = Found { root: metadata.permissions().mode() & 0o7777, ..Found::default() };
    let mut bytes = 0;
    let entries = walkdir::WalkDir::new(root).min_depth(1).follow_root_links(true).into_iter();
    let part_of_it = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        !is_left_out(&name, entry.file_type().is_dir(), entry.depth() == 1)
    };
    for entry in entries.filter_entry(part_of_it) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(root).to_owned();
            SourceError::Io { action: "reading", path, source: error.into() }
        })?;
        let unfit = |reason: String| SourceError::Unfit { path: entry.path().to_owned(), reason };
        let kind = entry.file_type();
        if !kind.is_file() && !kind.is_dir() {
            let what = if kind.is_symlink() { "a symbolic link" } else { "neither a file nor a folder" };
            return Err(unfit(format!("it is {what}")));
        }
        let path = entry.path().strip_prefix(root).unwrap_or(entry.path()).to_str();
        let path = path.ok_or_else(|| unfit("its name is not UTF-8".to_owned()))?;
        path::check(path).map_err(unfit)?;
        found.collisions.add(path, kind.is_dir()).map_err(unfit)?;
        let metadata = entry.metadata().map_err(|error| SourceError::Io {
            action: "reading",
            path: entry.path().to_owned(),
            source: error.into(),
        })?;
        let bits = metadata.permissions().mode() & 0o7777;
        if kind.is_dir() {
            found.folders.insert(path.to_owned(), bits);
        } else {
            bytes += metadata.len();
            found.files.insert(path.to_owned(), FoundFile { size: metadata.len(), bits });
        }
        if bytes > MAX_BYTES || found.collisions.len() > MAX_ENTRIES {
            let reason =
                format!("the stage has more than {} MiB or {MAX_ENTRIES} files by then", MAX_BYTES >> 20);
            return Err(unfit(reason));
        }
    }
    Ok(found)
}

/// Returns whether a file or folder is no part of a stage.
pub(super) fn is_left_out(name: &str, is_folder: bool, at_the_top: bool) -> bool {
    let of_tools = name.starts_with('.') || name == "target" || (name == "hook" && is_folder);
    pib_plan::path::is_git(name) || (at_the_top && of_tools)
}

/// Returns whether a path of a stage is that of a part.
pub(super) fn is_part(path: &str) -> bool {
    !path.contains('/') && path.starts_with("Dockerfile.") && path.ends_with(".part")
}
