//! Starts an image in QEMU, with its console on the terminal.

use std::path::PathBuf;

use pib_event::ReporterExt as _;
use pib_plan::size::ByteSize;

use super::inspect::existing;
pub use super::startup::BootBoard;
use super::startup::{self, StartupRequest};
use crate::emulator::{Console, Machine, MachineOptions};
use crate::project::{Error, Project, Session};

/// The id of the step in events.
const STEP: &str = "boot";
/// The memory of a machine where nothing else is asked for, in MiB.
pub const DEFAULT_MEMORY: u64 = 1024;
/// The least that Debian's installer asks for is more than this; less does not unpack an initramfs.
const MIN_MEMORY: u64 = 256;
/// More than any Pi has by far.
const MAX_MEMORY: u64 = 64 << 10;

/// How an image is started.
#[derive(Debug, Clone, Default)]
pub struct BootOptions {
    /// The image; the project's own where none is named.
    pub image: Option<PathBuf>,
    /// The machine.
    pub board: BootBoard,
    /// The port of this machine that leads to the system's ssh server; 0 for a free one.
    pub ssh: Option<u16>,
    /// Whether a window shows what the system draws.
    pub graphic: bool,
    /// The memory in bytes, where it is not the usual amount.
    pub memory: Option<u64>,
    /// The size of the card in bytes, where it is to be larger than the image.
    pub card: Option<u64>,
}

/// Starts an image; returns when it was powered off or its machine was ended.
///
/// # Errors
/// When there is no image, it has no kernel for QEMU, or QEMU is missing or fails.
pub async fn boot(session: &Session, options: &BootOptions) -> Result<(), Error> {
    let (image, board) = match &options.image {
        Some(image) => (session.cwd.join(image), None),
        None => {
            let project = Project::load(session)?;
            (existing(&project)?, Some(project.manifest.project.board.clone()))
        }
    };
    let memory = memory(options.memory)?;
    check_pi(options, memory)?;
    let shown = session.show(&image).display().to_string();
    session.reporter.started(STEP, format!("Taking the kernel out of {shown}"));
    let request = StartupRequest { image, board, machine: options.board, agent: false, card: options.card };
    let startup = startup::prepare(session, STEP, request).await?;
    if let Some(most) = startup.hardware.most_memory().filter(|most| *most < memory) {
        let message =
            format!("QEMU's machine for 32-bit kernels has at most {most} MiB of memory, not {memory}");
        return Err(Error::usage(message, format!("Give it --memory {}GiB, or less.", most >> 10)));
    }
    session.reporter.finished(STEP, false);
    let ssh = options.ssh.map(free_port).transpose()?;
    if let Some(port) = ssh {
        session.reporter.note(format!("ssh, once it is up: ssh -p {port} root@127.0.0.1"));
    }
    session
        .reporter
        .note("What the system writes is lost when it ends. Ctrl-A X ends it, Ctrl-A H lists more.");
    let mut machine = Machine::start(&MachineOptions {
        hardware: startup.hardware,
        boot: startup.boot.clone(),
        disk: startup.disk(),
        memory,
        ssh,
        graphic: options.graphic,
        console: Console::Terminal,
        agent: None,
    })?;
    Ok(machine.finish().await?)
}

/// Checks that a Raspberry Pi is asked for nothing that QEMU's does not have.
///
/// # Errors
/// When it is.
fn check_pi(options: &BootOptions, memory: u64) -> Result<(), Error> {
    if options.board != BootBoard::RaspberryPi3 {
        return Ok(());
    }
    if memory != DEFAULT_MEMORY {
        let message = format!("QEMU's Raspberry Pi 3 has 1 GiB of memory, not {}", ByteSize(memory << 20));
        return Err(Error::usage(message, "Leave --memory out, or --board."));
    }
    match options.card.filter(|card| !card.is_power_of_two()) {
        Some(card) => {
            let larger = card.checked_next_power_of_two().unwrap_or(card);
            let message = format!(
                "a card of QEMU's Raspberry Pi 3 has a power of two as its size, not {}",
                ByteSize(card)
            );
            Err(Error::usage(message, format!("Give it --card {}.", ByteSize(larger))))
        }
        None => Ok(()),
    }
}

/// Returns an amount of memory in MiB.
///
/// # Errors
/// When no system could start with it, or no machine has so much.
fn memory(bytes: Option<u64>) -> Result<u64, Error> {
    let mib = bytes.map_or(DEFAULT_MEMORY, |bytes| bytes >> 20);
    if (MIN_MEMORY..=MAX_MEMORY).contains(&mib) {
        return Ok(mib);
    }
    let message = format!("a machine with {mib} MiB of memory is not one that a system starts on");
    Err(Error::usage(message, format!("Give it {MIN_MEMORY}MiB to {}GiB.", MAX_MEMORY >> 10)))
}

/// Returns the port itself, or a free one for 0.
fn free_port(port: u16) -> Result<u16, Error> {
    if port != 0 {
        return Ok(port);
    }
    let bound = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    Ok(bound.map_err(|error| Error::io("find a free port", "", error))?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded() {
        assert_eq!(memory(None).unwrap(), 1024);
        assert_eq!(memory(Some(2 << 30)).unwrap(), 2048);
        assert!(memory(Some(1 << 20)).is_err() && memory(Some(1 << 50)).is_err());
        assert_ne!(free_port(0).unwrap(), 0);
    }
}
