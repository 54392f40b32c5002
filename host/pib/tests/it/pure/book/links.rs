//! Every link and anchor leads somewhere, and every page is a chapter.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{docs, files, prose, read};
use crate::world::root;

/// The address of a file of the repository, for what is no part of the book.
const REPOSITORY: &str = "https://github.com/pib-build/pib/blob/main/";

#[test]
fn every_page_is_a_chapter() {
    let summary = read(&docs().join("SUMMARY.md"));
    let listed: Vec<String> = targets(&summary);
    let chapters: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
    assert_eq!(chapters.len(), listed.len(), "a chapter is listed twice");
    let pages = files(&docs(), ".md");
    let pages = pages.iter().map(|page| page.strip_prefix(docs()).unwrap().to_str().unwrap());
    let pages: BTreeSet<&str> = pages.filter(|page| *page != "SUMMARY.md").collect();
    assert_eq!(chapters, pages, "host/docs/SUMMARY.md must list each page once");
}

#[test]
fn links_and_anchors_lead_somewhere() {
    let mut pages = files(&docs(), ".md");
    pages.extend(
        ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md"].map(|name| root().join(name)),
    );
    let mut anchors = BTreeMap::new();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for page in &pages {
        for target in targets(&prose(&read(page))) {
            count += 1;
            if let Some(problem) = problem(page, &target, &mut anchors) {
                wrong.push(format!("{}: `{target}` {problem}", page.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    assert!(count > 150, "the scan finds only {count} links");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns what is wrong with a link of a page.
fn problem(
    page: &Path,
    target: &str,
    anchors: &mut BTreeMap<PathBuf, BTreeSet<String>>,
) -> Option<&'static str> {
    let is_book = page.starts_with(docs());
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match file.strip_prefix(REPOSITORY) {
        Some(path) => root().join(path),
        None if file.contains("://") => return None,
        None if file.is_empty() => page.to_owned(),
        None => page.parent().unwrap().join(file),
    };
    let Ok(path) = path.canonicalize() else { return Some("leads nowhere") };
    if is_book && !file.starts_with(REPOSITORY) && !path.starts_with(docs()) {
        return Some("leads out of the book, which a reader of the website cannot follow");
    }
    if anchor.is_empty() {
        return None;
    }
    let known = anchors.entry(path.clone()).or_insert_with(|| headings(&read(&path)));
    (!known.contains(anchor)).then_some("has no such heading")
}

/// Returns what the links of a text lead to.
fn targets(text: &str) -> Vec<String> {
    let ends = text.split("](").skip(1);
    ends.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// Returns the anchors of a page's headings.
fn headings(page: &str) -> BTreeSet<String> {
    let lines = prose(page);
    let lines = lines.lines().filter(|line| line.starts_with('#'));
    let mut found = BTreeSet::new();
    for line in lines {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = |c: char| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            _ => c.is_alphanumeric().then_some(c),
        };
        let slug: String = title.chars().filter_map(kept).collect();
        let number = (1..).find(|number| !found.contains(&format!("{slug}-{number}")));
        match found.contains(&slug) {
            true => found.insert(format!("{slug}-{}", number.unwrap_or_default())),
            false => found.insert(slug),
        };
    }
    found
}

#[test]
fn headings_have_the_anchors_that_mdbook_gives_them() {
    let page = "# What `--json` writes\n```\n# no heading\n```\n## `[config.KEY]`\n## Twice\n## Twice\n";
    let expected = ["configkey", "twice", "twice-1", "what---json-writes"].map(str::to_owned);
    assert_eq!(headings(page), BTreeSet::from(expected));
}
