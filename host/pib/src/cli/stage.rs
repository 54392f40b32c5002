//! `pib stage`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::output::print_as;
use crate::author::check::{CheckedStage, check};
use crate::author::component::{BuildHookOptions, BuiltHook, build};
use crate::author::preview::{RenderedStage, render};
use crate::author::scaffold::{HookLanguage, NewStage, NewStageOptions, new};
use crate::author::trial::TrialOptions;
use crate::ops::{Error, Session};

/// Make stages of your own
#[derive(Debug, Args)]
pub(super) struct Stage {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(New),
    Build(Build),
    Check(Trial),
    Render(Render),
}

/// Start a stage: a folder with a stage.toml, a part, and a hook if you want one
#[derive(Debug, Args)]
struct New {
    /// The folder to make; its name becomes the stage's
    path: PathBuf,
    /// What the hook is written in
    #[arg(long, value_enum, default_value_t = Language::None)]
    hook: Language,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Language {
    /// No hook
    None,
    /// Rust, with pib's SDK
    Rust,
}

/// Compile a stage's hook, the Rust crate in its folder `hook`, to a component
#[derive(Debug, Args)]
struct Build {
    /// The stage's folder [default: the current one]
    stage: Option<PathBuf>,
    /// Write the component to this file [default: what stage.toml names]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Look a stage over: manifest, schema, parts, and its hook, which must answer the same twice
#[derive(Debug, Args)]
struct Trial {
    /// The stage's folder [default: the current one]
    stage: Option<PathBuf>,
    /// Set a config key of the stage
    #[arg(long, value_name = "KEY=VALUE")]
    config: Vec<String>,
    /// The operating system that the hook is told [default: the first that the stage supports]
    #[arg(long)]
    os: Option<String>,
    /// Its release
    #[arg(long)]
    release: Option<String>,
    /// The board that the hook is told [default: the first that the stage supports]
    #[arg(long)]
    board: Option<String>,
    /// The architecture that the hook is told [default: the board's best]
    #[arg(long)]
    arch: Option<String>,
    /// Another stage of the build, for the hook to see
    #[arg(long, value_name = "STAGE[@VERSION]")]
    with: Vec<String>,
}

/// Show what a stage's hook makes of a config: the part, and the files that it adds
#[derive(Debug, Args)]
struct Render {
    #[command(flatten)]
    trial: Trial,
    /// Write the files to this folder, too
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

impl Trial {
    fn options(self) -> TrialOptions {
        let Self { stage, config, os, release, board, arch, with } = self;
        TrialOptions { stage, config, os, release, board, arch, with }
    }
}

pub(super) async fn run(session: &Session, json: bool, args: Stage) -> Result<(), Error> {
    match args.command {
        Command::New(args) => {
            let hook = match args.hook {
                Language::None => HookLanguage::None,
                Language::Rust => HookLanguage::Rust,
            };
            let made = new(session, &NewStageOptions { path: args.path, hook })?;
            print_as(json, &made, NewStage::to_text)
        }
        Command::Build(args) => {
            let options = BuildHookOptions { stage: args.stage, output: args.output };
            print_as(json, &build(session, &options).await?, BuiltHook::to_text)
        }
        Command::Check(args) => {
            print_as(json, &check(session, &args.options()).await?, CheckedStage::to_text)
        }
        Command::Render(args) => {
            let rendered = render(session, &args.trial.options(), args.output.as_deref()).await?;
            print_as(json, &rendered, RenderedStage::to_text)?;
            // What the hook finds wrong is shown, and told by the exit code.
            rendered.verdict()
        }
    }
}
