//! The files beside the program that starts commands where pib records what they fetch.

use std::io::{self, Write};
use std::path::Path;

use pib_plan::id::{Digest, KeyHasher};
use pib_plan::moment::Moment;
use pib_plan::package_archive::KNOWN;
use pib_plan::relay::COPIED;
use url::Url;

use super::date;
use super::error::DebianError;
use super::mirror::{DEFAULT, DEFAULT_SECURITY, PAST};
use super::rootfs::Tree;

/// Raise it when the same program would give another image.
const VERSION: &str = "pib relay 1";
/// The place at which the recorder's socket is mounted, in the image of the program.
const SOCKET: &str = "recorder";
/// The place of the certificate of the authority that vouches for the recorder.
const AUTHORITY: &str = "ca.pem";
/// Where the program puts that certificate, where it is copied and not mounted: in memory.
const IN_MEMORY: &str = "/dev/shm/pib-ca.pem";
/// What apt is told: whom to trust where it speaks to the recorder as to a server.
const RECORD: &str = "Acquire::https::CAInfo \"/.pib/ca.pem\";\n";
/// What it is told as well where it reads indexes of the past: that their time is over is no news. What they are is checked
/// all the same, by Debian's signature.
const REPLAY: &str = "Acquire::https::CAInfo \"/.pib/ca.pem\";\nAcquire::Check-Valid-Until \"false\";\n\
                      Acquire::Check-Date \"false\";\n";
/// What wget is told, which knows no variable for that.
const WGET: &str = "ca_certificate = /.pib/ca.pem\n";
/// The files that programs are told so by, and what they say.
const FILES: [(&str, &str); 3] = [("record.conf", RECORD), ("replay.conf", REPLAY), ("wgetrc", WGET)];

/// The variables by which programs are told whom to trust where they speak to the recorder as to a server, with their
/// values. Each is the program's own; there is none that all of them know.
pub const RECORD_VARIABLES: [(&str, &str); 9] = [
    ("APT_CONFIG", "/.pib/record.conf"),
    ("CARGO_HTTP_CAINFO", "/.pib/ca.pem"),
    ("CURL_CA_BUNDLE", "/.pib/ca.pem"),
    ("GIT_SSL_CAINFO", "/.pib/ca.pem"),
    ("NODE_EXTRA_CA_CERTS", "/.pib/ca.pem"),
    ("PIP_CERT", "/.pib/ca.pem"),
    ("REQUESTS_CA_BUNDLE", "/.pib/ca.pem"),
    ("SSL_CERT_FILE", "/.pib/ca.pem"),
    ("WGETRC", "/.pib/wgetrc"),
];
/// The variable that is another one where what was recorded is given again (apt.conf(5)).
pub const REPLAY_VARIABLE: (&str, &str) = ("APT_CONFIG", "/.pib/replay.conf");

/// Adds the files to an image that is mounted at `/.pib`.
pub(super) fn add_files(tree: &mut Tree<impl Write>) -> io::Result<()> {
    for place in [SOCKET, AUTHORITY] {
        tree.add_file(place, 0o644, 0, io::empty())?;
    }
    for (name, text) in FILES {
        tree.add_file(name, 0o644, text.len() as u64, text.as_bytes())?;
    }
    Ok(())
}

/// How instructions get the program that starts commands, where it has no tools beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayForm {
    /// Its image is mounted.
    Mounted,
    /// It is copied from the folder [`COPIED`] of its image.
    Copied,
}

/// Returns the digest of all that decides that image.
pub fn relay_key(runner: &[u8], form: RelayForm) -> Digest {
    let mut key = KeyHasher::new(VERSION);
    for (name, text) in FILES {
        key.field(name).field(text);
    }
    if form == RelayForm::Copied {
        key.field(COPIED).field(IN_MEMORY);
    }
    key.field(runner);
    key.finish()
}

/// Writes that image, a tar, to the file at `path`.
///
/// # Errors
/// When the file cannot be written.
pub fn write_relay(path: &Path, runner: &[u8], form: RelayForm) -> Result<(), DebianError> {
    let write = |mut tree: Tree<io::BufWriter<std::fs::File>>| {
        match form {
            RelayForm::Mounted => {
                tree.add_file("run", 0o755, runner.len() as u64, runner)?;
                tree.add_file("tools", 0o644, 0, io::empty())?;
                add_files(&mut tree)?;
            }
            RelayForm::Copied => {
                let place = |name: &str| format!("{COPIED}/{name}");
                tree.add_file(&place("run"), 0o755, runner.len() as u64, runner)?;
                tree.add_file(&place("tools"), 0o644, 0, io::empty())?;
                tree.add_link(&place(AUTHORITY), IN_MEMORY)?;
                for (name, text) in FILES {
                    tree.add_file(&place(name), 0o644, text.len() as u64, text.as_bytes())?;
                }
            }
        }
        tree.finish()?.flush()
    };
    write(Tree::replace(path, 0)?).map_err(DebianError::io("writing", path))
}

/// Returns the archives of Debian, each with the address at which its archive of the past has it as of a moment: at `past`, where the user
/// names a mirror of it, else at Debian's own (<https://snapshot.debian.org/>).
pub fn past_archives(moment: Moment, past: Option<&Url>) -> [(&'static str, String); 2] {
    let stamp = date::stamp(moment.seconds());
    let past = past.map_or(PAST, Url::as_str).trim_end_matches('/');
    [(DEFAULT, KNOWN[0]), (DEFAULT_SECURITY, KNOWN[1])]
        .map(|(public, name)| (public, format!("{past}/{name}/{stamp}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the paths in an image, each with its permissions.
    fn files(form: RelayForm) -> Vec<(String, u32)> {
        let file = tempfile::NamedTempFile::new().unwrap();
        write_relay(file.path(), b"program", form).unwrap();
        let mut archive = tar::Archive::new(file.reopen().unwrap());
        let names = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap() & 0o777)
        });
        names.collect()
    }

    #[test]
    fn the_image_has_the_program_and_a_place_for_the_socket() {
        let names = ["tools", "recorder", "ca.pem", "record.conf", "replay.conf", "wgetrc"];
        let expected = std::iter::once(("run", 0o755)).chain(names.map(|name| (name, 0o644)));
        let expected: Vec<_> = expected.map(|(name, mode)| (name.to_owned(), mode)).collect();
        assert_eq!(files(RelayForm::Mounted), expected);
        let key = |program| relay_key(program, RelayForm::Mounted);
        assert_ne!(key(b"program"), key(b"another"));
    }

    #[test]
    fn what_is_copied_has_the_certificate_in_memory_alone() {
        let names = files(RelayForm::Copied);
        assert!(
            names.contains(&("pib/run".to_owned(), 0o755))
                && names.contains(&("pib/ca.pem".to_owned(), 0o777))
        );
        assert!(
            names.iter().all(|(name, _)| name.starts_with("pib/") && !name.ends_with("/recorder")),
            "{names:?}"
        );
        assert_ne!(relay_key(b"program", RelayForm::Copied), relay_key(b"program", RelayForm::Mounted));
    }

    #[test]
    fn the_past_is_asked_by_the_moment() {
        let [(public, main), (_, security)] = past_archives("2026-11-21T09:15:44Z".parse().unwrap(), None);
        assert_eq!(public, "http://deb.debian.org/debian");
        assert_eq!(main, "https://snapshot.debian.org/archive/debian/20261121T091544Z");
        assert_eq!(security, "https://snapshot.debian.org/archive/debian-security/20261121T091544Z");
        let own = Url::parse("http://past.example/archive/").unwrap();
        let [(_, main), _] = past_archives("2026-11-21T09:15:44Z".parse().unwrap(), Some(&own));
        assert_eq!(main, "http://past.example/archive/debian/20261121T091544Z");
    }
}
