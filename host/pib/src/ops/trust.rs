//! Allows a project what it asks for outside of its folder, shows that, and takes it back.

use std::path::PathBuf;

use pib_plan::index::SourceId;
use serde::Serialize;

use crate::pipeline::render::images_of_own_parts;
use crate::pipeline::{self, StageOptions, job};
use crate::project::reach::Reach;
use crate::project::{self, Error, LockMode, Project, Session};
use crate::source::Package;

/// What a project asks for outside of its folder.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Asked {
    /// The project's folder.
    #[serde(serialize_with = "crate::project::path_text::lossy")]
    pub project: PathBuf,
    /// What the project and its targets ask for, each in a few words.
    pub asks_for: Vec<String>,
    /// Whether the user allows all of that.
    pub allowed: bool,
    /// Whether this is all. What stages ask for is known only once the user has allowed to fetch them with what they have
    /// for git.
    pub complete: bool,
    /// Whether the user started the project here with `pib new`: then it may have everything.
    pub started_here: bool,
    #[serde(skip)]
    reaches: Vec<Reach>,
}

/// Finds out what the project and its targets ask for outside of its folder. Programs are not started for it.
///
/// # Errors
/// When the project cannot be read, or its stages cannot be resolved or fetched.
pub async fn find(session: &Session, mode: LockMode) -> Result<Asked, Error> {
    let dir = project::find(session)?;
    let mut complete = true;
    let asking = Session { consent: session.consent.collecting(), ..session.clone() };
    for part in Project::load(&asking)?.with_targets()? {
        match ask(session, &asking.for_target(part.target_name()), part, mode).await {
            Err(error) if error.is_untrusted() => complete = false,
            asked => asked?,
        }
    }
    let reaches = asking.consent.collected();
    let allowed = match session.consent.check(&dir, reaches.iter().cloned()) {
        Ok(()) => true,
        Err(Error::Untrusted { .. }) => false,
        Err(error) => return Err(error),
    };
    let started_here = session.consent.is_started_here(&dir)?;
    let asks_for = reaches.iter().map(Reach::in_full).collect();
    Ok(Asked { project: dir, asks_for, allowed, complete, started_here, reaches })
}

/// Goes through all that a project, or one of its targets, asks for, with a session that `asks`. A hook is asked once the
/// project is allowed the files that it would see.
///
/// # Errors
/// [`Error::Untrusted`] where there may be more.
async fn ask(session: &Session, asks: &Session, part: Project, mode: LockMode) -> Result<(), Error> {
    let record = job::record(&part);
    let resolved = pipeline::resolve(asks, part, mode).await?;
    let packages = pipeline::fetch(asks, resolved).await?;
    let dir = packages.project().dir.clone();
    asks.consent.check(&dir, images_of_own_parts(&packages))?;
    let options = StageOptions::default();
    let settled = pipeline::settle_as_recorded(asks, packages, &record, &options)?;
    // Those of pib's own stages take nothing out of container images.
    let foreign = |package: &Package| {
        let stage = settled.packages.resolved.resolution.get(&package.name);
        package.manifest.hook.is_some() && stage.is_some_and(|stage| stage.source != SourceId::bundled())
    };
    if !settled.packages.list.iter().any(foreign) {
        return Ok(());
    }
    session.consent.check(&dir, asks.consent.collected())?;
    pipeline::render(asks, settled, &options).await?.check_images(asks)
}

impl Asked {
    /// Allows the project this, and of what it was allowed before only what it may still ask for.
    ///
    /// # Errors
    /// When the answer cannot be kept.
    pub fn allow(self, session: &Session) -> Result<Self, Error> {
        session.consent.allow(&self.project, &self.reaches, self.complete)?;
        Ok(Self { allowed: true, ..self })
    }
}

/// A project that is allowed nothing any more.
#[derive(Debug, Clone, Serialize)]
pub struct Forgotten {
    /// Its folder.
    #[serde(serialize_with = "crate::project::path_text::lossy")]
    pub project: PathBuf,
}

/// Takes back everything that the project is allowed.
///
/// # Errors
/// When there is no project, or the answer cannot be kept.
pub fn forget(session: &Session) -> Result<Forgotten, Error> {
    let dir = project::find(session)?;
    session.consent.forget(&dir)?;
    Ok(Forgotten { project: dir })
}
