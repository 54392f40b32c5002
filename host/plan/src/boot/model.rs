//! The models of each board, and what their firmware looks for.

use crate::id::Arch;

/// How a model finds its firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Generation {
    /// It reads `bootcode.bin` and `start.elf` from the boot partition: all models before the 4.
    Card,
    /// It has its first stage in an EEPROM, and reads `start4.elf` from the boot partition.
    Eeprom,
    /// It has all of its firmware in an EEPROM: the 5.
    Whole,
}

/// A model of a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// The board that it belongs to, as `pib.toml` calls it.
    pub board: &'static str,
    /// Its name in the shop.
    pub title: &'static str,
    /// How it finds its firmware.
    pub generation: Generation,
    /// The filters of `config.txt` that hold for it.
    pub filters: &'static [&'static str],
    /// The device tree by the name that Raspberry Pi's kernel gives it.
    pub tree: &'static str,
    /// The device tree by the name that Linux gives it.
    pub upstream_tree: &'static str,
    /// The kernel's name for 32 bits where `config.txt` names none.
    pub kernel: &'static str,
    /// Drivers of its card slot: one of them has to be there. As file names of modules, with `-` for `_`.
    pub storage: &'static [&'static str],
}

const OLD_SLOT: &[&str] = &["bcm2835", "sdhci-iproc", "bcm2835-mmc", "bcm2835-sdhost"];
const PI4_SLOT: &[&str] = &["sdhci-iproc"];
const PI5_SLOT: &[&str] = &["sdhci-brcmstb"];

const fn card(
    (board, title): (&'static str, &'static str),
    filters: &'static [&'static str],
    (tree, upstream_tree): (&'static str, &'static str),
    kernel: &'static str,
) -> Model {
    let (generation, storage) = (Generation::Card, OLD_SLOT);
    Model { board, title, generation, filters, tree, upstream_tree, kernel, storage }
}

const fn eeprom(
    (board, title): (&'static str, &'static str),
    filters: &'static [&'static str],
    (tree, upstream_tree): (&'static str, &'static str),
) -> Model {
    let (generation, kernel, storage) = (Generation::Eeprom, "kernel7l.img", PI4_SLOT);
    Model { board, title, generation, filters, tree, upstream_tree, kernel, storage }
}

const fn whole(
    (board, title): (&'static str, &'static str),
    filters: &'static [&'static str],
    tree: &'static str,
) -> Model {
    let (generation, kernel, storage) = (Generation::Whole, "kernel_2712.img", PI5_SLOT);
    Model { board, title, generation, filters, tree, upstream_tree: tree, kernel, storage }
}

/// Every model, by board.
///
/// The names of device trees are those of the files in Linux' `arch/arm/boot/dts/broadcom` and
/// `arch/arm64/boot/dts/broadcom`, and of the same folders in Raspberry Pi's kernel.
pub const MODELS: [Model; 15] = [
    card(
        ("rpi1", "Raspberry Pi 1 B"),
        &["pi1"],
        ("bcm2708-rpi-b.dtb", "bcm2835-rpi-b-rev2.dtb"),
        "kernel.img",
    ),
    card(
        ("rpi1", "Raspberry Pi 1 B+"),
        &["pi1"],
        ("bcm2708-rpi-b-plus.dtb", "bcm2835-rpi-b-plus.dtb"),
        "kernel.img",
    ),
    card(
        ("rpi2", "Raspberry Pi 2 B"),
        &["pi2"],
        ("bcm2709-rpi-2-b.dtb", "bcm2836-rpi-2-b.dtb"),
        "kernel7.img",
    ),
    card(
        ("rpi3", "Raspberry Pi 3 B"),
        &["pi3"],
        ("bcm2710-rpi-3-b.dtb", "bcm2837-rpi-3-b.dtb"),
        "kernel7.img",
    ),
    card(
        ("rpi3", "Raspberry Pi 3 B+"),
        &["pi3", "pi3+"],
        ("bcm2710-rpi-3-b-plus.dtb", "bcm2837-rpi-3-b-plus.dtb"),
        "kernel7.img",
    ),
    // Raspberry Pi's kernel has the tree of the 3 B+ for it.
    card(
        ("rpi3", "Raspberry Pi 3 A+"),
        &["pi3", "pi3+"],
        ("bcm2710-rpi-3-b-plus.dtb", "bcm2837-rpi-3-a-plus.dtb"),
        "kernel7.img",
    ),
    eeprom(("rpi4", "Raspberry Pi 4 B"), &["pi4"], ("bcm2711-rpi-4-b.dtb", "bcm2711-rpi-4-b.dtb")),
    eeprom(("pi400", "Raspberry Pi 400"), &["pi4", "pi400"], ("bcm2711-rpi-400.dtb", "bcm2711-rpi-400.dtb")),
    eeprom(("cm4", "Compute Module 4"), &["pi4", "cm4"], ("bcm2711-rpi-cm4.dtb", "bcm2711-rpi-cm4-io.dtb")),
    whole(("rpi5", "Raspberry Pi 5"), &["pi5"], "bcm2712-rpi-5-b.dtb"),
    whole(("pi500", "Raspberry Pi 500"), &["pi5", "pi500"], "bcm2712-rpi-500.dtb"),
    whole(("cm5", "Compute Module 5"), &["pi5", "cm5"], "bcm2712-rpi-cm5-cm5io.dtb"),
    card(
        ("zerow", "Raspberry Pi Zero W"),
        &["pi0", "pi0w"],
        ("bcm2708-rpi-zero-w.dtb", "bcm2835-rpi-zero-w.dtb"),
        "kernel.img",
    ),
    card(
        ("zero2w", "Raspberry Pi Zero 2 W"),
        &["pi0", "pi02"],
        ("bcm2710-rpi-zero-2-w.dtb", "bcm2837-rpi-zero-2-w.dtb"),
        "kernel7.img",
    ),
    card(
        ("cm3", "Compute Module 3"),
        &["pi3"],
        ("bcm2710-rpi-cm3.dtb", "bcm2837-rpi-cm3-io3.dtb"),
        "kernel7.img",
    ),
];

/// Returns the models of a board.
pub fn models(board: &str) -> impl Iterator<Item = &'static Model> {
    MODELS.iter().filter(move |model| model.board == board)
}

impl Model {
    /// Returns whether it starts 64-bit kernels where nothing is said.
    pub(crate) fn prefers_64_bits(&self) -> bool {
        self.generation > Generation::Card
    }

    /// Returns the name of the kernel that it looks for where `config.txt` names none.
    pub(crate) fn default_kernel(&self, is_64bit: bool) -> &'static str {
        match (self.generation, is_64bit) {
            (Generation::Whole, _) => self.kernel,
            (_, true) => "kernel8.img",
            (_, false) => self.kernel,
        }
    }

    /// Returns whether it reads `boot_ramdisk`. Only what is in an EEPROM does: the file is read before `start4.elf`.
    pub(crate) fn reads_ramdisks(&self) -> bool {
        self.generation > Generation::Card
    }

    /// Returns the most bytes that it takes of a `boot.img` (release notes of the 4's EEPROM, 2021-10-27).
    pub(crate) fn ramdisk_limit(&self) -> u64 {
        96 << 20
    }

    /// Returns whether it finds the boot partition in a GPT. What is in an EEPROM does (from 2020-09-03 on, by its release
    /// notes); the boot ROM of earlier models reads a master boot record only.
    pub(crate) fn reads_gpt(&self) -> bool {
        self.generation > Generation::Card
    }

    /// Returns whether it starts another partition of `autoboot.txt` to try an update. Models without an EEPROM read no
    /// `tryboot_a_b`.
    pub(crate) fn tries_partitions(&self) -> bool {
        self.generation > Generation::Card
    }

    /// Returns whether it can run programs of this architecture.
    pub(crate) fn runs(&self, arch: Arch) -> bool {
        crate::board::BOARDS.iter().any(|board| board.name == self.board && board.archs.contains(&arch))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::BOARDS;

    #[test]
    fn every_board_has_models_and_every_model_a_board() {
        for board in BOARDS {
            assert!(models(board.name).next().is_some(), "{}", board.name);
        }
        for model in MODELS {
            assert!(BOARDS.iter().any(|board| board.name == model.board), "{}", model.title);
        }
    }
}
