//! The kernel's binfmt_misc handlers, as text, and the programs that they are for, as bytes.

use std::fs;
use std::path::{Path, PathBuf};

use pib_plan::id::Arch;

/// How the names of handlers begin that pib registers.
pub(super) const OURS: &str = "pib-";

pub(super) fn qemu_name(arch: Arch) -> &'static str {
    match arch {
        Arch::Arm64 => "aarch64",
        Arch::Armv7 | Arch::Armv6 => "arm",
    }
}

/// Returns the first 20 bytes of a little-endian Linux program of `arch`, as System V's ABI has them.
pub(super) fn elf_header(arch: Arch) -> [u8; 20] {
    let (class, machine) = match arch {
        Arch::Arm64 => (2, 183),
        Arch::Armv7 | Arch::Armv6 => (1, 40),
    };
    let mut header = [0; 20];
    header[..4].copy_from_slice(b"\x7fELF");
    header[4] = class;
    header[5] = 1;
    header[6] = 1;
    header[16] = 2;
    header[18] = machine;
    header
}

/// Returns the line that registers a handler for programs of `arch`.
pub(super) fn registration(arch: Arch, interpreter: &Path, flags: &str) -> String {
    let magic = elf_header(arch);
    let mut mask = [0xff; 20];
    // Any ABI: that of Linux and that of System V are both in use.
    mask[7] = 0;
    // Both kinds of programs: executables (2) and position-independent ones (3).
    mask[16] = 0xfe;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let (name, interpreter) = (qemu_name(arch), interpreter.display());
    format!(":{OURS}{name}:M::{}:{}:{interpreter}:{flags}", hex(&magic), hex(&mask))
}

/// Returns whether the file is a program that needs no dynamic loader.
pub(super) fn is_static(path: &Path) -> bool {
    const PT_INTERP: u32 = 3;
    let Some(bytes) = head(path) else { return false };
    let at = |offset: usize, size: usize| -> Option<u64> {
        let bytes = bytes.get(offset..offset.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    };
    if bytes.get(..6).is_none_or(|magic| &magic[..4] != b"\x7fELF" || magic[5] != 1) {
        return false;
    }
    let (offset, size, count) = match bytes[4] {
        1 => (at(28, 4), at(42, 2), at(44, 2)),
        _ => (at(32, 8), at(54, 2), at(56, 2)),
    };
    let (Some(offset), Some(size), Some(count)) = (offset, size, count) else { return false };
    (0..count).all(|index| {
        let place = usize::try_from(offset.saturating_add(index * size)).unwrap_or(usize::MAX);
        at(place, 4).is_some_and(|kind| kind != u64::from(PT_INTERP))
    })
}

fn head(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(64 * 1024).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// A handler, as the kernel describes it.
#[derive(Debug, Default)]
pub(super) struct Handler {
    pub(super) enabled: bool,
    pub(super) interpreter: PathBuf,
    pub(super) flags: String,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Handler {
    /// Reads the kernel's description; `None` for a handler that goes by file name extension.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut handler = Self::default();
        for line in text.lines() {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                "enabled" => handler.enabled = true,
                "interpreter" => handler.interpreter = value.into(),
                "flags:" => handler.flags = value.to_owned(),
                "offset" => handler.offset = value.parse().ok()?,
                "magic" => handler.magic = hex::decode(value).ok()?,
                "mask" => handler.mask = hex::decode(value).ok()?,
                _ => {}
            }
        }
        (!handler.magic.is_empty()).then_some(handler)
    }

    pub(super) fn takes(&self, header: &[u8]) -> bool {
        let mask = |index: usize| self.mask.get(index).copied().unwrap_or(0xff);
        self.magic.iter().enumerate().all(|(index, &magic)| {
            header.get(self.offset + index).is_some_and(|&byte| (byte ^ magic) & mask(index) == 0)
        })
    }
}
