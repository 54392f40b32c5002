use super::*;

fn name(text: &str) -> StageName {
    text.parse().unwrap()
}

fn digests() -> String {
    let digest = Digest::of(b"x");
    format!(r#""cksum":"{digest}","content":"{digest}","size":1"#)
}

fn parse(text: &str) -> IndexFile {
    IndexFile::parse(&name("os"), &SourceId::bundled(), text).unwrap()
}

#[test]
fn shards_are_cargos() {
    let paths: Vec<_> =
        ["a", "os", "ssh", "watchdog", "__init__"].iter().map(|n| shard_path(&name(n))).collect();
    assert_eq!(paths, ["1/a", "2/os", "3/s/ssh", "wa/tc/watchdog", "__/in/__init__"]);
}

#[test]
fn lines_round_trip_and_are_sorted() {
    let full = format!(
        r#"{{"name":"os","vers":"1.2.0","deps":{{"b":"^1","a":"*"}},"conflicts":{{"c":"<2"}},
        "order":{{"after":["a"]}},"phase":"init","support":{{"arch":["armv7"]}},"uses":["board"],"pib":">=0.1",
        "config":{{"t":{{"type":"integer","default":1}}}},"description":"d","license":"MIT",{},
        "hook":{{"digest":"{}","world":"pib:stage@0.1.0"}},"yanked":true}}"#,
        digests(),
        Digest::of(b"hook")
    )
    .replace('\n', "");
    let plain = format!(r#"{{"name":"os","vers":"1.0.0",{}}}"#, digests());
    let file = parse(&format!("{full}\n\n{plain}\n"));
    assert_eq!(file.skipped, []);
    let entries: Vec<_> = file
        .versions
        .iter()
        .map(|candidate| match &candidate.offer {
            Offer::Entry(entry) => entry.as_ref(),
            Offer::Unreadable(reason) => panic!("{reason}"),
        })
        .collect();
    assert_eq!(entries[0].deps.len(), 2);
    assert!(entries[0].yanked && entries[0].hook.is_some());
    let text = write_index_file(entries.iter().copied()).unwrap();
    assert!(text.starts_with(r#"{"name":"os","vers":"1.0.0","phase":"normal","cksum""#), "{text}");
    let again = parse(&text);
    assert_eq!(again.versions[1].offer, file.versions[0].offer);
    assert_eq!(again.versions[0].offer, file.versions[1].offer);
}

#[test]
fn a_bad_line_takes_no_other_version_away() {
    let d = digests();
    let lines = [
        format!(r#"{{"name":"os","vers":"1.0.0","some-day":[1],{d}}}"#),
        format!(r#"{{"v":3,"name":"os","vers":"2.0.0","deps":"new form",{d}}}"#),
        format!(r#"{{"v":3,"name":"os","vers":"2.1.0",{d}}}"#),
        format!(r#"{{"name":"os","vers":"1.1.0","support":{{"kernel":["6"]}},{d}}}"#),
        r#"{"name":"os","vers":"1.2.0"}"#.to_owned(),
        format!(r#"{{"name":"other","vers":"1.0.0",{d}}}"#),
        format!(r#"{{"name":"os","vers":"1.0.0+again",{d}}}"#),
        "not json".to_owned(),
        r#"{"name":"os","vers":"one"}"#.to_owned(),
        "[".repeat(100_000),
        "x".repeat(MAX_LINE + 1),
    ];
    let file = parse(&lines.join("\n"));
    let versions: Vec<_> = file.versions.iter().map(|candidate| candidate.version.to_string()).collect();
    assert_eq!(versions, ["1.0.0", "2.0.0", "2.1.0", "1.1.0", "1.2.0"]);
    assert!(matches!(file.versions[0].offer, Offer::Entry(_)));
    for (position, expected) in [(1, "newer pib"), (2, "newer pib"), (3, "kernel"), (4, "no `cksum`")] {
        match &file.versions[position].offer {
            Offer::Unreadable(reason) => assert!(reason.contains(expected), "{reason}"),
            Offer::Entry(_) => panic!("line {position} was taken"),
        }
    }
    let skipped: Vec<_> = file.skipped.iter().map(|skipped| skipped.line).collect();
    assert_eq!(skipped, [6, 7, 8, 9, 10, 11]);
}

#[test]
fn a_file_and_a_line_have_bounds() {
    let line = |number: usize| format!("{{\"name\":\"os\",\"vers\":\"1.0.{number}\"}}\n");
    let mut text: String = (0..MAX_VERSIONS).map(line).collect();
    let file = parse(&text);
    assert_eq!((file.versions.len(), file.bytes), (MAX_VERSIONS, text.len() as u64));
    text.push_str("x\n");
    let error = IndexFile::parse(&name("os"), &SourceId::bundled(), &text).unwrap_err();
    assert!(error.to_string().contains("stage `os` has more than 10000 versions"), "{error}");
    for (fields, most) in [("\"deps\":{*}", MAX_NAMED), ("\"conflicts\":{*}", MAX_NAMED)] {
        for (count, is_entry) in [(most, true), (most + 1, false)] {
            let all: Vec<String> = (0..count).map(|number| format!("\"a{number}\":\"1\"")).collect();
            let fields = fields.replace('*', &all.join(","));
            let file = parse(&format!("{{\"name\":\"os\",\"vers\":\"1.0.0\",{fields},{}}}", digests()));
            match &file.versions[0].offer {
                Offer::Entry(_) => assert!(is_entry),
                Offer::Unreadable(reason) => assert!(!is_entry && reason.contains("500 other"), "{reason}"),
            }
        }
    }
}

#[test]
fn only_a_closed_source_denies_a_stage() {
    let mut index = MemoryIndex::new();
    let bundled = SourceId::bundled();
    assert!(index.versions(&name("os"), &bundled).is_err());
    index.close(bundled.clone());
    assert!(index.versions(&name("os"), &bundled).unwrap().is_empty());
    assert!(index.versions(&name("os"), &SourceId::path("os").unwrap()).is_err());
}
