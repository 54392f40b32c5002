//! Compiles a stage's hook to a component.

use std::path::{Path, PathBuf};

use pib_file::Output;
use pib_plan::hook;
use pib_plan::id::Digest;
use pib_plan::manifest::stage::StageManifest;
use serde::Serialize;
use wit_component::ComponentEncoder;

use super::cargo::{Crate, STEP};
use super::{HOOK_FOLDER, folder};
use crate::project::{Error, Session, files};
use crate::source;
use pib_event::ReporterExt as _;

/// The largest module that is read: more than a package may have.
const MAX_MODULE: u64 = 1 << 30;

/// What to build.
#[derive(Debug, Clone, Default)]
pub struct BuildHookOptions {
    /// The stage's folder; the current one where it is not given.
    pub stage: Option<PathBuf>,
    /// Where the component is written to, instead of the place that `stage.toml` names.
    pub output: Option<PathBuf>,
}

/// A hook that was built.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BuiltHook {
    /// The stage.
    pub stage: String,
    /// The component's file.
    #[serde(serialize_with = "crate::project::path_text::lossy")]
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// The digest of its bytes.
    pub digest: Digest,
    /// The WIT package that it is a hook for.
    pub world: String,
}

/// Compiles the hook's crate, makes a component of the module, and writes it.
///
/// # Errors
/// When the stage has no hook in Rust, the compiler or its target is missing, the code does not compile, or is no
/// hook. An earlier component stays as it was then.
pub async fn build(session: &Session, options: &BuildHookOptions) -> Result<BuiltHook, Error> {
    let (root, shown) = folder(session, options.stage.as_deref())?;
    let manifest = source::manifest(&root, &shown)?;
    let code = code(session, &root, &manifest)?;
    let Some(section) = &manifest.hook else {
        return Err(Error::Stage {
            message: format!("stage `{}` has no [hook] in its stage.toml", manifest.name),
            help: Some("Add [hook] with component = \"hook.wasm\".".to_owned()),
        });
    };
    let path = match &options.output {
        Some(path) => session.cwd.join(path),
        None => root.join(&section.component),
    };
    session.reporter.started(STEP, format!("Compiling the hook of {}", manifest.name));
    let module = Crate::new(session, &code).build().await?;
    session.reporter.finished(STEP, false);
    let bytes = pib_file::read(&module, MAX_MODULE).map_err(|error| Error::io("read", &module, error))?;
    let component = component(&bytes).map_err(|reason| Error::Stage {
        message: format!("the hook of stage `{}` makes no component: {reason}", manifest.name),
        help: Some("Give the type that implements Hook to pib_plugin_sdk::export_hook!.".to_owned()),
    })?;
    let contract = hook::inspect(&component).map_err(|problem| Error::Stage {
        message: format!("what was built of stage `{}` is no hook: {problem}", manifest.name),
        help: Some(problem.advice()),
    })?;
    let output = Output::at(&path).map_err(|error| Error::io("write", &path, error))?;
    files::replace_bytes(output.folder(), &output.name().to_string_lossy(), &component)?;
    Ok(BuiltHook {
        stage: manifest.name.to_string(),
        path: session.show(&path).to_owned(),
        size: component.len() as u64,
        digest: Digest::of(&component),
        world: contract.world,
    })
}

/// Returns the folder of the hook's crate.
fn code(session: &Session, root: &Path, manifest: &StageManifest) -> Result<PathBuf, Error> {
    let folder = root.join(HOOK_FOLDER);
    if folder.join("Cargo.toml").is_file() {
        return Ok(folder);
    }
    let name = &manifest.name;
    Err(Error::Stage {
        message: format!("stage `{name}` has no Rust crate in `{}`", session.show(&folder).display()),
        help: Some(
            "`pib stage new NAME --hook rust` makes a stage that has one. A hook in another language is built with \
             that language's own tools, to the file that [hook] component names."
                .to_owned(),
        ),
    })
}

/// Makes a component of a core module that the SDK's bindings describe.
fn component(module: &[u8]) -> Result<Vec<u8>, String> {
    let encoded =
        ComponentEncoder::default().validate(true).module(module).and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| format!("{error:#}"))
}
