//! Checks that a new image would start on the models of its board.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use pib_event::{Reporter, ReporterExt as _};
use pib_plan::boot::chain::Chain;

use crate::inspection::{InspectionError, OpenedImage, Watch};

/// Follows the boot chain in an image that is written and not compressed yet, and warns of what is wrong: the image may
/// be meant for something else than a board, e.g. for a test in QEMU.
///
/// # Errors
/// When the image cannot be read.
pub(super) fn check(
    image: &File,
    path: &Path,
    board: &str,
    foreign_root: bool,
    reporter: &dyn Reporter,
) -> Result<(), InspectionError> {
    let file = image.try_clone().map_err(|source| InspectionError::Open { path: path.to_owned(), source })?;
    let chains = OpenedImage::of(file, path, Watch::default())?.chains(board, foreign_root);
    for warning in warnings(&chains) {
        reporter.warn(warning);
    }
    Ok(())
}

/// Returns a warning for each fault, with the models that it is on.
fn warnings(chains: &[Chain]) -> Vec<String> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for chain in chains {
        let how = if chain.is_try { " when it tries an update" } else { "" };
        for fault in &chain.faults {
            let models = found.entry(fault.to_string()).or_default();
            let model = format!("{}{how}", chain.model);
            if !models.contains(&model) {
                models.push(model);
            }
        }
    }
    let text = |(fault, models): (String, Vec<String>)| {
        format!("the image would not start on {}: {fault}", models.join(", "))
    };
    found.into_iter().map(text).collect()
}
