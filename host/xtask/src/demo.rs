//! The main job on the example project, up to a checked image.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::judge::{self, Wanted};
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
    let key =
        fs::read_to_string(project.join("keys/demo.pub")).map_err(|error| format!("no key: {error}"))?;
    let wanted = Wanted { hostname: "router", key: key.trim(), watchdog_timeout: 10 };
    eprintln!("Checked {}:", image.display());
    for line in judge::check(&image, &wanted)? {
        eprintln!("  ok {line}");
    }
    let again = Instant::now();
    build()?;
    eprintln!("Nothing changed: the second build took {:.2} s.", again.elapsed().as_secs_f64());
    flash(&pib, &project, &image)?;
    test_in_qemu(&pib, &project)?;
    eprintln!("The whole demo took {} s. The image: {}", since.elapsed().as_secs(), image.display());
    eprintln!("Log in to the device with: ssh -i {} root@router", project.join("keys/demo").display());
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
fn test_in_qemu(pib: &Path, project: &Path) -> Outcome {
    if command("qemu-system-aarch64", &["--version"]).output().is_err() {
        eprintln!(
            "The image was not booted: there is no qemu-system-aarch64. On Debian: apt-get install qemu-system-arm"
        );
        return Ok(());
    }
    let mut test = command(&pib.to_string_lossy(), &["test"]);
    show(test.current_dir(project).env("PIB_CACHE_DIR", cache()))
}

/// Copies the example to `target/demo/router` and makes a key for it; both stay for the next run.
fn project() -> Outcome<PathBuf> {
    let project = root().join("target/demo/router");
    let fail = |error| format!("could not copy the example project to {}: {error}", project.display());
    fs::create_dir_all(project.join("keys")).map_err(fail)?;
    // Not its lock: the mirror may have moved on from what that names.
    fs::copy(root().join("host/examples/router/pib.toml"), project.join("pib.toml")).map_err(fail)?;
    let key = project.join("keys/demo");
    if !key.exists() {
        let path = key.to_string_lossy();
        capture(&mut command("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "demo", "-f", &path]))?;
    }
    Ok(project)
}
