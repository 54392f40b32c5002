//! Writes an empty swap area.
//!
//! Format: the first page has, at offset 1024, the version 1, the number of the last page, the number of bad pages, the
//! UUID and the label, and ends with SWAPSPACE2 (`union swap_header` in include/linux/swap.h).

use std::os::unix::fs::FileExt as _;

use pib_plan::layout::{PartitionSpec, Region};

use crate::error::DiskError;
use crate::identity::{Identity, uuid_text};
use crate::load::WriteRequest;

/// The size of a page. Kernels with larger ones do not take the area.
const PAGE: u64 = 4096;
/// The least that the kernel takes (`mkswap`).
pub(crate) const LEAST: u64 = 10 * PAGE;

fn identifier(identity: &Identity, spec: &PartitionSpec) -> [u8; 16] {
    identity.derive("pib swap", &spec.label)
}

/// Returns the area's UUID, in the form in which systems name it.
pub(super) fn uuid(identity: &Identity, spec: &PartitionSpec) -> String {
    uuid_text(identifier(identity, spec))
}

/// Writes the area's first page into its region of the image.
pub(crate) fn write(
    request: &WriteRequest<'_>,
    spec: &PartitionSpec,
    region: Region,
) -> Result<(), DiskError> {
    let mut page = vec![0; PAGE as usize];
    let last = u32::try_from(region.size / PAGE - 1).unwrap_or(u32::MAX);
    page[1024..1028].copy_from_slice(&1_u32.to_le_bytes());
    page[1028..1032].copy_from_slice(&last.to_le_bytes());
    page[1036..1052].copy_from_slice(&identifier(request.identity, spec));
    page[1052..][..spec.label.len()].copy_from_slice(spec.label.as_bytes());
    page[4086..].copy_from_slice(b"SWAPSPACE2");
    request.used.add(region.offset, PAGE);
    request.image.write_all_at(&page, region.offset).map_err(DiskError::image)
}
