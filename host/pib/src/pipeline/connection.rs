//! Connects to the engine, and makes sure first that it can run the target's programs.

use std::time::Duration;

use pib_plan::id::Arch;

use crate::engine::Engine;
use crate::project::{Error, Session, slow};

/// After this a temporary container is nobody's, whoever made it.
const LONG_AGO: Duration = Duration::from_secs(24 * 3600);

/// Returns an engine that can build for `arch`.
///
/// # Errors
/// When there is none, it is too old, or this machine cannot run the target's programs; each says what to run.
pub(crate) async fn connect(session: &Session, arch: Arch) -> Result<Engine, Error> {
    let connecting = Engine::connect(&session.engine);
    let engine =
        slow::shown(&*session.reporter, "engine", "Waiting for the container engine", connecting).await?;
    engine.check_binfmt(arch)?;
    // What an earlier pib left that was killed. That it cannot be removed is no reason not to build.
    _ = engine.remove_leftovers(LONG_AGO).await;
    Ok(engine)
}
