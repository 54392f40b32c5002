//! Removes what pib made: of this project, or everything.

use std::path::{Path, PathBuf};

use pib_plan::packages;
use serde::Serialize;

use crate::engine::Engine;
use crate::pipeline::base_source::LABEL;
use crate::pipeline::job::{PROJECT_LABEL, project_id};
use crate::project::{Error, Project, Session};
use pib_event::ReporterExt as _;

/// The ends of the names of files that builds leave.
const LEFT: [&str; 9] =
    [".img", ".img.xz", ".img.zst", ".sha256", ".bmap", ".json", ".tar", ".img.part", ".stages.json"];
/// The folder of logs in `target/`.
const LOGS: &str = "logs";
/// How all ids of package caches begin.
const ALL_PACKAGES: &str = "pib.packages.";

/// What was removed.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CleanReport {
    /// How many containers.
    pub containers: usize,
    /// The container images, by their tags or ids.
    pub images: Vec<String>,
    /// How many bytes of packages that builds had downloaded.
    pub packages: u64,
    /// The files and folders.
    pub files: Vec<PathBuf>,
    /// What is in use and stays.
    pub kept: Vec<String>,
}

/// Removes the project's containers, container images, downloaded packages, and files in `target/`; with `all` those of
/// every project, and bases and native tools too. The cache of this machine is the business of `pib cache`.
///
/// # Errors
/// When the engine does not answer, or a file cannot be removed.
pub async fn clean(session: &Session, all: bool) -> Result<CleanReport, Error> {
    let project = match Project::load(session) {
        Ok(project) => Some(project),
        Err(Error::NoProject(_)) if all => None,
        Err(error) => return Err(error),
    };
    let _exclusive = match &project {
        Some(project) => Some(Project::exclusive(session, &project.dir).await?),
        None => None,
    };
    let mut report = CleanReport::default();
    let (label, prefix) = match &project {
        Some(project) if !all => {
            let label = format!("{PROJECT_LABEL}={}", project_id(&project.dir));
            (label, packages::project_prefix(&project.manifest.project.name))
        }
        _ => (LABEL.to_owned(), ALL_PACKAGES.to_owned()),
    };
    let engine = Engine::connect(&session.engine).await?;
    containers(&engine, &label, &mut report).await?;
    images(&engine, &label, &mut report).await?;
    report.packages = engine.forget_kept(&prefix).await?;
    if let Some(project) = &project {
        files(&project.target(), &project.manifest.project.name, &mut report)?;
    }
    for kept in &report.kept {
        session.reporter.warn(format!("{kept} is in use, and stays"));
    }
    Ok(report)
}

async fn containers(engine: &Engine, label: &str, report: &mut CleanReport) -> Result<(), Error> {
    for container in engine.containers(label).await? {
        if container.running {
            // Somebody works in it.
            report.kept.push(format!("container {}", &container.id[..container.id.len().min(12)]));
        } else {
            engine.remove_container(&container).await;
            report.containers += 1;
        }
    }
    Ok(())
}

async fn images(engine: &Engine, label: &str, report: &mut CleanReport) -> Result<(), Error> {
    for image in engine.container_images(label).await? {
        let mut names: Vec<&String> = image.tags.iter().filter(|tag| !tag.contains("<none>")).collect();
        if names.is_empty() {
            names.push(&image.id);
        }
        for name in names {
            match engine.remove_image(name).await {
                Ok(_) => report.images.push(name.clone()),
                Err(_) => report.kept.push(format!("container image {name}")),
            }
        }
    }
    Ok(())
}

/// Removes what builds left in `target/`; what somebody else put there stays.
fn files(target: &Path, name: &str, report: &mut CleanReport) -> Result<(), Error> {
    let Ok(entries) = std::fs::read_dir(target) else { return Ok(()) };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let shown = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let own = shown.trim_start_matches('.');
        let is_left = own.starts_with(&format!("{name}-")) && LEFT.iter().any(|end| own.ends_with(end));
        let fail = |error| Error::io("remove", &path, error);
        if shown == LOGS && path.is_dir() {
            std::fs::remove_dir_all(&path).map_err(fail)?;
        } else if is_left && path.is_file() {
            std::fs::remove_file(&path).map_err(fail)?;
        } else {
            continue;
        }
        report.files.push(path);
    }
    Ok(())
}

impl CleanReport {
    /// Returns the report for people.
    pub fn to_text(&self) -> String {
        let packages = self.packages.div_ceil(1 << 20);
        format!(
            "Removed {} containers, {} container images, {packages} MiB of packages, {} files",
            self.containers,
            self.images.len(),
            self.files.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_builds_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let own =
            ["x-rpi4-arm64.img", "x-rpi4-arm64.img.sha256", "x-rpi4-arm64.json", "x-rpi4-arm64.stages.json"];
        let others = ["notes.txt", "y-rpi4-arm64.img", "x-notes.txt"];
        for name in own.iter().chain(&others) {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir_all(folder.path().join("logs")).unwrap();
        std::fs::create_dir_all(folder.path().join("x-mine.img")).unwrap();
        let mut report = CleanReport::default();
        files(folder.path(), "x", &mut report).unwrap();
        assert_eq!(report.files.len(), own.len() + 1, "{report:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), others.len() + 1);
        files(&folder.path().join("none"), "x", &mut report).unwrap();
    }
}
