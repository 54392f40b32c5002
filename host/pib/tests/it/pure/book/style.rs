//! Phrases that a reader must work out are in no message, no help text and no page; `contributing/style.md` says why.

use std::path::Path;

use super::{docs, files, read};
use crate::world::root;

/// The phrases, each with what to write instead.
const BANNED: [(&str, &str); 24] = [
    (" anew", "again"),
    (" to be had", "is available, is not available"),
    ("cannot be had", "is not available"),
    ("can be had", "is available"),
    (", and is none", "and is not one"),
    ("` is none", "is not a ..."),
    ("asks nobody", "does not contact"),
    ("and nothing more", "only"),
    ("comes of a build", "the result of a build"),
    ("the same comes of", "the result is the same"),
    ("all of this comes to", "name the result"),
    ("keep the stages from being put together", "cannot resolve the stages"),
    ("in the way of a build", "checks failed"),
    ("that pib knows of", "unknown ..."),
    ("is no board", "unknown board"),
    ("this machine fit", "check your machine"),
    ("vouched for", "verified, signed"),
    ("Whoever ", "name the person"),
    ("told of", "says"),
    ("are told and", "says"),
    ("is told once", "says so once"),
    ("what it takes to", "what is needed to"),
    ("which of it all", "name it"),
    ("needs nobody's", "needs no ..."),
];

/// Returns what the program may show of a source: everything but comments and tests. Of the command line, comments that are
/// help texts stay.
fn shown(file: &Path) -> String {
    let is_help = file.to_string_lossy().contains("/cli/");
    let source = read(file);
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let is_comment = |line: &&str| {
        let line = line.trim_start();
        line.starts_with("//") && !(is_help && line.starts_with("/// "))
    };
    let lines = code.lines().filter(|line| !is_comment(line)).map(|line| line.split(" // ").next().unwrap());
    // A text that goes on after a backslash is one line.
    let mut text = String::new();
    let mut goes_on = false;
    for line in lines {
        text.push_str(if goes_on { line.trim_start() } else { line });
        goes_on = text.ends_with('\\');
        match goes_on {
            true => _ = text.pop(),
            false => text.push('\n'),
        }
    }
    text
}

#[test]
fn messages_help_and_pages_are_in_plain_english() {
    let mut texts = Vec::new();
    let host = root().join("host");
    let sources = std::fs::read_dir(&host).unwrap().map(|entry| entry.unwrap().path());
    for folder in sources.filter(|path| !path.ends_with("xtask") && path.join("src").is_dir()) {
        let files = files(&folder.join("src"), ".rs");
        let is_test = |file: &&std::path::PathBuf| {
            let name = file.to_string_lossy();
            name.ends_with("tests.rs") || name.contains("/tests/")
        };
        texts.extend(files.iter().filter(|file| !is_test(file)).map(|file| (file.clone(), shown(file))));
    }
    let pages =
        files(&docs(), ".md").into_iter().chain(["README.md", "SECURITY.md"].map(|name| root().join(name)));
    texts.extend(pages.filter(|page| !page.ends_with("style.md")).map(|page| (page.clone(), read(&page))));
    assert!(texts.len() > 300, "only {} files are read", texts.len());
    let mut found = Vec::new();
    for (file, text) in &texts {
        for line in text.lines() {
            for (phrase, instead) in BANNED.iter().filter(|(phrase, _)| line.contains(phrase)) {
                let file = file.strip_prefix(root()).unwrap().display();
                found.push(format!("{file}: `{}` (write: {instead})\n    {}", phrase.trim(), line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
