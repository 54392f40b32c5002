//! The command line: flags to options, and the results to standard output. Nothing else.

mod add;
mod binfmt;
mod build;
mod cache;
mod clean;
mod completions;
mod doctor;
mod export;
mod failure;
mod fetch;
mod help;
mod info;
mod lock;
mod new;
mod outdated;
mod plan;
mod publish;
mod remove;
mod run;
mod search;
mod shell;
mod signals;
mod stage;
mod stages;
mod text;
mod tree;
mod tty;
mod update;
mod vendor;
mod why;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, FromArgMatches as _, Parser, Subcommand};
use serde::Serialize;

use crate::ops::{Error, LockMode, Session};
use crate::ui::{self, Style, Verbosity};
use pib_event::{Event, Reporter};

/// Builds bootable Raspberry Pi images from versioned stages.
#[derive(Debug, Parser)]
#[command(name = "pib", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 other failure, 2 wrong usage, 3 a manifest, part, hook or lock is wrong, \
4 stages cannot be resolved or ordered, 5 the container engine is missing or unfit, 6 the build failed, \
7 the image cannot be written, 8 a download, or the check of its digest or signature, failed, 130 interrupted.";

#[derive(Debug, Args)]
struct Global {
    /// Work on the project in this folder instead of the current one
    #[arg(short = 'C', long, global = true, value_name = "DIR")]
    project: Option<PathBuf>,
    /// Use the container engine at this address (unix://, tcp://, ssh://), or of this Docker context
    #[arg(long, global = true, value_name = "ADDRESS|CONTEXT")]
    engine: Option<String>,
    /// Write results and events as JSON: results to standard output, events to standard error
    #[arg(long, global = true)]
    json: bool,
    /// Say only warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Also say which files of the project are read, and what the programs inside the build print
    #[arg(short, long, global = true)]
    verbose: bool,
}

impl Global {
    fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }
}

/// How the lock is treated, and whether the network may be used.
#[derive(Debug, Args)]
struct LockArgs {
    /// Fail if pib.lock would change
    #[arg(long)]
    locked: bool,
    /// Use no network
    #[arg(long)]
    offline: bool,
    /// Both --locked and --offline
    #[arg(long)]
    frozen: bool,
}

impl LockArgs {
    fn mode(&self) -> LockMode {
        LockMode { locked: self.locked || self.frozen, offline: self.offline || self.frozen }
    }
}

/// Which of the project's variants is meant.
#[derive(Debug, Args)]
struct TargetArg {
    /// Take this target of the project instead of the project itself
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
}

impl TargetArg {
    /// Returns the session for the target.
    fn session(&self, session: &Session) -> Session {
        session.for_target(self.target.as_deref())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    New(new::New),
    Add(add::Add),
    Remove(remove::Remove),
    Lock(lock::Lock),
    Plan(plan::Plan),
    Build(build::Build),
    Shell(shell::Shell),
    Run(run::Run),
    Export(export::Export),
    Clean(clean::Clean),
    Tree(tree::Tree),
    Update(update::Update),
    Outdated(outdated::Outdated),
    Why(why::Why),
    Fetch(fetch::Fetch),
    Vendor(vendor::Vendor),
    Cache(cache::Cache),
    Search(search::Search),
    Info(info::Info),
    Doctor(doctor::Doctor),
    Binfmt(binfmt::Binfmt),
    Publish(publish::Publish),
    Stage(stage::Stage),
    Completions(completions::Completions),
}

/// Runs the program with the process's arguments and environment; returns its exit code.
pub fn main() -> ExitCode {
    let matches = help::command().get_matches();
    let Cli { global, command } = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    install_error_style();
    let json = global.json;
    let display = ui::reporter(if json { Style::Json } else { Style::Auto }, global.verbosity());
    // Reads the environment, once: everything below gets it from the session.
    match Session::from_environment(global.project, display.clone()) {
        Ok(mut session) => {
            session.engine.named = global.engine;
            if global.verbose {
                crate::project::trace_files(&session);
            }
            match execute(&session, json, command) {
                Ok(code) => code,
                Err(error) => fail(json, error, &*session.reporter, Some(&session)),
            }
        }
        Err(error) => fail(json, error, &*display, None),
    }
}

fn execute(session: &Session, json: bool, command: Command) -> Result<ExitCode, Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::io("start the program's threads", "", error))?;
    // The exit code of a program that ran inside becomes this one's.
    let exit = std::cell::Cell::new(0);
    let work = async {
        match command {
            Command::New(args) => new::run(session, json, args),
            Command::Add(args) => add::run(session, json, args).await,
            Command::Remove(args) => remove::run(session, json, args).await,
            Command::Lock(args) => lock::run(session, json, args).await,
            Command::Plan(args) => plan::run(session, json, args).await,
            Command::Build(args) => build::run(session, json, args).await,
            Command::Shell(args) => shell::run(session, args).await.map(|code| exit.set(code)),
            Command::Run(args) => run::run(session, args).await.map(|code| exit.set(code)),
            Command::Export(args) => export::run(session, json, args).await,
            Command::Clean(args) => clean::run(session, json, args).await,
            Command::Tree(args) => tree::run(session, json, args).await,
            Command::Update(args) => update::run(session, json, args).await,
            Command::Outdated(args) => outdated::run(session, json, args).await,
            Command::Why(args) => why::run(session, json, args).await,
            Command::Fetch(args) => fetch::run(session, json, args).await,
            Command::Vendor(args) => vendor::run(session, json, args).await,
            Command::Cache(args) => cache::run(session, json, args).await,
            Command::Search(args) => search::run(session, json, args).await,
            Command::Info(args) => info::run(session, json, args).await,
            Command::Binfmt(args) => binfmt::run(session, json, args).await,
            Command::Doctor(args) => doctor::run(session, json, args).await,
            Command::Publish(args) => publish::run(session, json, args),
            Command::Stage(args) => stage::run(session, json, args).await,
            Command::Completions(args) => completions::run(&args),
        }
    };
    let reporter = session.reporter.clone();
    let interrupted = signals::first(move || {
        fail(json, Error::Interrupted, &*reporter, None);
    })?;
    let outcome = runtime.block_on(async {
        // Dropping the work is what stops it: every future below cleans up after itself when dropped.
        tokio::select! {
            outcome = work => outcome,
            () = interrupted => Err(Error::Interrupted),
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    outcome.map(|()| ExitCode::from(exit.get()))
}

fn install_error_style() {
    let colour = console::colors_enabled_stderr();
    let width = usize::from(console::Term::stderr().size().1).clamp(60, 110);
    let _ = miette::set_hook(Box::new(move |_| {
        let theme = if colour { miette::GraphicalTheme::unicode() } else { plain_theme() };
        Box::new(
            miette::GraphicalReportHandler::new_themed(theme)
                .with_width(width)
                // At spaces only, so that a path or an option can be copied from the message.
                .with_word_separator(textwrap::WordSeparator::AsciiSpace)
                .with_word_splitter(textwrap::WordSplitter::NoHyphenation)
                .with_break_words(false)
                .with_links(false)
                .with_context_lines(2),
        )
    }));
}

fn plain_theme() -> miette::GraphicalTheme {
    miette::GraphicalTheme::none()
}

/// The one place that shows an error.
fn fail(json: bool, error: Error, reporter: &dyn Reporter, session: Option<&Session>) -> ExitCode {
    let exit_code = error.exit_code();
    let logs = session.map(|session| session.logs.paths()).unwrap_or_default();
    let shown = |path: &PathBuf| session.map_or(&**path, |session| session.show(path)).display().to_string();
    let logs: Vec<String> = logs.iter().map(shown).collect();
    // The display settles what was still running, so that nothing moves below the message.
    reporter.report(failure::event(&error, logs.clone()));
    if !json {
        let hide = |text| match session {
            Some(session) => session.mask.apply(text),
            None => text,
        };
        let mut text = hide(failure::text(&error, &hide));
        for log in logs {
            text.push_str(&format!("\nThe full log: {}", ui::visible(&log)));
        }
        say(&text);
    }
    ExitCode::from(exit_code)
}

/// Writes a line to standard error. A terminal that was closed meanwhile is no reason to fail otherwise.
fn say(line: &str) {
    _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Writes a result for people to standard output. Some of it is a stranger's: none of that gives orders to a terminal,
/// also where it comes to one through a file or a pager.
fn print(text: impl AsRef<str>) -> Result<(), Error> {
    write_out(&ui::visible(text.as_ref()))
}

/// Writes a file's text to standard output, with a sign for each character that a terminal would not show. Where there is
/// one, it says so: the text is not the file's then.
fn print_shown(session: &Session, text: &str) -> Result<(), Error> {
    let shown = ui::visible_in_place(text);
    if shown != text {
        session.reporter.report(Event::Warning {
            message: "it has control characters or others that cannot be seen, which are shown as `?` or another sign; \
                      `pib plan --context DIR` writes the files as they are"
                .to_owned(),
        });
    }
    write_out(&shown)
}

/// Writes a result that programs read to standard output, as it is; a terminal takes no orders from it.
fn print_document(text: impl AsRef<str>) -> Result<(), Error> {
    match std::io::stdout().is_terminal() {
        true => write_out(&ui::visible_in_place(text.as_ref())),
        false => write_out(text.as_ref()),
    }
}

/// Writes to standard output; a reader that went away ends the program quietly, and so does a terminal.
fn write_out(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    match write!(out, "{text}{end}").and_then(|()| out.flush()) {
        Err(error) if !is_gone(&error) => Err(Error::io("write to standard output", "", error)),
        _ => Ok(()),
    }
}

/// Returns whether writing to standard output failed since nobody is there any more: what a closed terminal answers is
/// what a broken disk does, but a file on a disk is no character device.
fn is_gone(error: &std::io::Error) -> bool {
    use rustix::fs::FileType;
    let device = || {
        let status = rustix::fs::fstat(std::io::stdout());
        status.is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice)
    };
    let failed = error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error());
    error.kind() == std::io::ErrorKind::BrokenPipe || (failed && device())
}

/// Writes a result as JSON, or as text.
fn print_as<T: Serialize>(json: bool, value: &T, text: impl FnOnce(&T) -> String) -> Result<(), Error> {
    if !json {
        return print(text(value));
    }
    let document = serde_json::to_string_pretty(value).map_err(|error| {
        Error::io("write the result as JSON", "", std::io::Error::other(error.to_string()))
    })?;
    write_out(&ui::json(&document))
}
