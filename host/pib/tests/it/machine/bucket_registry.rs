//! A registry of stages in a bucket, kept by a real server: published, resolved, yanked, checked, and raced for.

use std::io::{BufRead as _, BufReader};
use std::ops::Deref;
use std::process::{Child, Command, Stdio};

use super::publisher::Publisher;
use crate::peers::{self, BUCKET, Peer};

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

impl Shop {
    fn new() -> Option<Self> {
        let peer = peers::s3_server()?;
        let variables = peer.s3_variables().to_vec();
        Some(Self { peer, publisher: Publisher::new(Self::address(), variables, "secret-key") })
    }

    fn address() -> String {
        format!("s3://{BUCKET}/stages")
    }
}

#[test]
fn a_stage_goes_through_a_bucket_to_a_project() {
    let Some(shop) = Shop::new() else { return };
    let address = Shop::address();
    assert!(shop.succeeds(&["registry", "init", &address]).contains("is a registry now"));
    assert!(shop.succeeds(&["registry", "init", &address]).contains("already"));
    assert!(shop.verify().contains("0 versions of 0 stages"));
    shop.stage("camera", "camera", "1.0.0", "It does one thing.\n");
    shop.publish("camera");
    assert!(shop.verify().contains("1 version of 1 stage"));
    // Its pages are for browsers, and who publishes or yanks renews them.
    let page = |name: &str, kind: &str| {
        let answer = shop.peer.s3_answer("GET", &format!("{BUCKET}/stages/{name}"), b"");
        assert!(answer.to_lowercase().contains(&format!("content-type: {kind}")), "{name}: {answer}");
        answer
    };
    assert!(page("index.html", "text/html").contains("1 stage<"));
    assert!(page("stages/camera.html", "text/html").contains("pib add camera"));
    assert!(page("feed.atom", "application/atom+xml").contains("camera 1.0.0"));
    // What is published stays as it is; a name that is easily mistaken is refused here, too.
    shop.publish("camera");
    shop.stage("other", "camera", "1.0.0", "It does another thing.\n");
    shop.stage("camara", "camara", "1.0.0", "It does one thing.\n");
    for (folder, words) in [("other", "bump the version"), ("camara", "mistaken for `camera`")] {
        let ran = shop.run(&["publish", folder, "--registry", &address]);
        assert!(ran.code == Some(3) && ran.errors.contains(words), "{}", ran.errors);
    }

    shop.project(&Shop::address());
    shop.succeeds(&["lock"]);
    shop.succeeds(&["fetch"]);
    let lock = std::fs::read_to_string(shop.bench.path("pib.lock")).unwrap();
    assert!(lock.contains(&address) && !lock.contains("AKIA"), "{lock}");
    shop.stage("camera", "camera", "1.1.0", "It does one thing.\n");
    shop.publish("camera");
    assert_eq!(shop.succeeds(&["outdated"]), "camera 1.0.0 -> 1.1.0\n");
    shop.succeeds(&["yank", "camera@1.1.0", "--registry", "shop", "--reason", "it does not focus"]);
    assert!(!shop.succeeds(&["outdated"]).contains("camera"));
    assert!(
        shop.succeeds(&["info", "camera", "--registry", "shop"])
            .contains("1.1.0 (yanked: it does not focus)")
    );
    assert!(page("stages/camera.html", "text/html").contains("it does not focus"));
    shop.succeeds(&["yank", "camera@1.1.0", "--registry", "shop", "--undo"]);
    shop.succeeds(&["update"]);
    // What was asked once is kept, and what is in the cache needs no network.
    shop.succeeds(&["fetch"]);
    shop.succeeds(&["lock", "--offline"]);
    assert!(shop.succeeds(&["registry", "index", &address]).contains("The index was right"));

    let archive = format!("{BUCKET}/stages/archives/camera/camera-1.0.0.stage");
    assert_eq!(shop.peer.s3("PUT", &archive, b"something else"), 200);
    let ran = shop.run(&["registry", "verify", &address]);
    assert!(
        ran.code == Some(8) && ran.errors.contains("is another file than was published"),
        "{}",
        ran.errors
    );
}

/// Of two who publish one version, one wins; of those who publish different ones, all are in the index.
#[test]
fn who_publish_at_the_same_time_do_not_undo_each_others() {
    let Some(shop) = Shop::new() else { return };
    shop.race(5);
}

/// A publish that is killed at any moment leaves a registry that is whole, and can be repeated.
#[test]
fn a_publish_to_a_bucket_may_be_killed() {
    let Some(shop) = Shop::new() else { return };
    shop.stage("camera", "camera", "1.0.0", "It does one thing.\n");
    shop.publish("camera");
    for number in 1..=8_u64 {
        shop.stage("camera", "camera", &format!("1.{number}.0"), "It does one thing.\n");
        let mut publishing = shop.begin("camera");
        std::thread::park_timeout(std::time::Duration::from_millis(number * 40));
        _ = publishing.kill();
        _ = publishing.wait();
        assert!(shop.verify().contains("The registry"));
        shop.publish("camera");
    }
    assert!(shop.verify().contains("9 versions of 1 stage"));
}

/// A killed publish may leave an archive that no line tells of: it is told of, and rebuilding the index takes it in.
#[test]
fn an_archive_without_a_line_is_taken_in() {
    let Some(shop) = Shop::new() else { return };
    shop.stage("camera", "camera", "1.0.0", "It does one thing.\n");
    shop.succeeds(&["registry", "init", &Shop::address()]);
    shop.succeeds(&["package", "camera", "--output", "out"]);
    let archive = std::fs::read(shop.bench.path("out/camera-1.0.0.stage")).unwrap();
    let path = format!("{BUCKET}/stages/archives/camera/camera-1.0.0.stage");
    assert_eq!(shop.peer.s3("PUT", &path, &archive), 200);
    assert!(shop.verify().contains("no line tells of"));
    assert!(shop.succeeds(&["registry", "index", &Shop::address()]).contains("Wrote 1 index file"));
    assert!(shop.verify().contains("1 version of 1 stage"));
    // Publishing the same finds its line there.
    shop.publish("camera");
}

/// A server of the registry in the bucket, which ends with this value.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Shop {
    fn serve(&self) -> Server {
        let mut pib = self.bench.in_here(Command::new(env!("CARGO_BIN_EXE_pib")));
        pib.args(["--json", "registry", "serve", &Self::address(), "--listen", "127.0.0.1:0"]);
        pib.args(["--limit-token", "0", "--limit-address", "0"]);
        // Each server has a cache of its own, as on a machine of its own.
        let number = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        pib.env("PIB_CACHE_DIR", self.bench.path(&format!("../cache-{number}")));
        pib.args(["--tokens", "tokens.json"]).envs(self.peer.s3_variables());
        let errors = std::fs::File::create(self.bench.path(&format!("../errors-{number}"))).unwrap();
        let mut child = pib.stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut words =
            lines.filter_map(|line| Some(line.split_once("\"http://")?.1.trim_end_matches('"').to_owned()));
        let address = format!("http://{}", words.next().expect("an address"));
        Server { child, address }
    }

    /// Begins to publish through a server.
    fn begin_at(&self, server: &Server, token: &str, folder: &str) -> Child {
        let mut pib = self.bench.in_here(Command::new(env!("CARGO_BIN_EXE_pib")));
        pib.args(["publish", folder, "--registry", &server.address, "--allow-similar"]);
        pib.env("PIB_REGISTRIES_SHOP_INDEX", &server.address).env("PIB_REGISTRIES_SHOP_TOKEN", token);
        let errors = std::fs::File::create(self.bench.path(&format!("../errors-{folder}"))).unwrap();
        pib.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn().unwrap()
    }

    /// Returns what the publishers of the last round, and the servers, have said.
    fn errors(&self) -> String {
        let files = std::fs::read_dir(self.bench.path("..")).unwrap().map(Result::unwrap);
        let files = files.filter(|file| file.file_name().to_string_lossy().starts_with("errors-"));
        files.map(|file| std::fs::read_to_string(file.path()).unwrap()).collect()
    }
}

/// Servers share a bucket: of two who publish one version through two of them one wins, and of different ones none is lost.
/// `PIB_TEST_ROUNDS` has it tried so many times.
#[test]
fn two_servers_share_one_bucket() {
    let Some(shop) = Shop::new() else { return };
    let rounds = std::env::var("PIB_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5_u32);
    shop.succeeds(&["registry", "init", &Shop::address()]);
    let token = shop.succeeds(&["registry", "token", "ann", "--tokens", "tokens.json"]);
    let token = token.lines().next().unwrap();
    let servers = [shop.serve(), shop.serve()];
    let publish = |versions: [&str; 2]| {
        for (folder, version) in ["one", "two"].into_iter().zip(versions) {
            shop.stage(folder, "camera", version, &format!("{folder} {version}\n"));
        }
        let both = [shop.begin_at(&servers[0], token, "one"), shop.begin_at(&servers[1], token, "two")];
        both.map(|mut child| child.wait().unwrap().success())
    };
    for round in 0..rounds {
        let same = format!("1.{round}.0");
        let won = publish([&same, &same]);
        assert_ne!(won[0], won[1], "round {round}: {}", shop.errors());
        let different = [1, 2].map(|patch| format!("1.{round}.{patch}"));
        let both = publish([&different[0], &different[1]]);
        assert_eq!(both, [true; 2], "round {round}: {}", shop.errors());
    }
    let verified = shop.verify();
    assert!(verified.contains(&format!("{} versions of 1 stage", rounds * 3)), "{verified}");
    // What went through one is read from the other, by projects and by browsers.
    shop.bench.write("pib.toml", &format!("[project]\nname = \"pi\"\nboard = \"rpi4\"\narch = \"arm64\"\nos = \"debian\"\nrelease = \"trixie\"\n\n[stages]\ncamera = {{ version = \"1\", registry = \"shop\" }}\n\n[registries.shop]\nindex = \"{}\"\n", servers[1].address));
    let locked = shop.bench.run(&["lock"]);
    assert_eq!(locked.code, Some(0), "{}", locked.errors);
    let newest = format!("version = \"1.{}.2\"", rounds - 1);
    assert!(std::fs::read_to_string(shop.bench.path("pib.lock")).unwrap().contains(&newest));
    assert_eq!(shop.bench.run(&["fetch"]).code, Some(0));
}

/// Of a signed registry, readers take only what its key has signed; publishers at the same time do not undo each other's signatures.
#[test]
fn a_registry_in_a_bucket_is_signed() {
    let Some(shop) = Shop::new() else { return };
    let address = Shop::address();
    shop.stage("camera", "camera", "1.0.0", "It does one thing.\n");
    shop.publish("camera");
    let signed: serde_json::Value =
        serde_json::from_str(&shop.succeeds(&["--json", "registry", "sign", &address, "--key", "key"]))
            .unwrap();
    shop.project(&Shop::address());
    let text = std::fs::read_to_string(shop.bench.path("pib.toml")).unwrap();
    shop.bench.write("pib.toml", &format!("{text}key = {}\n", signed["key"]));
    shop.succeeds(&["lock"]);
    shop.stage("camera", "camera", "1.1.0", "It does one thing.\n");
    let ran = shop.run(&["publish", "camera", "--registry", &address]);
    assert!(ran.code == Some(2) && ran.errors.contains("the registry is signed"), "{}", ran.errors);
    shop.succeeds(&["publish", "camera", "--registry", &address, "--key", "key"]);
    let names = ["light", "sound", "motor"];
    let begin = |name: &&str| {
        shop.stage(name, name, "1.0.0", "It does one thing.\n");
        let mut pib = shop.bench.in_here(Command::new(env!("CARGO_BIN_EXE_pib")));
        pib.args(["publish", name, "--registry", &address, "--allow-similar", "--key", "key"]);
        pib.envs(shop.peer.s3_variables()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        pib.spawn().unwrap()
    };
    let all: Vec<Child> = names.iter().map(begin).collect();
    assert!(all.into_iter().all(|mut child| child.wait().unwrap().success()));
    assert!(shop.verify().contains("5 versions of 4 stages"));
    shop.succeeds(&["update"]);
    assert!(std::fs::read_to_string(shop.bench.path("pib.lock")).unwrap().contains("1.1.0"));
    // Whoever may write to the bucket, and does not have the key, is not believed.
    let path = format!("{BUCKET}/stages/ca/me/camera");
    assert_eq!(shop.peer.s3("PUT", &path, b"{}\n"), 200);
    let ran = shop.run(&["update"]);
    assert!(ran.code == Some(8) && ran.errors.contains("is not to be trusted"), "{}", ran.errors);
    let ran = shop.run(&["registry", "verify", &address]);
    assert!(ran.errors.contains("is not what `snapshot.json` says"), "{}", ran.errors);
}
