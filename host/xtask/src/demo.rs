//! The main job on the example project, up to a checked image.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::run::{Outcome, cache, capture, cargo, command, root, show};

/// Builds pib and the example project, and has the image judged by tools that pib does not use.
pub(crate) fn demo() -> Outcome {
    let since = Instant::now();
    show(&mut cargo(&["build", "--locked", "-p", "pib"]))?;
    let project = project()?;
    let pib = root().join("target/debug/pib");
    let build = || {
        let mut build = command(&pib.to_string_lossy(), &["build"]);
        show(build.current_dir(&project).env("PIB_CACHE_DIR", cache()))
    };
    build()?;
    let image = project.join("target/router-rpi4-arm64.img");
    let report = check(&image, &project.join("keys/demo.pub"))?;
    eprintln!("{report}");
    let again = Instant::now();
    build()?;
    eprintln!("Nothing changed: the second build took {:.2} s.", again.elapsed().as_secs_f64());
    eprintln!("The whole demo took {} s. The image: {}", since.elapsed().as_secs(), image.display());
    eprintln!("Log in to the device with: ssh -i {} root@router", project.join("keys/demo").display());
    Ok(())
}

/// Copies the example to `target/demo/router` and makes a key for it; both stay for the next run.
fn project() -> Outcome<PathBuf> {
    let project = root().join("target/demo/router");
    let fail = |error| format!("could not copy the example project to {}: {error}", project.display());
    fs::create_dir_all(project.join("keys")).map_err(fail)?;
    for name in ["pib.toml", "pib.lock"] {
        let from = root().join("host/examples/router").join(name);
        if from.exists() {
            fs::copy(&from, project.join(name)).map_err(fail)?;
        }
    }
    let key = project.join("keys/demo");
    if !key.exists() {
        let path = key.to_string_lossy();
        capture(&mut command("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", &path]))?;
    }
    Ok(project)
}

/// A partition as the table of the image has it: where it starts and how long it is, in bytes.
struct Partition {
    start: u64,
    length: u64,
}

/// Checks both file systems and what must be and must not be in them; returns a summary.
fn check(image: &Path, key: &Path) -> Outcome<String> {
    let fail = |error| format!("could not read {}: {error}", image.display());
    let table = partitions(image)?;
    let [boot, root] = table.as_slice() else {
        return Err(format!("{} has {} partitions, expected 2", image.display(), table.len()));
    };
    let parts = image.with_extension("parts");
    fs::create_dir_all(&parts).map_err(fail)?;
    let boot = extract(image, boot, &parts.join("boot.fat"))?;
    let root = extract(image, root, &parts.join("root.ext4"))?;
    let mut lines = vec![format!("Checked {}:", image.display())];
    let mut judge = |what: &str, outcome: Outcome<String>| -> Outcome {
        outcome.map_err(|error| format!("{what}: {error}"))?;
        lines.push(format!("  ok {what}"));
        Ok(())
    };
    judge("fsck.vfat -n", capture(&mut command("fsck.vfat", &["-n", &boot])))?;
    judge("e2fsck -fn", capture(&mut command("e2fsck", &["-fn", &root])))?;
    let wanted = fs::read_to_string(key).map_err(fail)?;
    for (path, must_have) in [
        ("/etc/watchdog.conf", "watchdog-device"),
        ("/root/.ssh/authorized_keys", wanted.trim()),
        ("/etc/hostname", "router"),
    ] {
        let text = debugfs(&root, &format!("cat {path}"));
        let text = text.and_then(|text| if text.contains(must_have) { Ok(text) } else { Err(text) });
        judge(&format!("{path} has {must_have:.20}"), text)?;
    }
    for path in ["/usr/local/bin/ro", "/usr/local/bin/rw"] {
        judge(&format!("{path} is there"), exists(&root, path, true))?;
    }
    for path in [
        "/.dockerenv",
        "/usr/bin/qemu-aarch64-static",
        "/usr/bin/qemu-arm-static",
        "/etc/ssh/ssh_host_rsa_key",
        "/etc/ssh/ssh_host_ed25519_key",
        "/etc/ssh/ssh_host_ecdsa_key",
    ] {
        judge(&format!("{path} is not there"), exists(&root, path, false))?;
    }
    let machine_id = debugfs(&root, "cat /etc/machine-id");
    let machine_id = machine_id.and_then(|text| if text.is_empty() { Ok(text) } else { Err(text) });
    judge("/etc/machine-id is empty", machine_id)?;
    let files = capture(&mut command("mdir", &["-b", "-i", &boot, "::/"]))?;
    let kernel = files.contains("kernel8.img") || files.contains("vmlinuz");
    judge("the boot partition has a kernel", if kernel { Ok(files) } else { Err(files) })?;
    fs::remove_dir_all(&parts).map_err(fail)?;
    Ok(lines.join("\n"))
}

fn debugfs(image: &str, request: &str) -> Outcome<String> {
    let text = capture(command("debugfs", &["-R", request, image]).env("DEBUGFS_PAGER", "cat"))?;
    // debugfs succeeds whatever happens, and says so on standard error, which is not part of the text.
    Ok(text)
}

fn exists(image: &str, path: &str, wanted: bool) -> Outcome<String> {
    let text = debugfs(image, &format!("stat {path}"))?;
    if text.contains("Inode:") == wanted { Ok(text) } else { Err(format!("expected the opposite: {text}")) }
}

/// Reads the four entries of a master boot record.
fn partitions(image: &Path) -> Outcome<Vec<Partition>> {
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

/// Copies a partition to a file of its own, which is what the tools that judge it take.
fn extract(image: &Path, partition: &Partition, to: &Path) -> Outcome<String> {
    use std::io::{Read as _, Seek as _};
    let fail = |error| format!("could not copy a partition of {}: {error}", image.display());
    let mut file = fs::File::open(image).map_err(fail)?;
    file.seek(std::io::SeekFrom::Start(partition.start)).map_err(fail)?;
    let mut out = fs::File::create(to).map_err(fail)?;
    std::io::copy(&mut file.take(partition.length), &mut out).map_err(fail)?;
    Ok(to.to_string_lossy().into_owned())
}
