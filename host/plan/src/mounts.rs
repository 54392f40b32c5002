//! What an image's kernel command line and fstab say of its partitions, compared with the partitions that it has.
//!
//! Any stage may write these two files. One that names a root that is not there starts no device, and nobody sees it
//! before the card is in the board.

/// A partition of an image, with all names by which a running system may find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPartition {
    /// What the layout calls its device, e.g. `LABEL=ROOTFS`.
    pub device: String,
    /// Its file system's label; empty where it has none.
    pub label: String,
    /// The folder that is mounted from it.
    pub mount: String,
    /// Its file system's name, as fstab has it.
    pub filesystem: &'static str,
    /// Its file system's identifier; empty where it has none.
    pub uuid: String,
    /// Its own identifier in the partition table.
    pub partuuid: String,
    /// The number by which Linux calls it.
    pub number: u32,
    /// Its name in the partition table, where that has names.
    pub name: Option<String>,
}

/// A text of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageText<'a> {
    /// Where it is in the root file system, for messages.
    pub path: &'a str,
    /// What it says.
    pub text: &'a str,
}

/// Something that the image's files say and its partitions do not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// Whether the device cannot start, or cannot have what the layout says.
    pub fatal: bool,
    /// What does not fit: file, line and name.
    pub message: String,
}

/// What a device is called in fstab or after `root=`.
#[derive(Debug, PartialEq, Eq)]
enum Device<'a> {
    /// A partition of the image, by its place in the table.
    Ours(usize),
    /// A partition that the image does not have.
    Missing(&'a str),
    /// What is not about partitions, or not about those of a card: a tmpfs, a network drive, a mapper's device.
    Other,
}

/// A line of fstab.
struct Entry<'a> {
    line: usize,
    device: &'a str,
    mount: String,
    filesystem: &'a str,
    options: &'a str,
}

/// Compares the kernel's command line with the partitions. With `foreign_root` its root may be on another disk.
pub fn check_command_line(
    partitions: &[NamedPartition],
    cmdline: ImageText<'_>,
    foreign_root: bool,
) -> Option<Mismatch> {
    let (line, value) = cmdline
        .text
        .lines()
        .enumerate()
        .flat_map(|(number, line)| line.split_whitespace().map(move |word| (number + 1, word)))
        .filter_map(|(number, word)| Some((number, word.strip_prefix("root=")?)))
        .last()?; // Of several the kernel takes the last.
    let root = partitions.iter().position(|part| part.mount == "/");
    let what = match find(partitions, value) {
        Device::Ours(found) if Some(found) == root => return None,
        Device::Other => return None,
        _ if foreign_root => return None,
        Device::Ours(found) => format!("which is the partition for `{}`", partitions[found].mount),
        Device::Missing(_) => "which the image does not have".to_owned(),
    };
    let message = format!(
        "`{}` line {line} has root={value}, {what}; the root is {}",
        cmdline.path,
        root.map_or("nowhere", |root| partitions[root].device.as_str())
    );
    Some(Mismatch { fatal: true, message })
}

/// Compares fstab with the partitions. `by_unit` tells whether a unit of systemd mounts a folder.
///
/// A file without any entry is one that nobody has written yet, and nothing is said of it.
pub fn check_fstab(
    partitions: &[NamedPartition],
    fstab: ImageText<'_>,
    by_unit: impl Fn(&str) -> bool,
    foreign_root: bool,
) -> Vec<Mismatch> {
    let entries: Vec<Entry<'_>> = entries(fstab.text).collect();
    let mut found: Vec<Mismatch> =
        entries.iter().filter_map(|entry| check_entry(partitions, fstab.path, entry, foreign_root)).collect();
    if entries.is_empty() {
        return found;
    }
    // The kernel mounts the root, whatever fstab says; what has no folder need not be mounted.
    for part in partitions.iter().filter(|part| !matches!(&*part.mount, "" | "/")) {
        if !entries.iter().any(|entry| entry.mount == part.mount) && !by_unit(&part.mount) {
            let message = format!(
                "`{}` does not mount `{}`, for which the image has the partition {}",
                fstab.path, part.mount, part.device
            );
            found.push(Mismatch { fatal: false, message });
        }
    }
    found
}

fn check_entry(
    partitions: &[NamedPartition],
    path: &str,
    entry: &Entry<'_>,
    foreign_root: bool,
) -> Option<Mismatch> {
    let Entry { line, device, mount, filesystem, options } = entry;
    let start = format!("`{path}` line {line} mounts {device} on `{mount}`");
    let mismatch = |fatal, what: String| Some(Mismatch { fatal, message: format!("{start}, {what}") });
    let planned = partitions.iter().find(|part| part.mount == *mount);
    let planned_label = |part: &NamedPartition| format!("for which it has the partition {}", part.device);
    match find(partitions, device) {
        Device::Other => None,
        Device::Missing(_) if foreign_root && mount == "/" => None,
        Device::Missing(_) => match planned {
            Some(part) => mismatch(true, format!("which the image does not have; {}", planned_label(part))),
            // Without these words, a disk that is not there keeps the device from starting.
            None if options.split(',').any(|option| matches!(option, "nofail" | "noauto")) => None,
            None => mismatch(false, "which the image does not have".to_owned()),
        },
        Device::Ours(index) => {
            let ours = &partitions[index];
            match planned {
                Some(part) if part != ours => mismatch(true, planned_label(part)),
                _ if !matches!(*filesystem, "auto" | "none") && *filesystem != ours.filesystem => {
                    mismatch(true, format!("as {filesystem}; the partition is {}", ours.filesystem))
                }
                _ => None,
            }
        }
    }
}

/// Reads fstab as fstab(5) has it. What is no entry is passed over, as mount does.
fn entries(text: &str) -> impl Iterator<Item = Entry<'_>> {
    text.lines().enumerate().filter_map(|(number, line)| {
        let line = line.trim_start();
        let mut fields = line.split_whitespace();
        let device = fields.next().filter(|_| !line.starts_with('#'))?;
        Some(Entry {
            line: number + 1,
            device,
            mount: folder(fields.next()?),
            filesystem: fields.next().unwrap_or("auto"),
            options: fields.next().unwrap_or_default(),
        })
    })
}

/// Returns a mount point as a layout writes it: escapes read, no slash at the end.
fn folder(field: &str) -> String {
    let text = field.replace("\\040", " ");
    match text.trim_end_matches('/') {
        "" if text.starts_with('/') => "/".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

fn find<'a>(partitions: &[NamedPartition], device: &'a str) -> Device<'a> {
    let position = |matches: &dyn Fn(&NamedPartition) -> bool| match partitions.iter().position(matches) {
        Some(index) => Device::Ours(index),
        None => Device::Missing(device),
    };
    let by_path = device.strip_prefix("/dev/disk/by-").and_then(|rest| rest.split_once('/'));
    let (tag, value) = by_path.or_else(|| device.split_once('=')).unwrap_or(("", device));
    let value = value.trim_matches('"');
    match tag.to_ascii_lowercase().as_str() {
        "label" => position(&|part| part.label == value),
        "uuid" => position(&|part| part.uuid.eq_ignore_ascii_case(value)),
        "partuuid" => position(&|part| part.partuuid.eq_ignore_ascii_case(value)),
        "partlabel" => position(&|part| part.name.as_deref() == Some(value)),
        "" => match card_partition(device) {
            Some(number) => position(&|part| part.number == number),
            None => Device::Other,
        },
        _ => Device::Other,
    }
}

/// Returns the number of the partition that a device node of the first card or drive stands for.
fn card_partition(device: &str) -> Option<u32> {
    let number = ["/dev/mmcblk0p", "/dev/nvme0n1p", "/dev/sda", "/dev/vda"]
        .iter()
        .find_map(|disk| device.strip_prefix(disk))?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions() -> Vec<NamedPartition> {
        let part = |label: &str, mount: &str, filesystem, uuid: &str, number| NamedPartition {
            device: format!("LABEL={label}"),
            label: label.to_owned(),
            mount: mount.to_owned(),
            filesystem,
            uuid: uuid.to_owned(),
            partuuid: format!("0a1b2c3d-{number:02}"),
            number,
            name: None,
        };
        vec![
            part("BOOTFS", "/boot/firmware", "vfat", "ABCD-0123", 1),
            part("ROOTFS", "/", "ext4", "5a5a-uuid", 2),
            part("DATA", "/data", "ext4", "6b6b-uuid", 3),
        ]
    }

    fn line(text: &str) -> Option<Mismatch> {
        let cmdline = ImageText { path: "/boot/firmware/cmdline.txt", text };
        check_command_line(&partitions(), cmdline, false)
    }

    fn table(text: &str) -> Vec<(bool, String)> {
        let fstab = ImageText { path: "/etc/fstab", text };
        let found = check_fstab(&partitions(), fstab, |folder| folder == "/data", false);
        found.into_iter().map(|found| (found.fatal, found.message)).collect()
    }

    #[test]
    fn every_way_to_name_the_root_is_understood() {
        for good in [
            "LABEL=ROOTFS",
            "UUID=5A5A-uuid",
            "PARTUUID=0A1B2C3D-02",
            "/dev/mmcblk0p2",
            "/dev/vda2",
            "/dev/disk/by-label/ROOTFS",
            "/dev/disk/by-partuuid/0a1b2c3d-02",
            "/dev/nfs",
            "/dev/mapper/root",
            "ZFS=pool",
        ] {
            assert_eq!(line(&format!("console=tty1 root={good} ro\n")), None, "{good}");
        }
        assert_eq!(line("console=tty1 quiet\n"), None);
        assert_eq!(line("root=LABEL=OLD root=LABEL=ROOTFS"), None, "the last counts");
    }

    #[test]
    fn a_root_that_is_not_there_is_fatal() {
        let found = line("console=tty1 root=LABEL=PIROOT ro\n").unwrap();
        assert!(found.fatal);
        assert_eq!(
            found.message,
            "`/boot/firmware/cmdline.txt` line 1 has root=LABEL=PIROOT, which the image does not have; the root is \
             LABEL=ROOTFS"
        );
        assert!(line("root=/dev/mmcblk0p1").unwrap().message.contains("partition for `/boot/firmware`"));
        for bad in ["/dev/mmcblk0p4", "PARTUUID=0a1b2c3d-05", "UUID=other", "PARTLABEL=root"] {
            assert!(line(&format!("root={bad}")).is_some(), "{bad}");
        }
        let cmdline = ImageText { path: "cmdline.txt", text: "root=LABEL=SSD" };
        assert_eq!(check_command_line(&partitions(), cmdline, true), None);
    }

    #[test]
    fn entries_of_fstab_are_compared_one_by_one() {
        let boot = "LABEL=BOOTFS /boot/firmware vfat defaults 0 2\n";
        let says = |text: &str| table(&format!("{text}\n{boot}"));
        for good in [
            "LABEL=\"ROOTFS\" / ext4 defaults 0 1",
            "# LABEL=PIROOT / ext4 defaults 0 1",
            "tmpfs /tmp tmpfs size=64M 0 0",
            "LABEL=STICK /mnt/stick auto noauto,user 0 0",
            "//server/share /mnt/share cifs defaults 0 0",
            "/dev/mmcblk0p2 / auto defaults 0 1",
            "LABEL=DATA /srv/data/ ext4 defaults 0 2",
        ] {
            assert_eq!(says(good), [], "{good}");
        }
        for (bad, fatal, say) in [
            (
                "LABEL=PIROOT / ext4 defaults 0 1",
                true,
                "line 1 mounts LABEL=PIROOT on `/`, which the image does",
            ),
            ("LABEL=BOOTFS / vfat defaults 0 1", true, "for which it has the partition LABEL=ROOTFS"),
            ("LABEL=ROOTFS / btrfs defaults 0 1", true, "as btrfs; the partition is ext4"),
            ("LABEL=STICK /mnt/stick ext4 defaults 0 0", false, "which the image does not have"),
        ] {
            let found = says(bad);
            assert!(found.len() == 1 && found[0].0 == fatal && found[0].1.contains(say), "{bad}: {found:?}");
        }
    }

    #[test]
    fn a_partition_that_nothing_mounts_is_told() {
        let fstab = ImageText { path: "/etc/fstab", text: "LABEL=ROOTFS / ext4 defaults 0 1\n" };
        let found = check_fstab(&partitions(), fstab, |_| false, false);
        let says: Vec<&str> = found.iter().map(|found| found.message.as_str()).collect();
        assert_eq!(found.iter().filter(|found| found.fatal).count(), 0);
        assert!(says.len() == 2 && says[1].contains("does not mount `/data`"), "{says:?}");
        assert_eq!(table("# UNCONFIGURED FSTAB FOR BASE SYSTEM\n"), []);
        assert_eq!(table(""), []);
    }
}
