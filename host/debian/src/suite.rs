//! Fetches and verifies an archive's indexes: nothing of a mirror is believed that the archive's keys did not sign.

use std::io::BufReader;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use pib_event::{Reporter, ReporterExt};
use pib_net::Http;
use pib_plan::id::Digest;

use super::decompress::{self, Format};
use super::error::DebianError;
use super::list_cache::{ListCache, MAX_RELEASE};
use super::mirror::Mirror;
use super::package_list::Packages;
use super::release::{DatePolicy, Index, Release};
use super::signer::Signer;
use pib_plan::package_archive::PackageArchive;

/// The largest compressed index; today's have 10 MB.
const MAX_INDEX: u64 = 128 << 20;
/// The most that an index may unpack to; today's have 56 MB.
const MAX_INDEX_UNPACKED: u64 = 1 << 30;

/// The forms of a list of packages, the smallest first, by the end of its name.
const FORMS: [&str; 3] = [".xz", ".gz", ""];

/// A suite of a mirror whose release file was verified.
#[derive(Debug)]
pub(super) struct Suite {
    /// Where it is.
    pub mirror: Mirror,
    /// Its name there, e.g. `trixie-security`.
    pub name: String,
    /// What it says of itself.
    pub release: Release,
    /// The fingerprint of the key that signed that.
    pub key: String,
    /// The archive that it is of.
    pub archive: PackageArchive,
    /// The archive's keys, as a lock has them; `None` for Debian's own.
    pub keyring: Option<String>,
}

/// What fetching and verifying needs.
pub(super) struct Context<'a> {
    /// The HTTP client.
    pub http: &'a Http,
    /// What is done about dates.
    pub dates: DatePolicy,
    /// When what archives say must hold.
    pub now: SystemTime,
    /// Receives warnings.
    pub reporter: &'a Arc<dyn Reporter>,
    /// Keeps release files, where they are worth keeping.
    pub lists: Option<&'a ListCache>,
}

/// What is done with the lists of packages that a release names.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lists<'a> {
    /// Those of the archive's components are fetched, for an architecture.
    Fetched(&'a str),
    /// Those of all components are looked for, for several architectures. Nothing is fetched: the caller wants to know whether
    /// they fit.
    LookedFor(&'a [&'static str]),
}

impl Suite {
    /// Fetches and verifies the release file at `dists/<name>` of an archive's mirror.
    ///
    /// The release must be the archive's suite, by its code name or its suite's name.
    ///
    /// # Errors
    /// When a file cannot be fetched, is not signed or digested as it must be, or is not what was asked for.
    pub(super) async fn open(
        context: &Context<'_>,
        (archive, signer): (&PackageArchive, &Signer),
        mirror: &Mirror,
        name: &str,
    ) -> Result<Self, DebianError> {
        let url = mirror.join(&format!("dists/{name}/InRelease"))?;
        let bytes = match context.lists {
            Some(lists) => lists.file(&url).await?,
            None => context.http.bytes(&url, MAX_RELEASE).await?,
        };
        let signature = |reason: String| DebianError::Signature {
            url: url.to_string(),
            reason,
            origin: mirror.origin.clone(),
        };
        let text = String::from_utf8(bytes).map_err(|_| signature("it is not text".to_owned()))?;
        // Who signed it is judged today, and what it says by the moment that is asked for.
        let (text, key) = signer.keyring.verify(&text, SystemTime::now()).map_err(signature)?;
        let seconds = context.now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let index = |reason| DebianError::Index { url: url.to_string(), reason };
        let release = Release::parse(&text).map_err(index)?;
        for warning in release.check(&archive.suite, seconds, context.dates).map_err(index)? {
            context.reporter.warn(format!("{url}: {warning}"));
        }
        Ok(Self {
            mirror: mirror.clone(),
            name: name.to_owned(),
            release,
            key,
            archive: archive.clone(),
            keyring: signer.text.clone(),
        })
    }

    /// Returns the other name under which the mirror has the same release: `stable` for `trixie`.
    pub(super) fn alias(&self) -> Option<&str> {
        let names = [self.release.suite.as_str(), self.release.codename.as_str()];
        names.into_iter().find(|name| !name.is_empty() && *name != self.name)
    }

    /// Returns what the release file says of the lists of packages for an architecture, one for each component, with their
    /// paths below the suite's folder.
    ///
    /// # Errors
    /// The path of a list that it does not name.
    pub(super) fn indexes(&self, architecture: &str) -> Result<Vec<(String, Index)>, String> {
        let of_component = |component: &String| {
            let missing = || format!("{component}/binary-{architecture}/Packages{}", FORMS[0]);
            self.index_of(component, architecture).ok_or_else(missing)
        };
        self.archive.components.iter().map(of_component).collect()
    }

    /// Returns what the release file says of a component's list of packages, with the path of it.
    fn index_of(&self, component: &str, architecture: &str) -> Option<(String, Index)> {
        let path = |ending: &str| format!("{component}/binary-{architecture}/Packages{ending}");
        FORMS.iter().find_map(|ending| Some((path(ending), self.release.index(&path(ending))?)))
    }

    /// Returns the lists of packages, verified, where they are to be fetched.
    ///
    /// # Errors
    /// When one is missing or is not the one that the release names.
    pub(super) async fn lists(
        &self,
        context: &Context<'_>,
        wanted: Lists<'_>,
    ) -> Result<Vec<Vec<u8>>, DebianError> {
        let architectures = match wanted {
            Lists::Fetched(architecture) => return self.fetch_indexes(context, architecture).await,
            Lists::LookedFor(architectures) => architectures,
        };
        for architecture in architectures {
            for component in self.release.components(architecture) {
                let Some((path, index)) = self.index_of(&component, architecture) else { continue };
                if !self.has_by_hash(context, &path, &index).await? {
                    self.fetch_index(context, &path, &index).await?;
                }
            }
        }
        Ok(Vec::new())
    }

    /// Returns whether the mirror has a list by its digest, without fetching it.
    async fn has_by_hash(
        &self,
        context: &Context<'_>,
        path: &str,
        index: &Index,
    ) -> Result<bool, DebianError> {
        let url = self.mirror.join(&self.by_hash(path, index))?;
        let asked = self.release.by_hash.then(|| context.http.client().head(url).send());
        // Where the question is not answered, what fetches the list says why.
        Ok(match asked {
            Some(asked) => asked.await.is_ok_and(|answer| answer.status().is_success()),
            None => false,
        })
    }

    /// Returns where a list is by its digest, below the mirror.
    fn by_hash(&self, path: &str, index: &Index) -> String {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("dists/{}/{folder}/by-hash/SHA256/{}", self.name, index.digest.hex())
    }

    /// Fetches and verifies the lists of packages for an architecture, which may be compressed.
    async fn fetch_indexes(
        &self,
        context: &Context<'_>,
        architecture: &str,
    ) -> Result<Vec<Vec<u8>>, DebianError> {
        let indexes = self.indexes(architecture).map_err(|path| DebianError::Index {
            url: format!("{}/dists/{}/{path}", self.mirror.url.as_str().trim_end_matches('/'), self.name),
            reason: "the signed release file does not list it; the archive may not have this architecture or component"
                .to_owned(),
        })?;
        let mut lists = Vec::new();
        for (path, index) in &indexes {
            lists.push(self.fetch_index(context, path, index).await?);
        }
        Ok(lists)
    }

    async fn fetch_index(
        &self,
        context: &Context<'_>,
        path: &str,
        index: &Index,
    ) -> Result<Vec<u8>, DebianError> {
        let url = self.mirror.join(&format!("dists/{}/{path}", self.name))?;
        if context.lists.is_some_and(ListCache::is_offline) {
            return Err(DebianError::Offline { url: url.to_string() });
        }
        let updating = |reason: String| DebianError::Updating { mirror: self.mirror.url.to_string(), reason };
        if self.release.by_hash {
            match context.http.bytes(&self.mirror.join(&self.by_hash(path, index))?, MAX_INDEX).await {
                Ok(bytes) if Digest::of(&bytes) == index.digest => return Ok(bytes),
                // A mirror may leave these second names of its files out, or lag behind with them.
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        match context.http.bytes(&url, MAX_INDEX).await {
            Ok(bytes) if Digest::of(&bytes) == index.digest => Ok(bytes),
            Ok(bytes) => Err(updating(format!(
                "its list of packages {url} has {} bytes and is not the file of {} bytes that its signed release file lists",
                bytes.len(),
                index.size
            ))),
            Err(error) if error.is_not_found() => {
                Err(updating(format!("its signed release file lists {url}, which it does not have")))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a list of packages, which must have been verified, into `packages`. This blocks.
    ///
    /// # Errors
    /// When the list is malformed.
    pub(super) fn read_index(
        &self,
        bytes: &[u8],
        packages: &mut Packages,
        number: usize,
    ) -> Result<(), DebianError> {
        let mut read = || {
            let stream = decompress::decoder(Format::of(bytes), bytes)?;
            packages.add(
                BufReader::with_capacity(1 << 16, decompress::bounded(stream, MAX_INDEX_UNPACKED)),
                number,
            )
        };
        let url = format!("{}/dists/{}", self.mirror.url, self.name);
        read().map_err(|error| DebianError::Index { url, reason: format!("its list of packages: {error}") })
    }
}
