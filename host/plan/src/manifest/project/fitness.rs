//! Whether a system can come of a project: judged when the stages of its build are known, before any of them is built.

use super::parsed::ProjectManifest;
use crate::id::StageName;
use crate::manifest::ManifestError;
use crate::metadata::ConfigValue;
use crate::suggest;
use crate::system::{self, Known, OLD_ZONES_PACKAGE};

/// What a build consists of, as far as it decides what the system can be.
#[derive(Debug, Clone, Copy)]
pub struct Build<'a> {
    /// The names of its stages.
    pub stages: &'a [StageName],
    /// Whether its stage `os` is the bundled one, which installs Debian's own kernel, zones and locales.
    pub bundled_os: bool,
}

/// Something that may turn out wrong, and that pib cannot know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt(pub String);

impl ProjectManifest {
    /// Checks that the bundled stages can make what the project asks for; returns what is doubtful.
    ///
    /// # Errors
    /// When the kernel does not drive the board, or the system does not know the time zone or the locale.
    pub fn check_fitness(&self, build: &Build<'_>) -> Result<Vec<Doubt>, Vec<ManifestError>> {
        let (mut errors, mut doubts) = (Vec::new(), Vec::new());
        errors.extend(self.check_kernel(build).err());
        if build.bundled_os && system::is_debian_like(&self.project.os) {
            for judged in [self.check_zone(), self.check_locale()] {
                match judged {
                    Ok(doubt) => doubts.extend(doubt),
                    Err(error) => errors.push(error),
                }
            }
        }
        doubts.extend(self.check_growth(build));
        doubts.extend(self.check_writes(build));
        if errors.is_empty() { Ok(doubts) } else { Err(errors) }
    }

    fn check_kernel(&self, build: &Build<'_>) -> Result<(), ManifestError> {
        let project = &self.project;
        if let Some(kernel) = &project.kernel {
            if build.stages.contains(kernel) {
                return Ok(());
            }
            let message =
                format!("stage `{kernel}` is to bring the kernel, but no stage of the build is called so");
            let help = match suggest::nearest(kernel.as_str(), build.stages.iter().map(StageName::as_str)) {
                Some(near) => format!("Did you mean `{near}`?"),
                None => format!("Add it first, e.g. `pib add --path stages/{kernel}`."),
            };
            return Err(self
                .source
                .error(project.places.kernel.clone(), message, "this stage")
                .with_help(help));
        }
        if !build.bundled_os {
            return Ok(());
        }
        system::check_board(&project.os, &project.release, &project.board, project.arch).map_err(|unfit| {
            let place = project.places.board.clone();
            self.source.error(place, unfit.to_string(), "this board").with_help(unfit.help())
        })
    }

    /// A partition grows by a program on the device, which the stage `grow` brings, or one of the project's own.
    fn check_growth(&self, build: &Build<'_>) -> Option<Doubt> {
        let part = self.image.layout.growing()?;
        if build.stages.iter().any(|stage| stage.as_str() == "grow") {
            return None;
        }
        Some(Doubt(format!(
            "the partition {} has `grow = true`, and no stage is called `grow`, which lets it grow on the device; \
             `pib add grow` adds it",
            part.label
        )))
    }

    /// Debian writes to its root as it runs, which a root that is never written to takes amiss: services fail.
    fn check_writes(&self, build: &Build<'_>) -> Option<Doubt> {
        let root = self.image.layout.partitions.iter().find(|part| part.mount == "/")?;
        let is_kept = |stage: &StageName| stage.as_str() == "ro";
        if !build.bundled_os || !root.filesystem.is_read_only() || build.stages.iter().any(is_kept) {
            return None;
        }
        Some(Doubt(format!(
            "the root is {}, which is never written to, and no stage is called `ro`, which keeps in memory what the system \
             writes; `pib add ro` adds it",
            root.filesystem.with_article()
        )))
    }

    fn check_zone(&self) -> Result<Option<Doubt>, ManifestError> {
        let (name, release) = (&self.project.timezone, &self.project.release);
        let fail = |message: String, help: String| {
            Err(self
                .source
                .error(self.project.places.timezone.clone(), message, "this time zone")
                .with_help(help))
        };
        match system::zone(release, name) {
            Known::Yes => Ok(None),
            Known::Old(_) if self.installs(OLD_ZONES_PACKAGE) => Ok(None),
            Known::Old(modern) => fail(
                format!(
                    "`{name}` is the old name of a time zone, which Debian {release} keeps in {OLD_ZONES_PACKAGE}"
                ),
                format!(
                    "Use `{modern}`, or install the package: `pib add os --config os.packages={OLD_ZONES_PACKAGE}`."
                ),
            ),
            Known::Mistyped(near) => {
                fail(format!("there is no time zone `{name}`"), format!("Did you mean `{near}`?"))
            }
            Known::No => Ok(Some(Doubt(format!(
                "pib does not know the time zone `{name}`; the build fails where the release does not either. Zones are \
                 named like Europe/Berlin"
            )))),
        }
    }

    fn check_locale(&self) -> Result<Option<Doubt>, ManifestError> {
        let name = &self.project.locale;
        match system::locale(name) {
            Known::Yes => Ok(None),
            Known::Old(near) | Known::Mistyped(near) => {
                let (place, message) =
                    (self.project.places.locale.clone(), format!("there is no locale `{name}`"));
                let help = format!("Did you mean `{near}`? `locale -a` on a Debian system lists more.");
                Err(self.source.error(place, message, "this locale").with_help(help))
            }
            Known::No => Ok(Some(Doubt(format!(
                "pib does not know the locale `{name}`; the build fails where the release does not either. Locales are \
                 named like en_US.UTF-8"
            )))),
        }
    }

    /// Returns whether the project has the stage `os` install a package.
    fn installs(&self, package: &str) -> bool {
        let os = self.stages.iter().filter(|request| request.name.as_str() == "os");
        os.flat_map(|request| &request.config).any(|entry| match &entry.value {
            ConfigValue::List(packages) if entry.key == "packages" => {
                packages.iter().any(|name| name == package)
            }
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(changes: &[(&str, &str)], bundled_os: bool) -> Result<Vec<Doubt>, Vec<ManifestError>> {
        let mut text = "[project]\nname = \"p\"\nos = \"debian\"\nrelease = \"trixie\"\nboard = \"rpi4\"\narch = \"arm64\"\n\
                        locale = \"en_US.UTF-8\"\ntimezone = \"UTC\"\n\n[stages]\nos = \"1\"\n"
            .to_owned();
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        let manifest = ProjectManifest::parse("pib.toml", &text).unwrap();
        let stages: Vec<StageName> =
            ["__init__", "os", "mykernel"].map(|name| name.parse().unwrap()).to_vec();
        manifest.check_fitness(&Build { stages: &stages, bundled_os })
    }

    #[test]
    fn a_kernel_of_ones_own_drives_what_debians_does_not() {
        let rpi5 = ("rpi4", "rpi5");
        assert!(judged(&[], true).is_ok());
        let errors = judged(&[rpi5], true).unwrap_err();
        assert!(errors[0].to_string().contains("RP1") && errors[0].span().is_some(), "{errors:?}");
        assert!(judged(&[rpi5], false).is_ok(), "an `os` of one's own brings what it likes");
        let kernel = |name: &str| ("arch =", format!("kernel = \"{name}\"\narch ="));
        let (from, to) = kernel("mykernel");
        assert!(judged(&[rpi5, (from, &to)], true).is_ok());
        let (from, to) = kernel("mykernle");
        let errors = judged(&[rpi5, (from, &to)], true).unwrap_err();
        assert_eq!(errors[0].advice(), Some("Did you mean `mykernel`?"));
    }

    #[test]
    fn a_root_that_is_never_written_to_needs_a_stage_for_what_is_written() {
        let image = "[[image.partition]]\nlabel = \"boot\"\nfilesystem = \"vfat\"\nmount = \"/boot/firmware\"\nsize = \"256MiB\"\n\n\
                     [[image.partition]]\nlabel = \"root\"\nfilesystem = \"squashfs\"\nmount = \"/\"\nsize = \"auto\"\n\n[stages]\n";
        let doubts = judged(&[("[stages]\n", image)], true).unwrap();
        assert!(doubts.len() == 1 && doubts[0].0.contains("`pib add ro`"), "{doubts:?}");
        assert!(judged(&[("[stages]\n", &image.replace("squashfs", "ext4"))], true).unwrap().is_empty());
        assert!(judged(&[("[stages]\n", image)], false).unwrap().is_empty());
    }

    #[test]
    fn zones_and_locales_are_judged_before_the_build() {
        let zone = |to: &str| judged(&[("UTC", to)], true);
        let errors = zone("US/Pacific").unwrap_err();
        assert!(errors[0].advice().is_some_and(|help| help.contains("`America/Los_Angeles`")), "{errors:?}");
        assert!(judged(&[("UTC\"", "US/Pacific\""), ("trixie", "bookworm")], true).is_ok());
        let packages = "os = { version = \"1\", config = { packages = [\"tzdata-legacy\"] } }";
        assert!(judged(&[("UTC\"", "US/Pacific\""), ("os = \"1\"", packages)], true).is_ok());
        assert!(
            zone("Europe/Berln").unwrap_err()[0].advice().is_some_and(|help| help.contains("Europe/Berlin"))
        );
        assert_eq!(zone("Mars/Olympus_Mons").unwrap().len(), 1);
        assert!(judged(&[("UTC\"", "US/Pacific\"")], false).is_ok());
        // Both mistakes are told at once.
        assert_eq!(
            judged(&[("UTC\"", "US/Pacific\""), ("en_US.UTF-8", "en_US.utf8")], true).unwrap_err().len(),
            2
        );
    }
}
