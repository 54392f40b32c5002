//! The addresses of repositories: which there are, and what they lead to.

use std::fmt;

use url::Url;

use super::GitError;

/// A repository's address, as a manifest, a `.gitmodules` or git's own `insteadOf` gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    text: String,
    pub(super) location: Location,
}

/// What an address leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Location {
    /// A web server that speaks git's smart protocol.
    Web(Url),
    /// A machine that is reached by ssh.
    Ssh(SshLocation),
    /// A folder on this machine.
    File,
}

/// A repository behind ssh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SshLocation {
    /// The user there, where the address names one.
    pub(super) user: Option<String>,
    /// The machine, or its alias in the user's ssh configuration.
    pub(super) host: String,
    /// The port, where the address names one.
    pub(super) port: Option<u16>,
    /// The folder there.
    pub(super) path: String,
}

impl Address {
    /// Reads an address that a person wrote.
    ///
    /// # Errors
    /// When it is none that pib fetches from, or holds a password: it would be copied into the lock.
    pub(super) fn parse(text: &str) -> Result<Self, GitError> {
        let address = Self::parse_any(text)?;
        if let Location::Web(url) = &address.location
            && url.password().is_some()
        {
            return Err(GitError::Address {
                url: address.to_string(),
                reason: "it holds a password, which would be copied into pib.lock".to_owned(),
                help: "Leave the password out and have a git credential helper give it, or let git's \
                       `url.<base>.insteadOf` setting add it."
                    .to_owned(),
            });
        }
        Ok(address)
    }

    /// Reads an address that git's own configuration may have rewritten, and so may hold a password.
    pub(super) fn parse_any(text: &str) -> Result<Self, GitError> {
        let bad = |reason: &str, help: &str| GitError::Address {
            url: hide_password(text),
            reason: reason.to_owned(),
            help: help.to_owned(),
        };
        let forms = "Write it as https://HOST/PATH, ssh://USER@HOST/PATH, USER@HOST:PATH or file:///FOLDER.";
        let location = match text.split_once("://") {
            Some(("https" | "http", _)) => Location::Web(web(text).map_err(|reason| bad(&reason, forms))?),
            Some(("ssh" | "git+ssh" | "ssh+git", rest)) => {
                Location::Ssh(ssh_url(rest).map_err(|reason| bad(reason, forms))?)
            }
            Some(("file", rest)) if rest.starts_with('/') => Location::File,
            Some(("file", _)) => return Err(bad("a file:// address names a folder from the root", forms)),
            Some(("git", rest)) => {
                let help = format!(
                    "git:// has neither encryption nor a proof of who answers. Use https://{rest} or ssh://{rest}."
                );
                return Err(bad("git:// is not safe, and pib does not use it", &help));
            }
            Some(_) => return Err(bad("pib does not know this scheme", forms)),
            None => Location::Ssh(scp(text).map_err(|reason| bad(reason, forms))?),
        };
        Ok(Self { text: text.to_owned(), location })
    }

    /// Returns the text that git gets.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns whether the network is needed to reach it.
    pub(super) fn is_remote(&self) -> bool {
        self.location != Location::File
    }

    /// Returns a short name for people and for the name of a folder: the last part of the path.
    pub(super) fn short_name(&self) -> &str {
        let last = self.text.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
        last.strip_suffix(".git").unwrap_or(last)
    }

    /// Returns the address without what makes no difference, to tell whether two are of one repository.
    pub(super) fn canonical(&self) -> &str {
        let text = self.text.trim_end_matches('/');
        text.strip_suffix(".git").unwrap_or(text)
    }

    /// Returns the address of a submodule, which may be relative to this one.
    ///
    /// # Errors
    /// When it is none, or leads from another machine's repository to this machine's folders.
    pub(super) fn submodule(&self, url: &str) -> Result<Self, GitError> {
        let address = if url.starts_with("./") || url.starts_with("../") {
            let full = relative(self.text.trim_end_matches('/'), url).ok_or_else(|| GitError::Address {
                url: url.to_owned(),
                reason: format!("it leads out of {self}"),
                help: "Correct the submodule's url in the repository's .gitmodules.".to_owned(),
            })?;
            Self::parse_any(&full)?
        } else {
            Self::parse(url)?
        };
        if address.location == Location::File && self.location != Location::File {
            return Err(GitError::Address {
                url: address.to_string(),
                reason: format!("{self} is elsewhere and may not name folders of this machine"),
                help: "Correct the submodule's url in the repository's .gitmodules.".to_owned(),
            });
        }
        Ok(address)
    }
}

/// Returns whether the repository at `url` is reached by the user's ssh.
pub fn takes_ssh(url: &str) -> bool {
    Address::parse(url).is_ok_and(|address| matches!(address.location, Location::Ssh(_)))
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hide_password(&self.text))
    }
}

/// Returns the text without a password, for messages.
fn hide_password(text: &str) -> String {
    match Url::parse(text) {
        Ok(mut url) if url.password().is_some() => match url.set_password(None) {
            Ok(()) => url.into(),
            Err(()) => "(an address with a password)".to_owned(),
        },
        _ => text.chars().take(200).collect(),
    }
}

fn web(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("it is not a URL ({error})"))?;
    // A credential helper gets the address line by line.
    if percent_encoding::percent_decode_str(text).any(|byte| byte.is_ascii_control()) {
        return Err("it holds a control character".to_owned());
    }
    match url.host_str() {
        Some(host) if !host.is_empty() => Ok(url),
        _ => Err("it names no host".to_owned()),
    }
}

fn ssh_url(rest: &str) -> Result<SshLocation, &'static str> {
    let (authority, path) = rest.split_once('/').ok_or("it names no path")?;
    let (user, host) = split_user(authority);
    let (host, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => host.split_once(':').map_or((host, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map(|port| port.parse().map_err(|_| "its port is no number")).transpose()?;
    // `/~user/...` is relative to a home folder; everything else is from the root.
    let path = if path.starts_with('~') { path.to_owned() } else { format!("/{path}") };
    check_ssh(SshLocation { user, host: host.to_owned(), port, path })
}

/// Reads `[USER@]HOST:PATH`.
fn scp(text: &str) -> Result<SshLocation, &'static str> {
    let (authority, path) = match text.split_once(":") {
        Some((_, path)) if path.starts_with(':') => {
            return Err("it names a helper of git, which pib does not run");
        }
        Some((authority, path)) if !authority.contains('/') => (authority, path),
        _ => return Err("it is a path, not an address"),
    };
    let (user, host) = split_user(authority);
    check_ssh(SshLocation { user, host: host.to_owned(), port: None, path: path.to_owned() })
}

fn split_user(authority: &str) -> (Option<String>, &str) {
    match authority.rsplit_once('@') {
        // A password has no use with ssh, and would only be shown to other users of the machine.
        Some((user, host)) => (user.split(':').next().map(str::to_owned), host),
        None => (None, authority),
    }
}

/// Refuses what `ssh` would take for an option.
fn check_ssh(location: SshLocation) -> Result<SshLocation, &'static str> {
    let user = location.user.as_deref().unwrap_or("git");
    if location.host.is_empty() || user.is_empty() {
        return Err("it names no host or no user");
    }
    if location.host.starts_with('-') || user.starts_with('-') || location.path.starts_with('-') {
        return Err("a part of it begins with `-`, which would be an option of ssh");
    }
    if location.path.trim_matches('/').is_empty() {
        return Err("it names no path");
    }
    Ok(location)
}

/// Returns `base` with a relative path applied, `None` where that leads out of the host.
fn relative(base: &str, path: &str) -> Option<String> {
    let mut base = base.to_owned();
    let mut rest = path;
    loop {
        if let Some(further) = rest.strip_prefix("./") {
            rest = further;
        } else if let Some(further) = rest.strip_prefix("../") {
            let at = base.rfind(['/', ':'])?;
            // What is left must not end within `scheme://host`.
            let start = base.find("://").map_or(0, |at| at + 3);
            if at <= start || !base[start..at].contains(['/', ':']) && base[at..].starts_with(':') {
                return None;
            }
            base.truncate(at);
            rest = further;
        } else {
            let separator = if base.contains("://") || base.contains(':') { '/' } else { ':' };
            return Some(format!("{base}{separator}{rest}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh(text: &str) -> SshLocation {
        match Address::parse(text).unwrap().location {
            Location::Ssh(location) => location,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn refused(text: &str) -> String {
        Address::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn addresses_lead_where_git_says() {
        let location = ssh("git@example.org:acme/kvm.git");
        assert_eq!(
            (location.user.as_deref(), &*location.host, &*location.path),
            (Some("git"), "example.org", "acme/kvm.git")
        );
        let location = ssh("ssh://me@example.org:2222/acme/kvm");
        assert_eq!((location.port, &*location.path), (Some(2222), "/acme/kvm"));
        assert_eq!(ssh("ssh://[::1]:22/~me/kvm").path, "~me/kvm");
        assert_eq!(Address::parse("file:///srv/kvm").unwrap().location, Location::File);
        assert_eq!(Address::parse("https://example.org/kvm.git").unwrap().short_name(), "kvm");
    }

    #[test]
    fn unsafe_and_unknown_addresses_are_refused_with_advice() {
        assert!(refused("git://example.org/kvm").contains("not safe"));
        assert!(refused("ext::sh -c x").contains("helper of git"));
        assert!(refused("ssh://-oProxyCommand=x/y").contains("option"));
        assert!(refused("-oProxyCommand=x:y").contains("option"));
        assert!(refused("../kvm").contains("a path"));
        assert!(refused("ftp://example.org/kvm").contains("scheme"));
        assert!(refused("https://").contains("not a URL"));
        for newline in ["%0a", "%0D", "%00", "\n"] {
            let text = format!("https://evil.example/x{newline}host=trusted.example");
            assert!(refused(&text).contains("control character"), "{text}");
        }
        let secret = refused("https://me:hunter2@example.org/kvm");
        assert!(secret.contains("password") && !secret.contains("hunter2"), "{secret}");
    }

    #[test]
    fn submodules_are_relative_to_their_repository_and_stay_off_this_machine() {
        let base = Address::parse("https://example.org/acme/kvm.git").unwrap();
        assert_eq!(base.submodule("../lib.git").unwrap().text(), "https://example.org/acme/lib.git");
        assert_eq!(base.submodule("../../other/lib").unwrap().text(), "https://example.org/other/lib");
        assert!(base.submodule("../../../../lib").is_err());
        assert!(base.submodule("file:///etc").is_err());
        assert!(base.submodule("/etc").is_err());
        let base = Address::parse("git@example.org:acme/kvm.git").unwrap();
        assert_eq!(base.submodule("../lib.git").unwrap().text(), "git@example.org:acme/lib.git");
        let base = Address::parse("file:///srv/kvm").unwrap();
        assert_eq!(base.submodule("../lib").unwrap().text(), "file:///srv/lib");
    }
}
