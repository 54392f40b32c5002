//! The rules of the house: who may import whom, who may print, how long a file may be.

use std::path::{Path, PathBuf};

/// The longest source file, in lines.
const LONGEST: usize = 450;
const ADAPTERS: [&str; 4] = ["bases", "engine", "hooks", "source"];

fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

fn crate_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name).join("src")
}

/// Returns which of the crate's own modules each module imports.
fn imports() -> Vec<(String, PathBuf, String)> {
    let root = crate_folder("host/pib");
    let mut found = Vec::new();
    for (path, text) in sources(&root) {
        let inside = path.strip_prefix(&root).unwrap();
        let own = inside.components().next().unwrap().as_os_str().to_string_lossy();
        let own = own.trim_end_matches(".rs").to_owned();
        for piece in text.split("crate::").skip(1) {
            let end = piece.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(piece.len());
            found.push((own.clone(), path.clone(), piece[..end].to_owned()));
        }
    }
    found
}

#[test]
fn adapters_do_not_know_each_other_and_nothing_goes_back_up() {
    let imports = imports();
    assert!(
        imports.iter().any(|(own, _, other)| own == "ops" && other == "engine"),
        "the scan finds nothing"
    );
    for (own, path, other) in imports {
        let allowed = match own.as_str() {
            "cli" => ["ops", "ui", "event", "cli"].contains(&other.as_str()),
            "ops" => other != "cli" && other != "ui",
            "ui" => other == "event" || other == "ui",
            adapter if ADAPTERS.contains(&adapter) => {
                other == own || ["event", "net"].contains(&other.as_str())
            }
            "event" | "net" => ["event", "net"].contains(&other.as_str()),
            _ => true,
        };
        assert!(allowed, "{} ({own}) imports crate::{other}", path.display());
    }
}

#[test]
fn only_the_command_line_and_its_display_print() {
    for (path, text) in
        sources(&crate_folder("host/pib")).into_iter().chain(sources(&crate_folder("host/plan")))
    {
        let prints = ["println!(", "eprintln!(", "print!(", "eprint!("]
            .iter()
            .any(|word| text.lines().any(|line| line.trim_start().starts_with(word)));
        let may = path.components().any(|part| part.as_os_str() == "cli" || part.as_os_str() == "ui");
        let test = path.to_string_lossy().contains("test");
        assert!(!prints || may || test, "{} prints", path.display());
    }
}

#[test]
fn the_plan_decides_without_io() {
    let manifest = std::fs::read_to_string(crate_folder("host/plan").join("../Cargo.toml")).unwrap();
    let dependencies = manifest.split("[dev-dependencies]").next().unwrap();
    for name in
        ["tokio", "reqwest", "bollard", "tempfile", "walkdir", "glob", "tar", "rustix", "git2", "rand"]
    {
        assert!(!dependencies.contains(&format!("\n{name}")), "pib-plan depends on {name}");
    }
    for (path, text) in sources(&crate_folder("host/plan")) {
        for word in [
            "std::fs",
            "std::env",
            "std::net",
            "std::process",
            "std::thread",
            "SystemTime",
            "Instant::now",
            "async fn",
        ] {
            let test = path.to_string_lossy().contains("test");
            assert!(test || !text.contains(word), "{} uses {word}", path.display());
        }
    }
}

#[test]
fn files_stay_readable() {
    let folders = ["host/debian", "host/disk", "host/pib", "host/plan", "host/xtask", "plugin-sdk"];
    for (path, text) in folders.iter().flat_map(|name| sources(&crate_folder(name))) {
        let generated = path.ends_with("bindings.rs");
        let lines = text.lines().count();
        assert!(generated || lines <= LONGEST, "{} has {lines} lines: look for the seam", path.display());
    }
}
