//! Hooks for `pib:stage@0.1`, up to the newest version of it that pib knows.
//!
//! Another version of the interface gets another module like this one; the rest of `hooks` sees plain data only.

use wasmtime::component::{Component, Linker, WasmStr};
use wasmtime::{Engine, Store, StoreContextMut};

use super::guest::{self, Guest};
use super::{Context, Diagnostic, File, Level, Rendered, Severity, Value};
use bindings::StagePre;
use bindings::exports::pib::stage::hook;
use bindings::pib::stage::{host, types};

/// Made from the interface's text. That generated code is unsafe where it reads a guest's memory, after checks.
mod bindings {
    #![allow(warnings, clippy::all, unsafe_code, reason = "generated")]
    wasmtime::component::bindgen!({ world: "stage", path: "../../wit/v0.1.0" });
}

/// A component that is linked with what the host offers, ready to be instantiated.
#[derive(Clone)]
pub(super) struct Linked(StagePre<Guest>);

/// Returns what components of this version are linked with.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    linker.instance("pib:stage/types@0.1.0")?;
    let mut host = linker.instance("pib:stage/host@0.1.0")?;
    host.func_wrap("log", log)?;
    host.func_wrap("read-file", read_file)?;
    Ok(linker)
}

/// The text is read where it lies in the guest's memory: what is not kept is neither copied nor looked at.
fn log(
    mut store: StoreContextMut<'_, Guest>,
    (level, message): (host::Level, WasmStr),
) -> wasmtime::Result<()> {
    let message = message.to_str(&store)?;
    let (length, room) = (message.len(), store.data().log_room());
    let kept: Option<String> = (room > 0).then(|| message.chars().take(room).collect());
    drop(message);
    guest::charge(&mut store, length)?;
    store.data_mut().say(level.into(), kept.as_deref());
    Ok(())
}

fn read_file(
    mut store: StoreContextMut<'_, Guest>,
    (path,): (WasmStr,),
) -> wasmtime::Result<(Result<Vec<u8>, String>,)> {
    let path = path.to_str(&store)?.into_owned();
    guest::charge(&mut store, path.len())?;
    let answer = store.data_mut().read(&path);
    guest::charge(&mut store, answer.as_ref().map_or(0, Vec::len))?;
    Ok((answer,))
}

impl Linked {
    pub(super) fn new(linker: &Linker<Guest>, component: &Component) -> wasmtime::Result<Self> {
        Ok(Self(StagePre::new(linker.instantiate_pre(component)?)?))
    }

    pub(super) fn validate(
        &self,
        store: &mut Store<Guest>,
        context: &Context,
    ) -> wasmtime::Result<Vec<Diagnostic>> {
        let stage = self.0.instantiate(&mut *store)?;
        let found = stage.pib_stage_hook().call_validate(&mut *store, &context.into())?;
        Ok(found.into_iter().map(Into::into).collect())
    }

    pub(super) fn render(
        &self,
        store: &mut Store<Guest>,
        context: &Context,
        part: &str,
    ) -> wasmtime::Result<Result<Rendered, String>> {
        let stage = self.0.instantiate(&mut *store)?;
        let answer = stage.pib_stage_hook().call_render(&mut *store, &context.into(), part)?;
        Ok(answer.map(Into::into))
    }
}

impl From<host::Level> for Level {
    fn from(level: host::Level) -> Self {
        match level {
            host::Level::Debug => Self::Debug,
            host::Level::Info => Self::Info,
            host::Level::Warn => Self::Warn,
            host::Level::Error => Self::Error,
        }
    }
}

impl From<&Context> for types::Context {
    fn from(context: &Context) -> Self {
        let project = &context.project;
        Self {
            project: types::Project {
                name: project.name.clone(),
                os: project.os.clone(),
                release: project.release.clone(),
                board: project.board.clone(),
                arch: project.arch.clone(),
                hostname: project.hostname.clone(),
                locale: project.locale.clone(),
                timezone: project.timezone.clone(),
            },
            board_traits: context.board_traits.clone(),
            stages: context.stages.iter().map(Into::into).collect(),
            this: (&context.this).into(),
            config: context.config.iter().map(setting).collect(),
        }
    }
}

impl From<&super::StageRef> for types::StageRef {
    fn from(stage: &super::StageRef) -> Self {
        Self { name: stage.name.clone(), version: stage.version.clone() }
    }
}

fn setting((key, value): &(String, Value)) -> types::Setting {
    let file = |file: &super::ProjectFile| types::ProjectFile {
        path: file.path.clone(),
        context_path: file.context_path.clone(),
    };
    let value = match value {
        Value::Text(text) => types::Value::Text(text.clone()),
        Value::Integer(number) => types::Value::Integer(*number),
        Value::Boolean(value) => types::Value::Boolean(*value),
        Value::List(items) => types::Value::List(items.clone()),
        Value::Files(files) => types::Value::Files(files.iter().map(file).collect()),
        Value::Size(bytes) => types::Value::Size(*bytes),
        Value::Secret(id) => types::Value::Secret(id.clone()),
    };
    types::Setting { key: key.clone(), value }
}

impl From<hook::Diagnostic> for Diagnostic {
    fn from(found: hook::Diagnostic) -> Self {
        let severity = match found.severity {
            types::Severity::Warning => Severity::Warning,
            types::Severity::Error => Severity::Error,
        };
        Self { severity, key: found.key, message: found.message, help: found.help }
    }
}

impl From<hook::Rendered> for Rendered {
    fn from(rendered: hook::Rendered) -> Self {
        let file =
            |file: types::File| File { path: file.path, content: file.content, executable: file.executable };
        Self { part: rendered.part, files: rendered.files.into_iter().map(file).collect() }
    }
}
