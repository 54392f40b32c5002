//! Lays out an empty card: the project's partition table and file systems without content, read back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pib_disk::{BlockDevice, Device as _, DiskError, FlashOptions, Identity, ImageSource, PartitionInfo};
use pib_plan::id::{Digest, KeyHasher};
use pib_plan::layout::{Layout, PartitionTable};
use serde::Serialize;

use super::devices::{self, DiskDevice, inspect, size_text};
use super::flash::{check_unchanged, reread};
use crate::project::{Error, Project, Session, blocking};

/// How much time may be lost by an interruption.
const SYNC_EVERY: Duration = Duration::from_secs(3);
/// What an incomplete card says that is to come.
const NAME: &str = "an empty layout";

/// A card that was looked at, that nobody else can use meanwhile, and the layout that it is to get.
pub struct ReadyToFormat {
    path: PathBuf,
    disk: DiskDevice,
    device: BlockDevice,
    layout: Layout,
    identity: Identity,
}

/// What a card was laid out by.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FormatReport {
    /// The device.
    pub device: PathBuf,
    /// The device's model, where it tells.
    pub model: Option<String>,
    /// Its size in bytes.
    pub size: u64,
    /// The kind of its partition table.
    pub table: PartitionTable,
    /// Its partitions.
    pub partitions: Vec<PartitionInfo>,
    /// How many bytes were written, and read back.
    pub written: u64,
    /// How many seconds writing took.
    pub write_seconds: f64,
    /// How many seconds reading back took.
    pub verify_seconds: f64,
}

/// Looks at the project and at the device; nothing is written yet.
///
/// # Errors
/// When there is no project, its layout does not fit on the device, or something speaks against writing to the device.
pub fn prepare(session: &Session, device: &Path, fixed: bool) -> Result<ReadyToFormat, Error> {
    let path = session.cwd.join(device);
    let disk = inspect(session, &path)?;
    let manifest = Project::load(session)?.manifest;
    let device = devices::claim(&path, &disk, fixed)?;
    let layout = manifest.image.layout.for_card(disk.size);
    // So that what does not fit is told before anything is asked.
    layout.check().map_err(|error| DiskError::from(error).on_card())?;
    let mut seed = KeyHasher::new("pib format seed 1");
    seed.field(manifest.project.file_stem()).field(layout.key_text());
    let identity = Identity {
        hostname: manifest.project.hostname.clone(),
        epoch: 0,
        seed: seed.finish(),
        mount_points: std::collections::BTreeSet::new(),
    };
    Ok(ReadyToFormat { path, disk, device, layout, identity })
}

impl ReadyToFormat {
    /// Returns what will happen, for the person who is asked.
    pub fn to_text(&self) -> String {
        let labels: Vec<&str> = self.layout.partitions.iter().map(|part| &*part.label).collect();
        format!(
            "Empty partitions ({}) are to be made on\n  {}\nAll that is on it will be lost.",
            labels.join(", "),
            self.disk.to_text()
        )
    }

    /// Writes the table and the empty file systems, and reads them back.
    ///
    /// # Errors
    /// When the partitions are too small for their file systems, or the device fails.
    pub async fn write(self, session: &Session) -> Result<FormatReport, Error> {
        let Self { path, disk, device, layout, identity } = self;
        check_unchanged(session, &path, &device, &disk)?;
        let table = layout.table;
        let size = device.size();
        let reporter = session.reporter.clone();
        let outcome = blocking::run(move |stopped| {
            // All zeros of it are holes, so that it is as small as what is written of it.
            let file = tempfile::tempfile().map_err(|error| Error::io("make a temporary file", "", error))?;
            let (map, partitions) =
                pib_disk::write_empty(&layout, &identity, &file, &*reporter).map_err(DiskError::on_card)?;
            let source =
                ImageSource::of_file(file).map_err(|error| Error::io("read a temporary file", "", error))?;
            let options = FlashOptions {
                map: Some(&map),
                size: Some(map.image_size),
                identity: Digest::of(map.to_xml().as_bytes()),
                name: NAME,
                replacement: None,
                delta: false,
                verify: true,
                sync_every: SYNC_EVERY,
            };
            let flashed = pib_disk::flash(&device, source, &options, &|| Ok(()), &stopped, &*reporter);
            Ok::<_, Error>((flashed, partitions))
        });
        let (flashed, partitions) = outcome.await??;
        let flashed =
            flashed.map_err(|source| Error::Flash { device: path.clone(), source: Box::new(source) })?;
        reread(session, &path, disk.bus).await;
        Ok(FormatReport {
            device: path,
            model: disk.model,
            size,
            table,
            partitions,
            written: flashed.written,
            write_seconds: flashed.write_time.as_secs_f64(),
            verify_seconds: flashed.verify_time.unwrap_or_default().as_secs_f64(),
        })
    }
}

impl FormatReport {
    /// Returns the report for people.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "Laid out {} ({}), {} written and read back",
            self.device.display(),
            size_text(self.size),
            size_text(self.written)
        );
        for part in &self.partitions {
            let (size, filesystem) = (size_text(part.region.size), part.filesystem.name());
            let line = format!("\n  {filesystem:<5} {:<16} {size:>10}  {}", part.label, part.mount);
            text.push_str(line.trim_end());
        }
        text
    }
}
