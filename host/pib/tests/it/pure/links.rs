//! A stranger's project, in which what pib writes is there already: as a link to the user's files, a link to nowhere,
//! another name of a user's file, a named pipe, a folder. Nothing outside of the project changes or is shown.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use pib_plan::id::Digest;

use crate::bench::{Bench, Ran};

const STEM: &str = "router-rpi4-arm64";
/// A line that no message shows.
const SECRET: &str = "machine example.org login me password hunter2\n";

/// What stands in the place of something that pib writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Obstacle {
    /// A link to a file of the user's.
    ToFile,
    /// A link to a folder of the user's.
    ToFolder,
    /// A link to a name that nothing has yet, beside them.
    Dangling,
    /// Another name of a file of the user's.
    HardLink,
    Pipe,
    Folder,
}

use Obstacle::{Dangling, Folder, HardLink, Pipe, ToFile, ToFolder};

const OBSTACLES: [Obstacle; 6] = [ToFile, ToFolder, Dangling, HardLink, Pipe, Folder];

/// The commands that write, and a name for each.
const COMMANDS: [(&str, &[&str]); 9] = [
    ("lock", &["lock"]),
    ("add", &["add", "--path", "stages/other"]),
    ("remove", &["remove", "other"]),
    ("update", &["update"]),
    ("fetch", &["fetch"]),
    ("vendor", &["vendor"]),
    ("plan", &["plan", "--context", "context"]),
    ("clean", &["clean"]),
    ("build", &["build"]),
];

/// What pib reads or writes, and which commands end for a link in its place.
const PATHS: [(&str, &[&str]); 29] = [
    ("pib.toml", ALL),
    ("pib.lock", ALL),
    ("stages/mine/stage.toml", &["lock", "add", "update", "fetch", "vendor", "plan", "build"]),
    ("target", ALL),
    ("target/.pib-lock", ALL),
    ("target/logs", &["build"]),
    ("target/logs/latest.log", &[]),
    ("target/logs/20200101-000000-000-router.log", &[]),
    ("target/router-rpi4-arm64.img", &["build"]),
    ("target/router-rpi4-arm64.img.xz", &["build"]),
    ("target/router-rpi4-arm64.img.zst", &["build"]),
    ("target/router-rpi4-arm64.img.sha256", &["build"]),
    ("target/router-rpi4-arm64.img.bmap", &["build"]),
    ("target/router-rpi4-arm64.json", &["build"]),
    ("target/router-rpi4-arm64.rpi-imager-manifest", &["build"]),
    ("target/router-rpi4-arm64.spdx.json", &["build"]),
    ("target/router-rpi4-arm64.cdx.json", &["build"]),
    ("target/router-rpi4-arm64.provenance.json", &["build"]),
    ("target/router-rpi4-arm64.stages.json", &["build"]),
    ("target/router-rpi4-arm64.tar", &[]),
    ("target/.router-rpi4-arm64.img.part", &[]),
    ("target/.pib-new-left", &[]),
    ("vendor", &["lock", "add", "update", "fetch", "vendor", "plan", "build"]),
    ("vendor/vendored.toml", &["lock", "add", "update", "fetch", "vendor", "plan", "build"]),
    ("vendor/cam", &["vendor"]),
    ("vendor/cam/stage.toml", &["vendor"]),
    ("vendor/.gitattributes", &[]),
    ("vendor/.pib-vendor-left", &[]),
    ("context", &["plan"]),
];

const ALL: &[&str] = &["lock", "add", "remove", "update", "fetch", "vendor", "plan", "clean", "build"];

/// A project that needs nothing but itself and a folder beside it, and the user's files.
fn bench() -> Bench {
    let bench = Bench::new("");
    let mut base = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    header.set_mode(0o644);
    base.append_data(&mut header, "etc/hostname", std::io::empty()).unwrap();
    let base = base.into_inner().unwrap();
    bench.write("base.tar", &base);
    let digest = Digest::of(&base);
    bench.write(
        "pib.toml",
        &format!(
            "[project]\nname = \"router\"\nos = \"debian\"\nrelease = \"trixie\"\nboard = \"rpi4\"\narch = \"arm64\"\n\n\
             [base]\npath = \"base.tar\"\ndigest = \"{digest}\"\n\n[build]\nnative = false\n\n[stages]\n\
             __init__ = {{ path = \"stages/init\" }}\n__cleanup__ = {{ path = \"stages/cleanup\" }}\n\
             mine = {{ path = \"stages/mine\" }}\ncam = {{ path = \"../cam\" }}\n"
        ),
    );
    for (folder, name, phase) in [
        ("stages/init", "__init__", "init"),
        ("stages/cleanup", "__cleanup__", "cleanup"),
        ("stages/mine", "mine", "normal"),
        ("stages/other", "other", "normal"),
        ("../cam", "cam", "normal"),
    ] {
        let manifest = format!("[stage]\nname = \"{name}\"\nversion = \"1.0.0\"\nphase = \"{phase}\"\n");
        bench.write(&format!("{folder}/stage.toml"), &manifest);
        bench.write(&format!("{folder}/Dockerfile.part"), "RUN true\n");
    }
    bench.write("../home/file", SECRET);
    bench.write("../home/folder/deep/file", "precious");
    // What pruning of logs and `pib clean` look for.
    for number in 10..40 {
        bench.write(&format!("../home/folder/202001{number}-000000-000-router.log"), "x");
    }
    bench.write(&format!("../home/folder/{STEM}.img"), "x");
    bench.write("../home/folder/.pib-new-x", "x");
    bench
}

/// Puts an obstacle where pib writes; a hard link has the content that was there.
fn put(bench: &Bench, name: &str, obstacle: Obstacle) {
    let (path, home) = (bench.path(name), bench.path("../home"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let is_file = path.symlink_metadata().is_ok_and(|found| found.is_file());
    let there = is_file.then(|| fs::read(&path).unwrap());
    let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    match obstacle {
        ToFile => symlink(home.join("file"), &path).unwrap(),
        ToFolder => symlink(home.join("folder"), &path).unwrap(),
        Dangling => symlink(home.join("none"), &path).unwrap(),
        HardLink => {
            fs::write(home.join("hard"), there.unwrap_or_default()).unwrap();
            fs::hard_link(home.join("hard"), &path).unwrap();
        }
        Pipe => rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap(),
        Folder => fs::create_dir(&path).unwrap(),
    }
}

/// Everything of the user's outside of the project: paths, content, permissions and times.
fn outside(bench: &Bench) -> Vec<(PathBuf, Vec<u8>, u32, i64)> {
    let mut found = Vec::new();
    for folder in ["../home", "../cam"] {
        for entry in walkdir::WalkDir::new(bench.path(folder)).sort_by_file_name() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            let content = fs::read(entry.path()).unwrap_or_default();
            let time = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
            found.push((entry.into_path(), content, metadata.mode(), time));
        }
    }
    found
}

fn flat(ran: &Ran) -> String {
    let words: Vec<&str> = ran.errors.split_whitespace().filter(|word| !["│", "|"].contains(word)).collect();
    words.join(" ")
}

/// Says what is wrong with how a command ended; `ends` says whether a link in the place ends it.
fn fault(name: &str, obstacle: Obstacle, ends: bool, ran: &Ran) -> Option<String> {
    let text = flat(ran);
    let is_link = [ToFile, ToFolder, Dangling].contains(&obstacle);
    let names_it = text.contains(name);
    // Nothing of a stage's folder is a link, which is told in other words.
    let is_refused = match ran.code {
        Some(3) => text.contains("is a symbolic link") && text.contains("help: "),
        Some(1) => text.contains("is in the way"),
        _ => false,
    };
    match ran.code {
        _ if ran.errors.contains("hunter2") || ran.out.contains("hunter2") => {
            Some("it shows a line of the user's file".to_owned())
        }
        _ if ends && is_link => (!(is_refused && names_it)).then(|| format!("it ends with {:?}", ran.code)),
        // Without an engine, a build ends there at the best.
        Some(0 | 5) => None,
        // What is in the place cannot be used, or what an earlier command would have written is missing.
        Some(1 | 2 | 3 | 8) if names_it || text.contains("other") => None,
        code => Some(format!("it ends with {code:?} and does not say where")),
    }
}

#[test]
fn nothing_outside_changes_whatever_stands_where_pib_writes() {
    // What takes the time is the disk.
    let faults: Vec<String> = std::thread::scope(|scope| {
        let trials = PATHS.map(|(name, ending)| scope.spawn(move || faults_at(name, ending)));
        trials.into_iter().flat_map(|trial| trial.join().unwrap()).collect()
    });
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Runs every command with every obstacle at `name`; `ending` are those that a link there ends.
fn faults_at(name: &str, ending: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    for obstacle in OBSTACLES {
        let bench = bench();
        // One that was used: everything that a command may replace is there.
        for args in [["lock"], ["vendor"]] {
            assert_eq!(bench.run(&args).code, Some(0), "{args:?}: {}", bench.run(&args).errors);
        }
        for (command, args) in COMMANDS {
            let _ = fs::remove_dir_all(bench.path("context"));
            put(&bench, name, obstacle);
            let before = outside(&bench);
            let ran = bench.run(args);
            let found = match outside(&bench) == before {
                true => fault(name, obstacle, ending.contains(&command), &ran),
                false => Some("it changes what is outside".to_owned()),
            };
            faults.extend(
                found.map(|found| format!("{name} as {obstacle:?}, {command}: {found}: {}", flat(&ran))),
            );
        }
    }
    faults
}

#[test]
fn links_that_stay_in_the_project_are_read_and_not_replaced() {
    let bench = bench();
    assert_eq!(bench.run(&["lock"]).code, Some(0));
    for name in ["pib.toml", "pib.lock"] {
        fs::create_dir_all(bench.path("real")).unwrap();
        fs::rename(bench.path(name), bench.path(&format!("real/{name}"))).unwrap();
        symlink(format!("real/{name}"), bench.path(name)).unwrap();
    }
    assert_eq!(bench.run(&["tree"]).code, Some(0));
    let lock = fs::read(bench.path("pib.lock")).unwrap();
    let ran = bench.run(&["add", "--path", "stages/other"]);
    assert!(ran.code == Some(3) && flat(&ran).contains("is a symbolic link to `real/pib"), "{}", ran.errors);
    assert_eq!(fs::read(bench.path("pib.lock")).unwrap(), lock);
}

#[test]
fn what_builds_leave_may_be_elsewhere_by_the_users_word_only() {
    let bench = bench();
    let big = bench.path("../home/big");
    symlink(&big, bench.path("target")).unwrap();
    for is_there in [false, true] {
        if is_there {
            fs::create_dir(&big).unwrap();
        }
        let ran = bench.run(&["lock"]);
        let text = flat(&ran);
        assert!(ran.code == Some(3) && text.contains("PIB_TARGET_DIR"), "{text}");
    }
    // The user's own folder may be reached through links; it is made where there is none.
    fs::create_dir(bench.path("../home/disk")).unwrap();
    symlink("disk", bench.path("../home/named")).unwrap();
    let variables = [("PIB_TARGET_DIR", "../home/named/builds")];
    let ran = bench.run_with(&["lock"], &variables);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    assert!(bench.path("../home/disk/builds/.pib-lock").is_file());
    assert_eq!(fs::read_dir(&big).unwrap().count(), 0);
    // What is in it is not: who fills it may be another project.
    let image = bench.path(&format!("../home/disk/builds/{STEM}.img"));
    symlink(bench.path("../home/file"), &image).unwrap();
    let ran = bench.run_with(&["build"], &variables);
    assert!(ran.code == Some(3) && flat(&ran).contains("symbolic link to"), "{}", ran.errors);
    let ran = bench.run_with(&["clean"], &variables);
    assert!(ran.code == Some(0) && image.symlink_metadata().is_err(), "{}", ran.errors);
    assert_eq!(fs::read_to_string(bench.path("../home/file")).unwrap(), SECRET);
}

#[test]
fn clean_removes_links_as_links_and_goes_into_its_own_folders_only() {
    let bench = bench();
    let home = bench.path("../home");
    for (name, leads_to) in [
        ("target/logs/folder", "folder"),
        ("target/logs/file", "file"),
        ("target/router-rpi4-arm64.img", "file"),
        ("target/router-rpi4-arm64.tar", "folder"),
    ] {
        fs::create_dir_all(bench.path(name).parent().unwrap()).unwrap();
        symlink(home.join(leads_to), bench.path(name)).unwrap();
    }
    let before = outside(&bench);
    let ran = bench.run(&["clean"]);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    assert_eq!(outside(&bench), before);
    let left: Vec<_> =
        fs::read_dir(bench.path("target")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".pib-lock"]);
}

/// A project may be used through a link: the user is in it, or names it.
#[test]
fn the_projects_own_folder_may_be_reached_through_links() {
    let bench = bench();
    symlink("project", bench.path("../linked")).unwrap();
    let linked = bench.path("../linked").canonicalize().unwrap();
    assert_eq!(linked, bench.path("").canonicalize().unwrap());
    for args in
        [&["-C", "../linked", "lock"][..], &["-C", "../linked", "vendor"], &["-C", "../linked", "clean"]]
    {
        let ran = bench.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.errors);
    }
    assert!(bench.path("vendor/cam/stage.toml").is_file());
}

/// Two processes exclude each other by the project's folder, wherever each keeps what builds leave.
#[test]
fn a_project_is_locked_wherever_builds_leave_their_things() {
    let bench = bench();
    let held = fs::File::open(bench.path("")).unwrap();
    held.lock().unwrap();
    let mut pib = bench.in_here(std::process::Command::new(env!("CARGO_BIN_EXE_pib")));
    pib.arg("lock")
        .env("PIB_TARGET_DIR", bench.path("../elsewhere"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut pib = pib.spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(pib.try_wait().unwrap().is_none() && !bench.path("pib.lock").exists());
    drop(held);
    assert!(pib.wait().unwrap().success() && bench.path("pib.lock").exists());
}

#[test]
fn a_context_has_the_modes_that_an_image_gets() {
    let bench = bench();
    let ran = bench.run(&["plan", "--context", "context"]);
    assert_eq!(ran.code, Some(0), "{}", ran.errors);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&bench.path("context/Dockerfile")), 0o644);
    assert!(bench.path("context/base.tar").is_file());
}
