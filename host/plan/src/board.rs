//! The boards that pib knows, and what can run on each.

use crate::id::Arch;
use crate::suggest;

/// A Raspberry Pi model, or a family of models that one image serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Board {
    /// The name in `pib.toml`.
    pub name: &'static str,
    /// The model's name in the shop.
    pub title: &'static str,
    /// The architectures it can run; the first is what `pib new` chooses.
    pub archs: &'static [Arch],
    /// The chip, where all models of the family have the same.
    pub soc: Option<&'static str>,
    /// The chip's processor cores, likewise.
    pub cpu: Option<&'static str>,
    /// Whether it has Wi-Fi of its own.
    pub wifi: bool,
}

/// The longest that the watchdog of every chip here waits, in seconds: its counter has 20 bits and runs at 65,536 a
/// second (`PM_WDOG_TIME_SET` and `WDOG_TICKS_TO_SECS` in Linux' drivers/watchdog/bcm2835_wdt.c, which the device
/// trees of BCM2835, BCM2836, BCM2837, BCM2711 and BCM2712 name as their driver by `brcm,bcm2835-pm-wdt`).
const WATCHDOG_MAX_TIMEOUT: u32 = 0xf_ffff >> 16;

/// Every board, by family and age.
///
/// Chips, cores and Wi-Fi are those of Raspberry Pi's own documentation (raspberrypi.com/documentation/computers:
/// "Processors" and "Raspberry Pi hardware"). Of the Pi 2 there are two kinds, with BCM2836 and with BCM2837.
pub const BOARDS: [Board; 12] = [
    Board {
        name: "rpi1",
        title: "Raspberry Pi 1",
        archs: &[Arch::Armv6],
        soc: Some("bcm2835"),
        cpu: Some("arm1176jzf-s"),
        wifi: false,
    },
    Board {
        name: "rpi2",
        title: "Raspberry Pi 2",
        archs: &[Arch::Armv7, Arch::Armv6],
        soc: None,
        cpu: None,
        wifi: false,
    },
    Board {
        name: "rpi3",
        title: "Raspberry Pi 3",
        archs: &[Arch::Arm64, Arch::Armv7, Arch::Armv6],
        soc: Some("bcm2837"),
        cpu: Some("cortex-a53"),
        wifi: true,
    },
    Board {
        name: "rpi4",
        title: "Raspberry Pi 4",
        archs: &[Arch::Arm64, Arch::Armv7, Arch::Armv6],
        soc: Some("bcm2711"),
        cpu: Some("cortex-a72"),
        wifi: true,
    },
    Board {
        name: "rpi5",
        title: "Raspberry Pi 5",
        archs: &[Arch::Arm64],
        soc: Some("bcm2712"),
        cpu: Some("cortex-a76"),
        wifi: true,
    },
    Board {
        name: "cm3",
        title: "Compute Module 3",
        archs: &[Arch::Arm64, Arch::Armv7, Arch::Armv6],
        soc: Some("bcm2837"),
        cpu: Some("cortex-a53"),
        wifi: false,
    },
    Board {
        name: "cm4",
        title: "Compute Module 4",
        archs: &[Arch::Arm64, Arch::Armv7, Arch::Armv6],
        soc: Some("bcm2711"),
        cpu: Some("cortex-a72"),
        wifi: true,
    },
    Board {
        name: "pi400",
        title: "Raspberry Pi 400",
        archs: &[Arch::Arm64, Arch::Armv7, Arch::Armv6],
        soc: Some("bcm2711"),
        cpu: Some("cortex-a72"),
        wifi: true,
    },
    Board {
        name: "cm5",
        title: "Compute Module 5",
        archs: &[Arch::Arm64],
        soc: Some("bcm2712"),
        cpu: Some("cortex-a76"),
        wifi: true,
    },
    Board {
        name: "pi500",
        title: "Raspberry Pi 500",
        archs: &[Arch::Arm64],
        soc: Some("bcm2712"),
        cpu: Some("cortex-a76"),
        wifi: true,
    },
    Board {
        name: "zerow",
        title: "Raspberry Pi Zero W",
        archs: &[Arch::Armv6],
        soc: Some("bcm2835"),
        cpu: Some("arm1176jzf-s"),
        wifi: true,
    },
    Board {
        name: "zero2w",
        title: "Raspberry Pi Zero 2 W",
        archs: &[Arch::Arm64, Arch::Armv7, Arch::Armv6],
        soc: Some("rp3a0"),
        cpu: Some("cortex-a53"),
        wifi: true,
    },
];

impl Board {
    /// Returns what is known of the board as names and values, sorted by name, for hooks.
    pub fn traits(&self) -> Vec<(String, String)> {
        let known = [
            ("cpu", self.cpu.map(str::to_owned)),
            ("soc", self.soc.map(str::to_owned)),
            ("title", Some(self.title.to_owned())),
            ("watchdog-max-timeout", Some(WATCHDOG_MAX_TIMEOUT.to_string())),
            ("wifi", Some(self.wifi.to_string())),
        ];
        known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// Says that a board is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown board `{name}`; the boards are {}", BOARDS.map(|board| board.name).join(", "))]
pub struct UnknownBoard {
    /// The name that was given.
    pub name: String,
}

impl UnknownBoard {
    /// Returns what to do about it.
    pub fn help(&self) -> String {
        match suggest::only_nearest(&self.name, BOARDS.iter().map(|board| board.name)) {
            Some(near) => format!("Did you mean `{near}`?"),
            None => "A board is a family of models: rpi3 is the 3 A+, 3 B and 3 B+.".to_owned(),
        }
    }
}

/// Returns the board of that name.
///
/// # Errors
/// When there is none.
pub fn find(name: &str) -> Result<Board, UnknownBoard> {
    let unknown = || UnknownBoard { name: name.to_owned() };
    BOARDS.into_iter().find(|board| board.name == name).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traits_are_sorted_and_the_watchdog_waits_15_seconds() {
        for board in BOARDS {
            let traits = board.traits();
            assert!(traits.is_sorted(), "{traits:?}");
            assert!(traits.contains(&("watchdog-max-timeout".to_owned(), "15".to_owned())), "{traits:?}");
        }
        let pi2 = find("rpi2").unwrap().traits();
        assert!(!pi2.iter().any(|(name, _)| name == "soc"), "a Pi 2 has one of two chips");
    }
}
