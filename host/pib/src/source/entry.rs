//! What the index knows of a stage, made from the stage itself.

use std::fs;
use std::path::{Path, PathBuf};

use pib_plan::id::Digest;
use pib_plan::index::{HookRef, IndexEntry, SCHEMA};
use pib_plan::manifest::stage::StageManifest;
use pib_plan::variable::Variable;
use wasmparser::{Parser, Payload};

use super::SourceError;
use super::files::{MAX_BYTES, is_file};

/// The WIT package that a hook exports an interface of, without its version.
const HOOK_PACKAGE: &str = "pib:stage";

/// Returns the index entry of the stage in the folder `root`, without what only an archive has.
pub(super) fn of(manifest: &StageManifest, root: &Path) -> Result<IndexEntry, SourceError> {
    let hook = match &manifest.hook {
        Some(hook) => Some(read_hook(manifest, &root.join(&hook.component))?),
        None => None,
    };
    Ok(IndexEntry {
        v: SCHEMA,
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
    })
}

/// Returns the variable's name as manifests write it.
fn variable_name(variable: Variable) -> String {
    variable.arg().to_ascii_lowercase().replace('_', "-")
}

pub(super) fn bad_hook(manifest: &StageManifest, path: PathBuf, reason: String) -> SourceError {
    SourceError::BadHook { name: manifest.name.clone(), path, reason }
}

fn read_hook(manifest: &StageManifest, path: &Path) -> Result<HookRef, SourceError> {
    let fail = |reason: String| bad_hook(manifest, path.to_owned(), reason);
    // What is no regular file of the stage, e.g. a link out of it, is not the stage's hook.
    if !is_file(path) {
        return Err(fail("the stage has no such file".to_owned()));
    }
    let size = fs::metadata(path).map_err(SourceError::io("reading", path))?.len();
    if size > MAX_BYTES {
        return Err(fail(format!("it is larger than {} MiB", MAX_BYTES >> 20)));
    }
    let bytes = fs::read(path).map_err(SourceError::io("reading", path))?;
    Ok(HookRef { digest: Digest::of(&bytes), world: hook_world(&bytes).map_err(fail)? })
}

/// Returns the WIT package, with its version, that the component exports a hook of.
fn hook_world(component: &[u8]) -> Result<String, String> {
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(|error| format!("it is not a WASM component ({error})"))? {
            Payload::Version { encoding, .. }
                if depth == 0 && encoding != wasmparser::Encoding::Component =>
            {
                return Err("it is a core WASM module, not a component".to_owned());
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let export = export.map_err(|error| format!("its exports cannot be read ({error})"))?;
                    if let Some(world) = package_of(export.name.name) {
                        return Ok(world);
                    }
                }
            }
            _ => {}
        }
    }
    Err(format!("it exports no interface of `{HOOK_PACKAGE}`"))
}

/// Returns `pib:stage@0.1.0` for `pib:stage/hook@0.1.0`.
fn package_of(export: &str) -> Option<String> {
    let (interface, version) = export.split_once('@')?;
    let (package, _) = interface.split_once('/')?;
    let version: semver::Version = version.parse().ok()?;
    (package == HOOK_PACKAGE).then(|| format!("{package}@{version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component with one nested (empty) module and the exports of an empty instance under `name`.
    fn component(name: &str) -> Vec<u8> {
        let mut bytes = b"\0asm\x0d\0\x01\0".to_vec();
        let mut section = |id: u8, content: &[u8]| {
            bytes.extend([id, content.len() as u8]);
            bytes.extend(content);
        };
        section(1, b"\0asm\x01\0\0\0");
        // One instance made of no exports.
        section(5, &[1, 1, 0]);
        let mut export = vec![1, 1, name.len() as u8];
        export.extend(name.as_bytes());
        export.extend([5, 0, 0]);
        section(11, &export);
        bytes
    }

    #[test]
    fn variables_keep_the_names_that_manifests_give_them() {
        for variable in Variable::ALL {
            let written = serde_json::to_value(variable).unwrap();
            assert_eq!(written, variable_name(variable));
        }
    }

    #[test]
    fn the_world_is_read_from_the_export() {
        let world = hook_world(&component("pib:stage/hook@0.1.0"));
        assert_eq!(world.as_deref(), Ok("pib:stage@0.1.0"));
    }

    #[test]
    fn what_is_no_hook_is_refused_with_a_reason() {
        let reason = |bytes: &[u8]| hook_world(bytes).unwrap_err();
        assert!(reason(b"").contains("not a WASM component"), "{}", reason(b""));
        assert!(reason(b"#!/bin/sh\n").contains("not a WASM component"));
        assert!(reason(b"\0asm\x01\0\0\0").contains("core WASM module"));
        assert!(reason(&component("wasi:cli/run@0.2.0")).contains("exports no interface"));
        let whole = component("pib:stage/hook@0.1.0");
        assert!(hook_world(&whole[..whole.len() - 4]).is_err());
    }
}
