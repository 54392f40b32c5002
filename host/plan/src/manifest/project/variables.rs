//! `[variables]`: values of the project's own, which bare stages see.

use std::collections::BTreeMap;

use toml::Spanned;

use crate::config::is_engines_own;
use crate::manifest::{ManifestError, ManifestText};

/// How many variables a project may have.
const MAX_VARIABLES: usize = 512;
/// How long a value may be.
const MAX_VALUE: usize = 16 << 10;

/// Checks the names and values.
///
/// # Errors
/// When a name cannot be that of an `ARG`, a value is no single line, or there are too many.
pub(super) fn check(
    source: &ManifestText,
    variables: BTreeMap<Spanned<String>, Spanned<String>>,
) -> Result<BTreeMap<String, String>, ManifestError> {
    if variables.len() > MAX_VARIABLES
        && let Some(name) = variables.keys().next()
    {
        let message =
            format!("[variables] has {} entries, and at most {MAX_VARIABLES} are read", variables.len());
        return Err(source
            .error(name.span(), message, "in this table")
            .with_help("Remove what no stage reads."));
    }
    let mut checked = BTreeMap::new();
    for (name, value) in variables {
        let (text, span) = (name.get_ref().as_str(), name.span());
        if !is_name(text) {
            let message = format!("`{text}` is not a valid name of a variable");
            let help = "Write A-Z, a-z, 0-9 and `_`, with no digit first: PRODUCT_VERSION.";
            return Err(source.error(span, message, "this name").with_help(help));
        }
        if is_engines_own(text) {
            let message = format!("the variable `{text}` has a meaning of its own for container engines");
            return Err(source.error(span, message, "this name").with_help("Give it another name."));
        }
        if value.get_ref().chars().any(char::is_control) {
            let message =
                format!("the value of the variable `{text}` has a line break or another control character");
            return Err(source
                .error(value.span(), message, "this value")
                .with_help("A value is one line of text."));
        }
        if value.get_ref().len() > MAX_VALUE {
            let message = format!("the value of the variable `{text}` has more than {MAX_VALUE} bytes");
            let help = "Put long texts into a file of the stage that reads them.";
            return Err(source.error(value.span(), message, "this value").with_help(help));
        }
        checked.insert(name.into_inner(), value.into_inner());
    }
    Ok(checked)
}

fn is_name(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(letter) && text.chars().all(|c| letter(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use crate::manifest::project::ProjectManifest;

    const HEAD: &str = "[project]\nname = \"a\"\nos = \"debian\"\nrelease = \"trixie\"\nboard = \"rpi4\"\narch = \"arm64\"\n";

    #[test]
    fn targets_change_single_variables() {
        let text =
            format!("{HEAD}[variables]\nA = \"1\"\nB = \"2\"\n[target.t.variables]\nB = \"3\"\nC = \"4\"\n");
        let manifest = ProjectManifest::parse("pib.toml", &text).unwrap();
        let of = |manifest: &ProjectManifest| {
            manifest
                .variables
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!((&*of(&manifest), &*of(&manifest.targets["t"])), ("A=1 B=2", "A=1 B=3 C=4"));
    }

    #[test]
    fn wrong_names_values_and_orders_are_shown_at_their_place() {
        let cases = [
            ("[variables]\n1A = \"x\"\n", "1A", "not a valid name"),
            ("[variables]\nBUILDKIT_X = \"x\"\n", "BUILDKIT_X", "container engines"),
            ("[variables]\nA = \"x\\ny\"\n", "\"x\\ny\"", "line break"),
            ("[order]\nlist = [\"os\", \"os\"]\n", "\"os\"", "twice"),
            ("[order.stages.os]\nafter = [\"A\"]\n", "\"A\"", "stage name"),
            ("[order]\nlost = []\n", "lost", "unknown key"),
        ];
        for (more, marked, says) in cases {
            let text = format!("{HEAD}{more}");
            let error = ProjectManifest::parse("pib.toml", &text).unwrap_err();
            assert!(error.to_string().contains(says), "{more}: {error}");
            let span = error.span().unwrap();
            assert_eq!(&text[span], marked, "{more}");
        }
    }
}
