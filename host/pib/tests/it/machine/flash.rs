//! `pib flash` on real loop devices: beside `bmaptool`, killed at random moments, and where it must refuse.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use pib_disk::{BlockMap, Identity};
use pib_event::Silent;
use pib_plan::id::Digest;
use pib_plan::layout::{Layout, PartitionSize};
use pib_plan::manifest::project::Compression;
use pib_plan::size::ByteSize;

use crate::skip::{lacks, skip};

/// The file of settings.
const FORM: &str = pib_plan::settings::FILE_NAME;
/// How often a flash is killed.
const KILLS: u64 = 50;
/// What the cards hold before.
pub(super) const OLD: u8 = 0xa5;

/// A loop device with a file of its own; both are gone when it is dropped.
pub(super) struct Card {
    device: PathBuf,
    pub(super) file: tempfile::NamedTempFile,
}

impl Card {
    /// Makes a card that is full of other bytes; none where this machine lets nobody make loop devices.
    #[track_caller]
    pub(super) fn new(size: u64) -> Option<Self> {
        if lacks(&["losetup"]) {
            return None;
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::copy(&mut std::io::repeat(OLD).take(size), file.as_file_mut()).unwrap();
        let made = Command::new("losetup").args(["--find", "--show"]).arg(file.path()).output().unwrap();
        if !made.status.success() {
            skip("this user may not make loop devices");
            return None;
        }
        let device = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim());
        Some(Self { device, file })
    }

    pub(super) fn name(&self) -> &str {
        self.device.to_str().unwrap()
    }

    /// Returns whether it holds the image's blocks.
    fn holds(&self, image: &Image) -> bool {
        let (card, image_file) = (File::open(self.file.path()).unwrap(), File::open(&image.path).unwrap());
        image.map.byte_ranges().all(|(start, end)| {
            let read = |file: &File| {
                let mut bytes = vec![0; (end - start) as usize];
                file.read_exact_at(&mut bytes, start).unwrap();
                bytes
            };
            read(&card) == read(&image_file)
        })
    }

    fn has_partition_table(&self) -> bool {
        let mut end = [0; 2];
        File::open(self.file.path()).unwrap().read_exact_at(&mut end, 510).unwrap();
        end == [0x55, 0xaa]
    }

    fn fill(&self) {
        let mut device = OpenOptions::new().write(true).open(&self.device).unwrap();
        std::io::copy(&mut std::io::repeat(OLD).take(image_size()), &mut device).unwrap();
        device.sync_all().unwrap();
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        _ = Command::new("losetup").arg("--detach").arg(&self.device).output();
    }
}

/// An image with its map, and its compressed forms.
pub(super) struct Image {
    folder: tempfile::TempDir,
    pub(super) path: PathBuf,
    pub(super) map: BlockMap,
    root: u64,
}

pub(super) fn image_size() -> u64 {
    128 << 20
}

/// Writes an image as a build does: some files that do not compress well, and much free room.
pub(super) fn image() -> Image {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("router.img");
    let mut layout = Layout::default_for("debian");
    layout.partitions[0].size = PartitionSize::Fixed(ByteSize(48 << 20));
    layout.partitions[1].size = PartitionSize::Fixed(ByteSize(64 << 20));
    let mut tar = tar::Builder::new(Vec::new());
    for number in 0..24_u32 {
        let bytes: Vec<u8> = (0..1_u32 << 20)
            .map(|at| (at.wrapping_add(number << 20).wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_600_000_000);
        let name =
            if number % 4 == 0 { format!("boot/firmware/k{number}") } else { format!("srv/f{number}") };
        tar.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    let form = [b"# hostname = x\n".repeat(10), vec![b'\n'; 16_384 - 150]].concat();
    let mut header = tar::Header::new_gnu();
    header.set_size(form.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_600_000_000);
    tar.append_data(&mut header, format!("boot/firmware/{FORM}"), form.as_slice()).unwrap();
    let identity = Identity {
        hostname: "pi".to_owned(),
        epoch: 1_700_000_000,
        seed: Digest::of(b"seed"),
        mount_points: std::collections::BTreeSet::new(),
    };
    let output = pib_file::Output::at(&path).unwrap();
    let new =
        pib_disk::write_image(&*tar.into_inner().unwrap(), &layout, &identity, &output, &Silent).unwrap();
    let map = new.map.clone();
    let info = new.keep().unwrap();
    std::fs::write(folder.path().join("router.img.bmap"), map.to_xml()).unwrap();
    Image { folder, path, map, root: info.partitions[1].region.offset }
}

fn flash(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pib"));
    let cache = std::env::temp_dir().join("pib-flash-tests");
    command.env("PIB_CACHE_DIR", cache).env_remove("PIB_HOST_ROOT").env("NO_COLOR", "1");
    command.arg("flash").args(args).stdin(Stdio::null());
    command
}

pub(super) fn text(output: &Output) -> String {
    let whole = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8(whole)
        .unwrap()
        .split_whitespace()
        .filter(|word| *word != "│")
        .collect::<Vec<_>>()
        .join(" ")
}

#[track_caller]
fn succeeds(args: &[&str]) -> String {
    let output = flash(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", text(&output));
    text(&output)
}

#[track_caller]
pub(super) fn fails(args: &[&str], code: i32, says: &str) {
    let output = flash(args).output().unwrap();
    let text = text(&output);
    assert!(
        output.status.code() == Some(code) && text.contains(says),
        "{args:?}: {:?} {text}",
        output.status
    );
}

#[test]
fn a_card_gets_what_bmaptool_gives_it_and_its_file_systems_are_whole() {
    let image = image();
    let Some(card) = Card::new(image_size()) else { return };
    let name = image.path.to_str().unwrap();
    let said = succeeds(&[name, card.name(), "--yes"]);
    assert!(
        card.holds(&image) && card.has_partition_table() && said.contains("Read back and compared"),
        "{said}"
    );
    // What was on the card before must not matter to the file system: all that it uses was written.
    let offset = image.root.to_string();
    let looped = Command::new("losetup")
        .args(["-f", "--show", "-o", &offset, "--sizelimit", "67108864"])
        .arg(card.file.path())
        .output()
        .unwrap();
    let root = String::from_utf8(looped.stdout).unwrap();
    let checked = Command::new("e2fsck").args(["-fn", root.trim()]).output().unwrap();
    _ = Command::new("losetup").args(["--detach", root.trim()]).output();
    assert!(checked.status.success(), "{checked:?}");
    let said = succeeds(&[name, card.name(), "--yes", "--delta"]);
    assert!(said.contains("nothing was written"), "{said}");
    for (how, end) in [(Compression::Zstd, "zst"), (Compression::Xz, "xz")] {
        card.fill();
        let packed = image.folder.path().join(format!("router.img.{end}"));
        pib_disk::compress(File::open(&image.path).unwrap(), File::create(&packed).unwrap(), how, 2).unwrap();
        succeeds(&[packed.to_str().unwrap(), card.name(), "--yes"]);
        assert!(card.holds(&image), "{end}");
        assert!(!lacks(&["bmaptool"]));
        card.fill();
        let copied = Command::new("bmaptool").arg("copy").arg(&packed).arg(&card.device).output().unwrap();
        let said = String::from_utf8_lossy(&copied.stderr).into_owned();
        assert!(
            copied.status.success() && said.contains("discovered bmap file") && card.holds(&image),
            "{said}"
        );
    }
}

#[test]
fn a_flash_that_is_killed_fifty_times_ends_with_the_right_bytes() {
    let image = image();
    let Some(card) = Card::new(image_size()) else { return };
    let args = [image.path.to_str().unwrap(), card.name(), "--yes", "--quiet"];
    let mut random = 7_u64;
    for round in 0..KILLS {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut child = flash(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(random % 400));
        let signal = if round % 2 == 0 { "-KILL" } else { "-INT" };
        _ = Command::new("kill").args([signal, &child.id().to_string()]).output();
        child.wait().unwrap();
        // A card that looks whole is whole.
        assert!(!card.has_partition_table() || card.holds(&image), "round {round}");
        if card.has_partition_table() {
            card.fill();
        }
    }
    succeeds(&args[..3]);
    assert!(card.holds(&image) && card.has_partition_table());
}

#[test]
fn the_systems_disk_mounted_ones_and_those_that_are_too_small_are_refused() {
    let image = image();
    let name = image.path.to_str().unwrap();
    // So that nothing can be written whatever happens.
    let wrong = format!("sha256:{}", "0".repeat(64));
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let root = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/"));
    let root = root.and_then(|line| line.split(' ').next()).filter(|path| Path::new(path).exists());
    match root {
        Some(root) => {
            let output = flash(&[name, root, "--yes", "--fixed", "--digest", &wrong]).output().unwrap();
            let text = text(&output);
            let refused =
                text.contains("has the running system") || text.contains("is a partition of the disk");
            assert!(!output.status.success() && refused, "{text}");
        }
        None => skip("the root file system is on no device that can be named"),
    }
    fails(&[name, name, "--yes"], 2, "not a block device");
    fails(&[name, "/dev/null", "--yes"], 2, "not a block device");
    let Some(card) = Card::new(image_size()) else { return };
    fails(&[name, card.name()], 2, "nobody to ask");
    fails(&[name, card.name(), "--yes", "--digest", &wrong], 8, "was asked for");
    fails(&["http://127.0.0.1:9/a.img", card.name(), "--yes"], 2, "needs --digest");
    let made = Command::new("mkfs.ext4").args(["-q", "-F", card.name()]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let point = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").arg(&card.device).arg(point.path()).output().unwrap();
    if mounted.status.success() {
        fails(&[name, card.name(), "--yes"], 7, "is mounted on");
        let unmounted = Command::new("umount").arg(point.path()).output().unwrap();
        assert!(unmounted.status.success());
    } else {
        skip("this user may not mount");
    }
    OpenOptions::new().write(true).open(&card.device).unwrap().write_all(b"LUKS\xba\xbe").unwrap();
    fails(&[name, card.name(), "--yes"], 7, "a LUKS volume");
    let Some(small) = Card::new(100 << 20) else { return };
    fails(&[name, small.name(), "--yes"], 7, "is larger than the device");
    let first = std::fs::read(small.file.path()).unwrap();
    assert!(first.iter().all(|byte| *byte == OLD), "something was written");
}

/// Returns the settings on a card, without the empty lines after them.
fn settings(card: &Card) -> String {
    let image = pib_disk::DiskImage::open(File::open(card.file.path()).unwrap()).unwrap();
    let found = image.placed_file(&image.partitions()[0], FORM, 1 << 20).unwrap().unwrap();
    assert_eq!(found.content.len(), 16_384);
    String::from_utf8(found.content).unwrap().trim_end().to_owned()
}

#[test]
fn settings_are_on_the_card_and_the_image_stays_as_it_is() {
    let image = image();
    let before = Digest::of(&std::fs::read(&image.path).unwrap());
    let Some(card) = Card::new(image_size()) else { return };
    let name = image.path.to_str().unwrap();
    let file = image.folder.path().join("card.txt");
    std::fs::write(&file, "# a card\nhostname = from-the-file\nuser = anna\n").unwrap();
    let word = image.folder.path().join("word");
    std::fs::write(&word, "a = long # word\n").unwrap();
    let word = format!("password=@{}", word.display());
    let args = [name, card.name(), "--yes", "--settings", file.to_str().unwrap(), "--set", &word];
    let said = succeeds(&[&args[..], &["--set", "hostname=pantry"]].concat());
    assert!(said.contains("with settings for hostname, user, password") && !said.contains("long"), "{said}");
    let found = settings(&card);
    assert!(found.ends_with("hostname = pantry\nuser = anna\npassword = a = long # word"), "{found}");
    // Another card of the same image, from a compressed file, and written by what differs.
    let packed = image.folder.path().join("router.img.zst");
    pib_disk::compress(
        File::open(&image.path).unwrap(),
        File::create(&packed).unwrap(),
        Compression::Zstd,
        2,
    )
    .unwrap();
    let args = [packed.to_str().unwrap(), card.name(), "--yes", "--delta", "--set", "hostname=cellar"];
    let said = succeeds(&args);
    assert!(settings(&card).ends_with("hostname = cellar") && said.contains("Read back"), "{said}");
    let said = succeeds(&args);
    assert!(said.contains("nothing was written"), "{said}");
    // Without settings, the card is the image's again.
    succeeds(&[name, card.name(), "--yes", "--delta"]);
    assert!(card.holds(&image) && settings(&card).starts_with("# hostname = x"));
    assert_eq!(Digest::of(&std::fs::read(&image.path).unwrap()), before);
}

#[test]
fn settings_that_cannot_be_written_are_told_before_anything_is() {
    let image = image();
    let Some(card) = Card::new(image_size()) else { return };
    let name = image.path.to_str().unwrap();
    let with = |set: &str, says: &str| fails(&[name, card.name(), "--yes", "--set", set], 2, says);
    with("hostnam=x", "Did you mean `hostname`?");
    with("hostname=a b", "cannot have this value");
    with("password=12345678", "needs `user`");
    with("hostname", "needs a setting and its value");
    let digest = format!("sha256:{}", "0".repeat(64));
    let address =
        ["http://127.0.0.1:9/a.img", card.name(), "--yes", "--digest", &digest, "--set", "hostname=x"];
    fails(&address, 2, "from an address");
    let keys = image.folder.path().join("keys");
    std::fs::write(&keys, format!("ssh-rsa AAAA{}\n", "A".repeat(7000)).repeat(5)).unwrap();
    with(&format!("authorized-key=@{}", keys.display()), "do not fit");
    let file = image.folder.path().join("card.txt");
    std::fs::write(&file, "hostname = x\npassword: geheim\n").unwrap();
    let output = flash(&[name, card.name(), "--yes", "--settings", file.to_str().unwrap()]).output().unwrap();
    let said = text(&output);
    assert!(output.status.code() == Some(3) && said.contains("not a setting"), "{said}");
    // An image whose stages read none, and one without a FAT partition.
    let bytes = std::fs::read(&image.path).unwrap();
    let short: &[u8] = b"PIB-SE~1TXT";
    let at = bytes.windows(short.len()).position(|window| window == short).unwrap();
    let mut other = bytes.clone();
    other[at - 32..at + 11].fill(0);
    other[at] = 0xe5;
    other[at - 32] = 0xe5;
    let plain = image.folder.path().join("other.img");
    std::fs::write(&plain, other).unwrap();
    let args = [plain.to_str().unwrap(), card.name(), "--yes", "--set", "hostname=x"];
    fails(&args, 2, "Add the stage with `pib add firstboot`");
    std::fs::write(&plain, vec![0; 1 << 20]).unwrap();
    fails(&args, 2, "has no FAT partition");
    assert!(
        std::fs::read(card.file.path()).unwrap().iter().all(|byte| *byte == OLD),
        "something was written"
    );
}
