//! A release's suites, its security updates among them: their lists of packages, and the packages themselves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pib_plan::base::Bootstrap;
use pib_plan::id::Digest;
use pib_plan::snapshot::{ArchiveSnapshot, SnapshotPackage};

use super::STEP;
use super::download::{self, Wanted};
use super::error::DebianError;
use super::keyring::Keyring;
use super::list_cache::ListCache;
use super::mirror::{self, Mirror, Mirrors};
use super::package_list::{Package, Packages};
use super::release::DatePolicy;
use super::suite::{Context, Suite};
use pib_event::{Reporter, ReporterExt};
use pib_net::Http;

/// How long is waited before a mirror that is being updated is asked again: mirrors take about a minute for the files
/// that matter here.
pub(super) const WAITS: [Duration; 2] = [Duration::from_secs(15), Duration::from_secs(45)];

/// Makes an attempt, and makes it again after each of the waits while the mirror is being updated.
///
/// # Errors
/// What the last attempt failed with.
pub(super) async fn patiently<T>(
    reporter: &Arc<dyn Reporter>,
    waits: &[Duration],
    attempt: impl AsyncFn() -> Result<T, DebianError>,
) -> Result<T, DebianError> {
    for wait in waits {
        match attempt().await {
            Err(DebianError::Updating { mirror, .. }) => {
                let seconds = wait.as_secs();
                reporter.note(format!(
                    "The mirror {mirror} is being updated; asking it again in {seconds} seconds"
                ));
                tokio::time::sleep(*wait).await;
            }
            outcome => return outcome,
        }
    }
    attempt().await
}

/// A release of Debian for one architecture, verified, and what fetching its packages needs.
pub(super) struct Distribution {
    http: Http,
    suites: Vec<Suite>,
    /// The time of the release, in seconds since 1970.
    pub(super) epoch: u64,
}

impl Distribution {
    /// Finds a release on the mirrors, with all of its packages.
    ///
    /// # Errors
    /// When no mirror can be reached, or what one has is not trustworthy.
    pub(super) async fn open(
        name: &str,
        architecture: &str,
        mirrors: &Mirrors,
        dates: DatePolicy,
        lists: Option<&ListCache>,
        reporter: &Arc<dyn Reporter>,
    ) -> Result<(Self, Packages), DebianError> {
        let Mirrors { main, security, .. } = mirrors;
        let keyring = Keyring::debian().map_err(DebianError::Resolve)?;
        let http = Http::new()?;
        let context = Context { http: &http, keyring: &keyring, dates, reporter, lists };
        reporter.detail(STEP, format!("checking Debian {name} on {} ({})", main.url, main.origin));
        let (suites, packages) = open(&context, name, architecture, main, security).await?;
        let epoch = suites[0].release.date;
        Ok((Self { http, suites, epoch }, packages))
    }

    /// Finds a release on the mirrors, where what a recipe needs of exactly its lists was chosen before.
    ///
    /// # Errors
    /// When no mirror can be reached, or what one has is not trustworthy.
    pub(super) async fn of_kept(
        recipe: &Bootstrap,
        mirrors: &Mirrors,
        dates: DatePolicy,
        lists: &ListCache,
        reporter: &Arc<dyn Reporter>,
    ) -> Result<Option<(Self, Vec<SnapshotPackage>)>, DebianError> {
        let keyring = Keyring::debian().map_err(DebianError::Resolve)?;
        let http = lists.http().clone();
        let context = Context { http: &http, keyring: &keyring, dates, reporter, lists: Some(lists) };
        let found = find_suites(&context, &recipe.release, &mirrors.main, &mirrors.security).await?;
        let Some(suites) = found else { return Ok(None) };
        let known = digests(recipe, &suites).and_then(|digests| lists.packages(recipe, &digests));
        let Some(packages) = known else { return Ok(None) };
        let epoch = suites[0].release.date;
        Ok(Some((Self { http, suites, epoch }, packages)))
    }

    /// Keeps what was chosen for a recipe of the release's lists.
    pub(super) fn keep(&self, recipe: &Bootstrap, lists: &ListCache, packages: &[SnapshotPackage]) {
        if let Some(digests) = digests(recipe, &self.suites) {
            lists.keep_packages(recipe, &digests, packages);
        }
    }
}

/// Finds a release on the mirrors without its lists of packages, where all of its suites are there.
///
/// # Errors
/// When the mirror cannot be asked, or what it has is not trustworthy.
async fn find_suites(
    context: &Context<'_>,
    release: &str,
    main: &Mirror,
    security: &[Mirror],
) -> Result<Option<Vec<Suite>>, DebianError> {
    let first = match Suite::open(context, main, release, release).await {
        // The mirror does not have the release. The function that needs its lists reports that.
        Err(DebianError::Net(error)) if error.is_not_found() => return Ok(None),
        opened => opened?,
    };
    if !has_security(&first) {
        return Ok(Some(vec![first]));
    }
    let name = format!("{release}-security");
    for mirror in security {
        match Suite::open(context, mirror, &name, &name).await {
            Ok(second) => return Ok(Some(vec![first, second])),
            // Of one that did not have it, nothing is kept.
            Err(DebianError::Offline { .. }) => {}
            Err(DebianError::Net(error)) if error.is_not_found() => {}
            Err(_) => break,
        }
    }
    Ok(None)
}

/// Returns the digests of the lists of packages that a recipe's are chosen of.
fn digests(recipe: &Bootstrap, suites: &[Suite]) -> Option<Vec<Digest>> {
    let architecture = recipe.arch.debian()?;
    suites.iter().map(|suite| Some(suite.index(architecture)?.digest)).collect()
}

/// Returns whether a release has an archive of security updates.
fn has_security(suite: &Suite) -> bool {
    !matches!(suite.release.suite.as_str(), "unstable" | "experimental")
}

/// Opens a release's suites and reads their lists of packages; a package tells the number of its suite.
///
/// # Errors
/// When a mirror cannot be reached or is not trustworthy.
async fn open(
    context: &Context<'_>,
    release: &str,
    architecture: &str,
    main: &Mirror,
    security: &[Mirror],
) -> Result<(Vec<Suite>, Packages), DebianError> {
    read_indexes(open_suites(context, release, architecture, main, security).await?).await
}

/// A verified suite and its verified, still compressed list of packages.
type Opened = (Suite, Vec<u8>);

/// Opens the release and, where there is one, its security updates.
async fn open_suites(
    context: &Context<'_>,
    release: &str,
    architecture: &str,
    main: &Mirror,
    security: &[Mirror],
) -> Result<Vec<Opened>, DebianError> {
    let first = open_suite(context, main, release, architecture).await.map_err(|error| match error {
        DebianError::Net(source) if source.is_not_found() => DebianError::NoRelease {
            mirror: main.url.to_string(),
            origin: main.origin.clone(),
            release: release.to_owned(),
            source,
        },
        other => other,
    })?;
    let has_security = has_security(&first.0);
    let mut suites = vec![first];
    if !has_security {
        return Ok(suites);
    }
    let mut problem = None;
    for mirror in security {
        match open_suite(context, mirror, &format!("{release}-security"), architecture).await {
            Ok(opened) => {
                suites.push(opened);
                return Ok(suites);
            }
            // A mirror of the main archive alone: the next one may have it.
            Err(DebianError::Net(error)) if error.is_not_found() => {}
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    if let Some(error) = problem {
        return Err(error);
    }
    context.reporter.warn(format!("no mirror has security updates for Debian {release}; the base has none"));
    Ok(suites)
}

/// Opens a suite by its name or, where the files there do not fit each other, by its other name.
///
/// A mirror behind a cache, or one that is being updated, may have a new release file and an old list of
/// packages; under the other name (`stable` for `trixie`) they may fit. It is the same release, equally signed.
async fn open_suite(
    context: &Context<'_>,
    mirror: &Mirror,
    name: &str,
    architecture: &str,
) -> Result<Opened, DebianError> {
    let suite = Suite::open(context, mirror, name, name).await?;
    let problem = match suite.fetch_index(context, architecture).await {
        Ok(bytes) => return Ok((suite, bytes)),
        Err(problem) => problem,
    };
    let Some(alias) = suite.alias() else { return Err(problem) };
    let Ok(other) = Suite::open(context, mirror, alias, name).await else { return Err(problem) };
    match other.fetch_index(context, architecture).await {
        Ok(bytes) => {
            context.reporter.warn(format!("using the mirror's `{alias}` of the same release: {problem}"));
            Ok((other, bytes))
        }
        Err(_) => Err(problem),
    }
}

/// Reads the lists of packages; the number of a suite in the list is that of its packages' archive.
async fn read_indexes(opened: Vec<Opened>) -> Result<(Vec<Suite>, Packages), DebianError> {
    let read = move || {
        let (mut suites, mut packages) = (Vec::new(), Packages::default());
        for (number, (suite, bytes)) in opened.into_iter().enumerate() {
            suite.read_index(&bytes, &mut packages, number)?;
            suites.push(suite);
        }
        Ok((suites, packages))
    };
    tokio::task::spawn_blocking(read).await.map_err(DebianError::Worker)?
}

impl Distribution {
    /// Returns the archives as they are now: the number of one is that of its packages'.
    pub(super) fn archives(&self) -> Vec<ArchiveSnapshot> {
        let archive = |(suite, name): (&Suite, &str)| ArchiveSnapshot {
            name: name.to_owned(),
            moment: suite.release.date,
            key: suite.key.clone(),
        };
        self.suites.iter().zip([mirror::MAIN, mirror::SECURITY]).map(archive).collect()
    }

    /// Returns the mirrors that have it.
    pub(super) fn mirrors(&self) -> Mirrors {
        let (main, security) = (self.suites[0].mirror.clone(), self.suites.iter().skip(1));
        Mirrors::new(main, security.map(|suite| suite.mirror.clone()).collect())
    }

    /// Downloads the chosen packages of `what` and has `work` go through them meanwhile, as [`download::all`] does.
    ///
    /// # Errors
    /// When a package cannot be fetched, or is not the one that the signed list names; and whatever `work` says.
    pub(super) async fn fetch<T: Send + 'static>(
        &self,
        debs: &Path,
        chosen: &[&Package],
        what: &str,
        reporter: &Arc<dyn Reporter>,
        work: impl FnOnce(&mut dyn Iterator<Item = PathBuf>) -> Result<T, DebianError> + Send + 'static,
    ) -> Result<T, DebianError> {
        let wanted = |package: &&Package| {
            let digest = package.digest.ok_or_else(|| {
                DebianError::Resolve(format!("the index has no digest of the package `{}`", package.name))
            })?;
            let urls = vec![self.suites[package.archive].mirror.join(&package.filename)?];
            Ok(Wanted { urls, size: package.size, digest })
        };
        let wanted = chosen.iter().map(wanted).collect::<Result<Vec<_>, DebianError>>()?;
        download::all(&self.http, debs, wanted, what, reporter, work).await
    }
}

#[cfg(test)]
#[path = "distribution_tests.rs"]
mod tests;
