//! The first part of a bootstrap from end to end: mirror, indexes, packages, file tree.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pib_event::Reporter;
use pib_net::Http;
use pib_plan::emulation::Emulation;
use pib_plan::id::Arch;
use pib_plan::moment::Moment;
use pib_plan::native::Native;
use pib_plan::snapshot::{BaseSnapshot, SnapshotPackage};

use super::deb;
use super::distribution::{Distribution, WAITS, patiently};
use super::download::{self, Wanted};
use super::error::DebianError;
use super::list_cache::ListCache;
use super::mirror::{HostApt, Mirrors};
use super::rootfs::Tree;
use super::selection;
use super::{Bootstrap, Folders, second, sources, version};

/// The first part of a base: a build context for the container engine. Dropping it removes its files.
#[derive(Debug)]
pub struct Prepared {
    folder: tempfile::TempDir,
    /// The packages that it is made of.
    pub snapshot: BaseSnapshot,
}

impl Prepared {
    /// Returns the build context: a folder with a `Dockerfile` and what it adds.
    pub fn context(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the text of the `Dockerfile`, which is for the target's platform and needs no network.
    ///
    /// With `native`, native tools stand in for the target's where they can.
    pub fn dockerfile(&self, native: Option<&Native>, emulation: Option<&Emulation>) -> String {
        second::dockerfile(native, emulation)
    }

    /// Returns the paths of the files that the `Dockerfile` adds, relative to the context.
    pub fn files(&self) -> Vec<PathBuf> {
        vec![PathBuf::from(second::FIRST_TAR)]
    }
}

/// Chooses the packages that the recipe needs from what the mirrors have now, fetches them and makes the first part of the
/// base.
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
    let mirrors = Mirrors::of(recipe, host)?;
    let attempt = async || {
        let (snapshot, from) = choose(recipe, &mirrors, host, None, reporter).await?;
        lay_out(folders, recipe, snapshot, &from, reporter).await
    };
    patiently(reporter, &WAITS, attempt).await
}

/// Chooses the packages that the recipe needs from what the mirrors have now, as [`bootstrap()`] does, and fetches none.
///
/// With `as_of` it is what Debian's archive of the past had at that moment. What archives say is kept in the folder `lists`. With `offline` nothing else is known. A mirror that gives no answer is
/// given up soon, and one that is being updated is not waited for.
///
/// # Errors
/// When the recipe cannot be followed, or the mirror cannot be reached or is not trustworthy.
pub async fn choose_packages(
    lists: &Path,
    offline: bool,
    recipe: &Bootstrap,
    host: &HostApt,
    as_of: Option<Moment>,
    reporter: &Arc<dyn Reporter>,
) -> Result<BaseSnapshot, DebianError> {
    let (mirrors, lists) = (Mirrors::of(recipe, host)?, ListCache::new(lists, offline)?);
    let mirrors = match as_of {
        Some(moment) => mirrors.at_moment(moment, host)?,
        None => mirrors,
    };
    choose(recipe, &mirrors, host, Some(&lists), reporter).await.map(|(snapshot, _)| snapshot)
}

/// Returns the newest version of each package that the mirrors of a recipe's release have now.
///
/// # Errors
/// When the recipe cannot be followed, or the mirror cannot be reached or is not trustworthy.
pub async fn newest_versions(
    recipe: &Bootstrap,
    host: &HostApt,
    reporter: &Arc<dyn Reporter>,
) -> Result<BTreeMap<String, String>, DebianError> {
    let (architecture, mirrors) = (check(recipe)?, Mirrors::of(recipe, host)?);
    let attempt = async || {
        let (_, packages) = Distribution::open(architecture, &mirrors, host.dates, None, reporter).await?;
        Ok(packages.iter().map(|package| (package.name.clone(), package.version.clone())).collect())
    };
    patiently(reporter, &WAITS, attempt).await
}

/// Returns whether a version is newer than another one; an epoch that one of them does not tell counts as the other's.
pub fn is_newer(version: &str, than: &str) -> bool {
    let without = |text: &str| text.split_once(':').map_or(text, |(_, rest)| rest).to_owned();
    match version.contains(':') == than.contains(':') {
        true => version::compare(version, than) == Ordering::Greater,
        false => version::compare(&without(version), &without(than)) == Ordering::Greater,
    }
}

/// Fetches the packages that a lock names and makes the first part of the base again: the same, wherever they are found.
///
/// Each is looked for on the mirrors, and then in Debian's archive of the past. What arrives has the digest that the lock
/// names; no list of packages is needed, and no signature.
///
/// # Errors
/// When the recipe cannot be followed, a package is not available anywhere, or the cache cannot be written.
pub async fn bootstrap_again(
    folders: Folders<'_>,
    recipe: &Bootstrap,
    snapshot: &BaseSnapshot,
    host: &HostApt,
    reporter: &Arc<dyn Reporter>,
) -> Result<Prepared, DebianError> {
    let mirrors = Mirrors::of(recipe, host)?.with_the_past(host)?;
    lay_out(folders, recipe, snapshot.clone(), &mirrors, reporter).await
}

/// Fetches the packages that a lock names and the folder does not have, for a bootstrap without network.
///
/// # Errors
/// When a package is not available anywhere, or the cache cannot be written.
pub async fn fetch_packages(
    debs: &Path,
    recipe: &Bootstrap,
    snapshot: &BaseSnapshot,
    host: &HostApt,
    reporter: &Arc<dyn Reporter>,
) -> Result<(), DebianError> {
    let wanted = wanted(snapshot, &Mirrors::of(recipe, host)?.with_the_past(host)?)?;
    let what = title(recipe);
    download::all(&Http::new()?, debs, wanted, &what, reporter, |files| {
        files.for_each(drop);
        Ok(())
    })
    .await
}

/// Returns whether the folder has all packages that a lock names, by their sizes; what they hold is checked by the
/// digest of the base that they make.
pub fn has_packages(debs: &Path, snapshot: &BaseSnapshot) -> bool {
    snapshot.packages.iter().all(|package| has_package(debs, package))
}

/// Returns whether the folder has a package, by its size.
pub fn has_package(debs: &Path, package: &SnapshotPackage) -> bool {
    download::is_there(debs, &package.digest, package.size)
}

/// Returns where a package is in the folder, if it is there.
pub fn package_path(debs: &Path, package: &SnapshotPackage) -> PathBuf {
    download::path(debs, &package.digest)
}

fn wanted(snapshot: &BaseSnapshot, mirrors: &Mirrors) -> Result<Vec<Wanted>, DebianError> {
    let wanted = |package: &SnapshotPackage| {
        let moment = snapshot.archive(package).map_or(0, |archive| archive.moment);
        let urls = mirrors.addresses(&package.archive, moment, &package.path)?;
        Ok(Wanted { urls, size: package.size, digest: package.digest })
    };
    snapshot.packages.iter().map(wanted).collect()
}

/// Returns what people call the system of a recipe.
pub fn title(recipe: &Bootstrap) -> String {
    let os = match recipe.os.as_str() {
        "debian" => "Debian",
        "raspios" => "Raspberry Pi OS",
        other => other,
    };
    format!("{os} {} ({})", recipe.release, recipe.arch)
}

/// Chooses the packages of a base; with the mirrors that have them.
async fn choose(
    recipe: &Bootstrap,
    mirrors: &Mirrors,
    host: &HostApt,
    lists: Option<&ListCache>,
    reporter: &Arc<dyn Reporter>,
) -> Result<(BaseSnapshot, Mirrors), DebianError> {
    let architecture = check(recipe)?;
    if let Some(lists) = lists
        && let Some((distribution, packages)) =
            Distribution::of_kept(recipe, mirrors, host.dates, lists, reporter).await?
    {
        let snapshot = BaseSnapshot { archives: distribution.archives(), packages };
        if snapshot.check().is_ok() {
            return Ok((snapshot, distribution.mirrors()));
        }
    }
    let (distribution, packages) =
        Distribution::open(architecture, mirrors, host.dates, lists, reporter).await?;
    let selection = selection::minimal(&packages, &recipe.include).map_err(DebianError::Resolve)?;
    let archives = distribution.archives();
    let packages = selection.packages(&archives).map_err(DebianError::Resolve)?;
    let snapshot = BaseSnapshot { archives, packages };
    let wrong = |what: String| DebianError::Resolve(format!("the packages that the mirror offers {what}"));
    snapshot.check().map_err(wrong)?;
    if let Some(lists) = lists {
        distribution.keep(recipe, lists, &snapshot.packages);
    }
    Ok((snapshot, distribution.mirrors()))
}

/// Fetches the packages and makes the first part of the base.
async fn lay_out(
    folders: Folders<'_>,
    recipe: &Bootstrap,
    snapshot: BaseSnapshot,
    mirrors: &Mirrors,
    reporter: &Arc<dyn Reporter>,
) -> Result<Prepared, DebianError> {
    let architecture = check(recipe)?;
    let wanted = wanted(&snapshot, mirrors)?;
    let plan = TreePlan {
        script: second::script(&snapshot),
        sources: sources::files(recipe, &snapshot)?,
        states: second::extended_states(&snapshot, architecture),
        essential: snapshot.packages.iter().filter(|package| package.essential).count(),
        names: snapshot.packages.iter().map(SnapshotPackage::file_name).collect(),
        epoch: snapshot.moment(),
    };
    let what = title(recipe);
    let temp = folders.temp.to_owned();
    let write = move |files: &mut dyn Iterator<Item = PathBuf>| write_context(&temp, &plan, files);
    let http = Http::new()?;
    let folder = download::all(&http, folders.debs, wanted, &what, reporter, write).await?;
    Ok(Prepared { folder, snapshot })
}

/// Checks what the recipe asks for and returns Debian's name of its architecture.
fn check(recipe: &Bootstrap) -> Result<&'static str, DebianError> {
    if recipe.os != "debian" && recipe.archives.is_empty() {
        return Err(DebianError::UnsupportedOs { os: recipe.os.clone() });
    }
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if recipe.release.is_empty() || recipe.release.len() > 40 || !recipe.release.chars().all(fits) {
        return Err(DebianError::BadRelease { release: recipe.release.chars().take(80).collect() });
    }
    let arch: Arch = recipe.arch;
    recipe.package_arch().ok_or(DebianError::UnsupportedArch { arch })
}

/// What goes into the tar of the first part.
struct TreePlan {
    script: String,
    /// apt's list of archives, and their keys: paths in the tree and contents.
    sources: Vec<(String, Vec<u8>)>,
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
    let own: [(&str, u32, &str); 5] = [
        (second::SCRIPT_PATH, 0o755, &plan.script),
        ("usr/sbin/policy-rc.d", 0o755, second::POLICY),
        ("var/lib/apt/extended_states", 0o644, &plan.states),
        ("var/lib/dpkg/status", 0o644, ""),
        ("var/lib/dpkg/available", 0o644, ""),
    ];
    for (name, mode, text) in own {
        tree.add_file(name, mode, text.len() as u64, text.as_bytes()).map_err(write())?;
    }
    for (name, bytes) in &plan.sources {
        tree.add_file(name, 0o644, bytes.len() as u64, bytes.as_slice()).map_err(write())?;
    }
    tree.finish().map_err(write())?;
    let dockerfile = folder.path().join("Dockerfile");
    std::fs::write(&dockerfile, second::dockerfile(None, None))
        .map_err(DebianError::io("writing", &dockerfile))?;
    Ok(folder)
}
