//! What keeps a layout from being written or mounted.

use super::partition::{Filesystem, Layout, LayoutError, PartitionSize, PartitionSpec, PartitionTable};
use super::placement::SECTOR;
use crate::size::ByteSize;

/// The most partitions of an image.
pub const MAX_PARTITIONS: usize = 16;
/// What partitions may begin at multiples of: blocks of file systems, and more than any card has as erase block.
const LEAST_ALIGN: u64 = 4096;
const MOST_ALIGN: u64 = 1 << 30;
/// The most that ext4 reserves, in percent.
const MOST_RESERVED: u8 = 50;
/// Types of a master boot record's entries that are about the table itself: none, extended ones, and that of a GPT.
const TABLE_TYPES: [&str; 5] = ["00", "05", "0f", "85", "ee"];
/// Folders that a system has to have to mount anything.
const EARLY: [&str; 6] = ["/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64"];
/// Folders that the kernel or the system fills while it runs, and all below them.
const KERNELS: [&str; 4] = ["/dev", "/proc", "/run", "/sys"];

impl Layout {
    /// Checks that the layout can be written, and mounted.
    ///
    /// # Errors
    /// When it has no root, a folder or label twice, too many partitions, sizes that do not fit, or a name that its file
    /// system or fstab does not take.
    pub fn check(&self) -> Result<(), LayoutError> {
        let whole = |what: String| Err(LayoutError::Wrong { partition: None, what });
        if self.partitions.len() > MAX_PARTITIONS {
            let count = self.partitions.len();
            return whole(format!("has {count} partitions, and at most {MAX_PARTITIONS} are possible"));
        }
        if let Some(ByteSize(size)) = self.size.filter(|size| !size.0.is_multiple_of(SECTOR)) {
            return whole(format!("has a `size` of {size} bytes, which is not a multiple of {SECTOR}"));
        }
        for (number, part) in self.partitions.iter().enumerate() {
            self.check_one(number, part)
                .map_err(|what| LayoutError::Wrong { partition: Some(number), what })?;
        }
        if !self.partitions.iter().any(|part| part.mount == "/") {
            return whole("has no partition for `/`".to_owned());
        }
        // What follows its content takes no room yet.
        self.place(&vec![0; self.partitions.len()]).map(drop)
    }

    /// Checks a partition beside those before it; an error is the end of a sentence about the layout.
    fn check_one(&self, number: usize, part: &PartitionSpec) -> Result<(), String> {
        let before = &self.partitions[..number];
        let label = &part.label;
        if !part.mount.is_empty() {
            let is_same =
                |other: &&PartitionSpec| other.mount == part.mount && Self::sees(part.slot, other.slot);
            if before.iter().any(|other| is_same(&other)) {
                return Err(format!("has two partitions for `{}`", part.mount));
            }
            part.check_mount()?;
        }
        if before.iter().any(|other| other.label == part.label) {
            return Err(format!("has two partitions with the label `{label}`"));
        }
        part.check_label()?;
        part.check_size(self.size.is_some())?;
        if part.size == PartitionSize::Rest && before.iter().any(|other| other.size == part.size) {
            return Err("has two partitions with the size `rest`".to_owned());
        }
        if part.filesystem.is_read_only() && part.mount.is_empty() {
            let name = part.filesystem.name();
            return Err(format!(
                "has the {name} `{label}`, which would be empty for ever; give it a `mount`"
            ));
        }
        if part.active && before.iter().any(|other| other.active) {
            return Err(format!("has two partitions that are `active`; `{label}` is the second"));
        }
        if let Some(kind) = &part.kind {
            check_kind(self.table, kind)?;
        }
        let is_last = number + 1 == self.partitions.len();
        if part.grow { part.check_growth(is_last) } else { Ok(()) }
    }
}

impl PartitionSpec {
    /// Checks that the partition can grow on the device.
    fn check_growth(&self, is_last: bool) -> Result<(), String> {
        let label = &self.label;
        let reason = match self.filesystem {
            Filesystem::Vfat => {
                "and Linux cannot enlarge a FAT that is mounted; give it the `size` that it needs, and let an ext4 after it \
                 grow"
                    .to_owned()
            }
            other if other.is_read_only() => {
                let name = other.with_article();
                format!("and {name} stays as it was written; let a partition for data grow")
            }
            other if other != Filesystem::Ext4 => "which only an ext4 can".to_owned(),
            _ if self.mount.is_empty() => "which nothing mounts; give it a `mount`".to_owned(),
            _ if !is_last => "which only the last partition can".to_owned(),
            _ => return Ok(()),
        };
        Err(format!("lets `{label}` grow, {reason}"))
    }

    fn check_mount(&self) -> Result<(), String> {
        let absolute = self.mount == "/" || (self.mount.starts_with('/') && !self.mount.ends_with('/'));
        let mut names = self.mount.split('/').skip(1);
        if !absolute || (self.mount != "/" && names.any(|name| matches!(name, "" | "." | ".."))) {
            return Err(format!(
                "mounts a partition on `{}`; write an absolute path without `.` and `..` in it and `/` at its end",
                self.mount
            ));
        }
        let is_in = |folder: &&str| self.mount == **folder || self.mount.starts_with(&format!("{folder}/"));
        if EARLY.contains(&&*self.mount) || KERNELS.iter().any(is_in) {
            return Err(format!(
                "mounts a partition on `{}`, which the system needs before it mounts any",
                self.mount
            ));
        }
        // fstab separates its fields by white space, and parts read it in a shell.
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-_.@+".contains(&b);
        if !self.mount.bytes().all(plain) {
            let mount = &self.mount;
            return Err(format!(
                "mounts a partition on `{mount}`; use letters, digits and - _ . @ + in the path"
            ));
        }
        match self.filesystem {
            Filesystem::Vfat if self.mount == "/" => {
                Err("has a FAT root, which cannot hold owners and modes".to_owned())
            }
            other if !other.has_files() => Err(format!(
                "mounts `{}` on `{}`; a partition with the file system `{}` has no `mount`",
                self.label,
                self.mount,
                other.name()
            )),
            _ => Ok(()),
        }
    }

    fn check_label(&self) -> Result<(), String> {
        let longest = if self.filesystem == Filesystem::Vfat { 11 } else { 16 };
        let fine = self.label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if self.label.is_empty() || self.label.len() > longest || !fine {
            return Err(format!(
                "has the label `{}`; labels have 1 to {longest} of A-Z, a-z, 0-9, `-` and `_`",
                self.label
            ));
        }
        Ok(())
    }

    fn check_size(&self, image_has_size: bool) -> Result<(), String> {
        let Self { label, size, .. } = self;
        if *size != PartitionSize::Auto && self.free.is_some() {
            return Err(format!("gives `{label}` both a size and `free`"));
        }
        if self.free.is_some() && self.filesystem.is_read_only() {
            let name = self.filesystem.with_article();
            return Err(format!(
                "leaves room in `{label}`, which {name} cannot use; leave `free` out, or give it a `size` that \
                 later versions fit into"
            ));
        }
        if matches!(size, PartitionSize::Share(_) | PartitionSize::Rest) && !image_has_size {
            return Err(format!(
                "gives `{label}` the size `{size}` of an image without one; write `size` in [image]"
            ));
        }
        if *size == PartitionSize::Auto && !self.filesystem.has_files() {
            return Err(format!("gives `{label}` no `size`, and it has no content that could decide it"));
        }
        if *size == PartitionSize::Fixed(ByteSize(0)) {
            return Err(format!("gives `{label}` a size of nothing"));
        }
        if let PartitionSize::Fixed(fixed) = size
            && self.filesystem == Filesystem::Ext4
            && fixed.0.div_ceil(self.alignment()).saturating_mul(self.alignment()) < Filesystem::LEAST_EXT4
        {
            let least = ByteSize(Filesystem::LEAST_EXT4);
            return Err(format!("gives `{label}` {fixed}; an ext4 with a journal needs {least} or more"));
        }
        if let Some(ByteSize(align)) = self.align
            && (!align.is_power_of_two() || !(LEAST_ALIGN..=MOST_ALIGN).contains(&align))
        {
            return Err(format!(
                "aligns `{label}` to {}; write a power of two from 4KiB to 1GiB",
                ByteSize(align)
            ));
        }
        match self.reserved {
            Some(_) if self.filesystem != Filesystem::Ext4 => {
                Err(format!("reserves blocks of `{label}`, which only an ext4 does"))
            }
            Some(reserved) if reserved > MOST_RESERVED => {
                Err(format!("reserves {reserved} percent of `{label}`; at most {MOST_RESERVED} are possible"))
            }
            _ => Ok(()),
        }
    }
}

/// Checks a type of the table.
fn check_kind(table: PartitionTable, kind: &str) -> Result<(), String> {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let is_known = match table {
        PartitionTable::Mbr => kind.len() == 2 && is_hex(kind) && !TABLE_TYPES.contains(&kind),
        PartitionTable::Gpt => {
            let lengths: Vec<usize> = kind.split('-').map(str::len).collect();
            lengths == [8, 4, 4, 4, 12] && kind.split('-').all(is_hex)
        }
    };
    if is_known {
        return Ok(());
    }
    let form = match table {
        PartitionTable::Mbr => "two hex digits in small letters, e.g. `83`, and not the type of a table",
        PartitionTable::Gpt => "a GUID in small letters, e.g. `0fc63daf-8483-4772-8e79-3d69d8477de4`",
    };
    Err(format!("has the partition type `{kind}`; write {form}"))
}
