//! Gets the values of secrets, and tells one value from another without giving it away.
//!
//! A value lives in memory, goes to the engine over the build's session, and is written nowhere. What is kept of it, in
//! keys and records, is a digest with a random key of this user's: without that key nobody can try out guesses.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Stdio;

use pib_plan::assemble::{BuildPlan, StageSecret};
use pib_plan::id::{Digest, KeyHasher};
use pib_plan::metadata::ConfigType;
use pib_plan::record::BuildRecord;
use pib_plan::secret::{self, SecretSource};
use tokio::io::AsyncReadExt as _;

use super::config_error::{config_error, request};
use super::records::Records;
use crate::engine::{Engine, EngineError, Secret};
use crate::project::{Error, Project, Session};
use crate::source::Package;
use pib_event::ReporterExt as _;

/// The largest secret that engines take, in bytes.
const MAX_SECRET: u64 = 500 << 10;
/// How long the key is, in bytes.
const KEY_LENGTH: usize = 32;
/// What cannot be hidden in output, since it is everywhere.
const TOO_SHORT: usize = 4;

/// Where secrets come from instead of what `pib.toml` says, by id.
#[derive(Default)]
pub(crate) struct Overrides(BTreeMap<String, SecretSource>);

/// The secrets of a build.
#[derive(Default)]
pub(crate) struct Secrets {
    values: BTreeMap<String, Vec<u8>>,
    digests: BTreeMap<String, Digest>,
}

/// A secret that a stage wants.
pub(crate) struct WantedSecret<'a> {
    pub(crate) stage: &'a Package,
    pub(crate) key: String,
    pub(crate) source: SecretSource,
}

impl WantedSecret<'_> {
    fn id(&self) -> String {
        secret::id(self.stage.name.as_str(), &self.key)
    }
}

impl Overrides {
    /// Reads what the command line says: `id=ID,src=FILE` or `id=ID,env=VARIABLE`.
    ///
    /// # Errors
    /// When that says something else, or names a secret that no stage has.
    pub(crate) fn parse(session: &Session, given: &[String], packages: &[Package]) -> Result<Self, Error> {
        let overrides = given.iter().map(|text| parse(session, text)).collect::<Result<_, _>>()?;
        let overrides = Self(overrides);
        overrides.check(packages)?;
        Ok(overrides)
    }

    /// Returns where the secret comes from, where the command line says so.
    pub(crate) fn source(&self, stage: &str, key: &str) -> Option<&SecretSource> {
        self.0.get(&secret::id(stage, key))
    }

    fn check(&self, packages: &[Package]) -> Result<(), Error> {
        let known: Vec<String> = packages.iter().flat_map(secret_ids).collect();
        let Some(id) = self.0.keys().find(|id| !known.contains(id)) else { return Ok(()) };
        let names = || known.iter().map(String::as_str);
        let help = match pib_plan::suggest::nearest(id, names()) {
            Some(near) => format!("Did you mean `{near}`?"),
            None if known.is_empty() => "None of its stages has any.".to_owned(),
            None => format!("It has {}.", pib_plan::suggest::list(names())),
        };
        Err(Error::usage(format!("the build has no secret `{id}`"), help))
    }
}

impl Secrets {
    /// Returns the secret of a stage as keys know it.
    pub(crate) fn of_stage(&self, stage: &str, key: &str) -> StageSecret {
        let id = secret::id(stage, key);
        StageSecret { digest: self.digests.get(&id).copied(), id }
    }

    /// Returns what the engine is given.
    pub(crate) fn for_engine(&self, plan: &BuildPlan) -> Vec<Secret> {
        let value = |id: &str| self.values.get(id).cloned();
        let secrets = plan.secrets.iter();
        secrets
            .filter_map(|planned| Some(Secret { id: planned.name.clone(), value: value(&planned.id)? }))
            .collect()
    }

    /// Gets the values of all secrets that stages want.
    ///
    /// # Errors
    /// When one cannot be read, is empty or too large.
    pub(crate) async fn get(
        session: &Session,
        project: &Project,
        wanted: &[WantedSecret<'_>],
    ) -> Result<Self, Error> {
        let mut secrets = Self::default();
        if wanted.is_empty() {
            return Ok(secrets);
        }
        let fail = |error| Error::io("keep the key that secrets are told apart by in", &session.cache, error);
        let key = Records::new(session).secrets_key().map_err(fail)?;
        for secret in wanted {
            let id = secret.id();
            let value =
                value(session, project, secret).await.map_err(|what| secret_error(project, secret, &what))?;
            session.mask.hide(&value);
            if value.len() < TOO_SHORT {
                let message = format!("the secret {id} is too short to be hidden where a part prints it");
                session.reporter.warn(message);
            }
            secrets.digests.insert(id.clone(), keyed(&key, &id, &value));
            secrets.values.insert(id, value);
        }
        Ok(secrets)
    }

    /// Finds out as much as a plan may: no program is started, and what cannot be read is taken to be as it was.
    pub(crate) fn recall(
        session: &Session,
        project: &Project,
        wanted: &[WantedSecret<'_>],
        record: &BuildRecord,
    ) -> Self {
        let mut secrets = Self::default();
        let key = Records::new(session).secrets_key().ok();
        for secret in wanted {
            let id = secret.id();
            let value = match &secret.source {
                SecretSource::Command(_) => None,
                source => quick_value(session, project, source).ok(),
            };
            let digest =
                key.zip(value).map(|(key, value)| keyed(&key, &id, &value)).or_else(|| record.secret(&id));
            if let Some(digest) = digest {
                secrets.digests.insert(id, digest);
            }
        }
        secrets
    }
}

/// Returns the ids of the secrets that a stage may have.
fn secret_ids(package: &Package) -> Vec<String> {
    let keys = package.manifest.config.iter().filter(|(_, schema)| schema.kind == ConfigType::Secret);
    keys.map(|(key, _)| secret::id(package.name.as_str(), key)).collect()
}

/// Checks that the engine can give parts their secrets, where a stage may have some.
pub(crate) fn check_engine(engine: &Engine, packages: &[Package]) -> Result<(), Error> {
    if engine.abilities().mounts || packages.iter().all(|package| secret_ids(package).is_empty()) {
        return Ok(());
    }
    Err(EngineError::NeedsBuildKit { engine: engine.builder(), why: "it uses secrets" }.into())
}

fn parse(session: &Session, text: &str) -> Result<(String, SecretSource), Error> {
    let (mut id, mut source) = (None, None);
    for field in text.split(',') {
        match field.split_once('=') {
            Some(("id", value)) if !value.is_empty() => id = Some(value.to_owned()),
            Some(("src" | "source", path)) if !path.is_empty() => {
                source = Some(SecretSource::File(session.path(path).to_string_lossy().into_owned()));
            }
            Some(("env", name)) if !name.is_empty() => source = Some(SecretSource::Env(name.to_owned())),
            Some(("type", "file" | "env")) => {}
            _ => (id, source) = (None, None),
        }
    }
    // The text is not repeated: somebody may have written the secret itself.
    id.zip(source).ok_or_else(|| {
        let message = "--secret does not say which secret it is and where it comes from";
        Error::usage(message, "Write --secret id=STAGE.KEY,src=FILE or --secret id=STAGE.KEY,env=VARIABLE.")
    })
}

fn secret_error(project: &Project, secret: &WantedSecret<'_>, what: &str) -> Error {
    let message = format!("the secret `{}` is not available: {what}", secret.id());
    let request = request(project, secret.stage);
    let error = config_error(&project.manifest, request, &secret.key, message);
    let help = format!(
        "Provide it there, or name another place for this build: --secret id={},src=FILE.",
        secret.id()
    );
    error.with_help(help).into()
}

async fn value(session: &Session, project: &Project, secret: &WantedSecret<'_>) -> Result<Vec<u8>, String> {
    let value = match &secret.source {
        SecretSource::Command(words) => {
            session.reporter.note(format!("Getting the secret {} from {}", secret.id(), secret.source));
            printed(&project.dir, words).await?
        }
        source => quick_value(session, project, source)?,
    };
    match value.len() as u64 {
        0 => Err(format!("{} gives nothing", secret.source)),
        size if size > MAX_SECRET => Err(format!("{} gives more than 500 KiB", secret.source)),
        _ => Ok(value),
    }
}

fn quick_value(session: &Session, project: &Project, source: &SecretSource) -> Result<Vec<u8>, String> {
    match source {
        SecretSource::Env(name) => {
            let value = session.variables.get(&OsString::from(name));
            value.map(|value| value.as_bytes().to_vec()).ok_or_else(|| format!("{source} is not set"))
        }
        SecretSource::File(path) => match pib_file::read(project.dir.join(path), MAX_SECRET) {
            Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => {
                Err(format!("{source} gives more than 500 KiB"))
            }
            value => value.map_err(|error| format!("{source} cannot be read ({error})")),
        },
        SecretSource::Command(_) => Err(format!("{source} was not started")),
    }
}

/// Returns what a program prints, without the line break at its end. It may ask for a password on its terminal.
async fn printed(dir: &Path, words: &[String]) -> Result<Vec<u8>, String> {
    let (program, arguments) = words.split_first().ok_or("there is no program")?;
    let told = |error: std::io::Error| format!("`{program}` cannot be started ({error})");
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .current_dir(dir)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(told)?;
    let mut value = Vec::new();
    if let Some(out) = child.stdout.take() {
        out.take(MAX_SECRET + 2).read_to_end(&mut value).await.map_err(told)?;
    }
    let status = child.wait().await.map_err(told)?;
    if !status.success() {
        return Err(format!("`{program}` failed ({status})"));
    }
    if value.last() == Some(&b'\n') {
        value.pop();
    }
    Ok(value)
}

/// Returns a digest that only the owner of the key can compare with guesses.
fn keyed(key: &[u8; KEY_LENGTH], id: &str, value: &[u8]) -> Digest {
    let mut inner = KeyHasher::new("pib secret 1");
    inner.field(key).field(id).field(value);
    let mut outer = KeyHasher::new("pib secret digest 1");
    outer.field(key).field(inner.finish().as_bytes());
    outer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_the_secret_and_its_value_decide_the_digest() {
        let (key, other) = ([1; KEY_LENGTH], [0; KEY_LENGTH]);
        assert_ne!(keyed(&key, "a.b", b"x"), keyed(&other, "a.b", b"x"));
        assert_ne!(keyed(&key, "a.b", b"x"), keyed(&key, "a.c", b"x"));
        assert_ne!(keyed(&key, "a.b", b"x"), keyed(&key, "a.b", b"y"));
    }

    #[tokio::test]
    async fn a_programs_output_loses_one_line_break() {
        let words = |text: &str| ["sh", "-c", text].map(str::to_owned).to_vec();
        let dir = Path::new("/");
        assert_eq!(printed(dir, &words("printf 'a b\\n\\n'")).await, Ok(b"a b\n".to_vec()));
        assert!(printed(dir, &words("echo x; exit 3")).await.unwrap_err().contains("failed"));
        assert!(
            printed(dir, &["/nonexistent/pass".to_owned()]).await.unwrap_err().contains("cannot be started")
        );
    }
}
