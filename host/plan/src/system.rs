//! What the bundled stages can make of an operating system: its releases, the boards that their kernels drive, and the
//! names that it knows.
//!
//! Whatever cannot work is told before a build starts. The facts are of Debian's archive: the device trees and
//! configurations in the packages `linux-image-*`, the files of `tzdata`, `tzdata-legacy` and `locales`.

use crate::board::BOARDS;
use crate::id::Arch;
use crate::suggest;

/// The operating system whose kernels are listed here.
const DEBIAN: &str = "debian";
/// The one whose kernels drive every board: its makers are those of the boards.
const RASPIOS: &str = "raspios";
/// The one that has no releases, but newer packages every day; its kernels are those of the boards' makers, too.
const ARCH: &str = "arch";
/// What stands for its release: os-release(5) has it as `BUILD_ID` there.
const ROLLING: &str = "rolling";
/// The architectures that it is built for: the ARMv6 of the first boards was given up.
const ARCH_ARCHS: [Arch; 2] = [Arch::Arm64, Arch::Armv7];
/// The systems that the bundled stages make, with their releases; the first is that of new projects.
const SYSTEMS: [(&str, &[&str]); 3] =
    [(DEBIAN, &["trixie", "bookworm"]), (RASPIOS, &["trixie", "bookworm"]), (ARCH, &[ROLLING])];
/// What helps where Debian has no kernel for a board.
const RASPIOS_HELPS: &str =
    "Raspberry Pi OS has a kernel for it: os = \"raspios\" (with `pib new`: --os raspios).";
/// The package with the old names of zones, in releases that have it.
pub const OLD_ZONES_PACKAGE: &str = "tzdata-legacy";
/// The releases whose `tzdata` has the old names itself.
const WITH_OLD_ZONES: [&str; 1] = ["bookworm"];
/// Every zone, one a line; an old name has the one to use behind it.
const ZONES: &str = include_str!("system/zones.txt");
/// Every locale of Debian's `locales`, one a line.
const LOCALES: &str = include_str!("system/locales.txt");
/// Locales that need no package.
const BUILTIN_LOCALES: [&str; 4] = ["C", "POSIX", "C.UTF-8", "C.utf8"];

/// How much of a board the kernel of a release drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// All that a device needs.
    Whole,
    /// The device starts, and this part of it has no driver.
    Without(&'static str),
    /// The device does not start: the end of a sentence about the kernel.
    Nothing(&'static str),
}

/// A kernel of a release on a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// The release of Debian.
    pub release: &'static str,
    /// The kernel's version.
    pub version: &'static str,
    /// The board.
    pub board: &'static str,
    /// The architectures that the release has a kernel of for this board; the first is the best.
    pub archs: &'static [Arch],
    /// What it drives.
    pub coverage: Coverage,
}

const NO_RP1: Coverage =
    Coverage::Without("its chip RP1, by which it has network, USB and pins: a device without any connection");
const NO_TREE: Coverage = Coverage::Nothing("has no device tree of the board, which does not start with it");

const fn kernel(
    (release, version): (&'static str, &'static str),
    board: &'static str,
    archs: &'static [Arch],
    coverage: Coverage,
) -> Kernel {
    Kernel { release, version, board, archs, coverage }
}

const TRIXIE: (&str, &str) = ("trixie", "6.12");
const BOOKWORM: (&str, &str) = ("bookworm", "6.1");
const BOTH: &[Arch] = &[Arch::Arm64, Arch::Armv7];

/// The kernels of Debian that the bundled stages install, newest release first. A board that a release has no kernel for
/// has no line: Debian is built for arm64 and armv7, and not for the armv6 of the first boards.
pub const KERNELS: [Kernel; 20] = [
    kernel(TRIXIE, "rpi2", &[Arch::Armv7], Coverage::Whole),
    kernel(TRIXIE, "rpi3", BOTH, Coverage::Whole),
    kernel(TRIXIE, "rpi4", BOTH, Coverage::Whole),
    kernel(TRIXIE, "zero2w", BOTH, Coverage::Whole),
    kernel(TRIXIE, "cm3", BOTH, Coverage::Whole),
    kernel(TRIXIE, "cm4", BOTH, Coverage::Whole),
    kernel(TRIXIE, "pi400", BOTH, Coverage::Whole),
    kernel(TRIXIE, "cm5", &[Arch::Arm64], NO_TREE),
    kernel(TRIXIE, "pi500", &[Arch::Arm64], NO_TREE),
    kernel(TRIXIE, "rpi5", &[Arch::Arm64], NO_RP1),
    kernel(BOOKWORM, "rpi2", &[Arch::Armv7], Coverage::Whole),
    kernel(BOOKWORM, "rpi3", BOTH, Coverage::Whole),
    kernel(BOOKWORM, "rpi4", BOTH, Coverage::Whole),
    kernel(BOOKWORM, "zero2w", BOTH, Coverage::Whole),
    kernel(BOOKWORM, "cm3", BOTH, Coverage::Whole),
    kernel(BOOKWORM, "cm4", BOTH, Coverage::Whole),
    kernel(BOOKWORM, "pi400", BOTH, Coverage::Whole),
    kernel(BOOKWORM, "cm5", &[Arch::Arm64], NO_TREE),
    kernel(BOOKWORM, "pi500", &[Arch::Arm64], NO_TREE),
    kernel(BOOKWORM, "rpi5", &[Arch::Arm64], NO_TREE),
];

/// Says why the bundled stages make no device of a project, or only half of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The release is not one of those that are known.
    #[error("unknown release `{release}` of {os}; the releases are {}", suggest::list(known.iter().copied()))]
    Release {
        /// The operating system.
        os: String,
        /// The release that was asked for.
        release: String,
        /// Those that are known.
        known: Vec<&'static str>,
    },
    /// The release has no kernel for the board and architecture.
    #[error("{system} has no system for the {title} on {arch}")]
    Arch {
        /// The system and its release.
        system: String,
        /// The board's model.
        title: &'static str,
        /// The architecture.
        arch: Arch,
        /// What would work instead.
        instead: String,
    },
    /// The kernel does not drive the board.
    #[error("the kernel of Debian {release}, {version}, {what}")]
    Kernel {
        /// The release.
        release: &'static str,
        /// The kernel's version.
        version: &'static str,
        /// What is missing, as the end of a sentence about the kernel.
        what: String,
        /// The boards that it drives.
        driven: Vec<&'static str>,
    },
}

impl Unfit {
    /// Returns what to do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Release { .. } => {
                "For another release, write it in pib.toml with stages, or a [base], of your own.".to_owned()
            }
            Self::Arch { instead, .. } => instead.clone(),
            Self::Kernel { driven, .. } => format!(
                "It drives {}. {RASPIOS_HELPS} If a stage of your own brings another kernel, name that stage in [project]: kernel = \
                 \"NAME\" (with `pib new`: --kernel NAME).",
                suggest::list(driven.iter().copied())
            ),
        }
    }
}

/// Returns the names of the systems that the bundled stages make.
pub fn names() -> impl Iterator<Item = &'static str> {
    SYSTEMS.iter().map(|(name, _)| *name)
}

/// Returns the release that new projects get, where the bundled stages make the system.
pub fn default_release(os: &str) -> Option<&'static str> {
    releases(os)?.first().copied()
}

/// Returns whether a system's packages are Debian's, or made of them: it has the same zones and locales.
pub fn is_debian_like(os: &str) -> bool {
    [DEBIAN, RASPIOS].contains(&os)
}

fn releases(os: &str) -> Option<&'static [&'static str]> {
    SYSTEMS.iter().find(|(name, _)| *name == os).map(|(_, releases)| *releases)
}

/// Returns the architectures that a release has for a board, the best first; nothing where the release is not known here.
///
/// # Errors
/// When the bundled stages make the operating system, and it has no such release.
pub fn archs(os: &str, release: &str, board: &str) -> Result<Option<&'static [Arch]>, Unfit> {
    let Some(known) = releases(os) else { return Ok(None) };
    if !known.contains(&release) {
        let (os, known) = (os.to_owned(), known.to_vec());
        return Err(Unfit::Release { os, release: release.to_owned(), known });
    }
    let of_board = BOARDS.iter().find(|known| known.name == board).map_or(&[][..], |known| known.archs);
    match os {
        RASPIOS => return Ok(Some(of_board).filter(|archs| !archs.is_empty())),
        // A board lists the best first, and armv6 last.
        ARCH => {
            let count = of_board.iter().take_while(|arch| ARCH_ARCHS.contains(arch)).count();
            return Ok(Some(&of_board[..count]));
        }
        _ => {}
    }
    Ok(Some(kernels(release).find(|kernel| kernel.board == board).map_or(&[], |kernel| kernel.archs)))
}

/// Checks that the kernel that the bundled stages install drives a board. What is not known here is not judged.
///
/// # Errors
/// When there is no such kernel, or it does not drive what the device needs.
pub fn check_board(os: &str, release: &str, board: &str, arch: Arch) -> Result<(), Unfit> {
    let title = || BOARDS.iter().find(|known| known.name == board).map_or("board", |board| board.title);
    if os == ARCH && !ARCH_ARCHS.contains(&arch) {
        let known: Vec<Arch> = archs(os, release, board)?.unwrap_or_default().to_vec();
        let instead = match known.as_slice() {
            [] => format!("It is built for arm64 and armv7, and this board runs neither. {RASPIOS_HELPS}"),
            known => built_for(known),
        };
        return Err(Unfit::Arch { system: "Arch Linux ARM".to_owned(), title: title(), arch, instead });
    }
    let Some(release) = kernels(release).map(|kernel| kernel.release).next().filter(|_| os == DEBIAN) else {
        return Ok(());
    };
    let Some(kernel) = kernels(release).find(|kernel| kernel.board == board && kernel.archs.contains(&arch))
    else {
        let (system, instead) = (format!("Debian {release}"), instead(release, board));
        return Err(Unfit::Arch { system, title: title(), arch, instead });
    };
    let what = match kernel.coverage {
        Coverage::Whole => return Ok(()),
        Coverage::Without(what) => format!("has no driver for {what}"),
        Coverage::Nothing(what) => what.to_owned(),
    };
    let driven = driven(release).collect();
    Err(Unfit::Kernel { release, version: kernel.version, what, driven })
}

fn kernels(release: &str) -> impl Iterator<Item = &'static Kernel> {
    KERNELS.iter().filter(move |kernel| kernel.release == release)
}

fn driven(release: &str) -> impl Iterator<Item = &'static str> {
    kernels(release).filter(|kernel| kernel.coverage == Coverage::Whole).map(|kernel| kernel.board)
}

fn built_for(archs: &[Arch]) -> String {
    let archs = suggest::list(archs.iter().map(|arch| arch.as_str()));
    format!("It is built for {archs}: set arch to one of them.")
}

fn instead(release: &str, board: &str) -> String {
    match kernels(release).find(|kernel| kernel.board == board) {
        Some(kernel) => built_for(kernel.archs),
        None => format!(
            "Debian is built for arm64 and armv7, and this board runs neither. {RASPIOS_HELPS} Boards that can: {}.",
            suggest::list(driven(release))
        ),
    }
}

/// What is known of a name that a project gives to a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// The system has it.
    Yes,
    /// The system has it in a package that the bundled stages do not install; this is the name to use instead.
    Old(&'static str),
    /// It is most likely a mistyped form of this one.
    Mistyped(&'static str),
    /// It is not known here; it may be newer than this list.
    No,
}

/// Looks a time zone up, as a release of Debian names it.
pub fn zone(release: &str, name: &str) -> Known {
    let lines = || ZONES.lines().map(|line| line.split_once(' ').unwrap_or((line, "")));
    match lines().find(|(zone, _)| *zone == name) {
        Some((_, "")) => Known::Yes,
        Some(_) if WITH_OLD_ZONES.contains(&release) => Known::Yes,
        Some((_, modern)) => Known::Old(modern),
        None => mistyped(name, lines().filter(|(_, modern)| modern.is_empty()).map(|(zone, _)| zone)),
    }
}

/// Looks a locale up, as Debian names it.
pub fn locale(name: &str) -> Known {
    match BUILTIN_LOCALES.contains(&name) || LOCALES.lines().any(|known| known == name) {
        true => Known::Yes,
        // `de_DE` and `de_DE.utf8` are meant to be in UTF-8.
        false => {
            mistyped(name, LOCALES.lines().filter(|known| known.contains(".UTF-8")).chain(LOCALES.lines()))
        }
    }
}

/// Finds the name that was meant. A name of a place may be new, so it counts as mistyped only where two letters differ at
/// most.
fn mistyped(name: &str, known: impl Iterator<Item = &'static str>) -> Known {
    let letters =
        |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    let plain = letters(name);
    let near = known.map(|other| (strsim::damerau_levenshtein(&plain, &letters(other)), other));
    match near.filter(|(edits, _)| *edits <= 2).min_by_key(|(edits, _)| *edits) {
        Some((_, near)) => Known::Mistyped(near),
        None => Known::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A board that is new here needs a line for each release, or a reason in [`KERNELS`] why it has none.
    #[test]
    fn the_table_of_kernels_is_complete() {
        for board in BOARDS {
            for (release, _) in [TRIXIE, BOOKWORM] {
                let lines: Vec<_> = kernels(release).filter(|kernel| kernel.board == board.name).collect();
                let runs: Vec<Arch> =
                    board.archs.iter().copied().filter(|arch| *arch != Arch::Armv6).collect();
                match lines.as_slice() {
                    [] => assert!(runs.is_empty(), "{release} has no line for {}", board.name),
                    [one] => assert_eq!(one.archs, runs, "{release} {}", board.name),
                    _ => panic!("{release} has several lines for {}", board.name),
                }
            }
        }
        for kernel in KERNELS {
            assert!(BOARDS.iter().any(|board| board.name == kernel.board), "{} is no board", kernel.board);
        }
    }

    #[test]
    fn boards_that_a_kernel_does_not_drive_are_told() {
        assert_eq!(check_board("debian", "trixie", "rpi4", Arch::Arm64), Ok(()));
        assert_eq!(check_board("alpine", "3.22", "rpi5", Arch::Arm64), Ok(()));
        assert_eq!(check_board("debian", "sid", "rpi5", Arch::Arm64), Ok(()), "its kernel is not known here");
        let unfit = check_board("debian", "trixie", "rpi5", Arch::Arm64).unwrap_err();
        assert!(unfit.to_string().contains("RP1") && unfit.help().contains("`rpi4`"), "{unfit}");
        let unfit = check_board("debian", "bookworm", "rpi5", Arch::Arm64).unwrap_err();
        assert!(unfit.to_string().contains("no device tree") && unfit.help().contains("--kernel"), "{unfit}");
        let unfit = check_board("debian", "trixie", "rpi4", Arch::Armv6).unwrap_err();
        assert_eq!(unfit.to_string(), "Debian trixie has no system for the Raspberry Pi 4 on armv6");
        assert_eq!(unfit.help(), "It is built for `arm64` and `armv7`: set arch to one of them.");
        let unfit = check_board("debian", "trixie", "zerow", Arch::Armv6).unwrap_err();
        assert!(unfit.help().contains("Boards that can: `rpi2`"), "{}", unfit.help());
        assert!(unfit.help().contains("--os raspios"), "{}", unfit.help());
        assert_eq!(check_board("raspios", "trixie", "zerow", Arch::Armv6), Ok(()));
        assert_eq!(check_board("raspios", "bookworm", "rpi5", Arch::Arm64), Ok(()));
        assert_eq!(check_board("arch", "rolling", "rpi5", Arch::Arm64), Ok(()));
        let unfit = check_board("arch", "rolling", "rpi3", Arch::Armv6).unwrap_err();
        assert_eq!(unfit.to_string(), "Arch Linux ARM has no system for the Raspberry Pi 3 on armv6");
        assert_eq!(unfit.help(), "It is built for `arm64` and `armv7`: set arch to one of them.");
        let unfit = check_board("arch", "rolling", "zerow", Arch::Armv6).unwrap_err();
        assert!(unfit.help().contains("--os raspios"), "{}", unfit.help());
        assert_eq!(archs("arch", "rolling", "rpi2"), Ok(Some(&[Arch::Armv7][..])));
        assert_eq!(archs("arch", "rolling", "rpi1"), Ok(Some(&[][..])));
        assert!(matches!(archs("arch", "2026", "rpi4"), Err(Unfit::Release { .. })));
        assert_eq!(archs("raspios", "trixie", "rpi1"), Ok(Some(&[Arch::Armv6][..])));
        assert!(matches!(archs("raspios", "buster", "rpi4"), Err(Unfit::Release { .. })));
        assert!(matches!(archs("debian", "trixi", "rpi4"), Err(Unfit::Release { .. })));
        assert_eq!(archs("debian", "trixie", "rpi1"), Ok(Some(&[][..])));
    }

    #[test]
    fn the_releases_of_debian_are_those_with_kernels() {
        let mut with_kernels: Vec<&str> = KERNELS.iter().map(|kernel| kernel.release).collect();
        with_kernels.dedup();
        assert_eq!(releases(DEBIAN), Some(&with_kernels[..]));
        assert_eq!((default_release(RASPIOS), default_release("alpine")), (Some("trixie"), None));
        assert_eq!(default_release(ARCH), Some("rolling"));
    }

    #[test]
    fn names_of_zones_and_locales_are_known() {
        for good in ["UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "Etc/GMT+5"] {
            assert_eq!(zone("trixie", good), Known::Yes, "{good}");
        }
        assert_eq!(zone("trixie", "US/Pacific"), Known::Old("America/Los_Angeles"));
        assert_eq!(zone("bookworm", "US/Pacific"), Known::Yes);
        assert_eq!(zone("trixie", "europe/berln"), Known::Mistyped("Europe/Berlin"));
        assert_eq!(zone("trixie", "Mars/Olympus_Mons"), Known::No);
        for good in ["C.UTF-8", "POSIX", "en_US.UTF-8", "de_DE@euro", "en_US"] {
            assert_eq!(locale(good), Known::Yes, "{good}");
        }
        assert_eq!(locale("en_US.utf8"), Known::Mistyped("en_US.UTF-8"));
        assert!(matches!(locale("en_UK.UTF-8"), Known::Mistyped(_)));
        assert_eq!(locale("klingon"), Known::No);
        for line in ZONES.lines() {
            let (old, modern) = line.split_once(' ').unwrap_or((line, line));
            assert_eq!(zone("trixie", modern), Known::Yes, "{old} leads to {modern}");
        }
    }
}
