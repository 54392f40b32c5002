//! The SDK's sources, which every new Rust hook gets a copy of.
//!
//! The interface that the SDK speaks is frozen, so the copy never has to change; with it, a hook builds from any
//! folder, without a network but for its other dependencies, and to the same bytes everywhere.

use include_dir::{Dir, include_dir};

static SOURCES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../plugin-sdk/src");
const MANIFEST: &str = include_str!("../../../../plugin-sdk/Cargo.toml");
const INTERFACE: &str = include_str!("../../../../wit/v0.1.0/stage.wit");

/// Returns the files of the crate: their paths within its folder and their texts.
pub(super) fn files() -> Vec<(String, String)> {
    let mut files = vec![
        ("Cargo.toml".to_owned(), manifest()),
        // For people: the crate's bindings are made of it already.
        ("wit/stage.wit".to_owned(), INTERFACE.to_owned()),
    ];
    add(&SOURCES, &mut files);
    files
}

fn add(folder: &Dir<'_>, files: &mut Vec<(String, String)>) {
    for file in folder.files() {
        let text = file.contents_utf8().unwrap_or_default();
        files.push((format!("src/{}", file.path().display()), text.to_owned()));
    }
    for folder in folder.dirs() {
        add(folder, files);
    }
}

/// Returns the manifest without what holds only in pib's own workspace.
fn manifest() -> String {
    let package = MANIFEST.find("[package]").unwrap_or_default();
    let end = MANIFEST.find("\n[dev-dependencies]").unwrap_or(MANIFEST.len());
    format!("# A copy of pib's SDK for hooks.\n{}", &MANIFEST[package..end])
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_copy_stands_by_itself() {
        let files = super::files();
        let has = |name: &str| files.iter().any(|(path, text)| path == name && !text.is_empty());
        assert!(has("src/lib.rs") && has("src/bindings.rs") && has("src/testing/sandbox.rs"));
        let manifest = super::manifest();
        assert!(!manifest.contains("workspace"), "{manifest}");
        let manifest: toml::Table = toml::from_str(&manifest).unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some("pib-plugin-sdk"));
        assert!(manifest.contains_key("dependencies") && manifest.contains_key("target"));
    }
}
