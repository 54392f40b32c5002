//! Reads an archive's `Packages` index: what packages there are and where.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::io::{self, BufRead};

use pib_plan::id::Digest;
use pib_plan::snapshot::unusable;

use super::{deb822, version};

/// The most packages that one index may have; Debian has 70,000.
const MAX_PACKAGES: usize = 1_000_000;

/// One version of one package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Package {
    /// The name.
    pub name: String,
    /// The version.
    pub version: String,
    /// E.g. `arm64` or `all`.
    pub architecture: String,
    /// Whether the system cannot do without it.
    pub essential: bool,
    /// E.g. `required`.
    pub priority: String,
    /// What must be configured before it is unpacked, as written.
    pub pre_depends: String,
    /// What must be there for it to work, as written.
    pub depends: String,
    /// The names that it also answers to, as written.
    pub provides: String,
    /// The path below the mirror.
    pub filename: String,
    /// The archive that it comes from: an index into the caller's list of mirrors.
    pub archive: usize,
    /// The size of the file in bytes.
    pub size: u64,
    /// The digest of the file.
    pub digest: Option<Digest>,
}

impl Package {
    /// Returns the name of its file in a folder of package files, which must not clash with another's.
    pub(crate) fn file_name(&self) -> String {
        format!("{}_{}_{}.deb", self.name, self.version.replace(':', "%3a"), self.architecture)
    }
}

/// The newest version of each package, by name.
#[derive(Debug, Default)]
pub(crate) struct Packages {
    by_name: HashMap<String, Package>,
}

impl Packages {
    /// Adds the packages of one index; of two versions the newer one stays, of two equal ones the first.
    ///
    /// # Errors
    /// When the index cannot be read or a paragraph lacks what pib needs.
    pub(crate) fn add(&mut self, index: impl BufRead, archive: usize) -> io::Result<()> {
        let current = RefCell::new(Package { archive, ..Package::default() });
        let field = |name: &str, value: &str| set(&mut current.borrow_mut(), name, value);
        deb822::read(index, field, || {
            let empty = Package { archive, ..Package::default() };
            self.insert(std::mem::replace(&mut *current.borrow_mut(), empty))
        })
    }

    fn insert(&mut self, package: Package) -> io::Result<()> {
        check(&package)?;
        let is_full = self.by_name.len() >= MAX_PACKAGES;
        match self.by_name.get_mut(&package.name) {
            Some(old) if version::compare(&old.version, &package.version) != Ordering::Less => {}
            Some(old) => *old = package,
            None if is_full => return Err(invalid("it lists too many packages")),
            None => {
                self.by_name.insert(package.name.clone(), package);
            }
        }
        Ok(())
    }

    /// Returns the newest version of the package with this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Package> {
        self.by_name.get(name)
    }

    /// Returns all packages, in no particular order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Package> {
        self.by_name.values()
    }
}

fn set(package: &mut Package, name: &str, value: &str) {
    match name {
        "Package" => package.name = value.to_owned(),
        "Version" => package.version = value.to_owned(),
        "Architecture" => package.architecture = value.to_owned(),
        "Essential" => package.essential = value == "yes",
        "Priority" => package.priority = value.to_owned(),
        "Pre-Depends" => package.pre_depends = value.to_owned(),
        "Depends" => package.depends = value.to_owned(),
        "Provides" => package.provides = value.to_owned(),
        "Filename" => package.filename = value.to_owned(),
        "Size" => package.size = value.parse().unwrap_or(0),
        "SHA256" => package.digest = format!("sha256:{value}").parse().ok(),
        _ => {}
    }
}

/// Refuses what would name a file outside its folder later, or could not be verified.
fn check(package: &Package) -> io::Result<()> {
    let Package { name, version, architecture, filename, size, digest, .. } = package;
    let wrong = unusable(name, version, architecture, filename, *size);
    let Some(wrong) = wrong.or(digest.is_none().then_some("digest")) else { return Ok(()) };
    let name: String = name.chars().take(80).collect();
    Err(invalid(&format!("the paragraph of package `{name}` has no {wrong} that can be used")))
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns one paragraph of an index; `more` holds further fields.
    pub(crate) fn paragraph(name: &str, version: &str, more: &str) -> String {
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: arm64\n{more}Filename: pool/{name}.deb\nSize: 10\n\
             SHA256: {}\n\n",
            Digest::of(name.as_bytes()).hex()
        )
    }

    #[test]
    fn the_newest_version_stays() {
        let mut packages = Packages::default();
        packages.add((paragraph("a", "1.9", "") + &paragraph("b", "1", "")).as_bytes(), 0).unwrap();
        packages.add((paragraph("a", "1.10", "") + &paragraph("b", "1", "")).as_bytes(), 1).unwrap();
        let found = |name| packages.get(name).map(|package| (package.version.as_str(), package.archive));
        assert_eq!((found("a"), found("b")), (Some(("1.10", 1)), Some(("1", 0))));
        assert_eq!(packages.iter().count(), 2);
    }

    #[test]
    fn what_matters_of_a_paragraph_is_kept() {
        let mut packages = Packages::default();
        let more = "Essential: yes\nPriority: required\nPre-Depends: b\nDepends: c,\n d\nTag: x::y,\n z::w\n";
        packages.add(paragraph("a", "2:1.0", more).as_bytes(), 0).unwrap();
        let package = packages.get("a").unwrap();
        assert!(package.essential);
        assert_eq!((package.pre_depends.as_str(), package.depends.as_str()), ("b", "c,\nd"));
        assert_eq!(package.file_name(), "a_2%3a1.0_arm64.deb");
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let good = paragraph("a", "1", "");
        for bad in [
            good.replace("Package: a", "Package: ../a"),
            good.replace("Version: 1", "Version: 1/../x"),
            good.replace("arm64", "a/b"),
            good.replace("pool/a.deb", "pool/../../a.deb"),
            good.replace("pool/a.deb", "/a.deb"),
            good.replace("Size: 10", "Size: x"),
            good.replace("SHA256", "MD5sum"),
        ] {
            assert!(Packages::default().add(bad.as_bytes(), 0).is_err(), "{bad}");
        }
    }
}
