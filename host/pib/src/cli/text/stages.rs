//! What changes in the stages of a project.

use pib_plan::suggest::count;

use crate::ops::add::{Added, Removed};
use crate::ops::fetch::FetchSummary;
use crate::ops::lock::LockSummary;
use crate::ops::push::Pushed;
use crate::ops::update::Updated;
use crate::ops::vendor::Vendored;

impl Added {
    /// Returns the result for people.
    pub(crate) fn to_text(&self) -> String {
        let how = if self.dry_run { "Would add" } else { "Added" };
        let what = if self.stages.is_empty() { "nothing new".to_owned() } else { self.stages.join(", ") };
        if !self.is_new {
            return match self.stages.is_empty() {
                true => "Nothing changed".to_owned(),
                false => format!("Nothing changed: the project has {what} already, with these settings"),
            };
        }
        let to = self.target.as_ref().map(|target| format!(" to target `{target}`")).unwrap_or_default();
        format!("{how} {what}{to}\n{}", self.lock)
    }
}

impl Removed {
    /// Returns the result for people.
    pub(crate) fn to_text(&self) -> String {
        let how = if self.dry_run { "Would remove" } else { "Removed" };
        let from = self.target.as_ref().map(|target| format!(" from target `{target}`")).unwrap_or_default();
        format!("{how} {}{from}\n{}", self.stages.join(", "), self.lock)
    }
}

impl LockSummary {
    /// Returns the summary for people.
    pub(crate) fn to_text(&self) -> String {
        let what = if self.changed { "Locked" } else { "pib.lock is up to date:" };
        let targets = match self.targets.len() {
            0 => String::new(),
            1 => ", and 1 target".to_owned(),
            several => format!(", and {several} targets"),
        };
        format!("{what} {}{targets}", count(self.stages.len(), "stage"))
    }
}

impl Updated {
    /// Returns the changes for people.
    pub(crate) fn to_text(&self) -> String {
        match (self.changes.is_empty(), self.dry_run) {
            (true, _) => "Nothing to update.".to_owned(),
            (false, true) => format!("{}\nNothing was written.", self.changes.join("\n")),
            (false, false) => self.changes.join("\n"),
        }
    }
}

impl FetchSummary {
    /// Returns the summary for people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("{} stages are in the cache", self.stages.len());
        for (arch, count) in &self.packages {
            text.push_str(&format!(", and the base for {arch}, or the {count} packages that make it"));
        }
        for tool in &self.tools {
            text.push_str(&format!(", and {tool}"));
        }
        if self.recorded > 0 {
            text.push_str(&format!(", and {} files that parts fetch", self.recorded));
        }
        text
    }
}

impl Pushed {
    /// Returns what was done for people.
    pub(crate) fn to_text(&self) -> String {
        let Self { store, files, new } = self;
        format!("{files} files of this project are in {store}, {new} of them new")
    }
}

impl Vendored {
    /// Returns what was done for people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("{} stages are in {}", self.stages.len(), self.path);
        for (how, names) in [("written", &self.written), ("removed", &self.removed)] {
            if !names.is_empty() {
                text.push_str(&format!("\n{how}: {}", names.join(", ")));
            }
        }
        if let (Some(store), Some(files)) = (&self.store, self.files) {
            text.push_str(&format!("\n{files} files that builds fetch are in {store}"));
        }
        if self.manifest_changed {
            text.push_str(&format!(
                "\npib.toml has [vendor] path = \"{}\" now: builds take their stages from there",
                self.path
            ));
        }
        text
    }
}
