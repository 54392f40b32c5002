//! Joins a [`Hook`] to the generated bindings: the records of one to those of the other.

use std::marker::PhantomData;

use crate::bindings::exports::pib::stage::hook::Guest;
use crate::bindings::pib::stage::types;
use crate::{Context, Diagnostic, Hook, Project, ProjectFile, Rendered, Severity, StageRef, Value, host};

/// What the component exports for the hook `H`.
pub struct Adapter<H>(PhantomData<H>);

impl<H: Hook> Guest for Adapter<H> {
    fn validate(context: types::Context) -> Vec<types::Diagnostic> {
        report_panics();
        H::validate(&context.into()).into_iter().map(Into::into).collect()
    }

    fn render(context: types::Context, part: String) -> Result<types::Rendered, String> {
        report_panics();
        H::render(&context.into(), &part).map(Into::into)
    }
}

/// Has a panic's place and message logged: the host sees only that the code gave up.
fn report_panics() {
    std::panic::set_hook(Box::new(|info| host::log(host::Level::Error, &info.to_string())));
}

impl From<types::Context> for Context {
    fn from(context: types::Context) -> Self {
        Self {
            project: context.project.into(),
            board_traits: context.board_traits,
            stages: context.stages.into_iter().map(Into::into).collect(),
            this: context.this.into(),
            settings: context.config.into_iter().map(|setting| (setting.key, setting.value.into())).collect(),
        }
    }
}

impl From<types::Project> for Project {
    fn from(project: types::Project) -> Self {
        let types::Project { name, os, release, board, arch, hostname, locale, timezone } = project;
        Self { name, os, release, board, arch, hostname, locale, timezone }
    }
}

impl From<types::StageRef> for StageRef {
    fn from(stage: types::StageRef) -> Self {
        Self { name: stage.name, version: stage.version }
    }
}

impl From<types::Value> for Value {
    fn from(value: types::Value) -> Self {
        match value {
            types::Value::Text(text) => Self::Text(text),
            types::Value::Integer(number) => Self::Integer(number),
            types::Value::Boolean(value) => Self::Boolean(value),
            types::Value::List(items) => Self::List(items),
            types::Value::Files(files) => Self::Files(
                files
                    .into_iter()
                    .map(|file| ProjectFile { path: file.path, context_path: file.context_path })
                    .collect(),
            ),
            types::Value::Size(bytes) => Self::Size(bytes),
            types::Value::Secret(id) => Self::Secret(id),
        }
    }
}

impl From<Diagnostic> for types::Diagnostic {
    fn from(diagnostic: Diagnostic) -> Self {
        let severity = match diagnostic.severity {
            Severity::Warning => types::Severity::Warning,
            Severity::Error => types::Severity::Error,
        };
        Self { severity, key: diagnostic.key, message: diagnostic.message, help: diagnostic.help }
    }
}

impl From<Rendered> for types::Rendered {
    fn from(rendered: Rendered) -> Self {
        let file = |file: crate::File| types::File {
            path: file.path,
            content: file.content,
            executable: file.executable,
        };
        Self { part: rendered.part, files: rendered.files.into_iter().map(file).collect() }
    }
}
