//! Renders each stage to what the assembler takes: its part, its own or what its hook makes of the config, checked
//! against the files that there are.

use std::collections::BTreeMap;

use pib_plan::assemble::{self, Arg, ContextFile, FileSource, StageInput};
use pib_plan::id::{Digest, INIT};
use pib_plan::manifest::project::Network;
use pib_plan::manifest::stage::{StageManifest, StageNetwork};
use pib_plan::mode::Mode;
use pib_plan::part::{self, Part};
use pib_plan::path::Collisions;

use super::secrets::Secrets;
use super::settle::{Settled, SettledStage};
use super::{NoCache, Packages, StageOptions, build_args};
use super::{base_source, hook_calls};
use crate::hooks::{Answer, Severity};
use crate::project::reach::Reach;
use crate::project::{Error, Project, Session};
use crate::source::Package;
use pib_plan::base::BaseSource;

/// The stages of a build, ready to be assembled on a base.
pub(crate) struct Rendered {
    pub(crate) packages: Packages,
    /// The stages, in build order.
    pub(crate) inputs: Vec<StageInput>,
    /// The values of the secrets.
    pub(crate) secrets: Secrets,
    /// What the command line gives to parts.
    pub(crate) build_args: BTreeMap<String, String>,
    /// What the first stage is to start from.
    pub(crate) base: BaseSource,
    /// The index of the last stage that is wanted.
    pub(crate) last: usize,
}

/// Asks the stages' hooks and reads the parts. All mistakes are told at once.
///
/// # Errors
/// When a hook fails or refuses the config, a part is not valid, or the options name what the build has not.
pub(crate) async fn render(
    session: &Session,
    settled: Settled,
    options: &StageOptions,
) -> Result<Rendered, Error> {
    let answers = hook_calls::ask(session, &settled).await?;
    let Settled { packages, stages, secrets, build_args } = settled;
    let project = packages.project();
    let inputs = packages.list.iter().zip(stages).map(|(package, stage)| {
        let answer = answers.get(&package.name);
        input(project, package, stage?, answer)
    });
    let mut inputs = Error::all_manifests(inputs)?;
    build_args::apply(&mut inputs, &build_args)?;
    // Minutes may be spent on the base, which a mistake in a part would waste.
    assemble::check(&inputs)?;
    let last = match &options.until {
        Some(name) => find(&inputs, name)?,
        None => inputs.len().saturating_sub(1),
    };
    if let NoCache::From(name) = &options.no_cache {
        find(&inputs, name)?;
    }
    let Some(init) = packages.list.iter().find(|package| package.name.as_str() == INIT) else {
        return Err(Error::Stage { message: "the build has no init stage".to_owned(), help: None });
    };
    let base = base_source::source(&project.manifest, &project.dir, init)?;
    Ok(Rendered { packages, inputs, secrets, build_args, base, last })
}

impl Rendered {
    /// Checks that the project's parts may take files out of the container images that they name: an engine gives them the
    /// user's own, other projects' systems among them.
    ///
    /// # Errors
    /// When the user has not allowed it.
    pub(crate) fn check_images(&self, session: &Session) -> Result<(), Error> {
        let images = self.inputs.iter().flat_map(|stage| images(&stage.part));
        session.consent.check(&self.packages.project().dir, images)
    }
}

fn images(part: &Part) -> impl Iterator<Item = Reach> {
    part.images().map(|name| Reach::ContainerImage(name.to_owned()))
}

/// Returns the container images that the stages' own parts name; those whose parts hooks render are left out.
pub(crate) fn images_of_own_parts(packages: &Packages) -> Vec<Reach> {
    let own = packages.list.iter().filter(|package| package.manifest.hook.is_none());
    let parts = own.filter_map(|package| {
        let (name, text) = own_part(packages.project(), package).ok()?;
        part::check(&name, &text).ok()
    });
    parts.flat_map(|part| images(&part).collect::<Vec<_>>()).collect()
}

/// Returns the index of a stage that the command line names.
fn find(inputs: &[StageInput], name: &str) -> Result<usize, Error> {
    let known = || inputs.iter().map(|stage| stage.name.as_str());
    known().position(|known| known == name).ok_or_else(|| {
        let help = match pib_plan::suggest::nearest(name, known()) {
            Some(near) => format!("Did you mean `{near}`?"),
            None => format!("The build has {}.", pib_plan::suggest::list(known())),
        };
        Error::usage(format!("stage `{name}` is not in the build"), help)
    })
}

/// Returns a settled stage, ready to be assembled, with what its hook has answered.
///
/// # Errors
/// When the hook refuses the config, or the part is not valid.
pub(crate) fn input(
    project: &Project,
    package: &Package,
    settled: SettledStage,
    answer: Option<&Answer>,
) -> Result<StageInput, Error> {
    let SettledStage { config, args, mut files, secrets } = settled;
    let (part_name, text) = match answer {
        Some(answer) => {
            let (name, text, more) = rendered(project, package, answer, &files)?;
            files.extend(more);
            (name, text)
        }
        None => own_part(project, package)?,
    };
    let part = check_part(&part_name, &text, package.name.as_str(), &args, &files)?;
    part.check_exports(&package.manifest.exports)?;
    // What a hook renders need not mount a secret that this project does not give.
    let mounts = |key: &String| answer.is_none() || config.contains_key(key);
    let schema = package.manifest.config.clone().into_iter().filter(|(key, _)| mounts(key)).collect();
    part.check_secrets(package.name.as_str(), &schema)?;
    let (name, version) = (package.name.clone(), package.version.clone());
    let StageManifest { native, network, .. } = package.manifest;
    let recorded = project.manifest.build.network == Network::Recorded && network != StageNetwork::Open;
    Ok(StageInput { name, version, args, part, files, native, recorded, secrets })
}

/// Returns the package's own part: its name for messages, and its text.
fn own_part(project: &Project, package: &Package) -> Result<(String, String), Error> {
    if let Some(hook) = &package.manifest.hook {
        // Built without its hook, the stage would be another than its author made.
        let message = format!("the hook `{}` of stage `{}` has not been asked", hook.component, package.name);
        return Err(Error::Stage { message, help: None });
    }
    let (name, text) = package.part(&project.manifest.project.os)?;
    Ok((format!("{}/{name}", package.name), text))
}

fn check_part(
    name: &str,
    text: &str,
    stage: &str,
    args: &[Arg],
    context: &[ContextFile],
) -> Result<Part, Error> {
    let part = part::check(name, text)?;
    part.check_copies(stage, Some(args), |wanted| {
        let below = format!("{wanted}/");
        context.iter().any(|file| file.path == wanted || file.path.starts_with(&below))
    })?;
    Ok(part)
}

/// Returns what a stage is built with by its hook: the part's name and text, and the files beside those in `context`.
///
/// # Errors
/// What the hook finds wrong with the config; or a file that is there already.
fn rendered(
    project: &Project,
    package: &Package,
    answer: &Answer,
    context: &[ContextFile],
) -> Result<(String, String, Vec<ContextFile>), Error> {
    let errors = answer.diagnostics.iter().filter(|found| found.severity == Severity::Error);
    let errors: Vec<_> = errors.map(|found| hook_calls::diagnostic(project, &package.name, found)).collect();
    let component = package.manifest.hook.as_ref().map(|hook| hook.component.as_str()).unwrap_or_default();
    let Some(rendered) = answer.rendered.as_ref().filter(|_| errors.is_empty()) else {
        return Err(Error::Manifests(errors));
    };
    let folder = format!("stages/{}/", package.name);
    let mut taken = Collisions::default();
    for file in context {
        // These were checked against each other when the package was read.
        let _ = taken.add(file.path.strip_prefix(&folder).unwrap_or(&file.path), file.is_folder());
    }
    let mut files = Vec::with_capacity(rendered.files.len());
    for file in &rendered.files {
        taken.add(&file.path, false).map_err(|reason| Error::Stage {
            message: format!(
                "the hook `{component}` of stage `{}` {} rendered a file that the stage has already: {reason}",
                package.name, package.version
            ),
            help: Some("This is a mistake in the hook. Tell the stage's author.".to_owned()),
        })?;
        files.push(ContextFile {
            path: format!("{folder}{}", file.path),
            digest: Digest::of(&file.content),
            size: file.content.len() as u64,
            source: FileSource::Bytes(file.content.as_slice().into()),
            mode: Mode::of_file(file.executable),
        });
    }
    let name = format!("{}/Dockerfile.part, as its hook `{component}` renders it", package.name);
    Ok((name, rendered.part.clone(), files))
}
