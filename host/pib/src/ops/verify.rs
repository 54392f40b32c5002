//! Says whether an image comes from the project's lock.

use std::path::{Path, PathBuf};

use pib_event::ReporterExt as _;
use pib_plan::id::Digest;
use serde::Serialize;

use super::inspect::existing;
use crate::engine::Loss;
use crate::pipeline::{self, BaseLookup, StageOptions, Statement, edition};
use crate::project::{Error, LockMode, Project, Session, blocking};

/// The id of the step in events.
const STEP: &str = "verify";
/// The largest provenance that is read. That of a system of 2,000 packages has 800 KB.
const MAX_PROVENANCE: u64 = 64 << 20;
/// How much of what differs is told.
const MAX_TOLD: usize = 20;

/// An image that comes from the project's lock.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verified {
    /// The image's file.
    #[serde(serialize_with = "crate::project::path_text::lossy")]
    pub image: PathBuf,
    /// Its digest.
    pub digest: Digest,
    /// The digest of everything that decided it.
    pub key: Digest,
}

/// Checks that an image, the project's own unless another one is named, is the one that its provenance is of, and that this
/// is what the project and its lock give.
///
/// # Errors
/// When the lock does not hold the whole build, there is no image or no provenance, or one of them is not as it should be.
pub async fn verify(
    session: &Session,
    options: &StageOptions,
    image: Option<&Path>,
) -> Result<Verified, Error> {
    let rendered = pipeline::decide_only(session, Project::load(session)?, options).await?;
    rendered.packages.resolved.check_lock()?;
    // Of what the lock must say, it may not be silent.
    let mode = LockMode { locked: true, ..options.lock };
    let based = match rendered.look_up_base(options.lock) {
        BaseLookup::Known(based) if !based.is_undated(mode) => based,
        _ => {
            return Err(Error::Stage {
                message: "pib.lock does not have the digest of the base yet".to_owned(),
                help: Some("Build the image once: that adds it.".to_owned()),
            });
        }
    };
    let path = match image {
        Some(path) => session.cwd.join(path),
        None => existing(based.rendered.packages.project())?,
    };
    session.reporter.started(STEP, "Reading the image");
    let fail = |error| Error::io("read", &path, error);
    let file = pib_file::open(&path).map_err(fail)?;
    let digest = Digest::from_bytes(blocking::read(file, pib_file::sha256).await?.map_err(fail)?);
    session.reporter.finished(STEP, false);
    let unfit = |reason: String, help: &str| Error::Unverified {
        image: path.clone(),
        reason,
        differences: Vec::new(),
        help: help.to_owned(),
    };
    let beside = pipeline::provenance_of(&path);
    let text = pib_file::read_text(&beside, MAX_PROVENANCE).map_err(|error| error.to_string());
    let found = text.and_then(|text| Statement::parse(&text)).map_err(|reason| {
        let reason = format!("its provenance `{}` cannot be read: {reason}", beside.display());
        unfit(reason, "Take the file that the build wrote beside the image.")
    })?;
    if !found.is_about(&digest) {
        let reason = format!("it has the digest {digest}, and its provenance is of another one");
        return Err(unfit(reason, "Somebody changed the image, or took the provenance of another build."));
    }
    if let Some(lost) = Loss::list(found.losses()).filter(|_| based.lock.refuses_losses) {
        let reason = format!("the engine that built it has lost {lost}, and pib.lock refuses such engines");
        return Err(unfit(reason, "Build it with an engine that keeps everything: Docker with BuildKit."));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let recording =
        edition::recording_of(session, &based, mode)?.map(|(_, recording)| recording).unwrap_or_default();
    let now = Statement::of(&based, found.losses(), &recording, &name, digest);
    if found.key() == now.key() && found.downloads_beyond(&now).is_empty() {
        if !found.says_what(&now) {
            let reason = format!("its provenance `{}` is not what pib wrote", beside.display());
            return Err(unfit(
                reason,
                "Somebody changed it. Take the file that the build wrote beside the image.",
            ));
        }
        return Ok(Verified { image: path, digest, key: now.key() });
    }
    Err(built_from_something_else(path, &found, &now))
}

/// Returns the error of an image that was built from something else than the project has now.
fn built_from_something_else(image: PathBuf, found: &Statement, now: &Statement) -> Error {
    let mut differences = found.differences(now);
    let more = differences.len().saturating_sub(MAX_TOLD);
    differences.truncate(MAX_TOLD);
    let mut lines: Vec<String> = differences.iter().map(pipeline::difference_line).collect();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    if lines.is_empty() {
        let what = "settings, files, options or secrets of the project differ; what stands for a secret in a key is \
                    another on each machine";
        lines.push(what.to_owned());
    }
    let reason =
        format!("it was built from something else than the project has now:\n  {}", lines.join("\n  "));
    let help = "Check out the project and lock that it was built from, or build again.".to_owned();
    Error::Unverified { image, reason, differences, help }
}
