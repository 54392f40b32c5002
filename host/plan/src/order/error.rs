//! Why stages have no order.

use std::fmt::Write as _;

use super::edge::{Edge, Reason};
use crate::id::StageName;
use crate::metadata::Phase;

/// Says why stages have no order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, miette::Diagnostic)]
pub enum OrderError {
    /// Stages must each come before the other.
    #[error("{}", cycles_text(cycles))]
    #[diagnostic(code(pib::order::cycle))]
    #[diagnostic(help("{}", cycles_help(cycles)))]
    Cycle {
        /// One for each group of stages that go round in circles; never empty.
        cycles: Vec<Cycle>,
    },
    /// A stage must come after one of a later phase.
    #[error("{}", phases_text(edges))]
    #[diagnostic(code(pib::order::against_phases))]
    #[diagnostic(help("{}", phases_help(edges)))]
    AgainstPhases {
        /// What is asked for, with the phases of the two stages; never empty.
        edges: Vec<(Edge, Phase, Phase)>,
    },
    /// A dependency is not in the build.
    #[error("stage `{by}` depends on `{name}`, which is not in the build")]
    #[diagnostic(code(pib::order::missing))]
    #[diagnostic(help("Run `pib lock` to choose the stages again."))]
    Missing {
        /// The stage that is not there.
        name: StageName,
        /// Who needs it.
        by: StageName,
    },
    /// One stage is given twice.
    #[error("stage `{name}` is in the build twice")]
    #[diagnostic(code(pib::order::twice))]
    #[diagnostic(help("Run `pib lock` to choose the stages again."))]
    Twice {
        /// The stage.
        name: StageName,
    },
}

/// A circle of edges: each one's later stage is the next one's earlier, and the last leads to the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cycle {
    /// The edges; never empty.
    pub edges: Vec<Edge>,
}

fn cycles_help(cycles: &[Cycle]) -> &'static str {
    match cycles.iter().flat_map(|cycle| &cycle.edges).any(|edge| edge.reason == Reason::Project) {
        true => {
            "Take the line out of [order] in pib.toml, or another line of the circle out of its stage.toml."
        }
        false => "Take one line of the circle out of its stage.toml, or one of the stages out of the build.",
    }
}

fn phases_help(edges: &[(Edge, Phase, Phase)]) -> &'static str {
    match edges.iter().all(|(edge, ..)| edge.reason == Reason::Project) {
        true => "Take the line out of [order] in pib.toml: the phases of stages always come first.",
        false => "Change the phase of one of the two in its stage.toml, or take the line out.",
    }
}

impl OrderError {
    /// Returns the edges that contradict each other or the phases.
    pub fn edges(&self) -> Vec<&Edge> {
        match self {
            Self::Cycle { cycles } => cycles.iter().flat_map(|cycle| &cycle.edges).collect(),
            Self::AgainstPhases { edges } => edges.iter().map(|(edge, ..)| edge).collect(),
            Self::Missing { .. } | Self::Twice { .. } => Vec::new(),
        }
    }
}

fn cycles_text(cycles: &[Cycle]) -> String {
    let mut text = String::new();
    for cycle in cycles {
        if !text.is_empty() {
            text.push('\n');
        }
        let names: Vec<String> = cycle.edges.iter().map(|edge| format!("`{}`", edge.first)).collect();
        let _ = match names.as_slice() {
            [only] => write!(text, "stage {only} would have to come before itself"),
            several => write!(
                text,
                "stages {} would each have to come before the next, in a circle",
                several.join(", ")
            ),
        };
        for edge in &cycle.edges {
            let _ = write!(text, "\n  - {edge}");
        }
    }
    text
}

fn phases_text(edges: &[(Edge, Phase, Phase)]) -> String {
    let mut text = "the order of stages contradicts their phases".to_owned();
    for (edge, first, second) in edges {
        let (first, second) = (phase_name(*first), phase_name(*second));
        let _ = write!(
            text,
            "\n  - {edge}, but `{}` is of phase {first} and `{}` of phase {second}, which comes earlier",
            edge.first, edge.second
        );
    }
    text
}

/// Returns the phase as `stage.toml` spells it.
pub(super) fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Init => "init",
        Phase::Normal => "normal",
        Phase::Cleanup => "cleanup",
    }
}
