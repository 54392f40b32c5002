//! The partitions of an imported tree: its disk file, read.

use super::tree::{Tree, plain_path};
use crate::boot::model;
use crate::layout::{DiskFile, PartitionTable};

/// What to do where a disk file is not carried over.
const INSTEAD: &str =
    "the image has pib's usual partitions, and others stand in [[image.partition]] of pib.toml";

/// Reads the disk file that `DISK` names; what of it cannot be carried over is noted. `builder` is the folder of pi-builder itself,
/// which names its own files from there.
pub(super) fn read(
    tree: &mut Tree<'_>,
    given: &str,
    builder: Option<&str>,
    (board, stages): (&str, &[String]),
) -> Option<DiskFile> {
    // A path in full begins with what a shell would say, which is not known.
    let relative = given.trim_start_matches('/');
    let paths = [Some(relative.to_owned()), builder.map(|folder| format!("{folder}/{relative}"))];
    let found = paths.into_iter().flatten().find_map(|path| Some((plain_path(&path)?, tree.text(&path)?)));
    let Some((path, text)) = found else {
        // Whatever has a user's name or password in it is not shown.
        let shown = if given.contains('@') { String::new() } else { format!(" ({given})") };
        let why =
            format!("the tree has no such file, or a link in its place, which is not followed; {INSTEAD}");
        tree.leave_out(format!("DISK{shown}"), why);
        return None;
    };
    let file = match DiskFile::parse(&path, &text) {
        Ok(file) => file,
        Err(error) => {
            let why = format!("{}; {INSTEAD}", error.what);
            tree.leave_out(format!("{path}, line {}", error.line), why);
            return None;
        }
    };
    if file.table == PartitionTable::Gpt && !model::models(board).all(model::Model::reads_gpt) {
        tree.leave_out(path, format!("the boot ROM of {board} reads no GPT; {INSTEAD}"));
        return None;
    }
    if let Some(part) = file.partitions.iter().find(|part| part.grow)
        && !stages.iter().any(|stage| stage == "grow")
    {
        let why = "the device does that on its first boot by the stage `grow`: `pib add grow`";
        tree.leave_out(format!("{path}: {} to the end of the card", part.label), why.to_owned());
    }
    Some(file)
}
