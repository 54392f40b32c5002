//! An S3-compatible bucket: objects by their names.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{HttpClient, HttpConnector};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ClientOptions, Error, GetOptions, GetResult, ObjectStore as _,
    ObjectStoreExt as _, PutMode, PutOptions, PutPayload, RetryConfig, UpdateVersion, WriteMultipart,
};
use pib_net::{Pace, TooSlow};
use pib_plan::credential::is_this_machine;
use pib_plan::id::Digest;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;
use tokio::sync::OnceCell;
use url::Url;

use crate::access::Access;
use crate::aws_files;
use crate::bucket_error::{code, meaning};
use crate::error::{ObjectError, innermost};

/// How often a request is made again that failed for a passing reason, and until when.
const RETRIES: usize = 2;
const RETRY_FOR: Duration = Duration::from_secs(60);
/// The longest search for the user's keys. The last place asked is the cloud's own service, which answers on a cloud's machines alone.
const LOGIN: Duration = Duration::from_secs(15);
/// Larger files are sent in parts of this size: each has a minute.
const PART: usize = 8 << 20;
/// How many parts are on their way at the same time.
const PARTS_AT_ONCE: usize = 2;
/// The largest object, by the number of its parts.
const MAX_OBJECT: u64 = 10_000 * PART as u64;
/// In windows of this length, fewer than `FLOOR` bytes a second are too few.
const WINDOW: Duration = Duration::from_secs(30);
const FLOOR: u64 = 1000;
/// The settings that are not taken from variables: pib knows the bucket, and decides about protection itself.
const OWN_SETTINGS: [&str; 3] = ["aws_bucket", "aws_bucket_name", "aws_allow_http"];

/// A bucket, of which pib uses what is below a prefix.
pub struct Bucket {
    name: String,
    prefix: String,
    server: AmazonS3,
    /// What is wrong with what should let the user in; it is found out once.
    login: OnceCell<Option<String>>,
}

/// The buckets that a run of the program uses, each connected to once. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Buckets {
    access: Access,
    known: Arc<Mutex<Known>>,
}

/// Buckets by their name and prefix.
type Known = BTreeMap<(String, String), Arc<Bucket>>;

impl Buckets {
    /// Returns no bucket yet; `access` lets the user in.
    pub fn new(access: Access) -> Self {
        Self { access, known: Arc::default() }
    }

    /// Returns a bucket, of which what is below a prefix is used.
    ///
    /// # Errors
    /// When what the user has set cannot be used.
    pub fn get(&self, name: &str, prefix: &str) -> Result<Arc<Bucket>, ObjectError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_owned(), prefix.to_owned());
        if let Some(found) = known.get(&key) {
            return Ok(Arc::clone(found));
        }
        let made = Arc::new(Bucket::new(name, prefix, &self.access)?);
        known.insert(key, Arc::clone(&made));
        Ok(made)
    }
}

/// What tells an object from what it is replaced by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVersion(UpdateVersion);

/// What a bucket has under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// What is known already.
    Unchanged,
    /// These bytes.
    Object(Vec<u8>, ObjectVersion),
}

/// What must be there, for an object to be written.
#[derive(Debug, Clone, Copy)]
pub enum Expected<'a> {
    /// Whatever is there is replaced.
    Anything,
    /// Nothing is there yet.
    Nothing,
    /// It is this version that is replaced.
    Version(&'a ObjectVersion),
}

/// Hands out the client that pib has made, with pib's bounds.
#[derive(Debug)]
struct Connector(reqwest::Client);

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.0.clone()))
    }
}

impl Bucket {
    /// Returns a bucket. Nothing is asked of its server yet.
    ///
    /// # Errors
    /// When what the user has set cannot be used.
    pub fn new(name: &str, prefix: &str, access: &Access) -> Result<Self, ObjectError> {
        let settings = aws_files::settings(access)?;
        let endpoint = settings.get("aws_endpoint_url_s3").or_else(|| settings.get("aws_endpoint_url"));
        let endpoint = endpoint.or_else(|| settings.get("aws_endpoint"));
        let allows_http = settings.get("aws_allow_http").is_some_and(|text| text == "true" || text == "1");
        let stays_here = match endpoint {
            Some(endpoint) => check_endpoint(endpoint, allows_http)?,
            None => false,
        };
        let client = pib_net::protocol_client(false, stays_here)
            .map_err(|error| ObjectError::Settings(error.to_string()))?;
        let mut builder =
            AmazonS3Builder::new().with_http_connector(Connector(client)).with_retry(RetryConfig {
                max_retries: RETRIES,
                retry_timeout: RETRY_FOR,
                ..RetryConfig::default()
            });
        for (key, value) in &settings {
            let known = key.parse::<AmazonS3ConfigKey>().ok();
            if let Some(known) = known.filter(|_| !OWN_SETTINGS.contains(&key.as_str())) {
                let is_address = key.starts_with("aws_endpoint");
                builder = builder.with_config(
                    known,
                    if is_address { value.trim_end_matches('/') } else { value.as_str() },
                );
            }
        }
        let server = builder.with_bucket_name(name).with_allow_http(allows_http || stays_here).build();
        let server = server.map_err(|error| {
            ObjectError::Settings(format!(
                "what the variables AWS_* say cannot be used: {}",
                innermost(&error)
            ))
        })?;
        // A bucket that everybody may read is asked by nobody in particular.
        let is_anonymous =
            settings.get("aws_skip_signature").is_some_and(|text| text == "true" || text == "1");
        let login = OnceCell::new_with(is_anonymous.then_some(None));
        Ok(Self { name: name.to_owned(), prefix: prefix.to_owned(), server, login })
    }

    /// Returns the object of a name below the prefix, no more than `limit` bytes; `None` where there is none.
    ///
    /// # Errors
    /// When the server cannot be asked, or the object is larger.
    pub async fn get(&self, name: &str, limit: u64) -> Result<Option<(Vec<u8>, ObjectVersion)>, ObjectError> {
        match self.changed(name, limit, None).await? {
            Found::Object(bytes, version) => Ok(Some((bytes, version))),
            Found::Nothing | Found::Unchanged => Ok(None),
        }
    }

    /// Returns the object of a name, no more than `limit` bytes, unless it is the one with the entity tag that is `known`.
    ///
    /// # Errors
    /// When the server cannot be asked, or the object is larger.
    pub async fn changed(&self, name: &str, limit: u64, known: Option<&str>) -> Result<Found, ObjectError> {
        let options = GetOptions { if_none_match: known.map(str::to_owned), ..GetOptions::default() };
        let found = match self.open(name, limit, options).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Found::Nothing),
            Err(Opening::Unchanged) => return Ok(Found::Unchanged),
            Err(Opening::Failed(error)) => return Err(error),
        };
        let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
        let mut bytes = Vec::new();
        self.pour(found, limit, &mut |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })
        .await?;
        Ok(Found::Object(bytes, ObjectVersion(version)))
    }

    /// Writes the object of a name, no more than `limit` bytes, into `file`, and returns its digest; `None` where there is none.
    ///
    /// # Errors
    /// When the server cannot be asked, the object is larger, or the file cannot be written.
    pub async fn download(
        &self,
        name: &str,
        limit: u64,
        file: &mut File,
    ) -> Result<Option<Digest>, ObjectError> {
        let opened = self.open(name, limit, GetOptions::default()).await;
        let opened = opened.map_err(|error| match error {
            Opening::Failed(error) => error,
            Opening::Unchanged => ObjectError::Server("the server has not sent the object".to_owned()),
        });
        let Some(found) = opened? else { return Ok(None) };
        let mut hasher = Sha256::new();
        self.pour(found, limit, &mut |chunk| {
            hasher.update(chunk);
            file.write_all(chunk)
        })
        .await?;
        Ok(Some(Digest::from_bytes(hasher.finalize().into())))
    }

    /// Returns the size of an object; `None` where there is none.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn size(&self, name: &str) -> Result<Option<u64>, ObjectError> {
        self.log_in().await?;
        match self.server.head(&self.key(name)?).await {
            Ok(found) => Ok(Some(found.size)),
            // The answer to this request has no text: whether there is the bucket shows what is asked next.
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(meaning(&self.name, error)),
        }
    }

    /// Writes an object, whole or not at all.
    ///
    /// # Errors
    /// When something else is there than is expected, or the server does not take it.
    pub async fn put(&self, name: &str, bytes: Vec<u8>, expected: Expected<'_>) -> Result<(), ObjectError> {
        self.put_with(name, bytes, expected, Attributes::new()).await
    }

    /// Writes an object as [`put`](Self::put) does, with its media type, such as `text/html`: servers send it as `Content-Type`.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub async fn put_typed(
        &self,
        name: &str,
        bytes: Vec<u8>,
        expected: Expected<'_>,
        media_type: &'static str,
    ) -> Result<(), ObjectError> {
        let attributes = Attributes::from_iter([(Attribute::ContentType, media_type)]);
        self.put_with(name, bytes, expected, attributes).await
    }

    async fn put_with(
        &self,
        name: &str,
        bytes: Vec<u8>,
        expected: Expected<'_>,
        attributes: Attributes,
    ) -> Result<(), ObjectError> {
        self.log_in().await?;
        let mode = match expected {
            Expected::Anything => PutMode::Overwrite,
            Expected::Nothing => PutMode::Create,
            Expected::Version(version) => PutMode::Update(version.0.clone()),
        };
        let options = PutOptions { mode, attributes, ..PutOptions::default() };
        let sent = self.server.put_opts(&self.key(name)?, PutPayload::from(bytes), options).await;
        match sent {
            Ok(_) => Ok(()),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                Err(ObjectError::Conflict(format!("`{name}`")))
            }
            Err(error) => Err(meaning(&self.name, error)),
        }
    }

    /// Removes an object, where there is one.
    ///
    /// # Errors
    /// When the server does not remove it.
    pub async fn remove(&self, name: &str) -> Result<(), ObjectError> {
        self.log_in().await?;
        match self.server.delete(&self.key(name)?).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(meaning(&self.name, error)),
        }
    }

    /// Writes a file of this machine as an object, whole or not at all.
    ///
    /// # Errors
    /// When the file cannot be read or is too large, or the server does not take it.
    pub async fn upload(&self, name: &str, from: &FilePath) -> Result<(), ObjectError> {
        let file = pib_file::open(from).map_err(ObjectError::Here)?;
        let size = file.metadata().map_err(ObjectError::Here)?.len();
        if size > MAX_OBJECT {
            return Err(ObjectError::TooLarge(MAX_OBJECT));
        }
        let mut file = tokio::fs::File::from_std(file).take(size);
        if size <= PART as u64 {
            let bytes = next_part(&mut file).await?;
            return self.put(name, bytes, Expected::Anything).await;
        }
        self.log_in().await?;
        let begun = self.server.put_multipart(&self.key(name)?).await;
        let begun = begun.map_err(|error| meaning(&self.name, error))?;
        let mut parts = WriteMultipart::new_with_chunk_size(begun, PART);
        loop {
            let part = match next_part(&mut file).await {
                Ok(part) => part,
                Err(error) => {
                    // What is on the server costs its owner money. The error that counts is the first.
                    _ = parts.abort().await;
                    return Err(error);
                }
            };
            if part.is_empty() {
                break;
            }
            parts.put(part.into());
            if let Err(error) = parts.wait_for_capacity(PARTS_AT_ONCE).await {
                _ = parts.abort().await;
                return Err(meaning(&self.name, error));
            }
        }
        parts.finish().await.map(drop).map_err(|error| meaning(&self.name, error))
    }

    /// Returns the names of objects below the prefix and `folder`, sorted.
    ///
    /// # Errors
    /// When the server cannot be asked, or has more than `limit`.
    pub async fn list(&self, folder: &str, limit: usize) -> Result<Vec<String>, ObjectError> {
        self.log_in().await?;
        let (below, root) = (self.key(folder)?, self.key("")?);
        let mut objects = self.server.list(Some(&below).filter(|below| !below.as_ref().is_empty()));
        let mut names = Vec::new();
        while let Some(found) = objects.next().await {
            let found = found.map_err(|error| meaning(&self.name, error))?;
            let name = found.location.as_ref().strip_prefix(root.as_ref()).unwrap_or_default();
            names.push(name.trim_start_matches('/').to_owned());
            if names.len() > limit {
                return Err(ObjectError::Server(format!("it has more than {limit} objects")));
            }
        }
        names.sort();
        Ok(names)
    }

    async fn open(&self, name: &str, limit: u64, options: GetOptions) -> Result<Option<GetResult>, Opening> {
        self.log_in().await?;
        let found = match self.server.get_opts(&self.key(name)?, options).await {
            Ok(found) => found,
            Err(Error::NotModified { .. }) => return Err(Opening::Unchanged),
            Err(error) if code(&error).as_deref() == Some("NoSuchBucket") => {
                return Err(meaning(&self.name, error).into());
            }
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(meaning(&self.name, error).into()),
        };
        if found.meta.size > limit { Err(ObjectError::TooLarge(limit).into()) } else { Ok(Some(found)) }
    }

    /// Hands the bytes of an object to `sink` as they arrive.
    async fn pour(
        &self,
        found: GetResult,
        limit: u64,
        sink: &mut (dyn FnMut(&[u8]) -> std::io::Result<()> + Send),
    ) -> Result<(), ObjectError> {
        let (mut chunks, mut pace, mut left) = (found.into_stream(), Pace::new(WINDOW, FLOOR), limit);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| meaning(&self.name, error))?;
            pace.arrived(chunk.len()).map_err(too_slow)?;
            left = left.checked_sub(chunk.len() as u64).ok_or(ObjectError::TooLarge(limit))?;
            sink(&chunk).map_err(ObjectError::Here)?;
        }
        Ok(())
    }

    /// Finds out what lets the user in, once.
    async fn log_in(&self) -> Result<(), ObjectError> {
        let find = async || {
            let found = tokio::time::timeout(LOGIN, self.server.credentials().get_credential()).await;
            match found {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(innermost(&error)),
                Err(_) => Some(format!("no answer came for {} seconds", LOGIN.as_secs())),
            }
        };
        match self.login.get_or_init(find).await {
            None => Ok(()),
            Some(why) => Err(ObjectError::Settings(format!(
                "nothing lets you in at the bucket `{}`: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; \
                 the last that was tried is this machine's own role in a cloud ({why})",
                self.name
            ))),
        }
    }

    fn key(&self, name: &str) -> Result<Path, ObjectError> {
        let text = format!("{}/{name}", self.prefix);
        Path::parse(text.trim_matches('/'))
            .map_err(|error| ObjectError::Server(format!("`{name}` cannot name an object: {error}")))
    }
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket")
            .field("name", &self.name)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// Why there is no object to be read.
enum Opening {
    Unchanged,
    Failed(ObjectError),
}

impl From<ObjectError> for Opening {
    fn from(error: ObjectError) -> Self {
        Self::Failed(error)
    }
}

impl ObjectVersion {
    /// Returns what is known of an object by its entity tag alone.
    pub fn of_tag(tag: String) -> Self {
        Self(UpdateVersion { e_tag: Some(tag), version: None })
    }

    /// Returns the entity tag.
    pub fn tag(&self) -> Option<&str> {
        self.0.e_tag.as_deref()
    }
}

/// Checks the address of a server; returns whether it is on this machine.
fn check_endpoint(endpoint: &str, allows_http: bool) -> Result<bool, ObjectError> {
    let url = Url::parse(endpoint).ok().filter(|url| url.host_str().is_some_and(|host| !host.is_empty()));
    let Some(url) = url.filter(|url| url.username().is_empty() && url.password().is_none()) else {
        return Err(ObjectError::Settings(
            "AWS_ENDPOINT_URL is not the address of a server, as in https://s3.example".to_owned(),
        ));
    };
    let stays_here = is_this_machine(&url);
    match url.scheme() {
        "https" => Ok(stays_here),
        "http" if stays_here || allows_http => Ok(stays_here),
        "http" => Err(ObjectError::Settings(format!(
            "AWS_ENDPOINT_URL is {url}: all would be sent unprotected; use https, or set AWS_ALLOW_HTTP=true"
        ))),
        other => {
            Err(ObjectError::Settings(format!("AWS_ENDPOINT_URL begins with `{other}`; it takes https")))
        }
    }
}

/// Reads the next part of a file; an empty one where there is none.
async fn next_part(file: &mut (impl tokio::io::AsyncRead + Unpin)) -> Result<Vec<u8>, ObjectError> {
    let mut part = Vec::new();
    file.take(PART as u64).read_to_end(&mut part).await.map_err(ObjectError::Here)?;
    Ok(part)
}

fn too_slow(TooSlow { floor, seconds }: TooSlow) -> ObjectError {
    ObjectError::Server(format!("for {seconds} seconds it brought fewer than {floor} bytes a second"))
}
