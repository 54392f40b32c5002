//! The stages of a build, and what each asks of the others' places.

use std::collections::BTreeMap;

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use super::edge::{Edge, Reason};
use super::error::OrderError;
use crate::id::StageName;
use crate::metadata::Phase;

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
    /// Stages that the project has come before it, if they are in the build.
    pub project_after: Vec<StageName>,
    /// Its position in `pib.toml`; `None` if it is there only because another stage needs it.
    pub listed: Option<usize>,
}

/// The stages of a build in their order.
#[derive(Debug, Clone)]
pub struct BuildOrder {
    pub(super) names: Vec<StageName>,
    pub(super) graph: Graph,
}

/// The stages by name, the edges between them, and what ranks them.
#[derive(Debug, Clone)]
pub(super) struct Graph {
    pub(super) edges: DiGraph<StageName, Reason>,
    pub(super) by_name: BTreeMap<StageName, NodeIndex>,
    pub(super) ranks: Vec<Rank>,
}

/// What chooses among the stages that could come next; the least comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) phase: Phase,
    /// The position in `pib.toml` of the stage itself or of the first that needs it.
    pub(super) position: usize,
    /// An unlisted stage goes ahead of the listed one that needs it.
    pub(super) is_listed: bool,
    name: StageName,
}

impl Graph {
    pub(super) fn new(stages: &[OrderInput]) -> Result<Self, OrderError> {
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
            wanted.extend(
                present(&stage.project_after).into_iter().map(|first| (first, node, Reason::Project)),
            );
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
    pub(super) fn before(&self, node: NodeIndex) -> impl Iterator<Item = Edge> {
        self.edges.edges_directed(node, Direction::Incoming).map(|edge| self.edge(edge))
    }

    fn edge(&self, edge: petgraph::graph::EdgeReference<'_, Reason>) -> Edge {
        Edge {
            first: self.edges[edge.source()].clone(),
            second: self.edges[edge.target()].clone(),
            reason: *edge.weight(),
        }
    }

    pub(super) fn phase(&self, name: &StageName) -> Option<Phase> {
        self.by_name.get(name).map(|node| self.ranks[node.index()].phase)
    }

    pub(super) fn check_phases(&self) -> Result<(), OrderError> {
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
