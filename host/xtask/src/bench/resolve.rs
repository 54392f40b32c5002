//! Choosing versions: in memory, of a large registry; as a whole program, beside cargo's own resolver on the same graph;
//! and with 500 index files behind a web server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::measure::{median, millis};
use super::web;
use crate::run::{Outcome, capture, cargo, command, root, show};

/// How many index files the web server has.
const FILES: usize = 500;

/// What can be measured alone.
const PARTS: [&str; 4] = ["memory", "files", "example", "web"];

/// Measures all of it, or the parts that are named.
pub(super) fn resolve(pib: &Path, what: &[String]) -> Outcome {
    let parts: Vec<&str> = what.iter().map(String::as_str).filter(|word| PARTS.contains(word)).collect();
    let wanted = |name: &str| parts.is_empty() || parts.contains(&name);
    let work = root().join("target/bench/resolve");
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).map_err(|error| format!("could not create {}: {error}", work.display()))?;
    if wanted("memory") {
        show(&mut cargo(&["bench", "--quiet", "--locked", "-p", "pib-plan", "--bench", "resolve"]))?;
    }
    if wanted("files") {
        files(pib, &work)?;
    }
    if wanted("example") {
        example(pib, &work)?;
    }
    if wanted("web") {
        over_http(pib, &work)?;
    }
    let _ = fs::remove_dir_all(&work);
    Ok(())
}

/// The same graph in files: pib as a whole, beside cargo as a whole.
fn files(pib: &Path, work: &Path) -> Outcome {
    let folder = work.to_string_lossy().into_owned();
    let bench = ["bench", "--quiet", "--locked", "-p", "pib-plan", "--bench", "resolve", "--", "--write"];
    print!("{}", capture(cargo(&bench).arg(&folder))?);
    name_base(&work.join("pib/pib.toml"))?;
    let ours = median(11, || {
        let _ = fs::remove_file(work.join("pib/pib.lock"));
        capture(in_folder(pib, &work.join("pib"), work).args(["lock", "--offline"])).map(drop)
    })?;
    let theirs = median(11, || {
        let _ = fs::remove_file(work.join("cargo/Cargo.lock"));
        capture(&mut cargo_in(&work.join("cargo"), work, &["generate-lockfile", "--offline"])).map(drop)
    })?;
    println!("pib lock, that graph in files          {:>8.1} ms", millis(ours));
    println!(
        "cargo generate-lockfile, the same      {:>8.1} ms   {:.1} times pib's",
        millis(theirs),
        theirs.as_secs_f64() / ours.as_secs_f64()
    );
    Ok(())
}

/// The example project, whose stages are all there.
fn example(pib: &Path, work: &Path) -> Outcome {
    let project = work.join("example");
    fs::create_dir_all(&project)
        .map_err(|error| format!("could not create {}: {error}", project.display()))?;
    fs::copy(root().join("host/examples/router/pib.toml"), project.join("pib.toml"))
        .map_err(|error| format!("could not copy the example: {error}"))?;
    let lock = || capture(in_folder(pib, &project, work).arg("lock")).map(drop);
    capture(in_folder(pib, &project, work).arg("fetch"))?;
    let time = median(41, lock)?;
    println!("pib lock, the example, all cached      {:>8.1} ms   (target: under 20 ms)", millis(time));
    let anew = median(11, || {
        let _ = fs::remove_file(project.join("pib.lock"));
        capture(in_folder(pib, &project, work).args(["lock", "--offline"])).map(drop)
    })?;
    println!("pib lock, the same, its base anew      {:>8.1} ms   (target: under 150 ms)", millis(anew));
    Ok(())
}

/// Has a project name its base by a digest, so that nothing but the choice of versions is measured: cargo has no base to choose.
fn name_base(manifest: &Path) -> Outcome {
    let fail = |error| format!("could not change {}: {error}", manifest.display());
    let text = fs::read_to_string(manifest).map_err(fail)?;
    let base = format!("\n[base]\nimage = \"debian@sha256:{:064x}\"\n", 1);
    fs::write(manifest, text + &base).map_err(fail)
}

/// Index files of a web server on this machine: fetched, and asked for again.
fn over_http(pib: &Path, work: &Path) -> Outcome {
    let site = work.join("site");
    let (mut stages, mut crates) = (String::new(), String::new());
    for number in 0..FILES {
        let name = format!("f{number:03}");
        let path = PathBuf::from(&name[..2]).join(&name[2..]).join(&name);
        write(&site.join("pib").join(&path), &versions(|version| stage_line(&name, version)))?;
        write(&site.join("cargo").join(&path), &versions(|version| crate_line(&name, version)))?;
        stages.push_str(&format!("{name} = {{ version = \"1\", registry = \"web\" }}\n"));
        crates.push_str(&format!("{name} = {{ version = \"1\", registry = \"web\" }}\n"));
    }
    let server = web::Server::start(site.clone())?;
    write(&site.join("pib/config.json"), "{\"v\":1}\n")?;
    write(&site.join("cargo/config.json"), &format!("{{\"dl\":\"{}/dl\"}}\n", server.address))?;
    let (ours, theirs) = (work.join("web/pib"), work.join("web/cargo"));
    let head = "[project]\nname = \"web\"\nos = \"debian\"\nrelease = \"trixie\"\nboard = \"rpi4\"\narch = \"arm64\"\n\n[stages]\n";
    write(
        &ours.join("pib.toml"),
        &format!("{head}{stages}\n[registries.web]\nindex = \"{}/pib/\"\n", server.address),
    )?;
    name_base(&ours.join("pib.toml"))?;
    let package = "[package]\nname = \"web\"\nversion = \"1.0.0\"\nedition = \"2021\"\n\n[workspace]\n\n[dependencies]\n";
    write(&theirs.join("Cargo.toml"), &format!("{package}{crates}"))?;
    write(&theirs.join("src/lib.rs"), "")?;
    write(
        &theirs.join(".cargo/config.toml"),
        &format!("[registries.web]\nindex = \"sparse+{}/cargo/\"\n", server.address),
    )?;
    let cargo = |args: &[&str]| capture(&mut cargo_in(&theirs, work, args)).map(drop);
    let pib = |args: &[&str]| capture(in_folder(pib, &ours, work).args(args)).map(drop);
    for (title, again) in [("fetched", false), ("asked for again", true)] {
        let prepare = || {
            for path in [ours.join("pib.lock"), theirs.join("Cargo.lock")] {
                let _ = fs::remove_file(path);
            }
            if !again {
                let _ = fs::remove_dir_all(work.join("cache"));
                let _ = fs::remove_dir_all(work.join("cargo-home"));
            }
        };
        server.counts();
        let own = times(&prepare, || pib(&["lock"]))?;
        let (sent, unchanged) = server.counts();
        let other = times(&prepare, || cargo(&["generate-lockfile"]))?;
        println!(
            "pib lock, {FILES} index files {title:<15} {:>6.1} ms   ({sent} sent, {unchanged} unchanged)",
            millis(own)
        );
        println!(
            "cargo generate-lockfile, the same      {:>8.1} ms   {:.1} times pib's",
            millis(other),
            other.as_secs_f64() / own.as_secs_f64()
        );
    }
    Ok(())
}

/// Returns the median time of `work`, without that of `prepare` before each.
fn times(prepare: &dyn Fn(), mut work: impl FnMut() -> Outcome) -> Outcome<Duration> {
    let mut times = Vec::new();
    for _ in 0..7 {
        prepare();
        times.push(median(1, &mut work)?);
    }
    times.sort();
    Ok(times[3])
}

fn versions(line: impl Fn(usize) -> String) -> String {
    (0..20).map(|version| line(version) + "\n").collect()
}

fn stage_line(name: &str, version: usize) -> String {
    let digest = format!("sha256:{:064x}", version);
    format!(
        r#"{{"name":"{name}","vers":"1.{version}.0","phase":"normal","cksum":"{digest}","content":"{digest}","size":1}}"#
    )
}

fn crate_line(name: &str, version: usize) -> String {
    format!(
        r#"{{"name":"{name}","vers":"1.{version}.0","deps":[],"cksum":"{version:064x}","features":{{}},"yanked":false}}"#
    )
}

fn write(path: &Path, text: &str) -> Outcome {
    let fail = |error| format!("could not write {}: {error}", path.display());
    fs::create_dir_all(path.parent().unwrap_or(path)).map_err(fail)?;
    fs::write(path, text).map_err(fail)
}

/// Returns pib in a project, with a cache of its own.
fn in_folder(pib: &Path, project: &Path, work: &Path) -> Command {
    let mut run = command(&pib.to_string_lossy(), &["--quiet"]);
    run.current_dir(project).env("PIB_CACHE_DIR", work.join("cache"));
    // The registry is beside the project.
    run.env("PIB_TRUST", "1");
    run
}

/// Returns cargo in a package, with a home of its own and without what the cargo that runs this task has set.
fn cargo_in(package: &Path, work: &Path, args: &[&str]) -> Command {
    let mut run = cargo(args);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO")) {
        run.env_remove(name);
    }
    run.current_dir(package).env("CARGO_HOME", work.join("cargo-home"));
    run
}
