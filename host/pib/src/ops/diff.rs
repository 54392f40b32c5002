//! Says what differs between two images.

use std::path::{Path, PathBuf};

use pib_event::ReporterExt as _;
use serde::Serialize;

use crate::inspection::{Changes, OpenedImage, SystemContent, Watch, changes};
use crate::project::{Error, Session, blocking};

/// The id of the step in events.
const STEP: &str = "diff";

/// What differs between two images.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageDifference {
    /// The first image.
    #[serde(serialize_with = "crate::project::path_text::lossy")]
    pub first: PathBuf,
    /// The second image.
    #[serde(serialize_with = "crate::project::path_text::lossy")]
    pub second: PathBuf,
    /// The sizes of both in bytes, unpacked.
    pub sizes: (u64, u64),
    /// What differs between their systems.
    #[serde(flatten)]
    pub changes: Changes,
}

/// Compares the systems on two images.
///
/// # Errors
/// When one of them cannot be read, or has no system.
pub async fn diff(session: &Session, first: &Path, second: &Path) -> Result<ImageDifference, Error> {
    let (first, second) = (session.cwd.join(first), session.cwd.join(second));
    session.reporter.started(STEP, "Reading both images");
    let reporter = session.reporter.clone();
    let difference = blocking::run(move |stopped| -> Result<_, Error> {
        let watch = Watch::new(stopped, reporter, STEP);
        let (one, size) = read(&first, &watch)?;
        let (other, other_size) = read(&second, &watch)?;
        Ok(ImageDifference { sizes: (size, other_size), changes: changes(&one, &other), first, second })
    });
    let difference = difference.await??;
    session.reporter.finished(STEP, false);
    Ok(difference)
}

fn read(path: &Path, watch: &Watch) -> Result<(SystemContent, u64), Error> {
    let image = OpenedImage::open(path, watch.clone())?;
    let system = image.system(true)?.ok_or_else(|| no_system(path))?;
    Ok((system, image.disk().size()))
}

/// Returns the error for an image on which nothing was found.
pub(super) fn no_system(path: &Path) -> Error {
    Error::usage(
        format!("no partition of `{}` has a system that pib can read", path.display()),
        "It reads ext4, squashfs and EROFS file systems with /etc/os-release or /etc/fstab.",
    )
}
