//! Takes a project's root file system out of the engine, as it would be in an image: as a tar, or as a folder.

use std::io::Read as _;
use std::path::PathBuf;

use pib_file::{LinkError, Output};
use serde::Serialize;

use crate::engine::Loss;
use crate::pipeline::{self, StageOptions};
use crate::project::{self, Error, Project, Session, blocking};
use pib_disk::{Exported, STEP};
use pib_event::ReporterExt as _;

/// What to export, and where to.
#[derive(Debug, Clone, Default)]
pub struct ExportOptions {
    /// The stages of the system.
    pub stages: StageOptions,
    /// A tar file; in `target/` where neither this nor a folder is given.
    pub tar: Option<PathBuf>,
    /// A new or empty folder.
    pub dir: Option<PathBuf>,
}

/// What was exported.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ExportReport {
    /// The file or folder.
    #[serde(serialize_with = "crate::project::path_text::lossy")]
    pub path: PathBuf,
    /// What it has.
    #[serde(flatten)]
    pub exported: Exported,
}

/// What a tar archive has at this place of its first header (POSIX.1-2017, pax, "ustar Interchange Format").
const MAGIC: &[u8] = b"ustar";
const MAGIC_AT: usize = 257;

/// Exports the root file system, as it is after the stages that are asked for.
///
/// # Errors
/// When the stages cannot be built, or the file or folder not be written; what was there before is then as it was.
pub async fn export(session: &Session, options: &ExportOptions) -> Result<ExportReport, Error> {
    let dir = project::find(session)?;
    let _exclusive = Project::exclusive(session, &dir).await?;
    let output = |path: &PathBuf| project::output(session, &session.cwd.join(path));
    let folder = options.dir.as_ref().map(output).transpose()?;
    if let Some(folder) = &folder {
        pib_disk::check_folder(folder)?;
    }
    let file = match &options.tar {
        Some(file) if file.file_name().is_none_or(|name| name == "-") => {
            return Err(no_archive("an archive is written to a file, and `-` is not a file".to_owned()));
        }
        file => file.as_ref().map(output).transpose()?,
    };
    if let Some(file) = &file {
        check_archive(session, file)?;
    }
    let built = pipeline::build(session, &options.stages).await?;
    let project = built.based.rendered.packages.project();
    let stem = project.manifest.project.file_stem();
    let file = match file {
        Some(file) => file,
        None => default_archive(project, &stem)?,
    };
    session.reporter.started(STEP, "Exporting the root file system");
    let tree = built.engine.export(&built.tag).await?;
    if let Some(warning) = Loss::warning(tree.losses()) {
        session.reporter.warn(warning);
    }
    let fault = tree.fault();
    let (identity, reporter) = (built.based.identity(), session.reporter.clone());
    let path = folder.as_ref().unwrap_or(&file).path();
    let write = move |tree: blocking::Stoppable<_>| match folder {
        Some(folder) => pib_disk::write_folder(tree, &identity, &folder, &*reporter),
        None => pib_disk::write_tar(tree, &identity, &file, &*reporter),
    };
    let exported = blocking::read(tree, write).await?;
    let exported = match exported {
        Ok(exported) => exported,
        Err(error) => {
            let error = fault.take().map_or_else(|| error.into(), Error::from);
            return Err(pipeline::origin::stage_of(session, &built, error).await);
        }
    };
    session.reporter.finished(STEP, false);
    for loss in &exported.losses {
        session.reporter.warn(loss.clone());
    }
    Ok(ExportReport { path, exported })
}

/// Returns the place of the archive where the command line names none.
fn default_archive(project: &Project, stem: &str) -> Result<Output, Error> {
    let (target, name) = (project.target.make()?, format!("{stem}.tar"));
    target.output(&name).map_err(|error| Error::io("write", target.path().join(name), error))
}

/// Checks that an archive may be written to `file`: nobody loses what is no archive.
fn check_archive(session: &Session, file: &Output) -> Result<(), Error> {
    let path = file.path();
    let shown = session.show(&path).display();
    let mut old = match file.folder().open_file(file.name()) {
        Ok(old) => old,
        Err(error) if LinkError::of(&error).is_some() => {
            return Err(no_archive(format!("`{shown}` is a symbolic link")));
        }
        Err(_) => return Ok(pib_disk::check_file(file)?),
    };
    let mut head = [0; MAGIC_AT + MAGIC.len()];
    let is_empty = old.metadata().is_ok_and(|metadata| metadata.len() == 0);
    match is_empty || (old.read_exact(&mut head).is_ok() && head.ends_with(MAGIC)) {
        true => Ok(()),
        false => Err(no_archive(format!("`{shown}` is there already, and is no tar archive"))),
    }
}

fn no_archive(message: String) -> Error {
    Error::usage(message, "Name a new file, or an earlier archive.")
}
