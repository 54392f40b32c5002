//! The reference lists every key, exit code, event and variable, and nothing that does not exist. Commands and options are
//! compared by `cli::reference_tests`.

use std::collections::BTreeSet;

use super::{docs, files, read};
use crate::bench::Bench;
use crate::world::root;

/// A row of a table in a page of the reference.
struct Row {
    /// The last heading before it, without backticks and brackets.
    heading: String,
    /// The first cell of the table's head.
    head: String,
    /// What stands in backticks in its first cell, or the cell itself where nothing does.
    keys: Vec<String>,
    text: String,
}

fn page(name: &str) -> String {
    read(&docs().join("reference").join(name))
}

/// Returns the rows of all tables of a page.
fn rows(page: &str) -> Vec<Row> {
    let (mut heading, mut head) = (String::new(), None);
    let mut rows = Vec::new();
    for line in page.lines().filter(|line| !line.starts_with("|---")) {
        if let Some(title) = line.strip_prefix('#') {
            heading = title.trim_matches(|c: char| "#` []".contains(c)).to_owned();
        }
        let Some(cell) = line.strip_prefix("| ").and_then(|line| line.split(" | ").next()) else {
            head = None;
            continue;
        };
        match &head {
            None => head = Some(cell.to_owned()),
            Some(head) => {
                let keys = match cell.contains('`') {
                    true => quoted(cell),
                    false => vec![cell.to_owned()],
                };
                rows.push(Row { heading: heading.clone(), head: head.clone(), keys, text: line.to_owned() });
            }
        }
    }
    rows
}

fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Returns whether a heading is that of the table that a field is in, up to the key in it. In a heading, a name in capitals
/// stands for any.
fn is_table(heading: &str, path: &[&str]) -> bool {
    let names: Vec<&str> = heading.split('.').collect();
    let any = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase());
    let same = |(name, step): (&&str, &&str)| name == step || (any(name) && *step == "*");
    let is_same = names.len() == path.len() && names.iter().zip(path).all(same);
    // The entries of a table that are named by the author have their keys below its heading.
    is_same || path.split_last().is_some_and(|(last, rest)| *last == "*" && is_table_of(heading, rest))
}

fn is_table_of(heading: &str, path: &[&str]) -> bool {
    heading == path.join(".")
}

/// Compares a page with the fields of a file, both ways.
fn compare_keys(file: &str, name: &str) {
    let text = page(name);
    let rows = rows(&text);
    let headings: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("## `["))
        .map(|line| line.trim_matches(|c: char| "#` []".contains(c)))
        .collect();
    let fields = super::super::fields::listed_fields();
    let prefix = format!("{file}: ");
    let fields: Vec<&str> = fields.iter().filter_map(|field| field.strip_prefix(&prefix)).collect();
    assert!(fields.len() > 40, "{file} has only {} keys", fields.len());
    let (mut missing, mut used) = (Vec::new(), BTreeSet::new());
    for field in &fields {
        let (path, value) = field.split_once('=').unwrap_or((field, ""));
        let steps: Vec<&str> = path.split('.').filter(|step| *step != "[]").collect();
        let found = (0..steps.len()).rev().any(|at| {
            let of_table = |row: &&Row| is_table(&row.heading, &steps[..at]);
            let row = rows.iter().filter(of_table).find(|row| row.keys.iter().any(|key| key == steps[at]));
            used.extend(row.map(|row| (row.heading.clone(), steps[at].to_owned())));
            row.is_some()
        });
        let is_whole_table = headings.iter().any(|heading| is_table(heading, &steps));
        let has_value = value.is_empty() || text.contains(&format!("`{value}`"));
        if !(found || is_whole_table) || !has_value {
            missing.push(*field);
        }
    }
    assert!(missing.is_empty(), "reference/{name} does not list {missing:#?}");
    let of_tables = rows.iter().filter(|row| row.head == "key" && headings.contains(&&*row.heading));
    let keys = of_tables.flat_map(|row| row.keys.iter().map(|key| (row.heading.clone(), key.clone())));
    let unknown: Vec<_> = keys.filter(|key| !used.contains(key)).collect();
    assert!(unknown.is_empty(), "reference/{name} lists keys that do not exist: {unknown:#?}");
}

#[test]
fn every_key_of_the_manifests_is_listed() {
    compare_keys("pib.toml", "pib-toml.md");
    compare_keys("stage.toml", "stage-toml.md");
}

#[test]
fn every_exit_code_is_listed() {
    let rows = rows(&page("exit-codes.md"));
    let listed: BTreeSet<&str> = rows.iter().flat_map(|row| row.keys.iter().map(String::as_str)).collect();
    let help = Bench::new("").run(&["--help"]).out;
    let (_, codes) = help.split_once("Exit codes: ").unwrap();
    let words: Vec<&str> = codes.split_whitespace().collect();
    let in_help = words.iter().enumerate().filter(|(at, word)| {
        word.bytes().all(|byte| byte.is_ascii_digit()) && (*at == 0 || words[at - 1].ends_with(','))
    });
    let mut known: BTreeSet<&str> = in_help.map(|(_, word)| *word).collect();
    assert!(known.len() > 10, "{known:?}");
    // Those of a command that ran inside.
    known.extend(["126", "127"]);
    assert_eq!(listed, known);
    let source = read(&root().join("host/pib/src/project/exit_code.rs"));
    let in_source = source.split("=> ").skip(1).filter_map(|rest| {
        let digits = &rest[..rest.find(|c: char| !c.is_ascii_digit())?];
        (!digits.is_empty()).then_some(digits)
    });
    let missing: Vec<&str> = in_source.filter(|code| !listed.contains(code)).collect();
    assert!(missing.is_empty(), "reference/exit-codes.md does not list {missing:?}");
}

#[test]
fn every_event_is_listed_with_its_properties() {
    let text = page("events.md");
    let schema: serde_json::Value = serde_json::from_str(&read(&docs().join("events.schema.json"))).unwrap();
    let names = |value: &serde_json::Value| -> BTreeSet<String> {
        value
            .as_object()
            .unwrap()
            .keys()
            .filter(|name| !["event", "time"].contains(&&***name))
            .cloned()
            .collect()
    };
    let mut events: BTreeSet<String> =
        rows(&text).iter().filter(|row| row.head == "event").flat_map(|row| row.keys.clone()).collect();
    for event in schema["oneOf"].as_array().unwrap() {
        let name = event["properties"]["event"]["const"].as_str().unwrap();
        assert!(events.remove(name), "reference/events.md does not list {name}");
        let rows = rows(&text);
        let row = rows.iter().find(|row| row.head == "event" && row.keys[0] == name).unwrap();
        let cell = row.text.split(" | ").nth(1).unwrap();
        let listed: BTreeSet<String> = quoted(cell).into_iter().collect();
        assert_eq!(listed, names(&event["properties"]), "{name}");
    }
    assert!(events.is_empty(), "reference/events.md lists events that do not exist: {events:?}");
    for of in schema["$defs"].as_object().unwrap().values() {
        for name in names(&of["properties"]) {
            assert!(text.contains(&format!("`{name}`")), "reference/events.md does not list {name}");
        }
    }
}

/// Variables that libraries of pib read, or that are put together.
const OF_LIBRARIES: [&str; 11] = [
    "PIB_COMPLETE",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "SSL_CERT_FILE",
    "http_proxy",
    "NO_COLOR",
    "TERM",
    "TMPDIR",
    "PIB_REGISTRIES_NAME_INDEX",
    "PIB_REGISTRIES_NAME_TOKEN",
    "HOME",
];
/// What reads a variable in the source.
const READERS: [&str; 5] = [" set(\"", "text(\"", "OsStr::new(\"", "var_os(\"", "env::var(\""];

#[test]
fn every_variable_is_listed() {
    let mut read_by_pib = BTreeSet::new();
    for name in ["pib", "net", "file", "debian", "recorder", "disk", "buildkit", "event"] {
        for file in files(&root().join("host").join(name).join("src"), ".rs") {
            if file.to_string_lossy().ends_with("tests.rs") {
                continue;
            }
            let source = read(&file);
            let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
            for reader in READERS {
                let names = code.split(reader).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0));
                read_by_pib.extend(names.filter(|name| is_variable(name)).map(str::to_owned));
            }
            if let Some((_, proxies)) = code.split_once("const PROXIES") {
                let list = proxies.split(';').nth(1).unwrap_or_default();
                read_by_pib.extend(list.split('"').skip(1).step_by(2).map(str::to_owned));
            }
        }
    }
    assert!(read_by_pib.contains("PIB_CACHE_DIR") && read_by_pib.contains("all_proxy"), "{read_by_pib:?}");
    read_by_pib.extend(OF_LIBRARIES.map(str::to_owned));
    let rows = rows(&page("environment.md"));
    let rows = rows.iter().filter(|row| row.heading == "Variables that pib reads");
    let listed: BTreeSet<String> = rows.flat_map(|row| row.keys.clone()).collect();
    assert_eq!(listed, read_by_pib);
}

fn is_variable(name: &str) -> bool {
    name.len() > 2 && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
}
