//! Manifests, locks, index lines, parts and records.

use pib_plan::boot::archive::Initramfs;
use pib_plan::boot::config_txt::{ConfigTxt, Start};
use pib_plan::boot::model::MODELS;
use pib_plan::id::StageName;
use pib_plan::import::ImportOptions;
use pib_plan::index::{IndexFile, SourceId};
use pib_plan::lockfile::Lockfile;
use pib_plan::manifest::project::ProjectManifest;
use pib_plan::manifest::stage::StageManifest;
use pib_plan::manifest::user::UserConfig;
use pib_plan::part;
use pib_plan::record::BuildRecord;
use pib_plan::recording::Recording;
use pib_plan::redaction;
use pib_plan::vendor::VendorList;

use super::show;

/// Returns an input as the text that it is; readers get nothing else.
fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}

/// Shows what is wrong, where something is.
fn shown<T>(result: Result<T, impl miette::Diagnostic + Send + Sync + 'static>) -> Option<T> {
    result.map_err(show).ok()
}

/// A file that includes itself ends, too.
#[test]
fn firmware_config() {
    bolero::check!().for_each(|input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        for (model, start) in MODELS.iter().zip([Start::Normal, Start::Try].into_iter().cycle()) {
            let config = ConfigTxt::read(&text, model, start, &mut |name| {
                (name == "more.txt").then(|| text.chars().take(200).collect())
            });
            assert!(config.overlays.len() <= input.len() + 64 * 200);
        }
    });
}

/// A makefile that includes itself ends, too, and nothing of it is run.
#[test]
fn makefile() {
    bolero::check!().for_each(|input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        let mut files = |name: &str| match name {
            "Makefile" => Some(text.clone().into_owned()),
            "stages/arch/os/Dockerfile.part" => Some("RUN echo $A $BOARD\n".to_owned()),
            _ => name.ends_with(".mk").then(|| text.chars().take(200).collect()),
        };
        let options = ImportOptions { folder: "tree".to_owned(), targets: Vec::new() };
        if let Some(imported) = shown(pib_plan::import::import(&mut files, &options)) {
            assert!(ProjectManifest::parse("pib.toml", &imported.manifest).is_ok());
        }
    });
}

#[test]
fn initramfs() {
    bolero::check!().for_each(|input: &[u8]| {
        let mut found = Initramfs::default();
        if let Ok(Some(rest)) = found.add(input) {
            assert!(rest.at < input.len());
        }
        assert!(found.names.iter().map(String::len).sum::<usize>() <= input.len());
    });
}

#[test]
fn project_manifest() {
    bolero::check!().for_each(|input: &[u8]| {
        text(input).and_then(|text| shown(ProjectManifest::parse("pib.toml", text)));
    });
}

#[test]
fn stage_manifest() {
    bolero::check!().for_each(|input: &[u8]| {
        text(input).and_then(|text| shown(StageManifest::parse("stage.toml", text)));
    });
}

#[test]
fn user_config() {
    bolero::check!().for_each(|input: &[u8]| {
        text(input).and_then(|text| shown(UserConfig::parse("config.toml", text)));
    });
}

/// A lock that is read says the same when it is written and read again.
#[test]
fn lock() {
    bolero::check!().for_each(|input: &[u8]| {
        let Some(lock) = text(input).and_then(|text| shown(Lockfile::parse("pib.lock", text))) else {
            return;
        };
        let written = lock.to_text();
        assert_eq!(Lockfile::parse("pib.lock", &written).ok(), Some(lock), "{written}");
    });
}

/// A recording that is read says the same when it is written and read again.
#[test]
fn recording() {
    bolero::check!().for_each(|input: &[u8]| {
        let Some(recording) = text(input).and_then(|text| shown(Recording::parse("pib.fetch.lock", text)))
        else {
            return;
        };
        let written = recording.to_text();
        assert_eq!(Recording::parse("pib.fetch.lock", &written).ok(), Some(recording), "{written}");
    });
}

#[test]
fn vendored_list() {
    bolero::check!().for_each(|input: &[u8]| {
        text(input).and_then(|text| shown(VendorList::parse("vendored.toml", text)));
    });
}

#[test]
fn build_record() {
    bolero::check!().for_each(|input: &[u8]| {
        text(input).map(BuildRecord::parse);
    });
}

#[test]
fn index_lines() {
    let name: StageName = "watchdog".parse().unwrap();
    bolero::check!().for_each(|input: &[u8]| {
        let Some(text) = text(input) else { return };
        let Ok(file) = IndexFile::parse(&name, &SourceId::bundled(), text) else { return };
        // No line is lost in silence.
        let lines = text.lines().filter(|line| !line.trim().is_empty()).count();
        assert_eq!(file.versions.len() + file.skipped.len(), lines);
    });
}

/// The parts of all systems are read by one reader.
#[test]
fn stage_part() {
    bolero::check!().for_each(|input: &[u8]| {
        text(input).and_then(|text| shown(part::check("Dockerfile.part", text)));
    });
}

/// Excerpts keep their columns: what is hidden has as many bytes as before, and line breaks stay.
#[test]
fn redaction() {
    bolero::check!().for_each(|input: &[u8]| {
        let Some(text) = text(input) else { return };
        let shown = redaction::stars_in_place(text);
        assert_eq!(shown.len(), text.len());
        assert!(shown.bytes().zip(text.bytes()).all(|(shown, was)| shown == was || shown == b'*'));
        assert_eq!(shown.lines().count(), text.lines().count());
        assert_eq!(redaction::stars_in_place(&shown).len(), text.len());
        redaction::without_logins(text.to_owned());
        redaction::without_login(text);
    });
}
