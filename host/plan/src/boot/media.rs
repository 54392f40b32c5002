//! What is read of an image for its boot chain.

use super::archive::Initramfs;

/// A partition, as the chain needs to know it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootPartition {
    /// The number by which Linux and `autoboot.txt` call it.
    pub number: u32,
    /// Its type in the table: two hex digits or a GUID.
    pub kind: String,
    /// The file system's usual name.
    pub filesystem: String,
    /// Its label.
    pub label: Option<String>,
    /// Its UUID.
    pub uuid: Option<String>,
    /// Its PARTUUID.
    pub partuuid: String,
    /// Its name in a GPT.
    pub name: Option<String>,
}

/// The types of FAT partitions that the firmware looks for in a master boot record, and in a GPT (basic data, and EFI
/// system).
const FAT_TYPES: [&str; 9] = [
    "01",
    "04",
    "06",
    "0b",
    "0c",
    "0e",
    "ef",
    "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7",
    "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
];

/// Returns whether the firmware looks for a FAT file system in a partition of this type; none is that of an image without
/// a table.
pub(super) fn found_by_firmware(kind: &str) -> bool {
    kind.is_empty() || FAT_TYPES.contains(&kind)
}

/// What the root has that the chain depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RootFacts {
    /// The versions of the kernels that it has modules for.
    pub versions: Vec<String>,
    /// What these kernels have built in, by `modules.builtin`; nothing where there is no such file.
    pub builtin: Vec<String>,
}

/// Reads an image for the chain. Errors are the ends of sentences.
pub trait BootMedia {
    /// Returns the partitions in the order of the table.
    fn partitions(&self) -> Vec<BootPartition>;

    /// Returns whether a partition has no file and no folder.
    ///
    /// # Errors
    /// When the partition cannot be read.
    fn is_empty(&mut self, partition: u32) -> Result<bool, String>;

    /// Returns a file's size in bytes, or none where there is no such file.
    ///
    /// # Errors
    /// When the partition cannot be read.
    fn size(&mut self, partition: u32, path: &str) -> Result<Option<u64>, String>;

    /// Returns the first bytes of a file, at most `most`, or none where there is no such file.
    ///
    /// # Errors
    /// When the partition cannot be read.
    fn head(&mut self, partition: u32, path: &str, most: usize) -> Result<Option<Vec<u8>>, String>;

    /// Opens the file system in a file, and returns the number by which it is asked for from then on, as if it was a
    /// partition. No partition has that number.
    ///
    /// # Errors
    /// When the file cannot be read, or holds no file system that firmware reads.
    fn ramdisk(&mut self, partition: u32, path: &str) -> Result<u32, String>;

    /// Returns what an initramfs holds.
    ///
    /// # Errors
    /// When it cannot be read or unpacked.
    fn initramfs(&mut self, partition: u32, path: &str) -> Result<Initramfs, String>;

    /// Returns what the root has.
    ///
    /// # Errors
    /// When the partition cannot be read.
    fn root(&mut self, partition: u32) -> Result<RootFacts, String>;
}
