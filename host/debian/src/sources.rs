//! The list of archives that apt has in a finished base, and their keys: the public addresses, whatever mirror the base was made
//! from, so that the base is the same everywhere.

use pib_plan::base::Bootstrap;
use pib_plan::package_archive::{ArchiveOrigin, PackageArchive};
use pib_plan::snapshot::BaseSnapshot;

use super::error::DebianError;
use super::mirror;
use super::signer::locked_keys;

/// Where Debian's keys are in a base: a package brings them.
const DEBIAN_KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The file of Debian's own archives.
const DEBIAN_FILE: &str = "etc/apt/sources.list.d/debian.sources";

/// Returns the files, by their paths in the tree.
///
/// # Errors
/// When the keys of an archive are not those that the recipe names.
pub(super) fn files(
    recipe: &Bootstrap,
    snapshot: &BaseSnapshot,
) -> Result<Vec<(String, Vec<u8>)>, DebianError> {
    if recipe.archives.is_empty() {
        let text = debian(&recipe.release, snapshot.archives.len() > 1, ["main", "main"]);
        return Ok(vec![(DEBIAN_FILE.to_owned(), text.into_bytes())]);
    }
    let mut files = Vec::new();
    let own = recipe.archives.iter().filter(|archive| archive.origin.is_none());
    let locked = |archive: &PackageArchive| snapshot.archives.iter().find(|own| own.name == archive.name);
    let own: Vec<&PackageArchive> = own.filter(|archive| locked(archive).is_some()).collect();
    if let Some(main) = own.iter().find(|archive| !archive.is_security()) {
        let security = own.iter().find(|archive| archive.is_security());
        let components = [main, security.unwrap_or(main)].map(|archive| archive.components.join(" "));
        let [main_components, security_components] = &components;
        let text = debian(&main.suite, security.is_some(), [main_components, security_components]);
        files.push((DEBIAN_FILE.to_owned(), text.into_bytes()));
    }
    for archive in &recipe.archives {
        let (Some(origin), Some(locked)) = (&archive.origin, locked(archive)) else { continue };
        let Some(keys) = locked_keys(archive, locked)? else { continue };
        let path = format!("etc/apt/keyrings/{}.gpg", archive.name);
        files.push((
            format!("etc/apt/sources.list.d/{}.sources", archive.name),
            foreign(archive, origin, &path),
        ));
        files.push((path, keys));
    }
    Ok(files)
}

fn foreign(archive: &PackageArchive, origin: &ArchiveOrigin, keys: &str) -> Vec<u8> {
    let PackageArchive { suite, components, .. } = archive;
    paragraph(&origin.url, suite, &components.join(" "), &format!("/{keys}")).into_bytes()
}

/// Returns the text for Debian's own archives, with the components of each.
fn debian(release: &str, has_security: bool, [main, security]: [&str; 2]) -> String {
    if !has_security {
        return paragraph(mirror::DEFAULT, release, main, DEBIAN_KEYS);
    }
    let suites = format!("{release} {release}-updates");
    let main = paragraph(mirror::DEFAULT, &suites, main, DEBIAN_KEYS);
    let updates = format!("{release}-security");
    let security = paragraph(mirror::DEFAULT_SECURITY, &updates, security, DEBIAN_KEYS);
    format!("{main}\n{security}")
}

fn paragraph(url: &str, suites: &str, components: &str, keys: &str) -> String {
    format!("Types: deb\nURIs: {url}\nSuites: {suites}\nComponents: {components}\nSigned-By: {keys}\n")
}

#[cfg(test)]
#[path = "sources_tests.rs"]
mod tests;
