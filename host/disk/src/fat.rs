//! Writes a tree as a FAT32 file system.
//!
//! Everything is known before the first byte is written, so each file and folder gets one run of clusters, in the
//! order of the paths. Format: Microsoft's "FAT File System Specification". (The crate fatfs 0.3.6 gives folders
//! long names for `.` and a wrong `..`, which fsck.vfat and some firmware refuse.)

mod names;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use pib_plan::layout::{PartitionSpec, Region, SECTOR};

use crate::error::DiskError;
use crate::identity::Identity;
use crate::load::WriteRequest;
use crate::tree::{Content, Kind, Node, Tree};
use names::SLOT;

const NAME: &str = "FAT";
/// FAT32 has at least this many clusters (Microsoft's FAT specification, section 3.5); some to be safe.
const LEAST_CLUSTERS: u64 = 65_525 + 64;
/// The largest file that FAT can hold.
const MAX_FILE: u64 = u32::MAX as u64;
/// The room in a file system whose size follows its content: as much again, for the next kernel.
const LEAST_FREE: u64 = 64 << 20;

/// Returns how many bytes a file system for the tree needs, with `free` bytes of room.
pub(crate) fn needed(tree: &Tree, free: Option<u64>) -> u64 {
    let rounded = |size: u64| size.div_ceil(4096) * 4096;
    let content: u64 = tree
        .entries()
        .map(|(_, _, node)| match &node.kind {
            Kind::File(content) => rounded(content.size()),
            // A name takes up to 21 records of 32 bytes; most take 3.
            _ => 4096,
        })
        .sum();
    let names = tree.len() as u64 * 128;
    let free = free.unwrap_or_else(|| content.max(LEAST_FREE));
    let used = content + names + free;
    (used + used / 256 + (1 << 20)).max(LEAST_CLUSTERS * SECTOR + (1 << 20))
}

/// Returns the largest of the usual cluster sizes that makes a FAT32.
fn cluster_size(size: u64) -> u32 {
    let sizes = [4096_u32, 2048, 1024];
    // Two tables of 4 bytes for each cluster, and the reserved sectors, are not clusters.
    let clusters = |cluster: u32| size.saturating_sub(64 * SECTOR) / (u64::from(cluster) + 8);
    sizes.into_iter().find(|cluster| clusters(*cluster) >= LEAST_CLUSTERS).unwrap_or(512)
}

fn volume_id(identity: &Identity, spec: &PartitionSpec) -> [u8; 4] {
    let [first, second, third, fourth, ..] = identity.derive("pib fat", &spec.label);
    [first, second, third, fourth]
}

/// Returns the file system's volume id, in the form in which systems name it.
pub(super) fn uuid(identity: &Identity, spec: &PartitionSpec) -> String {
    let id = u32::from_le_bytes(volume_id(identity, spec));
    format!("{:04X}-{:04X}", id >> 16, id & 0xffff)
}

/// Writes the tree into its region of the image.
pub(crate) fn write(
    request: &WriteRequest<'_>,
    spec: &PartitionSpec,
    tree: &Tree,
    region: Region,
) -> Result<(), DiskError> {
    check(tree).map_err(|(path, reason)| DiskError::Misplaced {
        path,
        label: spec.label.clone(),
        filesystem: NAME,
        reason,
    })?;
    let geometry = Geometry::new(region.size);
    let placed = Placed::new(tree, geometry.cluster);
    if placed.end > geometry.clusters + FIRST_CLUSTER {
        return Err(DiskError::Writer {
            label: spec.label.clone(),
            filesystem: NAME,
            reason: format!("it has {} clusters and needs {}", geometry.clusters, placed.end - FIRST_CLUSTER),
        });
    }
    let id = volume_id(request.identity, spec);
    let mut label = [b' '; 11];
    label[..spec.label.len()].copy_from_slice(spec.label.as_bytes());
    let volume = Volume { file: request.image, region, geometry };
    volume.write_head(&label, id, placed.end).map_err(DiskError::image)?;
    volume.write_tables(&placed).map_err(DiskError::image)?;
    // All of both tables: zeros there say that clusters are free.
    request.used.add(region.offset, volume.cluster_offset(placed.end) - region.offset);
    for (path, _, node) in tree.entries() {
        let at = volume.cluster_offset(placed.start(path));
        match &node.kind {
            Kind::File(Content::Bytes(bytes)) => request.image.write_all_at(bytes, at),
            Kind::File(Content::Spool { offset, size }) => copy(request, *offset, *size, at),
            _ => request.image.write_all_at(&folder(tree, path, node, &placed, &label), at),
        }
        .map_err(DiskError::image)?;
    }
    Ok(())
}

/// The number of the first cluster; 0 and 1 mean other things.
const FIRST_CLUSTER: u32 = 2;
/// The sectors before the first table, as other tools have them.
const RESERVED: u64 = 32;
/// The tables: one, and its copy.
const TABLES: u64 = 2;
/// The end of a chain.
const END: u32 = 0x0fff_ffff;
/// Where the copy of the boot sector is.
const BACKUP: u64 = 6;

/// The sizes of a file system's pieces.
#[derive(Debug, Clone, Copy)]
struct Geometry {
    /// The size of a cluster in bytes.
    cluster: u32,
    /// How many clusters there are.
    clusters: u32,
    /// The size of one table in sectors.
    table: u64,
}

impl Geometry {
    fn new(size: u64) -> Self {
        let cluster = cluster_size(size);
        let per_cluster = u64::from(cluster) / SECTOR;
        let sectors = size / SECTOR - RESERVED;
        // A table's sector describes 128 clusters. Counted as if the tables took no room, one is a little too
        // large, which the format allows.
        let table = (sectors / per_cluster + 2).div_ceil(128);
        let clusters = (sectors - TABLES * table) / per_cluster;
        Self { cluster, clusters: u32::try_from(clusters).unwrap_or(END - 16), table }
    }
}

/// Where each entry's clusters begin.
struct Placed<'a> {
    starts: HashMap<&'a str, u32>,
    /// The first and last cluster of each entry.
    runs: Vec<(u32, u32)>,
    /// The first cluster that is free.
    end: u32,
}

impl<'a> Placed<'a> {
    fn new(tree: &'a Tree, cluster: u32) -> Self {
        let mut slots: BTreeMap<&str, usize> = BTreeMap::new();
        for (path, _, node) in tree.entries() {
            if !path.is_empty() {
                let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
                *slots.entry(parent).or_default() += names::slots(name);
            }
            if node.kind == Kind::Folder {
                // A folder's `.` and `..`, or the root's label.
                *slots.entry(path).or_default() += 2;
            }
        }
        let mut placed = Self { starts: HashMap::new(), runs: Vec::new(), end: FIRST_CLUSTER };
        for (path, _, node) in tree.entries() {
            let bytes = match &node.kind {
                Kind::File(content) => content.size(),
                _ => (slots.get(path).copied().unwrap_or(0) * SLOT) as u64,
            };
            let count = u32::try_from(bytes.div_ceil(u64::from(cluster))).unwrap_or(u32::MAX);
            if count > 0 {
                placed.starts.insert(path, placed.end);
                let next = placed.end.saturating_add(count);
                placed.runs.push((placed.end, next - 1));
                placed.end = next;
            }
        }
        placed
    }

    /// Returns the first cluster of an entry; 0 for an empty file, which has none.
    fn start(&self, path: &str) -> u32 {
        self.starts.get(path).copied().unwrap_or(0)
    }
}

/// The file system's place in the image.
struct Volume<'a> {
    file: &'a File,
    region: Region,
    geometry: Geometry,
}

impl Volume<'_> {
    fn write_at(&self, bytes: &[u8], sector: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, self.region.offset + sector * SECTOR)
    }

    fn cluster_offset(&self, cluster: u32) -> u64 {
        let data = (RESERVED + TABLES * self.geometry.table) * SECTOR;
        let before = u64::from(cluster.saturating_sub(FIRST_CLUSTER)) * u64::from(self.geometry.cluster);
        self.region.offset + data + before
    }

    /// Writes the boot sector and the sector with the free space, and the copies of both.
    fn write_head(&self, label: &[u8; 11], id: [u8; 4], end: u32) -> io::Result<()> {
        let mut boot = [0; SECTOR as usize];
        let mut put = |at: usize, bytes: &[u8]| boot[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &[0xeb, 0x58, 0x90]);
        put(3, b"MSWIN4.1");
        put(11, &512_u16.to_le_bytes());
        put(13, &[u8::try_from(u64::from(self.geometry.cluster) / SECTOR).unwrap_or(1)]);
        put(14, &(RESERVED as u16).to_le_bytes());
        put(16, &[TABLES as u8]);
        put(21, &[0xf8]);
        // What a disk's heads and tracks would be; nothing reads these any more.
        put(24, &[63, 0, 255, 0]);
        let sectors = |bytes: u64| u32::try_from(bytes / SECTOR).unwrap_or(u32::MAX).to_le_bytes();
        put(28, &sectors(self.region.offset));
        put(32, &sectors(self.region.size));
        put(36, &u32::try_from(self.geometry.table).unwrap_or(u32::MAX).to_le_bytes());
        put(44, &FIRST_CLUSTER.to_le_bytes());
        put(48, &1_u16.to_le_bytes());
        put(50, &(BACKUP as u16).to_le_bytes());
        put(64, &[0x80, 0, 0x29]);
        put(67, &id);
        put(71, label);
        put(82, b"FAT32   ");
        put(510, &[0x55, 0xaa]);
        let mut info = [0; SECTOR as usize];
        let mut put = |at: usize, bytes: &[u8]| info[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"RRaA");
        put(484, b"rrAa");
        put(488, &(self.geometry.clusters + FIRST_CLUSTER - end).to_le_bytes());
        put(492, &end.to_le_bytes());
        put(510, &[0x55, 0xaa]);
        for start in [0, BACKUP] {
            self.write_at(&boot, start)?;
            self.write_at(&info, start + 1)?;
        }
        Ok(())
    }

    /// Writes both tables up to the last cluster in use; the rest is zero, as the image is.
    fn write_tables(&self, placed: &Placed<'_>) -> io::Result<()> {
        let mut table = Vec::with_capacity(placed.end as usize * 4);
        table.extend(0x0fff_fff8_u32.to_le_bytes());
        table.extend(END.to_le_bytes());
        for (first, last) in &placed.runs {
            (first + 1..=*last).for_each(|next| table.extend(next.to_le_bytes()));
            table.extend(END.to_le_bytes());
        }
        (0..TABLES).try_for_each(|number| self.write_at(&table, RESERVED + number * self.geometry.table))
    }
}

/// Returns the bytes of a folder.
fn folder(tree: &Tree, path: &str, node: &Node, placed: &Placed<'_>, label: &[u8; 11]) -> Vec<u8> {
    const FOLDER: u8 = 0x10;
    const ARCHIVE: u8 = 0x20;
    const LABEL: u8 = 0x08;
    let mut out = Vec::new();
    if path.is_empty() {
        slot(&mut out, label, LABEL, node, 0, 0);
    } else {
        // The root counts as cluster 0 where a folder names it as its parent.
        let parent = path.rsplit_once('/').map_or(0, |(parent, _)| placed.start(parent));
        slot(&mut out, b".          ", FOLDER, node, placed.start(path), 0);
        slot(&mut out, b"..         ", FOLDER, node, parent, 0);
    }
    let mut taken = HashSet::new();
    let start = if path.is_empty() { String::new() } else { format!("{path}/") };
    for child in tree.below(path) {
        let (name, Some(entry)) = (&child[start.len()..], tree.get(&child)) else { continue };
        if name.contains('/') {
            continue;
        }
        let short = names::shorten(name, &mut taken);
        names::push_long(&mut out, name, &short);
        let (kind, size) = match &entry.kind {
            Kind::File(content) => (ARCHIVE, u32::try_from(content.size()).unwrap_or(u32::MAX)),
            _ => (FOLDER, 0),
        };
        slot(&mut out, &short, kind, entry, placed.start(&child), size);
    }
    out
}

fn slot(out: &mut Vec<u8>, name: &[u8; 11], kind: u8, node: &Node, cluster: u32, size: u32) {
    let (date, time) = date_time(node.mtime);
    let mut slot = [0; SLOT];
    slot[..11].copy_from_slice(name);
    slot[11] = kind;
    slot[14..16].copy_from_slice(&time.to_le_bytes());
    slot[16..18].copy_from_slice(&date.to_le_bytes());
    slot[18..20].copy_from_slice(&date.to_le_bytes());
    slot[20..22].copy_from_slice(&cluster.to_le_bytes()[2..]);
    slot[22..24].copy_from_slice(&time.to_le_bytes());
    slot[24..26].copy_from_slice(&date.to_le_bytes());
    slot[26..28].copy_from_slice(&cluster.to_le_bytes()[..2]);
    slot[28..].copy_from_slice(&size.to_le_bytes());
    out.extend(slot);
}

/// Finds what FAT cannot hold: it has files and folders only, and takes `A` and `a` for one name.
fn check(tree: &Tree) -> Result<(), (String, String)> {
    let mut names = HashSet::new();
    for (path, _, node) in tree.entries() {
        let what = match &node.kind {
            Kind::Folder => None,
            Kind::File(content) if content.size() > MAX_FILE => Some("it is larger than 4 GiB"),
            Kind::File(_) => None,
            Kind::Symlink(_) => Some("FAT has no symbolic links"),
            _ => Some("FAT has no devices or pipes"),
        };
        let what = what.or_else(|| names::refuse(path.rsplit('/').next().unwrap_or(path)));
        if let Some(what) = what {
            return Err((path.to_owned(), what.to_owned()));
        }
        if !names.insert(path.to_lowercase()) {
            return Err((
                path.to_owned(),
                "another name differs from it only in upper and lower case".to_owned(),
            ));
        }
    }
    Ok(())
}

/// Copies a file from the spool to its place in the image.
fn copy(request: &WriteRequest<'_>, from: u64, size: u64, to: u64) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 18];
    let mut done = 0;
    while done < size {
        let want = usize::try_from(size - done).unwrap_or(buffer.len()).min(buffer.len());
        request.spool.read_exact_at(&mut buffer[..want], from + done)?;
        request.image.write_all_at(&buffer[..want], to + done)?;
        done += want as u64;
    }
    Ok(())
}

/// Turns seconds since 1970 into FAT's calendar, which begins in 1980 and ends in 2107.
///
/// Days to civil date after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn date_time(seconds: u64) -> (u16, u16) {
    const FIRST: u64 = 315_532_800;
    const LAST: u64 = 4_354_819_198;
    let seconds = seconds.clamp(FIRST, LAST);
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let part = |value: u64| u16::try_from(value).unwrap_or(0);
    let of_day = seconds % 86_400;
    let date = part(((year - 1980) << 9) | (month << 5) | day);
    // FAT counts in steps of two seconds.
    (date, part(((of_day / 3600) << 11) | ((of_day / 60 % 60) << 5) | (of_day % 60 / 2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        let text = |seconds| {
            let (date, time) = date_time(seconds);
            let (year, month, day) = (1980 + (date >> 9), date >> 5 & 15, date & 31);
            format!(
                "{year}-{month:02}-{day:02} {:02}:{:02}:{:02}",
                time >> 11,
                time >> 5 & 63,
                (time & 31) * 2
            )
        };
        assert_eq!(text(0), "1980-01-01 00:00:00");
        assert_eq!(text(951_827_696), "2000-02-29 12:34:56");
        assert_eq!(text(1_763_983_475), "2025-11-24 11:24:34");
        assert_eq!(text(u64::MAX), "2107-12-31 23:59:58");
    }

    #[test]
    fn what_fat_cannot_hold_is_named() {
        let file = || Node::new(Kind::File(Content::Bytes(vec![])), 0o644);
        let mut tree = Tree::new();
        tree.put("overlays/a.dtbo", file());
        assert_eq!(check(&tree), Ok(()));
        tree.put("overlays/A.dtbo", file());
        assert!(check(&tree).unwrap_err().1.contains("upper and lower"));
        let mut tree = Tree::new();
        tree.put("link", Node::new(Kind::Symlink("x".to_owned()), 0o777));
        assert!(check(&tree).unwrap_err().1.contains("symbolic"));
    }

    #[test]
    fn every_size_makes_a_fat32_that_fits() {
        for size in [40_u64 << 20, 64 << 20, 128 << 20, 256 << 20, 512 << 20, 4 << 30] {
            let geometry = Geometry::new(size);
            assert!(u64::from(geometry.clusters) >= LEAST_CLUSTERS - 64, "{size}: {geometry:?}");
            let data = u64::from(geometry.clusters) * u64::from(geometry.cluster);
            assert!((RESERVED + TABLES * geometry.table) * SECTOR + data <= size, "{size}: {geometry:?}");
            assert!(geometry.table * 128 >= u64::from(geometry.clusters) + 2, "{size}: {geometry:?}");
        }
    }
}
