//! Engines of other kinds and versions: starts each from Debian's packages, holds it to the contract, and has it build.
//!
//! Nothing of the machine is changed but what it lacks of Debian's packages: each engine has its own root file system,
//! network, processes and mounts, which end with this task, also where that is killed.

mod debian;
mod start;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::run::{Outcome, cache, command, linting_cargo, root, show};
use start::Engine;

/// A kind of engine.
struct Kind {
    name: &'static str,
    /// What it is, for readers of the book.
    title: &'static str,
    /// The release of Debian that has it.
    release: &'static str,
    program: &'static str,
    /// Where it keeps images, for readers of the book.
    store: &'static str,
    /// Whether `cargo xtask test` tries it, too.
    always: bool,
}

/// All kinds. What the contract says of Docker 20.10 and Podman 4.3, the tests themselves find out on Debian 12.
const KINDS: [Kind; 9] = [
    kind("docker-20", "Docker 20.10", "bookworm", "docker", "overlay2", false),
    kind("docker-26", "Docker 26.1", "trixie", "docker", "overlay2", true),
    kind("docker-26-containerd", "Docker 26.1", "trixie", "containerd", "containerd", true),
    kind(
        "docker-26-rootless",
        "Docker 26.1, rootless",
        "trixie",
        "rootless",
        "fuse-overlayfs or overlay2",
        true,
    ),
    kind("docker-28", "Docker 28.5", "sid", "docker", "overlay2", false),
    kind("docker-28-containerd", "Docker 28.5", "sid", "containerd", "containerd", false),
    kind("docker-28-rootless", "Docker 28.5, rootless", "sid", "rootless", "overlay2", false),
    kind("podman-4", "Podman 4.3", "bookworm", "podman", "overlay", false),
    kind("podman-5", "Podman 5", "trixie", "podman", "overlay", true),
];

const fn kind(
    name: &'static str,
    title: &'static str,
    release: &'static str,
    program: &'static str,
    store: &'static str,
    always: bool,
) -> Kind {
    Kind { name, title, release, program, store, always }
}

/// How a step on an engine ended.
enum Ended {
    Well(Duration),
    Badly(String),
    /// It was not tried, for a reason.
    Skipped(String),
}

/// What came of one kind.
struct Result {
    kind: &'static Kind,
    version: String,
    contract: Ended,
    job: Ended,
    image: Option<Image>,
}

/// The image that an engine's root file system became.
struct Image {
    digest: String,
    /// What the engine drops, as the build's report says it.
    losses: Vec<String>,
}

/// Tries the kinds named, or all, and writes the table: into the book, once each kind has its row in it.
pub(crate) fn engines(names: &[String]) -> Outcome {
    if let Some(unknown) = names.iter().find(|name| !KINDS.iter().any(|kind| kind.name == **name)) {
        let all: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        return Err(format!("unknown engine `{unknown}`; the engines are {}", all.join(", ")));
    }
    debian::needs()?;
    show(&mut linting_cargo(&["build", "--bin", "pib"]))?;
    show(contract().arg("--no-run"))?;
    let chosen = KINDS.iter().filter(|kind| names.is_empty() || names.iter().any(|name| name == kind.name));
    let results: Vec<Result> = chosen.map(attempt).collect();
    let rows = rows(&results)?;
    let table = format!("{HEAD}{}", rows.iter().flatten().map(String::as_str).collect::<String>());
    println!("{table}");
    if rows.iter().all(Option::is_some) {
        into_book(&table)?;
    }
    verdict(&results)
}

/// Holds one engine of each kind that the machine does not have to the contract; for `cargo xtask test`. What cannot be
/// tried here is told with the reason.
pub(crate) fn contracts() -> Outcome {
    let kinds = || KINDS.iter().filter(|kind| kind.always);
    if let Err(reason) = debian::needs() {
        kinds().for_each(|kind| eprintln!("SKIPPED {}: the contract of engines: {reason}", kind.name));
        return Ok(());
    }
    let mut skipped = Vec::new();
    for kind in kinds() {
        match start_kind(kind) {
            Ok(engine) => {
                if let Ended::Badly(reason) = hold(kind, &engine) {
                    return Err(format!("{} does not hold the contract of engines: {reason}", kind.name));
                }
            }
            Err(reason) => skipped.push(format!("{}: the contract of engines: {reason}", kind.name)),
        }
    }
    skipped.iter().for_each(|line| eprintln!("SKIPPED {line}"));
    Ok(())
}

/// Starts the engine of this name; it ends with what is returned.
pub(crate) fn start(name: &str) -> Outcome<Engine> {
    let kind =
        KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| format!("unknown engine `{name}`"))?;
    start_kind(kind)
}

fn start_kind(kind: &Kind) -> Outcome<Engine> {
    Engine::start(&debian::unpacked(kind.release)?, kind.name, kind.program)
}

/// Has one kind hold the contract and do the main job.
fn attempt(kind: &'static Kind) -> Result {
    eprintln!("== {}: {} ({})", kind.name, kind.title, kind.store);
    match start_kind(kind) {
        Err(reason) => {
            eprintln!("{} cannot run here: {reason}", kind.name);
            let (contract, job) = (Ended::Skipped(reason), Ended::Skipped("not started".to_owned()));
            Result { kind, version: String::new(), contract, job, image: None }
        }
        Ok(engine) => {
            let (contract, (job, image)) = (hold(kind, &engine), build(kind, &engine));
            Result { kind, version: engine.version().unwrap_or_default(), contract, job, image }
        }
    }
}

/// Returns the program of the contract's tests for an engine that is given to it.
fn contract() -> std::process::Command {
    // The same packages as in `cargo xtask test`, so that nothing is compiled twice.
    linting_cargo(&["test", "--test", "it"])
}

fn hold(kind: &Kind, engine: &Engine) -> Ended {
    let (variable, clauses) = match kind.program {
        "podman" => ("PIB_TEST_PODMAN", "engine::contract::podman::"),
        _ => ("DOCKER_HOST", "engine::contract::docker_with_buildkit::"),
    };
    let mut tests = contract();
    tests.args(["--", clauses]);
    timed(|| show(tests.env(variable, engine.address()).env("PIB_TEST_CACHE", cache())))
}

/// Builds the project, and returns its image.
fn build(kind: &Kind, engine: &Engine) -> (Ended, Option<Image>) {
    let project = root().join("target/engines/project").join(kind.name);
    let pib = root().join("target/debug/pib");
    let ended = timed(|| {
        _ = fs::remove_dir_all(&project);
        copy(&root().join("host/xtask/src/engines/project"), &project)?;
        let mut build = command(&pib.to_string_lossy(), &["--engine", engine.address(), "build"]);
        show(build.current_dir(&project).env("PIB_CACHE_DIR", cache()))
    });
    (ended, Image::of(&project.join("target")))
}

impl Image {
    /// Reads what a build left in its folder.
    fn of(target: &Path) -> Option<Self> {
        let read = |end: &str| fs::read_to_string(target.join(format!("engines-rpi4-arm64.{end}"))).ok();
        let digest = read("img.sha256")?.split_whitespace().next()?.to_owned();
        // A list of plain words; an engine that drops nothing has none.
        let report = read("json")?;
        let list = report.split_once("\"losses\":").and_then(|(_, rest)| rest.split_once(']'));
        let words = list.map_or("", |(list, _)| list).split('"').skip(1).step_by(2);
        Some(Self { digest, losses: words.map(str::to_owned).collect() })
    }
}

fn copy(from: &Path, to: &Path) -> Outcome {
    let fail = |error| format!("could not copy {} to {}: {error}", from.display(), to.display());
    fs::create_dir_all(to).map_err(fail)?;
    for entry in fs::read_dir(from).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(&from, &to).map_err(fail)?;
        }
    }
    Ok(())
}

fn timed(step: impl FnOnce() -> Outcome) -> Ended {
    let since = Instant::now();
    match step() {
        Ok(()) => Ended::Well(since.elapsed()),
        Err(reason) => Ended::Badly(reason),
    }
}

/// The head of the table.
const HEAD: &str = "| engine | store | contract | main job | image | drops |\n|---|---|---|---|---|---|\n";

/// Keeps the rows of these results, and returns those of all kinds, as far as they were tried on this machine.
fn rows(results: &[Result]) -> Outcome<Vec<Option<String>>> {
    let folder = root().join("target/engines/rows");
    let fail = |error| format!("could not write to {}: {error}", folder.display());
    fs::create_dir_all(&folder).map_err(fail)?;
    for result in results {
        fs::write(folder.join(result.kind.name), result.row()).map_err(fail)?;
    }
    Ok(KINDS.iter().map(|kind| fs::read_to_string(folder.join(kind.name)).ok()).collect())
}

impl Result {
    fn row(&self) -> String {
        let version = match self.version.as_str() {
            "" => String::new(),
            version => format!(" ({version})"),
        };
        let (contract, job) = (self.contract.cell(), self.job.cell());
        let image = self.image.as_ref();
        let digest = image.map_or(String::new(), |image| format!("`{:.16}`", image.digest));
        let losses = image.map_or(String::new(), |image| image.losses.join(", "));
        let Kind { title, store, .. } = self.kind;
        format!("| {title}{version} | {store} | {contract} | {job} | {digest} | {losses} |\n")
    }
}

impl Ended {
    fn cell(&self) -> String {
        match self {
            Self::Well(time) => format!("{} s", time.as_secs()),
            Self::Badly(_) => "**fails**".to_owned(),
            Self::Skipped(reason) => format!("skipped: {}", reason.lines().next().unwrap_or_default()),
        }
    }
}

/// Puts the table into the book, between its marks.
fn into_book(table: &str) -> Outcome {
    const MARKS: (&str, &str) = ("<!-- cargo xtask engines -->\n", "<!-- end -->");
    let path: PathBuf = root().join("host/docs/explanations/engines.md");
    let fail = |error| format!("could not change {}: {error}", path.display());
    let text = fs::read_to_string(&path).map_err(fail)?;
    let parts =
        text.split_once(MARKS.0).and_then(|(before, rest)| Some((before, rest.split_once(MARKS.1)?.1)));
    let Some((before, after)) = parts else {
        return Err(format!("{} has no place for the table: {}", path.display(), MARKS.0.trim()));
    };
    fs::write(&path, format!("{before}{}\n{table}\n{}{after}", MARKS.0, MARKS.1)).map_err(fail)
}

/// Fails where an engine failed, and where two that drop the same made different images.
fn verdict(results: &[Result]) -> Outcome {
    let mut faults = Vec::new();
    for result in results {
        for (what, ended) in [("the contract", &result.contract), ("the main job", &result.job)] {
            match ended {
                Ended::Well(_) => {}
                Ended::Badly(reason) => faults.push(format!("{}: {what}: {reason}", result.kind.name)),
                Ended::Skipped(reason) => {
                    eprintln!("SKIPPED {}: {what}: {reason}", result.kind.name);
                }
            }
        }
    }
    // What drops something says so, and makes another image than what drops nothing.
    let made = || results.iter().filter_map(|result| Some((result.kind.name, result.image.as_ref()?)));
    for (name, image) in made() {
        let alike = made().find(|(_, other)| other.losses == image.losses);
        if let Some((first, _)) = alike.filter(|(_, other)| other.digest != image.digest) {
            faults.push(format!("{first} and {name} made different images"));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}
