//! Builds the hooks of the first-party stages, or checks that what is published is what their sources make.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Outcome, capture, cargo, command, root};
use crate::toolchain::Toolchain;

/// What a copy of the workspace consists of, for cargo to be content with it.
const WORKSPACE: [&str; 7] = [".cargo", "Cargo.lock", "Cargo.toml", "host", "plugin-sdk", "stages", "wit"];

/// Builds every hook to its place in its stage's folder; with `check` only compares them.
pub(crate) fn hooks(check: bool) -> Outcome {
    capture(&mut cargo(&["build", "--quiet", "--locked", "-p", "pib"]))?;
    if check {
        return compare();
    }
    let toolchain = Toolchain::ready()?;
    let here = Checkout::here();
    for stage in stages_with_hooks()? {
        let place = root().join(&stage).join("hook.wasm");
        here.build(&toolchain, &stage, &place)?;
        println!("{stage}/hook.wasm: {} bytes", read(&place)?.len());
    }
    Ok(())
}

/// Compares every published hook with what its source makes here and in another folder, by the pib in `target/debug`.
pub(crate) fn compare() -> Outcome {
    let toolchain = Toolchain::ready()?;
    let here = Checkout::here();
    let elsewhere = Checkout::elsewhere()?;
    for stage in stages_with_hooks()? {
        let output = |name: &str| root().join("target/hooks").join(name);
        let (one, other) = (output("here.wasm"), output("elsewhere.wasm"));
        here.build(&toolchain, &stage, &one)?;
        elsewhere.build(&toolchain, &stage, &other)?;
        let (one, other) = (read(&one)?, read(&other)?);
        if one != other {
            return Err(format!("{stage}: two builds of its hook differ; what tells of a folder or a user?"));
        }
        let published = read(&root().join(&stage).join("hook.wasm"))?;
        if one != published {
            return Err(format!(
                "{stage}/hook.wasm is not what its source makes; run `cargo xtask hooks`, give the stage a new version, \
                 then run `cargo xtask index`"
            ));
        }
        println!("{stage}/hook.wasm: {} bytes, the same in two builds", one.len());
    }
    Ok(())
}

/// A workspace, and where its builds go.
struct Checkout {
    folder: PathBuf,
    target: PathBuf,
    home: Option<PathBuf>,
}

impl Checkout {
    /// Returns the workspace itself.
    fn here() -> Self {
        Self { folder: root(), target: root().join("target/hooks/here"), home: None }
    }

    /// Makes a copy of the workspace at another path, for a user with another home.
    fn elsewhere() -> Outcome<Self> {
        let base = root().join("target/hooks/a-folder-with-another-name");
        let _ = fs::remove_dir_all(&base);
        let (folder, home) = (base.join("copy"), base.join("home"));
        for folder in [&folder, &home.join(".cargo")] {
            fs::create_dir_all(folder)
                .map_err(|error| format!("could not create {}: {error}", folder.display()))?;
        }
        for name in WORKSPACE {
            let from = root().join(name);
            capture(&mut command("cp", &["-R", &from.to_string_lossy(), &folder.to_string_lossy()]))?;
        }
        // The crates are the same; only the path to them is another.
        let own = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let own = own.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
        for name in ["registry", "config.toml"] {
            let from = own.iter().map(|own| own.join(name)).find(|from| from.exists());
            if let Some(from) = from {
                let to = home.join(".cargo").join(name);
                std::os::unix::fs::symlink(&from, &to)
                    .map_err(|error| format!("could not link {}: {error}", to.display()))?;
            }
        }
        Ok(Self { folder, target: base.join("target"), home: Some(home) })
    }

    fn build(&self, toolchain: &Toolchain, stage: &str, output: &Path) -> Outcome {
        let pib = root().join("target/debug/pib");
        let mut build = Command::new(&pib);
        build.args(["--quiet", "stage", "build", stage, "--output"]).arg(output).current_dir(&self.folder);
        build.env("CARGO_TARGET_DIR", &self.target);
        if let Some(home) = &self.home {
            build.env("CARGO_HOME", home.join(".cargo"));
        }
        capture(toolchain.use_in(&mut build)).map(drop)
    }
}

/// Returns the folders of the stages that have a hook of ours, relative to the root.
fn stages_with_hooks() -> Outcome<Vec<String>> {
    let stages = crate::test::stages()?;
    Ok(stages.into_iter().filter(|stage| root().join(stage).join("hook/Cargo.toml").is_file()).collect())
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    fs::read(path).map_err(|error| format!("could not read {}: {error}", path.display()))
}
