//! A repository of an OCI registry, by the OCI distribution specification 1.1: blobs by their digests, and manifests by tags.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use pib_plan::id::Digest;
use reqwest::header::{CONTENT_LENGTH, HeaderValue, LOCATION};
use reqwest::{Method, Request, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use url::Url;

use crate::error::ObjectError;
use crate::oci_host::{OciConnection, OciHost, Resource, Scope, with_body};

/// Larger files are sent in pieces of this size: each has the time of an answer.
const CHUNK: u64 = 4 << 20;
pub(crate) const FILE: &str = "application/octet-stream";
/// What a manifest without a config names as that.
pub(crate) const NOTHING: &[u8] = b"{}";

/// A repository, and what lets the user in there.
pub struct Repository {
    pub(crate) name: String,
    pub(crate) connection: OciConnection,
}

impl Repository {
    /// Returns a repository. Nothing is asked of its registry yet.
    pub(crate) fn new(host: Arc<OciHost>, name: &str) -> Self {
        let resource = Resource::Repository(name.to_owned());
        Self { name: name.to_owned(), connection: OciConnection::new(host, resource) }
    }

    /// Writes a blob, no more than `size` bytes, into `file` and returns its digest; `None` where there is none.
    ///
    /// # Errors
    /// When the registry cannot be asked, the blob is larger, or the file cannot be written.
    pub(crate) async fn download(
        &self,
        digest: &Digest,
        size: u64,
        file: &mut (dyn Write + Send),
    ) -> Result<Option<Digest>, ObjectError> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let found = self.send(Scope::Pull, &|| Request::new(Method::GET, url.clone())).await?;
        let found = match found.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            StatusCode::OK => found,
            _ => return Err(self.connection.refused(found, "reading a file").await),
        };
        let mut hasher = Sha256::new();
        let sink = &mut |chunk: &[u8]| {
            hasher.update(chunk);
            file.write_all(chunk)
        };
        self.connection.pour(found, size, sink).await?;
        Ok(Some(Digest::from_bytes(hasher.finalize().into())))
    }

    /// Returns the size of a blob; `None` where there is none.
    ///
    /// # Errors
    /// When the registry cannot be asked.
    pub(crate) async fn size(&self, digest: &Digest) -> Result<Option<u64>, ObjectError> {
        let url = self.url(&format!("blobs/{digest}"))?;
        let found = self.send(Scope::Push, &|| Request::new(Method::HEAD, url.clone())).await?;
        match found.status() {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::OK => {
                let length = found.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
                Ok(length.and_then(|length| length.parse().ok()))
            }
            _ => Err(self.connection.refused(found, "asking for a file").await),
        }
    }

    /// Puts a file of this size into the repository. The registry compares it with its digest.
    ///
    /// # Errors
    /// When the file cannot be read, or the registry does not take it.
    pub(crate) async fn upload(&self, digest: &Digest, from: &Path, size: u64) -> Result<(), ObjectError> {
        let file = pib_file::open(from).map_err(ObjectError::Here)?;
        self.upload_from(digest, tokio::fs::File::from_std(file).take(size), size).await
    }

    /// Puts what is read into the repository, as [`upload`](Self::upload) does.
    pub(crate) async fn upload_from(
        &self,
        digest: &Digest,
        mut from: impl AsyncRead + Unpin,
        size: u64,
    ) -> Result<(), ObjectError> {
        let mut sent = 0;
        let mut location = self.begin_upload().await?;
        loop {
            let mut chunk = Vec::new();
            (&mut from).take(CHUNK).read_to_end(&mut chunk).await.map_err(ObjectError::Here)?;
            let length = chunk.len() as u64;
            if sent + length >= size || chunk.is_empty() {
                return self.finish_upload(location, digest, chunk, (sent > 0).then_some(sent)).await;
            }
            let patch = || {
                let mut request = Request::new(Method::PATCH, location.clone());
                with_body(&mut request, FILE, &chunk, Some((sent, length)));
                request
            };
            let answer = self.send(Scope::Push, &patch).await?;
            if answer.status() != StatusCode::ACCEPTED {
                return Err(self.connection.refused(answer, "sending a file").await);
            }
            location = self.location(&answer)?;
            sent += length;
        }
    }

    async fn begin_upload(&self) -> Result<Url, ObjectError> {
        let url = self.url("blobs/uploads/")?;
        let begin = || {
            let mut request = Request::new(Method::POST, url.clone());
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            request
        };
        let begun = self.send(Scope::Push, &begin).await?;
        match begun.status() {
            StatusCode::ACCEPTED => self.location(&begun),
            _ => Err(self.connection.refused(begun, "sending a file").await),
        }
    }

    async fn finish_upload(
        &self,
        mut location: Url,
        digest: &Digest,
        rest: Vec<u8>,
        sent: Option<u64>,
    ) -> Result<(), ObjectError> {
        location.query_pairs_mut().append_pair("digest", &digest.to_string());
        let put = || {
            let mut request = Request::new(Method::PUT, location.clone());
            let range = sent.filter(|_| !rest.is_empty()).map(|sent| (sent, rest.len() as u64));
            with_body(&mut request, FILE, &rest, range);
            request
        };
        let done = self.send(Scope::Push, &put).await?;
        match done.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::OK => Ok(()),
            _ => Err(self.connection.refused(done, "sending a file").await),
        }
    }

    /// Puts what manifests without a config name as that into the repository; returns its digest.
    pub(crate) async fn put_nothing(&self) -> Result<Digest, ObjectError> {
        let config = Digest::of(NOTHING);
        if self.size(&config).await?.is_none() {
            let location = self.begin_upload().await?;
            self.finish_upload(location, &config, NOTHING.to_vec(), None).await?;
        }
        Ok(config)
    }

    /// Puts bytes into the repository, where it does not have them yet, and what a manifest beside them names as its config.
    ///
    /// # Errors
    /// When the registry does not take them.
    pub async fn put_blob(&self, bytes: &[u8]) -> Result<(), ObjectError> {
        self.put_nothing().await?;
        let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
        match self.size(&digest).await? {
            Some(there) if there == size => Ok(()),
            _ => self.upload_from(&digest, bytes, size).await,
        }
    }

    /// Returns a blob, which has no more than `size` bytes; `None` where there is none. The caller compares its digest.
    ///
    /// # Errors
    /// When the registry cannot be asked, or the blob is larger.
    pub async fn blob(&self, digest: &Digest, size: u64) -> Result<Option<Vec<u8>>, ObjectError> {
        let mut bytes = Vec::new();
        Ok(self.download(digest, size, &mut bytes).await?.map(|_| bytes))
    }

    pub(crate) async fn send(
        &self,
        scope: Scope,
        make: &(dyn Fn() -> Request + Sync),
    ) -> Result<Response, ObjectError> {
        self.connection.send(scope, make).await
    }

    pub(crate) fn url(&self, rest: &str) -> Result<Url, ObjectError> {
        self.connection.url(&format!("{}/{rest}", self.name))
    }

    /// Returns where the registry wants the next piece of a file.
    fn location(&self, answer: &Response) -> Result<Url, ObjectError> {
        let host = &self.connection.host;
        let bad =
            |why: &str| ObjectError::Server(format!("{} names a place for a file that {why}", host.name));
        let text = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let mut url = answer.url().join(text.ok_or_else(|| bad("is none"))?).map_err(|_| bad("is none"))?;
        if host.base.scheme() == "https" && url.scheme() == "http" && url.host_str() == host.base.host_str() {
            // One behind a proxy may not know that it is protected.
            _ = url.set_scheme("https");
        }
        match url.scheme() {
            "https" => Ok(url),
            "http" if host.base.scheme() == "http" => Ok(url),
            _ => Err(bad("is not protected")),
        }
    }
}
