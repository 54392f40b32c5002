//! Judges an image of the example project by tools that pib does not use: e2fsck, debugfs, fsck.vfat, mtools.
//!
//! The tests of the main job include this file, so that demo and tests ask for the same.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the image must have.
pub(crate) struct Wanted<'a> {
    /// The device's name.
    pub(crate) hostname: &'a str,
    /// The line in root's authorized_keys.
    pub(crate) key: &'a str,
    /// The watchdog's timeout in seconds.
    pub(crate) watchdog_timeout: u32,
}

/// The partitions of an image as files of their own, which is what the judging tools take.
pub(crate) struct Parts {
    /// The FAT boot partition.
    pub(crate) boot: PathBuf,
    /// The ext4 root.
    pub(crate) root: PathBuf,
}

/// Checks both file systems, and what must be and must not be in them; returns what was found in order.
pub(crate) fn check(image: &Path, wanted: &Wanted<'_>) -> Result<Vec<String>, String> {
    let folder = image.with_extension("parts");
    fs::create_dir_all(&folder).map_err(|error| format!("could not create {}: {error}", folder.display()))?;
    let parts = extract(image, &folder)?;
    let found = check_parts(&parts, wanted);
    fs::remove_dir_all(&folder).map_err(|error| format!("could not remove {}: {error}", folder.display()))?;
    found
}

fn check_parts(parts: &Parts, wanted: &Wanted<'_>) -> Result<Vec<String>, String> {
    let (boot, root) = (parts.boot.to_string_lossy(), parts.root.to_string_lossy());
    tool("fsck.vfat", &["-n", &boot])?;
    tool("e2fsck", &["-fn", &root])?;
    let mut found = vec!["fsck.vfat -n".to_owned(), "e2fsck -fn".to_owned()];
    let timeout = format!("watchdog-timeout = {}", wanted.watchdog_timeout);
    for (path, text) in [
        ("/etc/watchdog.conf", timeout.as_str()),
        ("/root/.ssh/authorized_keys", wanted.key),
        ("/etc/hostname", wanted.hostname),
    ] {
        let content = debugfs(&root, &format!("cat {path}"))?;
        if !content.contains(text) {
            return Err(format!("{path} does not have `{text}` but: {content}"));
        }
        found.push(format!("{path} has what it must"));
    }
    for path in ["/usr/local/bin/ro", "/usr/local/bin/rw"] {
        must(&root, path, true, &mut found)?;
    }
    for path in [
        "/.dockerenv",
        "/usr/bin/qemu-aarch64-static",
        "/usr/bin/qemu-arm-static",
        "/etc/ssh/ssh_host_rsa_key",
        "/etc/ssh/ssh_host_ecdsa_key",
        "/etc/ssh/ssh_host_ed25519_key",
        "/usr/sbin/policy-rc.d",
        "/var/lib/pib",
    ] {
        must(&root, path, false, &mut found)?;
    }
    let id = debugfs(&root, "cat /etc/machine-id")?;
    if !id.is_empty() {
        return Err(format!("/etc/machine-id is not empty: {id}"));
    }
    must(&root, "/etc/machine-id", true, &mut found)?;
    let files = tool("mdir", &["-b", "-i", &boot, "::/"])?;
    for name in ["config.txt", "cmdline.txt", "start4.elf", "bcm2711-rpi-4-b.dtb", "vmlinuz-", "initrd.img-"]
    {
        if !files.contains(name) {
            return Err(format!("the boot partition has no {name}: {files}"));
        }
    }
    found.push("the boot partition has firmware, kernel and initramfs".to_owned());
    Ok(found)
}

fn must(root: &str, path: &str, be: bool, found: &mut Vec<String>) -> Result<(), String> {
    let text = debugfs(root, &format!("stat {path}"))?;
    let not = if be { "" } else { " not" };
    if text.contains("Inode:") != be {
        return Err(format!("{path} must{not} be in the image"));
    }
    found.push(format!("{path} is{not} there"));
    Ok(())
}

/// Copies the two partitions of an image to files in `folder`.
pub(crate) fn extract(image: &Path, folder: &Path) -> Result<Parts, String> {
    let table = partitions(image)?;
    let [boot, root] = table.as_slice() else {
        return Err(format!("{} has {} partitions, expected 2", image.display(), table.len()));
    };
    let parts = Parts { boot: folder.join("boot.fat"), root: folder.join("root.ext4") };
    copy(image, boot, &parts.boot)?;
    copy(image, root, &parts.root)?;
    Ok(parts)
}

/// Runs a tool of the system, and returns what it printed to standard output.
pub(crate) fn tool(program: &str, args: &[&str]) -> Result<String, String> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(args).env("PATH", path).env("DEBUGFS_PAGER", "cat").output();
    let output = output
        .map_err(|error| format!("could not run {program}: {error}; `cargo xtask setup` installs it"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(printed);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {} failed ({}):\n{printed}{errors}", args.join(" "), output.status))
}

/// Asks debugfs, which succeeds whatever happens and tells problems on standard error only.
pub(crate) fn debugfs(image: &str, request: &str) -> Result<String, String> {
    tool("debugfs", &["-R", request, image])
}

/// A partition as the table of the image has it: where it starts and how long it is, in bytes.
struct Partition {
    start: u64,
    length: u64,
}

/// Reads the four entries of a master boot record.
fn partitions(image: &Path) -> Result<Vec<Partition>, String> {
    use std::io::Read as _;
    let fail = |error| format!("could not read {}: {error}", image.display());
    let mut sector = [0; 512];
    fs::File::open(image).and_then(|mut file| file.read_exact(&mut sector)).map_err(fail)?;
    if sector[510..] != [0x55, 0xaa] {
        return Err(format!("{} has no master boot record", image.display()));
    }
    let number = |at: usize| {
        u64::from(u32::from_le_bytes([sector[at], sector[at + 1], sector[at + 2], sector[at + 3]]))
    };
    let entries = (0..4).map(|index| 446 + 16 * index);
    let used = entries.filter(|at| sector[at + 4] != 0);
    Ok(used.map(|at| Partition { start: number(at + 8) * 512, length: number(at + 12) * 512 }).collect())
}

fn copy(image: &Path, partition: &Partition, to: &Path) -> Result<(), String> {
    use std::io::{Read as _, Seek as _};
    let fail = |error| format!("could not copy a partition of {}: {error}", image.display());
    let mut file = fs::File::open(image).map_err(fail)?;
    file.seek(std::io::SeekFrom::Start(partition.start)).map_err(fail)?;
    let mut out = fs::File::create(to).map_err(fail)?;
    std::io::copy(&mut file.take(partition.length), &mut out).map(drop).map_err(fail)
}
