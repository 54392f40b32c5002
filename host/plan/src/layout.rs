//! The table of disk regions: which partitions an image has, and where each begins and ends.

use serde::{Deserialize, Deserializer, Serialize};

use crate::size::ByteSize;

/// Partitions begin at multiples of this: the erase blocks of common SD cards.
pub const ALIGNMENT: u64 = 4 << 20;
/// A sector, the unit of the partition table.
pub const SECTOR: u64 = 512;
/// The most partitions that a master boot record has.
pub const MAX_PARTITIONS: usize = 4;

/// A file system that pib writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filesystem {
    /// FAT32, which the board's firmware reads.
    Vfat,
    /// ext4 with a journal.
    Ext4,
}

/// How large a partition is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum PartitionSize {
    /// As large as its content asks for, and some room.
    #[default]
    Auto,
    /// So many bytes.
    Fixed(ByteSize),
}

/// One partition, as a project or the default layout asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionSpec {
    /// The file system's label; boot and fstab find it by this.
    pub label: String,
    /// The file system.
    pub filesystem: Filesystem,
    /// Where its content is in the root file system: `/`, or the folder that is mounted from it.
    pub mount: String,
    /// Its size.
    #[serde(default, deserialize_with = "size")]
    pub size: PartitionSize,
    /// The room that is left in it; for a size of `auto` only.
    #[serde(default)]
    pub free: Option<ByteSize>,
}

/// The partitions of an image, in the order of the table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Layout {
    /// The partitions.
    pub partitions: Vec<PartitionSpec>,
    /// Whether the root that the kernel's command line names may be on another disk than the image's.
    pub foreign_root: bool,
}

/// A partition's place in the image, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub size: u64,
}

/// Says why partitions make no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// The layout itself is wrong.
    #[error("the image's layout {what}")]
    Wrong {
        /// The number of the partition that is to blame, from 0; none where it is the whole.
        partition: Option<usize>,
        /// What is wrong, as the end of a sentence about the layout.
        what: String,
    },
    /// The table cannot address so much.
    #[error("the partitions need {} and a master boot record addresses at most 2TiB", ByteSize(*.0))]
    TooLarge(u64),
}

impl PartitionSpec {
    /// Returns how the running system names the partition's device, in fstab and after `root=`.
    pub fn device(&self) -> String {
        format!("LABEL={}", self.label)
    }

    /// Returns the line of /etc/fstab that mounts it.
    ///
    /// A FAT partition has neither owners nor modes, and what the firmware reads is nobody's but root's. The root is
    /// checked first, the others after it (fstab(5), the sixth field).
    fn fstab_line(&self) -> String {
        let (filesystem, options) = match self.filesystem {
            Filesystem::Ext4 => ("ext4", "defaults,noatime"),
            Filesystem::Vfat => ("vfat", "defaults,noatime,umask=0077"),
        };
        let pass = if self.mount == "/" { 1 } else { 2 };
        format!("{} {} {filesystem} {options} 0 {pass}", self.device(), self.mount)
    }
}

impl Layout {
    /// Returns how the running system names the device of its root, e.g. `LABEL=PIROOT`; nothing where the layout has
    /// no root, which [`check`](Self::check) refuses.
    pub fn root_device(&self) -> Option<String> {
        self.partitions.iter().find(|part| part.mount == "/").map(PartitionSpec::device)
    }

    /// Returns the lines of /etc/fstab that mount the partitions: what others are mounted in comes before them.
    pub fn fstab(&self) -> Vec<String> {
        let mut partitions: Vec<&PartitionSpec> = self.partitions.iter().collect();
        partitions.sort_by_key(|part| part.mount.split('/').filter(|name| !name.is_empty()).count());
        partitions.into_iter().map(PartitionSpec::fstab_line).collect()
    }

    /// Returns the layout of an operating system: a FAT boot partition for the firmware and an ext4 root.
    pub fn default_for(os: &str) -> Self {
        let mount = if os == "arch" { "/boot" } else { "/boot/firmware" };
        Self {
            partitions: vec![
                PartitionSpec {
                    label: "PIBOOT".to_owned(),
                    filesystem: Filesystem::Vfat,
                    mount: mount.to_owned(),
                    size: PartitionSize::Fixed(ByteSize(512 << 20)),
                    free: None,
                },
                PartitionSpec {
                    label: "PIROOT".to_owned(),
                    filesystem: Filesystem::Ext4,
                    mount: "/".to_owned(),
                    size: PartitionSize::Auto,
                    free: None,
                },
            ],
            foreign_root: false,
        }
    }

    /// Returns the layout as keys know it: a text that stays the same while the image would.
    pub fn key_text(&self) -> String {
        let Self { partitions, foreign_root } = self;
        let mut text = String::from("pib layout 1\n");
        if *foreign_root {
            text.push_str("foreign-root\n");
        }
        for PartitionSpec { label, filesystem, mount, size, free } in partitions {
            let filesystem = match filesystem {
                Filesystem::Vfat => "vfat",
                Filesystem::Ext4 => "ext4",
            };
            let size = match size {
                PartitionSize::Auto => "auto".to_owned(),
                PartitionSize::Fixed(size) => size.0.to_string(),
            };
            let free = free.map_or_else(|| "default".to_owned(), |free| free.0.to_string());
            // As JSON, so that no label or folder can look like what follows it.
            let (label, mount) = (json(label), json(mount));
            text.push_str(&format!("{label} {filesystem} {mount} {size} {free}\n"));
        }
        text
    }

    /// Checks that the layout can be written, and mounted.
    ///
    /// # Errors
    /// When it has no root, a folder or label twice, too many partitions, or a name that its file system or fstab
    /// does not take.
    pub fn check(&self) -> Result<(), LayoutError> {
        let whole = |what: String| Err(LayoutError::Wrong { partition: None, what });
        if self.partitions.len() > MAX_PARTITIONS {
            return whole(format!("has {} partitions, and at most 4 are possible", self.partitions.len()));
        }
        for (number, part) in self.partitions.iter().enumerate() {
            part.check(&self.partitions[..number])
                .map_err(|what| LayoutError::Wrong { partition: Some(number), what })?;
        }
        if !self.partitions.iter().any(|part| part.mount == "/") {
            return whole("has no partition for `/`".to_owned());
        }
        Ok(())
    }
}

/// Folders that a system has to have to mount anything.
const EARLY: [&str; 6] = ["/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64"];
/// Folders that the kernel or the system fills while it runs, and all below them.
const KERNELS: [&str; 4] = ["/dev", "/proc", "/run", "/sys"];

impl PartitionSpec {
    /// Checks the partition alone and beside those before it; an error is the end of a sentence about the layout.
    fn check(&self, before: &[Self]) -> Result<(), String> {
        if before.iter().any(|other| other.mount == self.mount) {
            return Err(format!("has two partitions for `{}`", self.mount));
        }
        if before.iter().any(|other| other.label == self.label) {
            return Err(format!("has two partitions with the label `{}`", self.label));
        }
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
        let longest = if self.filesystem == Filesystem::Vfat { 11 } else { 16 };
        let fine = self.label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if self.label.is_empty() || self.label.len() > longest || !fine {
            return Err(format!(
                "has the label `{}`; labels have 1 to {longest} of A-Z, a-z, 0-9, `-` and `_`",
                self.label
            ));
        }
        if self.filesystem == Filesystem::Vfat && self.mount == "/" {
            return Err("has a FAT root, which cannot hold owners and modes".to_owned());
        }
        if self.size != PartitionSize::Auto && self.free.is_some() {
            return Err(format!("gives `{}` both a fixed size and `free`", self.label));
        }
        Ok(())
    }
}

/// Places partitions of these sizes one after the other, aligned; returns their regions and the image's size.
///
/// # Errors
/// When the table cannot address the end.
pub fn arrange(sizes: &[u64]) -> Result<(Vec<Region>, u64), LayoutError> {
    let mut at = ALIGNMENT;
    let mut regions = Vec::with_capacity(sizes.len());
    for size in sizes {
        let size = size.checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX);
        regions.push(Region { offset: at, size });
        at = at.saturating_add(size);
    }
    if at / SECTOR > u64::from(u32::MAX) {
        return Err(LayoutError::TooLarge(at));
    }
    Ok((regions, at))
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PartitionSize, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text == "auto" {
        return Ok(PartitionSize::Auto);
    }
    text.parse().map(PartitionSize::Fixed).map_err(serde::de::Error::custom)
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn default_layouts_are_sound() {
        for os in ["debian", "arch", "raspios"] {
            assert_eq!(Layout::default_for(os).check(), Ok(()), "{os}");
        }
    }

    #[test]
    fn the_text_for_keys_never_changes_and_tells_layouts_apart() {
        let layout = Layout::default_for("debian");
        let expected = "pib layout 1\n\"PIBOOT\" vfat \"/boot/firmware\" 536870912 default\n\"PIROOT\" ext4 \"/\" auto default\n";
        assert_eq!(layout.key_text(), expected);
        let edits: [fn(&mut PartitionSpec); 5] = [
            |part| part.label = "X\" ext4".to_owned(),
            |part| part.filesystem = Filesystem::Vfat,
            |part| part.mount = "/x y".to_owned(),
            |part| part.size = PartitionSize::Fixed(ByteSize(1)),
            |part| part.free = Some(ByteSize(1)),
        ];
        for edit in edits {
            let mut changed = layout.clone();
            edit(&mut changed.partitions[1]);
            assert_ne!(changed.key_text(), expected);
        }
    }

    #[test]
    fn broken_layouts_are_refused() {
        let change = |edit: fn(&mut Layout)| {
            let mut layout = Layout::default_for("debian");
            edit(&mut layout);
            layout.check()
        };
        assert!(change(|layout| drop(layout.partitions.pop())).is_err());
        assert!(change(|layout| layout.partitions[0].mount = "/".to_owned()).is_err());
        assert!(change(|layout| layout.partitions[0].mount = "boot".to_owned()).is_err());
        assert!(change(|layout| layout.partitions[0].mount = "/a/../b".to_owned()).is_err());
        assert!(change(|layout| layout.partitions[0].mount = "/a//b".to_owned()).is_err());
        assert!(change(|layout| layout.partitions[0].mount = "/a b".to_owned()).is_err());
        assert!(change(|layout| layout.partitions[0].mount = "/a;b".to_owned()).is_err());
        assert!(change(|layout| layout.partitions[0].label = "TWELVELETTER".to_owned()).is_err());
        assert!(change(|layout| layout.partitions[1].label = "PIBOOT".to_owned()).is_err());
        assert!(change(|layout| layout.partitions[1].filesystem = Filesystem::Vfat).is_err());
        assert!(change(|layout| layout.partitions[0].free = Some(ByteSize(1))).is_err());
    }

    #[test]
    fn fstab_names_every_partition_and_outer_mounts_come_first() {
        let mut layout = Layout::default_for("debian");
        assert_eq!(layout.root_device().as_deref(), Some("LABEL=PIROOT"));
        layout.partitions[1].label = "ROOTFS".to_owned();
        layout.partitions.insert(0, toml_like("label = 'MEDIA'\nfilesystem = 'ext4'\nmount = '/data/media'"));
        layout.partitions.insert(2, toml_like("label = 'DATA'\nfilesystem = 'ext4'\nmount = '/data'"));
        assert_eq!((layout.check(), layout.root_device().as_deref()), (Ok(()), Some("LABEL=ROOTFS")));
        assert_eq!(
            layout.fstab(),
            [
                "LABEL=ROOTFS / ext4 defaults,noatime 0 1",
                "LABEL=DATA /data ext4 defaults,noatime 0 2",
                "LABEL=MEDIA /data/media ext4 defaults,noatime 0 2",
                "LABEL=PIBOOT /boot/firmware vfat defaults,noatime,umask=0077 0 2",
            ]
        );
    }

    #[test]
    fn specs_are_read() {
        let spec: PartitionSpec = toml_like("label = 'R'\nfilesystem = 'ext4'\nmount = '/'\nfree = '1GiB'");
        assert_eq!((spec.size, spec.free), (PartitionSize::Auto, Some(ByteSize(1 << 30))));
        let spec: PartitionSpec = toml_like("label = 'R'\nfilesystem = 'vfat'\nmount = '/b'\nsize = '64MiB'");
        assert_eq!(spec.size, PartitionSize::Fixed(ByteSize(64 << 20)));
    }

    fn toml_like(text: &str) -> PartitionSpec {
        toml::from_str(text).unwrap()
    }

    proptest! {
        #[test]
        fn regions_are_aligned_disjoint_and_large_enough(sizes in prop::collection::vec(1_u64..1 << 38, 1..=4)) {
            let (regions, end) = arrange(&sizes).unwrap();
            let mut at = ALIGNMENT;
            for (region, size) in regions.iter().zip(&sizes) {
                prop_assert!(region.offset >= at && region.offset % ALIGNMENT == 0);
                prop_assert!(region.size >= *size && region.size - size < ALIGNMENT);
                at = region.offset + region.size;
            }
            prop_assert_eq!(end, at);
        }
    }

    #[test]
    fn more_than_the_table_addresses_is_refused() {
        assert!(matches!(arrange(&[3 << 40]), Err(LayoutError::TooLarge(_))));
        assert!(matches!(arrange(&[u64::MAX]), Err(LayoutError::TooLarge(_))));
    }
}
