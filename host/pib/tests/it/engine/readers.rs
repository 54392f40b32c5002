//! What each engine's own parser reads of parts that try to hide something, and of values that try to be something else.
//!
//! No instruction is run for it: the first one fails. By then BuildKit has told every instruction that makes a layer, stage by
//! stage; Docker's classic builder has counted all instructions; Podman has counted the stages, and the instructions of the
//! first. What engines read in words is seen in labels.

use std::collections::BTreeMap;
use std::sync::Mutex;

use pib::engine::EngineError;
use pib_event::Silent;
use pib_plan::assemble::{self, Arg, BaseRef, BuildPlan, ContextFile, Extras, PlannedStep, StageInput};
use pib_plan::id::{Arch, Digest};
use pib_plan::part;

use super::kind::Kind;
use super::lab::{Lab, Proxy, bytes_file};

/// How many parts are read.
const PARTS: usize = 200;
/// How many of them are in one Dockerfile.
const IN_ONE: usize = 10;

/// Chooses the same in every run.
struct Choice(u64);

impl Choice {
    /// Returns a number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn of<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len())]
    }
}

/// Instructions that engines of different ages read differently where they get them as they are, and what is plain.
const INSTRUCTIONS: [&str; 24] = [
    "RUN a \\\n# FROM scratch AS hidden\n\n  && b\n",
    "RUN a \\\n  FROM scratch AS hidden \\\n  b\n",
    "RUN <<EOF\nFROM scratch AS hidden\nCOPY --from=0 / /\nEOF\n",
    "RUN <<'RUN'\nFROM scratch AS hidden\n RUN\nRUN\n",
    "RUN cat <<-A <<'B' > /x \\\n # c\n && d\n\ta\n\tA\nFROM scratch\nB\n",
    "RUN <<EOF\n#!/bin/sh -e\nUSER b \\\n\\\\\nEOF\n",
    "COPY <<'EOF' /x\nFROM scratch AS hidden\nRUN $a \\\\\nEOF\n",
    "RUN echo $((1<<2)) \"<<EOF\"\n",
    "RUN [ -e /x ] || [\"a\"\n",
    "RUN [\"a\", \"\\u005c\\n\\\\\"]\n",
    "RUN -- --a\n",
    "run\ta \"b\\\\\" 'c\\\\' d\\\\ \\\n\t;\n",
    "RUN echo é \u{a0} `a` # FROM scratch\n",
    "RUN --mount=TYPE=Tmpfs,DST=/t a\n",
    "ENV A='FROM x' \\\n  B=\"\\\"\\\\\" C=\\$x\n",
    "ENV A \\\\ \"FROM\" x\n",
    "LABEL a=\"b\\\n  FROM scratch\"\n",
    "ARG FROM=scratch\nARG Y=\"a b\" Z\n",
    "COPY --chown=0:0 stages/first/it\\'s stages/first/*.[ch] '/a'/\n",
    "COPY [\"stages/first/a\", \"/b c/\"]\n",
    "WORKDIR /a/'b c'\n",
    "SHELL [\"/bin/bash\", \"-c\"]\n",
    "# FROM scratch AS hidden \\\n",
    "# escape=\\\n# check=skip=all\n",
];
/// What is put between them, and into them.
const PIECES: [&str; 24] = [
    "\\\n",
    "\\\\\n",
    "\\",
    "\\ \t\n",
    "#",
    "\n",
    "<<EOF",
    "<<\"E F\"",
    "EOF\n",
    "FROM scratch AS hidden\n",
    "ONBUILD RUN a\n",
    "'",
    "\"",
    "\r\n",
    "\t",
    "\u{2028}",
    "\u{a0}",
    "[\"a\"]",
    "--x ",
    " ",
    "$X",
    "${",
    "RUN a\n",
    "`\n",
];

/// Returns the files that the parts copy.
fn files() -> Vec<ContextFile> {
    ["it's", "a", "x.c"].map(|name| bytes_file(&format!("stages/first/{name}"), name, false)).into()
}

fn input(name: &str, text: &str, files: Vec<ContextFile>) -> StageInput {
    StageInput {
        name: name.parse().unwrap(),
        version: semver::Version::new(1, 0, 0),
        args: vec![],
        part: part::check("p", text).unwrap(),
        files,
        native: true,
        recorded: false,
        secrets: vec![],
    }
}

/// Returns parts that pib takes and whose options the engine knows.
fn parts(choice: &mut Choice, mounts: bool) -> Vec<String> {
    let mut found = Vec::new();
    while found.len() < PARTS {
        let mut text = String::new();
        for _ in 0..1 + choice.below(3) {
            let mut instruction = choice.of(&INSTRUCTIONS).to_owned();
            if choice.below(2) == 0 {
                let places: Vec<usize> = instruction.char_indices().map(|(at, _)| at).collect();
                instruction.insert_str(places[choice.below(places.len())], choice.of(&PIECES));
            }
            text.push_str(&instruction);
        }
        let is_taken = part::check("p", &text).is_ok_and(|part| {
            assemble::check(&[
                input("first", "RUN a", files()),
                StageInput { part, ..input("s", "RUN a", vec![]) },
            ])
            .is_ok()
        });
        if is_taken && (mounts || !text.contains("--mount")) {
            found.push(text);
        }
    }
    found
}

/// What the engines answered on each connection, one for each kind.
static HEARD: [Mutex<BTreeMap<String, Vec<u8>>>; 3] = [const { Mutex::new(BTreeMap::new()) }; 3];

fn heard_by(kind: Kind) -> usize {
    match kind {
        Kind::BuildKit => 0,
        Kind::Classic => 1,
        Kind::Podman => 2,
    }
}

/// Passes on what an engine answers, and keeps it.
fn listen<const KIND: usize>(bytes: &[u8]) -> Option<Vec<u8>> {
    // Each connection has a task of its own.
    let connection = tokio::task::id().to_string();
    HEARD[KIND].lock().unwrap().entry(connection).or_default().extend_from_slice(bytes);
    None
}

/// Returns what an engine answered to a build that fails at the first stage's instruction.
async fn answer(lab: &Lab, plan: &BuildPlan, tag: &str) -> String {
    let listening = [listen::<0>, listen::<1>, listen::<2>][heard_by(lab.kind)];
    let socket = lab.engine.info().address.strip_prefix("unix://").unwrap().to_owned();
    let proxy = Proxy::rewriting(&socket, listening);
    let engine = lab.through(&proxy.host).await;
    HEARD[heard_by(lab.kind)].lock().unwrap().clear();
    let error = engine.build(&lab.request(plan, tag), &Silent).await.unwrap_err();
    let is_first = matches!(&error, EngineError::BuildFailed { stage, line: Some(1), .. } if stage.as_deref() == Some("first"));
    assert!(is_first, "{error:?}\n{}", plan.dockerfile);
    let heard = HEARD[heard_by(lab.kind)].lock().unwrap();
    let text = |bytes: &Vec<u8>| match lab.kind {
        Kind::BuildKit => String::from_utf8_lossy(&data(bytes)).into_owned(),
        Kind::Classic | Kind::Podman => String::from_utf8_lossy(bytes).into_owned(),
    };
    heard.values().map(text).collect()
}

/// Returns the data of the frames of HTTP/2 that follow the answer by which a connection changes to it.
fn data(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.windows(4).position(|end| end == b"\r\n\r\n").map_or(bytes.len(), |at| at + 4);
    let (mut rest, mut streams) = (&bytes[start..], BTreeMap::<[u8; 4], Vec<u8>>::new());
    while let [a, b, c, kind, _, stream @ ..] = rest {
        let length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
        let Some((id, payload)) = stream.split_first_chunk() else { break };
        let (payload, after) = payload.split_at(length.min(payload.len()));
        if *kind == 0 {
            streams.entry(*id).or_default().extend_from_slice(payload);
        }
        rest = after;
    }
    streams.into_values().flatten().collect()
}

pub(super) async fn parts_are_read_as_they_were_planned(lab: &Lab) {
    let parts = parts(&mut Choice(1), lab.engine.abilities().mounts);
    let names: Vec<String> = (0..IN_ONE).map(|number| format!("s{number}")).collect();
    let tag = lab.tag("readers");
    let mut read = 0;
    for (number, chunk) in parts.chunks(IN_ONE).enumerate() {
        let missing = format!("COPY stages/first/none{number} /none");
        let own = names.iter().map(String::as_str).zip(chunk.iter().map(String::as_str));
        let stages: Vec<(&str, &str)> = [("first", missing.as_str())].into_iter().chain(own).collect();
        let plan = lab.plan(&stages, files());
        let answer = answer(lab, &plan, &tag).await;
        match lab.kind {
            Kind::BuildKit => judge_layers(&plan, &answer),
            Kind::Classic => judge_steps(&plan, &answer),
            Kind::Podman => judge_stages(&plan, &answer),
        }
        read += chunk.len();
    }
    assert_eq!(read, PARTS);
}

/// Compares the instructions that make layers, as BuildKit names them: `[s1 2/3] RUN a`.
fn judge_layers(plan: &BuildPlan, answer: &str) {
    let mut found: BTreeMap<String, BTreeMap<usize, (usize, String)>> = BTreeMap::new();
    for text in answer.split('[').skip(1) {
        let Some((inner, rest)) = text.split_once("] ") else { continue };
        let Some((stage, numbers)) = inner.split_once(' ') else { continue };
        let Some((step, steps)) = numbers.trim().split_once('/') else { continue };
        let (Ok(step), Ok(steps)) = (step.parse(), steps.parse()) else { continue };
        let keyword: String = rest.chars().take_while(char::is_ascii_uppercase).collect();
        // The base is the same in another test's build at the same time, which may have given it the name.
        if keyword != "FROM" {
            found.entry(stage.to_owned()).or_default().insert(step, (steps, keyword));
        }
    }
    for (index, stage) in plan.stages.iter().enumerate() {
        let layers = || plan.steps.iter().filter(|step| step.stage == Some(index) && step.makes_layer());
        // The base counts as one of the first stage.
        let count = layers().count() + usize::from(index == 0);
        let found = found.remove(&stage.target).unwrap_or_default();
        assert!(found.values().all(|(steps, _)| *steps == count), "{found:?}\n{}", plan.dockerfile);
        // `WORKDIR /` is counted, and makes nothing.
        let makes = |step: &&PlannedStep| plan.dockerfile.lines().nth(step.line - 1) != Some("WORKDIR /");
        let expected: Vec<&str> = layers().filter(makes).map(|step| step.keyword.as_str()).collect();
        let keywords: Vec<&str> = found.values().map(|(_, keyword)| keyword.as_str()).collect();
        assert_eq!(keywords, expected, "stage {}\n{}", stage.target, plan.dockerfile);
    }
    assert_eq!(
        found.into_keys().filter(|stage| stage != "internal").collect::<Vec<_>>(),
        Vec::<String>::new()
    );
}

/// Compares how many instructions the classic builder counts, with the one that sets the labels: `Step 1/23 : `.
fn judge_steps(plan: &BuildPlan, answer: &str) {
    let (_, rest) = answer.split_once("Step 1/").unwrap();
    let steps: usize = rest.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(steps, plan.steps.len() + 1, "{}", plan.dockerfile);
}

/// Compares how many stages Podman counts, and how many instructions in the first: `[1/11] STEP 1/4: `.
fn judge_stages(plan: &BuildPlan, answer: &str) {
    let (before, rest) = answer.split_once("] STEP 1/").unwrap();
    let stages: usize = before.rsplit('/').next().unwrap().parse().unwrap();
    let steps: usize = rest.split(':').next().unwrap().parse().unwrap();
    let first = plan.steps.iter().filter(|step| step.stage == Some(0)).count();
    assert_eq!((stages, steps), (plan.stages.len(), first), "{}", plan.dockerfile);
}

/// Pieces of values; each is written in a way of its own.
const VALUES: [&str; 24] = [
    "a", " ", "  b ", "\"", "'", "\\", "\\\\", "$", "$$", "${X}", "$X", "`", "#", "<<EOF", "[\"a\"]", "=",
    ";", "é", "\u{a0}", "\u{2003}", "FROM x", "\\n", "RUN ", "{}",
];

/// Writes a value as a part's author may.
fn written(choice: &mut Choice, value: &str) -> String {
    let ends_plainly = value.ends_with(|c: char| c.is_ascii_graphic() && c != '\\');
    match choice.below(3) {
        0 if !value.contains(['\'', '\\']) => format!("'{value}'"),
        1 if ends_plainly => value
            .chars()
            .flat_map(|c| if c.is_ascii_alphanumeric() { vec![c] } else { vec!['\\', c] })
            .collect(),
        _ => {
            let escaped =
                value.chars().flat_map(|c| if "\"\\$".contains(c) { vec!['\\', c] } else { vec![c] });
            format!("\"{}\"", escaped.collect::<String>())
        }
    }
}

/// How many values of each kind there are; each `ARG` is an instruction, and all the others stand in one.
const KINDS: [(&str, usize); 4] = [("given", 15), ("declared", 15), ("set", 85), ("label", 85)];

/// Returns names and values of each kind.
fn values(choice: &mut Choice) -> BTreeMap<&'static str, Vec<(String, String)>> {
    let mut values = BTreeMap::new();
    for (kind, count) in KINDS {
        let value = |number| {
            let value: String = (0..choice.below(6)).map(|_| choice.of(&VALUES)).collect();
            (format!("{kind}_{number}"), value)
        };
        values.insert(kind, (0..count).map(value).collect());
    }
    values
}

/// Returns a part that makes a label of each value.
fn labelling(choice: &mut Choice, values: &BTreeMap<&str, Vec<(String, String)>>) -> String {
    let mut text = String::from("ENV");
    for (name, value) in &values["set"] {
        text.push_str(&format!(" \\\n  {name}={}", written(choice, value)));
    }
    for (name, value) in &values["declared"] {
        text.push_str(&format!("\nARG {name}={}", written(choice, value)));
    }
    text.push_str("\nLABEL");
    for (name, _) in ["given", "declared", "set"].iter().flat_map(|kind| &values[kind]) {
        text.push_str(&format!(" {name}=\"${{{name}}}\""));
    }
    for (name, value) in &values["label"] {
        text.push_str(&format!(" {name}={}", written(choice, value)));
    }
    text
}

pub(super) async fn values_are_read_as_they_were_meant(lab: &Lab) {
    let mut choice = Choice(2);
    let values = values(&mut choice);
    let mut stage = input("os", &labelling(&mut choice, &values), vec![]);
    let given = values["given"].iter().cloned();
    stage.args = given.map(|(name, value)| Arg { name, value, keyed: true }).collect();
    let base = BaseRef::ContainerImage(lab.base());
    let digest = Digest::of(b"base");
    let plan = assemble::assemble(Arch::Arm64, &base, &digest, &[stage], &Extras::default()).unwrap();
    let tag = lab.tag("values");
    lab.engine.build(&lab.request(&plan, &tag), &Silent).await.unwrap();
    let labels = lab.engine.container_image(&tag).await.unwrap().unwrap().labels;
    let mut count = 0;
    for (name, value) in values.values().flatten() {
        assert_eq!(labels.get(name), Some(value), "{name}\n{}", plan.dockerfile);
        count += 1;
    }
    assert_eq!(count, PARTS);
}
