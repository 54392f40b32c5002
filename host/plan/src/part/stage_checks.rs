//! Compares a part with the stage that it belongs to, and tells at its place what does not fit.

use std::ops::Range;

use super::checked::{Assignment, CopySource, Part, StageRef};
use super::context::Reach;
use super::lines::Fault;
use crate::assemble::Arg;
use crate::dockerfile::Template;
use crate::manifest::ManifestError;
use crate::manifest::stage::Exports;
use crate::metadata::{ConfigSchema, ConfigType};
use crate::{secret, suggest};

impl Part {
    /// Returns the container images that it takes files from by a name that does not say what they hold: an engine may have
    /// its user's own by that name.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        let images = self.froms.iter().filter(|from| from.is_image() && !from.is_pinned());
        images.map(|from| from.name.as_str())
    }

    /// Checks that the part mounts the secrets of its stage's schema, all of them and no others.
    ///
    /// # Errors
    /// Names the first id that is unknown, at its place, or a secret that no instruction mounts.
    pub fn check_secrets(&self, stage: &str, schema: &ConfigSchema) -> Result<(), ManifestError> {
        let keys = schema.iter().filter(|(_, key)| key.kind == ConfigType::Secret);
        let known: Vec<String> = keys.map(|(key, _)| secret::id(stage, key)).collect();
        if let Some(mount) = self.secrets.iter().find(|mount| !known.contains(&mount.id)) {
            let what = format!("mounts the secret `{}`, which its stage does not have", mount.id);
            let names = || known.iter().map(String::as_str);
            let help = match suggest::nearest(&mount.id, names()) {
                Some(near) => format!("Did you mean `{near}`?"),
                None if known.is_empty() => {
                    "A secret is a config key: add [config.KEY] with type = \"secret\" to stage.toml."
                        .to_owned()
                }
                None => format!("The stage has {}.", suggest::list(names())),
            };
            return Err(self.error(Fault::new(mount.span.clone(), what, "no such secret", help)));
        }
        if let Some(id) = known.iter().find(|id| self.secrets.iter().all(|mount| mount.id != **id)) {
            let what = format!("never mounts the secret `{id}` of its stage");
            let help = format!("Add --mount=type=secret,id={id} to the RUN that needs it.");
            return Err(self.error(Fault::new(0..0, what, "in this part", help)));
        }
        Ok(())
    }

    /// Checks that its stage has the files that the part copies of it; `has` tells whether a path of the context, a file or a
    /// folder, is there. Without `args`, the values of variables, paths with variables are passed over. What a part copies
    /// of other stages is checked when they are assembled.
    ///
    /// # Errors
    /// Names the first path that is missing or outside of the stages' files, at its place.
    pub fn check_copies(
        &self,
        stage: &str,
        args: Option<&[Arg]>,
        has: impl Fn(&str) -> bool,
    ) -> Result<(), ManifestError> {
        for copy in self.copies.iter().filter(|copy| args.is_some() || !copy.path.has_variables()) {
            let reach = self.reach(copy, args.unwrap_or_default());
            match &reach {
                Reach::Path(path) if reach.stays_in(stage) && !has(path) => {
                    return Err(self.missing(copy, path, &format!("stage `{stage}` does not have")));
                }
                Reach::Outside if !copy.path.has_variables() => return Err(self.outside(copy)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns what a source reaches where the arguments have these values, unless the part gives one another.
    pub(crate) fn reach(&self, copy: &CopySource, args: &[Arg]) -> Reach {
        let own = self.leaves.env.iter().chain(self.declares.iter().filter(|arg| arg.value.is_some()));
        let kept = |arg: &&Arg| {
            let passed_on = |value: &Template| value.is_variable(&arg.name);
            let mut same = own.clone().filter(|set| set.name == arg.name);
            same.all(|set| set.value.as_ref().is_some_and(passed_on))
        };
        let args: Vec<Arg> = args.iter().filter(kept).cloned().collect();
        Reach::of(&copy.path, &args)
    }

    /// Returns the error of a source that is not there.
    pub(crate) fn missing(&self, copy: &CopySource, path: &str, why: &str) -> ManifestError {
        let what = format!("copies `{path}`, which {why}");
        let help = "The context has each stage's files under stages/NAME/, nothing else.";
        self.error(Fault::new(copy.span.clone(), what, "not in the context", help))
    }

    /// Returns the error of a source that is not in the folder of stages.
    pub(crate) fn outside(&self, copy: &CopySource) -> ManifestError {
        let shown = self.text.get(copy.span.clone()).unwrap_or_default();
        let what = match copy.path.text() {
            Some(path) => format!("copies `{path}`, which is not below stages/"),
            None => format!("copies `{shown}`, which is not below stages/"),
        };
        let help =
            "Write stages/NAME/PATH: the context has each stage's files under stages/NAME/, nothing else.";
        self.error(Fault::new(copy.span.clone(), what, "not a stage's file", help))
    }

    /// Returns the error of a stage that cannot be copied from.
    pub(crate) fn unknown_from(&self, from: &StageRef, what: &str, help: String) -> ManifestError {
        let what = format!("copies from `{}`, {what}", from.name);
        self.error(Fault::new(from.span.clone(), what, "this name", help))
    }

    /// Returns the error of what the engine itself would fetch in a project whose parts reach only what is recorded.
    pub(crate) fn unrecorded(&self, span: Range<usize>, what: &str, instead: &str) -> ManifestError {
        let what = format!("has the engine fetch {what}, which nothing records, and the project is recorded");
        let help = format!(
            "{instead} Or let the stage reach the network: network = \"open\" in [stage] of stage.toml."
        );
        self.error(Fault::new(span, what, "not recorded", help))
    }

    /// Returns the error of an `ARG` that tells a part of the machine that builds, in a project whose lock gives the same anywhere.
    pub(crate) fn of_builder(&self, arg: &Assignment) -> ManifestError {
        let what = format!("asks by {} which machine builds, and the project is recorded", arg.name);
        let help = "The same lock gives the same image on any machine. Take the ARG out: `uname -m` in a RUN tells the target's \
                    processor. Or give the argument another name.";
        self.error(Fault::new(arg.span.clone(), what, "another elsewhere", help.to_owned()))
    }

    /// Returns the error of an `ARG` that an `ENV` of the stage `by` overrides.
    pub(crate) fn hidden(&self, arg: &Assignment, by: &str) -> ManifestError {
        let what = format!("declares the argument {}, which the ENV of stage `{by}` overrides", arg.name);
        let help = format!(
            "Give the argument another name, in the part and where --build-arg names it: engines do not agree on which of \
             the two counts. Or take {} out of the ENV of `{by}`.",
            arg.name
        );
        self.error(Fault::new(arg.span.clone(), what, "this argument", help))
    }

    /// Checks that the part leaves no environment variables for later stages but those that its stage exports.
    ///
    /// # Errors
    /// Names the first one that it does not, at its place.
    pub fn check_exports(&self, exports: &Exports) -> Result<(), ManifestError> {
        let Exports::Names(names) = exports else { return Ok(()) };
        let Some(env) = self.leaves.env.iter().find(|env| !names.contains(&env.name)) else { return Ok(()) };
        let what = format!("sets {}, which stays set in all stages after it", env.name);
        let help = format!(
            "Write ARG {name}=VALUE, which ends with the stage; or, where later stages are to have it, \
             exports = [\"{name}\"] in [stage] of stage.toml.",
            name = env.name
        );
        Err(self.error(Fault::new(env.span.clone(), what, "this variable", help)))
    }
}
