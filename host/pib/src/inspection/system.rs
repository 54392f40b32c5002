//! What the system in an image consists of.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use pib_debian::InstalledPackage;
use pib_disk::{FileKind, FilesReader, Metadata, walk};
use pib_plan::id::Digest;
use serde::Serialize;

use super::content_hasher::ContentHasher;
use super::error::InspectionError;
use super::opened::OpenedImage;

/// What a system consists of.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SystemContent {
    /// What the system calls itself, by `os-release`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The distribution's short name, by `os-release`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its host name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// How many files, folders and other entries it has.
    pub entries: u64,
    /// How many bytes its files have; a file with several names counts once.
    pub bytes: u64,
    /// The bytes in each folder of the root and below it.
    pub folders: BTreeMap<String, u64>,
    /// Its packages, sorted by name.
    pub packages: Vec<PackageContent>,
    /// What kind of packages they are.
    #[serde(skip)]
    pub(super) package_kind: PackageKind,
    /// Programs that run with more rights than their user has: by setuid, setgid or capabilities.
    pub privileged: Vec<SpecialFile>,
    /// Units of systemd that are started, by the links in `/etc/systemd/system`.
    pub services: Vec<String>,
    /// Everything in it, for comparisons.
    #[serde(skip)]
    pub(super) files: BTreeMap<String, FileFacts>,
}

/// A package of a system.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PackageContent {
    /// What the package manager knows of it.
    #[serde(flatten)]
    pub package: InstalledPackage,
    /// The bytes that its files have in the image.
    pub bytes: u64,
    /// Its licences, as its file `copyright` or pacman's database names them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub licences: Vec<String>,
}

/// What kind of packages a system has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum PackageKind {
    /// Debian's, which dpkg keeps.
    #[default]
    Deb,
    /// Arch Linux's, which pacman keeps.
    Alpm,
}

impl PackageKind {
    /// Returns the kind's name in package URLs (<https://github.com/package-url/purl-spec/blob/main/PURL-TYPES.rst>).
    pub(super) const fn purl_type(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Alpm => "alpm",
        }
    }

    /// Returns what names the licences of a package.
    pub(super) const fn licences_from(self) -> &'static str {
        match self {
            Self::Deb => "its file copyright",
            Self::Alpm => "pacman's database",
        }
    }
}

/// A file that gives rights.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SpecialFile {
    /// Its path.
    pub path: String,
    /// `setuid`, `setgid` or `capabilities`.
    pub right: &'static str,
    /// The user and the group.
    pub owner: (u32, u32),
}

/// What is compared of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileFacts {
    pub(super) metadata: Metadata,
    pub(super) digest: Option<Digest>,
}

/// The most bytes of a file that are read for its digest, and of all files. A file may claim to be larger than any disk,
/// and be empty.
const MAX_FILE: u64 = 64 << 30;
const MAX_FILES: u64 = 1 << 40;
/// The largest text that is read.
const MAX_TEXT: u64 = 64 << 20;

impl OpenedImage {
    /// Reads the system in the image; none where there is no root file system. With `digests` all of its files are read.
    ///
    /// # Errors
    /// When something of it cannot be read.
    pub fn system(&self, digests: bool) -> Result<Option<SystemContent>, InspectionError> {
        let Some(root) = self.root()? else { return Ok(None) };
        let mut files = self.files(root)?;
        let mut found =
            collect(&mut *files, "", digests, self.stopped()).map_err(|error| self.fail(error))?;
        // What is mounted from other partitions is a part of the system.
        for (partition, mount) in self.mounts(&mut *files)? {
            let mut mounted = self.files(partition)?;
            found.extend(
                collect(&mut *mounted, &mount, digests, self.stopped()).map_err(|error| self.fail(error))?,
            );
        }
        let (package_kind, packages) = self.packages(&mut *files, &found)?;
        let release = self.text(&mut *files, "/etc/os-release")?.unwrap_or_default();
        let value = |key: &str| {
            let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        let hostname = self.text(&mut *files, "/etc/hostname")?.map(|text| text.trim().to_owned());
        Ok(Some(SystemContent {
            name: value("PRETTY_NAME"),
            id: value("ID"),
            hostname: hostname.filter(|name| !name.is_empty()),
            entries: found.len() as u64,
            bytes: bytes(&found, |_| true),
            folders: folders(&found),
            packages,
            package_kind,
            privileged: privileged(&found),
            services: services(&found),
            files: found,
        }))
    }

    /// Returns the partitions that the system's fstab mounts, with where.
    fn mounts(
        &self,
        files: &mut dyn FilesReader,
    ) -> Result<Vec<(&pib_disk::FoundPartition, String)>, InspectionError> {
        let fstab = self.text(files, "/etc/fstab")?.unwrap_or_default();
        let mut found = Vec::new();
        for line in fstab.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let mut fields = line.split_whitespace();
            let (Some(device), Some(mount)) = (fields.next(), fields.next()) else { continue };
            let is_it = |partition: &&pib_disk::FoundPartition| match device.split_once('=') {
                Some(("LABEL", label)) => partition.label.as_deref() == Some(label),
                Some(("UUID", uuid)) => partition.uuid.as_deref() == Some(uuid),
                Some(("PARTUUID", uuid)) => partition.partuuid == uuid,
                Some(("PARTLABEL", label)) => partition.name.as_deref() == Some(label),
                _ => device == format!("/dev/mmcblk0p{}", partition.number),
            };
            if mount != "/"
                && mount.starts_with('/')
                && let Some(partition) = self.disk().partitions().iter().find(is_it)
                && self.disk().files(partition.number).is_ok()
            {
                found.push((partition, mount.trim_end_matches('/').to_owned()));
            }
        }
        Ok(found)
    }

    pub(super) fn text(
        &self,
        files: &mut dyn FilesReader,
        path: &str,
    ) -> Result<Option<String>, InspectionError> {
        let fail = |error: pib_disk::ReadingError| self.fail(error.of_file(path));
        if files.find(path).map_err(fail)?.is_none() {
            return Ok(None);
        }
        let bytes = files.read(path, MAX_TEXT).map_err(fail)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

#[cfg(test)]
impl SystemContent {
    /// Returns a system of which nothing is known.
    pub(super) fn empty() -> Self {
        Self {
            name: None,
            id: None,
            hostname: None,
            entries: 0,
            bytes: 0,
            folders: BTreeMap::new(),
            packages: Vec::new(),
            package_kind: PackageKind::default(),
            privileged: Vec::new(),
            services: Vec::new(),
            files: BTreeMap::new(),
        }
    }
}

/// Returns the size of a package's file. Packages have files below `/bin`, `/lib` and `/sbin`, which lead into `/usr`.
pub(super) fn file_size(found: &BTreeMap<String, FileFacts>, path: &str) -> Option<u64> {
    let facts = found.get(path).or_else(|| found.get(&format!("/usr{path}")))?;
    (facts.metadata.kind == FileKind::File)
        .then_some(facts.metadata.size / u64::from(facts.metadata.links.max(1)))
}

/// Returns all entries of a file system by their paths in the system.
fn collect(
    files: &mut dyn FilesReader,
    mount: &str,
    digests: bool,
    stopped: &AtomicBool,
) -> Result<BTreeMap<String, FileFacts>, pib_disk::ReadingError> {
    let mut found = BTreeMap::new();
    let mut left = MAX_FILES;
    walk(files, &mut |files, path, entry, metadata| {
        if stopped.load(Ordering::Relaxed) {
            return Err(pib_disk::ReadingError::Write(io::Error::other("stopped by the user")));
        }
        let digest = match metadata.kind {
            FileKind::File if digests => {
                let mut hasher = ContentHasher::new(stopped);
                let most = MAX_FILE.min(left);
                left -= files.copy_entry(entry, &mut hasher, most).map_err(|error| error.of_file(path))?;
                Some(hasher.finish())
            }
            _ => None,
        };
        found.insert(format!("{mount}{path}"), FileFacts { metadata: metadata.clone(), digest });
        Ok::<_, pib_disk::ReadingError>(())
    })?;
    Ok(found)
}

/// Returns the bytes of the files that are wanted. What has several names is shared out among them.
fn bytes(found: &BTreeMap<String, FileFacts>, wanted: impl Fn(&str) -> bool) -> u64 {
    let files = found.iter().filter(|(path, facts)| facts.metadata.kind == FileKind::File && wanted(path));
    files.map(|(_, facts)| facts.metadata.size / u64::from(facts.metadata.links.max(1))).sum()
}

/// Returns the bytes in each folder of the root, and in each of `/usr` and `/var`.
fn folders(found: &BTreeMap<String, FileFacts>) -> BTreeMap<String, u64> {
    let mut sizes = BTreeMap::new();
    for (path, facts) in found.iter().filter(|(_, facts)| facts.metadata.kind == FileKind::File) {
        let mut names = path.split('/').skip(1);
        let first = names.next().unwrap_or_default();
        let folder = match (first, names.next(), names.next()) {
            ("usr" | "var", Some(second), Some(_)) => format!("/{first}/{second}"),
            (_, Some(_), _) => format!("/{first}"),
            _ => "/".to_owned(),
        };
        *sizes.entry(folder).or_default() += facts.metadata.size / u64::from(facts.metadata.links.max(1));
    }
    sizes
}

fn privileged(found: &BTreeMap<String, FileFacts>) -> Vec<SpecialFile> {
    let mut files = Vec::new();
    for (path, FileFacts { metadata, .. }) in found {
        if metadata.kind != FileKind::File {
            continue;
        }
        let owner = (metadata.uid, metadata.gid);
        let rights = [
            ("setuid", metadata.mode & 0o4000 != 0),
            ("setgid", metadata.mode & 0o2000 != 0),
            ("capabilities", metadata.xattrs.contains_key("security.capability")),
        ];
        for (right, _) in rights.into_iter().filter(|(_, has)| *has) {
            files.push(SpecialFile { path: path.clone(), right, owner });
        }
    }
    files
}

/// Where `systemctl` links units that are enabled, and masks others.
const UNITS: &str = "/etc/systemd/system/";

/// Returns the units that `systemctl enable` linked into a target, and nothing masks: services, sockets, timers and others.
fn services(found: &BTreeMap<String, FileFacts>) -> Vec<String> {
    let is_masked = |unit: &str| {
        let own = found.get(&format!("{UNITS}{unit}")).map(|facts| &facts.metadata.kind);
        matches!(own, Some(FileKind::Symlink(target)) if target == "/dev/null")
    };
    let links = found.iter().filter(|(_, facts)| matches!(facts.metadata.kind, FileKind::Symlink(_)));
    let units = links.filter_map(|(path, _)| {
        let (target, unit) = path.strip_prefix(UNITS)?.split_once('/')?;
        let is_wanted = target.ends_with(".wants") || target.ends_with(".requires");
        (is_wanted && !is_masked(unit)).then(|| unit.to_owned())
    });
    units.collect::<BTreeSet<_>>().into_iter().collect()
}
