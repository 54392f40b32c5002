//! A repository's tags, and the manifests that they name.

use pib_plan::id::Digest;
use reqwest::header::{ACCEPT, HeaderValue, IF_NONE_MATCH, LINK};
use reqwest::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::error::{ObjectError, plain};
use crate::oci::Repository;
use crate::oci_host::{OciConnection, Scope, with_body};

/// The kind of a manifest.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// How many entries of a list are asked for at a time, and the longest such list, in bytes.
const PAGE: usize = 1000;
const MAX_PAGE: u64 = 4 << 20;
/// The largest manifest that is read, in bytes: what registries take.
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;
/// The kinds of manifests that are asked for: those that are of no use here are told by what they are.
const KINDS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
                     application/vnd.docker.distribution.manifest.v2+json, \
                     application/vnd.docker.distribution.manifest.list.v2+json";
const DIGEST: &str = "docker-content-digest";

/// What a repository has under a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundManifest {
    /// Nothing.
    Nothing,
    /// What is known already.
    Unchanged,
    /// These bytes.
    Manifest(Vec<u8>),
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

impl Repository {
    /// Returns all tags; `None` where there is no such repository.
    ///
    /// # Errors
    /// When the registry cannot be asked, or there are more than `limit`.
    pub async fn tags(&self, limit: usize) -> Result<Option<Vec<String>>, ObjectError> {
        let first = self.url(&format!("tags/list?n={PAGE}"))?;
        let read = |bytes: &[u8]| Some(serde_json::from_slice::<Tags>(bytes).ok()?.tags.unwrap_or_default());
        pages(&self.connection, first, "listing the tags", limit, &read).await
    }

    /// Returns the manifest of a tag; where it is still the `known` one, it is not sent again.
    ///
    /// # Errors
    /// When the registry cannot be asked, the manifest is too large, or is not the one that the registry says it is.
    pub async fn manifest(&self, tag: &str, known: Option<&Digest>) -> Result<FoundManifest, ObjectError> {
        let url = self.url(&format!("manifests/{tag}"))?;
        let make = || {
            let mut request = Request::new(Method::GET, url.clone());
            request.headers_mut().insert(ACCEPT, HeaderValue::from_static(KINDS));
            let known = known.and_then(|digest| HeaderValue::from_str(&format!("\"{digest}\"")).ok());
            request.headers_mut().extend(known.map(|value| (IF_NONE_MATCH, value)));
            request
        };
        let found = self.send(Scope::Pull, &make).await?;
        match found.status() {
            StatusCode::NOT_FOUND => return Ok(FoundManifest::Nothing),
            StatusCode::NOT_MODIFIED if known.is_some() => return Ok(FoundManifest::Unchanged),
            StatusCode::OK => {}
            _ => return Err(self.connection.refused(found, "reading a manifest").await),
        }
        let promised = digest_of(&found);
        let bytes = self.connection.body(found, MAX_MANIFEST).await?;
        let sent = Digest::of(&bytes);
        match promised {
            Some(promised) if promised != sent => Err(ObjectError::Server(format!(
                "the registry says that the manifest of `{tag}` has the digest {promised}, and sent one with {sent}"
            ))),
            _ => Ok(FoundManifest::Manifest(bytes)),
        }
    }

    /// Puts a manifest under a tag, in the place of what is there.
    ///
    /// # Errors
    /// When the registry does not take it, or says that it has taken another one.
    pub async fn put_manifest(&self, tag: &str, text: &[u8]) -> Result<(), ObjectError> {
        let url = self.url(&format!("manifests/{tag}"))?;
        let put = || {
            let mut request = Request::new(Method::PUT, url.clone());
            with_body(&mut request, MANIFEST, text, None);
            request
        };
        let done = self.send(Scope::Push, &put).await?;
        if done.status() != StatusCode::CREATED {
            return Err(self.connection.refused(done, "writing a manifest").await);
        }
        match digest_of(&done) {
            Some(taken) if taken != Digest::of(text) => Err(ObjectError::Server(format!(
                "the registry has taken another manifest for `{tag}` than it was sent: {taken}"
            ))),
            _ => Ok(()),
        }
    }
}

/// Returns all entries of a list that comes in pages; `None` where there is no such list.
pub(crate) async fn pages(
    connection: &OciConnection,
    first: Url,
    doing: &str,
    limit: usize,
    read: &(dyn Fn(&[u8]) -> Option<Vec<String>> + Sync),
) -> Result<Option<Vec<String>>, ObjectError> {
    let fail = |why: String| ObjectError::Server(format!("{doing} failed: {why}"));
    let (mut all, mut next) = (Vec::new(), Some(first.clone()));
    let mut count = 0;
    while let Some(url) = next {
        let page = connection.send(Scope::Pull, &|| Request::new(Method::GET, url.clone())).await?;
        match page.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED if all.is_empty() => return Ok(None),
            _ => return Err(connection.refused(page, doing).await),
        }
        next = next_page(&page, &first).map_err(&fail)?;
        let bytes = connection.body(page, MAX_PAGE).await?;
        let found = read(&bytes).ok_or_else(|| fail("the answer is not a list".to_owned()))?;
        count += 1;
        // Pages without an end would have no entries.
        if all.len() + found.len() > limit || count > limit {
            return Err(fail(format!("there are more than {limit}")));
        }
        all.extend(found);
    }
    Ok(Some(all))
}

/// Returns where the rest of a list is (OCI distribution specification 1.1, "Listing Tags"): another part of the same list, at the
/// same server.
fn next_page(page: &Response, first: &Url) -> Result<Option<Url>, String> {
    let Some(link) = page.headers().get(LINK).and_then(|value| value.to_str().ok()) else { return Ok(None) };
    let target = link.strip_prefix('<').and_then(|rest| rest.split_once('>'));
    let Some((target, _)) = target.filter(|(_, rest)| rest.replace('"', "").contains("rel=next")) else {
        return Ok(None);
    };
    let url = first.join(target).ok().filter(|url| {
        (url.origin(), url.path()) == (first.origin(), first.path()) && url.query() != first.query()
    });
    url.map(Some).ok_or_else(|| format!("the registry says that `{}` is the rest of the list", plain(target)))
}

fn digest_of(answer: &Response) -> Option<Digest> {
    answer.headers().get(DIGEST)?.to_str().ok()?.parse().ok()
}
