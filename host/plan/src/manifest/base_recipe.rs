//! `[base.OS]` of an init stage: how the base of an operating system is made.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::archive_table::{self, ArchiveEntry, ArchiveTable};
use super::tarball_table::{self, TarballEntry, TarballTable};
use super::{ManifestError, ManifestText};
use crate::id::Arch;
use crate::package_archive::PackageArchive;
use crate::signed_tarball::SignedTarball;

/// How the base of one operating system is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseRecipe {
    /// The way to make it.
    pub bootstrap: Bootstrap,
    /// The releases that the stage is known to work with.
    pub releases: Vec<String>,
    /// Packages beside the essential ones.
    pub include: Vec<String>,
    /// Where its packages are, unless a project names another mirror; `None` for Debian's mirrors.
    pub mirror: Option<String>,
    /// The archives of its packages; empty for Debian's own.
    archives: Vec<ArchiveEntry>,
    /// The tarballs of its root file system, one for each architecture.
    tarballs: Vec<TarballEntry>,
}

impl BaseRecipe {
    /// Returns the archives of a release's packages for an architecture; nothing where they are Debian's own.
    ///
    /// The first is the release's own.
    pub fn archives(&self, release: &str, arch: Arch) -> Vec<PackageArchive> {
        self.archives.iter().filter_map(|entry| entry.of(release, arch)).collect()
    }

    /// Returns the tarball of a system's release for an architecture, where there is one.
    pub fn tarball(&self, (os, release): (&str, &str), arch: Arch) -> Option<SignedTarball> {
        self.tarballs.iter().find_map(|entry| entry.of((os, release), arch))
    }

    /// Returns whether its packages are of archives that it names.
    pub fn names_archives(&self) -> bool {
        !self.archives.is_empty()
    }
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct BaseTable {
    #[cfg_attr(test, schemars(with = "Bootstrap"))]
    bootstrap: Spanned<Bootstrap>,
    #[serde(default)]
    releases: Vec<String>,
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    include: Option<Spanned<Vec<String>>>,
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    mirror: Option<Spanned<String>>,
    /// The archives of the packages, a table for each.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Vec<ArchiveTable>"))]
    archive: Vec<Spanned<ArchiveTable>>,
    /// The signed tarballs, a table for each architecture.
    #[serde(default)]
    #[cfg_attr(test, schemars(with = "Vec<TarballTable>"))]
    tarball: Vec<Spanned<TarballTable>>,
}

/// A way to make a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Bootstrap {
    /// From a Debian archive: essential and required packages, and apt.
    Debian,
    /// From a signed tarball that the distribution publishes.
    Tarball,
}

/// Reads `[base]`.
pub(super) fn read(
    source: &ManifestText,
    tables: BTreeMap<String, BaseTable>,
) -> Result<BTreeMap<String, BaseRecipe>, ManifestError> {
    tables.into_iter().map(|(os, table)| Ok((os, read_base(source, table)?))).collect()
}

fn read_base(source: &ManifestText, table: BaseTable) -> Result<BaseRecipe, ManifestError> {
    let BaseTable { bootstrap, releases, include, mirror, archive, tarball } = table;
    let place = bootstrap.span();
    let bootstrap = bootstrap.into_inner();
    let needless = match bootstrap {
        Bootstrap::Debian => tarball.first().map(|first| (first.span(), "tarballs")),
        Bootstrap::Tarball => {
            let included = include.as_ref().map(|list| (list.span(), "`include`"));
            included.or_else(|| archive.first().map(|first| (first.span(), "archives")))
        }
    };
    if let Some((span, what)) = needless {
        let message =
            format!("a base in `{}` has {what}, which its `bootstrap` makes no use of", source.file);
        let help = "A base is made of archives with bootstrap = \"debian\", and of a tarball with bootstrap = \"tarball\".";
        return Err(source.error(span, message, "this one").with_help(help));
    }
    if bootstrap == Bootstrap::Tarball && tarball.is_empty() {
        let message = format!("a base in `{}` is to be a tarball, and names no tarball", source.file);
        let help =
            "Add a [[base.OS.tarball]] for each architecture, with `arch`, `url`, `keys` and `key-url`.";
        return Err(source.error(place, message, "asked for here").with_help(help));
    }
    let include = include.map(Spanned::into_inner).unwrap_or_default();
    let mirror = mirror.map(|own| archive_table::read_address(source, &own)).transpose()?;
    let archives = archive_table::read(source, archive)?;
    let tarballs = tarball_table::read(source, tarball)?;
    Ok(BaseRecipe { bootstrap, releases, include, mirror, archives, tarballs })
}
