//! Paths within a stage's folder, as packages and hooks name them: what may be one, and which two collide.

use std::collections::BTreeMap;

/// Checks the path of a stage's file: relative, without `.` and `..`, without control characters.
///
/// # Errors
/// A sentence that says why it may not be one.
pub fn check(path: &str) -> Result<(), String> {
    if path.is_empty() || path.starts_with('/') {
        return Err("the path is empty or absolute".to_owned());
    }
    if path.chars().any(char::is_control) {
        return Err("the path has a line break or another control character".to_owned());
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("the path has an empty part, `.` or `..`".to_owned());
    }
    Ok(())
}

/// Returns whether git takes a folder or file of this name for a repository's own: what stands there decides which programs
/// git starts. Some file systems know no capital letters.
pub fn is_git(name: &str) -> bool {
    name.eq_ignore_ascii_case(".git")
}

/// Refuses two names that some file systems take for the same, and a file where a folder must be.
///
/// It is told every path once and remembers the folders above it by itself.
#[derive(Debug, Default)]
pub struct Collisions {
    seen: BTreeMap<String, (String, bool)>,
}

impl Collisions {
    /// Adds a path.
    ///
    /// # Errors
    /// A sentence that names the two that collide.
    pub fn add(&mut self, path: &str, is_folder: bool) -> Result<(), String> {
        for (at, _) in path.match_indices('/') {
            self.add_one(&path[..at], true, true)?;
        }
        self.add_one(path, is_folder, false)
    }

    /// Returns whether there is nothing yet.
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// Returns how many files and folders there are.
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    fn add_one(&mut self, path: &str, is_folder: bool, implied: bool) -> Result<(), String> {
        match self.seen.get(&path.to_lowercase()) {
            None => {
                self.seen.insert(path.to_lowercase(), (path.to_owned(), is_folder));
                Ok(())
            }
            Some((other, _)) if other != path => Err(format!("`{other}` and `{path}` differ in case only")),
            Some((_, true)) if is_folder && implied => Ok(()),
            Some((_, other)) if *other != is_folder => Err(format!("`{path}` is both a file and a folder")),
            Some(_) => Err(format!("`{path}` is there twice")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_relative_paths_pass() {
        for good in ["a", "files/etc/motd", ".profile", "a..b"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "/etc/passwd", "..", "a/../b", "a/..", "./a", "a//b", "a/", "a\nb"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn collisions_name_both() {
        let mut paths = Collisions::default();
        paths.add("etc/motd", false).unwrap();
        assert!(paths.add("etc/motd", false).unwrap_err().contains("twice"));
        assert!(paths.add("ETC/x", false).unwrap_err().contains("case only"));
        assert!(paths.add("etc/motd/x", false).unwrap_err().contains("both a file and a folder"));
        paths.add("etc/issue", false).unwrap();
    }
}
