//! What is remembered of an image, to say what the next build changed.

use std::collections::{BTreeMap, BTreeSet};

use pib_plan::id::Digest;
use serde::{Deserialize, Serialize};

use super::system::{SpecialFile, SystemContent};

/// An image in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageSummary {
    /// The digest of its file.
    pub digest: Digest,
    /// The stages that it was built of, by name.
    pub stages: BTreeMap<String, String>,
    /// The bytes of all files.
    pub bytes: u64,
    /// The packages by name, each with its version.
    pub packages: BTreeMap<String, String>,
    /// The files that give rights, with which.
    pub privileged: BTreeSet<String>,
    /// The units that are started.
    pub services: BTreeSet<String>,
}

/// The summaries that are kept beside an image: its own, and that of the image before.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Summaries {
    /// The image's own.
    pub current: Option<ImageSummary>,
    /// That of the image before.
    pub earlier: Option<ImageSummary>,
}

/// What one kind of thing has more, less and otherwise than before.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListChange {
    /// What the things are called.
    pub what: &'static str,
    /// What is new.
    pub added: Vec<String>,
    /// What is gone.
    pub removed: Vec<String>,
    /// What is another, with both.
    pub changed: Vec<(String, String, String)>,
}

impl ImageSummary {
    /// Returns the summary of an image with these stages, as name and version.
    pub fn of(digest: Digest, stages: &[(String, String)], system: &SystemContent) -> Self {
        let right = |file: &SpecialFile| format!("{} ({})", file.path, file.right);
        let package = |content: &super::PackageContent| {
            let package = &content.package;
            (package.name.clone(), package.version.clone())
        };
        Self {
            digest,
            stages: stages.iter().cloned().collect(),
            bytes: system.bytes,
            packages: system.packages.iter().map(package).collect(),
            privileged: system.privileged.iter().map(right).collect(),
            services: system.services.iter().cloned().collect(),
        }
    }

    /// Returns what is different since an earlier image.
    pub fn changes_since(&self, earlier: &Self) -> Vec<ListChange> {
        vec![
            map_change("Stages", &earlier.stages, &self.stages),
            map_change("Packages", &earlier.packages, &self.packages),
            set_change("Files that give rights", &earlier.privileged, &self.privileged),
            set_change("Units that are started", &earlier.services, &self.services),
        ]
    }
}

impl Summaries {
    /// Takes the summary of an image that was built just now, or looked at again.
    pub fn add(&mut self, summary: ImageSummary) {
        if self.current.as_ref().is_some_and(|current| current.digest != summary.digest) {
            self.earlier = self.current.take();
        }
        self.current = Some(summary);
    }
}

fn map_change(
    what: &'static str,
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> ListChange {
    let text = |(name, version): (&String, &String)| format!("{name} {version}");
    ListChange {
        what,
        added: now.iter().filter(|(name, _)| !before.contains_key(*name)).map(text).collect(),
        removed: before.iter().filter(|(name, _)| !now.contains_key(*name)).map(text).collect(),
        changed: now
            .iter()
            .filter_map(|(name, version)| {
                let old = before.get(name).filter(|old| *old != version)?;
                Some((name.clone(), old.clone(), version.clone()))
            })
            .collect(),
    }
}

fn set_change(what: &'static str, before: &BTreeSet<String>, now: &BTreeSet<String>) -> ListChange {
    ListChange {
        what,
        added: now.difference(before).cloned().collect(),
        removed: before.difference(now).cloned().collect(),
        changed: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(number: u8, packages: &[(&str, &str)]) -> ImageSummary {
        let owned = |(name, version): &(&str, &str)| ((*name).to_owned(), (*version).to_owned());
        ImageSummary {
            digest: Digest::of(&[number]),
            stages: BTreeMap::new(),
            bytes: 0,
            packages: packages.iter().map(owned).collect(),
            privileged: BTreeSet::from([format!("/bin/{number} (setuid)")]),
            services: BTreeSet::new(),
        }
    }

    #[test]
    fn each_change_is_told_once_and_the_same_image_twice_changes_nothing() {
        let (one, two) = (summary(1, &[("a", "1"), ("b", "1")]), summary(2, &[("b", "2"), ("c", "1")]));
        let changes = two.changes_since(&one);
        assert_eq!(changes[1].added, ["c 1"]);
        assert_eq!(changes[1].removed, ["a 1"]);
        assert_eq!(changes[1].changed, [("b".to_owned(), "1".to_owned(), "2".to_owned())]);
        assert_eq!(
            (&*changes[2].added, &*changes[2].removed),
            (&["/bin/2 (setuid)".to_owned()][..], &["/bin/1 (setuid)".to_owned()][..])
        );
        let mut kept = Summaries::default();
        for number in [1, 1, 2, 2] {
            kept.add(summary(number, &[]));
        }
        assert_eq!(kept.earlier.unwrap().digest, Digest::of(&[1]));
    }
}
