//! Who owns the stages of a registry that has a server: `owners/NAME.json`, beside the registry's own files and served to nobody.
//!
//! Several servers may share the registry: in a folder its lock is held, in a bucket a list is written only in the place of the one
//! that was read.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use pib_file::Folder;
use pib_objects::{Bucket, Expected, ObjectError, ObjectVersion};
use pib_plan::id::StageName;
use serde::{Deserialize, Serialize};

use super::SourceError;
use super::registry_folder::{hold, replace};

/// The largest list of owners that is read, in bytes.
const MAX_OWNERS: u64 = 1 << 20;
/// How often a list is read again that somebody else has written meanwhile, and the pause before that.
const ATTEMPTS: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// The owners of a stage, by their names.
pub type Owners = BTreeSet<String>;

/// The file of a stage's owners.
#[derive(Debug, Serialize, Deserialize)]
struct OwnersFile {
    owners: Owners,
}

/// Where the lists of owners are.
#[derive(Debug, Clone, Copy)]
pub enum OwnerLists<'a> {
    /// In a registry's folder.
    Folder(&'a Path),
    /// In a registry's bucket, with its address for errors.
    Bucket(&'a Bucket, &'a str),
}

impl OwnerLists<'_> {
    /// Returns the owners of a stage; `None` where nobody is named.
    ///
    /// # Errors
    /// When the list cannot be read.
    pub async fn read(self, stage: &StageName) -> Result<Option<Owners>, SourceError> {
        Ok(self.list(stage).await?.0)
    }

    /// Writes the owners of a stage that `change` makes of those that there are; nothing where it returns `None`. Returns the owners
    /// from then on, and whether they were written.
    ///
    /// # Errors
    /// When `change` refuses, or the list cannot be read or written.
    pub async fn change<E: From<SourceError>>(
        self,
        stage: &StageName,
        change: impl Fn(Option<&Owners>) -> Result<Option<Owners>, E>,
    ) -> Result<(Owners, bool), E> {
        for _ in 0..ATTEMPTS {
            // Held until the list is written.
            let _held = match self {
                Self::Folder(root) => Some(hold(root)?),
                Self::Bucket(..) => None,
            };
            let (owners, before) = self.list(stage).await?;
            let Some(next) = change(owners.as_ref())? else { return Ok((owners.unwrap_or_default(), false)) };
            if self.write(stage, &next, before.as_ref()).await? {
                return Ok((next, true));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(self.bad(format!("others write the owners of `{stage}` all the time")).into())
    }

    async fn list(self, stage: &StageName) -> Result<(Option<Owners>, Option<ObjectVersion>), SourceError> {
        let path = path(stage);
        let (bytes, version) = match self {
            Self::Folder(root) => {
                let read = Folder::open(root).and_then(|folder| folder.read(Path::new(&path), MAX_OWNERS));
                match read {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((None, None)),
                    read => (read.map_err(SourceError::io("reading", &root.join(&path)))?, None),
                }
            }
            Self::Bucket(bucket, _) => {
                match bucket.get(&path, MAX_OWNERS).await.map_err(self.fail("reading", &path))? {
                    Some((bytes, version)) => (bytes, Some(version)),
                    None => return Ok((None, None)),
                }
            }
        };
        let file: OwnersFile = serde_json::from_slice(&bytes)
            .map_err(|error| self.bad(format!("`{path}` cannot be read ({error})")))?;
        Ok((Some(file.owners), version))
    }

    /// Writes a list in the place of the one that was read; returns whether that was still there.
    async fn write(
        self,
        stage: &StageName,
        owners: &Owners,
        before: Option<&ObjectVersion>,
    ) -> Result<bool, SourceError> {
        let path = path(stage);
        let text = serde_json::to_vec(&OwnersFile { owners: owners.clone() })
            .map_err(|error| self.bad(error.to_string()))?;
        match self {
            Self::Folder(root) => {
                let folder = Folder::open(root).map_err(SourceError::io("opening", root))?;
                replace(&folder, Path::new(&path), &text).map(|()| true)
            }
            Self::Bucket(bucket, _) => {
                let expected = before.map_or(Expected::Nothing, Expected::Version);
                match bucket.put(&path, text, expected).await {
                    Ok(()) => Ok(true),
                    Err(ObjectError::Conflict(_)) => Ok(false),
                    Err(error) => Err(self.fail("writing", &path)(error)),
                }
            }
        }
    }

    fn describe(self) -> String {
        match self {
            Self::Folder(root) => format!("the registry `{}`", root.display()),
            Self::Bucket(_, address) => format!("the registry {address}"),
        }
    }

    fn bad(self, reason: String) -> SourceError {
        SourceError::BadRegistry { registry: self.describe(), reason }
    }

    fn fail(self, action: &'static str, path: &str) -> impl FnOnce(ObjectError) -> SourceError + use<> {
        let what = format!("`{path}` of {}", self.describe());
        move |source| SourceError::Objects { action, what, source }
    }
}

fn path(stage: &StageName) -> String {
    format!("owners/{stage}.json")
}
