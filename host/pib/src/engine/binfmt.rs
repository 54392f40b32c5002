//! Whether this kernel can run the target's programs, and how to make it.
//!
//! A foreign program runs when the kernel's binfmt_misc has a handler for it. In a container the handler's
//! interpreter must have been opened beforehand (flag F), since the container does not have it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use pib_plan::id::Arch;

use super::{Engine, EngineError};

/// Where Linux shows its handlers.
const PROC: &str = "/proc/sys/fs/binfmt_misc";
/// The help that every failed check ends with.
const HELP: &str = "Run `sudo pib binfmt` on the machine that the engine runs on.";

/// What the kernel would do with a program of some architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BinfmtStatus {
    /// A handler runs it, in containers too.
    Registered {
        /// The emulator.
        interpreter: PathBuf,
    },
    /// A handler runs it, but not in containers: flag F is missing.
    NotFixed {
        /// The handler's name.
        name: String,
    },
    /// A handler is there, and switched off.
    Disabled {
        /// The handler's name.
        name: String,
    },
    /// There is no handler for it.
    Missing,
    /// binfmt_misc is not mounted, so that there is no handler at all.
    NotMounted,
}

/// What [`Binfmt::install`] did for an architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Installed {
    /// There was a fitting handler.
    Already {
        /// Its emulator.
        interpreter: PathBuf,
    },
    /// A handler was registered; it lasts until the machine restarts.
    Registered {
        /// Its emulator.
        interpreter: PathBuf,
    },
}

/// Says why a handler could not be registered.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum BinfmtError {
    /// There is no emulator.
    #[error("found no static emulator for {arch} (looked for {looked})")]
    #[diagnostic(help(
        "Install it; on Debian and Ubuntu: `sudo apt-get install qemu-user-static binfmt-support`."
    ))]
    NoEmulator {
        /// The architecture.
        arch: Arch,
        /// The places, joined for people.
        looked: String,
    },
    /// Another program's handler is in the way.
    #[error("a handler `{name}` that pib did not register is in the way: {reason}")]
    #[diagnostic(help("Have it replaced: `sudo pib binfmt --replace`."))]
    Foreign {
        /// The handler's name.
        name: String,
        /// Why it does not do.
        reason: &'static str,
    },
    /// Only root may register handlers.
    #[error("may not register handlers: permission denied")]
    #[diagnostic(help("Run `sudo pib binfmt`."))]
    NotRoot,
    /// Something else went wrong.
    #[error("could not {action}: {source}")]
    #[diagnostic(help("Is this a container? Then run `sudo pib binfmt` on the machine outside of it."))]
    Io {
        /// What was being done.
        action: String,
        /// What happened.
        source: io::Error,
    },
}

/// The kernel's handlers.
#[derive(Debug, Clone)]
pub struct Binfmt {
    handlers: PathBuf,
    root: PathBuf,
}

impl Default for Binfmt {
    fn default() -> Self {
        Self { handlers: PathBuf::from(PROC), root: PathBuf::from("/") }
    }
}

impl Engine {
    /// Checks that the engine can run programs of `arch`, as far as one can tell from here.
    ///
    /// Of an engine on another machine, or in a virtual machine, nothing is known; there a failing build
    /// tells.
    ///
    /// # Errors
    /// When it cannot; says what to run.
    pub fn check_binfmt(&self, arch: Arch) -> Result<(), EngineError> {
        if is_native(&self.info().arch, arch) || !self.is_this_kernel() {
            return Ok(());
        }
        check(&Binfmt::default().status(arch), arch)
    }

    /// Returns whether the engine's containers run on the kernel that this program runs on.
    fn is_this_kernel(&self) -> bool {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let release = release.trim();
        self.is_local() && !release.is_empty() && self.info().kernel == format!("linux {release}")
    }
}

/// Returns whether an engine of the architecture `engine` (in Go's words) runs `arch` without emulation.
pub fn is_native(engine: &str, arch: Arch) -> bool {
    match arch {
        Arch::Arm64 => engine == "arm64",
        Arch::Armv7 | Arch::Armv6 => engine == "arm" || engine == "arm64",
    }
}

fn check(status: &BinfmtStatus, arch: Arch) -> Result<(), EngineError> {
    let reason = match status {
        BinfmtStatus::Registered { .. } => return Ok(()),
        BinfmtStatus::NotFixed { name } => {
            format!("the handler `{name}` lacks flag F, so it fails in containers")
        }
        BinfmtStatus::Disabled { name } => format!("the handler `{name}` is switched off"),
        BinfmtStatus::Missing => "no binfmt handler is registered for them".to_owned(),
        BinfmtStatus::NotMounted => "binfmt_misc is not mounted".to_owned(),
    };
    Err(cannot_run(arch, reason))
}

/// Returns the error for a target whose programs do not run.
pub(super) fn cannot_run(arch: Arch, reason: String) -> EngineError {
    EngineError::Binfmt { arch, reason, help: HELP.to_owned() }
}

impl Binfmt {
    /// Returns what the kernel would do with a program of `arch`.
    pub fn status(&self, arch: Arch) -> BinfmtStatus {
        if !self.handlers.join("register").exists() {
            return BinfmtStatus::NotMounted;
        }
        let sample = elf_header(arch);
        let mut found = BinfmtStatus::Missing;
        let mut names: Vec<PathBuf> = fs::read_dir(&self.handlers)
            .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
            .unwrap_or_default();
        names.sort();
        for path in names {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name == "register" || name == "status" {
                continue;
            }
            let Some(handler) = fs::read_to_string(&path).ok().as_deref().and_then(Handler::parse) else {
                continue;
            };
            match () {
                () if !handler.takes(&sample) => {}
                () if !handler.enabled => found = BinfmtStatus::Disabled { name },
                () if handler.flags.contains('F') => {
                    return BinfmtStatus::Registered { interpreter: handler.interpreter };
                }
                () => found = BinfmtStatus::NotFixed { name },
            }
        }
        found
    }

    /// Registers a handler for `arch` with flag F, unless there is a fitting one.
    ///
    /// # Errors
    /// When there is no emulator, this is not root, or a handler of somebody else is in the way and `replace`
    /// is not set.
    pub fn install(&self, arch: Arch, replace: bool) -> Result<Installed, BinfmtError> {
        if self.status(arch) == BinfmtStatus::NotMounted {
            self.mount()?;
        }
        let in_the_way = match self.status(arch) {
            BinfmtStatus::Registered { interpreter } => return Ok(Installed::Already { interpreter }),
            BinfmtStatus::NotFixed { name } => Some((name, "it lacks flag F")),
            BinfmtStatus::Disabled { name } => Some((name, "it is switched off")),
            BinfmtStatus::Missing | BinfmtStatus::NotMounted => None,
        };
        // Found first: a handler is only taken away when there is another to put in its place.
        let emulator = self.emulator(arch);
        match in_the_way {
            Some((name, reason)) if !replace => return Err(BinfmtError::Foreign { name, reason }),
            Some((name, _)) if emulator.is_ok() => self.write(&name, b"-1")?,
            _ => {}
        }
        let (interpreter, flags) = emulator?;
        self.write("register", &registration(arch, &interpreter, flags))?;
        Ok(Installed::Registered { interpreter })
    }

    /// Finds a static emulator. With a dynamic one flag F is of no use: its libraries are not in the container.
    fn emulator(&self, arch: Arch) -> Result<(PathBuf, &'static str), BinfmtError> {
        let name = qemu_name(arch);
        // Under the first name Debian's qemu expects flag P, which keeps the program's argv[0].
        let places = [
            (format!("usr/libexec/qemu-binfmt/{name}-binfmt-P"), "PF"),
            (format!("usr/bin/qemu-{name}-static"), "F"),
            (format!("usr/bin/qemu-{name}"), "F"),
            (format!("usr/local/bin/qemu-{name}-static"), "F"),
        ];
        for (place, flags) in &places {
            if is_static(&self.root.join(place)) {
                return Ok((Path::new("/").join(place), flags));
            }
        }
        let looked: Vec<String> = places.iter().map(|(place, _)| format!("/{place}")).collect();
        Err(BinfmtError::NoEmulator { arch, looked: looked.join(", ") })
    }

    fn mount(&self) -> Result<(), BinfmtError> {
        // The module may be built in or loaded already, so only the mount decides.
        _ = Command::new("modprobe").arg("binfmt_misc").output();
        let output =
            Command::new("mount").args(["-t", "binfmt_misc", "binfmt_misc"]).arg(&self.handlers).output();
        let fail = |source| BinfmtError::Io { action: "mount binfmt_misc".to_owned(), source };
        let output = output.map_err(fail)?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if text.contains("superuser") || text.contains("permission denied") {
            return Err(BinfmtError::NotRoot);
        }
        Err(fail(io::Error::other(text)))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), BinfmtError> {
        fs::write(self.handlers.join(name), bytes).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => BinfmtError::NotRoot,
            _ => {
                BinfmtError::Io { action: format!("write to {}", self.handlers.join(name).display()), source }
            }
        })
    }
}

fn qemu_name(arch: Arch) -> &'static str {
    match arch {
        Arch::Arm64 => "aarch64",
        Arch::Armv7 | Arch::Armv6 => "arm",
    }
}

/// Returns the first 20 bytes of a little-endian Linux program of `arch`, as System V's ABI has them.
fn elf_header(arch: Arch) -> [u8; 20] {
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
fn registration(arch: Arch, interpreter: &Path, flags: &str) -> Vec<u8> {
    let magic = elf_header(arch);
    let mut mask = [0xff; 20];
    // Any ABI: that of Linux and that of System V are both in use.
    mask[7] = 0;
    // Both kinds of programs: executables (2) and position-independent ones (3).
    mask[16] = 0xfe;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let (name, interpreter) = (qemu_name(arch), interpreter.display());
    format!(":qemu-{name}:M::{}:{}:{interpreter}:{flags}", hex(&magic), hex(&mask)).into_bytes()
}

/// Returns whether the file is a program that needs no dynamic loader.
fn is_static(path: &Path) -> bool {
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
struct Handler {
    enabled: bool,
    interpreter: PathBuf,
    flags: String,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Handler {
    /// Reads the kernel's description; `None` for a handler that goes by file name extension.
    fn parse(text: &str) -> Option<Self> {
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

    fn takes(&self, header: &[u8]) -> bool {
        let mask = |index: usize| self.mask.get(index).copied().unwrap_or(0xff);
        self.magic.iter().enumerate().all(|(index, &magic)| {
            header.get(self.offset + index).is_some_and(|&byte| (byte ^ magic) & mask(index) == 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: PF\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    fn kernel() -> (tempfile::TempDir, Binfmt) {
        let folder = tempfile::tempdir().unwrap();
        let handlers = folder.path().join("binfmt");
        fs::create_dir(&handlers).unwrap();
        fs::write(handlers.join("register"), "").unwrap();
        fs::write(handlers.join("status"), "enabled\n").unwrap();
        let binfmt = Binfmt { handlers, root: folder.path().to_owned() };
        (folder, binfmt)
    }

    #[test]
    fn handlers_are_recognised_by_what_they_take() {
        let (_folder, binfmt) = kernel();
        assert_eq!(binfmt.status(Arch::Arm64), BinfmtStatus::Missing);
        fs::write(
            binfmt.handlers.join("jar"),
            "enabled\ninterpreter /usr/bin/jexec\nflags: \noffset 0\nmagic 504b0304\n",
        )
        .unwrap();
        fs::write(binfmt.handlers.join("any-name"), DEBIAN).unwrap();
        let interpreter = PathBuf::from("/usr/libexec/qemu-binfmt/aarch64-binfmt-P");
        assert_eq!(binfmt.status(Arch::Arm64), BinfmtStatus::Registered { interpreter });
        assert_eq!(binfmt.status(Arch::Armv7), BinfmtStatus::Missing);
        fs::write(binfmt.handlers.join("any-name"), DEBIAN.replace("PF", "OC")).unwrap();
        assert!(matches!(binfmt.status(Arch::Arm64), BinfmtStatus::NotFixed { .. }));
        fs::write(binfmt.handlers.join("any-name"), DEBIAN.replace("enabled", "disabled")).unwrap();
        assert!(matches!(binfmt.status(Arch::Arm64), BinfmtStatus::Disabled { .. }));
        let gone = Binfmt { handlers: "/nonexistent".into(), root: "/".into() };
        assert_eq!(gone.status(Arch::Arm64), BinfmtStatus::NotMounted);
    }

    #[test]
    fn what_is_registered_is_what_the_kernel_takes() {
        let (folder, binfmt) = kernel();
        assert!(matches!(binfmt.install(Arch::Arm64, false), Err(BinfmtError::NoEmulator { .. })));
        let emulator = folder.path().join("usr/bin/qemu-aarch64-static");
        fs::create_dir_all(emulator.parent().unwrap()).unwrap();
        let mut elf = vec![0; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        fs::write(&emulator, &elf).unwrap();
        let installed = binfmt.install(Arch::Arm64, false).unwrap();
        assert_eq!(installed, Installed::Registered { interpreter: "/usr/bin/qemu-aarch64-static".into() });
        let line = fs::read_to_string(binfmt.handlers.join("register")).unwrap();
        let fields: Vec<&str> = line.split(':').collect();
        assert_eq!(
            (fields[1], fields[2], fields[6], fields[7]),
            ("qemu-aarch64", "M", "/usr/bin/qemu-aarch64-static", "F")
        );
        assert_eq!(fields[4].replace("\\x", ""), "7f454c460201010000000000000000000200b700");
        assert_eq!(fields[5].replace("\\x", ""), "ffffffffffffff00fffffffffffffffffeffffff");
    }

    #[test]
    fn a_foreign_handler_is_replaced_only_when_told() {
        let (_folder, binfmt) = kernel();
        let other = binfmt.handlers.join("qemu-aarch64");
        fs::write(&other, DEBIAN.replace("PF", "P")).unwrap();
        assert!(matches!(binfmt.install(Arch::Arm64, false), Err(BinfmtError::Foreign { .. })));
        assert_eq!(fs::read_to_string(&other).unwrap(), DEBIAN.replace("PF", "P"));
        assert!(matches!(binfmt.install(Arch::Arm64, true), Err(BinfmtError::NoEmulator { .. })));
        assert_eq!(fs::read_to_string(&other).unwrap(), DEBIAN.replace("PF", "P"));
    }

    #[test]
    fn the_engines_architecture_decides_what_is_native() {
        assert!(
            is_native("arm64", Arch::Arm64)
                && is_native("arm64", Arch::Armv7)
                && is_native("arm", Arch::Armv6)
        );
        assert!(!is_native("amd64", Arch::Arm64) && !is_native("arm", Arch::Arm64));
        let error = check(&BinfmtStatus::Missing, Arch::Armv7).unwrap_err();
        assert!(error.to_string().contains("armv7"), "{error}");
    }
}
