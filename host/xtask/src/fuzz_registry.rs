//! Has schemathesis make up requests from the description of a registry's server, and judge what a real server answers.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use crate::run::{Outcome, capture, cargo, command, root, show};

/// What makes the requests up.
const SCHEMATHESIS: &str = "schemathesis==4.32.5";
/// Which of its checks need to know more than the description says.
const CONFIG: &str = include_str!("fuzz_registry/schemathesis.toml");
/// Bodies that come close to being right.
const HOOKS: &str = include_str!("fuzz_registry/hooks.py");

/// A server, which ends with this value.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves a copy of the bundled registry, to which may be published, and runs schemathesis against it. `args` are schemathesis's:
/// `--max-examples 1000`, `--seed N`.
///
/// Its programs are installed in a virtual environment in the folder of temporary files, and stay there for the next time.
pub(crate) fn fuzz_registry(args: &[String]) -> Outcome {
    show(&mut cargo(&["build", "--locked", "-p", "pib"]))?;
    let pib = root().join("target/debug/pib");
    let work = root().join("target/fuzz-registry");
    let _ = fs::remove_dir_all(&work);
    let fail = |error| format!("could not write {}: {error}", work.display());
    fs::create_dir_all(&work).map_err(fail)?;
    capture(&mut command("cp", &["-r", "registry-index", &text(&work.join("shop"))]))?;
    fs::write(work.join("schemathesis.toml"), CONFIG).map_err(fail)?;
    fs::write(work.join("hooks.py"), HOOKS).map_err(fail)?;
    let schemathesis = schemathesis()?;
    let run = |args: &[&str]| capture(command(&text(&pib), args).current_dir(&work));
    let token = run(&["registry", "token", "fuzzer", "--tokens", "tokens.json", "--days", "1"])?;
    let token = token.lines().next().unwrap_or_default().to_owned();
    for stage in ["watchdog", "zram"] {
        run(&["package", &text(&root().join("stages").join(stage)), "--output", "archives"])?;
    }
    let server = serve(&pib, &work)?;
    let mut fuzzer = command(&text(&schemathesis), &["--config-file", "schemathesis.toml", "run"]);
    fuzzer.arg(format!("{}/api/v1/openapi.json", server.address));
    fuzzer.args(args).current_dir(&work).env("FUZZ_TOKEN", token).env("SCHEMATHESIS_HOOKS", "hooks");
    show(&mut fuzzer)?;
    run(&["registry", "verify", "shop"]).map(drop)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Returns schemathesis, which is installed if need be.
fn schemathesis() -> Outcome<PathBuf> {
    let venv = std::env::temp_dir().join("pib-schemathesis");
    let program = venv.join("bin/schemathesis");
    let python = text(&venv.join("bin/python"));
    if !program.exists() {
        capture(&mut command("python3", &["-m", "venv", &text(&venv)]))?;
    }
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", SCHEMATHESIS];
    show(&mut command(&python, &pip))?;
    Ok(program)
}

/// Starts the server, and waits until it listens.
fn serve(pib: &Path, work: &Path) -> Outcome<Server> {
    let mut serve = command(&text(pib), &["registry", "serve", "shop", "--listen", "127.0.0.1:0"]);
    // What is made up is not to be turned away for being much.
    serve.args(["--limit-token", "0", "--limit-address", "0", "--limit-failures", "0"]);
    serve.args(["--tokens", "tokens.json"]).current_dir(work).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = serve.spawn().map_err(|error| format!("could not run {}: {error}", pib.display()))?;
    let mut line = String::new();
    let read = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut line));
    let address = line.split_whitespace().find(|word| word.starts_with("http://"));
    let address = address.unwrap_or_default().trim_end_matches(';').to_owned();
    let server = Server { child, address };
    match (read, server.address.is_empty()) {
        (Some(Ok(_)), false) => Ok(server),
        _ => Err(format!("the server did not start: {line}")),
    }
}
