//! How the modes of a stage's files and folders are known.
//!
//! A folder on a disk says only half of them: git keeps who may execute a file and
//! nothing else, a checkout adds the user's umask, and empty folders get lost. So there are four ways to know them,
//! see [`Modes`]. For the folders that people work in it is this: what `[modes]` in `stage.toml` records counts; else a
//! file has 0644, or 0755 where its owner may execute it, and a folder 0755. A right that *nothing* in the folder
//! has was taken away by the umask and says nothing. One that is missing here and not there was taken away by hand:
//! that mode is kept, and named as one that should be recorded, since no other copy of the folder will have it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use pib_plan::manifest::ManifestText;
use pib_plan::manifest::stage::{FILE_NAME, ModeRecord};
use pib_plan::mode::{Mode, ModeError};
use pib_plan::vendor::ListedMode;

use super::SourceError;
use super::found::{Found, FoundFile, is_part};

/// Set-user-id, set-group-id and sticky bit.
const SPECIAL: u32 = 0o7000;

/// How the modes of a stage's files are known.
#[derive(Debug, Clone, Copy)]
pub(super) enum Modes<'a> {
    /// By the records in `stage.toml`, and by what people did to the folder, which messages call by this name.
    Recorded(&'a str),
    /// By the folder, which pib made itself: every permission counts.
    Exact,
    /// As in the first version of archives: who may execute a file is all, and there are no empty folders.
    First,
    /// By a list that is kept beside the folder.
    Listed(&'a BTreeMap<String, ListedMode>),
}

/// What is to be packed.
#[derive(Default)]
pub(super) struct Settled {
    pub(super) files: BTreeMap<String, (u64, Mode)>,
    pub(super) folders: BTreeMap<String, Mode>,
    /// The entries of `[modes]` that are missing.
    pub(super) unrecorded: Vec<String>,
}

/// Returns whether a file's mode follows from whether it may be executed.
pub(super) fn is_usual(mode: Mode) -> bool {
    mode == Mode::of_file(mode.is_executable())
}
impl Settled {
    /// Returns the paths of all entries in the tar's order, those of folders with a slash at the end.
    pub(super) fn entries(&self) -> BTreeSet<String> {
        let mut all: BTreeSet<String> = self.folders.keys().map(|path| format!("{path}/")).collect();
        for path in self.files.keys().chain(self.folders.keys()) {
            all.extend(path.match_indices('/').map(|(at, _)| path[..=at].to_owned()));
        }
        all.extend(self.files.keys().cloned());
        all
    }

    /// Returns the folders that do not follow from the files.
    pub(super) fn own_folders(&self) -> impl Iterator<Item = (&String, &Mode)> {
        self.folders.iter().filter(|(path, mode)| **mode != Mode::FOLDER || self.is_empty(path))
    }

    fn is_empty(&self, path: &str) -> bool {
        let below = format!("{path}/");
        let next = |key: Option<&String>| key.is_some_and(|key| key.starts_with(&below));
        !next(self.files.range(below.clone()..).next().map(|(key, _)| key))
            && !next(self.folders.range(below.clone()..).next().map(|(key, _)| key))
    }
}

/// Takes only who may execute a file, and no empty folders.
pub(super) fn by_default(found: Found) -> Settled {
    let usual = |file: FoundFile| (file.size, Mode::of_file(file.bits & 0o100 != 0));
    Settled {
        files: found.files.into_iter().map(|(path, file)| (path, usual(file))).collect(),
        ..Settled::default()
    }
}

/// Takes what the list says, and for the rest only who may execute a file.
pub(super) fn by_list(found: Found, listed: &BTreeMap<String, ListedMode>) -> Settled {
    let mut settled = by_default(found);
    for (path, ListedMode { is_folder, mode }) in listed {
        if *is_folder {
            // Version control has no empty folders, so it need not be there; a file in its place shows by its digest.
            settled.folders.insert(path.clone(), *mode);
        } else if let Some((_, place)) = settled.files.get_mut(path) {
            *place = *mode;
        }
    }
    settled
}

/// Takes the folder's own modes, all of them.
pub(super) fn exactly(root: &Path, found: Found) -> Result<Settled, SourceError> {
    let mode = |path: &str, bits: u32| {
        Mode::new(bits)
            .map_err(|error| SourceError::Unfit { path: root.join(path), reason: error.to_string() })
    };
    let mut settled = Settled::default();
    for (path, file) in found.files {
        let mode = mode(&path, file.bits)?;
        settled.files.insert(path, (file.size, mode));
    }
    for (path, bits) in found.folders {
        let mode = mode(&path, bits)?;
        settled.folders.insert(path, mode);
    }
    Ok(settled)
}

/// Takes the records in the stage's manifest, and what people did to the folder.
pub(super) fn by_records(
    root: &Path,
    manifest: &ManifestText,
    records: &[ModeRecord],
    mut found: Found,
) -> Result<Settled, SourceError> {
    let is_recorded = |path: &str| records.iter().any(|record| record.path == path);
    let habits = Habits::of(&found);
    let mut settled = Settled::default();
    for (path, file) in &found.files {
        let (mode, by_hand) = habits.file(&root.join(path), path, *file)?;
        settled.files.insert(path.clone(), (file.size, mode));
        settled.unrecorded.extend((by_hand && !is_recorded(path)).then(|| entry(path, "", mode)));
    }
    for (path, bits) in &found.folders {
        let (mode, by_hand) = habits.folder(&root.join(path), *bits)?;
        settled.folders.insert(path.clone(), mode);
        settled.unrecorded.extend((by_hand && !is_recorded(path)).then(|| entry(path, "/", mode)));
    }
    for record in records {
        let wrong = |message: String, help: &str| {
            SourceError::from(manifest.error(record.span.clone(), message, "this path").with_help(help))
        };
        let path = &record.path;
        if record.is_folder {
            if !settled.folders.contains_key(path) {
                let added = found.collisions.add(path, true);
                added.map_err(|reason| {
                    wrong(format!("[modes] cannot have the folder `{path}`: {reason}"), "Correct the path.")
                })?;
            }
            settled.folders.insert(path.clone(), record.mode);
        } else if let Some((_, mode)) = settled.files.get_mut(path) {
            *mode = record.mode;
        } else {
            let message = format!("[modes] has `{path}`, and the stage has no such file");
            let help = "Correct the path, which is relative to the stage's folder; a folder's has a slash at its end.";
            return Err(wrong(message, help));
        }
    }
    let bare = settled.folders.iter().filter(|(path, mode)| **mode == Mode::FOLDER && settled.is_empty(path));
    let bare: Vec<String> =
        bare.filter(|(path, _)| !is_recorded(path)).map(|(path, mode)| entry(path, "/", *mode)).collect();
    settled.unrecorded.extend(bare);
    Ok(settled)
}

/// What all files and folders of a stage's folder have in common, which is the umask's doing and no one's intent.
struct Habits {
    /// The rights to read and write that some file has, and to execute that some program has.
    files: u32,
    /// The rights that some folder has.
    folders: u32,
    /// Whether everybody may write to every file, and to every folder.
    open: (bool, bool),
}

impl Habits {
    fn of(found: &Found) -> Self {
        let any = |bits: u32, file: &FoundFile| {
            bits | file.bits & if file.bits & 0o100 != 0 { 0o777 } else { 0o666 }
        };
        let folders = || found.folders.values().copied().chain([found.root]);
        Self {
            files: found.files.values().fold(0, any),
            folders: folders().fold(0, |bits, folder| bits | folder),
            open: (
                found.files.values().all(|file| file.bits & 0o002 != 0),
                folders().all(|bits| bits & 0o002 != 0),
            ),
        }
    }

    /// Returns a file's mode, and whether somebody has given it that.
    fn file(&self, path: &Path, name: &str, file: FoundFile) -> Result<(Mode, bool), SourceError> {
        let unfit = |reason: String| SourceError::Unfit { path: path.to_owned(), reason };
        if file.bits & SPECIAL & !0o1000 != 0 {
            return Err(unfit(ModeError::Special(file.bits).to_string()));
        }
        let usual = Mode::of_file(file.bits & 0o100 != 0);
        // What only pib reads never becomes a file of the image.
        let is_ours = name == FILE_NAME || is_part(name);
        let mode = Self::by_hand(usual, file.bits, self.files, self.open.0).filter(|_| !is_ours);
        match mode {
            Some(mode) if !mode.is_readable() => Err(unfit("its owner may not read it".to_owned())),
            Some(mode) => Ok((mode, true)),
            None => Ok((usual, false)),
        }
    }

    /// Returns a folder's mode, and whether somebody has given it that.
    fn folder(&self, path: &Path, bits: u32) -> Result<(Mode, bool), SourceError> {
        let unfit = |reason: String| SourceError::Unfit { path: path.to_owned(), reason };
        // Set-group-id is what folders inherit on some systems; only the sticky bit is somebody's intent.
        if bits & 0o1000 != 0 {
            return Err(unfit(ModeError::Special(bits).to_string()));
        }
        match Self::by_hand(Mode::FOLDER, bits, self.folders, self.open.1) {
            Some(mode) if !mode.is_open() => Err(unfit("its owner may not do everything in it".to_owned())),
            Some(mode) => Ok((mode, true)),
            None => Ok((Mode::FOLDER, false)),
        }
    }

    /// Returns the mode that somebody has given, where it is not just the usual one less the umask.
    fn by_hand(usual: Mode, bits: u32, some_have: u32, all_open: bool) -> Option<Mode> {
        let taken = usual.bits() & some_have & !bits != 0;
        let given = bits & 0o002 != 0 && !all_open;
        Mode::new(bits & 0o777).ok().filter(|_| taken || given)
    }
}

/// Returns an entry of `[modes]`.
fn entry(path: &str, slash: &str, mode: Mode) -> String {
    format!("{} = \"{mode}\"", toml_edit::Value::from(format!("{path}{slash}")))
}
