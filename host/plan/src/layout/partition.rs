//! What a project asks for: partitions, their sizes, the whole layout.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::id::KeyHasher;
use crate::size::ByteSize;

/// What a partition is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Filesystem {
    /// FAT32, which the board's firmware reads.
    Vfat,
    /// ext4 with a journal.
    Ext4,
    /// A squashfs: compressed, and never written to.
    Squashfs,
    /// An EROFS: compressed, and never written to; larger than a squashfs, and faster to read.
    Erofs,
    /// A swap area.
    Swap,
    /// Nothing: the device's own programs use the partition as they like.
    None,
}

/// The kind of a partition table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PartitionTable {
    /// A master boot record, which all boards read.
    #[default]
    Mbr,
    /// A GUID partition table.
    Gpt,
}

/// What writes the ext4 file systems of an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Ext4Writer {
    /// pib itself, by mkext4.
    #[default]
    Mkext4,
    /// mke2fs and debugfs of this machine.
    Mke2fs,
}

/// A share of an image, from 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Percent(u8);

/// How large a partition is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum PartitionSize {
    /// As large as its content asks for, and some room.
    #[default]
    Auto,
    /// So many bytes.
    Fixed(ByteSize),
    /// A share of the room that the image has for partitions.
    Share(Percent),
    /// What the others leave of the image.
    Rest,
}

/// One partition, as a project or the default layout asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PartitionSpec {
    /// The file system's label; boot and fstab find it by this. In a GPT it is the partition's name, too. A squashfs has none
    /// of its own.
    pub label: String,
    /// The file system.
    pub filesystem: Filesystem,
    /// Where its content is in the root file system: `/`, or the folder that is mounted from it. Empty where nothing is
    /// mounted from it.
    #[serde(default)]
    pub mount: String,
    /// Its size.
    #[serde(default)]
    pub size: PartitionSize,
    /// The room that is left in it; for a size of `auto` only.
    #[serde(default)]
    pub free: Option<ByteSize>,
    /// What it begins at a multiple of, and what its size is a multiple of; 4 MiB where nothing is given.
    #[serde(default)]
    pub align: Option<ByteSize>,
    /// The share of the blocks that only root may use, in percent; for ext4 only, 1 where nothing is given.
    #[serde(default)]
    pub reserved: Option<u8>,
    /// Whether the table marks it as the one to start from.
    #[serde(default)]
    pub active: bool,
    /// Its type in the table, two hex digits or a GUID, where it is not the usual one.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// Whether it takes what a card has beyond the image, on the device's first boot.
    #[serde(default)]
    pub grow: bool,
    /// What it is where the layout has two slots.
    #[serde(skip)]
    pub slot: Option<Slot>,
}

/// What a partition is in a layout with two slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// It has `autoboot.txt`, and nothing else.
    Start,
    /// It is in the slot that a new card starts.
    A,
    /// It is in the other one, which begins with the same content.
    B,
}

impl Slot {
    fn key(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// The partitions of an image, in the order of the table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Layout {
    /// The kind of the table.
    pub table: PartitionTable,
    /// The size of the whole image; where none is given, it is what the partitions need.
    pub size: Option<ByteSize>,
    /// The partitions.
    pub partitions: Vec<PartitionSpec>,
    /// Whether the root that the kernel's command line names may be on another disk than the image's.
    pub foreign_root: bool,
    /// What writes its ext4 file systems.
    pub writer: Ext4Writer,
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
    /// The partitions are larger than the image is to be.
    #[error("the partitions need {}, and the image's `size` is {}", ByteSize(*needed), ByteSize(*size))]
    Full {
        /// The number of the first partition that ends beyond the image, from 0.
        partition: usize,
        /// What all of them need, in bytes.
        needed: u64,
        /// The image's size in bytes.
        size: u64,
    },
    /// The table cannot address so much.
    #[error("the partitions need {} and the partition table addresses at most {}", ByteSize(*needed), ByteSize(*most))]
    TooLarge {
        /// What they need in bytes.
        needed: u64,
        /// The most that the table addresses.
        most: u64,
    },
}

impl Filesystem {
    /// The least that an ext4 has, in bytes: its journal has at least 4 MiB, and at most a quarter of the file system.
    pub const LEAST_EXT4: u64 = 16 << 20;

    /// Returns the name that fstab and people know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vfat => "vfat",
            Self::Ext4 => "ext4",
            Self::Squashfs => "squashfs",
            Self::Erofs => "erofs",
            Self::Swap => "swap",
            Self::None => "none",
        }
    }

    /// Returns its name with the article that it has in a sentence.
    pub fn with_article(self) -> String {
        let article = if matches!(self, Self::Ext4 | Self::Erofs) { "an" } else { "a" };
        format!("{article} {}", self.name())
    }

    /// Returns whether it holds files.
    pub fn has_files(self) -> bool {
        matches!(self, Self::Vfat | Self::Ext4 | Self::Squashfs | Self::Erofs)
    }

    /// Returns whether it stays as it was written: it neither grows nor takes further files.
    pub fn is_read_only(self) -> bool {
        matches!(self, Self::Squashfs | Self::Erofs)
    }

    /// Returns whether it has a label of its own. A partition without one is found by what the table says of it.
    pub fn has_label(self) -> bool {
        !matches!(self, Self::Squashfs | Self::None)
    }
}

impl Percent {
    /// Returns the share of a number of bytes.
    pub(super) fn of(self, bytes: u64) -> u64 {
        // Parted, so that it fits for every size.
        bytes / 100 * u64::from(self.0) + bytes % 100 * u64::from(self.0) / 100
    }
}

impl FromStr for PartitionSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_suffix('%')) {
            ("auto", _) => Ok(Self::Auto),
            ("rest", _) => Ok(Self::Rest),
            (_, Some(number)) => match number.trim_end().parse() {
                Ok(percent @ 1..=100) => Ok(Self::Share(Percent(percent))),
                _ => Err(format!(
                    "`{}` is not a share of the image; write `1%` to `100%`, in whole numbers",
                    text.chars().take(40).collect::<String>()
                )),
            },
            (_, None) => text
                .parse()
                .map(Self::Fixed)
                .map_err(|error| format!("{error}, nor a share such as `25%`, nor `auto` or `rest`")),
        }
    }
}

impl<'de> Deserialize<'de> for PartitionSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for PartitionSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Rest => f.write_str("rest"),
            Self::Share(percent) => write!(f, "{}%", percent.0),
            Self::Fixed(size) => size.fmt(f),
        }
    }
}

/// The option in fstab by which the stage `grow` knows the partition that is to grow; mount(8) leaves it to others, as all
/// that begin with `x-`.
const GROW: &str = "x-pib.grow";

impl PartitionSpec {
    /// Returns a partition that is as usual in everything else.
    pub fn new(label: &str, filesystem: Filesystem, mount: &str) -> Self {
        Self {
            label: label.to_owned(),
            filesystem,
            mount: mount.to_owned(),
            size: PartitionSize::Auto,
            free: None,
            align: None,
            reserved: None,
            active: false,
            kind: None,
            grow: false,
            slot: None,
        }
    }

    /// Returns what keys know beside label, file system, folder, size and room: only what is not as usual, so that the text
    /// of a layout from before there was more is as it was.
    fn extras(&self) -> String {
        let Self {
            label: _,
            filesystem: _,
            mount: _,
            size: _,
            free: _,
            align,
            reserved,
            active,
            kind,
            grow,
            slot,
        } = self;
        let mut text = String::new();
        if let Some(align) = align {
            text.push_str(&format!(" align={}", align.0));
        }
        if let Some(reserved) = reserved {
            text.push_str(&format!(" reserved={reserved}"));
        }
        if let Some(kind) = kind {
            text.push_str(&format!(" type={}", json(kind)));
        }
        for (name, is_so) in [("active", active), ("grow", grow)] {
            if *is_so {
                text.push_str(&format!(" {name}"));
            }
        }
        if let Some(slot) = slot {
            text.push_str(&format!(" slot={}", slot.key()));
        }
        text
    }
}

impl Layout {
    /// Returns how the running system names the device of its root, e.g. `LABEL=PIROOT`; nothing where the layout has
    /// no root, which [`check`](Self::check) refuses.
    pub fn root_device(&self) -> Option<String> {
        self.partitions.iter().find(|part| part.mount == "/").map(|root| self.device(root))
    }

    /// Returns how the running system names a partition's device, in fstab and after `root=`: by the file system's label, or
    /// by the table where the file system has none. The kernel itself knows the names of a table.
    pub fn device(&self, part: &PartitionSpec) -> String {
        let index = self.partitions.iter().position(|other| other.label == part.label);
        match (part.filesystem.has_label(), self.table, self.disk_signature(), index) {
            (false, PartitionTable::Mbr, Some(signature), Some(index)) => {
                format!("PARTUUID={signature:08x}-{:02x}", self.number(index))
            }
            (false, PartitionTable::Gpt, ..) => format!("PARTLABEL={}", part.label),
            _ => format!("LABEL={}", part.label),
        }
    }

    /// Returns the signature of the master boot record, where a partition is found by it.
    ///
    /// It is known before anything is built, and stays the same while the labels do: the command line of an update names
    /// the partitions of a card that an earlier version was written to.
    pub fn disk_signature(&self) -> Option<u32> {
        let is_found_by_it =
            |part: &PartitionSpec| part.filesystem.has_files() && !part.filesystem.has_label();
        if self.table != PartitionTable::Mbr || !self.partitions.iter().any(is_found_by_it) {
            return None;
        }
        let mut hasher = KeyHasher::new("pib disk signature of labels 1");
        for part in &self.partitions {
            hasher.field(&part.label);
        }
        let digest = hasher.finish();
        let bytes = digest.as_bytes();
        Some(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// Returns the line of /etc/fstab that mounts a partition, where one does.
    ///
    /// A FAT partition has neither owners nor modes, and what the firmware reads is nobody's but root's. The root is
    /// checked first, the others after it, and what is never written to never (fstab(5), the sixth field).
    fn fstab_line(&self, part: &PartitionSpec) -> Option<String> {
        let device = self.device(part);
        let (options, pass) = match part.filesystem {
            Filesystem::Swap => return Some(format!("{device} none swap sw 0 0")),
            Filesystem::None => return None,
            Filesystem::Ext4 => ("defaults,noatime", if part.mount == "/" { 1 } else { 2 }),
            Filesystem::Squashfs | Filesystem::Erofs => ("ro", 0),
            Filesystem::Vfat => ("defaults,noatime,umask=0077", 2),
        };
        if part.mount.is_empty() {
            return None;
        }
        let growing = if part.grow { format!(",{GROW}") } else { String::new() };
        let filesystem = part.filesystem.name();
        Some(format!("{device} {} {filesystem} {options}{growing} 0 {pass}", part.mount))
    }

    /// Returns whether the system of a slot sees a partition: those of its own slot, and those of none.
    pub fn sees(slot: Option<Slot>, other: Option<Slot>) -> bool {
        match slot {
            Some(Slot::B) => other != Some(Slot::A),
            _ => other != Some(Slot::B),
        }
    }

    /// Returns the lines of /etc/fstab that mount the partitions: what others are mounted in comes before them, swap last.
    pub fn fstab(&self) -> Vec<String> {
        // The other slot's lines are written into its own copy of the file.
        let seen = self.partitions.iter().filter(|part| Self::sees(None, part.slot));
        let mut partitions: Vec<&PartitionSpec> = seen.collect();
        let depth = |mount: &str| mount.split('/').filter(|name| !name.is_empty()).count();
        partitions.sort_by_key(|part| (part.mount.is_empty(), depth(&part.mount)));
        partitions.into_iter().filter_map(|part| self.fstab_line(part)).collect()
    }

    /// Returns the partition that grows on the device, where one does.
    pub fn growing(&self) -> Option<&PartitionSpec> {
        self.partitions.iter().find(|part| part.grow)
    }

    /// Returns the layout of an operating system: a FAT boot partition for the firmware and an ext4 root.
    pub fn default_for(os: &str) -> Self {
        let mount = if os == "arch" { "/boot" } else { "/boot/firmware" };
        let boot = PartitionSpec {
            size: PartitionSize::Fixed(ByteSize(512 << 20)),
            ..PartitionSpec::new("PIBOOT", Filesystem::Vfat, mount)
        };
        Self {
            table: PartitionTable::Mbr,
            size: None,
            partitions: vec![boot, PartitionSpec::new("PIROOT", Filesystem::Ext4, "/")],
            foreign_root: false,
            writer: Ext4Writer::default(),
        }
    }

    /// Returns the layout as keys know it: a text that stays the same while the image would.
    pub fn key_text(&self) -> String {
        let Self { table, size, partitions, foreign_root, writer } = self;
        let mut text = String::from("pib layout 1\n");
        if *table == PartitionTable::Gpt {
            text.push_str("gpt\n");
        }
        if let Some(size) = size {
            text.push_str(&format!("size {}\n", size.0));
        }
        if *foreign_root {
            text.push_str("foreign-root\n");
        }
        if *writer == Ext4Writer::Mke2fs {
            text.push_str("writer mke2fs\n");
        }
        for part in partitions {
            let size = match part.size {
                PartitionSize::Fixed(size) => size.0.to_string(),
                other => other.to_string(),
            };
            let free = part.free.map_or_else(|| "default".to_owned(), |free| free.0.to_string());
            // As JSON, so that no label or folder can look like what follows it.
            let (label, mount) = (json(&part.label), json(&part.mount));
            let (filesystem, extras) = (part.filesystem.name(), part.extras());
            text.push_str(&format!("{label} {filesystem} {mount} {size} {free}{extras}\n"));
        }
        text
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
