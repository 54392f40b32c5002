//! Fetches the packages of a build's stages.

use pib_plan::suggest;

use super::resolve::Resolved;
use crate::project::{Error, Project, Session};
use crate::source::Package;
use pib_event::ReporterExt as _;

/// The packages of the resolved stages, compared with the lock.
pub(crate) struct Packages {
    pub(crate) resolved: Resolved,
    /// The packages, in build order.
    pub(crate) list: Vec<Package>,
}

/// Fetches the packages of all stages and compares them with the lock.
///
/// # Errors
/// When one cannot be fetched, is not what the lock says, or is missing from the stages that the project holds itself.
pub(crate) async fn fetch(session: &Session, resolved: Resolved) -> Result<Packages, Error> {
    let list = resolved.packages().await?;
    let packages = Packages { resolved, list };
    packages.check_vendored(session)?;
    for advice in packages.list.iter().filter_map(Package::advice) {
        session.reporter.warn(advice);
    }
    Ok(packages)
}

impl Packages {
    /// Returns the project.
    pub(crate) fn project(&self) -> &Project {
        &self.resolved.project
    }

    /// Checks that a project which holds its stages itself holds all of them, and warns of folders that have moved on.
    ///
    /// # Errors
    /// When some are missing: a build that fetched them would succeed here and fail elsewhere.
    fn check_vendored(&self, session: &Session) -> Result<(), Error> {
        let Some(path) = &self.project().manifest.vendor else { return Ok(()) };
        let sources = self.resolved.sources();
        for (stage, package) in self.resolved.stages().zip(&self.list) {
            if sources.is_vendored(stage) && sources.has_moved_on(&stage.source, package) {
                let place = stage.source.describe();
                let what = format!("{place} has changed since stage `{}` was vendored", stage.name);
                session.reporter.warn(format!("{what}; `pib vendor` takes the change"));
            }
        }
        let missing = self
            .resolved
            .stages()
            .filter(|stage| !sources.is_vendored(stage) && sources.is_outside(&stage.source));
        let missing: Vec<String> = missing.map(|stage| format!("{} {}", stage.name, stage.version)).collect();
        match missing.is_empty() {
            true => Ok(()),
            false => Err(Error::Stage {
                message: format!(
                    "these stages are not vendored in `{path}`: {}",
                    suggest::list(missing.iter().map(String::as_str))
                ),
                help: Some(
                    "Run `pib vendor`, which adds them, or take [vendor] out of pib.toml to do without."
                        .to_owned(),
                ),
            }),
        }
    }
}
