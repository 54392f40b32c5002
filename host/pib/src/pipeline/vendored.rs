//! The stages that a project holds itself, as `pib vendor` has put them there.

use pib_plan::vendor as plan;

use crate::project::{Error, Project, Session};
use crate::source::vendor_folder::Vendor;

/// Returns the stages that the project holds itself, where its manifest says so.
///
/// # Errors
/// When they cannot be read, or are not there.
pub(crate) fn open(session: &Session, project: &Project) -> Result<Option<Vendor>, Error> {
    let Some(path) = &project.manifest.vendor else { return Ok(None) };
    match open_in(session, project, path)? {
        Some(vendor) => Ok(Some(vendor)),
        None => Err(Error::Stage {
            message: format!(
                "pib.toml has stages vendored in `{path}`, and there is no list of them: {path}/{}",
                plan::FILE_NAME
            ),
            help: Some("Run `pib vendor`, or take [vendor] out of pib.toml.".to_owned()),
        }),
    }
}

/// Returns the vendored stages in the folder `path` of the project, where there are some.
pub(crate) fn open_in(session: &Session, project: &Project, path: &str) -> Result<Option<Vendor>, Error> {
    let list = project.dir.join(path).join(plan::FILE_NAME);
    let shown = session.show(&list).display().to_string();
    Ok(Vendor::open(&project.folder()?, path, &shown)?)
}
