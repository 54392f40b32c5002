//! The list of stages that a registry's own server has, and other web servers have not.

use pib_net::{Http, NetError};
use pib_plan::id::StageName;
use pib_plan::index::{Candidate, IndexEntry, Offer};
use semver::Version;
use serde::{Deserialize, Serialize};
use url::Url;

/// Where the list is, below the registry's address.
pub(super) const PATH: &str = "api/v1/stages";
/// The longest list that is read, in bytes.
const MAX_LIST: u64 = 64 << 20;

/// The stages of a registry.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StageList {
    /// Each stage.
    pub stages: Vec<ListedStage>,
}

/// A stage of a registry, as a list has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ListedStage {
    /// Its name.
    pub name: StageName,
    /// Its newest version that is not yanked, or else its newest.
    pub version: Version,
    /// One line on what it adds.
    pub description: String,
    /// Whether every version is yanked.
    pub yanked: bool,
}

impl ListedStage {
    /// Returns what a list says of a stage whose newest version this is.
    pub fn of(entry: &IndexEntry) -> Self {
        Self {
            name: entry.name.clone(),
            version: entry.vers.clone(),
            description: entry.description.clone(),
            yanked: entry.yanked,
        }
    }
}

/// Returns the newest version that a new project could take; a pre-release only where there is nothing else.
pub fn newest(versions: &[Candidate]) -> Option<&IndexEntry> {
    newest_of(versions, false)
}

/// Returns the newest version, of those that were yanked or of the others.
pub fn newest_of(versions: &[Candidate], yanked: bool) -> Option<&IndexEntry> {
    let entries = versions.iter().filter_map(|candidate| match &candidate.offer {
        Offer::Entry(entry) if entry.yanked == yanked => Some(&**entry),
        _ => None,
    });
    entries.max_by(|a, b| (a.vers.pre.is_empty(), &a.vers).cmp(&(b.vers.pre.is_empty(), &b.vers)))
}

/// Returns the stages of the registry at `base`; `None` where its server has no list of them.
pub(super) async fn read(http: &Http, base: &Url) -> Result<Option<Vec<ListedStage>>, NetError> {
    let Ok(url) = base.join(PATH) else { return Ok(None) };
    match http.bytes(&url, MAX_LIST).await {
        // A server of files may answer with a page of its own.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok().map(|StageList { stages }| stages)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
