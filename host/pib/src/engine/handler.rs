//! The kernel's binfmt_misc handlers, as text, and the programs that they are for, as bytes.

use std::path::{Path, PathBuf};

use object::LittleEndian;
use object::elf::{FileHeader32, FileHeader64, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader as _};
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
    let Some(bytes) = head(path) else { return false };
    // A program for 64 bits, or for 32.
    let loaded = names_loader::<FileHeader64<LittleEndian>>(&bytes)
        .or_else(|| names_loader::<FileHeader32<LittleEndian>>(&bytes));
    loaded == Some(false)
}

/// Returns whether a program names the loader that is to start it; nothing where the bytes are no such program.
fn names_loader<Elf: FileHeader<Endian = LittleEndian>>(bytes: &[u8]) -> Option<bool> {
    let header = Elf::parse(bytes).ok()?;
    let order = header.endian().ok()?;
    let headers = header.program_headers(order, bytes).ok()?;
    Some(headers.iter().any(|header| header.p_type(order) == PT_INTERP))
}

fn head(path: &Path) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    pib_file::open(path).ok()?.take(64 * 1024).read_to_end(&mut bytes).ok()?;
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
