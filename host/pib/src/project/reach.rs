//! What a project names outside of its own folder.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Component, Path, PathBuf};

use pib_plan::id::Digest;
use pib_plan::manifest::project::{BaseRequest, ProjectManifest, RequestSource};
use pib_plan::secret::SecretSource;

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
        }
    }

    /// Returns it in full, also the arguments of a program.
    pub(crate) fn in_full(&self) -> String {
        match self {
            Self::Runs { words, .. } => format!("starts `{}`", words.join(" ")),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reads { named, leads_to } if Path::new(named) == leads_to => write!(f, "reads `{named}`"),
            Self::Reads { named, leads_to } => {
                write!(f, "reads `{named}`, which is `{}`", leads_to.display())
            }
            // Somebody may have put a password among the arguments, and errors end in logs.
            Self::Runs { words, .. } => write!(f, "starts `{}`", words.first().map_or("", String::as_str)),
            Self::Variable(name) => write!(f, "reads the environment variable `{name}`"),
            Self::ContainerImage(name) => {
                write!(f, "takes files out of the container image `{name}`, which may be one of yours")
            }
            Self::Token(index) => write!(f, "fetches from `{index}` with your token"),
        }
    }
}

/// Returns what a manifest names outside of the project's folder.
pub(crate) fn of_manifest(dir: &Path, manifest: &ProjectManifest) -> BTreeSet<Reach> {
    let stages = manifest.stages.iter().chain(&manifest.patch).filter_map(|stage| match &stage.source {
        RequestSource::Path(path) => Reach::outside(dir, path),
        RequestSource::Git(git) => address(dir, git.url()),
        RequestSource::Registry { .. } => None,
    });
    let registries = manifest.registries.values().filter_map(|index| address(dir, index));
    let base = manifest.base.iter().filter_map(|base| match base {
        BaseRequest::Path { path, .. } => Reach::outside(dir, path),
        BaseRequest::Url { .. } | BaseRequest::Image(_) => None,
    });
    stages.chain(registries).chain(base).collect()
}

/// Returns what an address reaches, where that is on this machine.
fn address(dir: &Path, address: &str) -> Option<Reach> {
    let (scheme, path) = address.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("file") {
        return None;
    }
    // What is encoded may lead elsewhere than it seems.
    match path.contains('%') {
        true => Some(Reach::Reads { named: address.to_owned(), leads_to: path.into() }),
        false => Reach::outside(dir, path),
    }
}

/// Returns where a path leads, without links; of what is not there, where it would be.
pub(super) fn real(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    let (Some(parent), Some(last)) = (path.parent(), path.components().next_back()) else {
        return path.to_owned();
    };
    let parent = real(parent);
    match last {
        Component::Normal(name) => parent.join(name),
        Component::ParentDir => parent.parent().map(Path::to_owned).unwrap_or(parent),
        _ => parent,
    }
}
