//! Whether this kernel can run the target's programs, and how to make it.
//!
//! A foreign program runs when the kernel's binfmt_misc has a handler for it. In a container the handler's
//! interpreter must have been opened beforehand (flag F), since the container does not have it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use pib_plan::id::Arch;

use super::handler::{Handler, elf_header, is_static, qemu_name, registration};
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

#[cfg(test)]
#[path = "binfmt_tests.rs"]
mod tests;
