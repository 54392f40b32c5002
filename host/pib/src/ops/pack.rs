//! Makes the archive of a stage, as a registry has it.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use pib_plan::id::Digest;
use serde::Serialize;

use crate::project::{self, Error, Session};
use crate::source::archive::{self, Packed};

/// The archive of a stage.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PackedStage {
    /// The stage.
    pub stage: String,
    /// Its version.
    pub version: String,
    /// The archive, where one was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<PathBuf>,
    /// The archive's digest.
    pub digest: Digest,
    /// The digest of what is in it, which is the same on every machine.
    pub content: Digest,
    /// The archive's size in bytes.
    pub size: u64,
    /// Its files, sorted by path.
    pub files: Vec<PackedFile>,
}

/// A file of an archive.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PackedFile {
    /// Its path within the stage's folder.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its permissions, in octal.
    pub mode: String,
}

/// Packs the stage in a folder, and writes its archive into the folder `output`; without one nothing is written.
///
/// # Errors
/// When the folder is no stage, or holds what no stage may hold, or the archive cannot be written.
pub fn pack(session: &Session, folder: &Path, output: Option<&Path>) -> Result<PackedStage, Error> {
    let folder = session.cwd.join(folder);
    let Packed { archive: bytes, checksum, package } =
        archive::pack(&folder, &session.show(&folder).display().to_string())?;
    let name = format!("{}-{}.stage", package.name, package.version);
    let archive = match output {
        None => None,
        Some(output) => {
            let to = project::make_folder(session, &session.cwd.join(output))?;
            let path = to.path().join(&name);
            let write = || {
                let mut file = to.output(&name)?.create()?;
                file.file().write_all(&bytes)?;
                file.keep(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            };
            write().map_err(|error| Error::io("write the archive", &path, error))?;
            Some(path)
        }
    };
    let files = package.files.iter().map(|file| PackedFile {
        path: file.path.clone(),
        size: file.size,
        mode: file.mode.to_string(),
    });
    Ok(PackedStage {
        stage: package.name.to_string(),
        version: package.version.to_string(),
        archive,
        digest: checksum,
        content: package.content,
        size: bytes.len() as u64,
        files: files.collect(),
    })
}
