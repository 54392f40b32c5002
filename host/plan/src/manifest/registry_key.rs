//! The keys of registries, as a project's manifest and the user's config name them.

use std::collections::BTreeMap;

use toml::Spanned;

use super::{ManifestError, ManifestText};
use crate::registry_snapshot::RegistryKey;

/// Adds the key of the registry that a file calls `name`, under the address that the registry has in a lock.
///
/// # Errors
/// When it is not a key, or the file names two keys for one address.
pub(super) fn add_key(
    source: &ManifestText,
    keys: &mut BTreeMap<String, RegistryKey>,
    (name, index): (&str, &str),
    text: &Spanned<String>,
) -> Result<(), ManifestError> {
    let fail = |message: String, help: &str| source.error(text.span(), message, "this key").with_help(help);
    let key: RegistryKey = text.get_ref().parse().map_err(|error| {
        let message = format!("key of the registry `{name}`: {error}");
        fail(message, "Copy it from the registry's owner: `pib registry sign` shows it.")
    })?;
    if keys.insert(lock_address(index), key).is_some_and(|other| other != key) {
        let message = format!("the registry `{name}` has another key elsewhere in this file");
        return Err(fail(message, "Two names of one registry have one key."));
    }
    Ok(())
}

/// Returns an address as a lock has it.
fn lock_address(index: &str) -> String {
    format!("{}/", index.trim_end_matches('/'))
}
