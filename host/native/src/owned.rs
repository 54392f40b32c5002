//! Whether a file is still the one that its package brought, in the version that the companion has.
//!
//! dpkg's database answers both: `status` has the versions, `info/PACKAGE.md5sums` the checksums. Whatever does not
//! add up is the target's own business, and runs emulated.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::md5;
use crate::tools::Tool;

/// What tells whether a file has changed: device, inode, size, and the times of its contents and of itself.
type Mark = (u64, u64, u64, i64, i64, i64, i64);

/// What the package database says.
pub(crate) struct Owned {
    /// dpkg's folder, or none to believe everything.
    database: Option<PathBuf>,
    status: Option<Mark>,
    versions: HashMap<String, String>,
    /// The checksums of files, by path, while they have not changed.
    sums: HashMap<PathBuf, (Mark, String)>,
}

impl Owned {
    /// Opens the database in the folder.
    pub(crate) fn new(database: impl Into<PathBuf>) -> Self {
        Self { database: Some(database.into()), status: None, versions: HashMap::new(), sums: HashMap::new() }
    }

    /// Believes every file: for a tree that pib has just laid out itself, before there is a database.
    pub(crate) fn everything() -> Self {
        Self { database: None, ..Self::new("") }
    }

    /// Returns whether `file` is what the tool's package brought, in the tool's version.
    pub(crate) fn is_original(&mut self, file: &Path, tool: &Tool) -> bool {
        let Some(database) = self.database.clone() else { return true };
        self.refresh(&database.join("status"));
        let own = self.versions.get(&tool.package).map(|version| without_rebuild(version));
        if own != Some(without_rebuild(&tool.version)) {
            return false;
        }
        let list = database.join("info").join(format!("{}.md5sums", tool.package));
        let Ok(list) = fs::read_to_string(list) else { return false };
        let wanted = list.lines().find_map(|line| {
            let (sum, name) = line.split_once("  ")?;
            (name == tool.listed).then_some(sum)
        });
        wanted.is_some_and(|wanted| self.sum(file).as_deref() == Some(wanted))
    }

    /// Reads the versions anew if the file with them has changed.
    fn refresh(&mut self, status: &Path) {
        let mark = mark(status);
        if mark.is_some() && mark == self.status {
            return;
        }
        self.versions = fs::read_to_string(status).map(|text| versions(&text)).unwrap_or_default();
        self.status = mark;
    }

    fn sum(&mut self, file: &Path) -> Option<String> {
        let mark = mark(file)?;
        if let Some((old, sum)) = self.sums.get(file)
            && *old == mark
        {
            return Some(sum.clone());
        }
        let sum = md5::hex(&fs::read(file).ok()?);
        self.sums.insert(file.to_owned(), (mark, sum.clone()));
        Some(sum)
    }
}

fn mark(file: &Path) -> Option<Mark> {
    let data = fs::metadata(file).ok()?;
    let (modified, changed) = ((data.mtime(), data.mtime_nsec()), (data.ctime(), data.ctime_nsec()));
    Some((data.dev(), data.ino(), data.size(), modified.0, modified.1, changed.0, changed.1))
}

/// Reads packages and their versions from dpkg's `status`.
fn versions(status: &str) -> HashMap<String, String> {
    let mut versions = HashMap::new();
    let mut package = None;
    for line in status.lines() {
        if let Some(name) = line.strip_prefix("Package: ") {
            package = Some(name);
        } else if let (Some(version), Some(name)) = (line.strip_prefix("Version: "), package) {
            versions.insert(name.to_owned(), version.to_owned());
        }
    }
    versions
}

/// Returns the version of the source: a rebuild for one architecture alone appends `+b` and a number, so that two
/// architectures may differ in it.
fn without_rebuild(version: &str) -> &str {
    match version.rsplit_once("+b") {
        Some((source, number)) if !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit()) => source,
        _ => version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_while_it_is_its_packages_own() {
        let folder = std::env::temp_dir().join(format!("pib-native-owned-{}", std::process::id()));
        fs::create_dir_all(folder.join("info")).unwrap();
        let status = |version: &str| {
            let text =
                format!("Package: sed\nStatus: install ok installed\nVersion: {version}\n\nPackage: tar\n");
            fs::write(folder.join("status"), text).unwrap();
        };
        status("4.9-2+b1");
        let file = folder.join("sed");
        fs::write(&file, "abc").unwrap();
        let list = "900150983cd24fb0d6963f7d28e17f72  bin/sed\nffff  bin/other\n";
        fs::write(folder.join("info/sed.md5sums"), list).unwrap();
        let listed = |name: &str| {
            let mut tool = Tool::default();
            (tool.package, tool.version) = ("sed".to_owned(), "4.9-2".to_owned());
            tool.listed = name.to_owned();
            tool
        };
        let mut owned = Owned::new(&folder);
        assert!(owned.is_original(&file, &listed("bin/sed")));
        assert!(!owned.is_original(&file, &listed("bin/other")));
        assert!(!owned.is_original(&file, &listed("bin/none")));
        assert!(Owned::everything().is_original(&file, &listed("bin/none")));
        fs::write(&file, "abcd").unwrap();
        assert!(!owned.is_original(&file, &listed("bin/sed")), "it was replaced");
        fs::write(&file, "abc").unwrap();
        assert!(owned.is_original(&file, &listed("bin/sed")));
        status("4.10-1");
        assert!(!owned.is_original(&file, &listed("bin/sed")), "the package was upgraded");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_rebuild_is_the_same_version() {
        for (version, source) in
            [("1-2+b3", "1-2"), ("1-2+b", "1-2+b"), ("1-2+beta", "1-2+beta"), ("1+b2-1", "1+b2-1")]
        {
            assert_eq!(without_rebuild(version), source);
        }
    }
}
