//! What the recorder learns of the signed lists of archives of Debian packages: their releases.

use futures_util::future::BoxFuture;
use pib_debian::{ListedIndex, SuiteNames};
use pib_plan::base::BaseSource;
use pib_recorder::{Listed, Lists};

use super::based::Based;
use super::mirrors::{self, Mirrors};
use crate::project::{Error, Session};

/// Reads the releases of archives of packages.
#[derive(Default)]
pub(super) struct Releases {
    /// Chooses the name of a suite that is asked for first, where anything new is recorded.
    names: Option<SuiteNames>,
}

impl Releases {
    /// Returns what knows the archives that the base of a build was chosen of, by the addresses that its parts know.
    ///
    /// # Errors
    /// When the user's config cannot be used, or the HTTP client cannot be made.
    pub(super) fn of(session: &Session, based: &Based) -> Result<Self, Error> {
        let project = based.rendered.packages.project();
        let recipe = match &based.rendered.base {
            BaseSource::Bootstrap(recipe) => Some(recipe),
            _ => None,
        };
        let (mirrors, host) = (Mirrors::of(session, &project.manifest, None), mirrors::host_apt(session)?);
        let debian = [&*mirrors.public, &*mirrors.public_security];
        let names = SuiteNames::new(debian, recipe, project.architectures(), &host, &session.reporter)?;
        Ok(Self { names: Some(names) })
    }
}

impl Lists for Releases {
    fn names(&self) -> &[&str] {
        &["InRelease", "Release"]
    }

    fn listed(&self, list: &str, path: &str) -> Option<Listed> {
        let ListedIndex { digest, size, others } = pib_debian::listed_index(list, path)?;
        Some(Listed { digest, size, others })
    }

    fn others(&self, list: &str, name: &str) -> Vec<String> {
        pib_debian::release_paths(list, name)
    }

    fn fitting<'a>(&'a self, address: &'a str, place: &'a str) -> BoxFuture<'a, Option<String>> {
        Box::pin(async move { self.names.as_ref()?.fitting(address, place).await })
    }
}
