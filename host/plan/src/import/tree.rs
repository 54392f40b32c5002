//! The tree that is imported, as far as it is read.

use std::collections::BTreeMap;

use crate::makefile::{self, Makefile};

/// Gives the text of a file by its path within the tree, where it can be had.
pub type Files<'a> = &'a mut dyn FnMut(&str) -> Option<String>;

/// How many things are told that were left out.
const MAX_LEFT_OUT: usize = 300;

/// Something that could not be carried over.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LeftOut {
    /// What it is.
    pub what: String,
    /// Why it was left out, and what to do.
    pub why: String,
}

/// The tree.
pub(super) struct Tree<'a> {
    files: Files<'a>,
    read: BTreeMap<String, Option<String>>,
    left_out: Vec<LeftOut>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(files: Files<'a>) -> Self {
        Self { files, read: BTreeMap::new(), left_out: Vec::new() }
    }

    /// Returns the text of a file, which is read once.
    pub(super) fn text(&mut self, path: &str) -> Option<String> {
        let path = plain_path(path)?;
        if let Some(known) = self.read.get(&path) {
            return known.clone();
        }
        let text = (self.files)(&path);
        self.read.insert(path, text.clone());
        text
    }

    /// Reads the makefile of a folder of the tree.
    pub(super) fn makefile(
        &mut self,
        folder: &str,
        given: &BTreeMap<String, String>,
        goal: Option<&str>,
    ) -> Makefile {
        let mut files = |name: &str| self.text(&format!("./{folder}/{name}"));
        makefile::read(&mut files, "Makefile", given, goal)
    }

    /// Notes what could not be carried over.
    pub(super) fn leave_out(&mut self, what: String, why: String) {
        let left = LeftOut { what, why };
        if self.left_out.len() < MAX_LEFT_OUT && !self.left_out.contains(&left) {
            self.left_out.push(left);
        }
    }

    /// Notes what a makefile leaves open.
    pub(super) fn leave_out_notes(&mut self, folder: &str, makefile: &Makefile) {
        for note in makefile.notes() {
            let file = plain_path(&format!("./{folder}/{}", note.file)).unwrap_or_else(|| note.file.clone());
            self.leave_out(format!("{file}, line {}", note.line), note.text.clone());
        }
    }

    pub(super) fn into_left_out(self) -> Vec<LeftOut> {
        self.left_out
    }
}

/// Returns a path without detours; none where it leads out of the tree.
pub(super) fn plain_path(path: &str) -> Option<String> {
    if path.starts_with('/') || path.len() > 4096 {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
