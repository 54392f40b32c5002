//! What would keep a board from starting.

use serde::Serialize;

use crate::size::ByteSize;
use crate::suggest;

/// Something for which a board would not start, or not as `config.txt` says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Fault {
    /// There is no partition that firmware reads.
    #[error("no partition has a FAT file system, which is all that the firmware reads")]
    NoBootPartition,
    /// The boot partition is empty.
    #[error("partition {partition}, which the firmware reads, is empty")]
    Empty {
        /// The partition.
        partition: u32,
    },
    /// The table says that the boot partition is something else.
    #[error(
        "partition {partition} has a FAT file system, and the type {found} in the partition table, which the firmware passes over"
    )]
    PartitionType {
        /// The partition.
        partition: u32,
        /// The type that it has.
        found: String,
    },
    /// The model reads no such table.
    #[error("the partition table is a GPT, which the boot ROM of this model does not read")]
    Gpt,
    /// `autoboot.txt` names a partition that cannot be booted from.
    #[error(
        "autoboot.txt has boot_partition={partition}, and there is no such partition with a FAT file system"
    )]
    BootPartition {
        /// What it names.
        partition: String,
    },
    /// `autoboot.txt` is too long.
    #[error("autoboot.txt has {size} bytes, and the firmware reads 512")]
    Autoboot {
        /// Its size in bytes.
        size: u64,
    },
    /// A file of the firmware is missing.
    #[error("the firmware `{name}` is missing")]
    Firmware {
        /// Its name.
        name: String,
    },
    /// An included file is missing.
    #[error("config.txt includes `{name}`, which is missing")]
    Include {
        /// Its name.
        name: String,
    },
    /// An included file includes itself.
    #[error("config.txt includes `{name}` in itself, which never ends")]
    IncludeLoop {
        /// Its name.
        name: String,
    },
    /// There are more included files than are read here.
    #[error("config.txt includes {count} files, and pib reads the first 64")]
    Includes {
        /// How many there are.
        count: usize,
    },
    /// The end of a line is not read.
    #[error("a line of config.txt is longer than the 98 characters that the firmware reads: `{line}`")]
    LongLine {
        /// The line.
        line: String,
    },
    /// The kernel is missing.
    #[error("the kernel `{name}` is missing")]
    Kernel {
        /// Its name.
        name: String,
    },
    /// The kernel is for another architecture.
    #[error("`{name}` is {found}, and the board starts it in {bits}-bit mode")]
    KernelKind {
        /// Its name.
        name: String,
        /// What it is.
        found: &'static str,
        /// The mode.
        bits: u32,
    },
    /// The processor has no such mode.
    #[error("config.txt asks for 64-bit mode, which the processor does not have")]
    Mode,
    /// The initramfs is missing.
    #[error("the initramfs `{name}` is missing")]
    Initramfs {
        /// Its name.
        name: String,
    },
    /// The initramfs cannot be unpacked.
    #[error("the initramfs `{name}` {reason}")]
    BrokenInitramfs {
        /// Its name.
        name: String,
        /// Why, as the end of a sentence.
        reason: String,
    },
    /// The device tree is missing.
    #[error("the device tree of the board is missing: {}", suggest::list(names.iter().map(String::as_str)))]
    Tree {
        /// The names that the firmware looks for.
        names: Vec<String>,
    },
    /// A file is no device tree.
    #[error("`{name}` is not a device tree")]
    NotTree {
        /// Its name.
        name: String,
    },
    /// An overlay is missing.
    #[error("the overlay `{name}` is missing: there is no `{path}`")]
    Overlay {
        /// Its name in `config.txt`.
        name: String,
        /// Where it is looked for.
        path: String,
    },
    /// There is no command line.
    #[error("the kernel's command line `{name}` is missing")]
    CommandLine {
        /// The file's name.
        name: String,
    },
    /// Only the first line counts.
    #[error("`{name}` has {lines} lines, and the firmware reads the first")]
    CommandLines {
        /// The file's name.
        name: String,
        /// How many there are.
        lines: usize,
    },
    /// The command line names no root.
    #[error("the kernel's command line has no `root=`")]
    NoRoot,
    /// No partition is the root.
    #[error("the kernel's command line has root={root}, and no partition of the image is that")]
    Root {
        /// What it names.
        root: String,
    },
    /// Only an initramfs knows this form.
    #[error(
        "root={root} is understood by an initramfs only, and none is loaded; the kernel itself knows PARTUUID="
    )]
    RootForm {
        /// What it names.
        root: String,
    },
    /// The root has another file system.
    #[error("the kernel's command line has rootfstype={wanted}, and partition {partition} is {found}")]
    RootType {
        /// What it names.
        wanted: String,
        /// The partition.
        partition: u32,
        /// Its file system.
        found: String,
    },
    /// The root has no first program.
    #[error("the root, partition {partition}, has no `{path}`")]
    Init {
        /// The partition.
        partition: u32,
        /// The path.
        path: String,
    },
    /// A driver for the root is missing.
    #[error("neither the kernel nor the initramfs has a driver for the {what}: {}", suggest::list(modules.iter().map(String::as_str)))]
    Driver {
        /// What it drives.
        what: &'static str,
        /// The modules of which one would do.
        modules: Vec<String>,
    },
    /// The root has no modules for the kernel.
    #[error("the initramfs is for the kernel {version}, and the root has modules for {}", if found.is_empty() { "none".to_owned() } else { found.join(", ") })]
    Version {
        /// The kernel of the initramfs.
        version: String,
        /// The kernels of the root.
        found: Vec<String>,
    },
    /// The boot partition within a file is missing.
    #[error("config.txt has boot_ramdisk=1, and `{name}` is missing")]
    Ramdisk {
        /// The file's name.
        name: String,
    },
    /// The boot partition within a file is too large.
    #[error("`{name}` has {}, and the firmware takes {} at most", ByteSize(*size), ByteSize(*limit))]
    RamdiskSize {
        /// The file's name.
        name: String,
        /// Its size in bytes.
        size: u64,
        /// The most that is taken.
        limit: u64,
    },
    /// The boot partition within a file cannot be read.
    #[error("`{name}`, which the firmware reads in the place of the boot partition, {reason}")]
    BrokenRamdisk {
        /// The file's name.
        name: String,
        /// Why, as the end of a sentence.
        reason: String,
    },
    /// Something could not be read.
    #[error("partition {partition} cannot be read: {reason}")]
    Unreadable {
        /// The partition.
        partition: u32,
        /// Why.
        reason: String,
    },
}
