use proptest::prelude::*;

use super::*;

fn entry(json: &str) -> IndexEntry {
    let text = format!(r#"{{"name":"mine","vers":"1.0.0"{json}}}"#);
    serde_json::from_str(&text).unwrap()
}

/// Returns what differs: whether it may break projects, and the words.
fn between(before: &str, after: &str) -> Vec<(bool, String)> {
    let changes = compare(&entry(before), &entry(after));
    changes.into_iter().map(|change| (change.breaking, change.text)).collect()
}

#[test]
fn what_breaks_projects_is_told_from_what_does_not() {
    let key = |schema: &str| format!(r#","config":{{"key":{schema}}}"#);
    let breaking = [
        (key(r#"{"type":"string"}"#), String::new(), "`key` is gone"),
        (String::new(), key(r#"{"type":"string","required":true}"#), "`key` is required"),
        (key(r#"{"type":"string"}"#), key(r#"{"type":"integer"}"#), "another type"),
        (key(r#"{"type":"string"}"#), key(r#"{"type":"string","required":true}"#), "is required now"),
        (key(r#"{"type":"enum","values":["a","b"]}"#), key(r#"{"type":"enum","values":["a"]}"#), "take `b`"),
        (key(r#"{"type":"integer"}"#), key(r#"{"type":"integer","min":3}"#), "greater `min`"),
        (key(r#"{"type":"integer","max":9}"#), key(r#"{"type":"integer","max":8}"#), "lower `max`"),
        (String::new(), r#","support":{"os":["debian"]}"#.to_owned(), "only for `debian`"),
        (
            r#","support":{"boards":["rpi3","rpi4"]}"#.to_owned(),
            r#","support":{"boards":["rpi4"]}"#.to_owned(),
            "the board `rpi3`",
        ),
        (String::new(), r#","phase":"cleanup""#.to_owned(), "another phase"),
        (String::new(), r#","conflicts":{"other":"*"}"#.to_owned(), "`other`"),
    ];
    for (before, after, words) in &breaking {
        let found = between(before, after);
        assert!(matches!(found.as_slice(), [(true, text)] if text.contains(words)), "{words}: {found:?}");
        // What is taken back again breaks nothing, but for what was another thing.
        let back = between(after, before);
        let both = ["is gone", "type", "phase", "`key` is required"].iter().any(|word| words.contains(word));
        assert!(both || back.iter().all(|(breaks, _)| !breaks), "{words}: {back:?}");
    }
    let compatible = [
        (String::new(), key(r#"{"type":"string"}"#), "`key` is new"),
        (key(r#"{"type":"string"}"#), key(r#"{"type":"string","default":"x"}"#), "was none and is \"x\""),
        (String::new(), r#","deps":{"os":"^1"}"#.to_owned(), "needs stage `os` ^1"),
        (r#","license":"MIT""#.to_owned(), r#","license":"Apache-2.0""#.to_owned(), "`MIT`"),
    ];
    for (before, after, words) in &compatible {
        let found = between(before, after);
        assert!(matches!(found.as_slice(), [(false, text)] if text.contains(words)), "{words}: {found:?}");
    }
    assert_eq!(between("", ""), []);
}

#[test]
fn the_number_says_whether_a_version_may_break_projects() {
    let may = |before: &str, after: &str| may_break(&before.parse().unwrap(), &after.parse().unwrap());
    assert!(may("1.2.3", "2.0.0") && may("0.1.0", "0.2.0") && may("0.0.1", "0.0.2"));
    assert!(!may("1.2.3", "1.3.0") && !may("0.1.0", "0.1.1") && !may("1.2.3", "1.2.4+build"));
}

proptest! {
    #[test]
    fn a_range_on_the_version_before_takes_the_new_one_or_it_may_break(
        before in (0..3u64, 0..3u64, 0..3u64),
        bump in (0..3u64, 0..3u64, 0..3u64),
    ) {
        let old = Version::new(before.0, before.1, before.2);
        let new = Version::new(before.0 + bump.0, before.1 + bump.1, before.2 + bump.2);
        let range: VersionReq = format!("^{old}").parse().unwrap();
        prop_assert_eq!(may_break(&old, &new), !range.matches(&new));
    }
}
