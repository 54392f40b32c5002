use proptest::prelude::*;

use super::*;
use crate::assemble::{BaseRef, BuildPlan, ContextFile, Extras, FileSource, assemble};
use crate::id::Arch;
use crate::part::{self, Alone};

fn stage(name: &str, text: &str, files: &[&str]) -> StageInput {
    let file = |path: &&str| ContextFile {
        path: (*path).to_owned(),
        source: FileSource::Bytes([].into()),
        digest: Digest::of(b""),
        size: 0,
        mode: crate::mode::Mode::FILE,
    };
    StageInput {
        name: name.parse().unwrap(),
        version: semver::Version::new(1, 0, 0),
        args: vec![],
        part: part::check("p", text).unwrap(),
        files: files.iter().map(file).collect(),
        native: true,
        recorded: false,
        secrets: vec![],
    }
}

/// Merges all that can be merged, and returns what is written of it.
fn merged(text: &str) -> String {
    let files = ["stages/a/x", "stages/a/y", "stages/a/z", "stages/a/more/x", "stages/a/folder/f"];
    let stage = stage("a", text, &files);
    Alone(&merge(&stage, usize::MAX).map_or(stage.part.clone(), |fitted| fitted.part)).text()
}

fn stays(text: &str) {
    assert_eq!(merged(text), Alone(&part::check("p", text).unwrap()).text());
}

fn plan(stages: &[StageInput]) -> Result<BuildPlan, AssembleError> {
    let base = BaseRef::ContainerImage("b".to_owned());
    assemble(Arch::Arm64, &base, &Digest::of(b"base"), stages, &Extras::default())
}

#[test]
fn runs_become_one_with_a_shell_for_each() {
    let text = "ENV A=1\nRUN cd /x && \\\n  # why\n  echo 'it''s'\n\n# next\nrun exit 3\nRUN  \\\n  c\nENV B=2\nRUN d\n";
    let or = |line: usize| {
        format!("|| {{ code=$?; echo 'pib: line {line} of the part failed' >&2; exit $code; }};")
    };
    let expected = format!(
        "ENV A=\"1\"\nRUN /bin/sh -c 'cd /x &&   echo '\\''it'\\'''\\''s'\\''' {} \
         /bin/sh -c 'exit 3' {} /bin/sh -c 'c' {}\nENV B=\"2\"\nRUN d\n",
        or(2),
        or(7),
        or(8)
    );
    assert_eq!(merged(text), expected);
    let fitted = merge(&stage("a", text, &[]), usize::MAX).unwrap();
    let own: Vec<_> = fitted.merged[0].instructions.iter().map(|own| (own.line, own.text.as_str())).collect();
    assert_eq!(own, [(2, "RUN cd /x &&   echo 'it''s'"), (7, "RUN exit 3"), (8, "RUN c")]);
    assert_eq!(failed_line("pib: line 7 of the part failed"), Some(7));
    assert_eq!(failed_line("pib: line x of the part failed"), None);
}

#[test]
fn copies_of_files_into_one_folder_become_one() {
    let text =
        "COPY --chmod=755 stages/a/x /d/\nCOPY --chmod=755 stages/a/y \\\n  stages/a/z /d/\nRUN true\n";
    let expected = "COPY --chmod=755 [\"stages/a/x\", \"stages/a/y\", \"stages/a/z\", \"/d/\"]\nRUN true\n";
    assert_eq!(merged(text), expected);
    for apart in [
        "COPY stages/a/x /d/\nCOPY stages/a/y /e/\n",
        "COPY stages/a/x /d/\nCOPY --chmod=755 stages/a/y /d/\n",
        "COPY stages/a/x /d/\nCOPY stages/a/more/x /d/\n",
        "COPY stages/a/x /d/\nCOPY stages/a/folder /d/\n",
        "COPY stages/a/x /d\nCOPY stages/a/y /d\n",
        "COPY stages/a/* /d/\nCOPY stages/a/y /d/\n",
        "COPY --from=b stages/a/x /d/\nCOPY --from=b stages/a/y /d/\n",
        "COPY [\"stages/a/x\", \"/d/\"]\nCOPY [\"stages/a/$X\", \"/d/\"]\n",
        "COPY stages/a/x $D/\nCOPY stages/a/y $D/\n",
        "COPY stages/a/x /d/\nENV A=1\nCOPY stages/a/y /d/\n",
    ] {
        stays(apart);
    }
}

#[test]
fn what_could_tell_the_difference_stays() {
    for one in [
        "daemon & sleep 1",
        "nohup x",
        "kill -9 -1",
        "echo x > /etc/hosts",
        "touch /dev/shm/x",
        "cat <<E\n1\nE",
        "[\"/bin/true\"]",
        "--mount=type=tmpfs,target=/x true",
        "--mount=type=bind,rw,source=x,target=/x true",
        "--security=insecure true",
        "echo a\\\\\n  b",
        "apt-get install x",
    ] {
        // A part whose parser reads these otherwise is not this test's matter.
        if part::check("p", &format!("RUN {one}\n")).is_ok() {
            stays(&format!("RUN {one}\nRUN true\n"));
        }
    }
    // The same options, and what is no process of its own after all.
    for both in ["--network=none ", "--mount=type=cache,target=/c ", "a && b 2>&1 | c; "] {
        let text = format!("RUN {both}true\nRUN {both}false\n");
        assert_eq!(merged(&text).matches("RUN").count(), 1, "{text}");
    }
    stays("RUN --network=none true\nRUN false\n");
    // Emptying the cache of packages, and filling it: each with the mount, or neither.
    stays("RUN apt-get install x && rm -r /tmp/y\nRUN apt-get install z && ls /var/cache/apt/archives\n");
    assert_ne!(merged("RUN apt-get install x\nRUN apt-get install y\n").matches("RUN").count(), 2);
    assert_eq!(merged("RUN true\r\nRUN false\r\n"), merged("RUN true\nRUN false\n"));
}

#[test]
fn the_shell_that_the_parts_chose_runs_the_commands() {
    let bash = "SHELL [\"/bin/bash\", \"-eo\", \"pipefail\", \"-c\"]\n";
    let text = merged(&format!("RUN a\n{bash}RUN b\nRUN c\n"));
    assert!(text.contains("RUN /bin/bash -eo pipefail -c 'b' || "), "{text}");
    stays("SHELL [\"/usr/bin/python3\", \"-c\"]\nRUN a\nRUN b\n");
    stays("SHELL [\"/bin/sh\", \"-c\", \"x\"]\nRUN a\nRUN b\n");
    // It ends with the part that chose it.
    let many = "RUN true\n".repeat(MAX_LAYERS);
    let plan = plan(&[stage("a", bash, &[]), stage("b", &many, &[])]).unwrap();
    assert!(plan.dockerfile.contains("RUN /bin/sh -c 'true' || "), "{}", plan.dockerfile);
}

#[test]
fn no_more_is_merged_than_must_be_and_from_the_end() {
    let runs = |count: usize| "RUN true\n".repeat(count);
    let fits = [stage("a", &runs(60), &[]), stage("b", &runs(59), &[])];
    assert_eq!(plan(&fits).unwrap().merged, []);
    let more = [stage("a", &runs(60), &[]), stage("b", &runs(60), &[]), stage("c", "ENV A=1\n", &[])];
    let one = plan(&more).unwrap();
    let lines: Vec<usize> = one.merged[0].instructions.iter().map(|own| own.line).collect();
    assert_eq!((one.merged.len(), one.merged[0].stage.as_str(), lines), (1, "b", vec![59, 60]));
    assert_eq!(one.merged_at("b", 59), one.merged.first());
    assert_eq!((one.merged_at("b", 60), one.merged_at("a", 59)), (None, None));
    // Nothing before it has another form, and no key is another for it.
    let forms =
        |plan: &BuildPlan| plan.stages.iter().map(|stage| stage.form == stage.key).collect::<Vec<_>>();
    assert_eq!(forms(&one), [true, false, false]);
    assert_eq!(plan(&more[..1]).unwrap().key, one.stages[0].key);
    assert!(!one.dockerfile.is_empty() && plan(&more).unwrap() == one);
}

#[test]
fn what_is_too_much_all_the_same_is_told_with_what_was_merged() {
    let apart = "RUN true\nENV A=1\n".repeat(MAX_LAYERS);
    let error = plan(&[stage("a", &apart, &[]), stage("b", "RUN a\nRUN b\nRUN c\n", &[])]).unwrap_err();
    let told = error.to_string();
    assert!(told.contains("124 file system layers, 2 fewer where instructions can be merged,"), "{told}");
    let AssembleError::TooManyLayers { most, .. } = error else { panic!("{told}") };
    assert_eq!(most, "a (120), b (1)");
}

/// Nothing that a stranger writes takes long to be refused.
#[test]
fn a_part_of_as_many_instructions_as_there_can_be_is_refused_in_time() {
    let copy = "COPY stages/a/x /d/\n";
    for line in ["RUN a\n", "RUN a b\nRUN c&\n", copy] {
        let text = line.repeat(part::MAX_PART / line.len() - 1);
        let files: Vec<String> = (0..2000).map(|number| format!("stages/a/{number}")).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).chain(["stages/a/x"]).collect();
        let stages = [stage("a", &text, &files)];
        let since = std::time::Instant::now();
        assert!(plan(&stages).is_err());
        let took = since.elapsed();
        assert!(took < std::time::Duration::from_secs(20), "{line:?} took {took:?}");
    }
}

/// Reads the words of a command as a shell does, where there is nothing in it but plain words and single quotes.
fn shell_words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => (quoted, any) = (!quoted, true),
            '\\' if !quoted => word.extend(chars.next()),
            ' ' if !quoted => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => word.push(c),
        }
    }
    words.extend((any || !word.is_empty()).then_some(word));
    words
}

/// Returns the commands of a part as its shells get them, one process each, told apart by their lines.
fn commands(text: &str) -> Vec<String> {
    let whole = format!("FROM scratch\n{text}");
    let dockerfile = parse_dockerfile::parse(&whole).unwrap();
    let mut found = Vec::new();
    for instruction in dockerfile.instructions.iter().skip(1) {
        let parse_dockerfile::Instruction::Run(run) = instruction else { continue };
        let parse_dockerfile::Command::Shell(command) = &run.arguments else { panic!("{text}") };
        // As engines join lines: comments and empty ones go, and so does the sign that a line goes on.
        let lines = command.value.split('\n').filter(|line| !line.trim().is_empty());
        let lines = lines.filter(|line| !line.trim_start().starts_with('#'));
        let line: String = lines.map(|line| line.trim_end().strip_suffix('\\').unwrap_or(line)).collect();
        if line.contains("pib: line ") {
            let words = shell_words(&line);
            let starts = words.windows(3).filter(|words| words[..2] == ["/bin/sh", "-c"]);
            found.extend(starts.map(|words| words[2].clone()));
        } else {
            found.push(line);
        }
    }
    found
}

fn command() -> impl Strategy<Value = String> {
    let line = "[a-z'\"$;|(){} ]{0,12}[a-z'\"$)}]";
    (proptest::collection::vec((line, 0..3_u8), 0..3), "[a-z'\"$][a-z'\"$;| ]{0,10}[a-z'\"$]").prop_map(
        |(lines, last)| {
            let between = ["\\\n", "\\\n  # a comment's \\\n", "\\  \n\n"];
            let start: String = lines
                .into_iter()
                .map(|(line, kind)| format!("x{line} {}  ", between[usize::from(kind)]))
                .collect();
            format!("{start}{last}")
        },
    )
}

proptest! {
    #[test]
    fn every_shell_gets_its_command(
        commands in proptest::collection::vec((command(), 0..4_u8), 1..12),
    ) {
        let between = ["", "\n", "# it's a comment \\\n", "ENV A=1\n"];
        let text: String =
            commands.iter().map(|(command, kind)| format!("RUN {command}\n{}", between[usize::from(*kind)])).collect();
        prop_assume!(part::check("p", &text).is_ok());
        // Commands that get packages stand by themselves.
        prop_assume!(!commands.iter().any(|(command, _)| command.contains("apt")));
        let text = Alone(&part::check("p", &text).unwrap()).text();
        let after = merged(&text);
        prop_assert_eq!(super::tests::commands(&text), super::tests::commands(&after), "{}", after);
        // All that stand beside each other are one.
        let rows = commands[..commands.len() - 1].iter().filter(|(_, kind)| *kind == 3).count() + 1;
        prop_assert_eq!(part::check("p", &after).unwrap().layers(), rows);
    }

    #[test]
    fn plans_fit_or_are_refused(counts in proptest::collection::vec((0..70_usize, 0..3_u8), 1..6)) {
        let part = |count: usize, kind: u8| match kind {
            0 => "RUN true\n".repeat(count),
            1 => "RUN true\nENV A=1\n".repeat(count),
            _ => "RUN true\nRUN a & b\nRUN false\n".repeat(count / 3),
        };
        let stages: Vec<StageInput> = counts.iter().enumerate().map(|(number, (count, kind))| {
            stage(&format!("s{number}"), &format!("ENV X=1\n{}", part(*count, *kind)), &[])
        }).collect();
        match plan(&stages) {
            Ok(plan) => {
                let made = plan.dockerfile.lines().filter(|line| line.starts_with("RUN")).count();
                prop_assert!(made <= MAX_LAYERS);
                // Not one more than must be.
                prop_assert!(plan.merged.is_empty() || made + 1 == MAX_LAYERS);
            }
            Err(error) => {
                let refused = matches!(error, AssembleError::TooManyLayers { .. });
                prop_assert!(refused, "{}", error);
            }
        }
    }
}
