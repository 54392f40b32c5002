//! The bytes of a stage's small files, as they were when its digest was taken.
//!
//! What was judged by these bytes is built from the same ones, even where somebody edits a file meanwhile. Large files stay
//! on the disk; whoever reads one again compares it with its digest.

use std::collections::BTreeMap;
use std::sync::Arc;

use pib_plan::manifest::{MAX_MANIFEST, stage};
use pib_plan::part::MAX_PART;

use super::found::is_part;

/// The largest file that is kept of those that a plan does not look into.
const MAX_FILE: u64 = 32 << 10;
/// The largest file that is kept of those that it does. Manifests and parts are no larger.
const MAX_NEEDED: u64 = if MAX_MANIFEST > MAX_PART { MAX_MANIFEST as u64 } else { MAX_PART as u64 };
/// How many bytes of one stage are kept, beside its manifest and its parts.
const MAX_TOTAL: u64 = 4 << 20;

/// The bytes of the files that are kept, by their paths within the stage's folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contents {
    files: BTreeMap<String, Arc<[u8]>>,
    total: u64,
}

impl Contents {
    /// Returns whether a file is small enough to be read as a whole. `component` is the stage's hook.
    pub(super) fn is_small(path: &str, size: u64, component: Option<&str>) -> bool {
        let is_needed = is_text(path) || component == Some(path);
        size <= if is_needed { MAX_NEEDED } else { MAX_FILE }
    }

    /// Keeps the bytes of a small file, where there is room for them.
    pub(super) fn keep(&mut self, path: &str, bytes: Arc<[u8]>) {
        let total = self.total + if is_text(path) { 0 } else { bytes.len() as u64 };
        if total <= MAX_TOTAL {
            self.total = total;
            self.files.insert(path.to_owned(), bytes);
        }
    }

    /// Returns the bytes of a file, where they are kept.
    pub(super) fn get(&self, path: &str) -> Option<&Arc<[u8]>> {
        self.files.get(path)
    }
}

/// Returns whether a file is the stage's manifest or a part.
fn is_text(path: &str) -> bool {
    path == stage::FILE_NAME || is_part(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_is_bounded_but_for_what_is_needed() {
        let mut contents = Contents::default();
        let half = || Arc::from(vec![0; MAX_TOTAL as usize / 2]);
        for path in ["a", "b", "c", "Dockerfile.part", stage::FILE_NAME] {
            contents.keep(path, half());
        }
        let kept: Vec<&String> = contents.files.keys().collect();
        assert_eq!(kept, ["Dockerfile.part", "a", "b", stage::FILE_NAME]);
    }
}
