//! `pib format` on real loop devices: the layout of a project, read by others' tools, and the guards of `pib flash`.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use pib_disk::{DiskImage, FoundFilesystem, TableKind};

use super::flash::{Card, OLD, text};
use crate::skip::{lacks, skip};

const MIB: u64 = 1 << 20;

/// A project whose root grows, with swap.
fn project(table: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let manifest = format!(
        "[project]\nname = \"box\"\nos = \"debian\"\nrelease = \"trixie\"\nboard = \"rpi4\"\narch = \"arm64\"\n\n\
         [image]\ntable = \"{table}\"\n\
         partition = [\n\
           {{ label = \"BOOT\", filesystem = \"vfat\", mount = \"/boot/firmware\", size = \"48MiB\" }},\n\
           {{ label = \"SWAP\", filesystem = \"swap\", size = \"16MiB\" }},\n\
           {{ label = \"ROOT\", filesystem = \"ext4\", mount = \"/\", grow = true }},\n]\n"
    );
    std::fs::write(folder.path().join("pib.toml"), manifest).unwrap();
    folder
}

fn format(project: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pib"));
    command.env("PIB_CACHE_DIR", project.join("cache")).env_remove("PIB_HOST_ROOT").env("NO_COLOR", "1");
    command.arg("format").args(args).current_dir(project).stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn fails(project: &Path, args: &[&str], code: i32, says: &str) {
    let output = format(project, args);
    let text = text(&output);
    assert!(output.status.code() == Some(code) && text.contains(says), "{args:?}: {} {text}", output.status);
}

#[test]
fn a_card_is_laid_out_to_its_end() {
    for (table, kind) in [("mbr", TableKind::Mbr), ("gpt", TableKind::Gpt)] {
        let Some(card) = Card::new(256 * MIB) else { return };
        let project = project(table);
        let output = format(project.path(), &[card.name(), "--yes"]);
        let said = text(&output);
        assert!(output.status.success() && said.contains("written and read back"), "{said}");
        let image = DiskImage::open(File::open(card.file.path()).unwrap()).unwrap();
        assert_eq!(image.table(), kind);
        let [boot, swap, root] = image.partitions() else { panic!("{:?}", image.partitions()) };
        assert_eq!((boot.label.as_deref(), boot.filesystem), (Some("BOOT"), FoundFilesystem::Vfat));
        assert_eq!((swap.filesystem, root.label.as_deref()), (FoundFilesystem::Swap, Some("ROOT")));
        assert!(root.region.offset + root.region.size > 246 * MIB, "{root:?}");
        for (partition, checker) in [(boot, "fsck.vfat"), (root, "e2fsck")] {
            assert_eq!(partition.fault, None);
            if lacks(&[checker]) {
                continue;
            }
            let (offset, size) = (partition.region.offset.to_string(), partition.region.size.to_string());
            let looped = Command::new("losetup")
                .args(["-f", "--show", "-o", &offset, "--sizelimit", &size])
                .arg(card.file.path())
                .output()
                .unwrap();
            let device = String::from_utf8(looped.stdout).unwrap();
            let flags = if checker == "e2fsck" { "-fn" } else { "-n" };
            let checked = Command::new(checker).args([flags, device.trim()]).output().unwrap();
            _ = Command::new("losetup").args(["--detach", device.trim()]).output();
            assert!(checked.status.success(), "{checked:?}");
        }
        let json = format(project.path(), &[card.name(), "--yes", "--json"]);
        let report: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!((&report["table"], &report["partitions"][2]["label"]), (&table.into(), &"ROOT".into()));
    }
}

#[test]
fn what_flash_refuses_is_not_laid_out() {
    let project = project("gpt");
    let folder = project.path();
    fails(folder, &["/dev/null", "--yes"], 2, "not a block device");
    let empty = tempfile::tempdir().unwrap();
    let Some(small) = Card::new(48 * MIB) else { return };
    fails(empty.path(), &[small.name(), "--yes"], 3, "pib.toml");
    fails(folder, &[small.name(), "--yes"], 7, "the card has 48.0 MiB");
    fails(folder, &[small.name()], 7, "the card has 48.0 MiB");
    let first = std::fs::read(small.file.path()).unwrap();
    assert!(first.iter().all(|byte| *byte == OLD), "something was written");
    let Some(card) = Card::new(128 * MIB) else { return };
    fails(folder, &[card.name()], 2, "nobody to ask");
    let made = Command::new("mkfs.ext4").args(["-q", "-F", card.name()]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let point = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").arg(card.name()).arg(point.path()).output().unwrap();
    if mounted.status.success() {
        fails(folder, &[card.name(), "--yes"], 7, "is mounted on");
        assert!(Command::new("umount").arg(point.path()).output().unwrap().status.success());
    } else {
        skip("this user may not mount");
    }
}
