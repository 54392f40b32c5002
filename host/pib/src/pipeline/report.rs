//! The last step: takes the root file system out of the engine, writes the image, its checksum, its provenance and its
//! report.

use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use pib_file::Folder;
use pib_plan::id::{Digest, KeyHasher};
use pib_plan::layout::{Ext4Writer, Layout};
use pib_plan::manifest::project::{Bill, Compression, ImageOptions};
use serde::{Deserialize, Serialize};

use super::based::Based;
use super::imager_entry::{ENTRY, ImagerEntry};
use super::job::Built;
use super::records::Records;
use super::{NoCache, StageOptions, Statement, bills, boot_check, compress, connection, edition, origin};
use crate::engine::Loss;
use crate::engine::rootfs_tar::Fault;
use crate::inspection::SystemContent;
use crate::project::{Error, Project, Session, TargetFolder, blocking, files};
use pib_disk::{Identity, ImageInfo, NewImage};
use pib_event::ReporterExt as _;

/// Raised when the same plan would give another image, so that images of an older pib are not taken for new.
const IMAGE_VERSION: &str = "pib image 3";

/// How the names of provenances end.
const PROVENANCE: &str = ".provenance.json";
/// How the names of block maps end. `bmaptool` finds it beside the image, in whatever form that is.
const BLOCK_MAP: &str = ".img.bmap";

/// A finished image. The same text is kept beside it, as `NAME.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BuildReport {
    /// The file that the build leaves.
    #[serde(serialize_with = "crate::project::path_text::lossy")]
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
    /// The digest of what its parts were given, where that is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recording: Option<Digest>,
    /// The addresses of what parts went on without, since it could not be fetched: the next build asks for it again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
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

impl BuildReport {
    /// Returns what tells the image from any other that may take its place.
    fn state(&self) -> String {
        format!("{} {} {} {}", self.key, self.digest, self.size, self.written)
    }
}

/// Takes the root file system of a build out of the engine, and writes the image, its checksum and its report.
///
/// # Errors
/// When the engine cannot export the root file system, or the image cannot be written; an earlier one stays then.
pub(crate) async fn report(session: &Session, built: Built) -> Result<BuildReport, Error> {
    let image = Image::of(&built.based, built.engine.abilities().losses);
    let (new, system) = match write_image(session, &built, &image).await {
        Ok(written) => written,
        Err(error) => return Err(origin::stage_of(session, &built, error).await),
    };
    finish(session, &image, &built, new, system)
}

/// What is written, and where to.
struct Image {
    layout: Layout,
    compress: Compression,
    /// The bills of materials that are asked for.
    sbom: Vec<Bill>,
    identity: Identity,
    /// What the engine cannot give it.
    losses: Vec<Loss>,
    /// The digest of everything that decides the image.
    key: Digest,
    /// The folder that it is written to.
    target: TargetFolder,
    /// What the names of its files begin with.
    stem: String,
}

impl Image {
    /// Returns the image of a build by an engine with these losses.
    fn of(based: &Based, losses: Vec<Loss>) -> Self {
        let project = based.rendered.packages.project();
        let manifest = &project.manifest;
        Self {
            layout: manifest.image.layout.clone(),
            compress: manifest.image.compress,
            sbom: manifest.image.sbom.clone(),
            identity: based.identity(),
            key: based.image_key(&losses),
            losses,
            target: project.target.clone(),
            stem: manifest.project.file_stem(),
        }
    }

    /// Returns the file's name in the form `compress`.
    fn name(&self, compress: Compression) -> String {
        format!("{}.{}", self.stem, extension(compress))
    }

    /// Returns the provenance's name.
    fn provenance(&self) -> String {
        format!("{}{PROVENANCE}", self.stem)
    }

    /// Returns the block map's name.
    fn block_map(&self) -> String {
        format!("{}{BLOCK_MAP}", self.stem)
    }

    /// Returns the name of the entry for Raspberry Pi Imager.
    fn imager_entry(&self) -> String {
        format!("{}{ENTRY}", self.stem)
    }

    /// Returns the name of a bill of materials.
    fn bill(&self, bill: Bill) -> String {
        format!("{}{}", self.stem, bills::extension(bill))
    }

    /// Returns the report's name.
    fn report(&self) -> String {
        format!("{}.json", self.stem)
    }

    /// Returns the names of all that is said of the image, none of which may stand beside another one.
    fn companions(&self) -> Vec<String> {
        let bills = Bill::ALL.iter().map(|bill| self.bill(*bill));
        let mut names =
            vec![checksum_of(&self.name(self.compress)), self.provenance(), self.report(), self.block_map()];
        names.push(self.imager_entry());
        names.extend(bills);
        names
    }
}

impl Based {
    /// Returns the digest of everything that decides the image, as an engine builds it that has these losses.
    pub(crate) fn image_key(&self, losses: &[Loss]) -> Digest {
        // Each of them is taken by name: a further one cannot be forgotten here. Mount points are what parts say, and in
        // the key of the last stage.
        // Bills are beside the image, and not in it.
        let ImageOptions { compress, layout, sbom: _ } = &self.rendered.packages.project().manifest.image;
        let Identity { hostname, epoch, seed, mount_points: _ } = self.identity();
        let mut hasher = KeyHasher::new(IMAGE_VERSION);
        hasher.field(self.key().as_bytes()).field(seed.as_bytes()).field(&hostname);
        hasher.field(epoch.to_le_bytes()).field(layout.key_text());
        hasher.field(extension(*compress));
        if layout.writer == Ext4Writer::Mke2fs {
            // Another version may write other bytes.
            hasher.field(pib_disk::ext4_tools_version().unwrap_or_default());
        }
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
/// When the engine is to be asked and does not answer, or the recording is not the one that the lock names.
pub(crate) async fn up_to_date(
    session: &Session,
    based: &Based,
    options: &StageOptions,
) -> Result<Option<BuildReport>, Error> {
    let Some(report) = unchanged(session, based, options) else { return Ok(None) };
    // A recording that is lost, or another, is told before it is missed elsewhere.
    edition::read(session, based.rendered.packages.project(), &based.lock)?;
    if report.losses.is_empty() {
        return Ok(Some(report));
    }
    let engine = connection::connect(session).await?;
    Ok(Some(report).filter(|report| report.losses == engine.abilities().losses))
}

/// Returns the report of an earlier build by the same or another engine, if nothing else has changed.
///
/// The report and the image may have come with a stranger's project. They are believed only where this user's pib has
/// written them.
fn unchanged(session: &Session, based: &Based, options: &StageOptions) -> Option<BuildReport> {
    if options.until.is_some() || options.no_cache != NoCache::Nothing {
        return None;
    }
    let target = based.rendered.packages.project().target.open()?;
    let text = files::read_written(&target, &Image::of(based, Vec::new()).report())?;
    let report: BuildReport = serde_json::from_str(&text).ok()?;
    let image = Image::of(based, report.losses.clone());
    let name = image.name(image.compress);
    // An engine that loses something may be refused since.
    let is_allowed = report.losses.is_empty() || !based.lock.refuses_losses;
    let same = is_allowed
        && report.key == image.key
        && report.recording == based.lock.fetch
        && report.without.is_empty()
        && report.image == target.path().join(&name)
        && state(&target, &name) == Some((report.size, report.written))
        && state(&target, &image.provenance()).is_some()
        && state(&target, &image.block_map()).is_some()
        && state(&target, &image.imager_entry()).is_some()
        && image.sbom.iter().all(|bill| state(&target, &image.bill(*bill)).is_some())
        && Records::new(session).has_written(&report.image, &report.state());
    same.then_some(BuildReport { up_to_date: true, ..report })
}

/// Returns a file's size and the time of its last change in nanoseconds.
fn state(folder: &Folder, name: &str) -> Option<(u64, u128)> {
    let metadata = folder.open_file(name).and_then(|file| file.metadata()).ok()?;
    let written = metadata.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some((metadata.len(), written.as_nanos()))
}

/// The forms that an image may have.
const FORMS: [Compression; 3] = [Compression::None, Compression::Xz, Compression::Zstd];

/// Returns the name of an image's checksum.
fn checksum_of(image: &str) -> String {
    format!("{image}.sha256")
}

fn extension(compress: Compression) -> &'static str {
    match compress {
        Compression::None => "img",
        Compression::Xz => "img.xz",
        Compression::Zstd => "img.zst",
    }
}

/// Returns where the image of a project is, in the form that its manifest asks for.
pub(crate) fn image_path(project: &Project) -> PathBuf {
    let name =
        format!("{}.{}", project.manifest.project.file_stem(), extension(project.manifest.image.compress));
    project.target.path().join(name)
}

/// Returns where the provenance of an image is: beside it.
pub(crate) fn provenance_of(image: &Path) -> PathBuf {
    image.with_file_name(format!("{}{PROVENANCE}", stem_of(image)))
}

/// Returns where the report of an image's build is: beside it.
pub(crate) fn report_of(image: &Path) -> PathBuf {
    image.with_file_name(format!("{}.json", stem_of(image)))
}

/// Returns what the names of an image's files begin with.
fn stem_of(image: &Path) -> String {
    let name = image.file_name().unwrap_or_default().to_string_lossy();
    let stem = FORMS.iter().find_map(|form| name.strip_suffix(extension(*form))?.strip_suffix('.'));
    stem.unwrap_or(&name).to_owned()
}

/// Returns the root file system as a tar stream: that of the engine, with what will hold the engine's failure, or what came from a
/// shared cache.
async fn root_file_system(
    session: &Session,
    built: &Built,
) -> Result<(Box<dyn Read + Send>, Option<Fault>), Error> {
    if let Some(archive) = &built.archive {
        let file =
            pib_file::open(archive.path()).map_err(|error| Error::io("read", archive.path(), error))?;
        return Ok((Box::new(BufReader::new(file)), None));
    }
    let tree = built.engine.export(&built.tag).await?;
    if let Some(warning) = Loss::warning(tree.losses()) {
        session.reporter.warn(warning);
    }
    let fault = tree.fault();
    Ok((Box::new(tree), Some(fault)))
}

/// Takes the root file system out of the engine and writes the image.
async fn write_image(
    session: &Session,
    built: &Built,
    image: &Image,
) -> Result<(NewImage, Option<SystemContent>), Error> {
    const STEP: &str = "image";
    let name = image.name(Compression::None);
    session.reporter.started(STEP, format!("Writing {name}"));
    let (tree, fault) = root_file_system(session, built).await?;
    let (layout, identity) = (image.layout.clone(), image.identity.clone());
    let target = image.target.make()?;
    let output =
        target.output(&name).map_err(|error| Error::io("write", target.path().join(&name), error))?;
    let (reporter, compression) = (session.reporter.clone(), image.compress);
    let board = built.based.rendered.packages.project().manifest.project.board.clone();
    let with_system = !image.sbom.is_empty();
    let written = blocking::read(tree, move |tree| -> Result<_, Error> {
        let new = pib_disk::write_image(tree, &layout, &identity, &output, &*reporter)?;
        boot_check::check(new.file.as_file(), &new.file.path(), &board, layout.foreign_root, &*reporter)?;
        let system =
            if with_system { Some(bills::system(new.file.as_file(), &new.file.path())?) } else { None };
        Ok((NewImage { file: compress::compress(new.file, compression, &*reporter)?, ..new }, system))
    })
    .await?
    .map_err(|error| fault.and_then(|fault| fault.take()).map_or(error, Error::from))?;
    session.reporter.finished(STEP, false);
    Ok(written)
}

/// Gives the image its place, with its checksum and its report, and removes one of another form: all of it, or nothing where the build was interrupted
/// before. Nothing waits here, and so nothing interrupts.
fn finish(
    session: &Session,
    image: &Image,
    built: &Built,
    new: NewImage,
    system: Option<SystemContent>,
) -> Result<BuildReport, Error> {
    let output = new.file.output().clone();
    let (path, target) = (output.path(), output.folder());
    let digest = match image.compress {
        Compression::None => new.info.digest,
        _ => files::digest_of(&path, new.file.as_file())?,
    };
    let name = image.name(image.compress);
    let remove = |name: String| {
        output.with_name(&name).remove().map_err(|error| Error::io("remove", target.path().join(name), error))
    };
    // A checksum or a map never stands beside another image than its own.
    image.companions().into_iter().try_for_each(remove)?;
    let map = new.map.to_xml();
    let info = new.keep()?;
    files::replace_text(target, &image.block_map(), &map)?;
    for other in FORMS.iter().filter(|form| **form != image.compress) {
        let earlier = image.name(*other);
        remove(checksum_of(&earlier))?;
        remove(earlier)?;
    }
    files::replace_text(target, &checksum_of(&name), &format!("{}  {name}\n", digest.hex()))?;
    let unwritable =
        |error: serde_json::Error| Error::io("write", &path, std::io::Error::other(error.to_string()));
    let statement = Statement::of(&built.based, &image.losses, &built.given.recording, &name, digest);
    files::replace_text(target, &image.provenance(), &statement.to_text().map_err(unwritable)?)?;
    let (size, written) =
        state(target, &name).ok_or_else(|| Error::io("read", &path, std::io::ErrorKind::NotFound.into()))?;
    let report = BuildReport {
        image: path.clone(),
        digest,
        size,
        key: image.key,
        losses: image.losses.clone(),
        recording: built.given.named,
        without: built.given.without.iter().map(|(address, _)| address.clone()).collect(),
        stages: built.plan.stages.iter().map(|stage| format!("{} {}", stage.name, stage.version)).collect(),
        layout: info,
        written,
        up_to_date: false,
    };
    describe(image, built, &report, system.as_ref(), target)?;
    let text = serde_json::to_string_pretty(&report).map_err(unwritable)?;
    files::replace_text(target, &image.report(), &format!("{text}\n"))?;
    Records::new(session).add_written(&report.image, &report.state());
    session.reporter.note(format!("Built {name}"));
    Ok(report)
}

/// Writes what other tools read of the image: the entry for Raspberry Pi Imager, and the bills of materials.
fn describe(
    image: &Image,
    built: &Built,
    report: &BuildReport,
    system: Option<&SystemContent>,
    target: &Folder,
) -> Result<(), Error> {
    let entry = ImagerEntry {
        manifest: &built.based.rendered.packages.project().manifest,
        stages: &report.stages,
        epoch: image.identity.epoch,
        path: &report.image,
        size: report.size,
        digest: report.digest,
        plain: (report.layout.size, report.layout.digest),
    };
    files::replace_text(target, &image.imager_entry(), &entry.to_text())?;
    let Some(system) = system else { return Ok(()) };
    let subject = bills::subject(&built.based.rendered, system, image.name(image.compress), report.digest);
    for bill in &image.sbom {
        let text = bills::text(*bill, system, subject.clone(), &report.image)?;
        files::replace_text(target, &image.bill(*bill), &text)?;
    }
    Ok(())
}
