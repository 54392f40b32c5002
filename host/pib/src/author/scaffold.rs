//! Starts a stage.

use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use pib_file::{Folder, Kind};
use pib_plan::id::StageName;
use pib_plan::manifest::stage::{FILE_NAME, StageManifest};
use pib_plan::part;
use serde::Serialize;

use super::{HOOK_FOLDER, sdk};
use crate::project::{self, Error, Session};

/// What to start.
#[derive(Debug, Clone)]
pub struct NewStageOptions {
    /// The folder to make; its name becomes the stage's.
    pub path: PathBuf,
    /// What the hook is written in.
    pub hook: HookLanguage,
}

/// What a hook is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookLanguage {
    /// The stage has no hook.
    None,
    /// Rust, with pib's SDK.
    Rust,
}

/// A stage that was started.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NewStage {
    /// Its folder, as the command line named it.
    #[serde(serialize_with = "crate::project::path_text::lossy")]
    pub path: PathBuf,
    /// Its name.
    pub name: String,
    /// What its hook is written in.
    pub hook: HookLanguage,
}

/// Makes the folder and what belongs into it.
///
/// # Errors
/// When the folder's name is no stage's, or something is there already.
pub fn new(session: &Session, options: &NewStageOptions) -> Result<NewStage, Error> {
    let folder = session.cwd.join(&options.path);
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name
        .parse::<StageName>()
        .map_err(|error| Error::usage(error.to_string(), "The folder's name becomes the stage's."))?;
    let parent = project::make_folder(session, folder.parent().unwrap_or(Path::new("/")))?;
    let taken = match parent.kind(name.as_str()) {
        Ok(None) => false,
        Ok(Some(Kind::Directory)) => {
            let there = parent.folder(name.as_str()).and_then(|there| there.entries());
            there.is_ok_and(|entries| !entries.is_empty())
        }
        _ => true,
    };
    if taken {
        let message = format!("`{}` exists already", session.show(&folder).display());
        return Err(Error::usage(message, "Choose another folder."));
    }
    write(&parent, name.as_str(), &files(name.as_str(), options.hook)?)?;
    Ok(NewStage { path: options.path.clone(), name: name.to_string(), hook: options.hook })
}

/// Returns the files of a new stage: their paths within its folder and their texts.
fn files(name: &str, hook: HookLanguage) -> Result<Vec<(String, String)>, Error> {
    let fill = |template: &str| template.replace("NAME", name);
    let (manifest, part) = match hook {
        HookLanguage::None => {
            (fill(include_str!("template/stage.toml")), fill(include_str!("template/plain.part")))
        }
        HookLanguage::Rust => {
            let hook = include_str!("template/hook-section.toml");
            (
                fill(&format!("{}{hook}", include_str!("template/stage.toml"))),
                fill(include_str!("template/hook.part")),
            )
        }
    };
    // What is written must be what every other command reads.
    StageManifest::parse(FILE_NAME, &manifest)?;
    part::check("Dockerfile.part", &part)?;
    let mut files = vec![(FILE_NAME.to_owned(), manifest), ("Dockerfile.part".to_owned(), part)];
    if hook == HookLanguage::Rust {
        files.push((".gitignore".to_owned(), format!("/{HOOK_FOLDER}/target\n")));
        files.push((format!("{HOOK_FOLDER}/Cargo.toml"), fill(include_str!("template/crate.toml"))));
        files.push((format!("{HOOK_FOLDER}/src/lib.rs"), fill(include_str!("template/lib.rs.txt"))));
        let sdk = sdk::files().into_iter();
        files.extend(sdk.map(|(path, text)| (format!("{HOOK_FOLDER}/sdk/{path}"), text)));
    }
    Ok(files)
}

/// Writes the files to a folder that gets its name when all are there.
fn write(parent: &Folder, name: &str, files: &[(String, String)]) -> Result<(), Error> {
    let fail = |error| Error::io("create the folder", parent.path().join(name), error);
    let made = parent.make_temporary(".pib-").map_err(fail)?;
    let temporary = made.path().file_name().unwrap_or_default();
    let written = files.iter().try_for_each(|(path, text)| {
        made.make_folder(Path::new(path).parent().unwrap_or(Path::new("")))?;
        made.create_new(path)?.write_all(text.as_bytes())
    });
    let placed = written
        .and_then(|()| made.set_permissions(Permissions::from_mode(0o755)))
        .and_then(|()| parent.rename(temporary, name));
    placed.inspect_err(|_| _ = parent.remove_all(temporary)).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_fit_every_name() {
        for name in ["x", "a-b-1", "__init__"] {
            for hook in [HookLanguage::None, HookLanguage::Rust] {
                let files = files(name, hook).unwrap();
                assert!(files.iter().all(|(_, text)| !text.contains("NAME")), "{name}");
                let is_there = |path: &str| files.iter().any(|(found, _)| found == path);
                assert_eq!(is_there("hook/Cargo.toml"), hook == HookLanguage::Rust);
            }
        }
    }
}
