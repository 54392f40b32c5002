//! The page of errors explains every error that a user can cause, and no other.

use std::collections::{BTreeMap, BTreeSet};

use super::{docs, files, read};
use crate::bench::{Bench, PROJECT};
use crate::world::root;

/// The errors that are shown as they are; all others are in these, or are their causes.
const CRATES: [&str; 4] = ["pib", "plan", "debian", "disk"];
/// Enumerations of errors that become another error before anything shows them, each with what it becomes.
const INNER: [(&str, &str); 1] = [("ImportError", "pib::stage::unfit or pib::usage")];

/// A kind of error in the source.
struct Kind {
    /// `EngineError::NoSocket`.
    name: String,
    code: Option<String>,
    /// The longest text of its message that is the same for every one.
    fixed: String,
    is_transparent: bool,
}

fn sources() -> Vec<(String, String)> {
    let of = |name: &&str| files(&root().join("host").join(name).join("src"), ".rs");
    let sources = CRATES.iter().flat_map(of).map(|file| (file.display().to_string(), read(&file)));
    sources.filter(|(file, _)| !file.ends_with("tests.rs")).collect()
}

/// Returns the kinds of all errors that say what to do: enumerations with `Diagnostic` among what they derive.
fn kinds() -> Vec<Kind> {
    let mut kinds = Vec::new();
    for (_, text) in sources() {
        let text = text.split("\nmod tests {").next().unwrap();
        for part in text.split("#[derive(").skip(1) {
            let (derived, rest) = part.split_once(")]").unwrap();
            let Some((_, body)) = rest
                .split_once("pub enum ")
                .filter(|(before, _)| !before.contains('\n') || !before.contains("fn "))
            else {
                continue;
            };
            let is_error = derived.contains("Diagnostic") && derived.contains("Error");
            let name = body.split([' ', '{']).next().unwrap();
            if is_error && !INNER.iter().any(|(inner, _)| *inner == name) {
                kinds.extend(variants(name, body.split("\n}\n").next().unwrap()));
            }
        }
    }
    kinds
}

fn variants(of: &str, body: &str) -> Vec<Kind> {
    let (mut found, mut attributes) = (Vec::new(), String::new());
    for line in body.lines().skip(1) {
        let name: String = line.trim_start().chars().take_while(char::is_ascii_alphanumeric).collect();
        let is_variant = line.starts_with("    ")
            && !line.starts_with("     ")
            && name.starts_with(|c: char| c.is_uppercase());
        if !is_variant {
            attributes.push_str(line);
            attributes.push('\n');
            continue;
        }
        let code =
            attributes.split("code(").nth(1).and_then(|rest| rest.split(')').next()).map(str::to_owned);
        let message = attributes.split("#[error(").nth(1).unwrap_or_default();
        found.push(Kind {
            name: format!("{of}::{name}"),
            code,
            fixed: fixed(message),
            is_transparent: attributes.contains("diagnostic(transparent)"),
        });
        attributes.clear();
    }
    found
}

/// Returns the longest piece of a format that has no value in it.
fn fixed(format: &str) -> String {
    let text = format.trim_start().strip_prefix('"').unwrap_or_default().replace("\\\"", "\u{1}");
    let text = text.split('"').next().unwrap().replace('\u{1}', "\"");
    let pieces = text.split('{').map(|piece| piece.split_once('}').map_or(piece, |(_, after)| after));
    let longest = pieces.max_by_key(|piece| piece.len()).unwrap_or_default();
    // A text that goes on in the next line of the source.
    longest.split("\\\n").next().unwrap().split("\\n").next().unwrap().trim().to_owned()
}

/// Returns the entries of the page, each with all of its text.
fn entries() -> BTreeMap<String, String> {
    let page = read(&docs().join("reference/errors.md"));
    let entries = page.split("\n### `").skip(1).map(|entry| entry.split_once('`').unwrap());
    entries.map(|(code, text)| (code.to_owned(), text.to_owned())).collect()
}

/// Returns the codes that the source gives to errors by a text: `"pib::manifest::syntax"`.
fn given() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, text) in sources() {
        let text = text.split("\nmod tests {").next().unwrap();
        let quoted = text.split("\"pib::").skip(1).filter_map(|rest| rest.split('"').next());
        let is_code = |code: &&str| {
            code.contains("::") && code.bytes().all(|b| b.is_ascii_lowercase() || b"_:".contains(&b))
        };
        found.extend(quoted.filter(is_code).map(|code| format!("pib::{code}")));
        let derived = text.split("(code(pib::").skip(1).filter_map(|rest| rest.split(')').next());
        found.extend(derived.map(|code| format!("pib::{code}")));
    }
    found
}

#[test]
fn every_kind_of_error_has_an_entry_with_a_message_of_its_own() {
    let (kinds, entries) = (kinds(), entries());
    assert!(kinds.len() > 150, "the scan finds {} kinds of errors", kinds.len());
    let mut used: BTreeSet<String> = given();
    let mut wrong = Vec::new();
    for kind in kinds.iter().filter(|kind| !kind.is_transparent) {
        // What it shows comes from its cause, which is an error with codes.
        if kind.name == "Error::Flash" {
            continue;
        }
        let Some(code) = &kind.code else {
            wrong.push(format!("{} has no code", kind.name));
            continue;
        };
        used.insert(code.clone());
        match entries.get(code) {
            None => wrong.push(format!("{code} of {} has no entry", kind.name)),
            Some(entry) if !entry.contains(&kind.fixed) => {
                wrong.push(format!("the entry of {code} has no example with `{}`", kind.fixed));
            }
            Some(_) => {}
        }
    }
    wrong.extend(
        used.iter().filter(|code| !entries.contains_key(*code)).map(|code| format!("{code} has no entry")),
    );
    wrong.extend(
        entries
            .keys()
            .filter(|code| !used.contains(*code))
            .map(|code| format!("no error has the code {code}")),
    );
    assert!(wrong.is_empty(), "reference/errors.md, or an error:\n{}", wrong.join("\n"));
}

#[test]
fn errors_name_their_codes_and_these_are_explained() {
    let bench = Bench::new(&PROJECT.replace("release =", "relaese ="));
    let ran = bench.run(&["plan"]);
    assert!(ran.errors.ends_with("\nFor more: pib explain pib::manifest::unknown_key\n"), "{}", ran.errors);
    let explained = bench.run(&["explain", "manifest::unknown_key"]);
    assert_eq!(explained.code, Some(0), "{}", explained.errors);
    assert!(
        explained.out.contains("unknown key `relaese`") && explained.out.contains("What to do: "),
        "{}",
        explained.out
    );
    let ran = bench.run(&["--json", "plan"]);
    let last: serde_json::Value = serde_json::from_str(ran.errors.lines().last().unwrap()).unwrap();
    assert_eq!(last["code"], "pib::manifest::unknown_key");
    let all = bench.run(&["explain", "--json"]);
    let all: Vec<serde_json::Value> = serde_json::from_str(&all.out).unwrap();
    assert_eq!(all.len(), entries().len());
}

/// Errors that are made of others name the codes of these, and number them.
#[test]
fn several_problems_are_numbered_and_each_code_is_named_once() {
    let bench = Bench::new(
        "[project]\nname = \"a\"\nos = \"debian\"\nrelease = \"trixie\"\nboard = \"rpi4\"\narch = \"arm64\"\n\n[stages]\nos = \"7\"\nwatchdgo = \"1\"\nroo = \"1\"\n",
    );
    let ran = bench.run(&["plan"]);
    assert!(!ran.errors.contains("Error:"), "{}", ran.errors);
    for line in ["  1. stage `os`", "  2. there is no stage `roo`", "  3. there is no stage `watchdgo`"] {
        assert!(ran.errors.contains(line), "{line} in {}", ran.errors);
    }
    let codes = "\nFor more: pib explain pib::resolve::no_usable_version pib::resolve::unknown_stage\n";
    assert!(ran.errors.ends_with(codes), "{}", ran.errors);
}
