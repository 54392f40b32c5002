//! Tells why one stage comes before another.

use std::collections::VecDeque;
use std::fmt;

use petgraph::visit::EdgeRef;

use super::cycle::walk_back;
use super::edge::Edge;
use super::error::phase_name;
use super::graph::BuildOrder;
use crate::id::StageName;
use crate::metadata::Phase;

/// Why one stage comes before another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The shortest chain of dependencies, `after` and `before` leads from one to the other.
    Chain(Vec<Edge>),
    /// Their phases differ.
    Phases {
        /// That of the earlier.
        first: Phase,
        /// That of the later.
        second: Phase,
    },
    /// Nothing orders the two, but the later had to wait for another stage, which itself came after the earlier.
    Waits(Edge),
    /// Nothing orders the two; `pib.toml` lists the earlier (or what needs it) first.
    Listed,
    /// Nothing orders the two, and `pib.toml` does not tell them apart: the name decides.
    Name,
}

pub(super) fn why(order: &BuildOrder, first: &StageName, second: &StageName) -> Option<Why> {
    let place = |wanted: &StageName| order.names.iter().position(|name| name == wanted);
    let (first_place, second_place) = (place(first)?, place(second)?);
    if first_place >= second_place {
        return None;
    }
    if let Some(chain) = chain(order, first, second) {
        return Some(Why::Chain(chain));
    }
    let (first_phase, second_phase) = (order.graph.phase(first)?, order.graph.phase(second)?);
    if first_phase != second_phase {
        return Some(Why::Phases { first: first_phase, second: second_phase });
    }
    let node = |name: &StageName| order.graph.by_name.get(name).copied();
    let (first_node, second_node) = (node(first)?, node(second)?);
    let (a, b) = (&order.graph.ranks[first_node.index()], &order.graph.ranks[second_node.index()]);
    if a > b {
        // The one that ranks higher was not ready, so the last of those that it waited for tells why.
        let waited = order.graph.before(second_node).max_by_key(|edge| place(&edge.first))?;
        return Some(Why::Waits(waited));
    }
    let same = (a.position, a.is_listed) == (b.position, b.is_listed);
    Some(if same { Why::Name } else { Why::Listed })
}

/// Returns the shortest chain of edges from `first` to `second`.
fn chain(order: &BuildOrder, first: &StageName, second: &StageName) -> Option<Vec<Edge>> {
    let graph = &order.graph;
    let (start, end) = (*graph.by_name.get(first)?, *graph.by_name.get(second)?);
    let mut reached_by = vec![None; graph.edges.node_count()];
    let mut pending = VecDeque::from([start]);
    while let Some(node) = pending.pop_front() {
        if node == end {
            return Some(walk_back(graph, end, &reached_by));
        }
        let mut leaving: Vec<_> = graph.edges.edges(node).collect();
        leaving.sort_by_key(|edge| (edge.target(), *edge.weight()));
        for edge in leaving {
            let seen = &mut reached_by[edge.target().index()];
            if seen.is_none() {
                *seen = Some(edge.id());
                pending.push_back(edge.target());
            }
        }
    }
    None
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chain(edges) => {
                let edges: Vec<String> = edges.iter().map(ToString::to_string).collect();
                f.write_str(&edges.join("; "))
            }
            Self::Phases { first, second } => {
                write!(f, "phase {} comes before phase {}", phase_name(*first), phase_name(*second))
            }
            Self::Waits(edge) => write!(f, "nothing orders the two, but {edge}, which comes after the first"),
            Self::Listed => {
                f.write_str("nothing orders the two, and pib.toml lists the first, or what needs it, earlier")
            }
            Self::Name => f.write_str("nothing orders the two, so their names do"),
        }
    }
}
