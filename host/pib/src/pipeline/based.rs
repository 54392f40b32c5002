//! What the first stage starts from: the base that the lock holds, or one that is made or fetched now.

use pib_event::ReporterExt as _;
use pib_plan::assemble::{self, BaseRef, BuildPlan, Extras};
use pib_plan::base::{BaseSource, WantedBase};
use pib_plan::id::Digest;
use pib_plan::lockfile::{LockedBase, Lockfile, MadeBase};
use pib_plan::manifest::project::Network;

use super::StageOptions;
use super::base_source;
use super::lock_bases::without_base;
use super::lock_rules::write_lock;
use super::render::Rendered;
use crate::bases::{BaseCache, StoredBase};
use crate::engine::Engine;
use crate::project::{Error, LockMode, Project, Session};
use crate::source::Package;

/// The stages of a build on a base that is known: all that decides the result is decided.
pub(crate) struct Based {
    pub(crate) rendered: Rendered,
    /// What the engine calls the base.
    pub(crate) reference: BaseRef,
    /// The digest of the base.
    pub(crate) digest: Digest,
    /// The digest of what the stages stand on: the base, and the snapshot of packages where there is one.
    ground: Digest,
    /// What the image's times are clamped to, in seconds since 1970.
    pub(crate) epoch: u64,
    /// What the lock says of the base, with its digest.
    pub(crate) locked: Option<LockedBase>,
    /// The lock, with the base in it.
    pub(crate) lock: Lockfile,
    /// The keys of the stages, in build order.
    pub(crate) keys: Vec<Digest>,
}

/// What is said of a lock that must stay as it is, though a build could add to it.
const UNMADE: &str = "pib.lock does not have the digest of the base yet; a build without `--locked` adds it";

/// Whether the base of a build is known before anything is fetched or made.
pub(crate) enum BaseLookup {
    /// The lock has its digest, or the manifest names a container image by its digest.
    Known(Box<Based>),
    /// It has to be made or fetched; what of, the lock may say.
    Unknown(Box<Rendered>),
}

/// Returns the build on its base, which is made or fetched where it is not known.
///
/// # Errors
/// When the base cannot be made, fetched or loaded.
pub(crate) async fn base(
    session: &Session,
    lookup: BaseLookup,
    options: &StageOptions,
) -> Result<Based, Error> {
    match lookup {
        BaseLookup::Known(based) => Ok(*based),
        BaseLookup::Unknown(rendered) => {
            let decided = rendered.packages.resolved.lock.base(rendered.wanted_base());
            if options.lock.locked && decided.is_none() {
                // Minutes are not spent on a base that the lock may not take.
                return Err(without_base(rendered.packages.project()));
            }
            let stored = rendered.fetch_base(session, options, decided).await?;
            let manifest = &rendered.packages.project().manifest;
            let locked = base_source::locked(session, manifest, &rendered.base, &stored, decided)?;
            if options.lock.locked {
                session.reporter.note(UNMADE);
            }
            Ok(Based::new(*rendered, Some(locked)))
        }
    }
}

impl BaseLookup {
    /// Returns the build on its base; on an empty one of no content where it is not known, which tells the order and
    /// the Dockerfile all the same.
    pub(crate) fn or_unmade(self) -> Based {
        match self {
            Self::Known(based) => *based,
            Self::Unknown(rendered) => Based::new(*rendered, None),
        }
    }

    /// Has a base that the cache has be known, where the lock must stay as it is and holds what the base is made of, but not its
    /// digest. Otherwise such a build would never be known to be up to date.
    ///
    /// # Errors
    /// When the base in the cache cannot be read.
    pub(crate) fn or_in_cache(self, session: &Session, mode: LockMode) -> Result<Self, Error> {
        let Self::Unknown(rendered) = self else { return Ok(self) };
        let decided = rendered.packages.resolved.lock.base(rendered.wanted_base()).filter(|_| mode.locked);
        let cache = BaseCache::new(&session.cache);
        let stored = decided.and_then(|_| base_source::find(&cache, &rendered.base, decided));
        let Some(stored) = stored else { return Ok(Self::Unknown(rendered)) };
        let manifest = &rendered.packages.project().manifest;
        let locked = base_source::locked(session, manifest, &rendered.base, &stored, decided)?;
        session.reporter.note(UNMADE);
        Ok(Self::Known(Box::new(Based::new(*rendered, Some(locked)))))
    }

    /// Returns the project.
    pub(crate) fn project(&self) -> &Project {
        self.rendered().packages.project()
    }

    /// Returns the packages of the stages, in build order.
    pub(crate) fn packages(&self) -> &[Package] {
        &self.rendered().packages.list
    }

    /// Returns the stages.
    pub(crate) fn rendered(&self) -> &Rendered {
        match self {
            Self::Known(based) => &based.rendered,
            Self::Unknown(rendered) => rendered,
        }
    }
}

impl Rendered {
    /// Looks the base up in the lock and the manifest. Asks neither the engine nor the network.
    pub(crate) fn look_up_base(self, mode: LockMode) -> BaseLookup {
        let locked = self.locked_base(mode);
        match (&self.base, locked) {
            (BaseSource::ContainerImage { .. }, locked) => {
                BaseLookup::Known(Box::new(Based::new(self, locked)))
            }
            (_, Some(locked)) => BaseLookup::Known(Box::new(Based::new(self, Some(locked)))),
            (_, None) => BaseLookup::Unknown(Box::new(self)),
        }
    }

    /// Returns what the lock holds of the base, where its digest is part of that. The entry of an earlier pib learns what its
    /// base was asked for by, unless the lock is not to change.
    fn locked_base(&self, mode: LockMode) -> Option<LockedBase> {
        let wanted = self.wanted_base();
        let locked = self.packages.resolved.lock.base(wanted)?;
        let MadeBase { digest, epoch } = locked.made?;
        let new = LockedBase::new(wanted, digest, epoch, locked.snapshot.clone());
        let new = new.with_tarball(locked.tarball.clone());
        let keep = mode.locked && locked.is_older_form_of(&new);
        Some(if keep { locked.clone() } else { new })
    }

    fn wanted_base(&self) -> WantedBase<'_> {
        WantedBase { project: &self.packages.project().manifest.project, source: &self.base }
    }

    /// Returns the base's tarball, from the cache where it is there, else by making or fetching it.
    async fn fetch_base(
        &self,
        session: &Session,
        options: &StageOptions,
        locked: Option<&LockedBase>,
    ) -> Result<StoredBase, Error> {
        let project = self.packages.project();
        let tools = options.tools(&project.manifest);
        let whose = (&*project.dir, &project.manifest);
        base_source::ensure(session, options.lock, &self.base, locked, whose, tools).await
    }
}

impl Based {
    fn new(rendered: Rendered, locked: Option<LockedBase>) -> Self {
        let manifest = &rendered.packages.project().manifest;
        let mut lock = rendered.packages.resolved.lock.clone();
        let made = locked.as_ref().and_then(|locked| locked.made);
        let epoch = made.map_or(0, |made| made.epoch);
        let (reference, digest) = match (&rendered.base, made.map(|made| made.digest)) {
            (BaseSource::ContainerImage { reference }, _) => {
                let named = reference.split_once('@').and_then(|(_, digest)| digest.parse().ok());
                let digest = named.unwrap_or_else(|| Digest::of(reference.as_bytes()));
                (BaseRef::ForeignImage(reference.clone()), digest)
            }
            (_, Some(digest)) => (BaseRef::ContainerImage(base_source::tag(manifest, Some(&digest))), digest),
            (_, None) => (BaseRef::ContainerImage(base_source::tag(manifest, None)), Digest::of(b"")),
        };
        if let Some(locked) = &locked {
            lock.set_base(locked.clone());
        }
        let recorded = manifest.build.network == Network::Recorded;
        let ground = assemble::ground(&digest, lock.snapshot.filter(|_| recorded), epoch);
        let keys = assemble::stage_keys(manifest.project.arch, &ground, &rendered.inputs);
        Self { rendered, reference, digest, ground, epoch, locked, lock, keys }
    }

    /// Returns the base's tarball; nothing where the base is a container image, which has none.
    ///
    /// # Errors
    /// When it is not in the cache and what is made or fetched now is another than the lock holds.
    pub(crate) async fn tarball(
        &self,
        session: &Session,
        options: &StageOptions,
    ) -> Result<Option<StoredBase>, Error> {
        if matches!(self.rendered.base, BaseSource::ContainerImage { .. }) {
            return Ok(None);
        }
        self.rendered.fetch_base(session, options, self.locked.as_ref()).await.map(Some)
    }

    /// Has the lock hold a container image that the build starts from, with the time of its newest file, which only the
    /// engine can tell.
    ///
    /// A lock of an earlier pib does not hold it. Where it must stay, what it gives stays as it was: of the year 1970. One that
    /// holds the container image and not its time yet gives the same whether it must stay or not.
    ///
    /// # Errors
    /// When the engine cannot get the container image.
    pub(crate) async fn dated(
        self,
        session: &Session,
        engine: &Engine,
        mode: LockMode,
    ) -> Result<Self, Error> {
        let reference = match &self.rendered.base {
            BaseSource::ContainerImage { reference } if self.is_undated(mode) => reference,
            _ => return Ok(self),
        };
        let arch = self.rendered.packages.project().manifest.project.arch;
        let epoch = base_source::container_image_epoch(session, engine, reference, arch).await?;
        let locked = LockedBase::new(self.rendered.wanted_base(), self.digest, epoch, None);
        if mode.locked {
            session.reporter.note(UNMADE);
        }
        Ok(Self::new(self.rendered, Some(locked)))
    }

    /// Returns whether a build has to find out the time of the base's newest file.
    pub(crate) fn is_undated(&self, mode: LockMode) -> bool {
        let held = || self.rendered.packages.resolved.lock.base(self.rendered.wanted_base()).is_some();
        self.locked.is_none() && (!mode.locked || held())
    }

    /// Writes the lock, where the base in it changed since the stages in it were written; `mode` may forbid that.
    ///
    /// # Errors
    /// When the lock would change and must not, or cannot be written.
    pub(crate) fn write_lock(&self, mode: LockMode) -> Result<bool, Error> {
        if self.lock == self.rendered.packages.resolved.lock {
            return Ok(false);
        }
        write_lock(self.rendered.packages.project(), &self.lock, mode)
    }

    /// Assembles the stages on a base that the engine finds by `base`.
    ///
    /// # Errors
    /// When the stages make more layers than engines take.
    pub(crate) fn assemble(&self, base: &BaseRef, extras: &Extras<'_>) -> Result<BuildPlan, Error> {
        let arch = self.rendered.packages.project().manifest.project.arch;
        Ok(assemble::assemble(arch, base, &self.ground, &self.rendered.inputs, extras)?)
    }

    /// Returns the time that commands are told, in seconds since 1970, where the base is known.
    pub(crate) fn told_epoch(&self) -> Option<u64> {
        self.locked.as_ref()?.made.map(|made| made.epoch)
    }

    /// Returns the key of the last stage that is wanted.
    pub(crate) fn key(&self) -> Digest {
        self.keys.get(self.rendered.last).copied().unwrap_or(self.digest)
    }
}
