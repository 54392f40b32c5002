//! Puts what a build is made of into a store, for other machines.

use std::path::{Path, PathBuf};

use pib_plan::base::WantedBase;
use pib_plan::id::{Digest, INIT};
use pib_recorder::{RemoteStore, put};
use serde::Serialize;

use crate::bases::BaseCache;
use crate::pipeline::resolve_all::{AllResolved, resolve_all};
use crate::pipeline::{base_source, recording};
use crate::project::{self, Error, LockMode, Project, RecordingError, Session, blocking};

/// What a store has now.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pushed {
    /// The store's folder.
    pub store: PathBuf,
    /// How many files it has of this project.
    pub files: usize,
    /// How many of them are new.
    pub new: usize,
}

/// Puts the packages of the bases that the lock names, and what parts fetched, into a store of the project's, or into a folder.
///
/// # Errors
/// When there is no such store, it cannot be written to, or this machine does not have everything: the store gets what there is.
pub async fn push(session: &Session, store: Option<&str>) -> Result<Pushed, Error> {
    let dir = project::find(session)?;
    let _exclusive = Project::exclusive(session, &dir).await?;
    let project = Project::load(session)?;
    let root = folder(session, &project, store)?;
    // What is pushed is what the lock names.
    let all = resolve_all(session, &project, LockMode { locked: true, offline: true }).await?;
    let (files, new) = fill(session, &all, &root).await?;
    Ok(Pushed { store: root, files, new })
}

/// Puts what builds need into the store in a folder; returns how many files that is, and how many of them are new.
///
/// # Errors
/// When the store cannot be written to, or this machine does not have everything: the store gets what there is.
pub(super) async fn fill(session: &Session, all: &AllResolved, root: &Path) -> Result<(usize, usize), Error> {
    let (files, missing) = files(session, all).await?;
    let count = files.len();
    let to = project::make_folder(session, root)?;
    let write = move || {
        let mut new = 0;
        for (digest, from) in files {
            let put = put(&to, &digest, &from);
            new += usize::from(put.map_err(|error| Error::io("write to the store", to.path(), error))?);
        }
        Ok::<_, Error>(new)
    };
    let new = tokio::task::spawn_blocking(write).await.map_err(blocking::worker)??;
    if missing.is_empty() { Ok((count, new)) } else { Err(RecordingError::NotPushed { missing }.into()) }
}

/// Returns the folder of a store: the one that is named, or else the only one that the project has in a folder.
fn folder(session: &Session, project: &Project, named: Option<&str>) -> Result<PathBuf, Error> {
    let stores = &project.manifest.stores;
    let text = match named {
        Some(name) => match stores.get(name) {
            Some(text) => text,
            None if name.contains("://") => return Err(read_only(name)),
            None if name.contains('/') => return Ok(session.path(name)),
            None => return Err(unknown(name, stores.keys().map(String::as_str))),
        },
        None => match stores.values().filter(|text| !text.contains("://")).collect::<Vec<_>>().as_slice() {
            [only] => *only,
            [] => {
                return Err(Error::usage(
                    "the project names no store in a folder",
                    "Name a folder, with a `/` in it: pib push ./store. Or write one into pib.toml, so that builds use it, too: \
                     [stores] team = \"FOLDER\".",
                ));
            }
            [..] => {
                let names = listed(stores.keys().map(String::as_str));
                return Err(Error::usage(
                    "the project has several stores",
                    format!("Name one of them: {names}."),
                ));
            }
        },
    };
    match RemoteStore::new(&project.dir, text) {
        RemoteStore::Folder(folder) => Ok(folder),
        RemoteStore::Web(url) => Err(read_only(url.as_str())),
    }
}

fn read_only(url: &str) -> Error {
    Error::usage(format!("pib cannot write to {url}"), "Push into the folder that the web server serves.")
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Error {
    let help = match pib_plan::suggest::nearest(name, known.clone()) {
        Some(near) => format!("Did you mean `{near}`?"),
        None if known.clone().next().is_some() => {
            format!("Name one of the stores in pib.toml: {}; or a folder, with a `/` in it.", listed(known))
        }
        None => "Write it into [stores] of pib.toml: NAME = \"FOLDER\"; or name a folder, with a `/` in it."
            .to_owned(),
    };
    Error::usage(format!("the project has no store `{name}`"), help)
}

/// Returns the files that builds need, by their digests, and the names of those that are not in the cache.
async fn files(session: &Session, all: &AllResolved) -> Result<(Vec<(Digest, PathBuf)>, Vec<String>), Error> {
    let debs = BaseCache::new(&session.cache).debs();
    let (mut files, mut missing) = (Vec::new(), Vec::new());
    for part in &all.parts {
        let Project { manifest, dir, .. } = &part.project;
        let packages = part.packages().await?;
        let init = packages.iter().find(|package| package.name.as_str() == INIT);
        let source = init.and_then(|init| base_source::source(manifest, dir, init).ok());
        let wanted = source.as_ref().map(|source| WantedBase { project: &manifest.project, source });
        let base = wanted.and_then(|wanted| part.lock.base(wanted));
        let listed =
            base.and_then(|base| base.snapshot.as_ref()).into_iter().flat_map(|snapshot| &snapshot.packages);
        for package in listed {
            match pib_debian::has_package(&debs, package) {
                true => files.push((package.digest, pib_debian::package_path(&debs, package))),
                false => missing.push(format!("package {} {}", package.name, package.version)),
            }
        }
    }
    if let Some(first) = all.parts.first() {
        let (bodies, absent) = recording::bodies(session, &first.project)?;
        files.extend(bodies);
        missing.extend(absent);
    }
    files.sort();
    files.dedup();
    missing.sort();
    missing.dedup();
    Ok((files, missing))
}
