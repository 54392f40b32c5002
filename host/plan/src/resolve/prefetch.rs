//! What must be fetched before a resolution can run.

use std::collections::BTreeSet;

use super::request::{ResolveRequest, Root};
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
///         prefetch.answer(&name, &source, &versions);
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
    /// What to ask for, and in which of the places where it may be.
    wanted: BTreeSet<(StageName, usize)>,
}

impl<'a> Prefetch<'a> {
    /// Begins with what the project and every build ask for.
    pub fn new(request: &'a ResolveRequest) -> Self {
        let roots = request.all_roots();
        let met: BTreeSet<_> = roots.iter().map(|root| root.name.clone()).collect();
        let wanted = met.iter().map(|name| (name.clone(), 0)).collect();
        Self { request, roots, met, wanted }
    }

    /// Returns what to fetch next; nothing when the walk is over or answers are still due.
    pub fn take(&mut self) -> Vec<(StageName, SourceId)> {
        let wanted = std::mem::take(&mut self.wanted);
        let place = |(name, at): (StageName, usize)| {
            let source = self.places_of(&name).into_iter().nth(at)?;
            Some((name, source))
        };
        wanted.into_iter().filter_map(place).collect()
    }

    /// Takes note of what the fetch of `name` at `source` brought.
    ///
    /// What is not there may be at the next place.
    pub fn answer(&mut self, name: &StageName, source: &SourceId, versions: &[Candidate]) {
        if versions.is_empty()
            && let Some(at) = self.places_of(name).iter().position(|place| place == source)
        {
            self.wanted.insert((name.clone(), at + 1));
        }
        for candidate in versions {
            if let Offer::Entry(entry) = &candidate.offer {
                for name in entry.deps.keys() {
                    if self.met.insert(name.clone()) {
                        self.wanted.insert((name.clone(), 0));
                    }
                }
            }
        }
    }

    fn places_of(&self, name: &StageName) -> Vec<SourceId> {
        let root = self.roots.binary_search_by(|root| root.name.cmp(name)).ok();
        self.request.places_of(name, root.and_then(|at| self.roots.get(at)))
    }
}
