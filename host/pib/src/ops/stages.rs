//! Has the engine build a project's stages, all of them or up to one: images, shells and exports start from that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pib_plan::assemble::{Anew, BaseRef, BuildPlan, Extras, PlannedStage};
use pib_plan::id::{Digest, StageName};
use pib_plan::packages::PackageCache;
use pib_plan::record::BuildRecord;

use super::base::LABEL;
use super::plan::{Decided, decide};
use super::project::Project;
use super::secrets::{self, Secrets};
use super::{Error, LockMode, Session, build_args, engine, files, logs, native};
use crate::bases::StoredBase;
use crate::engine::{Base, BuildRequest, Engine};
use pib_event::ReporterExt as _;
use pib_plan::base::BaseSource;

/// The label that tells the key of a container image's last stage.
const KEY_LABEL: &str = "dev.pib.key";
/// The label that tells which project on this machine a container image or container belongs to.
pub(super) const PROJECT_LABEL: &str = "dev.pib.project";

/// How stages are built.
#[derive(Debug, Clone, Default)]
pub struct StageOptions {
    /// The last stage to be built; all of them otherwise.
    pub until: Option<String>,
    /// What is built anew, whatever the engine has of it.
    pub no_cache: NoCache,
    /// Emulate everything.
    pub no_native: bool,
    /// Values for the `ARG`s that parts declare, as `NAME=VALUE`, or `NAME` for the environment's.
    pub build_args: Vec<String>,
    /// Where secrets come from instead of what `pib.toml` says: `id=ID,src=FILE` or `id=ID,env=VARIABLE`.
    pub secrets: Vec<String>,
    /// How the lock is treated.
    pub lock: LockMode,
}

/// Which stages are built anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NoCache {
    /// None without need.
    #[default]
    Nothing,
    /// All of them.
    All,
    /// This one and those after it.
    From(String),
}

impl NoCache {
    /// Returns the first stage that is built anew, where that is not the first of all.
    fn from(&self) -> Option<StageName> {
        match self {
            Self::From(name) => name.parse().ok(),
            Self::Nothing | Self::All => None,
        }
    }
}

/// Returns what no build on this machine had before.
fn nonce() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}.{:x}", now.as_nanos(), std::process::id())
}

/// The stages to be built, and what the engine calls the result.
pub(super) struct Job {
    pub(super) plan: BuildPlan,
    /// What the engine calls the result.
    pub(super) tag: String,
    base: BaseRef,
    /// The index of the last stage that is wanted.
    last: usize,
}

impl Job {
    pub(super) fn new(
        session: &Session,
        decided: &Decided,
        options: &StageOptions,
        extras: &Extras<'_>,
    ) -> Result<Self, Error> {
        let digest = decided.base_digest().unwrap_or_else(|| Digest::of(b""));
        let base = decided.base_ref(Some(&digest));
        let plan = decided.assemble(session, &base, &digest, extras)?;
        let last = match &options.until {
            Some(name) => find(&plan, name)?,
            None => plan.stages.len() - 1,
        };
        if let NoCache::From(name) = &options.no_cache {
            find(&plan, name)?;
        }
        let name = &decided.project.manifest.project.name;
        let tag = format!("pib/{name}:{}", &plan.stages[last].key.hex()[..16]);
        Ok(Self { plan, tag, base, last })
    }

    /// Returns the last stage that is wanted.
    pub(super) fn stage(&self) -> &PlannedStage {
        &self.plan.stages[self.last]
    }
}

/// Returns the index of a stage that the command line names.
fn find(plan: &BuildPlan, name: &str) -> Result<usize, Error> {
    let known = || plan.stages.iter().map(|stage| stage.name.as_str());
    known().position(|known| known == name).ok_or_else(|| {
        let help = match pib_plan::suggest::nearest(name, known()) {
            Some(near) => format!("Did you mean `{near}`?"),
            None => format!("The build has {}.", pib_plan::suggest::list(known())),
        };
        Error::usage(format!("stage `{name}` is not in the build"), help)
    })
}

/// Decides what is to be built; mistakes in parts, settings and options are told before minutes are spent on the base.
pub(super) async fn settle(session: &Session, options: &StageOptions) -> Result<(Decided, Job), Error> {
    let mut decided = decide(session, options.lock).await?;
    decided.build_args = build_args::parse(session, &options.build_args)?;
    decided.secrets = Secrets::get(session, &decided.project, &decided.packages, &options.secrets).await?;
    decided.ask_hooks(session).await?;
    let job = Job::new(session, &decided, options, &Extras::default())?;
    decided.graph.write_lock(&decided.project, options.lock)?;
    Ok((decided, job))
}

/// Has an engine build what was decided, where it has not; returns it and what it has now. What is built is logged.
pub(super) async fn build(
    session: &Session,
    decided: &mut Decided,
    options: &StageOptions,
) -> Result<(Engine, Job), Error> {
    let log = logs::open(session, &decided.project);
    let outcome = match prepare(log.session(), decided, options).await {
        Ok(prepared) => run(log.session(), decided, options, prepared).await,
        Err(error) => Err(error),
    };
    log.close(outcome)
}

/// An engine that has what the parts start from.
pub(super) struct Prepared {
    engine: Engine,
    job: Job,
    /// Whether it has the result, too.
    built: bool,
}

/// Gives an engine what the parts start from, where it does not have the result already.
pub(super) async fn prepare(
    session: &Session,
    decided: &mut Decided,
    options: &StageOptions,
) -> Result<Prepared, Error> {
    let engine = engine::connect(session, decided.project.manifest.project.arch).await?;
    secrets::check_engine(&engine, &decided.packages)?;
    let base = get_base(session, decided, options).await?;
    decided.graph.write_lock(&decided.project, options.lock)?;
    let manifest = &decided.project.manifest;
    let packages = PackageCache::of(&manifest.project).filter(|_| engine.info().buildkit);
    let (from, nonce) = (options.no_cache.from(), nonce());
    let anew = Some(Anew { from: from.as_ref(), nonce: &nonce });
    let anew = anew.filter(|_| engine.info().buildkit && options.no_cache != NoCache::Nothing);
    let mut extras = Extras { native: None, packages: packages.as_ref(), anew };
    let mut job = Job::new(session, decided, options, &extras)?;
    let built = built(session, &engine, &job, options).await?;
    if !built {
        let tools = match wants_native(decided, options) {
            true => {
                let say = |why: &str| session.reporter.warn(format!("everything is emulated: {why}"));
                native::get(session, &engine, manifest, options.lock.offline, say).await?
            }
            false => None,
        };
        extras.native = tools.as_ref();
        job = Job::new(session, decided, options, &extras)?;
        load_base(session, &engine, &job, base.as_ref()).await?;
    }
    Ok(Prepared { engine, job, built })
}

/// Has the engine run the parts, where it has not; returns it and what it has now.
pub(super) async fn run(
    session: &Session,
    decided: &Decided,
    options: &StageOptions,
    Prepared { engine, job, built }: Prepared,
) -> Result<(Engine, Job), Error> {
    if !built {
        run_parts(session, &engine, decided, &job, options).await?;
    }
    let mut record = record(&decided.project);
    record.note(&job.plan, Some(&job.stage().name));
    files::replace_text(&record_path(&decided.project), &record.to_text())?;
    Ok((engine, job))
}

/// Returns the record of a project's builds.
pub(super) fn record(project: &Project) -> BuildRecord {
    let text = files::read_text(&record_path(project)).ok().flatten();
    text.map_or_else(BuildRecord::default, |text| BuildRecord::parse(&text))
}

fn record_path(project: &Project) -> PathBuf {
    project.target().join(format!("{}.stages.json", project.manifest.project.file_stem()))
}

/// Returns the labels of what belongs to a project: what it is, and whose.
pub(super) fn labels(dir: &Path, what: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(LABEL.to_owned(), what.to_owned()), (PROJECT_LABEL.to_owned(), project_id(dir))])
}

/// Returns what tells a project from others on this machine, without telling its folder to whoever gets the image.
pub(super) fn project_id(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    Digest::of(dir.as_os_str().as_encoded_bytes()).hex()[..16].to_owned()
}

fn wants_native(decided: &Decided, options: &StageOptions) -> bool {
    decided.project.manifest.build.native && !options.no_native
}

async fn get_base(
    session: &Session,
    decided: &mut Decided,
    options: &StageOptions,
) -> Result<Option<StoredBase>, Error> {
    match decided.base_source()? {
        BaseSource::ContainerImage { .. } => Ok(None),
        source => {
            let native = wants_native(decided, options);
            Ok(Some(decided.ensure_base(session, options.lock, &source, native).await?))
        }
    }
}

async fn load_base(
    session: &Session,
    engine: &Engine,
    job: &Job,
    stored: Option<&StoredBase>,
) -> Result<(), Error> {
    let (Some(stored), BaseRef::ContainerImage(tag)) = (stored, &job.base) else { return Ok(()) };
    let labels = BTreeMap::from([(LABEL.to_owned(), "base".to_owned())]);
    let base = Base { rootfs_tar: &stored.path, tag, platform: job.plan.arch.platform(), labels: &labels };
    Ok(engine.load_base(&base, &*session.reporter).await?)
}

/// Returns whether the engine has the stages' result already.
async fn built(session: &Session, engine: &Engine, job: &Job, options: &StageOptions) -> Result<bool, Error> {
    if options.no_cache != NoCache::Nothing {
        return Ok(false);
    }
    let key = job.stage().key.to_string();
    let there = engine.container_image(&job.tag).await?;
    let built = there.is_some_and(|image| image.labels.get(KEY_LABEL) == Some(&key));
    if built {
        session.reporter.note(format!("{} has built these stages already", engine.info().name));
    }
    Ok(built)
}

/// Has the engine run the parts.
async fn run_parts(
    session: &Session,
    engine: &Engine,
    decided: &Decided,
    job: &Job,
    options: &StageOptions,
) -> Result<(), Error> {
    // Where instructions can mount something, what is run anew is told by that.
    let classic = !engine.info().buildkit && options.no_cache != NoCache::Nothing;
    if classic && matches!(options.no_cache, NoCache::From(_)) {
        session.reporter.warn("this engine's builder cannot start in the middle: every stage is built anew");
    }
    if let Some(merged) = job.plan.merged_text() {
        session.reporter.note(merged);
    }
    let mut request = BuildRequest::new(&job.plan, &job.tag);
    request.labels = labels(&decided.project.dir, "build");
    request.labels.insert(KEY_LABEL.to_owned(), job.stage().key.to_string());
    request.target = options.until.is_some().then_some(&job.stage().name);
    request.no_cache = classic;
    request.build_args = decided.build_args.clone();
    request.secrets = decided.secrets.for_engine(&job.plan);
    engine.build(&request, &*session.reporter).await?;
    Ok(())
}
