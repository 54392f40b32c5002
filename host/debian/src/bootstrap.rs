//! The first part of a bootstrap from end to end: mirror, indexes, packages, file tree.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use pib_plan::id::Arch;
use pib_plan::native::Native;

use super::deb;
use super::distribution::{Distribution, WAITS, patiently};
use super::error::DebianError;
use super::mirror::HostApt;
use super::package_list::Package;
use super::rootfs::Tree;
use super::selection;
use super::{Bootstrap, Folders, second};
use pib_event::Reporter;

/// The first part of a base: a build context for the container engine. Dropping it removes its files.
#[derive(Debug)]
pub struct Prepared {
    folder: tempfile::TempDir,
    /// The names and versions of the packages, sorted.
    pub packages: Vec<(String, String)>,
    /// The time to which the base's files are clamped: that of the release, in seconds since 1970.
    pub epoch: u64,
}

impl Prepared {
    /// Returns the build context: a folder with a `Dockerfile` and what it adds.
    pub fn context(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the text of the `Dockerfile`, which is for the target's platform and needs no network.
    ///
    /// With `native`, native tools stand in for the target's where they can.
    pub fn dockerfile(&self, native: Option<&Native>) -> String {
        second::dockerfile(native)
    }

    /// Returns the paths of the files that the `Dockerfile` adds, relative to the context.
    pub fn files(&self) -> Vec<PathBuf> {
        vec![PathBuf::from(second::FIRST_TAR)]
    }
}

/// Fetches and verifies what the recipe needs and makes the first part of its base.
///
/// A mirror that is being updated is asked again, for a minute.
///
/// # Errors
/// When the recipe cannot be followed, the mirror cannot be reached or is not trustworthy, or the cache cannot
/// be written.
pub async fn bootstrap(
    folders: Folders<'_>,
    recipe: &Bootstrap,
    host: &HostApt,
    reporter: &Arc<dyn Reporter>,
) -> Result<Prepared, DebianError> {
    let architecture = check(recipe)?;
    let attempt = async || bootstrap_now(folders, recipe, architecture, host, reporter).await;
    patiently(reporter, &WAITS, attempt).await
}

async fn bootstrap_now(
    folders: Folders<'_>,
    recipe: &Bootstrap,
    architecture: &str,
    host: &HostApt,
    reporter: &Arc<dyn Reporter>,
) -> Result<Prepared, DebianError> {
    let mirrors = (recipe.mirror.as_deref(), recipe.security_mirror.as_deref());
    let (distribution, packages) =
        Distribution::open(&recipe.release, architecture, mirrors, host, reporter).await?;
    let epoch = distribution.epoch;
    let selection = selection::minimal(&packages, &recipe.include).map_err(DebianError::Resolve)?;

    let chosen: Vec<&Package> = selection.all().collect();
    let plan = TreePlan {
        script: second::script(&selection, epoch),
        sources: second::sources(&recipe.release, distribution.has_security),
        states: second::extended_states(&selection, architecture),
        essential: selection.essential.len(),
        names: chosen.iter().map(|package| package.file_name()).collect(),
        epoch,
    };
    let mut list: Vec<_> = selection.all().map(|p| (p.name.clone(), p.version.clone())).collect();
    list.sort();

    let what = format!("Debian {} ({})", recipe.release, recipe.arch);
    let temp = folders.temp.to_owned();
    let write = move |files: &mut dyn Iterator<Item = PathBuf>| write_context(&temp, &plan, files);
    let folder = distribution.fetch(folders.debs, &chosen, &what, reporter, write).await?;
    Ok(Prepared { folder, packages: list, epoch })
}

/// Checks what the recipe asks for and returns Debian's name of its architecture.
fn check(recipe: &Bootstrap) -> Result<&'static str, DebianError> {
    if recipe.os != "debian" {
        return Err(DebianError::UnsupportedOs { os: recipe.os.clone() });
    }
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if recipe.release.is_empty() || recipe.release.len() > 40 || !recipe.release.chars().all(fits) {
        return Err(DebianError::BadRelease { release: recipe.release.chars().take(80).collect() });
    }
    let arch: Arch = recipe.arch;
    arch.debian().ok_or(DebianError::UnsupportedArch { arch })
}

/// What goes into the tar of the first part.
struct TreePlan {
    script: String,
    sources: String,
    states: String,
    /// How many of the files belong to essential packages.
    essential: usize,
    /// The packages' names in the tree.
    names: Vec<String>,
    epoch: u64,
}

/// Writes the first part while its packages arrive; `files` are their paths.
fn write_context(
    temp: &Path,
    plan: &TreePlan,
    files: &mut dyn Iterator<Item = PathBuf>,
) -> Result<tempfile::TempDir, DebianError> {
    let folder = tempfile::TempDir::new_in(temp).map_err(DebianError::io("creating a folder in", temp))?;
    let path = folder.path().join(second::FIRST_TAR);
    let write = || DebianError::io("writing", &path);
    let mut tree = Tree::create(&path, plan.epoch)?;
    tree.merge_usr().map_err(write())?;
    for (number, (name, file)) in plan.names.iter().zip(files).enumerate() {
        let mut package = deb::Package::open(&file, temp)?;
        if number < plan.essential {
            let files = package.files().map_err(DebianError::io("reading", &file))?;
            tree.add_package(files).map_err(|error| DebianError::archive(name, error))?;
        }
        let (size, bytes) = package.plain().map_err(DebianError::io("reading", &file))?;
        tree.add_file(&format!("{}/debs/{name}", second::FOLDER), 0o644, size, bytes).map_err(write())?;
    }
    let own: [(&str, u32, &str); 6] = [
        (second::SCRIPT_PATH, 0o755, &plan.script),
        ("usr/sbin/policy-rc.d", 0o755, second::POLICY),
        ("etc/apt/sources.list.d/debian.sources", 0o644, &plan.sources),
        ("var/lib/apt/extended_states", 0o644, &plan.states),
        ("var/lib/dpkg/status", 0o644, ""),
        ("var/lib/dpkg/available", 0o644, ""),
    ];
    for (name, mode, text) in own {
        tree.add_file(name, mode, text.len() as u64, text.as_bytes()).map_err(write())?;
    }
    tree.finish().map_err(write())?;
    let dockerfile = folder.path().join("Dockerfile");
    std::fs::write(&dockerfile, second::dockerfile(None)).map_err(DebianError::io("writing", &dockerfile))?;
    Ok(folder)
}
