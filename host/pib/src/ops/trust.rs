//! Allows a project what it asks for outside of its folder, shows that, and takes it back.

use std::path::PathBuf;

use serde::Serialize;

use crate::pipeline::{self, StageOptions, job};
use crate::project::reach::Reach;
use crate::project::{self, Error, LockMode, Project, Session};

/// What a project asks for outside of its folder.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Asked {
    /// The project's folder.
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
        match ask(&asking.for_target(part.target_name()), part, mode).await {
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

/// Goes through all that a project, or one of its targets, asks for.
async fn ask(session: &Session, part: Project, mode: LockMode) -> Result<(), Error> {
    let record = job::record(&part);
    let resolved = pipeline::resolve(session, part, mode).await?;
    let packages = pipeline::fetch(session, resolved).await?;
    let options = StageOptions::default();
    let settled = pipeline::settle_as_recorded(session, packages, &record, &options)?;
    pipeline::render(session, settled, &options).await?.check_images(session)
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
