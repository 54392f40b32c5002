//! Whatever parts say, engines of every age read the assembled Dockerfile as the stages and instructions that were planned.
//!
//! The reader here is written by what engines document and do, and shares nothing with the one that it judges.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use pib_plan::assemble::{Arg, BaseRef, BuildPlan, Extras, FileSource, StageInput, assemble};
use pib_plan::id::{Arch, Digest};
use pib_plan::native::{Machine, Native, SetId};
use pib_plan::part;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

/// How an engine reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    /// Docker 20.10, its classic builder, Podman 4: any backslash at the end continues a line, and there are no heredocs.
    Old,
    /// BuildKit since 0.9: heredocs, and two backslashes at the end do not continue a line.
    New,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Read {
    keyword: String,
    flags: Vec<String>,
    rest: String,
    list: Option<Vec<String>>,
    heredocs: Vec<Document>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Document {
    word: String,
    name: String,
    chomp: bool,
    body: String,
}

impl Document {
    fn content(&self) -> String {
        let lines = self.body.split_inclusive('\n');
        lines.map(|line| if self.chomp { line.trim_start_matches('\t') } else { line }).collect()
    }
}

fn read(text: &str, age: Age) -> Result<Vec<Read>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.split_inclusive('\n').map(|line| {
        let line = line.strip_suffix('\n').unwrap_or(line);
        line.strip_suffix('\r').unwrap_or(line)
    });
    let mut found = Vec::new();
    while let Some(first) = lines.next() {
        let first = first.trim_start();
        if first.is_empty() || first.starts_with('#') {
            continue;
        }
        let (mut line, mut ends) = without_continuation(first, age);
        while !ends {
            let Some(next) = lines.next() else { break };
            if next.trim().is_empty() || next.trim_start().starts_with('#') {
                continue;
            }
            let (more, last) = without_continuation(next, age);
            line.push_str(&more);
            ends = last;
        }
        if line.is_empty() {
            continue;
        }
        let mut instruction = instruction(&line)?;
        let looks = age == Age::New && instruction.list.is_none() && line.contains("<<");
        if looks && ["RUN", "COPY", "ADD"].contains(&&*instruction.keyword) {
            for word in words(&line) {
                let Some((name, chomp)) = heredoc(&word) else { continue };
                let mut body = String::new();
                loop {
                    let line = lines.next().ok_or("a heredoc has no end")?;
                    let end = if chomp { line.trim_start_matches('\t') } else { line };
                    if end == name {
                        break;
                    }
                    body.push_str(line);
                    body.push('\n');
                }
                instruction.heredocs.push(Document { word, name, chomp, body });
            }
        }
        found.push(instruction);
    }
    Ok(found)
}

fn without_continuation(line: &str, age: Age) -> (String, bool) {
    let text = line.trim_end_matches([' ', '\t']);
    match text.strip_suffix('\\') {
        Some(before) if age == Age::Old || !before.ends_with('\\') => (before.to_owned(), false),
        _ => (line.to_owned(), true),
    }
}

fn instruction(line: &str) -> Result<Read, String> {
    const KEYWORDS: &str = " ADD ARG CMD COPY ENTRYPOINT ENV EXPOSE FROM HEALTHCHECK LABEL MAINTAINER ONBUILD RUN SHELL STOPSIGNAL USER VOLUME WORKDIR ";
    let line = line.trim();
    let (keyword, mut rest) = line.split_once([' ', '\t', '\u{b}', '\u{c}', '\r']).unwrap_or((line, ""));
    let keyword = keyword.to_uppercase();
    if !KEYWORDS.contains(&format!(" {keyword} ")) {
        return Err(format!("unknown instruction {keyword}"));
    }
    let mut flags = Vec::new();
    loop {
        rest = rest.trim_start();
        if !rest.starts_with("--") {
            break;
        }
        // Options with quotes are not for parts, so that words are enough here.
        let (flag, more) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = more;
        if flag == "--" {
            break;
        }
        flags.push(flag.to_owned());
    }
    let rest = rest.trim().to_owned();
    let list = rest.starts_with('[').then(|| {
        let mut values = serde_json::Deserializer::from_str(&rest).into_iter::<Vec<String>>();
        values.next().and_then(Result::ok)
    });
    Ok(Read { keyword, flags, list: list.flatten(), rest, heredocs: vec![] })
}

/// Returns the words of a line, with their quotes; none where a quote has no end.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut braces) = (Vec::new(), String::new(), None, 0);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some('"') | None, '\\') => {
                word.push(c);
                word.extend(chars.next());
                continue;
            }
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '$') if chars.peek() == Some(&'{') => braces += 1,
            (None, '}') if braces > 0 => braces -= 1,
            (None, c) if c.is_whitespace() && braces == 0 => {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    words.extend((!word.is_empty()).then_some(word));
    if quote.is_some() { vec![] } else { words }
}

fn heredoc(word: &str) -> Option<(String, bool)> {
    let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
    let chomp = rest.starts_with('-');
    let rest = rest.strip_prefix('-').unwrap_or(rest);
    let name: String = rest.chars().filter(|c| !matches!(c, '"' | '\'' | '\\')).collect();
    (!rest.is_empty() && !rest.contains('<')).then_some((name, chomp))
}

/// Returns what a `RUN` starts, and the file that it starts where that is a script of its own.
fn started(run: &Read, shell: &[String]) -> (Vec<String>, Option<String>) {
    if let Some(list) = &run.list {
        return (list.clone(), None);
    }
    let in_shell = |script: String| shell.iter().cloned().chain([script]).collect();
    match &run.heredocs[..] {
        [only] if only.word == run.rest && only.content().starts_with("#!") => (vec![], Some(only.content())),
        [only] if only.word == run.rest => (in_shell(only.content()), None),
        documents => {
            let bodies = documents.iter().map(|document| format!("\n{}{}", document.body, document.name));
            (in_shell(run.rest.clone() + &bodies.collect::<String>()), None)
        }
    }
}

fn shell_of(read: &Read, shell: &mut Vec<String>) {
    if let ("SHELL", Some(list)) = (&*read.keyword, &read.list) {
        shell.clone_from(list);
    }
    if read.keyword == "FROM" && read.rest.starts_with("base ") {
        *shell = default_shell();
    }
}

fn default_shell() -> Vec<String> {
    vec!["/bin/sh".to_owned(), "-c".to_owned()]
}

const NAMES: [&str; 3] = ["s0", "s1", "s2"];

fn inputs(parts: &[String]) -> Option<Vec<StageInput>> {
    let stage = |(text, name): (&String, &str)| {
        Some(StageInput {
            name: name.parse().ok()?,
            version: semver::Version::new(1, 0, 0),
            args: vec![Arg { name: "X".to_owned(), value: "a\"\\$b c".to_owned(), keyed: true }],
            part: part::check("p", text).ok()?,
            files: vec![],
            native: name != "s1",
            secrets: vec![],
        })
    };
    parts.iter().zip(NAMES).map(stage).collect()
}

fn plan(stages: &[StageInput], native: bool) -> Option<BuildPlan> {
    let tools = Native { image: "companion".to_owned(), machine: Machine::Amd64, set_id: SetId::Given };
    let extras = Extras { native: native.then_some(&tools), ..Extras::default() };
    assemble(Arch::Arm64, &BaseRef::ContainerImage("base".to_owned()), &Digest::of(b""), stages, &extras).ok()
}

/// Compares an assembled Dockerfile with the parts that it was made of.
fn judge(plan: &BuildPlan, stages: &[StageInput], native: bool) {
    let whole = judge_whole(plan, stages, native);
    let files: BTreeMap<&str, &FileSource> =
        plan.context.iter().map(|file| (file.path.as_str(), &file.source)).collect();
    let shell = RefCell::new(default_shell());
    for (index, stage) in stages.iter().enumerate() {
        let mut in_part = whole.iter().zip(&plan.steps).filter(|(_, step)| step.stage == Some(index));
        let own = read(&stage.part.text, Age::New).unwrap();
        let mut own_shell = default_shell();
        let prefix = |words: Vec<String>| match native && stage.native {
            true => std::iter::once("/.pib/run".to_owned()).chain(words).collect(),
            false => words,
        };
        // What pib writes above the part sets the state back, and is of no other kind.
        let mut next = || loop {
            let (read, step) = in_part.next().expect("an instruction of the part is missing");
            if step.in_part {
                return (read, shell.borrow().clone());
            }
            assert!(["FROM", "USER", "WORKDIR", "SHELL", "ARG", "RUN"].contains(&&*read.keyword), "{read:?}");
            shell_of(read, &mut shell.borrow_mut());
        };
        for own in &own {
            let (found, shell_before) = next();
            assert_eq!(found.keyword, own.keyword);
            match &*own.keyword {
                "RUN" => {
                    let (words, script) = started(own, &own_shell);
                    let (got, _) = started(found, &shell_before);
                    match script {
                        Some(script) => assert_eq!(got.last(), Some(&script), "{}", plan.dockerfile),
                        None => assert_eq!(got, prefix(words), "{}", plan.dockerfile),
                    }
                }
                "COPY" | "ADD" if !own.heredocs.is_empty() => {
                    let paths = found.rest.split_whitespace().filter(|word| word.starts_with("heredoc/"));
                    let contents: Vec<&FileSource> = paths.map(|path| files[path]).collect();
                    let documents = own
                        .heredocs
                        .iter()
                        .map(|document| FileSource::Bytes(document.content().into_bytes()));
                    assert_eq!(contents, documents.collect::<Vec<_>>().iter().collect::<Vec<_>>());
                }
                "SHELL" => assert_eq!(found.list, own.list.clone().map(prefix)),
                "ARG" => {}
                _ => assert_eq!(found.rest, own.rest, "{}", plan.dockerfile),
            }
            shell_of(own, &mut own_shell);
            if let ("SHELL", Some(list)) = (&*found.keyword, &found.list) {
                shell.borrow_mut().clone_from(list);
            }
        }
        assert_eq!(in_part.filter(|(_, step)| step.in_part).count(), 0, "{}", plan.dockerfile);
    }
}

/// Compares an assembled Dockerfile with its plan, as engines of any age read it; returns what they read.
fn judge_whole(plan: &BuildPlan, stages: &[StageInput], native: bool) -> Vec<Read> {
    let (old, new) = (read(&plan.dockerfile, Age::Old), read(&plan.dockerfile, Age::New));
    assert_eq!(old, new, "engines read this in two ways:\n{}", plan.dockerfile);
    let whole = new.unwrap_or_else(|error| panic!("{error}\n{}", plan.dockerfile));
    let keywords: Vec<&str> = whole.iter().map(|read| &*read.keyword).collect();
    let planned: Vec<&str> = plan.steps.iter().map(|step| &*step.keyword).collect();
    assert_eq!(keywords, planned, "{}", plan.dockerfile);
    for step in &plan.steps {
        let line = plan.dockerfile.lines().nth(step.line - 1).unwrap_or_default();
        assert!(line.trim_start().to_uppercase().starts_with(&step.keyword), "{line}");
    }
    let froms: Vec<&str> = whole
        .iter()
        .filter(|read| read.keyword == "FROM")
        .map(|read| read.rest.rsplit(' ').next().unwrap_or_default())
        .collect();
    let expected: Vec<&str> =
        native.then_some("pib_native").into_iter().chain(NAMES[..stages.len()].iter().copied()).collect();
    assert_eq!(froms, expected, "{}", plan.dockerfile);
    whole
}

/// An instruction as people write them, some across lines.
fn plain() -> impl Strategy<Value = String> {
    let simple = select(vec![
        "RUN true\n",
        "run a && b\n",
        "RUN a \\\n  # why\n\n  && b\n",
        "RUN a \\ \t\n#\\\n b\n",
        "RUN [\"a\", \"b\\u0041\\\\\"]\n",
        "RUN --mount=type=tmpfs,target=/t --network=none a\n",
        "RUN <<EOF\nset -eu\n# c\n\n  FROM x\\\n\"q\" 'r' $X\nEOF\n",
        "RUN cat <<-'A' <<B > /x \\\n # c\n && d\n\ta\n\tA\nFROM b\nB\n",
        "RUN <<EOF\n#!/bin/sh -e\nRUN b \\\nEOF\n",
        "RUN <<-E\n\t#!/bin/sh\n\ta\nE\n",
        "RUN echo $((1<<2)) \"<<EOF\"\n",
        "RUN a <<< b\n",
        "COPY <<EOF /x\nFROM a\nEOF\n",
        "COPY <<-'A' <<\"B\" /x/\n\t$c\n\tA\n# d\nB\n",
        "ENV A=\"b c\" \\\n  D=e\n",
        "ENV A b c\n",
        "ARG Y=1\n",
        "ARG X\n",
        "SHELL [\"/bin/bash\", \"-c\"]\n",
        "USER pi\n",
        "WORKDIR /x\n",
        "COPY stages/s0 /x\n",
        "COPY --from=s0 /a /b\n",
        "LABEL a=b\n",
        "# FROM x\n",
        "\n",
    ]);
    simple.prop_map(str::to_owned)
}

/// What does not look like one, in pieces.
const HOSTILE: [&str; 77] = [
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV A=b",
    "FROM x AS s1\n",
    "ONBUILD RUN a\n",
    "VOLUME /x\n",
    "<<EOF",
    "<<-EOF",
    "<<'EOF'",
    "<<\\EOF",
    "3<<EOF",
    "<<\"E F\"",
    "EOF\n",
    "EOF",
    "\tEOF\n",
    "\n",
    "\n",
    "\\\n",
    "\\ \t\n",
    "\\\t\n",
    "\\\\\n",
    "\\\\\\\n",
    "\\",
    "#",
    "# c\n",
    "# c \\\n",
    " ",
    "\t",
    "\r",
    "\r\n",
    "\\\r\n",
    "\0",
    "\u{feff}",
    "\u{a0}",
    "\u{2028}",
    "\u{85}",
    "\u{b}",
    "\u{c}",
    "\u{3000}",
    "\u{200b}",
    "a",
    "b",
    "'",
    "\"",
    "$",
    "${",
    "}",
    "${A:-b c}",
    "`",
    "`\n",
    "[\"a\", \"b\"]",
    "[\"a\"",
    "]",
    "[ -e /x ]",
    "\\u0041",
    "--mount=type=tmpfs,target=/t ",
    "--mount=type=bind,from=s0,target=/y ",
    "--",
    "-- ",
    "# escape=`\n",
    "# syntax=x\n",
    "é",
    ";",
    "&&",
    "<",
    "<<",
    "<<<",
    ">",
    "/x ",
    "stages/s0/f ",
    "SHELL [\"/bin/bash\", \"-c\"]\n",
    "USER x\n",
    "RUN a\n",
    "ru",
    "n",
    "=",
];

fn hostile() -> impl Strategy<Value = String> {
    proptest::collection::vec(select(&HOSTILE[..]), 1..12).prop_map(|pieces| pieces.concat())
}

fn parts() -> impl Strategy<Value = Vec<String>> {
    let chunk =
        prop_oneof![9 => plain(), 1 => hostile(), 2 => hostile().prop_map(|text| format!("RUN a{text}\n"))];
    proptest::collection::vec(proptest::collection::vec(chunk, 1..4).prop_map(|chunks| chunks.concat()), 1..4)
}

/// Tells whether a part has something.
type IsIn = fn(&str) -> bool;

/// What people do not write, or engines do not read alike; each must be among what is generated.
const FEATURES: [(&str, IsIn); 15] = [
    ("a continued line", |text| text.contains("\\\n")),
    ("a continuation at the end of a part", |text| text.ends_with("\\\n") || text.ends_with('\\')),
    ("two backslashes at the end of a line", |text| text.contains("\\\\\n")),
    ("a comment in a continued line", |text| text.contains("\\\n#")),
    ("a heredoc", |text| text.contains("<<EOF\n")),
    ("a heredoc with tabs or quotes", |text| {
        text.contains("<<-") || text.contains("<<'") || text.contains("<<\"")
    }),
    ("a heredoc without an end", |text| text.contains("<<EOF") && !text.contains("\nEOF")),
    ("a carriage return", |text| text.contains('\r')),
    ("a NUL", |text| text.contains('\0')),
    ("a byte order mark", |text| text.contains('\u{feff}')),
    ("a directive at the start", |text| text.starts_with("# escape=") || text.starts_with("# syntax=")),
    ("an odd escape", |text| text.contains("\\u0041") || text.contains("<<\\") || text.contains('`')),
    ("a line break of Unicode", |text| text.contains(['\u{2028}', '\u{85}'])),
    ("a control character or space of Unicode", |text| {
        text.contains(['\u{b}', '\u{c}', '\u{a0}', '\u{3000}', '\u{200b}'])
    }),
    ("a FROM", |text| text.contains("FROM x AS s1")),
];

/// How many of the generated sets of parts have each feature, and of how many of these the parts were planned.
#[derive(Default)]
struct Features(BTreeMap<&'static str, (u32, u32)>);

impl Features {
    fn add(&mut self, parts: &[String], planned: bool) {
        for (name, has) in FEATURES {
            let count = self.0.entry(name).or_default();
            if parts.iter().any(|part| has(part)) {
                count.0 += 1;
                count.1 += u32::from(planned);
            }
        }
    }

    /// Fails where a feature was hardly ever generated.
    fn judge(&self) {
        assert_eq!(self.0.len(), FEATURES.len(), "two features have one name");
        let rare: Vec<_> = self.0.iter().filter(|(_, (generated, _))| *generated < 20).collect();
        assert!(rare.is_empty(), "hardly ever generated: {rare:?}");
    }
}

#[test]
fn every_engine_reads_the_planned_stages_and_instructions() {
    const CASES: u32 = 20_000;
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let (planned, refused) = (Cell::new(0_u32), Cell::new(0_u32));
    let features = RefCell::new(Features::default());
    let outcome = runner.run(&parts(), |parts| {
        let stages = inputs(&parts);
        let plans = stages.as_ref().map(|stages| [plan(stages, false), plan(stages, true)]);
        if let (Some(stages), Some([Some(without), Some(with)])) = (&stages, plans) {
            judge(&without, stages, false);
            judge(&with, stages, true);
            planned.set(planned.get() + 1);
            features.borrow_mut().add(&parts, true);
        } else {
            refused.set(refused.get() + 1);
            features.borrow_mut().add(&parts, false);
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let (planned, refused) = (planned.get(), refused.get());
    println!("{planned} sets of parts were planned and read twice, {refused} were refused");
    for (name, (generated, planned)) in &features.borrow().0 {
        println!("{name}: {generated} sets of parts, {planned} of them planned");
    }
    features.borrow().judge();
    assert!(planned > CASES / 10 && refused > CASES / 10, "{planned} planned, {refused} refused");
}

#[test]
fn the_reader_here_sees_what_the_planner_must_prevent() {
    let read = |text: &str, age| -> Vec<String> {
        read(text, age).unwrap().into_iter().map(|read| read.keyword).collect()
    };
    assert_eq!(read("RUN a \\\nFROM b\n", Age::New), ["RUN"]);
    assert_eq!(read("RUN a \\\\\nRUN b\n", Age::Old), ["RUN"]);
    assert_eq!(read("RUN a \\\\\nRUN b\n", Age::New), ["RUN", "RUN"]);
    assert_eq!(read("RUN <<EOF\nRUN b\nEOF\n", Age::New), ["RUN"]);
    assert_eq!(read("RUN a \\\n # b\n\n c\n", Age::Old), ["RUN"]);
}
