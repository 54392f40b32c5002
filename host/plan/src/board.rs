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
}

/// Every board, oldest first.
pub const BOARDS: [Board; 7] = [
    Board { name: "rpi1", title: "Raspberry Pi 1", archs: &[Arch::Armv6] },
    Board { name: "zerow", title: "Raspberry Pi Zero W", archs: &[Arch::Armv6] },
    Board { name: "rpi2", title: "Raspberry Pi 2", archs: &[Arch::Armv7, Arch::Armv6] },
    Board { name: "rpi3", title: "Raspberry Pi 3", archs: &[Arch::Arm64, Arch::Armv7, Arch::Armv6] },
    Board { name: "rpi4", title: "Raspberry Pi 4", archs: &[Arch::Arm64, Arch::Armv7, Arch::Armv6] },
    Board { name: "zero2w", title: "Raspberry Pi Zero 2 W", archs: &[Arch::Arm64, Arch::Armv7, Arch::Armv6] },
    Board { name: "rpi5", title: "Raspberry Pi 5", archs: &[Arch::Arm64] },
];

/// Returns the board of that name.
///
/// # Errors
/// A sentence that names the known boards, or the one that was probably meant.
pub fn find(name: &str) -> Result<Board, String> {
    BOARDS.into_iter().find(|board| board.name == name).ok_or_else(|| {
        match suggest::nearest(name, BOARDS.iter().map(|board| board.name)) {
            Some(near) => format!("Did you mean `{near}`?"),
            None => format!("Known boards are {}.", suggest::list(BOARDS.iter().map(|board| board.name))),
        }
    })
}
