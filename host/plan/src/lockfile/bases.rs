//! The bases in a lock: finding the one that is asked for, and keeping no others.

use super::{LockedBase, Lockfile, MadeBase};
use crate::base::{BaseSource, Location, NeededBase, WantedBase};
use crate::id::{Arch, Digest};
use crate::signed_tarball::LockedTarball;
use crate::snapshot::BaseSnapshot;

/// What a lock holds one base for.
pub(super) type Slot<'a> = (Arch, &'a str, &'a str);

impl Lockfile {
    /// Returns the base that the lock holds for what is asked for now.
    pub fn base(&self, wanted: WantedBase<'_>) -> Option<&LockedBase> {
        let exact = self.bases.iter().find(|base| base.recipe.is_some() && base.satisfies(wanted));
        exact.or_else(|| self.bases.iter().find(|base| base.satisfies(wanted)))
    }

    /// Returns whether the lock holds a base that is the needed one, as far as the manifest alone can tell.
    pub fn may_hold_base(&self, needed: &NeededBase) -> bool {
        self.bases.iter().any(|base| base.may_serve(needed))
    }

    /// Sets the base for what it was asked for by.
    pub fn set_base(&mut self, new: LockedBase) {
        // One without a recipe was found to be for the same, or is for what nobody asks for any more.
        self.bases.retain(|base| {
            base.slot() != new.slot() || base.recipe.is_some_and(|recipe| Some(recipe) != new.recipe)
        });
        self.bases.push(new);
        self.sort();
    }

    /// Returns whether `new` is this lock and says besides what its bases are that have been made since.
    ///
    /// That follows from what the lock says, so that such a build is the one that the lock describes.
    pub fn is_completed_by(&self, new: &Self) -> bool {
        let as_before = |base: &LockedBase| {
            let unmade = LockedBase { made: None, ..base.clone() };
            if self.bases.contains(&unmade) { unmade } else { base.clone() }
        };
        let mut bases: Vec<LockedBase> = new.bases.iter().map(as_before).collect();
        bases.sort();
        Self { bases, ..new.clone() } == *self
    }

    /// Removes the bases of an architecture of a system's release.
    pub fn drop_bases(&mut self, arch: Arch, os: &str, release: &str) {
        self.bases.retain(|base| base.slot() != (arch, os, release));
    }

    /// Forgets the bases that nothing in `needed` can be, which is all that the project and its targets ask for.
    ///
    /// What an init stage asks for is not in a manifest. So where one alone of them makes its base by its init stage,
    /// one that was not in the lock `before` takes the place of the others.
    pub fn tidy_bases(&mut self, needed: &[NeededBase], before: &Self) {
        self.bases.retain(|base| needed.iter().any(|needed| base.may_serve(needed)));
        let replaces = |new: &LockedBase| {
            let made = needed.iter().filter(|needed| needed.recipe.is_none() && new.may_serve(needed));
            new.source.is_none() && made.count() == 1 && !before.bases.contains(new)
        };
        let new: Vec<LockedBase> = self.bases.iter().filter(|base| replaces(base)).cloned().collect();
        for new in new {
            let other =
                |base: &LockedBase| base.source.is_none() && base.slot() == new.slot() && *base != new;
            self.bases.retain(|base| !other(base));
        }
    }
}

impl LockedBase {
    /// Returns the lock's entry for a base that has been made, fetched or found.
    pub fn new(wanted: WantedBase<'_>, digest: Digest, epoch: u64, snapshot: Option<BaseSnapshot>) -> Self {
        let made = Some(MadeBase { digest, epoch });
        Self { made, ..Self::unmade(wanted, snapshot) }
    }

    /// Returns the lock's entry for a base that is decided, and has been neither made nor fetched yet: it is made of these
    /// packages, or is the tarball or container image that the manifest names by digest.
    pub fn unmade(wanted: WantedBase<'_>, snapshot: Option<BaseSnapshot>) -> Self {
        let WantedBase { project, source } = wanted;
        Self {
            arch: project.arch,
            os: project.os.clone(),
            release: project.release.clone(),
            recipe: Some(source.recipe()),
            made: None,
            source: source.describe(),
            snapshot,
            tarball: None,
        }
    }

    /// Returns the entry with the tarball that the base is.
    #[must_use]
    pub fn with_tarball(self, tarball: Option<LockedTarball>) -> Self {
        Self { tarball, ..self }
    }

    /// Returns the digest of its root file system, where that is known.
    pub fn digest(&self) -> Option<Digest> {
        self.made.map(|made| made.digest)
    }

    /// Returns whether the entry is what a pib that did not note recipes wrote for the same base.
    pub fn is_older_form_of(&self, new: &Self) -> bool {
        self.recipe.is_none() && Self { recipe: new.recipe, ..self.clone() } == *new
    }

    /// Returns whether the base is one for what is asked for.
    fn satisfies(&self, wanted: WantedBase<'_>) -> bool {
        let WantedBase { project, source } = wanted;
        let fits = match (self.recipe, source) {
            (Some(recipe), _) => recipe == source.recipe(),
            // The packages that were asked for are not known. Taken on trust, an older lock builds what it did.
            (None, BaseSource::Bootstrap(_)) => self.source.is_none(),
            (None, BaseSource::Tarball { location: Location::Path(_), digest }) => {
                self.source.as_deref() == Some(&digest.to_string())
            }
            // Neither tells what had to be at the address; the manifest's digest does, so nothing is lost.
            (
                None,
                BaseSource::Signed(_) | BaseSource::Tarball { .. } | BaseSource::ContainerImage { .. },
            ) => false,
        };
        fits && self.slot() == (project.arch, &project.os, &project.release)
    }

    fn may_serve(&self, needed: &NeededBase) -> bool {
        let fits = match needed.recipe {
            None => self.source.is_none(),
            Some(recipe) => self.source.is_some() && self.recipe.is_none_or(|own| own == recipe),
        };
        fits && self.slot() == (needed.arch, &needed.os, &needed.release)
    }

    /// Returns what the base is for, but for the recipe.
    pub(super) fn slot(&self) -> Slot<'_> {
        (self.arch, &self.os, &self.release)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::base::Bootstrap;
    use crate::lockfile::FILE_NAME;
    use crate::manifest::project::ProjectManifest;

    fn manifest(base: &str) -> ProjectManifest {
        let text = format!(
            "[project]\nname = \"x\"\nos = \"debian\"\nrelease = \"trixie\"\nboard = \"rpi4\"\narch = \"arm64\"\n\n\
             [stages]\n{base}"
        );
        ProjectManifest::parse("pib.toml", &text).unwrap_or_else(|error| panic!("{error}"))
    }

    fn made(include: &[&str]) -> BaseSource {
        BaseSource::Bootstrap(Bootstrap {
            os: "debian".to_owned(),
            release: "trixie".to_owned(),
            arch: Arch::Arm64,
            mirror: None,
            security_mirror: None,
            include: include.iter().map(|name| (*name).to_owned()).collect(),
            archives: Vec::new(),
        })
    }

    fn file(text: &[u8]) -> BaseSource {
        BaseSource::Tarball { location: Location::Path(PathBuf::from("base.tar")), digest: Digest::of(text) }
    }

    fn url(text: &[u8]) -> BaseSource {
        let location = Location::Url("http://x.example/base.tar".parse().unwrap());
        BaseSource::Tarball { location, digest: Digest::of(text) }
    }

    fn image(text: &[u8]) -> BaseSource {
        BaseSource::ContainerImage { reference: format!("x@{}", Digest::of(text)) }
    }

    fn locked(source: &BaseSource, content: &[u8]) -> LockedBase {
        let manifest = manifest("");
        LockedBase::new(WantedBase { project: &manifest.project, source }, Digest::of(content), 7, None)
    }

    fn found(lock: &Lockfile, source: &BaseSource) -> Option<Digest> {
        let manifest = manifest("");
        lock.base(WantedBase { project: &manifest.project, source }).and_then(LockedBase::digest)
    }

    #[test]
    fn a_base_is_found_only_by_what_it_was_asked_for() {
        let all =
            [made(&["a"]), made(&["a", "b"]), file(b"one"), file(b"other"), image(b"one"), image(b"two")];
        let mut lock = Lockfile::default();
        for (number, source) in all.iter().enumerate() {
            assert_eq!(found(&lock, source), None, "{source:?}");
            lock.set_base(locked(source, &[number as u8]));
        }
        for (number, source) in all.iter().enumerate() {
            assert_eq!(found(&lock, source), Some(Digest::of(&[number as u8])), "{source:?}");
        }
        assert_eq!(found(&lock, &url(b"one")), found(&lock, &file(b"one")));
        let mut elsewhere = manifest("");
        elsewhere.project.release = "sid".to_owned();
        assert_eq!(lock.base(WantedBase { project: &elsewhere.project, source: &all[2] }), None);
        let read = Lockfile::parse(FILE_NAME, &lock.to_text()).unwrap();
        assert_eq!(read, lock);
        lock.set_base(locked(&all[0], b"new"));
        assert_eq!((lock.bases.len(), found(&lock, &all[0])), (all.len(), Some(Digest::of(b"new"))));
    }

    #[test]
    fn a_lock_of_an_earlier_pib_is_used_where_it_tells_enough() {
        let older = |source: &BaseSource| {
            let base = LockedBase { recipe: None, ..locked(source, b"base") };
            Lockfile { bases: vec![base], ..Lockfile::default() }
        };
        for (source, same) in [(made(&["a"]), made(&["a", "b"])), (file(b"one"), file(b"one"))] {
            assert_eq!(found(&older(&source), &same), Some(Digest::of(b"base")), "{source:?}");
            let new = locked(&source, b"base");
            assert!(older(&source).bases[0].is_older_form_of(&new));
            let later = new.made.map(|made| MadeBase { epoch: 8, ..made });
            assert!(!older(&source).bases[0].is_older_form_of(&LockedBase { made: later, ..new.clone() }));
            let mut lock = older(&source);
            lock.set_base(new.clone());
            assert_eq!(lock.bases, [new]);
        }
        for (source, other) in [
            (made(&[]), file(b"one")),
            (made(&[]), url(b"one")),
            (made(&[]), image(b"one")),
            (file(b"one"), made(&[])),
            (file(b"one"), file(b"other")),
            // What was at the address is not known.
            (url(b"one"), url(b"one")),
        ] {
            assert_eq!(found(&older(&source), &other), None, "{source:?} {other:?}");
        }
    }

    #[test]
    fn bases_that_nobody_asks_for_are_forgotten() {
        let custom = |text: &[u8]| {
            NeededBase::of(&manifest(&format!(
                "[base]\npath = \"b.tar\"\ndigest = \"{}\"\n",
                Digest::of(text)
            )))
        };
        let init = || NeededBase::of(&manifest(""));
        let tidied = |bases: &[(BaseSource, &[u8])], needed: &[NeededBase], before: usize| {
            let mut lock = Lockfile::default();
            let bases: Vec<LockedBase> =
                bases.iter().map(|(source, content)| locked(source, content)).collect();
            bases.iter().for_each(|base| lock.set_base(base.clone()));
            let before = Lockfile { bases: bases[..before].to_vec(), ..Lockfile::default() };
            lock.tidy_bases(needed, &before);
            let left = bases.iter().filter(|base| lock.bases.contains(base));
            left.filter_map(LockedBase::digest).collect::<Vec<_>>()
        };
        let (one, two, three) = (Digest::of(b"1"), Digest::of(b"2"), Digest::of(b"3"));
        let files = [(file(b"one"), &b"1"[..]), (file(b"other"), b"2"), (made(&["a"]), b"3")];
        assert_eq!(tidied(&files, &[custom(b"one"), custom(b"other"), init()], 3), [one, two, three]);
        assert_eq!(tidied(&files, &[custom(b"other")], 2), [two]);
        assert_eq!(tidied(&files, &[init()], 3), [three]);
        let both = [(made(&["a"]), &b"1"[..]), (made(&["a", "b"]), b"2")];
        assert_eq!(tidied(&both, &[init(), custom(b"one")], 1), [two], "the init stage asks for more now");
        assert_eq!(tidied(&both, &[init()], 2), [one, two], "nothing is new");
        assert_eq!(
            tidied(&both, &[init(), init()], 1),
            [one, two],
            "two targets, each with its own init stage"
        );
    }
}
