//! How this process reaches pib: by the socket that the build's session carries, or, where the engine has no such session, by a
//! port of the machine that pib runs on, with a token that only this build knows.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The variable that names the port, the token and the addresses. Engines keep it in no image, no history and no key of their
/// caches.
pub(crate) const VARIABLE: &str = "ftp_proxy";
/// How the value begins, which is `pib://TOKEN@ADDRESS:PORT[,ADDRESS:PORT]...`.
const SCHEME: &str = "pib://";
/// What a program calls itself that has the token.
const USER: &str = "pib";
/// How long an address may take to answer, before the next one is tried.
const PATIENCE: Duration = Duration::from_secs(3);

/// A way to pib.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// The socket at this path.
    Socket(PathBuf),
    /// A port.
    Port {
        /// Its address.
        address: SocketAddr,
        /// What lets this build in.
        token: String,
    },
}

impl Route {
    /// Returns the way, where there is one: the socket, or the first address of the variable's value that lets this build in.
    ///
    /// # Errors
    /// When the value names no address at which pib answers.
    pub(crate) fn find(socket: &Path, given: Option<&str>) -> io::Result<Option<Self>> {
        use std::os::unix::fs::FileTypeExt as _;
        // Without a recorder there is an empty file at its place.
        if std::fs::metadata(socket).is_ok_and(|found| found.file_type().is_socket()) {
            return Ok(Some(Self::Socket(socket.to_owned())));
        }
        let Some((token, addresses)) = given.and_then(parse) else { return Ok(None) };
        let mut last = io::Error::other("no address is known");
        for address in addresses {
            let route = Self::Port { address, token: token.clone() };
            match route.connect() {
                Ok(_) => return Ok(Some(route)),
                Err(error) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
            }
        }
        Err(last)
    }

    /// Opens a connection to the recorder.
    ///
    /// # Errors
    /// When nobody answers.
    pub(crate) fn connect(&self) -> io::Result<UnixStream> {
        match self {
            Self::Socket(path) => UnixStream::connect(path),
            Self::Port { address, token } => {
                let mut stream = TcpStream::connect_timeout(address, PATIENCE)?;
                stream.set_nodelay(true)?;
                stream.write_all(format!("{USER} {token}\n").as_bytes())?;
                // What is done with it are calls that every stream socket has.
                Ok(UnixStream::from(OwnedFd::from(stream)))
            }
        }
    }

    /// Returns the proxy that programs are to use by themselves: that is so where this container shares the network of pib's
    /// machine, on which a port of this process would be open to everybody.
    pub(crate) fn proxy(&self) -> Option<String> {
        match self {
            Self::Port { address, token } if address.ip().is_loopback() => {
                Some(format!("http://{USER}:{token}@{address}"))
            }
            Self::Port { .. } | Self::Socket(_) => None,
        }
    }
}

/// Returns whether a value of the variable is pib's.
pub(crate) fn is_own(given: &str) -> bool {
    given.starts_with(SCHEME)
}

/// Reads the variable's value.
fn parse(given: &str) -> Option<(String, Vec<SocketAddr>)> {
    let (token, addresses) = given.strip_prefix(SCHEME)?.split_once('@')?;
    let addresses = addresses.split(',').map(|address| address.parse().ok()).collect::<Option<Vec<_>>>()?;
    Some((token.to_owned(), addresses))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn values_of_others_name_no_way() {
        let (token, addresses) = parse("pib://a1@172.17.0.1:4000,127.0.0.1:4000").unwrap();
        assert_eq!(token, "a1");
        assert_eq!(addresses, ["172.17.0.1:4000".parse().unwrap(), "127.0.0.1:4000".parse().unwrap()]);
        for other in ["", "http://proxy.example:3128", "pib://a1", "pib://a1@", "pib://a1@name:80"] {
            assert_eq!(parse(other), None, "{other}");
            assert_eq!(Route::find(Path::new("/no/such/place"), Some(other)).unwrap(), None);
        }
    }

    #[test]
    fn the_first_address_that_answers_is_taken() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let address = listener.local_addr().unwrap();
        let find = |value: String| Route::find(Path::new("/no/such/place"), Some(&value));
        let route = find(format!("pib://a1@{gone},{address}")).unwrap().unwrap();
        assert_eq!(route.proxy().unwrap(), format!("http://pib:a1@{address}"));
        let mut said = String::new();
        listener.accept().unwrap().0.take(7).read_to_string(&mut said).unwrap();
        assert_eq!(said, "pib a1\n");
        assert!(find(format!("pib://a1@{gone}")).unwrap_err().to_string().contains(&gone.to_string()));
        let far = Route::Port { address: "172.17.0.1:4000".parse().unwrap(), token: "a1".to_owned() };
        assert_eq!((far.proxy(), Route::Socket("/x".into()).proxy()), (None, None));
    }
}
