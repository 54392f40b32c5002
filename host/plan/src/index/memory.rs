//! An index that was fetched beforehand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Candidate, Index, IndexEntry, IndexError, Offer, SourceId};
use crate::id::StageName;

/// An index whose answers are all in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryIndex {
    answers: BTreeMap<SourceId, BTreeMap<StageName, Arc<[Candidate]>>>,
    names: BTreeMap<SourceId, BTreeSet<StageName>>,
    closed: BTreeSet<SourceId>,
}

impl MemoryIndex {
    /// Creates an index without answers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the answer for `name` at `source`; an empty one says that the stage does not exist there.
    pub fn insert(&mut self, name: StageName, source: SourceId, versions: impl Into<Arc<[Candidate]>>) {
        self.answers.entry(source).or_default().insert(name, versions.into());
    }

    /// Adds one entry, at `source` exactly, to the answer for its stage.
    pub fn push(&mut self, entry: IndexEntry, source: SourceId) {
        let of_source = self.answers.entry(source.clone()).or_default();
        let answer = of_source.entry(entry.name.clone()).or_insert_with(|| Arc::new([]));
        let candidate =
            Candidate { version: entry.vers.clone(), source, offer: Offer::Entry(Arc::new(entry)) };
        *answer = answer.iter().cloned().chain([candidate]).collect();
    }

    /// Tells names of `source` that may be suggested although their versions were never fetched.
    pub fn suggest(&mut self, source: SourceId, names: impl IntoIterator<Item = StageName>) {
        self.names.entry(source).or_default().extend(names);
    }

    /// Declares that everything at `source` has been inserted: what is not there does not exist.
    pub fn close(&mut self, source: SourceId) {
        self.closed.insert(source);
    }

    /// Returns whether the index can answer for `name` at `source`.
    pub fn contains(&self, name: &StageName, source: &SourceId) -> bool {
        self.closed.contains(source)
            || self.answers.get(source).is_some_and(|of_source| of_source.contains_key(name))
    }
}

impl Index for MemoryIndex {
    fn versions(&self, name: &StageName, source: &SourceId) -> Result<Arc<[Candidate]>, IndexError> {
        match self.answers.get(source).and_then(|of_source| of_source.get(name)) {
            Some(answer) => Ok(Arc::clone(answer)),
            None if self.closed.contains(source) => Ok(Arc::new([])),
            None => Err(IndexError {
                name: name.clone(),
                source_id: source.clone(),
                reason: "its versions were not fetched".to_owned(),
            }),
        }
    }

    fn names(&self, source: &SourceId) -> Vec<StageName> {
        let offered = self.answers.get(source).into_iter().flatten();
        let offered = offered.filter(|(_, versions)| !versions.is_empty()).map(|(name, _)| name);
        let told = self.names.get(source).into_iter().flatten();
        offered.chain(told).collect::<BTreeSet<_>>().into_iter().cloned().collect()
    }
}
