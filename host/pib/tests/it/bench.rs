//! The environment of tests that run the real binary: a project, and a machine without anything else.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub(crate) const PROJECT: &str = r#"# a router
[project]
name = "router"
os = "debian"
release = "trixie"
board = "rpi4"
arch = "arm64"

[stages]
os = "1"
watchdog = { version = "1", config = { timeout = 10 } }
"#;

/// Mirrors at a port that no server listens to.
const SOURCES: &str = "deb http://127.0.0.1:9/debian trixie main\n\
                       deb http://127.0.0.1:9/debian-security trixie-security main\n";

/// The code of the error of a lock without a base.
pub(crate) const NO_BASE: &str = "pib::lock::no_base";

/// A folder with a project, and a machine without anything else.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
}

/// What a run of the program left.
pub(crate) struct Ran {
    /// The exit code; 0 also where all that is missing is the base in the lock, which the machine of the test cannot choose: no
    /// mirror is there. What is done about that is `pure::base_lock`'s matter.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) errors: String,
}

impl Bench {
    pub(crate) fn new(manifest: &str) -> Self {
        // Messages are wrapped to a width: paths in them have the same length on every machine.
        let bench = Self { folder: tempfile::tempdir_in("/tmp").unwrap() };
        bench.write("pib.toml", manifest);
        // The root of this machine is the folder of the test. Its apt knows a mirror that nobody is at.
        let apt = bench.folder.path().join("etc/apt");
        std::fs::create_dir_all(&apt).unwrap();
        std::fs::write(apt.join("sources.list"), SOURCES).unwrap();
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("project").join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &(impl AsRef<[u8]> + ?Sized)) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub(crate) fn stage(&self, name: &str, manifest: &str, part: Option<&str>) {
        let head = format!("[stage]\nname = \"{name}\"\nversion = \"1.0.0\"\n");
        self.write(&format!("stages/{name}/stage.toml"), &format!("{head}{manifest}"));
        if let Some(part) = part {
            self.write(&format!("stages/{name}/Dockerfile.part"), part);
        }
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, &[])
    }

    /// Runs the program with further variables in its environment.
    pub(crate) fn run_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut pib = self.in_here(Command::new(env!("CARGO_BIN_EXE_pib")));
        self.finish(pib.args(args).envs(variables.iter().copied()))
    }

    /// Runs the program in a network namespace of its own, in which there is no interface.
    pub(crate) fn run_without_network(&self, args: &[&str]) -> Ran {
        let mut unshare = self.in_here(Command::new("unshare"));
        let flags = if rustix::process::geteuid().is_root() { "-n" } else { "-rn" };
        self.finish(unshare.args([flags, env!("CARGO_BIN_EXE_pib")]).args(args))
    }

    /// Has the command run in the project, with nothing else of this machine.
    pub(crate) fn in_here(&self, mut command: Command) -> Command {
        command
            .current_dir(self.path(""))
            .env_clear()
            .env("HOME", self.folder.path())
            .env("PIB_CACHE_DIR", self.folder.path().join("cache"))
            .env("PIB_HOST_ROOT", self.folder.path())
            // What projects may reach is `pure::trust`'s matter.
            .env("PIB_TRUST", "1")
            .env("DOCKER_HOST", "unix:///nonexistent/engine.sock")
            .env("NO_COLOR", "1");
        command
    }

    fn finish(&self, command: &mut Command) -> Ran {
        self.ran(&command.output().unwrap())
    }

    /// Returns what a run of the program left.
    pub(crate) fn ran(&self, output: &Output) -> Ran {
        let shown = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            // Messages are wrapped to the terminal's width; tests speak of their words.
            text.replace(&*self.folder.path().to_string_lossy(), "TEMP")
        };
        let (code, errors) = (output.status.code(), shown(&output.stderr));
        let no_base = code == Some(8) && errors.contains(NO_BASE);
        Ran { code: if no_base { Some(0) } else { code }, out: shown(&output.stdout), errors }
    }

    /// Runs what must fail with this exit code, say these things, and change no file of the project.
    pub(crate) fn fails(&self, args: &[&str], code: i32, say: &[&str]) {
        self.write("target/router-rpi4-arm64.img", "earlier");
        let before = self.files();
        let ran = self.run(args);
        assert_eq!(ran.code, Some(code), "{args:?}: {}{}", ran.out, ran.errors);
        let words: Vec<&str> =
            ran.errors.split_whitespace().filter(|word| !["│", "|"].contains(word)).collect();
        let flat = words.join(" ");
        for part in say {
            assert!(flat.contains(part), "no `{part}` in:\n{}", ran.errors);
        }
        assert!(!ran.errors.contains('\u{1b}'), "colour although NO_COLOR is set");
        assert_eq!(self.files(), before, "{args:?} changed the project");
    }

    pub(crate) fn files(&self) -> Vec<(PathBuf, String)> {
        fn walk(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match std::fs::read(&path) {
                    // What the program locks itself by is not the project's.
                    _ if path.ends_with(".pib-lock") => {}
                    Ok(bytes) => found.push((path, String::from_utf8_lossy(&bytes).into_owned())),
                    Err(_) => walk(&path, found),
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.path(""), &mut found);
        found.sort();
        found
    }
}
