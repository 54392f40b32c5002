//! What a registry has, as its server lists it: the newest version of each stage, and which stages need which.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use pib_plan::index::{IndexEntry, IndexFile};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::registry_feed::History;
use crate::source::registry::Registry;
use crate::source::registry_list::ListedStage;
use crate::source::{SourceError, registry_list};

/// How long a list is used at least. What other servers and people at the folder publish is seen after that.
const KEPT: Duration = Duration::from_secs(10);
/// How many times as long as reading the list took it is used: a large registry is not read all the time.
const SHARE: u32 = 20;
/// How many index files are read at the same time.
const AT_ONCE: usize = 16;

/// A stage: what a list has of its newest version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CatalogueStage {
    /// What is listed.
    #[serde(flatten)]
    pub(super) listed: ListedStage,
    /// The names of the stages that it needs.
    pub(super) needs: Vec<String>,
}

impl CatalogueStage {
    /// Returns the stage whose newest version this is.
    pub(super) fn of(entry: &IndexEntry) -> Self {
        Self { listed: ListedStage::of(entry), needs: entry.deps.keys().map(ToString::to_string).collect() }
    }
}

/// The stages of a registry.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    /// Each stage, by name.
    pub(super) stages: Vec<CatalogueStage>,
    /// The stages whose newest version needs a stage, by that stage's name.
    users: BTreeMap<String, Vec<String>>,
    /// What was published last in the whole registry.
    pub(super) history: History,
}

/// A list that was read, until it is too old.
#[derive(Debug, Default)]
pub(super) struct KeptCatalogue(Mutex<Option<(Instant, Arc<Catalogue>)>>);

impl Catalogue {
    /// Returns a list of these stages.
    pub(super) fn of(mut stages: Vec<CatalogueStage>, history: History) -> Self {
        stages.sort_by(|a, b| a.listed.name.cmp(&b.listed.name));
        let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for stage in &stages {
            for needed in &stage.needs {
                users.entry(needed.clone()).or_default().push(stage.listed.name.to_string());
            }
        }
        Self { stages, users, history }
    }

    /// Reads the list of a registry's stages.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub(super) async fn read(registry: &Registry) -> Result<Self, SourceError> {
        let names = registry.all_names().await?.unwrap_or_default();
        let read = names.into_iter().map(async |name| {
            let file = registry.versions(&name).await?;
            Ok::<_, SourceError>((newest(&file), History::of(&file)))
        });
        let mut read = stream::iter(read).buffer_unordered(AT_ONCE);
        let (mut stages, mut history) = (Vec::new(), History::default());
        while let Some((newest, of_stage)) = read.try_next().await? {
            stages.extend(newest.as_ref().map(CatalogueStage::of));
            history = history.with(of_stage);
        }
        Ok(Self::of(stages, history))
    }

    /// Returns the stages whose name or description has all the words of a search: those with a word in their name come first.
    pub(super) fn search(&self, wanted: &str) -> Vec<&ListedStage> {
        let words: Vec<String> = wanted.split_whitespace().map(str::to_lowercase).collect();
        let fits = |stage: &&ListedStage| {
            let text = format!("{} {}", stage.name, stage.description).to_lowercase();
            words.iter().all(|word| text.contains(word))
        };
        let listed = self.stages.iter().map(|stage| &stage.listed);
        let mut found: Vec<&ListedStage> = listed.filter(fits).collect();
        found.sort_by_key(|stage| !words.iter().any(|word| stage.name.as_str().contains(word)));
        found
    }

    /// Returns the stage of this name.
    pub(super) fn find(&self, name: &str) -> Option<&CatalogueStage> {
        let found = self.stages.binary_search_by(|stage| stage.listed.name.as_str().cmp(name));
        found.ok().and_then(|number| self.stages.get(number))
    }

    /// Returns whether there is a stage of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Returns the names of the stages that need this one.
    pub(super) fn users_of(&self, name: &str) -> &[String] {
        self.users.get(name).map_or(&[], Vec::as_slice)
    }
}

impl KeptCatalogue {
    /// Returns the stages of a registry, read again where the list is old.
    ///
    /// # Errors
    /// When the registry cannot be read.
    pub(super) async fn get(&self, registry: &Registry) -> Result<Arc<Catalogue>, SourceError> {
        // Requests that come while the list is read wait for it.
        let mut kept = self.0.lock().await;
        if let Some((_, catalogue)) = kept.as_ref().filter(|(until, _)| Instant::now() < *until) {
            return Ok(Arc::clone(catalogue));
        }
        let since = Instant::now();
        let catalogue = Arc::new(Catalogue::read(registry).await?);
        let until = Instant::now() + KEPT.max(since.elapsed() * SHARE);
        *kept = Some((until, Arc::clone(&catalogue)));
        Ok(catalogue)
    }

    /// Has the list read again: something was published or yanked.
    pub(super) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

/// Returns the newest version that is not yanked, or else the newest.
pub(super) fn newest(file: &IndexFile) -> Option<IndexEntry> {
    let found = registry_list::newest(&file.versions);
    found.or_else(|| registry_list::newest_of(&file.versions, true)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, description: &str, needs: &str) -> CatalogueStage {
        let text =
            format!(r#"{{"name":"{name}","vers":"1.0.0","description":"{description}","deps":{{{needs}}}}}"#);
        CatalogueStage::of(&serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn stages_are_found_by_words_and_by_what_they_need() {
        let stages = vec![
            stage("network", "Configures the camera's network", ""),
            stage("camera", "Films birds", r#""network":"1""#),
            stage("bird-feeder", "Feeds", r#""camera":"1","network":"1""#),
        ];
        let catalogue = Catalogue::of(stages, History::default());
        let names = |wanted: &str| -> Vec<String> {
            catalogue.search(wanted).iter().map(|entry| entry.name.to_string()).collect()
        };
        assert_eq!(names("CAMERA"), ["camera", "network"]);
        assert_eq!(names("camera birds"), ["camera"]);
        assert_eq!(names(""), ["bird-feeder", "camera", "network"]);
        assert!(names("kiosk").is_empty());
        assert_eq!(catalogue.users_of("network"), ["bird-feeder", "camera"]);
        assert!(catalogue.users_of("bird-feeder").is_empty());
        assert!(catalogue.has("camera") && !catalogue.has("came"));
    }
}
