//! Measurements, as ratios to what a person would use instead, in one run.

mod engine;
mod native;
mod resolve;
mod web;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::run::{Outcome, cache, capture, cargo, command, root, show};

/// Runs the measurements; the example project must have been built (`cargo xtask demo`).
///
/// `native`, as an argument, measures native tools: half an hour, and it empties the engine's build cache. What is
/// named after it (`install`, `bootstrap`, `demo`) is measured alone. `engine` measures the engine's part of builds on
/// projects of its own, in some minutes. `resolve` measures the choice of versions: a few minutes, without the engine or
/// the example.
/// `hooks` measures hooks, by the component of the stage watchdog.
pub(crate) fn bench(args: &[String]) -> Outcome {
    if args.iter().any(|arg| arg == "hooks") {
        return show(&mut cargo(&["bench", "--locked", "-p", "pib", "--bench", "hooks"]));
    }
    show(&mut cargo(&["build", "--release", "--locked", "-p", "pib"]))?;
    let pib = root().join("target/release/pib");
    if args.iter().any(|arg| arg == "native") {
        return native::native(&pib, args);
    }
    if args.iter().any(|arg| arg == "engine") {
        return engine::engine(&pib);
    }
    if args.first().is_some_and(|arg| arg == "resolve") {
        return resolve::resolve(&pib, args);
    }
    let project = root().join("target/demo/router");
    if !project.join("target/router-rpi4-arm64.json").exists() {
        return Err("nothing to measure yet: run `cargo xtask demo` first".to_owned());
    }
    plan(&pib, &project)?;
    no_op(&pib, &project)?;
    export(&pib, &project)
}

/// How long `pib plan` takes on the example.
fn plan(pib: &Path, project: &Path) -> Outcome {
    let time = median(20, || capture(run_pib(pib, project).arg("plan")).map(drop))?;
    println!("pib plan                      {:>8.1} ms   (target: under 50 ms)", millis(time));
    Ok(())
}

/// How long a build with nothing changed takes, beside the plain client on the same context.
fn no_op(pib: &Path, project: &Path) -> Outcome {
    // The plain client is measured on what it would have cached too, so its first build is not counted.
    let context = root().join("target/bench/context");
    let _ = fs::remove_dir_all(&context);
    capture(run_pib(pib, project).args(["plan", "--context"]).arg(&context))?;
    capture(run_pib(pib, project).arg("build"))?;
    let ours = median(20, || capture(run_pib(pib, project).arg("build")).map(drop))?;
    let folder = context.to_string_lossy().into_owned();
    let docker =
        || capture(&mut command("docker", &["build", "-q", "-t", "pib-bench:plain", &folder])).map(drop);
    docker()?;
    let theirs = median(5, docker)?;
    capture(&mut command("docker", &["rmi", "pib-bench:plain"]))?;
    println!("pib build, nothing changed    {:>8.1} ms", millis(ours));
    println!(
        "docker build, nothing changed {:>8.1} ms   {:.0} times pib's",
        millis(theirs),
        theirs.as_secs_f64() / ours.as_secs_f64()
    );
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
    capture(command("sh", &["-euc", USUAL, "sh", &tag]).env("WORK", &work).env("PATH", path()))?;
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

fn run_pib(pib: &Path, project: &Path) -> Command {
    let mut run = command(&pib.to_string_lossy(), &["--quiet"]);
    run.current_dir(project).env("PIB_CACHE_DIR", cache());
    run
}

fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

fn median(runs: usize, mut work: impl FnMut() -> Outcome) -> Outcome<Duration> {
    let mut times = Vec::with_capacity(runs);
    for _ in 0..runs {
        let since = Instant::now();
        work()?;
        times.push(since.elapsed());
    }
    times.sort();
    Ok(times[runs / 2])
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

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
