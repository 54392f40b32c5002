//! What all measurements need: pib without a word, and the middle of some times.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::run::{Outcome, cache, capture, command, root};

/// How long a build with nothing changed takes, beside the plain client on the same context.
pub(super) fn no_op(pib: &Path, project: &Path) -> Outcome {
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

/// Returns where programs are looked for, with the folders of those that root uses.
pub(super) fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// Returns pib, to be run in a project without a word.
pub(super) fn run_pib(pib: &Path, project: &Path) -> Command {
    let mut run = command(&pib.to_string_lossy(), &["--quiet"]);
    run.current_dir(project).env("PIB_CACHE_DIR", cache());
    run
}

/// Returns the median of the times that some work takes.
pub(super) fn median(runs: usize, mut work: impl FnMut() -> Outcome) -> Outcome<Duration> {
    let mut times = Vec::with_capacity(runs);
    for _ in 0..runs {
        let since = Instant::now();
        work()?;
        times.push(since.elapsed());
    }
    times.sort();
    Ok(times[runs / 2])
}

pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
