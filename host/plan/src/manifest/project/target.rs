//! `[target.NAME]`: variants of a project, each a few keys that differ from it.
//!
//! A target is the project with the target's keys in the place of the project's. Stages merge one by one: a target may
//! leave a stage out (`false`), add one, take one from another source, or set single config keys.

use toml::Spanned;

use super::schema::{Schema, StageSchema, StageTable, Stages, TargetSchema, TargetStage};
use crate::id::check_name;
use crate::manifest::{ManifestError, ManifestText};
use crate::suggest;

/// Gives every requirement that is written as a bare text its place, which is that of the whole value.
pub(super) fn place_texts(schema: &mut Schema) {
    let place = |table: &mut StageTable, span: std::ops::Range<usize>| {
        if let Some(version) = table.version.as_mut().filter(|version| version.span() == (0..0)) {
            *version = Spanned::new(span, version.get_ref().clone());
        }
    };
    for (_, stage) in schema.stages.0.iter_mut().chain(&mut schema.patch.0) {
        let span = stage.span();
        place(&mut stage.get_mut().0, span);
    }
    for (_, stage) in schema.targets.values_mut().flat_map(|target| &mut target.stages.0) {
        let span = stage.span();
        if let TargetStage(Some(StageSchema(table))) = stage.get_mut() {
            place(table, span);
        }
    }
}

/// Returns what the whole manifest of a target holds.
///
/// # Errors
/// When the name is none, or a stage is left out that the project does not have.
pub(super) fn variant(
    source: &ManifestText,
    project: &Schema,
    name: &Spanned<String>,
    target: TargetSchema,
) -> Result<Schema, ManifestError> {
    let text = name.get_ref();
    check_name(text)
        .map_err(|error| source.error(name.span(), format!("target name: {error}"), "this target"))?;
    let TargetSchema { os, release, board, arch, hostname, locale, timezone, kernel, .. } = target;
    let TargetSchema { stages, image, base, order, variables, .. } = target;
    let mut schema = project.clone();
    merge_stages(source, &mut schema.stages, stages).map_err(|error| within(text, error))?;
    let own = &mut schema.project;
    if let (Some(board), None) = (&board, &arch) {
        // Where the two do not go together, it is the target's line that made it so.
        own.arch = Spanned::new(board.span(), *own.arch.get_ref());
    }
    replace(&mut own.os, os);
    replace(&mut own.release, release);
    replace(&mut own.board, board);
    replace(&mut own.arch, arch);
    replace(&mut own.locale, locale);
    replace(&mut own.timezone, timezone);
    own.hostname = hostname.or(own.hostname.take());
    own.kernel = kernel.or(own.kernel.take());
    if let Some(image) = image {
        replace(&mut schema.image.compress, image.compress);
        schema.image.table = image.table.or(schema.image.table.take());
        schema.image.a_b = image.a_b.or(schema.image.a_b.take());
        schema.image.size = image.size.or(schema.image.size.take());
        replace(&mut schema.image.sbom, image.sbom);
        replace(&mut schema.image.partitions, image.partition);
        replace(&mut schema.image.foreign_root, image.foreign_root);
        replace(&mut schema.image.writer, image.writer);
    }
    schema.base = base.or(schema.base);
    schema.order.list = order.list.or(schema.order.list);
    for (stage, rules) in order.stages {
        schema.order.stages.retain(|known, _| known.get_ref() != stage.get_ref());
        schema.order.stages.insert(stage, rules);
    }
    for (name, value) in variables {
        schema.variables.retain(|known, _| known.get_ref() != name.get_ref());
        schema.variables.insert(name, value);
    }
    Ok(schema)
}

/// Returns an error with the target that it is about.
pub(super) fn within(target: &str, error: ManifestError) -> ManifestError {
    error.within(&format!("target `{target}`"))
}

fn replace<T>(old: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *old = new;
    }
}

fn merge_stages(
    source: &ManifestText,
    stages: &mut Stages<StageSchema>,
    changes: Stages<TargetStage>,
) -> Result<(), ManifestError> {
    for (name, change) in changes.0 {
        let at = stages.0.iter().position(|(known, _)| known.get_ref() == name.get_ref());
        let span = change.span();
        match (at, change.into_inner()) {
            (Some(at), TargetStage(None)) => drop(stages.0.remove(at)),
            (None, TargetStage(None)) => {
                let known = stages.0.iter().map(|(name, _)| name.get_ref().as_str());
                let help = match suggest::nearest(name.get_ref(), known) {
                    Some(near) => format!("Did you mean `{near}`?"),
                    None => "Remove the line.".to_owned(),
                };
                let message =
                    format!("stage `{}` is left out, but the project does not list it", name.get_ref());
                return Err(source.error(name.span(), message, "this stage").with_help(help));
            }
            (Some(at), TargetStage(Some(StageSchema(table)))) => {
                let merged = merge_tables(stages.0[at].1.get_ref().0.clone(), table);
                stages.0[at] = (name, Spanned::new(span, StageSchema(merged)));
            }
            (None, TargetStage(Some(stage))) => stages.0.push((name, Spanned::new(span, stage))),
        }
    }
    Ok(())
}

/// Returns the stage's table with the target's keys in their places. A source is replaced as a whole.
fn merge_tables(old: StageTable, new: StageTable) -> StageTable {
    let StageTable { version, registry, git, branch, tag, rev, path, config } = new;
    let texts = [&version, &registry, &git, &branch, &tag, &rev, &path];
    let mut merged = match texts.iter().any(|text| text.is_some()) {
        true => StageTable { version, registry, git, branch, tag, rev, path, config: old.config },
        false => old,
    };
    for (key, value) in config {
        merged.config.retain(|known, _| known.get_ref() != key.get_ref());
        merged.config.insert(key, value);
    }
    merged
}

#[cfg(test)]
mod tests {
    use crate::manifest::project::{Compression, ProjectManifest, RequestSource};
    use crate::metadata::ConfigValue;

    const ROUTER: &str = r#"[project]
name = "router"
os = "debian"
release = "trixie"
board = "rpi4"
arch = "arm64"

[stages]
os = "1"
watchdog = { version = "1", config = { timeout = 10, max-load = 24 } }
ro = "1"

[target.kiosk]
board = "rpi3"
arch = "armv7"
hostname = "kiosk"

[target.kiosk.stages]
ro = false
watchdog.config.timeout = 5
os = { path = "stages/os" }
camera = "2"

[target.kiosk.image]
compress = "xz"

[target.spare]
"#;

    #[test]
    fn a_target_is_the_project_with_what_differs() {
        let manifest = ProjectManifest::parse("pib.toml", ROUTER).unwrap();
        assert_eq!(manifest.targets.keys().collect::<Vec<_>>(), ["kiosk", "spare"]);
        let kiosk = &manifest.targets["kiosk"];
        let stages: Vec<_> = kiosk.stages.iter().map(|stage| stage.name.as_str()).collect();
        assert_eq!(stages, ["os", "watchdog", "camera"]);
        assert_eq!(kiosk.stages[0].source, RequestSource::Path("stages/os".to_owned()));
        let config = |manifest: &ProjectManifest| -> Vec<(String, ConfigValue)> {
            manifest.stages[1].config.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect()
        };
        let values = |timeout| {
            let both = [("max-load", 24), ("timeout", timeout)];
            both.map(|(key, value)| (key.to_owned(), ConfigValue::Integer(value))).to_vec()
        };
        assert_eq!((config(kiosk), config(&manifest)), (values(5), values(10)));
        let entry = kiosk.stages[1].config.iter().find(|entry| entry.key == "timeout").unwrap();
        assert_eq!(&ROUTER[entry.span.clone()], "timeout = 5");
        assert_eq!(kiosk.project.file_stem(), "router-kiosk-rpi3-armv7");
        assert_eq!((kiosk.image.compress, manifest.image.compress), (Compression::Xz, Compression::None));
        let spare = &manifest.targets["spare"];
        assert_eq!((spare.stages.len(), spare.project.file_stem().as_str()), (3, "router-spare-rpi4-arm64"));
        assert_eq!(spare.project.hostname, "router");
    }

    #[test]
    fn mistakes_in_targets_point_at_their_lines() {
        let cases = [
            (
                "board = \"rpi3\"\narch = \"armv7\"",
                "board = \"rpi1\"",
                "rpi1",
                "target `kiosk`: the Raspberry Pi",
            ),
            ("ro = false", "or = false", "or", "is left out"),
            ("ro = false", "ro = true", "true", "false"),
            ("hostname = \"kiosk\"", "hostnam = \"kiosk\"", "hostnam", "unknown key `hostnam`"),
            ("hostname = \"kiosk\"", "hostname = \"_\"", "\"_\"", "target `kiosk`"),
            ("camera = \"2\"", "camera = \"two\"", "\"two\"", "not a version requirement"),
            ("[target.spare]", "[target.Spare]", "Spare", "target name"),
        ];
        for (good, bad, marked, says) in cases {
            let text = ROUTER.replacen(good, bad, 1);
            let error = ProjectManifest::parse("pib.toml", &text).unwrap_err();
            let span = error.span().unwrap();
            assert!(text[span.clone()].contains(marked), "{bad}: marked {:?}", &text[span]);
            assert!(error.to_string().contains(says), "{bad}: {error}");
        }
    }
}
