//! Runs cargo on a hook's crate: finds what belongs to it, and compiles it to a core WASM module.
//!
//! The module's bytes must not tell where or by whom it was built: the profile is chosen here and not by the
//! crate's workspace, and every folder that the compiler may mention gets a name that is the same everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::project::{Error, Session};
use pib_event::{Event, ReporterExt as _};

/// The compiler's name of the target that brings no WASI along.
pub(super) const TARGET: &str = "wasm32-unknown-unknown";
/// The step that cargo's lines are reported for.
pub(super) const STEP: &str = "hook";
/// How many of cargo's last lines an error repeats.
const TAIL: usize = 60;
/// The most that cargo may say about a crate, in bytes.
const MAX_METADATA: u64 = 64 << 20;
/// Small, without unwinding, and with the functions' names, which a trap's backtrace then has.
const PROFILE: [(&str, &str); 7] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s"),
    ("CARGO_PROFILE_RELEASE_LTO", "fat"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_RELEASE_PANIC", "abort"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "false"),
    ("CARGO_PROFILE_RELEASE_STRIP", "debuginfo"),
    ("CARGO_PROFILE_RELEASE_INCREMENTAL", "false"),
];

/// A hook's crate.
pub(super) struct Crate<'a> {
    session: &'a Session,
    folder: &'a Path,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<PackageInfo>,
    resolve: Resolve,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct PackageInfo {
    name: String,
    version: String,
    id: String,
    source: Option<String>,
    manifest_path: PathBuf,
    targets: Vec<TargetInfo>,
}

#[derive(Deserialize)]
struct TargetInfo {
    crate_types: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    dependencies: Vec<String>,
}

/// A line of what cargo tells machines while it builds.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

impl<'a> Crate<'a> {
    pub(super) fn new(session: &'a Session, folder: &'a Path) -> Self {
        Self { session, folder }
    }

    /// Compiles the crate and returns the path of the module.
    pub(super) async fn build(&self) -> Result<PathBuf, Error> {
        let std_sources = self.check_compiler().await?;
        let metadata = self.metadata().await?;
        let own = metadata.own(self.folder)?;
        let flags = remaps(&metadata, &own.id, std_sources);
        let mut cargo = self.command("cargo");
        cargo
            .args(["build", "--release", "--lib", "--target", TARGET, "--package", &own.id])
            .args(["--message-format", "json-render-diagnostics", "--color", "never"])
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join(OsStr::new("\u{1f}")))
            .envs(PROFILE);
        let (told, _) = self.run(cargo, "compile the hook").await?;
        let messages = told.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
        let own_files = messages
            .filter(|message| message.reason == "compiler-artifact" && message.package_id == own.id)
            .flat_map(|message| message.filenames);
        let module = own_files.into_iter().find(|path| path.extension().is_some_and(|end| end == "wasm"));
        module.ok_or_else(|| {
            self.failure(
                "cargo made no WASM module of it",
                "Set crate-type = [\"cdylib\"] in [lib] of its Cargo.toml.",
            )
        })
    }

    /// Checks that there is a compiler for the target; returns where it finds the sources of the standard library,
    /// if they are installed, and what it calls that folder when they are not.
    async fn check_compiler(&self) -> Result<Option<(PathBuf, String)>, Error> {
        let rustc =
            self.session.variables.get(OsStr::new("RUSTC")).cloned().unwrap_or_else(|| "rustc".into());
        let ask = |args: &'static [&'static str]| {
            let mut command = self.command(&rustc);
            command.args(args);
            self.run(command, "ask the compiler what it can build")
        };
        let (printed, _) =
            ask(&["--print", "target-libdir", "--target", TARGET, "--print", "sysroot"]).await?;
        let mut lines = printed.lines();
        let (libraries, sysroot) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let is_there = std::fs::read_dir(libraries).is_ok_and(|mut items| items.next().is_some());
        if !is_there {
            return Err(Error::Stage {
                message: format!(
                    "the Rust compiler on this machine has no target {TARGET}, which hooks are built for"
                ),
                help: Some(format!(
                    "Run `rustup target add {TARGET}`. Where Rust comes from Debian (trixie or newer), run \
                     `apt-get install libstd-rust-dev-wasm32 lld`."
                )),
            });
        }
        let (version, _) = ask(&["-vV"]).await?;
        let hash = version.lines().find_map(|line| line.strip_prefix("commit-hash: "));
        let sources = Path::new(sysroot).join("lib/rustlib/src/rust");
        Ok(hash.map(|hash| (sources, format!("/rustc/{hash}"))))
    }

    async fn metadata(&self) -> Result<Metadata, Error> {
        let mut cargo = self.command("cargo");
        cargo.args(["metadata", "--format-version", "1", "--filter-platform", TARGET, "--color", "never"]);
        let (text, _) = self.run(cargo, "ask cargo what the hook consists of").await?;
        serde_json::from_str(&text)
            .map_err(|error| Error::io("read what cargo says of", self.folder, std::io::Error::other(error)))
    }

    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // The compilers that cargo starts are stopped with it, and nobody else.
        command.process_group(0);
        command
    }

    /// Runs a command to its end, its errors reported as they come; returns what it printed and its last errors.
    async fn run(&self, mut command: Command, action: &str) -> Result<(String, Vec<String>), Error> {
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let mut child = match command.spawn() {
            Ok(child) => Group(child),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::Stage {
                    message: format!("could not {action}: there is no `{program}` on this machine"),
                    help: Some(format!(
                        "Install Rust (https://rustup.rs), then run `rustup target add {TARGET}`."
                    )),
                });
            }
            Err(error) => return Err(Error::io("run", program, error)),
        };
        let fail = |error| Error::io("read what is printed by", &program, error);
        let (out, errors) = (child.0.stdout.take(), child.0.stderr.take());
        let printed = async {
            let mut text = String::new();
            if let Some(out) = out {
                out.take(MAX_METADATA).read_to_string(&mut text).await.map_err(fail)?;
            }
            Ok::<_, Error>(text)
        };
        let (text, tail) = tokio::try_join!(printed, async {
            match errors {
                Some(errors) => self.report(errors).await.map_err(fail),
                None => Ok(Vec::new()),
            }
        })?;
        let status = child.0.wait().await.map_err(fail)?;
        if status.success() {
            return Ok((text, tail));
        }
        let message = format!("could not {action} in `{}`: {program} failed ({status})", self.shown());
        Err(Error::Stage { message, help: Some(tail.join("\n")) })
    }

    async fn report(&self, errors: tokio::process::ChildStderr) -> std::io::Result<Vec<String>> {
        let mut tail = Vec::new();
        let mut lines = BufReader::new(errors).split(b'\n');
        while let Some(line) = lines.next_segment().await? {
            let line = String::from_utf8_lossy(&line).into_owned();
            self.session.reporter.detail(STEP, line.trim());
            self.session.reporter.report(Event::Log { id: STEP.to_owned(), line: line.clone() });
            if tail.len() == TAIL {
                tail.remove(0);
            }
            tail.push(line);
        }
        Ok(tail)
    }

    fn shown(&self) -> String {
        self.session.show(self.folder).display().to_string()
    }

    fn failure(&self, what: &str, help: &str) -> Error {
        Error::Stage {
            message: format!("the hook in `{}`: {what}", self.shown()),
            help: Some(help.to_owned()),
        }
    }
}

impl Metadata {
    /// Returns the package in `folder`.
    fn own(&self, folder: &Path) -> Result<&PackageInfo, Error> {
        let manifest = folder.join("Cargo.toml");
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let package = self.packages.iter().find(|package| real(&package.manifest_path) == real(&manifest));
        let package = package.ok_or_else(|| Error::Stage {
            message: format!("`{}` is no package of its own", manifest.display()),
            help: Some("A hook's crate has a [package] in its Cargo.toml.".to_owned()),
        })?;
        if package.targets.iter().any(|target| target.crate_types.iter().any(|kind| kind == "cdylib")) {
            return Ok(package);
        }
        Err(Error::Stage {
            message: format!("the crate `{}` makes no WASM module", package.name),
            help: Some("Set crate-type = [\"cdylib\"] in [lib] of its Cargo.toml.".to_owned()),
        })
    }
}

/// Returns the compiler's options that give every folder the same name everywhere.
fn remaps(metadata: &Metadata, own: &str, std_sources: Option<(PathBuf, String)>) -> Vec<OsString> {
    let option = |from: &Path, to: &str| {
        let mut option = OsString::from("--remap-path-prefix=");
        option.push(from);
        option.push("=");
        option.push(to);
        option
    };
    let mut options = vec![option(&metadata.workspace_root, "/hook")];
    let needed = closure(&metadata.resolve, own);
    for package in metadata.packages.iter().filter(|package| needed.contains(package.id.as_str())) {
        // What is below the workspace has its path there.
        let outside =
            package.source.is_some() || !package.manifest_path.starts_with(&metadata.workspace_root);
        if let (true, Some(folder)) = (outside, package.manifest_path.parent()) {
            options.push(option(folder, &format!("/{}-{}", package.name, package.version)));
        }
    }
    options.extend(std_sources.map(|(folder, name)| option(&folder, &name)));
    options
}

/// Returns the ids of a package and of all that it depends on.
fn closure<'a>(resolve: &'a Resolve, own: &'a str) -> BTreeSet<&'a str> {
    let nodes: BTreeMap<&str, &Node> = resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let mut found = BTreeSet::from([own]);
    let mut open = vec![own];
    while let Some(node) = open.pop().and_then(|id| nodes.get(id)) {
        open.extend(node.dependencies.iter().map(String::as_str).filter(|id| found.insert(id)));
    }
    found
}

/// A process and all that it started: stopped when dropped.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        // An id is there until the process has been waited for; after that it may be somebody else's.
        if let Some(id) = self.0.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            let _ = rustix::process::kill_process_group(id, rustix::process::Signal::KILL);
        }
    }
}
