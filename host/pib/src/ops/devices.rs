//! The block devices of this machine: what they are, what is on them, and what speaks against writing to one.
//!
//! All of it is read from /sys and /proc, and from the devices' first blocks where this user may read them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use pib_disk::{BlockDevice, Device as _};
use pib_plan::size::rounded;
use serde::Serialize;

use super::signature::{Signature, signature};
use crate::project::{Error, Session};

/// The largest file of /sys or /proc that is read, in bytes: mounts of a machine with thousands of containers.
const MOST: u64 = 8 << 20;
/// What helps where a device is refused.
pub(super) const LIST: &str = "`pib flash` alone lists the cards and disks that there are.";
/// The size of a sector in /sys, in bytes (Documentation/ABI/stable/sysfs-block).
const SECTOR: u64 = 512;

/// A block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DiskDevice {
    /// Its path.
    #[serde(serialize_with = "crate::project::path_text::lossy")]
    pub device: PathBuf,
    /// Its size in bytes; 0 where there is no card in a reader.
    pub size: u64,
    /// What it is connected by: `usb`, `mmc`, `nvme`, `ata`, `virtio`, `loop` or `other`.
    pub bus: &'static str,
    /// Its vendor and model, where it tells.
    pub model: Option<String>,
    /// Whether the system says that it can be taken out.
    pub removable: bool,
    /// What is on it, a short text for each partition.
    pub holds: Vec<String>,
    /// What speaks against writing to it.
    pub obstacles: Vec<String>,
    /// Its major and minor number, as `8:16`.
    #[serde(skip)]
    pub number: String,
    /// The number that the system gave this disk when it was plugged in, where it does.
    #[serde(skip)]
    pub sequence: Option<String>,
}

impl DiskDevice {
    /// Returns whether the device is one that people write images to: a card, a stick, a disk in a case.
    pub fn is_candidate(&self) -> bool {
        self.size > 0 && self.obstacles.is_empty() && (self.removable || ["usb", "mmc"].contains(&self.bus))
    }

    /// Returns whether a person must say that this disk is meant, which is built into the machine.
    pub fn is_fixed(&self) -> bool {
        !self.removable && !["usb", "mmc", "loop"].contains(&self.bus)
    }

    /// Returns a line for people.
    pub fn to_text(&self) -> String {
        let model = self.model.as_deref().unwrap_or("unknown model");
        let holds = if self.holds.is_empty() { "nothing known".to_owned() } else { self.holds.join(", ") };
        format!("{}  {}  {}  {model}  holds {holds}", self.device.display(), size_text(self.size), self.bus)
    }
}

/// Returns a size as people say it.
pub(crate) fn size_text(bytes: u64) -> String {
    rounded(bytes)
}

/// Returns the devices that an image may be written to.
///
/// # Errors
/// When the system does not tell what devices there are.
pub fn candidates(session: &Session) -> Result<Vec<DiskDevice>, Error> {
    let system = System::read(&session.host_root)?;
    let mut found: Vec<DiskDevice> = system
        .disks()?
        .iter()
        .filter_map(|name| system.disk(name))
        .filter(DiskDevice::is_candidate)
        .collect();
    found.sort_by(|one, other| one.device.cmp(&other.device));
    Ok(found)
}

/// Returns what is known of the disk that a path leads to.
///
/// # Errors
/// When it is not a block device, or a partition of one.
pub(crate) fn inspect(session: &Session, path: &Path) -> Result<DiskDevice, Error> {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let shown = path.display();
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::usage(
            format!("there is no `{shown}`"),
            "`pib flash` alone lists the cards and disks that there are.",
        ),
        _ => Error::io("look at the device", path, error),
    })?;
    if !metadata.file_type().is_block_device() {
        let help = "Name a card or a disk, e.g. /dev/sdb; `pib flash` alone lists those that there are.";
        return Err(Error::usage(format!("`{shown}` is not a block device"), help));
    }
    let number = format!("{}:{}", rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    let system = System::read(&session.host_root)?;
    let link = system.root.join("sys/dev/block").join(&number);
    let folder =
        std::fs::canonicalize(&link).map_err(|error| Error::io("look at the device", &link, error))?;
    let name = |folder: &Path| folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if folder.join("partition").exists() {
        let disk = folder.parent().map(&name).unwrap_or_default();
        let message =
            format!("`{shown}` is a partition of the disk /dev/{disk}, and an image is of a whole disk");
        return Err(Error::usage(
            message,
            format!("If all of that disk may be overwritten, name /dev/{disk}."),
        ));
    }
    let unknown =
        || Error::usage(format!("the system does not say what `{shown}` is"), "Name another device.");
    system.disk(&name(&folder)).ok_or_else(unknown)
}

/// Opens a device for this process alone, if nothing speaks against writing to it. `fixed` says that it may be a disk that is
/// built into this machine.
///
/// # Errors
/// When something speaks against it, or the device is not the one that was looked at.
pub(super) fn claim(path: &Path, disk: &DiskDevice, fixed: bool) -> Result<BlockDevice, Error> {
    let refused = |reasons: Vec<String>, help: &str| {
        Err(Error::Refused { device: path.to_owned(), reasons, help: help.to_owned() })
    };
    if !disk.obstacles.is_empty() {
        return refused(disk.obstacles.clone(), LIST);
    }
    if disk.is_fixed() && !fixed {
        let reason = format!("it is built into this machine ({}, {})", disk.bus, size_text(disk.size));
        return refused(vec![reason], "If it is the one you mean, give --fixed.");
    }
    let device = match BlockDevice::open(path) {
        Ok(device) => device,
        Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
            let reason = "something uses it: another `pib flash`, or it is mounted in a container, or part of a RAID, of LVM or of swap";
            return refused(vec![reason.to_owned()], LIST);
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            let reason = "you have no permission to write to it".to_owned();
            return refused(vec![reason], "Run it with sudo, or have your user added to the group of disks.");
        }
        Err(error) => return Err(Error::io("open the device", path, error)),
    };
    let fail = |error| Error::io("look at the device", path, error);
    let (major, minor) = device.number().map_err(fail)?;
    if format!("{major}:{minor}") != disk.number || device.size() != disk.size {
        return refused(vec!["it became another device meanwhile".to_owned()], LIST);
    }
    Ok(device)
}

/// What the system says of its devices.
struct System {
    root: PathBuf,
    /// What is mounted: the device's number, its path, and where.
    mounts: Vec<(String, String, String)>,
    /// The paths of what is used as swap.
    swaps: Vec<String>,
}

impl System {
    fn read(root: &Path) -> Result<Self, Error> {
        let read = |path: &str| {
            let path = root.join(path);
            pib_file::read_text(&path, MOST).map_err(|error| Error::io("read", &path, error))
        };
        let mounts = read("proc/self/mountinfo")?.lines().filter_map(mount).collect();
        // Kernels without swap do not have the file.
        let swaps = read("proc/swaps").unwrap_or_default();
        let swaps = swaps.lines().skip(1).filter_map(|line| Some(line.split_whitespace().next()?.to_owned()));
        Ok(Self { root: root.to_owned(), mounts, swaps: swaps.collect() })
    }

    fn disks(&self) -> Result<Vec<String>, Error> {
        let folder = self.root.join("sys/block");
        let entries =
            std::fs::read_dir(&folder).map_err(|error| Error::io("read the folder", &folder, error))?;
        Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
    }

    fn disk(&self, name: &str) -> Option<DiskDevice> {
        let folder = self.root.join("sys/block").join(name);
        let text = |file: &str| attribute(&folder.join(file));
        let number = text("dev")?;
        let size = text("size")?.parse::<u64>().ok()?.checked_mul(SECTOR)?;
        // Where the device is in the tree of buses.
        let full = std::fs::canonicalize(&folder).unwrap_or_else(|_| folder.clone());
        let bus = bus(name, &full.to_string_lossy());
        let words =
            [text("device/vendor"), text("device/model"), text("device/name"), text("loop/backing_file")];
        let model =
            words.into_iter().flatten().filter(|word| !word.starts_with("0x")).collect::<Vec<_>>().join(" ");
        let device = self.root.join("dev").join(name);
        let mut found = DiskDevice {
            size,
            bus,
            model: Some(model).filter(|model| !model.is_empty()),
            removable: text("removable").is_some_and(|flag| flag == "1"),
            holds: Vec::new(),
            obstacles: Vec::new(),
            sequence: text("diskseq"),
            number: number.clone(),
            device: device.clone(),
        };
        if text("ro").is_some_and(|flag| flag == "1") {
            found.obstacles.push("it is read-only; a card may have a switch for that".to_owned());
        }
        if ["dm-", "md", "zram", "ram", "sr", "fd", "drbd", "bcache"]
            .iter()
            .any(|start| name.starts_with(start))
            || name.contains("boot")
            || name.contains("rpmb")
        {
            found.obstacles.push("it is not a card or a disk".to_owned());
        }
        if size == 0 {
            found.obstacles.push("it is empty: there is no card in it, or no file behind it".to_owned());
            return Some(found);
        }
        let file = pib_file::open_device(&device).ok();
        self.look_at(&mut found, name, &folder, &number, (file.as_ref(), 0, size));
        for partition in partitions(&folder, name) {
            let below = folder.join(&partition);
            let number = attribute(&below.join("dev")).unwrap_or_default();
            let region = |file: &str| attribute(&below.join(file))?.parse::<u64>().ok()?.checked_mul(SECTOR);
            let (start, size) = (region("start").unwrap_or(0), region("size").unwrap_or(0));
            self.look_at(&mut found, &partition, &below, &number, (file.as_ref(), start, size));
        }
        Some(found)
    }

    /// Adds what is on a disk or a partition of it, and what speaks against writing to it.
    fn look_at(
        &self,
        found: &mut DiskDevice,
        name: &str,
        folder: &Path,
        number: &str,
        (file, start, size): (Option<&File>, u64, u64),
    ) {
        let path = format!("/dev/{name}");
        let mounted = self.mounts.iter().filter(|(of, source, _)| of == number || *source == path);
        for (_, _, point) in mounted {
            found.obstacles.push(match point.as_str() {
                "/" | "/boot" | "/boot/firmware" | "/boot/efi" => {
                    format!("{path} has the running system: it is mounted on {point}")
                }
                _ => format!("{path} is mounted on {point}; unmount it first (`umount {point}`)"),
            });
        }
        if self.swaps.contains(&path) {
            found.obstacles.push(format!("{path} is used as swap (`swapoff {path}` ends that)"));
        }
        let holders = std::fs::read_dir(folder.join("holders")).into_iter().flatten().flatten();
        for holder in holders {
            let holder = holder.file_name();
            let message =
                format!("{path} is part of /dev/{} (RAID, LVM or encryption)", holder.to_string_lossy());
            found.obstacles.push(message);
        }
        let Some(file) = file else { return };
        let read = |offset: u64, length: usize| -> io::Result<Vec<u8>> {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, start + offset)?;
            Ok(bytes)
        };
        match signature(read, size) {
            Some(Signature::InUse(what)) => {
                let message =
                    format!("{path} is {what}; if it may be lost, erase it first (`wipefs -a {path}`)");
                found.obstacles.push(message);
                found.holds.push(what.to_owned());
            }
            Some(Signature::Content(what)) => found.holds.push(what),
            None => {}
        }
    }
}

/// Returns the names of a disk's partitions.
fn partitions(folder: &Path, disk: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter(|name| name.starts_with(disk) && folder.join(name).join("partition").exists()).collect();
    names.sort();
    names
}

/// Returns what a file of /sys says.
fn attribute(path: &Path) -> Option<String> {
    let text = pib_file::read_text(path, MOST).ok()?.trim().to_owned();
    Some(text).filter(|text| !text.is_empty())
}

/// Returns what a disk is connected by, as its place in the tree of devices tells.
fn bus(name: &str, folder: &str) -> &'static str {
    let has = |part: &str| folder.contains(part);
    match () {
        () if name.starts_with("loop") => "loop",
        () if has("/usb") => "usb",
        () if has("/mmc_host/") => "mmc",
        () if has("/nvme/") => "nvme",
        () if has("/ata") => "ata",
        () if has("/virtio") => "virtio",
        () => "other",
    }
}

/// Reads a line of mountinfo (proc_pid_mountinfo(5)): the device's number, its path, and where it is mounted.
fn mount(line: &str) -> Option<(String, String, String)> {
    let (own, rest) = line.split_once(" - ")?;
    let mut fields = own.split(' ');
    let number = fields.nth(2)?.to_owned();
    let point = fields.nth(1)?.replace("\\040", " ");
    let source = rest.split(' ').nth(1)?.to_owned();
    Some((number, source, point))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes the folders of a machine with a disk that has the system, a card with a mounted partition, an empty reader
    /// and a stick.
    fn machine() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let disks = [("sda", "8:0", "0"), ("sdb", "8:16", "1"), ("sdc", "8:32", "1"), ("sdd", "8:48", "1")];
        for (name, number, removable) in disks {
            let size = if name == "sdc" { "0" } else { "62333952" };
            for (file, text) in [("dev", number), ("size", size), ("removable", removable), ("ro", "0")] {
                put(&format!("sys/block/{name}/{file}"), &format!("{text}\n"));
            }
        }
        for (disk, number) in [("sda", "8:1"), ("sdb", "8:17")] {
            put(&format!("sys/block/{disk}/{disk}1/partition"), "1\n");
            put(&format!("sys/block/{disk}/{disk}1/dev"), number);
        }
        put("sys/block/sdd/device/vendor", "SanDisk \n");
        put("sys/block/sdd/device/model", "Ultra           \n");
        put("sys/block/sda/sda1/holders/dm-0/x", "");
        put(
            "proc/self/mountinfo",
            "22 1 253:0 / / rw - ext4 /dev/mapper/root rw\n30 22 8:17 / /media/my\\040card rw shared:1 - vfat /dev/sdb1 rw\n",
        );
        put("proc/swaps", "Filename Type Size Used Priority\n/dev/sda partition 1 0 -2\n");
        root
    }

    #[test]
    fn only_devices_that_nothing_speaks_against_are_candidates() {
        let root = machine();
        let session = Session::for_tests(root.path());
        let found = candidates(&session).unwrap();
        let texts: Vec<String> = found.iter().map(DiskDevice::to_text).collect();
        assert_eq!(found.len(), 1, "{texts:?}");
        assert!(texts[0].contains("/dev/sdd  29.7 GiB  other  SanDisk Ultra"), "{texts:?}");
        let system = System::read(root.path()).unwrap();
        let obstacles = |name: &str| system.disk(name).unwrap().obstacles.join("\n");
        assert!(obstacles("sda").contains("part of /dev/dm-0") && obstacles("sda").contains("used as swap"));
        assert!(obstacles("sdb").contains("mounted on /media/my card"));
        assert!(obstacles("sdc").contains("no card in it"));
        assert!(system.disk("sda").unwrap().is_fixed());
    }

    #[test]
    fn buses_are_told_by_the_tree_of_devices() {
        assert_eq!(bus("sdb", "/sys/devices/pci0000:00/0000:00:14.0/usb1/1-2/host6/block/sdb"), "usb");
        assert_eq!(bus("mmcblk0", "/sys/devices/platform/mmc_host/mmc0/mmc0:1234/block/mmcblk0"), "mmc");
        assert_eq!(bus("sda", "/sys/devices/pci0000:00/ata1/host0/block/sda"), "ata");
        assert_eq!(bus("loop3", "/sys/devices/virtual/block/loop3"), "loop");
    }
}
