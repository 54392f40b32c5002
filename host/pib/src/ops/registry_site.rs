//! The pages of a registry as files beside its own, for servers that only send files, and for buckets.
//!
//! `registry init` and `registry index` write all of them. Who publishes or yanks renews those that the change is about: the file with
//! the list of stages also says what the pages were made from, so that nothing else of the registry is read. It is written last, and
//! what is about to be changed is noted before (`registry_site_marks`): the next who publishes makes up for who was killed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use pib_plan::id::StageName;
use serde::{Deserialize, Serialize};

use super::registry_catalogue::{Catalogue, CatalogueStage, newest};
use super::registry_feed::History;
use super::registry_pages::{self, ASSETS, FEED, Pages, STAGES_FILE, StagePage, list_files, stage_feed_file};
use crate::source::SourceError;
use crate::source::registry::Registry;
use crate::source::registry_store::RegistryStore;

/// The longest page that is looked at, in bytes.
const MAX_PAGE: u64 = 1 << 20;
/// The longest list of stages, in bytes.
const MAX_STATE: u64 = 64 << 20;
/// The form of that list.
const VERSION: u32 = 1;
/// How many stages are read at the same time.
const AT_ONCE: usize = 4;
/// How often pages are written again where somebody else writes them at the same time, and the longest pause before that.
const ATTEMPTS: u64 = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// What the pages were made from; a script searches in it, too.
#[derive(Debug, Serialize, Deserialize)]
struct SiteState {
    v: u32,
    stages: Vec<CatalogueStage>,
    history: History,
}

impl SiteState {
    /// Reads the state; `None` where another pib has written it.
    fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|state: &Self| state.v == VERSION)
    }
}

/// Returns whether a registry has pages.
///
/// # Errors
/// When it cannot be read.
pub(super) async fn is_there(store: RegistryStore<'_>) -> Result<bool, SourceError> {
    Ok(store.read(STAGES_FILE, MAX_STATE).await?.is_some())
}

/// The pages of a registry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site<'a> {
    /// Where they are.
    pub(super) store: RegistryStore<'a>,
    /// What they show.
    pub(super) registry: &'a Registry,
}

/// The pages that are to be written.
struct Renewal {
    catalogue: Catalogue,
    /// The stages whose own pages are.
    stages: BTreeSet<StageName>,
    /// What the lists and the feed that are there show; all of them are written where that is not known.
    before: Option<Catalogue>,
}

impl Site<'_> {
    /// Writes all pages, and removes those of stages that the registry has no more.
    ///
    /// # Errors
    /// When the registry cannot be read or written.
    pub(super) async fn write(self) -> Result<(), SourceError> {
        self.update(None).await
    }

    /// Writes the pages that show something of these stages; all of them where it is not known what the others show.
    ///
    /// # Errors
    /// When the registry cannot be read or written.
    pub(super) async fn renew(self, stages: &BTreeSet<StageName>) -> Result<(), SourceError> {
        self.update(Some(stages)).await
    }

    async fn update(self, changed: Option<&BTreeSet<StageName>>) -> Result<(), SourceError> {
        // What was written and then overtaken is written again.
        let (mut stages, mut lists) = (BTreeSet::new(), BTreeSet::new());
        for attempt in 0..ATTEMPTS {
            // Held until the state is written; a bucket compares what is there instead.
            let held = self.store.hold()?;
            let (text, version) = self.store.read(STAGES_FILE, MAX_STATE).await?.unwrap_or_default();
            let state = SiteState::parse(&text);
            let mut renewal = match changed.zip(state) {
                Some((changed, state)) => self.changes(changed, state).await?,
                None => self.everything().await?,
            };
            stages.append(&mut renewal.stages);
            let is_complete = renewal.before.is_none();
            self.write_pages(&renewal, &stages, &mut lists).await?;
            let Catalogue { stages: listed, history, .. } = renewal.catalogue;
            let state = SiteState { v: VERSION, stages: listed, history };
            let bytes = serde_json::to_vec(&state).unwrap_or_default();
            let is_there = held.is_some() && bytes == text;
            if is_there || self.store.write(STAGES_FILE, bytes, version.as_ref()).await? {
                return match is_complete {
                    true => self.tidy_up(&stages, &lists).await,
                    false => Ok(()),
                };
            }
            tokio::time::sleep(Duration::from_millis(5 * (attempt + 1)).min(PAUSE)).await;
        }
        Err(self.store.bad(format!("others write `{STAGES_FILE}` all the time")))
    }

    async fn everything(self) -> Result<Renewal, SourceError> {
        for asset in &ASSETS {
            self.store.replace(&format!("assets/{}", asset.name), asset.text.as_bytes()).await?;
        }
        let catalogue = Catalogue::read(self.registry).await?;
        let stages = catalogue.stages.iter().map(|stage| stage.listed.name.clone()).collect();
        Ok(Renewal { catalogue, stages, before: None })
    }

    /// Returns what is to be written where these stages have changed since the state was written.
    async fn changes(self, changed: &BTreeSet<StageName>, state: SiteState) -> Result<Renewal, SourceError> {
        let before = Catalogue::of(state.stages, state.history);
        let mut all: BTreeMap<StageName, CatalogueStage> =
            before.stages.iter().map(|stage| (stage.listed.name.clone(), stage.clone())).collect();
        let (mut history, mut affected) = (before.history.clone(), BTreeSet::new());
        for name in changed {
            let file = self.registry.versions(name).await?;
            let Some(entry) = newest(&file) else { continue };
            let stage = CatalogueStage::of(&entry);
            history = history.with_newer(name, History::of(&file));
            affected.insert(name.to_string());
            // The pages of those that it needs name it, and where it is new those that need it have a link to it.
            let needed = before.find(name.as_str()).map(|stage| stage.needs.as_slice());
            affected.extend(
                needed.unwrap_or_default().iter().filter(|need| !stage.needs.contains(need)).cloned(),
            );
            let is_known = |need: &&String| needed.is_some_and(|needed| needed.contains(need));
            affected.extend(stage.needs.iter().filter(|need| !is_known(need)).cloned());
            if needed.is_none() {
                affected.extend(before.users_of(name.as_str()).iter().cloned());
            }
            all.insert(name.clone(), stage);
        }
        let catalogue = Catalogue::of(all.into_values().collect(), history);
        let affected = affected.iter().filter_map(|name| catalogue.find(name));
        let stages = affected.map(|stage| stage.listed.name.clone()).collect();
        Ok(Renewal { catalogue, stages, before: Some(before) })
    }

    /// Writes the pages of stages, and the lists and the feed that are not as before or are in `lists`, where those are noted.
    async fn write_pages(
        self,
        renewal: &Renewal,
        stages: &BTreeSet<StageName>,
        lists: &mut BTreeSet<String>,
    ) -> Result<(), SourceError> {
        let Renewal { catalogue, before, .. } = renewal;
        let written = stages.iter().map(|name| self.write_stage(name, catalogue));
        let mut written = stream::iter(written).buffer_unordered(AT_ONCE);
        while let Some(()) = written.try_next().await? {}
        let list = |catalogue, from| registry_pages::list(catalogue, "", from, Pages::Files);
        for (name, from) in list_files(catalogue.stages.len()) {
            let text = list(catalogue, from);
            let is_as_before = before
                .as_ref()
                .is_some_and(|before| from < before.stages.len().max(1) && list(before, from) == text);
            if is_as_before && !lists.contains(&name) {
                continue;
            }
            if !self.is_anothers(&name).await? {
                self.store.replace(&name, text.as_bytes()).await?;
            }
            lists.insert(name);
        }
        let is_as_before = before.as_ref().is_some_and(|before| before.history == catalogue.history);
        if !is_as_before || lists.contains(FEED) {
            let text = registry_pages::feed(&catalogue.history, Pages::Files);
            self.store.replace(FEED, text.as_bytes()).await?;
            lists.insert(FEED.to_owned());
        }
        Ok(())
    }

    /// Writes the page and the feed of a stage.
    async fn write_stage(self, name: &StageName, catalogue: &Catalogue) -> Result<(), SourceError> {
        let file = self.registry.versions(name).await?;
        let Some(entry) = newest(&file) else { return Ok(()) };
        let archive = self.registry.archive(&entry).await?;
        let readme = tokio::task::spawn_blocking(move || registry_pages::readme(&archive));
        let readme = readme.await.map_err(|error| {
            SourceError::io("reading the readme of", Path::new(name.as_str()))(io::Error::other(error))
        })?;
        let readme = readme.as_deref();
        let stage = StagePage { entry: &entry, file: &file, readme, catalogue, pages: Pages::Files };
        self.store.replace(&format!("stages/{name}.html"), stage.to_html().as_bytes()).await?;
        let text = registry_pages::stage_feed(name, &file, Pages::Files);
        self.store.replace(&format!("feeds/{}", stage_feed_file(name)), text.as_bytes()).await
    }

    /// Returns whether a page is there that a person has written.
    async fn is_anothers(self, path: &str) -> Result<bool, SourceError> {
        let found = match self.store.read(path, MAX_PAGE).await {
            // None of these pages is so long.
            Err(_) => return Ok(true),
            Ok(found) => found,
        };
        Ok(found
            .is_some_and(|(bytes, _)| !String::from_utf8_lossy(&bytes).contains(registry_pages::GENERATOR)))
    }

    /// Removes the pages that are of nothing any more. What a person has put there stays.
    async fn tidy_up(
        self,
        stages: &BTreeSet<StageName>,
        lists: &BTreeSet<String>,
    ) -> Result<(), SourceError> {
        let is_gone = |stem: &str| stem.parse::<StageName>().is_ok_and(|name| !stages.contains(&name));
        for (folder, suffix) in [("stages", ".html"), ("feeds", ".atom"), ("", ".html")] {
            for name in self.store.list(folder).await? {
                let Some(stem) = name.strip_suffix(suffix) else { continue };
                let is_left = match folder {
                    "" => {
                        let number = stem.strip_prefix("page-");
                        number.is_some_and(|number| number.parse::<usize>().is_ok()) && !lists.contains(&name)
                    }
                    _ => is_gone(stem),
                };
                if is_left {
                    let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                    self.store.remove(&path).await?;
                }
            }
        }
        Ok(())
    }
}
