//! Notes which pages a change to a registry makes out of date, before the change, and renews them after it. If the program is
//! killed in between, the note stays, and the next publish renews these pages, too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pib_event::ReporterExt as _;
use pib_plan::id::StageName;
use serde::{Deserialize, Serialize};

use super::publish_destination::PublishDestination;
use super::registry_answer::Causes;
use super::registry_site::{self, Site};
use crate::project::{Error, Session};
use crate::source::SourceError;
use crate::source::registry::Registry;
use crate::source::registry_sign::SignableRegistry;
use crate::source::registry_store::RegistryStore;

/// The file of the notes.
const FILE: &str = "stale-pages.json";
/// The longest such file, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// A note that is older is one of somebody who was killed: what it names is renewed once more, and then it is removed.
const KILLED: Duration = Duration::from_secs(60 * 60);
/// How often the file is written again that somebody else has written meanwhile.
const ATTEMPTS: u64 = 100;

/// Whose pages somebody is about to make out of date.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Mark {
    /// Since when, in seconds since 1970.
    since: u64,
    stages: BTreeSet<StageName>,
}

type Marks = BTreeMap<String, Mark>;

/// A change to a registry that has pages.
#[derive(Debug)]
pub(super) struct SiteChange {
    place: SignableRegistry,
    id: String,
}

impl SiteChange {
    /// Makes a change to stages of a registry, and renews the pages that it has of them.
    ///
    /// # Errors
    /// Those of the change. What is wrong with pages after it is only a warning.
    pub(super) async fn around<T>(
        session: &Session,
        destination: &PublishDestination,
        stages: &[StageName],
        change: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let begun = match destination.signable(None)? {
            Some(place) => Self::begin(place, stages).await?,
            None => None,
        };
        let Some(begun) = begun else { return change.await };
        let changed = change.await;
        // What failed may have been made in part.
        if let Err(error) = begun.renew(&destination.registry(session)?).await {
            session.reporter.warn(format!(
                "the registry's pages could not be renewed: {}; run `pib registry index`",
                Causes(&error)
            ));
        }
        changed
    }

    /// Notes that stages are about to be changed; `None` where the registry has no pages.
    async fn begin(place: SignableRegistry, stages: &[StageName]) -> Result<Option<Self>, SourceError> {
        if !registry_site::is_there(place.borrow()).await? {
            return Ok(None);
        }
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| place.borrow().bad(error.to_string()))?;
        let id = hex::encode(id);
        let mark = Mark { since: now(), stages: stages.iter().cloned().collect() };
        edit(place.borrow(), |marks| drop(marks.insert(id.clone(), mark.clone()))).await?;
        Ok(Some(Self { place, id }))
    }

    async fn renew(&self, registry: &Registry) -> Result<(), SourceError> {
        let store = self.place.borrow();
        let marks = read(store).await?.0;
        let stages = marks.values().flat_map(|mark| mark.stages.iter().cloned()).collect();
        Site { store, registry }.renew(&stages).await?;
        let killed = now().saturating_sub(KILLED.as_secs());
        let is_done =
            |id: &String, mark: &Mark| *id == self.id || mark.since < killed && marks.contains_key(id);
        edit(store, |marks| marks.retain(|id, mark| !is_done(id, mark))).await
    }
}

/// Returns the notes, and of a bucket their version. What is no note of pib's is none.
async fn read(store: RegistryStore<'_>) -> Result<(Marks, Option<pib_objects::ObjectVersion>), SourceError> {
    Ok(match store.read(FILE, MAX_FILE).await? {
        Some((bytes, version)) => (serde_json::from_slice(&bytes).unwrap_or_default(), version),
        None => (Marks::new(), None),
    })
}

async fn edit(store: RegistryStore<'_>, change: impl Fn(&mut Marks)) -> Result<(), SourceError> {
    for attempt in 0..ATTEMPTS {
        let held = store.hold()?;
        let (mut marks, version) = read(store).await?;
        change(&mut marks);
        if held.is_some() && marks.is_empty() {
            return store.remove(FILE).await;
        }
        let text = serde_json::to_vec(&marks).unwrap_or_default();
        if store.write(FILE, text, version.as_ref()).await? {
            return Ok(());
        }
        drop(held);
        tokio::time::sleep(Duration::from_millis(5 * (attempt + 1)).min(Duration::from_millis(500))).await;
    }
    Err(store.bad(format!("others write `{FILE}` all the time")))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
