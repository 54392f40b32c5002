//! Whether a kernel can run the target's programs, and how to make it.
//!
//! A foreign program runs when the kernel's binfmt_misc has a handler for it. In a container the handler's
//! interpreter must have been opened beforehand (flag F), since the container does not have it. Handlers that pib
//! registers are called `pib-...`; all others are somebody else's, and stay as they are unless told otherwise.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use pib_plan::id::Arch;

use super::handler::{Handler, OURS, elf_header, is_static, qemu_name, registration};
use super::{Engine, EngineError};

pub use super::far::FarKernel;

/// Where Linux shows its handlers.
pub(super) const PROC: &str = "/proc/sys/fs/binfmt_misc";
/// What takes a handler away when it is written to it.
const REMOVE: &str = "-1";
/// Where handlers are registered.
const REGISTER: &str = "register";

/// What the kernel would do with a program of some architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BinfmtStatus {
    /// A handler runs it, in containers too.
    Registered {
        /// The handler's name.
        name: String,
        /// The emulator.
        interpreter: PathBuf,
        /// The handler's flags; F is among them.
        flags: String,
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

/// What was done about the handler of an architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
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
    /// Handlers were taken away.
    Removed {
        /// Their names.
        names: Vec<String>,
    },
    /// There was nothing to take away.
    Nothing {
        /// Handlers of somebody else, which stay.
        others: Vec<String>,
    },
}

/// Says why a handler could not be registered or removed.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum BinfmtError {
    /// There is no emulator.
    #[error("found no static emulator for {arch} (looked for {looked})")]
    #[diagnostic(code(pib::binfmt::no_emulator))]
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
    #[diagnostic(code(pib::binfmt::foreign))]
    #[diagnostic(help("Have it replaced: `sudo pib binfmt install --force`."))]
    Foreign {
        /// The handler's name.
        name: String,
        /// Why it does not do.
        reason: &'static str,
    },
    /// Only root may change handlers.
    #[error("may not change handlers: permission denied")]
    #[diagnostic(code(pib::binfmt::not_root))]
    #[diagnostic(help("Run it with sudo: `sudo pib binfmt`."))]
    NotRoot,
    /// The engine is on a machine for which there is nothing to send.
    #[error("cannot register emulators on the engine's machine ({machine}) from here: {reason}")]
    #[diagnostic(code(pib::binfmt::far))]
    #[diagnostic(help("Run `sudo pib binfmt` on that machine."))]
    Far {
        /// Its processor.
        machine: String,
        /// What is missing.
        reason: &'static str,
    },
    /// A kernel that keeps handlers only while something shows them has lost one again.
    #[error("the kernel of the engine's machine ({machine}) has forgotten the handler for {arch} again")]
    #[diagnostic(code(pib::binfmt::forgotten))]
    #[diagnostic(help(
        "Since Linux 6.7 handlers last as long as binfmt_misc is mounted. Have it mounted on that machine, and run this \
         again: `sudo mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc`."
    ))]
    Forgotten {
        /// The machine's address.
        machine: String,
        /// The architecture.
        arch: Arch,
    },
    /// The engine failed.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Engine(#[from] EngineError),
    /// Something else went wrong.
    #[error("could not {action}: {source}")]
    #[diagnostic(code(pib::binfmt::io))]
    #[diagnostic(help("Is this a container? Then run `sudo pib binfmt` on the machine outside of it."))]
    Io {
        /// What was being done.
        action: String,
        /// What happened.
        source: io::Error,
    },
}

/// The handlers that a kernel has, by name, as it describes them; `None` where binfmt_misc is not mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handlers(pub(super) Option<Vec<(String, String)>>);

/// A text to be written to one of the kernel's files.
pub(super) type Write = (String, String);

/// The handlers of the kernel that this program runs on.
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
        check(&Binfmt::default().read().status(arch), arch)
    }

    /// Returns whether emulated programs of `arch` gain rights by the set-user-id bit of their file, where that is known.
    pub fn gives_rights(&self, arch: Arch) -> Option<bool> {
        self.is_this_kernel().then(|| Binfmt::default().read().status(arch).gives_rights())
    }

    /// Returns whether the engine's containers run on the kernel that this program runs on.
    pub fn is_this_kernel(&self) -> bool {
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

impl BinfmtStatus {
    /// Returns whether programs gain rights by the set-user-id bit of their file: the handler has flag C.
    pub fn gives_rights(&self) -> bool {
        matches!(self, Self::Registered { flags, .. } if flags.contains('C'))
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
    Err(EngineError::cannot_run(arch, reason))
}

impl Handlers {
    /// Returns what the kernel would do with a program of `arch`.
    pub fn status(&self, arch: Arch) -> BinfmtStatus {
        if self.0.is_none() {
            return BinfmtStatus::NotMounted;
        }
        let mut found = BinfmtStatus::Missing;
        for (name, handler) in self.fitting(arch) {
            match () {
                () if !handler.enabled => found = BinfmtStatus::Disabled { name },
                () if handler.flags.contains('F') => {
                    let Handler { interpreter, flags, .. } = handler;
                    return BinfmtStatus::Registered { name, interpreter, flags };
                }
                () => found = BinfmtStatus::NotFixed { name },
            }
        }
        found
    }

    /// Returns the handlers that take programs of `arch`.
    fn fitting(&self, arch: Arch) -> impl Iterator<Item = (String, Handler)> {
        let sample = elf_header(arch);
        let known = self.0.iter().flatten();
        let parsed = known.filter_map(|(name, text)| Some((name.clone(), Handler::parse(text)?)));
        parsed.filter(move |(_, handler)| handler.takes(&sample))
    }

    /// Returns what registers a handler for `arch`, and what there is to write for it.
    pub(super) fn install(
        &self,
        arch: Arch,
        force: bool,
        emulator: Result<(PathBuf, &str), BinfmtError>,
    ) -> Result<(Changed, Vec<Write>), BinfmtError> {
        let in_the_way = match self.status(arch) {
            BinfmtStatus::Registered { interpreter, .. } => {
                return Ok((Changed::Already { interpreter }, Vec::new()));
            }
            BinfmtStatus::NotFixed { name } => Some((name, "it lacks flag F")),
            BinfmtStatus::Disabled { name } => Some((name, "it is switched off")),
            BinfmtStatus::Missing | BinfmtStatus::NotMounted => None,
        };
        if let Some((name, reason)) = in_the_way.clone()
            && !force
            && !name.starts_with(OURS)
        {
            return Err(BinfmtError::Foreign { name, reason });
        }
        // A handler is only taken away when there is another to put in its place.
        let (interpreter, flags) = emulator?;
        let mut writes: Vec<Write> =
            in_the_way.into_iter().map(|(name, _)| (name, REMOVE.to_owned())).collect();
        writes.push((REGISTER.to_owned(), registration(arch, &interpreter, flags)));
        Ok((Changed::Registered { interpreter }, writes))
    }

    /// Returns what removes pib's handlers for `arch`, or with `force` all.
    pub(super) fn remove(&self, arch: Arch, force: bool) -> (Changed, Vec<Write>) {
        let names = self.fitting(arch).map(|(name, _)| name);
        let (names, others): (Vec<String>, Vec<String>) =
            names.partition(|name| force || name.starts_with(OURS));
        let writes = names.iter().map(|name| (name.clone(), REMOVE.to_owned())).collect();
        match names.is_empty() {
            true => (Changed::Nothing { others }, writes),
            false => (Changed::Removed { names }, writes),
        }
    }
}

impl Binfmt {
    /// Returns the kernel's handlers.
    pub fn read(&self) -> Handlers {
        if !self.handlers.join(REGISTER).exists() {
            return Handlers(None);
        }
        let entries = fs::read_dir(&self.handlers).into_iter().flatten().flatten();
        let mut found: Vec<(String, String)> = entries
            .filter_map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                Some((name, fs::read_to_string(entry.path()).ok()?))
            })
            .collect();
        found.sort();
        Handlers(Some(found))
    }

    /// Registers a handler for `arch` with flag F, unless there is a fitting one.
    ///
    /// # Errors
    /// When there is no emulator, this is not root, or a handler of somebody else is in the way and `force` is
    /// not set.
    pub fn install(&self, arch: Arch, force: bool) -> Result<Changed, BinfmtError> {
        let mut handlers = self.read();
        if handlers.0.is_none() {
            self.mount()?;
            handlers = self.read();
        }
        let (changed, writes) = handlers.install(arch, force, self.emulator(arch))?;
        self.write_all(&writes)?;
        Ok(changed)
    }

    /// Removes what pib registered for `arch`; with `force` whatever anybody did.
    ///
    /// # Errors
    /// When this is not root.
    pub fn remove(&self, arch: Arch, force: bool) -> Result<Changed, BinfmtError> {
        let (changed, writes) = self.read().remove(arch, force);
        self.write_all(&writes)?;
        Ok(changed)
    }

    /// Finds a static emulator. With a dynamic one flag F is of no use: its libraries are not in the container.
    pub(super) fn emulator(&self, arch: Arch) -> Result<(PathBuf, &'static str), BinfmtError> {
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

    fn write_all(&self, writes: &[Write]) -> Result<(), BinfmtError> {
        for (name, text) in writes {
            let path = self.handlers.join(name);
            fs::write(&path, text).map_err(|source| match source.kind() {
                io::ErrorKind::PermissionDenied => BinfmtError::NotRoot,
                _ => BinfmtError::Io { action: format!("write to {}", path.display()), source },
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "binfmt_misc_tests.rs"]
mod tests;
