//! `pib man`

use std::path::PathBuf;

use clap::{Args, Command};
use serde::Serialize;

use super::output::print_as;
use crate::ops::{self, Error};

/// Write the manual pages, one for each command, into a folder
#[derive(Debug, Args)]
#[command(after_help = INSTALL)]
pub(super) struct Man {
    /// The folder; it is made where it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

const INSTALL: &str = "\
To have `man pib` and `man pib-build` show them:
  pib man ~/.local/share/man/man1";

/// The pages that were written.
#[derive(Debug, Serialize)]
struct Written {
    folder: String,
    pages: Vec<String>,
}

pub(super) fn run(json: bool, args: &Man, command: Command) -> Result<(), Error> {
    let pages = pages(command).map_err(|error| Error::io("make the manual pages", "", error))?;
    ops::man::write(&args.folder, &pages)?;
    let pages = pages.into_iter().map(|(name, _)| name).collect();
    let written = Written { folder: args.folder.display().to_string(), pages };
    print_as(json, &written, |written| {
        format!("Wrote {} manual pages into {}", written.pages.len(), written.folder)
    })
}

/// Returns the pages, each with the name of its file: `pib.1`, `pib-build.1`, `pib-stage-new.1`.
fn pages(mut command: Command) -> std::io::Result<Vec<(String, String)>> {
    command.build();
    let mut found = Vec::new();
    // The template is for terminals; a manual page has sections of its own.
    page(&command.clone().help_template(clap::builder::StyledStr::new()), "pib", &mut found)?;
    Ok(found)
}

fn page(command: &Command, name: &str, found: &mut Vec<(String, String)>) -> std::io::Result<()> {
    let own = command.clone().display_name(name.to_owned());
    let mut text = Vec::new();
    clap_mangen::Man::new(own)
        .title(name.to_uppercase())
        .manual("pib")
        .source(concat!("pib ", env!("CARGO_PKG_VERSION")))
        .render(&mut text)?;
    found.push((format!("{name}.1"), String::from_utf8_lossy(&text).into_owned()));
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set()) {
        page(sub, &format!("{name}-{}", sub.get_name()), found)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::{Cli, help};

    fn names(command: &Command, above: &str, all: &mut Vec<String>) {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set()) {
            let name = format!("{above}-{}", sub.get_name());
            all.push(format!("{name}.1"));
            names(sub, &name, all);
        }
    }

    #[test]
    fn every_command_has_a_page_that_says_what_it_does() {
        let command = help::with_first_page(Cli::command());
        let mut expected = vec!["pib.1".to_owned()];
        names(&command, "pib", &mut expected);
        let pages = pages(command).unwrap();
        let found: Vec<&String> = pages.iter().map(|(name, _)| name).collect();
        assert_eq!(found, expected.iter().collect::<Vec<_>>());
        assert!(expected.len() > 40 && expected.contains(&"pib-stage-new.1".to_owned()), "{expected:?}");
        for (name, page) in &pages {
            for section in [".TH", ".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"] {
                assert!(page.contains(section), "{name} has no {section}");
            }
        }
        let (_, build) = pages.iter().find(|(name, _)| name == "pib-build.1").unwrap();
        assert!(build.contains("no\\-cache") || build.contains("no-cache"), "{build}");
    }
}
