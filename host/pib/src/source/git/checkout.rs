//! Writes a stage's files out of the objects of repositories.
//!
//! Only what is part of a stage is written: regular files, within the bounds that every stage has. Links and what no
//! stage may hold end it. Submodules are followed, each out of its own repository.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use git2::{ObjectType, Oid, Repository, Tree, TreeEntry};
use pib_plan::path::Collisions;

use super::GitError;
use super::address::Address;
use super::fault::Fault;
use super::modules::{self, MAX_MODULES};
use crate::source::SourceError;
use crate::source::stage_files::{self, MAX_BYTES, MAX_ENTRIES};

/// How many submodules may be inside each other.
const MAX_NESTING: usize = 8;
/// How deep folders may be.
const MAX_DEPTH: usize = 64;
const LINK: i32 = 0o120_000;

/// A commit of a repository that is being written out.
pub(super) struct Spot {
    /// The copy in the cache.
    pub(super) repository: Repository,
    /// Where it comes from.
    pub(super) address: Address,
    /// The commit.
    pub(super) commit: Oid,
    /// The repositories whose submodule it is, outermost first.
    above: Vec<Address>,
}

/// Gives a submodule's repository, with the commit in it.
pub(super) type Submodules<'a> = &'a dyn Fn(&Address, &str) -> Result<Repository, Fault>;

/// A stage's files on their way into a folder.
pub(super) struct Checkout<'a> {
    submodules: Submodules<'a>,
    into: PathBuf,
    bytes: u64,
    visited: usize,
    collisions: Collisions,
}

impl Spot {
    /// Returns the commit of the repository that the project names.
    pub(super) fn new(repository: Repository, address: Address, commit: Oid) -> Self {
        Self { repository, address, commit, above: Vec::new() }
    }

    /// Returns the commit's files.
    pub(super) fn tree(&self) -> Result<Tree<'_>, Fault> {
        self.repository.find_commit(self.commit).and_then(|commit| commit.tree()).map_err(self.damaged())
    }

    /// Returns the error for objects that cannot be read.
    pub(super) fn damaged(&self) -> impl Fn(git2::Error) -> Fault {
        let address = self.address.clone();
        move |source| Fault::Damaged { address: address.clone(), source }
    }

    fn unfit(&self, path: &str, reason: impl Into<String>) -> Fault {
        let (url, path) = (self.address.to_string(), path.to_owned());
        GitError::Unfit { url, path, reason: reason.into() }.into()
    }

    /// Returns the repository and the commit that stand at `path`.
    fn submodule(&self, path: &str, commit: Oid, open: Submodules<'_>) -> Result<Spot, Fault> {
        let refused = |reason: String| {
            let (url, path) = (self.address.to_string(), path.to_owned());
            Fault::from(GitError::Submodule { url, path, reason })
        };
        let tree = self.tree()?;
        let text = match tree.get_name(".gitmodules") {
            Some(entry) if entry.kind() == Some(ObjectType::Blob) => self.blob(&entry, MAX_MODULES as u64)?,
            _ => Some(Vec::new()),
        };
        let text = text.ok_or_else(|| refused("the file .gitmodules is too large".to_owned()))?;
        let url = modules::url_of(&String::from_utf8_lossy(&text), path)
            .ok_or_else(|| refused("the file .gitmodules does not say where it comes from".to_owned()))?;
        let address = self.address.submodule(&url)?;
        let mut above = self.above.clone();
        above.push(self.address.clone());
        if above.iter().any(|other| other.canonical() == address.canonical()) {
            let names = above.iter().chain([&address]).map(Address::to_string);
            let chain: Vec<String> = names.collect();
            return Err(refused(format!(
                "it leads back to a repository that it is in: {}",
                chain.join(" -> ")
            )));
        }
        if above.len() > MAX_NESTING {
            return Err(refused(format!("more than {MAX_NESTING} submodules are inside each other")));
        }
        let repository = open(&address, &commit.to_string())?;
        Ok(Spot { repository, address, commit, above })
    }

    /// Returns a file's bytes, `None` where they are more than `limit`.
    pub(super) fn blob(&self, entry: &TreeEntry<'_>, limit: u64) -> Result<Option<Vec<u8>>, Fault> {
        let odb = self.repository.odb().map_err(self.damaged())?;
        // The size is looked at first: the object is in memory as a whole.
        let (size, _) = odb.read_header(entry.id()).map_err(self.damaged())?;
        if size as u64 > limit {
            return Ok(None);
        }
        Ok(Some(odb.read(entry.id()).map_err(self.damaged())?.data().to_vec()))
    }
}

impl<'a> Checkout<'a> {
    /// Begins to write into the empty folder `into`.
    pub(super) fn new(into: &Path, submodules: Submodules<'a>) -> Self {
        let into = into.to_owned();
        Self { submodules, into, bytes: 0, visited: 0, collisions: Collisions::default() }
    }

    /// Writes the folder at `path` (the root if `None`); returns whether it is there.
    pub(super) fn write(&mut self, spot: &Spot, path: Option<&str>) -> Result<bool, Fault> {
        let parts: Vec<&str> = path.unwrap_or_default().split('/').filter(|part| !part.is_empty()).collect();
        self.enter(spot, &spot.tree()?, String::new(), &parts)
    }

    /// Goes down to the folder, then writes it.
    fn enter(&mut self, spot: &Spot, tree: &Tree<'_>, inside: String, parts: &[&str]) -> Result<bool, Fault> {
        let Some((first, rest)) = parts.split_first() else {
            self.folder(spot, tree, &inside, "", 0)?;
            return Ok(true);
        };
        let Some(entry) = tree.get_name(first) else { return Ok(false) };
        let inside = join(&inside, first);
        match entry.kind() {
            Some(ObjectType::Tree) => {
                let below = spot.repository.find_tree(entry.id()).map_err(spot.damaged())?;
                self.enter(spot, &below, inside, rest)
            }
            Some(ObjectType::Commit) => {
                let below = spot.submodule(&inside, entry.id(), self.submodules)?;
                self.enter(&below, &below.tree()?, String::new(), rest)
            }
            _ => Ok(false),
        }
    }

    /// Writes a folder: `inside` is its path in the repository, `target` that in the stage.
    fn folder(
        &mut self,
        spot: &Spot,
        tree: &Tree<'_>,
        inside: &str,
        target: &str,
        depth: usize,
    ) -> Result<(), Fault> {
        if depth > MAX_DEPTH {
            return Err(spot.unfit(inside, format!("folders are more than {MAX_DEPTH} deep there")));
        }
        for entry in tree.iter() {
            let Ok(name) = entry.name() else {
                return Err(spot.unfit(inside, "a name in it is not UTF-8"));
            };
            if stage_files::is_left_out(name, entry.kind() == Some(ObjectType::Tree), depth == 0) {
                continue;
            }
            self.visited += 1;
            if self.visited > MAX_ENTRIES {
                return Err(
                    spot.unfit(inside, format!("the stage has more than {MAX_ENTRIES} files by then"))
                );
            }
            let (inside, target) = (join(inside, name), join(target, name));
            match entry.kind() {
                Some(ObjectType::Tree) => {
                    let below = spot.repository.find_tree(entry.id()).map_err(spot.damaged())?;
                    self.folder(spot, &below, &inside, &target, depth + 1)?;
                }
                Some(ObjectType::Commit) => {
                    let below = spot.submodule(&inside, entry.id(), self.submodules)?;
                    self.folder(&below, &below.tree()?, "", &target, depth + 1)?;
                }
                Some(ObjectType::Blob) if entry.filemode() == LINK => {
                    return Err(spot.unfit(&inside, "it is a symbolic link"));
                }
                Some(ObjectType::Blob) => self.file(spot, &entry, &inside, &target)?,
                _ => return Err(spot.unfit(&inside, "it is neither a file nor a folder")),
            }
        }
        Ok(())
    }

    fn file(&mut self, spot: &Spot, entry: &TreeEntry<'_>, inside: &str, target: &str) -> Result<(), Fault> {
        pib_plan::path::check(target).map_err(|reason| spot.unfit(inside, reason))?;
        self.collisions.add(target, false).map_err(|reason| spot.unfit(inside, reason))?;
        let bytes = spot.blob(entry, MAX_BYTES - self.bytes)?;
        let bytes = bytes.ok_or_else(|| {
            spot.unfit(inside, format!("the stage has more than {} MiB by then", MAX_BYTES >> 20))
        })?;
        if stage_files::is_lfs_pointer(&bytes) {
            let path = PathBuf::from(format!("{}/{inside}", spot.address));
            return Err(SourceError::LfsPointer { path }.into());
        }
        self.bytes += bytes.len() as u64;
        let path = self.into.join(target);
        let failed = |error| Fault::from(SourceError::io("writing", &path)(error));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut file = File::create_new(&path).map_err(failed)?;
        file.write_all(&bytes).map_err(failed)?;
        let mode = if entry.filemode() & 0o100 != 0 { 0o755 } else { 0o644 };
        file.set_permissions(Permissions::from_mode(mode)).map_err(failed)
    }
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}
