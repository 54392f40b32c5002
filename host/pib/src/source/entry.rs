//! What the index knows of a stage, made from the stage itself.

use std::io;
use std::path::{Path, PathBuf};

use pib_plan::hook;
use pib_plan::id::Digest;
use pib_plan::index::{FIRST_SCHEMA, HookRef, IndexEntry};
use pib_plan::manifest::stage::StageManifest;
use pib_plan::variable::Variable;

use super::SourceError;
use super::contents::Contents;
use super::stage_files::{MAX_BYTES, PackageFile, is_file};

/// The largest index file that is read, in bytes.
pub(super) const MAX_INDEX: u64 = 16 << 20;

/// Returns the index entry of the stage in the folder `root`, without what only an archive has. What was read of the folder
/// already, its `files` with their `contents`, is not read again.
pub(super) fn of(
    manifest: &StageManifest,
    root: &Path,
    files: &[PackageFile],
    contents: &Contents,
) -> Result<IndexEntry, SourceError> {
    let hook = match &manifest.hook {
        Some(hook) => {
            let path = root.join(&hook.component);
            let read = files.iter().find(|file| file.path == hook.component);
            let contract = match read.zip(contents.get(&hook.component)) {
                // What is kept are the bytes that the digest was taken of.
                Some((file, bytes)) => hook_ref(manifest, &path, bytes, file.digest),
                None => {
                    let bytes = read_hook(manifest, &path)?;
                    hook_ref(manifest, &path, &bytes, Digest::of(&bytes))
                }
            };
            Some(contract?)
        }
        None => None,
    };
    Ok(IndexEntry {
        v: FIRST_SCHEMA,
        name: manifest.name.clone(),
        vers: manifest.version.clone(),
        deps: manifest.dependencies.clone(),
        conflicts: manifest.conflicts.clone(),
        order: manifest.order.clone(),
        phase: manifest.phase,
        support: manifest.support.clone(),
        uses: manifest.uses.iter().map(|variable| variable_name(*variable)).collect(),
        pib: manifest.pib.clone(),
        config: manifest.config.clone(),
        description: manifest.description.clone(),
        license: manifest.license.clone(),
        cksum: None,
        content: None,
        size: None,
        hook,
        yanked: false,
        yank_reason: None,
        pubtime: None,
        publisher: None,
    })
}

/// Returns the variable's name as manifests write it.
fn variable_name(variable: Variable) -> String {
    variable.arg().to_ascii_lowercase().replace('_', "-")
}

pub(super) fn no_hook(manifest: &StageManifest, path: PathBuf) -> SourceError {
    let help = "Build the hook as a component and set [hook] component in stage.toml to its file.".to_owned();
    SourceError::BadHook {
        name: manifest.name.clone(),
        path,
        reason: "the stage has no such file".to_owned(),
        help,
    }
}

fn read_hook(manifest: &StageManifest, path: &Path) -> Result<Vec<u8>, SourceError> {
    // What is no regular file of the stage, e.g. a link out of it, is not the stage's hook.
    if !is_file(path) {
        return Err(no_hook(manifest, path.to_owned()));
    }
    match pib_file::read(path, MAX_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            let help = "A stage's files may not be larger than that together.".to_owned();
            Err(bad_hook(manifest, path, error.to_string(), help))
        }
        bytes => bytes.map_err(SourceError::io("reading", path)),
    }
}

fn hook_ref(
    manifest: &StageManifest,
    path: &Path,
    component: &[u8],
    digest: Digest,
) -> Result<HookRef, SourceError> {
    let contract = hook::inspect(component)
        .map_err(|problem| bad_hook(manifest, path, problem.to_string(), problem.advice()))?;
    Ok(HookRef { digest, world: contract.world })
}

fn bad_hook(manifest: &StageManifest, path: &Path, reason: String, help: String) -> SourceError {
    SourceError::BadHook { name: manifest.name.clone(), path: path.to_owned(), reason, help }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_keep_the_names_that_manifests_give_them() {
        for variable in Variable::ALL {
            let written = serde_json::to_value(variable).unwrap();
            assert_eq!(written, variable_name(variable));
        }
    }
}
