//! Recorded content in buckets and OCI registries, kept by real servers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pib_plan::id::Digest;
use pib_plan::lockfile::Lockfile;
use pib_plan::moment::Moment;
use pib_plan::recording::{FILE_NAME, Recording, Request, Response};

use crate::bench::{Bench, PROJECT, Ran};
use crate::peers::{self, BUCKET, Peer, USER};

/// What parts have fetched: small files, an empty-looking one, and one that is sent in parts.
fn bodies() -> Vec<Vec<u8>> {
    let large = (0..20_u32 << 18).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes());
    vec![b"first".to_vec(), b"second\n".to_vec(), b"\0".to_vec(), large.collect()]
}

fn cached(bench: &Bench, body: &[u8]) -> PathBuf {
    let hex = Digest::of(body).hex();
    bench.folder.path().join("cache/fetched").join(&hex[..2]).join(hex)
}

/// Returns a project whose lock names a recording of these bodies, with `more` in its manifest.
fn project(bodies: &[Vec<u8>], more: &str) -> Bench {
    let bench = Bench::new(&format!("{PROJECT}\n[build]\nnetwork = \"recorded\"\n{more}"));
    assert_eq!(bench.run(&["lock"]).code, Some(0));
    let mut recording = Recording::default();
    for (number, body) in bodies.iter().enumerate() {
        let response = Response {
            status: 200,
            digest: Digest::of(body),
            size: body.len() as u64,
            headers: Default::default(),
        };
        recording.add(&Request::get(format!("http://127.0.0.1:9/{number}")), response);
    }
    bench.write(FILE_NAME, &recording.to_text());
    let text = fs::read_to_string(bench.path("pib.lock")).unwrap();
    let lock = Lockfile {
        snapshot: Some(Moment::from_micros(1_795_000_000_000_000)),
        fetch: Some(recording.digest()),
        ..Lockfile::parse("pib.lock", &text).unwrap()
    };
    bench.write("pib.lock", &lock.to_text());
    bench
}

/// Returns such a project on a machine that has fetched the bodies.
fn full(bodies: &[Vec<u8>]) -> Bench {
    let bench = project(bodies, "");
    for body in bodies {
        let path = cached(&bench, body);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, body).unwrap();
    }
    bench
}

type Variables = Vec<(String, String)>;

fn run(bench: &Bench, args: &[&str], variables: &Variables) -> Ran {
    let pairs: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    bench.run_with(args, &pairs)
}

fn succeeds(bench: &Bench, args: &[&str], variables: &Variables) -> Ran {
    let ran = run(bench, args, variables);
    assert_eq!(ran.code, Some(0), "{args:?}: {}{}", ran.out, ran.errors);
    for (_, secret) in variables.iter().filter(|(name, _)| name.contains("SECRET")) {
        assert!(!ran.out.contains(secret) && !ran.errors.contains(secret));
    }
    ran
}

fn flat(text: &str) -> String {
    text.split_whitespace().filter(|word| !["│", "|"].contains(word)).collect::<Vec<_>>().join(" ")
}

/// Pushes into a store, fetches out of it on another machine, and does so where the store has something wrong.
fn goes_round(address: &str, variables: &Variables, damage: &dyn Fn(&Digest, &[u8])) {
    let bodies = bodies();
    let first = full(&bodies);
    let told = succeeds(&first, &["push", address], variables).out;
    assert!(told.contains("4 files of this project are in") && told.contains("4 of them new"), "{told}");
    let told = succeeds(&first, &["push", address], variables).out;
    assert!(told.contains("0 of them new"), "{told}");

    let store = format!("\n[stores]\nteam = \"{address}\"\n");
    let other = project(&bodies, &store);
    succeeds(&other, &["fetch", "--locked"], variables);
    for body in &bodies {
        assert_eq!(fs::read(cached(&other, body)).unwrap(), *body);
    }

    // The same store in the user's own config, which holds for all projects.
    let own = project(&bodies, "");
    let config = own.folder.path().join(".config/pib/config.toml");
    fs::create_dir_all(config.parent().unwrap()).unwrap();
    fs::write(&config, &store).unwrap();
    succeeds(&own, &["fetch", "--locked"], variables);
    assert_eq!(fs::read(cached(&own, &bodies[0])).unwrap(), bodies[0]);
    succeeds(&own, &["push"], variables);
    succeeds(&own, &["push", "team"], variables);

    for (wrong, words) in [(&b"FIRST"[..], "has the file sha256:"), (&[7; 4096][..], "has a longer file")] {
        damage(&Digest::of(&bodies[0]), wrong);
        let other = project(&bodies, &store);
        let ran = run(&other, &["fetch", "--locked"], variables);
        assert_eq!(ran.code, Some(8), "{}", ran.errors);
        let told = flat(&ran.errors);
        assert!(told.contains(words) && told.contains("under the name of sha256:"), "{told}");
        assert!(!cached(&other, &bodies[0]).exists() && cached(&other, &bodies[1]).exists());
    }
}

/// A `pib push` that is killed leaves nothing half; the next one makes the store whole.
fn survives_kills(address: &str, variables: &Variables) {
    let bodies: Vec<Vec<u8>> = (0..40_u32).map(|number| vec![number as u8; 200_000]).collect();
    let first = full(&bodies);
    let store = format!("\n[stores]\nteam = \"{address}\"\n");
    let mut killed = 0;
    for number in 0..6_u32 {
        let mut push = first.in_here(Command::new(env!("CARGO_BIN_EXE_pib")));
        push.args(["push", address]).envs(variables.iter().cloned());
        let mut push = push.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // At moments that differ; a faster machine is killed later.
        std::thread::park_timeout(std::time::Duration::from_millis(u64::from(40 + number * 60)));
        killed += u32::from(push.try_wait().unwrap().is_none());
        _ = push.kill();
        _ = push.wait();
        // What is there is right: nothing is told of files that are not what their names say.
        let other = project(&bodies, &store);
        let ran = run(&other, &["fetch", "--locked"], variables);
        assert!(!ran.errors.contains("under the name of"), "{}", ran.errors);
    }
    assert!(killed > 0, "no push was killed");
    succeeds(&first, &["push", address], variables);
    succeeds(&project(&bodies, &store), &["fetch", "--locked"], variables);
}

fn s3(peer: &Peer) -> (String, Variables) {
    (format!("s3://{BUCKET}/pib/store"), peer.s3_variables().into())
}

#[test]
fn a_bucket_serves_other_machines() {
    let Some(peer) = peers::s3_server() else { return };
    let (address, variables) = s3(&peer);
    goes_round(&address, &variables, &|digest, bytes| {
        let path = format!("{BUCKET}/pib/store/{}/{}", &digest.hex()[..2], digest.hex());
        assert_eq!(peer.s3("PUT", &path, bytes), 200);
    });
    let lost = full(&bodies());
    let ran = run(&lost, &["push", "s3://no-such-bucket"], &variables);
    assert!(
        ran.code == Some(1) && flat(&ran.errors).contains("there is no bucket `no-such-bucket`"),
        "{}",
        ran.errors
    );
}

#[test]
fn a_push_to_a_bucket_may_be_killed() {
    let Some(peer) = peers::s3_server() else { return };
    let (address, variables) = s3(&peer);
    survives_kills(&address, &variables);
}

fn oci(peer: &Peer) -> String {
    format!("oci://127.0.0.1:{}/team/store:v1", peer.port)
}

fn damage_blob(peer: &Peer, digest: &Digest, bytes: &[u8]) {
    fs::write(peer.blob(&digest.hex()), bytes).unwrap();
}

#[test]
fn a_registry_serves_other_machines() {
    let Some(peer) = peers::oci_registry(false) else { return };
    goes_round(&oci(&peer), &Vec::new(), &|digest, bytes| damage_blob(&peer, digest, bytes));
}

#[test]
fn a_push_to_a_registry_may_be_killed() {
    let Some(peer) = peers::oci_registry(false) else { return };
    survives_kills(&oci(&peer), &Vec::new());
}

/// Writes what `docker login` would have kept.
fn log_in(folder: &Path, peer: &Peer, (user, password): (&str, &str)) -> Variables {
    let text = format!(
        "{{\"auths\": {{\"127.0.0.1:{}\": {{\"username\": \"{user}\", \"password\": \"{password}\"}}}}}}",
        peer.port
    );
    fs::write(folder.join("config.json"), text).unwrap();
    vec![("DOCKER_CONFIG".to_owned(), folder.display().to_string())]
}

#[test]
fn a_registry_that_asks_who_you_are_takes_dockers_login() {
    let Some(peer) = peers::oci_registry(true) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (bodies, address) = (bodies(), oci(&peer));
    let first = full(&bodies);
    for variables in [Vec::new(), log_in(folder.path(), &peer, (USER.0, "another-password"))] {
        let ran = run(&first, &["push", &address], &variables);
        let told = flat(&ran.errors);
        assert!(ran.code == Some(1) && told.contains("docker login 127.0.0.1:"), "{told}");
        assert!(!told.contains("another-password"), "{told}");
        // A build does not end for it: one warning, and everything from elsewhere.
        let other = project(&bodies, &format!("\n[stores]\nteam = \"{address}\"\n"));
        let told = flat(&run(&other, &["fetch", "--locked"], &variables).errors);
        assert_eq!(told.matches("cannot be used").count(), 1, "{told}");
    }
    let variables = log_in(folder.path(), &peer, USER);
    goes_round(&address, &variables, &|digest, bytes| damage_blob(&peer, digest, bytes));
    // The registry keeps what a manifest lists.
    let config = peer.folder.path().join("config.yml");
    let collect = Command::new("docker-registry").arg("garbage-collect").arg(&config).output().unwrap();
    assert!(collect.status.success(), "{}", String::from_utf8_lossy(&collect.stderr));
    assert!(bodies.iter().all(|body| peer.blob(&Digest::of(body).hex()).is_file()));
}

#[test]
fn a_store_that_is_down_costs_one_warning() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let bodies = bodies();
    let variables =
        ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|name| (name.to_owned(), "some-key".to_owned()));
    let endpoint = ("AWS_ENDPOINT_URL".to_owned(), format!("http://127.0.0.1:{port}"));
    let variables: Variables = variables.into_iter().chain([endpoint]).collect();
    for address in [format!("s3://{BUCKET}"), format!("oci://127.0.0.1:{port}/store")] {
        // The next store has everything.
        let folder = full(&bodies);
        let more = format!(
            "\n[stores]\na = \"{address}\"\nb = \"{}\"\n",
            folder.folder.path().join("cache/fetched").display()
        );
        let ran = succeeds(&project(&bodies, &more), &["fetch", "--locked"], &variables);
        let told = flat(&ran.errors);
        assert_eq!(told.matches("cannot be used").count(), 1, "{told}");
        assert!(told.contains("refused") && !told.contains("some-key"), "{told}");
    }
}
