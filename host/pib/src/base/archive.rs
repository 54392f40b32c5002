//! Fetches and verifies an archive's indexes: nothing of a mirror is believed that Debian did not sign.

use std::io::BufReader;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::event::{Reporter, ReporterExt};
use crate::net::Http;
use pib_plan::id::Digest;

use super::compress::{self, Format};
use super::error::BaseError;
use super::keyring::Keyring;
use super::mirror::Mirror;
use super::packages::Packages;
use super::release::{DatePolicy, Release};

/// The largest release file that is read; today's have 200 KB.
const MAX_RELEASE: u64 = 8 << 20;
/// The largest compressed index; today's have 10 MB.
const MAX_INDEX: u64 = 128 << 20;
/// The most that an index may unpack to; today's have 56 MB.
const MAX_INDEX_UNPACKED: u64 = 1 << 30;

/// A suite of a mirror whose release file was verified.
#[derive(Debug)]
pub(super) struct Suite {
    /// Where it is.
    pub mirror: Mirror,
    /// Its name there, e.g. `trixie-security`.
    pub name: String,
    /// What it says of itself.
    pub release: Release,
}

/// What fetching and verifying needs.
pub(super) struct Context<'a> {
    /// The HTTP client.
    pub http: &'a Http,
    /// Who may sign.
    pub keyring: &'a Keyring,
    /// What is done about dates.
    pub dates: DatePolicy,
    /// Receives warnings.
    pub reporter: &'a Arc<dyn Reporter>,
}

impl Suite {
    /// Fetches the release file of `name` and verifies it.
    ///
    /// # Errors
    /// When it cannot be fetched, is not signed as it must be, or is not the one that was asked for.
    pub(super) async fn open(context: &Context<'_>, mirror: &Mirror, name: &str) -> Result<Self, BaseError> {
        let url = mirror.join(&format!("dists/{name}/InRelease"))?;
        let bytes = context.http.bytes(&url, MAX_RELEASE).await?;
        let now = SystemTime::now();
        let signature = |reason: String| BaseError::Signature {
            url: url.to_string(),
            reason,
            origin: mirror.origin.clone(),
        };
        let text = String::from_utf8(bytes).map_err(|_| signature("it is not text".to_owned()))?;
        let text = context.keyring.verify(&text, now).map_err(signature)?;
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let checked = Release::parse(&text).and_then(|release| {
            release.check(name, seconds, context.dates).map(|warnings| (release, warnings))
        });
        let (release, warnings) =
            checked.map_err(|reason| BaseError::Index { url: url.to_string(), reason })?;
        for warning in warnings {
            context.reporter.warn(format!("{url}: {warning}"));
        }
        Ok(Self { mirror: mirror.clone(), name: name.to_owned(), release })
    }

    /// Fetches the list of packages for an architecture and adds them to `packages` as the archive `number`.
    ///
    /// # Errors
    /// When the index is missing, damaged or malformed.
    pub(super) async fn add_packages(
        &self,
        context: &Context<'_>,
        architecture: &str,
        mut packages: Packages,
        number: usize,
    ) -> Result<Packages, BaseError> {
        let path = format!("main/binary-{architecture}/Packages.xz");
        let folder = format!("dists/{}", self.name);
        let url = self.mirror.join(&format!("{folder}/{path}"))?;
        let index = self.release.index(&path).ok_or_else(|| BaseError::Index {
            url: url.to_string(),
            reason:
                "the signed release file does not list it; the release may not exist for this architecture"
                    .to_owned(),
        })?;
        let by_hash = format!("{folder}/main/binary-{architecture}/by-hash/SHA256/{}", index.digest.hex());
        let fetch_url = if self.release.by_hash { self.mirror.join(&by_hash)? } else { url.clone() };
        let bytes = match context.http.bytes(&fetch_url, index.size.min(MAX_INDEX)).await {
            Err(error) if error.is_not_found() && fetch_url != url => {
                // A partial mirror may leave the second names of its files out.
                context.http.bytes(&url, index.size.min(MAX_INDEX)).await?
            }
            other => other?,
        };
        let parse = move || {
            let found = Digest::of(&bytes);
            if found != index.digest {
                return Err(BaseError::Mismatch { url: url.to_string(), expected: index.digest, found });
            }
            let read = || {
                let stream = compress::decoder(Format::Xz, &bytes[..])?;
                let stream = BufReader::with_capacity(1 << 16, compress::bounded(stream, MAX_INDEX_UNPACKED));
                packages.add(stream, number)?;
                Ok::<_, std::io::Error>(packages)
            };
            read().map_err(|error| BaseError::Index { url: url.to_string(), reason: error.to_string() })
        };
        tokio::task::spawn_blocking(parse).await.map_err(BaseError::Worker)?
    }
}
