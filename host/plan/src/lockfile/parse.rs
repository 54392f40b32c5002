//! Reads `pib.lock`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use semver::Version;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, Deserializer};

use super::LockError;
use super::locked::{LockedBase, LockedStage, Lockfile, MadeBase, VERSION};
use crate::id::{Arch, Digest, StageName};
use crate::index::{HookRef, SourceId};
use crate::manifest::WrongType;
use crate::manifest::project::Losses;
use crate::moment::Moment;
use crate::registry_snapshot::RegistryKey;
use crate::signed_tarball::LockedTarball;
use crate::snapshot::{ArchiveSnapshot, BaseSnapshot, SnapshotPackage};

/// The largest lock that is read, in bytes: thousands of stages.
const MAX_LOCK: usize = 16 << 20;

const MAKE_ANEW: &str = "Get the file back from version control, or delete it and run `pib lock` to make it again; \
                         that may take newer versions.";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Schema {
    #[serde(rename = "version")]
    _version: i64,
    snapshot: Option<Spanned<String>>,
    fetch: Option<Digest>,
    as_of: Option<Spanned<String>>,
    #[serde(default)]
    losses: Losses,
    #[serde(default)]
    base: Vec<Spanned<BaseSchema>>,
    #[serde(default)]
    stage: Vec<StageSchema>,
    #[serde(default)]
    target: Vec<TargetSchema>,
}

/// How the stages of a target differ from the project's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetSchema {
    name: Spanned<String>,
    #[serde(default)]
    without: Vec<Spanned<StageName>>,
    #[serde(default)]
    stage: Vec<StageSchema>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BaseSchema {
    arch: Arch,
    os: String,
    release: String,
    recipe: Option<Digest>,
    digest: Option<Digest>,
    epoch: Option<u64>,
    source: Option<String>,
    archives: Option<Vec<ArchiveSnapshot>>,
    packages: Option<Vec<SnapshotPackage>>,
    tarball: Option<LockedTarball>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct StageSchema {
    name: Spanned<StageName>,
    version: Version,
    source: SourceId,
    checksum: Option<Digest>,
    content: Option<Digest>,
    publisher: Option<RegistryKey>,
    hook: Option<Digest>,
    hook_world: Option<String>,
    #[serde(default)]
    dependencies: Vec<Spanned<StageName>>,
}

/// The text that is being read, and its name, for errors.
#[derive(Clone, Copy)]
struct Input<'a> {
    file: &'a str,
    text: &'a str,
}

pub(super) fn parse(file: &str, text: &str) -> Result<Lockfile, LockError> {
    let input = Input { file, text };
    if text.len() > MAX_LOCK {
        let message = format!("`{file}` is larger than 16 MiB and is surely no lock");
        return Err(LockError::new((file, ""), None, "", message, MAKE_ANEW));
    }
    if let Some(span) = merge_conflict(text) {
        let message = format!("`{file}` holds a merge conflict");
        let help = "Settle `pib.toml` first. Then take either side whole, e.g. by `git checkout --ours pib.lock`, and \
                    run `pib lock`: it adds what is missing and keeps the rest.";
        return Err(input.error(span, "the conflict begins here", message, help));
    }
    // Parsed once: a lock that lists the packages of its bases has a few thousand values.
    let table = DeTable::parse(text).map_err(|error| input.unreadable(&error))?;
    check_version(input, table.get_ref())?;
    let schema = Schema::deserialize(Deserializer::from(table));
    let mut schema = schema.map_err(|error| input.unreadable(&error))?;
    let bases = read_bases(input, std::mem::take(&mut schema.base))?;
    check_stages(input, &schema.stage)?;
    let targets = read_targets(input, &schema)?;
    let snapshot = schema.snapshot.as_ref().map(|text| read_moment(input, "snapshot", text)).transpose()?;
    let as_of = schema.as_of.as_ref().map(|text| read_moment(input, "moment", text)).transpose()?;
    let mut lock = Lockfile {
        snapshot,
        fetch: schema.fetch,
        as_of,
        refuses_losses: schema.losses == Losses::Refuse,
        bases,
        stages: schema.stage.into_iter().map(Into::into).collect(),
        targets,
    };
    lock.sort();
    Ok(lock)
}

impl Input<'_> {
    fn error(
        self,
        span: Range<usize>,
        label: &'static str,
        message: String,
        help: impl Into<String>,
    ) -> LockError {
        LockError::new((self.file, self.text), Some(span), label, message, help)
    }

    fn unreadable(self, error: &toml::de::Error) -> LockError {
        let told = error.message().trim().replace('\n', ", ");
        let message = match WrongType::of(&told) {
            Some(WrongType { found, expected, .. }) => {
                format!("`{}` has the {found} where {expected} is expected", self.file)
            }
            None => format!("could not read `{}`: {told}", self.file),
        };
        LockError::new((self.file, self.text), error.span(), "here", message, MAKE_ANEW)
    }
}

/// Returns where a version control system left a conflict in the text.
pub(crate) fn merge_conflict(text: &str) -> Option<Range<usize>> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        if ["<<<<<<<", ">>>>>>>", "|||||||"].iter().any(|mark| bare.starts_with(mark)) || bare == "=======" {
            return Some(start..start + bare.len());
        }
        start += line.len();
    }
    None
}

/// Checks the one key that every schema has.
fn check_version(input: Input<'_>, table: &DeTable<'_>) -> Result<(), LockError> {
    let Some(version) = table.get("version") else {
        let message = format!("`{}` does not say its `version`", input.file);
        return Err(input.error(0..0, "`version = 1` is missing", message, MAKE_ANEW));
    };
    let span = version.span();
    let number = version.get_ref().as_integer().filter(|number| number.radix() == 10);
    // What is no number, the schema refuses.
    let Some(version) = number.and_then(|number| number.as_str().parse::<i64>().ok()) else { return Ok(()) };
    if version > i64::from(VERSION) {
        let message = format!(
            "`{}` was written by a newer pib: it has version {version}, this pib reads up to {VERSION}",
            input.file
        );
        let help =
            "Update pib. Deleting the file and running `pib lock` works too, but may take other versions.";
        return Err(input.error(span, "this version", message, help));
    }
    if version < 1 {
        let message = format!("`{}` has version {version}, which there never was", input.file);
        return Err(input.error(span, "this version", message, MAKE_ANEW));
    }
    Ok(())
}

fn read_moment(input: Input<'_>, what: &str, text: &Spanned<String>) -> Result<Moment, LockError> {
    text.get_ref().parse().map_err(|error| {
        let message = format!("the {what} in `{}` cannot be read: {error}", input.file);
        input.error(text.span(), "this one", message, MAKE_ANEW)
    })
}

/// Returns the bases; there is one for each system that is asked for, and what it is made of can be used.
fn read_bases(input: Input<'_>, bases: Vec<Spanned<BaseSchema>>) -> Result<Vec<LockedBase>, LockError> {
    let mut seen = BTreeSet::new();
    let mut read = Vec::new();
    for base in bases {
        let span = base.span();
        let base = base.into_inner().read().map_err(|what| {
            let message = format!("`{}`: {what}", input.file);
            input.error(span.clone(), "this base", message, MAKE_ANEW)
        })?;
        if !seen.insert((base.arch, base.os.clone(), base.release.clone(), base.recipe)) {
            let message =
                format!("`{}` has two bases for {} {} on {}", input.file, base.os, base.release, base.arch);
            return Err(input.error(span, "the second", message, MAKE_ANEW));
        }
        read.push(base);
    }
    Ok(read)
}

/// Returns the stages of each target: the project's, less those that it is without, and its own.
fn read_targets(input: Input<'_>, schema: &Schema) -> Result<BTreeMap<String, Vec<LockedStage>>, LockError> {
    let mut targets = BTreeMap::new();
    for target in &schema.target {
        let name = target.name.get_ref();
        let fail = |span, label, what: String| {
            let message = format!("target `{name}` in `{}` {what}", input.file);
            Err(input.error(span, label, message, MAKE_ANEW))
        };
        let of_project = |name: &StageName| schema.stage.iter().any(|stage| stage.name.get_ref() == name);
        for without in &target.without {
            if !of_project(without.get_ref()) {
                let what = format!("is without `{}`, which the project does not have", without.get_ref());
                return fail(without.span(), "this one is missing", what);
            }
        }
        let replaced = |name: &StageName| {
            target.without.iter().any(|without| without.get_ref() == name)
                || target.stage.iter().any(|stage| stage.name.get_ref() == name)
        };
        let shared = schema.stage.iter().filter(|stage| !replaced(stage.name.get_ref()));
        let stages: Vec<StageSchema> = shared.chain(&target.stage).cloned().collect();
        check_stages(input, &stages)?;
        if targets.insert(name.clone(), stages.into_iter().map(Into::into).collect()).is_some() {
            return fail(target.name.span(), "the second", "stands there twice".to_owned());
        }
    }
    Ok(targets)
}

fn check_stages(input: Input<'_>, stages: &[StageSchema]) -> Result<(), LockError> {
    let mut names = BTreeMap::new();
    for stage in stages {
        if names.insert(stage.name.get_ref(), ()).is_some() {
            let message = format!("`{}` has stage `{}` twice", input.file, stage.name.get_ref());
            return Err(input.error(stage.name.span(), "the second", message, MAKE_ANEW));
        }
        if stage.hook.is_some() != stage.hook_world.is_some() {
            let message = format!(
                "stage `{}` in `{}` has only one of `hook` and `hook-world`",
                stage.name.get_ref(),
                input.file
            );
            return Err(input.error(stage.name.span(), "this stage", message, MAKE_ANEW));
        }
    }
    for stage in stages {
        for needed in &stage.dependencies {
            if !names.contains_key(needed.get_ref()) {
                let message = format!(
                    "stage `{}` in `{}` depends on `{}`, which the file does not have",
                    stage.name.get_ref(),
                    input.file,
                    needed.get_ref()
                );
                return Err(input.error(needed.span(), "this one is missing", message, MAKE_ANEW));
            }
        }
    }
    Ok(())
}

impl BaseSchema {
    /// Returns the base; the error is what is wrong with it.
    fn read(self) -> Result<LockedBase, String> {
        let Self { arch, os, release, recipe, digest, epoch, source, archives, packages, tarball } = self;
        let snapshot = match (archives, packages) {
            (None, None) => None,
            (Some(archives), Some(packages)) => Some(BaseSnapshot { archives, packages }),
            _ => {
                let what =
                    "the base's packages stand there without their archives, or the archives without them";
                return Err(what.to_owned());
            }
        };
        let wrong = |what| format!("the base's packages {what}");
        snapshot.as_ref().map_or(Ok(()), BaseSnapshot::check).map_err(wrong)?;
        let wrong = |what| format!("the base's tarball {what}");
        tarball.as_ref().map_or(Ok(()), LockedTarball::check).map_err(wrong)?;
        let is_decided = snapshot.is_some() || source.is_some() || tarball.is_some();
        let made = match (digest, epoch) {
            (Some(digest), Some(epoch)) => Some(MadeBase { digest, epoch }),
            // What it is follows from these, and is added when the base has been made.
            (None, None) if recipe.is_some() && is_decided => None,
            (None, None) => return Err("the base has neither `digest` nor what it is made of".to_owned()),
            _ => return Err("the base has only one of `digest` and `epoch`".to_owned()),
        };
        Ok(LockedBase { arch, os, release, recipe, made, source, snapshot, tarball })
    }
}

impl From<StageSchema> for LockedStage {
    fn from(stage: StageSchema) -> Self {
        Self {
            name: stage.name.into_inner(),
            version: stage.version,
            source: stage.source,
            checksum: stage.checksum,
            content: stage.content,
            publisher: stage.publisher,
            hook: stage.hook.zip(stage.hook_world).map(|(digest, world)| HookRef { digest, world }),
            dependencies: stage.dependencies.into_iter().map(Spanned::into_inner).collect(),
        }
    }
}
