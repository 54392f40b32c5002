//! What a project names outside of its own folder.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use pib_plan::id::Digest;
use pib_plan::manifest::project::{BaseRequest, ProjectManifest, RequestSource};
use pib_plan::manifest::user::UserConfig;
use pib_plan::object_address::ObjectAddress;
use pib_plan::redaction::without_login;
use pib_plan::secret::SecretSource;
use url::Url;

use super::contained::{self, Kind, real};
use crate::source::git;

/// The largest program of a project whose content is part of the answer, in bytes.
const MAX_PROGRAM: u64 = 256 << 20;

/// Something outside of a project's folder that the project asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// Files or folders are read: as the project names them, and where that leads.
    Reads { named: String, leads_to: PathBuf },
    /// A program is started: its words, and the digests of those among them that are files of the project.
    Runs { words: Vec<String>, programs: Vec<Digest> },
    /// A variable of the environment is read.
    Variable(String),
    /// Files are taken out of the container image that the engine has, or finds, by this name.
    ContainerImage(String),
    /// The user's token is sent to the registry at this address, whose stages are seen by the project's others.
    Token(String),
    /// The store or registry in the bucket or repository at this address is used, with what lets the user in there.
    Store(String),
    /// Built stages are taken from the shared cache at this address, and perhaps added to it, with what lets the user in there.
    Cache(String),
    /// The repository at this address is fetched with the user's password for git, or with their ssh.
    Login(String),
}

impl Reach {
    /// Returns what `named` is, where that is outside of the folder `dir`, also by a symbolic link.
    pub(crate) fn outside(dir: &Path, named: &str) -> Option<Self> {
        let leads_to = real(&dir.join(named));
        let is_inside = leads_to.starts_with(real(dir));
        (!is_inside).then(|| Self::Reads { named: named.to_owned(), leads_to })
    }

    /// Returns where a link in the folder `dir` leads, where that is outside of the folder.
    pub(crate) fn link(dir: &Path, link: &Path) -> Option<Self> {
        let leads_to = real(link);
        let named = link.strip_prefix(dir).unwrap_or(link).to_string_lossy().into_owned();
        (!leads_to.starts_with(real(dir))).then_some(Self::Reads { named, leads_to })
    }

    /// Returns what a project in `dir` reaches by taking a secret from `source`.
    pub(crate) fn secret(dir: &Path, source: &SecretSource) -> Option<Self> {
        match source {
            SecretSource::Env(name) => Some(Self::Variable(name.clone())),
            SecretSource::File(path) => Self::outside(dir, path),
            SecretSource::Command(words) => {
                let inside = words.iter().filter(|word| Self::outside(dir, word).is_none());
                let read = |word: &String| pib_file::read(dir.join(word), MAX_PROGRAM).ok();
                let programs = inside.filter_map(read).map(|bytes| Digest::of(&bytes)).collect();
                Some(Self::Runs { words: words.clone(), programs })
            }
        }
    }

    /// Returns how the answers name it: two things never have one name.
    pub(super) fn to_answer(&self) -> String {
        match self {
            Self::Reads { leads_to, .. } => format!("read {leads_to:?}"),
            Self::Runs { words, programs } => {
                let programs = programs.iter().map(|digest| format!(" {digest}"));
                format!("run {words:?}{}", programs.collect::<String>())
            }
            Self::Variable(name) => format!("variable {name:?}"),
            Self::ContainerImage(name) => format!("container image {name:?}"),
            Self::Token(index) => format!("token {index:?}"),
            Self::Store(address) => format!("store {address:?}"),
            Self::Cache(address) => format!("cache {address:?}"),
            Self::Login(url) => format!("git {url:?}"),
        }
    }

    /// Returns whether it is in a bucket or a repository, which the user's own config may name as well.
    pub(crate) fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Store(_) | Self::Cache(_))
    }

    /// Returns it in full, also the arguments of a program.
    pub(crate) fn in_full(&self) -> String {
        match self {
            Self::Runs { words, .. } => on_one_line(&format!("starts `{}`", words.join(" "))),
            other => other.to_string(),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Reads { named, leads_to } if Path::new(named) == leads_to => format!("reads `{named}`"),
            Self::Reads { named, leads_to } if leads_to.parent().is_none() => {
                format!("reads `{named}`, which may lead anywhere on this machine")
            }
            Self::Reads { named, leads_to } => {
                format!("reads `{named}`, which is `{}`", leads_to.display())
            }
            // Somebody may have put a password among the arguments, and errors end in logs.
            Self::Runs { words, .. } => format!("starts `{}`", words.first().map_or("", String::as_str)),
            Self::Variable(name) => format!("reads the environment variable `{name}`"),
            Self::ContainerImage(name) => {
                format!("takes files out of the container image `{name}`, which may be one of yours")
            }
            Self::Store(address) => format!("uses `{address}` with your keys or logins"),
            Self::Cache(address) => {
                format!("takes built stages from `{address}`, and may add yours, with your keys or logins")
            }
            Self::Login(url) => {
                format!("fetches from `{}` with your git credentials", without_login(&url.to_string()))
            }
            Self::Token(index) => format!("fetches from `{index}` with your token"),
        }
    }
}

impl fmt::Display for Reach {
    /// On one line: a name in it may hold line breaks, which would look like entries of their own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&on_one_line(&self.text()))
    }
}

fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Returns what a manifest names outside of the project's folder.
pub(crate) fn of_manifest(dir: &Path, manifest: &ProjectManifest) -> BTreeSet<Reach> {
    let mut found = BTreeSet::new();
    for stage in manifest.stages.iter().chain(&manifest.patch) {
        match &stage.source {
            RequestSource::Path(path) => found.extend(Reach::outside(dir, path)),
            RequestSource::Git(git) => found.extend(of_repository(dir, git.url())),
            RequestSource::Registry { .. } => {}
        }
    }
    found.extend(manifest.registries.values().flat_map(|index| of_address(dir, index, Kind::Registry)));
    let stores = manifest.stores.values().filter(|place| !place.contains("://"));
    found.extend(stores.filter_map(|folder| Reach::outside(dir, folder)));
    // Two ways to write one address are one store.
    found.extend(of_objects(manifest.stores.values().chain(manifest.registries.values())));
    found.extend(manifest.cache.as_ref().map(|cache| Reach::Cache(cache.location.to_string())));
    if let Some(BaseRequest::Path { path, .. }) = &manifest.base {
        found.extend(Reach::outside(dir, path));
    }
    found
}

/// Returns which of these the user's own config names, so that they are no matter of a project's. Where the user has a shared
/// cache, a project's is not used.
pub(crate) fn named_by_user(config: &UserConfig, asked: &BTreeSet<Reach>) -> BTreeSet<Reach> {
    let registries = config.registries.values().map(|registry| &registry.index);
    let mut found = of_objects(config.stores.values().chain(registries));
    let is_unused = |reach: &&Reach| config.cache.is_some() && matches!(reach, Reach::Cache(_));
    found.extend(asked.iter().filter(is_unused).cloned());
    found
}

/// Returns which of these addresses are of buckets and repositories: the user's own are no matter of a project's.
fn of_objects<'a>(addresses: impl Iterator<Item = &'a String>) -> BTreeSet<Reach> {
    let found = addresses.filter_map(|text| text.trim_end_matches('/').parse::<ObjectAddress>().ok());
    found.map(|address| Reach::Store(address.to_string())).collect()
}

/// Returns what a repository's address reaches: a folder of this machine, or a machine that takes the user's ssh. Whether
/// a web server asks for a password is known only when it does.
pub(super) fn of_repository(dir: &Path, url: &str) -> BTreeSet<Reach> {
    match git::takes_ssh(url) {
        true => [Reach::Login(url.to_owned())].into(),
        false => of_address(dir, url, Kind::Git),
    }
}

/// Returns what an address reaches, where that is on this machine: the folder, or what is in it and leads elsewhere.
fn of_address(dir: &Path, address: &str, kind: Kind) -> BTreeSet<Reach> {
    let url = Url::parse(address).ok().filter(|url| url.scheme() == "file");
    let text = address.split_once("://").filter(|(scheme, _)| scheme.eq_ignore_ascii_case("file"));
    let text = text.map(|(_, path)| path);
    // A URL is read by its rules, and by git as it is written.
    let by_rules = url.as_ref().and_then(|url| url.to_file_path().ok());
    let paths: Vec<&Path> = by_rules.as_deref().into_iter().chain(text.map(Path::new)).collect();
    // What is encoded may lead elsewhere than it seems.
    if !paths.is_empty() && address.contains('%') {
        let leads_to = text.map_or_else(|| PathBuf::from("/"), PathBuf::from);
        return [Reach::Reads { named: address.to_owned(), leads_to }].into();
    }
    let outside = paths.iter().find_map(|path| Reach::outside(dir, &path.to_string_lossy()));
    match outside {
        Some(outside) => [outside].into(),
        None => {
            let leads = paths.iter().flat_map(|path| contained::leads_out(dir, &real(path), kind));
            leads.map(|(named, leads_to)| Reach::Reads { named, leads_to }).collect()
        }
    }
}
