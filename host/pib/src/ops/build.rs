//! Builds the image.

use std::path::{Path, PathBuf};

use pib_plan::id::{Digest, KeyHasher};
use pib_plan::layout::Layout;
use pib_plan::lockfile::Lockfile;
use pib_plan::manifest::project::Compression;
use serde::{Deserialize, Serialize};

use super::plan::Decided;
use super::project::{self, Project};
use super::stages::{self, NoCache, StageOptions};
use super::{Error, Session, blocking, compress, files, logs};
use crate::engine::Engine;
use pib_disk::{Identity, ImageInfo};
use pib_event::ReporterExt as _;

/// Raised when the same plan would give another image, so that images of an older pib are not taken for new.
const IMAGE_VERSION: &str = "pib image 1";

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

/// What a build left: an image, or only a container image where it was to end before.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Built {
    /// An image.
    Image(BuildReport),
    /// The stages up to one.
    Stages(StagesReport),
}

/// Stages that the engine has.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct StagesReport {
    /// What the engine calls them.
    pub container_image: String,
    /// The last of them.
    pub stage: String,
    /// Its key.
    pub key: Digest,
}

/// Builds the project's image, or finds that it is built already; or only its stages up to one.
///
/// # Errors
/// When any step fails; an earlier image and the lock are not harmed.
pub async fn build(session: &Session, options: &StageOptions) -> Result<Built, Error> {
    let dir = project::find(session)?;
    let _exclusive = Project::exclusive(session, &dir).await?;
    match begin(session, options).await? {
        Begun::Finished(report) => Ok(Built::Image(*report)),
        Begun::Ready(ready) => ready.build(options).await,
    }
}

/// How far a build is when the lock is written and the engine has what it starts from.
pub(super) enum Begun {
    /// The image is there already.
    Finished(Box<BuildReport>),
    /// The engine can run the parts.
    Ready(Box<Ready>),
}

/// A build of which the engine can run the parts.
pub(super) struct Ready {
    decided: Decided,
    prepared: stages::Prepared,
    log: logs::Log,
}

/// Does what comes before the parts run. The project must be held exclusively.
pub(super) async fn begin(session: &Session, options: &StageOptions) -> Result<Begun, Error> {
    let (mut decided, job) = stages::settle(session, options).await?;
    if options.until.is_none()
        && let Some(report) = finished(&Image::new(&decided, job.plan.key), &decided, options)
    {
        return Ok(Begun::Finished(Box::new(report)));
    }
    let log = logs::open(session, &decided.project);
    match stages::prepare(log.session(), &mut decided, options).await {
        Ok(prepared) => Ok(Begun::Ready(Box::new(Ready { decided, prepared, log }))),
        Err(error) => log.close(Err(error)),
    }
}

impl Ready {
    /// Has the engine run the parts, and writes the image.
    pub(super) async fn build(self, options: &StageOptions) -> Result<Built, Error> {
        let Self { decided, prepared, log } = self;
        let outcome = make(log.session(), &decided, options, prepared).await;
        log.close(outcome)
    }
}

/// Makes what is not there, or is no longer what the project asks for.
async fn make(
    session: &Session,
    decided: &Decided,
    options: &StageOptions,
    prepared: stages::Prepared,
) -> Result<Built, Error> {
    let (engine, job) = stages::run(session, decided, options, prepared).await?;
    if options.until.is_some() {
        let (stage, key) = (job.stage().name.to_string(), job.stage().key);
        return Ok(Built::Stages(StagesReport { container_image: job.tag, stage, key }));
    }
    let image = Image::new(decided, job.plan.key);
    let info = write_image(session, &engine, &job.tag, &image).await?;
    finish(session, &image, &job, info).map(Built::Image)
}

/// What is written, and where to.
struct Image {
    layout: Layout,
    compress: Compression,
    identity: Identity,
    /// The digest of everything that decides the image.
    key: Digest,
    /// Its path.
    path: PathBuf,
    /// The report's path.
    report: PathBuf,
}

impl Image {
    /// Returns the image of a project whose stages have the key `stages`.
    fn new(decided: &Decided, stages: Digest) -> Self {
        let manifest = &decided.project.manifest;
        let layout = manifest.image.layout(&manifest.project.os);
        let identity = identity(decided);
        let stem = manifest.project.file_stem();
        let target = decided.project.target();
        let mut hasher = KeyHasher::new(IMAGE_VERSION);
        hasher.field(stages.as_bytes()).field(identity.seed.as_bytes()).field(&identity.hostname);
        hasher.field(identity.epoch.to_le_bytes()).field(format!("{layout:?} {:?}", manifest.image.compress));
        Self {
            layout,
            compress: manifest.image.compress,
            identity,
            key: hasher.finish(),
            path: target.join(format!("{stem}.img")),
            report: target.join(format!("{stem}.json")),
        }
    }
}

/// Returns what makes a system this device's.
pub(super) fn identity(decided: &Decided) -> Identity {
    let manifest = &decided.project.manifest;
    let epoch = decided.locked_base().map_or(0, |base| base.epoch);
    Identity { hostname: manifest.project.hostname.clone(), epoch, seed: seed(decided) }
}

/// Returns what the image's identifiers derive from: the lock and the target, nothing of this machine.
fn seed(decided: &Decided) -> Digest {
    let project = &decided.project.manifest.project;
    // Bases for other targets are in the same lock, and no matter here.
    let bases = decided.locked_base().cloned().into_iter().collect();
    let lock = Lockfile { bases, ..decided.graph.lock.clone() };
    let mut hasher = KeyHasher::new("pib image seed 1");
    hasher.field(lock.to_text()).field(project.file_stem());
    hasher.finish()
}

/// Returns the report of an earlier build, if all that decides the image is as it was and the file too.
///
/// This asks neither the engine nor the network.
fn finished(image: &Image, decided: &Decided, options: &StageOptions) -> Option<BuildReport> {
    if options.no_cache != NoCache::Nothing || decided.base_digest().is_none() {
        return None;
    }
    let text = files::read_text(&image.report).ok().flatten()?;
    let report: BuildReport = serde_json::from_str(&text).ok()?;
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

fn extension(compress: Compression) -> &'static str {
    match compress {
        Compression::None => "img",
        Compression::Xz => "img.xz",
        Compression::Zstd => "img.zst",
    }
}

/// Takes the root file system out of the engine and writes the image.
async fn write_image(
    session: &Session,
    engine: &Engine,
    tag: &str,
    image: &Image,
) -> Result<ImageInfo, Error> {
    const STEP: &str = "image";
    let name = image.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    session.reporter.started(STEP, format!("Writing {name}"));
    let tree = engine.export(tag).await?;
    if let Some(losses) = tree.losses() {
        session.reporter.warn(format!("this engine cannot export everything: {losses}"));
    }
    let fault = tree.fault();
    let (layout, identity) = (image.layout.clone(), image.identity.clone());
    let (path, reporter, compression) = (image.path.clone(), session.reporter.clone(), image.compress);
    let info = blocking::read(tree, move |tree| -> Result<ImageInfo, Error> {
        let info = pib_disk::write_image(tree, &layout, &identity, &path, &*reporter)?;
        compress::compress(&path, compression, &*reporter)?;
        Ok(info)
    })
    .await?
    .map_err(|error| fault.take().map_or(error, Error::from))?;
    session.reporter.finished(STEP, false);
    Ok(info)
}

/// Writes the checksum and the report beside the image.
fn finish(
    session: &Session,
    built: &Image,
    job: &stages::Job,
    info: ImageInfo,
) -> Result<BuildReport, Error> {
    let image = built.path.with_extension(extension(built.compress));
    let digest = match built.compress {
        Compression::None => info.digest,
        _ => files::digest(&image)?,
    };
    let name = image.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut sum = image.clone().into_os_string();
    sum.push(".sha256");
    files::replace_text(Path::new(&sum), &format!("{}  {name}\n", digest.hex()))?;
    let (size, written) =
        state(&image).ok_or_else(|| Error::io("read", &image, std::io::ErrorKind::NotFound.into()))?;
    let stages = job.plan.stages.iter().map(|stage| format!("{} {}", stage.name, stage.version)).collect();
    let report =
        BuildReport { image, digest, size, key: built.key, stages, layout: info, written, up_to_date: false };
    let text = serde_json::to_string_pretty(&report)
        .map_err(|error| Error::io("write", &built.report, std::io::Error::other(error.to_string())))?;
    files::replace_text(&built.report, &format!("{text}\n"))?;
    session.reporter.note(format!("Built {name}"));
    Ok(report)
}

impl Built {
    /// Returns the report for people.
    pub fn to_text(&self) -> String {
        match self {
            Self::Image(report) => report.to_text(),
            Self::Stages(report) => {
                format!("Built the stages up to {}: container image {}", report.stage, report.container_image)
            }
        }
    }
}

impl BuildReport {
    /// Returns the report for people.
    pub fn to_text(&self) -> String {
        let size = self.size.div_ceil(1 << 20);
        let how = if self.up_to_date { " is up to date" } else { "" };
        format!("{}{how} ({size} MiB)\n{}\n", self.image.display(), self.digest)
    }
}
