//! Finds the stage of a git repository that is to be added.

use std::path::Path;

use pib_plan::id::StageName;
use pib_plan::index::{GitReference, GitSource};
use pib_plan::manifest::edit::NewStage;

use crate::pipeline::resolve;
use crate::project::reach::Reach;
use crate::project::{self, Error, LockMode, Project, Session};

/// Returns the stage of a git repository that the command line means: by its name, its folder, or as the only one.
pub(super) async fn stage(
    session: &Session,
    dir: &Path,
    (url, reference): &(String, GitReference),
    name: Option<StageName>,
    path: Option<&str>,
    mode: LockMode,
) -> Result<NewStage, Error> {
    let url = repository_url(session, url);
    // What the command line names is the user's own word, also where it takes their credentials.
    session.consent.grant(Some(Reach::Login(url.clone())).filter(|_| !url.starts_with("file://")));
    let source = |path: Option<&str>| {
        GitSource::new(&url, reference.clone(), path)
            .map_err(|error| Error::usage(error.to_string(), "Give the address that git clones from."))
    };
    let path = path.map(|path| path.trim_matches('/'));
    if let (Some(name), Some(_)) = (&name, path) {
        return Ok(NewStage { git: Some(source(path)?), ..NewStage::new(name.clone()) });
    }
    let text = project::manifest_text(dir)?;
    let project = Project::with_manifest(session, dir.to_owned(), &text)?;
    let sources = resolve::sources(session, dir, &project.manifest, mode)?;
    let found = sources.git_stages(&source(None)?).await?;
    let (name, folder) = choose(&found, name.as_ref(), path)?;
    Ok(NewStage { git: Some(source(folder)?), ..NewStage::new(name.clone()) })
}

/// Returns the stage with this name, in this folder, at the root, or the only one.
fn choose<'a>(
    found: &'a [(StageName, Option<String>)],
    name: Option<&StageName>,
    path: Option<&str>,
) -> Result<(&'a StageName, Option<&'a str>), Error> {
    let fits = |stage: &&(StageName, Option<String>)| {
        name.is_none_or(|name| stage.0 == *name) && path.is_none_or(|path| stage.1.as_deref() == Some(path))
    };
    let mut fitting: Vec<_> = found.iter().filter(fits).collect();
    if fitting.iter().any(|stage| stage.1.is_none()) {
        fitting.retain(|stage| stage.1.is_none());
    }
    let shown = |stages: &[&(StageName, Option<String>)]| {
        let lines = stages.iter().map(|stage| match &stage.1 {
            Some(folder) => format!("{} --path {folder}", stage.0),
            None => stage.0.to_string(),
        });
        pib_plan::suggest::list(lines.collect::<Vec<_>>().iter().map(String::as_str))
    };
    match fitting.as_slice() {
        [(name, folder)] => Ok((name, folder.as_deref())),
        [] if found.is_empty() => Err(Error::usage(
            "the repository has no stage",
            "A stage is a folder with a stage.toml or a Dockerfile.part.",
        )),
        [] => {
            let wanted = name.map(|name| format!(" `{name}`")).unwrap_or_default();
            let place = path.map(|path| format!(" at `{path}`")).unwrap_or_default();
            let all: Vec<_> = found.iter().collect();
            let help = format!("It has {}.", shown(&all));
            Err(Error::usage(format!("the repository has no stage{wanted}{place}"), help))
        }
        several => {
            let help = format!("Say which: {}.", shown(several));
            Err(Error::usage(format!("the repository has {} stages that fit", several.len()), help))
        }
    }
}

/// Returns the address of a repository; a folder on the command line is relative to where the person is.
fn repository_url(session: &Session, text: &str) -> String {
    let folder = session.path(text);
    if !text.contains("://")
        && folder.is_dir()
        && let Ok(folder) = folder.canonicalize()
        && let Ok(url) = url::Url::from_file_path(&folder)
    {
        return url.into();
    }
    text.to_owned()
}
