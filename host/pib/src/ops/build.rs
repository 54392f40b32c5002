//! Builds the image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pib_plan::assemble::{BaseRef, BuildPlan};
use pib_plan::id::{Digest, KeyHasher};
use pib_plan::layout::Layout;
use pib_plan::manifest::project::Compression;
use pib_plan::native::Native;
use serde::{Deserialize, Serialize};

use super::base::LABEL;
use super::plan::{Decided, decide};
use super::project::{self, Project};
use super::{Error, LockMode, Session, blocking, compress, engine, files, native};
use crate::base::{BaseSource, StoredBase};
use crate::disk::{self, Identity, ImageInfo};
use crate::engine::{Base, BuildRequest, BuilderChoice, Engine};
use crate::event::ReporterExt as _;

/// Raised when the same plan would give another image, so that images of an older pib are not taken for new.
const IMAGE_VERSION: &str = "pib image 1";
/// The label that tells the key of a container image's last stage.
const KEY_LABEL: &str = "dev.pib.key";

/// How to build.
#[derive(Debug, Clone, Default)]
pub struct BuildOptions {
    /// Build every stage anew.
    pub no_cache: bool,
    /// Emulate everything.
    pub no_native: bool,
    /// How the lock is treated.
    pub lock: LockMode,
}

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

/// Builds the project's image, or finds that it is built already.
///
/// # Errors
/// When any step fails; an earlier image and the lock are not harmed.
pub async fn build(session: &Session, options: &BuildOptions) -> Result<BuildReport, Error> {
    let dir = project::find(session)?;
    let _exclusive = Project::exclusive(session, &dir)?;
    let mut decided = decide(session, options.lock).await?;
    // A mistake in a part or a setting is told before minutes are spent on the base.
    let job = Job::new(session, &decided, None)?;
    decided.graph.write_lock(&decided.project, options.lock)?;
    if let Some(report) = finished(&job, &decided, options) {
        return Ok(report);
    }
    let base = get_base(session, &mut decided, options).await?;
    decided.graph.write_lock(&decided.project, options.lock)?;
    let arch = decided.project.manifest.project.arch;
    let engine = engine::connect(session, arch).await?;
    let mut job = Job::new(session, &decided, None)?;
    if !built(session, &engine, &job, options).await? {
        if decided.native(options) {
            let manifest = &decided.project.manifest;
            let say = |why: &str| session.reporter.warn(format!("everything is emulated: {why}"));
            let native = native::get(session, &engine, manifest, options.lock.offline, say).await?;
            job = Job::new(session, &decided, native.as_ref())?;
        }
        load_base(session, &engine, &job, base.as_ref()).await?;
        build_stages(session, &engine, &job, options).await?;
    }
    let info = write_image(session, &engine, &job).await?;
    finish(session, &job, info)
}

/// What is built, and where to.
struct Job {
    plan: BuildPlan,
    base: BaseRef,
    /// What the engine calls the result.
    tag: String,
    layout: Layout,
    compress: Compression,
    identity: Identity,
    /// The digest of everything that decides the image.
    key: Digest,
    /// The image's path.
    image: PathBuf,
    /// The report's path.
    report: PathBuf,
}

impl Decided {
    /// Returns whether native tools are wanted.
    fn native(&self, options: &BuildOptions) -> bool {
        self.project.manifest.build.native && !options.no_native
    }
}

impl Job {
    fn new(session: &Session, decided: &Decided, native: Option<&Native>) -> Result<Self, Error> {
        let manifest = &decided.project.manifest;
        let digest = decided.base_digest().unwrap_or_else(|| Digest::of(b""));
        let base = decided.base_ref(Some(&digest));
        let plan = decided.assemble(session, &base, &digest, native)?;
        let layout = manifest.image.layout(&manifest.project.os);
        let epoch = decided.graph.base(manifest).map_or(0, |base| base.epoch);
        let identity = Identity { hostname: manifest.project.hostname.clone(), epoch, seed: seed(decided) };
        let stem = manifest.project.file_stem();
        let target = decided.project.target();
        let tag = format!("pib/{}:{}", manifest.project.name, &plan.key.hex()[..16]);
        let mut hasher = KeyHasher::new(IMAGE_VERSION);
        hasher.field(plan.key.as_bytes()).field(identity.seed.as_bytes()).field(&identity.hostname);
        hasher.field(identity.epoch.to_le_bytes()).field(format!("{layout:?} {:?}", manifest.image.compress));
        Ok(Self {
            plan,
            base,
            tag,
            layout,
            compress: manifest.image.compress,
            identity,
            key: hasher.finish(),
            image: target.join(format!("{stem}.img")),
            report: target.join(format!("{stem}.json")),
        })
    }
}

/// Returns what the image's identifiers derive from: the lock and the target, nothing of this machine.
fn seed(decided: &Decided) -> Digest {
    let mut hasher = KeyHasher::new("pib image seed 1");
    hasher.field(decided.graph.lock.to_text()).field(decided.project.manifest.project.file_stem());
    hasher.finish()
}

/// Returns the report of an earlier build, if all that decides the image is as it was and the file too.
///
/// This asks neither the engine nor the network.
fn finished(job: &Job, decided: &Decided, options: &BuildOptions) -> Option<BuildReport> {
    if options.no_cache || decided.base_digest().is_none() {
        return None;
    }
    let text = files::read_text(&job.report).ok().flatten()?;
    let report: BuildReport = serde_json::from_str(&text).ok()?;
    let file = job.image.with_extension(extension(job.compress));
    let same =
        report.key == job.key && report.image == file && state(&file) == Some((report.size, report.written));
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

async fn get_base(
    session: &Session,
    decided: &mut Decided,
    options: &BuildOptions,
) -> Result<Option<StoredBase>, Error> {
    match decided.base_source()? {
        BaseSource::ContainerImage { .. } => Ok(None),
        source => {
            let native = decided.native(options);
            Ok(Some(decided.ensure_base(session, options.lock, &source, native).await?))
        }
    }
}

async fn load_base(
    session: &Session,
    engine: &Engine,
    job: &Job,
    stored: Option<&StoredBase>,
) -> Result<(), Error> {
    let (Some(stored), BaseRef::ContainerImage(tag)) = (stored, &job.base) else { return Ok(()) };
    let labels = BTreeMap::from([(LABEL.to_owned(), "base".to_owned())]);
    let base = Base { rootfs_tar: &stored.path, tag, platform: job.plan.arch.platform(), labels: &labels };
    Ok(engine.load_base(&base, &*session.reporter).await?)
}

/// Returns whether the engine has the stages' result already.
async fn built(session: &Session, engine: &Engine, job: &Job, options: &BuildOptions) -> Result<bool, Error> {
    let key = job.plan.key.to_string();
    let there = engine.container_image(&job.tag).await?;
    let built = !options.no_cache && there.is_some_and(|image| image.labels.get(KEY_LABEL) == Some(&key));
    if built {
        session.reporter.note(format!("{} has built these stages already", engine.info().name));
    }
    Ok(built)
}

/// Has the engine build the stages.
async fn build_stages(
    session: &Session,
    engine: &Engine,
    job: &Job,
    options: &BuildOptions,
) -> Result<(), Error> {
    let key = job.plan.key.to_string();
    let mut request = BuildRequest::new(&job.plan, &job.tag);
    request.labels = BTreeMap::from([(LABEL.to_owned(), "build".to_owned()), (KEY_LABEL.to_owned(), key)]);
    request.no_cache = options.no_cache;
    engine.build(&request, &*session.reporter).await?;
    Ok(())
}

/// Takes the root file system out of the engine and writes the image.
async fn write_image(session: &Session, engine: &Engine, job: &Job) -> Result<ImageInfo, Error> {
    const STEP: &str = "image";
    let name = job.image.file_name().unwrap_or_default().to_string_lossy().into_owned();
    session.reporter.started(STEP, format!("Writing {name}"));
    let tree = engine.export(&job.tag, BuilderChoice::Best).await?;
    if let Some(losses) = tree.losses() {
        session.reporter.warn(format!("this engine cannot export everything: {losses}"));
    }
    let (layout, identity) = (job.layout.clone(), job.identity.clone());
    let (image, reporter, compression) = (job.image.clone(), session.reporter.clone(), job.compress);
    let info = blocking::read(tree, move |tree| -> Result<ImageInfo, Error> {
        let info = disk::write_image(tree, &layout, &identity, &image, &*reporter)?;
        compress::compress(&image, compression, &*reporter)?;
        Ok(info)
    })
    .await??;
    session.reporter.finished(STEP, false);
    Ok(info)
}

/// Writes the checksum and the report beside the image.
fn finish(session: &Session, job: &Job, info: ImageInfo) -> Result<BuildReport, Error> {
    let image = job.image.with_extension(extension(job.compress));
    let digest = match job.compress {
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
        BuildReport { image, digest, size, key: job.key, stages, layout: info, written, up_to_date: false };
    let text = serde_json::to_string_pretty(&report)
        .map_err(|error| Error::io("write", &job.report, std::io::Error::other(error.to_string())))?;
    files::replace_text(&job.report, &format!("{text}\n"))?;
    session.reporter.note(format!("Built {name}"));
    Ok(report)
}

impl BuildReport {
    /// Returns the report for people.
    pub fn to_text(&self) -> String {
        let size = self.size.div_ceil(1 << 20);
        let how = if self.up_to_date { " is up to date" } else { "" };
        format!("{}{how} ({size} MiB)\n{}\n", self.image.display(), self.digest)
    }
}
