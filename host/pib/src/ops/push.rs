//! Puts what a build is made of into a store, for other machines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use pib_event::ReporterExt as _;
use pib_objects::{ContentStore, ObjectError};
use pib_plan::base::WantedBase;
use pib_plan::id::{Digest, INIT};
use pib_plan::object_address::ObjectAddress;
use pib_recorder::{RemoteStore, put};
use serde::Serialize;

use crate::bases::BaseCache;
use crate::pipeline::lock_bases::{PackageChoice, lock_bases};
use crate::pipeline::resolve_all::{AllResolved, resolve_all};
use crate::pipeline::{base_source, edition, recording, stores};
use crate::project::{self, Error, LockMode, Project, RecordingError, Session, blocking, user_config};

/// How many files are sent to a server at the same time.
const AT_ONCE: usize = 6;
/// The step of sending files.
const STEP: &str = "pushed";

/// What a store has now.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Pushed {
    /// The store: its folder or its address.
    pub store: String,
    /// How many files it has of this project.
    pub files: usize,
    /// How many of them are new.
    pub new: usize,
}

/// Where files are put.
enum Destination {
    Folder(PathBuf),
    Objects(Arc<ContentStore>),
}

/// Puts the packages of the bases that the lock names, and what parts fetched, into a store: one of the project's or of the
/// user's, a bucket, a repository of an OCI registry, or a folder.
///
/// # Errors
/// When there is no such store, it cannot be written to, or this machine does not have everything: the store gets what there is.
pub async fn push(session: &Session, store: Option<&str>) -> Result<Pushed, Error> {
    let dir = project::find(session)?;
    let _exclusive = Project::exclusive(session, &dir).await?;
    let project = Project::load(session)?;
    let destination = destination(session, &project, store)?;
    // What is pushed is what the lock names. Resolving asks whether the project may use its stores.
    let mode = LockMode { locked: true, offline: true };
    let mut all = resolve_all(session, &project, mode).await?;
    let reasons = lock_bases(session, &mut all, mode, PackageChoice::Made).await?;
    let (store, (files, new)) = match destination {
        Destination::Folder(root) => (root.display().to_string(), fill(session, &all, &root).await?),
        Destination::Objects(store) => (store.to_string(), send(session, &all, &store).await?),
    };
    // The store has what there is; without a base nobody builds with it.
    if files == 0 && !reasons.is_empty() {
        return Err(Error::BaseNotLocked { reasons });
    }
    reasons.into_iter().for_each(|reason| session.warn_once(reason));
    if let Some(first) = all.parts.first() {
        edition::tell_if_empty(session, &first.project, &first.lock);
    }
    Ok(Pushed { store, files, new })
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

/// Puts what builds need into a bucket or a repository; returns how many files that is, and how many of them are new.
///
/// # Errors
/// When the store cannot be written to, or this machine does not have everything: the store gets what there is.
async fn send(session: &Session, all: &AllResolved, store: &ContentStore) -> Result<(usize, usize), Error> {
    let (files, missing) = files(session, all).await?;
    let fail = |error: ObjectError| match error {
        ObjectError::Here(error) => Error::from(RecordingError::Unreadable { why: error.to_string() }),
        error => RecordingError::Unwritable { store: store.to_string(), why: error.to_string() }.into(),
    };
    session.reporter.started(STEP, "Sending files to the store");
    let progress = stores::progress(session, STEP, files.len());
    let sent = files.iter().map(async |(digest, from)| {
        let size = pib_file::open(from).and_then(|file| file.metadata()).map_err(ObjectError::Here)?.len();
        Ok::<_, ObjectError>(((*digest, size), store.upload(digest, from).await?))
    });
    let mut sent = stream::iter(sent).buffer_unordered(AT_ONCE);
    let (mut listed, mut new) = (Vec::new(), 0);
    while let Some(outcome) = sent.next().await {
        let (file, is_new) = outcome.map_err(fail)?;
        new += usize::from(is_new);
        listed.push(file);
        progress(listed.len());
    }
    listed.sort();
    if !listed.is_empty() {
        store.list_content(&listed).await.map_err(fail)?;
    }
    session.reporter.finished(STEP, new == 0);
    if missing.is_empty() {
        Ok((listed.len(), new))
    } else {
        Err(RecordingError::NotPushed { missing }.into())
    }
}

/// Returns the store that is named, or else the only one that the project, or the user, can write to.
fn destination(session: &Session, project: &Project, named: Option<&str>) -> Result<Destination, Error> {
    let own = user_config::load(session)?.stores;
    let found = match named {
        Some(name) => store_named(session, project, &own, name)?,
        None => only_store(session, project, &own)?,
    };
    match found {
        RemoteStore::Folder(folder) => Ok(Destination::Folder(folder)),
        RemoteStore::Objects(store) => Ok(Destination::Objects(store)),
        RemoteStore::Web(url) => Err(read_only(url.as_str())),
    }
}

/// Returns the store of the project or of the user that has a name, or the one at an address or in a folder.
fn store_named(
    session: &Session,
    project: &Project,
    own: &BTreeMap<String, String>,
    name: &str,
) -> Result<RemoteStore, Error> {
    let access = session.object_access();
    if let Some(text) = project.manifest.stores.get(name) {
        return Ok(RemoteStore::new(&project.dir, text, &access));
    }
    if let Some(text) = own.get(name) {
        return Ok(RemoteStore::new(config_folder(session, project), text, &access));
    }
    if ObjectAddress::is_meant(name) {
        let address = name.parse::<ObjectAddress>().map_err(|error| {
            let help = "Write s3://BUCKET/PREFIX or oci://HOST/REPOSITORY:TAG.";
            Error::usage(format!("`{name}` is not the address of a store: {error}"), help)
        })?;
        return Ok(RemoteStore::Objects(Arc::new(ContentStore::new(address, access))));
    }
    match name {
        _ if name.contains("://") => Err(read_only(name)),
        _ if name.contains('/') => Ok(RemoteStore::Folder(session.path(name))),
        _ => Err(unknown(name, project.manifest.stores.keys().chain(own.keys()).map(String::as_str))),
    }
}

/// Returns the only store of the project that pib can write to, or else the user's only one.
fn only_store(
    session: &Session,
    project: &Project,
    own: &BTreeMap<String, String>,
) -> Result<RemoteStore, Error> {
    let access = session.object_access();
    let writable = |text: &&String| ObjectAddress::is_meant(text) || !text.contains("://");
    let of_project: Vec<&String> = project.manifest.stores.values().filter(writable).collect();
    let of_user: Vec<&String> = own.values().filter(writable).collect();
    match (of_project.as_slice(), of_user.as_slice()) {
        ([only], _) => Ok(RemoteStore::new(&project.dir, only, &access)),
        ([], [only]) => Ok(RemoteStore::new(config_folder(session, project), only, &access)),
        ([], []) => Err(Error::usage(
            "the project names no store that pib can write to",
            "Name one: pib push s3://BUCKET/PREFIX, oci://HOST/REPOSITORY, or a folder, with a `/` in it: pib push ./store. \
             Or write it into pib.toml, so that builds use it, too: [stores] team = \"FOLDER\".",
        )),
        _ => {
            let names = listed(project.manifest.stores.keys().chain(own.keys()).map(String::as_str));
            Err(Error::usage("there are several stores", format!("Name one of them: {names}.")))
        }
    }
}

/// Returns the folder that the paths of the user's own stores start from.
fn config_folder<'a>(session: &'a Session, project: &'a Project) -> &'a Path {
    session.config.as_deref().unwrap_or(&project.dir)
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
            format!(
                "Name one of the stores that there are: {}; or a folder, with a `/` in it.",
                listed(known)
            )
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
