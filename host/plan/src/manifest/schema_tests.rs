//! Keeps `host/docs/pib-toml.schema.json` and `host/docs/stage-toml.schema.json` what the types are that read the files.
//!
//! The descriptions are those of the book's reference.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::{project, stage};
use crate::board::BOARDS;
use crate::id::{Arch, Digest, StageName};
use crate::layout::PartitionSize;
use crate::size::ByteSize;

/// What a name is, as [`crate::id::check_name`] has it.
const NAME: &str = "^[a-z][a-z0-9-]{0,63}$";

/// The name of a board, which stands as a plain text in the types.
pub(super) struct BoardName;

/// The name of a project, likewise.
pub(super) struct ProjectName;

/// Gives types that are written as texts their schemas.
macro_rules! text_schema {
    ($($type:ty, $name:literal, $schema:expr;)*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )*};
}

text_schema! {
    BoardName, "BoardName", json_schema!({ "type": "string", "enum": BOARDS.map(|board| board.name) });
    ProjectName, "ProjectName", json_schema!({ "type": "string", "pattern": NAME });
    StageName, "StageName", json_schema!({
        "type": "string", "pattern": "^([a-z][a-z0-9-]{0,63}|__init__|__cleanup__)$",
    });
    Arch, "Arch", json_schema!({ "type": "string", "enum": Arch::ALL.map(Arch::as_str) });
    Digest, "Digest", json_schema!({ "type": "string", "pattern": "^sha256:[0-9a-f]{64}$" });
    ByteSize, "ByteSize", json_schema!({
        "type": "string", "pattern": "^[0-9]+\\s*(([kKmMgGtT]([iI]?[bB])?)|[bB])?\\s*$",
    });
    PartitionSize, "PartitionSize", json_schema!({
        "type": "string", "pattern": "^(auto|rest|[0-9]+\\s*%|[0-9]+\\s*(([kKmMgGtT]([iI]?[bB])?)|[bB])?\\s*)$",
    });
}

/// A file with a schema.
struct File {
    name: &'static str,
    title: &'static str,
    schema: Schema,
}

fn files() -> [File; 2] {
    [
        File { name: "pib-toml", title: "pib.toml: a project of pib", schema: project::json_schema() },
        File { name: "stage-toml", title: "stage.toml: a stage of pib", schema: stage::json_schema() },
    ]
}

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

/// Returns the schema of a file as it is published.
fn published(file: &File) -> Value {
    let mut schema = file.schema.clone().to_value();
    let root = schema.as_object_mut().unwrap();
    let address = "https://github.com/pib-build/pib/blob/main/host/docs";
    root.insert("$id".to_owned(), json!(format!("{address}/{}.schema.json", file.name)));
    root.insert("title".to_owned(), json!(file.title));
    let page = std::fs::read_to_string(docs(&format!("reference/{}.md", file.name))).unwrap();
    for (heading, key, meaning) in rows(&page) {
        for table in tables_of(file.name, &heading) {
            describe(&mut schema, &format!("/$defs/{table}/properties/{key}"), &meaning);
        }
    }
    for (key, meaning) in tables(&page) {
        describe(&mut schema, &format!("/properties/{key}"), &meaning);
    }
    schema
}

/// Gives the schema of a key its description, where there is such a key without one.
fn describe(schema: &mut Value, pointer: &str, meaning: &str) {
    if let Some(property) = schema.pointer_mut(pointer).and_then(Value::as_object_mut) {
        property.entry("description").or_insert_with(|| json!(meaning));
    }
}

/// Returns the definitions in a schema that a heading of the reference speaks of.
fn tables_of(file: &str, heading: &str) -> Vec<&'static str> {
    let known: &[(&str, &str)] = match file {
        "pib-toml" => &[
            ("project", "ProjectSchema"),
            ("stages", "StageTable"),
            ("base", "BaseSchema"),
            ("image", "ImageSchema"),
            ("image", "TargetImage"),
            ("image.partition", "PartitionSpec"),
            ("build", "BuildOptions"),
            ("cache", "CacheSchema"),
            ("registries.NAME", "RegistrySchema"),
            ("vendor", "VendorSchema"),
            ("order", "OrderSchema"),
            ("order.stages.NAME", "StageOrderSchema"),
            ("target.NAME", "TargetSchema"),
        ],
        _ => &[
            ("stage", "Meta"),
            ("support", "Support"),
            ("order", "Order"),
            ("config.KEY", "ConfigKey"),
            ("hook", "Hook"),
            ("test", "TestTable"),
            ("base.OS", "BaseTable"),
            ("base.OS.archive", "ArchiveTable"),
            ("base.OS.tarball", "TarballTable"),
        ],
    };
    known.iter().filter(|(name, _)| *name == heading).map(|(_, table)| *table).collect()
}

/// Returns the keys at the root of a file, each with the first line of what its section says.
fn tables(page: &str) -> Vec<(String, String)> {
    let sections = page.split("\n## `[").skip(1).map(|section| section.split_once('\n').unwrap());
    let described = sections.map(|(title, text)| {
        let title = title.trim_matches(|c: char| "`[]".contains(c));
        let key = title.split('.').next().unwrap().to_owned();
        let first = text.trim_start().lines().next().unwrap_or_default();
        let is_prose = first.starts_with(|c: char| c.is_ascii_alphabetic());
        let sentence = first.split(". ").next().unwrap().trim_end_matches('.');
        (key, if is_prose { format!("{}.", plain(sentence)) } else { format!("The keys of [{title}].") })
    });
    described.collect()
}

/// Returns the rows of a page's tables of keys: the heading, a key, and what it means, as plain text.
fn rows(page: &str) -> Vec<(String, String, String)> {
    let (mut heading, mut found) = (String::new(), Vec::new());
    for line in page.lines() {
        if let Some(title) = line.strip_prefix("## ").or_else(|| line.strip_prefix("### ")) {
            heading = title.trim_matches(|c: char| "`[]".contains(c)).to_owned();
        }
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if let (true, [keys, .., meaning]) = (line.starts_with("| `"), cells.as_slice()) {
            let keys = keys.split('`').skip(1).step_by(2);
            found.extend(keys.map(|key| (heading.clone(), key.to_owned(), plain(meaning))));
        }
    }
    found
}

/// Returns a text without the addresses of its links.
fn plain(text: &str) -> String {
    let mut shown = String::new();
    for (number, piece) in text.split("](").enumerate() {
        let piece = if number == 0 { piece } else { piece.split_once(')').map_or("", |(_, rest)| rest) };
        shown.push_str(&piece.replace(" [", " ").replace("([", "("));
    }
    shown
}

/// The files are written anew where `PIB_BLESS` is set.
#[test]
#[allow(clippy::disallowed_methods, reason = "a test may be told to write what it compares with")]
fn the_published_schemas_are_those_of_the_types() {
    for file in files() {
        let path = docs(&format!("{}.schema.json", file.name));
        let schema = published(&file);
        if std::env::var_os("PIB_BLESS").is_some() {
            std::fs::write(&path, format!("{}\n", serde_json::to_string_pretty(&schema).unwrap())).unwrap();
        }
        let found: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert!(found == schema, "run the tests once with PIB_BLESS=1, and commit {}", path.display());
    }
}

/// Every key says what it is for, as an editor shows it.
#[test]
fn every_key_of_a_schema_has_a_description() {
    for file in files() {
        let schema = published(&file);
        let of_root = schema["properties"].as_object().unwrap().iter();
        let tables = schema["$defs"].as_object().unwrap().iter();
        let of_tables = tables.flat_map(|(_, table)| table["properties"].as_object().into_iter().flatten());
        let without: Vec<&String> = of_root
            .chain(of_tables)
            .filter(|(_, value)| value["description"].is_null())
            .map(|(key, _)| key)
            .collect();
        assert!(without.is_empty(), "{}: {without:?}", file.name);
    }
}
