//! A shared cache of built stages: an empty machine beside one that has everything, and beside building.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::engines;
use crate::run::{Outcome, cache, capture, command, root};

/// The project's name, which is in those of its container images.
const NAME: &str = "bench-shared";
/// The engine that the empty machine has.
const ENGINE: &str = "docker-26";

/// Measures a build of a whole system, the same with everything there, and the same on an empty engine with a full shared cache.
pub(super) fn shared(pib: &Path) -> Outcome {
    let work = root().join("target/bench/shared");
    let _ = fs::remove_dir_all(&work);
    let outcome = measure(pib, &work);
    let list = ["images", "--format", "{{.Repository}}:{{.Tag}}", &format!("pib/{NAME}")];
    for tag in capture(&mut command("docker", &list))?.lines() {
        capture(&mut command("docker", &["rmi", "--force", tag]))?;
    }
    let _ = fs::remove_dir_all(&work);
    outcome
}

fn measure(pib: &Path, work: &Path) -> Outcome {
    let fail = |error| format!("could not make {}: {error}", work.display());
    fs::create_dir_all(work.join("config/pib")).map_err(fail)?;
    let config = format!("[cache]\nurl = \"{}\"\nwrite = \"always\"\n", work.join("stages").display());
    fs::write(work.join("config/pib/config.toml"), config).map_err(fail)?;
    let project = work.join(NAME);
    capture(run(pib, work, work).args(["new", NAME]))?;
    capture(run(pib, work, &project).arg("lock"))?;
    let building = time(run(pib, work, &project).args(["build", "--no-cache"]))?;
    let image = image(&project)?;
    let first = fs::read_to_string(image.with_extension("img.sha256")).map_err(fail)?;
    fs::remove_file(&image).map_err(fail)?;
    let warm = time(run(pib, work, &project).arg("build"))?;
    fs::remove_dir_all(project.join("target")).map_err(fail)?;

    let engine = engines::start(ENGINE)?;
    let mut empty = run(pib, work, &project);
    empty.env("PIB_CACHE_DIR", work.join("empty")).env("DOCKER_HOST", engine.address());
    let cold = time(empty.args(["build", "--locked"]))?;
    let same = fs::read_to_string(image.with_extension("img.sha256")).map_err(fail)? == first;
    let size = capture(command("du", &["-sh"]).arg(work.join("stages")))?;
    println!("building, and adding what was built       {:>8.1} s", building.as_secs_f64());
    println!("everything is there but the image         {:>8.1} s", warm.as_secs_f64());
    println!(
        "an empty engine, a full shared cache      {:>8.1} s   {:.1} times that, {:.0} % of building",
        cold.as_secs_f64(),
        cold.as_secs_f64() / warm.as_secs_f64(),
        100.0 * cold.as_secs_f64() / building.as_secs_f64()
    );
    println!("the shared cache has {}", size.split_whitespace().next().unwrap_or_default());
    if same { Ok(()) } else { Err("the image from the shared cache is another".to_owned()) }
}

fn run(pib: &Path, work: &Path, folder: &Path) -> Command {
    let mut run = command(&pib.to_string_lossy(), &["--quiet"]);
    run.current_dir(folder).env("PIB_CACHE_DIR", cache()).env("XDG_CONFIG_HOME", work.join("config"));
    run
}

fn time(run: &mut Command) -> Outcome<Duration> {
    let since = Instant::now();
    capture(run)?;
    Ok(since.elapsed())
}

fn image(project: &Path) -> Outcome<std::path::PathBuf> {
    let files = fs::read_dir(project.join("target")).map_err(|error| error.to_string())?.flatten();
    let mut images =
        files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|end| end == "img"));
    images.next().ok_or_else(|| "the build wrote no image".to_owned())
}
