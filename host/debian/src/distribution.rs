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
use super::list_cache::ListCache;
use super::mirror::{MirroredArchive, Mirrors};
use super::package_list::{Package, Packages};
use super::release::DatePolicy;
use super::signer::Signer;
use super::suite::{Context, Lists, Suite};
use super::suite_name::{Opened, open_suite};
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

/// A release for one architecture, verified, and what fetching its packages needs.
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
        architecture: &str,
        mirrors: &Mirrors,
        dates: DatePolicy,
        lists: Option<&ListCache>,
        reporter: &Arc<dyn Reporter>,
    ) -> Result<(Self, Packages), DebianError> {
        let http = Http::new()?;
        let context = Context { http: &http, dates, now: mirrors.now(), reporter, lists };
        for (archive, mirror) in
            mirrors.archives.iter().filter_map(|own| Some((&own.archive, own.mirrors.first()?)))
        {
            if !archive.is_security() {
                let suite = &archive.suite;
                reporter.detail(STEP, format!("checking {suite} on {} ({})", mirror.url, mirror.origin));
            }
        }
        let opened = open(&context, architecture, &signed(&context, mirrors).await?).await;
        let (suites, packages) = opened.map_err(|error| in_the_past(error, mirrors))?;
        let epoch = suites.first().map_or(0, |suite| suite.release.date);
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
        let http = lists.http().clone();
        let context = Context { http: &http, dates, now: mirrors.now(), reporter, lists: Some(lists) };
        let found = find_suites(&context, &signed(&context, mirrors).await?).await?;
        let Some(suites) = found else { return Ok(None) };
        let known = digests(recipe, &suites).and_then(|digests| lists.packages(recipe, &digests));
        let Some(packages) = known else { return Ok(None) };
        let epoch = suites.first().map_or(0, |suite| suite.release.date);
        Ok(Some((Self { http, suites, epoch }, packages)))
    }

    /// Keeps what was chosen for a recipe of the release's lists.
    pub(super) fn keep(&self, recipe: &Bootstrap, lists: &ListCache, packages: &[SnapshotPackage]) {
        if let Some(digests) = digests(recipe, &self.suites) {
            lists.keep_packages(recipe, &digests, packages);
        }
    }
}

/// Returns the error of archives that are asked as of a moment: that they do not have a release then is no fault of a mirror.
fn in_the_past(error: DebianError, mirrors: &Mirrors) -> DebianError {
    match (mirrors.as_of, error) {
        (Some(moment), DebianError::NoRelease { mirror, release, source, .. }) => {
            let reason = format!("there was no release `{release}` then ({source})");
            DebianError::NotInThePast { moment, place: mirror, reason }
        }
        (_, error) => error,
    }
}

/// An archive, where it may be, and who may sign it.
type Signed = (MirroredArchive, Signer);

async fn signed(context: &Context<'_>, mirrors: &Mirrors) -> Result<Vec<Signed>, DebianError> {
    let mut archives = Vec::new();
    for own in &mirrors.archives {
        let signer = Signer::of(&own.archive, context.http, context.lists).await?;
        archives.push((own.clone(), signer));
    }
    Ok(archives)
}

/// Finds a release on the mirrors without its lists of packages, where all of its suites are there.
///
/// # Errors
/// When a mirror cannot be asked, or what it has is not trustworthy.
async fn find_suites(context: &Context<'_>, archives: &[Signed]) -> Result<Option<Vec<Suite>>, DebianError> {
    let mut suites = Vec::new();
    for (own, signer) in archives {
        if own.archive.is_security() && !suites.first().is_some_and(has_security) {
            continue;
        }
        match find_suite(context, own, signer).await? {
            Some(suite) => suites.push(suite),
            None => return Ok(None),
        }
    }
    Ok(Some(suites))
}

async fn find_suite(
    context: &Context<'_>,
    own: &MirroredArchive,
    signer: &Signer,
) -> Result<Option<Suite>, DebianError> {
    let may_be_missing = own.archive.is_security();
    for mirror in &own.mirrors {
        match Suite::open(context, (&own.archive, signer), mirror, &own.archive.suite).await {
            Ok(suite) => return Ok(Some(suite)),
            // The mirror does not have the release. The function that needs its lists reports that.
            Err(DebianError::Net(error)) if error.is_not_found() => {}
            // Of one that did not have it, nothing is kept.
            Err(DebianError::Offline { .. }) if may_be_missing => {}
            Err(_) if may_be_missing => break,
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Returns the digests of the lists of packages that a recipe's are chosen of.
fn digests(recipe: &Bootstrap, suites: &[Suite]) -> Option<Vec<Digest>> {
    let architecture = recipe.package_arch()?;
    let lists = suites.iter().map(|suite| suite.indexes(architecture).ok());
    let lists: Vec<_> = lists.collect::<Option<Vec<_>>>()?.concat();
    Some(lists.into_iter().map(|(_, index)| index.digest).collect())
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
    architecture: &str,
    archives: &[Signed],
) -> Result<(Vec<Suite>, Packages), DebianError> {
    read_indexes(open_suites(context, architecture, archives).await?).await
}

/// Opens the release and, where there are any, its further archives.
async fn open_suites(
    context: &Context<'_>,
    architecture: &str,
    archives: &[Signed],
) -> Result<Vec<Opened>, DebianError> {
    let mut suites: Vec<Opened> = Vec::new();
    for (own, signer) in archives {
        if own.archive.is_security() && !suites.first().is_some_and(|first| has_security(&first.0)) {
            continue;
        }
        match open_archive(context, architecture, own, signer).await? {
            Some(opened) => suites.push(opened),
            None => {
                let suite = &own.archive.suite;
                context.reporter.warn(format!("no mirror has security updates ({suite}); the base has none"));
            }
        }
    }
    Ok(suites)
}

/// Opens an archive's suite on the first mirror that has it. Where none has, that is an error unless it may be missing.
async fn open_archive(
    context: &Context<'_>,
    architecture: &str,
    own: &MirroredArchive,
    signer: &Signer,
) -> Result<Option<Opened>, DebianError> {
    let mut problem = None;
    for mirror in &own.mirrors {
        match open_suite(context, mirror, (&own.archive, signer), Lists::Fetched(architecture)).await {
            Ok(opened) => return Ok(Some(opened)),
            Err(DebianError::Net(source)) if source.is_not_found() => {
                if !own.archive.is_security() {
                    problem = problem.or(Some(DebianError::NoRelease {
                        mirror: mirror.url.to_string(),
                        origin: mirror.origin.clone(),
                        release: own.archive.suite.clone(),
                        source,
                    }));
                }
            }
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    problem.map_or(Ok(None), Err)
}

/// Reads the lists of packages; the number of a suite in the list is that of its packages' archive.
async fn read_indexes(opened: Vec<Opened>) -> Result<(Vec<Suite>, Packages), DebianError> {
    let read = move || {
        let (mut suites, mut packages) = (Vec::new(), Packages::default());
        for (number, (suite, lists)) in opened.into_iter().enumerate() {
            for bytes in lists {
                suite.read_index(&bytes, &mut packages, number)?;
            }
            suites.push(suite);
        }
        Ok((suites, packages))
    };
    tokio::task::spawn_blocking(read).await.map_err(DebianError::Worker)?
}

impl Distribution {
    /// Returns the archives as they are now: the number of one is that of its packages'.
    pub(super) fn archives(&self) -> Vec<ArchiveSnapshot> {
        let archive = |suite: &Suite| ArchiveSnapshot {
            name: suite.archive.name.clone(),
            moment: suite.release.date,
            key: suite.key.clone(),
            keyring: suite.keyring.clone(),
        };
        self.suites.iter().map(archive).collect()
    }

    /// Returns the mirrors that have it.
    pub(super) fn mirrors(&self) -> Mirrors {
        let mirrored = |suite: &Suite| MirroredArchive {
            archive: suite.archive.clone(),
            mirrors: vec![suite.mirror.clone()],
        };
        Mirrors::new(self.suites.iter().map(mirrored).collect())
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
