//! The kernel of an engine on another machine, or in a virtual one: its handlers, through a container that may mount.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptions, LogsOptions, WaitContainerOptions};
use futures_util::StreamExt as _;
use pib_plan::id::{Arch, Digest};

use super::binfmt_misc::{Binfmt, BinfmtError, BinfmtStatus, Changed, Handlers, PROC, Write};
use super::handler::qemu_name;
use super::temporary::{TemporaryContainer, temporary};
use super::{Base, Engine, EngineError};
use pib_event::Reporter;

/// Where the container has the kernel's handlers.
const FOLDER: &str = "/handlers";
/// The program that shows and changes them.
const PROGRAM: &str = "/pib-handlers";
/// The largest emulator that is read.
const MAX_EMULATOR: u64 = 256 << 20;
/// The most that is read of what the program says.
const MAX_SAID: usize = 1 << 20;

/// The kernel of an engine that is not this machine's.
///
/// Its container image is removed by [`FarKernel::close`]; a handler with flag F goes on without it, since the
/// kernel holds its emulator open.
pub struct FarKernel {
    engine: Engine,
    tag: String,
    emulators: Vec<Arch>,
}

impl FarKernel {
    /// Sends `program`, and the emulators that this machine has for `archs`, to the engine.
    ///
    /// # Errors
    /// When the engine's machine has another processor than this one, or the engine fails.
    pub async fn open(
        engine: &Engine,
        program: &[u8],
        archs: &[Arch],
        labels: &BTreeMap<String, String>,
        reporter: &dyn Reporter,
    ) -> Result<Self, BinfmtError> {
        let machine = engine.info().arch.clone();
        let unable = |reason| BinfmtError::Far { machine: machine.clone(), reason };
        if machine != own_machine() {
            return Err(unable("its processor is of another kind than this machine's"));
        }
        if program.is_empty() {
            return Err(unable("this pib was built without the program for it"));
        }
        let mut files = vec![(PROGRAM.to_owned(), program.to_vec())];
        let mut emulators = Vec::new();
        for &arch in archs {
            if let Ok((path, _)) = Binfmt::default().emulator(arch) {
                let bytes = pib_file::read(&path, MAX_EMULATOR).map_err(|source| BinfmtError::Io {
                    action: format!("read {}", path.display()),
                    source,
                })?;
                files.push((emulator(arch).display().to_string(), bytes));
                emulators.push(arch);
            }
        }
        let unpacked = |source| BinfmtError::Io { action: "pack the emulators".to_owned(), source };
        let (tar, digest) = pack(&files).map_err(unpacked)?;
        let tag = format!("pib-binfmt:{}", &digest.hex()[..16]);
        let platform = format!("linux/{machine}");
        let base = Base { rootfs_tar: tar.path(), digest, tag: &tag, platform: &platform, labels };
        engine.load_base(&base, reporter).await?;
        Ok(Self { engine: engine.clone(), tag, emulators })
    }

    /// Returns the kernel's handlers.
    ///
    /// # Errors
    /// When the engine gives no container the right to mount, or the kernel has no binfmt_misc.
    pub async fn read(&self) -> Result<Handlers, BinfmtError> {
        Ok(parse(&self.run(&[FOLDER]).await?))
    }

    /// Registers a handler for `arch` with flag F, unless there is a fitting one.
    ///
    /// # Errors
    /// As [`Binfmt::install`]; and when the kernel forgets it together with the container that has registered it.
    pub async fn install(&self, arch: Arch, force: bool) -> Result<Changed, BinfmtError> {
        let emulator = match self.emulators.contains(&arch) {
            true => Ok((emulator(arch), "F")),
            false => Binfmt::default().emulator(arch).and(Err(BinfmtError::Far {
                machine: self.engine.info().arch.clone(),
                reason: "the emulator was installed only just now",
            })),
        };
        let (changed, writes) = self.read().await?.install(arch, force, emulator)?;
        self.write_all(&writes).await?;
        if !matches!(self.read().await?.status(arch), BinfmtStatus::Registered { .. }) {
            return Err(BinfmtError::Forgotten { machine: self.engine.info().address.clone(), arch });
        }
        Ok(changed)
    }

    /// Removes what pib registered for `arch`; with `force` whatever anybody did.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn remove(&self, arch: Arch, force: bool) -> Result<Changed, BinfmtError> {
        let (changed, writes) = self.read().await?.remove(arch, force);
        self.write_all(&writes).await?;
        Ok(changed)
    }

    /// Removes the container image that served.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn close(self) -> Result<(), BinfmtError> {
        self.engine.remove_image(&self.tag).await?;
        Ok(())
    }

    async fn write_all(&self, writes: &[Write]) -> Result<(), BinfmtError> {
        for (name, text) in writes {
            self.run(&[FOLDER, name, text]).await?;
        }
        Ok(())
    }

    /// Runs the program in a container of its own and returns what it printed.
    async fn run(&self, arguments: &[&str]) -> Result<String, BinfmtError> {
        let command = std::iter::once(PROGRAM).chain(arguments.iter().copied()).map(str::to_owned);
        let body = ContainerCreateBody {
            image: Some(self.tag.clone()),
            entrypoint: Some(Vec::new()),
            cmd: Some(command.collect()),
            labels: Some(temporary(&self.tag)),
            host_config: Some(HostConfig {
                // What it takes to mount and to write there, and nothing more.
                cap_add: Some(vec!["SYS_ADMIN".to_owned()]),
                security_opt: Some(["apparmor=unconfined", "label=disable"].map(str::to_owned).into()),
                network_mode: Some("none".to_owned()),
                binds: Some(vec![format!("{PROC}:{FOLDER}")]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let failed =
            |error: &bollard::errors::Error| EngineError::api("looking at its kernel's handlers", error);
        let docker = self.engine.client().quick();
        let created = docker.create_container(None::<CreateContainerOptions>, body).await;
        let id = created.map_err(|error| failed(&error))?.id;
        let mut container = TemporaryContainer::new(self.engine.client(), &id);
        docker.start_container(&id, None).await.map_err(|error| failed(&error))?;
        let mut waiting = Box::pin(docker.wait_container(&id, None::<WaitContainerOptions>));
        let code = match waiting.next().await {
            Some(Ok(_)) | None => 0,
            Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => code,
            Some(Err(error)) => return Err(failed(&error).into()),
        };
        let wanted = LogsOptions { stdout: true, stderr: true, ..LogsOptions::default() };
        let mut logs = Box::pin(docker.logs(&id, Some(wanted)));
        let (mut out, mut errors) = (String::new(), String::new());
        while let Some(piece) = logs.next().await {
            let piece = piece.map_err(|error| failed(&error))?;
            let text = match &piece {
                LogOutput::StdErr { .. } => &mut errors,
                _ => &mut out,
            };
            if text.len() < MAX_SAID {
                text.push_str(&String::from_utf8_lossy(piece.as_ref()));
            }
        }
        container.remove().await;
        match code {
            0 => Ok(out),
            _ => Err(BinfmtError::Io {
                action: "change the handlers of the engine's kernel".to_owned(),
                source: io::Error::other(errors.trim().to_owned()),
            }),
        }
    }
}

/// Returns this machine's processor in the engine's words.
fn own_machine() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Returns where the container image has an emulator.
fn emulator(arch: Arch) -> PathBuf {
    PathBuf::from(format!("/pib-qemu-{}", qemu_name(arch)))
}

/// Packs programs to a root file system; returns its digest, too.
fn pack(files: &[(String, Vec<u8>)]) -> io::Result<(tempfile::NamedTempFile, Digest)> {
    let mut tar = tar::Builder::new(Vec::new());
    let header = |kind: tar::EntryType, size: usize| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_size(size as u64);
        header
    };
    let folder = Path::new(FOLDER.trim_start_matches('/'));
    tar.append_data(&mut header(tar::EntryType::Directory, 0), folder, io::empty())?;
    for (path, bytes) in files {
        let path = path.trim_start_matches('/');
        tar.append_data(&mut header(tar::EntryType::Regular, bytes.len()), path, bytes.as_slice())?;
    }
    let bytes = tar.into_inner()?;
    let mut file = tempfile::NamedTempFile::new()?;
    io::Write::write_all(&mut file, &bytes)?;
    Ok((file, Digest::of(&bytes)))
}

/// Reads what the program printed: for each file a line `== NAME`, and its contents.
fn parse(text: &str) -> Handlers {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("== "), found.last_mut()) {
            (Some(name), _) => found.push((name.to_owned(), String::new())),
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    found.sort();
    Handlers(found.iter().any(|(name, _)| name == "register").then_some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_program_prints_is_read_as_the_kernel_wrote_it() {
        let handler = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: F\noffset 0\n\
            magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";
        let said = format!("== status\nenabled\n\n== qemu-aarch64\n{handler}\n== register\n");
        let handlers = parse(&said);
        assert!(matches!(handlers.status(Arch::Arm64), BinfmtStatus::Registered { .. }), "{handlers:?}");
        assert_eq!(handlers.status(Arch::Armv7), BinfmtStatus::Missing);
        assert_eq!(parse("").status(Arch::Arm64), BinfmtStatus::NotMounted);
    }

    /// In a user namespace of its own, where the handlers are others than the machine's (Linux 6.7 and newer).
    #[test]
    fn the_program_changes_the_kernels_handlers() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("handlers");
        std::fs::write(&program, include_bytes!(concat!(env!("OUT_DIR"), "/handlers"))).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        // A folder on which nothing is mounted, so that the machine's own handlers are never written to.
        std::fs::create_dir(folder.path().join("misc")).unwrap();
        let none = Handlers(Some(Vec::new()));
        let (_, writes) = none.install(Arch::Arm64, false, Ok(("/bin/true".into(), "F"))).unwrap();
        let script = "cd \"$D\"; ./handlers misc >/dev/null || { echo unable; exit 0; }
            ./handlers misc \"$1\" \"$2\"; ./handlers misc; echo ====; ./handlers misc pib-aarch64 -1; ./handlers misc";
        let mut unshare = std::process::Command::new("unshare");
        unshare
            .args(["-Urm", "sh", "-euc", script, "sh", &writes[0].0, &writes[0].1])
            .env("D", folder.path());
        let output = unshare.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        if !output.status.success() && said.is_empty() || said.contains("unable") {
            // An older kernel has one set of handlers for all, which no test may touch.
            return;
        }
        let (with, without) = said.split_once("====\n").unwrap();
        let status = parse(with).status(Arch::Arm64);
        assert!(matches!(&status, BinfmtStatus::Registered { name, .. } if name == "pib-aarch64"), "{with}");
        assert_eq!(parse(without).status(Arch::Arm64), BinfmtStatus::Missing, "{without}");
    }
}
