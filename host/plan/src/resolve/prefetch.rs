//! What must be fetched before a resolution can run.

use std::collections::{BTreeMap, BTreeSet};

use super::excess::{Excess, MAX_BYTES, MAX_DEPTH, MAX_STAGES, Measure};
use super::request::{ResolveRequest, Root};
use crate::id::StageName;
use crate::index::{IndexFile, Offer, SourceId};

/// Walks over everything that a resolution can ask of its index, one round of fetches at a time.
///
/// ```text
/// let mut prefetch = Prefetch::new(&request);
/// loop {
///     let wanted = prefetch.take();
///     if wanted.is_empty() { break }
///     for (name, source) in wanted {              // all at once
///         let file = fetch(&name, &source);
///         prefetch.answer(&name, &source, &file)?;
///         index.insert(name, source, file.versions);
///     }
/// }
/// ```
///
/// It follows the dependencies of every readable version, whether or not that will be chosen: a few index lines
/// too many cost less than a round trip for each step of the solver.
///
/// A registry decides what follows, so the walk has bounds; a registry that leads on for ever ends it with an error.
#[derive(Debug)]
pub struct Prefetch<'a> {
    request: &'a ResolveRequest,
    roots: Vec<Root>,
    /// Every stage that was met, with the one that named it first and how many there are before it.
    met: BTreeMap<StageName, (Option<StageName>, usize)>,
    bytes: u64,
    /// What to ask for, and in which of the places where it may be.
    wanted: BTreeSet<(StageName, usize)>,
}

impl<'a> Prefetch<'a> {
    /// Begins with what the project and every build ask for.
    pub fn new(request: &'a ResolveRequest) -> Self {
        let roots = request.all_roots();
        let met: BTreeMap<_, _> = roots.iter().map(|root| (root.name.clone(), (None, 0))).collect();
        let wanted = met.keys().map(|name| (name.clone(), 0)).collect();
        Self { request, roots, met, bytes: 0, wanted }
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
    ///
    /// # Errors
    /// When this leads to more stages, a longer chain or more bytes than a build can rightly need.
    pub fn answer(
        &mut self,
        name: &StageName,
        source: &SourceId,
        file: &IndexFile,
    ) -> Result<(), Box<Excess>> {
        if file.versions.is_empty()
            && let Some(at) = self.places_of(name).iter().position(|place| place == source)
        {
            self.wanted.insert((name.clone(), at + 1));
        }
        self.bytes += file.bytes;
        if self.bytes > MAX_BYTES {
            return Err(self.excess(Measure::Bytes, name, source));
        }
        let depth = self.met.get(name).map_or(0, |(_, depth)| depth + 1);
        for candidate in &file.versions {
            let Offer::Entry(entry) = &candidate.offer else { continue };
            for needed in
                entry.deps.keys().filter(|needed| !self.met.contains_key(needed)).collect::<Vec<_>>()
            {
                self.met.insert(needed.clone(), (Some(name.clone()), depth));
                self.wanted.insert((needed.clone(), 0));
                if depth > MAX_DEPTH {
                    return Err(self.excess(Measure::Depth, needed, source));
                }
                if self.met.len() > MAX_STAGES {
                    return Err(self.excess(Measure::Stages, needed, source));
                }
            }
        }
        Ok(())
    }

    /// Returns the error for a walk that came to `name` by what `source` says.
    fn excess(&self, measure: Measure, name: &StageName, source: &SourceId) -> Box<Excess> {
        let mut chain = vec![name.clone()];
        while let Some((Some(by), _)) = chain.last().and_then(|last| self.met.get(last)) {
            chain.push(by.clone());
        }
        chain.reverse();
        Box::new(Excess { measure, source_id: source.clone(), chain })
    }

    fn places_of(&self, name: &StageName) -> Vec<SourceId> {
        let root = self.roots.binary_search_by(|root| root.name.cmp(name)).ok();
        self.request.places_of(name, root.and_then(|at| self.roots.get(at)))
    }
}
