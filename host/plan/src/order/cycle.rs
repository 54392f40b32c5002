//! Finds what to show of stages that go round in circles.

use std::collections::{BTreeSet, VecDeque};

use petgraph::graph::{EdgeIndex, NodeIndex};
use petgraph::visit::EdgeRef;

use super::edge::Edge;
use super::error::Cycle;
use super::graph::Graph;

/// Returns one shortest cycle of each knot of stages, in the order of their names.
///
/// A knot may hold many cycles; one is what a person can read, and breaking it is the first step in any case.
pub(super) fn shortest_cycles(graph: &Graph) -> Vec<Cycle> {
    let knots = petgraph::algo::tarjan_scc(&graph.edges);
    let mut cycles: Vec<Cycle> = knots.iter().filter_map(|knot| shortest_cycle(graph, knot)).collect();
    cycles.sort_by(|a, b| a.edges.cmp(&b.edges));
    cycles
}

fn shortest_cycle(graph: &Graph, knot: &[NodeIndex]) -> Option<Cycle> {
    // Nodes are numbered by name, so the least is the same whatever the order of the input.
    let members: BTreeSet<NodeIndex> = knot.iter().copied().collect();
    let around = members.iter().filter_map(|start| cycle_through(graph, *start, &members));
    around.min_by_key(Vec::len).map(|edges| Cycle { edges })
}

/// Returns the shortest way from `start` back to itself inside `members`.
fn cycle_through(graph: &Graph, start: NodeIndex, members: &BTreeSet<NodeIndex>) -> Option<Vec<Edge>> {
    let mut reached_by: Vec<Option<EdgeIndex>> = vec![None; graph.edges.node_count()];
    let mut pending = VecDeque::from([start]);
    while let Some(node) = pending.pop_front() {
        let mut leaving: Vec<_> =
            graph.edges.edges(node).filter(|edge| members.contains(&edge.target())).collect();
        leaving.sort_by_key(|edge| (edge.target(), *edge.weight()));
        for edge in leaving {
            let target = edge.target();
            if reached_by[target.index()].is_some() {
                continue;
            }
            reached_by[target.index()] = Some(edge.id());
            if target == start {
                return Some(walk_back(graph, start, &reached_by));
            }
            pending.push_back(target);
        }
    }
    None
}

/// Returns the edges that lead to `end`, following who reached whom until `end` or an origin comes up.
pub(super) fn walk_back(graph: &Graph, end: NodeIndex, reached_by: &[Option<EdgeIndex>]) -> Vec<Edge> {
    let mut edges = Vec::new();
    let mut node = end;
    while let Some(edge) = reached_by[node.index()] {
        let Some((first, second)) = graph.edges.edge_endpoints(edge) else { break };
        edges.push(Edge {
            first: graph.edges[first].clone(),
            second: graph.edges[second].clone(),
            reason: graph.edges[edge],
        });
        node = first;
        if node == end {
            break;
        }
    }
    edges.reverse();
    edges
}
