//! Finds the engine, and says what to do where there is none.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::error::{EngineError, with_sources};

/// How long an engine may take to accept a connection, and to answer the first question.
const PATIENCE: Duration = Duration::from_secs(5);
/// The API version of Docker Engine 20.10, the oldest that pib is tried with.
const OLDEST_API: (u32, u32) = (1, 41);

/// Where to look for the engine. The caller takes these from the environment.
#[derive(Debug, Clone, Default)]
pub struct ConnectOptions {
    /// The engine's address (`DOCKER_HOST`): `unix:///path` or `tcp://host:port`.
    pub host: Option<String>,
    /// The folder of the user's sockets (`XDG_RUNTIME_DIR`).
    pub runtime_dir: Option<PathBuf>,
    /// The user's home.
    pub home: Option<PathBuf>,
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
    pub buildkit: bool,
    /// Its processor architecture in Go's words: `amd64`, `arm64`, `arm`.
    pub arch: String,
    /// The kernel that it runs on.
    pub kernel: String,
    /// Where it was found.
    pub address: String,
}

/// An engine's address, of a kind that pib can dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    Unix(PathBuf),
    Tcp(String),
}

/// A connection to the engine.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Endpoint {
    fn parse(address: &str) -> Result<Self, EngineError> {
        let fail = |reason: &str| {
            Err(EngineError::Address { address: address.to_owned(), reason: reason.to_owned() })
        };
        if let Some(path) = address.strip_prefix("unix://") {
            return if path.starts_with('/') {
                Ok(Self::Unix(path.into()))
            } else {
                fail("the path must be absolute")
            };
        }
        if address.starts_with('/') {
            return Ok(Self::Unix(address.into()));
        }
        if let Some(host) = address.strip_prefix("tcp://").or_else(|| address.strip_prefix("http://")) {
            let host = host.trim_end_matches('/');
            let port = host.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)));
            return match port {
                Some((name, _)) if !name.is_empty() => Ok(Self::Tcp(host.to_owned())),
                _ => fail("expected host:port"),
            };
        }
        fail("it is of a kind that pib does not speak")
    }

    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(host) => ["127.", "localhost:", "[::1]:"].iter().any(|local| host.starts_with(local)),
        }
    }

    pub(super) fn address(&self) -> String {
        match self {
            Self::Unix(path) => format!("unix://{}", path.display()),
            Self::Tcp(host) => format!("tcp://{host}"),
        }
    }

    /// Opens a connection of its own, for what an HTTP client cannot do.
    pub(super) async fn dial(&self) -> Result<Box<dyn Stream>, EngineError> {
        let dialling = async {
            Ok::<Box<dyn Stream>, io::Error>(match self {
                Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
                Self::Tcp(host) => Box::new(TcpStream::connect(host).await?),
            })
        };
        match tokio::time::timeout(PATIENCE, dialling).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(self.refused(&error)),
            Err(_) => Err(self.silent()),
        }
    }

    fn refused(&self, error: &io::Error) -> EngineError {
        let address = self.address();
        match (error.kind(), self) {
            (io::ErrorKind::NotFound, Self::Unix(path)) => {
                EngineError::NoSocket { looked: path.display().to_string() }
            }
            (io::ErrorKind::PermissionDenied, _) => EngineError::PermissionDenied { address },
            (io::ErrorKind::ConnectionRefused, Self::Unix(_)) => {
                let reason = "the socket is there, but nobody listens on it".to_owned();
                EngineError::NotAnswering { address, reason }
            }
            _ => EngineError::NotAnswering { address, reason: error.to_string() },
        }
    }

    fn silent(&self) -> EngineError {
        let reason = format!("it said nothing for {} seconds", PATIENCE.as_secs());
        EngineError::NotAnswering { address: self.address(), reason }
    }

    fn client(&self) -> Result<Docker, bollard::errors::Error> {
        let seconds = PATIENCE.as_secs();
        match self {
            Self::Unix(path) => {
                Docker::connect_with_unix(&path.display().to_string(), seconds, API_DEFAULT_VERSION)
            }
            Self::Tcp(host) => {
                Docker::connect_with_http(&format!("tcp://{host}"), seconds, API_DEFAULT_VERSION)
            }
        }
    }
}

/// Returns the engine's address, a client that speaks its version, and what it said of itself.
pub(super) async fn connect(options: &ConnectOptions) -> Result<(Endpoint, Docker, EngineInfo), EngineError> {
    let endpoint = find(options)?;
    // Dialled by hand first: the client's own errors do not tell "no permission" from "nobody there".
    drop(endpoint.dial().await?);
    let no_answer = |error: &bollard::errors::Error| match error {
        bollard::errors::Error::RequestTimeoutError => endpoint.silent(),
        other => EngineError::NotAnswering { address: endpoint.address(), reason: with_sources(other) },
    };
    let docker = endpoint.client().map_err(|error| no_answer(&error))?;
    let docker = docker.negotiate_version().await.map_err(|error| no_answer(&error))?;
    let version = docker.version().await.map_err(|error| no_answer(&error))?;
    let info = describe(&endpoint, version);
    check(&info)?;
    Ok((endpoint, docker, info))
}

fn find(options: &ConnectOptions) -> Result<Endpoint, EngineError> {
    if let Some(host) = options.host.as_deref().filter(|host| !host.is_empty()) {
        return Endpoint::parse(host);
    }
    let places = usual_places(options);
    if let Some(path) = places.iter().find(|path| exists(path)) {
        return Ok(Endpoint::Unix(path.clone()));
    }
    let looked: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
    Err(EngineError::NoSocket { looked: looked.join(", ") })
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
    let name = if podman.is_some() { "Podman" } else { "Docker" };
    EngineInfo {
        name: name.to_owned(),
        version: version.version.unwrap_or_default(),
        api: version.api_version.unwrap_or_default(),
        buildkit: podman.is_none() && version.os.as_deref() == Some("linux"),
        arch: version.arch.unwrap_or_default(),
        kernel: format!("{} {}", version.os.unwrap_or_default(), version.kernel_version.unwrap_or_default()),
        address: endpoint.address(),
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
    fn addresses_are_told_apart() {
        assert_eq!(Endpoint::parse("unix:///a/b").unwrap(), Endpoint::Unix("/a/b".into()));
        assert_eq!(Endpoint::parse("tcp://h:2375/").unwrap(), Endpoint::Tcp("h:2375".to_owned()));
        assert!(Endpoint::parse("tcp://127.0.0.1:1").unwrap().is_local());
        assert!(!Endpoint::parse("tcp://pi:1").unwrap().is_local());
        for bad in ["", "unix://a", "tcp://h", "tcp://:1", "tcp://h:99999", "ssh://h", "npipe://x"] {
            assert!(matches!(Endpoint::parse(bad), Err(EngineError::Address { .. })), "{bad}");
        }
    }

    #[test]
    fn an_old_or_foreign_engine_is_refused() {
        let info = |name: &str, api: &str, kernel: &str| EngineInfo {
            name: name.to_owned(),
            version: "19.03.15".to_owned(),
            api: api.to_owned(),
            buildkit: true,
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
        let options =
            ConnectOptions { host: None, runtime_dir: Some("/nonexistent/run".into()), home: Some(home) };
        let places = usual_places(&options);
        assert_eq!(places.first().unwrap(), Path::new("/var/run/docker.sock"));
        assert!(places.contains(&PathBuf::from("/nonexistent/run/podman/podman.sock")));
        assert!(places.contains(&PathBuf::from("/nonexistent/home/.docker/run/docker.sock")));
    }
}
