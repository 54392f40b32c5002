//! Hooks: what a component must be to be one, and how much one may use.
//!
//! A hook is a component that exports the interface `hook` of the WIT package `pib:stage` and imports nothing but
//! other interfaces of that package. Both are read from its bytes here; nothing is compiled or run.

mod limits;

use std::collections::BTreeSet;

use semver::Version;
use wasmparser::{Encoding, Parser, Payload};

pub use limits::{LimitProblem, Limits};

/// The WIT package that a hook exports an interface of, without its version.
pub const PACKAGE: &str = "pib:stage";
/// The newest version of the package that this pib knows. It knows all 0.1 versions up to it.
pub const NEWEST: Version = Version::new(0, 1, 0);

/// What a component says of itself: which interfaces it exports and imports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    /// The WIT package that it exports a hook of, e.g. `pib:stage@0.1.0`.
    pub world: String,
    /// That package's version.
    pub version: Version,
    /// The names of what it exports.
    pub exports: Vec<String>,
    /// The names of what it imports.
    pub imports: Vec<String>,
}

/// Says why a file is no hook, as the end of a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookProblem {
    /// It is something else altogether.
    #[error("it is not a WASM component")]
    NotWasm,
    /// It begins like a component and goes on otherwise.
    #[error("it is a damaged or truncated WASM component ({0})")]
    Damaged(String),
    /// It is what most compilers make, and not yet a component.
    #[error("it is a core WASM module, not a component")]
    CoreModule,
    /// It is made for something else.
    #[error("it exports no interface of `{PACKAGE}`")]
    NoHook,
    /// It wants what a hook cannot have.
    #[error("it imports `{0}`, and a hook has nothing but `{PACKAGE}`")]
    Foreign(String),
    /// It is made for another pib.
    #[error("it is made for `{PACKAGE}@{0}`, and this pib runs hooks for `{PACKAGE}@{NEWEST}`")]
    Version(Version),
}

impl HookProblem {
    /// Returns what to do next.
    pub fn advice(&self) -> String {
        match self {
            Self::NotWasm | Self::NoHook => {
                "[hook] component in stage.toml names the file that the hook was built to.".to_owned()
            }
            Self::Damaged(_) => "Build the hook again, or fetch the stage again.".to_owned(),
            Self::CoreModule => "Make a component of the module, e.g. with `pib stage build`.".to_owned(),
            Self::Foreign(name) if name.starts_with("wasi:") => {
                "A hook has no file system, network, clock or randomness. Build it for wasm32-unknown-unknown, \
                 or with WASI stubbed out."
                    .to_owned()
            }
            Self::Foreign(_) => "Build the hook for the world `stage` of the package alone.".to_owned(),
            // A version of the package has the number of the pib that brought it.
            Self::Version(version) if *version > NEWEST => {
                format!("Use pib {version} or newer, or an older version of the stage.")
            }
            Self::Version(version) => {
                format!("Use pib {version}, or a newer version of the stage.")
            }
        }
    }
}

/// Reads from a component's bytes what it exports and imports, and checks that it is a hook that this pib can run.
///
/// # Errors
/// When the bytes are no component, no hook, or one that needs what hooks cannot have.
pub fn inspect(component: &[u8]) -> Result<Contract, HookProblem> {
    let (exports, imports) = names(component)?;
    let versions = |names: &[String]| -> Vec<Version> {
        names.iter().filter_map(|name| interface(name)).map(|(_, version)| version).collect()
    };
    let hook = exports.iter().find_map(|name| interface(name).filter(|(interface, _)| interface == "hook"));
    let Some((_, version)) = hook else {
        // An interface that a later version brings is no hook here, and yet tells what is missing.
        let unknown = versions(&exports).into_iter().filter(|version| !is_known(version)).max();
        return Err(unknown.map_or(HookProblem::NoHook, HookProblem::Version));
    };
    if let Some(foreign) = imports.iter().find(|name| interface(name).is_none()) {
        return Err(HookProblem::Foreign(shortened(foreign)));
    }
    let all: BTreeSet<Version> = versions(&imports).into_iter().chain([version.clone()]).collect();
    if let Some(unknown) = all.into_iter().rev().find(|version| !is_known(version)) {
        return Err(HookProblem::Version(unknown));
    }
    Ok(Contract { world: format!("{PACKAGE}@{version}"), version, exports, imports })
}

/// Returns whether hooks for this version of the package run here: later ones add functions, which are not there.
fn is_known(version: &Version) -> bool {
    version.pre.is_empty() && (version.major, version.minor) == (0, 1) && *version <= NEWEST
}

/// Returns the names of all that a component exports and imports.
fn names(component: &[u8]) -> Result<(Vec<String>, Vec<String>), HookProblem> {
    let damaged = |error: wasmparser::BinaryReaderError| match component.starts_with(b"\0asm") {
        true => HookProblem::Damaged(error.to_string()),
        false => HookProblem::NotWasm,
    };
    let (mut exports, mut imports) = (Vec::new(), Vec::new());
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(damaged)? {
            Payload::Version { encoding, .. } if depth == 0 && encoding != Encoding::Component => {
                return Err(HookProblem::CoreModule);
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.map_err(damaged)?.name.name.to_owned());
                }
            }
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import.map_err(damaged)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((exports, imports))
}

/// Returns `hook` and `0.1.0` for `pib:stage/hook@0.1.0`; nothing for what is of another package.
fn interface(name: &str) -> Option<(String, Version)> {
    let (path, version) = name.split_once('@')?;
    let (package, interface) = path.split_once('/')?;
    (package == PACKAGE).then_some((interface.to_owned(), version.parse().ok()?))
}

/// A stranger's name is shown in part only.
fn shortened(name: &str) -> String {
    name.chars().take(100).map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component with one nested (empty) module, an import, and the exports of an empty instance.
    fn component(import: Option<&str>, export: &str) -> Vec<u8> {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        let mut section = |id: u8, content: &[u8]| {
            bytes.extend([id, content.len() as u8]);
            bytes.extend(content);
        };
        section(1, b"\0asm\x01\0\0\0");
        if let Some(import) = import {
            // The type of an instance that has nothing, and an instance of that type.
            section(7, &[1, 0x42, 0]);
            section(10, &[&[1, 0, import.len() as u8], import.as_bytes(), &[5, 0]].concat());
        }
        // One instance made of no exports.
        section(5, &[1, 1, 0]);
        let index = u8::from(import.is_some());
        section(11, &[&[1, 0, export.len() as u8], export.as_bytes(), &[5, index, 0]].concat());
        bytes
    }

    fn problem(bytes: &[u8]) -> HookProblem {
        inspect(bytes).unwrap_err()
    }

    #[test]
    fn the_world_is_read_from_the_export() {
        let contract = inspect(&component(None, "pib:stage/hook@0.1.0")).unwrap();
        assert_eq!(contract.world, "pib:stage@0.1.0");
        let contract = inspect(&component(Some("pib:stage/host@0.1.0"), "pib:stage/hook@0.1.0")).unwrap();
        assert_eq!(contract.imports, ["pib:stage/host@0.1.0"]);
    }

    #[test]
    fn what_is_no_hook_is_refused_with_a_reason() {
        assert_eq!(problem(b""), HookProblem::NotWasm);
        assert_eq!(problem(b"#!/bin/sh\n"), HookProblem::NotWasm);
        assert_eq!(problem(b"\0asm\x01\0\0\0"), HookProblem::CoreModule);
        assert_eq!(problem(&component(None, "wasi:cli/run@0.2.0")), HookProblem::NoHook);
        let whole = component(None, "pib:stage/hook@0.1.0");
        for length in 4..whole.len() {
            // A piece that ends between two sections is a component, but not a hook.
            let found = problem(&whole[..length]);
            assert!(matches!(found, HookProblem::Damaged(_) | HookProblem::NoHook), "{length}: {found}");
        }
    }

    #[test]
    fn wasi_and_other_worlds_are_named() {
        let found = problem(&component(Some("wasi:sockets/network@0.2.0"), "pib:stage/hook@0.1.0"));
        assert_eq!(found, HookProblem::Foreign("wasi:sockets/network@0.2.0".to_owned()));
        assert!(found.advice().contains("no file system, network"));
    }

    #[test]
    fn another_version_says_which_pib_runs_it() {
        for newer in ["0.1.1", "0.2.0", "1.0.0"] {
            let found = problem(&component(None, &format!("pib:stage/hook@{newer}")));
            assert_eq!(found, HookProblem::Version(newer.parse().unwrap()));
            assert!(found.advice().contains(&format!("Use pib {newer} or newer")), "{}", found.advice());
        }
        let found = problem(&component(Some("pib:stage/host@0.1.4"), "pib:stage/hook@0.1.0"));
        assert_eq!(found, HookProblem::Version(Version::new(0, 1, 4)));
        let found = problem(&component(None, "pib:stage/hook@0.0.1"));
        assert!(found.advice().contains("newer version of the stage"), "{}", found.advice());
    }
}
