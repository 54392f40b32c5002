//! The variables of bare stages, which were written for pi-builder: its own names and spellings, and the project's
//! `[variables]`. A stage gets, and has in its key, exactly those that its text names.

use pib_plan::assemble::{Arg, FileSource};
use pib_plan::manifest::project::ProjectManifest;
use pib_plan::variable::{Variable, is_named_in, pi_builder_spelling};

use super::mirrors::Mirrors;
use crate::source::Package;

/// Returns the arguments of a bare stage; `stages` are the names of all stages, in build order.
pub(super) fn of(project: &ProjectManifest, mirrors: &Mirrors, package: &Package, stages: &str) -> Vec<Arg> {
    let texts = texts(project, package);
    let is_named = |arg: &Arg| texts.iter().any(|text| is_named_in(text, &arg.name));
    let fixed = |name: &str, value: String| Arg { name: name.to_owned(), value, keyed: true };
    let own = project.variables.iter().map(|(name, value)| fixed(name, value.clone()));
    let known = Variable::ALL.into_iter().map(|variable| {
        let arg = mirrors.argument(project, variable);
        Arg { value: pi_builder_spelling(variable, &arg.value).to_owned(), ..arg }
    });
    let mirror = project.project.mirror.clone().map(|mirror| fixed("ARCH_DIST_REPO_URL", mirror));
    let known = known.chain([fixed("STAGES", stages.to_owned())]).chain(mirror);
    own.chain(known.filter(|arg| !project.variables.contains_key(&arg.name))).filter(is_named).collect()
}

/// Returns the texts that a stage has: its part, and its small files, which the part may run.
fn texts(project: &ProjectManifest, package: &Package) -> Vec<String> {
    let part = package.part(&project.project.os).map(|(_, text)| text).unwrap_or_default();
    let others = package.files.iter().filter_map(|file| match package.source_of(file) {
        FileSource::Bytes(bytes) if !file.path.starts_with("Dockerfile.") => {
            String::from_utf8(bytes.to_vec()).ok()
        }
        _ => None,
    });
    [part].into_iter().chain(others).collect()
}
