//! Tells what is set, and from where: the command line, the environment, `pib.toml`, the user's `config.toml`, or nothing.
//!
//! Values that let somebody in are never told, only that they are there. Settings of stages are not told at all: which of
//! them are secrets is known only when the stages are.

use std::ffi::OsStr;
use std::path::Path;

use pib_plan::hook::Limits;
use pib_plan::manifest::project::{self as manifest, ProjectManifest, RequestSource};
use pib_plan::manifest::user;
use pib_plan::redaction::{is_suspect, without_login};
use serde::Serialize;
use serde_json::Value;
use toml::Table;

use crate::project::{self, Error, Project, Session, user_config};

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Setting {
    /// Its name, as the file spells it: `image.compress`.
    pub key: String,
    /// Its value, where it has one that may be shown.
    pub value: Option<String>,
    /// Whether it has a value that must not be shown.
    pub hidden: bool,
    /// What decides it.
    pub from: From,
    /// The option, variable or file that has it.
    #[serde(rename = "where")]
    pub place: Option<String>,
}

/// What decides a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum From {
    /// An option of this command.
    CommandLine,
    /// A variable of the environment.
    Environment,
    /// The project's `pib.toml`.
    Project,
    /// The user's `config.toml`.
    User,
    /// Nothing: it is as pib has it.
    Default,
}

/// Variables of the environment that decide what no file does, each with the setting that it is.
const VARIABLES: [(&str, &str); 12] = [
    ("DOCKER_CONFIG", "engine.client-folder"),
    ("DOCKER_TLS_VERIFY", "engine.tls"),
    ("DOCKER_CERT_PATH", "engine.certificates"),
    ("DOCKER_BUILDKIT", "engine.buildkit"),
    ("GIT_SSH_COMMAND", "git.ssh-command"),
    ("PIB_TRUST", "trust"),
    ("PIB_HOST_ROOT", "host-root"),
    ("http_proxy", "proxy.http"),
    ("https_proxy", "proxy.https"),
    ("all_proxy", "proxy.all"),
    ("no_proxy", "proxy.none"),
    ("SSL_CERT_FILE", "certificate-authorities"),
];

/// Returns the settings that hold in the project where there is one, and for the user.
///
/// # Errors
/// When the manifest or the user's config is wrong, or the project has no such target.
pub fn settings(session: &Session) -> Result<Vec<Setting>, Error> {
    let mut all = Vec::new();
    folders(session, &mut all);
    engine(session, &mut all);
    variables(session, &mut all);
    user_settings(session, &mut all)?;
    match project::find(session) {
        Ok(dir) => project_settings(session, &dir, &mut all)?,
        // Without a project, what holds for all of them is worth telling.
        Err(Error::NoProject(_)) if session.project.is_none() && session.target.is_none() => {}
        Err(error) => return Err(error),
    }
    Ok(all)
}

fn folders(session: &Session, all: &mut Vec<Setting>) {
    if let Some(project) = &session.project {
        all.push(found("project", path(project), From::CommandLine, Some("--project")));
    }
    all.push(match session.cache_is_chosen {
        true => found("cache", path(&session.cache), From::Environment, Some("PIB_CACHE_DIR")),
        false => found("cache", path(&session.cache), From::Default, None),
    });
    all.push(match &session.target_dir {
        Some(folder) => found("target-dir", path(folder), From::Environment, Some("PIB_TARGET_DIR")),
        None => found("target-dir", "target in the project".to_owned(), From::Default, None),
    });
    if let Some(folder) = &session.config {
        let chosen = is_set(session, "XDG_CONFIG_HOME").then_some("XDG_CONFIG_HOME");
        let from = if chosen.is_some() { From::Environment } else { From::Default };
        all.push(found("config", path(folder), from, chosen));
    }
}

fn engine(session: &Session, all: &mut Vec<Setting>) {
    let options = &session.engine;
    let of = |name: &'static str| (From::Environment, Some(name));
    let (value, (from, place)) = match (&options.named, &options.host, &options.context) {
        (Some(named), ..) => (named.clone(), (From::CommandLine, Some("--engine"))),
        (_, Some(host), _) if is_set(session, "DOCKER_HOST") => (host.clone(), of("DOCKER_HOST")),
        (_, Some(host), _) => (host.clone(), of("CONTAINER_HOST")),
        (.., Some(context)) => (context.clone(), of("DOCKER_CONTEXT")),
        _ => {
            ("Docker's current context, or the first socket that is there".to_owned(), (From::Default, None))
        }
    };
    all.push(found("engine", value, from, place));
}

fn variables(session: &Session, all: &mut Vec<Setting>) {
    for (name, key) in VARIABLES {
        // Those of proxies are also written in capitals.
        let capitals = name.to_uppercase();
        let of = |name| session.variables.get(OsStr::new(name)).filter(|value| !value.is_empty());
        let set = [name, &*capitals].into_iter().find_map(|name| Some((name, of(name)?)));
        if let Some((name, value)) = set {
            all.push(found(key, value.to_string_lossy().into_owned(), From::Environment, Some(name)));
        }
    }
    let key = |name: &str, end: &str| format!("registries.{}.{end}", name.to_lowercase().replace('_', "-"));
    for (name, index) in &session.registries.indexes {
        let variable = format!("PIB_REGISTRIES_{name}_INDEX");
        all.push(found(&key(name, "index"), index.clone(), From::Environment, Some(&variable)));
    }
    for name in session.registries.tokens.keys() {
        let variable = format!("PIB_REGISTRIES_{name}_TOKEN");
        all.push(hidden(&key(name, "token"), From::Environment, &variable));
    }
}

fn user_settings(session: &Session, all: &mut Vec<Setting>) -> Result<(), Error> {
    let config = user_config::load(session)?;
    let file = session.config.as_deref().map(|folder| path(session.show(&folder.join(user::FILE_NAME))));
    let file = file.as_deref();
    for (name, registry) in &config.registries {
        let key = |end: &str| format!("registries.{name}.{end}");
        all.push(found(&key("index"), registry.index.clone(), From::User, file));
        let address = format!("{}/", registry.index.trim_end_matches('/'));
        if let Some(pinned) = config.registry_keys.get(&address) {
            all.push(found(&key("key"), pinned.to_string(), From::User, file));
        }
        if registry.token.is_some() {
            all.push(hidden(&key("token"), From::User, file.unwrap_or_default()));
        }
    }
    for (name, place) in &config.stores {
        all.push(found(&format!("stores.{name}"), place.clone(), From::User, file));
    }
    if let Some(cache) = &config.cache {
        all.push(found("cache.url", cache.location.to_string(), From::User, file));
        all.push(found("cache.write", cache.write.as_str().to_owned(), From::User, file));
    }
    for (name, engine) in &config.engines {
        let key = |end: &str| format!("engines.{name}.{end}");
        all.push(found(&key("address"), without_login(&engine.address), From::User, file));
        if !engine.platforms.is_empty() {
            all.push(found(&key("platforms"), engine.platforms.join(", "), From::User, file));
        }
        all.push(found(&key("slots"), engine.slots.to_string(), From::User, file));
    }
    if !config.private_servers.is_empty() {
        all.push(found("network.private", config.private_servers.join(", "), From::User, file));
    }
    if let Some(address) = &config.snapshots {
        all.push(found("network.snapshots", address.to_string(), From::User, file));
    }
    let values =
        |limits: &Limits| serde_json::to_value(limits).ok().and_then(|value| value.as_object().cloned());
    let usual = values(&Limits::default()).unwrap_or_default();
    for (name, value) in values(&config.hooks).unwrap_or_default() {
        let (from, place) = match usual.get(&name) == Some(&value) {
            true => (From::Default, None),
            false => (From::User, file),
        };
        all.push(found(&format!("hooks.{name}"), plain(&value), from, place));
    }
    Ok(())
}

fn project_settings(session: &Session, dir: &Path, all: &mut Vec<Setting>) -> Result<(), Error> {
    let text = project::manifest_text(dir)?;
    let project = Project::with_manifest(session, dir.to_owned(), &text)?.of(session.target.as_deref())?;
    let file = path(session.show(&dir.join(manifest::FILE_NAME)));
    let written: Table = toml::from_str(&text).unwrap_or_default();
    let own = written
        .get("target")
        .zip(session.target.as_deref())
        .and_then(|(targets, name)| targets.get(name)?.as_table());
    for (key, value) in known(&project.manifest) {
        // A target has the keys of [project] at its root.
        let in_target = own.is_some_and(|own| has(own, key.strip_prefix("project.").unwrap_or(key)));
        let (from, place) = match in_target || has(&written, key) {
            true => (From::Project, Some(&*file)),
            false => (From::Default, None),
        };
        if from == From::Project || value.is_some() {
            all.push(Setting {
                value: value.map(|value| without_login(&value)),
                ..found(key, String::new(), from, place)
            });
        }
    }
    for (key, value) in named(&project.manifest) {
        all.push(match is_suspect(key.rsplit('.').next().unwrap_or_default(), &value) {
            true => hidden(&key, From::Project, &file),
            false => found(&key, value, From::Project, Some(&file)),
        });
    }
    Ok(())
}

/// Returns the keys that every project has, with the values that hold.
fn known(manifest: &ProjectManifest) -> Vec<(&'static str, Option<String>)> {
    let (project, image) = (&manifest.project, &manifest.image);
    let text = |value: &str| Some(value.to_owned());
    let word = |value: Result<Value, serde_json::Error>| value.ok().map(|value| plain(&value));
    let network = match manifest.build.network {
        manifest::Network::Open => "open",
        manifest::Network::Recorded => "recorded",
    };
    let losses = match manifest.build.losses {
        manifest::Losses::Allow => "allow",
        manifest::Losses::Refuse => "refuse",
    };
    let bills = image.sbom.iter().map(|bill| match bill {
        manifest::Bill::Spdx => "spdx",
        manifest::Bill::Cyclonedx => "cyclonedx",
    });
    let bills: Vec<&str> = bills.collect();
    vec![
        ("project.name", text(&project.name)),
        ("project.os", text(&project.os)),
        ("project.release", text(&project.release)),
        ("project.board", text(&project.board)),
        ("project.arch", text(project.arch.as_str())),
        ("project.kernel", project.kernel.as_ref().map(ToString::to_string)),
        ("project.hostname", text(&project.hostname)),
        ("project.locale", text(&project.locale)),
        ("project.timezone", text(&project.timezone)),
        ("project.mirror", project.mirror.clone()),
        ("project.security-mirror", project.security_mirror.clone()),
        ("image.compress", word(serde_json::to_value(image.compress))),
        ("image.sbom", Some(bills.join(", ")).filter(|bills| !bills.is_empty())),
        ("image.table", word(serde_json::to_value(image.layout.table))),
        ("image.size", image.layout.size.map(|size| size.to_string())),
        ("image.writer", word(serde_json::to_value(image.layout.writer))),
        ("image.foreign-root", text(&image.layout.foreign_root.to_string())),
        ("build.native", text(&manifest.build.native.to_string())),
        ("build.network", text(network)),
        ("build.losses", text(losses)),
        ("vendor.path", manifest.vendor.clone()),
    ]
}

/// Returns what the project gives names of its own.
fn named(manifest: &ProjectManifest) -> Vec<(String, String)> {
    let of = |table: &'static str| {
        move |(name, value): (&String, &String)| (format!("{table}.{name}"), value.clone())
    };
    let registries =
        manifest.registries.iter().map(|(name, index)| (format!("registries.{name}.index"), index.clone()));
    let cache = manifest.cache.iter().flat_map(|cache| {
        let values = [("url", cache.location.to_string()), ("write", cache.write.as_str().to_owned())];
        values.map(|(key, value)| (format!("cache.{key}"), value))
    });
    let keys = manifest.registries.iter().filter_map(|(name, index)| {
        let key = manifest.registry_keys.get(&format!("{}/", index.trim_end_matches('/')))?;
        Some((format!("registries.{name}.key"), key.to_string()))
    });
    let stages =
        manifest.stages.iter().map(|stage| (format!("stages.{}", stage.name), source(&stage.source)));
    registries
        .chain(keys)
        .chain(cache)
        .chain(manifest.stores.iter().map(of("stores")))
        .chain(manifest.variables.iter().map(of("variables")))
        .chain(stages)
        .collect()
}

/// Returns where a stage comes from, and which versions will do.
fn source(source: &RequestSource) -> String {
    match source {
        RequestSource::Registry { version, registry: None } => version.to_string(),
        RequestSource::Registry { version, registry: Some(name) } => format!("{version} from {name}"),
        RequestSource::Path(folder) => folder.clone(),
        RequestSource::Git(git) => git.to_string(),
    }
}

/// Returns whether a file has a key.
fn has(table: &Table, key: &str) -> bool {
    match key.split_once('.') {
        Some((first, rest)) => {
            table.get(first).and_then(toml::Value::as_table).is_some_and(|table| has(table, rest))
        }
        None => table.contains_key(key),
    }
}

fn is_set(session: &Session, name: &str) -> bool {
    session.variables.get(OsStr::new(name)).is_some_and(|value| !value.is_empty())
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn found(key: &str, value: String, from: From, place: Option<&str>) -> Setting {
    let value = Some(without_login(&value));
    Setting { key: key.to_owned(), value, hidden: false, from, place: place.map(str::to_owned) }
}

fn hidden(key: &str, from: From, place: &str) -> Setting {
    Setting { key: key.to_owned(), value: None, hidden: true, from, place: Some(place.to_owned()) }
}
