//! The main job on the example project, up to a checked image.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::judge::{self, Wanted};
use crate::run::{Outcome, cache, capture, cargo, command, root, show};

/// A device that the example is built for.
struct Device {
    /// The project's name, and its folder's.
    name: &'static str,
    board: &'static str,
    arch: &'static str,
    /// QEMU's program that runs its systems.
    qemu: &'static str,
}

/// The example as it is.
const ROUTER: Device = Device { name: "router", board: "rpi4", arch: "arm64", qemu: "qemu-system-aarch64" };
/// The same for a 32-bit system.
const SMALL: Device = Device { name: "router32", board: "rpi2", arch: "armv7", qemu: "qemu-system-arm" };

/// Builds pib and the example project, has the image judged by tools that pib does not use, and boots it.
///
/// `armv7`, as an argument, does the same for a device of 32 bits, which takes some minutes more.
pub(crate) fn demo(args: &[String]) -> Outcome {
    let since = Instant::now();
    show(&mut cargo(&["build", "--locked", "-p", "pib"]))?;
    let project = project(&ROUTER)?;
    let pib = root().join("target/debug/pib");
    let image = build(&pib, &project, &ROUTER)?;
    let again = Instant::now();
    build(&pib, &project, &ROUTER)?;
    eprintln!("Nothing changed: the second build took {:.2} s.", again.elapsed().as_secs_f64());
    judge(&project, &image, &ROUTER)?;
    flash(&pib, &project, &image)?;
    test_in_qemu(&pib, &project, &ROUTER)?;
    if args.iter().any(|arg| arg == SMALL.arch) {
        small(&pib)?;
    }
    eprintln!("The whole demo took {} s. The image: {}", since.elapsed().as_secs(), image.display());
    eprintln!("Log in to the device with: ssh -i {} root@router", project.join("keys/demo").display());
    Ok(())
}

/// Builds the example for a device of 32 bits, and boots it.
fn small(pib: &Path) -> Outcome {
    let since = Instant::now();
    let project = project(&SMALL)?;
    let image = match build(pib, &project, &SMALL) {
        Err(_) if mirror_moves(&project) => {
            eprintln!("The mirror's lists of updates are not whole: the same without them.");
            without_updates(pib, &project)?;
            build(pib, &project, &SMALL)?
        }
        other => other?,
    };
    judge(&project, &image, &SMALL)?;
    test_in_qemu(pib, &project, &SMALL)?;
    eprintln!("The image for {} took {} s more: {}", SMALL.arch, since.elapsed().as_secs(), image.display());
    Ok(())
}

/// Builds a project and returns where its image is.
fn build(pib: &Path, project: &Path, device: &Device) -> Outcome<PathBuf> {
    let mut build = command(&pib.to_string_lossy(), &["build"]);
    show(build.current_dir(project).env("PIB_CACHE_DIR", cache()))?;
    let Device { name, board, arch, .. } = device;
    Ok(project.join(format!("target/{name}-{board}-{arch}.img")))
}

/// Returns whether the newest build failed since a list of packages was not the signed one: mirrors serve those of updates for
/// armv7 so at times.
fn mirror_moves(project: &Path) -> bool {
    let text = fs::read_to_string(project.join("target/logs/latest.log")).unwrap_or_default();
    text.contains("the mirror is being updated")
}

/// Gives a project an init stage of its own, without the lists of updates.
fn without_updates(pib: &Path, project: &Path) -> Outcome {
    let stage = project.join("stages/__init__");
    let fail = |error| format!("could not change {}: {error}", stage.display());
    fs::create_dir_all(project.join("stages")).map_err(fail)?;
    let from = root().join("stages/__init__").to_string_lossy().into_owned();
    capture(&mut command("cp", &["-rT", &from, &stage.to_string_lossy()]))?;
    let part = stage.join("Dockerfile.debian.part");
    let text = fs::read_to_string(&part).map_err(fail)?;
    let first =
        "sed -i '/^$/,$d; s/ [a-z]*-updates//' /etc/apt/sources.list.d/debian.sources; apt-get update";
    fs::write(&part, text.replace("apt-get update", first)).map_err(fail)?;
    let mut add = command(&pib.to_string_lossy(), &["add", "--path", "stages/__init__"]);
    show(add.current_dir(project).env("PIB_CACHE_DIR", cache()))
}

/// Has an image judged by tools that pib does not use.
fn judge(project: &Path, image: &Path, device: &Device) -> Outcome {
    let key =
        fs::read_to_string(project.join("keys/demo.pub")).map_err(|error| format!("no key: {error}"))?;
    let wanted = Wanted { hostname: device.name, key: key.trim(), watchdog_timeout: 10 };
    eprintln!("Checked {}:", image.display());
    for line in judge::check(image, &wanted)? {
        eprintln!("  ok {line}");
    }
    Ok(())
}

/// Writes the image to a card: a loop device, where this user may make one.
fn flash(pib: &Path, project: &Path, image: &Path) -> Outcome {
    let failed = |error: std::io::Error| format!("could not make a card: {error}");
    let card = root().join("target/demo/card");
    let size = fs::metadata(image).map_err(failed)?.len();
    fs::File::create(&card).and_then(|file| file.set_len(size + (64 << 20))).map_err(failed)?;
    let made = command("losetup", &["--find", "--show", &card.to_string_lossy()]).output();
    let device = match made {
        Ok(made) if made.status.success() => String::from_utf8_lossy(&made.stdout).trim().to_owned(),
        _ => {
            eprintln!(
                "The image was not written to a card: loop devices need root, and a kernel that has them."
            );
            return fs::remove_file(&card).map_err(failed);
        }
    };
    let mut flash = command(&pib.to_string_lossy(), &["flash", &device, "--yes"]);
    let written = show(flash.current_dir(project).env("PIB_CACHE_DIR", cache()));
    let detached = capture(&mut command("losetup", &["--detach", &device]));
    fs::remove_file(&card).map_err(failed)?;
    written?;
    detached.map(drop)
}

/// Has pib run the tests of the example's stages in the booted image.
fn test_in_qemu(pib: &Path, project: &Path, device: &Device) -> Outcome {
    if command(device.qemu, &["--version"]).output().is_err() {
        eprintln!(
            "The image was not booted: there is no {}. On Debian: apt-get install qemu-system-arm",
            device.qemu
        );
        return Ok(());
    }
    let mut test = command(&pib.to_string_lossy(), &["test"]);
    show(test.current_dir(project).env("PIB_CACHE_DIR", cache()))
}

/// Copies the example for a device to `target/demo`, and makes a key for it; both stay for the next run.
fn project(device: &Device) -> Outcome<PathBuf> {
    let project = root().join("target/demo").join(device.name);
    let fail = |error| format!("could not copy the example project to {}: {error}", project.display());
    fs::create_dir_all(project.join("keys")).map_err(fail)?;
    // Not its lock: the mirror may have moved on from what that names.
    let mut text = fs::read_to_string(root().join("host/examples/router/pib.toml")).map_err(fail)?;
    for (key, own) in
        [("name", device.name), ("hostname", device.name), ("board", device.board), ("arch", device.arch)]
    {
        text = set(&text, key, own);
    }
    fs::write(project.join("pib.toml"), text).map_err(fail)?;
    let key = project.join("keys/demo");
    if !key.exists() {
        let path = key.to_string_lossy();
        capture(&mut command("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", &path]))?;
    }
    Ok(project)
}

/// Gives a key of a manifest another value.
fn set(text: &str, key: &str, value: &str) -> String {
    let line = |line: &str| match line.split_once(" = ") {
        Some((own, _)) if own == key => format!("{key} = \"{value}\"\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}
