//! Keeps `host/docs/events.schema.json` what the types are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/events.schema.json")
}

/// Returns the schema of a line that `--json` writes: an event, and the time that the display puts into it.
fn schema() -> Value {
    let mut schema = schemars::schema_for!(Event).to_value();
    let root = schema.as_object_mut().unwrap();
    root.insert(
        "$id".to_owned(),
        json!("https://github.com/pib-build/pib/blob/main/host/docs/events.schema.json"),
    );
    root.insert("title".to_owned(), json!("A line of `pib --json` on standard error"));
    let time = json!({
        "description": "Seconds since the program started.", "type": "number", "minimum": 0,
    });
    for variant in root["oneOf"].as_array_mut().unwrap() {
        variant["properties"].as_object_mut().unwrap().insert("time".to_owned(), time.clone());
        close(variant);
    }
    root["$defs"].as_object_mut().unwrap().values_mut().for_each(close);
    schema
}

/// Has an object's schema allow no further properties, and ask for all: what may be null is there nevertheless.
fn close(schema: &mut Value) {
    let names: Vec<Value> =
        schema["properties"].as_object().unwrap().keys().map(|name| json!(name)).collect();
    schema["additionalProperties"] = json!(false);
    schema["required"] = names.into();
}

/// The file is written anew where `PIB_BLESS` is set.
#[test]
#[allow(clippy::disallowed_methods, reason = "a test may be told to write what it compares with")]
fn the_published_schema_is_that_of_the_types() {
    if std::env::var_os("PIB_BLESS").is_some() {
        let text = serde_json::to_string_pretty(&schema()).unwrap();
        std::fs::write(path(), format!("{text}\n")).unwrap();
    }
    let published: Value = serde_json::from_str(&std::fs::read_to_string(path()).unwrap()).unwrap();
    assert!(
        published == schema(),
        "run the tests once with PIB_BLESS=1, and commit host/docs/events.schema.json"
    );
}

/// What the types serialise to has exactly the properties that the schema asks for.
#[test]
fn every_event_has_the_properties_of_its_schema() {
    let (id, text) = (|| "stage:os".to_owned(), || "text".to_owned());
    let place = Location { file: None, line: 1, column: 1, label: None };
    let problem =
        Problem { code: None, message: text(), help: None, causes: vec![], places: vec![], problems: vec![] };
    let difference = Difference {
        name: text(),
        aspects: vec![text()],
        stage: None,
        before: None,
        after: None,
        summary: None,
    };
    let events = [
        Event::StepStarted { id: id(), title: text() },
        Event::StepProgress { id: id(), done: 1, total: None },
        Event::StepDetail { id: id(), detail: text() },
        Event::StepFinished { id: id(), cached: true },
        Event::StepFailed { id: id() },
        Event::Log { id: id(), line: text() },
        Event::LogFile { path: text() },
        Event::FileRead { path: text() },
        Event::Warning { message: text() },
        Event::Note { message: text() },
        Event::Error {
            code: None,
            message: text(),
            help: None,
            causes: vec![text()],
            places: vec![place.clone()],
            problems: vec![problem.clone()],
            differences: vec![difference.clone()],
            exit_code: 6,
            logs: vec![text()],
        },
    ];
    let schema = schema();
    let variants = schema["oneOf"].as_array().unwrap();
    assert_eq!(variants.len(), events.len(), "an event is missing here, or two are the same");
    let names = |value: &Value| -> BTreeSet<String> {
        value.as_object().unwrap().keys().filter(|name| *name != "time").cloned().collect()
    };
    for (name, value) in [
        ("Location", serde_json::to_value(&place)),
        ("Problem", serde_json::to_value(&problem)),
        ("Difference", serde_json::to_value(&difference)),
    ] {
        assert_eq!(names(&value.unwrap()), names(&schema["$defs"][name]["properties"]), "{name}");
    }
    for event in events {
        let object = serde_json::to_value(&event).unwrap();
        let own = |variant: &&Value| variant["properties"]["event"]["const"] == object["event"];
        let variant = variants.iter().find(own).unwrap();
        assert_eq!(names(&object), names(&variant["properties"]), "{}", object["event"]);
    }
}
