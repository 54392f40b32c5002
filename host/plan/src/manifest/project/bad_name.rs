//! The error for a text in a manifest that is not a valid stage name.

use toml::Spanned;

use crate::id::{NameError, check_name};
use crate::manifest::{ManifestError, ManifestText};

/// Returns what is wrong with the name of a stage, at its place.
pub(super) fn bad_name(source: &ManifestText, name: &Spanned<String>, error: NameError) -> ManifestError {
    let plain = name.get_ref().to_lowercase().replace(['_', ' ', '.'], "-");
    let help = match check_name(&plain) {
        Ok(()) => format!("Did you mean `{plain}`?"),
        Err(_) => "The name of a stage is made of a-z, 0-9 and `-`, and starts with a letter.".to_owned(),
    };
    source.error(name.span(), format!("stage name: {error}"), "this stage").with_help(help)
}
