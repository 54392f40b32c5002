//! A project of a day of the past: base and parts come from a server of the shape of Debian's archive of the past, by the moment.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Output;
use std::sync::{Arc, Mutex};

use pib_debian::HostApt;
use pib_plan::lockfile::Lockfile;
use pib_plan::recording::{FILE_NAME, Recording};

use crate::web;
use crate::world::{Images, World};

const NAME: &str = "asof";
/// The day of the test: today's archive stands in for that of the past, so that it must be now.
const STAMP_LENGTH: usize = "20261121T091544Z".len();

/// Starts a server that has, below `/archive/ARCHIVE/STAMP`, what this machine's mirrors have now; returns its address. What is asked
/// for is noted.
fn past(asked: Arc<Mutex<Vec<String>>>) -> String {
    let host = HostApt::read(Path::new("/"));
    let [main, security] =
        [(host.main, pib_debian::DEFAULT_MIRROR), (host.security, pib_debian::DEFAULT_SECURITY_MIRROR)].map(
            |(own, public)| {
                own.map_or_else(|| public.to_owned(), |url| url.as_str().trim_end_matches('/').to_owned())
            },
        );
    web::serve(move |mut stream, request| {
        asked.lock().unwrap().push(request.target.clone());
        let found = request.target.strip_prefix("/archive/").and_then(|rest| {
            let (archive, rest) = rest.split_once('/')?;
            let (stamp, path) = rest.split_once('/')?;
            let mirror = match archive {
                "debian" => &main,
                "debian-security" => &security,
                _ => return None,
            };
            (stamp.len() == STAMP_LENGTH).then(|| format!("{mirror}/{path}"))
        });
        let head = match found.as_deref().map(fetch) {
            Some(Some(body)) => {
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
                return;
            }
            _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        };
        let _ = stream.write_all(head.as_bytes());
    })
}

fn fetch(address: &str) -> Option<Vec<u8>> {
    let mut curl = std::process::Command::new("curl");
    let output = curl.args(["-sSfL", address]).output().ok()?;
    output.status.success().then_some(output.stdout)
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn base_and_parts_are_of_the_day_that_the_lock_names() {
    if crate::skip::lacks(&["curl"]) {
        return;
    }
    let _images = Images(NAME);
    let world = World::new();
    world.tiny(NAME, "RUN apt-get update && apt-get install --yes hello\n");
    let path = world.path(NAME).join("pib.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text + "\n[build]\nnetwork = \"recorded\"\n").unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let address = past(asked.clone());
    // The mirror of this machine has nothing: what comes, comes from the past.
    let nothing = web::serve(|mut stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let root = world.path("host");
    fs::create_dir_all(root.join("etc/apt/apt.conf.d")).unwrap();
    let sources =
        format!("deb {nothing}/debian trixie main\ndeb {nothing}/debian-security trixie-security main\n");
    fs::write(root.join("etc/apt/sources.list"), sources).unwrap();
    // A mirror may be some days old, which is this machine's administrator's matter.
    fs::write(root.join("etc/apt/apt.conf.d/dates"), "Acquire::Check-Valid-Until \"false\";\n").unwrap();
    let config = world.path("config/pib");
    fs::create_dir_all(&config).unwrap();
    fs::write(config.join("config.toml"), format!("[network]\nsnapshots = \"{address}/archive\"\n")).unwrap();
    let pib = |args: &[&str]| world.pib(NAME, args).env("PIB_HOST_ROOT", &root).output().unwrap();

    let day = pib_plan::moment::Moment::from_micros(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() * 1_000_000,
    );
    let locked = pib(&["lock", "--as-of", &day.to_string()]);
    assert!(locked.status.success(), "{}", errors(&locked));
    let lock = || {
        Lockfile::parse("pib.lock", &fs::read_to_string(world.path(NAME).join("pib.lock")).unwrap()).unwrap()
    };
    assert_eq!((lock().as_of, lock().snapshot), (Some(day), Some(day)));
    assert!(lock().bases[0].snapshot.as_ref().is_some_and(|base| base.packages.len() > 50));
    let stamp: String = day.to_string().chars().filter(|c| !"-:".contains(*c)).collect();
    let of_the_day = format!("/archive/debian/{stamp}/");
    assert!(asked.lock().unwrap().iter().all(|path| path.contains(&format!("/{stamp}/"))), "{asked:?}");
    asked.lock().unwrap().clear();

    let built = pib(&["build"]);
    assert!(built.status.success(), "{}", errors(&built));
    let text = fs::read_to_string(world.path(NAME).join(FILE_NAME)).unwrap();
    let recording = Recording::parse(FILE_NAME, &text).unwrap();
    // The recording knows the public addresses, as it does on every other day.
    assert!(
        recording.iter().all(|(asked, _)| asked.url.starts_with("http://deb.debian.org/debian")),
        "{text}"
    );
    let wanted = |part: &str| {
        asked.lock().unwrap().iter().any(|path| path.starts_with(&of_the_day) && path.contains(part))
    };
    assert!(wanted("dists/trixie/InRelease") && wanted("/pool/main/h/hello/"), "{asked:?}");

    // Nothing is asked again, and the image is the same.
    let image = || fs::read(world.path(NAME).join(format!("target/{NAME}-rpi4-arm64.img"))).unwrap();
    let before = pib_plan::id::Digest::of(&image());
    let again = pib(&["build", "--frozen", "--no-cache"]);
    assert!(again.status.success(), "{}", errors(&again));
    assert_eq!(pib_plan::id::Digest::of(&image()), before);
}
