//! `pib clean`

use clap::Args;

use super::output::{Question, confirmed, print, print_as};
use crate::ops::clean::{self, CleanReport, Scope};
use crate::ops::{Error, Session};

/// Remove what builds of this project left
#[derive(Debug, Args)]
pub(super) struct Clean {
    /// Remove what your builds of all projects left in the engine, bases and native tools too; asks first
    #[arg(long)]
    all: bool,
    /// With --all: also what others' builds left in an engine that you share
    #[arg(long, requires = "all")]
    everyone: bool,
    /// Ask nothing
    #[arg(short, long)]
    yes: bool,
    /// Only show what would be removed
    #[arg(long)]
    dry_run: bool,
}

impl Clean {
    fn scope(&self) -> Scope {
        match (self.all, self.everyone) {
            (false, _) => Scope::Project,
            (true, false) => Scope::User,
            (true, true) => Scope::Everyone,
        }
    }
}

pub(super) async fn run(session: &Session, json: bool, args: Clean) -> Result<(), Error> {
    let scope = args.scope();
    let found = clean::find(session, scope).await?;
    if args.dry_run {
        return print_as(json, &found.listed(), |_| found.to_text());
    }
    if scope != Scope::Project && !args.yes {
        let question = Question {
            about: &found.to_text(),
            text: "Remove all of this?",
            unasked: "there is nobody to ask whether all of this is to be removed",
            help: "Look with `pib clean --all --dry-run`, and give --yes where it is to be so.",
        };
        if !confirmed(json, question).await? {
            return print("Nothing was removed");
        }
    }
    print_as(json, &found.remove(session).await?, CleanReport::to_text)
}
