//! A project that builds in a second: a static busybox is its base, and its own stages are the only ones.

#![allow(clippy::unwrap_used, clippy::panic)] // Test helpers outside test functions.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use pib_plan::id::Digest;

use super::rootfs::base_tar;
use crate::ledger;

/// Has a cache share the emulators that the tests' common cache has, which is given them where it has none: a project of a second
/// does not fetch them for itself.
fn share_emulators(cache: &Path) {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let project = Scratch::alone("emulators", "unix:///var/run/docker.sock", "project".as_ref());
        project.part("mine", "RUN true\n");
        let output = project.pib(&["build"]).env("PIB_CACHE_DIR", crate::world::cache()).output().unwrap();
        assert!(output.status.success(), "{}", stderr_text(&output));
    });
    let bases = crate::world::cache().join("bases");
    let (from, to) = (bases.join("companions"), cache.join("bases/companions"));
    std::fs::create_dir_all(&to).unwrap();
    for note in std::fs::read_dir(from).into_iter().flatten().flatten() {
        let tar = format!(
            "{}.tar",
            std::fs::read_to_string(note.path()).unwrap().trim().trim_start_matches("sha256:")
        );
        std::fs::copy(note.path(), to.join(note.file_name())).unwrap();
        _ = std::fs::hard_link(bases.join(&tar), cache.join("bases").join(&tar));
    }
}

/// A project in a folder of its own, with its own cache.
pub(crate) struct Scratch {
    /// What holds the project's folder, and goes with it.
    _around: tempfile::TempDir,
    folder: PathBuf,
    name: String,
    host: String,
}

impl Scratch {
    /// Makes a project called `name` whose engine is at `host`. The name is that of its container images.
    pub(crate) fn new(name: &str, host: &str) -> Self {
        Self::in_folder(name, host, "project".as_ref())
    }

    /// Makes such a project in a folder that is called `folder`.
    pub(crate) fn in_folder(name: &str, host: &str, folder: &OsStr) -> Self {
        let scratch = Self::alone(name, host, folder);
        share_emulators(&scratch.path("cache"));
        scratch
    }

    /// Makes such a project whose cache has nothing.
    fn alone(name: &str, host: &str, folder: &OsStr) -> Self {
        let around = tempfile::tempdir().unwrap();
        let folder = around.path().join(folder);
        std::fs::create_dir(&folder).unwrap();
        let scratch = Self { _around: around, folder, name: name.to_owned(), host: host.to_owned() };
        let bytes = std::fs::read(base_tar()).unwrap();
        std::fs::write(scratch.path("base.tar"), &bytes).unwrap();
        let digest = Digest::of(&bytes);
        let manifest = format!(
            "[project]\nname = \"{name}\"\nos = \"debian\"\nrelease = \"trixie\"\nboard = \"rpi4\"\narch = \"arm64\"\n\n\
             [base]\npath = \"base.tar\"\ndigest = \"{digest}\"\n\n[build]\nnative = false\n\n[stages]\n\
             __init__ = {{ path = \"stages/__init__\" }}\nmine = {{ path = \"stages/mine\" }}\n\
             __cleanup__ = {{ path = \"stages/__cleanup__\" }}\n\n\
             [[image.partition]]\nlabel = \"ROOT\"\nfilesystem = \"ext4\"\nmount = \"/\"\nsize = \"16M\"\n"
        );
        std::fs::write(scratch.path("pib.toml"), manifest).unwrap();
        scratch.part("__init__", "RUN mkdir -p /etc\n");
        scratch.part("__cleanup__", "RUN true\n");
        scratch
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes the part of a stage.
    pub(crate) fn part(&self, stage: &str, part: &str) {
        let folder = self.path("stages").join(stage);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("Dockerfile.part"), part).unwrap();
    }

    pub(crate) fn pib(&self, args: &[&str]) -> Command {
        self.command(Path::new(env!("CARGO_BIN_EXE_pib")), args)
    }

    /// Returns `program`, in the project's folder and with its environment.
    pub(crate) fn command(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        ledger::project(&self.folder);
        command
            .args(args)
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .env("HOME", &self.folder)
            .env("PIB_CACHE_DIR", self.path("cache"))
            .env("DOCKER_HOST", &self.host)
            .env("PIB_TRUST", "1")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn build(&self) -> Output {
        self.pib(&["build"]).output().unwrap()
    }

    /// Builds what must build.
    pub(crate) fn must_build(&self) {
        let output = self.build();
        assert!(output.status.success(), "{}\n{}", output.status, stderr_text(&output));
    }

    pub(crate) fn image(&self) -> PathBuf {
        self.path("target").join(format!("{}-rpi4-arm64.img", self.name))
    }
}

/// Returns what a run said on standard error, on one line, whatever the width that it was wrapped to.
pub(crate) fn stderr_text(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let words = text.split_whitespace().filter(|word| !["│", "|"].contains(word));
    words.collect::<Vec<_>>().join(" ")
}
