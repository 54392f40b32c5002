//! Takes out of an image what QEMU starts: kernel, initramfs, command line, and where it needs one, the device tree.

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pib_disk::FilesReader;
use pib_plan::board;
use pib_plan::boot::chain::Chain;
use pib_plan::boot::kernel_image::{HEAD, KernelImage};

use crate::emulator::{self, BootFiles, EmulatorError, Hardware};
use crate::inspection::{self, OpenedImage, Watch};
use crate::project::{Error, Session, blocking};

/// The largest kernel, initramfs or device tree that is read.
const MAX_FILE: u64 = 1 << 30;
/// The largest command line; Linux takes 2 KiB.
const MAX_LINE: u64 = 64 << 10;
/// Where a root has its kernels' modules, and of each those that drive watchdogs.
const MODULES: &str = "/lib/modules";
const WATCHDOGS: &str = "kernel/drivers/watchdog";
/// The board whose device tree QEMU has the machine for.
const EMULATED_BOARD: &str = "rpi3";

/// The machine that an image is started on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BootBoard {
    /// QEMU's own, with the processor that the kernel is for.
    #[default]
    Virt,
    /// A Raspberry Pi 3 B.
    RaspberryPi3,
}

/// What is wanted of an image.
#[derive(Debug, Clone)]
pub(super) struct StartupRequest {
    /// The image.
    pub(super) image: PathBuf,
    /// The board that it is for, where that is known; its firmware's choices are taken.
    pub(super) board: Option<String>,
    /// The machine that it is started on.
    pub(super) machine: BootBoard,
    /// Whether the system is to have the agent that runs tests.
    pub(super) agent: bool,
    /// The size of the card in bytes, where it is to be another than the image's.
    pub(super) card: Option<u64>,
}

/// An image that QEMU can start. The files are there until this is dropped.
pub(super) struct Startup {
    pub(super) hardware: Hardware,
    pub(super) boot: BootFiles,
    /// The folder with what was taken out; only the user can enter it.
    pub(super) folder: BootFolder,
    /// The image, unpacked.
    disk: File,
}

/// The folders of images that are started now.
static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes the folders of images that are started now. A program that is told to end at once does this, since nothing else
/// tidies up then.
pub fn remove_boot_folders() {
    let folders = std::mem::take(&mut *FOLDERS.lock().unwrap_or_else(PoisonError::into_inner));
    for folder in folders {
        // Another thread may be removing it, too, and either may find that something is gone already.
        _ = (0..10).any(|_| {
            _ = std::fs::remove_dir_all(&folder);
            !folder.exists()
        });
    }
}

/// A folder for what is taken out of an image. It is gone when this is dropped.
pub(super) struct BootFolder {
    path: PathBuf,
    folder: Option<tempfile::TempDir>,
}

impl BootFolder {
    fn new() -> Result<Self, Error> {
        let fail = |error| Error::io("make a temporary folder", "", error);
        let folder = tempfile::Builder::new().prefix("pib-boot-").tempdir().map_err(fail)?;
        let path = folder.path().to_owned();
        FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
        Ok(Self { path, folder: Some(folder) })
    }

    /// Returns its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for BootFolder {
    fn drop(&mut self) {
        // It is in the list until it is gone: the program may end at once meanwhile.
        drop(self.folder.take());
        FOLDERS.lock().unwrap_or_else(PoisonError::into_inner).retain(|folder| *folder != self.path);
    }
}

impl Startup {
    /// Returns a path to the image for QEMU. It leads to the very file that was looked at, which may have no name.
    pub(super) fn disk(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.disk.as_raw_fd()))
    }
}

/// Takes out of an image what QEMU starts.
///
/// # Errors
/// When the image cannot be read, or has no kernel or initramfs that QEMU could start.
pub(super) async fn prepare(
    session: &Session,
    step: &'static str,
    request: StartupRequest,
) -> Result<Startup, Error> {
    let reporter = session.reporter.clone();
    blocking::run(move |stopped| take_out(&request, &Watch::new(stopped, reporter, step))).await?
}

fn take_out(request: &StartupRequest, watch: &Watch) -> Result<Startup, Error> {
    let path = &request.image;
    let fail = |error| Error::io("read", path, error);
    let file = inspection::unpacked(pib_file::open(path).map_err(fail)?, path, watch)?;
    let image = OpenedImage::of(file.try_clone().map_err(fail)?, path, watch.clone())?;
    let none = |reason: &str| EmulatorError::NoKernel { image: path.clone(), reason: reason.to_owned() };
    let source = Source::find(&image, request).ok_or_else(|| {
        none("no partition has a kernel that a board's firmware would find, or a file vmlinuz-*")
    })?;
    let mut files =
        image.boot_files(source.partition, source.ramdisk.as_deref()).map_err(|error| none(&error))?;
    let mut read = |name: &str| files.read(name, MAX_FILE).map_err(|error| none(&format!("{name}: {error}")));
    let kernel = read(&source.kernel)?;
    let kind = KernelImage::of(&kernel[..kernel.len().min(HEAD)]);
    let hardware = hardware(request.machine, kind)
        .map_err(|instead| none(&format!("`{}` is {}{instead}", source.kernel, kind.text())))?;
    let mut initramfs = Vec::new();
    for name in &source.initramfs {
        initramfs.extend(read(name)?);
        initramfs.resize(initramfs.len().next_multiple_of(4), 0);
    }
    if request.agent {
        if initramfs.is_empty() {
            return Err(none("tests need an initramfs, and it has none").into());
        }
        initramfs = emulator::with_agent(initramfs);
    }
    let tree = source.device_tree.filter(|_| hardware == Hardware::RaspberryPi3);
    let tree = tree.map(|name| read(&name)).transpose()?;
    let folder = BootFolder::new()?;
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).map_err(|error| Error::io("write", &path, error)).map(|()| path)
    };
    let watchdog = if lacks_watchdog(&image, hardware, source.root) { " modules_load=softdog" } else { "" };
    let boot = BootFiles {
        kernel: put("kernel", &kernel)?,
        initramfs: if initramfs.is_empty() { None } else { Some(put("initramfs", &initramfs)?) },
        device_tree: tree.map(|bytes| put("device-tree", &bytes)).transpose()?,
        command_line: format!("{}{watchdog}", source.command_line),
    };
    let disk = match (hardware, request.card) {
        (Hardware::RaspberryPi3, None) => inspection::as_card(&file, path, None, watch)?,
        (_, Some(size)) => inspection::as_card(&file, path, Some(size), watch)?,
        (_, None) => file,
    };
    Ok(Startup { hardware, boot, folder, disk })
}

/// Returns the hardware that starts a kernel; where there is none, what to add to what the kernel is.
fn hardware(machine: BootBoard, kind: KernelImage) -> Result<Hardware, &'static str> {
    match (kind, machine) {
        (KernelImage::Arm64 | KernelImage::Gzip, BootBoard::Virt) => Ok(Hardware::Virt64),
        (KernelImage::Arm32, BootBoard::Virt) => Ok(Hardware::Virt32),
        (KernelImage::Arm64 | KernelImage::Gzip, BootBoard::RaspberryPi3) => Ok(Hardware::RaspberryPi3),
        (KernelImage::Arm32, BootBoard::RaspberryPi3) => Err(
            ", and QEMU's Raspberry Pi 3 starts 64-bit ones; without --board, QEMU's own machine starts it",
        ),
        (KernelImage::Unknown, _) => Err(""),
    }
}

/// Returns whether the system is to load Linux' own watchdog: QEMU's machine for 32-bit kernels has none that Debian's kernels
/// drive, and the kernel of the root may not have it.
fn lacks_watchdog(image: &OpenedImage, hardware: Hardware, root: Option<u32>) -> bool {
    let Some(mut files) = root.and_then(|root| image.boot_files(root, None).ok()) else { return false };
    let versions = files.list(MODULES).unwrap_or_default();
    let mut drivers = versions
        .iter()
        .flat_map(|version| files.list(&format!("{MODULES}/{version}/{WATCHDOGS}")).unwrap_or_default());
    hardware == Hardware::Virt32 && drivers.any(|name| name.starts_with("softdog.ko"))
}

/// Which files of an image are started.
struct Source {
    partition: u32,
    /// The file of the partition that stands for it.
    ramdisk: Option<String>,
    kernel: String,
    initramfs: Vec<String>,
    device_tree: Option<String>,
    command_line: String,
    /// The partition with the root, where it is known.
    root: Option<u32>,
}

impl Source {
    /// Returns what the firmware of the board would start; of any board where none is known, and else what is called as
    /// Debian calls kernels.
    fn find(image: &OpenedImage, request: &StartupRequest) -> Option<Self> {
        let boards: Vec<&str> = match (request.machine, &request.board) {
            (BootBoard::RaspberryPi3, _) => vec![EMULATED_BOARD],
            (BootBoard::Virt, Some(board)) => vec![board],
            (BootBoard::Virt, None) => board::BOARDS.iter().map(|board| board.name).collect(),
        };
        let chains = boards.into_iter().flat_map(|board| image.chains(board, true));
        chains.filter_map(Self::of).next().or_else(|| Self::by_names(image))
    }

    fn of(chain: Chain) -> Option<Self> {
        Some(Self {
            partition: chain.partition?,
            ramdisk: chain.ramdisk,
            kernel: chain.kernel?,
            initramfs: chain.initramfs,
            device_tree: chain.device_tree,
            command_line: chain.command_line?,
            root: chain.root,
        })
    }

    fn by_names(image: &OpenedImage) -> Option<Self> {
        image.disk().partitions().iter().find_map(|partition| {
            let mut files = image.disk().files(partition.number).ok()?;
            ["", "boot/"].iter().find_map(|folder| Self::in_folder(&mut *files, partition.number, folder))
        })
    }

    /// Takes the newest by name, as the kernel of a system that was updated has several.
    fn in_folder(files: &mut dyn FilesReader, partition: u32, folder: &str) -> Option<Self> {
        let names = files.list(folder).ok()?;
        let newest = |start: &str| names.iter().filter(|name| name.starts_with(start)).max();
        let path = |name: &String| format!("{folder}{name}");
        let line = files.read(&format!("{folder}cmdline.txt"), MAX_LINE).ok()?;
        Some(Self {
            partition,
            ramdisk: None,
            kernel: path(newest("vmlinuz")?),
            initramfs: newest("initrd").map(path).into_iter().collect(),
            device_tree: None,
            command_line: String::from_utf8_lossy(&line).lines().next().unwrap_or_default().to_owned(),
            root: None,
        })
    }
}
