//! `pib stage`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::print_as;
use crate::ops::stage::build::{BuildHookOptions, BuiltHook, build};
use crate::ops::stage::new::{HookLanguage, NewStage, NewStageOptions, new};
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
    }
}
