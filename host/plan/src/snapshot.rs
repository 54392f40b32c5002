//! The packages that a base is made of, as a distribution's archives had them at one moment.
//!
//! With it a base is made again on any machine and any day: each package is named by its digest, and where it was.
//! What is read of a stranger's lock is judged here: names go into a script, paths into addresses.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::id::{Digest, KeyHasher};

/// The most packages that a base may have; Debian's minimal system has 150.
const MAX_PACKAGES: usize = 10_000;
/// The largest package, in bytes; Debian's largest has 1.5 GB.
const MAX_SIZE: u64 = 16 << 30;

/// The largest set of an archive's keys, in bytes; usual ones have a few thousand.
const MAX_KEYRING: usize = 64 << 10;

/// The packages of a base, and the archives that had them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseSnapshot {
    /// The archives; the first is the release's own, the others its updates.
    pub archives: Vec<ArchiveSnapshot>,
    /// The packages, in the order in which they are installed: those that the system cannot do without come first.
    pub packages: Vec<SnapshotPackage>,
}

/// One archive as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveSnapshot {
    /// Its name, which is the last part of its address: `debian`, `debian-security`.
    pub name: String,
    /// When its release was signed, in seconds since 1970.
    pub moment: u64,
    /// The fingerprint of the key that signed it, in capital hexadecimal digits.
    pub key: String,
    /// The keys that may sign it, in OpenPGP's binary form as base64; `None` for Debian's own archives.
    ///
    /// They are in the base, and an address may have them in another form some day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<String>,
}

impl ArchiveSnapshot {
    /// Returns the archive's keys in OpenPGP's binary form; `None` where there are none, or the text is not base64.
    pub fn keyring(&self) -> Option<Vec<u8>> {
        self.keyring.as_ref().and_then(|text| BASE64_STANDARD.decode(text).ok())
    }

    /// Returns keys in OpenPGP's binary form as a lock has them.
    pub fn keyring_text(keys: &[u8]) -> String {
        BASE64_STANDARD.encode(keys)
    }
}

/// One package of a base.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// E.g. `arm64` or `all`.
    pub arch: String,
    /// The name of the archive that it is from.
    pub archive: String,
    /// Its path below the archive's address.
    pub path: String,
    /// The size of its file, in bytes.
    pub size: u64,
    /// The digest of its file.
    pub digest: Digest,
    /// Whether it is unpacked before any other is configured, since every other counts on it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub essential: bool,
    /// Whether it is there only because another one needs it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub automatic: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !value
}

impl BaseSnapshot {
    /// Returns the moment of the release, in seconds since 1970: no file of the base is newer.
    pub fn moment(&self) -> u64 {
        self.archives.first().map_or(0, |archive| archive.moment)
    }

    /// Returns the digest of what of it decides the base: two with the same one make the same.
    ///
    /// Where packages are is no part of it, nor when the updates were signed: that changes every day.
    pub fn key(&self) -> Digest {
        let mut hasher = KeyHasher::new("pib base packages 1");
        hasher.field(self.moment().to_le_bytes()).field([u8::from(self.archives.len() > 1)]);
        for keyring in self.archives.iter().filter_map(|archive| archive.keyring.as_ref()) {
            hasher.field("keyring").field(keyring);
        }
        for package in &self.packages {
            let SnapshotPackage { name, version, arch, archive: _, path: _, size: _, digest, .. } = package;
            hasher.field(name).field(version).field(arch).field(digest.as_bytes());
            hasher.field([u8::from(package.essential), u8::from(package.automatic)]);
        }
        hasher.finish()
    }

    /// Returns the archive that a package is from.
    pub fn archive(&self, package: &SnapshotPackage) -> Option<&ArchiveSnapshot> {
        self.archives.iter().find(|archive| archive.name == package.archive)
    }

    /// Checks that nothing in it means more where it is used than what it is: a name is a name, a path leads below the
    /// archive.
    ///
    /// # Errors
    /// What is wrong, as the end of "the base's packages ...".
    pub fn check(&self) -> Result<(), String> {
        if self.archives.is_empty() || self.packages.is_empty() {
            return Err("are missing, or have no archive".to_owned());
        }
        if self.packages.len() > MAX_PACKAGES || self.archives.len() > MAX_PACKAGES {
            return Err(format!("are more than {MAX_PACKAGES}"));
        }
        for (number, archive) in self.archives.iter().enumerate() {
            let is_hex = archive.key.chars().all(|c| c.is_ascii_digit() || ('A'..='F').contains(&c));
            let twice = self.archives.iter().take(number).any(|other| other.name == archive.name);
            if !is_plain(&archive.name, "-") || twice || !is_hex || archive.key.is_empty() {
                return Err(format!("name an archive `{}` that cannot be one", shown(&archive.name)));
            }
            let has_keys =
                || archive.keyring().is_some_and(|keys| !keys.is_empty() && keys.len() <= MAX_KEYRING);
            if archive.keyring.is_some() && !has_keys() {
                return Err(format!("name an archive `{}` with keys that cannot be used", archive.name));
            }
        }
        let mut rest = self.packages.iter().skip_while(|package| package.essential);
        if let Some(late) = rest.find(|package| package.essential) {
            return Err(format!("have the essential `{}` after others", shown(&late.name)));
        }
        let mut names = std::collections::BTreeSet::new();
        for package in &self.packages {
            let SnapshotPackage { name, version, arch, path, size, .. } = package;
            if let Some(what) = unusable(name, version, arch, path, *size) {
                return Err(format!("have `{}` without a {what} that can be used", shown(name)));
            }
            if self.archive(package).is_none() {
                return Err(format!("have `{}` from an archive that they do not name", shown(&package.name)));
            }
            if !names.insert(&package.name) {
                return Err(format!("have `{}` twice", shown(&package.name)));
            }
        }
        Ok(())
    }
}

impl SnapshotPackage {
    /// Returns the name of its file in a folder of package files, which does not clash with another's.
    pub fn file_name(&self) -> String {
        format!("{}_{}_{}.deb", self.name, self.version.replace(':', "%3a"), self.arch)
    }
}

/// Returns what of a package cannot be used: its name, its version, its architecture, its path below the archive, or the
/// size of its file. Names go into a script, and the path into addresses.
///
/// The rules are those of Debian's policy, section 5.6, but for capital letters, which a version may have.
pub fn unusable(name: &str, version: &str, arch: &str, path: &str, size: u64) -> Option<&'static str> {
    let leads_on = |part: &str| ["", ".", ".."].contains(&part);
    if !is_plain(name, "+-.") {
        Some("name")
    } else if !is_plain(version, "+-.~:") {
        Some("version")
    } else if !is_plain(arch, "-") {
        Some("architecture")
    } else if !is_plain(path, "+-._~/%:") || path.split('/').any(leads_on) {
        Some("path")
    } else if size == 0 || size > MAX_SIZE {
        Some("size")
    } else {
        None
    }
}

/// Returns whether a text is a word of letters, digits and the characters of `more`, not too long, that begins with a
/// letter or digit.
fn is_plain(text: &str, more: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(fits) && text.len() < 200
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str) -> SnapshotPackage {
        SnapshotPackage {
            name: name.to_owned(),
            version: "1:2.41-12+deb13u1~x".to_owned(),
            arch: "arm64".to_owned(),
            archive: "debian".to_owned(),
            path: format!("pool/main/{name}/{name}_2.41-12_arm64.deb"),
            size: 10,
            digest: Digest::of(name.as_bytes()),
            essential: false,
            automatic: false,
        }
    }

    fn snapshot() -> BaseSnapshot {
        let archive =
            ArchiveSnapshot { name: "debian".to_owned(), moment: 7, key: "0AF9".to_owned(), keyring: None };
        let first = SnapshotPackage { essential: true, ..package("libc6") };
        BaseSnapshot { archives: vec![archive], packages: vec![first, package("apt")] }
    }

    #[test]
    fn what_an_archive_gives_is_taken() {
        assert_eq!(snapshot().check(), Ok(()));
        assert_eq!(snapshot().moment(), 7);
        assert_eq!(package("a").file_name(), "a_1%3a2.41-12+deb13u1~x_arm64.deb");
    }

    #[test]
    fn a_key_has_what_decides_the_base_and_nothing_else() {
        let key = |change: &dyn Fn(&mut BaseSnapshot)| {
            let mut changed = snapshot();
            change(&mut changed);
            changed.key()
        };
        let plain = snapshot().key();
        let updates =
            || ArchiveSnapshot { name: "updates".to_owned(), moment: 9, key: "0A".to_owned(), keyring: None };
        let with_updates = key(&|own| own.archives.push(updates()));
        for other in [
            with_updates,
            key(&|own| own.archives[0].moment = 8),
            key(&|own| own.archives[0].keyring = Some("AQID".to_owned())),
            key(&|own| own.archives[0].keyring = Some("AQIE".to_owned())),
            key(&|own| own.packages[1].name.push('x')),
            key(&|own| own.packages[1].version.push('x')),
            key(&|own| own.packages[1].arch = "all".to_owned()),
            key(&|own| own.packages[1].digest = Digest::of(b"other")),
            key(&|own| own.packages[1].essential = true),
            key(&|own| own.packages[1].automatic = true),
            key(&|own| own.packages.swap(0, 1)),
            key(&|own| own.packages.truncate(1)),
        ] {
            assert_ne!(plain, other);
        }
        assert_eq!(plain, key(&|own| own.packages[1].path.push('x')));
        assert_eq!(plain, key(&|own| own.archives[0].key = "0B".to_owned()));
        assert_eq!(with_updates, key(&|own| own.archives.push(ArchiveSnapshot { moment: 10, ..updates() })));
    }

    #[test]
    fn what_would_mean_more_than_it_is_is_refused() {
        let wrong = |change: &dyn Fn(&mut BaseSnapshot)| {
            let mut changed = snapshot();
            change(&mut changed);
            changed.check().expect_err(&format!("{changed:?}"))
        };
        for text in ["", "a b", "a;reboot", "$(x)", "../a", "-a", "a/b", "a\nb", "ä", &"a".repeat(200)] {
            wrong(&|own| own.packages[1].name = text.to_owned());
            wrong(&|own| own.packages[1].version = text.to_owned());
            wrong(&|own| own.packages[1].arch = text.to_owned());
            wrong(&|own| own.archives[0].name = text.to_owned());
            wrong(&|own| own.packages[1].archive = text.to_owned());
        }
        for text in ["", "/etc/passwd", "a/../../b", "./a", "a//b", "http://x/a b", "a?b", "a#b", "a\\b"] {
            wrong(&|own| own.packages[1].path = text.to_owned());
        }
        for text in ["", "ab", "0x1", "0AF9\n"] {
            wrong(&|own| own.archives[0].key = text.to_owned());
        }
        for text in ["", "?", "AQI", "AQID\n"] {
            wrong(&|own| own.archives[0].keyring = Some(text.to_owned()));
        }
        let with_keys = |keys: &[u8]| {
            let mut changed = snapshot();
            changed.archives[0].keyring = Some(ArchiveSnapshot::keyring_text(keys));
            changed
        };
        assert_eq!(with_keys(b"keys").check(), Ok(()));
        assert_eq!(with_keys(b"keys").archives[0].keyring().as_deref(), Some(&b"keys"[..]));
        assert!(with_keys(&[1; MAX_KEYRING + 1]).check().is_err());
        wrong(&|own| own.packages[1].size = 0);
        wrong(&|own| own.packages[1].size = u64::MAX);
        wrong(&|own| own.packages.clear());
        wrong(&|own| own.archives.clear());
        wrong(&|own| own.packages.push(package("apt")));
        wrong(&|own| own.packages.reverse());
        wrong(&|own| own.archives.push(own.archives[0].clone()));
        wrong(&|own| {
            own.packages = (0..=MAX_PACKAGES).map(|number| package(&format!("a{number}"))).collect()
        });
    }
}
