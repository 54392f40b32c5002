//! What a manifest asks of a repository, found among what the repository offers.

use std::collections::BTreeMap;

use git2::Oid;
use pib_plan::id::StageName;
use pib_plan::index::GitReference;
use pib_plan::suggest;

use super::GitError;
use super::address::Address;

/// The fewest digits that stand for a commit.
const FEWEST_DIGITS: usize = 7;
/// How many names a message lists.
const SHOWN: usize = 8;

/// One name that a repository offers.
pub(super) struct Head {
    /// The full name, e.g. `refs/tags/v1`.
    pub(super) name: String,
    /// What it names: a commit, or a tag that has a text of its own.
    pub(super) oid: Oid,
    /// The commit behind such a tag.
    peeled: Option<Oid>,
}

impl Head {
    /// Returns the commit that it stands for.
    pub(super) fn commit(&self) -> Oid {
        self.peeled.unwrap_or(self.oid)
    }
}

/// Where to find what is asked for.
pub(super) enum Target {
    /// By a name.
    Head {
        /// The full name.
        name: String,
        /// What it names, as far as the server tells: a tag of its own, or the commit.
        oid: Oid,
        /// The commit, unless it is behind a tag of which the server tells nothing.
        commit: Oid,
    },
    /// A commit in full.
    Commit(String),
    /// The first digits of a commit.
    Prefix(String),
}

/// Brings what a server lists into order: it gives the commit behind a tag a line of its own.
pub(super) fn collect(raw: impl Iterator<Item = (String, Oid)>) -> Vec<Head> {
    let mut heads: BTreeMap<String, Head> = BTreeMap::new();
    let mut peeled = Vec::new();
    for (name, oid) in raw {
        match name.strip_suffix("^{}") {
            Some(name) => peeled.push((name.to_owned(), oid)),
            None => drop(heads.insert(name.clone(), Head { name, oid, peeled: None })),
        }
    }
    for (name, oid) in peeled {
        if let Some(head) = heads.get_mut(&name) {
            head.peeled = Some(oid);
        }
    }
    heads.into_values().collect()
}

/// Returns where `reference` is found.
///
/// # Errors
/// When the repository does not have it; the error names what comes near.
pub(super) fn find(address: &Address, reference: &GitReference, heads: &[Head]) -> Result<Target, GitError> {
    let target = match reference {
        GitReference::Default => by_name(heads, "HEAD"),
        GitReference::Branch(name) => by_name(heads, &format!("refs/heads/{name}")),
        GitReference::Tag(name) => by_name(heads, &format!("refs/tags/{name}")),
        GitReference::Rev(rev) => {
            let names = [rev.clone(), format!("refs/tags/{rev}"), format!("refs/heads/{rev}")];
            let hex = rev.bytes().all(|byte| byte.is_ascii_hexdigit());
            let digits = rev.to_ascii_lowercase();
            match names.iter().find_map(|name| by_name(heads, name)) {
                Some(target) => Some(target),
                None if hex && rev.len() == 40 => Some(Target::Commit(digits)),
                None if hex && (FEWEST_DIGITS..40).contains(&rev.len()) => Some(Target::Prefix(digits)),
                None => None,
            }
        }
    };
    target.ok_or_else(|| missing(address, reference, heads))
}

fn by_name(heads: &[Head], name: &str) -> Option<Target> {
    let head = heads.iter().find(|head| head.name == name)?;
    Some(Target::Head { name: name.to_owned(), oid: head.oid, commit: head.commit() })
}

/// Checks that a tag still names the locked commit.
///
/// # Errors
/// When it names another one, or is gone.
pub(super) fn check_tag(
    address: &Address,
    stage: &StageName,
    tag: &str,
    locked: &str,
    heads: &[Head],
) -> Result<(), GitError> {
    let name = format!("refs/tags/{tag}");
    match heads.iter().find(|head| head.name == name) {
        Some(head) if head.commit().to_string() == locked => Ok(()),
        Some(head) => Err(GitError::Moved {
            name: stage.clone(),
            url: address.to_string(),
            tag: tag.to_owned(),
            locked: locked.to_owned(),
            found: head.commit().to_string(),
        }),
        None => Err(GitError::CommitGone {
            name: stage.clone(),
            url: address.to_string(),
            commit: format!("{locked} (tag `{tag}`, which is gone)"),
        }),
    }
}

/// Returns what a manifest asks for, in a person's words.
pub(super) fn describe(reference: &GitReference) -> String {
    match reference {
        GitReference::Default => "default branch".to_owned(),
        GitReference::Branch(name) => format!("branch `{name}`"),
        GitReference::Tag(name) => format!("tag `{name}`"),
        GitReference::Rev(name) => format!("rev `{name}`"),
    }
}

/// Returns the error for what the repository does not have.
pub(super) fn missing(address: &Address, reference: &GitReference, heads: &[Head]) -> GitError {
    let names = |prefix: &str| -> Vec<&str> {
        heads.iter().filter_map(|head| head.name.strip_prefix(prefix)).collect()
    };
    let (tags, branches) = (names("refs/tags/"), names("refs/heads/"));
    let help = match reference {
        _ if heads.is_empty() => "The repository is empty. Push something to it first.".to_owned(),
        GitReference::Default => format!("Name a branch of it: {}.", list(&branches)),
        GitReference::Branch(name) => instead(name, "branch", &branches, "tag", &tags),
        GitReference::Tag(name) => instead(name, "tag", &tags, "branch", &branches),
        GitReference::Rev(_) => format!(
            "Give a commit, at least its first {FEWEST_DIGITS} digits, or the full name of a reference such as \
             refs/pull/3/head. It has the tags {} and the branches {}.",
            list(&tags),
            list(&branches)
        ),
    };
    GitError::NoReference { url: address.to_string(), wanted: describe(reference), help }
}

fn instead(name: &str, kind: &str, own: &[&str], other_kind: &str, others: &[&str]) -> String {
    if others.contains(&name) {
        return format!("It has a {other_kind} of that name: write {other_kind} = \"{name}\".");
    }
    match suggest::nearest(name, own.iter().copied()) {
        Some(near) => format!("Did you mean `{near}`?"),
        None if own.is_empty() => format!("It has no {kind} at all."),
        None => format!("It has {}.", list(own)),
    }
}

/// Returns the last few names, which are the newest where they are versions.
fn list(names: &[&str]) -> String {
    match names.len().checked_sub(SHOWN) {
        _ if names.is_empty() => "(none)".to_owned(),
        Some(more @ 1..) => format!("{} and {more} more", suggest::list(names[more..].iter().copied())),
        _ => suggest::list(names.iter().copied()),
    }
}
