//! Sorts the stages of a build, and can tell why one comes before another.
//!
//! The rules, strongest first:
//!
//! 1. All of `init` before all of `normal` before all of `cleanup`.
//! 2. A stage comes after everything that it depends on.
//! 3. `after` and `before` hold where the other stage is in the build.
//! 4. Among stages that could come next: the order in `pib.toml`. A stage that is not listed there ranks as the first
//!    listed stage that needs it (directly, or through other unlisted stages), just ahead of that one, so that it
//!    comes no earlier than it must for its most urgent dependent. One that nobody listed needs comes last.
//! 5. By name.
//!
//! So the result depends on what is known of the stages, never on the order in which they are given.

mod cycle;
mod error;
#[cfg(test)]
mod tests;
mod why;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

pub use error::{Cycle, OrderError};
pub use why::Why;

use crate::id::StageName;
use crate::stage::Phase;

/// What decides a stage's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderInput {
    /// The stage.
    pub name: StageName,
    /// Its phase.
    pub phase: Phase,
    /// The stages that it needs: they come before it.
    pub dependencies: Vec<StageName>,
    /// Stages that come before it if they are in the build.
    pub after: Vec<StageName>,
    /// Stages that come after it if they are in the build.
    pub before: Vec<StageName>,
    /// Its position in `pib.toml`; `None` if it is there only because another stage needs it.
    pub listed: Option<usize>,
}

/// "This one comes before that one, because".
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// The earlier stage.
    pub first: StageName,
    /// The later stage.
    pub second: StageName,
    /// Who asks for it.
    pub reason: Reason,
}

/// Who asks for an order, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The later stage depends on the earlier.
    Dependency,
    /// The later stage names the earlier in its `order.after`.
    After,
    /// The earlier stage names the later in its `order.before`.
    Before,
}

/// The stages of a build in their order.
#[derive(Debug, Clone)]
pub struct BuildOrder {
    names: Vec<StageName>,
    graph: Graph,
}

/// The stages by name, the edges between them, and what ranks them.
#[derive(Debug, Clone)]
struct Graph {
    edges: DiGraph<StageName, Reason>,
    by_name: BTreeMap<StageName, NodeIndex>,
    ranks: Vec<Rank>,
}

/// What chooses among the stages that could come next; the least comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    phase: Phase,
    /// The position in `pib.toml` of the stage itself or of the first that needs it.
    position: usize,
    /// An unlisted stage goes ahead of the listed one that needs it.
    is_listed: bool,
    name: StageName,
}

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

    /// Returns why `first` comes before `second`; `None` if it does not, or one of them is not in the build.
    pub fn why(&self, first: &StageName, second: &StageName) -> Option<Why> {
        why::why(self, first, second)
    }
}

impl Graph {
    fn new(stages: &[OrderInput]) -> Result<Self, OrderError> {
        let mut sorted: Vec<&OrderInput> = stages.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        let mut edges = DiGraph::new();
        let mut by_name = BTreeMap::new();
        for stage in &sorted {
            if by_name.insert(stage.name.clone(), edges.add_node(stage.name.clone())).is_some() {
                return Err(OrderError::Twice { name: stage.name.clone() });
            }
        }
        let mut wanted = Vec::new();
        for (stage, node) in sorted.iter().zip(edges.node_indices()) {
            for needed in &stage.dependencies {
                let needed = by_name
                    .get(needed)
                    .ok_or_else(|| OrderError::Missing { name: needed.clone(), by: stage.name.clone() })?;
                wanted.push((*needed, node, Reason::Dependency));
            }
            let present = |names: &[StageName]| -> Vec<NodeIndex> {
                names.iter().filter_map(|name| by_name.get(name).copied()).collect()
            };
            wanted.extend(present(&stage.after).into_iter().map(|first| (first, node, Reason::After)));
            wanted.extend(present(&stage.before).into_iter().map(|second| (node, second, Reason::Before)));
        }
        wanted.sort();
        wanted.dedup();
        for (first, second, reason) in wanted {
            edges.add_edge(first, second, reason);
        }
        let ranks = ranks(&sorted);
        Ok(Self { edges, by_name, ranks })
    }

    /// Returns the edges that end at `node`.
    fn before(&self, node: NodeIndex) -> impl Iterator<Item = Edge> {
        self.edges.edges_directed(node, Direction::Incoming).map(|edge| self.edge(edge))
    }

    fn edge(&self, edge: petgraph::graph::EdgeReference<'_, Reason>) -> Edge {
        Edge {
            first: self.edges[edge.source()].clone(),
            second: self.edges[edge.target()].clone(),
            reason: *edge.weight(),
        }
    }

    fn phase(&self, name: &StageName) -> Option<Phase> {
        self.by_name.get(name).map(|node| self.ranks[node.index()].phase)
    }

    fn check_phases(&self) -> Result<(), OrderError> {
        let phase = |node: NodeIndex| self.ranks[node.index()].phase;
        let against =
            |edge: &petgraph::graph::EdgeReference<'_, Reason>| phase(edge.source()) > phase(edge.target());
        let edges = self.edges.edge_references().filter(against);
        let edges: Vec<_> =
            edges.map(|edge| (self.edge(edge), phase(edge.source()), phase(edge.target()))).collect();
        if edges.is_empty() { Ok(()) } else { Err(OrderError::AgainstPhases { edges }) }
    }
}

/// Returns the rank of each stage; `sorted` is by name.
fn ranks(sorted: &[&OrderInput]) -> Vec<Rank> {
    let by_name: BTreeMap<&StageName, usize> =
        sorted.iter().enumerate().map(|(at, stage)| (&stage.name, at)).collect();
    let mut positions: Vec<Option<usize>> = sorted.iter().map(|stage| stage.listed).collect();
    let mut listed: Vec<usize> = (0..sorted.len()).filter(|at| sorted[*at].listed.is_some()).collect();
    listed.sort_by_key(|at| (sorted[*at].listed, *at));
    // The first listed stage to reach an unlisted one is the most urgent of those that need it.
    for most_urgent in listed {
        let mut pending = vec![most_urgent];
        while let Some(at) = pending.pop() {
            for needed in sorted[at].dependencies.iter().filter_map(|name| by_name.get(name)) {
                if positions[*needed].is_none() {
                    positions[*needed] = sorted[most_urgent].listed;
                    pending.push(*needed);
                }
            }
        }
    }
    let rank = |(stage, position): (&&OrderInput, Option<usize>)| Rank {
        phase: stage.phase,
        position: position.unwrap_or(usize::MAX),
        is_listed: stage.listed.is_some(),
        name: stage.name.clone(),
    };
    sorted.iter().zip(positions).map(rank).collect()
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, second, reason } = self;
        match reason {
            Reason::Dependency => write!(f, "`{second}` depends on `{first}`"),
            Reason::After => write!(f, "`{second}` says that it comes after `{first}`"),
            Reason::Before => write!(f, "`{first}` says that it comes before `{second}`"),
        }
    }
}
