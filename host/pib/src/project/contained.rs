//! Whether what is in a folder of a project stays in the project.
//!
//! A registry or a git repository in a project's folder came with the project. Links in it, and files in which git names
//! other folders, may lead anywhere, and pib and git follow them.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

/// The most files and folders that are looked at.
const MAX_ENTRIES: usize = 100_000;
/// How long they may be looked at.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest file in which git names other folders, in bytes.
const MAX_NAMES: u64 = 64 << 10;

/// What a folder is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A registry, whose files pib reads.
    Registry,
    /// A git repository, which libgit2 opens.
    Git,
}

/// A file or link of a project, by its path in it, and where it leads; the root folder stands for anywhere.
type Lead = (String, PathBuf);

/// Returns what in `folder`, a folder of the project in `dir`, leads out of the project.
pub(super) fn leads_out(dir: &Path, folder: &Path, kind: Kind) -> BTreeSet<Lead> {
    let mut search = Search::new(dir, kind, MAX_ENTRIES);
    search.enter(folder.to_owned());
    search.run();
    search.found
}

/// A look at everything in a folder, and in the others that it leads to.
struct Search {
    /// The project's folder, without links.
    project: PathBuf,
    kind: Kind,
    entries_left: usize,
    until: Instant,
    /// The folders that are still to be looked at, and all that ever were.
    next: Vec<PathBuf>,
    known: BTreeSet<PathBuf>,
    found: BTreeSet<Lead>,
}

impl Search {
    fn new(dir: &Path, kind: Kind, entries_left: usize) -> Self {
        let until = Instant::now() + PATIENCE;
        let (next, known, found) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        Self { project: real(dir), kind, entries_left, until, next, known, found }
    }

    fn enter(&mut self, folder: PathBuf) {
        if self.known.insert(folder.clone()) {
            self.next.push(folder);
        }
    }

    fn run(&mut self) {
        while let Some(folder) = self.next.pop() {
            // What cannot be listed cannot be read by anybody who runs as this user.
            for entry in walkdir::WalkDir::new(&folder).follow_links(false).into_iter().flatten() {
                let has_room = self.entries_left > 0 && Instant::now() < self.until;
                if !has_room {
                    self.add(&folder, Path::new("/"));
                    return;
                }
                self.entries_left -= 1;
                let kind = entry.file_type();
                if kind.is_symlink() {
                    self.follow(entry.path(), &real(entry.path()));
                } else if kind.is_file() {
                    self.read(entry.path(), entry.path());
                } else if !kind.is_dir() && self.kind == Kind::Git {
                    // libgit2 opens whatever there is, and would wait for a pipe.
                    self.add(entry.path(), entry.path());
                }
            }
        }
    }

    /// Notes where `path` leads, or looks at it in turn where that is in the project.
    fn follow(&mut self, path: &Path, leads_to: &Path) {
        if !leads_to.starts_with(&self.project) {
            self.add(path, leads_to);
        } else if leads_to.is_dir() {
            self.enter(leads_to.to_owned());
        } else if leads_to.is_file() {
            self.read(path, leads_to);
        } else if self.kind == Kind::Git && leads_to.symlink_metadata().is_ok_and(|it| !it.is_symlink()) {
            self.add(path, leads_to);
        }
    }

    /// Follows what a file names, where git reads it as the name of something else.
    fn read(&mut self, path: &Path, file: &Path) {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let names_others = ["alternates", "commondir", ".git", "config", "config.worktree"].contains(&name);
        if self.kind != Kind::Git || !names_others {
            return;
        }
        let anywhere = Path::new("/");
        let Ok(bytes) = pib_file::read(file, MAX_NAMES) else { return self.add(path, anywhere) };
        let text = String::from_utf8_lossy(&bytes);
        let folder = path.parent().unwrap_or(path);
        match name {
            "alternates" => {
                let objects = folder.parent().unwrap_or(folder);
                let lines =
                    text.split(['\n', '\r']).filter(|line| !line.is_empty() && !line.starts_with('#'));
                for line in lines {
                    // libgit2 takes every other path from the folder that the process is in.
                    match line.starts_with(['/', '.']) {
                        true => self.follow(path, &real(&objects.join(line))),
                        false => self.add(path, anywhere),
                    }
                }
            }
            "commondir" => self.follow(path, &real(&folder.join(text.trim()))),
            ".git" => {
                let named = text.trim().strip_prefix("gitdir:").unwrap_or_default().trim();
                self.follow(path, &real(&folder.join(named)));
            }
            _ if includes(&text) => self.add(path, anywhere),
            _ => {}
        }
    }

    fn add(&mut self, path: &Path, leads_to: &Path) {
        let named = path.strip_prefix(&self.project).unwrap_or(path).display().to_string();
        self.found.insert((named, leads_to.to_owned()));
    }
}

/// Returns whether a file of git's settings may have git read others, too.
fn includes(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.match_indices('[').any(|(at, _)| text[at + 1..].trim_start().starts_with("include"))
}

/// Returns where a path leads, without links; of what is not there, where it would be.
pub(super) fn real(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    let (Some(parent), Some(last)) = (path.parent(), path.components().next_back()) else {
        return path.to_owned();
    };
    let parent = real(parent);
    match last {
        Component::Normal(name) => parent.join(name),
        Component::ParentDir => parent.parent().map(Path::to_owned).unwrap_or(parent),
        _ => parent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_more_than_can_be_looked_at_may_lead_anywhere() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..20 {
            std::fs::write(dir.path().join(number.to_string()), "").unwrap();
        }
        let found = |most| {
            let mut search = Search::new(dir.path(), Kind::Registry, most);
            search.enter(dir.path().to_owned());
            search.run();
            search.found
        };
        assert!(found(21).is_empty());
        let found = found(20);
        assert_eq!(found.first().unwrap().1, Path::new("/"));
    }

    #[test]
    fn settings_that_include_others_are_found_however_they_are_written() {
        for text in ["[include]", "x\n [INCLUDE ]", "[core] [ includeIf \"x\"]\n", "[include]path=x"] {
            assert!(includes(text), "{text}");
        }
        for text in ["", "[core]\n\tbare = true", "[branch \"include\"]", "include = x"] {
            assert!(!includes(text), "{text}");
        }
    }
}
