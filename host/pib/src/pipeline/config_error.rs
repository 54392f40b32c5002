//! Errors about a stage's config, at the place in `pib.toml` that they come from.

use pib_plan::manifest::project::{ProjectManifest, StageRequest};
use pib_plan::manifest::{ManifestError, ManifestText};

use crate::project::Project;
use crate::source::Package;

/// Returns what the project says of a stage, if anything.
pub(crate) fn request<'a>(project: &'a Project, package: &Package) -> Option<&'a StageRequest> {
    project.manifest.stages.iter().find(|request| request.name == package.name)
}

/// Returns an error that points at a config key's value in `pib.toml`, or at its stage, or at nothing where the
/// project does not name the stage.
pub(crate) fn config_error(
    project: &ProjectManifest,
    request: Option<&StageRequest>,
    key: &str,
    message: String,
) -> ManifestError {
    config_error_in(&project.source, request, key, message)
}

/// Returns an error like [`config_error`], shown in another form of the manifest's text.
pub(crate) fn config_error_in(
    source: &ManifestText,
    request: Option<&StageRequest>,
    key: &str,
    message: String,
) -> ManifestError {
    let entry = request.and_then(|request| request.config.iter().find(|entry| entry.key == key));
    match (entry, request) {
        (Some(entry), _) => source.error(entry.span.clone(), message, "this value"),
        (None, Some(request)) => source.error(request.span.clone(), message, "this stage"),
        (None, None) => source.error(0..0, message, ""),
    }
}
