//! Leads what the command fetches to pib: a port of this container, of which the command is told as its web proxy, to where
//! the build reaches pib.
//!
//! A process of its own does it, for as long as this container is there. It knows nothing of what it carries. pib says, to
//! the first who asks, which variables the command is to get; `{proxy}` in a value stands for the port's address.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::route::{Route, VARIABLE};
use crate::sys;

/// Where pib's socket is mounted, if it is.
pub(crate) const SOCKET: &str = "/.pib/recorder";

/// The port that is taken where it is free. It is always the same, so that what writes down its surroundings writes the
/// same each time.
const PORT: u16 = 8063;
/// Where the certificate is put of the authority that is to be trusted, where the engine mounts none: in memory, so that no
/// image has it.
const AUTHORITY: &str = "/dev/shm/pib-ca.pem";
/// The longest answer, in bytes.
const MAX_ANSWER: u64 = 64 << 10;
/// How long pib may take for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Begins to lead connections to pib, where the build reaches it, and sets the variables that pib names. A command that
/// `is_open` reaches the network without pib.
///
/// # Errors
/// When pib does not answer, or the port cannot be opened.
#[expect(clippy::disallowed_methods, reason = "a variable is how the engine tells this program")]
pub(crate) fn start(socket: &Path, is_open: bool) -> io::Result<()> {
    let given = std::env::var(VARIABLE).ok();
    if given.as_ref().is_some_and(|value| crate::route::is_own(value)) {
        set(VARIABLE, None);
    }
    if is_open {
        return Ok(());
    }
    let Some(route) = Route::find(socket, given.as_deref())? else { return Ok(()) };
    let variables = variables(&ask(&route, "environment")?);
    let variables = variables.ok_or_else(|| io::Error::other("its answer is not a list of variables"))?;
    if matches!(route, Route::Port { .. }) {
        std::fs::write(AUTHORITY, ask(&route, "authority")?)?;
    }
    let proxy = match route.proxy() {
        Some(proxy) => proxy,
        None => open_port(route)?,
    };
    for (name, value) in variables {
        set(&name, Some(&value.replace("{proxy}", &proxy)));
    }
    Ok(())
}

/// Opens a port of this container, has a process of its own lead it to pib, and returns its address.
fn open_port(route: Route) -> io::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
    let proxy = format!("http://{}", listener.local_addr()?);
    if sys::split()? {
        serve(&listener, &route);
    }
    Ok(proxy)
}

/// Sets a variable, or removes it.
fn set(name: &str, value: Option<&str>) {
    // SAFETY: this process has one thread.
    #[allow(unsafe_code)]
    unsafe {
        match value {
            Some(value) => std::env::set_var(name, value),
            None => std::env::remove_var(name),
        }
    }
}

/// Asks pib something; returns the body of the answer.
fn ask(route: &Route, what: &str) -> io::Result<String> {
    let mut stream = route.connect()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let question = format!("GET /{what} HTTP/1.1\r\nHost: pib\r\nConnection: close\r\n\r\n");
    stream.write_all(question.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer).map_err(|_| io::Error::other("its answer is not text"))?;
    body(&answer).map(str::to_owned).ok_or_else(|| io::Error::other("it does not answer as pib does"))
}

/// Returns the body of a good answer.
fn body(answer: &str) -> Option<&str> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    (head.split(' ').nth(1) == Some("200")).then_some(body)
}

/// Reads variables: a `NAME=value` on each line.
fn variables(body: &str) -> Option<Vec<(String, String)>> {
    let line = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    body.lines().map(line).collect()
}

/// Leads each connection to pib; ends with the container.
fn serve(listener: &TcpListener, route: &Route) -> ! {
    loop {
        let Ok((connection, _)) = listener.accept() else {
            // No more descriptors: some come back when connections end.
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        let route = route.clone();
        // Where there are no more threads, the connection is closed.
        let _ = std::thread::Builder::new().spawn(move || carry(connection, &route));
    }
}

/// Carries bytes both ways until both sides have ended.
fn carry(near: TcpStream, route: &Route) {
    let Ok(far) = route.connect() else { return };
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
        assert_eq!(variables(body(good).unwrap()).unwrap(), expected);
        for bad in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 503 No\r\n\r\nA=b"] {
            assert_eq!(body(bad), None, "{bad}");
        }
        assert_eq!(variables("no variable"), None);
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
        let near = std::thread::spawn(move || carry(port.accept().unwrap().0, &Route::Socket(path)));
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
        assert!(start(&file, false).is_ok() && start(Path::new("/no/such/place"), false).is_ok());
        std::fs::remove_file(file).unwrap();
    }
}
