//! Removes what pib made: of this project, of all projects of this user, or of everybody who uses the engine.
//!
//! What is found comes first, so that it can be shown before anything is removed.

use std::ffi::OsString;
use std::path::PathBuf;

use pib_file::{Entry, Folder, Kind};
use pib_plan::packages;
use pib_plan::suggest::count;
use serde::Serialize;

use crate::engine::{Container, ContainerImage, Engine};
use crate::pipeline::labels::{LABEL, PROJECT_LABEL, USER_LABEL, project_id};
use crate::pipeline::records::Records;
use crate::project::target_folder::LOGS;
use crate::project::{Error, Held, Project, Session};
use pib_event::ReporterExt as _;

/// The ends of the names of files that builds leave.
const LEFT: [&str; 11] = [
    ".img",
    ".img.xz",
    ".img.zst",
    ".sha256",
    ".bmap",
    ".json",
    ".tar",
    ".img.part",
    ".stages.json",
    ".rpi-imager-manifest",
    ".report.html",
];
/// How all ids of package caches begin.
const ALL_PACKAGES: &str = "pib.packages.";

/// Whose things are removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// What builds of this project left.
    Project,
    /// What this user's pib made, of all projects; bases and native tools too.
    User,
    /// What anybody's pib made.
    Everyone,
}

/// What is there to be removed.
pub struct Found {
    project: Option<Project>,
    engine: Option<Engine>,
    containers: Vec<Container>,
    images: Vec<ContainerImage>,
    /// How the ids of downloaded packages begin.
    packages: Vec<String>,
    files: Vec<PathBuf>,
    /// How many container images of others there are.
    others: usize,
    /// Holds the project.
    _exclusive: Option<Held>,
}

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

/// What would be removed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Listed {
    /// The ids of containers.
    pub containers: Vec<String>,
    /// The container images, by their tags or ids.
    pub images: Vec<String>,
    /// How the ids of downloaded packages begin.
    pub packages: Vec<String>,
    /// The files and folders.
    pub files: Vec<PathBuf>,
    /// The ids of containers that are in use and stay.
    pub kept: Vec<String>,
    /// How many container images of others stay.
    pub others: usize,
}

/// Finds containers, container images and downloaded packages in the engine, and files in `target/`. The cache of this
/// machine is the business of `pib cache`.
///
/// Where no engine can be reached, what is on this machine is found all the same, and a warning says what was not looked
/// for.
///
/// # Errors
/// When there is no project, or the engine breaks off.
pub async fn find(session: &Session, scope: Scope) -> Result<Found, Error> {
    let project = match Project::load(session) {
        Ok(project) => Some(project),
        Err(Error::NoProject(_)) if scope != Scope::Project => None,
        Err(error) => return Err(error),
    };
    let exclusive = match &project {
        Some(project) => Some(Project::exclusive(session, &project.dir).await?),
        None => None,
    };
    let files = project.as_ref().map(files).transpose()?.unwrap_or_default();
    let mut found = Found {
        project,
        engine: None,
        containers: Vec::new(),
        images: Vec::new(),
        packages: Vec::new(),
        files,
        others: 0,
        _exclusive: exclusive,
    };
    match Engine::connect(&session.engine).await {
        Ok(engine) => found.look_into(session, engine, scope).await?,
        Err(error) => {
            session.reporter.warn(format!("what is in a container engine was not looked for: {error}"))
        }
    }
    Ok(found)
}

impl Found {
    async fn look_into(&mut self, session: &Session, engine: Engine, scope: Scope) -> Result<(), Error> {
        let records = Records::new(session);
        let user = records.user();
        let label = match (scope, &self.project, &user) {
            (Scope::Project, Some(project), _) => format!("{PROJECT_LABEL}={}", project_id(&project.dir)),
            (Scope::User, _, Some(user)) => format!("{USER_LABEL}={user}"),
            _ => LABEL.to_owned(),
        };
        self.containers = engine.containers(&label).await?;
        if scope != Scope::User {
            self.images = engine.container_images(&label).await?;
        } else {
            // Bases have nobody's name: the same ones serve all users of an engine.
            let own = |image: &ContainerImage| {
                user.is_some() && image.labels.get(USER_LABEL) == user.as_ref()
                    || records.has_loaded(&image.id)
            };
            let (own, others) = engine.container_images(LABEL).await?.into_iter().partition::<Vec<_>, _>(own);
            (self.images, self.others) = (own, others.len());
        }
        self.packages = self.package_caches(scope);
        self.engine = Some(engine);
        Ok(())
    }

    /// Returns how the ids of the packages begin that builds have downloaded: they tell the project's name alone.
    fn package_caches(&self, scope: Scope) -> Vec<String> {
        if scope == Scope::Everyone {
            return vec![ALL_PACKAGES.to_owned()];
        }
        let own = self.project.iter().map(|project| {
            packages::project_prefix(&project.manifest.project.name, Some(&project.cache_owner()))
        });
        let tags = self.images.iter().filter(|_| scope == Scope::User).flat_map(|image| &image.tags);
        let named = tags.filter_map(|tag| tag.strip_prefix("pib/")?.split_once(':').map(|(name, _)| name));
        let named = named.map(|name| packages::project_prefix(name, None));
        let mut prefixes: Vec<String> = own.chain(named).collect();
        prefixes.sort();
        prefixes.dedup();
        prefixes
    }

    /// Returns what would be removed, for programs.
    pub fn listed(&self) -> Listed {
        let ids = |running: bool| {
            let those = self.containers.iter().filter(move |container| container.running == running);
            those.map(|container| container.id.clone()).collect()
        };
        Listed {
            containers: ids(false),
            images: self.images.iter().flat_map(names).collect(),
            packages: self.packages.clone(),
            files: self.files.clone(),
            kept: ids(true),
            others: self.others,
        }
    }

    /// Returns what would be removed, for people: a line each.
    pub fn to_text(&self) -> String {
        let mut lines = Vec::new();
        for container in &self.containers {
            let what = if container.running { "is in use, and stays" } else { "is removed" };
            lines.push(format!("container {} {what}", short(&container.id)));
        }
        lines.extend(self.images.iter().flat_map(names).map(|name| format!("container image {name}")));
        lines.extend(self.packages.iter().map(|prefix| format!("downloaded packages {prefix}*")));
        lines.extend(self.files.iter().map(|path| path.display().to_string()));
        if self.others > 0 {
            let images = count(self.others, "container image");
            lines.push(format!("(left alone: {images} of others; --everyone takes them)"));
        }
        lines.join("\n")
    }

    /// Removes it all; what is in use stays.
    ///
    /// # Errors
    /// When a file cannot be removed, or the engine breaks off.
    pub async fn remove(self, session: &Session) -> Result<CleanReport, Error> {
        let mut report = CleanReport::default();
        if let Some(project) = &self.project {
            remove_files(&project.target.make()?, self.files, &mut report)?;
        }
        if let Some(engine) = &self.engine {
            remove_containers(engine, self.containers, &mut report).await;
            remove_images(engine, &self.images, &mut report).await;
            for prefix in &self.packages {
                report.packages += engine.forget_kept(prefix).await?;
            }
        }
        for kept in &report.kept {
            session.reporter.warn(format!("{kept} is in use, and stays"));
        }
        Ok(report)
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Returns the tags of a container image, or its id.
fn names(image: &ContainerImage) -> Vec<String> {
    let tags: Vec<String> = image.tags.iter().filter(|tag| !tag.contains("<none>")).cloned().collect();
    if tags.is_empty() { vec![image.id.clone()] } else { tags }
}

async fn remove_containers(engine: &Engine, containers: Vec<Container>, report: &mut CleanReport) {
    for container in containers {
        if container.running {
            // Somebody works in it.
            report.kept.push(format!("container {}", short(&container.id)));
        } else {
            engine.remove_container(&container).await;
            report.containers += 1;
        }
    }
}

async fn remove_images(engine: &Engine, images: &[ContainerImage], report: &mut CleanReport) {
    for name in images.iter().flat_map(names) {
        match engine.remove_image(&name).await {
            Ok(_) => report.images.push(name),
            Err(_) => report.kept.push(format!("container image {name}")),
        }
    }
}

/// Returns what builds left in a project's `target/`; what somebody else put there is not among it.
fn files(project: &Project) -> Result<Vec<PathBuf>, Error> {
    let (target, name) = (project.target.make()?, &project.manifest.project.name);
    let left = left(&target, name).map_err(|error| Error::io("read the folder", target.path(), error))?;
    Ok(left.into_iter().map(|name| target.path().join(name)).collect())
}

/// Returns the names of what builds left. A link in the place of such a file is one that a build would refuse.
fn left(target: &Folder, name: &str) -> std::io::Result<Vec<OsString>> {
    let is_left = |entry: &Entry| {
        let shown = entry.name.to_string_lossy();
        let own = shown.trim_start_matches('.');
        let is_own = own.starts_with(&format!("{name}-")) && LEFT.iter().any(|end| own.ends_with(end));
        match entry.kind {
            Kind::Directory => shown == LOGS,
            Kind::Symlink => shown == LOGS || is_own,
            Kind::RegularFile => is_own,
            _ => false,
        }
    };
    Ok(target.entries()?.into_iter().filter(is_left).map(|entry| entry.name).collect())
}

fn remove_files(target: &Folder, paths: Vec<PathBuf>, report: &mut CleanReport) -> Result<(), Error> {
    for path in paths {
        let removed = target.remove_all(path.file_name().unwrap_or_default());
        removed.map_err(|error| Error::io("remove", &path, error))?;
        report.files.push(path);
    }
    Ok(())
}

impl CleanReport {
    /// Returns the report for people.
    pub fn to_text(&self) -> String {
        let packages = self.packages.div_ceil(1 << 20);
        format!(
            "Removed {}, {}, {packages} MiB of packages, {}",
            count(self.containers, "container"),
            count(self.images.len(), "container image"),
            count(self.files.len(), "file")
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
        let target = Folder::open(folder.path()).unwrap();
        let paths = left(&target, "x").unwrap().iter().map(|name| folder.path().join(name)).collect();
        remove_files(&target, paths, &mut report).unwrap();
        assert_eq!(report.files.len(), own.len() + 1, "{report:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), others.len() + 1);
        assert!(left(&target, "x").unwrap().is_empty());
    }
}
