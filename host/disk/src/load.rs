//! Reads a root file system: the stream to a tree and a spool, the tree normalised.

use std::fs::File;
use std::io::Read;

use pib_event::{Reporter, ReporterExt as _};
use pib_file::Folder;
use pib_plan::layout::Ext4Writer;

use crate::blocks::UsedBlocks;
use crate::error::DiskError;
use crate::identity::Identity;
use crate::read::STEP;
use crate::tree::Tree;
use crate::{normalise, read};

/// Returns the normalised tree of a root file system, and the spool with the contents of its files: an unlinked file in
/// `folder`.
///
/// # Errors
/// When the stream breaks or is no tar, or the spool cannot be written.
pub(crate) fn load(
    rootfs: impl Read,
    identity: &Identity,
    folder: &Folder,
    reporter: &dyn Reporter,
) -> Result<(Tree, File), DiskError> {
    let spool = folder.unnamed().map_err(DiskError::io("create a file in", folder.path()))?;
    reporter.detail(STEP, "reading the root file system");
    let mut tree = read::read(rootfs, &spool, reporter)?;
    reporter.detail(STEP, "normalising");
    let notes =
        normalise::normalise(&mut tree, identity, &spool).map_err(DiskError::io("read", folder.path()))?;
    for note in notes {
        reporter.note(note);
    }
    Ok((tree, spool))
}

/// What every writer of a file system takes from and writes to.
pub(crate) struct WriteRequest<'a> {
    /// The image file.
    pub(crate) image: &'a File,
    /// The contents of the tree's files.
    pub(crate) spool: &'a File,
    /// What writes ext4 file systems.
    pub(crate) writer: Ext4Writer,
    /// What makes the image this device's.
    pub(crate) identity: &'a Identity,
    /// The blocks that the image uses, which each writer adds its own to.
    pub(crate) used: &'a UsedBlocks,
}
