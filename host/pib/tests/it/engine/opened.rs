//! Which files a plan and a build open, of a project that asks for much and of one that asks for little: the system tells.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use super::project::Scratch;
use crate::skip;

/// The engine of this machine.
const HOST: &str = "unix:///var/run/docker.sock";
/// What any program opens here: its libraries, what the system says of itself, where it finds other machines and its
/// mirror, and the engine's socket.
const SYSTEM: [&str; 10] = [
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ld.so",
    "/etc/ssl",
    "/etc/apt",
    "/proc",
    "/sys/fs/cgroup",
    "/dev",
    // The allocator asks whether there are huge pages.
    "/sys/kernel/mm/transparent_hugepage",
];

/// What a run left: its exit code, and the paths that it opened, changed or removed.
struct Traced {
    code: Option<i32>,
    errors: String,
    opened: BTreeSet<PathBuf>,
}

/// Runs the program in the project, and has every call noted that names a file.
fn traced(project: &Scratch, args: &[&str]) -> Traced {
    let log = project.path("target.trace");
    let mut strace = project.command("strace".as_ref(), &[]);
    strace.args(["-f", "-qq", "-y", "-s", "4096", "-e", "signal=none", "-e"]);
    // Asking what a path is gives nothing away; opening, changing and starting it does.
    strace.arg("trace=open,openat,openat2,creat,execve,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,symlink,symlinkat,chmod,fchmodat,truncate");
    strace.arg("-o").arg(&log).arg(env!("CARGO_BIN_EXE_pib")).args(args).env("PIB_TRUST", "0");
    let output = strace.output().unwrap();
    let text = std::fs::read_to_string(&log).unwrap();
    std::fs::remove_file(&log).unwrap();
    let folder = project.path("");
    let opened = text.lines().filter(|line| !line.contains(" = -1 ")).flat_map(|line| paths(&folder, line));
    Traced {
        code: output.status.code(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
        opened: opened.collect(),
    }
}

/// Returns the paths of a call as `strace -y` writes it: `1 openat(3</folder>, "name", ...) = 4</folder/name>`.
fn paths(cwd: &Path, line: &str) -> Vec<PathBuf> {
    let call = line.split(" = ").next().unwrap_or(line);
    // Only the program's own path is one of an `execve`.
    let most = if call.contains("execve(") { 1 } else { 2 };
    let mut folder = cwd.to_owned();
    let (mut found, mut rest) = (Vec::new(), call);
    while let Some(at) = rest.find(['<', '"']) {
        let (opening, after) = (rest.as_bytes()[at], &rest[at + 1..]);
        let Some(end) = after.find(if opening == b'<' { '>' } else { '"' }) else { break };
        match opening {
            b'<' => folder = PathBuf::from(&after[..end]),
            _ if found.len() < most => found.push(clean(&folder.join(&after[..end]))),
            _ => {}
        }
        rest = &after[end + 1..];
    }
    found
}

/// Returns a path without `.` and `..`.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(clean.pop()),
            Component::CurDir => {}
            other => clean.push(other),
        }
    }
    clean
}

/// Checks that nothing was opened but what is the project's, pib's own and the system's, and prints what was.
fn only_its_own(project: &Scratch, traced: &Traced) {
    let folder = project.path("").canonicalize().unwrap();
    assert!(traced.opened.contains(&folder.join("pib.toml")), "nothing was noted: {}", traced.errors);
    let own = |path: &&PathBuf| {
        path.starts_with(&folder) || SYSTEM.iter().any(|system| path.to_string_lossy().starts_with(system))
    };
    for path in &traced.opened {
        eprintln!("{}", path.display());
    }
    let pib = Path::new(env!("CARGO_BIN_EXE_pib"));
    let outside: Vec<_> = traced.opened.iter().filter(|path| !own(path) && path.as_path() != pib).collect();
    assert!(outside.is_empty(), "opened outside of {}: {outside:#?}", folder.display());
}

#[test]
fn a_hostile_project_has_nothing_outside_of_its_folder_opened() {
    if skip::lacks(&["strace"]) {
        return;
    }
    let user = tempfile::tempdir().unwrap();
    let private = user.path().join("private");
    std::fs::write(&private, "the user's own\n").unwrap();
    let outside = user.path().display();
    let stage = "[stage]\nname = \"mine\"\nversion = \"1.0.0\"\n\n[config.files]\ntype = \"paths\"\nhelp = \"files\"\n\n\
                 [config.password]\ntype = \"secret\"\nhelp = \"a secret\"\n";
    let cases = [
        format!("files = [\"{outside}/*\"], password = {{ file = \"{outside}/private\" }}"),
        "files = [\"lead/*\"], password = { file = \"leads\" }".to_owned(),
        // Patterns that stay inside, and meet links.
        "files = [\"**/private\"], password = { file = \"pib.toml\" }".to_owned(),
        "files = [\"l*/private\", \"?eads\"], password = { file = \"pib.toml\" }".to_owned(),
        format!(
            "files = [\"pib.toml\"], password = {{ command = [\"cp\", \"{outside}/private\", \"taken\"] }}"
        ),
        "files = [\"/etc/shadow\"], password = { env = \"HOME\" }".to_owned(),
    ];
    for config in cases {
        let project = Scratch::new("hostile", HOST);
        project.part("mine", "RUN --mount=type=secret,id=mine.password true\n");
        std::fs::write(project.path("stages/mine/stage.toml"), stage).unwrap();
        let manifest = std::fs::read_to_string(project.path("pib.toml")).unwrap();
        let with = format!("mine = {{ path = \"stages/mine\", config = {{ {config} }} }}");
        let manifest = manifest.replace("mine = { path = \"stages/mine\" }", &with);
        std::fs::write(project.path("pib.toml"), manifest).unwrap();
        symlink(user.path(), project.path("lead")).unwrap();
        symlink(&private, project.path("leads")).unwrap();
        for command in ["lock", "fetch", "plan", "tree", "build"] {
            let traced = traced(&project, &[command]);
            only_its_own(&project, &traced);
            if command == "build" {
                assert_eq!(traced.code, Some(9), "{}", traced.errors);
            }
        }
        assert!(!project.path("taken").exists());
    }
}

#[test]
fn a_build_opens_nothing_outside_of_its_folder() {
    if skip::lacks(&["strace"]) {
        return;
    }
    let project = Scratch::new("opened", HOST);
    project.part("mine", "RUN true\n");
    for command in ["lock", "plan", "build", "build", "clean"] {
        let traced = traced(&project, &[command]);
        assert_eq!(traced.code, Some(0), "{command}: {}", traced.errors);
        only_its_own(&project, &traced);
    }
}
