//! Builds versions as strangers would who take them from a registry, starts the image in QEMU, and runs the tests of the stage in it.

use std::path::Path;
use std::time::Duration;

use pib_event::ReporterExt as _;
use pib_file::Folder;
use pib_plan::suggest::count;

use super::build;
use super::test::{self, TestOptions, TestReport, TestReports};
use crate::author::trial;
use crate::pipeline::StageOptions;
use crate::project::consent::Consent;
use crate::project::{Error, LockMode, Session, files};
use crate::source::registry_folder::{self, PublishCandidate};

/// How long the system may take to come up.
const PATIENCE: Duration = Duration::from_secs(900);

/// Tests the versions that are new. `registry` is the address that they are to be published to, for the stages that they need, and
/// `config` what a project would set.
///
/// # Errors
/// When a version cannot be built. Tests that fail are in the reports.
pub(super) async fn run(
    session: &Session,
    candidates: &[PublishCandidate],
    registry: Option<String>,
    config: &[String],
) -> Result<TestReports, Error> {
    let new: Vec<&PublishCandidate> = candidates.iter().filter(|candidate| !candidate.is_published).collect();
    if new.len() > 1 && !config.is_empty() {
        let help = "Publish the stages one after the other, each with its own --config.";
        return Err(Error::usage("--config is for one stage, and several are new", help));
    }
    let fail = |error| Error::io("make", Path::new("a folder of temporary files"), error);
    let folder = tempfile::Builder::new().prefix("pib-publish-test-").tempdir().map_err(fail)?;
    let registries = registries(folder.path(), candidates, registry)?;
    let mut reports = Vec::new();
    for candidate in new {
        reports.push(one(session, folder.path(), candidate, config, &registries).await?);
    }
    let reports = TestReports { reports };
    if reports.failed() {
        // The console and the journal are in there.
        let kept = folder.keep();
        session.reporter.note(format!("The projects of the tests are in {}", kept.display()));
    }
    Ok(reports)
}

/// Makes a registry that has the versions, and returns where strangers would look for stages.
fn registries(
    folder: &Path,
    candidates: &[PublishCandidate],
    registry: Option<String>,
) -> Result<Vec<(&'static str, String)>, Error> {
    let own = folder.join("registry");
    let stages: Vec<_> = candidates.iter().map(|candidate| &candidate.packed).collect();
    registry_folder::add(&stages, &own)?;
    let of_folder = |path: &Path| url::Url::from_file_path(path).map(String::from).unwrap_or_default();
    let own = ("candidate", of_folder(&own));
    Ok([own].into_iter().chain(registry.map(|address| ("destination", address))).collect())
}

async fn one(
    session: &Session,
    folder: &Path,
    candidate: &PublishCandidate,
    config: &[String],
    registries: &[(&str, String)],
) -> Result<TestReport, Error> {
    let (name, version) = (&candidate.packed.package.name, &candidate.packed.package.version);
    let dir = folder.join(name.as_str());
    let project = Folder::make(&dir).map_err(|error| Error::io("create the folder", &dir, error))?;
    let text = trial::strangers_manifest((&candidate.packed.package.manifest, version), config, registries)?;
    files::replace_text(&project, pib_plan::manifest::project::FILE_NAME, &text)?;
    let session = Session {
        cwd: dir,
        project: None,
        target: None,
        target_dir: None,
        // The user named the stages and the registry, and nobody else has named anything.
        consent: Consent::to_everything(),
        ..session.clone()
    };
    session.reporter.note(format!("Building {name} {version} as a stranger would"));
    build::build(&session, &StageOptions { image_only: true, ..StageOptions::default() }).await?;
    let lock = LockMode { locked: true, ..LockMode::default() };
    let options = TestOptions {
        image: None,
        filter: Some(name.to_string()),
        junit: None,
        timeout: PATIENCE,
        card: None,
        stages: StageOptions { lock, ..StageOptions::default() },
    };
    let mut tested = test::test(&session, &options, None).await?.reports;
    let mut report = tested.pop().ok_or_else(|| Error::usage("nothing was tested", "Leave --test out."))?;
    report.target = Some(format!("{name} {version}"));
    if report.error.is_none() && report.failed() == 0 {
        session.reporter.note(format!("{name} {version}: {} passed", count(report.tests.len(), "test")));
    }
    Ok(report)
}
