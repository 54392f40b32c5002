//! The loop that a person lives in, beside the plain client: nothing changed, one setting changed, many stages.
//!
//! The plain client is what this machine has: without buildx it is the classic builder. pib is measured up to the
//! container image, since the plain client goes no further.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::measure::{millis, no_op, run_pib};
use crate::run::{Outcome, capture, command, root};

/// How often each thing is measured; the median counts.
const RUNS: usize = 5;
/// The numbers of stages whose costs are compared.
const FEW: usize = 6;
const HALF: usize = 33;
const MANY: usize = 60;
/// The tag of what the plain client builds.
const PLAIN: &str = "pib-bench:engine";

/// An event of a build, and when it arrived.
pub(super) struct Event {
    pub(super) at: Duration,
    pub(super) line: String,
}

impl Event {
    fn is(&self, event: &str, id: &str) -> bool {
        self.line.contains(&format!("\"event\":\"{event}\"")) && self.line.contains(&format!("\"id\":\"{id}"))
    }
}

/// Measures what the engine's side of a build costs.
pub(super) fn engine(pib: &Path) -> Outcome {
    let work = root().join("target/bench/engine");
    let _ = fs::remove_dir_all(&work);
    let outcome = measure(pib, &work);
    let _ = capture(&mut command("docker", &["rmi", "--force", PLAIN]));
    for project in ["few", "half", "many"] {
        let list = ["images", "--format", "{{.Repository}}:{{.Tag}}", &format!("pib/bench-{project}")];
        for tag in capture(&mut command("docker", &list))?.lines() {
            capture(&mut command("docker", &["rmi", "--force", tag]))?;
        }
    }
    let _ = fs::remove_dir_all(&work);
    outcome
}

fn measure(pib: &Path, work: &Path) -> Outcome {
    let few = project(pib, work, "few", FEW)?;
    no_op(pib, &few)?;
    change(pib, &few)?;
    let half = project(pib, work, "half", HALF)?;
    let many = project(pib, work, "many", MANY)?;
    stages(pib, [(FEW, few), (HALF, half), (MANY, many)])
}

/// Makes a project of so many stages, each of which runs one program; a third have files.
fn project(pib: &Path, work: &Path, name: &str, stages: usize) -> Outcome<PathBuf> {
    let project = work.join(name);
    let fail = |error| format!("could not make {}: {error}", project.display());
    fs::create_dir_all(&project).map_err(fail)?;
    let mut list = String::new();
    for number in 0..stages {
        let stage = project.join(format!("stages/step{number:02}"));
        fs::create_dir_all(&stage).map_err(fail)?;
        let part = match number % 3 {
            0 => {
                fs::write(stage.join("file"), format!("{number}\n").repeat(100_000)).map_err(fail)?;
                format!("COPY stages/step{number:02}/file /var/lib/step{number:02}\n")
            }
            _ => format!("RUN echo {number} > /var/lib/step{number:02}\n"),
        };
        fs::write(stage.join("Dockerfile.part"), part).map_err(fail)?;
        list.push_str(&format!("step{number:02} = {{ path = \"stages/step{number:02}\" }}\n"));
    }
    let last = project.join("stages/last");
    fs::create_dir_all(&last).map_err(fail)?;
    let manifest = "[stage]\nname = \"last\"\nversion = \"1.0.0\"\n\n[order]\nafter = [\"step00\"]\n\n\
                    [config.word]\ntype = \"string\"\ndefault = \"none\"\n";
    fs::write(last.join("stage.toml"), manifest).map_err(fail)?;
    fs::write(last.join("Dockerfile.part"), "RUN echo \"$WORD\" > /var/lib/word\n").map_err(fail)?;
    let text = format!(
        "[project]\nname = \"bench-{name}\"\nos = \"debian\"\nrelease = \"trixie\"\nboard = \"rpi4\"\narch = \"arm64\"\n\n\
         [stages]\n{list}last = {{ path = \"stages/last\", config = {{ word = \"first\" }} }}\n"
    );
    fs::write(project.join("pib.toml"), text).map_err(fail)?;
    capture(run_pib(pib, &project).arg("build"))?;
    Ok(project)
}

/// One setting of the last stage changes: pib, and the plain client on the context with the same change.
fn change(pib: &Path, project: &Path) -> Outcome {
    let context = project.join("context");
    let folder = context.to_string_lossy().into_owned();
    let plain = || capture(&mut command("docker", &["build", "-q", "-t", PLAIN, &folder]));
    let write = |word: &str| -> Outcome {
        let path = project.join("pib.toml");
        let fail = |error| format!("could not change {}: {error}", path.display());
        let text = fs::read_to_string(&path).map_err(fail)?;
        let (before, rest) = text.split_once("word = \"").ok_or("the project has no word")?;
        let (_, after) = rest.split_once('"').ok_or("the project's word has no end")?;
        fs::write(&path, format!("{before}word = \"{word}\"{after}")).map_err(fail)
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..=RUNS {
        write(&format!("word-{run}-{}", std::process::id()))?;
        let events = events(pib, project, &["build"])?;
        let _ = fs::remove_dir_all(&context);
        capture(run_pib(pib, project).args(["plan", "--context"]).arg(&context))?;
        let since = Instant::now();
        plain()?;
        // The first time the plain client builds everything.
        if run > 0 {
            ours.push(until_built(&events)?);
            theirs.push(since.elapsed());
        }
    }
    let (ours, theirs) = (middle(ours), middle(theirs));
    println!("pib, the last stage's setting changed     {:>8.1} ms", millis(ours));
    println!(
        "docker build, the same                    {:>8.1} ms   {:.1} times pib's",
        millis(theirs),
        theirs.as_secs_f64() / ours.as_secs_f64()
    );
    Ok(())
}

/// Ten times the stages, and what the engine does between one and the next.
fn stages(pib: &Path, projects: [(usize, PathBuf); 3]) -> Outcome {
    let (mut idle, mut before) = (Vec::new(), None);
    for (stages, project) in projects {
        let mut times = Vec::new();
        for _ in 0..3 {
            let events = events(pib, &project, &["build", "--no-cache"])?;
            times.push(until_built(&events)?);
            idle.push(between(&events));
        }
        let time = middle(times);
        print!("{stages:>2} stages, all anew                      {:>8.2} s", time.as_secs_f64());
        // Where each stage costs the same, the second half costs what the first does.
        match before.replace((stages, time)) {
            Some((fewer, less)) => {
                let more = u32::try_from(stages - fewer).unwrap_or(1);
                println!("   each further one {:.1} ms", millis(time.saturating_sub(less) / more));
            }
            None => println!(),
        }
    }
    println!(
        "between one stage and the next            {:>8.1} ms   (median of the longest of each build's)",
        millis(middle(idle))
    );
    Ok(())
}

/// Returns the longest time in a build in which no stage was under way, from its first stage to its last.
fn between(events: &[Event]) -> Duration {
    let mut running = 0_i32;
    let (mut since, mut longest) = (None, Duration::ZERO);
    for event in events {
        if event.is("step-started", "stage:") {
            if let Some(since) = since.take() {
                longest = longest.max(event.at.saturating_sub(since));
            }
            running += 1;
        } else if event.is("step-finished", "stage:") {
            running -= 1;
            since = (running <= 0).then_some(event.at);
        }
    }
    longest
}

/// Returns when the container image was there.
pub(super) fn until_built(events: &[Event]) -> Outcome<Duration> {
    let image = events.iter().find(|event| event.is("step-started", "image"));
    image.map(|event| event.at).ok_or_else(|| "the build wrote no image".to_owned())
}

/// Runs pib and returns its events, each with its time since the start.
pub(super) fn events(pib: &Path, project: &Path, args: &[&str]) -> Outcome<Vec<Event>> {
    let mut run = command(&pib.to_string_lossy(), &["--json"]);
    run.current_dir(project).env("PIB_CACHE_DIR", crate::run::cache()).args(args);
    events_of(&mut run)
}

/// Runs pib, which is told to print events, and returns them, each with its time since the start.
pub(super) fn events_of(run: &mut Command) -> Outcome<Vec<Event>> {
    let fail = |error| format!("could not run pib: {error}");
    let since = Instant::now();
    let mut child = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(fail)?;
    let Some(errors) = child.stderr.take() else { return Err("pib has no standard error".to_owned()) };
    let mut events = Vec::new();
    for line in BufReader::new(errors).lines() {
        events.push(Event { at: since.elapsed(), line: line.map_err(fail)? });
    }
    let status = child.wait().map_err(fail)?;
    let last = events.last().map(|event| event.line.clone()).unwrap_or_default();
    status.success().then_some(events).ok_or_else(|| format!("pib failed ({status}): {last}"))
}

pub(super) fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
