//! The events of a run, checked against their published schema.

use std::path::PathBuf;

use serde_json::Value;

pub(crate) fn docs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// Keeps a text for the book, where `cargo xtask record` asks for it.
pub(crate) fn record(name: &str, text: &str) {
    if std::env::var_os("PIB_RECORD").is_some() {
        let folder = docs().join("terminal");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// The published schema, as a validator of its own reads it.
pub(crate) struct Schema {
    schemas: boon::Schemas,
    index: boon::SchemaIndex,
}

impl Schema {
    pub(crate) fn published() -> Self {
        let path = docs().join("events.schema.json");
        let schema = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
        compiler.add_resource("events.json", schema).unwrap();
        // This also checks the schema against that of schemas.
        let index = compiler.compile("events.json", &mut schemas).unwrap_or_else(|error| panic!("{error:#}"));
        Self { schemas, index }
    }

    pub(crate) fn check(&self, event: &Value) -> Result<(), String> {
        self.schemas.validate(event, self.index).map_err(|error| format!("{error:#}"))
    }
}

/// Checks every line against the schema and returns the events.
pub(crate) fn checked(text: &str) -> Vec<Value> {
    let schema = Schema::published();
    let mut events = Vec::new();
    for line in text.lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        schema.check(&event).unwrap_or_else(|error| panic!("{line}: {error}"));
        events.push(event);
    }
    // Time never goes back, and what ends has begun.
    let times: Vec<f64> = events.iter().map(|event| event["time"].as_f64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let mut running = Vec::new();
    for event in &events {
        let id = || event["id"].as_str().unwrap();
        match event["event"].as_str().unwrap() {
            "step-started" => running.push(id()),
            "step-finished" | "step-failed" => {
                let at = running.iter().position(|known| *known == id());
                running.remove(at.unwrap_or_else(|| panic!("{} ended and had not begun", id())));
            }
            "step-progress" | "step-detail" => assert!(running.contains(&id()), "{event}"),
            _ => {}
        }
    }
    let failed = events.last().is_some_and(|event| event["event"] == "error");
    assert!(running.is_empty() || failed, "{running:?} did not end");
    events
}

pub(crate) fn kinds<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == kind).collect()
}
