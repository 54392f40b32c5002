//! Where a stage comes from, with one canonical text for each place.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::redaction::is_token;

/// The canonical name of the registry that is embedded in the binary.
const BUNDLED: &str = "bundled";

/// The place that a stage comes from.
///
/// Its text is what `pib.lock` holds, so it never changes for the same place:
///
/// | place | text |
/// |---|---|
/// | the bundled registry | `bundled` |
/// | another registry | `registry+https://stages.acme.example/` |
/// | git | `git+https://example.org/kvm.git?tag=v3&path=stages/kvm#<commit>` |
/// | a folder | `path+stages/mine` |
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SourceId {
    /// A registry.
    Registry(RegistrySource),
    /// A git repository, before or after its reference became a commit.
    Git(GitSource),
    /// A folder, relative to the project.
    Path(PathSource),
}

/// A registry: the bundled one, or one reached by URL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistrySource(Option<String>);

/// A git repository, what to take from it, and the commit once that is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GitSource {
    url: String,
    reference: GitReference,
    path: Option<String>,
    commit: Option<String>,
}

/// A folder, written relative to the project with `/` between the parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathSource(String);

/// What a manifest asks for in a git repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GitReference {
    /// The repository's default branch.
    #[default]
    Default,
    /// The tip of a branch.
    Branch(String),
    /// A tag.
    Tag(String),
    /// A commit or its first digits, or the full name of a reference such as `refs/pull/3/head`.
    Rev(String),
}

/// Says why a text names no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a source: {reason}")]
pub struct SourceIdError {
    /// The text that was given, cut to a length fit for a message.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl SourceId {
    /// Returns the registry that is embedded in the binary.
    pub fn bundled() -> Self {
        Self::Registry(RegistrySource(None))
    }

    /// Returns the registry at `url`; a missing slash at its end is added.
    ///
    /// # Errors
    /// When the text is empty or holds blanks, control characters, or a user or a password: the lock would hold them.
    pub fn registry(url: &str) -> Result<Self, SourceIdError> {
        let trimmed = url.trim_end_matches('/');
        check_text(trimmed, url)?;
        let (_, user, _) = split_user(url);
        if !user.is_empty()
            || Url::parse(url).is_ok_and(|url| !url.username().is_empty() || url.password().is_some())
        {
            let reason = "a registry's address has no user and no password before the host, since pib.lock would hold \
                          them; a token belongs in config.toml in pib's config folder";
            return Err(bad(url, reason));
        }
        Ok(Self::Registry(RegistrySource(Some(format!("{trimmed}/")))))
    }

    /// Returns the folder at `path`, relative to the project.
    ///
    /// # Errors
    /// When the path is empty or holds control characters.
    pub fn path(path: &str) -> Result<Self, SourceIdError> {
        if path.is_empty() {
            return Err(bad(path, "the path is empty"));
        }
        if path.chars().any(char::is_control) {
            return Err(bad(path, "a path holds no line breaks or other control characters"));
        }
        Ok(Self::Path(PathSource(path.to_owned())))
    }

    /// Returns whether this is a registry, where one name has many versions.
    pub fn is_registry(&self) -> bool {
        matches!(self, Self::Registry(_))
    }

    /// Returns whether `self` is the place that a manifest means by `wanted`.
    ///
    /// A git source with a commit satisfies the same one without: the manifest says `tag = "v3"`, the lock
    /// says which commit that was.
    pub fn satisfies(&self, wanted: &SourceId) -> bool {
        match (self, wanted) {
            (Self::Git(own), Self::Git(asked)) => {
                own.url == asked.url
                    && own.reference == asked.reference
                    && own.path == asked.path
                    && (asked.commit.is_none() || own.commit == asked.commit)
            }
            _ => self == wanted,
        }
    }

    /// Returns the source in a person's words, e.g. `the bundled registry`.
    pub fn describe(&self) -> String {
        match self {
            Self::Registry(RegistrySource(None)) => "the bundled registry".to_owned(),
            Self::Registry(RegistrySource(Some(url))) => format!("the registry {url}"),
            Self::Git(git) => format!("the git repository {git}"),
            Self::Path(path) => format!("the folder `{}`", path.as_str()),
        }
    }
}

impl RegistrySource {
    /// Returns the URL of the index; `None` for the bundled registry.
    pub fn url(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl PathSource {
    /// Returns the path, relative to the project.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl GitSource {
    /// Returns the stage at `path` (the root if `None`) of the repository at `url`, as `reference` has it.
    ///
    /// # Errors
    /// When the URL is empty or holds a blank, `?` or `#`, or the reference or the path is empty.
    pub fn new(url: &str, reference: GitReference, path: Option<&str>) -> Result<Self, SourceIdError> {
        let trimmed = url.trim_end_matches('/');
        check_text(trimmed, url)?;
        if is_token(split_user(trimmed).1.trim_end_matches('@')) {
            let reason = "the address of a web server has no token before the host, since pib.toml and pib.lock would hold it; git's \
                          own credential helpers keep tokens";
            return Err(bad(url, reason));
        }
        if trimmed.contains(['?', '#']) {
            return Err(bad(url, "a git URL has no `?` or `#`; give the tag, branch or rev by its own key"));
        }
        let empty = match &reference {
            GitReference::Default => false,
            GitReference::Branch(text) | GitReference::Tag(text) | GitReference::Rev(text) => text.is_empty(),
        };
        if empty {
            return Err(bad(url, "the branch, tag or rev is empty"));
        }
        if path == Some("") {
            return Err(bad(url, "the path inside the repository is empty"));
        }
        Ok(Self { url: trimmed.to_owned(), reference, path: path.map(str::to_owned), commit: None })
    }

    /// Returns the same source, fixed to `commit`.
    ///
    /// # Errors
    /// When `commit` is not 40 or 64 lower-case hex digits.
    pub fn at_commit(mut self, commit: &str) -> Result<Self, SourceIdError> {
        let hex = commit.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !hex || !matches!(commit.len(), 40 | 64) {
            return Err(bad(commit, "a git commit is 40 or 64 lower-case hex digits"));
        }
        self.commit = Some(commit.to_owned());
        Ok(self)
    }

    /// Returns the repository's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns what the manifest asks for.
    pub fn reference(&self) -> &GitReference {
        &self.reference
    }

    /// Returns the folder inside the repository; `None` is its root.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// Returns the commit that the reference stands for, where that is known.
    pub fn commit(&self) -> Option<&str> {
        self.commit.as_deref()
    }

    fn parse(text: &str) -> Result<Self, SourceIdError> {
        let (rest, commit) = match text.split_once('#') {
            Some((rest, commit)) => (rest, Some(commit)),
            None => (text, None),
        };
        let (url, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut reference = GitReference::Default;
        let mut path = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').ok_or_else(|| bad(text, "a query is `key=value`"))?;
            let value = unescape(value).ok_or_else(|| bad(text, "a `%` is followed by two hex digits"))?;
            match key {
                "branch" => reference = GitReference::Branch(value),
                "tag" => reference = GitReference::Tag(value),
                "rev" => reference = GitReference::Rev(value),
                "path" => path = Some(value),
                _ => return Err(bad(text, "the keys of a git source are branch, tag, rev and path")),
            }
        }
        let source = Self::new(url, reference, path.as_deref())?;
        match commit {
            Some(commit) => source.at_commit(commit),
            None => Ok(source),
        }
    }
}

impl fmt::Display for GitSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)?;
        let reference = match &self.reference {
            GitReference::Default => None,
            GitReference::Branch(text) => Some(("branch", text)),
            GitReference::Tag(text) => Some(("tag", text)),
            GitReference::Rev(text) => Some(("rev", text)),
        };
        let path = self.path.as_ref().map(|path| ("path", path));
        for (position, (key, value)) in reference.into_iter().chain(path).enumerate() {
            write!(f, "{}{key}={}", if position == 0 { '?' } else { '&' }, escape(value))?;
        }
        match &self.commit {
            Some(commit) => write!(f, "#{commit}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(RegistrySource(None)) => f.write_str(BUNDLED),
            Self::Registry(RegistrySource(Some(url))) => write!(f, "registry+{url}"),
            Self::Git(git) => write!(f, "git+{git}"),
            Self::Path(path) => write!(f, "path+{}", path.as_str()),
        }
    }
}

impl FromStr for SourceId {
    type Err = SourceIdError;

    fn from_str(text: &str) -> Result<Self, SourceIdError> {
        if text == BUNDLED {
            Ok(Self::bundled())
        } else if let Some(url) = text.strip_prefix("registry+") {
            Self::registry(url)
        } else if let Some(git) = text.strip_prefix("git+") {
            GitSource::parse(git).map(Self::Git)
        } else if let Some(path) = text.strip_prefix("path+") {
            Self::path(path)
        } else {
            Err(bad(text, "expected `bundled`, `registry+URL`, `git+URL` or `path+FOLDER`"))
        }
    }
}

impl TryFrom<String> for SourceId {
    type Error = SourceIdError;

    fn try_from(text: String) -> Result<Self, SourceIdError> {
        text.parse()
    }
}

impl From<SourceId> for String {
    fn from(source: SourceId) -> Self {
        source.to_string()
    }
}

impl From<GitSource> for SourceId {
    fn from(source: GitSource) -> Self {
        Self::Git(source)
    }
}

/// Returns the error for a text, which is shown without a user and a password of a web server.
fn bad(text: &str, reason: &'static str) -> SourceIdError {
    let (scheme, user, rest) = split_user(text);
    let user = if user.is_empty() { "" } else { "***@" };
    SourceIdError { text: format!("{scheme}{user}{rest}").chars().take(200).collect(), reason }
}

/// Splits a web address into its scheme, what stands before its host with the `@`, and the rest.
fn split_user(text: &str) -> (&str, &str, &str) {
    let lower = text.to_ascii_lowercase();
    let Some(scheme) = ["https:", "http:"].iter().find_map(|scheme| Some(lower.find(scheme)? + scheme.len()))
    else {
        return (text, "", "");
    };
    // As browsers read it, any number of slashes will do.
    let start = text.len() - text[scheme..].trim_start_matches(['/', '\\']).len();
    let end = text[start..].find(['/', '\\', '?', '#']).map_or(text.len(), |at| start + at);
    let host = text[start..end].rfind('@').map_or(start, |at| start + at + 1);
    (&text[..start], &text[start..host], &text[host..])
}

fn check_text(trimmed: &str, given: &str) -> Result<(), SourceIdError> {
    if trimmed.is_empty() {
        return Err(bad(given, "the URL is empty"));
    }
    if trimmed.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(bad(given, "a URL holds no blanks or control characters"));
    }
    Ok(())
}

/// Writes every byte that could be taken for the syntax around it as `%XX`.
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/@^".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let (high, low) = (char::from(rest.next()?), char::from(rest.next()?));
            bytes.push((high.to_digit(16)? * 16 + low.to_digit(16)?) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
#[path = "source_id_tests.rs"]
mod tests;
