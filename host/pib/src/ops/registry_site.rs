//! The pages of a registry as files beside its own, for servers that only send files.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use pib_file::Folder;
use pib_plan::id::StageName;

use super::registry_catalogue::{Catalogue, newest};
use super::registry_pages::{self, ASSETS, FEED, Pages, STAGES_FILE, StagePage, list_files, stage_feed_file};
use crate::project::Error;
use crate::source::registry::Registry;
use crate::source::registry_list::{ListedStage, StageList};

/// The longest page that is looked at, in bytes.
const MAX_PAGE: u64 = 1 << 20;
/// How many stages are read at the same time.
const AT_ONCE: usize = 4;

/// Writes the pages of the registry in a folder into that folder, and removes those of stages that it has no more.
///
/// # Errors
/// When the registry cannot be read, or the folder cannot be written.
pub(super) async fn write(root: &Path) -> Result<(), Error> {
    let registry = Registry::folder(root)?;
    let folder = Folder::open(root).map_err(|error| Error::io("open", root, error))?;
    let catalogue = Catalogue::read(&registry).await?;
    let site = Site { folder: &folder, registry: &registry, catalogue: &catalogue };
    for asset in &ASSETS {
        site.replace(&format!("assets/{}", asset.name), asset.text.as_bytes())?;
    }
    let (mut pages, mut feeds) = (BTreeSet::new(), BTreeSet::new());
    let written = catalogue.stages.iter().map(|entry| site.write_stage(&entry.name));
    let mut written = stream::iter(written).buffer_unordered(AT_ONCE);
    while let Some((page, feed)) = written.try_next().await? {
        pages.insert(page);
        feeds.insert(feed);
    }
    let list = StageList { stages: catalogue.stages.iter().map(ListedStage::of).collect() };
    site.replace(STAGES_FILE, &serde_json::to_vec(&list).unwrap_or_default())?;
    site.replace(FEED, registry_pages::feed(&catalogue.history, Pages::Files).as_bytes())?;
    let mut lists = BTreeSet::new();
    for (name, from) in list_files(catalogue.stages.len()) {
        if !site.is_anothers(&name) {
            site.replace(&name, registry_pages::list(&catalogue, "", from, Pages::Files).as_bytes())?;
        }
        lists.insert(name);
    }
    site.remove_others("stages", ".html", &pages)?;
    site.remove_others("feeds", ".atom", &feeds)?;
    site.remove_others("", ".html", &lists)
}

struct Site<'a> {
    folder: &'a Folder,
    registry: &'a Registry,
    catalogue: &'a Catalogue,
}

impl Site<'_> {
    /// Writes the page and the feed of a stage; returns their names.
    async fn write_stage(&self, name: &StageName) -> Result<(String, String), Error> {
        let file = self.registry.versions(name).await?;
        let (page, feed) = (format!("{name}.html"), stage_feed_file(name));
        let Some(entry) = newest(&file) else { return Ok((page, feed)) };
        let archive = self.registry.archive(&entry).await?;
        let readme = tokio::task::spawn_blocking(move || registry_pages::readme(&archive));
        let readme =
            readme.await.map_err(|error| Error::io("read", self.folder.path(), io::Error::other(error)))?;
        let (catalogue, readme) = (self.catalogue, readme.as_deref());
        let stage = StagePage { entry: &entry, file: &file, readme, catalogue, pages: Pages::Files };
        self.replace(&format!("stages/{page}"), stage.to_html().as_bytes())?;
        let text = registry_pages::stage_feed(name, &file, Pages::Files);
        self.replace(&format!("feeds/{feed}"), text.as_bytes())?;
        Ok((page, feed))
    }

    /// Returns whether a page is there that a person has written.
    fn is_anothers(&self, path: &str) -> bool {
        let before = self.folder.read_text(Path::new(path), MAX_PAGE);
        before.is_ok_and(|text| !text.contains(registry_pages::GENERATOR))
    }

    /// Replaces a file by a whole one, unless it is as it should be.
    fn replace(&self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = Path::new(path);
        let write = || {
            if self.folder.read(path, bytes.len() as u64).is_ok_and(|before| before == bytes) {
                return Ok(());
            }
            if let Some(folder) = path.parent() {
                self.folder.make_folder(folder)?;
            }
            let mut new = self.folder.output(path)?.create()?;
            new.file().write_all(bytes)?;
            new.keep(Permissions::from_mode(0o644))
        };
        write().map_err(|error| Error::io("write", self.folder.path().join(path), error))
    }

    /// Removes the pages in a folder that are of nothing any more. What a person has put there stays.
    fn remove_others(&self, folder: &str, suffix: &str, written: &BTreeSet<String>) -> Result<(), Error> {
        let at = self.folder.path().join(folder);
        let fail = |error| Error::io("tidy up", &at, error);
        let below = match folder {
            "" => Ok(self.folder.clone()),
            folder => self.folder.make_folder(folder),
        };
        for entry in below.and_then(|folder| folder.entries()).map_err(fail)? {
            let name = entry.name.to_string_lossy().into_owned();
            let stem = name.strip_suffix(suffix).filter(|_| !written.contains(&name));
            let is_ours = stem.is_some_and(|stem| match folder {
                "" => stem.strip_prefix("page-").is_some_and(|number| number.parse::<usize>().is_ok()),
                _ => stem.parse::<StageName>().is_ok(),
            });
            if is_ours {
                self.folder.remove_file(PathBuf::from(folder).join(&name)).map_err(fail)?;
            }
        }
        Ok(())
    }
}
