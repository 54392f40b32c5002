//! Turns a pi-builder tree, or a product built on one, into a project.
//!
//! The tree's makefiles are read as text and never run. Its stages stay where they are; what the project needs beside
//! them is a `pib.toml`, and an init stage without the lines that pib itself stands for.

mod disk;
mod found_stage;
mod init_part;
mod makefile_settings;
mod manifest_text;
mod own_variables;
mod tree;
mod variant;

use std::collections::BTreeSet;

use crate::id::check_name;
use crate::manifest::ManifestError;
use crate::manifest::project::{FILE_NAME, ProjectManifest};
use crate::suggest;
use found_stage::Found;
use makefile_settings::Settings;
use tree::Tree;
pub use tree::{Files, LeftOut};
use variant::Variant;

/// What is imported.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The name of the folder, which the project is called by where the tree does not say.
    pub folder: String,
    /// The variants that are wanted; all where none is named.
    pub targets: Vec<String>,
}

/// A project that was made of a tree.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The text of `pib.toml`.
    pub manifest: String,
    /// Files beside it, by path.
    pub files: Vec<(String, String)>,
    /// The names of the stages, in their order.
    pub stages: Vec<String>,
    /// The names of the targets.
    pub targets: Vec<String>,
    /// The variables that look like secrets. Their values are nowhere.
    pub secrets: BTreeSet<String>,
    /// What could not be carried over.
    pub left_out: Vec<LeftOut>,
}

/// Why a tree was not imported.
#[derive(Debug, Clone, thiserror::Error, miette::Diagnostic)]
pub enum ImportError {
    /// There is no makefile.
    #[error("the folder has no Makefile")]
    #[diagnostic(help("Name the folder of a pi-builder checkout, or of a product that is built with it."))]
    NoMakefile,
    /// The makefile names no stages.
    #[error("the Makefile does not say which stages make the system: STAGES has no value")]
    #[diagnostic(help("Write STAGES ?= __init__ os ... into it, or into the config.mk that it includes."))]
    NoStages,
    /// A variant that is wanted is not there.
    #[error("the Makefile has no variant `{name}`")]
    #[diagnostic(help("{help}"))]
    NoTarget {
        /// The variant.
        name: String,
        /// What there is.
        help: String,
    },
    /// What was found does not make a manifest.
    #[error("what the Makefile says does not make a pib.toml: {0}")]
    Manifest(String),
}

impl From<ManifestError> for ImportError {
    fn from(error: ManifestError) -> Self {
        Self::Manifest(error.to_string())
    }
}

/// Makes a project of a tree.
///
/// # Errors
/// When there is no makefile, it names no stages, or a variant that is wanted is not there.
pub fn import(files: Files<'_>, options: &ImportOptions) -> Result<Imported, ImportError> {
    let mut tree = Tree::new(files);
    if tree.text("Makefile").is_none() {
        return Err(ImportError::NoMakefile);
    }
    let variants = wanted(variant::variants(&mut tree), options)?;
    let mut main = Settings::of(&mut tree, &Variant::default());
    if main.stages.is_empty() && variants.is_empty() {
        return Err(ImportError::NoStages);
    }
    let mut targets: Vec<(String, Settings)> = Vec::new();
    for variant in &variants {
        let settings = Settings::of(&mut tree, variant);
        if settings.stages.is_empty() {
            tree.leave_out(format!("target {}", variant.name), "STAGES has no value for it".to_owned());
            continue;
        }
        targets.push((variant.name.clone(), settings));
    }
    if main.stages.is_empty() {
        main = targets.first().map(|(_, settings)| settings.clone()).ok_or(ImportError::NoStages)?;
    }
    if main.name.is_empty() {
        main.name = makefile_settings::plain_name(&options.folder);
    }
    if check_name(&main.name).is_err() {
        main.name = "device".to_owned();
    }
    let mut found = Found::default();
    for settings in std::iter::once(&mut main).chain(targets.iter_mut().map(|(_, settings)| settings)) {
        found.find(&mut tree, settings);
        own_variables::choose(&mut tree, settings, &found);
    }
    let manifest = manifest_text::write(&main, &targets);
    // What is written must be what `pib build` reads.
    ProjectManifest::parse(FILE_NAME, &manifest)?;
    let secrets = std::iter::once(&main).chain(targets.iter().map(|(_, settings)| settings));
    let secrets = secrets.flat_map(|settings| settings.secrets.iter().cloned()).collect();
    Ok(Imported {
        manifest,
        files: found.written(),
        stages: main.order(),
        targets: targets.into_iter().map(|(name, _)| name).collect(),
        secrets,
        left_out: tree.into_left_out(),
    })
}

/// Returns the variants that are wanted.
fn wanted(variants: Vec<Variant>, options: &ImportOptions) -> Result<Vec<Variant>, ImportError> {
    if options.targets.is_empty() {
        return Ok(variants);
    }
    let find = |name: &String| {
        let found = variants.iter().find(|variant| variant.name == *name);
        found.cloned().ok_or_else(|| {
            let known = || variants.iter().map(|variant| variant.name.as_str());
            let help = match known().next() {
                Some(_) => format!("It has {}.", suggest::list(known())),
                None => "It has no variants: leave --target out.".to_owned(),
            };
            ImportError::NoTarget { name: name.clone(), help }
        })
    };
    options.targets.iter().map(find).collect()
}

#[cfg(test)]
mod tests;
