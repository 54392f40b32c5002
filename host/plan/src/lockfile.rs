//! `pib.lock`: what a project's build consists of, exactly.
//!
//! The text is the same for the same contents: sorted, one fact on each line, LF. So the file changes only when the
//! build does, and two people's changes merge line by line.

mod bases;
mod diff;
mod error;
mod locked;
mod parse;
mod render;
mod targets;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use diff::{Change, LockDiff, Unmet};
pub use error::LockError;
pub use locked::{LockedBase, LockedStage, Lockfile, MadeBase, VERSION};
pub(crate) use parse::merge_conflict;
pub(crate) use render::quoted;

use crate::id::{Digest, KeyHasher, StageName};
use crate::resolve::{LockedVersion, Resolution, ResolveRequest};

/// The name of the file, beside `pib.toml`.
pub const FILE_NAME: &str = "pib.lock";

impl Lockfile {
    /// Parses the text of a lock that was read from `file`.
    ///
    /// # Errors
    /// When the text holds a merge conflict, is of a newer schema, or is no lock; each says where and what to do.
    pub fn parse(file: &str, text: &str) -> Result<Self, LockError> {
        parse::parse(file, text)
    }

    /// Returns the text of the file.
    pub fn to_text(&self) -> String {
        render::text(self)
    }

    /// Returns the lock of a resolution; base and fetch digests are what `self` holds.
    #[must_use]
    pub fn with_stages(&self, resolution: &Resolution) -> Self {
        // A vendored copy has no index line to say it.
        let known = |resolved: &crate::resolve::ResolvedStage| {
            let before = self.stage(&resolved.name).filter(|before| {
                (&before.version, &before.source) == (&resolved.version, &resolved.source)
                    && before.content == resolved.entry.content
            });
            before.and_then(|before| before.publisher)
        };
        let stage = |resolved: &crate::resolve::ResolvedStage| LockedStage {
            name: resolved.name.clone(),
            version: resolved.version.clone(),
            source: resolved.source.clone(),
            checksum: resolved.entry.cksum,
            content: resolved.entry.content,
            publisher: resolved.entry.publisher.map(|publisher| publisher.key).or_else(|| known(resolved)),
            hook: resolved.entry.hook.clone(),
            dependencies: resolved.entry.deps.keys().cloned().collect(),
        };
        let mut lock = Self {
            snapshot: self.snapshot,
            fetch: self.fetch,
            as_of: self.as_of,
            refuses_losses: self.refuses_losses,
            bases: self.bases.clone(),
            stages: resolution.stages.iter().map(stage).collect(),
            targets: self.targets.clone(),
        };
        lock.sort();
        lock
    }

    /// Returns the stage `name`.
    pub fn stage(&self, name: &StageName) -> Option<&LockedStage> {
        self.stages.iter().find(|stage| stage.name == *name)
    }

    /// Returns what a resolution should prefer.
    pub fn versions(&self) -> Vec<LockedVersion> {
        let version = |stage: &LockedStage| LockedVersion {
            name: stage.name.clone(),
            version: stage.version.clone(),
            source: stage.source.clone(),
        };
        self.stages.iter().map(version).collect()
    }

    /// Returns what the project asks for that the lock does not hold, and what it holds in vain.
    ///
    /// An empty answer means that the lock fits the manifest as far as the two alone can tell. What the stages require
    /// of each other is not in the lock; only a resolution checks it.
    pub fn unmet(&self, request: &ResolveRequest) -> Vec<Unmet> {
        let roots = request.all_roots();
        let mut unmet = Vec::new();
        for root in &roots {
            match self.stage(&root.name) {
                None => unmet.push(Unmet::Missing { name: root.name.clone() }),
                Some(stage) => {
                    if let Some(requirement) = &root.requirement
                        && !requirement.matches(&stage.version)
                    {
                        unmet.push(Unmet::Version {
                            name: root.name.clone(),
                            requirement: requirement.clone(),
                            locked: stage.version.clone(),
                        });
                    }
                }
            }
        }
        for stage in &self.stages {
            let root = roots.iter().find(|root| root.name == stage.name);
            let places = request.places_of(&stage.name, root);
            if !places.iter().any(|place| stage.source.satisfies(place)) {
                let (name, locked) = (stage.name.clone(), stage.source.clone());
                unmet.extend(places.into_iter().take(1).map(|wanted| Unmet::Source {
                    name: name.clone(),
                    wanted,
                    locked: locked.clone(),
                }));
            }
        }
        let needed = self.reachable(roots.into_iter().map(|root| root.name).collect());
        let in_vain = self.stages.iter().filter(|stage| !needed.contains(&stage.name));
        unmet.extend(in_vain.map(|stage| Unmet::Unneeded { name: stage.name.clone() }));
        unmet
    }

    /// Returns the digest of what the lock holds to, with this one of its bases: the others are for other targets.
    ///
    /// Where stages and bases come from is no part of it: what is the same stays so at another address. Nor are
    /// dependencies, since the order that follows from them is in the keys of the stages; a base's packages or tarball, since
    /// its digest stands for them; and the recording, of which the files that came of it are another sign.
    pub fn content(&self, base: Option<&LockedBase>) -> Digest {
        fn optional(hasher: &mut KeyHasher, digest: Option<&Digest>) {
            hasher.field(digest.map_or(&[][..], |digest| digest.as_bytes()));
        }
        // Each is taken by name: a further one cannot be forgotten here.
        let Self { snapshot, fetch: _, as_of: _, refuses_losses: _, bases: _, stages, targets: _ } = self;
        let mut hasher = KeyHasher::new("pib lock content 1");
        hasher.field(snapshot.map_or_else(String::new, |moment| moment.to_string()));
        if let Some(LockedBase { arch, os, release, recipe, made, source: _, snapshot: _, tarball: _ }) = base
        {
            hasher.field(arch.as_str()).field(os).field(release);
            optional(&mut hasher, recipe.as_ref());
            optional(&mut hasher, made.as_ref().map(|made| &made.digest));
            hasher.field(made.as_ref().map_or(Vec::new(), |made| made.epoch.to_le_bytes().to_vec()));
        }
        for stage in stages {
            let LockedStage {
                name,
                version,
                source: _,
                checksum,
                content,
                publisher: _,
                hook,
                dependencies: _,
            } = stage;
            hasher.field("stage").field(name.as_str()).field(version.to_string());
            optional(&mut hasher, checksum.as_ref());
            optional(&mut hasher, content.as_ref());
            optional(&mut hasher, hook.as_ref().map(|hook| &hook.digest));
            hasher.field(hook.as_ref().map_or("", |hook| &hook.world));
        }
        hasher.finish()
    }

    /// Returns what changes from `self` to `new`.
    pub fn diff(&self, new: &Self) -> LockDiff {
        diff::diff(self, new)
    }

    fn reachable(&self, mut pending: Vec<StageName>) -> BTreeSet<StageName> {
        let by_name: BTreeMap<_, _> = self.stages.iter().map(|stage| (&stage.name, stage)).collect();
        let mut reached = BTreeSet::new();
        while let Some(name) = pending.pop() {
            if let Some(stage) = by_name.get(&name)
                && reached.insert(name)
            {
                pending.extend(stage.dependencies.iter().cloned());
            }
        }
        reached
    }

    /// Brings everything in the order in which it is written.
    fn sort(&mut self) {
        self.bases.sort();
        for stages in self.targets.values_mut().chain([&mut self.stages]) {
            stages.sort_by(|a, b| a.name.cmp(&b.name));
            for stage in stages {
                stage.dependencies.sort();
                stage.dependencies.dedup();
            }
        }
    }
}
