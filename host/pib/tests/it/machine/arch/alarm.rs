//! What Arch Linux ARM publishes, made of Debian's packages: a root file system with pacman, and repositories of signed packages.
//!
//! It is made in minutes and kept, by the digest of what makes it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use pgp::composed::{Deserializable as _, SignedPublicKey};
use pgp::types::KeyDetails as _;
use pib_plan::id::Digest;

use crate::web;
use crate::world::{Images, World, cache, judge};

const SYSTEM: &str = include_str!("system.part");
const REPOSITORIES: &str = include_str!("repositories.sh");
/// What pacman calls pib's architectures.
const ARCHS: [(&str, &str); 2] = [("arm64", "aarch64"), ("armv7", "armv7h")];

/// The files of one architecture.
pub(super) struct Alarm {
    folder: PathBuf,
}

impl Alarm {
    /// Returns the files, which are made where they are not there yet.
    pub(super) fn of(arch: &'static str) -> Self {
        let recipe = Digest::of(format!("{arch}\n{SYSTEM}\n{REPOSITORIES}").as_bytes());
        let folder = cache().join("alarm").join(&recipe.hex()[..16]);
        if !folder.join("root.tar.gz").exists() {
            make(arch, &folder);
        }
        Self { folder }
    }

    /// Returns the root file system as it is published.
    pub(super) fn root(&self) -> Vec<u8> {
        fs::read(self.folder.join("root.tar.gz")).unwrap()
    }

    /// Returns the public key of the repository `shop`, which is somebody else's.
    pub(super) fn shop_key(&self) -> String {
        fs::read_to_string(self.folder.join("srv/alarm/shop.asc")).unwrap()
    }

    /// Returns the fingerprint of that key.
    pub(super) fn shop_fingerprint(&self) -> String {
        let (key, _) = SignedPublicKey::from_string(&self.shop_key()).unwrap();
        format!("{:X}", key.fingerprint())
    }

    /// Serves the repositories at an address of this machine until the tests end.
    pub(super) fn serve(&self, ip: &str) -> String {
        let folder = self.folder.join("srv/alarm");
        web::serve_at(ip, move |mut stream, request| {
            let path = request.target.trim_start_matches('/').replace("%2B", "+");
            let found = fs::read(Path::new(&folder).join(path));
            let head = match &found {
                Ok(bytes) => format!("200 OK\r\nContent-Length: {}", bytes.len()),
                Err(_) => "404 Not Found\r\nContent-Length: 0".to_owned(),
            };
            let _ = write!(stream, "HTTP/1.1 {head}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(&found.unwrap_or_default());
        })
    }
}

fn make(arch: &'static str, folder: &Path) {
    let name: &'static str = if arch == "arm64" { "alarmroot64" } else { "alarmroot7" };
    let _images = Images(name);
    let world = World::new();
    world.run(".", &["new", name, "--arch", arch]);
    world.run(name, &["remove", "os"]);
    let theirs = ARCHS.iter().find(|(own, _)| *own == arch).unwrap().1;
    let put = |stage: &str, manifest: &str, file: &str, text: &str| {
        let folder = world.path(name).join("stages").join(stage);
        fs::create_dir_all(&folder).unwrap();
        let head = format!("[stage]\nname = \"{stage}\"\nversion = \"1.0.0\"\n");
        fs::write(folder.join("stage.toml"), head + manifest).unwrap();
        fs::write(folder.join(file), text).unwrap();
    };
    put("system", "uses = [\"arch\"]\n", "Dockerfile.part", SYSTEM);
    // What is moved must be the target's own files.
    let order = "native = false\n\n[dependencies]\nsystem = \"1\"\n";
    put("alarm", order, "repositories.sh", REPOSITORIES);
    let part = format!("COPY stages/alarm/repositories.sh /opt/\nRUN bash /opt/repositories.sh {theirs}\n");
    put("alarm", order, "Dockerfile.part", &part);
    for stage in ["stages/system", "stages/alarm"] {
        world.run(name, &["add", "--path", stage]);
    }
    world.run(name, &["export", "--at", "alarm", "--tar", "root.tar"]);
    let tar = world.path(name).join("root.tar");
    fs::create_dir_all(folder).unwrap();
    let (tar, to) = (tar.to_str().unwrap(), folder.to_str().unwrap());
    judge::tool("tar", &["-C", to, "-xf", tar, "./srv/alarm"]).unwrap();
    judge::tool("tar", &["--delete", "-f", tar, "./srv/alarm"]).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(
        tempfile::NamedTempFile::new_in(folder).unwrap(),
        flate2::Compression::fast(),
    );
    std::io::copy(&mut fs::File::open(tar).unwrap(), &mut encoder).unwrap();
    encoder.finish().unwrap().persist(folder.join("root.tar.gz")).unwrap();
}
