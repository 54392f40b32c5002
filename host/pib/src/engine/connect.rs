//! Finds the engine, and says what to do where there is none.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bollard::Docker;

use super::context;
use super::dial::{Endpoint, SHORT};
use super::docker_host::Address;
use super::error::EngineError;
use super::tls::Tls;

/// What Podman calls itself.
pub(super) const PODMAN: &str = "Podman";
/// The API version of Docker Engine 20.10, the oldest that pib is tried with.
const OLDEST_API: (u32, u32) = (1, 41);

/// Where to look for the engine. The caller takes these from the command line and the environment.
#[derive(Debug, Clone, Default)]
pub struct ConnectOptions {
    /// What the command line names: an address, or a Docker context.
    pub named: Option<String>,
    /// The engine's address (`DOCKER_HOST`): `unix:///path`, `tcp://host:port` or `ssh://[user@]host`.
    pub host: Option<String>,
    /// The Docker context (`DOCKER_CONTEXT`).
    pub context: Option<String>,
    /// The docker client's folder (`DOCKER_CONFIG`, or `.docker` in the user's home).
    pub client_folder: Option<PathBuf>,
    /// Whether `tcp://` means TLS (`DOCKER_TLS_VERIFY`).
    pub tls: bool,
    /// The folder of the certificates for that (`DOCKER_CERT_PATH`); the client's folder otherwise.
    pub certificates: Option<PathBuf>,
    /// The folder of the user's sockets (`XDG_RUNTIME_DIR`).
    pub runtime_dir: Option<PathBuf>,
    /// The user's home.
    pub home: Option<PathBuf>,
    /// Whether to build with the classic builder, whatever the engine has (`DOCKER_BUILDKIT=0`).
    pub classic: bool,
}

/// What the engine said of itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct EngineInfo {
    /// `Docker` or `Podman`.
    pub name: String,
    /// The engine's version, e.g. `20.10.24`.
    pub version: String,
    /// The version of its API, e.g. `1.41`.
    pub api: String,
    /// Whether it builds with BuildKit.
    pub(super) buildkit: bool,
    /// Whether it runs without root's rights.
    pub rootless: bool,
    /// Its processor architecture in Go's words: `amd64`, `arm64`, `arm`.
    pub arch: String,
    /// The kernel that it runs on.
    pub kernel: String,
    /// Where it was found.
    pub address: String,
}

/// Returns the engine's address, a client that speaks its version, and what it said of itself.
pub(super) async fn connect(
    options: &ConnectOptions,
) -> Result<(Arc<Endpoint>, Docker, EngineInfo), EngineError> {
    match find(options)? {
        Found::Named(endpoint) => greet(endpoint).await,
        Found::Places(places) => first(places).await,
    }
}

/// Greets the engines at the usual places, until one can be used. Where none can, what the first one said is
/// the error: a socket that is there is more of a clue than those that are not.
async fn first(places: Vec<PathBuf>) -> Result<(Arc<Endpoint>, Docker, EngineInfo), EngineError> {
    let looked: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
    let mut failure = None;
    for path in places.into_iter().filter(|path| exists(path)) {
        match greet(Endpoint { address: Address::Unix(path), tls: None }).await {
            Ok(found) => return Ok(found),
            Err(error) => _ = failure.get_or_insert(error),
        }
    }
    Err(failure.unwrap_or(EngineError::NoSocket { looked: looked.join(", ") }))
}

async fn greet(endpoint: Endpoint) -> Result<(Arc<Endpoint>, Docker, EngineInfo), EngineError> {
    let endpoint = Arc::new(endpoint);
    if !matches!(endpoint.address, Address::Ssh(_)) {
        // Dialled by hand first: the client's own errors do not tell "no permission" from "nobody there".
        endpoint.try_out().await?;
    }
    let no_answer = |error: &bollard::errors::Error| match error {
        bollard::errors::Error::RequestTimeoutError => endpoint.silent(),
        other => endpoint.no_answer(other),
    };
    let (docker, allowance) = endpoint.client().map_err(|error| no_answer(&error))?;
    let introduction = async {
        let docker = docker.negotiate_version().await?;
        let version = docker.version().await?;
        Ok((docker, version))
    };
    // The client's own bound is for the beginning of an answer.
    let introduction = tokio::time::timeout(2 * endpoint.patience(), introduction).await;
    let (docker, version) =
        introduction.map_err(|_| endpoint.evasive())?.map_err(|error| no_answer(&error))?;
    let mut info = describe(&endpoint, version);
    check(&info)?;
    if info.name == PODMAN {
        // Docker tells it beside its version. Podman takes longer to say it, while it builds, than that it is there.
        let patient = docker.clone().with_timeout(SHORT);
        let asked = tokio::time::timeout(SHORT, patient.info()).await.map_err(|_| endpoint.silent())?;
        let options = asked.map_err(|error| no_answer(&error))?.security_options;
        info.rootless = options.unwrap_or_default().iter().any(|option| option.contains("rootless"));
    }
    allowance.lift();
    Ok((endpoint, docker, info))
}

/// Returns whether the options lead to this machine.
pub(super) fn is_local(options: &ConnectOptions) -> bool {
    match find(options) {
        Ok(Found::Named(endpoint)) => endpoint.is_local(),
        Ok(Found::Places(_)) => true,
        Err(_) => false,
    }
}

/// Where the engine is, or may be.
enum Found {
    Named(Endpoint),
    Places(Vec<PathBuf>),
}

/// Goes by the command line, `DOCKER_HOST`, `DOCKER_CONTEXT` and the docker client's settings, in this order, as
/// the docker client does.
fn find(options: &ConnectOptions) -> Result<Found, EngineError> {
    let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let named = set(&options.named);
    if let Some(address) = named.as_ref().filter(|name| name.contains("://") || name.starts_with('/')) {
        return endpoint(options, address, None);
    }
    let folder = options.client_folder.as_deref();
    let name = match named {
        Some(name) => Some(name),
        None => {
            if let Some(host) = set(&options.host) {
                return endpoint(options, &host, None);
            }
            match (set(&options.context), folder) {
                (Some(name), _) => Some(name),
                (None, Some(folder)) => context::chosen(folder)?,
                (None, None) => None,
            }
        }
    };
    let context = name.map_or(Ok(None), |name| context::load(folder, &name))?;
    match context {
        Some(context) => endpoint(options, &context.host, Some(context.certificates)),
        None => Ok(Found::Places(usual_places(options))),
    }
}

/// Returns the endpoint at an address. Of a context's engine only the context tells whether there is TLS.
fn endpoint(
    options: &ConnectOptions,
    address: &str,
    context: Option<Option<PathBuf>>,
) -> Result<Found, EngineError> {
    let mut address = Address::parse(address)?;
    let mut certificates = None;
    if let Address::Tcp { tls, .. } = &mut address {
        certificates = match context {
            Some(certificates) => certificates,
            None if options.tls || *tls => Some(
                options.certificates.clone().or_else(|| options.client_folder.clone()).unwrap_or_default(),
            ),
            None => None,
        };
        *tls = certificates.is_some();
    }
    let tls = certificates.as_deref().map(Tls::load).transpose()?;
    Ok(Found::Named(Endpoint { address, tls }))
}

/// Returns whether the socket is there, or may be: a folder that one may not search hides it.
fn exists(path: &Path) -> bool {
    !matches!(path.try_exists(), Ok(false))
}

fn usual_places(options: &ConnectOptions) -> Vec<PathBuf> {
    let mut places = vec![PathBuf::from("/var/run/docker.sock")];
    places.extend(options.runtime_dir.iter().map(|dir| dir.join("docker.sock")));
    for name in [".docker/run/docker.sock", ".docker/desktop/docker.sock"] {
        places.extend(options.home.iter().map(|home| home.join(name)));
    }
    places.extend(options.runtime_dir.iter().map(|dir| dir.join("podman/podman.sock")));
    places.push(PathBuf::from("/run/podman/podman.sock"));
    places
}

fn describe(endpoint: &Endpoint, version: bollard::models::SystemVersion) -> EngineInfo {
    let components = version.components.unwrap_or_default();
    let podman = components.iter().find(|component| component.name.contains("Podman"));
    let name = if podman.is_some() { PODMAN } else { "Docker" };
    let rootless = components.iter().any(|component| component.name == "rootlesskit");
    EngineInfo {
        name: name.to_owned(),
        version: version.version.unwrap_or_default(),
        api: version.api_version.unwrap_or_default(),
        rootless,
        buildkit: podman.is_none() && version.os.as_deref() == Some("linux"),
        arch: version.arch.unwrap_or_default(),
        kernel: format!("{} {}", version.os.unwrap_or_default(), version.kernel_version.unwrap_or_default()),
        address: endpoint.address.to_string(),
    }
}

fn check(info: &EngineInfo) -> Result<(), EngineError> {
    let unsuitable = |needs: &'static str, help: &str| {
        let found = format!("{} {} (API {}, {})", info.name, info.version, info.api, info.kernel.trim());
        Err(EngineError::Unsuitable { address: info.address.clone(), found, needs, help: help.to_owned() })
    };
    if !info.kernel.starts_with("linux") {
        return unsuitable("an engine that runs Linux containers", "Switch the engine to Linux containers.");
    }
    let api = info
        .api
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
    // Podman's compatible API carries the number of the Docker API that it follows: 1.40 or 1.41.
    if info.name == "Docker" && api.is_none_or(|api| api < OLDEST_API) {
        return unsuitable(
            "Docker Engine 20.10 or newer",
            "Upgrade it (on Debian and Ubuntu: `sudo apt-get install docker.io`).",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_or_foreign_engine_is_refused() {
        let info = |name: &str, api: &str, kernel: &str| EngineInfo {
            name: name.to_owned(),
            version: "19.03.15".to_owned(),
            api: api.to_owned(),
            buildkit: true,
            rootless: false,
            arch: "amd64".to_owned(),
            kernel: kernel.to_owned(),
            address: "unix:///x".to_owned(),
        };
        assert!(check(&info("Docker", "1.41", "linux 6.1")).is_ok());
        assert!(check(&info("Docker", "1.100", "linux 6.1")).is_ok());
        assert!(check(&info("Podman", "1.40", "linux 6.1")).is_ok());
        let text = check(&info("Docker", "1.40", "linux 6.1")).unwrap_err().to_string();
        assert!(text.contains("19.03.15") && text.contains("20.10"), "{text}");
        assert!(check(&info("Docker", "x", "linux 6.1")).is_err());
        assert!(check(&info("Docker", "1.41", "windows 10")).is_err());
    }

    #[test]
    fn without_any_socket_the_places_are_named() {
        let home = PathBuf::from("/nonexistent/home");
        let options = ConnectOptions {
            runtime_dir: Some("/nonexistent/run".into()),
            home: Some(home),
            ..ConnectOptions::default()
        };
        let places = usual_places(&options);
        assert_eq!(places.first().unwrap(), Path::new("/var/run/docker.sock"));
        assert!(places.contains(&PathBuf::from("/nonexistent/run/podman/podman.sock")));
        assert!(places.contains(&PathBuf::from("/nonexistent/home/.docker/run/docker.sock")));
    }
}
