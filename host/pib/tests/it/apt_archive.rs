//! An archive of Debian packages of the tests' own: of the real shape, signed by a key of its own, served over HTTP.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use pgp::composed::{ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder};
use pgp::composed::{SignedPublicKey, SignedSecretKey};
use pgp::types::{KeyDetails as _, Password};
use pib_plan::id::Digest;
use rand::rngs::OsRng;

use crate::web;
use crate::world::judge;

/// The name of the file with the public key.
const KEY: &str = "archive.gpg.key";

/// An archive with one suite, in a folder.
pub(crate) struct AptArchive {
    folder: tempfile::TempDir,
    suite: &'static str,
    key: SignedSecretKey,
}

/// A file of a package: its path, its mode, what is in it.
pub(crate) type PackageFile<'a> = (&'a str, u32, &'a str);

impl AptArchive {
    pub(crate) fn new(suite: &'static str) -> Self {
        let mut params = SecretKeyParamsBuilder::default();
        params.key_type(KeyType::Ed25519Legacy).can_certify(true).can_sign(true);
        params.primary_user_id("Test <test@example.org>".to_owned());
        let key: SignedSecretKey = params.build().unwrap().generate(OsRng).unwrap();
        let public = SignedPublicKey::from(key.clone()).to_armored_string(ArmorOptions::default()).unwrap();
        let archive = Self { folder: tempfile::tempdir().unwrap(), suite, key };
        fs::write(archive.path(KEY), public).unwrap();
        archive
    }

    pub(crate) fn fingerprint(&self) -> String {
        format!("{:X}", self.key.primary_key.fingerprint())
    }

    /// Returns the public key.
    pub(crate) fn public_key(&self) -> String {
        fs::read_to_string(self.path(KEY)).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a package; returns its paragraph of the list of packages.
    pub(crate) fn package(&self, control: &str, files: &[PackageFile<'_>]) -> String {
        let tree = tempfile::tempdir().unwrap();
        let put = |path: &str, mode: u32, text: &str| {
            use std::os::unix::fs::PermissionsExt as _;
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        put(
            "DEBIAN/control",
            0o644,
            &format!("{control}Maintainer: Test <test@example.org>\nDescription: Test\n"),
        );
        for (path, mode, text) in files {
            put(path, *mode, text);
        }
        let field =
            |name: &str| control.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        let name = format!("pool/{}_{}.deb", field("Package:"), field("Architecture:"));
        let path = self.path(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let (from, to) = (tree.path().to_str().unwrap(), path.to_str().unwrap());
        judge::tool("dpkg-deb", &["--root-owner-group", "-Zgzip", "--build", from, to]).unwrap();
        let bytes = fs::read(&path).unwrap();
        format!(
            "{control}Filename: {name}\nSize: {}\nSHA256: {}\nDescription: Test\n\n",
            bytes.len(),
            Digest::of(&bytes).hex()
        )
    }

    /// Publishes lists of packages, each for an architecture, in the release file of the suite.
    pub(crate) fn publish(&self, date: &str, lists: &[(&str, Vec<u8>)]) {
        let folder = format!("dists/{}", self.suite);
        let mut digests = String::new();
        for (arch, list) in lists {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(list).unwrap();
            let packed = encoder.finish().unwrap();
            for (ending, bytes) in [("", list), (".gz", &packed)] {
                let name = format!("main/binary-{arch}/Packages{ending}");
                let path = self.path(&format!("{folder}/{name}"));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, bytes).unwrap();
                digests += &format!(" {} {} {name}\n", Digest::of(bytes).hex(), bytes.len());
            }
        }
        let archs = lists.iter().map(|(arch, _)| *arch).collect::<Vec<_>>().join(" ");
        let suite = self.suite;
        let text = format!(
            "Origin: Test\nSuite: {suite}\nCodename: {suite}\nDate: {date}\nArchitectures: {archs}\nComponents: main\n\
             SHA256:\n{digests}"
        );
        let signed = CleartextSignedMessage::sign(OsRng, &text, &self.key.primary_key, &Password::empty());
        let signed = signed.unwrap().to_armored_string(ArmorOptions::default()).unwrap();
        fs::write(self.path(&format!("{folder}/InRelease")), signed).unwrap();
    }

    /// Serves the archive at an address of this machine until the tests end. What it does not have is at `elsewhere`.
    pub(crate) fn serve(&self, ip: &str, elsewhere: Option<&'static str>) -> String {
        let folder = self.folder.path().to_owned();
        web::serve_at(ip, move |mut stream, request| {
            let name = request.target.trim_start_matches('/');
            let found = fs::read(Path::new(&folder).join(name));
            let head = match (&found, elsewhere) {
                (Ok(bytes), _) => format!("200 OK\r\nContent-Length: {}", bytes.len()),
                (Err(_), Some(other)) if name.starts_with("pool/") => {
                    format!("302 Found\r\nLocation: {other}/{name}\r\nContent-Length: 0")
                }
                (Err(_), _) => "404 Not Found\r\nContent-Length: 0".to_owned(),
            };
            let _ = write!(stream, "HTTP/1.1 {head}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(&found.unwrap_or_default());
        })
    }

    /// Returns the lines of an init stage that say where the archive is and who signs it.
    pub(crate) fn table(&self, address: &str) -> String {
        format!("url = \"{address}\"\nkeys = [\"{}\"]\nkey-url = \"{address}/{KEY}\"\n", self.fingerprint())
    }
}
