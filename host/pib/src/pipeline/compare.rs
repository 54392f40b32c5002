//! Compares two builds of the same stages, which were made with nothing cached: what differs is not reproducible.

use std::collections::{BTreeMap, BTreeSet};

use pib_disk::Listing;

use super::diffoscope;
use super::job::Built;
use super::origin;
use crate::project::{Error, Irreproducible, Session, blocking};
use pib_event::{ReporterExt as _, Silent};

/// The id of the step in events.
const STEP: &str = "compare";
/// How many differences are told one by one. The others are counted.
const MAX_TOLD: usize = 20;

/// A build, and what its root file system holds.
pub(crate) struct Listed {
    pub(crate) built: Built,
    listing: Listing,
}

/// Lists what the root file system of a build holds.
///
/// # Errors
/// When the engine cannot export it, or the disk has no room for it.
pub(crate) async fn list(session: &Session, built: Built) -> Result<Listed, Error> {
    session.reporter.started(STEP, "Listing what was built");
    let tree = built.engine.export(&built.tag).await?;
    let fault = tree.fault();
    let (identity, folder) = (built.based.identity(), built.target()?);
    let read = move |tree: blocking::Stoppable<_>| pib_disk::listing(tree, &identity, &folder, &Silent);
    let listing = blocking::read(tree, read).await?;
    match listing {
        Ok(listing) => {
            session.reporter.finished(STEP, false);
            Ok(Listed { built, listing })
        }
        Err(error) => {
            let error = fault.take().map_or_else(|| error.into(), Error::from);
            Err(origin::stage_of(session, &built, error).await)
        }
    }
}

/// Compares two builds.
///
/// # Errors
/// When somebody changed the project meanwhile, or they differ; the error names the first files that do, and the stages that made them.
pub(crate) async fn compare(session: &Session, first: &Listed, second: &Listed) -> Result<(), Error> {
    let losses = first.built.engine.abilities().losses;
    if first.built.based.image_key(&losses) != second.built.based.image_key(&losses) {
        return Err(Error::Stage {
            message: "the project changed between its two builds".to_owned(),
            help: Some("Check it again, and leave its files alone meanwhile.".to_owned()),
        });
    }
    let mut differences = first.listing.differences(&second.listing);
    let all = differences.len();
    if all == 0 {
        let entries = first.listing.entries();
        session
            .reporter
            .note(format!("Two builds with nothing cached gave the same {entries} files and folders"));
        return Ok(());
    }
    differences.truncate(MAX_TOLD);
    session.reporter.started(STEP, "Looking for the stages that make the difference");
    let paths = differences.iter().map(|difference| difference.path.clone()).collect();
    let stages = first_stages(session, (&first.built, &second.built), paths).await.unwrap_or_default();
    session.reporter.finished(STEP, false);
    let mut summaries = diffoscope::summaries(session, (&first.built, &second.built), &differences).await;
    let files = differences.into_iter().map(|difference| {
        let stage = stages.get(&difference.path).cloned();
        let summary = summaries.remove(&difference.path);
        Irreproducible { difference, stage, summary }
    });
    Err(Error::Irreproducible { files: files.collect(), all })
}

/// Returns the first stage in which each of these paths differs; `None` where the engine does not tell.
///
/// Each time the middle one is looked at of the stages that it may be, for all paths of which it may be that one.
async fn first_stages(
    session: &Session,
    builds: (&Built, &Built),
    paths: BTreeSet<String>,
) -> Option<BTreeMap<String, String>> {
    // A builder that has no names for what is built anew gives what it built last for both.
    if !builds.0.engine.abilities().mounts {
        return None;
    }
    let mut found = BTreeMap::new();
    let mut open = vec![(0, builds.0.based.rendered.last, paths)];
    while let Some((low, high, paths)) = open.pop() {
        if paths.is_empty() {
            continue;
        }
        if low == high {
            let name = builds.0.plan.stages.get(low)?.name.to_string();
            found.extend(paths.into_iter().map(|path| (path, name.clone())));
            continue;
        }
        let middle = low.midpoint(high);
        let (first, second) =
            (result_of(session, builds.0, middle).await?, result_of(session, builds.1, middle).await?);
        let differ: BTreeSet<String> =
            first.differences(&second).into_iter().map(|difference| difference.path).collect();
        let (early, late) = paths.into_iter().partition(|path| differ.contains(path));
        open.push((low, middle, early));
        open.push((middle + 1, high, late));
    }
    Some(found)
}

/// Returns what the result of a stage holds.
async fn result_of(session: &Session, built: &Built, index: usize) -> Option<Listing> {
    let (identity, folder) = (built.based.identity(), built.target().ok()?);
    origin::look(session, built, index, move |tree| pib_disk::listing(tree, &identity, &folder, &Silent).ok())
        .await
}
