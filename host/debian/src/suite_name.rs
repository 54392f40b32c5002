//! Under which of its names a mirror has a suite whose files fit each other.
//!
//! A mirror behind a cache, or one that is being updated, may have a new release file and an old list of packages. Under the
//! suite's other name (`stable` for `trixie`) they may fit. It is the same release, equally signed. Bases and what parts fetch
//! are given the same name, since only this module chooses one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use pib_event::{Reporter, ReporterExt as _};
use pib_net::Http;
use pib_plan::base::Bootstrap;
use pib_plan::id::Arch;
use pib_plan::package_archive::{KNOWN, PackageArchive};
use url::Url;

use super::error::DebianError;
use super::mirror::{HostApt, Mirror};
use super::release::DatePolicy;
use super::signer::Signer;
use super::suite::{Context, Lists, Suite};

/// A verified suite and its verified lists of packages, which may be compressed: none where they were only looked for.
pub(super) type Opened = (Suite, Vec<Vec<u8>>);

/// Opens a suite by its name or, where the files there do not fit each other, by its other name.
///
/// # Errors
/// When the mirror does not have the suite, or what it has under both names does not fit or is not trustworthy.
pub(super) async fn open_suite(
    context: &Context<'_>,
    mirror: &Mirror,
    archive: (&PackageArchive, &Signer),
    lists: Lists<'_>,
) -> Result<Opened, DebianError> {
    let suite = Suite::open(context, archive, mirror, &archive.0.suite).await?;
    let problem = match suite.lists(context, lists).await {
        Ok(bytes) => return Ok((suite, bytes)),
        Err(problem) => problem,
    };
    let Some(alias) = suite.alias() else { return Err(problem) };
    let Ok(other) = Suite::open(context, archive, mirror, alias).await else { return Err(problem) };
    match other.lists(context, lists).await {
        Ok(bytes) => {
            context.reporter.warn(format!("using the mirror's `{alias}` of the same release: {problem}"));
            Ok((other, bytes))
        }
        Err(_) => Err(problem),
    }
}

/// Tells those who read suites themselves, such as apt in a part, under which name a mirror has one whose files fit.
pub struct SuiteNames {
    http: Http,
    /// The archives, each with the address by which those who read it know it.
    archives: Vec<(String, PackageArchive)>,
    architectures: Vec<&'static str>,
    dates: DatePolicy,
    reporter: Arc<dyn Reporter>,
}

impl SuiteNames {
    /// Returns what knows Debian's archives, which readers know by the addresses `debian`, and those archives of a recipe that are
    /// not Debian's. Readers want packages for these processors, as Debian names them.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(
        debian: [&str; 2],
        recipe: Option<&Bootstrap>,
        archs: &[Arch],
        host: &HostApt,
        reporter: &Arc<dyn Reporter>,
    ) -> Result<Self, DebianError> {
        let own = recipe.and_then(Bootstrap::package_arch);
        let architectures: BTreeSet<_> = archs.iter().filter_map(|arch| arch.debian()).chain(own).collect();
        let own = |(url, name): (&str, &str)| {
            let (name, suite, components) = (name.to_owned(), String::new(), Vec::new());
            (url.to_owned(), PackageArchive { name, suite, components, origin: None })
        };
        let others = recipe.into_iter().flat_map(|recipe| &recipe.archives);
        let others =
            others.filter_map(|archive| Some((archive.origin.as_ref()?.url.clone(), archive.clone())));
        let archives = debian.into_iter().zip(KNOWN).map(own).chain(others);
        let archives =
            archives.map(|(url, archive)| (url.trim_end_matches('/').to_owned(), archive)).collect();
        let (dates, reporter) = (host.dates, Arc::clone(reporter));
        let architectures = architectures.into_iter().collect();
        Ok(Self { http: Http::impatient()?, archives, architectures, dates, reporter })
    }

    /// Returns the address of the release file to read in the place of the one at `place`, which readers know as `address`: where
    /// the lists of packages do not fit that one, and fit that of the suite's other name.
    ///
    /// `None` also where the mirror cannot be asked or not be trusted: the reader finds that out, and says it.
    pub async fn fitting(&self, address: &str, place: &str) -> Option<String> {
        let archive = self.archives.iter().find_map(|(url, archive)| {
            let suite = address.strip_prefix(url)?.strip_prefix("/dists/")?.strip_suffix("/InRelease")?;
            // Of Debian's archives any suite will do: pib knows the keys of all.
            let is_known = archive.origin.is_none() || archive.suite == suite;
            is_known.then(|| PackageArchive { suite: suite.to_owned(), ..archive.clone() })
        })?;
        let url = place.strip_suffix(&release_path(&archive.suite))?;
        let mirror = Mirror { url: Url::parse(url).ok()?, origin: "what a part fetches".to_owned() };
        let signer = Signer::of(&archive, &self.http, None).await.ok()?;
        let context = Context {
            http: &self.http,
            dates: self.dates,
            now: SystemTime::now(),
            reporter: &self.reporter,
            lists: None,
        };
        let lists = Lists::LookedFor(&self.architectures);
        let (suite, _) = open_suite(&context, &mirror, (&archive, &signer), lists).await.ok()?;
        (suite.name != archive.suite).then(|| format!("{url}{}", release_path(&suite.name)))
    }
}

/// Returns where a suite's release file is, below its archive.
fn release_path(suite: &str) -> String {
    format!("/dists/{suite}/InRelease")
}
