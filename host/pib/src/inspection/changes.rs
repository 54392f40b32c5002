//! What differs between the systems of two images.

use std::collections::{BTreeMap, BTreeSet};

use pib_disk::Metadata;
use serde::Serialize;

use super::system::{FileFacts, SpecialFile, SystemContent};

/// What differs between two systems.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Changes {
    /// Packages that only one has, or that the two have in other versions.
    pub packages: Vec<PackageChange>,
    /// Files that give rights: only in the first, only in the second.
    pub privileged: (Vec<SpecialFile>, Vec<SpecialFile>),
    /// Services: only in the first, only in the second.
    pub services: (Vec<String>, Vec<String>),
    /// Files, folders and other entries that differ, sorted by path.
    pub files: Vec<Change>,
    /// The bytes of all files: of the first, of the second.
    pub bytes: (u64, u64),
}

/// A package that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PackageChange {
    /// Its name.
    pub name: String,
    /// Its version in the first; none where that has none.
    pub first: Option<String>,
    /// Its version in the second.
    pub second: Option<String>,
    /// The bytes of its files in the first and in the second.
    pub bytes: (u64, u64),
}

/// An entry that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// Its path.
    pub path: String,
    /// What of it differs, e.g. `content` or `only in the second`.
    pub aspects: Vec<&'static str>,
}

impl Changes {
    /// Returns whether nothing differs.
    pub fn is_empty(&self) -> bool {
        let Self { packages, privileged, services, files, bytes: _ } = self;
        packages.is_empty()
            && privileged.0.is_empty()
            && privileged.1.is_empty()
            && services.0.is_empty()
            && services.1.is_empty()
            && files.is_empty()
    }
}

/// Returns what differs between two systems, which must have been read with digests.
pub fn changes(first: &SystemContent, second: &SystemContent) -> Changes {
    Changes {
        packages: packages(first, second),
        privileged: only(&first.privileged, &second.privileged),
        services: only(&first.services, &second.services),
        files: files(&first.files, &second.files),
        bytes: (first.bytes, second.bytes),
    }
}

/// Returns what only the first has, and what only the second.
fn only<T: Clone + Ord>(first: &[T], second: &[T]) -> (Vec<T>, Vec<T>) {
    let (one, other): (BTreeSet<&T>, BTreeSet<&T>) = (first.iter().collect(), second.iter().collect());
    let cloned = |items: Vec<&&T>| items.into_iter().map(|item| (*item).clone()).collect();
    (cloned(one.difference(&other).collect()), cloned(other.difference(&one).collect()))
}

fn packages(first: &SystemContent, second: &SystemContent) -> Vec<PackageChange> {
    let by_name = |system: &SystemContent| -> BTreeMap<(String, String), (String, u64)> {
        let entry = |content: &super::system::PackageContent| {
            let package = &content.package;
            ((package.name.clone(), package.arch.clone()), (package.version.clone(), content.bytes))
        };
        system.packages.iter().map(entry).collect()
    };
    let (one, other) = (by_name(first), by_name(second));
    let names: BTreeSet<&(String, String)> = one.keys().chain(other.keys()).collect();
    let change = |name: &(String, String)| {
        let (a, b) = (one.get(name), other.get(name));
        let version = |found: Option<&(String, u64)>| found.map(|(version, _)| version.clone());
        let bytes = |found: Option<&(String, u64)>| found.map_or(0, |(_, bytes)| *bytes);
        (version(a) != version(b)).then(|| PackageChange {
            name: name.0.clone(),
            first: version(a),
            second: version(b),
            bytes: (bytes(a), bytes(b)),
        })
    };
    names.into_iter().filter_map(change).collect()
}

fn files(first: &BTreeMap<String, FileFacts>, second: &BTreeMap<String, FileFacts>) -> Vec<Change> {
    let paths: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    let change = |path: &String| {
        let aspects = match (first.get(path), second.get(path)) {
            (Some(one), Some(other)) => aspects(one, other),
            (Some(_), None) => vec!["only in the first"],
            _ => vec!["only in the second"],
        };
        (!aspects.is_empty()).then(|| Change { path: path.clone(), aspects })
    };
    paths.into_iter().filter_map(change).collect()
}

fn aspects(one: &FileFacts, other: &FileFacts) -> Vec<&'static str> {
    // Each of them is taken by name: a further one cannot be forgotten here.
    let Metadata { kind, mode, uid, gid, mtime, size, links, xattrs } = &one.metadata;
    let found = &other.metadata;
    let same_kind = std::mem::discriminant(kind) == std::mem::discriminant(&found.kind);
    let is_file = *kind == pib_disk::FileKind::File;
    let same_content =
        *kind == found.kind && (!is_file || (one.digest == other.digest && *size == found.size));
    let found = [
        ("kind", !same_kind),
        ("content", same_kind && !same_content),
        ("mode", *mode != found.mode),
        ("owner", (*uid, *gid) != (found.uid, found.gid)),
        ("time", *mtime != found.mtime),
        ("attributes", *xattrs != found.xattrs),
        ("hard links", is_file && *links != found.links),
    ];
    found.into_iter().filter_map(|(aspect, differs)| differs.then_some(aspect)).collect()
}
