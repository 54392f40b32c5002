//! What locking and recording cost: `pib lock`, the same install straight from the mirror and out of a recording, what normalising takes of the
//! export, and a large file through pib's proxy beside one straight from nginx.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use super::engine::{self, events_of};
use super::measure::{median, millis, run_pib};
use crate::run::{Outcome, cache, capture, command, has, root};
use crate::setup::{Need, install};

/// What is installed: about 30 packages.
const PACKAGES: &str = "openssh-server ca-certificates locales tzdata nano";
/// How often each is measured.
const RUNS: usize = 3;
/// The size of the large file, in MiB.
const LARGE: usize = 256;

/// Measures all of it.
pub(super) fn recorded(pib: &Path) -> Outcome {
    let work = root().join("target/bench/recorded");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).map_err(|error| format!("could not create {}: {error}", work.display()))?;
    locks(pib, &work)?;
    installs(pib, &work)?;
    downloads(pib, &work)?;
    let _ = fs::remove_dir_all(&work);
    Ok(())
}

/// A project whose container images go when it is done with.
struct Bench<'a> {
    pib: &'a Path,
    folder: PathBuf,
    name: String,
}

impl<'a> Bench<'a> {
    /// Makes a project of one part. The engine knows nothing of it: each has a name, and so caches, of its own.
    fn new(pib: &'a Path, work: &Path, name: &str, part: &str, is_recorded: bool) -> Outcome<Self> {
        let folder = work.join(name);
        let _ = fs::remove_dir_all(&folder);
        capture(command(&pib.to_string_lossy(), &["--quiet", "new", name]).current_dir(work))?;
        let bench = Self { pib, folder, name: name.to_owned() };
        capture(bench.pib().args(["remove", "os"]))?;
        bench.write("stages/mine/Dockerfile.part", part)?;
        capture(bench.pib().args(["add", "--path", "stages/mine"]))?;
        let manifest = bench.folder.join("pib.toml");
        if !is_recorded {
            let text = fs::read_to_string(&manifest).map_err(|error| error.to_string())?;
            bench.write("pib.toml", &text.replace("network = \"recorded\"", "network = \"open\""))?;
        }
        Ok(bench)
    }

    fn write(&self, name: &str, text: &str) -> Outcome {
        let path = self.folder.join(name);
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).and_then(|()| fs::write(&path, text)).map_err(|error| error.to_string())
    }

    fn pib(&self) -> std::process::Command {
        let mut run = run_pib(self.pib, &self.folder);
        run.env("PIB_TRUST", "1").env("XDG_CONFIG_HOME", self.folder.join("config"));
        run
    }

    fn build(&self, options: &[&str]) -> Outcome<String> {
        let mut build = command(&self.pib.to_string_lossy(), &["--verbose", "build", "--until", "mine"]);
        build.args(options).current_dir(&self.folder).env("PIB_CACHE_DIR", cache());
        build.env("PIB_TRUST", "1").env("XDG_CONFIG_HOME", self.folder.join("config"));
        let output = build.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(errors) } else { Err(format!("pib build failed:\n{errors}")) }
    }
}

impl Drop for Bench<'_> {
    fn drop(&mut self) {
        let images = capture(&mut command("docker", &["images", "--quiet", &format!("pib/{}", self.name)]));
        for image in images.unwrap_or_default().lines() {
            let _ = capture(&mut command("docker", &["rmi", "--force", image]));
        }
    }
}

/// `pib lock` of a new project: with nothing in the cache, and with the indexes that it read before.
fn locks(pib: &Path, work: &Path) -> Outcome {
    let project = Bench::new(pib, work, "bench-lock", "RUN true\n", false)?;
    let lock = |cache: &Path| {
        let _ = fs::remove_file(project.folder.join("pib.lock"));
        capture(project.pib().arg("lock").env("PIB_CACHE_DIR", cache)).map(drop)
    };
    let mut number = 0;
    let cold = median(RUNS, || {
        number += 1;
        lock(&work.join(format!("cache-{number}")))
    })?;
    let kept = work.join("cache-1");
    let warm = median(10, || lock(&kept))?;
    println!(
        "pib lock                        cold {:.2} s   with the indexes of before {:.0} ms (target: under 150 ms)",
        cold.as_secs_f64(),
        millis(warm)
    );
    Ok(())
}

/// A cold build of an install: what is fetched comes from the mirror, or from the recording's store.
fn installs(pib: &Path, work: &Path) -> Outcome {
    let part = format!("RUN apt-get update\nRUN apt-get install --yes {PACKAGES}\n");
    let recorded = Bench::new(pib, work, "bench-recorded", &part, true)?;
    recorded.build(&[])?;
    normalising(&recorded)?;
    let replayed = median(RUNS, || recorded.build(&["--frozen", "--no-cache"]).map(drop))?;
    let mut number = 0;
    let straight = median(RUNS, || {
        number += 1;
        // What an earlier one has downloaded is in caches of its own.
        let open = Bench::new(pib, work, &format!("bench-open-{number}"), &part, false)?;
        open.build(&["--no-cache"]).map(drop)
    })?;
    println!(
        "cold build, about 30 packages   replayed {:.1} s   straight from the mirror {:.1} s   {:.2} of it",
        replayed.as_secs_f64(),
        straight.as_secs_f64(),
        replayed.as_secs_f64() / straight.as_secs_f64()
    );
    Ok(())
}

/// Writing the image of what was installed: how much of that time normalising takes.
fn normalising(project: &Bench<'_>) -> Outcome {
    let image = project.folder.join("target").join(format!("{}-rpi4-arm64.img", project.name));
    let (mut whole, mut part) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let _ = fs::remove_file(&image);
        let mut build = command(&project.pib.to_string_lossy(), &["--json", "build"]);
        build.current_dir(&project.folder).env("PIB_CACHE_DIR", cache());
        build.env("PIB_TRUST", "1").env("XDG_CONFIG_HOME", project.folder.join("config"));
        let events = events_of(build.stdin(Stdio::null()))?;
        let of_image: Vec<_> =
            events.iter().filter(|event| event.line.contains("\"id\":\"image\"")).collect();
        let normalised = of_image.iter().position(|event| event.line.contains("\"normalising\""));
        let at = normalised.ok_or("the build did not say when it normalises")?;
        let after = of_image.get(at + 1).ok_or("nothing came after normalising")?;
        part.push(after.at.saturating_sub(of_image[at].at));
        let (first, last) = (of_image.first(), of_image.last());
        whole.push(last.zip(first).map(|(last, first)| last.at - first.at).unwrap_or_default());
    }
    let (whole, part) = (engine::middle(whole), engine::middle(part));
    println!(
        "writing the image               {:.2} s   of that, normalising {:.0} ms   {:.1} % (target: under 5 %)",
        whole.as_secs_f64(),
        millis(part),
        100.0 * part.as_secs_f64() / whole.as_secs_f64()
    );
    Ok(())
}

/// nginx, which serves a folder to containers until this is dropped.
struct Nginx {
    server: Child,
    address: String,
}

impl Nginx {
    fn start(folder: &Path) -> Outcome<Self> {
        install(&[Need {
            what: "nginx, to compare with",
            there: || has("nginx"),
            packages: &["nginx-light"],
        }])?;
        let free = TcpListener::bind("0.0.0.0:0").and_then(|listener| listener.local_addr());
        let port = free.map_err(|error| format!("could not find a port: {error}"))?.port();
        let config = folder.join("nginx.conf");
        let shown = folder.display();
        let text = format!(
            "daemon off; master_process off; pid {shown}/pid; error_log {shown}/log;\n\
             events {{}}\nhttp {{ access_log off; sendfile on; server {{ listen {port}; root {shown}/files; }} }}\n"
        );
        fs::write(&config, text).map_err(|error| error.to_string())?;
        let server = command("nginx", &["-c", &config.to_string_lossy()])
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| format!("could not run nginx: {error}"))?;
        let gateway = capture(&mut command(
            "docker",
            &["network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"],
        ))?;
        Ok(Self { server, address: format!("{}:{port}", gateway.trim()) })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// A large file, fetched by apt's own downloader in a part: out of the recording, and from nginx on this machine.
fn downloads(pib: &Path, work: &Path) -> Outcome {
    fs::create_dir_all(work.join("files")).map_err(|error| error.to_string())?;
    let body: Vec<u8> = (0..LARGE << 20).map(|at| ((at * at) >> 7) as u8).collect();
    fs::write(work.join("files/large"), body).map_err(|error| error.to_string())?;
    let nginx = Nginx::start(work)?;
    // apt drops its rights to write below /tmp; the time is told in nanoseconds.
    let part = format!(
        "RUN for i in 1 2 3 4 5; do a=$(date +%s%N); \
         /usr/lib/apt/apt-helper download-file http://{}/large /tmp/large > /dev/null; \
         b=$(date +%s%N); rm /tmp/large; echo took $((b - a)) ns; done\n",
        nginx.address
    );
    let host = nginx.address.split(':').next().unwrap_or_default();
    let mut times = Vec::new();
    for is_recorded in [false, true] {
        let name = if is_recorded { "bench-proxied" } else { "bench-direct" };
        let project = Bench::new(pib, work, name, &part, is_recorded)?;
        project.write("config/pib/config.toml", &format!("[network]\nprivate = [\"{host}\"]\n"))?;
        project.build(&[])?;
        let told = project.build(&["--no-cache"])?;
        times.push(middle(&told)?);
    }
    let speed = |time: Duration| LARGE as f64 / time.as_secs_f64();
    println!(
        "a file of {LARGE} MiB              replayed {:.0} MiB/s   nginx over the bridge {:.0} MiB/s   {:.2} of its time",
        speed(times[1]),
        speed(times[0]),
        times[1].as_secs_f64() / times[0].as_secs_f64()
    );
    Ok(())
}

/// Returns the middle one of the times that a part has printed.
fn middle(told: &str) -> Outcome<Duration> {
    let times = told.lines().filter_map(|line| line.split_once("took ")?.1.strip_suffix(" ns")?.parse().ok());
    let mut times: Vec<u64> = times.collect();
    times.sort_unstable();
    let middle = times.get(times.len() / 2).ok_or("the part printed no times")?;
    Ok(Duration::from_nanos(*middle))
}
