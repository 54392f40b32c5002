//! Why a resolution failed, in a person's words.

use std::fmt;

use miette::Diagnostic;

use super::excess::Excess;
use crate::id::StageName;
use crate::index::IndexError;

/// Says why no versions were chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// There is no choice of versions that fits; every problem that was found is told.
    #[error("{}", all(problems))]
    Unsatisfiable {
        /// What is wrong; never empty.
        problems: Vec<Problem>,
    },
    /// The index has no answer.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// An update names a stage that the build does not have.
    #[error("stage `{name}` is not in the build, so there is nothing to update")]
    NotInBuild {
        /// The stage.
        name: StageName,
        /// What to do next.
        help: String,
    },
    /// The indexes lead on further than any build needs.
    #[error(transparent)]
    Excess(#[from] Box<Excess>),
    /// The search for versions was given up.
    #[error(
        "choosing versions was given up: the requirements of the stages contradict each other in too many ways"
    )]
    TooHard,
    /// The caller asked to stop.
    #[error("choosing versions was cancelled")]
    Cancelled,
}

/// One thing that keeps the stages from being put together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Problem {
    /// What kind of problem it is.
    pub kind: ProblemKind,
    /// What is wrong, in one line.
    pub headline: String,
    /// The facts that it follows from, each in one line: who asks for what, and what is wrong with each version.
    pub facts: Vec<String>,
    /// What to do next.
    pub help: Option<String>,
    /// The project's own requests that take part in it, so that their lines in `pib.toml` can be shown.
    pub requests: Vec<StageName>,
}

/// The kinds of problems that keep stages from being put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// No source has the stage.
    UnknownStage,
    /// The source has the stage, and no version that can be used.
    NoUsableVersion,
    /// Several stages support only other systems, boards or architectures; the text names which of these: `arch`.
    Unsupported(&'static str),
    /// Two stages exclude each other.
    Conflict,
    /// Different versions of one stage are asked for.
    Disagreement,
}

impl ProblemKind {
    /// Returns the code of the kind, by which the book lists it.
    pub fn code(self) -> &'static str {
        match self {
            Self::UnknownStage => "pib::resolve::unknown_stage",
            Self::NoUsableVersion => "pib::resolve::no_usable_version",
            Self::Unsupported(_) => "pib::resolve::unsupported",
            Self::Conflict => "pib::resolve::conflict",
            Self::Disagreement => "pib::resolve::disagreement",
        }
    }
}

impl Diagnostic for Problem {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.kind.code()))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as _)
    }
}

impl Problem {
    fn text(&self) -> String {
        let mut text = self.headline.clone();
        for fact in &self.facts {
            text.push_str("\n  - ");
            text.push_str(fact);
        }
        text
    }
}

impl ResolveError {
    /// Returns the problems, where the requirements are what is wrong.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Unsatisfiable { problems } => problems,
            Self::Index(_) | Self::NotInBuild { .. } | Self::Cancelled => &[],
            Self::Excess(_) | Self::TooHard => &[],
        }
    }
}

impl Diagnostic for ResolveError {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let code = match self {
            Self::Unsatisfiable { problems } => match problems.as_slice() {
                [only] => only.kind.code(),
                _ => "pib::resolve::several",
            },
            Self::Index(_) => "pib::resolve::index",
            Self::NotInBuild { .. } => "pib::resolve::not_in_build",
            Self::Excess(_) => "pib::resolve::excess",
            Self::TooHard => "pib::resolve::too_hard",
            Self::Cancelled => "pib::resolve::cancelled",
        };
        Some(Box::new(code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        match self {
            // Where there are several, each one's help stands below it.
            Self::Unsatisfiable { problems } => match problems.as_slice() {
                [only] => only.help(),
                _ => None,
            },
            Self::NotInBuild { help, .. } => Some(Box::new(help)),
            Self::Excess(excess) => {
                let first = excess.chain.first().map(|name| format!("`{name}`")).unwrap_or_default();
                Some(Box::new(format!(
                    "No build needs that much, so the registry is broken or means harm. Take {first} out of pib.toml, or \
                     tell the registry's owner."
                )))
            }
            Self::TooHard => Some(Box::new(
                "Ask for fewer versions: write exact ones (\"=1.2.3\") into [stages] of pib.toml for the stages that \
                 matter, or take out those that were added last.",
            )),
            Self::Index(_) | Self::Cancelled => None,
        }
    }
}

/// Returns the one problem's text, or all of them, each with its help, below a headline that counts them.
fn all(problems: &[Problem]) -> String {
    if let [only] = problems {
        return only.text();
    }
    let mut text = format!("cannot resolve the stages: {} problems", problems.len());
    for problem in problems {
        text.push_str("\n\n");
        text.push_str(&problem.text());
        if let Some(help) = &problem.help {
            text.push_str("\n  help: ");
            text.push_str(help);
        }
    }
    text
}
