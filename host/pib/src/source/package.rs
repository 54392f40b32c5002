//! A stage's folder, read and checked: what the operations build from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pib_plan::assemble::FileSource;
use pib_plan::id::{Digest, StageName};
use pib_plan::manifest::stage::{FILE_NAME, StageManifest};
use pib_plan::manifest::{MAX_MANIFEST, stage};
use pib_plan::part::MAX_PART;
use semver::Version;

use super::contents::Contents;
use super::stage_files::{self, Listing, Modes, PackageFile, PackageFolder, is_part};
use super::{SourceError, entry};

/// A stage that is on this machine, with all that a build needs of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Package {
    /// The stage.
    pub name: StageName,
    /// Its version.
    pub version: Version,
    /// The folder that holds its files: in the cache, or the path stage's own.
    pub root: PathBuf,
    /// Its files, sorted by path.
    pub files: Vec<PackageFile>,
    /// Its folders that are empty or have not the usual mode, sorted by path.
    pub folders: Vec<PackageFolder>,
    /// The entries of `[modes]` that are missing in its manifest: what no other copy of its folder has.
    pub unrecorded: Vec<String>,
    /// The digest of its canonical tar.
    pub content: Digest,
    /// What it says of itself.
    pub manifest: StageManifest,
    /// The bytes of its small files.
    pub(super) contents: Contents,
}

impl Package {
    /// Reads the stage in the folder `root`; messages call it `shown`.
    pub(super) fn open(root: &Path, shown: &str) -> Result<Self, SourceError> {
        let listing = stage_files::read(root, Modes::Recorded(shown))?;
        Self::with_listing(root, shown, listing)
    }

    /// Completes a package whose files were read already.
    pub(super) fn with_listing(root: &Path, shown: &str, mut listing: Listing) -> Result<Self, SourceError> {
        let manifest = match listing.manifest.take() {
            Some(manifest) => manifest,
            None => match written(shown, &listing.contents)? {
                Some(manifest) => manifest,
                None => manifest(root, shown)?,
            },
        };
        Self::with_manifest(root, manifest, listing)
    }

    /// Completes a package whose files and manifest were read already.
    pub(super) fn with_manifest(
        root: &Path,
        manifest: StageManifest,
        listing: Listing,
    ) -> Result<Self, SourceError> {
        let Listing { files, folders, content, contents, unrecorded, manifest: _ } = listing;
        let package = Self {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            root: root.to_owned(),
            files,
            folders,
            unrecorded,
            content,
            manifest,
            contents,
        };
        if package.parts().next().is_none() {
            return Err(SourceError::NoPart { name: package.name, path: root.to_owned() });
        }
        if let Some(hook) = &package.manifest.hook
            && package.file(&hook.component).is_none()
        {
            return Err(entry::no_hook(&package.manifest, root.join(&hook.component)));
        }
        Ok(package)
    }

    /// Returns the file at `path` within the stage's folder.
    pub fn file(&self, path: &str) -> Option<&PackageFile> {
        let position = self.files.binary_search_by(|file| file.path.as_str().cmp(path)).ok()?;
        self.files.get(position)
    }

    /// Returns where the bytes of one of its files are: here, where it is small, so that what is sent is what was read.
    pub fn source_of(&self, file: &PackageFile) -> FileSource {
        match self.contents.get(&file.path) {
            Some(bytes) => FileSource::Bytes(Arc::clone(bytes)),
            None => FileSource::File(self.root.join(&file.path)),
        }
    }

    /// Returns the digest of its hook's component, if it has one.
    pub fn hook(&self) -> Option<Digest> {
        let hook = self.manifest.hook.as_ref()?;
        self.file(&hook.component).map(|file| file.digest)
    }

    /// Returns whether `path` within the stage's folder is a file or a folder.
    pub fn has(&self, path: &str) -> bool {
        let below = format!("{path}/");
        let is_there = |other: &str| other == path || other.starts_with(&below);
        self.files.iter().any(|file| is_there(&file.path))
            || self.folders.iter().any(|folder| is_there(&folder.path))
    }

    /// Returns whether it has modes or empty folders that the first version of archives cannot hold.
    pub(super) fn has_modes(&self) -> bool {
        !self.folders.is_empty() || self.files.iter().any(|file| !stage_files::is_usual(file.mode))
    }

    /// Returns what only this copy of the stage's folder has, as a sentence for people; `None` where that is nothing.
    pub fn advice(&self) -> Option<String> {
        if self.unrecorded.is_empty() {
            return None;
        }
        Some(format!(
            "other copies of stage `{}` will not have the modes and empty folders of `{}`, since git and most tools do \
             not keep them; record them in {}: [modes] {}",
            self.name,
            self.root.display(),
            FILE_NAME,
            self.unrecorded.join(", ")
        ))
    }

    /// Returns the files that are parts: `Dockerfile.part` and those for one operating system.
    pub fn parts(&self) -> impl Iterator<Item = &PackageFile> {
        self.files.iter().filter(|file| is_part(&file.path))
    }

    /// Returns the part for `os`: its file's name and its text.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn part(&self, os: &str) -> Result<(String, String), SourceError> {
        let names = StageManifest::part_names(os);
        let name = names.into_iter().find(|name| self.file(name).is_some());
        let missing = || SourceError::NoPartForOs { name: self.name.clone(), os: os.to_owned() };
        let name = name.ok_or_else(missing)?;
        let text = match self.contents.get(&name) {
            Some(bytes) => text(&self.root.join(&name), bytes)?,
            None => stage_files::read_text(&self.root.join(&name), MAX_PART as u64)?.ok_or_else(missing)?,
        };
        Ok((name, text))
    }
}

/// Reads what the stage in the folder `root` says of itself; messages call the folder `shown`.
///
/// A folder without a manifest but with a part is a stage that is named like it.
///
/// # Errors
/// When the folder is no stage, or its manifest cannot be read.
pub fn manifest(root: &Path, shown: &str) -> Result<StageManifest, SourceError> {
    if let Some(text) = stage_files::read_text(&root.join(stage::FILE_NAME), MAX_MANIFEST as u64)? {
        return Ok(StageManifest::parse(&stage_files::manifest_name(shown), &text)?);
    }
    if !has_part(root)? {
        return Err(SourceError::NotAStage { path: root.to_owned() });
    }
    // `.` and links have another name than the folder they lead to, and the parts' COPY lines use that one.
    let real = root.canonicalize().map_err(SourceError::io("reading", root))?;
    bare(&real.file_name().unwrap_or_default().to_string_lossy(), root)
}

/// Reads what the stage in the folder `root` says of itself; `None` where it is no stage.
///
/// The folder is a copy that is called otherwise: a bare stage has the name that its folder had, `name`.
pub(super) fn copied_manifest(
    root: &Path,
    shown: &str,
    name: &str,
    contents: &Contents,
) -> Result<Option<StageManifest>, SourceError> {
    match written(shown, contents)? {
        Some(manifest) => Ok(Some(manifest)),
        None if has_part(root)? => bare(name, Path::new(shown)).map(Some),
        None => Ok(None),
    }
}

/// Returns the manifest of a folder that has none but its name.
fn bare(name: &str, root: &Path) -> Result<StageManifest, SourceError> {
    let name = name.parse();
    let name = name.map_err(|source| SourceError::BadFolderName { path: root.to_owned(), source })?;
    Ok(StageManifest::bare(name))
}

/// Returns what the manifest says that was read with a stage's files; `None` where there is none.
fn written(shown: &str, contents: &Contents) -> Result<Option<StageManifest>, SourceError> {
    let Some(bytes) = contents.get(stage::FILE_NAME) else { return Ok(None) };
    let file = stage_files::manifest_name(shown);
    Ok(Some(StageManifest::parse(&file, &text(Path::new(&file), bytes)?)?))
}

fn text(path: &Path, bytes: &[u8]) -> Result<String, SourceError> {
    let not_text =
        |_| SourceError::Unfit { path: path.to_owned(), reason: "it is not UTF-8 text".to_owned() };
    String::from_utf8(bytes.to_vec()).map_err(not_text)
}

fn has_part(root: &Path) -> Result<bool, SourceError> {
    for item in root.read_dir().map_err(SourceError::io("reading", root))? {
        let item = item.map_err(SourceError::io("reading", root))?;
        if item.file_name().to_str().is_some_and(is_part) && stage_files::is_file(&item.path()) {
            return Ok(true);
        }
    }
    Ok(false)
}
