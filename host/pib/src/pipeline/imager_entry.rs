//! The entry of an image in a list of operating systems, as Raspberry Pi Imager reads it.
//!
//! Format: the schema `os-list-schema.json` in the documentation of Raspberry Pi Imager 2. Imager opens a file of its own
//! extension that has such a list, and offers what is in it.

use std::path::Path;

use pib_plan::board::{self, Board};
use pib_plan::id::{Arch, Digest};
use pib_plan::manifest::project::ProjectManifest;
use pib_plan::moment::Moment;
use serde_json::{Value, json};
use url::Url;

/// How the names of these files end.
pub(super) const ENTRY: &str = ".rpi-imager-manifest";
/// A picture that Imager itself has.
const ICON: &str = "icons/use_custom.png";
/// Imager's names for how an image takes settings: by files of cloud-init, or not at all. Those of the stage `firstboot` are written
/// by `pib flash`.
const CLOUD_INIT: &str = "cloudinit";
const NO_SETTINGS: &str = "none";
/// The stage that reads files of cloud-init, as the list of stages begins its line.
const CLOUD_INIT_STAGE: &str = "cloud-init ";

/// What the entry says of the image.
pub(super) struct ImagerEntry<'a> {
    pub(super) manifest: &'a ProjectManifest,
    /// The stages, as `name version`.
    pub(super) stages: &'a [String],
    /// The moment that the lock gives to all files, in seconds since 1970.
    pub(super) epoch: u64,
    /// The image's file, and its size and digest as it is.
    pub(super) path: &'a Path,
    pub(super) size: u64,
    pub(super) digest: Digest,
    /// The size and digest of the image before it was compressed.
    pub(super) plain: (u64, Digest),
}

impl ImagerEntry<'_> {
    /// Returns the text of the file. The same image at the same place has the same.
    pub(super) fn to_text(&self) -> String {
        let project = &self.manifest.project;
        let board = board::find(&project.board).ok();
        let title = board.map_or(&*project.board, |board| board.title);
        let name = self.manifest.project.file_stem();
        let (extract_size, extract_digest) = &self.plain;
        let day = Moment::from_micros(self.epoch.saturating_mul(1_000_000)).to_string();
        let devices = board.map(|board| devices(&board, project.arch)).unwrap_or_default();
        let entry = json!({
            "name": name,
            "description": format!(
                "{} {} for {title}, with the stages {}",
                project.os, project.release, self.stages.join(", ")
            ),
            "icon": ICON,
            "url": self.url(),
            "extract_size": extract_size,
            "extract_sha256": extract_digest.hex(),
            "image_download_size": self.size,
            "image_download_sha256": self.digest.hex(),
            "release_date": day.split('T').next().unwrap_or_default(),
            "devices": devices,
            "init_format": self.settings(),
        });
        format!("{:#}\n", json!({ "os_list": [entry] }))
    }

    /// Returns Imager's name for how the image takes settings.
    fn settings(&self) -> &'static str {
        match self.stages.iter().any(|stage| stage.starts_with(CLOUD_INIT_STAGE)) {
            true => CLOUD_INIT,
            false => NO_SETTINGS,
        }
    }

    /// Returns the address of the image on this machine; the name alone where a path has none.
    fn url(&self) -> Value {
        let name = || self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Url::from_file_path(self.path).map_or_else(|()| name(), |url| url.to_string()).into()
    }
}

/// Returns Imager's names for the models of a board, as its published list of devices has them.
fn devices(board: &Board, arch: Arch) -> Vec<String> {
    let generation = match board.name {
        "rpi1" | "zerow" => 1,
        "rpi2" => 2,
        "rpi3" | "cm3" | "zero2w" => 3,
        "rpi4" | "cm4" | "pi400" => 4,
        "rpi5" | "cm5" | "pi500" => 5,
        _ => return Vec::new(),
    };
    let bits = if arch == Arch::Arm64 { 64 } else { 32 };
    vec![format!("pi{generation}-{bits}bit")]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[project]\nname = \"router\"\nos = \"debian\"\nrelease = \"trixie\"\nboard = \"rpi4\"\n\
                            arch = \"arm64\"\n";

    fn text(path: &str) -> String {
        text_with(path, ["os 1.1.1", "ro 1.2.1"])
    }

    fn text_with(path: &str, stages: [&str; 2]) -> String {
        let manifest = ProjectManifest::parse("pib.toml", MANIFEST).unwrap();
        let stages = stages.map(str::to_owned);
        let entry = ImagerEntry {
            manifest: &manifest,
            stages: &stages,
            epoch: 1_764_300_000,
            path: Path::new(path),
            size: 5,
            digest: Digest::of(b"packed"),
            plain: (4096, Digest::of(b"plain")),
        };
        entry.to_text()
    }

    #[test]
    fn the_entry_has_the_fields_of_the_published_schema_and_the_same_bytes_each_time() {
        let text_of = text("/work/a b/router.img.xz");
        assert_eq!(text_of, text("/work/a b/router.img.xz"));
        let list: Value = serde_json::from_str(&text_of).unwrap();
        let entry = &list["os_list"][0];
        let strings = [
            "name",
            "description",
            "icon",
            "url",
            "extract_sha256",
            "image_download_sha256",
            "release_date",
            "init_format",
        ];
        for name in strings {
            assert!(entry[name].is_string(), "{name}: {entry}");
        }
        for name in ["extract_size", "image_download_size"] {
            assert!(entry[name].is_u64(), "{name}: {entry}");
        }
        let known = [&strings[..], &["extract_size", "image_download_size", "devices"]].concat();
        assert!(entry.as_object().unwrap().keys().all(|name| known.contains(&&**name)), "{entry}");
        assert_eq!(entry["release_date"], "2025-11-28");
        assert_eq!(entry["url"], "file:///work/a%20b/router.img.xz");
        assert_eq!(entry["devices"], json!(["pi4-64bit"]));
        assert_eq!(entry["extract_sha256"].as_str().unwrap().len(), 64);
        assert_eq!(list.as_object().unwrap().len(), 1);
    }

    #[test]
    fn imager_asks_for_settings_where_a_stage_reads_them() {
        let format = |stages| {
            let list: Value = serde_json::from_str(&text_with("/router.img", stages)).unwrap();
            list["os_list"][0]["init_format"].clone()
        };
        assert_eq!(format(["os 1.1.1", "cloud-init 1.0.0"]), "cloudinit");
        assert_eq!(format(["os 1.1.1", "cloud-init-user 1.0.0"]), "none");
    }

    #[test]
    fn every_board_has_a_name_of_imagers() {
        for board in board::BOARDS {
            assert_eq!(devices(&board, board.archs[0]).len(), 1, "{}", board.name);
        }
    }
}
