//! Writes an image's bill of materials, as SPDX or CycloneDX.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pib_event::ReporterExt as _;
use pib_plan::id::Digest;

use super::diff::no_system;
use super::inspect::{existing, stages_of};
use crate::inspection::{BillOfMaterials, BillSubject, OpenedImage, Watch};
use crate::pipeline::{self, StageOptions, StagePackages};
use crate::project::{Error, Project, Session, blocking};

pub use crate::inspection::BillFormat;

/// The id of the step in events.
const STEP: &str = "sbom";

/// What to write.
#[derive(Debug, Clone, Default)]
pub struct SbomOptions {
    /// The image; the project's own where none is named.
    pub image: Option<PathBuf>,
    /// The form.
    pub format: BillFormat,
    /// The stages of the project.
    pub stages: StageOptions,
}

/// Returns the bill of materials of an image. For the project's own image, as long as it has the project's stages, it says which
/// stage brought each package.
///
/// # Errors
/// When the image cannot be read, has no system, or the project cannot be resolved.
pub async fn sbom(session: &Session, options: &SbomOptions) -> Result<String, Error> {
    let (path, stages) = match &options.image {
        Some(image) => (session.cwd.join(image), StagePackages::default()),
        None => {
            let project = Project::load(session)?;
            let path = existing(&project)?;
            let rendered = pipeline::decide_only(session, project, &options.stages).await?;
            (path, StagePackages::of(&rendered))
        }
    };
    session.reporter.started(STEP, "Reading the image");
    let (format, reporter, is_own) = (options.format, session.reporter.clone(), options.image.is_none());
    let written =
        blocking::run(move |stopped| write(&path, stages, format, Watch::new(stopped, reporter, STEP)));
    let Written { text, is_of_others } = written.await??;
    session.reporter.finished(STEP, false);
    if is_own && is_of_others {
        session.reporter.warn(
            "the image was built of other stages than the project has now: the bill names those of the image, and not which \
             package each of them brought. Build the image again to have both",
        );
    }
    Ok(text)
}

/// A bill of materials.
struct Written {
    text: String,
    /// Whether the image was built of other stages than those that were given.
    is_of_others: bool,
}

fn write(path: &Path, stages: StagePackages, format: BillFormat, watch: Watch) -> Result<Written, Error> {
    let fail = |error| Error::io("read", path, error);
    let digest = Digest::from_bytes(pib_file::sha256(pib_file::open(path).map_err(fail)?).map_err(fail)?);
    let image = OpenedImage::open(path, watch)?;
    let system = image.system(false)?.ok_or_else(|| no_system(path))?;
    let built = StagePackages::named(&stages_of(path, image.disk().size()));
    let is_of_others = !built.stages().is_empty() && built.stages() != stages.stages();
    let stages = if is_of_others { built } else { stages };
    let packages: Vec<&pib_debian::InstalledPackage> =
        system.packages.iter().map(|content| &content.package).collect();
    let brought: BTreeMap<String, String> = stages.brought(&packages);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let subject = BillSubject { name, digest, stages: stages.stages(), brought };
    let bill = BillOfMaterials::of(&system, subject);
    let fail = |error: serde_json::Error| Error::io("write", path, error.into());
    Ok(Written { text: bill.to_text(format).map_err(fail)?, is_of_others })
}
