//! The labels of what the tests make in engines: `cargo xtask test` removes what is left of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

use pib_plan::id::Digest;

use crate::skip;

/// The label by which pib tells whose project a container image or container is.
pub(crate) const PROJECT: &str = "dev.pib.project";

/// The ids of the projects of this process.
static PROJECTS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Notes the project in a folder, whose things in an engine are the tests' to remove; returns its id.
pub(crate) fn project(folder: &Path) -> String {
    // The id that pib gives it: of the folder, and of nothing else.
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let id = Digest::of(folder.as_os_str().as_encoded_bytes()).hex()[..16].to_owned();
    if PROJECTS.lock().unwrap().insert(id.clone()) {
        label(PROJECT, &id);
    }
    id
}

/// Returns whether a project of this id was made by this process.
pub(crate) fn is_ours(id: &str) -> bool {
    PROJECTS.lock().unwrap().contains(id)
}

/// Notes that what bears this label is the tests' to remove.
pub(crate) fn label(name: &str, value: &str) {
    skip::append("labels", &format!("{name}={value}"));
}
