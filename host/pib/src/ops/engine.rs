//! Connects to the engine, and makes sure first that it can run the target's programs.

use pib_plan::id::Arch;

use super::{Error, Session};
use crate::engine::{ConnectOptions, Engine};

/// Returns an engine that can build for `arch`.
///
/// # Errors
/// When there is none, it is too old, or this machine cannot run the target's programs; each says what to run.
pub(super) async fn connect(session: &Session, arch: Arch) -> Result<Engine, Error> {
    let engine = Engine::connect(&ConnectOptions {
        host: session.engine_host.clone(),
        runtime_dir: session.runtime_dir.clone(),
        home: session.home.clone(),
    })
    .await?;
    engine.check_binfmt(arch)?;
    Ok(engine)
}
