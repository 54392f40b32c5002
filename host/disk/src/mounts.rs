//! Compares what the image's own files say of its partitions with the partitions that it gets.

use std::fs::File;
use std::io::Read as _;

use pib_event::{Reporter, ReporterExt as _};
use pib_plan::layout::{Filesystem, Layout, PartitionSpec, PartitionTable};
use pib_plan::mounts::{self, ImageText, Mismatch, NamedPartition};

use crate::error::DiskError;
use crate::export::reader;
use crate::identity::{Identity, uuid_text};
use crate::tree::{Kind, Tree};
use crate::{erofs, ext4, fat, gpt, mbr, swap};

/// The most that is read of a command line or fstab, in bytes; the kernel takes 2048 of the first.
const MAX_TEXT: u64 = 1 << 16;
/// Where units of systemd are, the ones that count most first.
const UNITS: [&str; 3] = ["etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];

/// Checks `trees`, which are those of the layout's partitions. What harms nothing else is reported as a warning.
///
/// # Errors
/// When the device would not find its root, or not mount what the layout has a partition for.
pub(super) fn check(
    layout: &Layout,
    trees: &[Tree],
    identity: &Identity,
    spool: &File,
    reporter: &dyn Reporter,
) -> Result<(), DiskError> {
    let partitions: Vec<NamedPartition> = layout
        .partitions
        .iter()
        .enumerate()
        .map(|(index, spec)| named(layout, index, spec, identity))
        .collect();
    let mut found = Vec::new();
    for (spec, tree) in layout.partitions.iter().zip(trees) {
        let seen = layout.partitions.iter().map(|other| Layout::sees(spec.slot, other.slot));
        let partitions: Vec<NamedPartition> =
            partitions.iter().zip(seen).filter(|(_, seen)| *seen).map(|(part, _)| part.clone()).collect();
        if spec.filesystem == Filesystem::Vfat
            && let Some(text) = text(tree, "cmdline.txt", spool)?
        {
            let path = format!("{}/cmdline.txt", spec.mount);
            let cmdline = ImageText { path: &path, text: &text };
            found.extend(mounts::check_command_line(&partitions, cmdline, layout.foreign_root));
        }
        if spec.mount == "/"
            && let Some(text) = text(tree, "etc/fstab", spool)?
        {
            let fstab = ImageText { path: "/etc/fstab", text: &text };
            let by_unit = |folder: &str| has_unit(tree, folder);
            found.extend(mounts::check_fstab(&partitions, fstab, by_unit, layout.foreign_root));
        }
    }
    let (fatal, harmless): (Vec<Mismatch>, Vec<Mismatch>) = found.into_iter().partition(|found| found.fatal);
    for mismatch in harmless {
        reporter.warn(mismatch.message);
    }
    match fatal.is_empty() {
        true => Ok(()),
        false => Err(DiskError::Mounts {
            mismatches: fatal.into_iter().map(|mismatch| mismatch.message).collect(),
            partitions: partitions
                .iter()
                .map(|part| match &*part.mount {
                    "" => part.device.clone(),
                    mount => format!("{} ({mount})", part.device),
                })
                .collect(),
        }),
    }
}

fn named(layout: &Layout, index: usize, spec: &PartitionSpec, identity: &Identity) -> NamedPartition {
    let uuid = match spec.filesystem {
        Filesystem::Ext4 => ext4::uuid(identity, spec),
        Filesystem::Vfat => fat::uuid(identity, spec),
        Filesystem::Swap => swap::uuid(identity, spec),
        Filesystem::Erofs => uuid_text(erofs::identifier(identity, spec)),
        Filesystem::Squashfs | Filesystem::None => String::new(),
    };
    let number = layout.number(index);
    let (partuuid, name) = match layout.table {
        PartitionTable::Mbr => (mbr::partuuid(layout, identity, number), None),
        PartitionTable::Gpt => (gpt::partuuid(identity, spec), Some(spec.label.clone())),
    };
    let label = if spec.filesystem.has_label() { spec.label.clone() } else { String::new() };
    let (device, mount, filesystem) = (layout.device(spec), spec.mount.clone(), spec.filesystem.name());
    NamedPartition { device, label, mount, filesystem, uuid, partuuid, number, name }
}

/// Returns the text of a file, where there is one.
pub(crate) fn text(tree: &Tree, path: &str, spool: &File) -> Result<Option<String>, DiskError> {
    let Some(Kind::File(content)) = tree.get(path).map(|node| &node.kind) else { return Ok(None) };
    let mut bytes = Vec::new();
    reader(content, spool).take(MAX_TEXT).read_to_end(&mut bytes).map_err(DiskError::Stream)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Returns whether a unit of systemd mounts a folder: `/var/lib/x` is `var-lib-x.mount` (systemd.unit(5)). A layout's
/// folders have few characters that the name escapes.
fn has_unit(tree: &Tree, folder: &str) -> bool {
    let mut name = String::new();
    for byte in folder.trim_matches('/').bytes() {
        match byte {
            b'/' => name.push('-'),
            b'-' | b'@' | b'+' => name.push_str(&format!("\\x{byte:02x}")),
            other => name.push(char::from(other)),
        }
    }
    UNITS.iter().any(|units| tree.get(&format!("{units}/{name}.mount")).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Node};
    use pib_event::Event;
    use pib_plan::id::Digest;
    use std::sync::Mutex;

    struct Warnings(Mutex<Vec<String>>);

    impl Reporter for Warnings {
        fn report(&self, event: Event) {
            if let Event::Warning { message } = event {
                self.0.lock().unwrap().push(message);
            }
        }
    }

    fn checked(layout: &Layout, files: &[(&str, &str)]) -> (Result<(), DiskError>, Vec<String>) {
        let mut tree = Tree::new();
        for (path, text) in files {
            let content = Content::Bytes(text.as_bytes().to_vec());
            tree.put(path, Node::new(Kind::File(content), 0o644));
        }
        let identity = Identity {
            hostname: "pi".to_owned(),
            epoch: 1,
            seed: Digest::of(b""),
            mount_points: Default::default(),
        };
        let trees = crate::image::split(tree, layout, 1).unwrap();
        let warnings = Warnings(Mutex::default());
        let spool = tempfile::tempfile().unwrap();
        (check(layout, &trees, &identity, &spool, &warnings), warnings.0.into_inner().unwrap())
    }

    #[test]
    fn labels_that_no_partition_has_are_refused_with_file_and_line() {
        let fstab = "LABEL=PIROOT / ext4 defaults 0 1\nLABEL=PIBOOT /boot/firmware vfat defaults 0 2\n";
        let files =
            [("boot/firmware/cmdline.txt", "console=tty0 root=LABEL=PIROOT ro\n"), ("etc/fstab", fstab)];
        let mut layout = Layout::default_for("debian");
        assert!(matches!(checked(&layout, &files), (Ok(()), warnings) if warnings.is_empty()));
        layout.partitions[0].label = "BOOTFS".to_owned();
        layout.partitions[1].label = "ROOTFS".to_owned();
        let error = checked(&layout, &files).0.unwrap_err();
        let text = error.to_string();
        for say in [
            "cmdline.txt` line 1",
            "/etc/fstab` line 1",
            "/etc/fstab` line 2",
            "root=LABEL=PIROOT",
            "LABEL=PIBOOT",
        ] {
            assert!(text.contains(say), "no {say} in {text}");
        }
        layout.foreign_root = true;
        let text = checked(&layout, &files).0.unwrap_err().to_string();
        assert!(!text.contains("PIROOT") && text.contains("PIBOOT"), "{text}");
    }

    #[test]
    fn a_partition_is_mounted_by_fstab_or_by_a_unit() {
        let mut layout = Layout::default_for("debian");
        let data = PartitionSpec {
            mount: "/data".to_owned(),
            label: "DATA".to_owned(),
            ..layout.partitions[1].clone()
        };
        layout.partitions.push(data);
        let boot = ("etc/fstab", "LABEL=PIBOOT /boot/firmware vfat defaults 0 2\n");
        let (outcome, warnings) = checked(&layout, &[boot]);
        assert!(outcome.is_ok() && warnings.len() == 1 && warnings[0].contains("`/data`"), "{warnings:?}");
        let unit = ("usr/lib/systemd/system/data.mount", "[Mount]\n");
        assert!(checked(&layout, &[boot, unit]).1.is_empty());
        assert!(checked(&layout, &[]).1.is_empty(), "without fstab nothing is said of mounts");
    }
}
