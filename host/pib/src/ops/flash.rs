//! Writes an image to a card: looks at the image and at the device, then writes and reads back.

use std::io::Seek as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pib_disk::{BlockDevice, BlockMap, Device as _, FlashError, FlashOptions, ImageSource, MAX_BLOCK_MAP};
use pib_event::ReporterExt as _;
use pib_plan::id::Digest;
use pib_plan::settings::Settings;
use serde::Serialize;
use url::Url;

use super::card_settings::{self, PlacedSettings};
use super::checked_stream::{CheckedStream, Confirmation};
use super::devices::{DiskDevice, LIST, claim, inspect, size_text};
use super::download::{self, Download};
use crate::inspection::{InspectionError, Watch};
use crate::pipeline;
use crate::project::{Error, Project, Session, blocking};

/// The id of the step in events in which the place of settings is looked up.
const SETTINGS: &str = "settings";
/// How much time may be lost by an interruption.
const SYNC_EVERY: Duration = Duration::from_secs(3);
/// How long a program may take to have the system read the new partition table.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is to be written where.
#[derive(Debug, Clone)]
pub struct FlashRequest {
    /// The image's file or address; the project's last build if none is named.
    pub image: Option<String>,
    /// The device.
    pub device: PathBuf,
    /// The digest that the image's file must have.
    pub digest: Option<Digest>,
    /// Whether only what differs is written.
    pub delta: bool,
    /// Whether the device is read back.
    pub verify: bool,
    /// Whether a block map beside the image is used.
    pub use_map: bool,
    /// Whether a disk may be written that is built into the machine.
    pub fixed: bool,
    /// What is set on this card alone.
    pub settings: Settings,
}

/// An image and a device that was looked at, and that nobody else can use meanwhile.
pub struct Ready {
    request: FlashRequest,
    image: Image,
    disk: DiskDevice,
    device: BlockDevice,
    settings: Option<PlacedSettings>,
}

/// Where the image comes from.
enum Image {
    File(PathBuf),
    Address(Url, Digest),
}

/// What was written.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FlashReport {
    /// The image.
    pub image: String,
    /// The device.
    #[serde(serialize_with = "crate::project::path_text::lossy")]
    pub device: PathBuf,
    /// The device's model, where it tells.
    pub model: Option<String>,
    /// The size of the image in bytes.
    pub size: u64,
    /// How many bytes of the image a device must hold; the others are free room.
    pub mapped: u64,
    /// How many bytes were written.
    pub written: u64,
    /// The names of what was set on this card alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<&'static str>,
    /// Up to which byte an earlier run had written the device.
    pub resumed: Option<u64>,
    /// Whether the device was read back and compared.
    pub verified: bool,
    /// How many seconds writing took.
    pub write_seconds: f64,
    /// How many seconds reading back took.
    pub verify_seconds: Option<f64>,
    /// How many bytes were written in a second.
    pub write_rate: u64,
    /// How many bytes were read back in a second.
    pub verify_rate: Option<u64>,
}

/// Looks at the image and at the device; nothing is written yet.
///
/// # Errors
/// When there is no such image, it does not take the settings, or something speaks against writing to the device.
pub async fn prepare(session: &Session, request: FlashRequest) -> Result<Ready, Error> {
    let (image, disk, device) = look(session, &request)?;
    let settings = place(session, &image, &request.settings).await?;
    Ok(Ready { request, image, disk, device, settings })
}

/// Finds the place for the settings in the image.
async fn place(
    session: &Session,
    image: &Image,
    settings: &Settings,
) -> Result<Option<PlacedSettings>, Error> {
    if settings.is_empty() {
        return Ok(None);
    }
    let Image::File(path) = image else {
        return Err(Error::usage(
            "settings cannot be written with an image from an address: their place in it is looked up first",
            "Fetch the image into a file, and write that.",
        ));
    };
    session.reporter.started(SETTINGS, "Looking for the place of the settings");
    let (path, settings, reporter) = (path.clone(), settings.clone(), session.reporter.clone());
    let placed = blocking::run(move |stopped| {
        card_settings::place(&path, &settings, &Watch::new(stopped, reporter, SETTINGS))
    });
    let placed = placed.await??;
    session.reporter.finished(SETTINGS, false);
    Ok(Some(placed))
}

/// Opens the device for this process alone, if nothing speaks against writing to it.
fn look(session: &Session, request: &FlashRequest) -> Result<(Image, DiskDevice, BlockDevice), Error> {
    let path = session.cwd.join(&request.device);
    let disk = inspect(session, &path)?;
    let image = image(session, request)?;
    let device = claim(&path, &disk, request.fixed)?;
    Ok((image, disk, device))
}

fn image(session: &Session, request: &FlashRequest) -> Result<Image, Error> {
    let Some(name) = &request.image else {
        let path = pipeline::image_path(&Project::load(session)?);
        if !path.exists() {
            let message = format!("there is no image `{}` yet", session.show(&path).display());
            return Err(Error::usage(message, "Run `pib build`, or name an image."));
        }
        return Ok(Image::File(path));
    };
    if !name.starts_with("https://") && !name.starts_with("http://") {
        return Ok(Image::File(session.path(name)));
    }
    let url = Url::parse(name).map_err(|error| {
        Error::usage(
            format!("`{name}` is not an address: {error}"),
            "Give an address such as https://example.org/a.img.xz.",
        )
    })?;
    match request.digest {
        Some(digest) => Ok(Image::Address(url, digest)),
        None => Err(Error::usage(
            "an image from an address needs --digest",
            "Give `--digest sha256:...` with what its publisher says, e.g. in a file .sha256 beside it.",
        )),
    }
}

impl Ready {
    /// Returns what will happen, for the person who is asked.
    pub fn to_text(&self, session: &Session) -> String {
        let image = match &self.image {
            Image::File(path) => session.show(path).display().to_string(),
            Image::Address(url, _) => url.to_string(),
        };
        let settings = self.settings.as_ref().map(|settings| settings.names.join(", "));
        let settings = settings.map_or_else(String::new, |names| format!(", with settings for {names},"));
        format!(
            "The image {image}{settings} is to be written to\n  {}\nAll that is on it will be lost.",
            self.disk.to_text()
        )
    }

    /// Writes the image and reads it back.
    ///
    /// # Errors
    /// When the image or the device fails, or they are not what they should be.
    pub async fn write(self, session: &Session) -> Result<FlashReport, Error> {
        let Self { request, image, disk, device, settings } = self;
        let path = session.cwd.join(&request.device);
        check_unchanged(session, &path, &device, &disk)?;
        let name = match &image {
            Image::File(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            Image::Address(url, _) => url.path().rsplit('/').next().unwrap_or_default().to_owned(),
        };
        let opened = open(session, &request, image, &device).await?;
        let names = settings.as_ref().map(|settings| settings.names.clone()).unwrap_or_default();
        let unfinished = Unfinished { session: session.clone(), device: path.clone() };
        let (reporter, options) = (session.reporter.clone(), request.clone());
        let shown = name.clone();
        let outcome = blocking::run(move |stopped| {
            let Opened { source, size, map, identity, confirmation, _download } = opened;
            let flashing = FlashOptions {
                map: map.as_ref(),
                size,
                replacement: settings.as_ref().map(|settings| &settings.replacement),
                identity: settings.as_ref().map_or(identity, |settings| settings.identity(identity)),
                name: &shown,
                delta: options.delta,
                verify: options.verify,
                sync_every: SYNC_EVERY,
            };
            let confirm = || confirmation.as_ref().map_or(Ok(()), Confirmation::check);
            pib_disk::flash(&device, source, &flashing, &confirm, &stopped, &*reporter)
        })
        .await?;
        std::mem::forget(unfinished);
        let flashed =
            outcome.map_err(|source| Error::Flash { device: path.clone(), source: Box::new(source) })?;
        reread(session, &path, disk.bus).await;
        if !request.verify {
            session.reporter.warn(format!(
                "nothing was read back from {}: whether it holds the image is not known",
                path.display()
            ));
        }
        let rate = |bytes: u64, time: Duration| (bytes as f64 / time.as_secs_f64().max(0.001)) as u64;
        let verified =
            if request.delta || flashed.resumed.is_some() { flashed.written } else { flashed.mapped };
        Ok(FlashReport {
            image: name,
            device: path,
            model: disk.model,
            size: flashed.size,
            mapped: flashed.mapped,
            written: flashed.written,
            settings: names,
            resumed: flashed.resumed,
            verified: flashed.verify_time.is_some(),
            write_seconds: flashed.write_time.as_secs_f64(),
            verify_seconds: flashed.verify_time.map(|time| time.as_secs_f64()),
            write_rate: rate(flashed.written, flashed.write_time),
            verify_rate: flashed.verify_time.filter(|time| !time.is_zero()).map(|time| rate(verified, time)),
        })
    }
}

/// Compares the device with what was shown: a person may have taken long to answer.
pub(super) fn check_unchanged(
    session: &Session,
    path: &Path,
    device: &BlockDevice,
    disk: &DiskDevice,
) -> Result<(), Error> {
    let now = inspect(session, path)?;
    let size = device.size_now().unwrap_or(0);
    if size == disk.size && (&now.number, &now.sequence) == (&disk.number, &disk.sequence) {
        return Ok(());
    }
    let reasons = vec!["it was unplugged, or another one was plugged in, since it was looked at".to_owned()];
    Err(Error::Refused { device: path.to_owned(), reasons, help: LIST.to_owned() })
}

/// What is read while the device is written.
struct Opened {
    source: ImageSource,
    /// The size of the image in bytes, where that is known before.
    size: Option<u64>,
    map: Option<BlockMap>,
    /// What the marker on an incomplete card is compared with.
    identity: Digest,
    /// Compares the whole of what was read; none where a map has checksums of all that is written.
    confirmation: Option<Confirmation>,
    /// Kept as long as something is to arrive.
    _download: Option<Download>,
}

async fn open(
    session: &Session,
    request: &FlashRequest,
    image: Image,
    device: &BlockDevice,
) -> Result<Opened, Error> {
    let path = match image {
        Image::Address(url, digest) => {
            // Compressed, it is not larger than the device but by what the format itself adds.
            let limit = device.size().saturating_add(64 << 20);
            let (stream, download) = download::start(url, limit)?;
            let (stream, confirmation) = CheckedStream::new(stream, digest, true);
            let source = blocking::run(move |_| ImageSource::of_stream(stream)).await?;
            let source = source.map_err(|error| Error::io("read the image", "", error))?;
            return Ok(Opened {
                source,
                size: None,
                map: None,
                identity: digest,
                confirmation: Some(confirmation),
                _download: Some(download),
            });
        }
        Image::File(path) => path,
    };
    open_file(session, request, &path, device.size()).await
}

/// Opens an image in a file. What is written of it is compared with the checksums of a map, or with the digest of the
/// whole file: the file may change while it is read.
async fn open_file(
    session: &Session,
    request: &FlashRequest,
    path: &Path,
    room: u64,
) -> Result<Opened, Error> {
    let fail = |source| Error::from(InspectionError::Open { path: path.to_owned(), source });
    let file = pib_file::open(path).map_err(fail)?;
    let map = if request.use_map && request.digest.is_none() { block_map(session, path) } else { None };
    if let Some((map, text)) = map {
        let source = ImageSource::of_file(file).map_err(fail)?;
        let (size, identity) = (Some(map.image_size), Digest::of(text.as_bytes()));
        return Ok(Opened { source, size, map: Some(map), identity, confirmation: None, _download: None });
    }
    session.reporter.started("digest", "Reading the image");
    let reader = file.try_clone().map_err(fail)?;
    let found = Digest::from_bytes(blocking::read(reader, pib_file::sha256).await?.map_err(fail)?);
    session.reporter.finished("digest", false);
    let refuse = |source| Error::Flash { device: request.device.clone(), source: Box::new(source) };
    if let Some(expected) = request.digest.filter(|expected| *expected != found) {
        return Err(refuse(FlashError::Digest { expected, found, is_written: false }));
    }
    (&file).rewind().map_err(fail)?;
    let plain = ImageSource::of_file(file.try_clone().map_err(fail)?).map_err(fail)?;
    let size = match plain {
        ImageSource::Plain(_, size) if size > room => {
            return Err(refuse(FlashError::TooLarge { image: Some(size), device: room }));
        }
        ImageSource::Plain(_, size) => Some(size),
        ImageSource::Stream(_) => None,
    };
    (&file).rewind().map_err(fail)?;
    let (stream, confirmation) = CheckedStream::new(file, found, request.digest.is_some());
    let source = ImageSource::of_stream(stream).map_err(fail)?;
    Ok(Opened { source, size, map: None, identity: found, confirmation: Some(confirmation), _download: None })
}

/// Finds the block map beside an image: `NAME.bmap`, also by the name without the ends that compression gave it.
fn block_map(session: &Session, image: &Path) -> Option<(BlockMap, String)> {
    let mut stem = image.file_name()?.to_string_lossy().into_owned();
    loop {
        let path = image.with_file_name(format!("{stem}.bmap"));
        match pib_file::read_text(&path, MAX_BLOCK_MAP) {
            Ok(text) => match BlockMap::parse(&text) {
                Ok(map) if map.ranges.iter().all(|range| range.checksum.is_some()) => {
                    return Some((map, text));
                }
                Ok(_) => {
                    let path = session.show(&path).display().to_string();
                    session.reporter.warn(format!(
                        "`{path}` has no checksums and is not used, so all of the image is written"
                    ));
                    return None;
                }
                Err(error) => {
                    let path = session.show(&path).display().to_string();
                    session
                        .reporter
                        .warn(format!("`{path}` is not used, so all of the image is written: {error}"));
                    return None;
                }
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                session.reporter.warn(format!("`{}` cannot be read: {error}", path.display()));
                return None;
            }
        }
        stem = stem.rsplit_once('.').map(|(stem, _)| stem.to_owned()).filter(|stem| !stem.is_empty())?;
    }
}

/// Has the system read the new partition table, where a program for that is there.
pub(super) async fn reread(session: &Session, device: &Path, bus: &str) {
    // A loop device has partitions only where somebody asked for that.
    if bus == "loop" {
        return;
    }
    let mut program = tokio::process::Command::new("blockdev");
    program.arg("--rereadpt").arg(device).kill_on_drop(true);
    let outcome = tokio::time::timeout(PATIENCE, program.output()).await;
    if !matches!(outcome, Ok(Ok(output)) if output.status.success()) {
        session
            .reporter
            .note("To see the new partitions on this machine, unplug the device and plug it in again");
    }
}

/// Says what is left where the work was interrupted.
struct Unfinished {
    session: Session,
    device: PathBuf,
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let device = self.device.display();
        self.session.reporter.warn(format!(
            "{device} is not complete, and nothing boots from it; the same command goes on where it was"
        ));
    }
}

impl FlashReport {
    /// Returns the report for people.
    pub fn to_text(&self) -> String {
        let device = self.device.display();
        let rate = |rate: u64| format!("{}/s", size_text(rate));
        let mut text = match self.written {
            0 => format!("{device} holds {} already; nothing was written", self.image),
            written => format!(
                "Wrote {} of {} ({}) to {device} in {:.1} s, {}",
                size_text(written),
                self.image,
                size_text(self.size),
                self.write_seconds,
                rate(self.write_rate)
            ),
        };
        if !self.settings.is_empty() {
            text.push_str(&format!("; with settings for {}", self.settings.join(", ")));
        }
        if let Some(position) = self.resumed {
            text.push_str(&format!("; the first {} were there from an earlier run", size_text(position)));
        }
        match (self.verify_seconds, self.written) {
            (None, _) => text.push_str("\nNOT verified: nothing was read back from it"),
            (Some(_), 0) => {}
            (Some(seconds), _) => {
                text.push_str(&format!("\nRead back and compared in {seconds:.1} s: it holds the image"));
            }
        }
        text
    }
}
