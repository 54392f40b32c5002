//! Who owns the stages of a registry that has a server: `owners/NAME.json`, beside the registry's own files and served to nobody.
//!
//! Several servers may share the registry: in a folder its lock is held, in a bucket a list is written only in the place of the one
//! that was read.

use std::collections::BTreeSet;
use std::time::Duration;

use pib_objects::ObjectVersion;
use pib_plan::id::StageName;
use serde::{Deserialize, Serialize};

use super::SourceError;
use super::registry_folder::hold;
use super::registry_store::RegistryStore;

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

/// The lists of owners of a registry.
#[derive(Debug, Clone, Copy)]
pub struct OwnerLists<'a>(pub RegistryStore<'a>);

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
            let _held = match self.0 {
                RegistryStore::Folder(root) => Some(hold(root)?),
                RegistryStore::Bucket(..) | RegistryStore::Oci(_) => None,
            };
            let (owners, before) = self.list(stage).await?;
            let Some(next) = change(owners.as_ref())? else { return Ok((owners.unwrap_or_default(), false)) };
            if self.write(stage, &next, before.as_ref()).await? {
                return Ok((next, true));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(self.0.bad(format!("others write the owners of `{stage}` all the time")).into())
    }

    async fn list(self, stage: &StageName) -> Result<(Option<Owners>, Option<ObjectVersion>), SourceError> {
        let path = path(stage);
        let Some((bytes, version)) = self.0.read(&path, MAX_OWNERS).await? else { return Ok((None, None)) };
        let file: OwnersFile = serde_json::from_slice(&bytes)
            .map_err(|error| self.0.bad(format!("`{path}` cannot be read ({error})")))?;
        Ok((Some(file.owners), version))
    }

    /// Writes a list in the place of the one that was read; returns whether that was still there.
    async fn write(
        self,
        stage: &StageName,
        owners: &Owners,
        before: Option<&ObjectVersion>,
    ) -> Result<bool, SourceError> {
        let text = serde_json::to_vec(&OwnersFile { owners: owners.clone() })
            .map_err(|error| self.0.bad(error.to_string()))?;
        self.0.write(&path(stage), text, before).await
    }
}

fn path(stage: &StageName) -> String {
    format!("owners/{stage}.json")
}
