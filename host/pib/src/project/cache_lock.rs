//! The lock on the cache: whoever uses the cache holds it shared, whoever takes things out of it holds it alone.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{Error, Session, blocking};
use pib_event::ReporterExt as _;

/// Holds the cache, so that nothing is taken out of it; `None` where nothing can be written there anyway.
pub(crate) async fn hold(session: &Session) -> Option<File> {
    let file = open(session).ok()?;
    match file.try_lock_shared() {
        Ok(()) => Some(file),
        Err(TryLockError::WouldBlock) => {
            session.reporter.note("Waiting for another pib that takes things out of the cache");
            blocking::wait(file, File::lock_shared).await.ok()
        }
        Err(TryLockError::Error(_)) => None,
    }
}

/// Notes that something of the cache is being used, once a day at most: what nobody uses can be pruned.
pub(crate) fn used(path: &Path) {
    let old = |time: SystemTime| time.elapsed().is_ok_and(|age| age > Duration::from_secs(24 * 3600));
    let modified = path.metadata().and_then(|metadata| metadata.modified());
    if modified.is_ok_and(old) {
        // A cache that cannot be written cannot be pruned either.
        let _ = pib_file::open(path).and_then(|file| file.set_modified(SystemTime::now()));
    }
}

/// Waits until nobody else uses the cache.
pub(crate) async fn alone(session: &Session) -> Result<File, Error> {
    let path = session.cache.join("lock");
    let fail = |error| Error::io("lock the cache by", &path, error);
    let file = open(session).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            session.reporter.note("Waiting for another pib that uses the cache");
            blocking::wait(file, File::lock).await.map_err(fail)
        }
        Err(TryLockError::Error(error)) => Err(fail(error)),
    }
}

fn open(session: &Session) -> std::io::Result<File> {
    pib_file::make_private(&session.cache)?;
    pib_file::open_or_create(session.cache.join("lock"))
}
