//! Measurements, as ratios to what a person would use instead, in one run.

mod device;
mod engine;
mod flash;
mod import;
mod measure;
mod native;
mod recorded;
mod registry;
mod resolve;
mod shared;
mod web;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::run::{Outcome, cache, capture, cargo, command, root, show};
use measure::{median, millis, no_op, run_pib};

/// Runs the measurements; the example project must have been built (`cargo xtask demo`).
///
/// `native`, as an argument, measures native tools: half an hour, and it empties the engine's build cache. What is
/// named after it (`install`, `bootstrap`, `demo`) is measured alone; `--no-emulated` leaves out what is emulated, which is most of
/// the time. `engine` measures the engine's part of builds on
/// projects of its own, in some minutes. `resolve` measures the choice of versions: a few minutes, without the engine or
/// the example.
/// `flash` measures writing the example's image to a loop device, as root.
/// `device` measures the way from the engine to a login, on a copy of the example.
/// `import` measures reading a product of pi-builder's kind.
/// `recorded` measures what it costs to give parts what was recorded.
/// `registry` measures a registry and its server, beside nginx where that is installed: some minutes. `registry small` measures little of it.
/// `shared` measures a shared cache of built stages, with a second engine of Debian's packages: some minutes.
/// `--pib PROGRAM` measures that program, instead of compiling this one: for the same measurement before and after a change.
/// `hooks` measures hooks, by the component of the stage watchdog.
pub(crate) fn bench(args: &[String]) -> Outcome {
    if args.iter().any(|arg| arg == "hooks") {
        return show(&mut cargo(&["bench", "--locked", "-p", "pib", "--bench", "hooks"]));
    }
    let pib = program(args)?;
    if args.iter().any(|arg| arg == "native") {
        return native::native(&pib, args);
    }
    if args.iter().any(|arg| arg == "engine") {
        return engine::engine(&pib);
    }
    if args.iter().any(|arg| arg == "device") {
        return device::device(&pib);
    }
    if args.iter().any(|arg| arg == "flash") {
        return flash::flash(&pib);
    }
    if args.iter().any(|arg| arg == "import") {
        return import::import(&pib);
    }
    if args.iter().any(|arg| arg == "recorded") {
        return recorded::recorded(&pib);
    }
    if args.iter().any(|arg| arg == "registry") {
        return registry::registry(&pib, args);
    }
    if args.iter().any(|arg| arg == "shared") {
        return shared::shared(&pib);
    }
    if args.first().is_some_and(|arg| arg == "resolve") {
        return resolve::resolve(&pib, args);
    }
    let project = root().join("target/demo/router");
    if !project.join("target/router-rpi4-arm64.json").exists() {
        return Err("nothing to measure yet: run `cargo xtask demo` first".to_owned());
    }
    plan(&pib, &project)?;
    complete(&pib, &project)?;
    no_op(&pib, &project)?;
    export(&pib, &project)
}

/// Returns the program to measure: the one that `--pib` names, so that two can be compared; else it compiles this one.
fn program(args: &[String]) -> Outcome<PathBuf> {
    if let Some(at) = args.iter().position(|arg| arg == "--pib") {
        let named = args.get(at + 1).ok_or("--pib needs the path of a program")?;
        return std::fs::canonicalize(named).map_err(|error| format!("could not find {named}: {error}"));
    }
    show(&mut cargo(&["build", "--release", "--locked", "-p", "pib"]))?;
    Ok(root().join("target/release/pib"))
}

/// How long `pib plan` takes on the example.
fn plan(pib: &Path, project: &Path) -> Outcome {
    let time = median(20, || capture(run_pib(pib, project).arg("plan")).map(drop))?;
    println!("pib plan                      {:>8.1} ms   (target: under 50 ms)", millis(time));
    Ok(())
}

/// How long a shell waits for the names of stages.
fn complete(pib: &Path, project: &Path) -> Outcome {
    let ask = || {
        let mut asked = command(&pib.to_string_lossy(), &["--", "pib", "add", "w"]);
        asked.current_dir(project).env("PIB_CACHE_DIR", cache()).env("PIB_COMPLETE", "fish");
        capture(&mut asked).map(drop)
    };
    let time = median(20, ask)?;
    println!("completion of a stage's name  {:>8.1} ms   (target: under 50 ms)", millis(time));
    Ok(())
}

/// Export to image, beside the usual way: docker export, tar, mkfs, loop mount, rsync.
fn export(pib: &Path, project: &Path) -> Outcome {
    let image = project.join("target/router-rpi4-arm64.img");
    fs::remove_file(&image).map_err(|error| format!("could not remove {}: {error}", image.display()))?;
    let since = Instant::now();
    let peak = peak_memory(run_pib(pib, project).arg("build"))?;
    let ours = since.elapsed();
    let tag =
        capture(&mut command("docker", &["images", "--format", "{{.Repository}}:{{.Tag}}", "pib/router"]))?;
    let tag = tag.lines().next().unwrap_or_default().to_owned();
    let work = root().join("target/bench/usual");
    let since = Instant::now();
    capture(command("sh", &["-euc", USUAL, "sh", &tag]).env("WORK", &work).env("PATH", measure::path()))?;
    let theirs = since.elapsed();
    let _ = fs::remove_dir_all(&work);
    println!(
        "pib export to image           {:>8.1} s    peak memory {} MiB (target: under 300)",
        ours.as_secs_f64(),
        peak >> 20
    );
    println!(
        "export, tar, mkfs, loop, copy {:>8.1} s    {:.1} times pib's",
        theirs.as_secs_f64(),
        theirs.as_secs_f64() / ours.as_secs_f64()
    );
    Ok(())
}

/// What people do by hand today. The FAT partition is left out, which favours this side.
const USUAL: &str = r#"
rm -rf "$WORK"; mkdir -p "$WORK/tree" "$WORK/mnt"
container=$(docker create "$1" /bin/true)
docker export "$container" | tar -x -C "$WORK/tree"
docker rm "$container" > /dev/null
truncate -s 2G "$WORK/image"
mkfs.ext4 -q -F "$WORK/image"
mount -o loop "$WORK/image" "$WORK/mnt"
trap 'umount "$WORK/mnt"' EXIT
if command -v rsync > /dev/null; then rsync -aHAX "$WORK/tree/" "$WORK/mnt/"; else cp -a "$WORK/tree/." "$WORK/mnt/"; fi
sync -f "$WORK/mnt"
"#;

/// Runs a command and returns the most memory that it had, in bytes.
fn peak_memory(run: &mut Command) -> Outcome<u64> {
    let mut child = run.spawn().map_err(|error| format!("could not run pib: {error}"))?;
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut peak = 0;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let kib = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = kib.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
        peak = peak.max(kib.unwrap_or(0) * 1024);
        match child.try_wait().map_err(|error| format!("could not wait for pib: {error}"))? {
            Some(status) if status.success() => return Ok(peak),
            Some(status) => return Err(format!("pib failed ({status})")),
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
