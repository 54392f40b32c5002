//! Whatever parts say, engines of every age read the assembled Dockerfile as the stages and instructions that were planned.
//!
//! The reader here is written by what engines document and do, and shares nothing with the one that it judges.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

mod parts;
mod reader;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use parts::{Features, parts, value};
use pib_plan::assemble::{Arg, BaseRef, BuildPlan, Extras, FileSource, PlannedStep, StageInput, assemble};
use pib_plan::id::{Arch, Digest};
use pib_plan::native::{Machine, Native, SetId};
use pib_plan::part;
use proptest::test_runner::{Config, TestRunner};
use reader::{Age, Read, Variables, default_shell, expand, option, pairs, read, shell_of, started};

const NAMES: [&str; 3] = ["s0", "s1", "s2"];

fn inputs(parts: &[String], value: &str) -> Option<Vec<StageInput>> {
    let stage = |(text, name): (&String, &str)| {
        Some(StageInput {
            name: name.parse().ok()?,
            version: semver::Version::new(1, 0, 0),
            args: vec![Arg { name: "X".to_owned(), value: value.to_owned(), keyed: true }],
            part: part::check("p", text).ok()?,
            files: vec![],
            native: name != "s1",
            recorded: false,
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
    let mut shell = default_shell();
    for (index, stage) in stages.iter().enumerate() {
        let steps: Vec<_> =
            whole.iter().zip(&plan.steps).filter(|(_, step)| step.stage == Some(index)).collect();
        let is_own = |(_, step): &(&Read, &PlannedStep)| step.written.is_none();
        let start = steps.iter().take_while(|step| is_own(step)).count();
        let end = steps.iter().rev().take_while(|step| is_own(step)).count();
        let (before, rest) = steps.split_at(start);
        let (found, after) = rest.split_at(rest.len() - end);
        judge_frame(before, stage, &mut shell);
        let own = read(&stage.part.text, Age::New).unwrap();
        let mut found = found.iter().map(|(read, _)| *read);
        let mut judge = Judge {
            files: &files,
            shell: &mut shell,
            own_shell: default_shell(),
            native: native && stage.native,
            plan,
        };
        for own in &own {
            judge.instruction(own, &mut found, stage);
        }
        assert_eq!(found.count(), 0, "{}", plan.dockerfile);
        judge_frame(after, stage, &mut shell);
    }
}

/// Checks what pib writes around a part: it sets the state back, gives values, and is of no other kind.
fn judge_frame(frame: &[(&Read, &PlannedStep)], stage: &StageInput, shell: &mut Vec<String>) {
    for (read, _) in frame {
        assert!(["FROM", "USER", "WORKDIR", "SHELL", "ARG", "RUN"].contains(&&*read.keyword), "{read:?}");
        shell_of(read, shell);
        if read.keyword == "ARG" {
            let given = pairs(&read.rest, true).unwrap();
            let value = expand(given[0].1.as_deref().unwrap(), &Variables::new()).unwrap();
            assert_eq!((given.len(), &*given[0].0, &value), (1, &*stage.args[0].name, &stage.args[0].value));
        }
    }
}

struct Judge<'a> {
    files: &'a BTreeMap<&'a str, &'a FileSource>,
    shell: &'a mut Vec<String>,
    own_shell: Vec<String>,
    native: bool,
    plan: &'a BuildPlan,
}

impl Judge<'_> {
    /// Compares an instruction of a part with what the whole has of it.
    fn instruction<'a>(
        &mut self,
        own: &Read,
        found: &mut impl Iterator<Item = &'a Read>,
        stage: &StageInput,
    ) {
        let mut next = || found.next().expect("an instruction of the part is missing");
        let text = &self.plan.dockerfile;
        if own.keyword == "ARG" {
            for (name, value) in pairs(&own.rest, true).unwrap() {
                let got = pairs(&next().rest, true).unwrap();
                assert_eq!((got.len(), &got[0].0), (1, &name), "{text}");
                match value {
                    Some(value) => same(&value, got[0].1.as_ref().unwrap()),
                    None if name == stage.args[0].name => {
                        let value = expand(got[0].1.as_ref().unwrap(), &Variables::new());
                        assert_eq!(value.as_ref(), Ok(&stage.args[0].value), "{text}");
                    }
                    None => assert_eq!(got[0].1, None, "{text}"),
                }
            }
            return;
        }
        let found = next();
        assert_eq!(found.keyword, own.keyword, "{text}");
        self.options(own, found);
        match &*own.keyword {
            "RUN" => self.run(own, found),
            "COPY" | "ADD" => self.copy(own, found),
            "SHELL" => assert_eq!(found.list, own.list.clone().map(|words| self.prefixed(words)), "{text}"),
            "CMD" => assert_eq!(found.list, Some(started(own, &self.own_shell).0), "{text}"),
            "ENV" | "LABEL" => {
                let (own, found) = (pairs(&own.rest, false).unwrap(), pairs(&found.rest, false).unwrap());
                assert_eq!(own.len(), found.len(), "{text}");
                for (own, found) in own.iter().zip(&found) {
                    same(&own.0, &found.0);
                    same(own.1.as_ref().unwrap(), found.1.as_ref().unwrap());
                }
            }
            "EXPOSE" => {
                let words = |read: &Read| -> Vec<String> {
                    let words = read.rest.split([' ', '\t']).filter(|word| !word.is_empty());
                    words.map(str::to_owned).collect()
                };
                let (own, found) = (words(own), words(found));
                assert_eq!(own.len(), found.len(), "{text}");
                own.iter().zip(&found).for_each(|(own, found)| same(own, found));
            }
            "USER" | "WORKDIR" => same(&own.rest, &found.rest),
            "MAINTAINER" => assert_eq!(own.rest, found.rest, "{text}"),
            other => panic!("{other} in a part:\n{text}"),
        }
        shell_of(own, &mut self.own_shell);
        shell_of(found, self.shell);
    }

    fn prefixed(&self, words: Vec<String>) -> Vec<String> {
        let runner = self.native.then(|| "/.pib/run".to_owned());
        runner.into_iter().chain(words).collect()
    }

    fn options(&self, own: &Read, found: &Read) {
        let pibs = |flag: &&String| flag.contains("from=pib_native");
        let mut own: Vec<_> = own.flags.iter().map(|flag| option(flag)).collect();
        let mut found: Vec<_> =
            found.flags.iter().filter(|flag| !pibs(flag)).map(|flag| option(flag)).collect();
        own.sort();
        found.sort();
        assert_eq!(own, found, "{}", self.plan.dockerfile);
    }

    fn run(&self, own: &Read, found: &Read) {
        let (words, script) = started(own, &self.own_shell);
        let (got, _) = started(found, self.shell);
        match script {
            Some(script) => assert_eq!(got.last(), Some(&script), "{}", self.plan.dockerfile),
            None => assert_eq!(got, self.prefixed(words), "{}", self.plan.dockerfile),
        }
    }

    fn copy(&self, own: &Read, found: &Read) {
        let words = |read: &Read| match &read.list {
            Some(list) => list.clone(),
            None => read.rest.split([' ', '\t']).filter(|word| !word.is_empty()).map(str::to_owned).collect(),
        };
        let (own_words, found_words) = (words(own), words(found));
        assert_eq!(own_words.len(), found_words.len(), "{}", self.plan.dockerfile);
        let mut documents = own.heredocs.iter();
        for (own, found) in own_words.iter().zip(&found_words) {
            if let Some(file) = self.files.get(found.as_str()).filter(|_| found.starts_with("heredoc/")) {
                let content = documents.next().unwrap().content();
                assert_eq!(**file, FileSource::Bytes(content.into_bytes().into()));
            } else {
                same(own, found);
            }
        }
        assert_eq!(documents.count(), 0, "{}", self.plan.dockerfile);
    }
}

/// Checks that two words say the same, whatever the variables in them stand for.
fn same(own: &str, found: &str) {
    let values = Variables::from([("X", "a\"\\$b' c"), ("A", "1"), ("Y", "2")]);
    for variables in [Variables::new(), values] {
        let own = expand(own, &variables);
        assert!(own.is_ok(), "{own:?}");
        assert_eq!(own, expand(found, &variables), "{found}");
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
    judge_lines(plan);
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

/// Checks that each line is one instruction or a comment of pib's own, and that nothing reaches from one into the next.
fn judge_lines(plan: &BuildPlan) {
    let text = &plan.dockerfile;
    let steps: Vec<usize> = plan.steps.iter().map(|step| step.line).collect();
    let mut instructions = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        let ours = ["# Written by pib.", "# stage s", "# The end of pib's own tools"];
        if line.is_empty() || ours.iter().any(|start| line.starts_with(start)) {
            continue;
        }
        instructions.push(index + 1);
        assert!(line.starts_with(|c: char| c.is_ascii_uppercase()), "{text}");
        assert!(!line.ends_with('\\') && line.trim_end() == line && line.len() < 65_536, "{text}");
        assert!(!line.contains("<<") || !["RUN", "COPY", "ADD"].contains(&&line[..3]), "{text}");
        assert!(!line.contains(|c: char| c.is_control() && c != '\t'), "{text}");
    }
    assert_eq!(instructions, steps, "{text}");
}

#[test]
fn every_engine_reads_the_planned_stages_and_instructions() {
    const CASES: u32 = 20_000;
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let (planned, refused) = (Cell::new(0_u32), Cell::new(0_u32));
    let features = RefCell::new(Features::default());
    let outcome = runner.run(&(parts(), value()), |(parts, value)| {
        let stages = inputs(&parts, &value);
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

#[test]
fn the_reader_here_reads_words_as_engines_document() {
    let variables = Variables::from([("X", "x"), ("Xé", "y")]);
    for (word, expected) in [
        ("a\\ b'c $X'\"d $X \\$X \\n\"", "a bc $Xd x $X \\n"),
        ("${X:-a}${Y:-b ${X}}${X:+c}${Y:+d}", "xb xc"),
        ("$X$Y$ $1$$", "x$ "),
        ("$Xé", "y"),
    ] {
        assert_eq!(expand(word, &variables), Ok(expected.to_owned()), "{word}");
    }
    for bad in ["'a", "\"a", "${X", "${X%a}", "${}"] {
        assert!(expand(bad, &variables).is_err(), "{bad}");
    }
    let words = |text: &str| -> Vec<String> {
        pairs(text, false)
            .unwrap()
            .into_iter()
            .map(|(name, value)| format!("{name}|{}", value.unwrap()))
            .collect()
    };
    assert_eq!(words("A b  c"), ["A|b  c"]);
    assert_eq!(words("A=b\\ c D=\"e f\""), ["A|b\\ c", "D|\"e f\""]);
    assert_eq!(words("A='b\\' C=d'"), ["A|'b\\' C=d'"]);
}
