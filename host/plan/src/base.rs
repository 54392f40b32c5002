//! What a build starts from, as its manifests ask for it, and what makes two of these the same.

use std::path::PathBuf;

use url::Url;

use crate::id::{Arch, Digest, KeyHasher};
use crate::manifest::project::{BaseRequest, Project, ProjectManifest};
use crate::package_archive::PackageArchive;
use crate::signed_tarball::SignedTarball;

/// Where a project's base comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseSource {
    /// pib makes it from the distribution's packages.
    Bootstrap(Bootstrap),
    /// The tarball that its owner has at an address and signs.
    Signed(SignedTarball),
    /// A tarball of a root file system, plain or compressed with gzip, xz or zstd.
    Tarball {
        /// Where it is.
        location: Location,
        /// The digest of the file.
        digest: Digest,
    },
    /// A container image that the engine has or can pull, named by digest: `debian@sha256:...`.
    ContainerImage {
        /// The reference.
        reference: String,
    },
}

/// The recipe of a base that pib makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// The system, e.g. `debian`.
    pub os: String,
    /// The release, e.g. `trixie`.
    pub release: String,
    /// The processor.
    pub arch: Arch,
    /// The project's mirror, if it names one.
    pub mirror: Option<String>,
    /// The project's mirror of the security updates, if it names one.
    pub security_mirror: Option<String>,
    /// Packages on top of the minimal system.
    pub include: Vec<String>,
    /// The archives that the packages are of, the release's own first; empty for Debian's own.
    pub archives: Vec<PackageArchive>,
}

impl Bootstrap {
    /// Returns the architecture as the packages name it.
    ///
    /// Debian's `armhf` needs an ARMv7. An archive that serves an ARMv6 calls its packages by the same name.
    pub fn package_arch(&self) -> Option<&'static str> {
        match self.arch {
            Arch::Armv6 if !self.archives.is_empty() => Arch::Armv7.debian(),
            other => other.debian(),
        }
    }
}

/// An address or a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// Fetched over http or https.
    Url(Url),
    /// A file of the host.
    Path(PathBuf),
}

impl BaseSource {
    /// Returns the digest of what is asked for: two sources with the same one may share a base.
    ///
    /// Where a base is fetched from is no part of it: what a mirror serves is signed, and a tarball has its digest.
    pub fn recipe(&self) -> Digest {
        match self {
            Self::Bootstrap(recipe) => {
                let mut include: Vec<&str> = recipe.include.iter().map(String::as_str).collect();
                include.sort_unstable();
                include.dedup();
                let mut hasher = KeyHasher::new("pib base: bootstrap");
                hasher.field(&recipe.os).field(&recipe.release).field(recipe.arch.as_str());
                for name in include {
                    hasher.field(name);
                }
                for archive in &recipe.archives {
                    archive.add_to_key(&mut hasher);
                }
                hasher.finish()
            }
            Self::Signed(tarball) => {
                let mut hasher = KeyHasher::new("pib base: signed tarball");
                tarball.add_to_key(&mut hasher);
                hasher.finish()
            }
            Self::Tarball { digest, .. } => of_tarball(digest),
            Self::ContainerImage { reference } => of_container_image(reference),
        }
    }

    /// Returns where the base comes from, as a lock tells it; nothing where the init stage says that.
    pub fn describe(&self) -> Option<String> {
        match self {
            Self::Bootstrap(_) | Self::Signed(_) => None,
            Self::Tarball { location: Location::Url(url), .. } => Some(url.to_string()),
            // A path is this machine's own.
            Self::Tarball { location: Location::Path(_), digest } => Some(digest.to_string()),
            Self::ContainerImage { reference } => Some(reference.clone()),
        }
    }
}

/// The base that a project, or one of its targets, asks for.
#[derive(Debug, Clone, Copy)]
pub struct WantedBase<'a> {
    /// What is built.
    pub project: &'a Project,
    /// Where its base comes from.
    pub source: &'a BaseSource,
}

/// What a manifest alone tells of the base that it asks for: what an init stage asks for is in that stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NeededBase {
    pub(crate) arch: Arch,
    pub(crate) os: String,
    pub(crate) release: String,
    /// The recipe; `None` where the init stage has it.
    pub(crate) recipe: Option<Digest>,
}

impl NeededBase {
    /// Returns what the manifest of a project, or of one of its targets, asks for.
    pub fn of(manifest: &ProjectManifest) -> Self {
        let Project { arch, os, release, .. } = &manifest.project;
        let recipe = manifest.base.as_ref().map(|base| match base {
            BaseRequest::Url { digest, .. } | BaseRequest::Path { digest, .. } => of_tarball(digest),
            BaseRequest::Image(reference) => of_container_image(reference),
        });
        Self { arch: *arch, os: os.clone(), release: release.clone(), recipe }
    }
}

fn of_tarball(digest: &Digest) -> Digest {
    let mut hasher = KeyHasher::new("pib base: tarball");
    hasher.field(digest.as_bytes());
    hasher.finish()
}

/// Returns the recipe of a container image: its digest says all, whatever registry and name it is pulled by.
fn of_container_image(reference: &str) -> Digest {
    let mut hasher = KeyHasher::new("pib base: container image");
    hasher.field(reference.split_once('@').map_or(reference, |(_, digest)| digest));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package_archive::ArchiveOrigin;

    fn bootstrap() -> Bootstrap {
        Bootstrap {
            os: "debian".to_owned(),
            release: "trixie".to_owned(),
            arch: Arch::Arm64,
            mirror: None,
            security_mirror: None,
            include: vec!["b".to_owned(), "a".to_owned()],
            archives: Vec::new(),
        }
    }

    #[test]
    fn a_recipe_has_everything_that_decides_the_base_and_nothing_else() {
        let recipe = |change: &dyn Fn(&mut Bootstrap)| {
            let mut changed = bootstrap();
            change(&mut changed);
            BaseSource::Bootstrap(changed).recipe()
        };
        let plain = recipe(&|_| ());
        assert_eq!(plain, recipe(&|own| own.include = ["a", "b", "a"].map(str::to_owned).into()));
        assert_eq!(plain, recipe(&|own| own.mirror = Some("http://x.example/debian".to_owned())));
        assert_eq!(plain, recipe(&|own| own.security_mirror = Some("http://x.example/s".to_owned())));
        assert_ne!(plain, recipe(&|own| own.include.push("c".to_owned())));
        assert_ne!(plain, recipe(&|own| own.release = "sid".to_owned()));
        assert_ne!(plain, recipe(&|own| own.os = "raspios".to_owned()));
        assert_ne!(plain, recipe(&|own| own.arch = Arch::Armv7));
        let archive = |change: &dyn Fn(&mut PackageArchive, &mut ArchiveOrigin)| {
            let mut origin = ArchiveOrigin {
                url: "http://x.example/a".to_owned(),
                keys: vec!["0A".to_owned()],
                key_url: "http://x.example/key".to_owned(),
            };
            let (name, components) = ("a".to_owned(), vec!["main".to_owned()]);
            let mut archive = PackageArchive { name, suite: "trixie".to_owned(), components, origin: None };
            change(&mut archive, &mut origin);
            recipe(&|own| {
                own.archives = vec![PackageArchive { origin: Some(origin.clone()), ..archive.clone() }]
            })
        };
        let with = archive(&|_, _| ());
        assert_ne!(plain, with);
        assert_eq!(with, archive(&|_, origin| origin.key_url.push('2')));
        for other in [
            archive(&|own, _| own.name.push('2')),
            archive(&|own, _| own.suite.push('2')),
            archive(&|own, _| own.components.push("contrib".to_owned())),
            archive(&|_, origin| origin.url.push('2')),
            archive(&|_, origin| origin.keys.push("0B".to_owned())),
        ] {
            assert_ne!(with, other);
        }
    }

    #[test]
    fn a_signed_tarball_is_known_by_its_address_and_who_may_sign_it() {
        let signed = || SignedTarball {
            os: "arch".to_owned(),
            release: "rolling".to_owned(),
            arch: Arch::Arm64,
            url: "http://x.example/a.tar.gz".to_owned(),
            signature_url: "http://x.example/a.tar.gz.sig".to_owned(),
            keys: vec!["0A".to_owned()],
            key_url: "http://x.example/key".to_owned(),
        };
        let recipe = |change: &dyn Fn(&mut SignedTarball)| {
            let mut changed = signed();
            change(&mut changed);
            BaseSource::Signed(changed).recipe()
        };
        let plain = recipe(&|_| ());
        assert_eq!(plain, recipe(&|own| own.key_url.push('2')));
        assert_eq!(plain, recipe(&|own| own.signature_url.push('2')));
        for other in [
            recipe(&|own| own.os.push('2')),
            recipe(&|own| own.release.push('2')),
            recipe(&|own| own.arch = Arch::Armv7),
            recipe(&|own| own.url.push('2')),
            recipe(&|own| own.keys.push("0B".to_owned())),
        ] {
            assert_ne!(plain, other);
        }
    }

    #[test]
    fn a_tarball_and_a_container_image_are_what_their_digests_say() {
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let path =
            |digest| BaseSource::Tarball { location: Location::Path(PathBuf::from("/x")), digest }.recipe();
        let location = Location::Url("http://x.example/base.tar".parse().unwrap());
        assert_eq!(path(one), BaseSource::Tarball { location, digest: one }.recipe());
        assert_ne!(path(one), path(other));
        let image = |reference: String| BaseSource::ContainerImage { reference }.recipe();
        assert_eq!(image(format!("a@{one}")), image(format!("b/a:1@{one}")));
        assert_ne!(image(format!("a@{one}")), image(format!("a@{other}")));
        assert_ne!(image(format!("a@{one}")), path(one));
    }
}
