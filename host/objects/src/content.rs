//! Files by their digests, in a bucket or in a repository of an OCI registry.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use pib_plan::id::Digest;
use pib_plan::object_address::ObjectAddress;
use tokio::sync::OnceCell;

use crate::access::Access;
use crate::bucket::{Bucket, Expected};
use crate::error::ObjectError;
use crate::oci::Repository;
use crate::oci_host::OciHost;

/// Where files are kept by their digests. In a bucket they have the form of a store in a folder: `<2 hex digits>/<hex>`. In a
/// repository they are blobs, and what [`ContentStore::list_content`] writes keeps the registry from removing them.
pub struct ContentStore {
    address: ObjectAddress,
    access: Access,
    /// What reaches it, made when it is first used; or why that cannot be made.
    server: OnceCell<Result<Server, String>>,
}

enum Server {
    Bucket(Bucket),
    Oci { repository: Box<Repository>, tag: String },
}

impl ContentStore {
    /// Returns the store at an address. Nothing is read and nobody asked yet.
    pub fn new(address: ObjectAddress, access: Access) -> Self {
        Self { address, access, server: OnceCell::new() }
    }

    /// Returns where it is.
    pub fn address(&self) -> &ObjectAddress {
        &self.address
    }

    /// Writes the file of a digest, no more than `size` bytes, into `file`; returns the digest of what came, and `None` where there
    /// is nothing. The caller compares.
    ///
    /// # Errors
    /// When the store cannot be used, has something larger, or the file cannot be written.
    pub async fn download(
        &self,
        digest: &Digest,
        size: u64,
        file: &mut File,
    ) -> Result<Option<Digest>, ObjectError> {
        match self.server().await? {
            Server::Bucket(bucket) => bucket.download(&object_name(digest), size, file).await,
            Server::Oci { repository, .. } => repository.download(digest, size, file).await,
        }
    }

    /// Puts a file into the store where it is not there yet, in its whole size; returns whether it was not.
    ///
    /// # Errors
    /// When the file is another one than its digest says, or the store does not take it.
    pub async fn upload(&self, digest: &Digest, from: &Path) -> Result<bool, ObjectError> {
        let size = pib_file::open(from).and_then(|file| file.metadata()).map_err(ObjectError::Here)?.len();
        let there = match self.server().await? {
            Server::Bucket(bucket) => bucket.size(&object_name(digest)).await?,
            Server::Oci { repository, .. } => repository.size(digest).await?,
        };
        if there == Some(size) {
            return Ok(false);
        }
        // A store must not get what is damaged here: a server takes the name for true.
        let (path, expected) = (from.to_owned(), *digest);
        let found = tokio::task::spawn_blocking(move || pib_file::open(&path).and_then(pib_file::sha256));
        let found = found.await.map_err(|error| ObjectError::Here(std::io::Error::other(error)))?;
        if Digest::from_bytes(found.map_err(ObjectError::Here)?) != expected {
            let text = format!("{} is not the file {digest}", from.display());
            return Err(ObjectError::Here(std::io::Error::other(text)));
        }
        match self.server().await? {
            Server::Bucket(bucket) => bucket.upload(&object_name(digest), from).await?,
            Server::Oci { repository, .. } => repository.upload(digest, from, size).await?,
        }
        Ok(true)
    }

    /// Says that the files, each with its size, belong together, so that a registry keeps them. A bucket needs no word.
    ///
    /// # Errors
    /// When the registry does not take that.
    pub async fn list_content(&self, files: &[(Digest, u64)]) -> Result<(), ObjectError> {
        match self.server().await? {
            Server::Bucket(_) => Ok(()),
            Server::Oci { repository, tag } => repository.list_content(tag, files).await,
        }
    }

    /// Returns the text that stands under a key, no more than `limit` bytes; `None` where there is none.
    ///
    /// # Errors
    /// When the store cannot be asked, or the text is longer.
    pub async fn entry(&self, key: &Digest, limit: u64) -> Result<Option<Vec<u8>>, ObjectError> {
        match self.server().await? {
            Server::Bucket(bucket) => Ok(bucket.get(&entry_name(key), limit).await?.map(|(bytes, _)| bytes)),
            Server::Oci { repository, tag } => repository.entry(tag, key, limit).await,
        }
    }

    /// Puts a text under a key, in the place of one that is there. It names the files, each with its size, which are there already;
    /// a registry keeps them as long as the text.
    ///
    /// # Errors
    /// When the store does not take it.
    pub async fn put_entry(
        &self,
        key: &Digest,
        text: &str,
        files: &[(Digest, u64)],
    ) -> Result<(), ObjectError> {
        match self.server().await? {
            Server::Bucket(bucket) => {
                bucket.put(&entry_name(key), text.as_bytes().to_vec(), Expected::Anything).await
            }
            Server::Oci { repository, tag } => repository.put_entry(tag, (key, text), files).await,
        }
    }

    async fn server(&self) -> Result<&Server, ObjectError> {
        let make = async || {
            let made = match &self.address {
                ObjectAddress::Bucket { bucket, prefix } => {
                    Bucket::new(bucket, prefix, &self.access).map(Server::Bucket)
                }
                ObjectAddress::Oci { host, repository, tag } => {
                    OciHost::new(host, &self.access).map(|host| Server::Oci {
                        repository: Box::new(Repository::new(Arc::new(host), repository)),
                        tag: tag.clone(),
                    })
                }
            };
            made.map_err(|error| error.to_string())
        };
        self.server.get_or_init(make).await.as_ref().map_err(|why| ObjectError::Settings(why.clone()))
    }
}

/// Returns the name of a file below a bucket's prefix.
fn object_name(digest: &Digest) -> String {
    let hex = digest.hex();
    format!("{}/{hex}", &hex[..2])
}

/// Returns the name of the text under a key.
fn entry_name(key: &Digest) -> String {
    format!("entries/{}.json", key.hex())
}

impl fmt::Display for ContentStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl fmt::Debug for ContentStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentStore").field("address", &self.address).finish_non_exhaustive()
    }
}
