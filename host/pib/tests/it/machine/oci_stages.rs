//! A registry of stages in a real OCI registry: published, resolved, yanked, checked, raced for, and read through servers that lie.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::ops::{Deref, DerefMut};
use std::process::Command;
use std::sync::{Arc, Mutex};

use pib_plan::id::Digest;

use super::publisher::Publisher;
use crate::peers::{self, Peer, USER};
use crate::web::{self, Request};

/// The header of the user and their password.
const BASIC: &str = "Basic dGVzdGVyOmh1bnRlcjItb2YtdGhlLXJlZ2lzdHJ5";

struct Shop {
    peer: Peer,
    publisher: Publisher,
}

impl Deref for Shop {
    type Target = Publisher;

    fn deref(&self) -> &Publisher {
        &self.publisher
    }
}

impl DerefMut for Shop {
    fn deref_mut(&mut self) -> &mut Publisher {
        &mut self.publisher
    }
}

fn flat(text: &str) -> String {
    text.split_whitespace().filter(|word| !["│", "|"].contains(word)).collect::<Vec<_>>().join(" ")
}

impl Shop {
    fn new(asks: bool) -> Option<Self> {
        let peer = peers::oci_registry(asks)?;
        let address = format!("oci://127.0.0.1:{}/acme/stages", peer.port);
        Some(Self { peer, publisher: Publisher::new(address, Vec::new(), USER.1) })
    }

    /// Writes what `docker login` would have kept, for servers at these ports.
    fn log_in(&mut self, ports: &[u16], password: &str) {
        let entry = |port: &u16| {
            format!("\"127.0.0.1:{port}\": {{\"username\": \"{}\", \"password\": \"{password}\"}}", USER.0)
        };
        let entries: Vec<String> = ports.iter().map(entry).collect();
        self.bench.write("../logins/config.json", &format!("{{\"auths\": {{{}}}}}", entries.join(",")));
        let folder = self.bench.path("../logins").display().to_string();
        self.variables = vec![("DOCKER_CONFIG".to_owned(), folder)];
    }

    fn fails(&self, args: &[&str], code: i32, words: &str) {
        let ran = self.run(args);
        let told = flat(&ran.errors);
        assert!(ran.code == Some(code) && told.contains(words), "{args:?}: {:?} {}{told}", ran.code, ran.out);
    }

    /// Returns the manifest that the registry has under a tag.
    fn manifest(&self, tag: &str) -> String {
        let target = format!("/v2/acme/stages/camera/manifests/{tag}");
        let answer = ask(
            self.peer.port,
            "GET",
            &target,
            &[("Accept", "application/vnd.oci.image.manifest.v1+json"), ("Authorization", BASIC)],
            b"",
        );
        assert_eq!(answer.status, "200 OK", "{tag}");
        String::from_utf8(answer.body).unwrap()
    }
}

/// What a server answers.
#[derive(Clone)]
struct Answer {
    status: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { status: status.to_owned(), headers: headers.collect(), body: body.to_vec() }
    }

    fn send(&self, mut stream: TcpStream) {
        let mut head = format!("HTTP/1.1 {}\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            if !["connection", "content-length"].contains(&name.to_ascii_lowercase().as_str()) {
                head += &format!("{name}: {value}\r\n");
            }
        }
        _ = write!(stream, "{head}Content-Length: {}\r\n\r\n", self.body.len());
        _ = stream.write_all(&self.body);
    }
}

/// Sends a request, and returns the answer.
fn ask(port: u16, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    write!(stream, "{head}Content-Length: {}\r\n\r\n", body.len()).unwrap();
    stream.write_all(body).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split_once(' ').unwrap().1.to_owned();
    let headers = lines.filter_map(|line| line.split_once(": "));
    Answer {
        status,
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body: bytes[end + 4..].to_vec(),
    }
}

const KIND: (&str, &str) = ("Content-Type", "application/vnd.oci.image.manifest.v1+json");

fn is_manifest(request: &Request) -> bool {
    request.target.ends_with("/camera/manifests/1.0.0")
}

/// What a lying server answers in the place of the registry; `None` to ask that.
type Lie = Arc<dyn Fn(&Request) -> Option<Answer> + Send + Sync>;

/// A server before the registry, which lies as it is told to, and notes what it is asked for.
#[derive(Clone)]
struct Liar {
    port: u16,
    lie: Arc<Mutex<Lie>>,
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

impl Liar {
    fn before(registry: u16) -> Self {
        let honest: Lie = Arc::new(|_| None);
        let (lie, asked) = (Arc::new(Mutex::new(honest)), Arc::new(Mutex::new(Vec::new())));
        let (its_lie, its_asked) = (Arc::clone(&lie), Arc::clone(&asked));
        let address = web::serve(move |stream, request: Request| {
            let said = its_lie.lock().unwrap().clone()(&request);
            let passed = ["authorization", "accept", "if-none-match"];
            let passed: Vec<(String, String)> =
                passed.iter().filter_map(|name| Some(((*name).to_owned(), request.header(name)?))).collect();
            let pairs: Vec<_> = passed.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let answer = said
                .unwrap_or_else(|| ask(registry, &request.method, &request.target, &pairs, &request.body));
            its_asked.lock().unwrap().push((request.target.clone(), answer.status.clone()));
            answer.send(stream);
        });
        Self { port: address.rsplit(':').next().unwrap().parse().unwrap(), lie, asked }
    }

    fn address(&self) -> String {
        format!("oci://127.0.0.1:{}/acme/stages", self.port)
    }

    fn lies(&self, lie: impl Fn(&Request) -> Option<Answer> + Send + Sync + 'static) {
        *self.lie.lock().unwrap() = Arc::new(lie);
    }

    /// Returns what was asked since the last time, each with the status.
    fn asked(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

#[test]
fn a_stage_goes_through_an_oci_registry_to_a_project() {
    let Some(shop) = Shop::new(false) else { return };
    goes_round(&shop);
    // What the registry has of an archive is compared with the digest that the index line has.
    let line: serde_json::Value = serde_json::from_str(&shop.manifest("1.0.0")).unwrap();
    let digest = line["layers"][0]["digest"].as_str().unwrap().trim_start_matches("sha256:").to_owned();
    let damaged = fs::read(shop.peer.blob(&digest)).unwrap().iter().map(|byte| !byte).collect::<Vec<u8>>();
    fs::write(shop.peer.blob(&digest), damaged).unwrap();
    shop.fails(&["registry", "verify", &shop.address()], 8, "is another file than was published");
    shop.fails(&["registry", "init", &shop.address()], 2, "needs none of this");
    shop.fails(&["registry", "index", &shop.address()], 2, "needs none of this");
    shop.fails(&["publish", "camera", "--registry", &format!("{}:v1", shop.address())], 2, "without a tag");
    let none = "oci://127.0.0.1:1/acme";
    shop.fails(&["publish", "camera", "--registry", none], 8, "refused");
}

/// Publishes, resolves, updates, yanks and checks.
fn goes_round(shop: &Shop) {
    let address = shop.address();
    shop.stage("camera", "camera", "1.0.0", "It does one thing.\n");
    shop.publish("camera");
    assert!(shop.verify().contains("1 version of 1 stage"));
    // What is published stays as it is; a name that is easily mistaken is refused here, too.
    let again: serde_json::Value =
        serde_json::from_str(&shop.succeeds(&["--json", "publish", "camera", "--registry", &address]))
            .unwrap();
    assert_eq!(again["unchanged"][0], "camera 1.0.0");
    shop.stage("other", "camera", "1.0.0", "It does another thing.\n");
    shop.stage("camara", "camara", "1.0.0", "It does one thing.\n");
    for (folder, words) in [("other", "bump the version"), ("camara", "mistaken for `camera`")] {
        shop.fails(&["publish", folder, "--registry", &address], 3, words);
    }
    shop.project(&address);
    shop.succeeds(&["lock"]);
    shop.succeeds(&["fetch"]);
    let lock = fs::read_to_string(shop.bench.path("pib.lock")).unwrap();
    assert!(lock.contains(&format!("registry+{address}/")), "{lock}");
    shop.stage("camera", "camera", "1.1.0", "It does one thing.\n");
    shop.publish("camera");
    shop.stage("camera", "camera", "1.1.1+build.5", "It does one thing.\n");
    shop.publish("camera");
    assert_eq!(shop.manifest("1"), shop.manifest("1.1.1_build.5"));
    assert_eq!(shop.succeeds(&["outdated"]), "camera 1.0.0 -> 1.1.1+build.5\n");
    let before = shop.manifest("1.1.1_build.5");
    shop.succeeds(&["yank", "camera@1.1.1", "--registry", "shop", "--reason", "it does not focus"]);
    assert_eq!(shop.succeeds(&["outdated"]), "camera 1.0.0 -> 1.1.0\n");
    let layers = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["layers"].clone();
    assert_eq!(layers(&shop.manifest("1.1.1_build.5")), layers(&before));
    assert_eq!([shop.manifest("1"), shop.manifest("1.1")], [shop.manifest("1.1.0"), shop.manifest("1.1.0")]);
    let info = shop.succeeds(&["info", "camera", "--registry", "shop"]);
    assert!(info.contains("1.1.1+build.5 (yanked: it does not focus)"), "{info}");
    shop.fails(&["yank", "camera@9.0.0", "--registry", "shop"], 3, "no version 9.0.0");
    shop.succeeds(&["yank", "camera@1.1.1", "--registry", "shop", "--undo"]);
    assert_eq!(shop.manifest("1"), before);
    assert!(shop.succeeds(&["search", "one", "thing"]).contains("camera"));
    shop.succeeds(&["update"]);
    shop.succeeds(&["fetch"]);
    shop.succeeds(&["plan"]);
    shop.succeeds(&["lock", "--offline"]);
    shop.stage("init", "__init__", "9.0.0", "Another beginning.\n");
    shop.bench.write(
        "init/stage.toml",
        &(fs::read_to_string(shop.bench.path("init/stage.toml")).unwrap() + "\n")
            .replace("license", "phase = \"init\"\nlicense"),
    );
    shop.succeeds(&["publish", "init", "--registry", &address]);
    assert!(shop.succeeds(&["info", "__init__", "--registry", "shop"]).contains("9.0.0"));
    assert!(shop.verify().contains("4 versions of 2 stages"));
}

#[test]
fn a_registry_that_asks_who_you_are_takes_dockers_login() {
    let Some(mut shop) = Shop::new(true) else { return };
    let (port, address) = (shop.peer.port, shop.address());
    shop.stage("camera", "camera", "1.0.0", "It does one thing.\n");
    shop.fails(&["publish", "camera", "--registry", &address], 8, "docker login 127.0.0.1:");
    shop.log_in(&[port], "another-password");
    shop.fails(&["publish", "camera", "--registry", &address], 8, "docker login 127.0.0.1:");
    shop.log_in(&[port], USER.1);
    goes_round(&shop);

    // A blob that is elsewhere comes from there, without the login.
    let liar = Liar::before(port);
    shop.log_in(&[liar.port], USER.1);
    let asked: Arc<Mutex<Vec<Option<String>>>> = Arc::default();
    let its_asked = Arc::clone(&asked);
    let elsewhere = web::serve(move |stream, request: Request| {
        its_asked.lock().unwrap().push(request.header("authorization"));
        ask(port, "GET", &request.target, &[("Authorization", BASIC)], b"").send(stream);
    });
    liar.lies(move |request| {
        let leads = format!("{elsewhere}{}", request.target);
        let is_archive = request.target.contains("/blobs/sha256");
        is_archive.then(|| Answer::new("307 Temporary Redirect", &[("Location", &leads)], b""))
    });
    shop.bench.write("../other/keep", "");
    shop.project(&liar.address());
    let cache = shop.bench.path("../other").display().to_string();
    shop.variables.push(("PIB_CACHE_DIR".to_owned(), cache));
    shop.succeeds(&["lock"]);
    shop.succeeds(&["fetch"]);
    assert_eq!(*asked.lock().unwrap(), [None]);
}

/// Of two who publish one version, one wins; of those who publish different ones, all are there.
#[test]
fn who_publish_at_the_same_time_are_told_who_has_won() {
    let Some(shop) = Shop::new(false) else { return };
    shop.race(4);
}

#[test]
fn a_publish_to_an_oci_registry_may_be_killed() {
    let Some(shop) = Shop::new(false) else { return };
    shop.stage("camera", "camera", "1.0.0", "It does one thing.\n");
    shop.publish("camera");
    for number in 1..=8_u64 {
        shop.stage("camera", "camera", &format!("1.{number}.0"), "It does one thing.\n");
        let mut publishing = shop.begin("camera");
        std::thread::park_timeout(std::time::Duration::from_millis(number * 30));
        _ = publishing.kill();
        _ = publishing.wait();
        assert!(shop.verify().contains("The registry"));
        shop.publish("camera");
        assert_eq!(shop.manifest("1"), shop.manifest(&format!("1.{number}.0")));
    }
    assert!(shop.verify().contains("9 versions of 1 stage"));
}

#[test]
fn a_warm_lock_asks_only_what_has_changed() {
    let Some(shop) = Shop::new(false) else { return };
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        shop.stage("camera", "camera", version, "It does one thing.\n");
        shop.publish("camera");
    }
    let liar = Liar::before(shop.peer.port);
    shop.project(&liar.address());
    shop.succeeds(&["lock"]);
    let statuses = |asked: Vec<(String, String)>| {
        let mut found: BTreeMap<(bool, String), usize> = BTreeMap::new();
        for (target, status) in asked {
            *found.entry((target.contains("/manifests/"), status)).or_default() += 1;
        }
        found
    };
    let asked = liar.asked();
    assert!(!asked.iter().any(|(target, _)| target.contains("/blobs/")), "{asked:?}");
    let first = statuses(asked);
    assert_eq!(first[&(true, "200 OK".to_owned())], 3, "{first:?}");
    // Nothing is asked of what the lock holds.
    shop.succeeds(&["lock"]);
    assert_eq!(liar.asked(), []);
    shop.succeeds(&["update"]);
    let update = statuses(liar.asked());
    assert_eq!(update[&(true, "304 Not Modified".to_owned())], 3, "{update:?}");
    assert!(!update.contains_key(&(true, "200 OK".to_owned())), "{update:?}");
}

#[test]
fn a_registry_that_lies_is_found_out() {
    let Some(shop) = Shop::new(false) else { return };
    for (folder, name, version) in
        [("camera", "camera", "1.0.0"), ("kiosk", "kiosk", "1.0.0"), ("kiosk", "kiosk", "1.1.0")]
    {
        shop.stage(folder, name, version, "It does one thing.\n");
        shop.publish(folder);
    }
    let liar = Liar::before(shop.peer.port);
    shop.project(&liar.address());
    let right = shop.manifest("1.0.0");
    let other =
        ask(shop.peer.port, "GET", "/v2/acme/stages/kiosk/manifests/1.1.0", &[("Accept", KIND.1)], b"").body;
    let other_version = right.replace("\\\"vers\\\":\\\"1.0.0\\\"", "\\\"vers\\\":\\\"1.0.7\\\"");
    let other_layer = right.replacen("\"size\":", "\"size\":1", 3);
    let no_line = right.replace("dev.pib.stage.index-line", "x");
    let index =
        "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}";
    for (number, (text, words)) in [
        (String::from_utf8(other).unwrap(), "has the manifest of another stage, `kiosk`"),
        (other_version, "has the manifest of another version, 1.0.7"),
        (other_layer, "has a manifest whose archive is not that of its index line"),
        (no_line, "has a manifest without an index line"),
        (index.to_owned(), "is not a stage, but `application/vnd.oci.image.index.v1+json`"),
        ("<html>".to_owned(), "has a manifest that cannot be read"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_ne!(text, right, "{number}");
        liar.lies(move |request| {
            is_manifest(request).then(|| Answer::new("200 OK", &[KIND], text.as_bytes()))
        });
        shop.fails(&["lock"], 4, words);
    }
}

#[test]
fn a_registry_that_breaks_the_protocol_is_told() {
    let Some(shop) = Shop::new(false) else { return };
    shop.stage("camera", "camera", "1.0.0", "It does one thing.\n");
    shop.publish("camera");
    let liar = Liar::before(shop.peer.port);
    shop.project(&liar.address());
    let text = shop.manifest("1.0.0");
    let wrong = Digest::of(b"wrong").to_string();
    let said = wrong.clone();
    liar.lies(move |request| {
        let headers = [KIND, ("Docker-Content-Digest", said.as_str())];
        is_manifest(request).then(|| Answer::new("200 OK", &headers, text.as_bytes()))
    });
    shop.fails(&["lock"], 8, &format!("has the digest {wrong}"));
    let huge = vec![b' '; 5 << 20];
    liar.lies(move |request| is_manifest(request).then(|| Answer::new("200 OK", &[KIND], &huge)));
    shop.fails(&["lock"], 8, "larger than");
    liar.lies(|_| Some(Answer::new("429 Too Many Requests", &[("Retry-After", "3600")], b"")));
    shop.fails(&["lock"], 8, "429");
    liar.lies(|_| Some(Answer::new("404 Not Found", &[], b"")));
    shop.fails(&["lock"], 8, "no OCI registry");

    // One that is busy for a moment is waited for.
    let busy = Mutex::new(2);
    liar.lies(move |request| {
        let mut busy = busy.lock().unwrap();
        let is_busy = is_manifest(request) && *busy > 0;
        *busy -= u32::from(is_busy);
        is_busy.then(|| Answer::new("429 Too Many Requests", &[("Retry-After", "0")], b""))
    });
    shop.succeeds(&["lock"]);
    let of_another = vec![b'x'; 500];
    liar.lies(move |request| {
        request.target.contains("/camera/blobs/").then(|| Answer::new("200 OK", &[], &of_another[..200]))
    });
    shop.fails(&["fetch"], 8, "does not have the digest that the registry promises");
    liar.lies(|_| None);
    shop.succeeds(&["fetch"]);
}

/// Returns the manifest of the signed snapshot.
fn snapshot(shop: &Shop) -> Vec<u8> {
    let target = "/v2/acme/stages/pib.snapshot/manifests/latest";
    ask(shop.peer.port, "GET", target, &[("Accept", KIND.1)], b"").body
}

/// Checks that what was right once does not count for ever: a registry that is frozen is told.
fn fails_in_forty_days(shop: &Shop) {
    let mut later = shop.bench.in_here(Command::new("/usr/bin/faketime"));
    let later = later.args(["-f", "+40d", env!("CARGO_BIN_EXE_pib"), "update"]).output().unwrap();
    let told = flat(&String::from_utf8_lossy(&later.stderr));
    assert!(later.status.code() == Some(8) && told.contains("is frozen: it has counted until"), "{told}");
}

/// Readers of a signed registry refuse what a proxy has changed on the way, and what somebody without the key has written.
#[test]
fn a_signed_oci_registry_is_believed_for_its_key_alone() {
    let Some(shop) = Shop::new(false) else { return };
    let address = shop.address();
    shop.stage("camera", "camera", "1.0.0", "It does one thing.\n");
    shop.publish("camera");
    let sign = |more: &[&str]| -> serde_json::Value {
        let sign = ["--json", "registry", "sign", &address, "--key", "key"];
        serde_json::from_str(&shop.succeeds(&[&sign, more].concat())).unwrap()
    };
    let signed = sign(&[]);
    let liar = Liar::before(shop.peer.port);
    shop.project(&liar.address());
    let text = fs::read_to_string(shop.bench.path("pib.toml")).unwrap();
    shop.bench.write("pib.toml", &format!("{text}key = {}\n", signed["key"]));
    shop.succeeds(&["lock"]);
    let before = snapshot(&shop);

    shop.stage("camera", "camera", "1.1.0", "It does one thing.\n");
    shop.fails(&["publish", "camera", "--registry", &address], 2, "the registry is signed");
    shop.succeeds(&["publish", "camera", "--registry", &address, "--key", "key"]);
    assert!(shop.verify().contains("2 versions of 1 stage"));
    shop.succeeds(&["update"]);
    assert!(fs::read_to_string(shop.bench.path("pib.lock")).unwrap().contains("1.1.0"));

    let is_snapshot = |request: &Request| request.target.contains("/pib.snapshot/manifests/");
    let altered = shop.manifest("1.1.0").replace("Does one thing", "Does another thing");
    liar.lies(move |request| {
        let is_meant = request.target.ends_with("/camera/manifests/1.1.0");
        is_meant.then(|| Answer::new("200 OK", &[KIND], altered.as_bytes()))
    });
    shop.fails(&["update"], 8, "was altered: its snapshot 2");
    let tags = b"{\"name\":\"acme/stages/camera\",\"tags\":[\"1.0.0\"]}";
    liar.lies(move |request| {
        request.target.contains("/camera/tags/").then(|| Answer::new("200 OK", &[], tags))
    });
    shop.fails(&["update"], 8, "was altered: its snapshot 2");
    liar.lies(|request| request.target.contains("/camera/").then(|| Answer::new("404 Not Found", &[], b"")));
    shop.fails(&["update"], 8, "is held back: its snapshot 2");
    liar.lies(move |request| is_snapshot(request).then(|| Answer::new("200 OK", &[KIND], &before)));
    shop.fails(&["update"], 8, "was rolled back: it is number 1, and number 2 was read before");
    for status in ["404 Not Found", "403 Forbidden"] {
        liar.lies(move |request| is_snapshot(request).then(|| Answer::new(status, &[], b"")));
        shop.fails(&["update"], 8, "it has no signed snapshot");
    }
    liar.lies(move |request| is_snapshot(request).then(|| Answer::new("200 OK", &[KIND], b"{}")));
    shop.fails(&["update"], 8, "cannot be read");

    liar.lies(|_| None);
    fails_in_forty_days(&shop);

    // Who may write, and does not have the key, is found out by readers, and by those who have it.
    let right = shop.manifest("1.1.0");
    let put = |text: &str| {
        let target = "/v2/acme/stages/camera/manifests/1.1.0";
        assert_eq!(ask(shop.peer.port, "PUT", target, &[KIND], text.as_bytes()).status, "201 Created");
    };
    put(&right.replace("Does one thing", "Does another thing"));
    shop.fails(&["update"], 8, "was altered: its snapshot 2");
    shop.fails(&["registry", "verify", &address], 8, "is not what `snapshot.json` says");
    put(&right);
    // The key is followed by another one.
    sign(&["--rotate-to", "next"]);
    shop.succeeds(&["update"]);
    shop.succeeds(&["yank", "camera@1.1.0", "--registry", &address, "--key", "next"]);
    shop.succeeds(&["update"]);
    assert!(!fs::read_to_string(shop.bench.path("pib.lock")).unwrap().contains("1.1.0"));
}
