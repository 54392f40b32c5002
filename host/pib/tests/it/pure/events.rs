//! The events of real runs against their published schema.

use crate::bench::{Bench, PROJECT};
use crate::event_log::{Schema, checked, docs, kinds};

#[test]
fn the_schema_refuses_what_is_no_event() {
    let schema = Schema::published();
    let valid = |text: &str| schema.check(&serde_json::from_str(text).unwrap()).is_ok();
    assert!(valid(r#"{"event": "note", "message": "m", "time": 0.1}"#));
    for wrong in [
        r#"{"event": "note", "message": "m"}"#,
        r#"{"event": "note", "message": 1, "time": 0.1}"#,
        r#"{"event": "note", "message": "m", "time": 0.1, "more": 1}"#,
        r#"{"event": "step-progress", "id": "a", "done": -1, "total": null, "time": 0.1}"#,
        r#"{"event": "unheard-of", "time": 0.1}"#,
        r#"[]"#,
    ] {
        assert!(!valid(wrong), "{wrong}");
    }
}

#[test]
fn errors_without_an_engine_are_events() {
    let bench = Bench::new(&PROJECT.replace("rpi4", "rpi44"));
    let events = checked(&bench.run(&["plan", "--json"]).errors);
    assert_eq!(events.last().unwrap()["exit-code"], 3);
    let bench = Bench::new(PROJECT);
    let events = checked(&bench.run(&["build", "--json"]).errors);
    let error = events.last().unwrap();
    assert_eq!((error["event"].as_str(), error["exit-code"].as_i64()), (Some("error"), Some(5)));
    let quiet = checked(&bench.run(&["build", "--json", "--quiet"]).errors);
    assert_eq!(quiet.len(), 1, "{quiet:?}");
}

/// The recordings in the book are what this version writes.
#[test]
fn the_recorded_events_are_valid() {
    for name in ["build.jsonl", "failure.jsonl"] {
        let path = docs().join("terminal").join(name);
        let events = checked(&std::fs::read_to_string(&path).unwrap());
        assert!(!kinds(&events, "step-started").is_empty(), "{}", path.display());
    }
    for entry in std::fs::read_dir(docs().join("terminal")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("/tmp/"), "a path of the machine that recorded it:\n{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}
