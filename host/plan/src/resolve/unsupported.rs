//! One cause of many failures: the stages of a build support another system, board or architecture than the project's.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::catalog::{Known, Refusal};
use super::error::{Problem, ProblemKind};
use crate::id::StageName;
use crate::suggest;

/// What the project builds for, and a stage does not support.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unsupported {
    /// `os`, `arch` or `board`.
    kind: &'static str,
    wanted: String,
}

/// Returns what keeps every version of a stage from being used, where that is one thing alone.
pub(super) fn only_cause(known: &Known) -> Option<Unsupported> {
    let mut causes = known.refused.iter().map(|(_, refusals)| match refusals.as_slice() {
        [Refusal::Unsupported { kind, wanted, .. }] => Some(Unsupported { kind, wanted: wanted.clone() }),
        _ => None,
    });
    let first = causes.next()??;
    (known.usable.is_empty() && causes.all(|cause| cause.as_ref() == Some(&first))).then_some(first)
}

/// Returns the problem of several stages that do not support the same thing.
pub(super) fn problem(
    cause: &Unsupported,
    stages: &BTreeMap<StageName, Rc<Known>>,
    requests: Vec<StageName>,
) -> Problem {
    let Unsupported { kind, wanted } = cause;
    let mut common: Option<BTreeSet<&str>> = None;
    let mut facts = Vec::new();
    for (name, known) in stages {
        let supported: BTreeSet<&str> =
            known.refused.iter().flat_map(|(_, refusals)| values(refusals)).collect();
        facts.push(format!("`{name}` supports {}", suggest::list(supported.iter().copied())));
        common = Some(match common {
            Some(common) => common.intersection(&supported).copied().collect(),
            None => supported,
        });
    }
    let common = common.unwrap_or_default();
    let help = match common.is_empty() {
        true => format!("Choose stages that support the same {kind}."),
        false => format!(
            "Set `{kind}` in pib.toml to {}, or replace these stages.",
            suggest::alternatives(common.iter().copied())
        ),
    };
    let names = suggest::alternatives(stages.keys().map(StageName::as_str));
    Problem {
        kind: ProblemKind::Unsupported(kind),
        headline: format!("{kind} `{wanted}`: no version of {names} supports it"),
        facts,
        help: Some(help),
        requests,
    }
}

fn values(refusals: &[Refusal]) -> impl Iterator<Item = &str> {
    refusals
        .iter()
        .flat_map(|refusal| match refusal {
            Refusal::Unsupported { supported, .. } => supported.as_slice(),
            _ => &[],
        })
        .map(String::as_str)
}
