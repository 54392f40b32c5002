//! Leads what the command fetches to pib: a port of this container, of which the command is told as its web proxy, to the
//! socket that the build's session carries.
//!
//! A process of its own does it, for as long as this container is there. It knows nothing of what it carries. pib says, to
//! the first who asks, which variables the command is to get; `{proxy}` in a value stands for the port's address.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sys;

/// Where pib's socket is mounted, if it is.
pub(crate) const SOCKET: &str = "/.pib/recorder";

/// The port that is taken where it is free. It is always the same, so that what writes down its surroundings writes the
/// same each time.
const PORT: u16 = 8063;
/// What pib is asked.
const QUESTION: &[u8] = b"GET /environment HTTP/1.1\r\nHost: pib\r\nConnection: close\r\n\r\n";
/// The longest answer, in bytes.
const MAX_ANSWER: u64 = 64 << 10;
/// How long pib may take for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Begins to lead connections to the socket, where there is one, and sets the variables that pib names.
///
/// # Errors
/// When pib does not answer, or the port cannot be opened.
pub(crate) fn start(socket: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    // Without a recorder there is an empty file at its place.
    if !std::fs::metadata(socket).is_ok_and(|found| found.file_type().is_socket()) {
        return Ok(());
    }
    let variables = ask(socket)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let proxy = format!("http://{}", listener.local_addr()?);
    if sys::split()? {
        serve(&listener, socket);
    }
    for (name, value) in variables {
        // SAFETY: this process has one thread.
        #[allow(unsafe_code)]
        unsafe {
            std::env::set_var(name, value.replace("{proxy}", &proxy));
        }
    }
    Ok(())
}

/// Asks pib which variables the command is to get.
fn ask(socket: &Path) -> io::Result<Vec<(String, String)>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(QUESTION)?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer).map_err(|_| io::Error::other("its answer is not text"))?;
    variables(&answer).ok_or_else(|| io::Error::other("its answer is not a list of variables"))
}

/// Reads an answer: a `NAME=value` on each line after the head.
fn variables(answer: &str) -> Option<Vec<(String, String)>> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let is_good = head.split(' ').nth(1) == Some("200");
    let line = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    is_good.then(|| body.lines().map(line).collect::<Option<_>>()).flatten()
}

/// Leads each connection to the socket; ends with the container.
fn serve(listener: &TcpListener, socket: &Path) -> ! {
    loop {
        let Ok((connection, _)) = listener.accept() else {
            // No more descriptors: some come back when connections end.
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        let socket: PathBuf = socket.to_owned();
        // Where there are no more threads, the connection is closed.
        let _ = std::thread::Builder::new().spawn(move || carry(connection, &socket));
    }
}

/// Carries bytes both ways until both sides have ended.
fn carry(near: TcpStream, socket: &Path) {
    let Ok(far) = UnixStream::connect(socket) else { return };
    let (Ok(mut near_read), Ok(mut far_read)) = (near.try_clone(), far.try_clone()) else { return };
    let (mut near, mut far) = (near, far);
    let _ = near.set_nodelay(true);
    let there = std::thread::Builder::new().spawn(move || {
        let _ = io::copy(&mut near_read, &mut far);
        let _ = far.shutdown(Shutdown::Write);
    });
    let _ = io::copy(&mut far_read, &mut near);
    // pib sends nothing more. Closing both directions tells a client that still sends.
    let _ = near.shutdown(Shutdown::Both);
    if let Ok(there) = there {
        let _ = there.join();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn an_answer_tells_variables() {
        let good = "HTTP/1.1 200 OK\r\nx: y\r\n\r\nhttp_proxy={proxy}\nA=b=c\n";
        let expected = [("http_proxy", "{proxy}"), ("A", "b=c")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(variables(good).unwrap(), expected);
        for bad in
            ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 503 No\r\n\r\nA=b", "HTTP/1.1 200 OK\r\n\r\nno variable"]
        {
            assert_eq!(variables(bad), None, "{bad}");
        }
    }

    #[test]
    fn bytes_go_both_ways() {
        let folder = std::env::temp_dir().join(format!("pib-relay-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let far = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut all = String::new();
            stream.read_to_string(&mut all).unwrap();
            stream.write_all(all.to_uppercase().as_bytes()).unwrap();
        });
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = port.local_addr().unwrap();
        let near = std::thread::spawn(move || carry(port.accept().unwrap().0, &path));
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(b"some words").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut all = String::new();
        client.read_to_string(&mut all).unwrap();
        assert_eq!(all, "SOME WORDS");
        far.join().unwrap();
        near.join().unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn without_a_socket_nothing_is_led_anywhere() {
        let file = std::env::temp_dir().join(format!("pib-relay-none-{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        assert!(start(&file).is_ok() && start(Path::new("/no/such/place")).is_ok());
        std::fs::remove_file(file).unwrap();
    }
}
