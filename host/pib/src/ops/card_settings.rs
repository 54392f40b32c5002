//! Settings of one card: reads what is to be set, and finds the place for it in an image.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use pib_disk::{DiskImage, FoundFilesystem, Replacement};
use pib_event::ReporterExt as _;
use pib_plan::id::{Digest, KeyHasher};
use pib_plan::settings::{FILE_NAME, Key, MAX_FILE, STAGE, SettingError, Settings};
use pib_plan::size::ByteSize;

use crate::inspection::{InspectionError, Watch, unpacked};
use crate::project::{Error, Session};

/// Returns the settings of files, and those that are given one by one, which come last.
///
/// A value `@FILE` is what the file has, and `-` is what standard input has.
///
/// # Errors
/// When a file cannot be read, or something cannot be set.
pub fn read(session: &Session, files: &[PathBuf], set: &[String]) -> Result<Settings, Error> {
    let mut settings = Settings::default();
    for file in files {
        let path = session.cwd.join(file);
        let text = pib_file::read_text(&path, MAX_FILE).map_err(|error| Error::unreadable(path, error))?;
        settings.add_file(&file.display().to_string(), &text)?;
    }
    for setting in set {
        // The text may be a secret, also where it is not a setting: it is not repeated.
        let Some((name, value)) = setting.split_once('=') else {
            return Err(Error::usage(
                "--set needs a setting and its value",
                "Give it as --set KEY=VALUE, e.g. --set hostname=kitchen.",
            ));
        };
        let key = Settings::key(name.trim()).map_err(usage)?;
        match value {
            "-" => settings.set_lines(key, &standard_input()?),
            _ => match value.strip_prefix('@') {
                Some(file) => {
                    let path = session.path(file);
                    let text = pib_file::read_text(&path, MAX_FILE)
                        .map_err(|error| Error::unreadable(path, error))?;
                    settings.set_lines(key, &text)
                }
                None => {
                    warn_of_secret(session, key);
                    settings.set(key, value)
                }
            },
        }
        .map_err(usage)?;
    }
    settings.check().map_err(usage)?;
    Ok(settings)
}

fn usage(error: SettingError) -> Error {
    Error::usage(error.to_string(), error.help())
}

fn warn_of_secret(session: &Session, key: Key) {
    if key.is_secret() {
        session.reporter.warn(format!(
            "`{0}` is on the command line, where other users of this machine and the shell's history can see it; \
             `--set {0}=@FILE` and `--set {0}=-` keep it from there",
            key.name()
        ));
    }
}

/// Returns what standard input has, at most as much as a file of settings.
fn standard_input() -> Result<String, Error> {
    let fail = |error| Error::io("read standard input", "", error);
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::usage("standard input has more than 64 KiB", "Give one value by it."));
    }
    pib_file::text_of(bytes).map_err(fail)
}

/// Settings with their place in an image.
#[derive(Debug, Clone)]
pub(super) struct PlacedSettings {
    pub(super) replacement: Replacement,
    /// What tells them from others.
    digest: Digest,
    pub(super) names: Vec<&'static str>,
}

impl PlacedSettings {
    /// Returns what stands for an image with these settings.
    pub(super) fn identity(&self, image: Digest) -> Digest {
        let mut hasher = KeyHasher::new("pib card settings 1");
        hasher.field(image.as_bytes()).field(self.digest.as_bytes());
        hasher.finish()
    }
}

/// Finds the place for settings in the image at `path`.
///
/// # Errors
/// When the image cannot be read, none of its stages reads settings, or they do not fit.
pub(super) fn place(path: &Path, settings: &Settings, watch: &Watch) -> Result<PlacedSettings, Error> {
    let file =
        pib_file::open(path).map_err(|source| InspectionError::Open { path: path.to_owned(), source })?;
    let reading = |source| InspectionError::Reading { path: path.to_owned(), source };
    let image = DiskImage::open(unpacked(file, path, watch)?).map_err(reading)?;
    let boot = image.partitions().iter().filter(|found| found.filesystem == FoundFilesystem::Vfat);
    let mut boot = boot.peekable();
    if boot.peek().is_none() {
        return Err(Error::usage(
            format!("the image `{}` has no FAT partition, and takes no settings", path.display()),
            "Settings are written to a file on the partition that the firmware reads.",
        ));
    }
    for partition in boot {
        let Some(found) = image.placed_file(partition, FILE_NAME, MAX_FILE).map_err(reading)? else {
            continue;
        };
        let room = found.content.len();
        let replacement = settings
            .to_text(room)
            .and_then(|text| Some((Replacement::new(&found.ranges, &found.content, text.as_bytes())?, text)));
        return match replacement {
            Some((replacement, text)) => Ok(PlacedSettings {
                replacement,
                digest: Digest::of(text.as_bytes()),
                names: settings.names(),
            }),
            None => Err(Error::usage(
                format!(
                    "the settings do not fit into `{FILE_NAME}` on the boot partition of `{}`, which has {}",
                    path.display(),
                    ByteSize(room as u64)
                ),
                "Give fewer public keys.",
            )),
        };
    }
    Err(Error::usage(
        format!(
            "no stage of the image `{}` reads settings: there is no `{FILE_NAME}` on its boot partition",
            path.display()
        ),
        format!("Add the stage with `pib add {STAGE}`, build the image again, and write that."),
    ))
}
