//! Many real processes on one cache and one project, also such as are killed at any moment.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pib_plan::lockfile::Lockfile;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::bench::{Bench, NO_BASE, PROJECT, Ran};
use crate::forge::{Forge, Manners, Repo};
use crate::site::{Site, publish, succeeds};

/// How many processes.
const CROWD: usize = 200;
/// How many of them run at once where each is killed.
const WAVE: usize = 20;

/// A project with a stage of a web server, one of a git repository behind another, and one of a folder's repository.
fn place() -> (Bench, Site, Forge) {
    let bench = Bench::new(PROJECT);
    let site = Site::start(bench.path("../registry"));
    publish(&bench, "1.0.0");
    for name in ["kvm", "cam"] {
        let repo = Repo::new(&bench.path(&format!("../repos/{name}")));
        repo.stage("", name, "2.0.0");
        repo.write("files/data", &"0123456789abcdef".repeat(1 << 12));
        repo.commit();
    }
    let forge = Forge::start(&bench.path("../repos"), Manners::default());
    let stages = format!(
        "acme = {{ version = \"1\", registry = \"acme\" }}\nkvm = {{ git = \"{}/kvm/.git\" }}\n\
         cam = {{ git = \"file://{}\" }}\n\n[registries.acme]\nindex = \"{}\"\n",
        forge.address,
        bench.folder.path().join("repos/cam").display(),
        site.address
    );
    bench.write("pib.toml", &format!("{PROJECT}{stages}"));
    (bench, site, forge)
}

fn spawn(bench: &Bench, number: usize, log: Stdio) -> Child {
    let command = if number.is_multiple_of(2) { "lock" } else { "fetch" };
    let mut pib = bench.in_here(Command::new(env!("CARGO_BIN_EXE_pib")));
    pib.arg(command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

/// Checks that the lock is the one that a single process makes, and that the cache and the project are in order.
fn all_is_well(bench: &Bench, lock: &str) {
    let text = fs::read_to_string(bench.path("pib.lock")).unwrap();
    Lockfile::parse("pib.lock", &text).unwrap();
    assert_eq!(text, lock);
    succeeds(bench, &["fetch", "--frozen"]);
    let verified = succeeds(bench, &["cache", "verify"]);
    assert!(!verified.contains("removed"), "{verified}");
    assert_eq!(left(bench), Vec::<PathBuf>::new(), "something is left");
    let mut names: Vec<_> =
        fs::read_dir(bench.path("")).unwrap().map(|item| item.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["pib.lock", "pib.toml", "target"]);
}

/// Returns what is temporary in the cache.
fn left(bench: &Bench) -> Vec<PathBuf> {
    let cache = bench.path("../cache");
    let temporary = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let in_temp = path.parent().is_some_and(|parent| parent.ends_with("tmp"));
        let git_lock = name.ends_with(".lock") && path.components().any(|part| part.as_os_str() == "refs");
        in_temp || git_lock || name.contains("_git2_")
    };
    let items = walkdir::WalkDir::new(cache).into_iter().flatten().map(walkdir::DirEntry::into_path);
    items.filter(|path| temporary(path)).collect()
}

/// Returns the lock that one process makes, in a cache of its own that is gone afterwards.
fn lock_of_one(bench: &Bench) -> String {
    succeeds(bench, &["lock"]);
    let text = fs::read_to_string(bench.path("pib.lock")).unwrap();
    forget(bench);
    text
}

fn forget(bench: &Bench) {
    fs::remove_file(bench.path("pib.lock")).unwrap();
    fs::remove_dir_all(bench.path("../cache")).unwrap();
}

#[test]
fn two_hundred_at_once_all_succeed() {
    let (bench, ..) = place();
    let lock = lock_of_one(&bench);
    let logs = bench.folder.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let log = |number: usize| logs.join(number.to_string());
    let children: Vec<Child> = (0..CROWD)
        .map(|number| spawn(&bench, number, fs::File::create(log(number)).unwrap().into()))
        .collect();
    for (number, mut child) in children.into_iter().enumerate() {
        let status = child.wait().unwrap();
        let said = fs::read_to_string(log(number)).unwrap();
        // There is no mirror here, and so no base for the lock.
        let lacks_base = status.code() == Some(8) && said.contains(NO_BASE);
        assert!(status.success() || lacks_base, "{number}: {status}: {said}");
    }
    all_is_well(&bench, &lock);
}

#[test]
fn two_hundred_killed_at_any_moment_leave_a_cache_and_a_project_in_order() {
    let (bench, ..) = place();
    let began = Instant::now();
    let lock = lock_of_one(&bench);
    // Most moments are early: a process has not much to do where the cache has everything.
    let longest = began.elapsed().min(Duration::from_secs(2)) * 2;
    let mut random = StdRng::seed_from_u64(4);
    let mut killed = 0;
    for wave in 0..CROWD / WAVE {
        let began = Instant::now();
        let mut moment = || longest.mul_f64(random.r#gen::<f64>().powi(2));
        let mut children: Vec<(Child, Duration)> =
            (0..WAVE).map(|number| (spawn(&bench, number, Stdio::null()), moment())).collect();
        children.sort_by_key(|(_, moment)| *moment);
        for (child, moment) in &mut children {
            std::thread::sleep(moment.saturating_sub(began.elapsed()));
            killed += usize::from(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
            child.wait().unwrap();
        }
        succeeds(&bench, &["fetch"]);
        all_is_well(&bench, &lock);
        // The next ones find an empty cache, one with everything in it, or one without the stages.
        match wave % 3 {
            0 => forget(&bench),
            1 => {}
            _ => fs::remove_dir_all(bench.path("../cache/stages")).unwrap(),
        }
    }
    assert!(killed > CROWD / 4, "only {killed} were killed while they worked");
}

#[test]
fn a_wait_for_another_one_can_be_interrupted() {
    let bench = Bench::new(PROJECT);
    succeeds(&bench, &["fetch"]);
    for (lock, args) in [
        ("target/.pib-lock", &["lock"][..]),
        ("../cache/lock", &["tree"]),
        ("../cache/lock", &["cache", "verify"]),
    ] {
        let file = fs::File::options().write(true).open(bench.path(lock)).unwrap();
        file.lock().unwrap();
        let mut pib = bench.in_here(Command::new(env!("CARGO_BIN_EXE_pib")));
        let mut child = pib.args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        while !line.contains("Waiting for another pib") {
            assert!(said.read_line(&mut line).unwrap() > 0, "{args:?}: {line}");
        }
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let began = Instant::now();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{args:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{args:?}: {:?}", began.elapsed());
    }
}

#[test]
fn several_projects_fill_one_cache_at_once() {
    let (bench, ..) = place();
    let lock = lock_of_one(&bench);
    let manifest = fs::read_to_string(bench.path("pib.toml")).unwrap();
    // Projects do not wait for each other, so that only the cache itself keeps order.
    let names: Vec<String> = (0..12).map(|number| format!("../project-{number}")).collect();
    for name in &names {
        bench.write(&format!("{name}/pib.toml"), &manifest);
    }
    let ran: Vec<Ran> = std::thread::scope(|scope| {
        let bench = &bench;
        let run = |name: &String| bench.run(&["-C", name, "fetch"]);
        let threads: Vec<_> = names.iter().map(|name| scope.spawn(move || run(name))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (ran, name) in ran.iter().zip(&names) {
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.errors);
        assert_eq!(fs::read_to_string(bench.path(&format!("{name}/pib.lock"))).unwrap(), lock);
    }
    let verified = succeeds(&bench, &["cache", "verify"]);
    assert!(!verified.contains("removed"), "{verified}");
    assert_eq!(left(&bench), Vec::<PathBuf>::new());
}
