//! What is in images, and what differs between two.

use std::fmt::Write as _;

use pib_plan::boot::chain::Chain;
use pib_plan::size::rounded as size;

use crate::inspection::{PackageContent, SystemContent};
use crate::ops::diff::ImageDifference;
use crate::ops::inspect::Inspection;

/// How many of the largest packages and folders are listed.
const LARGEST: usize = 8;
/// How many files are listed where not all are asked for.
const MAX_FILES: usize = 20;

impl Inspection {
    /// Returns what was found for people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("{}: {}\n", self.image.display(), size(self.size));
        self.partitions_to(&mut text);
        if !self.stages.is_empty() {
            let _ = writeln!(text, "\nStages: {}", line(&self.stages.join(", ")));
        }
        match &self.system {
            Some(system) => system_to(&mut text, system),
            None if self.system_error.is_some() => text.push_str("\nThe system cannot be read.\n"),
            None => text.push_str("\nNo partition has a system that pib can read.\n"),
        }
        text.push_str("\nBoot:\n");
        for chain in &self.boot {
            chain_to(&mut text, chain, self.board.is_some());
        }
        text
    }

    fn partitions_to(&self, text: &mut String) {
        for partition in &self.partitions {
            let number = match partition.number {
                0 => "-".to_owned(),
                number => number.to_string(),
            };
            let free = match partition.space {
                Some((_, free)) if !partition.filesystem.is_read_only() => format!(", {} free", size(free)),
                _ => String::new(),
            };
            let _ = writeln!(
                text,
                "  {number:>2}  {:8} {:12} {:>9} at {}{free}",
                partition.filesystem.text(),
                line(partition.label.as_deref().unwrap_or("-")),
                size(partition.region.size),
                size(partition.region.offset),
            );
            if let Some(fault) = &partition.fault {
                let _ = writeln!(text, "      {}", line(fault));
            }
        }
    }
}

/// Returns a name on one line: what is in an image may hold line breaks, which would look like lines of ours.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn system_to(text: &mut String, system: &SystemContent) {
    let name = line(system.name.as_deref().unwrap_or("unknown"));
    let host =
        system.hostname.as_deref().map(|name| format!(", host name {}", line(name))).unwrap_or_default();
    let _ = writeln!(text, "\nSystem: {name}{host}");
    let _ = writeln!(text, "  {} entries, {} in files", system.entries, size(system.bytes));
    let mut folders: Vec<_> = system.folders.iter().collect();
    folders.sort_by_key(|(_, bytes)| std::cmp::Reverse(**bytes));
    for (folder, bytes) in folders.into_iter().take(LARGEST) {
        let _ = writeln!(text, "  {:>9}  {}", size(*bytes), line(folder));
    }
    let _ = writeln!(text, "\nPackages: {}, the largest:", system.packages.len());
    let mut packages: Vec<&PackageContent> = system.packages.iter().collect();
    packages.sort_by_key(|content| std::cmp::Reverse(content.bytes));
    for PackageContent { package, bytes, .. } in packages.into_iter().take(LARGEST) {
        let _ = writeln!(text, "  {:>9}  {} {}", size(*bytes), line(&package.name), line(&package.version));
    }
    if !system.privileged.is_empty() {
        text.push_str("\nFiles that give rights:\n");
        for file in &system.privileged {
            let _ = writeln!(text, "  {:12} {}", file.right, line(&file.path));
        }
    }
    if !system.services.is_empty() {
        let _ = writeln!(text, "\nUnits that are started: {}", line(&system.services.join(", ")));
    }
}

fn chain_to(text: &mut String, chain: &Chain, is_whole: bool) {
    let how = if chain.is_try { " (trying an update)" } else { "" };
    let _ = writeln!(
        text,
        "  {}{how}: {}",
        chain.model,
        match &chain.faults[..] {
            [] => "starts".to_owned(),
            [first, ..] if !is_whole => line(&format!("does not start: {first}")),
            _ => "does not start".to_owned(),
        }
    );
    if !is_whole {
        return;
    }
    for fault in &chain.faults {
        let _ = writeln!(text, "    - {}", line(&fault.to_string()));
    }
    let kernel = chain.kernel.iter().chain(&chain.initramfs).chain(&chain.device_tree).chain(&chain.overlays);
    let loaded: Vec<&str> = chain.firmware.iter().chain(kernel).map(String::as_str).collect();
    if !loaded.is_empty() {
        let _ = writeln!(text, "    loads {}", line(&loaded.join(", ")));
    }
    if let Some(root) = chain.root {
        let _ = writeln!(text, "    the root is partition {root}");
    }
    for note in &chain.notes {
        let _ = writeln!(text, "    {}", line(note));
    }
}

impl ImageDifference {
    /// Returns what differs for people: all files that do, or the first of them.
    pub(crate) fn to_text(&self, all_files: bool) -> String {
        let changes = &self.changes;
        if changes.is_empty() {
            return "The systems on the two images are the same.\n".to_owned();
        }
        let mut text = String::new();
        let (first, second) = changes.bytes;
        let _ = writeln!(text, "Files: {} in the first, {} in the second", size(first), size(second));
        list(
            &mut text,
            "Packages",
            changes.packages.iter().map(|package| {
                let version = |version: &Option<String>| version.clone().unwrap_or_else(|| "none".to_owned());
                format!("{}: {} -> {}", package.name, version(&package.first), version(&package.second))
            }),
        );
        let files = |files: &[crate::inspection::SpecialFile]| -> Vec<String> {
            files.iter().map(|file| format!("{} {}", file.right, file.path)).collect()
        };
        let (one, other) = &changes.privileged;
        list(&mut text, "Files that give rights", both(&files(one), &files(other)));
        let (one, other) = &changes.services;
        list(&mut text, "Units that are started", both(one, other));
        let limit = if all_files { usize::MAX } else { MAX_FILES };
        let shown = changes.files.iter().take(limit);
        list(
            &mut text,
            "Files",
            shown.map(|change| format!("{}: {}", change.path, change.aspects.join(", "))),
        );
        if let left @ 1.. = changes.files.len().saturating_sub(limit) {
            let _ = writeln!(text, "  and {left} more; --files lists all");
        }
        text
    }
}

fn both(first: &[String], second: &[String]) -> impl Iterator<Item = String> {
    let first = first.iter().map(|item| format!("only in the first: {item}"));
    first
        .chain(second.iter().map(|item| format!("only in the second: {item}")))
        .collect::<Vec<_>>()
        .into_iter()
}

fn list(text: &mut String, title: &str, items: impl Iterator<Item = String>) {
    let items: Vec<String> = items.collect();
    if items.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{title}:");
    for item in items {
        let _ = writeln!(text, "  {}", line(&item));
    }
}
