//! Puts into the lock what bases are made of, which takes no engine: the first build only makes what the lock says.

use pib_debian::DebianError;
use pib_net::NetError;
use pib_plan::base::{BaseSource, Bootstrap, NeededBase, WantedBase};
use pib_plan::lockfile::LockedBase;
use pib_plan::moment::Moment;
use pib_plan::signed_tarball::{LockedTarball, SignedTarball};
use pib_plan::snapshot::BaseSnapshot;

use super::base_source;
use super::mirrors::host_apt;
use super::resolve::Resolved;
use super::resolve_all::AllResolved;
use crate::bases::{self, BaseCache, BaseError, StoredBase};
use crate::project::{Error, LockMode, Project, Session, slow};
use pib_event::ReporterExt as _;

/// Which packages a base that the lock does not hold is made of, or which tarball it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PackageChoice {
    /// Those of the base that this machine made last for what is asked for; where there is none, what archives have now.
    Made,
    /// The same; but a whole tarball, which takes minutes, is left to the command that needs it.
    MadeOrSmall,
    /// What archives have now.
    Newest,
    /// What archives had at the moment that the lock names.
    AsOf,
}

/// Has the lock hold the bases of a project and of its targets. What it holds already stays, and nothing is asked for that.
/// Where it must stay as it is, nothing is asked for.
///
/// Returns why it does not hold some of them, a sentence each, such as that an archive cannot be reached.
///
/// # Errors
/// When the manifest asks for a release that the init stage does not support, or what archives had at a moment is not available.
pub(crate) async fn lock_bases(
    session: &Session,
    all: &mut AllResolved,
    mode: LockMode,
    choice: PackageChoice,
) -> Result<Vec<String>, Error> {
    let mut reasons: Vec<String> = Vec::new();
    if mode.locked {
        // Without an init stage there is no base, and a build says so.
        let has_base =
            |part: &Resolved| part.lock_of_init().is_some() || part.project.manifest.base.is_some();
        let lacks = |part: &&Resolved| {
            has_base(part) && !part.lock.may_hold_base(&NeededBase::of(&part.project.manifest))
        };
        reasons.extend(all.parts.iter().find(lacks).map(|part| format!("pib.lock {}", lack(&part.project))));
        return Ok(reasons);
    }
    // Where all have the same init stage, what it asks for is the same as well.
    let has_one_init = all.parts.windows(2).all(|pair| pair[0].lock_of_init() == pair[1].lock_of_init());
    for number in 0..all.parts.len() {
        match decide(session, &all.parts[number], mode, choice, has_one_init).await {
            Ok(None) => {}
            Ok(Some(base)) => all.parts.iter_mut().for_each(|part| part.lock.set_base(base.clone())),
            // Who asks for one day gets no other, a mistake in the manifest is not a mirror's, and what a lock has already is not
            // lost because there is nothing newer.
            Err(Undecided { error, had_one })
                if had_one || choice == PackageChoice::AsOf || matches!(error, Error::Manifest(_)) =>
            {
                return Err(error);
            }
            Err(Undecided { error, .. }) => {
                let mut reason = format!("pib.lock does not hold the base yet: {error}");
                // An archive that cannot be trusted is another matter than one that cannot be reached.
                if is_about_trust(&error) {
                    session.warn_once(reason);
                    reason = "pib.lock does not hold the base yet: its archive cannot be trusted, as the warning says".to_owned();
                }
                reasons.extend((!reasons.contains(&reason)).then_some(reason));
            }
        }
    }
    Ok(reasons)
}

/// Returns the error of a lock that must stay as it is and does not hold the base of a project or target.
pub(crate) fn without_base(project: &Project) -> Error {
    Error::Locked(vec![format!("it {}", lack(project))])
}

/// Says what a lock lacks.
fn lack(project: &Project) -> String {
    let pib_plan::manifest::project::Project { os, release, arch, .. } = &project.manifest.project;
    format!("does not hold the base ({os} {release}, {arch})")
}

fn is_about_trust(error: &Error) -> bool {
    matches!(
        error,
        Error::Debian(DebianError::Signature { .. } | DebianError::Keys { .. })
            | Error::Base(
                BaseError::Signature { .. }
                    | BaseError::NoSignature { source: NetError::Status { .. }, .. }
                    | BaseError::Keys { .. }
            )
    )
}

/// Returns the base of a part, where the lock does not hold it and it can be decided.
async fn decide(
    session: &Session,
    part: &Resolved,
    mode: LockMode,
    choice: PackageChoice,
    has_one_init: bool,
) -> Result<Option<LockedBase>, Undecided> {
    let Project { manifest, dir, lock: before, .. } = &part.project;
    let seems_held = has_one_init && part.keeps_init() && part.lock.may_hold_base(&NeededBase::of(manifest));
    let source = match base_source::own_source(manifest, dir) {
        Some(source) => source,
        // What seems to be in the lock is looked up where that takes no network.
        None => match part.init(!seems_held).await {
            Ok(Some(init)) => base_source::source(manifest, dir, &init),
            Err(error) if !seems_held => return Err(error.into()),
            Ok(None) | Err(_) => return Ok(None),
        },
    };
    let source = match source {
        Ok(source) => source,
        Err(error @ Error::Manifest(_)) => return Err(error.into()),
        // What cannot be built has no base; a build says why.
        Err(_) => return Ok(None),
    };
    let wanted = WantedBase { project: &manifest.project, source: &source };
    if part.lock.base(wanted).is_some() {
        return Ok(None);
    }
    let question = Question {
        session,
        cache: BaseCache::new(&session.cache),
        wanted,
        before: before.as_ref().and_then(|lock| lock.base(wanted)),
        mode,
        choice,
        as_of: part.lock.as_of.filter(|_| choice != PackageChoice::Newest),
    };
    let decided = match &source {
        BaseSource::Bootstrap(recipe) => question.of_archives(recipe).await,
        BaseSource::Signed(tarball) => question.of_tarball(tarball).await,
        // The manifest names these by their digests.
        BaseSource::Tarball { .. } | BaseSource::ContainerImage { .. } => Ok(match question.before {
            Some(same) => Decision::Kept(same.clone()),
            None => {
                let made = base_source::find(&question.cache, &source, None);
                Decision::New(LockedBase::unmade(wanted, None), made)
            }
        }),
    };
    let decided = match (decided, question.before) {
        (Err(_), Some(before)) if mode.offline => Decision::Kept(before.clone()),
        (Err(error), before) => return Err(Undecided { error, had_one: before.is_some() }),
        (Ok(decided), _) => decided,
    };
    Ok(match decided {
        Decision::Open => None,
        Decision::Kept(base) | Decision::New(base, None) => Some(base),
        Decision::New(base, Some(made)) => {
            Some(base_source::locked(session, manifest, &source, &made, Some(&base))?)
        }
    })
}

/// Says why a base could not be decided.
struct Undecided {
    error: Error,
    /// Whether the lock held one before.
    had_one: bool,
}

impl From<Error> for Undecided {
    fn from(error: Error) -> Self {
        Self { error, had_one: false }
    }
}

/// What a lock gets for a base.
enum Decision {
    /// Nothing yet.
    Open,
    /// What it had before.
    Kept(LockedBase),
    /// Another one, which this machine may have made already.
    New(LockedBase, Option<StoredBase>),
}

/// Which base a lock should hold.
struct Question<'a> {
    session: &'a Session,
    cache: BaseCache,
    wanted: WantedBase<'a>,
    /// What the lock held before.
    before: Option<&'a LockedBase>,
    mode: LockMode,
    choice: PackageChoice,
    /// The moment that everything is of, where one was asked for.
    as_of: Option<Moment>,
}

impl Question<'_> {
    /// Decides for a base that is made of packages.
    async fn of_archives(&self, recipe: &Bootstrap) -> Result<Decision, Error> {
        let Self { session, cache, wanted, as_of, .. } = self;
        let made = made_before(cache, recipe, self.choice).filter(|_| as_of.is_none());
        if let Some(made) = made {
            return Ok(Decision::New(LockedBase::unmade(*wanted, None), Some(made)));
        }
        let (packages, made) = choose(session, cache, recipe, *as_of, self.mode).await?;
        let moved = self.before.filter(|_| as_of.is_none());
        if let Some((before, older)) = moved.and_then(|before| gone_back(before, &packages)) {
            session.reporter.warn(older);
            return Ok(Decision::Kept(before.clone()));
        }
        let is_same =
            |base: &&LockedBase| base.snapshot.as_ref().map(BaseSnapshot::key) == Some(packages.key());
        if let Some(same) = self.before.filter(is_same) {
            return Ok(Decision::Kept(same.clone()));
        }
        Ok(Decision::New(LockedBase::unmade(*wanted, Some(packages)), made))
    }

    /// Decides for a base that its maker signs as a whole.
    async fn of_tarball(&self, tarball: &SignedTarball) -> Result<Decision, Error> {
        if self.as_of.is_some() {
            // Its maker replaces it, and nobody keeps the ones before.
            return Err(DebianError::WithoutPast { archive: tarball.url.to_string() }.into());
        }
        let Self { session, cache, before, .. } = self;
        let Some(found) = newest_tarball(session, cache, tarball, self.mode, self.choice).await? else {
            return Ok(Decision::Open);
        };
        if let Some((before, older)) = before.and_then(|before| replaced_by_older(before, &found)) {
            session.reporter.warn(older);
            return Ok(Decision::Kept(before.clone()));
        }
        if let Some(same) = before.filter(|base| base.tarball.as_ref() == Some(&found)) {
            return Ok(Decision::Kept(same.clone()));
        }
        let made = bases::signed::find_locked(cache, &found);
        Ok(Decision::New(LockedBase::unmade(self.wanted, None).with_tarball(Some(found)), made))
    }
}

/// Returns the base of a lock, with a sentence about it, where an archive is older now than when that base was chosen: then
/// its mirror lags behind, or somebody holds updates back.
fn gone_back<'a>(before: &'a LockedBase, now: &BaseSnapshot) -> Option<(&'a LockedBase, String)> {
    let locked = before.snapshot.as_ref()?;
    now.archives.iter().find_map(|archive| {
        let old = locked.archives.iter().find(|old| old.name == archive.name && old.moment > archive.moment)?;
        let [found, locked] = [archive.moment, old.moment].map(date);
        let name = &archive.name;
        Some((
            before,
            format!(
                "the archive `{name}` is of {found} now, and the base in pib.lock of {locked}: its mirror lags behind, or someone \
                 holds updates back; the base stays as it is"
            ),
        ))
    })
}

/// Returns the tarball that a base is; nothing where it would have to be fetched, and is left to the build.
async fn newest_tarball(
    session: &Session,
    cache: &BaseCache,
    wanted: &SignedTarball,
    mode: LockMode,
    choice: PackageChoice,
) -> Result<Option<LockedTarball>, Error> {
    let before = bases::signed::find(cache, wanted).filter(|_| choice != PackageChoice::Newest);
    match (before, choice) {
        (Some(found), _) => Ok(Some(found.tarball)),
        (None, PackageChoice::MadeOrSmall) => Ok(None),
        (None, PackageChoice::Made | PackageChoice::Newest | PackageChoice::AsOf) => {
            base_source::fetch_signed(session, mode, wanted).await.map(Some)
        }
    }
}

/// Returns the base of a lock, with a sentence about it, where the tarball at its address was signed earlier than the locked one.
fn replaced_by_older<'a>(before: &'a LockedBase, now: &LockedTarball) -> Option<(&'a LockedBase, String)> {
    let locked = before.tarball.as_ref().filter(|locked| locked.moment > now.moment)?;
    let [found, locked] = [now.moment, locked.moment].map(date);
    let system = format!("{} {}", before.os, before.arch);
    Some((
        before,
        format!(
            "the tarball of {system} was signed at {found}, and the one in pib.lock at {locked}: its server lags behind, or someone \
             holds updates back; the base stays as it is"
        ),
    ))
}

fn date(seconds: u64) -> String {
    Moment::from_micros(seconds.saturating_mul(1_000_000)).to_string()
}

/// Returns the base that this machine made last for the recipe, where that is wanted and it is known what it was made of.
fn made_before(cache: &BaseCache, recipe: &Bootstrap, choice: PackageChoice) -> Option<StoredBase> {
    let made = cache.find_recipe(recipe).filter(|_| choice != PackageChoice::Newest);
    made.filter(|made| cache.snapshot(made.digest).is_some())
}

/// Chooses the packages of a base from what archives have now, or had at a moment; with the base, where it was made of them before.
async fn choose(
    session: &Session,
    cache: &BaseCache,
    recipe: &Bootstrap,
    as_of: Option<Moment>,
    mode: LockMode,
) -> Result<(BaseSnapshot, Option<StoredBase>), Error> {
    let (lists, host) = (cache.lists(), host_apt(session)?);
    let choose = pib_debian::choose_packages(&lists, mode.offline, recipe, &host, as_of, &session.reporter);
    let when = as_of.map_or_else(String::new, |moment| format!(" as of {moment}"));
    let title = format!("Choosing the packages of {}{when}", pib_debian::title(recipe));
    let packages = slow::shown(&*session.reporter, bases::STEP, title, choose).await?;
    let made = cache.choose(recipe, &packages)?;
    Ok((packages, made))
}
