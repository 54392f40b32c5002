use semver::Version;

use super::*;
use crate::id::INIT;
use crate::mode::Mode;
use crate::part;

fn stage(name: &str, arg: &str, text: &str) -> StageInput {
    StageInput {
        name: name.parse().unwrap(),
        version: Version::new(1, 0, 0),
        args: vec![Arg { name: "X".to_owned(), value: arg.to_owned(), keyed: true }],
        part: part::check("p", text).unwrap(),
        files: vec![],
        native: true,
        recorded: false,
        secrets: vec![],
    }
}

fn plan(stages: &[StageInput]) -> BuildPlan {
    let base = BaseRef::ContainerImage("pib-base:1".to_owned());
    assemble(Arch::Arm64, &base, &Digest::of(b"base"), stages, &Extras::default()).unwrap()
}

#[test]
fn stages_follow_each_other() {
    let plan = plan(&[stage(INIT, "1", "RUN true\n"), stage("os", "a \"b\" $c", "RUN false")]);
    let expected = "# Written by pib. Changes here are lost.\n\
        \nFROM pib-base:1 AS pib_init\n# stage __init__ 1.0.0\nARG X=\"1\"\nRUN true\n\
        \nFROM pib_init AS os\n# stage os 1.0.0\nARG X=\"a \\\"b\\\" \\$c\"\nRUN false\n";
    assert_eq!(plan.dockerfile, expected);
    let line = |step: &PlannedStep| plan.dockerfile.lines().nth(step.line - 1).unwrap();
    let own = plan.steps.iter().filter_map(|step| Some((line(step), step.written.clone()?)));
    let written = |text: &str| Written { line: 1, text: text.to_owned() };
    let expected = [("RUN true", written("RUN true")), ("RUN false", written("RUN false"))];
    assert_eq!(own.collect::<Vec<_>>(), expected);
}

#[test]
fn a_source_that_is_not_in_the_build_is_told() {
    let file = |path: &str| ContextFile {
        source: FileSource::Bytes([].into()),
        ..ContextFile::folder(path.to_owned(), Mode::FILE)
    };
    let with = |text: &str| {
        let mut stages = [stage("a", "1", text), stage("b", "1", "RUN b")];
        stages[1].files.push(file("stages/b/x/y"));
        stages
    };
    for there in ["COPY stages/b/x/y /", "COPY stages/b/ /", "COPY stages /all/", "COPY stages/b/*/z /"] {
        plan(&with(there));
    }
    for missing in ["COPY stages/b/y /", "COPY stages/c/ /", "COPY stages/b/x/y/z /"] {
        assert!(refused(&with(missing)).contains("which no stage of this build has"), "{missing}");
    }
}

#[test]
fn what_becomes_a_line_is_bounded_and_what_becomes_a_name_is_one() {
    let mut long = stage("a", "1", "RUN a");
    long.args[0].value = "\"".repeat(40_000);
    assert!(refused(&[long]).contains("40000 bytes"));
    let stages = [stage("a", "1", "RUN a")];
    for name in ["x\nRUN true", "scratch AS x", "a b", "$X", "--platform=x", ""] {
        let name = name.to_owned();
        for base in [BaseRef::ContainerImage, BaseRef::ForeignImage, BaseRef::ContextTar] {
            let error =
                assemble(Arch::Arm64, &base(name.clone()), &Digest::of(b""), &stages, &Extras::default());
            assert!(
                error.unwrap_err().to_string().contains("is not the name of a container image"),
                "{name}"
            );
        }
    }
}

#[test]
fn an_argument_that_the_part_sets_itself_is_not_what_its_sources_mean() {
    let key = |text: &str, content: &str| {
        let mut stages = [stage("a", "stages/a/x", text), stage("b", "1", "RUN b")];
        stages[1].args.clear();
        for (stage, path) in stages.iter_mut().zip(["stages/a/x", "stages/b/x"]) {
            let digest = Digest::of(content.as_bytes());
            stage.files.push(ContextFile { digest, ..ContextFile::folder(path.to_owned(), Mode::FILE) });
        }
        stages[0].files[0].digest = Digest::of(b"");
        plan(&stages).stages[0].key
    };
    for other in ["ENV X=stages/b/x", "ARG X=stages/b/x", "ENV X stages/b/x"] {
        let text = format!("{other}\nCOPY stages/a/../../$X /y\n");
        assert!(check_reach(&text), "{text}");
        let text = format!("{other}\nCOPY stages/$X /y\n");
        assert_ne!(key(&text, "1"), key(&text, "2"), "{text}");
    }
    let same = "ENV X=$X\nCOPY $X /y\n";
    assert_eq!(key(same, "1"), key(same, "2"));
}

/// Returns whether such a part is refused.
fn check_reach(text: &str) -> bool {
    let base = BaseRef::ContainerImage("b".to_owned());
    assemble(Arch::Arm64, &base, &Digest::of(b""), &[stage("a", "1", text)], &Extras::default()).is_err()
}

#[test]
fn a_change_moves_the_keys_from_its_stage_on() {
    let before = plan(&[stage("a", "1", "RUN a"), stage("b", "1", "RUN b"), stage("c", "1", "RUN c")]);
    let after = plan(&[stage("a", "1", "RUN a"), stage("b", "2", "RUN b"), stage("c", "1", "RUN c")]);
    let same: Vec<bool> = before.stages.iter().zip(&after.stages).map(|(a, b)| a.key == b.key).collect();
    assert_eq!(same, [true, false, false]);
    let mut mirrored = stage("a", "1", "RUN a");
    mirrored.args[0].keyed = false;
    let one = plan(&[mirrored.clone()]).key;
    mirrored.args[0].value = "2".to_owned();
    assert_eq!(one, plan(&[mirrored]).key);
    let mut files = vec![stage("a", "1", "RUN a")];
    let plain = plan(&files).key;
    files[0].files.push(ContextFile {
        path: "stages/a/x".to_owned(),
        source: FileSource::Bytes([].into()),
        digest: Digest::of(b""),
        size: 0,
        mode: Mode::FILE,
    });
    let with_file = plan(&files).key;
    let key = |mode: u32, folder: bool| {
        let mut files = files.clone();
        files[0].files[0].mode = Mode::new(mode).unwrap();
        if folder {
            files[0].files[0].source = FileSource::Folder;
        }
        plan(&files).key
    };
    let mut keys = vec![plain, with_file, key(0o755, false), key(0o600, false), key(0o644, true)];
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 5, "the mode and the kind of a file change the key");
}

#[test]
fn a_secret_is_named_by_its_value_and_placed_by_its_id() {
    let text = "RUN --mount=type=secret,id=net.pass cat /run/secrets/net.pass\n\
                RUN --mount=type=secret,target=/p,id=net.pass,required=true cat /p\n";
    let mut net = stage("net", "1", text);
    let plain = plan(&[net.clone()]);
    assert!(plain.dockerfile.ends_with(text), "{}", plain.dockerfile);
    net.secrets = vec![StageSecret { id: "net.pass".to_owned(), digest: Some(Digest::of(b"1")) }];
    let first = plan(&[net.clone()]);
    let name = format!("net.pass.{}", &Digest::of(b"1").hex()[..16]);
    assert_eq!(first.secrets, [PlannedSecret { id: "net.pass".to_owned(), name: name.clone() }]);
    let lines: Vec<&str> = first.dockerfile.lines().filter(|line| line.starts_with("RUN")).collect();
    let one =
        format!("RUN --mount=type=secret,id={name},target=/run/secrets/net.pass cat /run/secrets/net.pass");
    let two = format!("RUN --mount=type=secret,target=/p,id={name},required=true cat /p");
    assert_eq!(lines, [one, two]);
    net.secrets[0].digest = Some(Digest::of(b"2"));
    let second = plan(&[net.clone()]);
    assert!(first.key != second.key && first.key != plain.key);
    assert_ne!(first.dockerfile, second.dockerfile);
}

#[test]
fn what_is_run_anew_is_told_by_a_name_and_changes_no_key() {
    let stages =
        [stage("a", "1", "RUN a"), stage("b", "1", "RUN b"), stage("c", "1", "COPY stages/c y\nRUN c")];
    let base = BaseRef::ContainerImage("b".to_owned());
    let from = "b".parse().unwrap();
    let runs = |from| {
        let extras = Extras { rerun: Some(Rerun { from, nonce: "7" }), ..Extras::default() };
        let plan = assemble(Arch::Arm64, &base, &Digest::of(b"base"), &stages, &extras).unwrap();
        assert_eq!(plan.key, self::plan(&stages).key);
        plan.dockerfile.matches("RUN --mount=type=secret,id=pib.anew.7 ").count()
    };
    assert_eq!((runs(None), runs(Some(&from))), (3, 2));
}

#[test]
fn the_engines_limit_is_told_before_the_engine_does() {
    // With one more for native tools, and nothing that can be merged.
    let many = "RUN true\nENV A=1\n".repeat(MAX_LAYERS + 1);
    let base = BaseRef::ContainerImage("x".to_owned());
    let stages = [stage("a", "1", &many)];
    let error = assemble(Arch::Arm64, &base, &Digest::of(b""), &stages, &Extras::default()).unwrap_err();
    assert!(error.to_string().contains("122"), "{error}");
}

#[test]
fn every_stage_starts_from_a_known_state() {
    let leaves = "USER pi\nWORKDIR /x\nSHELL [\"/bin/bash\", \"-c\"]\nRUN a";
    let parts = [stage("a", "1", leaves), stage("b", "1", "RUN b"), stage("c", "1", "RUN c")];
    let plan = plan(&parts);
    let (_, b) = plan.dockerfile.split_once("FROM a AS b\n").unwrap();
    let expected = "# stage b 1.0.0\nUSER 0:0\nWORKDIR /\nSHELL [\"/bin/sh\", \"-c\"]\nARG X=\"1\"\nRUN b\n";
    assert!(b.starts_with(expected), "{b}");
    assert!(b.ends_with("# stage c 1.0.0\nARG X=\"1\"\nRUN c\n"), "{b}");
    let foreign = BaseRef::ForeignImage("x@sha256:00".to_owned());
    let plan = assemble(Arch::Arm64, &foreign, &Digest::of(b""), &parts[1..], &Extras::default()).unwrap();
    assert!(plan.dockerfile.contains(expected), "{}", plan.dockerfile);
}

fn refused(stages: &[StageInput]) -> String {
    let base = BaseRef::ContainerImage("b".to_owned());
    let error = assemble(Arch::Arm64, &base, &Digest::of(b""), stages, &Extras::default()).unwrap_err();
    let help = miette::Diagnostic::help(&error).unwrap();
    format!("{error} {help}")
}

#[test]
fn only_earlier_stages_and_images_are_copied_from() {
    let copy = |from: &str| {
        stage("b", "1", &format!("COPY --from={from} /x /x\nRUN --mount=from={from},target=/y b"))
    };
    let with = |from: &str| [stage(INIT, "1", "RUN a"), copy(from), stage("later", "1", "RUN c")];
    for from in [INIT, "init__", "pib_init"] {
        let plan = plan(&with(from));
        assert_eq!(plan.dockerfile.matches("from=pib_init").count(), 2, "{}", plan.dockerfile);
        assert!(plan.stages[1].unpinned.is_empty());
    }
    for (from, what) in [
        ("b", "itself"),
        ("later", "before = [\"b\"]"),
        ("pib_native", "no earlier stage"),
        ("0", "no earlier stage"),
        ("busybox", "busybox:latest"),
    ] {
        assert!(refused(&with(from)).contains(what), "{from}: {}", refused(&with(from)));
    }
    let plan = plan(&with("busybox:1"));
    assert_eq!(plan.stages[1].unpinned, ["container image busybox:1"]);
    assert!(plan.unpinned(0).is_empty() && plan.unpinned(2)[0].contains("stage `b` fetches"));
}

#[test]
fn what_the_engine_fetches_for_a_recorded_part_has_its_digest() {
    let program = "Fetch it with RUN";
    let digest = "NAME@sha256:DIGEST";
    for (part, instead) in [
        ("ADD http://example.org/f /f", program),
        ("ADD --checksum=sha256:aa https://example.org/f /f", program),
        ("ADD https://example.org/a.git#main /f", program),
        ("ADD git@example.org:a.git /f", program),
        ("COPY --from=busybox:1 /x /x", digest),
        ("RUN --mount=from=busybox:1,target=/y b", digest),
    ] {
        let stages = |recorded| [StageInput { recorded, ..stage("a", "1", part) }];
        let told = refused(&stages(true));
        assert!(told.contains(instead) && told.contains("network = \"open\""), "{part}: {told}");
        plan(&stages(false));
    }
    let pinned = format!("COPY --from=busybox@sha256:{} /x /x", "a".repeat(64));
    plan(&[StageInput { recorded: true, ..stage("a", "1", &pinned) }]);
}

#[test]
fn a_recorded_part_does_not_ask_which_machine_builds() {
    for name in ["BUILDPLATFORM", "BUILDOS", "BUILDARCH", "BUILDVARIANT"] {
        let input = stage("a", "1", &format!("ARG {name}\nRUN echo ${name} > /x\n"));
        plan(std::slice::from_ref(&input));
        let refused = refused(&[StageInput { recorded: true, ..input }]);
        assert!(refused.contains(&format!("asks by {name} which machine builds")), "{refused}");
    }
    plan(&[StageInput {
        recorded: true,
        ..stage("a", "1", "ARG TARGETARCH\nARG BUILD\nRUN echo $TARGETARCH\n")
    }]);
}

#[test]
fn a_value_is_no_instruction() {
    for value in ["a\nRUN true", "a\rb", "\0"] {
        let mut stage = stage("a", "1", "RUN a");
        stage.args[0].value = value.to_owned();
        let refused = refused(&[stage]);
        assert!(refused.contains("the argument X of stage `a` has a line break"), "{value:?}: {refused}");
    }
}

#[test]
fn what_hides_an_argument_is_refused() {
    let with = |env: &str, text: &str| [stage("a", "1", env), stage("b", "1", text)];
    assert!(refused(&with("ENV X=2", "RUN b")).contains("stage `b` takes the argument X"));
    assert!(refused(&with("ENV Y=2", "ARG Y=3\nRUN b")).contains("declares the argument Y"));
    assert!(refused(&with("ENV X=2", "RUN b")).contains("Rename what becomes"));
    // What the command line gives is declared by the part, and is no config key.
    let by_command_line = refused(&with("ENV X=2", "ARG X\nRUN b"));
    assert!(
        by_command_line.contains("--build-arg") && !by_command_line.contains("config"),
        "{by_command_line}"
    );
    let mut variable = with("ENV BOARD=2", "RUN b");
    variable[1].args[0].name = "BOARD".to_owned();
    assert!(refused(&variable).contains("Take BOARD out of `uses` of `b`"));
    for (env, text) in [
        ("ENV X=$X", "RUN b"),
        ("ENV X=1", "RUN b"),
        ("ENV Y=2", "ARG Y=\"2\"\nRUN b"),
        ("ENV Y=2", "ARG Y\nRUN b"),
    ] {
        plan(&with(env, text));
    }
}

#[test]
fn an_argument_that_a_part_declares_again_keeps_its_value() {
    let plan = plan(&[stage("a", "1", "ARG X Y\nRUN a")]);
    assert!(plan.dockerfile.contains("\nARG X=\"1\"\nARG Y\nRUN a\n"), "{}", plan.dockerfile);
}

#[test]
fn a_key_knows_every_file_that_a_source_can_match() {
    let file = |path: &str, content: &str| ContextFile {
        path: path.to_owned(),
        source: FileSource::Bytes(content.as_bytes().into()),
        digest: Digest::of(content.as_bytes()),
        size: content.len() as u64,
        mode: crate::mode::Mode::FILE,
    };
    let keys = |text: &str, content: &str| {
        let mut stages =
            [stage("a", "1", text), stage("b", "1", "COPY stages/b/x /b\nCOPY <<EOF /y\nb\nEOF")];
        stages[1].files.push(file("stages/b/x", content));
        stages[0].files.push(file("stages/a/x", "a"));
        let plan = plan(&stages);
        plan.stages[0].key
    };
    for text in [
        "COPY stages/ /all/",
        "ADD stages/*/x /all/",
        "COPY [\"stages/b\", \"/all/\"]",
        "COPY stages/a/../b/x /all/",
        "COPY stages/a/$OTHER /all/",
        "RUN --mount=type=bind,source=stages/b,target=/x a",
    ] {
        assert_ne!(keys(text, "1"), keys(text, "2"), "{text}");
    }
    for text in ["COPY stages/a/ /all/", "COPY stages/a/* /all/", "RUN a"] {
        assert_eq!(keys(text, "1"), keys(text, "2"), "{text}");
    }
    let both = plan(&[stage("a", "1", "RUN a"), stage("b", "1", "COPY <<EOF /y\nb\nEOF\nRUN b")]);
    let path = &both.context[0].path;
    assert!(
        path.starts_with("heredoc/b/")
            && both.dockerfile.contains(&format!("COPY [\"{path}\", \"/y\"]\nRUN b"))
    );
}

#[test]
fn times_follow_the_content() {
    let time = |content: &[u8]| {
        let digest = Digest::of(content);
        ContextFile { digest, ..ContextFile::folder("x".to_owned(), Mode::FILE) }.modified()
    };
    assert_ne!(time(b"1"), time(b"2"));
    for time in (0..100_u8).map(|byte| time(&[byte]) - CONTEXT_EPOCH) {
        assert!((0..86_400_000_000_000).contains(&time));
        assert_eq!((time + 500_000_000) / 1_000_000_000, time / 1_000_000_000);
    }
}

#[test]
fn nothing_is_run_or_copied_of_stages_whose_files_are_there() {
    let mut stages = [
        stage(INIT, "1", "ENV A=\"$X\"\nRUN a\nWORKDIR /a"),
        stage("os", "2", "SHELL [\"/bin/bash\", \"-c\"]\nCOPY stages/os/x /\nENV B=b\nUSER 7"),
        stage("last", "3", "RUN c"),
    ];
    let file = ContextFile::folder("stages/os/x".to_owned(), Mode::FOLDER);
    stages[1].files.push(file);
    let with = |prebuilt| {
        let base = BaseRef::ContainerImage("pib-stages:1".to_owned());
        let extras = Extras { prebuilt, epoch: Some(7), ..Extras::default() };
        assemble(Arch::Arm64, &base, &Digest::of(b"base"), &stages, &extras).unwrap()
    };
    let plan = with(Some(1));
    let expected = "# Written by pib. Changes here are lost.\n\
        \nFROM pib-stages:1 AS pib_init\nENV SOURCE_DATE_EPOCH=\"7\"\n# stage __init__ 1.0.0\nARG X=\"1\"\nENV A=\"${X}\"\n\
        \nFROM pib_init AS os\n# stage os 1.0.0\nARG X=\"2\"\nSHELL [\"/bin/bash\",\"-c\"]\nENV B=\"b\"\nUSER 7\n\
        \nFROM os AS last\n# stage last 1.0.0\nUSER 0:0\nSHELL [\"/bin/bash\",\"-o\",\"pipefail\",\"-c\"]\nARG X=\"3\"\nRUN c\n";
    let shell = |text: &str| {
        let lines = text.lines().filter(|line| !line.starts_with("SHELL"));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(shell(&plan.dockerfile), shell(expected));
    // What a later stage gets beside files is the same, and so are the keys.
    let whole = with(None);
    assert_eq!(plan.stages, whole.stages);
    let kept = |line: &&str| !["RUN a", "WORKDIR", "COPY"].iter().any(|start| line.starts_with(start));
    let lines: Vec<&str> = whole.dockerfile.lines().filter(kept).collect();
    assert_eq!(lines, plan.dockerfile.lines().collect::<Vec<_>>());
    assert!(!with(Some(2)).steps.iter().any(PlannedStep::makes_layer));
}

#[test]
fn a_build_starts_only_where_nothing_before_is_needed_or_secret() {
    let three = |last: &str| {
        [stage(INIT, "1", "RUN a"), stage("a", "1", "RUN a"), stage("b", "1", "RUN b"), stage("c", "1", last)]
    };
    assert_eq!(starting_points(&three("RUN c")), [true; 4]);
    assert_eq!(starting_points(&three("COPY --from=a /x /y")), [true, true, false, true]);
    assert_eq!(
        starting_points(&three("RUN --mount=type=bind,from=__init__,target=/x c")),
        [true, false, false, true]
    );
    let mut secret = three("RUN c");
    secret[2].secrets.push(StageSecret { id: "b.x".to_owned(), digest: None });
    assert_eq!(starting_points(&secret), [true, true, false, false]);
}
