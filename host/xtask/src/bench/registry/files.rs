//! What is measured with: files of stages and projects, and pib beside them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Outcome, command};

/// Writes so many small stages below a folder, and returns their names.
pub(super) fn stage_folders(folder: &Path, count: usize) -> Outcome<Vec<String>> {
    let names: Vec<String> = (0..count).map(|number| format!("stage-{number:05}")).collect();
    for name in &names {
        let text = format!(
            "[stage]\nname = \"{name}\"\nversion = \"1.0.0\"\ndescription = \"One of many\"\nlicense = \"MIT\"\n"
        );
        write(&folder.join(name).join("stage.toml"), &text)?;
        write(&folder.join(name).join("Dockerfile.part"), "RUN true\n")?;
        write(&folder.join(name).join("README.md"), "It does nothing.\n")?;
    }
    Ok(names)
}

pub(super) fn write(path: &Path, text: &str) -> Outcome {
    let fail = |error| format!("could not write {}: {error}", path.display());
    fs::create_dir_all(path.parent().unwrap_or(path)).map_err(fail)?;
    fs::write(path, text).map_err(fail)
}

/// Returns pib in a folder, with a cache of its own.
pub(super) fn in_folder(pib: &Path, folder: &Path, work: &Path) -> Command {
    let mut run = command(&pib.to_string_lossy(), &["--quiet"]);
    run.current_dir(folder).env("PIB_CACHE_DIR", work.join("cache"));
    // The registry is beside the project.
    run.env("PIB_TRUST", "1").env("XDG_CONFIG_HOME", PathBuf::from(work).join("config"));
    run
}
