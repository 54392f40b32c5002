//! Finds the stage that has made a file which no image can hold.

use pib_disk::{DiskError, pax};

use super::job::{self, Built};
use crate::engine::RootfsTar;
use crate::project::{Error, Session, blocking};
use pib_event::{ReporterExt as _, Silent};

/// The id of the step in events.
const STEP: &str = "origin";

/// Adds to an error about one file which stage has made it, where that can be found out.
///
/// The engine has every stage's result still, so that a few of them are looked at, each time the middle one of those
/// that it may be.
pub(crate) async fn stage_of(session: &Session, built: &Built, error: Error) -> Error {
    let Error::Disk(DiskError::Name { path, what, stage: None }) = error else { return error };
    session.reporter.started(STEP, "Looking for the stage that made it");
    let found = first_with(session, built, &path).await;
    session.reporter.finished(STEP, false);
    Error::Disk(DiskError::Name { path, what, stage: found })
}

/// Returns the first stage whose result has the file; `None` where the engine does not say.
async fn first_with(session: &Session, built: &Built, path: &[u8]) -> Option<String> {
    // Of stages that came from a shared cache, only what they make together is known.
    let (mut low, mut high) = (built.pulled.unwrap_or(0), built.based.rendered.last);
    while low < high {
        let middle = low.midpoint(high);
        match has(session, built, middle, path).await? {
            true => high = middle,
            false => low = middle + 1,
        }
    }
    let is_known = built.pulled.is_none_or(|pulled| low > pulled);
    Some(built.plan.stages.get(low).filter(|_| is_known)?.name.to_string())
}

/// Returns whether the result of a stage has the file.
async fn has(session: &Session, built: &Built, index: usize, path: &[u8]) -> Option<bool> {
    let path = path.to_owned();
    look(session, built, index, move |tree| names(tree, &path)).await
}

/// Returns what `read` finds in the result of a stage; `None` where the engine does not give it.
///
/// The engine has it still: a build with nothing cached has, too, since it tells its own instructions from earlier ones.
pub(super) async fn look<T: Send + 'static>(
    session: &Session,
    built: &Built,
    index: usize,
    read: impl FnOnce(blocking::Stoppable<RootfsTar>) -> Option<T> + Send + 'static,
) -> Option<T> {
    let rendered = &built.based.rendered;
    let tag = format!("{}-origin", built.tag);
    let named = (&built.plan, tag.as_str());
    let mut request = job::request(session, rendered, named, built.network.as_ref(), built.trial);
    request.target = Some(&built.plan.stages.get(index)?.name);
    built.engine.build(&request, &Silent).await.ok()?;
    let found = match built.engine.export(&tag).await {
        Ok(tree) => blocking::read(tree, read).await.ok(),
        Err(_) => None,
    };
    // What stays is found by its label when the project is cleaned.
    _ = built.engine.remove_image(&tag).await;
    found?
}

/// Returns whether a tar has an entry of this name; `None` where it breaks before that is known.
fn names(tar: impl std::io::Read, path: &[u8]) -> Option<bool> {
    let mut found = false;
    let read = pax::for_each(tar, |meta, _| {
        found = found || meta.path == path || meta.path.strip_prefix(b"./") == Some(path);
        // The rest need not be read.
        if found { Err(std::io::Error::other("found")) } else { Ok(()) }
    });
    (found || read.is_ok()).then_some(found)
}
