//! Turns the ordered, rendered stages into one Dockerfile and its context: the [`BuildPlan`].
//!
//! One pib stage becomes one named Docker build stage, so that its ARGs end with it and a build can stop at
//! it. Every stage has a key: the digest of the key before it, its arguments, its part and its files. Two
//! plans with the same key build the same thing.

use std::fmt::Write as _;
use std::path::PathBuf;

use semver::Version;

use crate::id::{Arch, CLEANUP, Digest, INIT, KeyHasher, StageName};
use crate::native::Native;
use crate::part::Part;

/// The most file system layers that engines take (overlay2 allows 128), less those of the base.
pub const MAX_LAYERS: usize = 120;

/// An ordered stage, ready to be assembled.
#[derive(Debug, Clone)]
pub struct StageInput {
    /// The stage.
    pub name: StageName,
    /// Its version.
    pub version: Version,
    /// The arguments that its part sees, in the order in which they are declared.
    pub args: Vec<Arg>,
    /// The part.
    pub part: Part,
    /// Its files, with their paths in the context.
    pub files: Vec<ContextFile>,
    /// Whether native programs may stand in for the target's while its part runs.
    pub native: bool,
}

/// An argument that a part sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// The name of the `ARG`.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Whether the value is part of the stage's key. A mirror's address is not: it says where packages come
    /// from, which differs between machines, and not what they are.
    pub keyed: bool,
}

/// A file of the context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextFile {
    /// The path in the context, with `/` between its parts.
    pub path: String,
    /// Where its bytes are.
    pub source: FileSource,
    /// What its bytes must be.
    pub digest: Digest,
    /// The size in bytes.
    pub size: u64,
    /// Whether it may be executed: its mode is 0755, else 0644.
    pub executable: bool,
}

/// Where the bytes of a context file are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource {
    /// In a file on this machine.
    File(PathBuf),
    /// Here.
    Bytes(Vec<u8>),
}

/// What the first stage starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseRef {
    /// A container image that the engine has under this name.
    ContainerImage(String),
    /// A tarball in the context, so that the context is all that a build needs.
    ContextTar(String),
}

/// All that the engine needs for a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildPlan {
    /// The Dockerfile.
    pub dockerfile: String,
    /// The files of the context, sorted by path.
    pub context: Vec<ContextFile>,
    /// The stages, in order.
    pub stages: Vec<PlannedStage>,
    /// The key of the last stage: it names the result.
    pub key: Digest,
    /// The processor architecture to build for.
    pub arch: Arch,
}

/// One stage of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStage {
    /// The stage.
    pub name: StageName,
    /// Its version.
    pub version: Version,
    /// The name of its Docker build stage.
    pub target: String,
    /// The digest of everything that decides its result.
    pub key: Digest,
    /// The line of the Dockerfile, counted from 1, on which its part starts.
    pub part_line: usize,
}

/// Says why stages cannot be assembled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum AssembleError {
    /// There is nothing to assemble.
    #[error("there is no stage to build")]
    NoStages,
    /// The engine would refuse the result.
    #[error("the stages make {layers} file system layers, and container engines take at most {MAX_LAYERS}")]
    #[diagnostic(help("Join RUN instructions with && in the parts that have most: {most}."))]
    TooManyLayers {
        /// How many.
        layers: usize,
        /// The stages with most of them.
        most: String,
    },
}

/// Assembles the stages, which start from `base`, whose content is `base_digest`; with `native`, native programs
/// stand in for the target's where they can, which changes no key: the result is the same.
///
/// # Errors
/// When there is no stage, or the stages have more layers than engines take.
pub fn assemble(
    arch: Arch,
    base: &BaseRef,
    base_digest: &Digest,
    stages: &[StageInput],
    native: Option<&Native>,
) -> Result<BuildPlan, AssembleError> {
    check_layers(stages)?;
    let mut key = base_key(arch, base_digest);
    let mut dockerfile = String::from("# Written by pib. Changes here are lost.\n");
    let mut planned: Vec<PlannedStage> = Vec::with_capacity(stages.len());
    let mut tools = native.map(|native| native.begin(&mut dockerfile));
    for stage in stages {
        let target = target_name(&stage.name);
        dockerfile.push('\n');
        match (planned.last(), base) {
            (Some(previous), _) => _ = writeln!(dockerfile, "FROM {} AS {target}", previous.target),
            (None, BaseRef::ContainerImage(tag)) => _ = writeln!(dockerfile, "FROM {tag} AS {target}"),
            (None, BaseRef::ContextTar(path)) => {
                _ = writeln!(dockerfile, "FROM scratch AS {target}\nADD {path} /")
            }
        }
        let _ = writeln!(dockerfile, "# stage {} {}", stage.name, stage.version);
        for arg in &stage.args {
            let _ = writeln!(dockerfile, "ARG {}=\"{}\"", arg.name, quoted(&arg.value));
        }
        if let Some(tools) = &mut tools {
            tools.shell(&mut dockerfile, stage.native);
        }
        let part_line = dockerfile.lines().count() + 1;
        match &mut tools {
            Some(tools) => tools.part(&mut dockerfile, &stage.part, stage.native),
            None => dockerfile.push_str(&stage.part.text),
        }
        key = stage_key(&key, stage);
        let (name, version) = (stage.name.clone(), stage.version.clone());
        planned.push(PlannedStage { name, version, target, key, part_line });
    }
    if let Some(tools) = tools {
        tools.end(&mut dockerfile);
    }
    let mut context: Vec<ContextFile> = stages.iter().flat_map(|stage| stage.files.iter().cloned()).collect();
    context.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(BuildPlan { dockerfile, context, stages: planned, key, arch })
}

impl BuildPlan {
    /// Returns the stage whose Docker build stage is called `target`.
    pub fn by_target(&self, target: &str) -> Option<&PlannedStage> {
        self.stages.iter().find(|stage| stage.target == target)
    }
}

/// Returns the name of a stage's Docker build stage.
///
/// Docker's names start with a letter (`^[a-z][a-z0-9-_.]*$`), which the two reserved names do not; what
/// they become holds a `_`, which no other stage's name can. `scratch` is Docker's own word.
pub fn target_name(name: &StageName) -> String {
    match name.as_str() {
        INIT => "init__".to_owned(),
        CLEANUP => "cleanup__".to_owned(),
        "scratch" => "scratch__".to_owned(),
        other => other.to_owned(),
    }
}

fn base_key(arch: Arch, digest: &Digest) -> Digest {
    let mut hasher = KeyHasher::new("pib base key 1");
    hasher.field(arch.platform()).field(digest.as_bytes());
    hasher.finish()
}

fn stage_key(before: &Digest, stage: &StageInput) -> Digest {
    let mut hasher = KeyHasher::new("pib stage key 1");
    hasher.field(before.as_bytes()).field(stage.name.as_str()).field(&stage.part.text);
    let keyed = || stage.args.iter().filter(|arg| arg.keyed);
    hasher.field((keyed().count() as u64).to_le_bytes());
    for arg in keyed() {
        hasher.field(&arg.name).field(&arg.value);
    }
    let mut files: Vec<&ContextFile> = stage.files.iter().collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    for file in files {
        hasher.field(&file.path).field(file.digest.as_bytes()).field([u8::from(file.executable)]);
    }
    hasher.finish()
}

fn check_layers(stages: &[StageInput]) -> Result<(), AssembleError> {
    if stages.is_empty() {
        return Err(AssembleError::NoStages);
    }
    let layers: usize = stages.iter().map(|stage| stage.part.layers).sum();
    if layers <= MAX_LAYERS {
        return Ok(());
    }
    let mut by_layers: Vec<&StageInput> = stages.iter().collect();
    by_layers.sort_by_key(|stage| std::cmp::Reverse(stage.part.layers));
    let most: Vec<String> =
        by_layers.iter().take(3).map(|stage| format!("{} ({})", stage.name, stage.part.layers)).collect();
    Err(AssembleError::TooManyLayers { layers, most: most.join(", ") })
}

/// Escapes what Docker would expand or end the string at, within double quotes.
fn quoted(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part;

    fn stage(name: &str, arg: &str, text: &str) -> StageInput {
        StageInput {
            name: name.parse().unwrap(),
            version: Version::new(1, 0, 0),
            args: vec![Arg { name: "X".to_owned(), value: arg.to_owned(), keyed: true }],
            part: part::check("p", text).unwrap(),
            files: vec![],
            native: true,
        }
    }

    fn plan(stages: &[StageInput]) -> BuildPlan {
        let base = BaseRef::ContainerImage("pib-base:1".to_owned());
        assemble(Arch::Arm64, &base, &Digest::of(b"base"), stages, None).unwrap()
    }

    #[test]
    fn stages_follow_each_other() {
        let plan = plan(&[stage(INIT, "1", "RUN true\n"), stage("os", "a \"b\" $c", "RUN false")]);
        let expected = "# Written by pib. Changes here are lost.\n\
            \nFROM pib-base:1 AS init__\n# stage __init__ 1.0.0\nARG X=\"1\"\nRUN true\n\
            \nFROM init__ AS os\n# stage os 1.0.0\nARG X=\"a \\\"b\\\" \\$c\"\nRUN false\n";
        assert_eq!(plan.dockerfile, expected);
        let line = |number: usize| plan.dockerfile.lines().nth(number - 1).unwrap();
        assert_eq!(line(plan.stages[0].part_line), "RUN true");
        assert_eq!(line(plan.stages[1].part_line), "RUN false");
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
            source: FileSource::Bytes(vec![]),
            digest: Digest::of(b""),
            size: 0,
            executable: false,
        });
        let with_file = plan(&files).key;
        files[0].files[0].executable = true;
        assert_ne!(plain, with_file);
        assert_ne!(with_file, plan(&files).key);
    }

    #[test]
    fn the_engines_limit_is_told_before_the_engine_does() {
        let many = "RUN true\n".repeat(MAX_LAYERS + 1);
        let base = BaseRef::ContainerImage("x".to_owned());
        let error =
            assemble(Arch::Arm64, &base, &Digest::of(b""), &[stage("a", "1", &many)], None).unwrap_err();
        assert!(error.to_string().contains("121"), "{error}");
    }
}
