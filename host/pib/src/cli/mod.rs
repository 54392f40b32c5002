//! The command line: flags to options, and the results to standard output. Nothing else.

mod add;
mod binfmt;
mod boot;
mod build;
mod cache;
mod clean;
mod completer;
mod completions;
mod config;
mod diff;
mod doctor;
mod error_style;
mod explain;
mod export;
mod failure;
mod fetch;
mod flash;
mod format;
mod help;
mod import;
mod info;
mod init;
mod inspect;
mod lock;
mod man;
mod misuse;
mod new;
mod options;
mod outdated;
mod output;
mod owner;
mod pack;
mod picker;
mod plan;
mod publish;
mod push;
#[cfg(test)]
mod reference_tests;
mod registry_admin;
mod registry_login;
mod remove;
mod run;
mod sbom;
mod scan;
mod schema;
mod search;
mod shell;
mod signals;
mod stage;
mod stages;
mod test;
mod text;
mod tree;
mod trust;
mod tty;
mod update;
mod vendor;
mod verify;
mod why;
mod yank;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::ops::{Error, Session};
use crate::ui::{self, Style, Verbosity};
use output::say;
use pib_event::Reporter;

/// Builds bootable Raspberry Pi images from versioned stages.
#[derive(Debug, Parser)]
#[command(name = "pib", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 other failure, 2 wrong usage, 3 a manifest, part, hook or lock is wrong, or a link is in the way in the project, \
4 stages cannot be resolved or ordered, 5 the container engine is missing or unfit, 6 the build failed, \
7 the image cannot be written or read, or would not start, 8 a download, or the check of its digest or signature, failed, \
9 the project asks for what you have not allowed it, 10 two builds of --check differ, 12 tests of the booted system failed, \
13 QEMU is missing or could not run the image, 130 interrupted.";

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

#[derive(Debug, Subcommand)]
enum Command {
    New(new::New),
    Init(init::Init),
    Import(import::Import),
    Add(add::Add),
    Remove(remove::Remove),
    Lock(lock::Lock),
    Plan(plan::Plan),
    Build(build::Build),
    Shell(shell::Shell),
    Run(run::Run),
    Boot(boot::Boot),
    Test(test::Test),
    Verify(verify::Verify),
    Inspect(inspect::Inspect),
    Diff(diff::Diff),
    Sbom(sbom::Sbom),
    Scan(scan::Scan),
    Flash(flash::Flash),
    Format(format::Format),
    Export(export::Export),
    Clean(clean::Clean),
    Tree(tree::Tree),
    Update(update::Update),
    Outdated(outdated::Outdated),
    Why(why::Why),
    Fetch(fetch::Fetch),
    Push(push::Push),
    Vendor(vendor::Vendor),
    Trust(trust::Trust),
    Cache(cache::Cache),
    Search(search::Search),
    Info(info::Info),
    Config(config::Config),
    Explain(explain::Explain),
    Doctor(doctor::Doctor),
    Binfmt(binfmt::Binfmt),
    Package(pack::Package),
    Publish(publish::Publish),
    Yank(yank::Yank),
    Owner(owner::Owner),
    Login(registry_login::Login),
    Logout(registry_login::Logout),
    Whoami(registry_login::Whoami),
    Registry(registry_admin::Registry),
    Stage(stage::Stage),
    Schema(schema::Schema),
    Man(man::Man),
    Completions(completions::Completions),
}

/// Runs the program with the process's arguments and environment; returns its exit code.
pub fn main() -> ExitCode {
    // A shell asks what may come next: the answer is written here, and the program ends.
    clap_complete::CompleteEnv::with_factory(completions::offered(|| help::with_first_page(Cli::command())))
        .var(completions::VARIABLE)
        .bin("pib")
        .complete();
    let matches =
        help::with_first_page(Cli::command()).try_get_matches().unwrap_or_else(|error| misused(error));
    let Cli { global, command } = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
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

/// Ends the program as the parser of the command line asks for it. What was typed may come from a script, or a stranger.
fn misused(error: clap::Error) -> ! {
    if error.kind() == clap::error::ErrorKind::InvalidSubcommand
        && let Some(clap::error::ContextValue::String(word)) =
            error.get(clap::error::ContextKind::InvalidSubcommand)
    {
        let usage = misuse::usage(&error.render().to_string());
        say(&ui::visible(&misuse::unknown_command(&Cli::command(), &usage, word)));
        std::process::exit(error.exit_code());
    }
    let text = error.render().to_string();
    let shown = ui::visible(&text);
    if shown == text {
        error.exit();
    }
    say(shown.trim_end());
    std::process::exit(error.exit_code());
}

fn execute(session: &Session, json: bool, command: Command) -> Result<ExitCode, Error> {
    if !matches!(
        command,
        Command::Completions(_)
            | Command::Explain(_)
            | Command::Schema(_)
            | Command::New(_)
            | Command::Init(_)
            | Command::Import(_)
    ) {
        session.prepare_cache()?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Error::io("start the program's threads", "", error))?;
    let reporter = session.reporter.clone();
    let interrupted = signals::first(move || {
        fail(json, Error::Interrupted, &*reporter, None);
    })?;
    let outcome = runtime.block_on(async {
        let command = match command {
            // What clients have begun is not dropped.
            Command::Registry(args) if args.is_server() => {
                return registry_admin::run(session, json, args, interrupted).await.map(|()| 0);
            }
            command => command,
        };
        // Dropping the work is what stops it: every future below cleans up after itself when dropped.
        tokio::select! {
            outcome = dispatch(session, json, command) => outcome,
            () = interrupted => Err(Error::Interrupted),
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    outcome.map(ExitCode::from)
}

/// Runs a command; returns the exit code, which is that of a program that ran inside.
async fn dispatch(session: &Session, json: bool, command: Command) -> Result<u8, Error> {
    let done = match command {
        Command::New(args) => new::run(session, json, args),
        Command::Init(args) => init::run(session, json, args),
        Command::Import(args) => import::run(session, json, args),
        Command::Add(args) => add::run(session, json, args).await,
        Command::Remove(args) => remove::run(session, json, args).await,
        Command::Lock(args) => lock::run(session, json, args).await,
        Command::Plan(args) => plan::run(session, json, args).await,
        Command::Build(args) => build::run(session, json, args).await,
        Command::Shell(args) => return shell::run(session, args).await,
        Command::Run(args) => return run::run(session, args).await,
        Command::Boot(args) => boot::run(session, args).await,
        Command::Test(args) => test::run(session, json, args).await,
        Command::Verify(args) => verify::run(session, json, args).await,
        Command::Inspect(args) => inspect::run(session, json, args).await,
        Command::Diff(args) => diff::run(session, json, args).await,
        Command::Sbom(args) => sbom::run(session, args).await,
        Command::Scan(args) => scan::run(session, json, args).await,
        Command::Flash(args) => flash::run(session, json, args).await,
        Command::Format(args) => format::run(session, json, args).await,
        Command::Export(args) => export::run(session, json, args).await,
        Command::Clean(args) => clean::run(session, json, args).await,
        Command::Tree(args) => tree::run(session, json, args).await,
        Command::Update(args) => update::run(session, json, args).await,
        Command::Outdated(args) => outdated::run(session, json, args).await,
        Command::Why(args) => why::run(session, json, args).await,
        Command::Fetch(args) => fetch::run(session, json, args).await,
        Command::Push(args) => push::run(session, json, args).await,
        Command::Vendor(args) => vendor::run(session, json, args).await,
        Command::Trust(args) => trust::run(session, json, args).await,
        Command::Cache(args) => cache::run(session, json, args).await,
        Command::Search(args) => search::run(session, json, args).await,
        Command::Config(args) => config::run(session, json, &args),
        Command::Explain(args) => explain::run(json, &args),
        Command::Info(args) => info::run(session, json, args).await,
        Command::Binfmt(args) => binfmt::run(session, json, args).await,
        Command::Doctor(args) => doctor::run(session, json, args).await,
        Command::Package(args) => pack::run(session, json, args),
        Command::Publish(args) => publish::run(session, json, args).await,
        Command::Yank(args) => yank::run(session, json, args).await,
        Command::Owner(args) => owner::run(session, json, args).await,
        Command::Login(args) => registry_login::login(session, json, args).await,
        Command::Logout(args) => registry_login::logout(session, json, &args),
        Command::Whoami(args) => registry_login::whoami(session, json, args).await,
        Command::Registry(args) => registry_admin::run(session, json, args, std::future::pending()).await,
        Command::Stage(args) => stage::run(session, json, args).await,
        Command::Schema(args) => schema::run(&args),
        Command::Man(args) => man::run(json, &args, help::with_first_page(Cli::command())),
        Command::Completions(args) => completions::run(&args),
    };
    done.map(|()| 0)
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
        let mut text = hide(failure::text(&error, &error_style::ErrorStyle::of_terminal(), &hide));
        for log in logs {
            text.push_str(&format!("\nThe full log: {}", ui::visible(&log)));
        }
        let codes = failure::codes(&error);
        if !codes.is_empty() {
            text.push_str(&format!("\nFor more: pib explain {}", codes.join(" ")));
        }
        say(&text);
    }
    ExitCode::from(exit_code)
}
