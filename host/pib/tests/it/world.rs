//! What tests of whole builds share: a folder for projects, the real binary, and container images that go away.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::ledger;

#[path = "../../../xtask/src/judge.rs"]
pub(crate) mod judge;

/// A folder for projects, and the real binary in it.
pub(crate) struct World {
    folder: tempfile::TempDir,
    /// The cache that the binary uses.
    cache: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_cache(cache())
    }

    /// Uses a cache of its own.
    pub(crate) fn with_cache(cache: PathBuf) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), cache }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn pib(&self, folder: &str, args: &[&str]) -> Command {
        let mut pib = Command::new(env!("CARGO_BIN_EXE_pib"));
        ledger::project(&self.path(folder));
        pib.args(args).current_dir(self.path(folder)).env("PIB_CACHE_DIR", &self.cache).stdin(Stdio::null());
        pib.env("PIB_TRUST", "1").env("XDG_CONFIG_HOME", self.path("config"));
        pib
    }

    pub(crate) fn run(&self, folder: &str, args: &[&str]) -> String {
        let output = self.pib(folder, args).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pib {args:?}: {}\n{errors}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Lets pib's recorder reach servers on this machine, at addresses such as `http://172.17.0.1:8000/debian`.
    pub(crate) fn allow_servers(&self, addresses: &[&str]) {
        let servers: Vec<_> = addresses.iter().map(|address| address.split('/').nth(2).unwrap()).collect();
        let config = self.path("config/pib/config.toml");
        std::fs::create_dir_all(config.parent().unwrap()).unwrap();
        std::fs::write(config, format!("[network]\nprivate = {servers:?}\n")).unwrap();
    }

    /// Makes a project without a system, which builds in seconds: the base, what a part of its own does, cleanup. It has no table
    /// `[build]`, so that nothing is recorded unless a test says so.
    pub(crate) fn tiny(&self, name: &str, part: &str) {
        self.run(".", &["new", name]);
        let manifest = self.path(name).join("pib.toml");
        let text = std::fs::read_to_string(&manifest).unwrap();
        let (above, below) = text.split_once("\n# What parts download").unwrap();
        let (_, stages) = below.split_once("\n[stages]").unwrap();
        std::fs::write(manifest, format!("{above}\n[stages]{stages}")).unwrap();
        self.run(name, &["remove", "os"]);
        let stage = self.path(name).join("stages/mine");
        std::fs::create_dir_all(&stage).unwrap();
        std::fs::write(stage.join("Dockerfile.part"), part).unwrap();
        self.run(name, &["add", "--path", "stages/mine"]);
    }
}

/// The cache that `cargo xtask test` names, so that a base is made once, or one beside the build's other files.
pub(crate) fn cache() -> PathBuf {
    let named = std::env::var_os("PIB_TEST_CACHE").map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("../pib-cache"))
}

/// Returns the root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Returns what keeps the engine's cache of earlier runs from answering for this one.
pub(crate) fn nonce() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{}-{}", std::process::id(), now.as_nanos())
}

pub(crate) fn docker(args: &[&str]) -> String {
    judge::tool("docker", args).unwrap()
}

/// Removes the container images of a project when a test ends, however it ends.
pub(crate) struct Images(pub(crate) &'static str);

impl Drop for Images {
    fn drop(&mut self) {
        let list = ["images", "-q", "--no-trunc", &format!("pib/{}", self.0)];
        let ids = judge::tool("docker", &list).unwrap_or_default();
        for id in ids.lines() {
            // Somebody else may have a project of this name.
            let format = format!("{{{{index .Config.Labels \"{}\"}}}}", ledger::PROJECT);
            let owner = judge::tool("docker", &["inspect", "--format", &format, id]).unwrap_or_default();
            if ledger::is_ours(owner.trim()) {
                let _ = judge::tool("docker", &["rmi", "-f", id]);
            }
        }
    }
}
