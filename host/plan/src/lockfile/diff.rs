//! What differs between two locks, or between a lock and its project.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use semver::{Version, VersionReq};

use super::locked::{LockedBase, LockedStage, Lockfile};
use crate::id::{Arch, Digest, StageName};
use crate::index::SourceId;
use crate::moment::Moment;
use crate::registry_snapshot::RegistryKey;

/// Something that a project asks for and its lock does not hold, or the reverse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmet {
    /// The stage is not in the lock.
    Missing {
        /// The stage.
        name: StageName,
    },
    /// The locked version is not one that the project asks for.
    Version {
        /// The stage.
        name: StageName,
        /// What the project asks for.
        requirement: VersionReq,
        /// What the lock holds.
        locked: Version,
    },
    /// The stage is locked from another place.
    Source {
        /// The stage.
        name: StageName,
        /// Where the project has it from.
        wanted: SourceId,
        /// Where the lock has it from.
        locked: SourceId,
    },
    /// Nothing in the project needs the stage.
    Unneeded {
        /// The stage.
        name: StageName,
    },
}

/// What changes from one lock to another; its text is one line for each change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockDiff {
    /// The changes: stages by name, then bases, then the snapshot and its recording.
    pub changes: Vec<Change>,
}

/// One change between two locks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A stage is new.
    Added {
        /// The stage.
        name: StageName,
        /// Its version.
        version: Version,
    },
    /// A stage is gone.
    Removed {
        /// The stage.
        name: StageName,
        /// The version that it had.
        version: Version,
    },
    /// A stage has another version.
    Version {
        /// The stage.
        name: StageName,
        /// The version before.
        old: Version,
        /// The version now.
        new: Version,
    },
    /// A stage comes from another place.
    Source {
        /// The stage.
        name: StageName,
        /// The place before.
        old: SourceId,
        /// The place now.
        new: SourceId,
    },
    /// A stage is signed by another publisher's key than before, or no more.
    Publisher {
        /// The stage.
        name: StageName,
        /// The key before; none where it was not signed.
        old: Option<RegistryKey>,
        /// The key now; none where it is not signed.
        new: Option<RegistryKey>,
    },
    /// A stage of the same version and place holds something else.
    Content {
        /// The stage.
        name: StageName,
        /// Which of its facts differs: `checksum`, `content`, `hook` or `dependencies`.
        what: &'static str,
    },
    /// The base of an architecture is another.
    Base {
        /// The architecture.
        arch: Arch,
        /// The system and its release.
        system: String,
        /// What it was, if there was one.
        old: Option<BaseState>,
        /// What it is, if there is one.
        new: Option<BaseState>,
    },
    /// The packages that parts install are of another moment.
    Snapshot {
        /// The moment now, if there is one.
        new: Option<Moment>,
    },
    /// The recorded downloads are others.
    Fetch {
        /// Whether there are none any more.
        is_gone: bool,
    },
    /// What archives have is taken of another moment.
    AsOf {
        /// The moment now; none for what archives have on the day.
        new: Option<Moment>,
    },
    /// Whether engines are refused that cannot give the image everything.
    Losses {
        /// Whether they are now.
        refused: bool,
    },
}

/// What a lock says of a base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseState {
    /// The digest, where it has been made.
    digest: Option<Digest>,
    /// Where it comes from, if pib does not make it itself.
    source: Option<String>,
    /// The digest of the signed tarball that it is.
    tarball: Option<Digest>,
    /// The packages that it is made of, where they are known: names and versions.
    packages: BTreeMap<String, String>,
}

impl BaseState {
    fn of(base: &LockedBase) -> Self {
        let packages = base.snapshot.iter().flat_map(|snapshot| &snapshot.packages);
        let packages = packages.map(|package| (package.name.clone(), package.version.clone())).collect();
        let tarball = base.tarball.as_ref().map(|tarball| tarball.digest);
        Self { digest: base.digest(), source: base.source.clone(), tarball, packages }
    }

    /// Returns how many packages the two do not have alike; nothing where those of one are not known.
    fn other_packages(&self, new: &Self) -> Option<usize> {
        let changed = |(name, version): &(&String, &String)| self.packages.get(*name) != Some(*version);
        let gone = self.packages.keys().filter(|name| !new.packages.contains_key(*name)).count();
        let is_known = !self.packages.is_empty() && !new.packages.is_empty();
        is_known.then(|| new.packages.iter().filter(changed).count() + gone)
    }
}

impl fmt::Display for BaseState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.digest, &self.source, self.tarball) {
            (Some(digest), ..) => digest.fmt(f),
            (None, Some(source), _) => f.write_str(source),
            (None, None, Some(tarball)) => write!(f, "the tarball {tarball}"),
            (None, None, None) => write!(f, "{} packages", self.packages.len()),
        }
    }
}

impl LockDiff {
    /// Returns whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

pub(super) fn diff(old: &Lockfile, new: &Lockfile) -> LockDiff {
    let mut changes = Vec::new();
    let names: BTreeSet<&StageName> = old.stages.iter().chain(&new.stages).map(|stage| &stage.name).collect();
    for name in names {
        match (old.stage(name), new.stage(name)) {
            (Some(before), Some(now)) => changes.extend(stage_changes(before, now)),
            (Some(before), None) => {
                changes.push(Change::Removed { name: name.clone(), version: before.version.clone() });
            }
            (None, Some(now)) => {
                changes.push(Change::Added { name: name.clone(), version: now.version.clone() });
            }
            (None, None) => {}
        }
    }
    changes.extend(base_changes(&old.bases, &new.bases));
    if old.snapshot != new.snapshot {
        changes.push(Change::Snapshot { new: new.snapshot });
    }
    if old.fetch != new.fetch {
        changes.push(Change::Fetch { is_gone: new.fetch.is_none() });
    }
    if old.as_of != new.as_of {
        changes.push(Change::AsOf { new: new.as_of });
    }
    if old.refuses_losses != new.refuses_losses {
        changes.push(Change::Losses { refused: new.refuses_losses });
    }
    LockDiff { changes }
}

/// Returns what changes of the bases: one that comes for the same system as one that goes takes its place.
fn base_changes(old: &[LockedBase], new: &[LockedBase]) -> Vec<Change> {
    let change = |base: &LockedBase, old, new| {
        let system = format!("{} {}", base.os, base.release);
        Change::Base { arch: base.arch, system, old, new }
    };
    let mut gone: Vec<&LockedBase> = old.iter().filter(|base| !new.contains(base)).collect();
    let mut changes = Vec::new();
    for now in new.iter().filter(|base| !old.contains(base)) {
        let same = gone.iter().position(|base| base.slot() == now.slot() && base.recipe == now.recipe);
        let before = same.or_else(|| gone.iter().position(|base| base.slot() == now.slot()));
        let before = before.map(|index| BaseState::of(gone.remove(index)));
        changes.push(change(now, before, Some(BaseState::of(now))));
    }
    changes.extend(gone.into_iter().map(|base| change(base, Some(BaseState::of(base)), None)));
    changes
}

fn stage_changes(old: &LockedStage, new: &LockedStage) -> Vec<Change> {
    let name = || new.name.clone();
    let mut changes = Vec::new();
    if old.version != new.version {
        changes.push(Change::Version { name: name(), old: old.version.clone(), new: new.version.clone() });
    }
    if old.source != new.source {
        changes.push(Change::Source { name: name(), old: old.source.clone(), new: new.source.clone() });
    }
    if changes.is_empty() {
        let facts = [
            ("checksum", old.checksum != new.checksum),
            ("content", old.content != new.content),
            ("hook", old.hook != new.hook),
            ("dependencies", old.dependencies != new.dependencies),
        ];
        let differing = facts.into_iter().filter(|(_, differs)| *differs);
        changes.extend(differing.map(|(what, _)| Change::Content { name: name(), what }));
    }
    if old.publisher != new.publisher {
        changes.push(Change::Publisher { name: name(), old: old.publisher, new: new.publisher });
    }
    changes
}

impl fmt::Display for LockDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, change) in self.changes.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            change.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added { name, version } => write!(f, "adds `{name}` {version}"),
            Self::Removed { name, version } => write!(f, "removes `{name}` {version}"),
            Self::Version { name, old, new } => {
                let verb = if old.cmp(new) == Ordering::Less { "updates" } else { "downgrades" };
                write!(f, "{verb} `{name}` {old} -> {new}")
            }
            Self::Source { name, old, new } => write!(f, "moves `{name}` from {old} to {new}"),
            Self::Publisher { name, old, new } => match (old, new) {
                (Some(old), Some(new)) => {
                    write!(f, "changes the publisher's key of `{name}`: it was {old}, and is {new}")
                }
                (Some(old), None) => write!(f, "takes `{name}` unsigned: it was signed by {old}"),
                (None, Some(new)) => write!(f, "takes `{name}` signed by {new}"),
                (None, None) => Ok(()),
            },
            Self::Content { name, what } => write!(f, "changes the {what} of `{name}`"),
            Self::Base { arch, system, old, new } => match (old, new) {
                (None, Some(new)) => write!(f, "adds the base of {system} for {arch}, {new}"),
                (Some(old), None) => write!(f, "removes the base of {system} for {arch}, {old}"),
                (Some(old), Some(new)) => {
                    write_base_change(f, &format!("the base of {system} for {arch}"), old, new)
                }
                (None, None) => Ok(()),
            },
            Self::Snapshot { new: Some(new) } => write!(f, "takes the packages of {new}"),
            Self::Snapshot { new: None } => f.write_str("takes the packages of the day"),
            Self::Fetch { is_gone: false } => f.write_str("changes the recorded downloads"),
            Self::Fetch { is_gone: true } => {
                f.write_str("removes the recorded downloads: the next build records them again")
            }
            Self::AsOf { new: Some(new) } => write!(f, "takes from archives what they had at {new}"),
            Self::AsOf { new: None } => f.write_str("takes from archives what they have on the day"),
            Self::Losses { refused: true } => {
                f.write_str("refuses engines that lose something of the system")
            }
            Self::Losses { refused: false } => {
                f.write_str("allows engines that lose something of the system")
            }
        }
    }
}

fn write_base_change(
    f: &mut fmt::Formatter<'_>,
    base: &str,
    old: &BaseState,
    new: &BaseState,
) -> fmt::Result {
    if let (Some(before), Some(now)) = (old.tarball, new.tarball)
        && before != now
    {
        return write!(f, "changes {base} to the tarball {now}");
    }
    match (old.other_packages(new), old.digest, new.digest) {
        (Some(count), ..) if count > 0 => {
            write!(f, "changes {count} of the packages of {base}")
        }
        (_, None, Some(digest)) => write!(f, "adds the digest of {base}, {digest}"),
        (_, Some(old), Some(new)) if old != new => write!(f, "changes {base} from {old} to {new}"),
        _ => write!(f, "changes where {base} comes from"),
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name } => write!(f, "`{name}` is asked for, but not locked"),
            Self::Version { name, requirement, locked } => {
                write!(f, "`{name}` {requirement} is asked for, but {locked} is locked")
            }
            Self::Source { name, wanted, locked } => {
                write!(f, "`{name}` is to come from {wanted}, but is locked from {locked}")
            }
            Self::Unneeded { name } => write!(f, "`{name}` is locked, but nothing needs it"),
        }
    }
}
