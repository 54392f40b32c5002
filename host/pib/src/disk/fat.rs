//! Writes a tree as a FAT32 file system, by fatfs.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use pib_plan::layout::{PartitionSpec, Region, SECTOR};

use super::tree::{Content, Kind, Node, Tree};
use super::{DiskError, Job};

const NAME: &str = "FAT";
/// FAT32 has at least this many clusters (Microsoft's FAT specification, section 3.5); some to be safe.
const LEAST_CLUSTERS: u64 = 65_525 + 64;
/// The largest file that FAT can hold.
const MAX_FILE: u64 = u32::MAX as u64;
/// The room in a file system whose size follows its content: as much again, for the next kernel.
const LEAST_FREE: u64 = 64 << 20;

/// Returns how many bytes a file system for the tree needs, with `free` bytes of room.
pub(super) fn needed(tree: &Tree, free: Option<u64>) -> u64 {
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

/// Writes the tree into its region of the image.
pub(super) fn write(
    job: &Job<'_>,
    spec: &PartitionSpec,
    tree: &Tree,
    region: Region,
) -> Result<(), DiskError> {
    let misplaced = |path: &str, reason: String| DiskError::Misplaced {
        path: path.to_owned(),
        label: spec.label.clone(),
        filesystem: NAME,
        reason,
    };
    check(tree).map_err(|(path, reason)| misplaced(&path, reason))?;
    let mut label = [b' '; 11];
    label[..spec.label.len()].copy_from_slice(spec.label.as_bytes());
    let id = job.uuid("pib fat", &spec.label);
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(cluster_size(region.size))
        .total_sectors(u32::try_from(region.size / SECTOR).unwrap_or(u32::MAX))
        .volume_label(label)
        .volume_id(u32::from_le_bytes([id[0], id[1], id[2], id[3]]));
    let mut disk = ImageRegion { file: job.image, region, at: 0 };
    fatfs::format_volume(&mut disk, options).map_err(DiskError::image)?;
    // Without a clock of the host's, folders get FAT's first day, 1980-01-01.
    let volume =
        FileSystem::new(disk, FsOptions::new().update_accessed_date(false)).map_err(DiskError::image)?;
    let root = volume.root_dir();
    for (path, _, node) in tree.entries().filter(|(path, ..)| !path.is_empty()) {
        let fail = |error: io::Error| match error.kind() {
            io::ErrorKind::StorageFull => DiskError::image(error),
            _ => misplaced(path, error.to_string()),
        };
        match &node.kind {
            Kind::File(content) => {
                let mut file = root.create_file(path).map_err(fail)?;
                copy(job, content, &mut file).map_err(fail)?;
                stamp(&mut file, node);
                file.flush().map_err(fail)?;
            }
            _ => drop(root.create_dir(path).map_err(fail)?),
        }
    }
    drop(root);
    volume.unmount().map_err(DiskError::image)
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

fn copy(job: &Job<'_>, content: &Content, to: &mut impl Write) -> io::Result<()> {
    match content {
        Content::Bytes(bytes) => to.write_all(bytes),
        Content::Spool { offset, size } => {
            let mut buffer = vec![0; 1 << 16];
            let mut done = 0;
            while done < *size {
                let want = usize::try_from(size - done).unwrap_or(buffer.len()).min(buffer.len());
                job.spool.read_exact_at(&mut buffer[..want], offset + done)?;
                to.write_all(&buffer[..want])?;
                done += want as u64;
            }
            Ok(())
        }
    }
}

#[expect(deprecated, reason = "the crate's clock is one for the whole program; these set a file's own time")]
fn stamp<T: fatfs::ReadWriteSeek>(file: &mut fatfs::File<'_, T>, node: &Node) {
    let time = date_time(node.mtime);
    file.set_created(time);
    file.set_modified(time);
    file.set_accessed(time.date);
}

/// Turns seconds since 1970 into FAT's calendar, which begins in 1980 and ends in 2107.
///
/// Days to civil date after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn date_time(seconds: u64) -> fatfs::DateTime {
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
    fatfs::DateTime {
        date: fatfs::Date { year: part(year), month: part(month), day: part(day) },
        time: fatfs::Time {
            hour: part(of_day / 3600),
            min: part(of_day / 60 % 60),
            // FAT counts in steps of two seconds; an odd one would be rounded anyway.
            sec: part(of_day % 60) & !1,
            millis: 0,
        },
    }
}

/// A region of the image as fatfs wants it: something to read, write and seek in.
struct ImageRegion<'a> {
    file: &'a File,
    region: Region,
    at: u64,
}

impl ImageRegion<'_> {
    fn left(&self, wanted: usize) -> usize {
        usize::try_from(self.region.size.saturating_sub(self.at)).unwrap_or(usize::MAX).min(wanted)
    }
}

impl Read for ImageRegion<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = self.left(buffer.len());
        let read = self.file.read_at(&mut buffer[..want], self.region.offset + self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Write for ImageRegion<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let want = self.left(buffer.len());
        let written = self.file.write_at(&buffer[..want], self.region.offset + self.at)?;
        self.at += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for ImageRegion<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.region.size.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_dates() {
        let text = |seconds| {
            let fatfs::DateTime { date, time } = date_time(seconds);
            format!(
                "{}-{:02}-{:02} {:02}:{:02}:{:02}",
                date.year, date.month, date.day, time.hour, time.min, time.sec
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
    fn every_size_makes_a_fat32() {
        for size in [40_u64 << 20, 64 << 20, 128 << 20, 256 << 20, 512 << 20, 4 << 30] {
            let clusters = (size - 64 * SECTOR) / (u64::from(cluster_size(size)) + 8);
            assert!(clusters >= LEAST_CLUSTERS, "{size}: {clusters}");
        }
    }
}
