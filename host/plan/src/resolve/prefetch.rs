//! What must be fetched before a resolution can run.

use std::collections::BTreeSet;

use super::{ResolveRequest, Root};
use crate::id::StageName;
use crate::index::{Candidate, Offer, SourceId};

/// Walks over everything that a resolution can ask of its index, one round of fetches at a time.
///
/// ```text
/// let mut prefetch = Prefetch::new(&request);
/// loop {
///     let wanted = prefetch.take();
///     if wanted.is_empty() { break }
///     for (name, source) in wanted {              // all at once
///         let versions = fetch(&name, &source);
///         prefetch.answer(&versions);
///         index.insert(name, source, versions);
///     }
/// }
/// ```
///
/// It follows the dependencies of every readable version, whether or not that will be chosen: a few index lines
/// too many cost less than a round trip for each step of the solver.
#[derive(Debug)]
pub struct Prefetch<'a> {
    request: &'a ResolveRequest,
    roots: Vec<Root>,
    met: BTreeSet<StageName>,
    wanted: BTreeSet<StageName>,
}

impl<'a> Prefetch<'a> {
    /// Begins with what the project and every build ask for.
    pub fn new(request: &'a ResolveRequest) -> Self {
        let roots = request.all_roots();
        let wanted: BTreeSet<_> = roots.iter().map(|root| root.name.clone()).collect();
        Self { request, roots, met: wanted.clone(), wanted }
    }

    /// Returns what to fetch next; nothing when the walk is over or answers are still due.
    pub fn take(&mut self) -> Vec<(StageName, SourceId)> {
        let wanted = std::mem::take(&mut self.wanted);
        let place = |name: StageName| {
            let root = self.roots.binary_search_by(|root| root.name.cmp(&name)).ok();
            let source = self.request.source_of(&name, root.and_then(|at| self.roots.get(at)));
            (name, source)
        };
        wanted.into_iter().map(place).collect()
    }

    /// Takes note of what one fetch brought.
    pub fn answer(&mut self, versions: &[Candidate]) {
        for candidate in versions {
            if let Offer::Entry(entry) = &candidate.offer {
                for name in entry.deps.keys() {
                    if self.met.insert(name.clone()) {
                        self.wanted.insert(name.clone());
                    }
                }
            }
        }
    }
}
