//! The addresses at which engines are reached.

use std::path::PathBuf;

use super::error::EngineError;

/// An engine's address, of a kind that pib can dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Unix(PathBuf),
    Tcp { host: String, tls: bool },
    Ssh(SshPlace),
}

/// Where an engine behind ssh is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SshPlace {
    pub(super) user: Option<String>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    /// The engine's socket over there, where it is not the usual one.
    pub(super) socket: Option<String>,
}

impl Address {
    /// Reads what `DOCKER_HOST` may hold.
    pub(super) fn parse(address: &str) -> Result<Self, EngineError> {
        let parsed = match address.split_once("://") {
            None if address.starts_with('/') => Ok(Self::Unix(address.into())),
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(("unix", _)) => Err("the path must be absolute"),
            Some(("tcp" | "http", host)) => tcp(host, false),
            Some(("https", host)) => tcp(host, true),
            Some(("ssh", place)) => SshPlace::parse(place).map(Self::Ssh),
            _ => Err("it is of a kind that pib does not speak"),
        };
        parsed
            .map_err(|reason| EngineError::Address { address: address.to_owned(), reason: reason.to_owned() })
    }

    /// Returns whether it is a place on this machine.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp { host, .. } => {
                ["127.", "localhost:", "[::1]:"].iter().any(|local| host.starts_with(local))
            }
            Self::Ssh(_) => false,
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, .. } => write!(f, "tcp://{host}"),
            Self::Ssh(place) => {
                let user = place.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
                let port = place.port.map(|port| format!(":{port}")).unwrap_or_default();
                write!(f, "ssh://{user}{}{port}{}", place.host, place.socket.as_deref().unwrap_or_default())
            }
        }
    }
}

fn tcp(host: &str, tls: bool) -> Result<Address, &'static str> {
    let host = host.trim_end_matches('/');
    let port = host.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)));
    match port {
        Some((name, _)) if !name.is_empty() => Ok(Address::Tcp { host: host.to_owned(), tls }),
        _ => Err("expected host:port"),
    }
}

impl SshPlace {
    /// Returns what a person tells ssh to get there.
    pub(super) fn login(&self) -> String {
        let port = self.port.map(|port| format!("-p {port} ")).unwrap_or_default();
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        format!("{port}{user}{}", self.host)
    }

    /// Reads `[USER@]HOST[:PORT][/SOCKET]`. Everything that a shell or ssh could take for something else is
    /// refused: the socket becomes a part of a command on the other side.
    fn parse(place: &str) -> Result<Self, &'static str> {
        let (login, socket) = match place.find('/') {
            Some(at) => (&place[..at], place[at..].trim_end_matches('/')),
            None => (place, ""),
        };
        let (user, host) = match login.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, login),
        };
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| "the port is no number")?)),
            None => (host, None),
        };
        let plain = |text: &str, more: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err("a password in it is of no use: ssh takes keys");
        }
        if !plain(host, ".-_") || user.is_some_and(|user| !plain(user, ".-_+@\\")) {
            return Err("expected [user@]host[:port]");
        }
        if !socket.is_empty() && !plain(socket, "/.-_+") {
            return Err("the socket's path may have only letters, digits and /.-_+");
        }
        Ok(Self {
            user: user.map(str::to_owned),
            host: host.to_owned(),
            port,
            socket: (!socket.is_empty()).then(|| socket.to_owned()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        let tcp = |host: &str, tls| Address::Tcp { host: host.to_owned(), tls };
        for (text, address) in [
            ("unix:///a/b", Address::Unix("/a/b".into())),
            ("/a/b", Address::Unix("/a/b".into())),
            ("tcp://h:2375/", tcp("h:2375", false)),
            ("https://h:2376", tcp("h:2376", true)),
        ] {
            assert_eq!(Address::parse(text).unwrap(), address, "{text}");
        }
        assert!(Address::parse("tcp://127.0.0.1:1").unwrap().is_local());
        assert!(!Address::parse("tcp://pi:1").unwrap().is_local());
        assert!(!Address::parse("ssh://pi").unwrap().is_local());
        for bad in ["", "unix://a", "tcp://h", "tcp://:1", "tcp://h:99999", "npipe://x", "h:1"] {
            assert!(matches!(Address::parse(bad), Err(EngineError::Address { .. })), "{bad}");
        }
    }

    #[test]
    fn places_behind_ssh_are_plain_words() {
        let place = |text: &str| match Address::parse(text) {
            Ok(Address::Ssh(place)) => place,
            other => panic!("{text}: {other:?}"),
        };
        let whole = place("ssh://pi@lab.example:2222/run/user/1000/podman/podman.sock");
        assert_eq!(
            (whole.user.as_deref(), whole.host.as_str(), whole.port),
            (Some("pi"), "lab.example", Some(2222))
        );
        assert_eq!(whole.socket.as_deref(), Some("/run/user/1000/podman/podman.sock"));
        assert_eq!(place("ssh://lab/").socket, None);
        for text in ["ssh://pi@lab.example:2222/run/x.sock", "ssh://lab"] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        for bad in [
            "ssh://",
            "ssh://-oProxyCommand=x",
            "ssh://a b",
            "ssh://u:p@h",
            "ssh://h:x",
            "ssh://h/a;b",
            "ssh://h/$(x)",
            "ssh://@h",
            "ssh://-x@h",
            "ssh://h/a b",
        ] {
            assert!(matches!(Address::parse(bad), Err(EngineError::Address { .. })), "{bad}");
        }
    }
}
