//! `pib flash` on cards that fail at a sector, forget what they took, or have less room than they say. The kernel sees them as it
//! sees any: they are loop devices on a file that QEMU's storage daemon serves through FUSE.

use std::fs::{self, File};
use std::os::linux::fs::MetadataExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::flash::{Image, fails, image, image_size};
use crate::skip::{lacks, skip};

const SECTOR: u64 = 512;
/// What the firmware reads first, which a card gets last.
const HEAD: u64 = 1 << 20;

/// A file system that is unmounted when this is dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// Mounts one in a new folder; none where this user may not.
    #[track_caller]
    fn new(kind: &str, options: &str, folder: PathBuf) -> Option<Self> {
        fs::create_dir(&folder).unwrap();
        let mut mount = Command::new("mount");
        let made = mount.args(["-t", kind, "-o", options, kind]).arg(&folder).output().unwrap();
        if !made.status.success() {
            skip(&format!("this user or kernel cannot mount a {kind}"));
            return None;
        }
        Some(Self(folder))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        _ = Command::new("umount").arg(&self.0).output();
    }
}

/// A file that QEMU's storage daemon serves; it ends when this is dropped.
struct Served {
    daemon: Child,
    path: PathBuf,
}

impl Served {
    /// Serves a node of QEMU's as `card` in a folder, one request after the other: the daemon mixes up those that it has at once.
    fn new(node: &Value, folder: &Path, fuse: &Mounted) -> Self {
        let path = folder.join("card");
        File::create(&path).unwrap();
        let export = format!("type=fuse,id=export,node-name=card,mountpoint={},writable=on", path.display());
        let mut daemon = Command::new("qemu-storage-daemon");
        let daemon = daemon.args(["--blockdev", &node.to_string(), "--export", &export]).spawn().unwrap();
        let mut served = Self { daemon, path };
        let since = Instant::now();
        while fs::metadata(&served.path).unwrap().len() != image_size() {
            let ended = served.daemon.try_wait().unwrap();
            assert!(ended.is_none() && since.elapsed() < Duration::from_secs(60), "not served: {ended:?}");
            std::thread::yield_now();
        }
        let connection = rustix::fs::minor(fs::metadata(&served.path).unwrap().st_dev());
        fs::write(fuse.0.join(connection.to_string()).join("max_background"), "1").unwrap();
        served
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It unmounts the file when it is told to end, and not when it is killed.
        _ = Command::new("kill").arg(self.daemon.id().to_string()).output();
        _ = self.daemon.wait();
    }
}

/// A loop device, which is detached when this is dropped.
struct Looped(String);

impl Looped {
    /// Makes one of a file, past the kernel's cache, which would remember for the card; none where this user may not.
    #[track_caller]
    fn new(file: &Path) -> Option<Self> {
        let mut losetup = Command::new("losetup");
        let made = losetup.args(["--find", "--show", "--direct-io=on"]).arg(file).output().unwrap();
        if !made.status.success() {
            skip("this user may not make loop devices");
            return None;
        }
        Some(Self(String::from_utf8(made.stdout).unwrap().trim().to_owned()))
    }
}

impl Drop for Looped {
    fn drop(&mut self) {
        _ = Command::new("losetup").args(["--detach", &self.0]).output();
    }
}

/// Returns the beginning of a sector in the middle of what is written of the image, in bytes.
fn middle(image: &Image) -> u64 {
    let long: Vec<(u64, u64)> =
        image.map.byte_ranges().filter(|(start, end)| end - start > 2 << 20).collect();
    let (start, end) = long[long.len() / 2];
    (start + (end - start) / 2) / SECTOR * SECTOR + SECTOR
}

fn has_partition_table(disk: &Path) -> bool {
    let mut end = [0; 2];
    File::open(disk).unwrap().read_exact_at(&mut end, SECTOR - 2).unwrap();
    end == [0x55, 0xaa]
}

#[test]
fn a_card_that_fails_forgets_or_has_less_room_than_it_says_is_told_with_the_offset() {
    if lacks(&["losetup", "qemu-storage-daemon"]) {
        return;
    }
    let image = image();
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let Some(fuse) = Mounted::new("fusectl", "nosuid", folder.join("fuse")) else { return };
    let flash = |file: &Path, says: &str| {
        let Some(card) = Looped::new(file) else { return };
        fails(&[image.path.to_str().unwrap(), &card.0, "--yes"], 7, says);
    };
    let bad = middle(&image);
    let disk = folder.join("disk");
    for (transfer, action) in [("write", "write to"), ("read", "read back")] {
        File::create(&disk).unwrap().set_len(image_size()).unwrap();
        let error = json!({
            "event": "none", "iotype": transfer, "sector": bad / SECTOR, "errno": 5, "once": false,
        });
        let file = json!({ "driver": "file", "filename": disk });
        let faulty = json!({ "driver": "blkdebug", "image": file, "inject-error": [error] });
        let card = json!({ "driver": "raw", "node-name": "card", "file": faulty });
        let served = Served::new(&card, folder, &fuse);
        flash(&served.path, &format!("could not {action} the device at byte {bad}"));
        assert!(!has_partition_table(&disk), "{transfer}");
    }

    // It takes everything and gives back zeros.
    let content = fs::read(&image.path).unwrap();
    let first = HEAD + content[HEAD as usize..].iter().position(|byte| *byte != 0).unwrap() as u64;
    let forgets = json!({
        "driver": "null-co", "node-name": "card", "size": image_size(), "read-zeroes": true,
    });
    let served = Served::new(&forgets, folder, &fuse);
    flash(
        &served.path,
        &format!("does not hold what was written to it: the first difference is at byte {first}"),
    );
    drop(served);

    let Some(small) = Mounted::new("tmpfs", "size=16m", folder.join("small")) else { return };
    let disk = small.0.join("disk");
    File::create(&disk).unwrap().set_len(image_size()).unwrap();
    flash(&disk, "could not write to the device at byte ");
    assert!(!has_partition_table(&disk));
}
