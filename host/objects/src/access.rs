//! Where what lets the user in is found.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pib_event::Mask;

/// The variables and the home folder that keys and logins are found by, and what hides them.
#[derive(Clone, Default)]
pub struct Access {
    variables: Arc<BTreeMap<OsString, OsString>>,
    home: Option<PathBuf>,
    mask: Mask,
}

impl Access {
    /// Returns the access of a user with these variables; `mask` hides every key, password and token that is read.
    pub fn new(variables: Arc<BTreeMap<OsString, OsString>>, home: Option<PathBuf>, mask: Mask) -> Self {
        Self { variables, home, mask }
    }

    /// Returns a variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(OsStr::new(name))?.to_str().filter(|value| !value.is_empty())
    }

    /// Returns all variables that are text.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&str, &str)> {
        self.variables.iter().filter_map(|(name, value)| Some((name.to_str()?, value.to_str()?)))
    }

    /// Returns the user's home folder.
    pub(crate) fn home(&self) -> Option<&Path> {
        self.home.as_deref()
    }

    /// Hides a secret in everything that is shown from now on.
    pub(crate) fn hide(&self, secret: &str) {
        self.mask.hide(secret.as_bytes());
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}
