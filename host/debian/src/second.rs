//! The second part of a bootstrap: what the target's own dpkg does, in the container engine.

use pib_plan::emulation::Emulation;
use pib_plan::native::{Native, ROOT};
use pib_plan::snapshot::{BaseSnapshot, SnapshotPackage};

/// The folder of the tree that holds what only the second part needs. It removes it itself.
pub const FOLDER: &str = ".pib-bootstrap";
/// The name of the first part's tar in the build context.
pub(super) const FIRST_TAR: &str = "first.tar";
/// The path of the script in the tree.
pub(super) const SCRIPT_PATH: &str = ".pib-bootstrap/run";

/// Returns the Dockerfile that turns the first part's tar into the base. It needs no network.
pub(super) fn dockerfile(native: Option<&Native>, emulation: Option<&Emulation>) -> String {
    let start = format!("FROM scratch\nADD {FIRST_TAR} /\n");
    let script = format!("\"/bin/sh\", \"/{SCRIPT_PATH}\"");
    let tools = native.map(|native| (native.stage(), native.mount()));
    let (stage, mount, tidy, options) = match (tools, emulation) {
        (None, None) => return format!("{start}RUN [{script}]\n"),
        (Some((stage, mount)), None) => (stage, mount, native.map(Native::tidy).unwrap_or_default(), ""),
        (Some((stage, mount)), Some(emulation)) => {
            let mount = format!("{mount} {}", emulation.mount_beside());
            (format!("{}{stage}", emulation.stage()), mount, emulation.tidy(), "\"--emulate\", ")
        }
        (None, Some(emulation)) => {
            (emulation.stage(), emulation.mount(), emulation.tidy(), "\"--emulate\", ")
        }
    };
    // There is no package database yet: every program is one that pib has just laid out.
    format!("{stage}{start}RUN {mount} [\"{ROOT}/run\", \"--fresh\", {options}{script}]\n{tidy}")
}

/// Returns the script that installs the packages and removes what only this needed.
///
/// Two steps come before the rest: the packages that own the users and folders, then the essential ones. dpkg
/// unpacks all packages of a step before it configures any, so that no pre-dependency can hold; it is told to go
/// on, and still configures in the order of the dependencies. At the end every package must be whole.
pub(super) fn script(snapshot: &BaseSnapshot) -> String {
    let epoch = snapshot.moment();
    let is_first = |package: &SnapshotPackage| {
        package.essential && matches!(package.name.as_str(), "base-passwd" | "base-files")
    };
    let list = |is_wanted: &dyn Fn(&SnapshotPackage) -> bool| {
        let chosen = snapshot.packages.iter().filter(|package| is_wanted(package));
        chosen.map(SnapshotPackage::file_name).collect::<Vec<_>>().join(" ")
    };
    format!(
        r#"#!/bin/sh
# Installs the packages of a minimal Debian, in an order in which each finds what it needs.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true DEBCONF_NOWARNINGS=yes
# Some maintainer scripts write the date into files: passwd's into /etc/shadow, for example.
export SOURCE_DATE_EPOCH={epoch}
cd /{FOLDER}/debs
install() {{
    dpkg --force-confold --force-unsafe-io --no-triggers "$@"
}}
install --force-depends --install {first}
install --force-depends --install {essential}
install --force-depends --install {rest}
dpkg --force-unsafe-io --configure --pending
dpkg --force-unsafe-io --triggers-only --pending
problems=$(dpkg --audit)
if [ -n "$problems" ]; then
    echo "$problems"
    exit 1
fi
cd /
rm -rf /{FOLDER} /usr/sbin/policy-rc.d
rm -f /var/lib/dpkg/*-old /var/lib/dpkg/lock* /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache
find /var/log -type f -size +0 -delete
"#,
        first = list(&is_first),
        essential = list(&|package| package.essential && !is_first(package)),
        rest = list(&|package| !package.essential),
    )
}

/// Returns what apt knows of packages that are there only because others need them, so that `apt autoremove`
/// works on the finished system as on any other.
pub(super) fn extended_states(snapshot: &BaseSnapshot, architecture: &str) -> String {
    let mut automatic: Vec<_> = snapshot.packages.iter().filter(|package| package.automatic).collect();
    automatic.sort_by(|a, b| a.name.cmp(&b.name));
    let paragraph = |package: &&SnapshotPackage| {
        format!("Package: {}\nArchitecture: {architecture}\nAuto-Installed: 1\n\n", package.name)
    };
    automatic.iter().map(paragraph).collect()
}

/// The answer to every attempt to start a service while there is no init system: no.
pub(super) const POLICY: &str = "#!/bin/sh\nexit 101\n";

#[cfg(test)]
mod tests {
    use pib_plan::id::Digest;
    use pib_plan::snapshot::ArchiveSnapshot;

    use super::*;

    fn snapshot(packages: &[(&str, bool, bool)]) -> BaseSnapshot {
        let package = |&(name, essential, automatic): &(&str, bool, bool)| SnapshotPackage {
            name: name.to_owned(),
            version: "1:2~3".to_owned(),
            arch: "all".to_owned(),
            archive: "debian".to_owned(),
            path: format!("pool/{name}"),
            size: 1,
            digest: Digest::of(b""),
            essential,
            automatic,
        };
        let archive =
            ArchiveSnapshot { name: "debian".to_owned(), moment: 77, key: "0A".to_owned(), keyring: None };
        BaseSnapshot { archives: vec![archive], packages: packages.iter().map(package).collect() }
    }

    #[test]
    fn the_script_installs_every_package_once_and_in_order() {
        let snapshot = snapshot(&[
            ("libc6", true, true),
            ("base-passwd", true, false),
            ("base-files", true, false),
            ("apt", false, false),
        ]);
        let script = script(&snapshot);
        let installed: Vec<&str> = script
            .lines()
            .filter_map(|line| line.strip_prefix("install --force-depends --install "))
            .collect();
        assert_eq!(
            installed,
            [
                "base-passwd_1%3a2~3_all.deb base-files_1%3a2~3_all.deb",
                "libc6_1%3a2~3_all.deb",
                "apt_1%3a2~3_all.deb"
            ]
        );
        assert!(script.contains("SOURCE_DATE_EPOCH=77\n") && script.contains("rm -rf /.pib-bootstrap "));
        let states = extended_states(&snapshot, "arm64");
        assert_eq!(states, "Package: libc6\nArchitecture: arm64\nAuto-Installed: 1\n\n");
    }

    #[test]
    fn the_script_is_one_that_a_shell_accepts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        std::fs::write(&path, script(&snapshot(&[("apt", false, false)]))).unwrap();
        let status = std::process::Command::new("sh").arg("-n").arg(&path).status().unwrap();
        assert!(status.success());
    }
}
