//! `pib publish`

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;
use pib_event::ReporterExt as _;

use super::completer;
use super::output::{Question, confirmed, print, print_as};
use crate::ops::publish::{self, Allowed, Publication, PublishOptions, Published};
use crate::ops::test::TestReports;
use crate::ops::{Error, Session};

/// Pack stages and add them to a registry
///
/// A version is published once and never changes. Each stage is judged as the strangers would who use it: its files must be
/// committed, it needs a licence, a description and a README.md, and its version must say so where it may break projects. With --test,
/// an image with it is built and started in QEMU, and its tests run, before the registry changes.
#[derive(Debug, Args)]
pub(super) struct Publish {
    /// The stages' folders
    #[arg(required = true)]
    stages: Vec<PathBuf>,
    /// The registry: a folder, an address, or the name of one of the project's or yours
    #[arg(long, value_name = "DIR|URL|NAME", visible_alias = "index", add = completer::registry())]
    registry: String,
    /// The file of the registry's key, where it is signed
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The file of your own key, to sign with; made if need be
    #[arg(long, value_name = "FILE")]
    sign_with: Option<PathBuf>,
    /// Publish nothing; show what would be
    #[arg(long)]
    dry_run: bool,
    /// Publish nothing; fail where a folder is not published or differs from what is
    #[arg(long, conflicts_with_all = ["dry_run", "test"])]
    check: bool,
    /// Build and test the stages first, as a stranger would
    #[arg(long)]
    test: bool,
    /// Set a config key of the stage for its tests
    #[arg(long, value_name = "KEY=VALUE", requires = "test")]
    config: Vec<String>,
    /// Ask nothing
    #[arg(short, long)]
    yes: bool,
    /// Also publish files that are not committed
    #[arg(long)]
    allow_dirty: bool,
    /// Also publish what may break projects, under a version that does not say so
    #[arg(long)]
    allow_breaking: bool,
    /// Also publish a new stage whose name is one edit away from another's
    #[arg(long)]
    allow_similar: bool,
    /// Also publish a stage without licence, description or README.md
    #[arg(long)]
    allow_incomplete: bool,
}

pub(super) async fn run(session: &Session, json: bool, args: Publish) -> Result<(), Error> {
    let options = PublishOptions {
        folders: args.stages,
        registry: args.registry,
        key: args.key,
        publisher_key: args.sign_with,
        allowed: Allowed {
            dirty: args.allow_dirty,
            breaking: args.allow_breaking,
            similar: args.allow_similar,
            incomplete: args.allow_incomplete,
        },
    };
    if args.check {
        return print_as(json, &publish::check(session, &options)?, Published::to_text);
    }
    let mut publication = publish::prepare(session, &options).await?;
    if args.test {
        let reports = publication.test(session, &args.config).await?;
        if reports.failed() {
            print_as(json, &reports, TestReports::to_text)?;
            return reports.into_result();
        }
    }
    if args.dry_run {
        return print_as(json, &publication, Publication::to_text);
    }
    let is_asked = !args.yes && !json && std::io::stdin().is_terminal() && publication.has_changes();
    if is_asked {
        let question = Question {
            about: &publication.to_text(),
            text: "Publish it? A published version never changes.",
            unasked: "there is nobody to ask whether it is to be published",
            help: "Look with --dry-run, and give --yes.",
        };
        if !confirmed(json, question).await? {
            return print("Nothing was published");
        }
    } else {
        publication.publisher_changes().iter().for_each(|told| session.reporter.warn(told));
    }
    print_as(json, &publication.write(session).await?, Published::to_text)
}
