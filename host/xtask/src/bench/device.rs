//! From the engine to the image, from a change to the image, and from the image to a login: beside what each takes without pib.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::engine::{events, middle, until_built};
use super::measure::{median, millis, path, run_pib};
use crate::run::{Outcome, capture, command, root};

/// How often each thing is measured; the median counts.
const RUNS: usize = 5;
/// A boot takes half a minute, and hardly varies.
const BOOTS: usize = 3;
/// How long a system may take to its login.
const LONGEST_BOOT: Duration = Duration::from_secs(300);
/// The tag of what the plain client builds.
const PLAIN: &str = "pib-bench:device";
const EMULATOR: &str = "qemu-system-aarch64";

/// Measures on a copy of the example, with one stage more, whose file changes.
pub(super) fn device(pib: &Path) -> Outcome {
    let work = root().join("target/bench/device");
    with_project(pib, &work, |project| {
        export(pib, project)?;
        change(pib, project)?;
        login(pib, project, &work)
    })
}

/// Has a copy of the example with one stage more measured; then that is gone, and so are its container images.
pub(super) fn with_project(pib: &Path, work: &Path, measure: impl FnOnce(&Path) -> Outcome) -> Outcome {
    let example = root().join("target/demo/router");
    if !example.join("target/router-rpi4-arm64.img").exists() {
        return Err("nothing to measure yet: run `cargo xtask demo` first".to_owned());
    }
    let _ = fs::remove_dir_all(work);
    let outcome = project(pib, &example, work).and_then(|project| measure(&project));
    let _ = capture(&mut command("docker", &["rmi", "--force", PLAIN]));
    let list = ["images", "--format", "{{.Repository}}:{{.Tag}}", "pib/bench-device"];
    for tag in capture(&mut command("docker", &list))?.lines() {
        capture(&mut command("docker", &["rmi", "--force", tag]))?;
    }
    let _ = fs::remove_dir_all(work);
    outcome
}

/// Makes the project and builds it once.
fn project(pib: &Path, example: &Path, work: &Path) -> Outcome<PathBuf> {
    let project = work.join("project");
    let fail = |error| format!("could not make {}: {error}", project.display());
    let stage = project.join("stages/last");
    fs::create_dir_all(&stage).map_err(fail)?;
    fs::create_dir_all(project.join("keys")).map_err(fail)?;
    fs::copy(example.join("keys/demo.pub"), project.join("keys/demo.pub")).map_err(fail)?;
    let text = fs::read_to_string(example.join("pib.toml")).map_err(fail)?;
    let text = text.replace("name = \"router\"", "name = \"bench-device\"");
    let text = text.replace("[stages]\n", "[stages]\nlast = { path = \"stages/last\" }\n");
    // Recording would be measured, too, and has a bench of its own.
    let text = text.replace("network = \"recorded\"\n", "");
    fs::write(project.join("pib.toml"), text).map_err(fail)?;
    let manifest = "[stage]\nname = \"last\"\nversion = \"1.0.0\"\n\n[order]\nafter = [\"rootssh\"]\n";
    fs::write(stage.join("stage.toml"), manifest).map_err(fail)?;
    fs::write(stage.join("Dockerfile.part"), "COPY stages/last/file /usr/lib/file\n").map_err(fail)?;
    fs::write(stage.join("file"), "first\n").map_err(fail)?;
    capture(run_pib(pib, &project).arg("build"))?;
    Ok(project)
}

/// Writes other content into the file of the last stage.
pub(super) fn change_file(project: &Path, content: &str) -> Outcome {
    let path = project.join("stages/last/file");
    fs::write(&path, content).map_err(|error| format!("could not change {}: {error}", path.display()))
}

/// Returns where the project's image is.
pub(super) fn image(project: &Path) -> PathBuf {
    project.join("target/bench-device-rpi4-arm64.img")
}

/// What the engine has becomes an image, beside the engine's export alone.
fn export(pib: &Path, project: &Path) -> Outcome {
    let ours = median(RUNS, || {
        let path = image(project);
        fs::remove_file(&path).map_err(|error| format!("could not remove {}: {error}", path.display()))?;
        capture(run_pib(pib, project).arg("build")).map(drop)
    })?;
    let tags = ["images", "--format", "{{.Repository}}:{{.Tag}}", "pib/bench-device"];
    let tag = capture(&mut command("docker", &tags))?;
    let tag = tag.lines().next().unwrap_or_default().to_owned();
    let theirs = median(RUNS, || plain_export(&tag))?;
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("docker export alone           {:>8.2} s", theirs.as_secs_f64());
    println!(
        "pib, from engine to image     {:>8.2} s    {ratio:.2} times as long (target: 1.1)",
        ours.as_secs_f64()
    );
    Ok(())
}

fn plain_export(tag: &str) -> Outcome {
    let script = "container=$(docker create \"$1\" /bin/true); docker export \"$container\" > /dev/null; \
                  docker rm \"$container\" > /dev/null";
    capture(&mut command("sh", &["-euc", script, "sh", tag])).map(drop)
}

/// A file of the last stage changes: pib up to the image, and the plain client up to the export.
fn change(pib: &Path, project: &Path) -> Outcome {
    let context = project.join("context");
    let folder = context.to_string_lossy().into_owned();
    let (mut whole, mut engine, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..=RUNS {
        change_file(project, &format!("{run} of {}\n", std::process::id()))?;
        let since = Instant::now();
        let events = events(pib, project, &["build"])?;
        let took = since.elapsed();
        let _ = fs::remove_dir_all(&context);
        capture(run_pib(pib, project).args(["plan", "--context"]).arg(&context))?;
        let since = Instant::now();
        capture(&mut command("docker", &["build", "-q", "-t", PLAIN, &folder]))?;
        plain_export(PLAIN)?;
        // The first time the plain client builds everything.
        if run > 0 {
            whole.push(took);
            engine.push(until_built(&events)?);
            theirs.push(since.elapsed());
        }
    }
    let (whole, engine, theirs) = (middle(whole), middle(engine), middle(theirs));
    println!("docker build and export, a file changed {:>8.2} s", theirs.as_secs_f64());
    println!(
        "pib build to the image, the same        {:>8.2} s    {:.2} times as long; the engine's part {:.2} s",
        whole.as_secs_f64(),
        whole.as_secs_f64() / theirs.as_secs_f64(),
        engine.as_secs_f64()
    );
    Ok(())
}

/// From `pib boot` to a login, beside the same QEMU alone.
fn login(pib: &Path, project: &Path, work: &Path) -> Outcome {
    let fail = |error| format!("could not keep what QEMU is given: {error}");
    let (kept, programs) = (work.join("kept"), work.join("bin"));
    fs::create_dir_all(&kept).map_err(fail)?;
    fs::create_dir_all(&programs).map_err(fail)?;
    let wrapper = programs.join(EMULATOR);
    fs::write(&wrapper, WRAPPER).map_err(fail)?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).map_err(fail)?;
    let path = format!("{}:{}", programs.display(), path());
    // What pib gives to QEMU, once, for the runs without pib.
    let mut run = run_pib(pib, project);
    run.arg("boot").arg(image(project)).env("PATH", path).env("KEPT", &kept);
    capture(&mut run)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..BOOTS {
        let mut boot = run_pib(pib, project);
        ours.push(until_login(boot.arg("boot").arg(image(project)))?);
        theirs.push(until_login(command("bash", &["-euc", REPLAY]).env("KEPT", &kept))?);
    }
    let (ours, theirs) = (middle(ours), middle(theirs));
    println!("QEMU alone, to a login        {:>8.2} s", theirs.as_secs_f64());
    println!(
        "pib boot, to a login          {:>8.2} s    {:.0} ms more",
        ours.as_secs_f64(),
        millis(ours.saturating_sub(theirs))
    );
    Ok(())
}

/// Keeps the arguments and the files that they name, which are temporary ones.
const WRAPPER: &str = r#"#!/bin/sh
last=
: > "$KEPT/arguments"
for word; do
    case $last in -kernel|-initrd) cp "$word" "$KEPT/$last"; word=$KEPT/$last ;; esac
    printf '%s\0' "$word" >> "$KEPT/arguments"
    last=$word
done
"#;

/// Starts QEMU with the arguments that were kept.
const REPLAY: &str = r#"mapfile -d '' -t words < "$KEPT/arguments"; exec qemu-system-aarch64 "${words[@]}""#;

/// Returns how long a command takes until its output asks for a login; then the command is ended.
fn until_login(run: &mut Command) -> Outcome<Duration> {
    let fail = |error| format!("could not boot the image: {error}");
    let since = Instant::now();
    let mut child =
        run.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(fail)?;
    let found = read_until_login(&mut child, since);
    // A signal that can be handled: pib ends its QEMU.
    let ended = capture(&mut command("kill", &["-TERM", &child.id().to_string()]));
    child.wait().map_err(fail)?;
    ended?;
    found
}

fn read_until_login(child: &mut Child, since: Instant) -> Outcome<Duration> {
    let Some(output) = child.stdout.as_mut() else { return Err("it has no output".to_owned()) };
    let (mut told, mut block) = (Vec::new(), [0; 4096]);
    while since.elapsed() < LONGEST_BOOT {
        let read = output.read(&mut block).map_err(|error| format!("could not read the console: {error}"))?;
        if read == 0 {
            break;
        }
        told.extend_from_slice(&block[..read]);
        if told.windows(6).any(|window| window == b"login:") {
            return Ok(since.elapsed());
        }
    }
    Err("the system did not ask for a login".to_owned())
}
