//! The Debian package: an `ar` archive of two tars.

use liblzma::write::XzEncoder;

use crate::copyright::{HOMEPAGE, copyright};
use crate::moment::Moment;
use crate::release::{BILL, LICENCES};
use crate::{DistError, FileTree, Release};

/// The revision of the package, for the case that a version is packed once more.
pub const REVISION: &str = "1";
/// Who answers for the package.
const MAINTAINER: &str = "The pib authors <pib-build@users.noreply.github.com>";
/// What `xz -6` uses: Debian's own packages are compressed so, and a small machine can unpack it.
const LEVEL: u32 = 6;
/// Where the package has its documents.
const DOCUMENTS: &str = "usr/share/doc/pib";
/// The start of an `ar` archive.
const MAGIC: &[u8] = b"!<arch>\n";

/// Returns the Debian package of a release.
///
/// # Errors
/// When it cannot be compressed, or when a path is too long.
pub fn deb(release: &Release) -> Result<Vec<u8>, DistError> {
    let tree = files(release)?;
    let mut control = FileTree::default();
    control.add("control", control_file(release, tree.installed_kib()));
    control.add("md5sums", tree.md5sums());
    let epoch = release.epoch;
    let mut package = MAGIC.to_vec();
    member(&mut package, "debian-binary", epoch, b"2.0\n");
    member(&mut package, "control.tar.xz", epoch, &compressed(&control, epoch)?);
    member(&mut package, "data.tar.xz", epoch, &compressed(&tree, epoch)?);
    Ok(package)
}

/// Returns what the package installs.
fn files(release: &Release) -> Result<FileTree, DistError> {
    let mut tree = FileTree::default();
    tree.add_program("usr/bin/pib", release.program.clone());
    for (name, page) in &release.documents.manual {
        tree.add_gzipped(&format!("usr/share/man/man1/{name}"), page)?;
    }
    let [bash, zsh, fish] = &release.documents.completions;
    tree.add("usr/share/bash-completion/completions/pib", bash.clone());
    tree.add("usr/share/zsh/vendor-completions/_pib", zsh.clone());
    tree.add("usr/share/fish/vendor_completions.d/pib.fish", fish.clone());
    // The licences of pib itself are in the copyright file, and the changes have Debian's name.
    let own = release.documents.own.iter().filter(|(path, _)| !path.starts_with("LICENSE"));
    for (path, content) in own {
        match path.as_str() {
            "CHANGELOG.md" => tree.add_gzipped(&format!("{DOCUMENTS}/changelog"), content)?,
            path => tree.add(format!("{DOCUMENTS}/{path}"), content.clone()),
        }
    }
    tree.add_gzipped(&format!("{DOCUMENTS}/changelog.Debian"), changelog(release).as_bytes())?;
    tree.add_gzipped(&format!("{DOCUMENTS}/{LICENCES}"), crate::third_party(&release.packages).as_bytes())?;
    tree.add_gzipped(&format!("{DOCUMENTS}/{BILL}"), release.bill.as_bytes())?;
    tree.add(format!("{DOCUMENTS}/copyright"), copyright(&release.packages));
    tree.add("usr/share/lintian/overrides/pib", overrides());
    Ok(tree)
}

fn compressed(tree: &FileTree, epoch: u64) -> Result<Vec<u8>, DistError> {
    let mut xz = XzEncoder::new(Vec::new(), LEVEL);
    let packed = tree.write_tar(".", epoch, &mut xz).and_then(|()| xz.finish());
    packed.map_err(|error| DistError::Pack { what: "the Debian package", error })
}

/// Adds a member of an `ar` archive: its name, time, owner, group, mode, size and an end mark, then its content.
fn member(package: &mut Vec<u8>, name: &str, epoch: u64, content: &[u8]) {
    let header = format!("{name:<16}{epoch:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, "100644", content.len());
    package.extend_from_slice(header.as_bytes());
    package.extend_from_slice(content);
    if content.len() % 2 == 1 {
        package.push(b'\n');
    }
}

/// Returns the package's control file. The program is linked statically, so that it depends on nothing; it uses an engine,
/// which may be on another machine.
fn control_file(release: &Release, installed_kib: usize) -> String {
    let (version, arch) = (&release.version, release.target.debian());
    format!(
        "Package: pib\n\
         Version: {version}-{REVISION}\n\
         Architecture: {arch}\n\
         Maintainer: {MAINTAINER}\n\
         Installed-Size: {installed_kib}\n\
         Recommends: ca-certificates, docker.io | docker-ce | podman\n\
         Suggests: qemu-system-arm, openssh-client, diffoscope-minimal\n\
         Section: devel\n\
         Priority: optional\n\
         Homepage: {HOMEPAGE}\n\
         Description: builds bootable Raspberry Pi images from versioned stages\n \
         pib describes the whole operating system of a Raspberry Pi as a list of stages:\n \
         versioned packages of a Dockerfile fragment, its files and its settings. It\n \
         resolves and locks them, has Docker or Podman build them for ARM, and writes an\n \
         SD card image that boots.\n \
         .\n \
         Building needs no root, no loop device and no mount.\n"
    )
}

/// Returns Debian's changelog of the package.
fn changelog(release: &Release) -> String {
    let (version, date) = (&release.version, Moment::of(release.epoch).rfc2822());
    format!(
        "pib ({version}-{REVISION}) stable; urgency=medium\n\n  * Release {version}. changelog.gz says what changed.\n\n \
         -- {MAINTAINER}  {date}\n"
    )
}

/// Returns what lintian is told: linking statically is what lets the program run on every release.
fn overrides() -> &'static str {
    "# One program serves every Debian: it is linked statically, with the libraries that it uses.\n\
     pib: statically-linked-binary [usr/bin/pib]\n\
     pib: embedded-library *\n\
     # The database is that of the system that pib builds.\n\
     pib: uses-dpkg-database-directly [usr/bin/pib]\n\
     # The package does not come from Debian's archive.\n\
     pib: initial-upload-closes-no-bugs *\n"
}
