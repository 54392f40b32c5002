//! Moves the lock to newer versions.

use std::collections::BTreeMap;

use pib_plan::id::{INIT, StageName};
use pib_plan::index::{GitReference, GitSource};
use pib_plan::manifest::project::RequestSource;
use pib_plan::resolve::Update;
use semver::Version;
use serde::Serialize;

use crate::bases::BaseCache;
use crate::pipeline::lock_bases::{PackageChoice, lock_bases};
use crate::pipeline::resolve::Moves;
use crate::pipeline::resolve_all::resolve_all_moving;
use crate::pipeline::{Resolved, base_source, emulators, native, vendored};
use crate::project::{self, Error, LockMode, Project, Session};
use pib_plan::base::BaseSource;

/// What may move.
#[derive(Debug, Clone, Default)]
pub struct UpdateOptions {
    /// The stages; none for all, and the base and the packages with them.
    pub stages: Vec<String>,
    /// Move the base, too.
    pub base: bool,
    /// Move the packages that parts install, too.
    pub packages: bool,
    /// Move the one stage to exactly this version; one from git to this commit.
    pub precise: Option<String>,
    /// Take another content of the named stages for a version or tag that is locked.
    pub accept_republished: bool,
    /// Change nothing.
    pub dry_run: bool,
    /// Use no network.
    pub offline: bool,
}

/// What moved.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Updated {
    /// The changes, one line each.
    pub changes: Vec<String>,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Why the lock does not hold some of the bases, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without_base: Vec<String>,
}

/// Resolves anew what may move, and writes the lock.
///
/// A base that may move is one of the packages that the mirror has now; the next build makes it.
///
/// # Errors
/// When a name is no stage of the build, no versions go together, or what is locked was published again with another
/// content.
pub async fn update(session: &Session, options: &UpdateOptions) -> Result<Updated, Error> {
    let dir = project::find(session)?;
    let _exclusive = Project::exclusive(session, &dir).await?;
    let project = Project::load(session)?;
    let mode = LockMode { locked: false, offline: options.offline };
    let is_named = options.base || options.packages;
    let everything = options.stages.is_empty() && options.precise.is_none() && !is_named;
    let (with_base, packages) = (options.base || everything, options.packages || everything);
    // With `--base` or `--packages` alone no stage moves.
    let (update, pins) = match is_named && options.stages.is_empty() {
        true => (Update::None, BTreeMap::new()),
        false => which(options, &project)?,
    };
    let republished = match (&update, options.accept_republished) {
        (Update::Stages(names), true) => names.clone(),
        (Update::Precise(name, _), true) => vec![name.clone()],
        _ => Vec::new(),
    };
    let vendor = vendored::open(session, &project)?;
    let moves = Moves { update, pins, republished, packages, vendor };
    let mut all = resolve_all_moving(session, &project, mode, moves).await?;
    if with_base {
        all.parts.iter_mut().for_each(Resolved::end_as_of);
    }
    let choice = if with_base { PackageChoice::Newest } else { PackageChoice::Made };
    let without_base = lock_bases(session, &mut all, mode, choice).await?;
    let changes = all.changes();
    if !options.dry_run {
        if with_base {
            for part in &all.parts {
                forget_base(session, part).await?;
            }
        }
        all.write_lock(mode)?;
    }
    Ok(Updated { changes, dry_run: options.dry_run, without_base })
}

/// Returns what may move, and what git stages move to.
fn which(options: &UpdateOptions, project: &Project) -> Result<(Update, BTreeMap<StageName, String>), Error> {
    let name = |text: &String| {
        text.parse::<StageName>()
            .map_err(|error| Error::usage(error.to_string(), "Name stages as `pib tree` shows them."))
    };
    let names = options.stages.iter().map(name).collect::<Result<Vec<_>, _>>()?;
    let nothing = BTreeMap::new;
    match (&options.precise, names.as_slice()) {
        (None, []) => Ok((Update::All, nothing())),
        (None, _) => Ok((Update::Stages(names), nothing())),
        (Some(wanted), [only]) => match git_request(project, only)? {
            Some(git) => {
                may_move(only, &git)?;
                Ok((Update::Stages(names.clone()), BTreeMap::from([(only.clone(), wanted.clone())])))
            }
            None => Ok((Update::Precise(only.clone(), version(wanted)?), nothing())),
        },
        (Some(_), _) => Err(Error::usage(
            "--precise moves one stage".to_owned(),
            "Name the stage: pib update NAME --precise VERSION.",
        )),
    }
}

fn version(text: &str) -> Result<Version, Error> {
    text.parse().map_err(|error| {
        let message = format!("`{text}` is no version: {error}");
        let help = "Write all three numbers: --precise 1.2.3. A stage from git moves to a commit: --precise a1b2c3d.";
        Error::usage(message, help)
    })
}

/// Returns where in git the project, or else one of its targets, has a stage from, if one does.
fn git_request(project: &Project, name: &StageName) -> Result<Option<GitSource>, Error> {
    let in_git = |part: Project| {
        let manifest = part.manifest;
        let mut requests = manifest.patch.into_iter().chain(manifest.stages);
        match requests.find(|request| request.name == *name)?.source {
            RequestSource::Git(git) => Some(git),
            _ => None,
        }
    };
    Ok(project.with_targets()?.into_iter().find_map(in_git))
}

/// Refuses to move what the manifest holds in its place: the next fetch would find the two at odds.
fn may_move(name: &StageName, git: &GitSource) -> Result<(), Error> {
    let (key, value) = match git.reference() {
        GitReference::Default | GitReference::Branch(_) => return Ok(()),
        GitReference::Tag(value) => ("tag", value),
        GitReference::Rev(value) => ("rev", value),
    };
    let message = format!("pib.toml holds stage `{name}` at {key} `{value}`");
    Err(Error::usage(message, format!("Change the stage's `{key}` in pib.toml, and run `pib lock`.")))
}

/// Has the next build make the base, though one of the same recipe is in the cache.
async fn forget_base(session: &Session, part: &Resolved) -> Result<(), Error> {
    let (project, packages) = (&part.project, part.packages().await?);
    let init = packages.iter().find(|package| package.name.as_str() == INIT);
    let source = init.and_then(|init| base_source::source(&project.manifest, &project.dir, init).ok());
    if let Some(BaseSource::Bootstrap(recipe)) = source {
        BaseCache::new(&session.cache).forget(&recipe)?;
        native::forget(session, &project.manifest)?;
        emulators::forget(session, &project.manifest)?;
    }
    Ok(())
}
