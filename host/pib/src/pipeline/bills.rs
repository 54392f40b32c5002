//! The bills of materials that a build leaves beside its image.

use std::fs::File;
use std::path::Path;

use pib_debian::InstalledPackage;
use pib_plan::id::Digest;
use pib_plan::manifest::project::Bill;

use super::{Rendered, StagePackages};
use crate::inspection::{
    BillFormat, BillOfMaterials, BillSubject, InspectionError, OpenedImage, SystemContent, Watch,
};
use crate::project::Error;

/// Returns how the name of a bill ends.
pub(super) fn extension(bill: Bill) -> &'static str {
    match bill {
        Bill::Spdx => ".spdx.json",
        Bill::Cyclonedx => ".cdx.json",
    }
}

/// Reads the system in an image that is written and not compressed yet.
///
/// # Errors
/// When the image cannot be read, or has no system.
pub(super) fn system(image: &File, path: &Path) -> Result<SystemContent, Error> {
    let file = image.try_clone().map_err(|source| InspectionError::Open { path: path.to_owned(), source })?;
    let system = OpenedImage::of(file, path, Watch::default())?.system(false)?;
    system.ok_or_else(|| {
        Error::usage(
            "[image] asks for a bill of materials, and no partition of the image has a system that pib can read",
            "It reads ext4, squashfs and EROFS file systems with /etc/os-release or /etc/fstab. Remove `sbom` from [image].",
        )
    })
}

/// Returns what a bill is of.
pub(super) fn subject(
    rendered: &Rendered,
    system: &SystemContent,
    name: String,
    digest: Digest,
) -> BillSubject {
    let stages = StagePackages::of(rendered);
    let packages: Vec<&InstalledPackage> = system.packages.iter().map(|content| &content.package).collect();
    BillSubject { name, digest, stages: stages.stages(), brought: stages.brought(&packages) }
}

/// Returns the text of a bill.
///
/// # Errors
/// When it cannot be written as JSON.
pub(super) fn text(
    bill: Bill,
    system: &SystemContent,
    subject: BillSubject,
    path: &Path,
) -> Result<String, Error> {
    let format = match bill {
        Bill::Spdx => BillFormat::Spdx,
        Bill::Cyclonedx => BillFormat::CycloneDx,
    };
    let bill = BillOfMaterials::of(system, subject);
    bill.to_text(format).map_err(|error| Error::io("write the bill of materials of", path, error.into()))
}
