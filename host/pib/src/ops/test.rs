//! Starts the image in QEMU and runs the tests of its stages in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use miette::Diagnostic as _;
use pib_event::ReporterExt as _;
use pib_plan::config::arg_name;
use pib_plan::device_test::dialogue::{Ending, MAX_LONG_OUTPUT, MAX_OUTPUT, Reply};
use pib_plan::device_test::junit::{self, Suite};
use pib_plan::device_test::{self, DeviceTest, TestFailure, TestOutcome};
use pib_plan::id::Digest;
use pib_plan::suggest::count;
use pib_plan::variable::Variable;
use serde::Serialize;

use super::startup::{self, BootBoard, Startup, StartupRequest};
use super::targets::{self, Failure, Which};
use crate::emulator::{Agent, AgentPort, Console, EmulatorError, Machine, MachineOptions};
use crate::pipeline::{self, BaseLookup, Rendered, StageOptions};
use crate::project::{self, Error, Project, Session, TargetError, TargetFolder, blocking, files};

/// The id of the step in events.
const STEP: &str = "test";
/// How many systems run at the same time.
const AT_ONCE: usize = 2;
/// The memory of a machine, in MiB.
const MEMORY: u64 = 1024;
/// How much of the console is shown where the system does not come up, in bytes.
const CONSOLE_SHOWN: usize = 2000;
/// How long a look at the system may take that is no test.
const LOOK: Duration = Duration::from_secs(120);
/// What results are called that are of no stage.
const SYSTEM: &str = "system";
/// The variables that every test has, as `PIB_HOSTNAME` and so on.
const VARIABLES: [Variable; 8] = [
    Variable::Name,
    Variable::Os,
    Variable::Release,
    Variable::Board,
    Variable::Arch,
    Variable::Hostname,
    Variable::Locale,
    Variable::Timezone,
];

/// What to test.
#[derive(Debug, Clone)]
pub struct TestOptions {
    /// A copy of the image; the project's own where none is named.
    pub image: Option<PathBuf>,
    /// The stage whose tests run; all where none is named.
    pub filter: Option<String>,
    /// The file for the results as JUnit XML.
    pub junit: Option<PathBuf>,
    /// How long a system may take to come up.
    pub timeout: Duration,
    /// The size of the card in bytes, where it is to be larger than the image.
    pub card: Option<u64>,
    /// How the image was built.
    pub stages: StageOptions,
}

/// What came of the tests of each image.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct TestReports {
    /// One for each target, or one for the project.
    pub reports: Vec<TestReport>,
}

/// What came of the tests of one image.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TestReport {
    /// The target, where it is not the project itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The image; none where it could not be found.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(serialize_with = "crate::project::path_text::lossy_option")]
    pub image: Option<PathBuf>,
    /// How long it took from the start of QEMU until a shell answered, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_to_shell: Option<f64>,
    /// The results, in the order in which the tests ran.
    pub tests: Vec<TestOutcome>,
    /// What kept the tests from running to their end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// The console of the system, where something failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(serialize_with = "crate::project::path_text::lossy_option")]
    pub console: Option<PathBuf>,
    /// Its journal, where something failed and it could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[serde(serialize_with = "crate::project::path_text::lossy_option")]
    pub journal: Option<PathBuf>,
    #[serde(skip)]
    cause: Option<Error>,
}

impl TestReport {
    /// Returns how many tests failed.
    pub fn failed(&self) -> usize {
        self.tests.iter().filter(|test| test.failure.is_some()).count()
    }
}

impl TestReports {
    /// Returns whether they tell more than the error of [`TestReports::into_result`]: of an image, or of which target it is.
    pub fn tell_more(&self) -> bool {
        self.reports.iter().any(|report| report.image.is_some() || report.target.is_some())
    }

    /// Returns whether a test failed, or could not run.
    pub fn failed(&self) -> bool {
        self.reports.iter().any(|report| report.error.is_some() || report.failed() > 0)
    }

    /// Returns the error that says what failed, where something did.
    ///
    /// # Errors
    /// Exactly that.
    pub fn into_result(self) -> Result<(), Error> {
        let total = self.reports.iter().map(|report| report.tests.len()).sum();
        let failed: usize = self.reports.iter().map(TestReport::failed).sum();
        let images = self.reports.len();
        let causes = self.reports.into_iter().filter_map(|report| {
            let cause = report.cause?;
            Some(TargetError::new(report.target.as_deref(), cause))
        });
        let mut causes: Vec<TargetError> = causes.collect();
        match causes.pop() {
            Some(only) if images == 1 => Err(*only.error),
            Some(last) => {
                Err(Error::Targets { failed: causes.into_iter().chain([last]).collect(), total: images })
            }
            None if failed > 0 => Err(Error::TestsFailed { failed, total }),
            None => Ok(()),
        }
    }
}

/// Tests the project's image, or those of targets. What is wrong with one does not stop the others.
///
/// # Errors
/// When there is no such target, or the results cannot be written. What else goes wrong is in the reports.
pub async fn test(
    session: &Session,
    options: &TestOptions,
    which: Option<&Which>,
) -> Result<TestReports, Error> {
    let names = match which {
        Some(which) => targets::names(session, which)?.into_iter().map(Some).collect(),
        None => vec![None],
    };
    let work = names.into_iter().map(async |name| {
        let session = match &name {
            Some(name) => targets::of_target(session, name),
            None => session.clone(),
        };
        let mut report = TestReport {
            target: name,
            image: None,
            seconds_to_shell: None,
            tests: Vec::new(),
            error: None,
            console: None,
            journal: None,
            cause: None,
        };
        if let Err(cause) = one(&session, options, &mut report).await {
            session.reporter.failed(STEP);
            let help = cause.help().map(|help| help.to_string());
            let (message, exit_code) = (cause.to_string(), cause.exit_code());
            report.error = Some(Failure { message, help, exit_code });
            report.cause = Some(cause);
        }
        report
    });
    let reports: Vec<TestReport> = stream::iter(work).buffered(AT_ONCE).collect().await;
    if let Some(path) = &options.junit {
        write_junit(session, path, &reports)?;
    }
    Ok(TestReports { reports })
}

fn write_junit(session: &Session, path: &Path, reports: &[TestReport]) -> Result<(), Error> {
    let name = |report: &TestReport| match (&report.target, &report.image) {
        (Some(target), _) => target.clone(),
        (None, image) => {
            image.as_ref().map(|image| session.show(image).display().to_string()).unwrap_or_default()
        }
    };
    // What kept tests from running is a failure of its own there: a reader of the file alone must see it.
    let all = reports.iter().map(|report| {
        let mut tests = report.tests.clone();
        tests.extend(report.error.iter().map(|error| {
            outcome(SYSTEM, "runs the tests", Duration::ZERO, Err(TestFailure::silent(error.message.clone())))
        }));
        (name(report), tests)
    });
    let all: Vec<(String, Vec<TestOutcome>)> = all.collect();
    let suites: Vec<Suite<'_>> = all.iter().map(|(name, tests)| Suite { name, tests }).collect();
    let output = project::output(session, &session.cwd.join(path))?;
    let file = output.name().to_string_lossy();
    files::replace_text(output.folder(), &file, &session.mask.apply(junit::document(&suites)))
}

/// A test, and what its command is told.
struct PlannedTest {
    stage: String,
    test: DeviceTest,
    variables: BTreeMap<String, String>,
}

/// The image of a project, and its tests.
struct Subject {
    image: PathBuf,
    board: String,
    target: TargetFolder,
    stem: String,
    tests: Vec<PlannedTest>,
}

async fn one(session: &Session, options: &TestOptions, report: &mut TestReport) -> Result<(), Error> {
    let subject = plan(session, options).await?;
    report.image = Some(subject.image.clone());
    session.reporter.started(STEP, format!("Starting {}", session.show(&subject.image).display()));
    let request = StartupRequest {
        image: subject.image.clone(),
        board: Some(subject.board.clone()),
        machine: BootBoard::Virt,
        agent: true,
        card: options.card,
    };
    let startup = startup::prepare(session, STEP, request).await?;
    let (port, mut machine) = start(&startup)?;
    let outcome = {
        let run = run(session, options, &subject, port, &mut *report);
        tokio::pin!(run);
        tokio::select! {
            outcome = &mut run => outcome,
            error = machine.unexpected_end() => Err(error.into()),
        }
    };
    let outcome = match outcome {
        Err(Error::Emulator(EmulatorError::NoSystem { image, seconds, .. })) => {
            let console = machine.console(CONSOLE_SHOWN);
            Err(EmulatorError::NoSystem { image, seconds, console }.into())
        }
        other => other,
    };
    machine.stop().await;
    if outcome.is_err() || report.failed() > 0 {
        report.console = Some(keep(session, &subject, ".console.log", machine.whole_console())?);
    }
    outcome?;
    session.reporter.finished(STEP, false);
    Ok(())
}

fn start(startup: &Startup) -> Result<(AgentPort, Machine), Error> {
    let port = AgentPort::new(startup.folder.path())?;
    let machine = Machine::start(&MachineOptions {
        hardware: startup.hardware,
        boot: startup.boot.clone(),
        disk: startup.disk(),
        memory: MEMORY,
        ssh: None,
        graphic: false,
        console: Console::Kept,
        agent: Some(port.path().to_owned()),
    })?;
    Ok((port, machine))
}

/// Runs the tests: those before, then those after a second start.
async fn run(
    session: &Session,
    options: &TestOptions,
    subject: &Subject,
    port: AgentPort,
    report: &mut TestReport,
) -> Result<(), Error> {
    let (limit, since) = (options.timeout, Instant::now());
    let no_system = || EmulatorError::NoSystem {
        image: subject.image.clone(),
        seconds: limit.as_secs(),
        console: String::new(),
    };
    let mut agent = tokio::time::timeout(limit, port.accept()).await.map_err(|_| no_system())??;
    report.seconds_to_shell = Some(since.elapsed().as_secs_f64());
    for after_reboot in [false, true] {
        let mut tests = subject.tests.iter().filter(|test| test.test.after_reboot == after_reboot).peekable();
        if after_reboot {
            if tests.peek().is_none() {
                break;
            }
            session.reporter.detail(STEP, "starting the system a second time");
            agent.send("systemctl reboot", LOOK, MAX_OUTPUT).await?;
            tokio::time::timeout(limit, agent.next_boot()).await.map_err(|_| no_system())??;
        }
        let name = if after_reboot { "comes up a second time" } else { "comes up" };
        // Notes are seen where nothing moves, too.
        session.reporter.note(format!(
            "The system answers after {:.0} s; waiting until all of it is up",
            since.elapsed().as_secs_f64()
        ));
        session.reporter.detail(STEP, "waiting until the system is up");
        let up = is_up(&mut agent, name, limit).await?;
        report.tests.push(up);
        session.reporter.note(format!("Running {}", count(tests.clone().count(), "test")));
        for planned in tests {
            session.reporter.detail(STEP, format!("{}: {}", planned.stage, planned.test.name));
            let outcome = run_one(session, &mut agent, planned).await?;
            report.tests.push(outcome);
        }
        if report.failed() > 0 {
            let script = "journalctl -b --no-pager | tail -c 3000000";
            if let Some(reply) = agent.run(script, LOOK, MAX_LONG_OUTPUT).await? {
                let text = String::from_utf8_lossy(&reply.stdout).into_owned();
                report.journal = Some(keep(session, subject, ".journal.log", text)?);
            }
        }
    }
    Ok(())
}

/// Waits until all that starts with the system was started, and names what failed.
async fn is_up(agent: &mut Agent, name: &str, limit: Duration) -> Result<TestOutcome, Error> {
    let since = Instant::now();
    let reply = agent.run("systemctl is-system-running --wait", limit, MAX_OUTPUT).await?;
    let state = match &reply {
        Some(Reply { ending: Ending::Exit(_), stdout, .. }) => {
            String::from_utf8_lossy(stdout).trim().to_owned()
        }
        _ => format!("still starting after {} s", limit.as_secs()),
    };
    let took = since.elapsed();
    if state == "running" {
        return Ok(outcome(SYSTEM, name, took, Ok(())));
    }
    let look = "systemctl --failed --no-legend --plain --full; systemctl list-jobs --no-legend";
    let failed = agent.run(look, LOOK, MAX_OUTPUT).await?;
    let failed =
        failed.map(|reply| String::from_utf8_lossy(&reply.stdout).trim().to_owned()).unwrap_or_default();
    let failure =
        TestFailure { reason: format!("the system is {state}"), stdout: failed, stderr: String::new() };
    Ok(outcome(SYSTEM, name, took, Err(failure)))
}

async fn run_one(session: &Session, agent: &mut Agent, planned: &PlannedTest) -> Result<TestOutcome, Error> {
    let PlannedTest { stage, test, variables } = planned;
    let since = Instant::now();
    let reply = agent.run(&test.script(variables), test.timeout, MAX_OUTPUT).await?;
    let result = match reply {
        None => Err(TestFailure::silent("the system did not answer any more")),
        Some(reply) => test.judge(&reply).map_err(|reason| {
            let TestFailure { reason, stdout, stderr } = TestFailure::new(reason, &reply);
            let hide = |text| session.mask.apply(text);
            TestFailure { reason: hide(reason), stdout: hide(stdout), stderr: hide(stderr) }
        }),
    };
    Ok(outcome(stage, &test.name, since.elapsed(), result))
}

fn outcome(stage: &str, name: &str, took: Duration, result: Result<(), TestFailure>) -> TestOutcome {
    let (stage, name) = (stage.to_owned(), name.to_owned());
    TestOutcome { stage, name, seconds: took.as_secs_f64(), failure: result.err() }
}

/// Keeps a text beside the image; secrets in it are hidden.
fn keep(session: &Session, subject: &Subject, end: &str, text: String) -> Result<PathBuf, Error> {
    let (folder, name) = (subject.target.make()?, format!("{}{end}", subject.stem));
    files::replace_text(&folder, &name, &session.mask.apply(text))?;
    Ok(folder.path().join(name))
}

/// Finds the image, and what its stages promise. It must be the one that the project describes now: another one has other
/// stages or config.
async fn plan(session: &Session, options: &TestOptions) -> Result<Subject, Error> {
    let rendered = pipeline::decide_only(session, Project::load(session)?, &options.stages).await?;
    rendered.packages.resolved.check_lock()?;
    let tests = tests(&rendered, options.filter.as_deref())?;
    let BaseLookup::Known(based) = rendered.look_up_base(options.stages.lock) else { return Err(outdated()) };
    let Some(built) = pipeline::up_to_date(session, &based, &options.stages).await? else {
        return Err(outdated());
    };
    let image = match &options.image {
        None => built.image,
        Some(path) => {
            let path = session.cwd.join(path);
            let fail = |error| Error::io("read", &path, error);
            let file = pib_file::open(&path).map_err(fail)?;
            let digest = blocking::read(file, pib_file::sha256).await?.map_err(fail)?;
            if Digest::from_bytes(digest) != built.digest {
                return Err(outdated());
            }
            path
        }
    };
    let project = based.rendered.packages.project();
    let manifest = &project.manifest.project;
    let (board, stem, target) = (manifest.board.clone(), manifest.file_stem(), project.target.clone());
    Ok(Subject { image, board, target, stem, tests })
}

fn outdated() -> Error {
    Error::Stage {
        message:
            "there is no image of what the project describes now, so its tests would judge another system"
                .to_owned(),
        help: Some("Build it with `pib build`, then test it.".to_owned()),
    }
}

/// Returns the tests in the order of the stages, with what each command is told.
fn tests(rendered: &Rendered, filter: Option<&str>) -> Result<Vec<PlannedTest>, Error> {
    let project = &rendered.packages.project().manifest;
    let own = VARIABLES.into_iter().map(|variable| {
        let value = project.variable(variable).unwrap_or_default();
        (format!("PIB_{}", variable.arg()), value)
    });
    let own: BTreeMap<String, String> = own.collect();
    if let Some(stage) = filter
        && !rendered.packages.list.iter().any(|package| package.name.as_str() == stage)
    {
        let names: Vec<&str> = rendered.packages.list.iter().map(|package| package.name.as_str()).collect();
        let message = format!("the project has no stage `{stage}`");
        return Err(Error::usage(message, format!("Its stages are {}.", names.join(", "))));
    }
    let mut tests = Vec::new();
    for (package, input) in rendered.packages.list.iter().zip(&rendered.inputs) {
        if filter.is_some_and(|stage| package.name.as_str() != stage) {
            continue;
        }
        let mut variables = own.clone();
        // A secret is no argument of the part, and tests are not told it either.
        for key in package.manifest.config.keys() {
            if let Some(arg) = input.args.iter().find(|arg| arg.name == arg_name(key)) {
                variables.insert(device_test::config_variable(key), arg.value.clone());
            }
        }
        tests.extend(package.manifest.tests.iter().map(|test| PlannedTest {
            stage: package.name.to_string(),
            test: test.clone(),
            variables: variables.clone(),
        }));
    }
    Ok(tests)
}
