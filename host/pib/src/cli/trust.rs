//! `pib trust`

use clap::Args;

use super::options::LockArgs;
use super::output::{Question, confirmed, print, print_as};
use crate::ops::trust::{self, Asked, Forgotten};
use crate::ops::{Error, Session};

/// Allow the project what it asks for outside of its folder
///
/// A project may name files outside of its folder, and take secrets from programs that it starts and from variables of the
/// environment. What somebody else's project asks for is yours, and its stages see it. So pib asks once, and again
/// when something is added. A project that you started with `pib new` may have everything.
#[derive(Debug, Args)]
pub(super) struct Trust {
    /// Only show what the project asks for
    #[arg(long, conflicts_with_all = ["yes", "forget"])]
    show: bool,
    /// Ask nothing
    #[arg(short, long)]
    yes: bool,
    /// Take back all that the project is allowed
    #[arg(long)]
    forget: bool,
    #[command(flatten)]
    lock: LockArgs,
}

pub(super) async fn run(session: &Session, json: bool, args: Trust) -> Result<(), Error> {
    if args.forget {
        return print_as(json, &trust::forget(session)?, Forgotten::to_text);
    }
    let asked = trust::find(session, args.lock.mode()).await?;
    if args.show || asked.allowed {
        return print_as(json, &asked, Asked::to_text);
    }
    if !args.yes {
        let question = Question {
            about: &asked.to_text(),
            text: "Allow all of this?",
            unasked: "there is nobody to ask whether the project may have this",
            help: "Look with `pib trust --show`, and give --yes where it is to be so.",
        };
        if !confirmed(json, question).await? {
            return print("Nothing was allowed");
        }
    }
    print_as(json, &asked.allow(session)?, Asked::to_text)
}
