//! What native tools save: the same installs native and emulated, and on a machine of this one's own kind.
//!
//! Processor time is that of the whole machine, since the engine's is nobody's child: run this with nothing else going
//! on. Everything that the engine keeps of earlier builds is thrown away first.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::measure::run_pib;
use crate::run::{Outcome, as_root, cache, capture, command, has, root, show};

/// Packages with many scripts: 30 and, with what they need, 100 come to be installed.
const SETS: [(&str, &str); 2] = [
    ("about 30 packages", "openssh-server ca-certificates locales tzdata nano"),
    (
        "about 100 packages",
        "openssh-server ca-certificates locales tzdata nano systemd-sysv udev dbus libpam-systemd python3 curl \
         initramfs-tools man-db vim-tiny rsync tmux nginx-light wpasupplicant",
    ),
];

/// Wall and processor time.
#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
}

/// Measures installs, the bootstrap and the demo image, or those of them that are named.
///
/// Emulation takes nine tenths of the time: `--no-emulated` leaves it out, to compare one pib with another.
pub(super) fn native(pib: &Path, args: &[String]) -> Outcome {
    let emulated = !args.iter().any(|arg| arg == NO_EMULATED);
    let named: Vec<&str> = args.iter().map(String::as_str).filter(|arg| PARTS.contains(arg)).collect();
    let wanted = |part: &str| named.is_empty() || named.contains(&part);
    let work = root().join("target/bench/native");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).map_err(|error| format!("could not create {}: {error}", work.display()))?;
    let _leftovers = Leftovers;
    if wanted(INSTALL) {
        installs(pib, &work, emulated)?;
    }
    if wanted(BOOTSTRAP) {
        bootstrap(pib, &work, emulated)?;
    }
    if wanted(DEMO) {
        demo(pib, &work, emulated)?;
    }
    let _ = fs::remove_dir_all(&work);
    Ok(())
}

const INSTALL: &str = "install";
const BOOTSTRAP: &str = "bootstrap";
const DEMO: &str = "demo";
/// What can be measured alone.
const PARTS: [&str; 3] = [INSTALL, BOOTSTRAP, DEMO];
/// The option that leaves out what is emulated.
const NO_EMULATED: &str = "--no-emulated";

/// Removes the container images that only measurements use when they end, however they end.
struct Leftovers;

impl Drop for Leftovers {
    fn drop(&mut self) {
        for name in [OWN, "pib/install", "pib/base"] {
            if let Err(error) = forget(name) {
                eprintln!("Could not remove the container images {name}: {error}");
            }
        }
    }
}

/// The container images of this machine's own kind.
const OWN: &str = "pib-bench";

fn installs(pib: &Path, work: &Path, with_emulated: bool) -> Outcome {
    for (arch, board, release) in TARGETS {
        own_base(work, release)?;
        for (title, packages) in SETS {
            let usual = own_install(work, packages)?;
            let project = work.join("install");
            make_project(pib, &project, (arch, board, release), packages)?;
            let native = stage(pib, &project, &[])?;
            println!(
                "install of {title}, {arch} {release}   native {}   this machine's own kind {}   \
                 native is {:.2} of it in wall time",
                text(native),
                text(usual),
                ratio(native.wall, usual.wall),
            );
            if with_emulated {
                let emulated = stage(pib, &project, &["--no-native"])?;
                println!(
                    "  emulated {}   {:.1} times the processor time, {:.1} times the wall time",
                    text(emulated),
                    ratio(emulated.cpu, native.cpu),
                    ratio(emulated.wall, native.wall),
                );
            }
        }
    }
    Ok(())
}

/// What is installed into: the newest release of which mirrors have lists that fit their signatures, for each.
const TARGETS: [(&str, &str, &str); 2] = [("arm64", "rpi4", "trixie"), ("armv7", "rpi3", "bookworm")];

fn make_project(pib: &Path, project: &Path, target: (&str, &str, &str), packages: &str) -> Outcome {
    let (arch, board, release) = target;
    let _ = fs::remove_dir_all(project);
    let write = |name: &str, text: String| {
        let path = project.join(name);
        let folder = path.parent().unwrap_or(project).to_owned();
        fs::create_dir_all(folder).and_then(|()| fs::write(&path, text)).map_err(|error| error.to_string())
    };
    write(
        "pib.toml",
        format!(
            "[project]\nname = \"install\"\nos = \"debian\"\nrelease = \"{release}\"\nboard = \"{board}\"\n\
             arch = \"{arch}\"\n\n[stages]\n__init__ = {{ path = \"stages/__init__\" }}\n\
             mine = {{ path = \"stages/mine\" }}\n"
        ),
    )?;
    write("stages/mine/Dockerfile.part", format!("RUN apt-get install --yes {packages}\n"))?;
    copy(&root().join("stages/__init__"), &project.join("stages/__init__"))?;
    // Without the security updates: mirrors have them for armv7 in a state that apt refuses, at times.
    let part = project.join("stages/__init__/Dockerfile.debian.part");
    let text = fs::read_to_string(&part).map_err(|error| error.to_string())?;
    let first = "sed -i '/^$/,$d' /etc/apt/sources.list.d/debian.sources; apt-get update; \
                 apt-get install --yes --download-only $(cat /tmp/packages)";
    let text = text.replace("apt-get update", first);
    fs::write(&part, text.replacen("COPY ", &format!("RUN echo {packages} > /tmp/packages\nCOPY "), 1))
        .map_err(|error| error.to_string())?;
    // The base and the package lists are there when the clock starts.
    capture(run_pib(pib, project).arg("build"))?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Outcome {
    let folder = to.parent().unwrap_or(to).to_string_lossy().into_owned();
    capture(&mut command("cp", &["-r", &from.to_string_lossy(), &folder])).map(drop)
}

/// Builds a project anew and returns what its stage `mine` cost.
fn stage(pib: &Path, project: &Path, options: &[&str]) -> Outcome<Cost> {
    forget("pib/install")?;
    let mut build = command(&pib.to_string_lossy(), &["--json", "build", "--no-cache"]);
    build.args(options).current_dir(project).env("PIB_CACHE_DIR", cache());
    let mut clock = Clock::start()?;
    let mut cost = None;
    let (_, status) = watch(&mut build, |line| {
        let mine = line.contains("\"id\":\"stage:mine\"");
        if mine && line.contains("step-started") {
            clock = Clock::start()?;
        } else if mine && line.contains("step-finished") {
            cost = Some(clock.read()?);
        }
        Ok(true)
    })?;
    cost.filter(|_| status.success()).ok_or_else(|| format!("pib build failed ({status})"))
}

/// Runs pib and hands its events on, a line each, until `each` has enough; then pib is stopped. Returns whether it was.
fn watch(build: &mut Command, mut each: impl FnMut(&str) -> Outcome<bool>) -> Outcome<(bool, ExitStatus)> {
    let mut child = build
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("could not run pib: {error}"))?;
    let events = child.stderr.take().ok_or("pib has no standard error")?;
    let mut enough = false;
    for line in BufReader::new(events).lines() {
        if !each(&line.map_err(|error| error.to_string())?)? {
            capture(&mut command("kill", &["-INT", &child.id().to_string()]))?;
            enough = true;
            break;
        }
    }
    Ok((enough, child.wait().map_err(|error| error.to_string())?))
}

/// Makes a base of this machine's own kind, with the package lists and the packages of both sets in it.
fn own_base(work: &Path, release: &str) -> Outcome {
    if !has("mmdebstrap") || !has("arch-test") {
        let packages = ["install", "--yes", "--no-install-recommends", "mmdebstrap", "arch-test"];
        show(&mut as_root("apt-get", &packages))?;
    }
    // An image that only loses its name to the next one would stay.
    forget(OWN)?;
    let tar = work.join("own.tar");
    show(&mut as_root("mmdebstrap", &["--quiet", "--variant=minbase", release, &tar.to_string_lossy()]))?;
    capture(&mut command("docker", &["import", &tar.to_string_lossy(), &format!("{OWN}:own")])).map(drop)
}

fn own_install(work: &Path, packages: &str) -> Outcome<Cost> {
    let folder = work.join("own");
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let dockerfile = |last: &str| {
        format!(
            "FROM {OWN}:own\nENV DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8\n\
             RUN printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d && \
             echo 'APT::Install-Recommends \"false\";' > /etc/apt/apt.conf.d/90 && \
             echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/90 && \
             apt-get update && apt-get install --yes --download-only {packages}\n{last}"
        )
    };
    let build = |tag: &str, last: &str| {
        let tag = format!("{OWN}:{tag}");
        fs::write(folder.join("Dockerfile"), dockerfile(last)).map_err(|error| error.to_string())?;
        let folder = folder.to_string_lossy();
        capture(&mut command("docker", &["build", "--quiet", "--tag", &tag, &folder])).map(drop)
    };
    for tag in ["prepared", "installed"] {
        forget(&format!("{OWN}:{tag}"))?;
    }
    build("prepared", "")?;
    timed(|| build("installed", &format!("RUN apt-get install --yes {packages}\n")))
}

/// A minimal base from nothing, downloads included, beside the usual tool.
fn bootstrap(pib: &Path, work: &Path, with_emulated: bool) -> Outcome {
    let tar = work.join("theirs.tar");
    let theirs = timed(|| {
        let args = ["--quiet", "--variant=minbase", "--arch=arm64", "trixie", &tar.to_string_lossy()];
        show(&mut as_root("mmdebstrap", &args))
    })?;
    for (title, options) in ways(with_emulated) {
        let project = work.join("base");
        let _ = fs::remove_dir_all(&project);
        fs::create_dir_all(project.join("stages/mine")).map_err(|error| error.to_string())?;
        capture(command(&pib.to_string_lossy(), &["--quiet", "new", "base"]).current_dir(work))?;
        let fresh = work.join("fresh");
        let _ = fs::remove_dir_all(&fresh);
        empty_engine()?;
        let mut build = command(&pib.to_string_lossy(), &["--json", "build"]);
        build.args(options).current_dir(&project).env("PIB_CACHE_DIR", &fresh);
        let clock = Clock::start()?;
        let mut ours = None;
        // What is loaded first are native tools, where there are any; the base is there when it is loaded itself.
        watch(&mut build, |line| {
            let made = line.contains("\"id\":\"base:load\"") && line.contains("pib-base:");
            ours = if made { Some(clock.read()?) } else { None };
            Ok(!made)
        })?;
        let ours = ours.ok_or("pib ended before the base was made")?;
        println!(
            "bootstrap of a minimal trixie for arm64, {title}   {}   mmdebstrap {}   {:.1} times pib's wall time",
            text(ours),
            text(theirs),
            ratio(theirs.wall, ours.wall)
        );
    }
    Ok(())
}

/// The example from nothing to the image.
fn demo(pib: &Path, work: &Path, with_emulated: bool) -> Outcome {
    let project = root().join("host/examples/router");
    let key = work.join("key");
    let key_path = key.to_string_lossy();
    capture(&mut command("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &key_path]))?;
    let mut costs = Vec::new();
    for (_, options) in ways(with_emulated) {
        let fresh = work.join("fresh");
        let _ = fs::remove_dir_all(&fresh);
        let copy_of: PathBuf = work.join("router");
        let _ = fs::remove_dir_all(&copy_of);
        copy(&project, &copy_of)?;
        fs::create_dir_all(copy_of.join("keys"))
            .and_then(|()| fs::copy(key.with_extension("pub"), copy_of.join("keys/owner.pub")))
            .map_err(|error| format!("could not write the key: {error}"))?;
        empty_engine()?;
        costs.push(timed(|| {
            let mut build = run_pib(pib, &copy_of);
            capture(build.arg("build").args(options).env("PIB_CACHE_DIR", &fresh)).map(drop)
        })?);
    }
    print!("the example from nothing, base included   native {}", text(costs[0]));
    match costs.get(1) {
        Some(&emulated) => println!(
            "   emulated {}   {:.1} times the wall time",
            text(emulated),
            ratio(emulated.wall, costs[0].wall)
        ),
        None => println!(),
    }
    Ok(())
}

/// The ways to run a target's programs, each with its options of `pib build`.
fn ways(with_emulated: bool) -> Vec<(&'static str, &'static [&'static str])> {
    let mut ways: Vec<(_, &[&str])> = vec![("native", &[])];
    if with_emulated {
        ways.push(("emulated", &["--no-native"]));
    }
    ways
}

/// Throws away what the engine keeps of pib's builds.
fn empty_engine() -> Outcome {
    for name in ["pib/base", "pib/router", "pib/install", "pib-base", "pib-native"] {
        forget(name)?;
    }
    capture(&mut command("docker", &["builder", "prune", "--all", "--force"])).map(drop)
}

fn forget(name: &str) -> Outcome {
    let list = capture(&mut command("docker", &["images", "--format", "{{.Repository}}:{{.Tag}}", name]))?;
    for tag in list.lines() {
        capture(&mut command("docker", &["rmi", "--force", tag]))?;
    }
    Ok(())
}

fn timed(work: impl FnOnce() -> Outcome) -> Outcome<Cost> {
    let clock = Clock::start()?;
    work()?;
    clock.read()
}

/// Measures from its start on.
struct Clock {
    since: Instant,
    before: Duration,
}

impl Clock {
    fn start() -> Outcome<Self> {
        Ok(Self { since: Instant::now(), before: busy()? })
    }

    fn read(&self) -> Outcome<Cost> {
        Ok(Cost { wall: self.since.elapsed(), cpu: busy()?.saturating_sub(self.before) })
    }
}

/// Returns how long the machine's processors have worked since it started: the first line of `/proc/stat` without
/// its fourth and fifth numbers, in hundredths of a second.
fn busy() -> Outcome<Duration> {
    let text =
        fs::read_to_string("/proc/stat").map_err(|error| format!("could not read /proc/stat: {error}"))?;
    let numbers = text.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    let numbers = numbers.enumerate().filter(|(index, _)| !matches!(index, 3 | 4 | 7));
    let ticks: u64 = numbers.filter_map(|(_, number)| number.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

fn text(cost: Cost) -> String {
    format!("{:.1} s ({:.1} s of processor time)", cost.wall.as_secs_f64(), cost.cpu.as_secs_f64())
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64().max(0.001)
}
