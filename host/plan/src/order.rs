//! Sorts the stages of a build, and can tell why one comes before another.
//!
//! The rules, strongest first:
//!
//! 1. All of `init` before all of `normal` before all of `cleanup`.
//! 2. A stage comes after everything that it depends on.
//! 3. `after` and `before`, of stages and of the project's `[order]`, hold where the other stage is in the build.
//! 4. Among stages that could come next: the order in `pib.toml`, first that of `order.list`. A stage that is not listed there ranks as the first
//!    listed stage that needs it (directly, or through other unlisted stages), just ahead of that one, so that it
//!    comes no earlier than it must for its most urgent dependent. One that nobody listed needs comes last.
//! 5. By name.
//!
//! So the result depends on what is known of the stages, never on the order in which they are given.

mod cycle;
mod edge;
mod error;
mod graph;
#[cfg(test)]
mod tests;
mod why;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use petgraph::Direction;
use petgraph::graph::NodeIndex;
use petgraph::visit::EdgeRef;

pub use edge::{Edge, Reason};
pub use error::{Cycle, OrderError};
pub use graph::{BuildOrder, OrderInput};
pub use why::Why;

use crate::id::StageName;
use graph::Graph;

/// Sorts the stages of a build.
///
/// # Errors
/// When they go round in a circle, an edge points against the phases, a dependency is not among the stages, or one
/// stage is given twice.
pub fn order(stages: &[OrderInput]) -> Result<BuildOrder, OrderError> {
    let graph = Graph::new(stages)?;
    graph.check_phases()?;
    let mut waiting_for: Vec<usize> =
        graph.edges.node_indices().map(|node| graph.before(node).count()).collect();
    let rank = |node: NodeIndex| Reverse((graph.ranks[node.index()].clone(), node));
    let free = graph.edges.node_indices().filter(|node| waiting_for[node.index()] == 0);
    let mut ready: BinaryHeap<_> = free.map(rank).collect();
    let mut names = Vec::with_capacity(stages.len());
    while let Some(Reverse((_, node))) = ready.pop() {
        names.push(graph.edges[node].clone());
        for edge in graph.edges.edges_directed(node, Direction::Outgoing) {
            let later = edge.target();
            waiting_for[later.index()] -= 1;
            if waiting_for[later.index()] == 0 {
                ready.push(rank(later));
            }
        }
    }
    if names.len() < stages.len() {
        return Err(OrderError::Cycle { cycles: cycle::shortest_cycles(&graph) });
    }
    Ok(BuildOrder { names, graph })
}

impl BuildOrder {
    /// Returns the names, first to last.
    pub fn names(&self) -> &[StageName] {
        &self.names
    }

    /// Returns the names, first to last, and drops the reasons.
    pub fn into_names(self) -> Vec<StageName> {
        self.names
    }

    /// Returns each pair of neighbours in `list` that the build has the other way round, and why it must.
    pub fn overruled<'a>(&self, list: &'a [StageName]) -> Vec<(&'a StageName, &'a StageName, Why)> {
        let present: Vec<&StageName> = list.iter().filter(|name| self.names.contains(name)).collect();
        let reversed = |pair: &[&'a StageName]| match pair {
            [first, second] => self.why(second, first).map(|why| (*first, *second, why)),
            _ => None,
        };
        present.windows(2).filter_map(reversed).collect()
    }

    /// Returns why `first` comes before `second`; `None` if it does not, or one of them is not in the build.
    pub fn why(&self, first: &StageName, second: &StageName) -> Option<Why> {
        why::why(self, first, second)
    }
}
