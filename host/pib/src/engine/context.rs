//! Docker contexts: names for engines, as the docker client keeps them in its folder.

use std::io;
use std::path::{Path, PathBuf};

use pib_plan::id::Digest;
use pib_plan::suggest;
use serde::Deserialize;

use super::error::EngineError;

/// The name that means "no context".
const DEFAULT: &str = "default";
/// The largest file of the client's that is read.
const MAX_FILE: u64 = 1 << 20;

/// What a context says of its engine.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DockerContext {
    /// The engine's address.
    pub(super) host: String,
    /// The folder of its certificates, where it has any.
    pub(super) certificates: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "currentContext", default)]
    current: String,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Endpoints", default)]
    endpoints: Endpoints,
}

#[derive(Default, Deserialize)]
struct Endpoints {
    docker: Option<DockerEndpoint>,
}

#[derive(Deserialize)]
struct DockerEndpoint {
    #[serde(rename = "Host", default)]
    host: String,
    #[serde(rename = "SkipTLSVerify", default)]
    unchecked: bool,
}

/// Returns the context that the client's settings choose, if they choose one.
pub(super) fn chosen(folder: &Path) -> Result<Option<String>, EngineError> {
    let path = folder.join("config.json");
    let Some(text) = read(&path)? else { return Ok(None) };
    let config: Config = serde_json::from_str(&text).map_err(|error| broken(&path, &error))?;
    Ok(Some(config.current).filter(|name| !name.is_empty() && name != DEFAULT))
}

/// Returns the context called `name`; `None` for the default one, which is no context.
pub(super) fn load(folder: Option<&Path>, name: &str) -> Result<Option<DockerContext>, EngineError> {
    if name == DEFAULT {
        return Ok(None);
    }
    let unknown = |help| EngineError::UnknownContext { name: name.to_owned(), help };
    let Some(folder) = folder else { return Err(unknown("Set HOME or DOCKER_CONFIG.".to_owned())) };
    // The client names folders by the digest of the context's name, which may hold anything.
    let id = Digest::of(name.as_bytes()).hex();
    let path = folder.join("contexts/meta").join(&id).join("meta.json");
    let Some(text) = read(&path)? else { return Err(unknown(known(folder, name))) };
    let meta: Meta = serde_json::from_str(&text).map_err(|error| broken(&path, &error))?;
    let endpoint = meta.endpoints.docker.filter(|endpoint| !endpoint.host.is_empty());
    let endpoint = endpoint.ok_or_else(|| broken(&path, &"it has no address of a Docker engine"))?;
    if endpoint.unchecked {
        return Err(broken(&path, &"it asks not to check the engine's certificate, which pib always does"));
    }
    let certificates = folder.join("contexts/tls").join(&id).join("docker");
    Ok(Some(DockerContext {
        host: endpoint.host,
        certificates: certificates.join("ca.pem").exists().then_some(certificates),
    }))
}

/// Returns help for a name that is not known: the nearest one that is, and all.
fn known(folder: &Path, name: &str) -> String {
    let folders = std::fs::read_dir(folder.join("contexts/meta")).into_iter().flatten().flatten();
    let metas = folders.filter_map(|entry| read(&entry.path().join("meta.json")).ok().flatten());
    let mut names: Vec<String> =
        metas.filter_map(|text| serde_json::from_str::<Meta>(&text).ok()).map(|meta| meta.name).collect();
    names.sort();
    if names.is_empty() {
        return "There are no contexts. Name an address (unix://, tcp://, ssh://), or make a context with `docker \
                context create`."
            .to_owned();
    }
    let nearest = suggest::nearest(name, names.iter().map(String::as_str));
    let guess = nearest.map(|near| format!("Did you mean `{near}`? ")).unwrap_or_default();
    format!("{guess}There are {}.", suggest::list(names.iter().map(String::as_str)))
}

fn read(path: &Path) -> Result<Option<String>, EngineError> {
    match pib_file::read_text(path, MAX_FILE) {
        Ok(text) => Ok(Some(text)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(source) => Err(EngineError::Io { action: "read", path: path.to_owned(), source }),
    }
}

fn broken(path: &Path, reason: &dyn std::fmt::Display) -> EngineError {
    EngineError::ClientConfig { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn context(folder: &Path, name: &str, endpoint: &str) -> String {
        let id = Digest::of(name.as_bytes()).hex();
        let meta = format!(r#"{{"Name":"{name}","Metadata":{{}},"Endpoints":{{"docker":{endpoint}}}}}"#);
        write(folder, &format!("contexts/meta/{id}/meta.json"), &meta);
        id
    }

    #[test]
    fn contexts_are_read_as_the_client_wrote_them() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path();
        assert_eq!(chosen(folder).unwrap(), None);
        write(folder, "config.json", r#"{"auths":{},"currentContext":"lab"}"#);
        assert_eq!(chosen(folder).unwrap().as_deref(), Some("lab"));
        write(folder, "config.json", r#"{"currentContext":"default"}"#);
        assert_eq!(chosen(folder).unwrap(), None);

        context(folder, "far", r#"{"Host":"ssh://lab","SkipTLSVerify":false}"#);
        let far = load(Some(folder), "far").unwrap().unwrap();
        assert_eq!(far, DockerContext { host: "ssh://lab".to_owned(), certificates: None });
        let id = context(folder, "lab", r#"{"Host":"tcp://lab:2376"}"#);
        write(folder, &format!("contexts/tls/{id}/docker/ca.pem"), "");
        let lab = load(Some(folder), "lab").unwrap().unwrap();
        assert_eq!(lab.certificates, Some(folder.join("contexts/tls").join(id).join("docker")));
        assert_eq!(load(Some(folder), "default").unwrap(), None);
    }

    #[test]
    fn what_is_wrong_with_a_context_is_told() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path();
        let said = |name: &str| {
            let error = load(Some(folder), name).unwrap_err();
            let help = miette::Diagnostic::help(&error).map(|help| help.to_string()).unwrap_or_default();
            format!("{error} {help}")
        };
        assert!(said("lab").contains("docker context create"), "{}", said("lab"));
        context(folder, "lab", r#"{"Host":"ssh://lab"}"#);
        assert!(said("lba").contains("Did you mean `lab`?"), "{}", said("lba"));
        context(folder, "blind", r#"{"Host":"tcp://x:1","SkipTLSVerify":true}"#);
        assert!(said("blind").contains("certificate"), "{}", said("blind"));
        context(folder, "empty", "null");
        assert!(said("empty").contains("no address"), "{}", said("empty"));
        write(folder, "config.json", "{");
        assert!(chosen(folder).unwrap_err().to_string().contains("config.json"));
    }
}
