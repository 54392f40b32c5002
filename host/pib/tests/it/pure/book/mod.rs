//! The book: its links lead somewhere, its reference lists everything, its commands do what it shows, and it is in plain English.

mod errors;
mod links;
mod reference;
mod style;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pib_plan::manifest::stage::StageManifest;
use semver::Version;

use crate::bench::{Bench, PROJECT};
use crate::console;
use crate::world::root;

fn docs() -> PathBuf {
    root().join("host/docs")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the files of a folder and below it whose names end so.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let walk = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter();
    let paths = walk.map(|entry| entry.unwrap().into_path());
    paths.filter(|path| path.to_string_lossy().ends_with(end)).collect()
}

/// Returns the text of a page without its blocks of code.
fn prose(page: &str) -> String {
    let mut inside = false;
    let outside = page.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        inside ^= is_fence;
        !inside && !is_fence
    });
    outside.collect::<Vec<_>>().join("\n")
}

/// A reader sees other versions than those shown as soon as a stage has a new one.
#[test]
fn the_versions_that_are_shown_are_the_newest() {
    let stages = files(&root().join("stages"), "/stage.toml").into_iter().map(|path| {
        let manifest = StageManifest::parse("stage.toml", &read(&path)).unwrap();
        (manifest.name.to_string(), manifest.version)
    });
    let stages: BTreeMap<String, Version> = stages.collect();
    let mut count = 0;
    for page in ["tutorial.md", "guides/inspecting.md"] {
        let page = read(&docs().join(page));
        let words: Vec<&str> = page.split_whitespace().collect();
        for pair in words.windows(2) {
            let version = pair[1].trim_end_matches([',', ':']).parse::<Version>();
            if let (Some(newest), Ok(version)) = (stages.get(pair[0]), version) {
                assert_eq!(version, *newest, "{}", pair[0]);
                count += 1;
            }
        }
    }
    assert!(count > 10, "{count} versions");
}

/// The commands of guides in blocks `console` are run in a project; those of the tutorial in `machine::tutorial`.
#[test]
fn the_commands_of_guides_do_what_they_show() {
    let mut count = 0;
    for page in files(&docs().join("guides"), ".md") {
        let bench = Bench::new(PROJECT);
        for shown in console::commands(&read(&page)) {
            let args: Vec<&str> = shown.command.strip_prefix("pib ").unwrap().split(' ').collect();
            let ran = bench.run(&args);
            let place = format!("{}, line {}: `{}`", page.display(), shown.line, shown.command);
            assert_eq!(ran.code, Some(0), "{place}: {}", ran.errors);
            assert!(console::is_shown(&shown.output, &ran.out), "{place} printed\n{}", ran.out);
            count += 1;
        }
    }
    assert!(count > 2, "{count} commands");
}
