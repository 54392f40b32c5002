//! The packages that a system has, by the database of its dpkg.

use std::io::{self, BufRead};

use serde::Serialize;

use crate::deb822;

/// A package that a system has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct InstalledPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub arch: String,
    /// The source package that it is made of, where that has another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Who keeps it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub maintainer: String,
    /// Its project's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub homepage: Option<String>,
    /// How much it takes when installed, in bytes, as it says of itself.
    pub size: u64,
    /// The names of the packages that it needs; of alternatives all.
    #[serde(skip)]
    pub needs: Vec<String>,
    /// What else it counts as.
    #[serde(skip)]
    pub provides: Vec<String>,
}

/// Where the database is, in a root file system.
pub const STATUS: &str = "/var/lib/dpkg/status";

/// Reads dpkg's database; packages that were removed and left settings are not among them.
///
/// # Errors
/// When it cannot be read, or is not in Debian's syntax.
pub fn installed(status: impl BufRead) -> io::Result<Vec<InstalledPackage>> {
    let found = std::cell::RefCell::new(Vec::new());
    let package = std::cell::RefCell::new((InstalledPackage::default(), false));
    deb822::read(
        status,
        |name, value| {
            let (package, is_installed) = &mut *package.borrow_mut();
            match name {
                "Package" => package.name = value.to_owned(),
                "Version" => package.version = value.to_owned(),
                "Architecture" => package.arch = value.to_owned(),
                "Maintainer" => package.maintainer = value.to_owned(),
                "Homepage" => package.homepage = Some(value.to_owned()),
                "Source" => package.source = value.split_whitespace().next().map(str::to_owned),
                "Installed-Size" => package.size = value.parse::<u64>().unwrap_or(0).saturating_mul(1024),
                "Depends" | "Pre-Depends" => package.needs.extend(names(value)),
                "Provides" => package.provides.extend(names(value)),
                "Status" => *is_installed = value.split_whitespace().next_back() == Some("installed"),
                _ => {}
            }
        },
        || {
            let (package, is_installed) = std::mem::take(&mut *package.borrow_mut());
            if is_installed && !package.name.is_empty() {
                found.borrow_mut().push(package);
            }
            Ok(())
        },
    )?;
    Ok(found.into_inner())
}

/// Returns the names in a relation, without versions and architectures.
fn names(relation: &str) -> impl Iterator<Item = String> {
    relation.split([',', '|']).filter_map(|one| {
        let name = one.trim().split([' ', '(', ':', '\n']).next()?;
        (!name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_and_removed_ones_are_not() {
        let status = "Package: a\nStatus: install ok installed\nVersion: 1-2\nArchitecture: arm64\nInstalled-Size: 3\n\
                      Source: src (1-1)\nDepends: b (>= 1) | c:any, d\nDescription: x\n more\n\n\
                      Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n";
        let found = installed(status.as_bytes()).unwrap();
        let [package] = &found[..] else { panic!("{found:?}") };
        assert_eq!((&*package.name, &*package.version, package.size), ("a", "1-2", 3072));
        assert_eq!(
            (package.source.as_deref(), &package.needs[..]),
            (Some("src"), &["b", "c", "d"].map(str::to_owned)[..])
        );
    }
}
