//! The tokens by which a registry's server knows who may publish what.
//!
//! The file holds no token, only their digests: who reads it cannot publish.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pib_file::Folder;
use pib_plan::id::{Digest, StageName};
use serde::{Deserialize, Serialize};

use crate::project::{self, Error, Session};

/// The largest file of tokens that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// What every token begins with, so that people and scanners for leaked secrets recognise one.
const PREFIX: &str = "pib_";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What a token lets its bearer do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Publish stages that the registry does not have.
    PublishNew,
    /// Publish versions of stages that it has.
    PublishUpdate,
    /// Yank versions, and take that back.
    Yank,
    /// Add owners of stages, and remove them.
    ChangeOwners,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::PublishNew, Self::PublishUpdate, Self::Yank, Self::ChangeOwners];

    /// Returns its name, as options and files have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::PublishNew => "publish-new",
            Self::PublishUpdate => "publish-update",
            Self::Yank => "yank",
            Self::ChangeOwners => "change-owners",
        }
    }
}

/// A token, without the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Token {
    /// Whose it is.
    pub name: String,
    /// The digest of the secret.
    pub digest: Digest,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// The stages that it is for, each a name or the beginning of names with a `*`; all where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<String>,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
}

impl Token {
    /// Returns whether it allows something to be done to a stage.
    pub fn allows(&self, scope: Scope, stage: &StageName) -> bool {
        let covers = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => stage.as_str().starts_with(start),
            None => pattern == stage.as_str(),
        };
        self.scopes.contains(&scope) && (self.stages.is_empty() || self.stages.iter().any(covers))
    }

    /// Returns whether it has ended.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        now.duration_since(UNIX_EPOCH).is_ok_and(|now| now.as_secs() >= self.expires)
    }
}

/// A token that was made. Its secret is shown this once.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct NewToken {
    /// The secret.
    pub token: String,
    /// What is kept of it.
    #[serde(flatten)]
    pub kept: Token,
}

/// What a new token is for.
#[derive(Debug, Clone)]
pub struct TokenOptions {
    /// Whose it is.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// The stages that it is for.
    pub stages: Vec<String>,
    /// For how many days.
    pub days: u32,
}

/// Makes a token and adds it to a file, which is made if need be.
///
/// # Errors
/// When the file cannot be read or written.
pub fn create(session: &Session, file: &Path, options: &TokenOptions) -> Result<NewToken, Error> {
    let path = session.cwd.join(file);
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::io("make a token", "", io::Error::other(error.to_string())))?;
    let token = format!("{PREFIX}{}", hex::encode(bytes));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let kept = Token {
        name: options.name.clone(),
        digest: Digest::of(token.as_bytes()),
        scopes: options.scopes.clone(),
        stages: options.stages.clone(),
        expires: (now + DAY * options.days).as_secs(),
    };
    let folder = project::make_folder(session, path.parent().unwrap_or(&path))?;
    // Two programs that each add a token take turns. A server only reads.
    let fail = |error| Error::io("write", &path, error);
    let lock = folder.open_or_create(".pib-tokens-lock").map_err(fail)?;
    lock.lock().map_err(fail)?;
    let mut tokens = read(&path).map_err(|error| Error::io("read", &path, error))?;
    tokens.push(kept.clone());
    write(&folder, &path, &tokens)?;
    Ok(NewToken { token, kept })
}

/// Returns the tokens in a file; none where there is no file.
pub(super) fn read(path: &Path) -> io::Result<Vec<Token>> {
    if std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o022 != 0) {
        let reason = "others may write it, and so let themselves in: chmod go-w it, and look at who is in it";
        return Err(io::Error::other(reason));
    }
    match pib_file::read(path, MAX_FILE) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Returns a text with no secret of a token in it.
pub(super) fn hide_tokens(text: &str) -> String {
    let mut parts = text.split(PREFIX);
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|letter: char| letter.is_ascii_alphanumeric());
        shown += PREFIX;
        shown += if rest.len() < part.len() { "***" } else { "" };
        shown += rest;
    }
    shown
}

fn write(folder: &Folder, path: &Path, tokens: &[Token]) -> Result<(), Error> {
    use std::io::Write as _;
    let text = serde_json::to_string_pretty(tokens).unwrap_or_default() + "\n";
    let save = || {
        let mut file = folder.output(path.file_name().unwrap_or_default())?.create()?;
        file.file().write_all(text.as_bytes())?;
        file.keep(std::os::unix::fs::PermissionsExt::from_mode(0o600))
    };
    save().map_err(|error| Error::io("write", path, error))
}

/// Returns the token of this secret, if it is one that has not ended.
pub(super) fn find(path: &Path, secret: &str, now: SystemTime) -> io::Result<Option<Token>> {
    let digest = Digest::of(secret.as_bytes());
    let found = read(path)?.into_iter().find(|token| token.digest == digest);
    Ok(found.filter(|token| !token.has_expired(now)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_what_it_says() {
        let token = Token {
            name: "acme".to_owned(),
            digest: Digest::of(b""),
            scopes: vec![Scope::PublishUpdate],
            stages: vec!["acme-*".to_owned(), "kvm".to_owned()],
            expires: 100,
        };
        let allows = |scope, stage: &str| token.allows(scope, &stage.parse().unwrap());
        assert!(allows(Scope::PublishUpdate, "acme-web") && allows(Scope::PublishUpdate, "kvm"));
        assert!(!allows(Scope::PublishUpdate, "kvm-two") && !allows(Scope::PublishUpdate, "acm"));
        assert!(!allows(Scope::PublishNew, "kvm") && !allows(Scope::Yank, "kvm"));
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(!token.has_expired(at(99)) && token.has_expired(at(100)));
    }
}
