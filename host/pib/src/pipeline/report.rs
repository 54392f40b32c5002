//! The last step: takes the root file system out of the engine, writes the image, its checksum and its report.

use std::path::{Path, PathBuf};

use pib_plan::id::{Digest, KeyHasher};
use pib_plan::layout::Layout;
use pib_plan::manifest::project::{Compression, ImageOptions};
use serde::{Deserialize, Serialize};

use super::based::Based;
use super::job::Built;
use super::{NoCache, StageOptions, compress, connection, origin};
use crate::engine::Loss;
use crate::project::{Error, Session, blocking, files};
use pib_disk::{Identity, ImageInfo, NewImage};
use pib_event::ReporterExt as _;

/// Raised when the same plan would give another image, so that images of an older pib are not taken for new.
const IMAGE_VERSION: &str = "pib image 2";

/// A finished image. The same text is kept beside it, as `NAME.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BuildReport {
    /// The file that the build leaves.
    pub image: PathBuf,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of everything that decided it.
    pub key: Digest,
    /// What the image lacks since the engine that built it could not give it. It is in the key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<Loss>,
    /// The stages, as `name version`, in order.
    pub stages: Vec<String>,
    /// What is in the image.
    pub layout: ImageInfo,
    /// When the file was last written, in nanoseconds since 1970: tells whether it is still the one built.
    pub written: u128,
    /// Whether the image was there already and nothing was done.
    #[serde(skip)]
    pub up_to_date: bool,
}

/// Takes the root file system of a build out of the engine, and writes the image, its checksum and its report.
///
/// # Errors
/// When the engine cannot export the root file system, or the image cannot be written; an earlier one stays then.
pub(crate) async fn report(session: &Session, built: Built) -> Result<BuildReport, Error> {
    let image = Image::of(&built.based, built.engine.abilities().losses);
    let new = match write_image(session, &built, &image).await {
        Ok(new) => new,
        Err(error) => return Err(origin::stage_of(session, &built, error).await),
    };
    finish(session, &image, &built, new)
}

/// What is written, and where to.
struct Image {
    layout: Layout,
    compress: Compression,
    identity: Identity,
    /// What the engine cannot give it.
    losses: Vec<Loss>,
    /// The digest of everything that decides the image.
    key: Digest,
    /// Its path.
    path: PathBuf,
    /// The report's path.
    report: PathBuf,
}

impl Image {
    /// Returns the image of a build by an engine with these losses.
    fn of(based: &Based, losses: Vec<Loss>) -> Self {
        let project = based.rendered.packages.project();
        let manifest = &project.manifest;
        let stem = manifest.project.file_stem();
        let target = project.target();
        Self {
            layout: manifest.image.layout.clone(),
            compress: manifest.image.compress,
            identity: based.identity(),
            key: based.image_key(&losses),
            losses,
            path: target.join(format!("{stem}.img")),
            report: target.join(format!("{stem}.json")),
        }
    }
}

impl Based {
    /// Returns the digest of everything that decides the image, as an engine builds it that has these losses.
    pub(crate) fn image_key(&self, losses: &[Loss]) -> Digest {
        // Each of them is taken by name: a further one cannot be forgotten here. Mount points are what parts say, and in
        // the key of the last stage.
        let ImageOptions { compress, layout } = &self.rendered.packages.project().manifest.image;
        let Identity { hostname, epoch, seed, mount_points: _ } = self.identity();
        let mut hasher = KeyHasher::new(IMAGE_VERSION);
        hasher.field(self.key().as_bytes()).field(seed.as_bytes()).field(&hostname);
        hasher.field(epoch.to_le_bytes()).field(layout.key_text());
        hasher.field(extension(*compress));
        Loss::add_to_key(losses, hasher.finish())
    }

    /// Returns what makes a system this device's.
    pub(crate) fn identity(&self) -> Identity {
        let project = &self.rendered.packages.project().manifest.project;
        let points = self.rendered.inputs.iter().flat_map(|input| &input.part.mount_points);
        Identity {
            hostname: project.hostname.clone(),
            epoch: self.epoch,
            seed: self.seed(),
            mount_points: points.cloned().collect(),
        }
    }

    /// Returns what the image's identifiers derive from: what is locked and the target, nothing of this machine.
    fn seed(&self) -> Digest {
        let project = &self.rendered.packages.project().manifest.project;
        let mut hasher = KeyHasher::new("pib image seed 2");
        hasher.field(self.lock.content(self.locked.as_ref()).as_bytes()).field(project.file_stem());
        hasher.finish()
    }
}

/// Returns the report of an earlier build, if all that decides the image is as it was and the file too.
///
/// This asks neither the engine nor the network, unless the image lacks something since an engine could not give it:
/// another engine may be able to.
///
/// # Errors
/// When the engine is to be asked and does not answer.
pub(crate) async fn up_to_date(
    session: &Session,
    based: &Based,
    options: &StageOptions,
) -> Result<Option<BuildReport>, Error> {
    let Some(report) = unchanged(based, options) else { return Ok(None) };
    if report.losses.is_empty() {
        return Ok(Some(report));
    }
    let arch = based.rendered.packages.project().manifest.project.arch;
    let engine = connection::connect(session, arch).await?;
    Ok(Some(report).filter(|report| report.losses == engine.abilities().losses))
}

/// Returns the report of an earlier build by the same or another engine, if nothing else has changed.
fn unchanged(based: &Based, options: &StageOptions) -> Option<BuildReport> {
    if options.until.is_some() || options.no_cache != NoCache::Nothing {
        return None;
    }
    let path = Image::of(based, Vec::new()).report;
    let text = files::read_text(&path).ok().flatten()?;
    let report: BuildReport = serde_json::from_str(&text).ok()?;
    let image = Image::of(based, report.losses.clone());
    let file = image.path.with_extension(extension(image.compress));
    let same = report.key == image.key
        && report.image == file
        && state(&file) == Some((report.size, report.written));
    same.then_some(BuildReport { up_to_date: true, ..report })
}

/// Returns a file's size and the time of its last change in nanoseconds.
fn state(path: &Path) -> Option<(u64, u128)> {
    let metadata = std::fs::metadata(path).ok()?;
    let written = metadata.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some((metadata.len(), written.as_nanos()))
}

/// The forms that an image may have.
const FORMS: [Compression; 3] = [Compression::None, Compression::Xz, Compression::Zstd];

/// Returns the path of an image's checksum.
fn checksum_of(image: &Path) -> PathBuf {
    let mut path = image.to_owned().into_os_string();
    path.push(".sha256");
    path.into()
}

fn extension(compress: Compression) -> &'static str {
    match compress {
        Compression::None => "img",
        Compression::Xz => "img.xz",
        Compression::Zstd => "img.zst",
    }
}

/// Takes the root file system out of the engine and writes the image.
async fn write_image(session: &Session, built: &Built, image: &Image) -> Result<NewImage, Error> {
    const STEP: &str = "image";
    let name = image.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    session.reporter.started(STEP, format!("Writing {name}"));
    let tree = built.engine.export(&built.tag).await?;
    if let Some(warning) = Loss::warning(tree.losses()) {
        session.reporter.warn(warning);
    }
    let fault = tree.fault();
    let (layout, identity) = (image.layout.clone(), image.identity.clone());
    let (path, reporter, compression) = (image.path.clone(), session.reporter.clone(), image.compress);
    let image = blocking::read(tree, move |tree| -> Result<NewImage, Error> {
        let NewImage { info, file } = pib_disk::write_image(tree, &layout, &identity, &path, &*reporter)?;
        Ok(NewImage { info, file: compress::compress(file, compression, &*reporter)? })
    })
    .await?
    .map_err(|error| fault.take().map_or(error, Error::from))?;
    session.reporter.finished(STEP, false);
    Ok(image)
}

/// Gives the image its place, with its checksum and its report, and removes one of another form: all of it, or nothing where the build was interrupted
/// before. Nothing waits here, and so nothing interrupts.
fn finish(session: &Session, image: &Image, built: &Built, new: NewImage) -> Result<BuildReport, Error> {
    let path = new.file.path().to_owned();
    let digest = match image.compress {
        Compression::None => new.info.digest,
        _ => files::digest_of(&path, new.file.as_file())?,
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // A checksum never stands beside another image than its own.
    files::remove(&checksum_of(&path))?;
    files::remove(&image.report)?;
    let info = new.keep()?;
    for other in FORMS.iter().filter(|form| **form != image.compress) {
        let earlier = image.path.with_extension(extension(*other));
        files::remove(&checksum_of(&earlier))?;
        files::remove(&earlier)?;
    }
    files::replace_text(&checksum_of(&path), &format!("{}  {name}\n", digest.hex()))?;
    let (size, written) =
        state(&path).ok_or_else(|| Error::io("read", &path, std::io::ErrorKind::NotFound.into()))?;
    let stages = built.plan.stages.iter().map(|stage| format!("{} {}", stage.name, stage.version)).collect();
    let report = BuildReport {
        image: path,
        digest,
        size,
        key: image.key,
        losses: image.losses.clone(),
        stages,
        layout: info,
        written,
        up_to_date: false,
    };
    let text = serde_json::to_string_pretty(&report)
        .map_err(|error| Error::io("write", &image.report, std::io::Error::other(error.to_string())))?;
    files::replace_text(&image.report, &format!("{text}\n"))?;
    session.reporter.note(format!("Built {name}"));
    Ok(report)
}
