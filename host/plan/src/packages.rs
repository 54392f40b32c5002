//! Keeps what package managers download between builds, in mounts of the engine that no layer holds.
//!
//! Only an instruction that speaks of the package manager gets the mount, so that others do not wait for it, and none
//! that empties the package cache does: that would empty what is kept. Nor does one that takes the package manager away
//! with all that is its: a folder that something is mounted on cannot be removed.

use crate::id::{Digest, KeyHasher};
use crate::manifest::project::Project;

/// A package manager: its commands, where it keeps what it downloads, and what throws that away.
struct Manager {
    os: &'static [&'static str],
    commands: &'static [&'static str],
    cleaning: &'static [&'static str],
    folder: &'static str,
    /// What is removed with all that lies in it, where a part tidies up by hand.
    around: &'static str,
    /// The package that the folder belongs to, which removes it when it is purged.
    package: &'static str,
    purging: &'static [&'static str],
}

const MANAGERS: [Manager; 2] = [
    Manager {
        os: &["debian", "raspios", "ubuntu"],
        commands: &["apt-get", "apt", "aptitude"],
        cleaning: &["clean", "autoclean", "distclean"],
        folder: "/var/cache/apt/archives",
        around: "/var/cache/apt",
        package: "apt",
        purging: &["purge", "autopurge", "--purge", "-P"],
    },
    Manager {
        os: &["arch"],
        commands: &["pacman"],
        cleaning: &["-Sc", "-Scc", "--clean"],
        folder: "/var/cache/pacman/pkg",
        around: "/var/cache/pacman",
        package: "pacman",
        purging: &[],
    },
];

/// Whose the caches in an engine are: one user's project in one folder. Another project of the same name has others, so
/// that it can plant nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheOwner(String);

impl CacheOwner {
    /// Returns the owner that is the project in `folder` of the user with this number.
    pub fn new(user: u32, folder: &[u8]) -> Self {
        let mut hasher = KeyHasher::new("pib caches 1");
        hasher.field(user.to_le_bytes()).field(folder);
        Self(short(&hasher.finish()))
    }
}

/// The cache of what one project's builds for one system download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageCache {
    id: String,
    manager: usize,
}

impl PackageCache {
    /// Returns the cache of a project, where pib knows its system's package manager.
    ///
    /// Package managers take a file of the right name and size in their cache on trust. So projects, which may have
    /// package sources of their own, do not share a cache.
    pub fn of(project: &Project, owner: &CacheOwner) -> Option<Self> {
        let manager = MANAGERS.iter().position(|manager| manager.os.contains(&project.os.as_str()))?;
        let start = project_prefix(&project.name, Some(owner));
        Some(Self { id: format!("{start}{}-{}-{}", project.os, project.release, project.arch), manager })
    }

    /// Returns the mount for an instruction with this command, if it is to have one.
    ///
    /// Package managers lock their cache and give up where another holds the lock, so the engine makes instructions
    /// wait that would share it.
    pub(crate) fn mount(&self, command: &str) -> Option<String> {
        let manager = MANAGERS.get(self.manager)?;
        let Self { id, .. } = self;
        PackageUse::of(manager, command)
            .keeps()
            .then(|| format!("--mount=type=cache,id={id},sharing=locked,target={}", manager.folder))
    }
}

/// What a command does with each of the package managers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PackageUses([PackageUse; MANAGERS.len()]);

/// What a command does with one package manager, as far as its text shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct PackageUse {
    uses: bool,
    cleans: bool,
    removes: bool,
    names_folder: bool,
    purges: bool,
    names_package: bool,
}

impl PackageUses {
    /// Returns what a command does with each.
    pub(crate) fn of(command: &str) -> Self {
        Self(MANAGERS.each_ref().map(|manager| PackageUse::of(manager, command)))
    }

    /// Adds those of a command that runs beside it.
    pub(crate) fn add(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(other.0) {
            own.uses |= other.uses;
            own.cleans |= other.cleans;
            own.removes |= other.removes;
            own.names_folder |= other.names_folder;
            own.purges |= other.purges;
            own.names_package |= other.names_package;
        }
    }

    /// Returns for each package manager whether the command is to have the mount.
    pub(crate) fn keeps(&self) -> [bool; MANAGERS.len()] {
        self.0.map(PackageUse::keeps)
    }
}

impl PackageUse {
    fn of(manager: &Manager, command: &str) -> Self {
        let separates = |c: char| c.is_whitespace() || ";&|()\"'`,[]{}=\\".contains(c);
        let words = || command.split(separates);
        Self {
            uses: words().any(|word| manager.commands.contains(&word.rsplit('/').next().unwrap_or(word))),
            cleans: words().any(|word| manager.cleaning.contains(&word)),
            removes: words().any(|word| word == "rm"),
            names_folder: command.contains(manager.around),
            purges: words().any(|word| manager.purging.contains(&word)),
            names_package: words().any(|word| word == manager.package),
        }
    }

    fn keeps(self) -> bool {
        let empties = (self.removes && self.names_folder) || (self.purges && self.names_package);
        self.uses && !self.cleans && !empties
    }
}

/// Returns the beginning of the ids of all package caches of the projects of this name, or of one of them.
pub fn project_prefix(project: &str, owner: Option<&CacheOwner>) -> String {
    let owner = owner.map(|CacheOwner(owner)| format!("{owner}."));
    format!("pib.packages.{project}.{}", owner.unwrap_or_default())
}

/// Returns what the engine calls a cache that a part of a project calls `id`. The id is a part's to choose, and some
/// engines make it a folder's name.
pub(crate) fn part_cache(owner: &CacheOwner, id: &str) -> String {
    format!("{}{}", part_caches(owner), short(&Digest::of(id.as_bytes())))
}

/// Returns the beginning of the ids of all caches that an owner's parts mount.
pub fn part_caches(CacheOwner(owner): &CacheOwner) -> String {
    format!("pib.cache.{owner}.")
}

fn short(digest: &Digest) -> String {
    digest.hex()[..12].to_owned()
}

/// Returns whether the id of a cache is one of pib's own.
pub(crate) fn is_own_id(id: &str) -> bool {
    id.starts_with("pib.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_downloads_packages_gets_the_mount() {
        let debian = PackageCache { id: "pib.packages.p.debian-trixie-arm64".to_owned(), manager: 0 };
        let mount = "--mount=type=cache,id=pib.packages.p.debian-trixie-arm64,sharing=locked,target=/var/cache/apt/archives";
        for command in [
            "apt-get update; apt-get install --yes x",
            "X=1 /usr/bin/apt-get\\\n install y",
            "[\"apt-get\", \"install\"]",
            "apt-get install z && ls /var/cache/apt/archives",
            "apt-get purge --yes z",
        ] {
            assert_eq!(debian.mount(command).as_deref(), Some(mount), "{command}");
        }
        for command in [
            "true",
            "apt-get install x && apt-get clean",
            "rm -rf /var/cache/apt/archives/*; apt-get update",
            "adapt-get",
            "dpkg --purge --force-depends apt && ! command -v apt-get",
            "apt-get purge --yes apt",
        ] {
            assert_eq!(debian.mount(command), None, "{command}");
        }
        let arch = PackageCache { id: String::new(), manager: 1 };
        assert!(arch.mount("pacman -S --noconfirm x").is_some());
        assert!(arch.mount("pacman -S x && (yes | pacman -Scc)").is_none());
    }

    #[test]
    fn projects_share_no_cache() {
        let owners =
            [(0, "/a"), (0, "/b"), (1, "/a")].map(|(user, folder)| CacheOwner::new(user, folder.as_bytes()));
        let named = |owner| (project_prefix("p", Some(owner)), part_cache(owner, "../npm"));
        assert_ne!(named(&owners[0]), named(&owners[1]));
        assert_ne!(named(&owners[0]).1, named(&owners[1]).1);
        assert_ne!(named(&owners[0]).1, named(&owners[2]).1);
        assert_ne!(part_cache(&owners[0], "a"), part_cache(&owners[0], "b"));
        assert!(is_own_id(&named(&owners[0]).1) && !named(&owners[0]).1.contains('/'));
        assert!(named(&owners[0]).0.starts_with(&project_prefix("p", None)));
    }
}
