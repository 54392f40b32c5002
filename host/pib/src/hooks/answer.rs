//! What an answer may look like, before anything is made of it.

use pib_plan::hook::Limits;
use pib_plan::part::MAX_PART;
use pib_plan::path::{self, Collisions};
use pib_plan::size::ByteSize;

use super::error::{HookError, HookName, raise};
use super::{Diagnostic, Rendered, excerpt};

/// The longest text of a diagnostic that is shown, in bytes.
pub(super) const MAX_TEXT: usize = 4_000;
/// The longest path of a rendered file; Linux takes no longer ones.
const MAX_PATH: usize = 1_000;

/// Checks a component's size.
pub(super) fn size(hook: &HookName, found: u64, limits: &Limits) -> Result<(), HookError> {
    if found <= limits.component.0 {
        return Ok(());
    }
    let reason = format!("it is larger than {}", limits.component);
    Err(HookError::Broken { hook: hook.clone(), reason, help: raise("component") })
}

/// Checks the number of diagnostics, and makes their texts fit for a terminal.
pub(super) fn diagnostics(
    hook: &HookName,
    found: Vec<Diagnostic>,
    limits: &Limits,
) -> Result<Vec<Diagnostic>, HookError> {
    if found.len() > limits.diagnostics as usize {
        let what = format!("{} diagnostics, and {} are the most", found.len(), limits.diagnostics);
        return Err(bad(hook, what, raise("diagnostics")));
    }
    let fit = |diagnostic: Diagnostic| Diagnostic {
        severity: diagnostic.severity,
        key: diagnostic.key.map(|key| excerpt::line(&key, 100)),
        message: excerpt::paragraph(&diagnostic.message, MAX_TEXT),
        help: diagnostic.help.map(|help| excerpt::paragraph(&help, MAX_TEXT)),
    };
    Ok(found.into_iter().map(fit).collect())
}

/// Checks the sizes and paths of what was rendered.
pub(super) fn rendered(hook: &HookName, rendered: Rendered, limits: &Limits) -> Result<Rendered, HookError> {
    let mistake = "This is a mistake in the hook. Tell the stage's author.";
    if rendered.part.len() > MAX_PART {
        let what = format!("the part has {}", ByteSize(rendered.part.len() as u64));
        return Err(bad(
            hook,
            what,
            "A part has at most 1MiB; what is larger belongs into files.".to_owned(),
        ));
    }
    if rendered.files.len() > limits.files as usize {
        let what = format!("{} files, and {} are the most", rendered.files.len(), limits.files);
        return Err(bad(hook, what, raise("files")));
    }
    let mut collisions = Collisions::default();
    for file in &rendered.files {
        let unfit = |reason: String| {
            let what = format!("the file `{}`: {reason}", excerpt::line(&file.path, 200));
            bad(hook, what, mistake.to_owned())
        };
        path::check(&file.path).map_err(unfit)?;
        if file.path.len() > MAX_PATH {
            return Err(unfit("the path is too long".to_owned()));
        }
        collisions.add(&file.path, false).map_err(unfit)?;
    }
    Ok(rendered)
}

fn bad(hook: &HookName, what: String, help: String) -> HookError {
    HookError::BadAnswer { hook: hook.clone(), what, help }
}

#[cfg(test)]
mod tests {
    use super::super::File;
    use super::*;

    fn hook() -> HookName {
        HookName { stage: "mine".to_owned(), version: "1.0.0".to_owned(), component: "hook.wasm".to_owned() }
    }

    fn with(paths: &[&str]) -> Result<Rendered, HookError> {
        let file = |path: &&str| File { path: (*path).to_owned(), content: Vec::new(), executable: false };
        let answer = Rendered { part: "RUN true\n".to_owned(), files: paths.iter().map(file).collect() };
        rendered(&hook(), answer, &Limits::default())
    }

    #[test]
    fn paths_stay_inside_and_apart() {
        assert!(with(&["a", "b/c"]).is_ok());
        for bad in ["../x", "/etc/passwd", "a/../../x", "", "a\nb", &"a/".repeat(600)] {
            let error = with(&[bad]).unwrap_err().to_string();
            assert!(error.contains("stage `mine` 1.0.0") && error.contains("the file `"), "{error}");
        }
        assert!(with(&["a", "a"]).unwrap_err().to_string().contains("twice"));
        assert!(with(&["a", "a/b"]).unwrap_err().to_string().contains("both a file and a folder"));
    }

    #[test]
    fn counts_and_sizes_are_bounded() {
        let paths: Vec<String> = (0..1_001).map(|number| format!("f{number}")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        assert!(with(&paths).unwrap_err().to_string().contains("1001 files"));
        let large = Rendered { part: "#".repeat(MAX_PART + 1), files: vec![] };
        assert!(rendered(&hook(), large, &Limits::default()).is_err());
    }
}
