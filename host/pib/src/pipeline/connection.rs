//! Connects to the engine.

use std::time::Duration;

use pib_plan::lockfile::Lockfile;

use crate::engine::{Engine, EngineError, Loss};
use crate::project::{Error, Session, slow};

/// After this a temporary container is nobody's, whoever made it.
const LONG_AGO: Duration = Duration::from_secs(24 * 3600);

/// Returns an engine.
///
/// # Errors
/// When there is none, or it is too old; each says what to run.
pub(crate) async fn connect(session: &Session) -> Result<Engine, Error> {
    let connecting = Engine::connect(&session.engine);
    let engine =
        slow::shown(&*session.reporter, "engine", "Waiting for the container engine", connecting).await?;
    // What an earlier pib left that was killed. That it cannot be removed is no reason not to build.
    _ = engine.remove_leftovers(LONG_AGO).await;
    Ok(engine)
}

/// Checks that an engine gives an image everything that the stages make, where the lock refuses others.
///
/// # Errors
/// When the engine loses something.
pub(crate) fn check_losses(engine: &Engine, lock: &Lockfile) -> Result<(), Error> {
    match Loss::list(&engine.abilities().losses) {
        Some(lost) if lock.refuses_losses => {
            let address = engine.info().address.clone();
            Err(EngineError::Lossy { engine: engine.builder(), address, lost }.into())
        }
        _ => Ok(()),
    }
}
