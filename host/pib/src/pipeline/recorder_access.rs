//! How the parts of a build reach the recorder: by a socket of the build's session, or, where an engine has none, by a port of
//! this machine with a token.

use std::net::{IpAddr, SocketAddr};

use pib_debian::RelayForm;
use pib_plan::manifest::project::ProjectManifest;
use pib_plan::native::Machine;
use pib_plan::relay::{PORT_ARGUMENT, Relay, Way};
use pib_recorder::{Port, Recorder};

use super::native::{self, RUNNER};
use crate::bases::BaseCache;
use crate::engine::{Engine, EngineError};
use crate::project::{Error, RecordingError, Session, cache_lock};

/// What the program says that starts commands where it does not reach the recorder.
const UNREACHED: &str = "could not reach pib";

/// An open port of this machine, and the addresses at which the build's containers reach it.
pub(super) struct OpenPort {
    port: Port,
    addresses: Vec<SocketAddr>,
    /// What to call the engine.
    engine: String,
}

/// Returns how parts reach the recorder on an engine.
///
/// # Errors
/// When they cannot.
pub(super) fn way(engine: &Engine) -> Result<Way, Error> {
    let info = engine.info();
    let cannot = |why: String| Err(RecordingError::Impossible { why }.into());
    let known =
        Machine::of(&info.arch).filter(|machine| Machine::of(std::env::consts::ARCH) == Some(*machine));
    match known.filter(|_| !RUNNER.is_empty()) {
        None => cannot(format!("pib has no program for {}", info.arch)),
        Some(machine) if engine.abilities().mounts => Ok(Way::Session(machine)),
        Some(_) if engine.is_local() => Ok(Way::Port),
        Some(_) => cannot(format!(
            "{} at {} is on another machine, and without BuildKit its containers do not reach pib on this one",
            engine.builder(),
            info.address
        )),
    }
}

/// Loads the program that starts commands into the engine, without tools; returns what instructions need to reach a recorder
/// that is called `socket`.
///
/// # Errors
/// When the engine cannot have it, or does not take it.
pub(super) async fn load_relay(
    session: &Session,
    engine: &Engine,
    manifest: &ProjectManifest,
    socket: String,
) -> Result<Relay, Error> {
    let way = way(engine)?;
    let (form, platform, name) = match way {
        Way::Session(machine) => (RelayForm::Mounted, machine.platform(), "pib-relay"),
        // It is copied from where the engine takes it for the target's.
        Way::Port => (RelayForm::Copied, manifest.project.arch.platform(), "pib-relay-copied"),
    };
    let stored = BaseCache::new(&session.cache).relay(RUNNER, form)?;
    cache_lock::used(&stored.path);
    let of_target = if way == Way::Port { format!("-{}", manifest.project.arch) } else { String::new() };
    let image = format!("{name}:{}{of_target}", &stored.digest.hex()[..16]);
    native::load_image(session, engine, &stored, (&image, platform)).await?;
    Ok(Relay { image, way, socket })
}

/// Opens a port at which the containers of an engine on this machine reach a recorder.
///
/// # Errors
/// When none can be opened.
pub(super) async fn open_port(
    session: &Session,
    engine: &Engine,
    recorder: &Recorder,
) -> Result<OpenPort, Error> {
    let addresses = engine.host_addresses().await;
    let failed = |error: std::io::Error| {
        let why = format!("no port can be opened for the containers of {}: {error}", engine.builder());
        Error::from(RecordingError::Impossible { why })
    };
    // What pasta translates comes to this machine's own address.
    let port = recorder.open_port(&addresses).await.map_err(failed)?;
    session.mask.hide(port.token().as_bytes());
    let at = |address: IpAddr| SocketAddr::new(address, port.number());
    let addresses = addresses.into_iter().map(at).collect();
    Ok(OpenPort { port, addresses, engine: engine.builder() })
}

impl OpenPort {
    /// Returns the build argument that tells parts of it.
    pub(super) fn argument(&self) -> (String, String) {
        let addresses: Vec<String> = self.addresses.iter().map(SocketAddr::to_string).collect();
        (PORT_ARGUMENT.to_owned(), format!("pib://{}@{}", self.port.token(), addresses.join(",")))
    }

    /// Returns what is behind the failure of a build, where that is that no part has reached the port.
    pub(super) fn explain(&self, error: Error) -> Error {
        let Error::Engine(EngineError::BuildFailed { message, log_tail, .. }) = &error else { return error };
        let says = |text: &String| text.contains(UNREACHED);
        if self.port.was_reached() || !(says(message) || log_tail.iter().any(says)) {
            return error;
        }
        let places = self.addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>();
        RecordingError::Unreachable { engine: self.engine.clone(), places: places.join(", ") }.into()
    }
}
