//! Moves the lock to newer versions.

use pib_plan::id::{INIT, StageName};
use pib_plan::lockfile::Lockfile;
use pib_plan::resolve::Update;
use semver::Version;
use serde::Serialize;

use super::project::{self, Project};
use super::{Error, LockMode, Session, base, graph, native};
use crate::base::{BaseCache, BaseSource};

/// What may move.
#[derive(Debug, Clone, Default)]
pub struct UpdateOptions {
    /// The stages; none for all, and the base with them.
    pub stages: Vec<String>,
    /// Move the base, too.
    pub base: bool,
    /// Move the one stage to exactly this version.
    pub precise: Option<String>,
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
}

/// Resolves anew what may move, and writes the lock.
///
/// A base that may move is made anew by the next build, from what the mirror has by then.
///
/// # Errors
/// When a name is no stage of the build, or no versions go together.
pub async fn update(session: &Session, options: &UpdateOptions) -> Result<Updated, Error> {
    let dir = project::find(session)?;
    let _exclusive = Project::exclusive(session, &dir).await?;
    let project = Project::load(session)?;
    let mode = LockMode { locked: false, offline: options.offline };
    let with_base = options.base || (options.stages.is_empty() && options.precise.is_none());
    // With `--base` alone no stage moves.
    let which = match options.base && options.stages.is_empty() {
        true => Update::None,
        false => which(options)?,
    };
    let mut graph = graph::resolve(session, &project, mode, which).await?;
    let before = project.lock.clone().unwrap_or_default();
    if with_base {
        graph.drop_base(&project.manifest);
    }
    let changes = lines(&before, &graph.lock);
    if !options.dry_run {
        if with_base {
            forget_base(session, &project, &graph).await?;
        }
        graph.write_lock(&project, mode)?;
    }
    Ok(Updated { changes, dry_run: options.dry_run })
}

fn which(options: &UpdateOptions) -> Result<Update, Error> {
    let name = |text: &String| {
        text.parse::<StageName>()
            .map_err(|error| Error::usage(error.to_string(), "Name stages as `pib tree` shows them."))
    };
    let names = options.stages.iter().map(name).collect::<Result<Vec<_>, _>>()?;
    match (&options.precise, names.as_slice()) {
        (None, []) => Ok(Update::All),
        (None, _) => Ok(Update::Stages(names)),
        (Some(version), [only]) => {
            let version = version.parse::<Version>().map_err(|error| {
                let message = format!("`{version}` is no version: {error}");
                Error::usage(message, "Write all three numbers: --precise 1.2.3.")
            })?;
            Ok(Update::Precise(only.clone(), version))
        }
        (Some(_), _) => Err(Error::usage(
            "--precise moves one stage".to_owned(),
            "Name the stage: pib update NAME --precise VERSION.",
        )),
    }
}

/// Has the next build make the base, though one of the same recipe is in the cache.
async fn forget_base(session: &Session, project: &Project, graph: &graph::Graph) -> Result<(), Error> {
    let packages = graph.packages().await?;
    let init = packages.iter().find(|package| package.name.as_str() == INIT);
    let source = init.and_then(|init| base::source(&project.manifest, &project.dir, init).ok());
    if let Some(BaseSource::Bootstrap(recipe)) = source {
        BaseCache::new(&session.cache).forget(&recipe)?;
        native::forget(session, &project.manifest)?;
    }
    Ok(())
}

fn lines(before: &Lockfile, after: &Lockfile) -> Vec<String> {
    before.diff(after).to_string().lines().map(str::to_owned).collect()
}

impl Updated {
    /// Returns the changes for people.
    pub fn to_text(&self) -> String {
        match (self.changes.is_empty(), self.dry_run) {
            (true, _) => "Nothing to update.".to_owned(),
            (false, true) => format!("{}\nNothing was written.", self.changes.join("\n")),
            (false, false) => self.changes.join("\n"),
        }
    }
}
