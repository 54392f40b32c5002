//! The labels of what pib makes in an engine: what it is, of which project, and whose.

use std::collections::BTreeMap;
use std::path::Path;

use pib_plan::id::Digest;

use super::records::Records;
use crate::project::Session;

/// The label of everything that pib makes in an engine.
pub(crate) const LABEL: &str = "dev.pib";
/// The label that tells the key of a container image's last stage.
pub(crate) const KEY_LABEL: &str = "dev.pib.key";
/// The label that tells which project on this machine a container image or container belongs to.
pub(crate) const PROJECT_LABEL: &str = "dev.pib.project";
/// The label that tells which user's pib made a container image or container.
pub(crate) const USER_LABEL: &str = "dev.pib.user";

/// Returns the labels of what belongs to a project: what it is, of which project, and whose.
pub(crate) fn labels(session: &Session, dir: &Path, what: &str) -> BTreeMap<String, String> {
    let user = Records::new(session).user().map(|user| (USER_LABEL.to_owned(), user));
    let own = [(LABEL.to_owned(), what.to_owned()), (PROJECT_LABEL.to_owned(), project_id(dir))];
    own.into_iter().chain(user).collect()
}

/// Returns the id of the project in `dir`. It differs from that of any other project on this machine, and does not reveal
/// the folder to people who get the image.
pub(crate) fn project_id(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    Digest::of(dir.as_os_str().as_encoded_bytes()).hex()[..16].to_owned()
}
