//! Running programs, and saying so.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a task returns: an error is a message for the person who ran it.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// Returns the workspace's root.
pub(crate) fn root() -> PathBuf {
    // The crate is at host/xtask below it.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_owned()
}

/// Returns the folder that demo and tests use as pib's cache, so that a base is made once for both.
pub(crate) fn cache() -> PathBuf {
    root().join("target/pib-cache")
}

/// Returns a command that runs in the workspace's root.
pub(crate) fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// Returns cargo, as the one that runs this task.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut cargo = command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()), args);
    // What cargo has told this task of its own package would have build scripts run again that look at such variables.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_told =
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|start| text.starts_with(start));
        if is_told || text == "CARGO_CRATE_NAME" || text == "CARGO_PRIMARY_PACKAGE" {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// Returns cargo with a command for the whole workspace, whose crates are compiled and linted at once, as cargo-clippy does it:
/// <https://github.com/rust-lang/rust-clippy/blob/master/src/main.rs>. A run of `cargo clippy` beside it would read all crates
/// that the workspace stands on once more, which takes three minutes on two cores.
pub(crate) fn linting_cargo(args: &[&str]) -> Command {
    let wrapper = "build.rustc-workspace-wrapper=\"clippy-driver\"";
    let mut linting = cargo(&[&["--config", wrapper], args].concat());
    linting.args(["--workspace", "--locked"]);
    // The arguments of the linter, each of which ends so.
    linting.env("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__");
    linting
}

/// Runs a command with its output shown.
pub(crate) fn show(command: &mut Command) -> Outcome {
    eprintln!("+ {}", text(command));
    let status = command.status().map_err(|error| format!("could not run {}: {error}", text(command)))?;
    if status.success() { Ok(()) } else { Err(format!("{} failed ({status})", text(command))) }
}

/// Runs a command and returns what it printed; on failure its errors are in the message.
pub(crate) fn capture(command: &mut Command) -> Outcome<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("could not run {}: {error}", text(command)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    Err(format!("{} failed ({}):\n{printed}{errors}", text(command), output.status))
}

/// Returns whether a command runs and succeeds, without a word.
pub(crate) fn succeeds(program: &str, args: &[&str]) -> bool {
    command(program, args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Returns a command that runs as root: itself, or through sudo.
pub(crate) fn as_root(program: &str, args: &[&str]) -> Command {
    if is_root() {
        return command(program, args);
    }
    let mut all = vec![program];
    all.extend(args);
    command("sudo", &all)
}

/// Returns whether this process is root.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// Returns whether a program is on the PATH or in the folders of system tools.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).any(|folder| folder.join(program).is_file())
}

fn text(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
