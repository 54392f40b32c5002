//! Small stages on disk, for the tests of this module.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Writes files below `root`; a path that ends in `*` is executable without it.
pub(super) fn write(root: &Path, files: &[(&str, &str)]) -> PathBuf {
    for (path, text) in files {
        let target = root.join(path.trim_end_matches('*'));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(&target, text).unwrap();
        let mode = if path.ends_with('*') { 0o755 } else { 0o644 };
        fs::set_permissions(&target, fs::Permissions::from_mode(mode)).unwrap();
    }
    root.to_owned()
}

/// Writes the stage `name` of version `version` below `root`, with one script and one part.
pub(super) fn stage(root: &Path, name: &str, version: &str) -> PathBuf {
    let manifest =
        format!("[stage]\nname = \"{name}\"\nversion = \"{version}\"\n\n[dependencies]\nbase = \"1\"\n");
    let part = format!("COPY stages/{name}/files /\nRUN /usr/bin/{name}\n");
    let script = format!("files/usr/bin/{name}*");
    write(
        &root.join(name),
        &[("stage.toml", &manifest), ("Dockerfile.part", &part), (&script, "#!/bin/sh\n")],
    )
}
