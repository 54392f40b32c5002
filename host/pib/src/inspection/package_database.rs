//! The packages of a system, by the database of its package manager: dpkg's, or pacman's.

use std::collections::BTreeMap;
use std::io;

use pib_debian::InstalledPackage;
use pib_disk::FilesReader;

use super::error::InspectionError;
use super::licence;
use super::opened::OpenedImage;
use super::system::{FileFacts, PackageContent, PackageKind, file_size};

/// Where pacman has a folder `NAME-VERSION` for each package, with its description in `desc` and the names of its files in `files`
/// (<https://gitlab.archlinux.org/pacman/pacman>, lib/libalpm/be_local.c).
const PACMAN: &str = "/var/lib/pacman/local/";

impl OpenedImage {
    /// Returns the packages with what their files have, and their licences, sorted by name.
    pub(super) fn packages(
        &self,
        files: &mut dyn FilesReader,
        found: &BTreeMap<String, FileFacts>,
    ) -> Result<(PackageKind, Vec<PackageContent>), InspectionError> {
        let (kind, mut packages) = match self.text(files, pib_debian::STATUS)? {
            Some(status) => (PackageKind::Deb, self.dpkg_packages(files, found, &status)?),
            None => (PackageKind::Alpm, self.pacman_packages(files, found)?),
        };
        packages.sort_by(|one, other| one.package.name.cmp(&other.package.name));
        let kind = if packages.is_empty() { PackageKind::default() } else { kind };
        Ok((kind, packages))
    }

    fn dpkg_packages(
        &self,
        files: &mut dyn FilesReader,
        found: &BTreeMap<String, FileFacts>,
        status: &str,
    ) -> Result<Vec<PackageContent>, InspectionError> {
        let content = |source: io::Error| InspectionError::Content {
            path: self.path().to_owned(),
            file: pib_debian::STATUS.to_owned(),
            source,
        };
        let mut packages = Vec::new();
        for package in pib_debian::installed(status.as_bytes()).map_err(content)? {
            let info = "/var/lib/dpkg/info";
            let with_arch = format!("{info}/{}:{}.list", package.name, package.arch);
            let list = match self.text(files, &with_arch)? {
                Some(list) => Some(list),
                None => self.text(files, &format!("{info}/{}.list", package.name))?,
            };
            let bytes = list.unwrap_or_default().lines().filter_map(|path| file_size(found, path)).sum();
            let copyright = self.text(files, &format!("/usr/share/doc/{}/copyright", package.name))?;
            let licences = copyright.as_deref().map(licence::licences).unwrap_or_default();
            packages.push(PackageContent { package, bytes, licences });
        }
        Ok(packages)
    }

    fn pacman_packages(
        &self,
        files: &mut dyn FilesReader,
        found: &BTreeMap<String, FileFacts>,
    ) -> Result<Vec<PackageContent>, InspectionError> {
        let below = found.range(PACMAN.to_owned()..).map(|(path, _)| path);
        let below = below.take_while(|path| path.starts_with(PACMAN));
        let mut packages = Vec::new();
        for folder in below.filter_map(|path| path.strip_suffix("/desc")) {
            let text = self.text(files, &format!("{folder}/desc"))?.unwrap_or_default();
            let Some((package, licences)) = pacman_package(&text) else { continue };
            let list = self.text(files, &format!("{folder}/files"))?.unwrap_or_default();
            let paths = sections(&list).remove("FILES").unwrap_or_default();
            let bytes = paths.iter().filter_map(|path| file_size(found, &format!("/{path}"))).sum();
            packages.push(PackageContent { package, bytes, licences });
        }
        Ok(packages)
    }
}

/// Returns the lines of a pacman file by the name above them: `%NAME%`, then lines up to an empty one.
fn sections(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut sections: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut name = None;
    for line in text.lines() {
        match (name, line.strip_prefix('%').and_then(|line| line.strip_suffix('%'))) {
            (_, _) if line.is_empty() => name = None,
            (None, Some(own)) => name = Some(own),
            (Some(name), _) => sections.entry(name).or_default().push(line),
            (None, None) => {}
        }
    }
    sections
}

/// Reads a package's description, with its licences; `None` where it has no name or version.
fn pacman_package(text: &str) -> Option<(InstalledPackage, Vec<String>)> {
    let sections = sections(text);
    let one = |name: &str| Some((*sections.get(name)?.first()?).to_owned());
    let all = |name: &str| sections.get(name).into_iter().flatten().copied();
    // `glibc>=2.38` and `libfoo.so=1-64` are names with a condition.
    let names = |name: &str| -> Vec<String> {
        let names = all(name).filter_map(|own| own.split(['<', '>', '=', ':']).next());
        names.map(|own| own.trim().to_owned()).filter(|own| !own.is_empty()).collect()
    };
    let name = one("NAME")?;
    let package = InstalledPackage {
        version: one("VERSION")?,
        arch: one("ARCH").unwrap_or_default(),
        source: one("BASE").filter(|base| *base != name),
        maintainer: one("PACKAGER").filter(|packager| packager != "Unknown Packager").unwrap_or_default(),
        homepage: one("URL"),
        size: one("SIZE").and_then(|size| size.parse().ok()).unwrap_or(0),
        needs: names("DEPENDS"),
        provides: names("PROVIDES"),
        name,
    };
    Some((package, all("LICENSE").map(str::to_owned).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_of_pacmans_is_read() {
        let text = "%NAME%\nbash\n\n%VERSION%\n5.3.3-1\n\n%BASE%\nbash-base\n\n%DESC%\nThe shell\n%ODD%\n\n%URL%\nhttps://example.org\n\n\
                    %ARCH%\naarch64\n\n%PACKAGER%\nSomebody <some@example.org>\n\n%SIZE%\n9000\n\n%LICENSE%\nGPL-3.0-or-later\ncustom\n\n\
                    %DEPENDS%\nreadline>=8.3\nlibreadline.so=8-64\nglibc\n\n%OPTDEPENDS%\nbash-completion: for more\n\n%PROVIDES%\nsh\n\n";
        let (package, licences) = pacman_package(text).unwrap();
        assert_eq!((&*package.name, &*package.version, &*package.arch), ("bash", "5.3.3-1", "aarch64"));
        assert_eq!((package.source.as_deref(), package.size), (Some("bash-base"), 9000));
        assert_eq!(package.needs, ["readline", "libreadline.so", "glibc"]);
        assert_eq!(
            (package.provides, licences),
            (vec!["sh".to_owned()], vec!["GPL-3.0-or-later".to_owned(), "custom".to_owned()])
        );
    }

    #[test]
    fn what_is_no_description_is_no_package() {
        for text in ["", "%NAME%\n\n%VERSION%\n1-1\n", "%NAME%\nbash\n", "bash\n1-1\n", "%%\n%\n\n%"] {
            assert!(pacman_package(text).is_none(), "{text:?}");
        }
    }
}
